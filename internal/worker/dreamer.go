// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/worker/assets"
	"horde/internal/worker/backend"
)

const (
	// maxOffered is the number of models that a server reads in one pop.
	maxOffered = 300
	// unsentLoad is what a finished job that is not submitted yet counts, in eMPS.
	unsentLoad = 4
	// perModel is the number of jobs of one model in hand from which it is not offered.
	perModel = 2
	// ttlShare is the part of a job's time that the queue and the largest job may take together.
	ttlShare = 0.6
	// memoryPause is how long a smaller batch is asked for after the server ran out of memory.
	memoryPause = 30 * time.Minute
	// startedAtOnce is the wait up to which a job counts as not having waited.
	startedAtOnce = 5 * time.Second
	// modelsEvery is the pause between two looks at the list of models.
	modelsEvery = time.Hour
)

// errStuck means that an image server showed no sign of life for too long.
var errStuck = backend.Errorf(backend.Failed, "no progress for too long")

// dreamer is the image worker. mu guards what stands below it.
type dreamer struct {
	p       *process
	loop    *loop
	backend backend.Images
	safety  *checker
	sources *fetch.Client
	store   *assets.Store // nil: nothing is fetched for jobs
	speed   speed         // megapixelsteps a second, by model

	mu         sync.Mutex
	info       backend.ImageInfo
	embeddings []string // what the server was last seen to have of them
	models     map[string]backend.Model
	offered    []string
	reference  map[string]record
	usage      Usage
	listedAt   time.Time
	noPriority bool
	inHand     map[string]*backend.ImageJob // by job id, until it is generated
	perModel   map[string]int
	gateSince  time.Time
	batch      int // current max_batch
	batchTil   time.Time
}

func (d *dreamer) label() string { return "dreamer" }

func (d *dreamer) dropPriority() {
	d.mu.Lock()
	d.noPriority = true
	d.mu.Unlock()
}

func (d *dreamer) rest(ctx context.Context) { _ = d.backend.Free(ctx) }

// check probes the server, and once an hour the list of models, and decides what to offer.
func (d *dreamer) check(ctx context.Context) error {
	info, err := d.backend.Probe(ctx)
	if err != nil {
		return err
	}
	d.refreshReference(ctx, info)
	d.mu.Lock()
	models, missing := pickModels(&d.p.cfg, d.reference, d.usage, info)
	d.info, d.models, d.offered = info, map[string]backend.Model{}, nil
	for _, m := range models {
		d.models[m.Name] = m
		d.offered = append(d.offered, m.Name)
	}
	offered := slices.Clone(d.offered)
	d.mu.Unlock()
	for _, m := range missing {
		d.p.board.warn(fmt.Sprintf("model %q is not offered: the server has no file for it", m))
	}
	d.p.board.change("dreamer", func(k *KindStatus) {
		k.Backend, k.Models, k.Healthy = strings.TrimSpace(strings.Join([]string{info.Kind, info.Version, info.Device}, " ")), offered, true
	})
	return nil
}

func (d *dreamer) refreshReference(ctx context.Context, info backend.ImageInfo) {
	d.mu.Lock()
	fresh := d.reference != nil && (info.Kind == "sandbox" || time.Since(d.listedAt) < modelsEvery)
	d.mu.Unlock()
	if fresh {
		return
	}
	address := d.p.cfg.ModelReferenceURL
	if info.Kind == "sandbox" {
		address = ""
	}
	ref, err := loadReference(ctx, address, d.p.cfg.CacheHome)
	if err != nil && info.Kind != "sandbox" {
		d.p.log.Warn("model reference", "error", err)
	}
	usage := Usage{}
	if slices.ContainsFunc(append(slices.Clone(d.p.cfg.ModelsToLoad), d.p.cfg.ModelsToSkip...), func(e string) bool {
		_, ok := ranked(strings.Fields(strings.TrimSuffix(strings.ToLower(e), "models")))
		return ok
	}) {
		if stats, err := d.p.horde.ImageModelStats(ctx, "known"); err != nil {
			d.p.log.Warn("model statistics for top and bottom", "error", err)
		} else {
			usage = stats["month"]
		}
	}
	d.mu.Lock()
	d.reference, d.usage, d.listedAt = ref, usage, time.Now()
	d.mu.Unlock()
}

func (d *dreamer) agent() string {
	if d.p.cfg.BridgeAgent != "" {
		return d.p.cfg.BridgeAgent
	}
	return DreamerAgent()
}

