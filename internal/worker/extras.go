// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/worker/assets"
	"horde/internal/worker/backend"
)

// How long a job waits for what it names, by the workers chapter, section 5.4.
const (
	firstLora   = 45 * time.Second
	furtherLora = 15 * time.Second
	forTI       = 15 * time.Second
	// unmeasuredShare is the part of a job's time that is kept for the picture while no speed was measured.
	unmeasuredShare = 0.5
	// waitSlack is kept beside the time that pictures are expected to take.
	waitSlack = 5 * time.Second
	// maxLoras and maxTIs are the most that hordes let a request name.
	maxLoras = 5
	maxTIs   = 20
)

// openAssets makes the store of what is fetched for jobs; it is nil where no folder is set. http is nil but in tests.
func openAssets(p *process, http fetch.Doer) (*assets.Store, error) {
	c := &p.cfg
	if c.LoraFolder == "" && c.EmbeddingFolder == "" {
		return nil, nil
	}
	s, err := assets.Open(assets.Config{
		LoraFolder: c.LoraFolder, EmbeddingFolder: c.EmbeddingFolder, LoraBudget: int64(c.MaxLoraCacheSize) << 30, CivitAI: c.CivitAIURL,
		Hordeling: c.HordelingURL, Token: c.CivitAIAPIToken, NSFW: c.NSFW, Agent: DreamerAgent(), Log: p.log.With("worker", "dreamer"), HTTP: http,
	})
	if err != nil {
		return nil, exitf(ExitConfig, "%w", err)
	}
	return s, nil
}

// takesLoras reports whether jobs with LoRAs are taken: the server can use them, and has some or gets them. mu is held.
func (d *dreamer) takesLoras() bool {
	return d.p.cfg.AllowLora && d.info.Has[backend.LoraFiles] && (len(d.info.Loras) > 0 || d.store.Loras()) && !d.store.Blocked()
}

// takesTIs reports whether jobs with textual inversions are taken. mu is held.
func (d *dreamer) takesTIs() bool { return d.info.Has[backend.Embeddings] && d.store.Embeddings() }

// extras are a job's LoRAs and textual inversions as far as the server has them.
type extras struct {
	loras              []backend.LoraFile
	positive, negative []string // what goes before and behind the prompts, in order
	meta               []client.Metadata
	release            []func()
}

// done lets the files go.
func (x *extras) done() {
	for _, r := range x.release {
		r()
	}
}

// apply puts them into a job.
func (x *extras) apply(im *backend.ImageJob) {
	im.Loras = x.loras
	for _, p := range x.positive {
		im.Positive = p + im.Positive
	}
	for _, n := range x.negative {
		im.Negative += n
	}
}

func (x *extras) missing(kind, value, name string) {
	x.meta = append(x.meta, client.Metadata{Type: kind, Value: value, Ref: backend.Cut(name, maxRef)})
}

// maxRef is how much of a name is repeated in metadata; servers take 255 characters.
const maxRef = 250

// patience is how long job may wait for n LoRAs, so that time is left to make the picture, after those of all other jobs
// in hand.
func (d *dreamer) patience(job *popped, n int) time.Duration {
	d.mu.Lock()
	need := waitSlack
	for _, other := range d.inHand {
		t, ok := d.speed.estimate(other.Model.Name, megapixelsteps(other))
		if !ok {
			need = time.Duration(unmeasuredShare * float64(job.ttl))
			break
		}
		need += t
	}
	d.mu.Unlock()
	left := time.Until(job.deadline()) - d.p.cfg.TTLMargin.Duration() - need
	return max(0, min(firstLora+furtherLora*time.Duration(n-1), left))
}

