// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// The team endpoints: dispatch chapter, 22.

func TestTeamsAreMadeByTrustedUsers(t *testing.T) {
	t.Parallel()
	s := open(t)
	creator, stranger, mod := s.user(0, horde.Trusted), s.user(0, horde.Trusted), s.user(0, horde.Moderator)
	id := s.want(s.call("POST", "/teams", creator, fields{"name": "Night <Owls>", "info": "We work at night"}), http.StatusOK).at("id").(string)
	for _, c := range []struct {
		name         string
		method, path string
		as           account
		body         string
		status       int
		rc           string
		field        string
	}{
		{"no key", "POST", "/teams", account{}, `{"name":"another"}`, 400, "", "apikey"},
		{"an unknown key", "POST", "/teams", account{0, "bogus"}, `{"name":"another"}`, 401, "InvalidAPIKey", ""},
		{"anonymous", "POST", "/teams", account{0, horde.AnonymousKey}, `{"name":"another"}`, 403, "AnonForbidden", ""},
		{"untrusted", "POST", "/teams", s.user(0, 0), `{"name":"another"}`, 403, "UntrustedTeamCreation", ""},
		{"a taken name", "POST", "/teams", creator, `{"name":"night <owls>"}`, 400, "TeamNameAlreadyExists", ""},
		{"a profane name", "POST", "/teams", creator, `{"name":"fuck you"}`, 400, "ProfaneTeamName", ""},
		{"a profane info", "POST", "/teams", creator, `{"name":"another","info":"fuck you"}`, 400, "ProfaneTeamInfo", ""},
		{"no name", "POST", "/teams", creator, `{"info":"another"}`, 400, "", "name"},
		{"a name of 2 characters", "POST", "/teams", creator, `{"name":"ab"}`, 400, "", "name"},
		{"a name of 101 characters", "POST", "/teams", creator, `{"name":"` + strings.Repeat("n", 101) + `"}`, 400, "", "name"},
		{"info of 1001 characters", "POST", "/teams", creator, `{"name":"abc","info":"` + strings.Repeat("n", 1001) + `"}`, 400, "", "info"},
		{"an unknown team", "GET", "/teams/00000000-0000-4000-8000-000000000000", creator, ``, 404, "TeamNotFound", ""},
		{"a malformed id", "GET", "/teams/nope", creator, ``, 404, "TeamNotFound", ""},
		{"an unknown team, before the key", "PATCH", "/teams/nope", account{0, "bogus"}, `{"info":"abc"}`, 404, "TeamNotFound", ""},
		{"changed without a key", "PATCH", "/teams/" + id, account{}, `{"info":"abc"}`, 401, "InvalidAPIKey", ""},
		{"info by a stranger", "PATCH", "/teams/" + id, stranger, `{"info":"abc"}`, 403, "NotOwner", ""},
		{"name by a stranger", "PATCH", "/teams/" + id, stranger, `{"name":"abc"}`, 403, "NotModerator", ""},
		{"nothing", "PATCH", "/teams/" + id, creator, `{}`, 400, "NoTeamModSelected", ""},
		{"profane info", "PATCH", "/teams/" + id, creator, `{"info":"fuck you"}`, 400, "ProfaneTeamInfo", ""},
		{"deleted by a stranger", "DELETE", "/teams/" + id, stranger, ``, 403, "NotModerator", ""},
		{"deleted without a key", "DELETE", "/teams/" + id, account{}, ``, 401, "InvalidAPIKey", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var body any
			if c.body != "" {
				body = c.body
			}
			a := s.call(c.method, c.path, c.as, body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	s.shows(s.want(s.call("PATCH", "/teams/"+id, creator, `{"name":"NIGHT <owls>"}`), http.StatusOK), fields{"name": "NIGHT &lt;owls&gt;", "info": nil})
	s.shows(s.want(s.call("PATCH", "/teams/"+id, mod, `{"info":"new info"}`), http.StatusOK), fields{"info": "new info", "name": nil})
	s.shows(s.get("/teams/"+id, account{0, "bogus"}), fields{"name": "NIGHT &lt;owls&gt;", "info": "new info", "worker_count": 0, "kudos": 0.0, "uptime": 0})
	s.shows(s.want(s.call("DELETE", "/teams/"+id, mod, nil), http.StatusOK), fields{"deleted_id": id, "deleted_name": "NIGHT &lt;owls&gt;"})
	if a := s.get("/teams", account{}); len(a.list()) != 0 {
		t.Errorf("a deleted team is listed: %s", a.text)
	}
}

func TestTeamsCountWhatTheirImageWorkersMake(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 19)
	example(t, "cases", 77)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
		id := s.want(s.call("POST", "/teams", owner, fields{"name": "the team"}), http.StatusOK).at("id").(string)
		join := func(worker string) {
			s.want(s.call("PUT", "/workers/"+s.get("/workers/name/"+worker, account{}).at("id").(string), owner, fields{"team": id}), http.StatusOK)
		}
		work := func() {
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}})
			popped := s.popImage(owner, "painter", nil)
			s.job(popped)
			s.deliver(owner, popped)
		}
		work() // counts for no team
		join("painter")
		work()
		kudos := s.get("/teams/"+id, account{}).at("kudos").(float64)
		if kudos <= 0 {
			t.Errorf("the team has %v kudos", kudos)
		}
		s.popText(owner, "writer", nil)
		join("writer")
		s.text(u, fields{"prompt": "x"})
		s.deliverText(owner, s.job(s.popText(owner, "writer", nil)), "a text")
		for range 4 { // 12 minutes, so one block of uptime for each worker
			time.Sleep(4 * time.Minute)
			s.tryPopImage(owner, "painter", nil)
			s.tryPopText(owner, "writer", nil)
		}
		want := fields{"requests_fulfilled": 1, "kudos": kudos, "uptime": 1200, "worker_count": 2}
		s.shows(s.get("/teams/"+id, account{}), want)
		s.away(time.Minute) // the record has all of it
		s.shows(s.get("/teams/"+id, account{}), want)
		s.shows(s.get("/workers/name/painter", account{}), fields{"team": map[string]any{"id": id, "name": "the team"}})
		// B077: a worker leaves its team by each of the names for none, and comes back.
		for _, none := range []string{"None", ""} {
			a := s.want(s.call("PUT", "/workers/"+s.workerID(owner, "painter"), owner, fields{"team": none}), http.StatusOK)
			s.shows(a, fields{"team": "None"})
			s.shows(s.get("/workers/name/painter", account{}), fields{"team": map[string]any{"id": nil, "name": nil}})
			s.shows(s.get("/teams/"+id, account{}), fields{"worker_count": 1})
			join("painter")
		}
		s.want(s.call("DELETE", "/teams/"+id, owner, nil), http.StatusOK)
		s.shows(s.get("/workers/name/painter", account{}), fields{"team": map[string]any{"id": nil, "name": nil}})
		s.away(time.Minute)
		s.shows(s.get("/workers/name/writer", account{}), fields{"team": map[string]any{"id": nil, "name": nil}})
	})
}
