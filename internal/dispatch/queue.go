// SPDX-License-Identifier: AGPL-3.0-or-later

// Package dispatch holds the waiting queue of one kind of work and finds, for a worker that pops, the request it gets.
//
// # Flat cost
//
// Requests with equal needs fall in one class. A pop tests the needs of each class that shares a model with the worker once,
// and then looks at the first requests of the classes that fit; a million waiting requests cost it what a thousand do. What
// differs between requests of a class is tested request by request, in order: size (with whole branches skipped), targeted
// workers, the worker's word blacklist, the requester's balance. A pop that finds nothing tests every class, to say why.
//
// # Order
//
// The worker's owner and the users it names come first, then all others; within each, higher priority first, then older.
// Priority grows with waiting time at the same pace for everybody, so the order of two waiting requests never changes and
// needs no timer.
//
// Nothing here is safe for concurrent use: the engine's lock guards it. The requests' Left is changed here only, so that
// the sums in the trees stay right.
package dispatch

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"horde/internal/horde"
)

// Size is what of a request's size workers limit: pixels and accurate steps of an image, tokens out and context of a text.
type Size [2]int32

func (s Size) within(limit Size) bool { return s[0] <= limit[0] && s[1] <= limit[1] }

func (s Size) least(t Size) Size { return Size{min(s[0], t[0]), min(s[1], t[1])} }

// sizeOf is the size of one result of an order.
func sizeOf(o *horde.Order) Size {
	if o.Kind == horde.Image {
		return size(o.Image.Pixels(), int64(o.Image.MaxSolverSteps()))
	}
	return size(int64(*o.Text.MaxLength), int64(*o.Text.MaxContextLength))
}

// size is exact for all that the interface lets through; beyond, everything counts as equally large.
func size(a, b int64) Size { return Size{int32(min(a, math.MaxInt32)), int32(min(b, math.MaxInt32))} }

// Queue is the waiting queue of one kind of work.
type Queue struct {
	kind    horde.Kind
	classes map[horde.Needs]*class
	shapes  map[horde.Needs]*shape // by needs without the models
	byModel map[string][]*class
	anyWork []*class // classes of requests that name no model
	users   map[horde.UserID]*owned
	targets map[horde.WorkerID]scope // requests that name the worker as allowed
	// blocked counts the requests that name the worker as not allowed; aimed those that name allowed workers.
	blocked map[horde.WorkerID]int
	aimed   int
	// pixels counts waiting requests by area, for the worker that is told how many are too large.
	pixels map[int32]int

	entries int
	results int64
	things  float64
	serial  uint64
	search  uint64 // number of the current match, to test each class once

	// filling are the nodes that Fill's trees are to be built of; nil outside of it.
	filling map[*tree][]*node

	field *field
	// ranks are places that took long to find and are good for a while.
	ranks map[*Entry]ranked
}

// class is a set of waiting requests with equal needs.
type class struct {
	needs  horde.Needs
	models []string
	shape  *shape
	open   tree // those that any worker may take, and those that bar a few
	count  int  // with those that name allowed workers
	// results and things sum what is left over the whole class.
	results int64
	things  float64

	seen   uint64 // last search that tested the class
	misfit horde.Misfit

	rivals      []*class // classes that compete for a worker that could take this one's requests, this one included
	rivalsUntil time.Time
	rival       uint64 // last search for rivals that found this class
}

// shape is what classes that differ in their models alone have in common. There are few, however many models there are.
type shape struct {
	needs   horde.Needs // with a model that nobody has
	models  []string
	count   int // requests that name models
	classes int

	seen    uint64 // last search that came by one of its classes
	counted int    // requests of classes that this search counted one by one
}

// noModel stands for models that a worker does not have. One that declares it deceives itself about its skipped counts.
const noModel = "\x00"

// scope is a part of the queue that a worker looks at before or beside the open classes.
type scope map[*class]*tree

// owned is what one user has waiting.
type owned struct {
	trees   scope
	results int
	byModel map[string]int // results left by model; kept for the anonymous user only
}

// Entry is a request in the queue.
type Entry struct {
	Request *horde.Request

	class   *class
	base    int64
	created int64
	serial  uint64
	size    Size
	things  float64 // of one result
	general node
	own     node
	aim     *aim // nil where any worker may serve the request
}

