// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// runScribe runs a scribe for a time on a fake clock and then stops it gently.
func runScribe(t *testing.T, h *fakeHorde, b backend.Text, d time.Duration, change func(*Config)) error {
	t.Helper()
	cfg := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() { errs <- run(ctx, cfg, UI{}, Backends{Text: b}, []string{"scribe"}, h.options()...) }()
	time.Sleep(d)
	cancel()
	return <-errs
}

func states(list []map[string]any) map[string]string {
	out := map[string]string{}
	for _, s := range list {
		out[s["id"].(string)] = s["state"].(string)
	}
	return out
}

func TestScribeWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{textJob("a", 150), "", textJob("b", 150)}}
		b := &fakeText{takes: 5 * time.Second}
		if err := runScribe(t, h, b, 30*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		subs := h.submitted()
		if len(subs) != 2 || subs[0]["generation"] != " and a" || subs[0]["state"] != "ok" || subs[0]["seed"] != 0.0 {
			t.Errorf("submitted %v", subs)
		}
		pop := h.popped[0]
		if pop["name"] != "S" || pop["models"].([]any)[0] != "Tiny-7B.Q4_K_M" || pop["max_context_length"] != 4096.0 ||
			pop["max_length"] != 512.0 || pop["bridge_agent"] != ScribeAgent("llamacpp") {
			t.Errorf("pop was %v", pop)
		}
		// Idle, the worker asks once a second.
		if n := h.pops(); n < 15 || n > 35 {
			t.Errorf("%d pops in 30 seconds", n)
		}
	})
}

// The worker pops again while it is busy, up to queue_size + max_threads, and no more than backend_concurrency requests
// are at the server.
func TestScribeHoldsJobsReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{textJob("a", 150), textJob("b", 150), textJob("c", 150), textJob("d", 150)}}
		b := &fakeText{takes: 20 * time.Second}
		go func() {
			time.Sleep(10 * time.Second)
			if n := h.pops(); n != 3 {
				t.Errorf("%d pops with 2 threads and a queue of 1", n)
			}
		}()
		if err := runScribe(t, h, b, 100*time.Second, func(c *Config) { c.MaxThreads, c.QueueSize = 2, 1 }); err != nil {
			t.Fatal(err)
		}
		if len(h.submitted()) != 4 || b.peak != 2 {
			t.Errorf("%d submitted, %d at once", len(h.submitted()), b.peak)
		}
	})
}

func TestScribeFailures(t *testing.T) {
	t.Parallel()
	refused := backend.Errorf(backend.Refused, "status 422: nonsense")
	busy := backend.Errorf(backend.Busy, "status 503: busy")
	for name, tc := range map[string]struct {
		fails []error
		fail  map[string][]failure
		want  map[string]string
		calls int
	}{
		"a refused job is handed back at once":                      {[]error{refused}, nil, map[string]string{"a": "faulted", "b": "ok"}, 2},
		"a busy server is asked again":                              {[]error{busy, busy, busy, busy}, nil, map[string]string{"a": "ok", "b": "ok"}, 6},
		"but not for ever":                                          {[]error{busy, busy, busy, busy, busy}, nil, map[string]string{"a": "faulted", "b": "ok"}, 6},
		"a reply that makes no sense is asked again":                {[]error{backend.Errorf(backend.Failed, "stream: not JSON")}, nil, map[string]string{"a": "ok", "b": "ok"}, 3},
		"a submit is repeated after 503":                            {nil, map[string][]failure{"/generate/text/submit": {{503, ""}, {503, ""}, {503, ""}}}, map[string]string{"a": "ok", "b": "ok"}, 2},
		"B129: a result waits until the horde can be reached again": {nil, map[string][]failure{"/generate/text/submit": {{0, ""}, {0, ""}, {0, ""}, {0, ""}}}, map[string]string{"a": "ok", "b": "ok"}, 2},
		"a lost answer means submitted":                             {nil, map[string][]failure{"/generate/text/submit": {{-1, ""}}}, map[string]string{"a": "ok", "b": "ok"}, 2},
		"an expired job is dropped":                                 {nil, map[string][]failure{"/generate/text/submit": {{404, "InvalidJobID"}}}, map[string]string{"b": "ok"}, 2},
		"a late one too":                                            {nil, map[string][]failure{"/generate/text/submit": {{400, "AbortedGen"}}}, map[string]string{"b": "ok"}, 2},
		"a result that does not validate is handed back":            {nil, map[string][]failure{"/generate/text/submit": {{400, ""}}}, map[string]string{"a": "faulted", "b": "ok"}, 2},
		"pops go on after 500s":                                     {nil, map[string][]failure{"/generate/text/pop": {{500, ""}, {0, ""}, {429, ""}}}, map[string]string{"a": "ok", "b": "ok"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &fakeHorde{jobs: []string{textJob("a", 150), textJob("b", 150)}, fail: tc.fail}
				b := &fakeText{takes: time.Second, fails: tc.fails}
				if err := runScribe(t, h, b, 120*time.Second, nil); err != nil {
					t.Fatal(err)
				}
				got := states(h.submitted())
				if len(got) != len(tc.want) || b.calls != tc.calls {
					t.Errorf("submitted %v with %d calls, want %v with %d", got, b.calls, tc.want, tc.calls)
				}
				for id, s := range tc.want {
					if got[id] != s {
						t.Errorf("%s is %q, want %q", id, got[id], s)
					}
				}
			})
		})
	}
}

