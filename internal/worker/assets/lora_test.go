// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/worker/assets/assetstest"
	"horde/internal/worker/backend"
)

// Worked example 16: what CivitAI is asked for a LoRA.
func TestLoraRequests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		want client.Lora
		sfw  bool
		ask  string // the first request; empty: none
		err  error
	}{
		"a version": {client.Lora{Name: "123456", IsVersion: true}, false, "https://civitai.com/api/v1/model-versions/123456", ErrNotFound},
		"a model":   {client.Lora{Name: "123456"}, false, "https://civitai.com/api/v1/models/123456", ErrNotFound},
		"a name": {client.Lora{Name: "Detail Tweaker & Co"}, false,
			"https://civitai.com/api/v1/models?types=LORA&sort=Highest%20Rated&primaryFileOnly=true&nsfw=true&query=Detail%20Tweaker%20%26%20Co", ErrNotFound},
		"a name, safe for work": {client.Lora{Name: "x/y?"}, true,
			"https://civitai.com/api/v1/models?types=LORA&sort=Highest%20Rated&primaryFileOnly=true&nsfw=false&query=x%2Fy%3F", ErrNotFound},
		"too large a number":      {client.Lora{Name: "4294967296"}, false, "", ErrRefused},
		"far too large a number":  {client.Lora{Name: strings.Repeat("9", 40)}, false, "", ErrRefused},
		"zero":                    {client.Lora{Name: "0"}, false, "", ErrRefused},
		"a name without end":      {client.Lora{Name: strings.Repeat("x", 10_000)}, false, "", ErrNotFound},
		"no name":                 {client.Lora{Name: " "}, false, "", ErrNotFound},
		"a version with a name":   {client.Lora{Name: "nope", IsVersion: true}, false, "", ErrNotFound},
		"the largest number":      {client.Lora{Name: "4294967295"}, false, "https://civitai.com/api/v1/models/4294967295", ErrNotFound},
		"a name with digits only": {client.Lora{Name: "007"}, false, "https://civitai.com/api/v1/models/7", ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				_, err := openStore(t, s, func(c *Config) { c.NSFW = !tc.sfw }).Lora(t.Context(), tc.want, "")
				if !errors.Is(err, tc.err) {
					t.Errorf("got %v, want %v", err, tc.err)
				}
				calls := s.Calls()
				if tc.ask == "" && len(calls) > 0 || tc.ask != "" && (len(calls) == 0 || calls[0] != tc.ask) {
					t.Errorf("asked %q, want %q", calls, tc.ask)
				}
			})
		})
	}
}

