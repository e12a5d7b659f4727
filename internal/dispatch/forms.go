// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"cmp"
	"container/heap"

	"horde/internal/horde"
)

// Forms is the queue of alchemy. Forms with equal needs share a class, which is a heap, and so do those of each user among
// themselves: a pop looks at the heads of the classes that fit, however many forms wait. It is not safe for concurrent use.
type Forms struct {
	all    shelf
	byUser map[horde.UserID]shelf
	count  int
}

// NewForms returns an empty queue.
func NewForms() *Forms { return &Forms{all: shelf{}, byUser: map[horde.UserID]shelf{}} }

// FormNeeds are what a form asks of a worker.
type FormNeeds struct {
	Name  string
	Tiles int
	// SlowWorkers may take it; only TrustedWorkers may.
	SlowWorkers, TrustedWorkers bool
}

// FormEntry is a form that waits. The fields are set before Add and not changed while it is in the queue.
type FormEntry struct {
	ID    horde.FormID
	User  horde.UserID
	Needs FormNeeds
	// Priority counts first, the higher the sooner; then Created, the sooner the sooner, in nanoseconds; then Index.
	Priority, Created int64
	Index             int

	at [2]int // where it is in the heaps of all and of its user, from 1; zero when it is not in the queue
}

// before is the order in which forms are handed out.
func (e *FormEntry) before(o *FormEntry) bool {
	return cmp.Or(cmp.Compare(o.Priority, e.Priority), cmp.Compare(e.Created, o.Created), cmp.Compare(e.Index, o.Index)) < 0
}

// shelf holds heaps by the name of the form, and then by all that the forms need.
type shelf map[string]map[FormNeeds]*formHeap

// formHeap implements heap.Interface.
type formHeap struct {
	entries []*FormEntry
	which   int // of FormEntry.at
}

func (h *formHeap) Len() int           { return len(h.entries) }
func (h *formHeap) Less(i, j int) bool { return h.entries[i].before(h.entries[j]) }
func (h *formHeap) Swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.entries[i].at[h.which], h.entries[j].at[h.which] = i+1, j+1
}

// Push implements heap.Interface.
func (h *formHeap) Push(x any) {
	e := x.(*FormEntry)
	h.entries = append(h.entries, e)
	e.at[h.which] = len(h.entries)
}

// Pop implements heap.Interface.
func (h *formHeap) Pop() any {
	last := len(h.entries) - 1
	e := h.entries[last]
	h.entries[last] = nil
	h.entries = h.entries[:last]
	e.at[h.which] = 0
	return e
}

func (s shelf) add(e *FormEntry, which int) {
	classes := s[e.Needs.Name]
	if classes == nil {
		classes = map[FormNeeds]*formHeap{}
		s[e.Needs.Name] = classes
	}
	h := classes[e.Needs]
	if h == nil {
		h = &formHeap{which: which}
		classes[e.Needs] = h
	}
	heap.Push(h, e)
}

func (s shelf) remove(e *FormEntry, which int) {
	classes := s[e.Needs.Name]
	h := classes[e.Needs]
	heap.Remove(h, e.at[which]-1)
	if h.Len() > 0 {
		return
	}
	if delete(classes, e.Needs); len(classes) == 0 {
		delete(s, e.Needs.Name)
	}
}

// Len is how many forms wait.
func (q *Forms) Len() int { return q.count }

// Add lets a form wait. It does not wait already.
func (q *Forms) Add(e *FormEntry) {
	q.all.add(e, 0)
	own := q.byUser[e.User]
	if own == nil {
		own = shelf{}
		q.byUser[e.User] = own
	}
	own.add(e, 1)
	q.count++
}

// Remove takes a form out, if it is in.
func (q *Forms) Remove(e *FormEntry) {
	if e.at[0] == 0 {
		return
	}
	q.all.remove(e, 0)
	own := q.byUser[e.User]
	if own.remove(e, 1); len(own) == 0 {
		delete(q.byUser, e.User)
	}
	q.count--
}

// FormPop is what an alchemist looks for.
type FormPop struct {
	Forms    []string
	MaxTiles int
	// Slow workers get only forms that may go to such.
	Slow, OwnerTrusted bool
	// Friends are the users whose forms come first, in one order. With OwnOnly, only those of the first one are looked at.
	Friends []horde.UserID
	OwnOnly bool
}

// maxFormsSkipped is up to where skipped forms are counted.
const maxFormsSkipped = 100

// Take takes up to n forms out for a worker, in order. Where there is none, untrusted tells how many only trusted workers may
// take, at most 100.
func (q *Forms) Take(p *FormPop, n int) (found []*FormEntry, untrusted int) {
	friends, scope := p.Friends, q.all
	if p.OwnOnly {
		friends, scope = friends[:1], q.byUser[friends[0]]
	}
	var heads formHeads
	for _, id := range friends {
		heads, _ = q.byUser[id].fitting(p, heads)
	}
	found = q.take(heads, n, nil)
	if len(found) < n && !p.OwnOnly {
		heads, _ = scope.fitting(p, heads[:0])
		found = q.take(heads, n, found)
	}
	if len(found) == 0 {
		_, untrusted = scope.fitting(p, heads[:0])
	}
	return found, min(untrusted, maxFormsSkipped)
}

// fitting adds the heaps whose forms the worker may take, and counts the forms that it may not because its owner is not
// trusted.
func (s shelf) fitting(p *FormPop, heads formHeads) (_ formHeads, untrusted int) {
	seen := map[string]bool{}
	for _, name := range p.Forms {
		if seen[name] {
			continue
		}
		seen[name] = true
		for needs, h := range s[name] {
			switch {
			case needs.Tiles > p.MaxTiles, p.Slow && !needs.SlowWorkers:
			case needs.TrustedWorkers && !p.OwnerTrusted:
				untrusted += h.Len()
			default:
				heads = append(heads, h)
			}
		}
	}
	return heads, untrusted
}

func (q *Forms) take(heads formHeads, n int, found []*FormEntry) []*FormEntry {
	heap.Init(&heads)
	for len(found) < n && len(heads) > 0 {
		e := heads[0].entries[0]
		q.Remove(e)
		found = append(found, e)
		if heads[0].Len() > 0 {
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
	}
	return found
}

// formHeads orders heaps by their first entries.
type formHeads []*formHeap

func (h formHeads) Len() int           { return len(h) }
func (h formHeads) Less(i, j int) bool { return h[i].entries[0].before(h[j].entries[0]) }
func (h formHeads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *formHeads) Push(x any) { *h = append(*h, x.(*formHeap)) }

// Pop implements heap.Interface.
func (h *formHeads) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
