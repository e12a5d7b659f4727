// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "math/big"

// seedLimit is one more than the largest seed: seeds have 32 bits.
const seedLimit = 1 << 32

// ParseSeed turns the seed that a client wrote into a number: ASCII digits are a decimal number, anything else is read as
// one little-endian integer of its bytes. What does not fit in 32 bits is shifted right by 32 until it does. The empty
// string is no seed: ok is false, and a random one is drawn.
func ParseSeed(s string) (seed uint32, ok bool) {
	if s == "" {
		return 0, false
	}
	digits := true
	for i := range len(s) {
		digits = digits && s[i] >= '0' && s[i] <= '9'
	}
	if !digits {
		// Shifting by 32 bits drops the four lowest bytes, so what stays is the last group of four, short if need be. A
		// group of zero bytes is not reached by shifting: the loop of the definition ends as soon as the rest fits.
		b := []byte(s)
		for len(b) > 0 && b[len(b)-1] == 0 {
			b = b[:len(b)-1]
		}
		if len(b) == 0 {
			return 0, true
		}
		for i, c := range b[(len(b)-1)/4*4:] {
			seed |= uint32(c) << (8 * i)
		}
		return seed, true
	}
	n, _ := new(big.Int).SetString(s, 10)
	bits := n.BitLen()
	if bits > 32 {
		n.Rsh(n, uint((bits-1)/32*32))
	}
	return uint32(n.Uint64()), true
}

// VariedSeed is the seed for a pop of a request with a seed variation: left is how many results were still to be handed
// out before this pop.
func VariedSeed(seed uint32, variation, left int) uint32 {
	v := uint64(seed) + uint64(variation)*uint64(left)
	for v >= seedLimit {
		v >>= 32
	}
	return uint32(v)
}
