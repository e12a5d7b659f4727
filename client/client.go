// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AnonymousKey is the API key of the anonymous account. Anonymous requests have the lowest priority, and anonymous
// workers are refused.
const AnonymousKey = "0000000000"

// DefaultAgent is sent as Client-Agent unless WithAgent says otherwise.
const DefaultAgent = "horde-go:1:https://horde.invalid"

const (
	// maxAnswer bounds the body of one answer in bytes. The largest legitimate one is a status with 20 images in base64.
	maxAnswer = 128 << 20
	// maxDownload bounds one result image in bytes.
	maxDownload = 64 << 20
)

// Client is a connection to one horde with one API key. It holds no state that changes: all methods may be called at
// the same time. Make one with New.
type Client struct {
	base  string // scheme://host[/prefix]/api/v2
	key   string
	agent string
	http  *http.Client
	retry Retry
}

// Retry says how often and how long a call is repeated. The zero value never retries.
type Retry struct {
	// Attempts is the number of tries in all; 0 and 1 mean a single one.
	Attempts int
	// Base is the pause before the second try; each further pause doubles. A Retry-After of the server wins if longer.
	Base time.Duration
	// Max bounds a single pause, that of Retry-After included: when the server asks for more, the error is returned.
	Max time.Duration
}

// DefaultRetry makes four tries within about 8 seconds.
var DefaultRetry = Retry{Attempts: 4, Base: time.Second, Max: 30 * time.Second}

// Option changes a client that is being made.
type Option func(*Client)

// WithAgent sets the Client-Agent header, "name:version:contact". Servers show it in their statistics, and some treat
// clients without one worse.
func WithAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// WithHTTPClient replaces the HTTP client, for proxies, certificates or tests. Its Timeout applies to every single try.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithRetry replaces DefaultRetry.
func WithRetry(r Retry) Option { return func(c *Client) { c.retry = r } }

// New returns a client for the horde at baseURL, which may be given with or without a trailing "/api", "/api/" or
// "/api/v2". An empty key means AnonymousKey. The error says what is wrong with the URL.
func New(baseURL, key string, opts ...Option) (*Client, error) {
	base, err := apiBase(baseURL)
	if err != nil {
		return nil, err
	}
	if key == "" {
		key = AnonymousKey
	}
	c := &Client{base: base, key: key, agent: DefaultAgent, retry: DefaultRetry}
	c.http = &http.Client{Timeout: 60 * time.Second}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// With returns a copy of c with further options applied.
func (c *Client) With(opts ...Option) *Client {
	d := *c
	for _, o := range opts {
		o(&d)
	}
	return &d
}

// BaseURL returns the address that API paths are appended to, ending in "/api/v2".
func (c *Client) BaseURL() string { return c.base }

func apiBase(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return "", fmt.Errorf("horde URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("horde URL %q: want http:// or https:// and a host", raw)
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimSuffix(path, "/v2")
	path = strings.TrimSuffix(path, "/api")
	return u.Scheme + "://" + u.Host + strings.TrimRight(path, "/") + "/api/v2", nil
}

// call is one request to the API.
type call struct {
	method string
	path   string // below /api/v2, already escaped
	query  url.Values
	body   any // nil: no body
	// repeatable: doing the work twice does no harm, so a lost answer is a reason to try again.
	repeatable bool
}

// do performs a call with retries and decodes the answer into out (nil: ignored).
func (c *Client) do(ctx context.Context, k call, out any) error {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return fmt.Errorf("encode %s: %w", k.path, err)
		}
	}
	for attempt := 1; ; attempt++ {
		data, err := c.once(ctx, k, body)
		if err == nil {
			if out == nil {
				return nil
			}
			if err = Decode(data, out); err != nil {
				return fmt.Errorf("%s %s: %w", k.method, k.path, err)
			}
			return nil
		}
		pause, again := c.retry.next(attempt, k.repeatable, err)
		if !again || ctx.Err() != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// request makes the HTTP request of a call.
func (c *Client) request(ctx context.Context, k call, body []byte) (*http.Request, error) {
	target := c.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("apikey", c.key)
	req.Header.Set("Client-Agent", c.agent)
	req.Header.Set("User-Agent", userAgent(c.agent))
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func (c *Client) once(ctx context.Context, k call, body []byte) ([]byte, error) {
	req, err := c.request(ctx, k, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := readBounded(resp.Body, maxAnswer)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, errorFrom(resp, data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.method, k.path, err)
	}
	return data, nil
}

// userAgent makes "name/version" of "name:version:contact".
func userAgent(agent string) string {
	parts := strings.SplitN(agent, ":", 3)
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r <= ' ' || r > '~' {
				return '-'
			}
			return r
		}, s)
	}
	if len(parts) < 2 || parts[0] == "" {
		return "horde-go/1"
	}
	return clean(parts[0]) + "/" + clean(parts[1])
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return data, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("answer exceeds %d bytes", limit)
	}
	return data, nil
}

// next decides whether the try that failed with err is followed by another one, and after what pause.
func (r Retry) next(attempt int, repeatable bool, err error) (time.Duration, bool) {
	if attempt >= r.Attempts || errors.Is(err, context.Canceled) {
		return 0, false
	}
	// Full doubling with a fifth of jitter, so that many clients do not come back in step.
	pause := r.Base << min(attempt-1, 16)
	pause = min(pause, r.Max)
	pause += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(pause))
	var e *Error
	if errors.As(err, &e) {
		refused := e.Status == http.StatusTooManyRequests ||
			e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0
		switch {
		case e.Status == http.StatusTooManyRequests && e.RC == "TooManyPrompts":
			// Not a rate: the account has too much waiting, and that takes minutes.
			return 0, false
		case !refused && (!repeatable || e.Status < 500):
			return 0, false
		}
		if e.RetryAfter > r.Max {
			return 0, false
		}
		return max(pause, e.RetryAfter), true
	}
	return pause, repeatable
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Error is a refusal by the server.
type Error struct {
	// Status is the HTTP status, 300 or above.
	Status int
	// RC is the stable code, for example "InvalidAPIKey". It is empty for validation errors, rate limits and answers of
	// proxies on the way.
	RC string
	// Message is the server's English text, or the status text where there was none.
	Message string
	// Fields holds a reason for each body field that did not validate, by its dotted path. Nil for other errors.
	Fields map[string]string
	// RetryAfter is how long the server asks to wait. Zero means that it did not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "horde answered %d", e.Status)
	if e.RC != "" {
		b.WriteString(" " + e.RC)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	for _, k := range sortedKeys(e.Fields) {
		fmt.Fprintf(&b, "; %s: %s", k, e.Fields[k])
	}
	return b.String()
}

// HasCode reports whether err is a refusal with one of the codes.
func HasCode(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.RC == c {
			return true
		}
	}
	return false
}

func errorFrom(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	var doc struct {
		Message string            `json:"message"`
		RC      string            `json:"rc"`
		Errors  map[string]string `json:"errors"`
	}
	if Decode(body, &doc) == nil {
		e.Message, e.RC, e.Fields = doc.Message, doc.RC, doc.Errors
	}
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	return e
}

func retryAfter(h string) time.Duration {
	if h == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(h, 64); err == nil {
		if s <= 0 || s > 1e9 {
			return 0
		}
		return time.Duration(s * float64(time.Second))
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}
