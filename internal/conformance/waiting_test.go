// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// What is ours on top of the API: pops that wait, and events.

// later makes a call in the background.
func (s *server) later(call func() answer) <-chan answer {
	got := make(chan answer, 1)
	go func() { got <- call() }()
	return got
}

func TestAPopWithWaitIsAnsweredWhenAJobComes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(1000, 0), s.user(0, 0)
		for name, pop := range map[string]func() answer{
			"field":      func() answer { return s.tryPopImage(w, "field", fields{"wait": 60}) },
			"with point": func() answer { return s.tryPopImage(w, "with point", fields{"wait": 60.0}) },
			"header": func() answer {
				return s.call("POST", "/generate/pop", w, fields{"name": "header", "models": []string{"Deliberate"}, "bridge_agent": reGen}, header{"Horde-Wait", "60"})
			},
		} {
			began := time.Now()
			got := s.later(pop)
			time.Sleep(10 * time.Second)
			id := s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}})
			a := s.want(<-got, http.StatusOK)
			s.job(a)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("%s: the pop took %v", name, took)
			}
			s.deliver(w, a)
			s.shows(s.check(id), fields{"done": true})
		}
	})
}

func TestAPopWithWaitEndsWithTheUsualAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(1000, 0), s.user(0, 0)
		s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "nsfw": true})
		for wait, want := range map[string]time.Duration{"0": 0, "3": 3 * time.Second, "1000": time.Minute} {
			began := time.Now()
			s.skips(s.popImage(w, "worker", fields{"wait": json.RawMessage(wait), "nsfw": false}), fields{"nsfw": 1.0})
			if took := time.Since(began); took != want {
				t.Errorf("a pop that wants to wait %s s took %v", wait, took)
			}
			time.Sleep(horde.CheckInEvery)
		}
		began := time.Now()
		s.noJob(s.popText(w, "wordy", fields{"wait": 60, "softprompts": []string{strings.Repeat("x", 32<<10)}}))
		if took := time.Since(began); took != 0 {
			t.Errorf("a pop with a large body waits %v", took)
		}
		for _, wrong := range []any{-1, "5", 1.5, nil} {
			s.invalid(s.tryPopImage(w, "worker", fields{"wait": wrong}), "wait")
			s.invalid(s.tryPopText(w, "scribe", fields{"wait": wrong}), "wait")
		}
	})
}

// stream is an answer that is read while it is being written.
type stream struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	ended  bool
	leave  context.CancelFunc
}

func (w *stream) Header() http.Header { return w.header }

func (w *stream) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *stream) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.Write(p)
}

func (w *stream) Flush() {}

// event is one event, or a comment, whose name is empty.
type event struct {
	name, id string
	answer
}

// listen opens the events of a request in the background.
func (s *server) listen(id string, headers ...header) *stream {
	req := s.request("GET", "/api/v2/events/"+id, account{}, nil, headers...)
	ctx, leave := context.WithCancel(req.Context())
	w := &stream{header: http.Header{}, leave: leave}
	go func() {
		s.Handler().ServeHTTP(w, req.WithContext(ctx))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = true
	}()
	return w
}

// events takes what has come since the last time.
func (w *stream) events() (events []event, ended bool) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range strings.SplitSeq(strings.TrimSuffix(w.body.String(), "\n\n"), "\n\n") {
		var e event
		for line := range strings.SplitSeq(part, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.text = value
				_ = json.Unmarshal([]byte(value), &e.value)
			}
		}
		if part != "" {
			events = append(events, e)
		}
	}
	w.body.Reset()
	return events, w.ended
}

// next takes the one event that has come.
func (s *server) next(w *stream, name, id string, ended bool) answer {
	s.t.Helper()
	events, end := w.events()
	if len(events) != 1 || events[0].name != name || events[0].id != id || end != ended {
		s.t.Fatalf("got %+v (ended: %t), want one event %q with the id %q (ended: %t)", events, end, name, id, ended)
	}
	return events[0].answer
}

func TestEventsTellEveryChangeOfARequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(1000, 0), s.user(0, horde.Trusted)
		s.noJob(s.popImage(w, "worker", nil)) // is online
		id := s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"n": 2, "width": 512, "height": 512}})
		es := s.listen(id, header{"Accept-Encoding", "gzip"})
		first := s.next(es, "status", "1", false)
		if check := s.check(id); first.text != strings.TrimSpace(check.text) {
			t.Errorf("the first event is %s, a check %s", first.text, check.text)
		}
		for name, want := range map[string]string{"Content-Type": "text/event-stream; charset=utf-8", "Content-Encoding": "", "X-Accel-Buffering": "no", "Access-Control-Allow-Origin": "*"} {
			if got := es.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		a := s.popImage(w, "worker", nil)
		s.shows(s.next(es, "status", "2", false), fields{"processing": 1.0, "waiting": 1.0, "queue_position": 1.0})
		b := s.popImage(w, "worker", nil)
		s.shows(s.next(es, "status", "3", false), fields{"processing": 2.0, "waiting": 0.0, "queue_position": 0.0})
		s.deliver(w, a)
		s.shows(s.next(es, "status", "4", false), fields{"finished": 1.0, "done": false})
		s.fault("image", w, s.job(b))
		s.shows(s.next(es, "status", "5", false), fields{"restarted": 1.0, "waiting": 1.0})
		time.Sleep(horde.CheckInEvery * 2) // a worker that failed gets the request again after a minute
		if events, ended := es.events(); ended || len(events) != 4 {
			t.Errorf("in a minute without news came %+v, want a heartbeat every 15 seconds", events)
		}
		time.Sleep(time.Second)
		s.deliver(w, s.popImage(w, "worker", nil))
		events, ended := es.events()
		last := events[len(events)-1]
		if !ended || last.name != "done" || last.id != "end" {
			t.Fatalf("the last event is %+v (ended: %t)", last, ended)
		}
		s.shows(last.answer, fields{"finished": 2.0, "done": true, "faulted": false, "shared": false})
		if status := s.status("image", id); last.text != strings.TrimSpace(status.text) {
			t.Errorf("the last event is %s, the status %s", last.text, status.text)
		}
		again := s.listen(id)
		s.next(again, "done", "end", true)
		s.want(s.call("GET", "/events/"+id, account{}, nil, header{"Last-Event-ID", "end"}), http.StatusNoContent)
		if a := s.want(s.call("HEAD", "/events/"+id, account{}, nil), http.StatusOK); a.text != "" {
			t.Errorf("HEAD has a body: %s", a.text)
		}
	})
}

// A machine dies in the middle of a text: who listens is told that it begins anew, and gets one whole text of another machine.
func TestB121ATextWhoseMachineDied(t *testing.T) {
	t.Parallel()
	example(t, "cases", 121)
	inBubble(t, func(t *testing.T, s *server) {
		u, dead, alive := s.user(1000, 0), s.user(0, 0), s.user(0, horde.Trusted)
		s.noJob(s.popText(alive, "alive", nil))
		id := s.text(u, `{"prompt":"x","models":["test/7B"]}`)
		es := s.listen(id)
		s.next(es, "status", "1", false)
		lost := s.job(s.popText(dead, "dead", nil))
		s.shows(s.next(es, "status", "2", false), fields{"processing": 1.0, "restarted": 0.0})
		time.Sleep(153 * time.Second) // its lease is over
		events, ended := es.events()
		last := events[len(events)-1]
		if ended || last.name != "status" {
			t.Fatalf("the last event is %+v (ended: %t)", last, ended)
		}
		s.shows(last.answer, fields{"processing": 0.0, "waiting": 1.0, "restarted": 1.0, "faulted": false})
		job := s.job(s.popText(alive, "alive", nil))
		es.events()
		s.refused(s.call("POST", "/generate/text/submit", dead, fields{"id": lost, "generation": "half a sen"}), http.StatusBadRequest, "AbortedGen")
		s.deliverText(alive, job, "a whole sentence.")
		done := s.next(es, "done", "end", true)
		if list := done.list("generations"); len(list) != 1 || done.str("generations", 0, "text") != "a whole sentence." || done.str("generations", 0, "worker_name") != "alive" {
			t.Errorf("got %s", done.text)
		}
	})
}

func TestEventsEndWhenARequestDoes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(1000, 0), s.user(0, horde.Trusted)
		cancelled := s.text(u, fields{"prompt": "x"})
		es := s.listen(cancelled)
		s.shows(s.next(es, "status", "1", false), fields{"waiting": 1.0, "is_possible": false})
		s.want(s.call("DELETE", "/generate/text/status/"+cancelled, account{}, nil), http.StatusOK)
		s.shows(s.next(es, "done", "end", true), fields{"waiting": 0.0, "done": true})

		failing := s.text(u, fields{"prompt": "x"})
		es = s.listen(failing)
		for range horde.MaxFaults {
			s.fault("text", w, s.job(s.popText(w, "scribe", nil)))
		}
		events, ended := es.events()
		if last := events[len(events)-1]; !ended || last.name != "fault" || last.at("faulted") != true {
			t.Errorf("the last event of a request that was given up is %+v (ended: %t)", last, ended)
		}

		expiring := s.text(u, fields{"prompt": "x", "models": []string{"nobody/has it"}})
		es = s.listen(expiring)
		time.Sleep(horde.Lifetime + 2*time.Second)
		events, ended = es.events()
		if last := events[len(events)-1]; !ended || last.name != "gone" || last.rc() != "RequestNotFound" {
			t.Errorf("the last event of a request that has expired is %+v (ended: %t)", last, ended)
		}
		s.refused(s.get("/events/"+expiring, account{}), http.StatusNotFound, "RequestNotFound")
		s.refused(s.get("/events/nothing", account{}), http.StatusNotFound, "RequestNotFound")
	})
}

