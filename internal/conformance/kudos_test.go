// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/horde"
	"horde/internal/node"
)

// The worked examples of the kudos chapter, as far as the API reaches them. Prices are those of the analytic formula.

// The forty payloads are priced by a dry run of one image, which answers round(burn(K) + 1).
func TestKudosTheFortyPayloadsPricedByDryRuns(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 1)
	s := open(t)
	u := s.user(1e6, horde.Trusted)
	data, err := os.ReadFile("testdata/payloads.json")
	if err != nil {
		t.Fatal(err)
	}
	var payloads []struct {
		Number         int
		Width, Height  int
		Steps          int
		Sampler        string
		CFG            float64
		Karras         bool
		Hires          bool
		Source         string  // source_processing
		Denoising      float64 // 0 for none
		Control        string
		PostProcessing []string
		Formula        float64
	}
	if err := json.Unmarshal(data, &payloads); err != nil {
		t.Fatal(err)
	}
	upscalers := map[string]bool{"RealESRGAN_x4plus": true, "RealESRGAN_x2plus": true, "4x_AnimeSharp": true}
	for _, p := range payloads {
		t.Run(fmt.Sprint(p.Number), func(t *testing.T) {
			s := s.in(t)
			params := fields{"width": p.Width, "height": p.Height, "steps": p.Steps, "sampler_name": p.Sampler, "cfg_scale": p.CFG,
				"karras": p.Karras, "hires_fix": p.Hires}
			body := fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params, "dry_run": true}
			want := p.Formula
			if p.Source != "" {
				body["source_image"], body["source_processing"] = "not looked at in a dry run", p.Source
				params["denoising_strength"] = p.Denoising
				want *= 1.3
			}
			if p.Control != "" {
				params["control_type"] = p.Control
			}
			if p.PostProcessing != nil {
				params["post_processing"] = p.PostProcessing
				for _, name := range p.PostProcessing {
					if upscalers[name] {
						want *= 1.05
					}
				}
			}
			want = math.RoundToEven(want + 2)
			if got := s.want(s.call("POST", "/generate/async", u, body), http.StatusOK).number("kudos"); got != want {
				t.Errorf("%v kudos, want %v", got, want)
			}
		})
	}
}

// sdxl is payload 15 of the table with an SDXL model.
var sdxl = fields{"prompt": "x", "models": []string{"SDXL 1.0"}, "params": fields{
	"width": 1024, "height": 1024, "steps": 30, "sampler_name": "k_euler_a", "cfg_scale": 4.5, "karras": true, "n": 2,
}}

func TestKudos1LorasAndTIsCost(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 1)
	s := open(t)
	u := s.user(1000, 0)
	params := sdxl["params"].(fields).with(fields{"n": 1, "loras": []fields{{"name": "a"}, {"name": "b"}}, "tis": []fields{{"name": "c"}, {"name": "d"}}})
	a := s.want(s.call("POST", "/generate/async", u, sdxl.with(fields{"models": []string{"Deliberate"}, "params": params})), http.StatusAccepted)
	s.shows(a, fields{"kudos": 28}) // 20.70 + 6 + 1
	w := s.user(0, horde.Trusted)
	if got := s.deliver(w, s.popImage(w, "w", nil)).number("reward"); got != 27.7 {
		t.Errorf("reward %v, want 27.7", got)
	}
}

