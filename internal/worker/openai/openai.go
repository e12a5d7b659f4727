// SPDX-License-Identifier: AGPL-3.0-or-later

// Package openai drives text servers that speak the OpenAI completions API (vLLM, Aphrodite, TabbyAPI and others), and
// two with an API of their own beside it: llama.cpp's server and Ollama. Only raw completion is used, never chat: the
// horde's prompts arrive already formatted.
package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"horde/client"
	"horde/internal/worker/backend"
)

// Driver speaks to one server.
type Driver struct {
	at   *backend.Endpoint
	kind string
	// context is the server's context size in tokens as of the last probe, 0 when unknown; vLLM wants to be told how
	// much of a prompt to keep.
	context atomic.Int64
	// model is what the last probe found.
	model atomic.Pointer[string]
	// want picks a model on servers that hold several; empty takes the first.
	want string
}

// New returns a driver. kind is "llamacpp", "vllm", "aphrodite", "tabby", "ollama" or "openai". model chooses one of
// several by the server's name for it; empty means the first or the loaded one.
func New(at *backend.Endpoint, kind, model string) *Driver {
	return &Driver{at: at, kind: kind, want: model}
}

// Probe implements backend.Text.
func (d *Driver) Probe(ctx context.Context) (backend.TextInfo, error) {
	info := backend.TextInfo{Kind: d.kind, Streams: true, Idle: -1}
	var err error
	switch d.kind {
	case "llamacpp":
		err = d.probeLlama(ctx, &info)
	case "ollama":
		err = d.probeOllama(ctx, &info)
	case "tabby":
		err = d.probeTabby(ctx, &info)
	default:
		err = d.probeModels(ctx, &info)
	}
	if err != nil {
		return info, err
	}
	if d.want != "" {
		info.Model = d.want
	}
	d.context.Store(int64(info.Context))
	d.model.Store(&info.Model)
	return info, nil
}

func (d *Driver) probeLlama(ctx context.Context, info *backend.TextInfo) error {
	var props struct {
		Default struct {
			Context int `json:"n_ctx"`
		} `json:"default_generation_settings"`
		Context int    `json:"n_ctx"`
		Path    string `json:"model_path"`
		Build   string `json:"build_info"`
	}
	if err := d.at.Get(ctx, "/props", &props); err != nil {
		return err
	}
	info.Context, info.Version, info.Model = max(props.Default.Context, props.Context), props.Build, props.Path
	if info.Model == "" {
		return d.probeModels(ctx, info)
	}
	return nil
}

func (d *Driver) probeModels(ctx context.Context, info *backend.TextInfo) error {
	var models struct {
		Data []struct {
			ID      string `json:"id"`
			Context int    `json:"max_model_len"`
		} `json:"data"`
	}
	if err := d.at.Get(ctx, "/v1/models", &models); err != nil {
		return err
	}
	for _, m := range models.Data {
		if d.want == "" || m.ID == d.want {
			info.Model, info.Context = m.ID, max(info.Context, m.Context)
			break
		}
	}
	var version struct {
		Version string `json:"version"`
	}
	if d.kind != "openai" && d.at.Get(ctx, "/version", &version) == nil {
		info.Version = version.Version
	}
	return nil
}

func (d *Driver) probeTabby(ctx context.Context, info *backend.TextInfo) error {
	var card struct {
		ID         string `json:"id"`
		Parameters struct {
			MaxSeqLen int `json:"max_seq_len"`
		} `json:"parameters"`
	}
	if err := d.at.Get(ctx, "/v1/model", &card); err != nil {
		return err
	}
	info.Model, info.Context = card.ID, card.Parameters.MaxSeqLen
	return nil
}

