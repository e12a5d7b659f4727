// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/horde"
	"horde/internal/hordeling/archive"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/safetensors"
)

// house is a service over a stand-in CivitAI and a directory.
type house struct {
	*Service
	t    *testing.T
	site *hordelingtest.CivitAI
	dir  string
	log  *lockedBuffer
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start makes a house; change may adjust the configuration.
func start(t *testing.T, change func(*Config)) *house {
	t.Helper()
	h := &house{t: t, site: hordelingtest.StartCivitAI(t), dir: t.TempDir(), log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client, err := civitai.New(civitai.Config{BaseURL: h.site.URL, Key: "civitai-secret", Log: log, MetadataTimeout: 2 * time.Second, DownloadTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := archive.OpenDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(context.Background(), bucket, archive.Config{Budget: 1 << 30, Local: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		CivitAI: client, Archive: a, Lookups: 10_000, Conversions: 10_000, PublicURL: "https://hordeling.example", Node: "host:1:test",
		Log: log, Metrics: prometheus.NewRegistry(), Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	if change != nil {
		change(&cfg)
	}
	h.Service = New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		h.Close(ctx)
		bucket.Close()
		client.Close()
	})
	return h
}

// ask sends a request without a network between.
func (h *house) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	return w
}

func (h *house) embedding(id int64, headers ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.ask(http.MethodGet, fmt.Sprintf("/api/v1/embedding/%d", id), headers...)
}

// body decodes an answer.
func body(t *testing.T, w *httptest.ResponseRecorder) map[string]string {
	t.Helper()
	var m map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	return m
}

const ti = civitai.TypeTextualInversion

func pickleFile(name string, data []byte) hordelingtest.File {
	return hordelingtest.File{Name: name, Format: "PickleTensor", Data: data, Primary: true}
}

func nativeFile(name string, data []byte) hordelingtest.File {
	return hordelingtest.File{Name: name, Format: "SafeTensor", Data: data, Primary: true}
}

func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(n)
			io.WriteString(w, `{"error":"a hash of unexpected type"}`)
		}
	}
	web := func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "<!doctype html><html><body>Log in</body>")
	}
	webAsFile := []byte("<!doctype html><html><body>Log in</body>")
	good := hordelingtest.WebUI
	h.site.Add(1, ti, pickleFile("n.pt", good))
	h.site.Add(2, "LORA", nativeFile("l.safetensors", []byte("x")))
	h.site.Add(3, ti, hordelingtest.File{Name: "a.zip", Format: "Other", Data: []byte("x")})
	h.site.Add(4, ti, func() hordelingtest.File { f := pickleFile("n.pt", good); f.Scan = "Danger"; return f }())
	h.site.Add(5, ti, func() hordelingtest.File { f := nativeFile("n.safetensors", good); f.VirusScan = "Danger"; return f }())
	h.site.Add(6, ti, func() hordelingtest.File { f := pickleFile("n.pt", good); f.Scan = "Pending"; return f }())
	h.site.Add(7, ti, func() hordelingtest.File { f := pickleFile("n.pt", good); f.SHA256 = "none"; return f }())
	h.site.Add(8, ti, func() hordelingtest.File { f := pickleFile("n.pt", good); f.SizeKB = 20_000.5; return f }())
	h.site.Add(9, ti, func() hordelingtest.File { f := nativeFile("n.safetensors", good); f.SizeKB = 20_001; return f }())
	h.site.Add(10, "Checkpoint", func() hordelingtest.File { f := nativeFile("m.safetensors", good); f.SizeKB = 4e6; return f }())
	h.site.Add(11, ti, func() hordelingtest.File {
		f := pickleFile("n.pt", good)
		f.SHA256 = strings.Repeat("AB", 32)
		return f
	}())
	h.site.Add(12, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: good, Handler: status(http.StatusUnauthorized)})
	h.site.Add(13, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: good, Handler: status(http.StatusInternalServerError)})
	h.site.Add(14, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: good, Handler: web})
	h.site.Add(15, ti, pickleFile("n.pt", webAsFile))
	h.site.Add(16, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")))
	h.site.Add(17, ti, pickleFile("n.pt", good[:500]))
	h.site.Add(18, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02}.")))
	h.site.Add(19, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02"+strings.Repeat("(", 65)+".")))
	h.site.Add(20, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02ctorch.storage\nUntypedStorage\n.")))
	h.site.Add(21, ti)
	h.site.Put(22, `{"type":"TextualInversion"}`)
	h.site.Put(23, `{"type":"TextualInversion","modelVersions":[{"id":1,"files":[{"id":7,"name":"a.pt","downloadUrl":"https://elsewhere.example/x","hashes":{"SHA256":"`+strings.Repeat("ab", 32)+`"}}]}]}`)
	h.site.Put(24, `not JSON`)
	h.site.Put(31, `{}`)
	h.site.Put(32, `{"type":5,"modelVersions":"x"}`)
	h.site.Put(33, `{"modelVersions":[{"id":1,"files":[{"id":7,"name":"a.safetensors","downloadUrl":"https://elsewhere.example/x"}]}]}`)
	h.site.Put(34, `[]`)
	h.site.Put(30, `{"type":"TextualInversion","modelVersions":[{"id":1,"files":[{"id":7,"name":"a.safetensors","downloadUrl":"https://elsewhere.example/x"}]}]}`)
	h.site.Handle("/api/v1/models/25", status(http.StatusInternalServerError))
	h.site.Handle("/api/v1/models/26", status(http.StatusUnauthorized))
	h.site.Add(27, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: good, Handler: func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusFound)
	}})
	h.site.Add(28, ti, func() hordelingtest.File { f := pickleFile("n.pt", make([]byte, 300<<10)); f.SizeKB = 10; return f }())
	h.site.Add(29, ti, func() hordelingtest.File { f := pickleFile("n.pt", good); f.Scan = "Danger"; return f }(), nativeFile("n.safetensors", good))
	for id, want := range map[string]struct {
		status int
		rc     string
	}{
		"abc": {400, "InvalidModelId"}, "-1": {400, "InvalidModelId"}, "1.5": {400, "InvalidModelId"}, "%C2%B2": {400, "InvalidModelId"},
		"12345678901": {400, "InvalidModelId"}, "%20": {400, "InvalidModelId"}, "0": {404, "ModelNotFound"}, "2147483648": {404, "ModelNotFound"},
		"1": {200, ""}, "2": {400, "NotTextualInversion"}, "3": {422, "NoUsableFile"}, "4": {422, "FileFlagged"}, "5": {422, "FileFlagged"},
		"6": {200, ""}, "7": {503, "UpstreamUnavailable"}, "8": {422, "FileTooLarge"}, "9": {422, "FileTooLarge"}, "10": {400, "NotTextualInversion"},
		"11": {400, "HashMismatch"}, "12": {422, "DownloadDenied"}, "13": {503, "DownloadFailed"}, "14": {422, "DownloadDenied"},
		"15": {422, "DownloadDenied"}, "16": {422, "UnsafePickle"}, "17": {422, "CorruptFile"}, "18": {422, "UnsupportedEmbedding"},
		"19": {422, "TooComplex"}, "20": {422, "UnsupportedPickle"}, "21": {422, "NoUsableFile"}, "22": {422, "NoUsableFile"},
		"23": {503, "UpstreamUnavailable"}, "30": {200, ""}, "24": {503, "UpstreamUnavailable"}, "25": {503, "UpstreamUnavailable"}, "26": {503, "UpstreamUnavailable"},
		"27": {503, "DownloadFailed"}, "28": {422, "FileTooLarge"}, "29": {200, ""},
		"31": {422, "NoUsableFile"}, "32": {422, "NoUsableFile"}, "33": {422, "NoUsableFile"}, "34": {503, "UpstreamUnavailable"}, "0001": {200, ""}, "99999999": {404, "ModelNotFound"},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := h.ask(http.MethodGet, "/api/v1/embedding/"+id)
			got := body(t, w)
			if w.Code != want.status || got["rc"] != want.rc {
				t.Fatalf("%d %s, want %d %s", w.Code, w.Body, want.status, want.rc)
			}
			message := strings.ToLower(got["message"])
			giveUp := strings.Contains(message, "unexpected type") || strings.Contains(message, "hash")
			switch {
			case want.status == 503 && (giveUp || w.Header().Get("Retry-After") == ""):
				t.Errorf("a worker would not come back: %v %s", w.Header(), w.Body)
			case (want.status == 400 || want.status == 422) && !giveUp:
				t.Errorf("a worker would try ten times: %s", w.Body)
			}
			if strings.Contains(w.Body.String(), "civitai-secret") {
				t.Error("the key is in the answer")
			}
		})
	}
	t.Cleanup(func() {
		if h.site.Calls("/api/v1/models/2147483648") != 0 || h.site.Calls("/api/v1/models/0") != 0 {
			t.Error("ids out of range were asked for")
		}
		if strings.Contains(h.log.String(), "civitai-secret") {
			t.Error("the key is in the log")
		}
	})
}