func TestKudos2To5WhoPaysAndWhoEarns(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 2, 3, 4, 5)
	s := open(t)
	for _, c := range []struct {
		name, agent string
		owner       horde.Roles
		want        balance // of the owner, for two jobs
	}{
		{"2 the newest program of a trusted owner", "AI Horde Worker reGen:13.0.0:u", horde.Trusted, balance{Spendable: 8280}},
		{"4 an older one of an untrusted owner", "AI Horde Worker reGen:9.0.1-citests:u", 0, balance{Spendable: 3726, Escrow: 3726}},
		{"5 an unknown one of a trusted owner", "SD-WebUI Stable Horde Worker Bridge:4:u", horde.Trusted, balance{Spendable: 6210}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			u, w := s.user(1000, 0), s.user(100, c.owner) // above the floor, which a first posting would lift it to
			a := s.want(s.call("POST", "/generate/async", u, sdxl), http.StatusAccepted)
			s.shows(a, fields{"kudos": 21})
			id := a.str("id")
			for range 2 {
				got := s.deliver(w, s.popImage(w, c.name, fields{"models": []string{"SDXL 1.0"}, "bridge_agent": c.agent}))
				if got.number("reward") != 41.4 {
					t.Errorf("reward %v, want 41.4", got.number("reward"))
				}
			}
			b := s.balance(w)
			if b.Spendable -= 10000; b != c.want {
				t.Errorf("the owner gets %v, want %v", b, c.want)
			}
			if b := s.kudos(u); b != 1000-87.8 {
				t.Errorf("the requester has %v, want %v", b, 1000-87.8)
			}
			s.shows(s.check(id), fields{"kudos": 88, "done": true})
			total := (c.want.Spendable + c.want.Escrow).Whole()
			s.shows(s.get("/workers/name/"+strings.ReplaceAll(c.name, " ", "%20"), account{}), fields{"kudos_rewards": total, "requests_fulfilled": 2})
		})
	}
	t.Run("3 a dry run estimates the same", func(t *testing.T) {
		s := s.in(t)
		u := s.user(1000, 0)
		s.shows(s.want(s.call("POST", "/generate/async", u, sdxl.with(fields{"dry_run": true})), http.StatusOK), fields{"kudos": 88})
	})
}

func TestKudos6And7BurnAndCensoredJobs(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 6, 7)
	s := open(t)
	t.Run("6 source image, upscaler, fast workers and a blacklist", func(t *testing.T) {
		s := s.in(t)
		u := s.user(1000, 0)
		w := s.user(0, horde.Trusted)
		foe := s.workerID(w, "foe")
		id := s.image(u, img2img(base64PNG(opaque(64, 64))).with(fields{
			"slow_workers": false, "worker_blacklist": true, "workers": []string{foe},
			"params": fields{"post_processing": []string{"RealESRGAN_x4plus", "GFPGAN"}, "denoising_strength": 0.6},
		}))
		before := s.kudos(u)
		reward := s.deliver(w, s.popImage(w, "w", nil)).number("reward")
		want := math.Round(((reward*1.3)*1.05+1)*1.2*1.1*100) / 100
		if got := math.Round((before-s.kudos(u))*100) / 100; got != want {
			t.Errorf("the requester pays %v, want %v", got, want)
		}
		s.shows(s.check(id), fields{"done": true})
	})
	t.Run("7 a censored job costs one and pays in full", func(t *testing.T) {
		s := s.in(t)
		u, w := s.user(1000, 0), s.user(0, horde.Trusted)
		s.image(u, sdxl.with(fields{"slow_workers": false, "params": sdxl["params"].(fields).with(fields{"n": 1})}))
		before := s.kudos(u)
		p := s.popImage(w, "w7", fields{"models": []string{"SDXL 1.0"}})
		s.upload(p.str("r2_upload"), "image")
		a := s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "R2", "seed": 1, "state": "faulted",
			"gen_metadata": []fields{{"type": "censorship", "value": "csam"}}}), http.StatusOK)
		if got := math.Round((before-s.kudos(u))*100) / 100; got != 1.2 || a.number("reward") != 41.4 || s.kudos(w) != 41.4 {
			t.Errorf("the requester pays %v, the answer is %s, the owner has %v", got, a.text, s.kudos(w))
		}
	})
}

func TestKudos8TheTaxIsTakenAtActivation(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 8)
	s := open(t)
	u := s.user(10000, 0)
	s.image(u, `{"prompt":"x","models":["stable_diffusion"],"params":{"steps":8}}`)
	if b := s.kudos(u); b != 9997 {
		t.Errorf("the balance is %v, want 9997", b)
	}
	s.text(u, `{"prompt":"x"}`)
	if b := s.kudos(u); b != 9996 {
		t.Errorf("after a text the balance is %v, want 9996", b)
	}
	admin := s.user(0, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	s.want(s.call("PUT", "/users/0", admin, `{"kudos":100}`), http.StatusOK)
	s.image(anonymous, `{"prompt":"x","models":["stable_diffusion"],"params":{"steps":8}}`)
	if b := s.kudos(anonymous); b != 97 {
		t.Errorf("anonymous has %v, want 97", b)
	}
	s.shows(s.get("/find_user", u), fields{
		"kudos_details": map[string]any{"accumulated": -4, "admin": 10000, "awarded": 0, "donated": 0, "gifted": 0, "received": 0, "recurring": 0, "styled": 0},
	})
}