func TestEventsAreBoundedByAddress(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		id := s.text(s.user(1000, 0), fields{"prompt": "x"})
		var open []*stream
		for range 200 {
			time.Sleep(110 * time.Millisecond) // the rate limit is that of a check
			es := s.listen(id, header{"X-Forwarded-For", "198.51.100.7"})
			s.next(es, "status", "1", false)
			open = append(open, es)
		}
		time.Sleep(time.Second)
		from := header{"X-Forwarded-For", "198.51.100.7"}
		if a := s.call("GET", "/events/"+id, account{}, nil, from); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("one stream too many is answered %d %s", a.status, a.text)
		}
		s.next(s.listen(id, header{"X-Forwarded-For", "198.51.100.8"}), "status", "1", false)
		open[0].leave()
		synctest.Wait()
		s.next(s.listen(id, from), "status", "1", false)
		s.Engine.Drain()
	}, func(c *node.Config) { c.NoRateLimit = false })
}

// TestWaitingEndsWhenTheNodeStops stops a node on which a pop waits and a stream is open.
func TestWaitingEndsWhenTheNodeStops(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := s.text(s.user(1000, 0), fields{"prompt": "x"})
	w := s.user(0, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	base := "http://" + l.Addr().String()
	es, err := http.Get(base + "/api/v2/events/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer es.Body.Close()
	lines := bufio.NewReader(es.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "event: status\n" {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	c, err := client.New(base, w.key)
	if err != nil {
		t.Fatal(err)
	}
	popped := make(chan error, 1)
	go func() {
		job, err := c.PopText(t.Context(), client.PopTextRequest{Name: "w", Models: []string{"other"}, Threads: 1, Amount: 1, MaxLength: 64, Softprompts: []string{}, Wait: 60})
		if err == nil && job.Found() {
			t.Error("the pop got a job that is not there")
		}
		popped <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if a := s.get("/workers/name/w", account{}); a.status == http.StatusOK {
			break // it has checked in, and waits
		}
	}
	began := time.Now()
	stop()
	if err := <-popped; err != nil {
		t.Errorf("the pop ends with %v", err)
	}
	for err == nil {
		_, err = lines.ReadString('\n')
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// counting counts the calls to each operation.
type counting struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v2/"), "/0")
	c.calls[r.Method+" "+path]++
	c.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

// TestOurClientAndWorkerDoNotPoll makes a text with the Go client over a real connection.
func TestOurClientAndWorkerDoNotPoll(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	_, key := s.User("requester", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)
	calls := &counting{calls: map[string]int{}}
	transport := client.WithHTTPClient(&http.Client{Transport: calls, Timeout: time.Minute})
	worker, err := client.New(s.URL, owner, transport)
	if err != nil {
		t.Fatal(err)
	}
	requester, err := client.New(s.URL, key, transport)
	if err != nil {
		t.Fatal(err)
	}
	var working sync.WaitGroup
	working.Go(func() {
		job, err := worker.PopText(t.Context(), client.PopTextRequest{Name: "w", Models: []string{"test/7B"}, BridgeAgent: validated, Threads: 1, Amount: 1,
			MaxLength: 512, MaxContextLength: 4096, Softprompts: []string{}, Wait: 60})
		if err != nil || !job.Found() {
			t.Errorf("the pop got %+v, %v", job, err)
			return
		}
		time.Sleep(100 * time.Millisecond) // the client sees that it is being made
		if _, err := worker.SubmitTextResult(t.Context(), client.TextResult{ID: job.ID, Generation: " in a land far away", State: "ok"}); err != nil {
			t.Error(err)
		}
	})
	defer working.Wait()
	var seen []client.Status
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	result, err := requester.GenerateText(ctx, client.TextRequest{Prompt: "Once upon a time"}, func(st client.Status) { seen = append(seen, st) })
	if err != nil || len(result.Texts) != 1 || result.Texts[0].Text != " in a land far away" {
		t.Fatalf("the result is %+v, %v", result, err)
	}
	if last := seen[len(seen)-1]; !last.Done || result.Status != last {
		t.Errorf("the last status was %+v, the result's is %+v", last, result.Status)
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	for path, n := range calls.calls {
		if n != 1 || !strings.HasPrefix(path, "POST ") && !strings.HasPrefix(path, "GET events/") {
			t.Errorf("the calls were %v, want one of each and no poll", calls.calls)
		}
	}
}
