// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
)

// reply is what a call got. The status is zero when there was no answer.
type reply struct {
	status int
	header http.Header
	text   []byte
	body   map[string]any // nil when the text is no object
}

// caller makes a call below /api/v2, or to a whole URL.
type caller func(method, path, key string, body any) reply

// transport has room for the connections of all clients of a test.
var transport = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

// ask makes a call. A body of bytes is sent as it is, all else as JSON.
func (c *child) ask(method, path, key string, body any) reply {
	text, raw := body.([]byte)
	if !raw {
		text, _ = json.Marshal(body)
	}
	url := c.url + path
	if !strings.HasPrefix(path, "/blobs/") {
		url = c.url + "/api/v2" + path
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(text))
	if err != nil {
		return reply{}
	}
	if !raw {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("apikey", key)
	res, err := transport.Do(req)
	if err != nil {
		return reply{}
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode, header: res.Header}
	if r.text, err = io.ReadAll(res.Body); err != nil {
		return reply{}
	}
	_ = json.Unmarshal(r.text, &r.body)
	return r
}

// call is ask for those who want no more than the status and the document.
func (c *child) call(method, path, key string, body any) (int, map[string]any) {
	r := c.ask(method, path, key, body)
	return r.status, r.body
}

// handed is a job that a worker was given.
type handed struct {
	round  int
	order  string // the prompt, which is of no other request
	upload string // path of where the image goes, empty for a text
	paid   bool   // its delivery was acknowledged
}

// asked is a request that was accepted.
type asked struct {
	round int
	order string
	image bool
}

// journal is what clients of a horde were told, to be looked for after it was killed, stopped, or kept from its disk.
type journal struct {
	requester, owner string // keys
	ownerID          float64
	images           bool // play images too

	mu        sync.Mutex // guards what follows
	round     int
	last      int                // number of the last order
	requests  map[string]asked   // accepted, by id
	orders    map[string]string  // prompt to job, of every request that was handed out
	cancelled map[string]int     // requests whose cancellation was acknowledged
	jobs      map[string]*handed // by id
	known     int                // jobs ever handed out
	pictures  int                // those of them that are images
	delivered int                // deliveries ever acknowledged
	accepted  int                // requests ever acknowledged
	ambiguous int                // calls without an answer
	refused   int                // answers 503
	faults    []string           // what was told that must not be
}

// newJournal makes the accounts; administer gives commands.
func newJournal(t *testing.T, cfg node.Config) *journal {
	t.Helper()
	j := &journal{
		requests: map[string]asked{}, orders: map[string]string{}, cancelled: map[string]int{}, jobs: map[string]*handed{},
	}
	user := func(name string, roles horde.Roles) node.Account {
		var a node.Account
		if err := node.Administer(t.Context(), cfg, "create", engine.NewUser{
			Name: name, OAuthID: "g_" + name, Kudos: 1_000_000_000_00, Concurrency: 50_000, Roles: roles,
		}, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	j.requester = user("requester", 0).Key
	owner := user("owner", horde.Trusted)
	j.owner, j.ownerID = owner.Key, float64(owner.User.ID)
	return j
}

// content is what the worker makes of a job: of its own, and the same whenever it is asked for.
func content(id string, size int) []byte {
	b := make([]byte, size)
	_, _ = io.ReadFull(rand.NewChaCha8(sha256.Sum256([]byte(id))), b)
	return b
}

func textOf(id string) string {
	return id + " — " + base64.StdEncoding.EncodeToString(content(id, 300))
}
func imageOf(id string) []byte {
	return content(id, 1000+30*int(id[0])*int(id[1])/4) // 1 to 80 kB
}

func (j *journal) fault(format string, args ...any) {
	if len(j.faults) < 20 {
		j.faults = append(j.faults, fmt.Sprintf(format, args...))
	}
}

// sort counts what is no answer, and sees to it that a refusal says what it has to.
func (j *journal) sort(r reply) (ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case r.status == 0:
		j.ambiguous++
	case r.status == http.StatusServiceUnavailable:
		j.refused++
		if message, _ := r.body["message"].(string); message == "" || r.header.Get("Retry-After") == "" {
			j.fault("a refusal without a message or without Retry-After: %q %v", r.text, r.header)
		}
	case r.status == http.StatusConflict || r.body["rc"] == "DuplicateGen": // was delivered, and the answer was lost
	case r.status >= 400:
		j.fault("an answer that nothing accounts for: %d %q", r.status, r.text)
	}
	return r.status == http.StatusOK || r.status == http.StatusAccepted
}

// playedModels is what everybody asks for and every worker has: a model of images that the built-in reference knows.
var playedModels = []string{"Deliberate"}

func (j *journal) path(image bool) string {
	if image {
		return "/generate"
	}
	return "/generate/text"
}

// paid is how many deliveries were acknowledged so far.
func (j *journal) paid() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.delivered
}

// work plays lifecycles until stop is closed. Only what was answered is noted.
func (j *journal) work(i int, call caller, stop <-chan struct{}) {
	image := j.images && i%3 == 0
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		r := j.submit(call, image)
		if r.status == 0 || r.status == http.StatusServiceUnavailable {
			time.Sleep(20 * time.Millisecond)
		}
		if n%16 == 5 {
			j.cancel(call)
		}
		j.serve(call, i, image)
	}
}