func TestKudos10DowngradedToWhatIsFree(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 10)
	s := open(t)
	s.noJob(s.popImage(s.user(0, 0), "w", fields{"threads": 20}))
	s.queue("image", 500) // 774
	u, w := s.user(0, 0), s.user(0, 0)
	s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "allow_downgrade": true, "params": fields{"width": 1216, "height": 832}})
	s.shows(answer{value: s.popImage(w, "w2", nil).at("payload")}, fields{"width": 896, "height": 640})
}

func TestKudos11To13TextRewards(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 11, 12, 13)
	example(t, "cases", 17)
	s := open(t)
	for _, c := range []struct {
		name, model, agent     string
		owner                  horde.Roles
		maxLength              int
		prompt, answer         int // characters
		reward                 float64
		requesterPays, credits float64
	}{
		{"11 7 billion, validated", "test/7B", validated, horde.Trusted, 80, 4000, 500, 5.62, 6.62, 5.62},
		{"11 7 billion, not validated", "test/7B", "mine:1:x", horde.Trusted, 80, 4000, 500, 1.69, 2.69, 1.69},
		{"12 70 billion", "test/70B", validated, horde.Trusted, 512, 8000, 1000, 324.37, 325.37, 324.37},
		{"12 13 billion", "test/13B", validated, horde.Trusted, 80, 19, 18, 2.52, 3.52, 2.52},
		{"13 an unknown model of an untrusted owner", "who/knows", validated, 0, 80, 4000, 500, 1.255023, 2.26, 1.26},
		{"13 an unknown model of a trusted owner", "who/knows", validated, horde.Trusted, 80, 4000, 500, 2.71, 3.71, 2.71},
		{"B017 a quantised name counts by its model", "koboldcpp/Some-Model-7B-IQ4_XS", validated, horde.Trusted, 80, 4000, 500, 5.62, 6.62, 5.62},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			u, w := s.user(10000, 0), s.user(100, c.owner)
			s.text(u, fields{"prompt": strings.Repeat("p", c.prompt), "models": []string{c.model},
				"params": fields{"max_length": c.maxLength}})
			before := s.kudos(u)
			p := s.popText(w, c.name, fields{"models": []string{c.model}, "bridge_agent": c.agent})
			reward := s.deliverText(w, s.job(p), strings.Repeat("a", c.answer)).number("reward")
			if math.Abs(reward-c.reward) > 0.005 {
				t.Errorf("reward %v, want %v", reward, c.reward)
			}
			if got := math.Round((before-s.kudos(u))*100) / 100; got != c.requesterPays {
				t.Errorf("the requester pays %v, want %v", got, c.requesterPays)
			}
			b := s.balance(w)
			b.Spendable -= 10000
			if got := (b.Spendable + b.Escrow).Float(); got != c.credits {
				t.Errorf("the owner gets %v, want %v", got, c.credits)
			}
			if trusted := c.owner&horde.Trusted != 0; trusted != (b.Escrow == 0) || b.Spendable < b.Escrow-1 {
				t.Errorf("the owner's balance is %v", b)
			}
		})
	}
}

func TestKudos14TextEstimates(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 14)
	s := open(t)
	u := s.user(10000, 0)
	for _, c := range []struct {
		name  string
		body  fields
		kudos int
	}{
		{"no models", fields{}, 37},
		{"7 billion", fields{"models": []string{"test/7B"}}, 21},
		{"an unknown model", fields{"models": []string{"who/knows"}}, 9}, // 80*2.7/100*3.4 = 7.34
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.shows(s.want(s.call("POST", "/generate/text/async", u, fields{"prompt": "x", "dry_run": true}.with(c.body)), http.StatusOK),
				fields{"kudos": c.kudos})
		})
	}
}