func TestMessagesSayWhetherToGiveUp(t *testing.T) {
	t.Parallel()
	giveUp := func(e *horde.Error) bool {
		m := strings.ToLower(e.Message)
		return strings.Contains(m, "unexpected type") || strings.Contains(m, "hash")
	}
	for _, e := range terminal {
		if e.Message == "" {
			e = unexpected(e, "a reason")
		}
		if !giveUp(e) {
			t.Errorf("%s does not say so: %s", e.RC, e.Message)
		}
	}
	for _, e := range passing {
		if giveUp(e) || e.Status == http.StatusServiceUnavailable && e.RetryAfter == 0 {
			t.Errorf("%s: %s", e.RC, e.Message)
		}
	}
	for _, err := range []error{civitai.ErrUnavailable, civitai.ErrDownload, context.DeadlineExceeded, errors.New("a hash of unexpected type")} {
		if e := RefusalOf(fmt.Errorf("x: %w", err)); giveUp(e) || e.Status < 500 {
			t.Errorf("%v becomes %v", err, e)
		}
	}
}

func TestNativeSafetensors(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	files := h.site.Add(1, ti, hordelingtest.File{ID: 3, Name: "a.safetensors", Format: "SafeTensor", Data: []byte("a")},
		hordelingtest.File{ID: 4, Name: "b.safetensors", Format: "SafeTensor", Data: []byte("b"), Primary: true})
	got := body(t, h.embedding(1))
	if got["url"] != h.site.URL+"/api/download/4" || got["sha256"] != strings.ToLower(files[1].SHA256) {
		t.Errorf("got %v", got)
	}
	h.site.Add(2, ti, func() hordelingtest.File { f := nativeFile("a.safetensors", nil); f.SHA256 = "none"; return f }())
	if got := body(t, h.embedding(2)); len(got) != 1 || got["url"] == "" {
		t.Errorf("without a hash: %v", got)
	}
	if n := h.site.Calls("/api/download/"); n != 0 {
		t.Errorf("%d downloads", n)
	}
}