// What is fetched, under which name, and what is refused.
func TestLora(t *testing.T) {
	t.Parallel()
	data := []byte("weights")
	second := func(m object) []object { return append([]object{}, m["modelVersions"].([]object)...) }
	file := func(m object) object { return m["modelVersions"].([]object)[0]["files"].([]object)[1] }
	for name, tc := range map[string]struct {
		want   client.Lora
		base   backend.Baseline
		sfw    bool
		change func(s *assetstest.Site, m object)
		file   string
		words  string
		err    error
	}{
		"by its model":          {want: client.Lora{Name: "7"}, file: "detailtweakercafe_79.safetensors"},
		"by its version":        {want: client.Lora{Name: "79", IsVersion: true}, file: "detailtweakercafe_79.safetensors"},
		"by its name":           {want: client.Lora{Name: "détail TWEAKER café"}, file: "detailtweakercafe_79.safetensors"},
		"by a part of its name": {want: client.Lora{Name: "tweaker"}, file: "detailtweakercafe_79.safetensors"},
		"nearly by its name":    {want: client.Lora{Name: "Detail Tweeker Cafe"}, file: "detailtweakercafe_79.safetensors"},
		"by another name":       {want: client.Lora{Name: "Something else"}, err: ErrNotFound},
		"with the first word":   {want: client.Lora{Name: "7", InjectTrigger: "any"}, file: "detailtweakercafe_79.safetensors", words: "shiny"},
		"with all words":        {want: client.Lora{Name: "7", InjectTrigger: "all"}, file: "detailtweakercafe_79.safetensors", words: "shiny, very detailed"},
		"for another baseline":  {want: client.Lora{Name: "7"}, base: backend.SDXL, err: ErrBaseline},
		"for its own baseline":  {want: client.Lora{Name: "7"}, base: backend.SD1, file: "detailtweakercafe_79.safetensors"},
		"for an unknown one":    {want: client.Lora{Name: "7"}, base: "something new", file: "detailtweakercafe_79.safetensors"},
		"a newer version that is to be paid for yet": {want: client.Lora{Name: "7"}, file: "detailtweakercafe_79.safetensors", change: func(_ *assetstest.Site, m object) {
			m["modelVersions"] = append([]object{{"id": 80, "availability": "EarlyAccess", "files": []object{}}}, second(m)...)
		}},
		"a version whose early access is over": {want: client.Lora{Name: "7"}, file: "detailtweakercafe_79.safetensors", change: func(_ *assetstest.Site, m object) {
			v := second(m)[0]
			v["availability"], v["earlyAccessEndsAt"] = "EarlyAccess", "1999-01-01T00:00:00.000Z"
		}},
		"only to be paid for": {want: client.Lora{Name: "7"}, err: ErrNotFound, change: func(_ *assetstest.Site, m object) { second(m)[0]["availability"] = "EarlyAccess" }},
		"not safe for work on a worker that is": {want: client.Lora{Name: "7"}, sfw: true, err: ErrRefused, change: func(_ *assetstest.Site, m object) {
			m["nsfw"] = true
		}},
		"too large":           {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(_ *assetstest.Site, m object) { file(m)["sizeKB"] = 400*1024 + 1 }},
		"larger than it says": {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(s *assetstest.Site, m object) { s.Slow("files.example/79", 1<<20, 1<<20) }},
		"no hash":             {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(_ *assetstest.Site, m object) { file(m)["hashes"] = object{} }},
		"another hash": {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(_ *assetstest.Site, m object) {
			file(m)["hashes"] = object{"SHA256": assetstest.SHA256([]byte("x"))}
		}},
		"a pickle":             {want: client.Lora{Name: "7"}, err: ErrNotFound, change: func(_ *assetstest.Site, m object) { file(m)["name"] = "file.pt" }},
		"no LoRA":              {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(_ *assetstest.Site, m object) { m["type"] = "Checkpoint" }},
		"no versions":          {want: client.Lora{Name: "7"}, err: ErrNotFound, change: func(_ *assetstest.Site, m object) { m["modelVersions"] = nil }},
		"an address of a file": {want: client.Lora{Name: "7"}, err: ErrRefused, change: func(_ *assetstest.Site, m object) { file(m)["downloadUrl"] = "file:///etc/passwd" }},
		"behind a login": {want: client.Lora{Name: "7"}, err: ErrDenied, change: func(s *assetstest.Site, _ object) {
			s.Handle("civitai.com/api/download/models/79", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/login?reason=download-auth", http.StatusTemporaryRedirect)
			})
		}},
		"a web page instead": {want: client.Lora{Name: "7"}, err: ErrDenied, change: func(s *assetstest.Site, _ object) {
			s.Handle("files.example/79", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write(data)
			})
		}},
		"a name that is a path": {want: client.Lora{Name: "7"}, file: "etccrondx_79.safetensors", change: func(_ *assetstest.Site, m object) { m["name"] = "../../etc/cron.d/x" }},
		"a name of signs":       {want: client.Lora{Name: "7"}, file: "lora_79.safetensors", change: func(_ *assetstest.Site, m object) { m["name"] = "★ / …" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				m := s.Lora(7, "Détail Tweaker Café", data)
				if tc.change != nil {
					tc.change(s, m)
				}
				s.JSON("civitai.com/api/v1/models", object{"items": []object{m}})
				st := openStore(t, s, func(c *Config) { c.NSFW = !tc.sfw })
				got, err := st.Lora(t.Context(), tc.want, tc.base)
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
					t.Fatalf("got %v, want %v", err, tc.err)
				}
				if err != nil {
					if left := files(t, st.cfg.LoraFolder); len(left) > 0 {
						t.Errorf("left in the folder: %q", left)
					}
					return
				}
				defer got.Release()
				if got.File != tc.file || got.Words != tc.words {
					t.Errorf("got %q with words %q, want %q with %q", got.File, got.Words, tc.file, tc.words)
				}
				content, err := os.ReadFile(filepath.Join(st.cfg.LoraFolder, got.File))
				if err != nil || string(content) != string(data) {
					t.Errorf("the file holds %q, %v", content, err)
				}
				sidecar, err := os.ReadFile(filepath.Join(st.cfg.LoraFolder, strings.TrimSuffix(got.File, ".safetensors")+".sha256"))
				if err != nil || string(sidecar) != assetstest.SHA256(data)+" *"+got.File+"\n" {
					t.Errorf("the sidecar holds %q, %v", sidecar, err)
				}
				// Now it is here: nothing more is asked, not even by a new process.
				before := len(s.Calls())
				again := openStore(t, s, func(c *Config) { c.NSFW = !tc.sfw; c.LoraFolder = st.cfg.LoraFolder })
				for _, st := range []*Store{st, again} {
					l, err := st.Lora(t.Context(), tc.want, tc.base)
					if err != nil || l.File != tc.file || l.Words != tc.words {
						t.Errorf("the second time: %+v, %v", l, err)
					}
					l.Release()
				}
				if n := len(s.Calls()); n != before {
					t.Errorf("asked %q for a file that is here", s.Calls()[before:])
				}
			})
		})
	}
}

