// SPDX-License-Identifier: AGPL-3.0-or-later

// Package storetest is the test-suite that every driver of package store passes, and the data that it is made of.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// Open makes an empty record for one test. reopen closes the store and opens the same record again, as the next process
// would. The record is gone when the test is over.
type Open func(t *testing.T) (s store.Store, reopen func() store.Store)

// Run runs the suite. The tests run in parallel.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"a new record is empty", testNew},
		{"every field comes back", testFields},
		{"what a client did not send differs from what it sent empty", testPresence},
		{"batches add up", testMerge},
		{"a change keeps the order", testOrderStays},
		{"documents are written whole, and go", testDocuments},
		{"what is deleted takes its own with it", testDelete},
		{"names and keys are unique", testUnique},
		{"names and keys change hands in a batch", testSwap},
		{"a batch that does not follow the record is refused whole", testRefused},
		{"events come in order without gaps", testEvents},
		{"a reader of events does not hold up the writer", testSlowReader},
		{"a context that has ended leaves nothing", testCancelled},
		{"commits and loads at a time", testConcurrent},
		{"histories end as they do in memory", testHistories},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open)
		})
	}
}

// filler returns a source of values that is the same in each run of a test.
func filler(sparse bool, seed uint64) *Filler {
	return &Filler{Rand: rand.New(rand.NewPCG(seed, 7)), Sparse: sparse}
}

func commit(t testing.TB, s store.Store, b *store.Batch) {
	t.Helper()
	if err := s.Commit(context.Background(), b); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func load(t testing.TB, s store.Store) *store.State {
	t.Helper()
	state, err := s.Load(context.Background())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	normalise(state)
	return state
}

// normalise puts things whose order is free in the order of their ids, and empty maps and lists where there are none.
func normalise(s *store.State) {
	if len(s.Balances) == 0 {
		s.Balances = nil
	}
	if len(s.Earnings) == 0 {
		s.Earnings = nil
	}
	if len(s.System) == 0 {
		s.System = nil
	}
	s.Users, s.Workers, s.Requests, s.Jobs = nilIfEmpty(s.Users), nilIfEmpty(s.Workers), nilIfEmpty(s.Requests), nilIfEmpty(s.Jobs)
	slices.SortFunc(s.Users, func(a, b *horde.User) int { return int(int64(a.ID) - int64(b.ID)) })
	slices.SortFunc(s.Workers, func(a, b *horde.Worker) int { return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]) })
	slices.SortFunc(s.Jobs, func(a, b *horde.Job) int { return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:]) })
}

func nilIfEmpty[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// same fails the test where two values differ, and tells where.
func same(t testing.TB, got, want any) {
	t.Helper()
	if d := difference("", reflect.ValueOf(got), reflect.ValueOf(want)); d != "" {
		t.Fatal(d)
	}
}

// difference describes the first place where two values of one type differ, in the sense of reflect.DeepEqual.
func difference(path string, got, want reflect.Value) string {
	if reflect.DeepEqual(got.Interface(), want.Interface()) {
		return ""
	}
	if got.Type() == want.Type() && got.Type() != timeType && got.Type() != uuidType {
		switch got.Kind() {
		case reflect.Pointer:
			if !got.IsNil() && !want.IsNil() {
				return difference(path, got.Elem(), want.Elem())
			}
		case reflect.Struct:
			for i := range got.NumField() {
				if f := got.Type().Field(i); f.IsExported() {
					if d := difference(path+"."+f.Name, got.Field(i), want.Field(i)); d != "" {
						return d
					}
				}
			}
		case reflect.Slice:
			if got.Len() == want.Len() && got.IsNil() == want.IsNil() {
				for i := range got.Len() {
					if d := difference(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i)); d != "" {
						return d
					}
				}
			}
		case reflect.Map:
			for _, k := range want.MapKeys() {
				if v := got.MapIndex(k); v.IsValid() {
					if d := difference(fmt.Sprintf("%s[%v]", path, k), v, want.MapIndex(k)); d != "" {
						return d
					}
				}
			}
		}
	}
	return fmt.Sprintf("%s is %.300s, want %.300s", path, fmt.Sprintf("%#v", got.Interface()), fmt.Sprintf("%#v", want.Interface()))
}

