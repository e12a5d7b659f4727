// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

const (
	// defaultTTL is assumed where the horde names no limit.
	defaultTTL = 150 * time.Second
	// firstToken is how long a server may read the prompt, longPrompt that for more than longPromptTokens; betweenTokens
	// is the longest silence after the first.
	firstToken       = 30 * time.Second
	longPrompt       = 120 * time.Second
	longPromptTokens = 8192
	betweenTokens    = 15 * time.Second
	// busyTries and busyPause are for a server that others use too.
	busyTries = 5
	busyPause = 3 * time.Second
	// localQuiet is how long popping stops after somebody used the server directly, with yield_to_local.
	localQuiet = 20
)

// errStalled means that a text server went silent in the middle of a job.
var errStalled = backend.Errorf(backend.Failed, "no token for too long")

// scribe is the text worker. info and user are replaced as a whole and may be read at any time.
type scribe struct {
	p       *process
	loop    *loop
	backend backend.Text
	info    atomic.Pointer[backend.TextInfo]
	speed   speed
	// noPriority is set after the horde refused the priority list.
	noPriority atomic.Bool
}

func (s *scribe) label() string { return "scribe" }

func (s *scribe) dropPriority() { s.noPriority.Store(true) }

func (s *scribe) rest(context.Context) {}

func (s *scribe) report() string {
	info := s.info.Load()
	return fmt.Sprintf("scribe %q: %s %s\n  model   %s\n  context %d tokens, up to %d new ones\n  agent   %s\n", s.p.cfg.ScribeName, info.Kind,
		info.Version, s.model(), s.contextSize(), s.length(), s.agent())
}

// check probes the server and takes over what changed.
func (s *scribe) check(ctx context.Context) error {
	info, err := s.backend.Probe(ctx)
	if err != nil {
		return err
	}
	if old := s.info.Swap(&info); old != nil && old.Model != info.Model {
		s.loop.log.Info("the server has another model", "model", info.Model, "before", old.Model)
	}
	s.p.board.change("scribe", func(k *KindStatus) {
		k.Backend = strings.TrimSpace(info.Kind + " " + info.Version)
		k.Models, k.Healthy = []string{s.model()}, true
	})
	return nil
}

func (s *scribe) ready() (bool, string, time.Duration) {
	info := s.info.Load()
	if info == nil || info.Model == "" && s.p.cfg.ScribeModel == "" {
		return false, "the server has no model loaded", 10 * time.Second
	}
	if s.p.cfg.BrandedModel && s.p.username() == "" {
		return false, "waiting for the account's name", time.Second
	}
	if s.p.cfg.YieldToLocal && info.Idle >= 0 && s.speedless() {
		ctx, cancel := context.WithTimeout(s.p.hard, 5*time.Second)
		defer cancel()
		if now, err := s.backend.Probe(ctx); err == nil && now.Idle >= 0 && now.Idle < localQuiet {
			return false, "the server is used locally", 5 * time.Second
		}
	}
	return true, "", 0
}

// speedless reports whether this worker has nothing at the server, so that the server's idle time tells about others.
func (s *scribe) speedless() bool {
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	return s.loop.waiting == 0
}

// model is the name to offer.
func (s *scribe) model() string {
	name := s.p.cfg.ScribeModel
	if info := s.info.Load(); name == "" && info != nil {
		name = ModelName(info.Kind, info.Model)
	}
	if s.p.cfg.BrandedModel {
		if u := s.p.username(); u != "" {
			name += "::" + u
		}
	}
	return name
}

