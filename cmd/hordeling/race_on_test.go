// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build race

package main

// raceEnabled: the race detector slows this program down, and not the one it is compared with.
const raceEnabled = true