// The table of repetitions: how often CivitAI is asked before it is given up, and how long that takes.
func TestRepetitions(t *testing.T) {
	t.Parallel()
	const model = "civitai.com/api/v1/models/7"
	for name, tc := range map[string]struct {
		set   func(s *assetstest.Site)
		err   error
		calls int
		took  time.Duration
	}{
		"401":                 {func(s *assetstest.Site) { s.Status(model, 401, "") }, ErrDenied, 1, 0},
		"403":                 {func(s *assetstest.Site) { s.Status(model, 403, "") }, ErrDenied, 1, 0},
		"400":                 {func(s *assetstest.Site) { s.Status(model, 400, "") }, ErrRefused, 1, 0},
		"404, asked again":    {func(s *assetstest.Site) { s.Status(model, 404, "") }, ErrNotFound, 2, time.Second},
		"500":                 {func(s *assetstest.Site) { s.Status(model, 500, "") }, ErrUnavailable, 4, 9 * time.Second},
		"not JSON":            {func(s *assetstest.Site) { s.Status(model, 200, "<html>") }, ErrUnavailable, 4, 9 * time.Second},
		"JSON without sense":  {func(s *assetstest.Site) { s.Status(model, 200, "{}") }, ErrUnavailable, 4, 9 * time.Second},
		"503":                 {func(s *assetstest.Site) { s.Status(model, 503, "") }, ErrUnavailable, 1, 0},
		"no answer":           {func(s *assetstest.Site) { s.Break(model, fetch.ErrConnect) }, ErrUnavailable, 2, 3 * time.Second},
		"a private address":   {func(s *assetstest.Site) { s.Break(model, fetch.ErrPrivateAddress) }, ErrRefused, 1, 0},
		"busy, then in order": {func(s *assetstest.Site) { s.Busy(model, "5") }, nil, 1 + 1 + 2, 5 * time.Second},
		"busy for ever":       {func(s *assetstest.Site) { s.Status(model, 429, "") }, ErrUnavailable, 10, 27 * time.Second},
		// 451 for a model alone: one more question tells that the rest is served.
		"451 for a model": {func(s *assetstest.Site) {
			s.Status(model, 451, "")
			s.JSON("civitai.com/api/v1/models", object{"items": []object{}})
		}, ErrBlocked, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				s.Lora(7, "x", []byte("weights"))
				tc.set(s)
				st := openStore(t, s, nil)
				begin := time.Now()
				l, err := st.Lora(t.Context(), client.Lora{Name: "7"}, "")
				l.Release()
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || len(s.Calls()) != tc.calls || time.Since(begin) != tc.took || st.Blocked() {
					t.Fatalf("%v after %d calls and %v, want %v after %d and %v; blocked %v", err, len(s.Calls()), time.Since(begin), tc.err, tc.calls, tc.took, st.Blocked())
				}
				if err == nil {
					return
				}
				// Ten minutes long the failure is repeated.
				time.Sleep(failedLife - time.Second)
				if _, err := st.Lora(t.Context(), client.Lora{Name: "7"}, ""); !errors.Is(err, tc.err) || len(s.Calls()) != tc.calls {
					t.Errorf("soon after: %v, %d calls", err, len(s.Calls()))
				}
				time.Sleep(2 * time.Second)
				if st.Lora(t.Context(), client.Lora{Name: "7"}, ""); len(s.Calls()) == tc.calls {
					t.Error("it is never tried again")
				}
			})
		})
	}
}