func events(t testing.TB, s store.Store, first int64) []*kudos.Event {
	t.Helper()
	var list []*kudos.Event
	for e, err := range s.Events(context.Background(), first) {
		if err != nil {
			t.Fatalf("events: %v", err)
		}
		list = append(list, e)
	}
	return list
}

func testNew(t *testing.T, open Open) {
	s, reopen := open(t)
	for range 2 {
		same(t, load(t, s), &store.State{})
		if list := events(t, s, 1); len(list) != 0 {
			t.Fatalf("%d events", len(list))
		}
		if err := s.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
		commit(t, s, &store.Batch{})
		s = reopen()
	}
}

// full is a batch with something of everything.
func full(f *Filler, firstEvent int64) *store.Batch {
	b := &store.Batch{
		Settings: &store.Settings{}, Balances: map[horde.UserID]kudos.Balance{},
		Earnings: map[horde.WorkerID]kudos.Earnings{},
		System: map[kudos.AccountClass]horde.Kudos{
			kudos.SystemTax: horde.Kudos(f.Rand.Int64()), kudos.SystemJobs: -horde.Kudos(f.Rand.Int64()), kudos.SystemFloor: 0,
		},
	}
	f.Fill(b.Settings)
	for range 3 {
		id := horde.UserID(f.Rand.Int32())
		balance := kudos.Balance{}
		f.Fill(&balance)
		balance.Floor, balance.Held = 0, 0 // these two are not stored
		b.Users, b.Balances[id] = append(b.Users, f.User(id)), balance
		w, earnings := f.Worker(), kudos.Earnings{}
		f.Fill(&earnings)
		b.Workers, b.Earnings[w.ID] = append(b.Workers, w), earnings
		r := f.Request()
		b.NewRequests = append(b.NewRequests, r)
		b.Jobs = append(b.Jobs, f.Job(r.ID), f.Job(r.ID))
		b.Events = append(b.Events, f.Event(firstEvent+int64(len(b.Events))))
	}
	return b
}

// stateOf is what a record holds that began with a batch.
func stateOf(b *store.Batch) *store.State {
	s := &store.State{
		Settings: b.Settings, Balances: b.Balances, Earnings: b.Earnings, System: b.System,
		Users: pointers(b.Users), Workers: pointers(b.Workers), Requests: pointers(b.NewRequests), Jobs: pointers(b.Jobs),
	}
	if n := len(b.Events); n > 0 {
		s.LastEvent = b.Events[n-1].No
	}
	normalise(s)
	return s
}

func pointers[T any](list []T) (p []*T) {
	for i := range list {
		c := list[i]
		p = append(p, &c)
	}
	return p
}

func testFields(t *testing.T, open Open) {
	for seed := range uint64(8) {
		s, reopen := open(t)
		b := full(filler(seed > 0, seed), 1) // first all fields, then half of them
		commit(t, s, b)
		same(t, load(t, s), stateOf(b))
		s = reopen()
		same(t, load(t, s), stateOf(b))
		same(t, events(t, s, 1), b.Events)
	}
}

func testPresence(t *testing.T, open Open) {
	s, _ := open(t)
	zero, seed := 0.0, uint32(0)
	b := &store.Batch{}
	for _, p := range []horde.ImageParams{
		{},
		{Loras: []horde.Lora{}, TIs: []horde.TI{}, PostProcessing: []string{}, ExtraTexts: []horde.ExtraText{}},
		{Loras: []horde.Lora{{}}, PostProcessing: []string{""}, DenoisingStrength: &zero, Seed: &seed},
	} {
		b.NewRequests = append(b.NewRequests, horde.Request{ID: horde.NewRequestID(), Order: (&horde.Order{Kind: horde.Image, Image: &p}).Pack()})
	}
	for _, p := range []horde.TextSettings{
		{}, {StopSequence: []string{}, SamplerOrder: []int{}, Temperature: &zero}, {StopSequence: []string{"", "x"}},
	} {
		b.NewRequests = append(b.NewRequests, horde.Request{ID: horde.NewRequestID(),
			Order: (&horde.Order{Kind: horde.Text, Text: &horde.TextParams{TextSettings: p}}).Pack()})
	}
	commit(t, s, b)
	same(t, load(t, s), stateOf(b))
}

