// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"horde/internal/hordeling/hordelingtest"
)

// startService runs 'hordeling serve' in this process against a stand-in CivitAI, until the test ends.
func startService(t *testing.T, site *hordelingtest.CivitAI, args ...string) (public, admin string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	addresses := make(chan [2]string, 1)
	ended := make(chan int, 1)
	var log lockedBuffer
	p := &program{ctx: ctx, stdout: io.Discard, stderr: &log, listening: func(public, admin string) { addresses <- [2]string{public, admin} }}
	go func() {
		ended <- run(p, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--civitai-url", site.URL, "--data", t.TempDir()}, args...))
	}()
	select {
	case a := <-addresses:
		t.Cleanup(func() {
			stop()
			if status := <-ended; status != 0 {
				t.Errorf("the service ended with status %d\n%s", status, log.String())
			}
		})
		return "http://" + a[0], "http://" + a[1]
	case status := <-ended:
		stop()
		t.Fatalf("the service ended with status %d\n%s", status, log.String())
		return "", ""
	}
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

// worker does what the workers chapter, section 10.5, says of textual inversions.
type worker struct {
	hordeling string
	key       string // the worker's own CivitAI key
	cache     string // folder for <id>.safetensors
	pause     time.Duration
}

// errGaveUp is a terminal answer: the job goes on without the embedding.
var errGaveUp = errors.New("the worker gave up")

// get returns the path of the file for a model, asking and downloading as often as the answers allow.
func (w *worker) get(ctx context.Context, id int64, primarySHA256 string) (string, error) {
	for try := 0; ; try++ {
		link, again, err := w.ask(ctx, id)
		if err == nil {
			if link.SHA256 == "" {
				link.SHA256 = primarySHA256
			}
			return w.fetch(ctx, id, link.URL, link.SHA256)
		}
		if again < 0 || try == 10 {
			return "", err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

type link struct{ URL, SHA256 string }

// ask returns the answer of the service, or an error with the pause before the next try; a negative one means never.
func (w *worker) ask(ctx context.Context, id int64) (link, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/embedding/%d", w.hordeling, id), nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return link{}, w.pause, err
	}
	defer resp.Body.Close()
	var answer struct{ URL, SHA256, Message, RC string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return link{}, w.pause, err
	}
	message := strings.ToLower(answer.Message)
	switch {
	case resp.StatusCode == http.StatusOK && answer.URL != "":
		return link{answer.URL, answer.SHA256}, 0, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusUnprocessableEntity,
		strings.Contains(message, "unexpected type"), strings.Contains(message, "hash"):
		return link{}, -1, fmt.Errorf("%w: %d %s", errGaveUp, resp.StatusCode, answer.RC)
	case resp.Header.Get("Retry-After") != "":
		if _, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil {
			return link{}, -1, err
		}
	}
	return link{}, w.pause, fmt.Errorf("%d %s", resp.StatusCode, answer.RC)
}

// fetch probes for ranges, streams the file beside its place, compares the hash, and puts it into its place.
func (w *worker) fetch(ctx context.Context, id int64, url, want string) (string, error) {
	if strings.Contains(url, "civitai.com/api") || strings.Contains(url, "/api/download/") {
		url += "?token=" + w.key
	}
	probe, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	probe.Header.Set("Range", "bytes=0-0")
	resp, err := http.DefaultClient.Do(probe)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent && resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the probe was answered with %d", resp.StatusCode)
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if resp, err = http.DefaultClient.Do(req); err != nil {
		return "", err
	}
	defer resp.Body.Close()
	name := filepath.Join(w.cache, fmt.Sprintf("%d.safetensors", id))
	part, err := os.Create(name + ".part")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(part, h), io.LimitReader(resp.Body, 20_000<<10))
	if err := errors.Join(err, part.Close()); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
		return "", fmt.Errorf("hash %s, want %s", got, want)
	}
	return name, os.Rename(name+".part", name)
}

// TestWorkerGetsItsEmbeddings runs the whole program between a stand-in CivitAI and a worker.
func TestWorkerGetsItsEmbeddings(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	public, admin := startService(t, site)
	w := &worker{hordeling: public, key: "workers-key", cache: t.TempDir(), pause: 20 * time.Millisecond}
	native, err := os.ReadFile(convertedFile(t, hordelingtest.SDXL))
	if err != nil {
		t.Fatal(err)
	}
	pickled := func(data []byte) hordelingtest.File {
		return hordelingtest.File{Name: "cat.pt", Format: "PickleTensor", Data: data, Primary: true}
	}
	site.Add(1, "TextualInversion", pickled(hordelingtest.WebUI))
	site.Add(2, "TextualInversion", pickled(hordelingtest.Legacy))
	site.Add(3, "TextualInversion", pickled(hordelingtest.SDXL))
	site.Add(4, "TextualInversion", hordelingtest.File{Name: "cat.safetensors", Format: "SafeTensor", Data: native, Primary: true})
	site.Add(5, "TextualInversion", pickled(hordelingtest.Model("\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.")))
	site.Add(6, "LORA", hordelingtest.File{Name: "l.safetensors", Format: "SafeTensor", Data: native, Primary: true})
	site.Add(7, "TextualInversion", func() hordelingtest.File {
		f := pickled(hordelingtest.WebUI)
		f.SHA256 = strings.Repeat("AB", 32)
		return f
	}())
	// CivitAI is down for the first five calls: two tries of the service fail, the worker's third comes through.
	var calls atomic.Int32
	description := site.Model(1)
	site.Handle("/api/v1/models/8", func(rw http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) <= 5 {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		rw.Write(description)
	})
	for id, want := range map[int64]string{
		1: hordelingtest.WebUISHA256, 2: hordelingtest.WebUISHA256,
		3: "873690cacc37f3b0606b62b3bf0df1a3e618e828cba70fab7aec89d6c4ab9e53",
		4: "873690cacc37f3b0606b62b3bf0df1a3e618e828cba70fab7aec89d6c4ab9e53",
		8: hordelingtest.WebUISHA256,
	} {
		path, err := w.get(context.Background(), id, "")
		if err != nil {
			t.Errorf("model %d: %v", id, err)
			continue
		}
		data, err := os.ReadFile(path)
		if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != want {
			t.Errorf("model %d: %d bytes, %v", id, len(data), err)
		}
	}
	for id, want := range map[int64]string{5: "422 UnsafePickle", 6: "400 NotTextualInversion", 7: "400 HashMismatch", 99: "404 ModelNotFound"} {
		before := site.Calls("/api/v1/models/" + strconv.FormatInt(id, 10))
		_, err := w.get(context.Background(), id, "")
		if !errors.Is(err, errGaveUp) || !strings.Contains(err.Error(), want) {
			t.Errorf("model %d: %v, want %s", id, err, want)
		}
		if n := site.Calls("/api/v1/models/"+strconv.FormatInt(id, 10)) - before; n != 1 {
			t.Errorf("model %d: %d look-ups", id, n)
		}
	}
	resp, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{
		`hordeling_links_total{kind="converted"} 4`, `hordeling_links_total{kind="native"} 1`, `hordeling_conversion_seconds_count{result="UnsafePickle"} 1`,
		`hordeling_requests_total{route="embedding",status="422"} 1`, `hordeling_archive_rows 5`, `hordeling_civitai_calls_total{call="model",result="ModelNotFound"} 1`,
	} {
		if !strings.Contains(string(metrics), want+"\n") {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	for _, url := range []string{public + "/healthz", admin + "/healthz"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", url, resp.StatusCode)
		}
	}
	if resp, err = http.Get(public + "/metrics"); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("metrics are public: %d", resp.StatusCode)
	}
}

// TestServiceOnS3 keeps its files in a real S3 server, from which the worker gets them by signed links.
func TestServiceOnS3(t *testing.T) {
	t.Parallel()
	endpoint := hordelingtest.StartS3(t)
	site := hordelingtest.StartCivitAI(t)
	site.Add(1, "TextualInversion", hordelingtest.File{Name: "cat.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Primary: true})
	public, _ := startService(t, site, "--s3-bucket", "hordeling", "--s3-endpoint", endpoint, "--s3-access-key", hordelingtest.S3Access, "--s3-secret-key", hordelingtest.S3Secret)
	w := &worker{hordeling: public, cache: t.TempDir()}
	l, _, err := w.ask(context.Background(), 1)
	if err != nil || !strings.HasPrefix(l.URL, endpoint+"/hordeling/ti/") || !strings.Contains(l.URL, "X-Amz-Expires=1800&") {
		t.Fatalf("%+v, %v", l, err)
	}
	if again, _, err := w.ask(context.Background(), 1); err != nil || again != l {
		t.Errorf("within 10 s the link changes: %+v, %v", again, err)
	}
	if _, err := w.get(context.Background(), 1, ""); err != nil {
		t.Error(err)
	}
}

// convertedFile converts data and returns the path of the result.
func convertedFile(t *testing.T, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	if status, _, stderr := runProgram(t, "convert", write(t, dir, "x.pt", data)); status != 0 {
		t.Fatal(stderr)
	}
	return filepath.Join(dir, "x.safetensors")
}

// TestKilledServiceLeavesNothingHalf kills the program again and again while it converts, and asks the next one.
func TestKilledServiceLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	const models, rounds = 40, 8
	for id := int64(1); id <= models; id++ {
		site.Add(id, "TextualInversion", hordelingtest.File{Name: "n.pt", Format: "PickleTensor", Data: hordelingtest.WebUIModel(64, 768, float64(id)), Primary: true})
	}
	data := t.TempDir()
	program := binary(t)
	served := 0
	for round := range rounds {
		cmd := exec.Command(program, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--civitai-url", site.URL, "--data", data, "--conversions", "100000", "--lookups", "100000")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		public := listeningAddress(t, stderr)
		var wg sync.WaitGroup
		answers := make(chan link, models)
		for id := int64(1); id <= models; id++ {
			wg.Go(func() {
				w := &worker{hordeling: public}
				if l, _, err := w.ask(context.Background(), id); err == nil {
					answers <- l
				}
			})
		}
		if round < rounds-1 {
			time.Sleep(time.Duration(5+15*round) * time.Millisecond)
			cmd.Process.Signal(syscall.SIGKILL)
		}
		wg.Wait()
		close(answers)
		for l := range answers {
			if round < rounds-1 {
				continue
			}
			served++
			resp, err := http.Get(l.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if sum := sha256.Sum256(body); err != nil || hex.EncodeToString(sum[:]) != l.SHA256 {
				t.Errorf("%s: %d bytes, %v", l.URL, len(body), err)
			}
		}
		if round == rounds-1 {
			cmd.Process.Signal(syscall.SIGTERM)
		}
		err = cmd.Wait()
		if round == rounds-1 && err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	}
	if served != models {
		t.Errorf("%d of %d models were served in the end", served, models)
	}
	filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".json" && filepath.Ext(path) != ".safetensors" {
			t.Errorf("%s is left", path)
		}
		return nil
	})
}

// listeningAddress reads the log of a starting program up to the line that says where it listens.
func listeningAddress(t *testing.T, log io.Reader) string {
	t.Helper()
	var seen []byte
	buffer := make([]byte, 4096)
	for {
		n, err := log.Read(buffer)
		seen = append(seen, buffer[:n]...)
		if _, rest, ok := strings.Cut(string(seen), "msg=listening address="); ok && strings.Contains(rest, " ") {
			go io.Copy(io.Discard, log)
			return "http://" + rest[:strings.IndexByte(rest, ' ')]
		}
		if err != nil {
			t.Fatalf("the program ended: %s", seen)
		}
	}
}

func TestServeRefusesABadConfiguration(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"address":           {"--listen", "nonsense"},
		"address of admin":  {"--listen", "127.0.0.1:0", "--admin-listen", "nonsense"},
		"directory":         {"--listen", "127.0.0.1:0", "--data", "/dev/null/x"},
		"S3 that is closed": {"--listen", "127.0.0.1:0", "--s3-bucket", "x", "--s3-endpoint", "http://127.0.0.1:1", "--s3-access-key", "a", "--s3-secret-key", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "directory" {
				args = append(args, "--data", t.TempDir())
			}
			if status, _, stderr := runProgram(t, append([]string{"serve"}, args...)...); status != 1 || !strings.Contains(stderr, "hordeling: ") {
				t.Errorf("status %d %s", status, stderr)
			}
		})
	}
}

// TestOptionsOutOfRange: what cannot be meant is refused before anything is opened, by the name of the option.
func TestOptionsOutOfRange(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HORDELING_S3_ACCESS_KEY", "HORDELING_S3_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	for _, args := range [][]string{
		{"--workers=0"}, {"--workers=-1"}, {"--lookups=0"}, {"--conversions=-5"}, {"--max-file=0"}, {"--max-file=0.5"},
		{"--disk-budget=-1"}, {"--civitai-metadata-timeout=-1s"}, {"--civitai-metadata-timeout=0s"}, {"--civitai-download-timeout=0s"},
		{"--s3-link-life=0s"}, {"--s3-link-life=1ms"}, {"--s3-link-life=200h"}, {"--public-url=foo"}, {"--public-url=//host/x"},
		{"--public-url=ftp://host"}, {"--public-url=https://"}, {"--public-url=https://:80"}, {"--public-url=https://host/?a"},
		{"--public-url=https://me:pw@host"}, {"--civitai-url=ftp://x"}, {"--civitai-url="}, {"--s3-endpoint=127.0.0.1:9000"},
		{"--s3-bucket=b"}, {"--s3-secret-key=s", "--s3-bucket=b", "--s3-endpoint=http://127.0.0.1:1"},
	} {
		name, _, _ := strings.Cut(args[0], "=")
		status, _, stderr := runProgram(t, append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=", "--data=" + t.TempDir()}, args...)...)
		if status != 2 || !strings.Contains(stderr, name) || strings.Contains(stderr, "pw@") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d %s", args, status, stderr)
		}
	}
	if _, _, stderr := runProgram(t, "serve", "--s3-bucket=b"); !strings.Contains(stderr, "HORDELING_S3_ACCESS_KEY and HORDELING_S3_SECRET_KEY") {
		t.Errorf("the variables are not named: %s", stderr)
	}
	// The variables of AWS are keys, too: here they lead to a bucket that is not there.
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	if status, _, stderr := runProgram(t, "serve", "--listen=127.0.0.1:0", "--s3-bucket=b", "--s3-endpoint=http://127.0.0.1:1"); status != 1 {
		t.Errorf("status %d %s", status, stderr)
	}
}

// TestALargerLimitTriesAgain: what --max-file refused is converted by the next start with a larger one.
func TestALargerLimitTriesAgain(t *testing.T) {
	t.Parallel()
	site := hordelingtest.StartCivitAI(t)
	site.Add(1, "TextualInversion", hordelingtest.File{Name: "cat.pt", Format: "PickleTensor", Data: hordelingtest.WebUI, Primary: true})
	data := t.TempDir()
	for _, c := range []struct {
		maxFile   string
		status    int
		downloads int
	}{
		{"100", http.StatusUnprocessableEntity, 1}, {"100", http.StatusUnprocessableEntity, 0}, {"64MiB", http.StatusOK, 1}, {"64MiB", http.StatusOK, 0},
	} {
		t.Run(c.maxFile, func(t *testing.T) {
			public, _ := startService(t, site, "--data", data, "--max-file", c.maxFile)
			before := site.Calls("/cdn/")
			resp, err := http.Get(public + "/api/v1/embedding/1")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if n := site.Calls("/cdn/") - before; resp.StatusCode != c.status || n != c.downloads {
				t.Errorf("status %d and %d downloads, want %d and %d", resp.StatusCode, n, c.status, c.downloads)
			}
		})
	}
}
