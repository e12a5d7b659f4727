// SPDX-License-Identifier: AGPL-3.0-or-later

// Package recorded is for tests of drivers: it keeps what a driver and a real server said to each other, and plays the
// server's part again later. A [Recorder] stands between the two as a proxy; a [Player] answers from the file.
//
// A request is recognised by method, path, query and body, so that a driver that asks anything else than it asked the
// real server fails its test. WebSocket messages are played when the request has come that caused them.
package recorded

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Exchange is one request and its answer.
type Exchange struct {
	// Key is the request: method, path, query, and a digest or canonical form of the body.
	Key    string `json:"key"`
	Status int    `json:"status"`
	Type   string `json:"type,omitempty"`
	// Text or Base64 is the answer's body.
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
}

// Tape is a recording.
type Tape struct {
	// Server says what was recorded.
	Server    string     `json:"server"`
	Exchanges []Exchange `json:"exchanges"`
	// Sockets holds the text messages of each WebSocket connection, by the order in which connections were made.
	Sockets [][]string `json:"sockets"`
}

// Ignored are members of JSON bodies that differ from run to run and are no part of a key.
var Ignored = []string{"client_id", "force_task_id"}

// key describes a request. The body is read and given back.
func key(r *http.Request, body []byte) string {
	k := r.Method + " " + r.URL.Path
	if r.URL.RawQuery != "" && !strings.HasSuffix(r.URL.Path, "/ws") {
		k += "?" + r.URL.RawQuery
	}
	if len(body) == 0 {
		return k
	}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		m := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			p, err := m.NextPart()
			if err != nil {
				return k
			}
			data, _ := io.ReadAll(p)
			if p.FileName() != "" {
				k += " " + p.FormName() + "=" + p.FileName()
			} else {
				k += " " + p.FormName() + "=" + string(data)
			}
		}
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&tree) == nil {
		if m, ok := tree.(map[string]any); ok {
			for _, i := range Ignored {
				delete(m, i)
			}
		}
		canonical, _ := json.Marshal(shorten(tree))
		return k + " " + string(canonical)
	}
	sum := sha256.Sum256(body)
	return k + " " + hex.EncodeToString(sum[:8])
}

// longText is where a string inside a request is kept as a digest: pictures in base64.
const longText = 2000

func shorten(v any) any {
	switch x := v.(type) {
	case string:
		if len(x) > longText {
			// Compressed pictures are not the same bytes with every version of Go, so only their presence counts.
			return "(long text)"
		}
	case map[string]any:
		for k := range x {
			x[k] = shorten(x[k])
		}
	case []any:
		for i := range x {
			x[i] = shorten(x[i])
		}
	}
	return v
}

// Recorder is a proxy in front of a real server. Tape is complete when all requests have ended.
type Recorder struct {
	target string
	mu     sync.Mutex
	tape   Tape
	trim   func(path string, body []byte) []byte
}

// NewRecorder returns a proxy to target. trim may shorten an answer before it is passed on and kept; nil keeps all.
func NewRecorder(target string, trim func(path string, body []byte) []byte) *Recorder {
	return &Recorder{target: strings.TrimRight(target, "/"), trim: trim}
}

