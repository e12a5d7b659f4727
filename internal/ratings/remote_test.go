// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"horde/internal/horde"
)

// The outcomes of handing a set on: ratings chapter, worked example 10.
func TestRemoteOutcomes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   *horde.Error
	}{
		"accepted":       {201, `{}`, nil},
		"rated before":   {403, `{"message":"no"}`, horde.ErrAlreadyRated},
		"no JSON":        {500, `<html>`, horde.ErrRatingsRejected},
		"a message":      {422, `{"message":"x"}`, horde.ErrRatingsFailed},
		"no message":     {500, `{}`, horde.ErrInvalidAesthetic},
		"an array":       {500, `[]`, horde.ErrInvalidAesthetic},
		"sent elsewhere": {302, `{}`, horde.ErrInvalidAesthetic},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/v1/rating/set" || r.Header.Get(SecretHeader) != "hush" {
					t.Errorf("called as %s with the secret %q", r.URL, r.Header.Get(SecretHeader))
				}
				w.Header().Set("Location", "/")
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			defer s.Close()
			if err := NewRemote(s.URL+"/api/v1/", "hush").Set(t.Context(), horde.RatingSet{}); !same(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if err := NewRemote(gone.URL, "").Set(t.Context(), horde.RatingSet{}); !same(err, horde.ErrRatingsDown) {
		t.Errorf("where nobody listens: %v", err)
	}
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	var refusal *horde.Error
	if err := NewRemote(broken.URL, "").Set(t.Context(), horde.RatingSet{}); err == nil || errors.As(err, &refusal) {
		t.Errorf("where the line is cut, so that nobody knows: %v", err)
	}
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := NewRemote(silent.URL, "").Set(ctx, horde.RatingSet{}); !same(err, horde.ErrRatingsTimeout) {
		t.Errorf("where nobody answers: %v", err)
	}
}

func same(err error, want *horde.Error) bool {
	var got *horde.Error
	return want == nil && err == nil || errors.As(err, &got) && got == want
}
