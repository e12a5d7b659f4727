// SPDX-License-Identifier: AGPL-3.0-or-later

package civitai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"horde/internal/fetch"
)

// What can go wrong, for errors.Is. The texts hold nothing that the other side said.
var (
	// ErrNotFound: there is no such model.
	ErrNotFound = errors.New("CivitAI has no such model")
	// ErrUnavailable: CivitAI did not answer, or not in a way that could be read.
	ErrUnavailable = errors.New("CivitAI is not available")
	// ErrDenied: the download needs a login or is gone, or a web page came instead of a file.
	ErrDenied = errors.New("CivitAI does not give the file away")
	// ErrTooLarge: the file is larger than it may be.
	ErrTooLarge = errors.New("the file is too large")
	// ErrDownload: the download failed in a way that may pass.
	ErrDownload = errors.New("the download failed")
)

const (
	// maxModelBytes bounds the description of a model; long ones with many pictures have a tenth of it.
	maxModelBytes = 8 << 20
	// maxRedirects is how many redirects a download may take; CivitAI uses one.
	maxRedirects = 5
	// tries is how often one request is sent before it is given up, within its timeout.
	tries = 3
	// firstPause is the pause after the first failure; each further one is twice as long. Half of it is random.
	firstPause = 300 * time.Millisecond
)

// Config says where CivitAI is. The zero value is the public one without a key.
type Config struct {
	// BaseURL is https://civitai.com where it is empty. If its host is an address of this machine or network, that
	// address alone is exempt from the guard against private addresses: a stand-in for tests.
	BaseURL string
	// Key is sent to the host of BaseURL and to no other; empty means none. It is never logged.
	Key string
	// MetadataTimeout and DownloadTimeout bound a whole call, retries included. Zero means 5 s and 30 s.
	MetadataTimeout, DownloadTimeout time.Duration
	// MaxBytes is the largest download. Zero means 64 MiB.
	MaxBytes int64
	// Log gets a line for each failed try. Nil means slog.Default.
	Log *slog.Logger
}

// Client talks to CivitAI. It may be used by many goroutines.
type Client struct {
	cfg       Config
	base      *url.URL
	models    *fetch.Client
	downloads *fetch.Client
}

// New makes a client.
func New(cfg Config) (*Client, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://civitai.com"
	}
	if cfg.MetadataTimeout <= 0 {
		cfg.MetadataTimeout = 5 * time.Second
	}
	if cfg.DownloadTimeout <= 0 {
		cfg.DownloadTimeout = 30 * time.Second
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, errors.New("the base URL of CivitAI is no http or https URL")
	}
	if base.Path == "" {
		base.Path = "/" // JoinPath would leave the path without its first slash
	}
	allow, ports := fetch.Exempt(base)
	guarded := func(timeout time.Duration, maxBytes int64) *fetch.Client {
		return fetch.New(fetch.Config{
			AllowPrefixes: allow, Ports: ports, Timeout: timeout, MaxBytes: maxBytes, UserAgent: "hordeling",
			// Redirects are followed here, hop by hop, so that the key goes to the host of BaseURL only.
			MaxRedirects: 0,
		})
	}
	return &Client{
		cfg: cfg, base: base,
		models:    guarded(cfg.MetadataTimeout, maxModelBytes),
		downloads: guarded(cfg.DownloadTimeout, cfg.MaxBytes),
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() {
	c.models.CloseIdleConnections()
	c.downloads.CloseIdleConnections()
}

// Model fetches the description of a model. Errors are ErrNotFound and ErrUnavailable.
func (c *Client) Model(ctx context.Context, id int64) (*Model, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.MetadataTimeout)
	defer cancel()
	var model *Model
	err := c.retry(ctx, "model", func() (bool, error) {
		resp, err := c.get(ctx, c.models, c.base.JoinPath("api", "v1", "models", strconv.FormatInt(id, 10)))
		if err != nil {
			return true, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		defer resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusNotFound:
			return false, ErrNotFound
		case resp.StatusCode != http.StatusOK:
			return transientStatus(resp.StatusCode), fmt.Errorf("%w: status %d", ErrUnavailable, resp.StatusCode)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return true, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if model, err = decodeAny(body); err != nil {
			return false, fmt.Errorf("%w: the answer cannot be read", ErrUnavailable)
		}
		return false, nil
	})
	return model, err
}

// transientStatus tells whether a status is worth another try at once.
func transientStatus(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// MaxBytes is the largest download that the configuration allows.
func (c *Client) MaxBytes() int64 { return c.cfg.MaxBytes }

// Own tells whether raw is a URL on the host of BaseURL, with its scheme: where downloads must start.
func (c *Client) Own(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && c.own(u)
}

func (c *Client) own(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && u.Host == c.base.Host && u.User == nil
}

// Slack by which a file may be larger than CivitAI says, since that is rounded and not always up to date.
const (
	slackFactor = 1.05
	slackBytes  = 64 << 10
)

// Download fetches f whole, into memory. Errors are ErrDenied, ErrTooLarge and ErrDownload.
func (c *Client) Download(ctx context.Context, f *File) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DownloadTimeout)
	defer cancel()
	start, err := url.Parse(f.DownloadURL)
	if err != nil || !c.own(start) {
		return nil, fmt.Errorf("%w: its address is not on the host of CivitAI", ErrDownload)
	}
	maxBytes := c.cfg.MaxBytes
	if declared := f.SizeKB*1024*slackFactor + slackBytes; f.SizeKB > 0 && declared < float64(maxBytes) {
		maxBytes = int64(declared)
	}
	var body []byte
	err = c.retry(ctx, "download", func() (again bool, err error) {
		body, again, err = c.download(ctx, start, maxBytes)
		return again, err
	})
	return body, err
}

