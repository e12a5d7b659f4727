// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"testing"
	"time"

	"horde/internal/horde"
)

// The statistics: status chapter, 2.

// untilMinute lets the running minute pass.
func untilMinute() {
	time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 2*time.Second)))
}

func TestStatisticsCountWhatIsMade(t *testing.T) {
	t.Parallel()
	example(t, "status", 6, 10)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(100_000, 0), s.user(0, horde.Trusted|horde.Customizer)
		nothing := fields{"images": 0, "ps": 0}
		s.shows(s.get("/stats/img/totals", account{}), fields{"minute": nothing, "hour": nothing, "day": nothing, "month": nothing, "total": nothing})
		s.shows(s.get("/stats/img/models", account{}), fields{"day": fields{}, "month": fields{}, "total": fields{}})

		params := fields{"width": 512, "height": 512, "steps": 30, "n": 3}
		known, custom := fields{"models": []string{"Deliberate"}}, fields{"models": []string{"My Own"}}
		s.image(u, fields{"prompt": "p", "params": params, "models": []string{"Deliberate"}})
		faulted := s.job(s.popImage(owner, "painter", known))
		s.fault("image", owner, faulted)
		s.fault("image", owner, faulted) // twice told, once counted
		for range 2 {
			p := s.popImage(owner, "other painter", known)
			s.deliver(owner, p)
			if a := s.call("POST", "/generate/submit", owner, fields{"id": s.job(p), "generation": "R2", "seed": 1}); a.status == http.StatusOK {
				t.Errorf("a second submit is accepted: %s", a.text)
			}
		}
		s.image(u, fields{"prompt": "p", "params": fields{"width": 512, "height": 512, "steps": 10}, "models": []string{"My Own"}})
		s.deliver(owner, s.popImage(owner, "custom painter", custom))

		cancelled := s.image(u, fields{"prompt": "p", "params": params, "models": []string{"Deliberate"}})
		running := s.job(s.popImage(owner, "painter", known))
		s.want(s.call("DELETE", "/generate/status/"+cancelled, account{}, nil), http.StatusOK)
		s.fault("image", owner, running)

		s.text(u, fields{"prompt": "p", "params": fields{"max_length": 77}, "models": []string{"test/7B"}})
		s.deliverText(owner, s.job(s.popText(owner, "scribe", nil)), "short")

		untilMinute()
		images, texts := fields{"images": 4, "ps": 3*512*512*30 + 512*512*10.0}, fields{"requests": 1, "tokens": 77}
		s.shows(s.get("/stats/img/totals", account{}), fields{"minute": images, "hour": images, "day": images, "month": images, "total": images})
		s.shows(s.get("/stats/text/totals", account{}), fields{"minute": texts, "hour": texts, "day": texts, "month": texts, "total": texts})

		s.away(time.Hour)
		past := fields{"images": 0, "ps": 0}
		s.shows(s.get("/stats/img/totals", account{}), fields{"minute": past, "hour": past, "day": images, "month": images, "total": images})
		for query, want := range map[string]fields{
			"":                    {"Deliberate": 3},
			"?model_state=known":  {"Deliberate": 3},
			"?model_state=custom": {"My Own": 1},
			"?model_state=all":    {"Deliberate": 3, "My Own": 1},
		} {
			s.shows(s.get("/stats/img/models"+query, account{}), fields{"day": want, "month": want, "total": want})
		}
		s.refused(s.get("/stats/img/models?model_state=bogus", account{}), http.StatusBadRequest, "BadRequest")
		s.shows(s.get("/stats/text/models", account{}), fields{"day": fields{"test/7B": 1}, "total": fields{"test/7B": 1}})

		s.away(31 * 24 * time.Hour)
		s.shows(s.get("/stats/img/totals", account{}), fields{"minute": past, "hour": past, "day": past, "month": past, "total": images})
		s.shows(s.get("/stats/img/models", account{}), fields{
			"day": fields{"Deliberate": 0}, "month": fields{"Deliberate": 0}, "total": fields{"Deliberate": 3},
		})
	})
}
