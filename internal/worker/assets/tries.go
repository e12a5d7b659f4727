// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"horde/internal/fetch"
)

// Repetitions by the table of the workers chapter, section 10.4: there are ten, and worse failures use up more of them.
const (
	tries      = 10
	costLittle = 1
	costBroken = 3 // status 500, or an answer that cannot be read
	costSilent = 5 // no answer, or one that breaks off
	// final ends it at once.
	final = tries

	retryPause = 3 * time.Second
	// confirmPause is the pause before a 404 is asked for once more: new models are not known to all of CivitAI's edges.
	confirmPause = time.Second
	// maxRedirects is how many redirects a download may take; CivitAI uses one.
	maxRedirects = 5
)

// failure is one try that failed.
type failure struct {
	err   error
	cost  int
	pause time.Duration // before the next try; 0 means retryPause
}

// repeat calls once until it succeeds (nil), or its failures have used up the repetitions or ctx. It returns the error
// of the last failure.
func repeat(ctx context.Context, once func() *failure) error {
	missing := false
	for left := tries; ; {
		f := once()
		if f == nil {
			return nil
		}
		if errors.Is(f.err, errMissing) && !missing {
			missing, f.cost, f.pause = true, costLittle, confirmPause
		}
		left -= f.cost
		pause := f.pause
		if pause == 0 {
			pause = retryPause
		}
		if left <= 0 || !sleep(ctx, pause) {
			return f.err
		}
	}
}

// errMissing is a 404.
var errMissing = fmt.Errorf("%w: status 404", ErrNotFound)

// judge turns the status of an answer into a failure; nil for 200.
func judge(resp *http.Response) *failure {
	status := resp.StatusCode
	about := func(err error) error { return fmt.Errorf("%w: status %d", err, status) }
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return &failure{err: about(ErrDenied), cost: final}
	case status == http.StatusNotFound:
		return &failure{err: errMissing, cost: final}
	case status == http.StatusUnavailableForLegalReasons:
		return &failure{err: about(ErrBlocked), cost: final}
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return &failure{err: about(ErrUnavailable), cost: costLittle, pause: retryAfter(resp)}
	case status == http.StatusInternalServerError:
		return &failure{err: about(ErrUnavailable), cost: costBroken}
	case status > http.StatusInternalServerError:
		return &failure{err: about(ErrUnavailable), cost: final}
	}
	return &failure{err: about(ErrRefused), cost: final}
}

// retryAfter is what the answer asks to wait, in whole seconds, 0 when it does not.
func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// errNoSite means that CivitAI's name has no address.
var errNoSite = fmt.Errorf("%w: its name has no address", ErrBlocked)

// own tells whether u is on the host that the token is for.
func (s *Store) own(u *url.URL) bool { return u.Scheme == s.civitai.Scheme && u.Host == s.civitai.Host }

// get follows redirects from u. The token is in the query of addresses of CivitAI only, and what begins with https stays
// with it.
func (s *Store) get(ctx context.Context, via fetch.Doer, u *url.URL) (*http.Response, *failure) {
	last := u
	resp, err := fetch.Follow(s.request(ctx, u), via, maxRedirects, func(hop *http.Request) error {
		last = hop.URL
		if u.Scheme == "https" && hop.URL.Scheme != "https" {
			return fetch.ErrURL
		}
		if strings.Contains(hop.URL.RawQuery, "reason=download-auth") {
			return fmt.Errorf("%w: sent to the login page", ErrDenied)
		}
		if s.cfg.Token != "" && s.own(hop.URL) {
			query := hop.URL.RawQuery
			if query != "" {
				query += "&"
			}
			hop.URL.RawQuery = query + "token=" + url.QueryEscape(s.cfg.Token)
		}
		return nil
	})
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, fetch.ErrUnresolved) && s.own(last):
		return nil, &failure{err: errNoSite, cost: final}
	case errors.Is(err, ErrDenied):
		return nil, &failure{err: err, cost: final}
	case errors.Is(err, fetch.ErrURL), errors.Is(err, fetch.ErrPrivateAddress), errors.Is(err, fetch.ErrRedirects), errors.Is(err, fetch.ErrTooLarge):
		return nil, &failure{err: fmt.Errorf("%w: %w", ErrRefused, err), cost: final}
	}
	return nil, &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, err), cost: costSilent}
}
