// SPDX-License-Identifier: AGPL-3.0-or-later

// Package assets fetches what image jobs name and the image server does not have yet: LoRAs from CivitAI, textual
// inversions by way of a hordeling, into the folders where the server looks. Files are kept for later jobs, verified by
// their hash, and the least recently used ones go when the space for them is used up. Nothing that lay in the folders
// before, or that somebody else put there, is ever removed.
//
// Whoever may send a job can name anything, so each fetch is bounded in size and time, what failed is not tried again
// for a while, and addresses in answers are fetched under the guard of package fetch.
package assets
