// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bulletin is what the operator of a horde tells everybody: news, terms, a privacy policy and thanks to sponsors. Each
// comes from a file of the operator's, which is read again when it changes, or, but for news, from a text inside the program
// (status chapter, 1.5 and 4).
package bulletin
