// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
)

// What happens when the same thing is done twice at once, or again: accounts chapter, 14, and the rule that everything is
// checked before anything is changed.

// atOnce makes calls at the same time, and returns their answers in the order of the calls.
func (s *server) atOnce(n int, call func(i int) answer) []answer {
	s.t.Helper()
	answers := make([]answer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// count counts answers by what they say.
func count(answers []answer) map[string]int {
	n := map[string]int{}
	for _, a := range answers {
		if a.rc() == "" {
			n[fmt.Sprint(a.status)]++
		} else {
			n[fmt.Sprint(a.status, " ", a.rc())]++
		}
	}
	return n
}

func (s *server) counted(what string, answers []answer, want map[string]int) {
	s.t.Helper()
	if got := count(answers); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestRacesOfTransfers(t *testing.T) {
	t.Parallel()
	s := open(t)
	t.Run("what is there is spent once", func(t *testing.T) {
		s := s.in(t)
		rich := s.user(125, 0) // 25 of them are the floor
		var to []account
		for range 20 {
			to = append(to, s.user(100, 0))
		}
		s.counted("transfers of 60", s.atOnce(20, func(i int) answer { return s.transfer(rich, to[i], 60) }), map[string]int{"200": 1, "400 KudosTransferNotEnough": 19})
		sum := s.kudos(rich)
		for _, a := range to {
			sum += s.kudos(a)
		}
		if sum != 2125 {
			t.Errorf("there are %v kudos, want 2125", sum)
		}
	})
	t.Run("one idempotency key moves once", func(t *testing.T) {
		s := s.in(t)
		a, b, c := s.user(1000, 0), s.user(100, 0), s.user(100, 0)
		s.counted("the same transfer", s.atOnce(20, func(int) answer { return s.transfer(a, b, 10, header{"Idempotency-Key", "k"}) }), map[string]int{"200": 20})
		if x, y := s.kudos(a), s.kudos(b); x != 990 || y != 110 {
			t.Errorf("the two have %v and %v kudos, want 990 and 110", x, y)
		}
		answers := s.atOnce(20, func(i int) answer {
			return s.transfer(a, []account{b, c}[i%2], 10, header{"Idempotency-Key", "another"})
		})
		s.counted("one key for two targets", answers, map[string]int{"200": 10, "400 IdempotencyKeyConflict": 10})
		if x, y, z := s.kudos(a), s.kudos(b), s.kudos(c); x != 980 || y+z != 220 {
			t.Errorf("the three have %v, %v and %v kudos", x, y, z)
		}
		s.counted("again, later", s.atOnce(5, func(int) answer { return s.transfer(a, b, 10, header{"Idempotency-Key", "k"}) }), map[string]int{"200": 5})
		if x := s.kudos(a); x != 980 {
			t.Errorf("a replay moved kudos: %v are left", x)
		}
		// A key is its sender's: another account that sends the same one does its own transfer.
		s.want(s.transfer(c, b, 1, header{"Idempotency-Key", "k"}), http.StatusOK)
	})
	t.Run("in a circle nothing is made", func(t *testing.T) {
		s := s.in(t)
		ring := []account{s.user(100, 0), s.user(100, 0), s.user(100, 0)}
		s.atOnce(30, func(i int) answer { return s.transfer(ring[i%3], ring[(i+1)%3], 7) })
		if sum := s.kudos(ring[0]) + s.kudos(ring[1]) + s.kudos(ring[2]); sum != 300 {
			t.Errorf("there are %v kudos, want 300", sum)
		}
	})
	t.Run("awards add up", func(t *testing.T) {
		s := s.in(t)
		target := s.user(100, 0)
		first := account{1, ""}
		key, err := s.Engine.NewKeyFor(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		first.key = key
		s.counted("awards", s.atOnce(20, func(int) answer {
			return s.call("POST", "/kudos/award", first, fields{"username": target.alias(), "amount": 5})
		}), map[string]int{"200": 20})
		if got := s.kudos(target); got != 200 {
			t.Errorf("the target has %v kudos, want 200", got)
		}
	})
	s.away(time.Millisecond) // the books are audited
}

func TestRacesOfModeratorsAndAdmins(t *testing.T) {
	t.Parallel()
	s := open(t)
	mods := []account{s.user(0, horde.Moderator), s.user(0, horde.Moderator)}
	admins := []account{s.user(0, 0), s.user(0, 0)}
	s.Engine.Admins = []horde.UserID{admins[0].id, admins[1].id}
	u := s.user(100, 0)
	t.Run("fields of one account, each by another", func(t *testing.T) {
		s := s.in(t)
		bodies := []string{`{"trusted":true}`, `{"customizer":true}`, `{"vpn":true}`, `{"special":true}`, `{"concurrency":77}`, `{"worker_invited":3}`, `{"admin_comment":"a comment"}`, `{"contact":"me@example.org"}`}
		s.counted("changes", s.atOnce(len(bodies), func(i int) answer { return s.call("PUT", u.path(), mods[i%2], bodies[i]) }), map[string]int{"200": len(bodies)})
		s.shows(s.get(u.path(), mods[0]), fields{
			"trusted": true, "customizer": true, "vpn": true, "special": true, "concurrency": 77, "worker_invited": 3, "admin_comment": "a comment", "contact": "me@example.org",
		})
	})
	t.Run("kudos by two admins add up", func(t *testing.T) {
		s := s.in(t)
		s.counted("grants", s.atOnce(20, func(i int) answer { return s.call("PUT", u.path(), admins[i%2], `{"kudos":5}`) }), map[string]int{"200": 20})
		if got := s.kudos(u); got != 200 {
			t.Errorf("the account has %v kudos, want 200", got)
		}
		s.atOnce(10, func(i int) answer { return s.call("PUT", u.path(), admins[i%2], `{"monthly_kudos":10}`) })
		s.shows(answer{value: s.get(u.path(), mods[0]).at("monthly_kudos")}, fields{"amount": 100})
	})
	t.Run("a role taken while it is used", func(t *testing.T) {
		s := s.in(t)
		mod, target := s.user(0, horde.Moderator), s.user(0, 0)
		answers := s.atOnce(20, func(i int) answer {
			if i == 10 {
				return s.call("PUT", mod.path(), admins[0], `{"moderator":false}`)
			}
			return s.call("PUT", target.path(), mod, fields{"concurrency": 100 + i})
		})
		for i, a := range answers {
			if a.status != http.StatusOK && a.rc() != "NotModerator" {
				t.Errorf("call %d: %d %s", i, a.status, a.text)
			}
		}
		s.refused(s.call("PUT", target.path(), mod, `{"concurrency":1}`), http.StatusForbidden, "NotModerator")
	})
	t.Run("modes", func(t *testing.T) {
		s := s.in(t)
		s.counted("modes", s.atOnce(20, func(i int) answer {
			return s.call("PUT", "/status/modes", mods[i%2], []string{`{"raid_mode":true}`, `{"invite_only_mode":true}`}[i/2%2])
		}), map[string]int{"200": 20})
		s.shows(s.get("/status/modes", mods[0]), fields{"raid_mode": true, "invite_only_mode": true, "maintenance_mode": false})
		s.want(s.call("PUT", "/status/modes", mods[0], `{"raid_mode":false,"invite_only_mode":false}`), http.StatusOK)
		// All or nothing: a moderator who is no admin changes none of three.
		s.refused(s.call("PUT", "/status/modes", mods[0], `{"raid_mode":true,"invite_only_mode":true,"maintenance_mode":true}`), http.StatusForbidden, "NotAdmin")
		s.shows(s.get("/status/modes", mods[0]), fields{"raid_mode": false, "invite_only_mode": false, "maintenance_mode": false})
	})
	t.Run("one account is deleted by two", func(t *testing.T) {
		s := s.in(t)
		gone := s.user(0, 0)
		s.counted("deletions", s.atOnce(10, func(i int) answer { return s.call("DELETE", gone.path(), mods[i%2], nil) }), map[string]int{"200": 1, "403 CannotWipeActiveUser": 9})
		s.shows(s.get(gone.path(), account{}), fields{"deleted": true})
		s.counted("returns", s.atOnce(10, func(i int) answer { return s.call("PUT", gone.path(), mods[i%2], `{"undelete":true}`) }), map[string]int{"200": 1, "400 UserNotDeleted": 9})
	})
	s.away(time.Millisecond)
}

func TestRacesOfNames(t *testing.T) {
	t.Parallel()
	s := open(t)
	t.Run("a team's name is taken once", func(t *testing.T) {
		s := s.in(t)
		u, v := s.user(0, horde.Trusted), s.user(0, horde.Trusted)
		s.counted("teams", s.atOnce(10, func(i int) answer {
			return s.call("POST", "/teams", []account{u, v}[i%2], fields{"name": []string{"The Same", "the same"}[i/2%2]})
		}), map[string]int{"200": 1, "400 TeamNameAlreadyExists": 9})
		id := s.get("/teams", account{}).str(0, "id")
		mod := s.user(0, horde.Moderator)
		s.counted("deletions", s.atOnce(10, func(int) answer { return s.call("DELETE", "/teams/"+id, mod, nil) }), map[string]int{"200": 1, "404 TeamNotFound": 9})
	})
	t.Run("a worker's name is taken once", func(t *testing.T) {
		s := s.in(t)
		u, v := s.user(0, 0), s.user(0, 0)
		got := count(s.atOnce(10, func(i int) answer {
			return s.tryPopImage([]account{u, v}[i%2], "contested", nil)
		}))
		if got["200"] != 5 || got["403 WrongCredentials"] != 5 {
			t.Errorf("two owners of one worker: %v", got)
		}
		// Nor do two workers get one name by renaming.
		s.popImage(u, "first worker", nil)
		s.popImage(v, "second worker", nil)
		first, second := s.get("/workers/name/first%20worker", account{}).str("id"), s.get("/workers/name/second%20worker", account{}).str("id")
		s.counted("renames", s.atOnce(2, func(i int) answer {
			return s.call("PUT", "/workers/"+[]string{first, second}[i], []account{u, v}[i], `{"name":"contested too"}`)
		}), map[string]int{"200": 1, "400 WorkerNameAlreadyExists": 1})
		s.counted("deletions", s.atOnce(10, func(int) answer { return s.call("DELETE", "/workers/"+first, u, nil) }), map[string]int{"200": 1, "404 WorkerNotFound": 9})
	})
	t.Run("a login makes one account", func(t *testing.T) {
		s := s.in(t)
		errs := make([]error, 10)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, _, errs[i] = s.Engine.Register(context.Background(), engine.NewUser{Name: "twin", OAuthID: "gh_4711"})
			})
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			}
		}
		if made != 1 {
			t.Errorf("one login made %d accounts", made)
		}
	})
	t.Run("untrusted users get four workers", func(t *testing.T) {
		s := s.in(t)
		u := s.user(0, 0)
		got := count(s.atOnce(12, func(i int) answer { return s.tryPopImage(u, fmt.Sprint("one of many ", i), nil) }))
		if got["200"] != 4 || got["403 TooManyWorkers"] != 8 {
			t.Errorf("got %v", got)
		}
	})
	s.away(time.Millisecond)
}

