// SPDX-License-Identifier: AGPL-3.0-or-later

// Package horde is the domain: what a horde is made of and the rules its parts obey.
package horde
