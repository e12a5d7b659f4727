// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"horde/internal/horde"
)

// SecretHeader carries the secret by which a service knows the horde that hands it ratings.
const SecretHeader = "Horde-Ratings-Secret"

// maxAnswer bounds what is read of the answer of a service, in bytes.
const maxAnswer = 64 << 10

// Remote is a ratings service in another program.
type Remote struct {
	url, secret string
	client      *http.Client
}

// NewRemote makes the way to a service whose API has the address base: "https://ratings.example/api/v1". An empty secret sends
// none. The address is the operator's, so it may be a private one.
func NewRemote(base, secret string) *Remote {
	return &Remote{strings.TrimRight(base, "/") + "/rating/set", secret, &http.Client{
		Timeout:       3 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Share does nothing: a remote service reads the images from the bucket.
func (r *Remote) Share(horde.SharedImage) {}

// Set hands on what was said of the images of a request. Each outcome has a refusal of its own (ratings chapter, 5.2). Any other error
// is one after which nobody knows whether the service has the set.
func (r *Remote) Set(ctx context.Context, set horde.RatingSet) error {
	body, err := json.Marshal(set)
	if err != nil {
		return err
	}
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent = true }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.secret != "" {
		req.Header.Set(SecretHeader, r.secret)
	}
	answer, err := r.client.Do(req)
	var (
		op    *net.OpError
		lost  net.Error
		names *net.DNSError
	)
	switch {
	case err == nil:
	case errors.As(err, &names), errors.As(err, &op) && op.Op == "dial":
		return horde.ErrRatingsDown
	case errors.As(err, &lost) && lost.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return horde.ErrRatingsTimeout
	case sent:
		return fmt.Errorf("the ratings service broke off: %w", err)
	default:
		return horde.ErrRatingsDown
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return nil
	case answer.StatusCode == http.StatusForbidden:
		return horde.ErrAlreadyRated
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.As(err, &lost) && lost.Timeout()):
		return horde.ErrRatingsTimeout
	}
	var v any
	if json.Unmarshal(text, &v) != nil {
		return horde.ErrRatingsRejected
	}
	if m, ok := v.(map[string]any); ok {
		if _, told := m["message"].(string); told {
			return horde.ErrRatingsFailed
		}
	}
	return horde.ErrInvalidAesthetic
}