func TestRacesOfRequestsAndResults(t *testing.T) {
	t.Parallel()
	s := open(t)
	t.Run("one result is paid once", func(t *testing.T) {
		s := s.in(t)
		u, w := s.user(1000, 0), s.user(0, 0)
		s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		p := s.popImage(w, "the painter", nil)
		id := s.job(p)
		s.upload(p.strings("r2_uploads")[0], "image")
		before := s.balance(w)
		s.counted("submits", s.atOnce(10, func(int) answer {
			return s.call("POST", "/generate/submit", w, fields{"id": id, "generation": "R2", "seed": 1})
		}), map[string]int{"200": 1, "400 DuplicateGen": 9})
		after := s.balance(w)
		earned := after.Spendable + after.Escrow - before.Spendable - before.Escrow
		s.call("POST", "/generate/submit", w, fields{"id": id, "generation": "R2", "seed": 2})
		if again := s.balance(w); again != after || earned <= 0 {
			t.Errorf("a repeated submit earned: %v, %v", after, again)
		}
		s.shows(answer{value: s.get(w.path(), account{}).at("records", "fulfillment")}, fields{"image": 1})
		s.text(u, `{"prompt":"x"}`)
		q := s.popText(w, "the writer", nil)
		s.counted("text submits", s.atOnce(10, func(i int) answer {
			return s.call("POST", "/generate/text/submit", w, fields{"id": q.str("id"), "generation": fmt.Sprint("text ", i)})
		}), map[string]int{"200": 1, "400 DuplicateGen": 9})
		alchemy := s.alchemy(u, nil, "caption")
		form := s.form(s.popForms(w, "the alchemist", nil))
		s.counted("alchemy submits", s.atOnce(10, func(i int) answer {
			return s.call("POST", "/interrogate/submit", w, fields{"id": form, "result": fields{"caption": fmt.Sprint("caption ", i)}})
		}), map[string]int{"200": 1, "400 DuplicateGen": 9})
		s.shows(s.get("/interrogate/status/"+alchemy, account{}), fields{"state": "done"})
	})
	t.Run("a job ends as a success or as a failure", func(t *testing.T) {
		s := s.in(t)
		u, w := s.user(1000, 0), s.user(0, 0)
		for range 10 {
			id := s.text(u, `{"prompt":"x"}`)
			p := s.popText(w, "the writer 2", nil)
			got := count(s.atOnce(2, func(i int) answer {
				return s.call("POST", "/generate/text/submit", w, fields{"id": p.str("id"), "generation": "a text", "state": []string{"ok", "faulted"}[i]})
			}))
			if got["200"]+got["400 DuplicateGen"]+got["400 AbortedGen"] != 2 || got["200"] == 0 {
				t.Errorf("got %v", got)
			}
			s.want(s.call("DELETE", "/generate/text/status/"+id, account{}, nil), http.StatusOK)
		}
	})
	t.Run("two cancels are one", func(t *testing.T) {
		s := s.in(t)
		u, w := s.user(1000, 0), s.user(0, 0)
		before := s.balance(u)
		id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4}}`)
		taxed := s.balance(u)
		s.counted("cancels", s.atOnce(10, func(int) answer { return s.call("DELETE", "/generate/status/"+id, account{}, nil) }), map[string]int{"200": 10})
		if after := s.balance(u); after != taxed {
			t.Errorf("cancels moved kudos: %v, %v, %v", before, taxed, after)
		}
		s.shows(s.check(id), fields{"waiting": 0, "processing": 0, "done": true})
		s.noJob(s.popImage(w, "who comes late", nil))
		alchemy := s.alchemy(u, nil, "caption", "nsfw")
		s.popForms(w, "alchemist 2", fields{"forms": []string{"caption"}})
		paid := s.kudos(u)
		s.counted("alchemy cancels", s.atOnce(10, func(int) answer { return s.call("DELETE", "/interrogate/status/"+alchemy, account{}, nil) }), map[string]int{"200": 10})
		once := paid - s.kudos(u)
		s.call("DELETE", "/interrogate/status/"+alchemy, account{}, nil)
		if twice := paid - s.kudos(u); twice != once || once > 5 {
			t.Errorf("cancels cost %v, then %v", once, twice)
		}
	})
	t.Run("cancel, pop and submit", func(t *testing.T) {
		s := s.in(t)
		u := s.user(1000, 0)
		for i := range 10 {
			w := s.user(0, 0)
			id := s.text(u, `{"prompt":"x","params":{"n":2}}`)
			p := s.popText(w, fmt.Sprint("racer ", i), nil)
			s.atOnce(3, func(n int) answer {
				switch n {
				case 0:
					return s.call("DELETE", "/generate/text/status/"+id, account{}, nil)
				case 1:
					return s.tryPopText(w, fmt.Sprint("racer ", i), nil)
				}
				return s.call("POST", "/generate/text/submit", w, fields{"id": p.str("id"), "generation": "a text"})
			})
			s.shows(s.status("text", id), fields{"waiting": 0, "finished": 1})
		}
	})
	t.Run("concurrency is not exceeded", func(t *testing.T) {
		s := s.in(t)
		u := s.user(1000, 0)
		got := count(s.atOnce(60, func(int) answer { return s.call("POST", "/generate/text/async", u, `{"prompt":"x"}`) }))
		if got["202"] != 30 || got["429 TooManyPrompts"] != 30 {
			t.Errorf("got %v, want 30 of each", got)
		}
	})
	s.away(time.Millisecond)
}

// A result is told to a webhook once, whatever is repeated.
func TestReplaysOfWebhooks(t *testing.T) {
	t.Parallel()
	s := open(t)
	var mu sync.Mutex
	told := map[string]int{}
	s.Engine.Notify = func(n engine.Notice) {
		mu.Lock()
		defer mu.Unlock()
		told[n.Generation.ID.String()]++
	}
	u, w := s.user(1000, 0), s.user(0, 0)
	hook := fields{"prompt": "x", "webhook": "https://hook.example/once"}
	s.text(u, hook)
	s.image(u, hook.with(fields{"models": []string{"Deliberate"}}))
	q := s.popText(w, "the writer", nil)
	p := s.popImage(w, "the painter", nil)
	s.upload(p.strings("r2_uploads")[0], "image")
	s.atOnce(10, func(i int) answer {
		if i%2 == 0 {
			return s.call("POST", "/generate/text/submit", w, fields{"id": q.str("id"), "generation": "a text"})
		}
		return s.call("POST", "/generate/submit", w, fields{"id": p.str("id"), "generation": "R2", "seed": 1})
	})
	for range 3 {
		s.call("POST", "/generate/text/submit", w, fields{"id": q.str("id"), "generation": "another text"})
		s.call("POST", "/generate/submit", w, fields{"id": p.str("id"), "generation": "R2", "seed": 2})
		// Nor can the image be exchanged after it was told of.
		if a := s.put(p.strings("r2_uploads")[0], "another image"); a.status < 400 {
			t.Errorf("an image that was delivered can be uploaded again: %d", a.status)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 || told[q.str("id")] != 1 || told[p.str("id")] != 1 {
		t.Errorf("the webhook was told %v", told)
	}
}
