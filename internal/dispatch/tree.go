// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import "math/rand/v2"

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
