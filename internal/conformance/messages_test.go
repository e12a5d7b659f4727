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

// Messages to workers: dispatch chapter, 21.

// say writes a message, and returns its id.
func (s *server) say(as account, body fields) string {
	s.t.Helper()
	return s.want(s.call("POST", "/workers/messages", as, body), http.StatusOK).str("id")
}

// told checks which messages a list has, by their texts in any order.
func (s *server) told(what string, a answer, want ...string) {
	s.t.Helper()
	s.want(a, http.StatusOK)
	list, _ := a.value.([]any)
	if a.has("messages") {
		list = a.list("messages")
	}
	left := map[string]int{}
	for _, text := range want {
		left[text]++
	}
	for i := range list {
		left[answer{value: list[i]}.str("message")]--
	}
	for text, n := range left {
		if n != 0 {
			s.t.Errorf("%s: %q is missing %d times, of %v", what, text, n, list)
		}
	}
}

func TestMessagesAreDeliveredUntilTheyExpire(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, owner, mod, stranger := s.user(10_000, 0), s.user(0, 0), s.user(0, horde.Moderator), s.user(0, 0)
		workerNamed := func(name string) string { return s.get("/workers/name/"+name, account{}).str("id") }
		s.told("a worker that is told nothing", s.noJob(s.popImage(owner, "painter", nil)))
		s.noJob(s.popText(owner, "writer", nil))
		s.popForms(owner, "alchemist", fields{"forms": []string{"palette"}})
		painter, writer, alchemist := workerNamed("painter"), workerNamed("writer"), workerNamed("alchemist")

		began := time.Now().UTC()
		own := s.want(s.call("POST", "/workers/messages", owner, fields{"worker_id": painter, "message": "to <myself> & 'you'", "origin": "the king", "expiry": 1}), http.StatusOK)
		format := func(at time.Time) string { return at.Format("Mon, 02 Jan 2006 15:04:05 -0000") }
		s.shows(own, fields{
			"message": "to <myself> & 'you'", "origin": owner.id.String(), "user_id": owner.id.String(), "worker_id": painter,
			"created": format(began), "expiry": format(began.Add(time.Hour)),
		})
		broadcast := s.want(s.call("POST", "/workers/messages", mod, fields{"message": "to all"}), http.StatusOK)
		s.shows(broadcast, fields{"origin": "AI Horde Moderators", "expiry": format(began.Add(12 * time.Hour)), "created": format(began)})
		if broadcast.has("worker_id") {
			t.Errorf("a message to all names a worker: %s", broadcast.text)
		}
		s.say(mod, fields{"worker_id": writer, "message": "to a writer", "origin": "the operator", "expiry": 720})
		s.say(mod, fields{"worker_id": alchemist, "message": "to an alchemist", "expiry": 720})

		s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}})
		withJob := s.popImage(owner, "painter", nil)
		s.job(withJob)
		s.told("a pop with a job", withJob, "to <myself> & 'you'", "to all")
		for i, m := range withJob.list("messages") {
			m := m.(document)
			if len(m) != 4 || m["id"] == nil || m["expiry"] == nil || m["origin"] == nil {
				t.Errorf("message %d of a pop is %v", i, m)
			}
		}
		s.deliver(owner, withJob)
		s.told("a pop without one", s.noJob(s.popImage(owner, "painter", nil)), "to <myself> & 'you'", "to all")
		s.told("a text worker", s.noJob(s.popText(owner, "writer", nil)), "to a writer", "to all")
		s.text(u, fields{"prompt": "x"})
		text := s.popText(owner, "writer", nil)
		s.told("a text job", text, "to a writer", "to all")
		s.deliverText(owner, s.job(text), "a text")
		s.told("a new worker", s.popImage(stranger, "another painter", nil), "to all")
		if a := s.popForms(owner, "alchemist", fields{"forms": []string{"palette"}}); a.has("messages") {
			t.Errorf("an alchemist is told: %s", a.text)
		}

		// Details show the worker's own, to those who see who owns it.
		s.told("the owner", s.get("/workers/"+painter, owner), "to <myself> & 'you'")
		details := s.get("/workers/"+painter, mod)
		s.told("a moderator", details, "to <myself> & 'you'")
		m := details.list("messages")[0].(document)
		if m["id"] != nil || m["user_id"] != owner.id.String() || m["worker_id"] != painter || m["created"] != format(began) || m["expiry"] != format(began.Add(time.Hour)) {
			t.Errorf("the details show %v", m)
		}
		if a := s.get("/workers/"+painter, stranger); a.has("messages") {
			t.Errorf("a stranger sees messages: %s", a.text)
		}

		// The clock ends them, whether the node runs or not.
		s.away(59 * time.Minute)
		s.told("before the hour is over", s.popImage(owner, "painter", nil), "to <myself> & 'you'", "to all")
		time.Sleep(time.Minute)
		s.told("after an hour", s.popImage(owner, "painter", nil), "to all")
		s.told("the details after an hour", s.get("/workers/"+painter, owner))
		list := func(as account, query string) answer { return s.call("GET", "/workers/messages"+query, as, nil) }
		s.told("what has expired", list(owner, "?validity=expired"), "to <myself> & 'you'")
		s.told("what has not", list(owner, ""), "to all")
		s.told("all", list(owner, "?validity=all"), "to <myself> & 'you'", "to all")
		s.shows(s.get("/workers/messages/"+own.str("id"), account{}), fields{"message": "to <myself> & 'you'"})
		s.away(11 * time.Hour)
		s.told("after 12 hours", s.popImage(owner, "painter", nil))
		s.told("a message for 30 days", s.popText(owner, "writer", nil), "to a writer")
		time.Sleep(2 * time.Minute) // the sweep leaves what it can be asked for
		s.told("expired and swept", list(mod, "?validity=expired"), "to <myself> & 'you'", "to all")

		// They go with their worker and with their author.
		time.Sleep(30 * time.Minute)
		s.want(s.call("DELETE", "/workers/"+writer, owner, nil), http.StatusOK)
		s.told("with their worker", list(mod, "?validity=all&worker_id="+writer))
		s.away(31 * 24 * time.Hour)
		s.want(s.call("DELETE", owner.path(), mod, nil), http.StatusOK)
		again := s.say(mod, fields{"message": "of a moderator"})
		s.say(owner, fields{"worker_id": painter, "message": "last words"})
		s.want(s.call("DELETE", owner.path(), mod, nil), http.StatusOK)
		time.Sleep(2 * time.Minute)
		s.told("a month after the end, and without their author", list(mod, "?validity=all"), "of a moderator")
		s.want(s.call("DELETE", "/workers/messages/"+again, mod, nil), http.StatusOK)
		s.away(time.Minute)
		s.told("nothing comes back", list(mod, "?validity=all"))
	})
}