// aim are the only workers that may serve a request or, with barring, those that may not.
type aim struct {
	targets []horde.WorkerID
	barring bool
	nodes   []*node // one for each allowed worker
}

// barred tells whether the request names workers, and this one not as it should.
func (e *Entry) barred(w horde.WorkerID) bool {
	return e.aim != nil && slices.Contains(e.aim.targets, w) == e.aim.barring
}

// New returns an empty queue.
func New(kind horde.Kind) *Queue {
	return &Queue{
		kind: kind, classes: map[horde.Needs]*class{}, shapes: map[horde.Needs]*shape{}, byModel: map[string][]*class{},
		users: map[horde.UserID]*owned{}, targets: map[horde.WorkerID]scope{}, blocked: map[horde.WorkerID]int{},
		pixels: map[int32]int{}, ranks: map[*Entry]ranked{},
	}
}

// Add puts a request with something left into the queue. o is its order, which the queue does not keep.
func (q *Queue) Add(r *horde.Request, o *horde.Order) *Entry {
	q.serial++
	e := &Entry{
		Request: r, class: q.class(o.Needs()), base: r.AgeingBase(), created: r.Created.UnixNano(), serial: q.serial,
		size: sizeOf(o), things: o.Things(),
	}
	c := e.class
	c.count++
	c.shape.add(c, 1)
	q.entries++
	q.count(e, r.Left)
	if q.kind == horde.Image {
		q.pixels[e.size[0]]++
	}
	if len(o.Workers) > 0 {
		e.aim = &aim{targets: o.Workers, barring: o.WorkerBlacklist}
	}
	switch {
	case e.aim == nil:
		q.insert(&c.open, &e.general, e)
	case e.aim.barring:
		q.insert(&c.open, &e.general, e)
		for _, w := range e.aim.targets {
			q.blocked[w]++
		}
	default:
		q.aimed++
		for _, w := range e.aim.targets {
			if q.targets[w] == nil {
				q.targets[w] = scope{}
			}
			n := &node{}
			q.insert(q.targets[w].tree(c), n, e)
			e.aim.nodes = append(e.aim.nodes, n)
		}
	}
	q.insert(q.owned(r.User).trees.tree(c), &e.own, e)
	return e
}

// insert puts an entry into a tree, or notes that for Filled.
func (q *Queue) insert(t *tree, n *node, e *Entry) {
	if q.filling == nil {
		t.insert(n, e)
		return
	}
	n.entry = e
	q.filling[t] = append(q.filling[t], n)
}

// Fill makes Add quicker until Filled is called, for many requests at once. In between the queue may only be added to.
func (q *Queue) Fill() { q.filling = map[*tree][]*node{} }

// Filled ends what Fill has begun: all trees are built at once, on all processors.
func (q *Queue) Filled() {
	var building sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for t, nodes := range q.filling {
		free <- struct{}{}
		building.Go(func() {
			t.build(nodes)
			<-free
		})
	}
	building.Wait()
	q.filling = nil
}

func (s scope) tree(c *class) *tree {
	t := s[c]
	if t == nil {
		t = &tree{}
		s[c] = t
	}
	return t
}

func (q *Queue) owned(u horde.UserID) *owned {
	o := q.users[u]
	if o == nil {
		o = &owned{trees: scope{}}
		if u == horde.Anonymous {
			o.byModel = map[string]int{}
		}
		q.users[u] = o
	}
	return o
}

func (q *Queue) class(n horde.Needs) *class {
	c := q.classes[n]
	if c != nil {
		return c
	}
	c = &class{needs: n, models: n.ModelList(), shape: q.shape(n)}
	q.classes[n] = c
	if len(c.models) == 0 {
		q.anyWork = append(q.anyWork, c)
	}
	for _, m := range c.models {
		q.byModel[m] = append(q.byModel[m], c)
	}
	return c
}

func (q *Queue) shape(n horde.Needs) *shape {
	n.Models = noModel
	s := q.shapes[n]
	if s == nil {
		s = &shape{needs: n, models: []string{noModel}}
		q.shapes[n] = s
	}
	s.classes++
	return s
}

// add counts n requests of a class of the shape.
func (s *shape) add(c *class, n int) {
	if len(c.models) > 0 {
		s.count += n
	}
}

