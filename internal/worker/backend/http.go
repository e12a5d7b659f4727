// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"horde/client"
)

// maxReply bounds one reply of a server in bytes: a batch of large PNGs in base64.
const maxReply = 512 << 20

// Endpoint is the address of an inference server with what it takes to be let in. The zero value is not usable; see
// NewEndpoint.
type Endpoint struct {
	base string
	user *url.Userinfo
	key  string
	http *http.Client
}

// NewEndpoint returns the endpoint at raw, for example "http://127.0.0.1:8188". User and password in the address are
// sent as HTTP Basic, key as a bearer token; both may be empty.
func NewEndpoint(raw, key string) (*Endpoint, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("backend URL %q: want http:// or https:// and a host", raw)
	}
	e := &Endpoint{user: u.User, key: key}
	e.base = u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/")
	// Time limits come from contexts: a generation may take minutes. Redirects are not part of any of these APIs, and a
	// server on this machine must not send the worker elsewhere.
	e.http = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return e, nil
}

// Base returns the address without a trailing slash and without credentials.
func (e *Endpoint) Base() string { return e.base }

// WithHTTP replaces the HTTP client.
func (e *Endpoint) WithHTTP(h *http.Client) *Endpoint {
	d := *e
	d.http = h
	return &d
}

// Header returns the headers that let a request in.
func (e *Endpoint) Header() http.Header {
	h := http.Header{}
	if e.key != "" {
		h.Set("Authorization", "Bearer "+e.key)
		h.Set("X-Api-Key", e.key)
	}
	if e.user != nil {
		pass, _ := e.user.Password()
		r := http.Request{Header: h}
		r.SetBasicAuth(e.user.Username(), pass)
	}
	return h
}

// Open sends a request and returns the response, whatever its status. Failures to get one are *Error of kind
// Unreachable, or the context's error.
func (e *Endpoint) Open(ctx context.Context, method, path string, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = e.Header()
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := e.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Kind: Unreachable, Cause: err}
	}
	return resp, nil
}

// JSON sends body (nil: none) as JSON and decodes the reply into out (nil: ignored). Statuses other than 2xx become
// *Error by StatusError.
func (e *Endpoint) JSON(ctx context.Context, method, path string, body, out any) error {
	var r io.Reader
	ct := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r, ct = bytes.NewReader(data), "application/json"
	}
	resp, err := e.Open(ctx, method, path, ct, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if resp.StatusCode/100 != 2 {
		return StatusError(resp.StatusCode, data)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Kind: Unreachable, Message: path, Cause: err}
	}
	if out == nil {
		return nil
	}
	if err := client.Decode(data, out); err != nil {
		return &Error{Kind: Failed, Message: path, Cause: err}
	}
	return nil
}

// Get is JSON with a time limit that suits a probe.
func (e *Endpoint) Get(ctx context.Context, path string, out any) error {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := e.JSON(limited, http.MethodGet, path, nil, out)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return Errorf(Unreachable, "%s: no answer within %v", path, probeTimeout)
	}
	return err
}

// probeTimeout bounds a small call to a server that should answer at once. A server that is loading a model can take
// some seconds.
const probeTimeout = 10 * time.Second

// StatusError turns a failure status and its body into an *Error. The shapes of all servers are looked through for the
// message.
func StatusError(status int, body []byte) *Error {
	kind := Failed
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = Denied
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusRequestTimeout:
		kind = Busy
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusRequestEntityTooLarge:
		kind = Refused
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		kind = Unreachable
	}
	msg := findMessage(body)
	if strings.Contains(string(body), "OutOfMemoryError") || strings.Contains(msg, "out of memory") {
		kind = OutOfMemory
	}
	return Errorf(kind, "status %d: %s", status, msg)
}

func findMessage(body []byte) string {
	var tree any
	if json.Unmarshal(body, &tree) == nil {
		if s := messageIn(tree, 0); s != "" {
			return Cut(s, 300)
		}
	}
	return Cut(strings.TrimSpace(string(body)), 300)
}

func messageIn(v any, depth int) string {
	m, ok := v.(map[string]any)
	if !ok || depth > 3 {
		if s, ok := v.(string); ok {
			return s
		}
		return ""
	}
	for _, k := range []string{"message", "msg", "errors", "detail", "details", "error"} {
		if s := messageIn(m[k], depth+1); s != "" {
			return s
		}
	}
	return ""
}

// Cut shortens s to n bytes at most, at a character border.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "..."
}

// IsStatus reports whether err came from the server with this status.
func IsStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && strings.HasPrefix(e.Message, fmt.Sprintf("status %d:", status))
}
