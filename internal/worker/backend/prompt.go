// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"math/big"
	"strings"
)

// SplitPrompt returns the part before the first "###" and the part after it; what follows a second one is dropped.
// Neither part is trimmed.
func SplitPrompt(prompt string) (positive, negative string) {
	parts := strings.SplitN(prompt, "###", 3)
	if len(parts) > 1 {
		negative = parts[1]
	}
	return parts[0], negative
}

// splitmix64 is the generator of Steele, Lea and Flood. It chooses alternatives in prompts, so that the same seed always
// gives the same prompt.
type splitmix64 uint64

func (s *splitmix64) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// maxAlternatives bounds the groups that are resolved in one prompt; the rest stays as written.
const maxAlternatives = 1000

// ResolveAlternatives replaces each {a|b|c} by one of its alternatives, innermost first, chosen by the seed. {a}
// becomes a. Braces without a partner stay.
func ResolveAlternatives(seed uint32, texts ...string) []string {
	rng := splitmix64(seed)
	out := make([]string, len(texts))
	for i, s := range texts {
		for range maxAlternatives {
			end := strings.IndexByte(s, '}')
			if end < 0 {
				break
			}
			start := strings.LastIndexByte(s[:end], '{')
			if start < 0 {
				// This brace closes nothing: go on behind it.
				rest := ResolveAlternatives(uint32(rng.next()), s[end+1:])
				s = s[:end+1] + rest[0]
				break
			}
			choices := strings.Split(s[start+1:end], "|")
			s = s[:start] + choices[rng.next()%uint64(len(choices))] + s[end+1:]
		}
		out[i] = s
	}
	return out
}

// ParseSeed reads a job's seed: a decimal number, modulo 2^32. ok is false for anything else; a random one is used then.
func ParseSeed(s string) (seed uint32, ok bool) {
	if len(s) > 100 {
		return 0, false
	}
	n, ok := new(big.Int).SetString(strings.TrimSpace(s), 10)
	if !ok || n.Sign() < 0 {
		return 0, false
	}
	return uint32(n.Mod(n, big.NewInt(1<<32)).Uint64()), true
}
