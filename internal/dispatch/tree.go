// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// node is the place of an entry in one tree: a treap, ordered by less, whose nodes also know sums and minima of everything
// below them. The sums make positions and waiting times a matter of one descent; the minima let a search skip whole
// branches that are too large for a worker.
type node struct {
	entry               *Entry
	tree                *tree
	parent, left, right *node
	heap                uint32 // random; a parent's is at least its children's

	count   int32
	results int64   // sum of Left
	things  float64 // sum of Left times things of one result
	minSize Size    // least of each dimension, not of one entry
}

// tree is a set of entries of one class.
type tree struct{ root *node }

// less orders waiting requests: by priority, which for waiting requests is the base of ageing, then by age.
func less(a, b *Entry) bool {
	if a.base != b.base {
		return a.base > b.base
	}
	if a.created != b.created {
		return a.created < b.created
	}
	return a.serial < b.serial
}

func (t *tree) insert(n *node, e *Entry) {
	*n = node{entry: e, tree: t, heap: rand.Uint32()}
	if t.root == nil {
		t.root = n
		n.sum()
		return
	}
	at := t.root
	for {
		if less(e, at.entry) {
			if at.left == nil {
				at.left = n
				break
			}
			at = at.left
		} else {
			if at.right == nil {
				at.right = n
				break
			}
			at = at.right
		}
	}
	n.parent = at
	n.sum()
	for n.parent != nil && n.parent.heap < n.heap {
		n.rotateUp()
	}
	n.sumUp()
}

// build makes the tree, which is empty, of nodes that know nothing but their entries.
func (t *tree) build(nodes []*node) {
	// Sorting is most of the work, and much quicker where what is compared lies together.
	type place struct {
		base, created int64
		serial        uint64
		node          *node
	}
	order := make([]place, len(nodes))
	for i, n := range nodes {
		order[i] = place{n.entry.base, n.entry.created, n.entry.serial, n}
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.base, a.base), cmp.Compare(a.created, b.created), cmp.Compare(a.serial, b.serial))
	})
	// The numbers that make the tree a treap are drawn as for insertions, and given out from the root down.
	heaps := make([]uint32, 1<<bits.Len(uint(len(order))))
	for i := range heaps {
		heaps[i] = rand.Uint32()
	}
	slices.SortFunc(heaps, func(a, b uint32) int { return cmp.Compare(b, a) })
	var half func(parent *node, part []place, at int) *node
	half = func(parent *node, part []place, at int) *node {
		if len(part) == 0 {
			return nil
		}
		middle := len(part) / 2
		n := part[middle].node
		*n = node{entry: n.entry, tree: t, parent: parent, heap: heaps[at]}
		n.left, n.right = half(n, part[:middle], 2*at+1), half(n, part[middle+1:], 2*at+2)
		n.sum()
		return n
	}
	t.root = half(nil, order, 0)
}

func (t *tree) remove(n *node) {
	for n.left != nil && n.right != nil {
		if n.left.heap > n.right.heap {
			n.left.rotateUp()
		} else {
			n.right.rotateUp()
		}
	}
	child := n.left
	if child == nil {
		child = n.right
	}
	parent := n.parent
	if child != nil {
		child.parent = parent
	}
	switch {
	case parent == nil:
		t.root = child
	case parent.left == n:
		parent.left = child
	default:
		parent.right = child
	}
	if parent != nil {
		parent.sumUp()
	}
	*n = node{}
}

// rotateUp swaps a node with its parent, keeping the order.
func (n *node) rotateUp() {
	p, g := n.parent, n.parent.parent
	if p.left == n {
		p.left = n.right
		if p.left != nil {
			p.left.parent = p
		}
		n.right = p
	} else {
		p.right = n.left
		if p.right != nil {
			p.right.parent = p
		}
		n.left = p
	}
	p.parent, n.parent = n, g
	switch {
	case g == nil:
		n.tree.root = n
	case g.left == p:
		g.left = n
	default:
		g.right = n
	}
	p.sum()
	n.sum()
}

// sum renews what a node knows of everything below it.
func (n *node) sum() {
	e := n.entry
	left := int64(e.Request.Left)
	n.count, n.results, n.things, n.minSize = 1, left, float64(left)*e.things, e.size
	for _, c := range [2]*node{n.left, n.right} {
		if c != nil {
			n.count += c.count
			n.results += c.results
			n.things += c.things
			n.minSize = n.minSize.least(c.minSize)
		}
	}
}

func (n *node) sumUp() {
	for ; n != nil; n = n.parent {
		n.sum()
	}
}

// first finds the first entry in order that fits within the limit and that take accepts.
func (n *node) first(limit Size, take func(*Entry) verdict) (*Entry, verdict) {
	if n == nil || !n.minSize.within(limit) {
		return nil, refuse
	}
	if e, v := n.left.first(limit, take); v != refuse {
		return e, v
	}
	if n.entry.size.within(limit) {
		if v := take(n.entry); v != refuse {
			return n.entry, v
		}
	}
	return n.right.first(limit, take)
}

// verdict is what a search makes of one entry.
type verdict uint8

const (
	refuse verdict = iota
	accept
	stop // the search has cost enough
)

// head is the first entry in order, or nil.
func (t *tree) head() *Entry {
	if t.root == nil {
		return nil
	}
	n := t.root
	for n.left != nil {
		n = n.left
	}
	return n.entry
}

// upTo sums the entries that are before e or are e itself. e need not be in the tree.
func (t *tree) upTo(e *Entry) (r Rank) {
	for n := t.root; n != nil; {
		if n.entry != e && less(e, n.entry) {
			n = n.left
			continue
		}
		r.Position++
		left := int64(n.entry.Request.Left)
		r.Results += left
		r.Things += float64(left) * n.entry.things
		if l := n.left; l != nil {
			r.Position += int(l.count)
			r.Results += l.results
			r.Things += l.things
		}
		n = n.right
	}
	return r
}