// submit asks for something and notes that it was accepted.
func (j *journal) submit(call caller, image bool) reply {
	j.mu.Lock()
	j.last++
	prompt := fmt.Sprintf("order %d", j.last)
	j.mu.Unlock()
	r := call("POST", j.path(image)+"/async", j.requester, map[string]any{"prompt": prompt, "models": playedModels})
	if j.sort(r) {
		j.mu.Lock()
		defer j.mu.Unlock()
		id := r.body["id"].(string)
		if _, twice := j.requests[id]; twice {
			j.fault("two requests are called %s", id)
		}
		j.requests[id] = asked{j.round, prompt, image}
		j.accepted++
	}
	return r
}

// cancel asks for something that nobody makes, and takes it back.
func (j *journal) cancel(call caller) {
	r := call("POST", "/generate/text/async", j.requester, map[string]any{"prompt": "to be cancelled", "models": []string{"no worker has this"}})
	if !j.sort(r) {
		return
	}
	id := r.body["id"].(string)
	if j.sort(call("DELETE", "/generate/text/status/"+id, "", nil)) {
		j.mu.Lock()
		j.cancelled[id] = j.round
		j.mu.Unlock()
	}
}

// serve is a worker: it takes a job and delivers it.
func (j *journal) serve(call caller, i int, image bool) {
	pop := map[string]any{"name": fmt.Sprintf("scribe %d", i%4), "models": playedModels}
	if image {
		pop = map[string]any{
			"name": fmt.Sprintf("painter %d", i%4), "models": playedModels, "bridge_agent": reGen, "max_pixels": 1 << 20, "threads": 20,
		}
	}
	r := call("POST", j.path(image)+"/pop", j.owner, pop)
	id, _ := r.body["id"].(string)
	if !j.sort(r) || id == "" {
		return
	}
	h := &handed{}
	payload, _ := r.body["payload"].(map[string]any)
	h.order, _ = payload["prompt"].(string)
	if image {
		_, path, _ := strings.Cut(r.body["r2_upload"].(string), "/blobs/")
		h.upload = "/blobs/" + path
	}
	j.mu.Lock()
	h.round = j.round
	if j.jobs[id] != nil {
		j.fault("job %s was handed out twice", id)
	}
	if other := j.orders[h.order]; other != "" || h.order == "" {
		j.fault("%q was handed out as %s, and before as %s", h.order, id, other)
	}
	j.jobs[id], j.orders[h.order] = h, id
	j.known++
	if image {
		j.pictures++
	}
	j.mu.Unlock()
	j.deliver(call, id, h)
}

// deliver delivers a job and notes that this was acknowledged.
func (j *journal) deliver(call caller, id string, h *handed) reply {
	result := textOf(id)
	if h.upload != "" {
		if r := call("PUT", h.upload, "", imageOf(id)); !j.sort(r) {
			return r
		}
		result = "R2"
	}
	r := call("POST", j.path(h.upload != "")+"/submit", j.owner, map[string]any{"id": id, "generation": result, "seed": 5})
	if j.sort(r) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if h.paid {
			j.fault("job %s was paid twice", id)
		}
		h.paid = true
		j.delivered++
	}
	return r
}

// keptRounds is how many rounds are looked at again: a horde keeps requests for 20 minutes only.
const keptRounds = 3