// B117: a worker whose server or network was away is back with its next pop, without help.
func TestScribeSurvivesItsServerGoingAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := backend.Errorf(backend.Unreachable, "connection refused")
		h := &fakeHorde{jobs: []string{textJob("a", 150), textJob("b", 150), textJob("c", 150)}}
		b := &fakeText{takes: time.Second, fails: []error{away}, probes: []error{nil, away, away, away}}
		if err := runScribe(t, h, b, 120*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		got := states(h.submitted())
		if got["a"] != "faulted" || got["c"] != "ok" || len(got) != 3 {
			t.Errorf("submitted %v", got)
		}
	})
}

// What arrived before the time was up is delivered.
func TestScribeDeliversWhatThereIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{textJob("a", 60)}}
		b := &fakeText{takes: time.Hour, partial: " half a sen"}
		if err := runScribe(t, h, b, 100*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		subs := h.submitted()
		if len(subs) != 1 || subs[0]["generation"] != " half a sen" || subs[0]["state"] != "ok" {
			t.Errorf("submitted %v", subs)
		}
	})
}

func TestScribeInterruptsASilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{textJob("a", 600)}}
		b := &fakeText{takes: time.Hour, stall: true}
		start := time.Now()
		if err := runScribe(t, h, b, 60*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		if got := states(h.submitted()); got["a"] != "faulted" || time.Since(start) > 61*time.Second {
			t.Errorf("submitted %v after %v", got, time.Since(start))
		}
	})
}

// Three failures in a row stop popping for three minutes, then one job is tried.
func TestScribePausesAfterFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{}
		var fails []error
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			h.jobs = append(h.jobs, textJob(id, 150))
			fails = append(fails, backend.Errorf(backend.Refused, "no"))
		}
		b := &fakeText{takes: time.Second, fails: fails[:3]}
		if err := runScribe(t, h, b, 170*time.Second, func(c *Config) { c.QueueSize = 0 }); err != nil {
			t.Fatal(err)
		}
		if n := len(h.submitted()); n != 3 {
			t.Errorf("%d jobs taken before the pause was over", n)
		}
		h2 := &fakeHorde{jobs: []string{textJob("a", 150), textJob("b", 150), textJob("c", 150), textJob("d", 150), textJob("e", 150)}}
		b2 := &fakeText{takes: time.Second, fails: fails[:3]}
		if err := runScribe(t, h2, b2, 250*time.Second, func(c *Config) { c.QueueSize = 0 }); err != nil {
			t.Fatal(err)
		}
		if got := states(h2.submitted()); got["d"] != "ok" || got["e"] != "ok" {
			t.Errorf("after the pause: %v", got)
		}
	})
}