func TestConvertedFile(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(5, ti, func() hordelingtest.File { f := pickleFile("../up/n.pt", hordelingtest.WebUI); f.ID = 24; return f }())
	first := h.embedding(5, "Client-Agent", "worker:1:me")
	got := body(t, first)
	stem := archive.Stem(24, "0f76b383e4144149")
	if got["url"] != "https://hordeling.example/files/ti/"+stem+".safetensors" || got["sha256"] != hordelingtest.WebUISHA256 {
		t.Fatalf("%d %v", first.Code, got)
	}
	if again := h.embedding(5); !bytes.Equal(again.Body.Bytes(), first.Body.Bytes()) {
		t.Errorf("the second answer is %s", again.Body)
	}
	path := strings.TrimPrefix(got["url"], "https://hordeling.example")
	whole := h.ask(http.MethodGet, path)
	if sum := sha256.Sum256(whole.Body.Bytes()); whole.Code != 200 || hex.EncodeToString(sum[:]) != got["sha256"] {
		t.Errorf("%d, %d bytes", whole.Code, whole.Body.Len())
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Etag": `"` + hordelingtest.WebUISHA256 + `"`, "Accept-Ranges": "bytes",
		"Cache-Control": "public, max-age=31536000, immutable", "Content-Length": "136",
	} {
		if got := whole.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if part := h.ask(http.MethodGet, path, "Range", "bytes=0-0"); part.Code != http.StatusPartialContent || part.Header().Get("Content-Range") != "bytes 0-0/136" || part.Body.Len() != 1 {
		t.Errorf("a part: %d %v", part.Code, part.Header())
	}
	if head := h.ask(http.MethodHead, path); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != "136" {
		t.Errorf("HEAD: %d %v", head.Code, head.Header())
	}
	if same := h.ask(http.MethodGet, path, "If-None-Match", `"`+hordelingtest.WebUISHA256+`"`); same.Code != http.StatusNotModified {
		t.Errorf("not modified: %d", same.Code)
	}
	for _, bad := range []string{"/files/row/" + stem + ".json", "/files/ti/../row/" + stem + ".json", "/files/", "/files/ti/1-0000000000000000-c1.safetensors", path + "/"} {
		if w := h.ask(http.MethodGet, bad); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
	if !strings.Contains(h.log.String(), `agent=worker:1:me`) {
		t.Error("the agent is not in the log")
	}
}

// TestTheNextProcessConvertsNothing starts a second service over the same directory.
func TestTheNextProcessConvertsNothing(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	h.site.Add(2, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02cos\nsystem\n.")))
	want := [][]byte{h.embedding(1).Body.Bytes(), h.embedding(2).Body.Bytes()}
	downloads := h.site.Calls("/api/download/")
	next := start(t, nil)
	next.site = h.site
	next.cfg.CivitAI = h.cfg.CivitAI
	bucket, err := archive.OpenDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	if next.cfg.Archive, err = archive.Open(context.Background(), bucket, archive.Config{Budget: 1 << 30, Local: true}); err != nil {
		t.Fatal(err)
	}
	next.room = newRoom(next.cfg.Archive, 1<<30, time.Minute)
	for i, w := range []*httptest.ResponseRecorder{next.embedding(1), next.embedding(2)} {
		if !bytes.Equal(w.Body.Bytes(), want[i]) {
			t.Errorf("%s, before %s", w.Body, want[i])
		}
	}
	if n := h.site.Calls("/api/download/"); n != downloads || downloads != 2 {
		t.Errorf("%d downloads, before %d", n, downloads)
	}
}

func TestRefusalsAreReplayedWithoutADownload(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.Model("\x80\x02cos\nsystem\n.")))
	h.site.Add(2, ti, func() hordelingtest.File {
		f := pickleFile("n.pt", []byte("x"))
		f.SHA256 = strings.Repeat("AB", 32)
		return f
	}())
	for id := int64(1); id <= 2; id++ {
		first := h.embedding(id)
		for range 3 {
			if again := h.embedding(id); again.Code != first.Code || again.Body.String() != first.Body.String() {
				t.Errorf("%d %s, before %d %s", again.Code, again.Body, first.Code, first.Body)
			}
		}
	}
	if n := h.site.Calls("/cdn/"); n != 2 {
		t.Errorf("%d downloads", n)
	}
	if n := h.site.Calls("/api/v1/models/"); n != 2 {
		t.Errorf("%d look-ups", n)
	}
	h.embedding(77)
	h.embedding(77)
	if n := h.site.Calls("/api/v1/models/77"); n != 1 {
		t.Errorf("an unknown model was asked for %d times", n)
	}
}

// TestConcurrentRequestsConvertOnce has many workers ask for one file that comes slowly.
func TestConcurrentRequestsConvertOnce(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	release := make(chan struct{})
	h.site.Add(1, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Handler: func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(hordelingtest.WebUI)
	}})
	const workers = 50
	var wg sync.WaitGroup
	answers := make(chan string, workers)
	for range workers {
		wg.Go(func() { answers <- h.embedding(1).Body.String() })
	}
	for h.site.Calls("/api/download/") == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	close(answers)
	for a := range answers {
		if !strings.Contains(a, hordelingtest.WebUISHA256) {
			t.Fatal(a)
		}
	}
	if n, m := h.site.Calls("/api/download/"), h.site.Calls("/api/v1/models/1"); n != 1 || m != 1 {
		t.Errorf("%d downloads, %d look-ups", n, m)
	}
}