// check looks for everything that was acknowledged in the last rounds: each request is there and accounts for its result, each
// result that was paid is there byte for byte, no more than once, what was handed out can be delivered, exactly once, what was
// cancelled is, and the owner of the workers has been credited for just so many jobs as were delivered.
func (j *journal) check(t *testing.T, call caller, clean func() node.AuditReport) {
	t.Helper()
	j.mu.Lock()
	for _, f := range j.faults {
		t.Errorf("round %d: %s", j.round, f)
	}
	j.faults = nil
	maps.DeleteFunc(j.requests, func(_ string, a asked) bool { return a.round <= j.round-keptRounds })
	maps.DeleteFunc(j.cancelled, func(_ string, round int) bool { return round <= j.round-keptRounds })
	maps.DeleteFunc(j.jobs, func(_ string, h *handed) bool { return h.round <= j.round-keptRounds })
	maps.DeleteFunc(j.orders, func(_, id string) bool { return j.jobs[id] == nil })
	j.mu.Unlock()

	results := map[string]int{}
	for id, a := range j.requests {
		r := call("GET", j.path(a.image)+"/status/"+id, "", nil)
		if r.status != http.StatusOK {
			t.Errorf("round %d: lost: the accepted request %s is answered with %d %s", j.round, id, r.status, r.text)
			continue
		}
		if sum := r.body["finished"].(float64) + r.body["processing"].(float64) + r.body["waiting"].(float64); sum != 1 {
			t.Errorf("round %d: request %s accounts for %g results of 1", j.round, id, sum)
		}
		for _, g := range r.body["generations"].([]any) {
			j.result(t, call, g.(map[string]any), results)
		}
		if job := j.orders[a.order]; job != "" && j.jobs[job].paid && results[job] == 0 {
			t.Errorf("round %d: lost: the result of job %s, which was paid, is not with its request: %s", j.round, job, r.text)
		}
	}
	for id := range j.cancelled {
		if r := call("GET", "/generate/text/status/"+id, "", nil); r.status != http.StatusOK || r.body["waiting"] != 0.0 {
			t.Errorf("round %d: lost: the cancelled request %s: %d %s", j.round, id, r.status, r.text)
		}
	}
	for id, h := range j.jobs {
		paid := h.paid
		if !paid || h.round == j.round {
			switch r := j.again(call, id, h); {
			case paid && r.body["rc"] != "DuplicateGen":
				t.Errorf("round %d: the job %s, paid in round %d, can be delivered again: %d %s", j.round, id, h.round, r.status, r.text)
			case !paid && r.status != http.StatusOK && r.body["rc"] != "DuplicateGen":
				t.Errorf("round %d: lost: the job %s, handed out in round %d, cannot be delivered: %d %s", j.round, id, h.round, r.status, r.text)
			}
		}
	}
	if r := call("GET", fmt.Sprintf("/users/%.0f", j.ownerID), "", nil); r.status != http.StatusOK {
		t.Errorf("round %d: the owner: %d %s", j.round, r.status, r.text)
	} else {
		done, _ := r.body["records"].(map[string]any)["fulfillment"].(map[string]any)
		if n := done["image"].(float64) + done["text"].(float64); int(n) != j.known {
			t.Errorf("round %d: lost or doubled: %d jobs were handed out and delivered, the owner is credited for %g", j.round, j.known, n)
		}
	}
	report := clean()
	if len(report.Findings) > 0 {
		t.Fatalf("round %d: the audit finds:\n%s", j.round, strings.Join(report.Findings, "\n"))
	}
	if t.Failed() {
		t.FailNow()
	}
}

// again delivers a job that may have been delivered; after it, it has.
func (j *journal) again(call caller, id string, h *handed) reply {
	if h.paid {
		return call("POST", j.path(h.upload != "")+"/submit", j.owner, map[string]any{"id": id, "generation": "again", "seed": 5})
	}
	r := j.deliver(call, id, h)
	if h.upload != "" && !h.paid && r.body["rc"] != "DuplicateGen" { // the place of an image that was delivered may be closed
		r = call("POST", "/generate/submit", j.owner, map[string]any{"id": id, "generation": "R2", "seed": 5})
	}
	h.paid = h.paid || r.body["rc"] == "DuplicateGen"
	return r
}

// result compares a result with what its worker made.
func (j *journal) result(t *testing.T, call caller, g map[string]any, results map[string]int) {
	t.Helper()
	id, _ := g["id"].(string)
	text, isText := g["text"].(string)
	if isText {
		id, _, _ = strings.Cut(text, " ")
		if text != textOf(id) {
			t.Errorf("round %d: lost: the text of job %s is %q", j.round, id, text)
		}
	} else {
		_, path, _ := strings.Cut(g["img"].(string), "/blobs/")
		if r := call("GET", "/blobs/"+path, "", nil); r.status != http.StatusOK || !bytes.Equal(r.text, imageOf(id)) {
			t.Errorf("round %d: lost: the image of job %s: %d, %d bytes of %d", j.round, id, r.status, len(r.text), len(imageOf(id)))
		}
	}
	if results[id]++; results[id] > 1 {
		t.Errorf("round %d: doubled: the result of job %s", j.round, id)
	}
}