func testDocuments(t *testing.T, open Open) {
	s, reopen := open(t)
	document := func(kind, id, data string) store.Document {
		return store.Document{Kind: kind, ID: id, Data: []byte(data)}
	}
	gone := func(kind, id string) store.Document { return store.Document{Kind: kind, ID: id} }
	for _, step := range []struct{ batch, want []store.Document }{
		{
			batch: []store.Document{document("team", "b", "{}"), document("team", "a", "\x00\xff'"), document("style", "b", "")},
			want:  []store.Document{document("style", "b", ""), document("team", "a", "\x00\xff'"), document("team", "b", "{}")},
		},
		{
			batch: []store.Document{document("team", "a", "2"), gone("team", "b"), gone("team", "never there")},
			want:  []store.Document{document("style", "b", ""), document("team", "a", "2")},
		},
	} {
		commit(t, s, &store.Batch{Documents: step.batch})
		same(t, load(t, s).Documents, step.want)
		s = reopen()
		same(t, load(t, s).Documents, step.want)
	}
}

func testMerge(t *testing.T, open Open) {
	s, reopen := open(t)
	f := filler(false, 1)
	first, second := full(f, 1), full(f, 4)
	commit(t, s, first)
	s = reopen()
	// The second batch renews one of each thing, and adds others.
	second.Users = append(second.Users, f.User(first.Users[0].ID))
	second.Balances[first.Users[0].ID] = kudos.Balance{Spendable: 1}
	w := f.Worker()
	w.ID = first.Workers[0].ID
	second.Workers = append(second.Workers, w)
	second.Earnings[w.ID] = kudos.Earnings{Uptime: 5}
	r := f.Request()
	r.ID, r.Order = first.NewRequests[0].ID, ""
	second.Requests = append(second.Requests, r)
	j := f.Job(r.ID)
	j.ID = first.Jobs[0].ID
	second.Jobs = append(second.Jobs, j)
	second.System = map[kudos.AccountClass]horde.Kudos{kudos.SystemTax: 9, kudos.SystemAward: 10}
	commit(t, s, second)

	want := &store.Batch{
		Settings: second.Settings, Balances: map[horde.UserID]kudos.Balance{}, Earnings: map[horde.WorkerID]kudos.Earnings{},
		Users: append(first.Users[1:], second.Users...), Workers: append(first.Workers[1:], second.Workers...),
		NewRequests: append(slices.Clone(first.NewRequests), second.NewRequests...),
		Jobs:        append(first.Jobs[1:], second.Jobs...), Events: append(first.Events, second.Events...),
		System: map[kudos.AccountClass]horde.Kudos{
			kudos.SystemTax: 9, kudos.SystemAward: 10, kudos.SystemJobs: first.System[kudos.SystemJobs], kudos.SystemFloor: 0,
		},
	}
	r.Order = first.NewRequests[0].Order
	want.NewRequests[0] = r
	for _, b := range []*store.Batch{first, second} {
		for id, v := range b.Balances {
			want.Balances[id] = v
		}
		for id, v := range b.Earnings {
			want.Earnings[id] = v
		}
	}
	same(t, load(t, s), stateOf(want))
	s = reopen()
	same(t, load(t, s), stateOf(want))
	same(t, events(t, s, 1), want.Events)
}

func testOrderStays(t *testing.T, open Open) {
	s, _ := open(t)
	f := filler(false, 2)
	r := f.Request()
	commit(t, s, &store.Batch{NewRequests: []horde.Request{r}})
	changed := r
	changed.Left, changed.Order = 99, f.Order().Pack() // of which nothing must be taken
	commit(t, s, &store.Batch{Requests: []horde.Request{changed}})
	changed.Order = r.Order
	same(t, load(t, s).Requests, []*horde.Request{&changed})
}

func testDelete(t *testing.T, open Open) {
	s, reopen := open(t)
	f := filler(false, 3)
	b := full(f, 1)
	commit(t, s, b)
	gone, kept := b.NewRequests[1].ID, b.Workers[0]
	late := f.Job(gone) // made in the batch in which its request goes
	name := b.Workers[1].Name
	heir := f.Worker()
	heir.Name = name
	commit(t, s, &store.Batch{
		DeletedRequests: []horde.RequestID{gone, horde.NewRequestID()}, Jobs: []horde.Job{late},
		DeletedWorkers: []horde.WorkerID{b.Workers[1].ID, b.Workers[2].ID, horde.NewWorkerID()},
		Workers:        []horde.Worker{heir},
		Earnings:       map[horde.WorkerID]kudos.Earnings{b.Workers[2].ID: {Uptime: 1}},
	})
	s = reopen()
	want := *b
	want.NewRequests = []horde.Request{b.NewRequests[0], b.NewRequests[2]}
	want.Jobs = slices.DeleteFunc(slices.Clone(b.Jobs), func(j horde.Job) bool { return j.Request == gone })
	want.Workers = []horde.Worker{kept, heir}
	want.Earnings = map[horde.WorkerID]kudos.Earnings{kept.ID: b.Earnings[kept.ID]}
	same(t, load(t, s), stateOf(&want))
	same(t, events(t, s, 1), b.Events)
}