func TestScribeStopsWhenRefused(t *testing.T) {
	t.Parallel()
	for rc, want := range map[string]int{"InvalidAPIKey": ExitAccount, "WrongCredentials": ExitAccount, "PolymorphicNameConflict": ExitConfig, "TooManyWorkers": ExitAccount} {
		synctest.Test(t, func(t *testing.T) {
			h := &fakeHorde{fail: map[string][]failure{"/generate/text/pop": {{403, rc}}}}
			err := run(t.Context(), testConfig(t), UI{}, Backends{Text: &fakeText{}}, []string{"scribe"}, h.options()...)
			if CodeOf(err) != want {
				t.Errorf("%s: %v has code %d, want %d", rc, err, CodeOf(err), want)
			}
		})
	}
}

// In maintenance the worker goes on popping, since its owner's jobs still come.
func TestScribeInMaintenance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHorde{jobs: []string{textJob("own", 150)}, fail: map[string][]failure{"/generate/text/pop": {{403, "WorkerMaintenance"}, {403, "WorkerMaintenance"}}}}
		if err := runScribe(t, h, &fakeText{}, 60*time.Second, nil); err != nil {
			t.Fatal(err)
		}
		if got := states(h.submitted()); got["own"] != "ok" || h.popAt[0].Before(time.Now().Add(-60*time.Second)) {
			t.Errorf("submitted %v", got)
		}
	})
}

// Draining finishes what is in hand; a second signal hands back what waits; a third interrupts.
func TestScribeDrains(t *testing.T) {
	t.Parallel()
	for signals, want := range map[int]map[string]string{
		1: {"a": "ok", "b": "ok"},
		2: {"a": "ok", "b": "faulted"},
		3: {"a": "faulted", "b": "faulted"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &fakeHorde{jobs: []string{textJob("a", 600), textJob("b", 600), textJob("never", 600)}}
			stop := make(chan os.Signal, 3)
			errs := make(chan error, 1)
			b := &fakeText{takes: 30 * time.Second}
			go func() {
				errs <- run(t.Context(), testConfig(t), UI{Stop: stop}, Backends{Text: b}, []string{"scribe"}, h.options()...)
			}()
			time.Sleep(10 * time.Second)
			for range signals {
				stop <- syscall.SIGTERM
				time.Sleep(time.Second)
			}
			err := <-errs
			if signals < 3 && err != nil || signals == 3 && CodeOf(err) != ExitForced {
				t.Errorf("%d signals: %v", signals, err)
			}
			got := states(h.submitted())
			if len(got) != 2 || got["a"] != want["a"] || got["b"] != want["b"] {
				t.Errorf("%d signals: submitted %v, want %v", signals, got, want)
			}
		})
	}
}

func TestScribeGivesUpWithoutAServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probes []error
		for range 100 {
			probes = append(probes, backend.Errorf(backend.Unreachable, "refused"))
		}
		start := time.Now()
		err := run(t.Context(), testConfig(t), UI{}, Backends{Text: &fakeText{probes: probes}}, []string{"scribe"}, (&fakeHorde{}).options()...)
		if CodeOf(err) != ExitBackend || time.Since(start) < 2*time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Who starts a worker before its inference server and thinks better of it need not wait two minutes.
func TestScribeLeavesAtOnceWhileItWaitsForAServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probes []error
		for range 100 {
			probes = append(probes, backend.Errorf(backend.Unreachable, "refused"))
		}
		stop := make(chan os.Signal, 1)
		start := time.Now()
		time.AfterFunc(10*time.Second, func() { stop <- os.Interrupt })
		err := run(t.Context(), testConfig(t), UI{Stop: stop}, Backends{Text: &fakeText{probes: probes}}, []string{"scribe"}, (&fakeHorde{}).options()...)
		if err != nil || time.Since(start) > 11*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Worked example 21 and the table of section 4.6.
