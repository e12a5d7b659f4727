// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// noise is a field of smooth random values over the plane, in integers. It is a value to copy.
type noise struct{ seed uint32 }

func newNoise(r *random) noise { return noise{uint32(r.next())} }

// unit is the side of one cell of the field; places are given in such parts.
const unit = 1 << 12

// corner is the value at a corner of the grid, 0..65535.
func (n noise) corner(x, y int32) int32 {
	h := uint32(x)*0x27d4eb2d ^ uint32(y)*0x165667b1 ^ n.seed
	h = (h ^ h>>15) * 0x2c1b3c6d
	h = (h ^ h>>12) * 0x297a2d39
	return int32((h ^ h>>15) >> 16)
}

// at is the value at a place, 0..65535.
func (n noise) at(x, y int32) int32 {
	ix, iy := x>>12, y>>12
	tx, ty := ease(x&(unit-1)), ease(y&(unit-1))
	a, b := n.corner(ix, iy), n.corner(ix+1, iy)
	c, d := n.corner(ix, iy+1), n.corner(ix+1, iy+1)
	top := a + (b-a)*tx>>12
	bottom := c + (d-c)*tx>>12
	return top + (bottom-top)*ty>>12
}

// ease is 3t²-2t³ for t in parts of unit. Differences of corners are below 2^16, so the products in at need 28 bits.
func ease(t int32) int32 {
	s := t * t >> 12
	return (3*s - 2*(s*t>>12))
}

// layers adds octaves, each twice as fine and half as strong as the one before; 0..65535.
func (n noise) layers(x, y int32, octaves int) int32 {
	var sum, full int32
	strength := int32(1 << 8)
	for range octaves {
		sum += n.at(x, y) * strength // below 2^25 in all
		full += strength
		strength >>= 1
		x, y = x<<1+unit*7/3, y<<1+unit*5/3
		n = noise{seed: n.seed + 0x9e3779b9}
	}
	return sum / full
}

// ridges is like layers with sharp crests instead of round hills.
func (n noise) ridges(x, y int32, octaves int) int32 {
	var sum, full int32
	strength := int32(1 << 8)
	for range octaves {
		v := n.at(x, y) - 1<<15
		if v < 0 {
			v = -v
		}
		sum += (1<<15 - v) * 2 * strength
		full += strength
		strength >>= 1
		x, y = x<<1+unit*7/3, y<<1+unit*5/3
		n.seed += 0x9e3779b9
	}
	return min(65535, sum/full)
}

// across scales a pixel so that cells lie over a length of size pixels.
func across(v int, cells, size int) int32 {
	return int32(int64(v) * int64(cells) * unit / int64(max(1, size)))
}