func testUnique(t *testing.T, open Open) {
	s, reopen := open(t)
	f := filler(false, 4)
	b := full(f, 1)
	nobody := horde.User{ID: 5} // no key and no login: any number of users may be without
	b.Users = append(b.Users, nobody, horde.User{ID: 6})
	commit(t, s, b)
	sameKey, sameLogin := f.User(7), f.User(7)
	sameKey.KeyHash, sameLogin.OAuthID = b.Users[0].KeyHash, b.Users[0].OAuthID
	sameName := f.Worker()
	sameName.Name = b.Workers[0].Name
	sameEvent := f.Event(4)
	sameEvent.Key = b.Events[0].Key
	twice := f.Worker()
	twin := f.Worker()
	twin.Name = twice.Name
	extra := f.Request()
	for name, bad := range map[string]*store.Batch{
		"key":     {Users: []horde.User{sameKey}},
		"login":   {Users: []horde.User{sameLogin}},
		"name":    {Workers: []horde.Worker{sameName}},
		"event":   {Events: []*kudos.Event{sameEvent}},
		"request": {NewRequests: []horde.Request{b.NewRequests[0]}},
		"twins":   {Workers: []horde.Worker{twice, twin}},
	} {
		bad.NewRequests = append([]horde.Request{extra}, bad.NewRequests...) // goes with the rest
		if err := s.Commit(context.Background(), bad); err == nil {
			t.Errorf("two things with the same %s were taken", name)
		}
		same(t, load(t, s), stateOf(b))
	}
	// The store is as usable as before.
	commit(t, s, &store.Batch{NewRequests: []horde.Request{extra}, Events: []*kudos.Event{f.Event(4)}})
	s = reopen()
	if state := load(t, s); len(state.Requests) != 4 || state.LastEvent != 4 {
		t.Fatalf("%d requests, last event %d", len(state.Requests), state.LastEvent)
	}
}

func testSwap(t *testing.T, open Open) {
	s, _ := open(t)
	f := filler(false, 5)
	b := full(f, 1)
	commit(t, s, b)
	want := *b
	want.Users, want.Workers = slices.Clone(b.Users), slices.Clone(b.Workers)
	for i := range want.Users { // each gets what the next had
		next := (i + 1) % len(b.Users)
		want.Users[i].KeyHash, want.Users[i].OAuthID = b.Users[next].KeyHash, b.Users[next].OAuthID
		want.Workers[i].Name = b.Workers[next].Name
	}
	commit(t, s, &store.Batch{Users: want.Users, Workers: want.Workers})
	same(t, load(t, s), stateOf(&want))
}

func testRefused(t *testing.T, open Open) {
	s, _ := open(t)
	f := filler(false, 6)
	b := full(f, 1)
	commit(t, s, b)
	unknown := f.Request()
	for name, bad := range map[string]*store.Batch{
		"an event too far":      {Events: []*kudos.Event{f.Event(5)}},
		"an event again":        {Events: []*kudos.Event{f.Event(3)}},
		"a gap between events":  {Events: []*kudos.Event{f.Event(4), f.Event(6)}},
		"an unknown request":    {Requests: []horde.Request{unknown}},
		"events back to front":  {Events: []*kudos.Event{f.Event(5), f.Event(4)}},
		"one good and one bad":  {Requests: []horde.Request{b.NewRequests[0], unknown}, Events: []*kudos.Event{f.Event(4)}},
		"good all but the last": {Users: []horde.User{f.User(1)}, Jobs: []horde.Job{f.Job(b.NewRequests[0].ID)}, Events: []*kudos.Event{f.Event(9)}},
	} {
		if err := s.Commit(context.Background(), bad); err == nil {
			t.Errorf("%s was taken", name)
		}
		same(t, load(t, s), stateOf(b))
	}
}