func (c *Client) download(ctx context.Context, start *url.URL, maxBytes int64) (body []byte, again bool, err error) {
	resp, err := c.get(ctx, c.downloads, start)
	if err != nil {
		if errors.Is(err, fetch.ErrTooLarge) {
			return nil, false, ErrTooLarge
		}
		final := errors.Is(err, fetch.ErrPrivateAddress) || errors.Is(err, fetch.ErrURL) || errors.Is(err, fetch.ErrRedirects)
		return nil, !final, fmt.Errorf("%w: %w", ErrDownload, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusGone:
		return nil, false, fmt.Errorf("%w: status %d", ErrDenied, resp.StatusCode)
	default:
		return nil, transientStatus(resp.StatusCode), fmt.Errorf("%w: status %d", ErrDownload, resp.StatusCode)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
		return nil, false, fmt.Errorf("%w: a web page came instead", ErrDenied)
	}
	if resp.ContentLength > maxBytes {
		return nil, false, ErrTooLarge
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBytes+1))
	switch {
	case errors.Is(err, fetch.ErrTooLarge), int64(len(body)) > maxBytes:
		return nil, false, ErrTooLarge
	case err != nil:
		return nil, true, fmt.Errorf("%w: %w", ErrDownload, err)
	}
	return body, false, nil
}

// get follows redirects from u. The key is sent to the host of BaseURL only, and where BaseURL is https, so must be
// every hop.
func (c *Client) get(ctx context.Context, client *fetch.Client, u *url.URL) (*http.Response, error) {
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: make(http.Header)}).WithContext(ctx)
	return fetch.Follow(req, client, maxRedirects, func(hop *http.Request) error {
		if c.base.Scheme == "https" && hop.URL.Scheme != "https" {
			return fetch.ErrURL
		}
		if c.cfg.Key != "" && c.own(hop.URL) {
			hop.Header.Set("Authorization", "Bearer "+c.cfg.Key)
		}
		return nil
	})
}

// retry calls try until it succeeds, says that another try is pointless, or tries or ctx are used up.
func (c *Client) retry(ctx context.Context, what string, try func() (again bool, err error)) error {
	pause := firstPause
	for n := 1; ; n++ {
		again, err := try()
		if err == nil || !again {
			return err
		}
		c.cfg.Log.WarnContext(ctx, "CivitAI failed", "what", what, "try", n, "error", err)
		if n == tries || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		pause *= 2
	}
}