// TestSlowConversionIsPendingAndGoesOn hangs up like a worker does, and comes back.
func TestSlowConversionIsPendingAndGoesOn(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	release := make(chan struct{})
	h.site.Add(1, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Handler: func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(hordelingtest.WebUI)
	}})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := h.Embedding(ctx, "1", netip.Addr{}, "")
	if e := RefusalOf(err); e.RC != "ConversionPending" || e.RetryAfter != 3*time.Second || e.Status != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
	close(release)
	link, err := h.Embedding(context.Background(), "1", netip.Addr{}, "https://x.example")
	if err != nil || link.SHA256 != hordelingtest.WebUISHA256 {
		t.Errorf("got %v, %v", link, err)
	}
	if n := h.site.Calls("/api/download/"); n != 1 {
		t.Errorf("%d downloads", n)
	}
}

func TestRequestsAreAnsweredBeforeWorkersHangUp(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 4.5 s")
	}
	h := start(t, nil)
	h.site.Add(1, ti, hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Handler: func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}})
	start := time.Now()
	w := h.embedding(1)
	if took := time.Since(start); took < 4400*time.Millisecond || took > 4950*time.Millisecond || w.Header().Get("Retry-After") != "3" || body(t, w)["rc"] != "ConversionPending" {
		t.Errorf("%d %s after %v", w.Code, w.Body, took)
	}
}

