// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Target is a list that is kept.
type Target interface {
	// Traits tells what the target can express.
	Traits() Traits
	// Current reads the list. Domains are normalised as far as they can be.
	Current(ctx context.Context) ([]Block, error)
	// Apply carries out a plan and returns the domains that it added, also when it fails after some of them. Domains
	// that turn out to be covered already are not among them. wrote tells whether anything was written.
	Apply(ctx context.Context, current []Block, p *Plan) (added []string, wrote bool, err error)
	// WhoAmI tells as whom the target is used, and whether that may change the list.
	WhoAmI(ctx context.Context) (user string, admin bool, err error)
}

// NewTarget makes the target that a configuration describes. It makes no request.
func NewTarget(t *TargetConfig, h *http.Client) (Target, error) {
	switch t.Kind {
	case "lemmy":
		return &lemmy{server: server{cfg: t, http: h}}, nil
	case "mastodon", "gotosocial":
		return &mastodon{server: server{cfg: t, http: h, token: t.Token}}, nil
	case "file":
		return &file{cfg: t}, nil
	}
	return nil, fmt.Errorf("kind %q is not known", t.Kind)
}

// server is what the HTTP targets have in common.
type server struct {
	cfg   *TargetConfig
	http  *http.Client
	token string
}

const (
	// maxAnswer bounds what is read from a server; a list of 100,000 blocks has about 30 MB.
	maxAnswer = 64 << 20
	// maxPatience is the longest wait for a server's rate limit.
	maxPatience = 10 * time.Minute
	// maxRefused bounds the tries of a request that meets a rate limit.
	maxRefused = 5
)

// statusError is an answer with an unexpected status. Text is the server's own.
type statusError struct {
	Status int
	Text   string
	Body   []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.Status, e.Text)
}

// call sends a request with a JSON body and decodes the answer. It waits where the server's rate limit says so.
func (s *server) call(ctx context.Context, method, address string, body, out any) (http.Header, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(raw))
		if err != nil {
			return nil, errors.New("the server's address is not one")
		}
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		if s.token != "" {
			req.Header.Set("Authorization", "Bearer "+s.token)
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("User-Agent", "fediseer-sync")
		resp, err := s.http.Do(req)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusTooManyRequests && try < maxRefused {
			if err := pause(ctx, resp.Header); err != nil {
				return nil, err
			}
			continue
		}
		if resp.StatusCode/100 != 2 {
			return resp.Header, &statusError{Status: resp.StatusCode, Text: errorText(b), Body: b}
		}
		if out != nil {
			if err := json.Unmarshal(b, out); err != nil {
				return nil, fmt.Errorf("the server's answer cannot be understood: %w", err)
			}
		}
		return resp.Header, nil
	}
}

// errorText takes the text of an error, as Lemmy and Mastodon write it.
func errorText(b []byte) string {
	var doc struct {
		Error any `json:"error"`
	}
	if json.Unmarshal(b, &doc) == nil && doc.Error != nil {
		return cutRunes(fmt.Sprint(doc.Error), 200)
	}
	return cutRunes(string(b), 200)
}

// pause waits until a server's rate limit is over.
func pause(ctx context.Context, h http.Header) error {
	wait := time.Minute
	if at, err := time.Parse(time.RFC3339, h.Get("X-RateLimit-Reset")); err == nil {
		wait = time.Until(at)
	} else if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		wait = time.Duration(n) * time.Second
	}
	t := time.NewTimer(min(max(wait, time.Second), maxPatience))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
