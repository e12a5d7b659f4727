// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import "horde/internal/horde"

// What forms are worth (kudos chapter, 4), in kudos.
const (
	dataForm          = 1
	interrogationForm = 3
	processedTile     = 3
)

// FormPrice is what a worker gets for one form of an image of that many tiles, in kudos.
func FormPrice(name string, tiles int) float64 {
	switch {
	case horde.PostProcesses(name):
		return processedTile * float64(tiles)
	case name == "interrogation":
		return interrogationForm
	}
	return dataForm
}

// What whoever asked pays beyond the price of a form, in kudos. Who takes slow workers pays more, not less: so it has always
// been, and clients count on it.
const (
	formMalus     = 1
	formSlowMalus = 1
)

// FormBurn is what whoever asked pays for a form of a price.
func FormBurn(price float64, slowWorkers bool) float64 {
	if slowWorkers {
		return price + formMalus + formSlowMalus
	}
	return price + formMalus
}