// pace is the performance mode.
func (d *dreamer) pace() backend.Pace {
	switch {
	case d.p.cfg.HighPerformanceMode:
		return backend.PaceHigh
	case d.p.cfg.ModeratePerformanceMode:
		return backend.PaceModerate
	}
	return backend.PaceNormal
}

func (d *dreamer) ready() (bool, string, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.offered) == 0 {
		return false, "no model to offer", 10 * time.Second
	}
	d.loop.mu.Lock()
	unsent := d.loop.submitting
	d.loop.mu.Unlock()
	pending := unsent * unsentLoad
	for _, j := range d.inHand {
		pending += j.Load()
	}
	if len(d.inHand) == 0 {
		d.gateSince = time.Time{}
		return true, "", 0
	}
	if finish, ok := d.estimateAll(); ok {
		limit := time.Duration(ttlShare * float64(backend.ServerTTL(d.largest(), 30, backend.SD1, false, d.p.cfg.ExtraSlowWorker)))
		if finish > limit {
			return false, "enough in hand", time.Second
		}
		return true, "", 0
	}
	// Nothing was measured yet.
	t := d.pace().GateWait(pending, d.p.cfg.MaxThreads)
	if t == 0 {
		d.gateSince = time.Time{}
		return true, "", 0
	}
	if d.gateSince.IsZero() {
		d.gateSince = time.Now()
	}
	if left := t - time.Since(d.gateSince); left > 0 {
		return false, "enough in hand", min(left, time.Second)
	}
	d.gateSince = time.Time{}
	return true, "", 0
}

// estimateAll is the time for all jobs in hand and one of the largest size. mu is held.
func (d *dreamer) estimateAll() (time.Duration, bool) {
	var all time.Duration
	model := ""
	for _, j := range d.inHand {
		t, ok := d.speed.estimate(j.Model.Name, megapixelsteps(j))
		if !ok {
			return 0, false
		}
		all += t
		model = j.Model.Name
	}
	s := d.largest()
	t, ok := d.speed.estimate(model, float64(s.W*s.H*30)/1e6)
	return all + t, ok
}

// largest is the largest square that is offered.
func (d *dreamer) largest() backend.Size {
	side := int(math.Sqrt(float64(d.p.cfg.MaxPixels())))
	return backend.Size{W: side, H: side}
}

func megapixelsteps(j *backend.ImageJob) float64 {
	mps := float64(j.First.W*j.First.H*j.Steps) / 1e6
	if j.Hires {
		mps += float64(j.Width*j.Height*j.HiresSteps) / 1e6
	}
	return mps * (1 + 0.8*float64(j.Count-1))
}

// capabilities are the gates that this server can really pass, for hordes that let a worker narrow what its name stands
// for.
func capabilities(cfg *Config, info backend.ImageInfo, loras, tis bool) []string {
	out := []string{"karras", "r2", "r2_source"}
	for _, f := range []backend.Feature{backend.Img2Img, backend.Inpainting, backend.HiresFix, backend.ClipSkip, backend.Tiling, backend.Flux,
		backend.Cascade, backend.Remix, backend.Transparent} {
		if info.Has[f] {
			out = append(out, string(f))
		}
	}
	if info.Has[backend.Controlnet] {
		out = append(out, "controlnet", "image_is_control", "return_control_map")
	}
	if loras {
		out = append(out, "lora", "lora_versions")
	}
	if tis {
		out = append(out, string(backend.Embeddings))
	}
	if cfg.AllowPostProcessing && len(info.PostProcessors) > 0 {
		out = append(append(out, "post-processing"), info.PostProcessors...)
	}
	return out
}