// ServeHTTP implements http.Handler.
func (rec *Recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		rec.socket(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	req, _ := http.NewRequestWithContext(r.Context(), r.Method, rec.target+r.URL.RequestURI(), bytes.NewReader(body))
	req.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if rec.trim != nil {
		answer = rec.trim(r.URL.Path, answer)
	}
	e := Exchange{Key: key(r, body), Status: resp.StatusCode, Type: resp.Header.Get("Content-Type")}
	if strings.Contains(e.Type, "json") || strings.Contains(e.Type, "text") || len(answer) == 0 {
		e.Text = string(answer)
	} else {
		e.Base64 = base64.StdEncoding.EncodeToString(answer)
	}
	rec.mu.Lock()
	rec.tape.Exchanges = append(rec.tape.Exchanges, e)
	rec.mu.Unlock()
	w.Header().Set("Content-Type", e.Type)
	w.WriteHeader(e.Status)
	_, _ = w.Write(answer)
}

func (rec *Recorder) socket(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	up, _, err := websocket.Dial(ctx, strings.Replace(rec.target, "http", "ws", 1)+r.URL.RequestURI(), nil)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer up.CloseNow()
	up.SetReadLimit(64 << 20)
	down, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer down.CloseNow()
	ctx = down.CloseRead(ctx)
	rec.mu.Lock()
	n := len(rec.tape.Sockets)
	rec.tape.Sockets = append(rec.tape.Sockets, []string{})
	rec.mu.Unlock()
	for {
		kind, data, err := up.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageText {
			rec.mu.Lock()
			rec.tape.Sockets[n] = append(rec.tape.Sockets[n], string(data))
			rec.mu.Unlock()
		}
		if down.Write(ctx, kind, data) != nil {
			return
		}
	}
}

// Save writes the tape, compressed.
func (rec *Recorder) Save(path, server string) error {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.tape.Server = server
	data, err := json.MarshalIndent(rec.tape, "", " ")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = z.Write(data)
	_ = z.Close()
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// Player plays a tape. Missed collects requests that the tape does not have.
type Player struct {
	mu      sync.Mutex
	answers map[string][]Exchange
	sockets [][]string
	begun   chan struct{} // replaced when a prompt was queued
	missed  []string
}

// Load reads a tape.
func Load(path string) (*Player, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var tape Tape
	if err := json.NewDecoder(z).Decode(&tape); err != nil {
		return nil, err
	}
	p := &Player{answers: map[string][]Exchange{}, sockets: tape.Sockets, begun: make(chan struct{})}
	for _, e := range tape.Exchanges {
		if strings.HasPrefix(e.Key, "GET ") {
			// Of a question that was asked until it had an answer, the answer counts.
			p.answers[e.Key] = nil
		}
		p.answers[e.Key] = append(p.answers[e.Key], e)
	}
	return p, nil
}

// Missed returns the requests that the real server was never asked.
func (p *Player) Missed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missed
}

// ServeHTTP implements http.Handler.
func (p *Player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		p.socket(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	k := key(r, body)
	p.mu.Lock()
	list := p.answers[k]
	if len(list) == 0 {
		p.missed = append(p.missed, k)
		p.mu.Unlock()
		http.Error(w, "not on the tape: "+k, http.StatusTeapot)
		return
	}
	e := list[0]
	if len(list) > 1 {
		p.answers[k] = list[1:]
	}
	if r.Method == http.MethodPost && r.URL.Path == "/prompt" && e.Status == http.StatusOK {
		close(p.begun)
		p.begun = make(chan struct{})
	}
	p.mu.Unlock()
	data := []byte(e.Text)
	if e.Base64 != "" {
		data, _ = base64.StdEncoding.DecodeString(e.Base64)
	}
	if e.Type != "" {
		w.Header().Set("Content-Type", e.Type)
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(data)
}

// socket plays the messages of the next connection, after a prompt was queued.
func (p *Player) socket(w http.ResponseWriter, r *http.Request) {
	// Before the handshake ends: the prompt may come right after it.
	p.mu.Lock()
	var frames []string
	if len(p.sockets) > 0 {
		frames, p.sockets = p.sockets[0], p.sockets[1:]
	}
	begun := p.begun
	p.mu.Unlock()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithTimeout(conn.CloseRead(r.Context()), time.Minute)
	defer cancel()
	select {
	case <-begun:
	case <-ctx.Done():
		return
	}
	for _, f := range frames {
		if conn.Write(ctx, websocket.MessageText, []byte(f)) != nil {
			return
		}
	}
	<-ctx.Done()
}

// String describes what is left, for failing tests.
func (p *Player) String() string { return fmt.Sprintf("%d requests known", len(p.answers)) }
