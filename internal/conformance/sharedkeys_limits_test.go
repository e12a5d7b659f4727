// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// What a shared key, and a style that is paid for, do not give to strangers, and what they hold on to.

// Raised limits go to the address of a trusted, education or service account that generates, and not to the addresses of those
// who generate on its account (accounts chapter, 6).
func TestSharedKeysRaiseNobodysRateLimits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		trusted, stranger := s.user(10_000, horde.Trusted), s.user(10_000, 0)
		customizer := s.user(10_000, horde.Customizer)
		paid := s.style("image", trusted, fields{"sharedkey": s.share(trusted, nil).key})
		byOther := s.style("image", customizer, fields{"sharedkey": s.share(customizer, nil).key})
		for i, c := range []struct {
			name string
			as   account
			body fields
			want string
		}{
			{"a trusted account", trusted, nil, "10"},
			{"an education account", s.user(1000, horde.Education), nil, "10"},
			{"a service account", s.user(1000, horde.Service), nil, "10"},
			{"an account without a role", stranger, nil, "2"},
			{"an account with another role", customizer, nil, "2"},
			{"a shared key of a trusted account", s.share(trusted, nil), nil, "2"},
			{"a shared key of an education account", s.share(s.user(1000, horde.Education), nil), nil, "2"},
			{"a style that a trusted account pays for", stranger, fields{"style": paid}, "2"},
			{"a shared key with such a style", s.share(trusted, nil), fields{"style": paid}, "2"},
			{"a trusted account with a style that another pays for", trusted, fields{"style": byOther}, "10"},
		} {
			at := from(fmt.Sprintf("203.0.113.%d", i+1))
			for n, want := range []string{"2", c.want} {
				time.Sleep(2 * time.Second)
				a := s.want(s.call("POST", "/generate/async", c.as, fields{"prompt": "x"}.with(c.body), at), http.StatusAccepted)
				if got := a.header.Get("X-RateLimit-Limit"); got != want {
					t.Errorf("%s, request %d: the limit is %s, want %s", c.name, n+1, got, want)
				}
			}
		}
	}, limited)
}

// A request that was made smaller because its payer had too little for it sets aside what it costs now.
func TestSharedKeysHoldWhatADowngradedRequestCosts(t *testing.T) {
	t.Parallel()
	s := open(t)
	owner := s.user(85, 0) // of which 60 can be spent
	key := s.share(owner, fields{"kudos": 300})
	large := fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"width": 2048, "height": 2048}, "allow_downgrade": true}
	price := s.want(s.call("POST", "/generate/async", s.user(10_000, 0), large.with(fields{"dry_run": true})), http.StatusOK).number("kudos")
	id := s.image(key, large)
	left := func() (kudos float64) {
		t.Helper()
		a := s.refused(s.call("POST", "/generate/async", key, large.with(fields{"params": fields{"width": 3072, "height": 3072, "n": 10}, "allow_downgrade": false})),
			http.StatusForbidden, "SharedKeyInsufficientKudos")
		_, text, _ := strings.Cut(a.str("message"), "The shared key has ")
		if _, err := fmt.Sscanf(text, "%f", &kudos); err != nil {
			t.Fatalf("%q: %v", a.str("message"), err)
		}
		return kudos
	}
	if price < 100 {
		t.Fatalf("the large image costs %v, which is too little to tell", price)
	}
	// The tax of 3 is paid, and the smaller image is set aside for.
	if got := left(); got < 260 || got >= 297 {
		t.Errorf("%v of 300 are left beside an image that was made smaller; the large one costs %v", got, price)
	}
	s.want(s.call("DELETE", "/generate/status/"+id, account{}, nil), http.StatusOK)
	if got := left(); got != 297 {
		t.Errorf("%v are left when nothing waits, want 297", got)
	}
	s.away(0)
	if got := left(); got != 297 {
		t.Errorf("%v are left after a restart, want 297", got)
	}
}

// An empty key lets the request run as anonymous, but not once the key has ended.
func TestSharedKeysThatEndedAreNotAnonymous(t *testing.T) {
	t.Parallel()
	s := open(t)
	owner := s.user(1000, 0)
	key := s.share(owner, fields{"kudos": 0})
	for _, kind := range []string{"image", "text"} {
		body := fields{"prompt": "x"}
		s.refused(s.call("POST", generate(kind)+"/async", key, body), http.StatusForbidden, "SharedKeyEmpty")
		s.submit(kind, key, body.with(fields{"allow_downgrade": true}))
	}
	s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, `{"expiry":0}`), http.StatusOK)
	for _, kind := range []string{"image", "text"} {
		body := fields{"prompt": "x"}
		s.refused(s.call("POST", generate(kind)+"/async", key, body), http.StatusForbidden, "SharedKeyEmpty")
		s.refused(s.call("POST", generate(kind)+"/async", key, body.with(fields{"allow_downgrade": true})), http.StatusForbidden, "SharedKeyExpired")
	}
	if got := s.kudos(owner); got != 1000 {
		t.Errorf("the owner has %v kudos, want 1000", got)
	}
}

// A transfer that is repeated answers as the first did, whatever became of the key meanwhile, and moves nothing.
func TestSharedKeysThatEndedAnswerRepeatedTransfers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		owner, giver := s.user(1000, 0), s.user(1000, 0)
		key := s.share(owner, fields{"kudos": 100})
		give := func(amount int, name string) answer {
			return s.call("POST", "/kudos/transfer", giver, fields{"username": key.key, "amount": amount}, header{"Idempotency-Key", name})
		}
		s.shows(s.want(give(50, "first"), http.StatusOK), fields{"transferred": 50.0})
		s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, `{"expiry":0}`), http.StatusOK)
		time.Sleep(2 * time.Minute)
		for range 2 {
			s.shows(s.want(give(50, "first"), http.StatusOK), fields{"transferred": 50.0})
			s.refused(give(51, "first"), http.StatusBadRequest, "IdempotencyKeyConflict")
			s.refused(give(50, "second"), http.StatusBadRequest, "SharedKeyExpired")
			s.away(time.Minute) // with an audit
		}
		if a, b := s.kudos(owner), s.kudos(giver); a != 1050 || b != 950 {
			t.Errorf("the owner has %v kudos and the giver %v, want 1050 and 950", a, b)
		}
		s.sharedKey(key, fields{"kudos": 150})
		// It can be given to again once it lives again.
		s.want(s.call("PATCH", "/sharedkeys/"+key.key, owner, `{"expiry":-1}`), http.StatusOK)
		s.shows(s.want(give(50, "second"), http.StatusOK), fields{"transferred": 50.0})
		s.sharedKey(key, fields{"kudos": 200})
	})
}
