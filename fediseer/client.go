// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultBaseURL is the public Fediseer.
const DefaultBaseURL = "https://fediseer.com"

const (
	apiPath = "/api/v1"
	// defaultTimeout bounds each request of the default HTTP client.
	defaultTimeout = 30 * time.Second
	// maxWait caps the wait before a retry.
	maxWait = 2 * time.Minute
	// maxAnswer bounds an answer: the list of all instances of a large service has tens of megabytes.
	maxAnswer = 512 << 20
	// maxErrorText bounds what of an error that is not JSON is kept, in bytes.
	maxErrorText = 200
)

// RetryPolicy says how often requests that can be repeated are tried. Between tries a random time of up to Base, doubled
// each time and capped at Max, passes; longer if the service says so.
type RetryPolicy struct {
	Attempts  int // in all; 1 is no retry, 0 the default of 4
	Base, Max time.Duration
}

// DefaultRetry is four attempts, and waits of up to 0.5, 1 and 2 seconds.
var DefaultRetry = RetryPolicy{Attempts: 4, Base: 500 * time.Millisecond, Max: 30 * time.Second}

// Client talks to a Fediseer. Its fields are services, made by New and not to be changed.
type Client struct {
	Instances     *Instances
	Guarantees    *Guarantees
	Endorsements  *Judgements[EndorsedInstance]
	Censures      *Judgements[CensuredInstance]
	Hesitations   *Judgements[DubiousInstance]
	Rebuttals     *Rebuttals
	Solicitations *Solicitations
	Tags          *Tags
	Flags         *Flags
	Reports       *Reports
	Suspicions    *Suspicions
	FAQ           *FAQ
	Badges        *Badges

	base    string
	key     string
	http    *http.Client
	agent   string
	retry   RetryPolicy
	limiter *limiter // nil is none; shared with copies
	log     *slog.Logger

	mu   sync.Mutex
	home string // guarded by mu
}

// Option changes a Client that is being made.
type Option func(*Client) error

// WithBaseURL names another Fediseer. "/api/v1" is appended.
func WithBaseURL(u string) Option {
	return func(c *Client) error {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
			return fmt.Errorf("fediseer: %q is not the URL of a service", u)
		}
		c.base = strings.TrimRight(u, "/")
		return nil
	}
}

// WithAPIKey sets the key of an instance. Without one, the client reads what is open to everybody.
func WithAPIKey(key string) Option { return func(c *Client) error { c.key = key; return nil } }

// WithHTTPClient replaces the HTTP client, which by default has a time-out of 30 seconds and no cookies.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) error { c.http = h; return nil } }

// WithClientAgent tells the service's operator what program asks and whom to contact about it.
func WithClientAgent(name, version, contact string) Option {
	return func(c *Client) error { c.agent = name + ":" + version + ":" + contact; return nil }
}

// WithRetry replaces the retry policy. Zero fields are those of DefaultRetry.
func WithRetry(p RetryPolicy) Option {
	return func(c *Client) error {
		if p.Attempts <= 0 {
			p.Attempts = DefaultRetry.Attempts
		}
		if p.Base <= 0 {
			p.Base = DefaultRetry.Base
		}
		if p.Max <= 0 {
			p.Max = DefaultRetry.Max
		}
		c.retry = p
		return nil
	}
}

// WithRateLimit switches the client's own rate limiter, which is on by default.
func WithRateLimit(on bool) Option {
	return func(c *Client) error {
		c.limiter = nil
		if on {
			c.limiter = newLimiter()
		}
		return nil
	}
}

// WithLogger logs retries and waits at level debug.
func WithLogger(l *slog.Logger) Option { return func(c *Client) error { c.log = l; return nil } }

// New returns a client. It makes no request; the only errors are those of options.
func New(opts ...Option) (*Client, error) {
	c := &Client{base: DefaultBaseURL, http: &http.Client{Timeout: defaultTimeout}, agent: "fediseer-go:1:unknown", retry: DefaultRetry,
		limiter: newLimiter(), log: slog.New(slog.DiscardHandler)}
	for _, o := range opts {
		if err := o(c); err != nil {
			return nil, err
		}
	}
	c.bind()
	return c, nil
}

// bind makes the services.
func (c *Client) bind() {
	c.Instances, c.Guarantees, c.Rebuttals, c.Solicitations = &Instances{c}, &Guarantees{c}, &Rebuttals{c}, &Solicitations{c}
	c.Tags, c.Flags, c.Reports, c.Suspicions, c.FAQ, c.Badges = &Tags{c}, &Flags{c}, &Reports{c}, &Suspicions{c}, &FAQ{c}, &Badges{c}
	c.Endorsements = &Judgements[EndorsedInstance]{c: c, kind: "endorsements", given: "approvals", view: viewEndorsed}
	c.Censures = &Judgements[CensuredInstance]{c: c, kind: "censures", given: "censures_given", evidence: true, meta: true, view: viewCensured}
	c.Hesitations = &Judgements[DubiousInstance]{c: c, kind: "hesitations", given: "hesitations_given", evidence: true, view: viewDubious}
}