func (d *Driver) probeOllama(ctx context.Context, info *backend.TextInfo) error {
	var tags struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	if err := d.at.Get(ctx, "/api/tags", &tags); err != nil {
		return err
	}
	for _, m := range tags.Models {
		if d.want == "" || m.Name == d.want || m.Name == d.want+":latest" {
			info.Model = m.Name
			break
		}
	}
	if info.Model == "" {
		return nil
	}
	var show struct {
		Info map[string]any `json:"model_info"`
	}
	if d.at.JSON(ctx, http.MethodPost, "/api/show", map[string]string{"model": info.Model}, &show) == nil {
		for k, v := range show.Info {
			if n, ok := v.(json.Number); ok && strings.HasSuffix(k, ".context_length") {
				if c, err := n.Int64(); err == nil {
					info.Context = int(c)
				}
			}
		}
	}
	var version struct {
		Version string `json:"version"`
	}
	if d.at.Get(ctx, "/api/version", &version) == nil {
		info.Version = version.Version
	}
	return nil
}

// Generate implements backend.Text.
func (d *Driver) Generate(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	if j.Model == "" {
		if m := d.model.Load(); m != nil {
			j.Model = *m
		}
	}
	prompt, err := d.fit(ctx, j)
	if err != nil {
		return backend.TextResult{}, err
	}
	j.Prompt = prompt
	res, err := d.generate(ctx, j, progress)
	if tooLong(err) {
		// No tokeniser told in time: cut by the usual length of a token, once.
		j.Prompt = backend.TrimEstimate(j.Prompt, max(1, j.MaxContext-j.MaxLength))
		res, err = d.generate(ctx, j, progress)
	}
	if ctx.Err() != nil {
		// The connection is closed by now, which makes all these servers stop.
		err = ctx.Err()
	}
	return res, err
}

// fit cuts the prompt from the left where the server would not, or would cut to another size than was asked for.
func (d *Driver) fit(ctx context.Context, j backend.TextJob) (string, error) {
	budget := max(1, j.MaxContext-j.MaxLength)
	switch d.kind {
	case "llamacpp":
		return backend.TrimTokens(ctx, llamaTokens{d.at}, j.Prompt, budget)
	case "tabby":
		return backend.TrimTokens(ctx, tabbyTokens{d.at}, j.Prompt, budget)
	}
	// vLLM and Aphrodite are told what to keep; Ollama cuts to num_ctx by itself; others have no tokeniser to ask.
	return j.Prompt, nil
}

// tooLong recognises the refusal of a prompt that exceeds the context.
func tooLong(err error) bool {
	var e *backend.Error
	if !errors.As(err, &e) || e.Kind != backend.Refused {
		return false
	}
	m := strings.ToLower(e.Message)
	return strings.Contains(m, "context length") || strings.Contains(m, "context size") || strings.Contains(m, "maximum")
}

func (d *Driver) generate(ctx context.Context, j backend.TextJob, progress func(backend.TextProgress)) (backend.TextResult, error) {
	g := &gathering{job: j, progress: progress}
	var err error
	switch d.kind {
	case "llamacpp":
		err = d.open(ctx, "/completion", LlamaBody(j), func(r io.Reader) error { return g.events(r, g.llama) })
	case "ollama":
		err = d.open(ctx, "/api/generate", OllamaBody(j), func(r io.Reader) error { return backend.Lines(r, g.ollama) })
	default:
		err = d.open(ctx, "/v1/completions", CompletionBody(d.kind, j, int(d.context.Load())),
			func(r io.Reader) error { return g.events(r, g.completion) })
	}
	if err == nil && !g.ended {
		err = backend.Errorf(backend.Unreachable, "the stream ended early")
	}
	return backend.TextResult{Text: g.text.String(), Tokens: g.tokens}, err
}

func (d *Driver) open(ctx context.Context, path string, body any, read func(io.Reader) error) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := d.at.Open(ctx, http.MethodPost, path, "application/json", bytes.NewReader(data))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return backend.StatusError(resp.StatusCode, msg)
	}
	err = read(resp.Body)
	var ours *backend.Error
	if err != nil && !errors.As(err, &ours) {
		err = &backend.Error{Kind: backend.Unreachable, Message: "stream broke", Cause: err}
	}
	return err
}

// gathering collects a streamed text.
type gathering struct {
	job      backend.TextJob
	progress func(backend.TextProgress)
	text     strings.Builder
	tokens   int
	ended    bool
}

// maxWhole bounds an answer that comes in one piece, in bytes.
const maxWhole = 16 << 20

