// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// random is the generator splitmix64. It is our own so that a seed gives the same text and picture for ever, and it is
// integers only so that it does on every processor. The zero value is the stream of seed 0.
type random struct{ state uint64 }

// newRandom starts a stream that depends on the seed and on what it is used for, so that two uses of one seed do not
// move in step.
func newRandom(seed uint64, purpose string) *random {
	r := &random{seed}
	r.state = r.next() ^ hashString(purpose)
	return r
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	return mix(r.state)
}

// mix spreads every bit of z over all of the result.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// intn returns a number in [0, n); n must be positive.
func (r *random) intn(n int) int { return int(r.next() >> 33 % uint64(n)) }

// between returns a number in [low, high].
func (r *random) between(low, high int) int { return low + r.intn(high-low+1) }

// float returns a number in [0, 1).
func (r *random) float() float64 { return float64(r.next()>>11) / (1 << 53) }

// span returns a number in [low, high).
func (r *random) span(low, high float64) float64 { return low + float64((high-low)*r.float()) }

// chance is true once in 1/p calls.
func (r *random) chance(p float64) bool { return r.float() < p }

// hashString is FNV-1a with its bits spread.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}