// WithKey returns a copy of the client that acts as another instance. It shares connections and rate limits with c, and
// has not logged in.
func (c *Client) WithKey(key string) *Client {
	n := &Client{base: c.base, key: key, http: c.http, agent: c.agent, retry: c.retry, limiter: c.limiter, log: c.log}
	n.bind()
	return n
}

// LogIn finds out which instance the key belongs to and remembers its domain. A key that nobody has is ErrBadKey.
func (c *Client) LogIn(ctx context.Context) (*Instance, error) {
	in := new(Instance)
	if err := c.call(ctx, request{method: http.MethodGet, route: "find_instance", path: "/find_instance"}, in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.home = in.Domain
	c.mu.Unlock()
	return in, nil
}

// Home is the domain that LogIn found, or empty.
func (c *Client) Home() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.home
}

// domain normalises a domain argument; empty is the client's own.
func (c *Client) domain(s string) (string, error) {
	if s == "" {
		if h := c.Home(); h != "" {
			return h, nil
		}
		return "", ErrNoDomain
	}
	return NormalizeDomain(s)
}

// request is a request before it is sent.
type request struct {
	method string
	route  string // the first element of the path, for the limiter
	path   string // below /api/v1, escaped
	query  url.Values
	body   any
	// once forbids retries but after a 429, which did nothing.
	once bool
	raw  *[]byte // takes an answer that is not JSON
}

// segment escapes a path element; a comma stays.
func segment(s string) string { return strings.ReplaceAll(url.PathEscape(s), "%2C", ",") }

// call sends a request, retries it if that is allowed, and decodes the answer.
func (c *Client) call(ctx context.Context, q request, out any) error {
	var body []byte
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return fmt.Errorf("fediseer: encode a request: %w", err)
		}
	}
	for attempt := 1; ; attempt++ {
		if c.limiter != nil {
			if err := c.limiter.wait(ctx, q.method, q.route, q.path); err != nil {
				return err
			}
		}
		err := c.send(ctx, q, body, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, again := c.retryAfter(err, q, attempt)
		if !again {
			return c.explain(ctx, q, err)
		}
		c.log.DebugContext(ctx, "a request is tried again", "method", q.method, "path", q.path, "after", wait, "error", err)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter decides whether a failure is worth another try, and when.
func (c *Client) retryAfter(err error, q request, attempt int) (time.Duration, bool) {
	if attempt >= c.retry.Attempts {
		return 0, false
	}
	var wait time.Duration
	var api *APIError
	if errors.As(err, &api) {
		switch api.Status {
		case http.StatusTooManyRequests:
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			if q.once {
				return 0, false
			}
		default:
			return 0, false
		}
		wait = api.RetryAfter
	} else if q.once || errors.Is(err, errAnswer) {
		return 0, false
	}
	longest := min(c.retry.Max, c.retry.Base<<min(attempt-1, 30))
	backoff := time.Duration(rand.Int64N(int64(longest) + 1))
	return min(max(backoff, wait), maxWait), true
}

// errAnswer marks answers that cannot be understood, which another try does not change.
var errAnswer = errors.New("fediseer: the answer cannot be understood")

func (c *Client) send(ctx context.Context, q request, body []byte, out any) error {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	address := c.base + apiPath + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address, r)
	if err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("apikey", c.key)
	}
	req.Header.Set("Client-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("fediseer: %s %s: %w", q.method, q.path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("fediseer: %s %s: %w", q.method, q.path, err)
	}
	if resp.StatusCode/100 != 2 {
		return c.refusal(q, resp, b)
	}
	if q.raw != nil {
		*q.raw = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%w: %s %s: %w", errAnswer, q.method, q.path, err)
	}
	return nil
}

func (c *Client) refusal(q request, resp *http.Response, b []byte) *APIError {
	e := &APIError{Status: resp.StatusCode, Method: q.method, Path: q.path}
	var doc struct {
		Message string         `json:"message"`
		Errors  map[string]any `json:"errors"`
	}
	if json.Unmarshal(b, &doc) == nil && doc.Message != "" {
		e.Message = doc.Message
		for field, why := range doc.Errors {
			if e.Fields == nil {
				e.Fields = map[string]string{}
			}
			e.Fields[field] = fmt.Sprint(why)
		}
	} else {
		e.Message = strings.ToValidUTF8(string(b[:min(len(b), maxErrorText)]), "")
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
			e.RetryAfter = time.Duration(n) * time.Second
		}
	}
	e.badKey = c.key != "" && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusNotFound && q.route == "find_instance")
	return e
}

// explain finds out whether a write failed with 404 because of its key: the status alone does not tell.
func (c *Client) explain(ctx context.Context, q request, err error) error {
	var api *APIError
	if !errors.As(err, &api) || api.Status != http.StatusNotFound || q.method == http.MethodGet || c.key == "" {
		return err
	}
	who := c.send(ctx, request{method: http.MethodGet, route: "find_instance", path: "/find_instance"}, nil, new(Instance))
	api.badKey = errors.Is(who, ErrNotFound)
	return err
}

// write sends a request that answers with a message only.
func (c *Client) write(ctx context.Context, q request) (changed bool, err error) {
	var out struct {
		Message string `json:"message"`
	}
	err = c.call(ctx, q, &out)
	return out.Message == "Changed", err
}