// count adds n results of an entry to all sums.
func (q *Queue) count(e *Entry, n int) {
	things := float64(n) * e.things
	q.results += int64(n)
	q.things += things
	e.class.results += int64(n)
	e.class.things += things
	u := q.owned(e.Request.User)
	u.results += n
	if u.byModel != nil {
		for _, m := range e.class.models {
			if u.byModel[m] += n; u.byModel[m] == 0 {
				delete(u.byModel, m)
			}
		}
	}
}

// SetLeft changes how many results of a waiting request are left. With none left, or none to hand out, use Remove.
func (q *Queue) SetLeft(e *Entry, left int) {
	q.count(e, left-e.Request.Left)
	e.Request.Left = left
	if e.general.tree != nil {
		e.general.sumUp()
	}
	if e.aim != nil {
		for _, n := range e.aim.nodes {
			n.sumUp()
		}
	}
	e.own.sumUp()
}

// Remove takes a request out of the queue. Its Left stays as it is; its priority is brought up to now.
func (q *Queue) Remove(e *Entry, now time.Time) {
	r, c := e.Request, e.class
	q.count(e, -r.Left)
	q.entries--
	c.shape.add(c, -1)
	delete(q.ranks, e)
	if q.kind == horde.Image {
		if q.pixels[e.size[0]]--; q.pixels[e.size[0]] == 0 {
			delete(q.pixels, e.size[0])
		}
	}
	if e.general.tree != nil {
		c.open.remove(&e.general)
	}
	if e.aim != nil {
		q.forget(c, e.aim)
	}
	u := q.users[r.User]
	t := e.own.tree
	t.remove(&e.own)
	if t.root == nil {
		delete(u.trees, c)
		if len(u.trees) == 0 {
			delete(q.users, r.User)
		}
	}
	if c.count--; c.count == 0 {
		q.drop(c)
	}
	r.Priority, r.Queued = r.PriorityAt(now), now
}

// forget undoes what Add noted of the workers that a request names.
func (q *Queue) forget(c *class, a *aim) {
	if a.barring {
		for _, w := range a.targets {
			if q.blocked[w]--; q.blocked[w] == 0 {
				delete(q.blocked, w)
			}
		}
		return
	}
	q.aimed--
	for i, n := range a.nodes {
		t := n.tree
		t.remove(n)
		if w := a.targets[i]; t.root == nil {
			delete(q.targets[w], c)
			if len(q.targets[w]) == 0 {
				delete(q.targets, w)
			}
		}
	}
}

func (q *Queue) drop(c *class) {
	delete(q.classes, c.needs)
	if c.shape.classes--; c.shape.classes == 0 {
		delete(q.shapes, c.shape.needs)
	}
	if len(c.models) == 0 {
		q.anyWork = without(q.anyWork, c)
	}
	for _, m := range c.models {
		if q.byModel[m] = without(q.byModel[m], c); len(q.byModel[m]) == 0 {
			delete(q.byModel, m)
		}
	}
}

// without removes c from a list whose order does not matter.
func without(list []*class, c *class) []*class {
	for i, x := range list {
		if x == c {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			return list[:last]
		}
	}
	return list
}

// Waiting sums the queue: requests, results left, raw things left.
func (q *Queue) Waiting() (requests int, results int64, things float64) {
	return q.entries, q.results, q.things
}

// WaitingOf is how many results a user has waiting. For the anonymous user with models, only requests that name one of the
// models count, once for each that they name.
func (q *Queue) WaitingOf(u horde.UserID, models []string) int {
	o := q.users[u]
	if o == nil {
		return 0
	}
	if u != horde.Anonymous || len(models) == 0 {
		return o.results
	}
	n := 0
	for _, m := range models {
		n += o.byModel[m]
	}
	return n
}

// Models calls f for each model that waiting requests name, with what is left of them. A request counts fully for each
// model that it names.
func (q *Queue) Models(f func(model string, results int64, things float64)) {
	for m := range q.byModel {
		results, things := q.Model(m)
		f(m, results, things)
	}
}

// Model sums what is left of the waiting requests that name a model.
func (q *Queue) Model(model string) (results int64, things float64) {
	for _, c := range q.byModel[model] {
		results += c.results
		things += c.things
	}
	return results, things
}

// Targets tells whether a waiting request names the worker, as allowed or as not allowed.
func (q *Queue) Targets(w horde.WorkerID) bool { return len(q.targets[w]) > 0 || q.blocked[w] > 0 }