func (d *dreamer) request() client.PopImageRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg, info := &d.p.cfg, d.info
	if time.Now().After(d.batchTil) {
		d.batch = cfg.MaxBatch
	}
	models := slices.DeleteFunc(slices.Clone(d.offered), func(m string) bool { return d.perModel[m] >= perModel && len(d.offered) > 1 })
	r := client.PopImageRequest{
		Name: cfg.DreamerName, Models: models[:min(len(models), maxOffered)], BridgeAgent: d.agent(), NSFW: cfg.NSFW, Threads: cfg.MaxThreads,
		Amount: d.batch, MaxPixels: cfg.MaxPixels(), Blacklist: cfg.Blacklist,
		AllowImg2Img: cfg.AllowImg2Img && info.Has[backend.Img2Img], AllowPainting: cfg.AllowPainting && info.Has[backend.Inpainting],
		AllowUnsafeIP: cfg.AllowUnsafeIP, AllowPostProcessing: cfg.AllowPostProcessing && len(info.PostProcessors) > 0,
		AllowControlnet: cfg.AllowControlnet && info.Has[backend.Controlnet], AllowSDXLControlnet: cfg.AllowSDXLControlnet && info.Has[backend.QRCode],
		AllowLora: d.takesLoras(), RequireUpfrontKudos: cfg.RequireUpfrontKudos,
		ExtraSlowWorker: cfg.ExtraSlowWorker, LimitMaxSteps: cfg.LimitMaxSteps, Capabilities: capabilities(cfg, info, d.takesLoras(), d.takesTIs()),
		Wait: int(cfg.PopWait),
	}
	if !d.noPriority {
		r.PriorityUsernames = cfg.PriorityUsernames
	}
	return r
}

func (d *dreamer) pop(ctx context.Context, _ int) (*popped, error) {
	asked := time.Now()
	j, err := d.p.horde.With(client.WithAgent(d.agent())).PopImage(ctx, d.request())
	if err != nil {
		return nil, err
	}
	d.p.popAnswered("dreamer", j.Skipped, j.Messages)
	if !j.Found() {
		return nil, nil
	}
	d.mu.Lock()
	model := d.models[j.Model]
	d.mu.Unlock()
	if model.Name == "" {
		model.Name = j.Model
	}
	// A first reading without the pictures, for the load; the real one follows when they are here.
	draft, _ := backend.NewImageJob("horde-"+j.ID, j, model, backend.Sources{}, rand.Uint32)
	draft.Loras = make([]backend.LoraFile, len(j.Payload.Loras))
	d.mu.Lock()
	d.inHand[j.ID] = draft
	d.perModel[j.Model]++
	d.mu.Unlock()
	job := &popped{id: j.ID, ids: j.IDs, at: handedOut(asked), ttl: ttlOf(j.TTL)}
	job.what = fmt.Sprintf("%s %dx%d %d steps", j.Model, draft.Width, draft.Height, draft.Steps)
	if draft.Count > 1 {
		job.what += fmt.Sprintf(" x%d", draft.Count)
	}
	job.do = func(ctx context.Context, started, generated func()) outcome {
		done := func() {
			d.mu.Lock()
			if _, ok := d.inHand[j.ID]; ok {
				delete(d.inHand, j.ID)
				d.perModel[j.Model]--
			}
			d.mu.Unlock()
		}
		defer done()
		return d.do(ctx, job, j, draft, started, func() { done(); generated() })
	}
	return job, nil
}

// do follows a job from its sources to the last submit. draft is a first reading of it.
func (d *dreamer) do(ctx context.Context, job *popped, j client.ImageJob, draft *backend.ImageJob, started, generated func()) outcome {
	stage := func(s string) { d.p.board.job("dreamer", job.id, func(b *JobStatus) { b.Stage = s }) }
	prep, cancel := context.WithDeadline(ctx, job.deadline())
	stage("fetching")
	var x *extras
	var both sync.WaitGroup
	both.Go(func() { x = d.gather(prep, job, &j, draft) })
	src, meta := getSources(prep, d.sources, &j)
	both.Wait()
	cancel()
	defer x.done()
	im, more := backend.NewImageJob("horde-"+j.ID, j, draft.Model, src, rand.Uint32)
	x.apply(im)
	meta = slices.Concat(meta, more, x.meta, d.adapt(im))
	stage("waiting")
	res, err := d.generate(ctx, job, im, started)
	if err != nil {
		return d.faultAll(job, im, err)
	}
	generated()
	for _, ignored := range res.Ignored {
		meta = append(meta, backend.Ignored(ignored))
	}
	var out outcome
	for i, id := range job.ids {
		if i >= len(res.Pictures) {
			out = out.merge(d.fault(job, id, im, backend.Errorf(backend.Failed, "picture %d is missing", i)))
			continue
		}
		entries := append(slices.Clone(meta), backend.BatchMetadata(i, len(job.ids))...)
		out = out.merge(d.deliver(ctx, job, j.UploadURL(i), id, im, res.Pictures[i], entries))
	}
	return out
}

