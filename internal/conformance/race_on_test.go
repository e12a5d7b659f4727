// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build race

package conformance

// raced tells that the race detector is on, under which everything takes ten times as long.
const raced = true