func TestJudge(t *testing.T) {
	t.Parallel()
	e := func(status int, rc string) error { return &client.Error{Status: status, RC: rc} }
	for err, want := range map[error]verdict{
		e(404, "InvalidJobID"): dropped, e(400, "DuplicateGen"): duplicate, e(400, "AbortedGen"): tooSlow, e(503, ""): tryAgain,
		e(429, ""): tryAgain, e(401, "InvalidAPIKey"): refused, e(403, "WrongCredentials"): refused, e(400, ""): invalid,
		context.DeadlineExceeded: tryAgain,
	} {
		if got := judgeSubmit(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	if judgeSubmit(nil) != accepted {
		t.Error("success is no success")
	}
	if a := judgePop(&client.Error{Status: 429, RetryAfter: 9 * time.Second}); a.pause < 9*time.Second || a.stop != 0 {
		t.Errorf("rate limit: %+v", a)
	}
	if a := judgePop(e(403, "TimeoutIP")); a.pause != longPause {
		t.Errorf("timeout: %+v", a)
	}
	if a := judgePop(e(502, "")); a.pause != 0 || a.stop != 0 {
		t.Errorf("502: %+v", a)
	}
}

func TestModelName(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]string{
		{"llamacpp", "/models/Some-Model-7B.Q4_K_M.gguf", "Some-Model-7B.Q4_K_M"},
		{"llamacpp", `C:\models\x.gguf`, "x"},
		{"koboldcpp", "koboldcpp/Some-Model-7B", "koboldcpp/Some-Model-7B"},
		{"koboldcpp", "Some-Model-7B", "koboldcpp/Some-Model-7B"},
		{"vllm", "meta/Llama-3-8B", "meta/Llama-3-8B"},
		{"vllm", "/srv/models/Llama-3-8B", "Llama-3-8B"},
		{"aphrodite", "org/Model", "aphrodite/Model"},
		{"ollama", "llama3:8b", "llama3:8b"},
	} {
		if got := ModelName(tc[0], tc[1]); got != tc[2] {
			t.Errorf("ModelName(%s, %s) = %s, want %s", tc[0], tc[1], got, tc[2])
		}
	}
}

// patient is a horde that lets a worker wait for a job, as its pops ask.
type patient struct {
	*fakeHorde
	job time.Time // when one comes; zero: never
	cut []time.Duration
}

func (h *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/pop") {
		return h.fakeHorde.RoundTrip(r)
	}
	asked := time.Now()
	body, _ := io.ReadAll(r.Body)
	var pop struct{ Wait int }
	json.Unmarshal(body, &pop)
	r.Body = io.NopCloser(bytes.NewReader(body))
	wait := time.Duration(pop.Wait) * time.Second
	if !h.job.IsZero() {
		wait = min(wait, max(time.Until(h.job), 0))
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
		h.cut = append(h.cut, time.Since(asked))
		return nil, r.Context().Err()
	}
	if !h.job.IsZero() && !time.Now().Before(h.job) {
		h.fakeHorde.mu.Lock()
		h.jobs, h.job = append(h.jobs, textJob("a", 150)), time.Time{}
		h.fakeHorde.mu.Unlock()
	}
	return h.fakeHorde.RoundTrip(r)
}

// Where the horde lets it wait, the worker asks again at once, has a job as soon as there is one, and lets go of a pop when it
// is told to stop.
func TestScribeWaitsForJobs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		pops   int
	}{
		"patient":                     {nil, 5}, // 25 s, 25 s until the job at 40, while that runs, the rest until the end
		"told not to":                 {func(c *Config) { c.PopWait = 0 }, 100},
		"with others at the server":   {func(c *Config) { c.YieldToLocal = true }, 100},
		"a minute is the most it can": {func(c *Config) { c.PopWait = 60 }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &patient{fakeHorde: &fakeHorde{}, job: time.Now().Add(40 * time.Second)}
				cfg := testConfig(t)
				if c.change != nil {
					c.change(&cfg)
				}
				ctx, cancel := context.WithCancel(t.Context())
				errs := make(chan error, 1)
				b := &fakeText{takes: 5 * time.Second}
				options := append(h.options(), client.WithHTTPClient(&http.Client{Transport: h}))
				go func() { errs <- run(ctx, cfg, UI{}, Backends{Text: b}, []string{"scribe"}, options...) }()
				time.Sleep(100 * time.Second)
				stopped := time.Now()
				cancel()
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
				if took := time.Since(stopped); took > popGrace {
					t.Errorf("stopping took %v", took)
				}
				if got := states(h.submitted()); len(got) != 1 || got["a"] != "ok" {
					t.Errorf("submitted %v", got)
				}
				if n := h.pops() + len(h.cut); n < c.pops*9/10-1 || n > c.pops*11/10+1 {
					t.Errorf("%d pops in 100 seconds, want about %d", n, c.pops)
				}
			})
		})
	}
}