// adapt takes out what the server cannot do and says so, where a picture is possible without it.
func (d *dreamer) adapt(im *backend.ImageJob) (meta []client.Metadata) {
	d.mu.Lock()
	info := d.info
	d.mu.Unlock()
	if im.Hires && !info.Has[backend.HiresFix] {
		im.Hires = false
		im.First = backend.Size{W: im.Width, H: im.Height}
		meta = append(meta, backend.Ignored("hires_fix"))
	}
	im.PostProcessing = slices.DeleteFunc(im.PostProcessing, func(p string) bool {
		if slices.Contains(info.PostProcessors, p) {
			return false
		}
		meta = append(meta, backend.Ignored(p))
		return true
	})
	return meta
}

// generate makes and post-processes the pictures within the time that the horde gives.
func (d *dreamer) generate(ctx context.Context, job *popped, im *backend.ImageJob, started func()) (backend.ImageResult, error) {
	release, err := d.loop.acquire(ctx)
	if err != nil {
		return backend.ImageResult{}, err
	}
	defer release()
	started()
	left := time.Until(job.deadline()) - d.p.cfg.TTLMargin.Duration()
	need, _ := d.speed.estimate(im.Model.Name, megapixelsteps(im))
	// A job that did not have to wait is tried whatever the estimate says: that one may come from a slow start, and
	// only another job can better it.
	if time.Since(job.at) < startedAtOnce {
		need = 0
	}
	if left <= 0 || need > left {
		return backend.ImageResult{}, backend.Errorf(backend.Failed, "no time left: %v for a job of about %v", left.Round(time.Second), need.Round(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	begin := time.Now()
	res, err := d.watched(ctx, job, im)
	if err != nil {
		if backend.KindOf(err) == backend.OutOfMemory {
			d.outOfMemory(ctx)
		}
		return res, d.loop.judge(err)
	}
	took := time.Since(begin)
	rate := d.speed.add(im.Model.Name, megapixelsteps(im), took)
	d.p.board.change("dreamer", func(k *KindStatus) { k.Speed, k.Busy = rate, k.Busy+took })
	for i := range res.Pictures {
		for _, name := range im.PostProcessing {
			d.p.board.job("dreamer", job.id, func(b *JobStatus) { b.Stage, b.Steps = name, 0 })
			limited, stop := context.WithTimeout(ctx, d.p.cfg.PostProcessTimeout.Duration()+3*time.Second*time.Duration(len(res.Pictures)))
			p, err := d.backend.PostProcess(limited, res.Pictures[i], name, im.FaceStrength)
			stop()
			if err != nil {
				return res, d.loop.judge(fmt.Errorf("%s: %w", name, err))
			}
			res.Pictures[i] = p
		}
	}
	return res, nil
}

// watched runs the server and interrupts it when it shows no sign of life.
func (d *dreamer) watched(ctx context.Context, job *popped, im *backend.ImageJob) (backend.ImageResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.mu.Lock()
	tells := d.info.Progress
	d.mu.Unlock()
	var silence *time.Timer
	if tells {
		silence = time.AfterFunc(d.p.cfg.PreloadTimeout.Duration(), func() { cancel(errStuck) })
		defer silence.Stop()
	}
	last := ""
	res, err := d.backend.Generate(ctx, im, func(p backend.ImageProgress) {
		if silence != nil && (p.Step > 0 || p.Stage != last) {
			limit := d.p.cfg.PreloadTimeout.Duration()
			if p.Step > 0 && p.Step < p.Steps {
				limit = d.p.cfg.InferenceStepTimeout.Duration()
			}
			silence.Reset(limit)
		}
		last = p.Stage
		d.p.board.job("dreamer", job.id, func(b *JobStatus) { b.Stage, b.Step, b.Steps = p.Stage, p.Step, p.Steps })
	})
	if err != nil && errors.Is(context.Cause(ctx), errStuck) {
		return res, errStuck
	}
	return res, err
}

// outOfMemory frees the server's memory and asks for smaller batches for a while.
func (d *dreamer) outOfMemory(ctx context.Context) {
	_ = d.backend.Free(context.WithoutCancel(ctx))
	d.mu.Lock()
	d.batch, d.batchTil = max(1, d.batch/2), time.Now().Add(memoryPause)
	d.mu.Unlock()
	d.p.board.warn("the image server ran out of memory: lower max_power or max_batch if this comes again")
}

// deliver encodes, judges, uploads and submits one picture.
func (d *dreamer) deliver(ctx context.Context, job *popped, target, id string, im *backend.ImageJob, p backend.Picture, meta []client.Metadata) outcome {
	stage := func(s string) { d.p.board.job("dreamer", job.id, func(b *JobStatus) { b.Stage = s }) }
	stage("encoding")
	data, scaled, err := toWebP(p.Data)
	if err != nil {
		return d.fault(job, id, im, &backend.Error{Kind: backend.Failed, Message: "picture from the server", Cause: err})
	}
	if scaled {
		meta = append(meta, client.Metadata{Type: "information", Value: "see_ref", Ref: "scaled down to what WebP can hold"})
	}
	stage("checking")
	verdict, err := d.safety.check(ctx, data, im)
	if err != nil {
		return d.fault(job, id, im, err)
	}
	r := rule(verdict, &d.p.cfg, im)
	if r.replace != "" {
		d.loop.log.Warn("a result was withheld", "id", id, "state", r.state)
		if data, _, err = backend.EncodeWebP(notice(r.replace)); err != nil {
			return d.fault(job, id, im, err)
		}
	}
	meta = append(meta, r.meta...)
	stage("uploading")
	generation := "R2"
	if target != "" {
		if err = d.loop.upload(job, id, target, data); err != nil {
			d.loop.log.Warn("upload failed; sending the picture with the submit", "id", id, "error", err)
		}
	}
	if target == "" || err != nil {
		generation = base64.StdEncoding.EncodeToString(data)
	}
	stage("submitting")
	result := client.ImageResult{ID: id, Generation: generation, Seed: int64(p.Seed), State: r.state, Metadata: meta[:min(len(meta), maxMetadata)]}
	return d.loop.offer(job, id, func(ctx context.Context, faulted bool) (float64, error) {
		if faulted {
			return d.submit(ctx, faultOf(id, im))
		}
		return d.submit(ctx, result)
	}, false)
}

// maxMetadata is the number of entries that servers accept.
const maxMetadata = 50

// toWebP makes what is uploaded of a server's picture: WebP passes through without its metadata, all else is encoded.
func toWebP(data []byte) (out []byte, scaled bool, err error) {
	m, err := backend.Decode(data, backend.MaxPixels)
	if err != nil {
		return nil, false, err
	}
	if backend.IsWebP(data) {
		out, err = backend.StripWebP(data)
		return out, false, err
	}
	return backend.EncodeWebP(m)
}

func (d *dreamer) submit(ctx context.Context, r client.ImageResult) (float64, error) {
	return d.p.horde.With(client.WithAgent(d.agent())).SubmitImageResult(ctx, r)
}

func faultOf(id string, im *backend.ImageJob) client.ImageResult {
	return client.ImageResult{ID: id, Generation: "faulted", State: "faulted", Seed: int64(im.Seed)}
}

// fault hands one id back.
func (d *dreamer) fault(job *popped, id string, im *backend.ImageJob, why error) outcome {
	out := d.loop.offer(job, id, func(ctx context.Context, _ bool) (float64, error) { return d.submit(ctx, faultOf(id, im)) }, true)
	out.failed, out.err = !errors.Is(why, errTold) && !errors.Is(why, context.Canceled), fmt.Errorf("%s: %w", id, why)
	return out
}

func (d *dreamer) faultAll(job *popped, im *backend.ImageJob, why error) outcome {
	var out outcome
	for _, id := range job.ids {
		out = out.merge(d.fault(job, id, im, why))
	}
	return out
}

func (d *dreamer) report() string {
	r := d.request()
	d.mu.Lock()
	info, loras, folders := d.info, d.p.cfg.AllowLora, d.p.cfg.LoraFolder != ""
	d.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "dreamer %q: %s %s %s\n  agent   %s\n  up to   %d pixels, batches of %d\n", r.Name, info.Kind, info.Version, info.Device, r.BridgeAgent, r.MaxPixels, r.Amount)
	fmt.Fprintf(&b, "  models  %s\n", strings.Join(r.Models, ", "))
	fmt.Fprintf(&b, "  takes   image to image %v, painting %v, post-processing %v, ControlNet %v, LoRA %v\n", r.AllowImg2Img, r.AllowPainting, r.AllowPostProcessing, r.AllowControlnet, r.AllowLora)
	fmt.Fprintf(&b, "  can     %s\n", strings.Join(r.Capabilities, ", "))
	if loras && !r.AllowLora && !folders {
		b.WriteString("  allow_lora is set, but the server has no LoRA files; with lora_folder the worker fetches them\n")
	}
	return b.String()
}