func TestKudos16UptimeRewards(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 16)
	example(t, "cases", 49)
	inBubble(t, func(t *testing.T, s *server) {
		images := []string{"Deliberate", "Dreamshaper", "Anything v5", "URPM", "RPG", "ToonYou", "pix2pix", "Counterfeit", "SDXL 1.0", "Juggernaut XL",
			"ICBINP XL", "Animagine XL", "Hassaku XL", "Qwen-Image", "Z-Image-Turbo", "Epic Diffusion", "Analog Diffusion", "Arcane Diffusion",
			"Ghibli Diffusion", "Inkpunk Diffusion"}
		cases := []struct {
			name  string
			roles horde.Roles
			pop   func(account) answer
			want  balance
		}{
			{"20 image models and LoRAs", horde.Trusted, func(w account) answer {
				return s.popImage(w, "a", fields{"models": images})
			}, balance{Spendable: 12000}},
			{"20 image models and LoRAs, untrusted", 0, func(w account) answer {
				return s.popImage(w, "h", fields{"models": images})
			}, balance{Escrow: 12000}},
			{"13 billion at 8192, untrusted", 0, func(w account) answer {
				return s.popText(w, "b", fields{"models": []string{"test/13B"}})
			}, balance{Escrow: 26929}},
			{"not validated", horde.Trusted, func(w account) answer {
				return s.popText(w, "c", fields{"models": []string{"test/13B"}, "bridge_agent": "mine:1:x"})
			}, balance{Spendable: 8079}},
			{"unknown", horde.Trusted, func(w account) answer {
				return s.popText(w, "d", fields{"models": []string{"who/knows"}})
			}, balance{Spendable: 7250}},
			{"1 billion at 2048", horde.Trusted, func(w account) answer {
				return s.popText(w, "e", fields{"models": []string{"test/1B"}, "max_context_length": 2048})
			}, balance{Spendable: 1375}},
			{"7 billion at 2048", horde.Trusted, func(w account) answer {
				return s.popText(w, "f", fields{"models": []string{"test/7B"}, "max_context_length": 2048})
			}, balance{Spendable: 5500}},
			{"B049 a gigantic context counts as 16384", horde.Trusted, func(w account) answer {
				return s.popText(w, "g", fields{"models": []string{"test/7B"}, "max_context_length": 1000000})
			}, balance{Spendable: 26500}},
		}
		owners := make([]account, len(cases))
		for i, c := range cases {
			owners[i] = s.user(100, c.roles)
		}
		for range 4 {
			for i, c := range cases {
				c.pop(owners[i])
			}
			time.Sleep(201 * time.Second)
		}
		for i, c := range cases {
			b := s.balance(owners[i])
			if b.Spendable -= 10000; b != c.want {
				t.Errorf("%s: the owner gets %v, want %v", c.name, b, c.want)
			}
		}
	})
}

func TestKudos17PromotionToTrust(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 17)
	example(t, "cases", 51)
	inBubble(t, func(t *testing.T, s *server) {
		u, mod := s.user(1e6, horde.Trusted), s.user(0, horde.Moderator)
		old := s.user(1000, 0)
		s.away(6 * 24 * time.Hour)
		young := s.user(1000, 0)
		s.away(2 * 24 * time.Hour)
		trusted := func(a account) bool { return s.get(a.path(), account{}).at("trusted") == true }
		// Each job of payload 15 pays 20.70, half of it into escrow: 10.35.
		work := func(owner account, worker string) {
			s.image(u, sdxl.with(fields{"models": []string{"Deliberate"}, "params": sdxl["params"].(fields).with(fields{"n": 1})}))
			p := s.popImage(owner, worker, nil)
			time.Sleep(20 * time.Second)
			s.deliver(owner, p)
		}
		for range 9 {
			work(old, "old")
			work(young, "young")
		}
		s.shows(s.get(old.path(), mod), fields{"evaluating_kudos": 93, "trusted": false})
		work(old, "old")
		work(young, "young")
		if b := s.balance(old); !trusted(old) || b.Escrow != 0 || b.Spendable != 100000+20700 {
			t.Errorf("the old account is not trusted, or its escrow stays: %v", b)
		}
		a := s.shows(s.get(old.path(), mod), fields{"evaluating_kudos": 0, "kudos": 1207})
		if got := a.number("kudos_details", "accumulated"); got != 207 {
			t.Errorf("B051 what was held is not in the statistic: %v", got)
		}
		if b := s.balance(young); trusted(young) || b.Escrow != 10350 {
			t.Errorf("the young account is trusted, or has %v", b)
		}
		s.away(5 * 24 * time.Hour)
		time.Sleep(2 * time.Minute)
		if b := s.balance(young); !trusted(young) || b.Escrow != 0 || b.Spendable != 100000+20700 {
			t.Errorf("at 7 days the young account is not trusted: %v", b)
		}
	}, func(c *node.Config) { c.TrustThreshold = 10000 })
}