// B097: a site that answers 451 to everything, or has no address, is given up at once and left alone for ten minutes.
func TestBlockedSite(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(s *assetstest.Site){
		"451": func(s *assetstest.Site) {
			for _, k := range []string{"civitai.com/api/v1/model-versions/2510627", "civitai.com/api/v1/models"} {
				s.Status(k, 451, "")
			}
		},
		"no address": func(s *assetstest.Site) {
			s.Break("civitai.com/api/v1/model-versions/2510627", fmt.Errorf("x: %w", fetch.ErrUnresolved))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				set(s)
				st := openStore(t, s, nil)
				begin := time.Now()
				_, err := st.Lora(t.Context(), client.Lora{Name: "2510627", IsVersion: true}, "")
				if !errors.Is(err, ErrBlocked) || time.Since(begin) > time.Second || !st.Blocked() {
					t.Fatalf("%v after %v, blocked %v", err, time.Since(begin), st.Blocked())
				}
				n := len(s.Calls())
				if _, err := st.Lora(t.Context(), client.Lora{Name: "another"}, ""); !errors.Is(err, ErrBlocked) || len(s.Calls()) != n {
					t.Errorf("the next: %v, asked %q", err, s.Calls()[n:])
				}
				time.Sleep(blockedLife + time.Second)
				if st.Blocked() {
					t.Error("blocked for ever")
				}
				if st.Lora(t.Context(), client.Lora{Name: "another"}, ""); len(s.Calls()) == n {
					t.Error("never asked again")
				}
			})
		})
	}
}

// B099: a download that cannot end in time is given up, and one that stalls.
func TestSlowDownloads(t *testing.T) {
	t.Parallel()
	const size = 200 << 20
	for name, tc := range map[string]struct {
		rate int
		err  error
		by   time.Duration // when it is given up, for good
	}{
		"10 KB/s for 200 MB": {10_000, ErrSlow, 15 * time.Second},
		"1 MB/s for 200 MB":  {1 << 20, ErrSlow, 15 * time.Second},
		// Two tries of ten seconds each.
		"nothing comes": {0, ErrUnavailable, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := assetstest.New()
				m := s.Lora(7, "x", nil)
				m["modelVersions"].([]object)[0]["files"].([]object)[1]["sizeKB"] = size / 1024
				s.Slow("files.example/79", size, tc.rate)
				st := openStore(t, s, nil)
				begin := time.Now()
				_, err := st.Lora(t.Context(), client.Lora{Name: "7"}, "")
				if took := time.Since(begin); !errors.Is(err, tc.err) || took > tc.by {
					t.Errorf("%v after %v", err, took)
				}
				if left := files(t, st.cfg.LoraFolder); len(left) > 0 || running(s) != 0 {
					t.Errorf("left: %q, %d downloads", left, running(s))
				}
			})
		})
	}
}

func running(s *assetstest.Site) int {
	n, _ := s.Downloads()
	return n
}

// A caller whose time ends goes on; the download does too, so that the next job has the file.
func TestDownloadOutlivesTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := assetstest.New()
		data := make([]byte, 60_000)
		s.Lora(7, "x", data)
		s.Slow("files.example/79", int64(len(data)), 1000)
		st := openStore(t, s, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
		defer cancel()
		if _, err := st.Lora(ctx, client.Lora{Name: "7"}, ""); !errors.Is(err, ErrLate) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		l, err := st.Lora(t.Context(), client.Lora{Name: "7"}, "")
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	})
}

