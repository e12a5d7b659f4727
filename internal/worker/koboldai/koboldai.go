// SPDX-License-Identifier: AGPL-3.0-or-later

// Package koboldai drives servers with the KoboldAI API: KoboldCpp, Aphrodite and TabbyAPI with their Kobold routes, and
// KoboldAI itself. These servers cut an over-long prompt themselves and leave stop sequences in the text.
package koboldai

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"horde/client"
	"horde/internal/worker/backend"
)

// abortTimeout bounds the call that tells a server to stop.
const abortTimeout = 5 * time.Second

// Driver speaks to one server. It keeps no state.
type Driver struct {
	at     *backend.Endpoint
	kind   string
	stream bool
}

// New returns a driver. kind is "koboldcpp", "aphrodite", "tabby" or "koboldai"; only the last cannot stream.
func New(at *backend.Endpoint, kind string) *Driver {
	return &Driver{at: at, kind: kind, stream: kind != "koboldai"}
}

// Probe implements backend.Text.
func (d *Driver) Probe(ctx context.Context) (backend.TextInfo, error) {
	info := backend.TextInfo{Kind: d.kind, Streams: d.stream, Idle: -1}
	var text struct {
		Result string `json:"result"`
	}
	if err := d.at.Get(ctx, "/api/v1/model", &text); err != nil {
		return info, err
	}
	info.Model = text.Result
	var value struct {
		Value int `json:"value"`
	}
	if d.at.Get(ctx, "/api/extra/true_max_context_length", &value) != nil {
		// KoboldAI itself knows only the setting, not what the model holds.
		_ = d.at.Get(ctx, "/api/v1/config/max_context_length", &value)
	}
	info.Context = value.Value
	value.Value = 0
	if d.kind == "koboldai" && d.at.Get(ctx, "/api/v1/config/max_length", &value) == nil {
		info.MaxLength = value.Value
	}
	var version struct {
		Version string `json:"version"`
	}
	if d.at.Get(ctx, "/api/extra/version", &version) == nil {
		info.Version = version.Version
	}
	var soft struct {
		Values []struct {
			Value string `json:"value"`
		} `json:"values"`
	}
	if d.kind == "koboldai" && d.at.Get(ctx, "/api/v1/config/soft_prompts_list", &soft) == nil {
		for _, v := range soft.Values {
			info.Softprompts = append(info.Softprompts, v.Value)
		}
	}
	var perf struct {
		Idle  *float64 `json:"idletime"`
		Queue int      `json:"queue"`
	}
	if d.kind == "koboldcpp" && d.at.Get(ctx, "/api/extra/perf", &perf) == nil && perf.Idle != nil {
		if info.Idle = *perf.Idle; perf.Queue > 0 {
			info.Idle = 0
		}
	}
	return info, nil
}

// Body is the request for a job. What the requester did not set is left out, so that the server's defaults apply.
func Body(j backend.TextJob) map[string]any {
	b := map[string]any{
		"prompt": j.Prompt, "max_length": j.MaxLength, "max_context_length": j.MaxContext, "quiet": true, "genkey": j.Key,
	}
	set(b, "temperature", j.Temperature)
	set(b, "top_k", j.TopK)
	set(b, "top_p", j.TopP)
	set(b, "top_a", j.TopA)
	set(b, "typical", j.Typical)
	set(b, "tfs", j.TFS)
	set(b, "min_p", j.MinP)
	set(b, "smoothing_factor", j.SmoothingFactor)
	set(b, "dynatemp_range", j.DynatempRange)
	set(b, "dynatemp_exponent", j.DynatempExponent)
	set(b, "rep_pen", j.RepPen)
	set(b, "rep_pen_range", j.RepPenRange)
	set(b, "rep_pen_slope", j.RepPenSlope)
	set(b, "use_default_badwordsids", j.BanEOS)
	if len(j.SamplerOrder) > 0 {
		b["sampler_order"] = j.SamplerOrder
	}
	if len(j.Stop) > 0 {
		b["stop_sequence"] = j.Stop
	}
	return b
}

func set[T any](b map[string]any, name string, v *T) {
	if v != nil {
		b[name] = *v
	}
}

// Generate implements backend.Text.
func (d *Driver) Generate(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	if j.Softprompt != "" && d.kind == "koboldai" {
		if err := d.at.JSON(ctx, http.MethodPut, "/api/v1/config/soft_prompt", map[string]string{"value": j.Softprompt}, nil); err != nil {
			return backend.TextResult{}, err
		}
	}
	var res backend.TextResult
	var err error
	if d.stream {
		res, err = d.streamed(ctx, j, progress)
		if backend.IsStatus(err, http.StatusNotFound) || backend.IsStatus(err, http.StatusMethodNotAllowed) {
			// An older server without the extra routes.
			res, err = d.whole(ctx, j)
		}
	} else {
		res, err = d.whole(ctx, j)
	}
	if ctx.Err() != nil {
		d.abort(ctx, j.Key)
		return res, ctx.Err()
	}
	return res, err
}

func (d *Driver) whole(ctx context.Context, j backend.TextJob) (backend.TextResult, error) {
	var reply struct {
		Results []struct {
			Text string `json:"text"`
		} `json:"results"`
	}
	if err := d.at.JSON(ctx, http.MethodPost, "/api/v1/generate", Body(j), &reply); err != nil {
		return backend.TextResult{}, err
	}
	if len(reply.Results) == 0 {
		return backend.TextResult{}, backend.Errorf(backend.Failed, "reply without results")
	}
	return backend.TextResult{Text: reply.Results[0].Text}, nil
}

func (d *Driver) streamed(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	body, err := json.Marshal(Body(j))
	if err != nil {
		return backend.TextResult{}, err
	}
	resp, err := d.at.Open(ctx, http.MethodPost, "/api/extra/generate/stream", "application/json", bytes.NewReader(body))
	if err != nil {
		return backend.TextResult{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return backend.TextResult{}, backend.StatusError(resp.StatusCode, data)
	}
	var text strings.Builder
	n := 0
	err = backend.Events(resp.Body, func(data string) error {
		var e struct {
			Token  string `json:"token"`
			Finish string `json:"finish_reason"`
		}
		if err := client.Decode([]byte(data), &e); err != nil {
			return &backend.Error{Kind: backend.Failed, Message: "stream", Cause: err}
		}
		if e.Token != "" {
			text.WriteString(e.Token)
			n++
			progress(backend.TextProgress{Tokens: n})
		}
		if e.Finish == "stop" || e.Finish == "length" {
			return backend.ErrEnough
		}
		return nil
	})
	res := backend.TextResult{Text: text.String(), Tokens: n}
	if err != nil && ctx.Err() == nil && backend.KindOf(err) == backend.Failed {
		if _, ours := err.(*backend.Error); !ours {
			err = &backend.Error{Kind: backend.Unreachable, Message: "stream broke", Cause: err}
		}
	}
	return res, err
}

// abort tells the server to stop a job whose context has ended.
func (d *Driver) abort(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = d.at.JSON(ctx, http.MethodPost, "/api/extra/abort", map[string]string{"genkey": key}, nil)
}