// ModelName makes the name that hordes know of what a server calls its model: directories and the file's ending are
// dropped, the quantisation stays, and servers that the horde marks by a prefix get it.
func ModelName(kind, raw string) string {
	name := strings.ReplaceAll(strings.TrimSpace(raw), `\`, "/")
	for _, end := range []string{".gguf", ".bin", ".safetensors"} {
		if strings.HasSuffix(strings.ToLower(name), end) {
			name = path.Base(name[:len(name)-len(end)])
		}
	}
	if strings.HasPrefix(name, "/") {
		name = path.Base(name)
	}
	prefix := map[string]string{"koboldcpp": "koboldcpp/", "aphrodite": "aphrodite/"}[kind]
	if name != "" && prefix != "" && !strings.HasPrefix(name, prefix) {
		name = prefix + path.Base(name)
	}
	return name
}

func (s *scribe) agent() string {
	if s.p.cfg.BridgeAgent != "" {
		return s.p.cfg.BridgeAgent
	}
	kind := "openai"
	if info := s.info.Load(); info != nil {
		kind = info.Kind
	}
	return ScribeAgent(kind)
}

// contextSize is the largest context to offer, in tokens.
func (s *scribe) contextSize() int {
	n := s.p.cfg.MaxContextLength
	if info := s.info.Load(); info != nil && info.Context > 0 {
		n = min(n, info.Context)
	}
	return n
}

// length is the most tokens to offer; some of the context must be left for the prompt.
func (s *scribe) length() int {
	n := s.p.cfg.MaxLength
	if info := s.info.Load(); info != nil && info.MaxLength > 0 {
		n = min(n, info.MaxLength)
	}
	return max(16, min(n, s.contextSize()*3/4))
}

func (s *scribe) pop(ctx context.Context, _ int) (*popped, error) {
	cfg := &s.p.cfg
	info := s.info.Load()
	req := client.PopTextRequest{
		Name: cfg.ScribeName, Models: []string{s.model()}, BridgeAgent: s.agent(), NSFW: cfg.NSFW, Threads: cfg.MaxThreads,
		Amount: cfg.MaxBatch, RequireUpfrontKudos: cfg.RequireUpfrontKudos, MaxLength: s.length(), MaxContextLength: s.contextSize(),
		Softprompts: append([]string{}, info.Softprompts...), Wait: int(cfg.PopWait),
	}
	if cfg.YieldToLocal {
		req.Wait = 0 // somebody may come while the horde waits
	}
	if !s.noPriority.Load() {
		req.PriorityUsernames = cfg.PriorityUsernames
	}
	asked := time.Now()
	j, err := s.p.horde.With(client.WithAgent(s.agent())).PopText(ctx, req)
	if err != nil {
		return nil, err
	}
	s.p.popAnswered("scribe", j.Skipped, j.Messages)
	if !j.Found() {
		return nil, nil
	}
	job := &popped{id: j.ID, ids: j.IDs, at: handedOut(asked), ttl: ttlOf(j.TTL), what: fmt.Sprintf("%s, %d tokens", j.Model, j.Payload.MaxLength)}
	job.do = func(ctx context.Context, started, generated func()) outcome {
		return s.do(ctx, job, j, started, generated)
	}
	return job, nil
}

func ttlOf(seconds int) time.Duration {
	if seconds <= 0 {
		return defaultTTL
	}
	return time.Duration(seconds) * time.Second
}

// do generates one text for each id and submits it.
func (s *scribe) do(ctx context.Context, job *popped, j client.TextJob, started, generated func()) outcome {
	var out outcome
	for i, id := range job.ids {
		text, seed, err := s.generate(ctx, job, j, id, started)
		if i == len(job.ids)-1 && err == nil {
			generated()
		}
		if err != nil {
			out = out.merge(s.fault(job, id, err))
			continue
		}
		s.p.board.job("scribe", job.id, func(b *JobStatus) { b.Stage = "submitting" })
		out = out.merge(s.loop.offer(job, id, func(ctx context.Context, faulted bool) (float64, error) {
			r := client.TextResult{ID: id, Generation: text, State: "ok", Seed: seed}
			if faulted {
				r.Generation, r.State = "faulted", "faulted"
			}
			return s.submit(ctx, r)
		}, false))
	}
	return out
}

func (s *scribe) submit(ctx context.Context, r client.TextResult) (float64, error) {
	return s.p.horde.With(client.WithAgent(s.agent())).SubmitTextResult(ctx, r)
}

// fault hands one id back.
func (s *scribe) fault(job *popped, id string, why error) outcome {
	out := s.loop.offer(job, id, func(ctx context.Context, _ bool) (float64, error) {
		return s.submit(ctx, client.TextResult{ID: id, Generation: "faulted", State: "faulted"})
	}, true)
	out.failed, out.err = !errors.Is(why, errTold) && !errors.Is(why, context.Canceled), fmt.Errorf("%s: %w", id, why)
	return out
}

// generate has the server continue the prompt, within the time that the horde gives.
func (s *scribe) generate(ctx context.Context, job *popped, j client.TextJob, id string, started func()) (string, int64, error) {
	release, err := s.loop.acquire(ctx)
	if err != nil {
		return "", 0, err
	}
	defer release()
	started()
	limit := job.deadline().Add(-s.p.cfg.TTLMargin.Duration())
	if !time.Now().Before(limit) {
		return "", 0, backend.Errorf(backend.Failed, "no time left: waited %v of %v", time.Since(job.at).Round(time.Second), job.ttl)
	}
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	t := backend.NewTextJob("horde-"+id, j.Payload, s.contextSize())
	t.Softprompt = j.Softprompt
	begin := time.Now()
	res, err := s.try(ctx, job, t)
	took := time.Since(begin)
	if err != nil {
		// What arrived before the time was up is better than nothing, for both sides.
		if errors.Is(err, context.DeadlineExceeded) && res.Text != "" {
			s.loop.log.Warn("out of time; handing in what there is", "id", id, "tokens", res.Tokens)
			err = nil
		} else {
			return "", 0, s.loop.judge(err)
		}
	}
	tokens := res.Tokens
	if tokens == 0 {
		tokens = backend.EstimateTokens(res.Text)
	}
	rate := s.speed.add("", float64(tokens), took)
	s.p.board.change("scribe", func(k *KindStatus) { k.Speed, k.Busy = rate, k.Busy+took })
	text, _ := backend.CutAtStop(res.Text, t.Stop)
	return t.Formatting.Format(text), res.Seed, nil
}

// try calls the server, again while it is busy, and once more after a reply that made no sense.
func (s *scribe) try(ctx context.Context, job *popped, t backend.TextJob) (backend.TextResult, error) {
	again := 1
	for n := 1; ; n++ {
		res, err := s.watched(ctx, job, t)
		switch {
		case err == nil || ctx.Err() != nil || errors.Is(err, errStalled):
			return res, err
		case backend.KindOf(err) == backend.Busy && n < busyTries:
			if !wait(ctx, busyPause, nil) {
				return res, ctx.Err()
			}
		case backend.KindOf(err) == backend.Failed && again > 0 && !backend.IsStatus(err, http.StatusInternalServerError):
			again--
		default:
			return res, err
		}
	}
}

// watched calls the server and interrupts it when it goes silent.
func (s *scribe) watched(ctx context.Context, job *popped, t backend.TextJob) (backend.TextResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first := firstToken
	if backend.EstimateTokens(t.Prompt) > longPromptTokens {
		first = longPrompt
	}
	var silence *time.Timer
	if info := s.info.Load(); info != nil && info.Streams {
		silence = time.AfterFunc(first, func() { cancel(errStalled) })
		defer silence.Stop()
	}
	s.p.board.job("scribe", job.id, func(b *JobStatus) { b.Stage, b.Step, b.Steps = "reading the prompt", 0, t.MaxLength })
	res, err := s.backend.Generate(ctx, t, func(p backend.TextProgress) {
		if silence != nil {
			silence.Reset(betweenTokens)
		}
		s.p.board.job("scribe", job.id, func(b *JobStatus) { b.Stage, b.Step = "writing", p.Tokens })
	})
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return res, errStalled
	}
	return res, err
}
