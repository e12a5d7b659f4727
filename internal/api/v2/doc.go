// SPDX-License-Identifier: AGPL-3.0-or-later

// Package v2 is the API v2 of the AI Horde: its operations, their limits and their bodies.
package v2