// events reads a stream of events. A server that cannot stream answers with one object, which is taken as the only event.
func (g *gathering) events(r io.Reader, event func(string) error) error {
	in := bufio.NewReader(r)
	for {
		first, err := in.Peek(1)
		if err != nil {
			return backend.Events(in, event)
		}
		switch first[0] {
		case ' ', '\t', '\r', '\n':
			_, _ = in.Discard(1)
			continue
		case '{':
		default:
			return backend.Events(in, event)
		}
		whole, err := io.ReadAll(io.LimitReader(in, maxWhole))
		if err != nil {
			return err
		}
		if err := event(string(whole)); err != nil && !errors.Is(err, backend.ErrEnough) {
			return err
		}
		g.ended = true
		return nil
	}
}

func (g *gathering) add(piece string) {
	if piece != "" {
		g.text.WriteString(piece)
		g.tokens++
		g.progress(backend.TextProgress{Tokens: g.tokens})
	}
}

func (g *gathering) llama(data string) error {
	var e struct {
		Content string `json:"content"`
		Stop    bool   `json:"stop"`
		Word    string `json:"stopping_word"`
		Error   *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := decode(data, &e); err != nil {
		return err
	}
	if e.Error != nil {
		return backend.StatusError(e.Error.Code, []byte(data))
	}
	g.add(e.Content)
	if e.Stop {
		// The horde promises that the text holds the sequence that ended it.
		g.text.WriteString(e.Word)
		g.ended = true
		return backend.ErrEnough
	}
	return nil
}

func (g *gathering) ollama(line string) error {
	var e struct {
		Response string `json:"response"`
		Done     bool   `json:"done"`
		Error    string `json:"error"`
	}
	if err := decode(line, &e); err != nil {
		return err
	}
	if e.Error != "" {
		return backend.Errorf(backend.Failed, "%s", e.Error)
	}
	g.add(e.Response)
	if e.Done {
		g.ended = true
		return backend.ErrEnough
	}
	return nil
}

func (g *gathering) completion(data string) error {
	var e struct {
		Choices []struct {
			Text   string `json:"text"`
			Finish string `json:"finish_reason"`
		} `json:"choices"`
		Error any `json:"error"`
	}
	if err := decode(data, &e); err != nil {
		return err
	}
	if e.Error != nil {
		return backend.StatusError(http.StatusInternalServerError, []byte(data))
	}
	if len(e.Choices) == 0 {
		return nil
	}
	g.add(e.Choices[0].Text)
	if e.Choices[0].Finish != "" {
		g.ended = true
	}
	return nil
}

func decode(data string, v any) error {
	if err := client.Decode([]byte(data), v); err != nil {
		return &backend.Error{Kind: backend.Failed, Message: "stream", Cause: err}
	}
	return nil
}

type llamaTokens struct{ at *backend.Endpoint }

func (t llamaTokens) Tokens(ctx context.Context, s string) ([]int, error) {
	var r struct {
		Tokens []int `json:"tokens"`
	}
	err := t.at.JSON(ctx, http.MethodPost, "/tokenize", map[string]any{"content": s}, &r)
	return r.Tokens, err
}

func (t llamaTokens) Text(ctx context.Context, tokens []int) (string, error) {
	var r struct {
		Content string `json:"content"`
	}
	err := t.at.JSON(ctx, http.MethodPost, "/detokenize", map[string]any{"tokens": tokens}, &r)
	return r.Content, err
}

type tabbyTokens struct{ at *backend.Endpoint }

func (t tabbyTokens) Tokens(ctx context.Context, s string) ([]int, error) {
	var r struct {
		Tokens []int `json:"tokens"`
	}
	err := t.at.JSON(ctx, http.MethodPost, "/v1/token/encode", map[string]any{"text": s, "add_bos_token": false}, &r)
	return r.Tokens, err
}

func (t tabbyTokens) Text(ctx context.Context, tokens []int) (string, error) {
	var r struct {
		Text string `json:"text"`
	}
	err := t.at.JSON(ctx, http.MethodPost, "/v1/token/decode", map[string]any{"tokens": tokens}, &r)
	return r.Text, err
}