// gather brings what a job names to the server. What cannot be had in time is left out and told in the metadata.
func (d *dreamer) gather(ctx context.Context, job *popped, j *client.ImageJob, draft *backend.ImageJob) *extras {
	x := &extras{}
	d.mu.Lock()
	have, tis := d.info.Loras, d.takesTIs()
	d.mu.Unlock()
	loras, embeddings := j.Payload.Loras, j.Payload.TIs
	for _, l := range loras[min(len(loras), maxLoras):] {
		x.missing("lora", "download_failed", l.Name)
	}
	for _, t := range embeddings[min(len(embeddings), maxTIs):] {
		x.missing("ti", "download_failed", t.Name)
	}
	loras, embeddings = loras[:min(len(loras), maxLoras)], embeddings[:min(len(embeddings), maxTIs)]
	if len(loras)+len(embeddings) == 0 {
		return x
	}
	wait := d.patience(job, max(1, len(loras)))
	forLoras, stopLoras := context.WithTimeout(ctx, wait)
	defer stopLoras()
	forTIs, stopTIs := context.WithTimeout(ctx, min(wait, forTI))
	defer stopTIs()

	type gotLora struct {
		file  string // by the server's spelling, or the name in the folder
		lora  *assets.Lora
		quiet bool // without any effect: left out, and no failure
		err   error
	}
	gotLoras := make([]gotLora, len(loras))
	gotTIs := make([]*assets.Embedding, len(embeddings))
	var wg sync.WaitGroup
	for i, l := range loras {
		g := &gotLoras[i]
		if strength(l.Model) == 0 && strength(l.Clip) == 0 {
			g.quiet = true
		} else if g.file = serverFile(have, l.Name); g.file == "" {
			wg.Go(func() {
				if g.lora, g.err = d.store.Lora(forLoras, l, draft.Model.Baseline); g.err == nil {
					g.file = g.lora.File
				}
			})
		}
	}
	for i, t := range embeddings {
		if tis {
			wg.Go(func() { gotTIs[i], _ = d.store.Embedding(forTIs, t) })
		}
	}
	wg.Wait()
	var files []string
	for _, g := range gotLoras {
		if g.lora != nil {
			x.release = append(x.release, g.lora.Release)
			files = append(files, g.file)
		}
	}
	seen := d.show(ctx, files, gotTIs)
	for i, l := range loras {
		g := gotLoras[i]
		if g.lora != nil {
			g.file = serverFile(seen.Loras, g.file)
		}
		switch {
		case g.quiet:
		case errors.Is(g.err, assets.ErrBaseline):
			x.missing("lora", "baseline_mismatch", l.Name)
		case g.err != nil || g.file == "":
			x.missing("lora", "download_failed", l.Name)
		default:
			x.loras = append(x.loras, backend.LoraFile{Name: g.file, Model: strength(l.Model), Clip: strength(l.Clip)})
			if g.lora != nil && g.lora.Words != "" {
				x.positive = append(x.positive, g.lora.Words+", ")
			}
		}
	}
	for i, t := range embeddings {
		e := gotTIs[i]
		if e == nil {
			x.missing("ti", "download_failed", t.Name)
			continue
		}
		x.release = append(x.release, e.Release)
		if serverFile(seen.Embeddings, e.ID) == "" {
			x.missing("ti", "download_failed", t.Name)
			continue
		}
		token := fmt.Sprintf("(embedding:%s:%s)", e.ID, number(strength(t.Strength)))
		switch t.InjectTI {
		case "prompt":
			x.positive = append(x.positive, token+",")
		case "negprompt":
			x.negative = append(x.negative, ","+token)
		}
	}
	return x
}

// show makes the server see files that were fetched, and returns what it sees. A server that does not see them looks into
// other folders than the operator wrote down, which the operator is told.
func (d *dreamer) show(ctx context.Context, loras []string, tis []*assets.Embedding) backend.Files {
	wanted := func(seen backend.Files) (missing string) {
		for _, f := range loras {
			if serverFile(seen.Loras, f) == "" {
				return "lora_folder"
			}
		}
		for _, e := range tis {
			if e != nil && serverFile(seen.Embeddings, e.ID) == "" {
				return "embedding_folder"
			}
		}
		return ""
	}
	d.mu.Lock()
	seen := backend.Files{Loras: d.info.Loras, Embeddings: d.embeddings}
	d.mu.Unlock()
	if wanted(seen) == "" {
		return seen
	}
	fresh, err := d.backend.Reload(ctx)
	if err != nil {
		d.loop.log.Warn("the image server cannot be made to look for new files", "error", err)
		return seen
	}
	d.mu.Lock()
	d.info.Loras, d.embeddings = fresh.Loras, fresh.Embeddings
	d.mu.Unlock()
	if key := wanted(fresh); key != "" {
		d.p.board.warn(key + ": the image server does not see the files there; is it the folder that the server looks into?")
	}
	return fresh
}

// serverFile returns the server's spelling of a file, empty when it has none of this name.
func serverFile(have []string, name string) string {
	if i := slices.IndexFunc(have, func(h string) bool { return sameModelFile(h, name) }); i >= 0 {
		return have[i]
	}
	return ""
}

// strength is a strength in its range, 1 when none is given.
func strength(p *float64) float64 {
	if p == nil || math.IsNaN(*p) {
		return 1
	}
	return max(-10, min(10, *p))
}

// number writes a strength as prompts have it, with at most four decimals.
func number(f float64) string { return strconv.FormatFloat(math.Round(f*1e4)/1e4, 'f', -1, 64) }