func TestKudos17ManualTrustDrainsTheEscrow(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w, mod := s.user(1000, 0), s.user(0, 0), s.user(0, horde.Moderator)
		s.text(u, `{"prompt":"x","models":["test/7B"]}`)
		s.deliverText(w, s.job(s.popText(w, "w", nil)), "an answer")
		before := s.balance(w)
		if before.Escrow == 0 {
			t.Fatal("nothing is in escrow")
		}
		s.want(s.call("PUT", w.path(), mod, `{"trusted":true}`), http.StatusOK)
		time.Sleep(2 * time.Minute)
		if b := s.balance(w); b.Escrow != 0 || b.Spendable != before.Spendable+before.Escrow {
			t.Errorf("the balance is %v, was %v", b, before)
		}
	})
}

func TestKudos18Floors(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 18)
	s := open(t)
	admin := s.user(0, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	change := func(a account, by int) float64 {
		return s.want(s.call("PUT", a.path(), admin, fields{"kudos": by}), http.StatusOK).number("new_kudos")
	}
	reg, pseudo, fresh := s.user(30, 0), s.userAs("", 20, 0), s.user(0, 0)
	for _, c := range []struct {
		name string
		a    account
		by   int
		want float64
	}{
		{"registered 30 less 100", reg, -100, 25}, {"then 20 more", reg, 20, 45}, {"pseudonymous 20 less 1000", pseudo, -1000, 14},
		{"a new one gets 10", fresh, 10, 25},
	} {
		if got := change(c.a, c.by); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for range 20 {
		s.image(anonymous, `{"prompt":"x"}`)
	}
	if b := s.kudos(anonymous); b != -50 {
		t.Errorf("anonymous has %v, want -50", b)
	}
	s.shows(s.get("/users/0", account{}), fields{"kudos": -50})
}

func TestHoldsCoverWhatWasPromised(t *testing.T) {
	t.Parallel()
	s := open(t)
	w := s.user(0, horde.Trusted)
	u := s.user(45, 0)                                                                                  // 20 above the floor
	long := `{"prompt":"x","models":["test/1B"],"params":{"max_length":600,"max_context_length":4096}}` // round(600/21, 2) = 28.57
	s.refused(s.call("POST", "/generate/text/async", u, long), http.StatusForbidden, "KudosUpfront")
	u = s.user(54, 0)
	id := s.text(u, long)
	s.refused(s.call("POST", "/generate/text/async", u, long), http.StatusForbidden, "KudosUpfront")
	s.want(s.call("DELETE", "/generate/text/status/"+id, account{}, nil), http.StatusOK)
	// The hold is free at once, less the tax of 1: 28 are not enough.
	s.refused(s.call("POST", "/generate/text/async", u, long), http.StatusForbidden, "KudosUpfront")
	u = s.user(55, 0)
	id = s.text(u, long)
	s.want(s.call("DELETE", "/generate/text/status/"+id, account{}, nil), http.StatusOK)
	id = s.text(u, long)
	s.deliverText(w, s.job(s.popText(w, "w", fields{"models": []string{"test/1B"}})), "x")
	s.shows(s.status("text", id), fields{"done": true})
}

// The status chapter, 6: operators see for how long kudos have been set aside.
func TestKudosTheOldestReservationHasAnAge(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u := s.user(10_000, 0)
		reserved := func(count, seconds float64) {
			t.Helper()
			all := prometheus.NewRegistry()
			all.MustRegister(s.Engine)
			families, err := all.Gather()
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]float64{"horde_kudos_active_reservations": count, "horde_kudos_oldest_reservation_seconds": seconds}
			for _, f := range families {
				if v, asked := want[f.GetName()]; asked {
					if got := f.GetMetric()[0].GetGauge().GetValue(); got != v {
						t.Errorf("%s is %v, want %v", f.GetName(), got, v)
					}
					delete(want, f.GetName())
				}
			}
			if len(want) > 0 {
				t.Errorf("no %v", want)
			}
		}
		reserved(0, 0)
		long := fields{"prompt": "x", "models": []string{"test/7B"}, "params": fields{"max_length": 1024}}
		first := s.text(u, long)
		time.Sleep(10 * time.Second)
		second := s.text(u, long)
		time.Sleep(10 * time.Second)
		reserved(2, 20)
		s.want(s.call("DELETE", "/generate/text/status/"+first, anonymous, nil), http.StatusOK)
		reserved(1, 10)
		s.away(5 * time.Second) // a restart finds it again
		reserved(1, 15)
		s.want(s.call("DELETE", "/generate/text/status/"+second, anonymous, nil), http.StatusOK)
		reserved(0, 0)
	})
}