func TestMessagesAreOfWhoeverMayWriteThem(t *testing.T) {
	t.Parallel()
	example(t, "errors", 10)
	s := open(t)
	owner, other, mod := s.user(0, 0), s.user(0, 0), s.user(0, horde.Moderator)
	painter, writer := s.workerID(owner, "painter of messages"), s.workerID(other, "writer of messages")
	id := s.say(owner, fields{"worker_id": painter, "message": "mine"})
	s.say(other, fields{"worker_id": writer, "message": "other's"})
	s.say(mod, fields{"worker_id": painter, "message": "the moderator's"})
	s.say(mod, fields{"message": "everybody's", "origin": "us"})
	long := strings.Repeat("n", 10241)
	to := func(more string) string { return fmt.Sprintf(`{"worker_id":%q,"message":"x"%s}`, painter, more) }
	for _, c := range []struct {
		name         string
		method, path string
		as           account
		body         string
		status       int
		rc           string
		field        string
	}{
		{"listed with an unknown key", "GET", "", account{0, "bogus"}, "", 401, "InvalidAPIKey", ""},
		{"another validity", "GET", "?validity=eternal", owner, "", 400, "BadRequest", ""},
		{"page 0", "GET", "?page=0", owner, "", 400, "BadRequest", ""},
		{"a malformed worker", "GET", "?worker_id=nope", owner, "", 400, "BadRequest", ""},
		{"a malformed author", "GET", "?user_id=nobody", mod, "", 400, "BadRequest", ""},
		{"another author", "GET", "?user_id=" + other.id.String(), owner, "", 403, "Forbidden", ""},
		{"written without a key", "POST", "", account{}, to(""), 400, "", "apikey"},
		{"written with an unknown key", "POST", "", account{0, "bogus"}, to(""), 401, "InvalidAPIKey", ""},
		{"written by anonymous", "POST", "", anonymous, to(""), 403, "AnonForbidden", ""},
		{"to nobody", "POST", "", owner, `{"message":"x"}`, 400, "BadRequest", ""},
		{"to an unknown worker", "POST", "", owner, `{"message":"x","worker_id":"00000000-0000-4000-8000-000000000000"}`, 404, "WorkerNotFound", ""},
		{"to no id", "POST", "", mod, `{"message":"x","worker_id":"` + strings.Repeat("n", 36) + `"}`, 404, "WorkerNotFound", ""},
		{"to somebody else's worker", "POST", "", other, to(""), 403, "MessagesOnlyOwnWorkers", ""},
		{"no text", "POST", "", owner, `{"worker_id":"` + painter + `"}`, 400, "", "message"},
		{"an empty text", "POST", "", mod, `{"message":""}`, 400, "", "message"},
		{"too long a text", "POST", "", mod, `{"message":"` + long + `"}`, 400, "", "message"},
		{"a short id", "POST", "", mod, `{"message":"x","worker_id":"nope"}`, 400, "", "worker_id"},
		{"no time", "POST", "", owner, to(`,"expiry":0`), 400, "", "expiry"},
		{"a time too long", "POST", "", owner, to(`,"expiry":721`), 400, "", "expiry"},
		{"an empty origin", "POST", "", owner, to(`,"origin":""`), 400, "", "origin"},
		{"too long an origin", "POST", "", owner, to(`,"origin":"` + long[:256] + `"`), 400, "", "origin"},
		{"an unknown one", "GET", "/00000000-0000-4000-8000-000000000000", account{}, "", 404, "WorkermessageNotFound", ""},
		{"a malformed id", "GET", "/nope", account{}, "", 404, "WorkermessageNotFound", ""},
		{"deleted with an unknown key", "DELETE", "/" + id, account{0, "bogus"}, "", 401, "InvalidAPIKey", ""},
		{"an unknown one deleted", "DELETE", "/nope", owner, "", 404, "WorkermessageNotFound", ""},
		{"another's deleted", "DELETE", "/" + id, other, "", 403, "Forbidden", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var body any
			if c.body != "" {
				body = c.body
			}
			a := s.call(c.method, "/workers/messages"+c.path, c.as, body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	list := func(as account, query string) answer { return s.call("GET", "/workers/messages"+query, as, nil) }
	for _, c := range []struct {
		as    account
		query string
		want  []string
	}{
		{owner, "", []string{"mine", "everybody's"}},
		{owner, "?user_id=" + owner.id.String(), []string{"mine", "everybody's"}},
		{owner, "?worker_id=" + painter, []string{"mine"}},
		{other, "?worker_id=" + painter, nil},
		{anonymous, "", []string{"everybody's"}},
		{mod, "", []string{"mine", "other's", "the moderator's", "everybody's"}},
		{mod, "?user_id=" + other.id.String(), []string{"other's", "everybody's"}},
		{mod, "?worker_id=" + painter, []string{"mine", "the moderator's"}},
		{mod, "?worker_id=" + painter + "&user_id=" + owner.id.String(), []string{"mine"}},
		{mod, "?validity=expired", nil},
		{mod, "?page=2", nil},
		{mod, "?page=4611686018427387904", nil},
	} {
		s.told(fmt.Sprint(c.as.id, c.query), list(c.as, c.query), c.want...)
	}

	// A worker is told 50 things at most, but by moderators; pages have 50.
	var last string
	for i := range 48 {
		last = s.say(owner, fields{"worker_id": painter, "message": fmt.Sprint("note ", i)})
	}
	s.refused(s.call("POST", "/workers/messages", owner, to("")), http.StatusBadRequest, "BadRequest")
	s.say(mod, fields{"worker_id": painter, "message": "one more"})
	if first, second := list(mod, ""), list(mod, "?page=2"); len(first.list()) != 50 || len(second.list()) != 3 {
		t.Errorf("pages of %d and %d", len(first.list()), len(second.list()))
	}
	s.counted("deleted at once", s.atOnce(8, func(int) answer { return s.call("DELETE", "/workers/messages/"+id, owner, nil) }),
		map[string]int{"200": 1, "404 WorkermessageNotFound": 7})
	s.shows(s.want(s.call("DELETE", "/workers/messages/"+last, mod, nil), http.StatusOK), fields{"message": "OK"})
}