func TestStorageThatFailsIsTransient(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.site.Add(1, ti, pickleFile("n.pt", hordelingtest.WebUI))
	bucket, err := archive.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if h.cfg.Archive, err = archive.Open(context.Background(), bucket, archive.Config{Local: true}); err != nil {
		t.Fatal(err)
	}
	admin := h.Admin(http.NotFoundHandler())
	for _, want := range []int{200, 503} {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if w.Code != want {
			t.Errorf("health is %d, want %d", w.Code, want)
		}
		bucket.Close()
	}
	if w := h.embedding(1); w.Code != 503 || body(t, w)["rc"] != "StorageUnavailable" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.Lookups, c.Conversions = 5, 2 })
	for id := int64(1); id <= 4; id++ {
		h.site.Add(id, ti, pickleFile("n.pt", hordelingtest.WebUIModel(1, int(id), 1)))
	}
	from := func(addr string, id int64) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/api/v1/embedding/%d", id), nil)
		r.RemoteAddr = "192.0.2.9:1"
		r.Header.Add("X-Forwarded-For", "10.9.9.9, "+addr)
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		return w
	}
	for i, want := range []int{200, 200, 429, 200, 429, 429} {
		id := []int64{1, 2, 3, 1, 4, 1}[i]
		w := from("198.51.100.1", id)
		if w.Code != want {
			t.Errorf("request %d: %d %s, want %d", i, w.Code, w.Body, want)
		}
		if want == 429 && (w.Header().Get("Retry-After") == "" || body(t, w)["rc"] != "RateLimited") {
			t.Errorf("request %d: %v %s", i, w.Header(), w.Body)
		}
	}
	if w := from("198.51.100.2", 3); w.Code != 200 {
		t.Errorf("another address: %d %s", w.Code, w.Body)
	}
	// Whoever is no known proxy counts by itself, whatever it says of others.
	for i := range 6 {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/embedding/1", nil)
		r.RemoteAddr = "203.0.113.5:1"
		r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", 100+i))
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		if want := map[bool]int{true: 429, false: 200}[i == 5]; w.Code != want {
			t.Errorf("request %d of a liar: %d", i, w.Code)
		}
	}
}

func TestMislabelledSafetensorsAreServedAsTheyAre(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	src, err := safetensors.Encode([]safetensors.Tensor{{Name: "emb", DType: "F16", Shape: []int64{1, 2}, Data: []byte{0, 60, 0, 64}}}, map[string]string{"author": "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	h.site.Add(1, ti, pickleFile("n.pt", src))
	got := body(t, h.embedding(1))
	if w := h.ask(http.MethodGet, strings.TrimPrefix(got["url"], "https://hordeling.example")); !bytes.Equal(w.Body.Bytes(), src) {
		t.Errorf("served %q", w.Body)
	}
}

func TestAFileThatIsReplacedInPlaceIsConvertedAgain(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	file := func(step float64) hordelingtest.File {
		f := pickleFile("n.pt", hordelingtest.WebUIModel(1, 3, step))
		f.ID = 17
		return f
	}
	h.site.Add(1, ti, file(1))
	first := body(t, h.embedding(1))
	h.site.Add(2, ti, file(2))
	second := body(t, h.embedding(2))
	if first["url"] == second["url"] || first["sha256"] == second["sha256"] {
		t.Errorf("%v, then %v", first, second)
	}
	for _, link := range []map[string]string{first, second} {
		w := h.ask(http.MethodGet, strings.TrimPrefix(link["url"], "https://hordeling.example"))
		if sum := sha256.Sum256(w.Body.Bytes()); hex.EncodeToString(sum[:]) != link["sha256"] {
			t.Errorf("%v holds something else", link)
		}
	}
}