// Five files are downloaded at the same time, each of them once however many ask for it.
func TestParallelDownloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := assetstest.New()
		data := make([]byte, 20_000)
		for id := 1; id <= 12; id++ {
			s.Lora(id, fmt.Sprint("model", id), data)
			s.Slow(fmt.Sprintf("files.example/%d9", id), int64(len(data)), 10_000)
		}
		st := openStore(t, s, nil)
		var wg sync.WaitGroup
		for i := range 36 {
			wg.Go(func() {
				l, err := st.Lora(t.Context(), client.Lora{Name: fmt.Sprint(i%12 + 1)}, "")
				if err != nil {
					t.Error(err)
				}
				l.Release()
			})
		}
		wg.Wait()
		if _, peak := s.Downloads(); peak != parallel || len(s.Calls()) != 12*3 {
			t.Errorf("%d downloads at the same time, %d calls", peak, len(s.Calls()))
		}
	})
}

// The token goes to CivitAI's own host, and nowhere else.
func TestToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := assetstest.New()
		s.Lora(7, "x", []byte("weights"))
		st := openStore(t, s, func(c *Config) { c.Token = "s&cret" })
		l, err := st.Lora(t.Context(), client.Lora{Name: "7"}, "")
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		want := []string{"https://civitai.com/api/v1/models/7?token=s%26cret", "https://civitai.com/api/download/models/79?token=s%26cret",
			"https://files.example/79?signature=abc"}
		if got := s.Calls(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("asked %q", got)
		}
	})
}

// The least recently used files go when the space is used up, but none that a job needs, and none of the operator's.
func TestEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := assetstest.New()
		for id := 1; id <= 5; id++ {
			s.Lora(id, fmt.Sprint("model", id), make([]byte, 100+id))
		}
		st := openStore(t, s, func(c *Config) { c.LoraBudget = 320 })
		own := filepath.Join(st.cfg.LoraFolder, "mine.safetensors")
		if err := os.WriteFile(own, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		take := func(id int) *Lora {
			t.Helper()
			time.Sleep(time.Second)
			l, err := st.Lora(t.Context(), client.Lora{Name: fmt.Sprint(id)}, "")
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		first := take(1)
		take(2).Release()
		take(3).Release()
		take(2).Release() // now 3 is the one that was not used for longest, but for 1, which is needed
		take(4).Release()
		var have []string
		for _, f := range files(t, st.cfg.LoraFolder) {
			if strings.HasSuffix(f, ".safetensors") {
				have = append(have, f)
			}
		}
		if got := strings.Join(have, " "); got != "mine.safetensors model1_19.safetensors model2_29.safetensors model4_49.safetensors" {
			t.Errorf("in the folder: %s", got)
		}
		first.Release()
		take(5).Release()
		if _, err := os.Stat(st.loras.path("model1_19.safetensors")); err == nil {
			t.Error("a file that no job needs any more stays for ever")
		}
		if _, err := os.Stat(own); err != nil {
			t.Error("a file of the operator was removed")
		}
	})
}

// An index that somebody broke, or wrote by hand, does no harm.
func TestBrokenIndex(t *testing.T) {
	t.Parallel()
	for name, index := range map[string]string{
		"no JSON":          "{{{",
		"another document": `{"a":1}`,
		"a path":           `[null,{"file":"../victim","model_id":7,"size":6,"used":"2001-01-01T00:00:00Z"}]`,
		"a file gone":      `[{"file":"gone.safetensors","model_id":7,"size":6}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir, victim := filepath.Join(parent, "loras"), filepath.Join(parent, "victim")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(victim, []byte("mine\n\n"), 0o600), os.WriteFile(filepath.Join(dir, indexName), []byte(index), 0o600)); err != nil {
				t.Fatal(err)
			}
			s := assetstest.New()
			s.Lora(7, "x", []byte("weights"))
			st := openStore(t, s, func(c *Config) { c.LoraFolder, c.LoraBudget = dir, 1 })
			l, err := st.Lora(t.Context(), client.Lora{Name: "7"}, "")
			if err != nil || l.File != "x_79.safetensors" {
				t.Fatalf("%+v, %v", l, err)
			}
			l.Release()
			if _, err := os.Stat(victim); err != nil {
				t.Error(err)
			}
		})
	}
}