func testEvents(t *testing.T, open Open) {
	s, reopen := open(t)
	f := filler(false, 8)
	const n = 2500 // more than a page of any driver
	var all []*kudos.Event
	for len(all) < n {
		b := &store.Batch{}
		for range min(1+f.Rand.IntN(900), n-len(all)) {
			b.Events = append(b.Events, f.Event(int64(len(all)+1)))
			all = append(all, b.Events[len(b.Events)-1])
		}
		commit(t, s, b)
	}
	s = reopen()
	for _, first := range []int64{-5, 0, 1, 2, 1000, 1001, 1002, n, n + 1, n + 100} {
		same(t, events(t, s, first), nilIfEmpty(all[min(max(first-1, 0), n):]))
	}
	for e, err := range s.Events(context.Background(), 1) { // a reader may leave at any time
		if err != nil {
			t.Fatal(err)
		}
		if e.No == 7 {
			break
		}
	}
	if state := load(t, s); state.LastEvent != n {
		t.Fatalf("the last event is %d", state.LastEvent)
	}
}

func testSlowReader(t *testing.T, open Open) {
	s, _ := open(t)
	f := filler(true, 9)
	var first []*kudos.Event
	for i := range int64(10) {
		first = append(first, f.Event(i+1))
	}
	commit(t, s, &store.Batch{Events: first})
	seen := int64(0)
	for e, err := range s.Events(context.Background(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; e.No != seen {
			t.Fatalf("event %d follows event %d", e.No, seen-1)
		}
		if seen <= 10 {
			commit(t, s, &store.Batch{Events: []*kudos.Event{f.Event(10 + seen)}})
		}
	}
	if seen < 10 {
		t.Fatalf("%d events", seen)
	}
	if n := len(events(t, s, 1)); n != 20 {
		t.Fatalf("%d events in the end", n)
	}
}

func testCancelled(t *testing.T, open Open) {
	s, reopen := open(t)
	f := filler(false, 10)
	b := full(f, 1)
	commit(t, s, b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Commit(ctx, full(f, 4)); !errors.Is(err, context.Canceled) {
		t.Fatalf("commit: %v", err)
	}
	if _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("load: %v", err)
	}
	var err error
	for _, err = range s.Events(ctx, 1) {
	}
	if err == nil {
		t.Fatal("events were read")
	}
	same(t, load(t, s), stateOf(b))

	// Contexts that end while a batch is written: it is there whole, or not at all.
	next, traffic := int64(4), 0
	for i := range 30 {
		big := &store.Batch{}
		for range 20 {
			big.NewRequests = append(big.NewRequests, f.Request())
			big.Events = append(big.Events, f.Event(next+int64(len(big.Events))))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*200*time.Microsecond)
		err := s.Commit(ctx, big)
		cancel()
		if err == nil {
			next, traffic = next+20, traffic+20
		}
		state := load(t, s)
		if state.LastEvent != next-1 || len(state.Requests) != 3+traffic {
			t.Fatalf("%d requests and %d events, want %d and %d (commit: %v)", len(state.Requests), state.LastEvent,
				3+traffic, next-1, err)
		}
	}
	s = reopen()
	if state := load(t, s); state.LastEvent != next-1 {
		t.Fatalf("the last event is %d, want %d", state.LastEvent, next-1)
	}
}

func testConcurrent(t *testing.T, open Open) {
	s, _ := open(t)
	traffic, first := NewTraffic(1)
	commit(t, s, first)
	done := make(chan error, 1)
	go func() {
		for range 30 {
			if err := s.Commit(context.Background(), traffic.Batch(10)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		state := load(t, s)
		audit := kudos.NewAudit()
		for e, err := range s.Events(context.Background(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			if e.No > state.LastEvent {
				break
			}
			audit.Event(e)
		}
		stored := kudos.Stored{
			Users: map[horde.UserID]*horde.User{}, Balances: state.Balances, Earnings: state.Earnings, System: state.System,
			Requests: state.Requests, Jobs: state.Jobs, Last: state.LastEvent,
		}
		for _, u := range state.Users {
			stored.Users[u.ID] = u
		}
		// A state from the middle of a batch, or from two, does not pass the audit.
		if findings := audit.Findings(stored); len(findings) > 0 {
			t.Fatalf("%d findings: %s", len(findings), findings[0])
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
