// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// Filters, addresses and evidence: accounts chapter, 7, 8 and 10; newer chapter, 1.5 and 1.6.

// from is where a call comes from.
func from(addr string) header { return header{"X-Forwarded-For", addr} }

// filterData are neutral lists in place of an operator's.
func filterData(t testing.TB) func(*node.Config) {
	file := filepath.Join(t.TempDir(), "filters.json")
	if err := os.WriteFile(file, []byte(`{"negative":"N","emoji":["👪"],"rules":[{"pattern":"tiny","substitute":"grown"}],"count_tag_model":"anime"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	models := filepath.Join(t.TempDir(), "lewd.json")
	if err := os.WriteFile(models, []byte(`{"Lewd":{"name":"Lewd","baseline":"stable diffusion 1","type":"ckpt","nsfw":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *node.Config) {
		c.FilterData = file
		c.ImageModels = append(c.ImageModels, models)
	}
}

// exampleFilters are those of the worked examples: 10 = zebracorn, replaced by horse, 11 = quixotle, 20 = vermillex.
func (s *server) exampleFilters(mod account) (ids []string) {
	s.t.Helper()
	for _, f := range []fields{
		{"regex": "zebracorn", "filter_type": 10, "replacement": "horse"}, {"regex": "quixotle", "filter_type": 11, "description": "a word"},
		{"regex": "vermillex", "filter_type": 20},
	} {
		ids = append(ids, s.want(s.call("PUT", "/filters", mod, f), http.StatusOK).str("id"))
	}
	return ids
}

func TestAccounts11FiltersFind(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 11)
	s := open(t)
	mod := s.user(0, horde.Moderator)
	s.exampleFilters(mod)
	for _, c := range []struct {
		prompt    string
		only      any
		suspicion string
		matches   string
	}{
		{"zebracorn quixotle", nil, "1", "zebracorn"}, {"zebracorn, VERMILLEX", nil, "2", "zebracorn VERMILLEX"},
		{"my (zebracorn:1.3) v e r m i l l e x", nil, "2", "zebracorn vermillex"}, {"zebra_corn vermillex", nil, "1", "vermillex"},
		{"clean###zebracorn vermillex", nil, "0", ""}, {"quixotle and vermillex", 10, "0", ""}, {"quixotle and vermillex", "20", "1", "vermillex"},
	} {
		a := s.want(s.call("POST", "/filters", mod, fields{"prompt": c.prompt, "filter_type": c.only}), http.StatusOK)
		if a.at("suspicion") != c.suspicion || strings.Join(a.strings("matches"), " ") != c.matches {
			t.Errorf("%q with %v: %s", c.prompt, c.only, a.text)
		}
	}
}

func TestFiltersAreKeptByModerators(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.PromptCheckers = []horde.UserID{2} })
	mod, checker := s.user(0, horde.Moderator), s.user(0, 0)
	ids := s.exampleFilters(mod)
	first := s.want(s.get("/filters/"+ids[0], mod), http.StatusOK)
	s.shows(first, fields{"id": ids[0], "regex": "zebracorn", "filter_type": 10.0, "replacement": "horse", "user": first.str("user")})
	if first.has("description") || !strings.HasSuffix(first.str("user"), fmt.Sprint("#", mod.id)) {
		t.Errorf("got %s", first.text)
	}
	// Who adds a filter is shown that it has no description.
	if added := s.want(s.call("PUT", "/filters", mod, `{"regex":"zebracorn","filter_type":10}`), http.StatusOK); !strings.Contains(added.text, `"description":null`) {
		t.Errorf("got %s", added.text)
	}
	for _, c := range []struct {
		name         string
		method, path string
		as           account
		body         any
		status       int
		rc           string
		field        string
	}{
		{"no key", "GET", "/filters", account{}, nil, 400, "", "apikey"},
		{"an unknown key", "GET", "/filters", account{0, "bogus"}, nil, 401, "InvalidAPIKey", ""},
		{"no moderator", "GET", "/filters", s.user(0, horde.Trusted), nil, 403, "NotModerator", ""},
		{"a type that is no number", "GET", "/filters?filter_type=x", mod, nil, 400, "", "filter_type"},
		{"no regex", "PUT", "/filters", mod, `{"filter_type":10}`, 400, "", "regex"},
		{"a type below", "PUT", "/filters", mod, `{"regex":"a","filter_type":9}`, 400, "", "filter_type"},
		{"a type above", "PUT", "/filters", mod, `{"regex":"a","filter_type":30}`, 400, "", "filter_type"},
		{"the schema comes before the key", "PUT", "/filters", account{0, "bogus"}, `{"regex":"a","filter_type":30}`, 400, "", "filter_type"},
		{"a broken regex", "PUT", "/filters", mod, `{"regex":"(","filter_type":10}`, 400, "BadRequest", ""},
		{"one that looks around in vain", "PUT", "/filters", mod, `{"regex":"a*(?!b)","filter_type":10}`, 400, "BadRequest", ""},
		{"a broken one that looks around", "PUT", "/filters", mod, `{"regex":"a(?!b","filter_type":10}`, 400, "BadRequest", ""},
		{"one that finds everything", "PUT", "/filters", mod, `{"regex":"a*","filter_type":10}`, 400, "BadRequest", ""},
		{"a broken regex by a stranger", "PUT", "/filters", s.user(0, 0), `{"regex":"(","filter_type":10}`, 403, "NotModerator", ""},
		{"a NUL", "PUT", "/filters", mod, `{"regex":"a\u0000","filter_type":10}`, 400, "NulByteInPayload", ""},
		{"no prompt", "POST", "/filters", mod, `{}`, 400, "", "prompt"},
		{"an id that is no number", "GET", "/filters/x", mod, nil, 404, "FilterNotFound", ""},
		{"that comes before the key", "GET", "/filters/x", account{0, "bogus"}, nil, 404, "FilterNotFound", ""},
		{"an unknown id", "GET", "/filters/999", mod, nil, 404, "FilterNotFound", ""},
		{"changed, a negative id", "PATCH", "/filters/-1", mod, `{"regex":"a"}`, 404, "FilterNotFound", ""},
		{"changed, an unknown id, before nothing", "PATCH", "/filters/999", mod, `{}`, 404, "FilterNotFound", ""},
		{"nothing changed", "PATCH", "/filters/" + ids[0], mod, `{"regex":"","description":"","replacement":""}`, 400, "NoFilterModSelected", ""},
		{"changed to a broken one", "PATCH", "/filters/" + ids[0], mod, `{"regex":"["}`, 400, "BadRequest", ""},
		{"removed, an unknown id", "DELETE", "/filters/999", mod, nil, 404, "FilterNotFound", ""},
		{"read by who may only test", "GET", "/filters", checker, nil, 403, "NotModerator", ""},
	} {
		a := s.call(c.method, c.path, c.as, c.body)
		s := s.in(subtest{t, c.name})
		if c.field != "" {
			s.invalid(a, c.field)
			continue
		}
		s.refused(a, c.status, c.rc)
	}
	s.want(s.call("POST", "/filters", checker, `{"prompt":"zebracorn"}`), http.StatusOK)
	if again := s.want(s.call("PUT", "/filters", mod, `{"regex":"zebracorn","filter_type":10,"replacement":"cow"}`), http.StatusOK); again.str("id") != ids[0] || again.str("replacement") != "horse" {
		t.Errorf("an equal filter is returned as it is: %s", again.text)
	}
	for query, want := range map[string]int{"": 3, "?filter_type=10": 1, "?contains=word": 1, "?contains=WORD": 0, "?contains=%25": 0, "?filter_type=15": 0, "?contains=x": 2} {
		if n := len(s.want(s.get("/filters"+query, mod), http.StatusOK).list()); n != want {
			t.Errorf("%s: %d filters, want %d", query, n, want)
		}
	}
	all := s.want(s.get("/filters/regex", mod), http.StatusOK)
	if all.text != `[{"filter_type":10,"regex":"zebracorn"},{"filter_type":11,"regex":"quixotle"},{"filter_type":20,"regex":"vermillex"}]` {
		t.Errorf("got %s", all.text)
	}
	changed := s.want(s.call("PATCH", "/filters/"+ids[2], s.user(0, horde.Moderator), `{"regex":"vermilion","description":"red"}`), http.StatusOK)
	if changed.str("regex") != "vermilion" || changed.str("user") == first.str("user") {
		t.Errorf("got %s", changed.text)
	}
	s.want(s.call("DELETE", "/filters/"+ids[1], mod, nil), http.StatusOK)
	s.away(0)
	if all := s.want(s.get("/filters/regex", mod), http.StatusOK); all.text != `[{"filter_type":10,"regex":"zebracorn"},{"filter_type":20,"regex":"vermilion"}]` {
		t.Errorf("after a restart: %s", all.text)
	}
	if a := s.call("POST", "/filters", mod, `{"prompt":"zebracorn vermilion"}`); a.at("suspicion") != "2" {
		t.Errorf("after a restart: %s", a.text)
	}
	if next := s.want(s.call("PUT", "/filters", mod, `{"regex":"new","filter_type":10}`), http.StatusOK); next.str("id") != "4" {
		t.Errorf("ids are not used twice: %s", next.text)
	}
}

// subtest names what fails.
type subtest struct {
	testing.TB
	name string
}

func (t subtest) Errorf(format string, args ...any) {
	t.Helper()
	t.TB.Errorf(t.name+": "+format, args...)
}

func TestAccounts12PromptsAreReplaced(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 12)
	s := open(t, filterData(t))
	mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
	s.exampleFilters(mod)
	worker := s.user(0, horde.Customizer|horde.Trusted)
	models := []string{"Deliberate", "Lewd", "anime"}
	gets := func(name string, as account, body fields, want string) {
		t.Helper()
		id := s.image(as, body)
		popped := s.popImage(worker, "painter", fields{"models": models})
		if got := popped.str("payload", "prompt"); got != want {
			t.Errorf("%s: the worker got %q, want %q", name, got, want)
		}
		s.deliver(worker, popped)
		s.want(s.call("DELETE", "/generate/status/"+id, as, nil), http.StatusOK)
	}
	gets("clean", u, fields{"prompt": "a (zebra:1.2)", "models": models[:1]}, "a (zebra:1.2)")
	gets("half", u, fields{"prompt": "a (zebracorn:1.2)", "models": models[:1]}, "a (zebracorn:1.2)")
	gets("replaced", u, fields{"prompt": "a (zebracorn:1.2), vermillex###blurry", "models": models[:1]}, "a horse vermillex###N, blurry")
	gets("a lewd model", u, fields{"prompt": "a zebracorn", "models": models[1:2]}, "a horse###N")
	gets("a lewd model and a rule", u, fields{"prompt": "a tiny zebra", "models": models[1:2]}, "a grown zebra###N")
	gets("a lewd model, nothing found", u, fields{"prompt": "a (zebra:1.2)", "models": models[1:2]}, "a (zebra:1.2)")
	gets("an emoji", u, fields{"prompt": "👪 vermillex", "models": models[:1]}, " vermillex###N")
	flagged := s.user(1000, horde.Flagged)
	gets("flagged", flagged, fields{"prompt": "a (zebra:1.2)!", "models": models[:1]}, "a zebra ###N")
	gets("education without the switch", s.user(1000, horde.Education|horde.Trusted), fields{"prompt": "zebracorn vermillex", "models": models[:1], "replacement_filter": false}, "horse vermillex###N")
	// What is recorded is what was sent.
	id := s.image(u, fields{"prompt": "zebracorn vermillex"})
	if a := s.want(s.get("/generate/request/"+id, u), http.StatusOK); a.str("prompt") != "zebracorn vermillex" {
		t.Errorf("recorded: %s", a.text)
	}

	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": "zebracorn vermillex " + strings.Repeat("x", 7001)}), 400, "BadRequest")
	for _, body := range []fields{
		{"prompt": "zebracorn vermillex", "replacement_filter": false}, {"prompt": "zebracorn vermillex", "replacement_filter": false, "dry_run": true},
	} {
		s.refused(s.call("POST", "/generate/async", u, body, from("203.0.113.9")), 400, "CorruptPrompt")
		s.refused(s.call("POST", "/generate/async", s.user(0, 0), fields{"prompt": "a zebra"}, from("203.0.113.9")), 403, "TimeoutIP")
		s.want(s.call("DELETE", "/operations/ipaddr", mod, fields{"ipaddr": "203.0.113.9"}), http.StatusOK)
	}
	if a := s.want(s.get(u.path(), mod), http.StatusOK); a.number("suspicious") != 1 {
		t.Errorf("one reason is noted once: %s", a.text)
	}
	// A moderator's prompt is refused, and that is all.
	s.refused(s.call("POST", "/generate/async", mod, fields{"prompt": "zebracorn vermillex", "replacement_filter": false}, from("203.0.113.10")), 400, "CorruptPrompt")
	s.image(mod, fields{"prompt": "a zebra"})
	// Nothing left of a prompt: nobody is to blame, and clients know it by its words.
	a := s.refused(s.call("POST", "/generate/async", flagged, fields{"prompt": "!!!"}, from("203.0.113.11")), 400, "CorruptPrompt")
	if !strings.Contains(a.str("message"), "unethical images") {
		t.Errorf("got %s", a.text)
	}
	if a := s.want(s.get("/operations/ipaddr/203.0.113.11", mod), http.StatusOK); a.text != "[]" {
		t.Errorf("an address is in time-out: %s", a.text)
	}
	for _, a := range []answer{a, s.call("POST", "/generate/async", u, fields{"prompt": "zebracorn vermillex", "replacement_filter": false}, from("203.0.113.12"))} {
		if strings.Contains(a.text, "zebracorn") || strings.Contains(a.text, "vermillex") {
			t.Errorf("a refusal tells what was found: %s", a.text)
		}
	}
	// Texts are not scored.
	s.text(u, fields{"prompt": "zebracorn vermillex"})
	s.text(flagged, fields{"prompt": "a (zebra:1.2)!"})
}

// A prompt of which the replacement leaves nothing is refused although it may be replaced, and is its sender's doing.
func TestAccounts12PromptsThatCannotBeReplaced(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 12)
	s := open(t)
	mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
	for _, f := range []fields{{"regex": "zebracorn vermillex", "filter_type": 10}, {"regex": "vermillex", "filter_type": 20}} {
		s.want(s.call("PUT", "/filters", mod, f), http.StatusOK)
	}
	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": "(zebracorn vermillex:1.3)", "replacement_filter": true}, from("203.0.113.20")), 400, "CorruptPrompt")
	if a := s.want(s.get("/operations/ipaddr/203.0.113.20", mod), http.StatusOK); len(a.list()) != 1 || a.number(0, "seconds") < 178 || a.number(0, "seconds") > 180 {
		t.Errorf("the time-out is %s, want 3 minutes", a.text)
	}
	s.want(s.call("POST", "/generate/async", u, fields{"prompt": "a zebracorn vermillex", "replacement_filter": true}, from("203.0.113.21")), http.StatusAccepted)
}

func TestAccounts13TimeoutsGrow(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 13)
	inBubble(t, func(t *testing.T, s *server) {
		mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
		s.exampleFilters(mod)
		bad := fields{"prompt": "zebracorn vermillex", "replacement_filter": false}
		for addr, minutes := range map[string][]int{
			"203.0.113.7": {3, 9, 15, 21, 27, 33}, "198.51.100.7": {3, 5, 5, 5, 5, 5}, "2001:db8:1:2:3::7": {3, 9, 15},
		} {
			for i, m := range minutes {
				s.refused(s.call("POST", "/generate/async", u, bad, from(addr)), 400, "CorruptPrompt")
				list := s.want(s.get("/operations/ipaddr/"+addr, mod), http.StatusOK)
				if got := list.number(0, "seconds"); got != float64(m*60) {
					t.Errorf("%s, time %d: %s", addr, i+1, list.text)
				}
				// A request inside a time-out does not count.
				s.refused(s.call("POST", "/generate/async", u, bad, from(addr)), 403, "TimeoutIP")
				time.Sleep(time.Duration(m)*time.Minute - time.Second)
				s.refused(s.call("POST", "/generate/text/async", u, fields{"prompt": "a"}, from(addr)), 403, "TimeoutIP")
				time.Sleep(time.Second)
				s.want(s.call("POST", "/generate/text/async", u, fields{"prompt": "a", "dry_run": true}, from(addr)), http.StatusOK)
			}
		}
		// The neighbours of an IPv6 address are the same caller, also after a restart.
		s.refused(s.call("POST", "/generate/async", u, bad, from("2001:db8:1:2:ffff::1")), 400, "CorruptPrompt")
		s.away(time.Second)
		s.refused(s.call("POST", "/generate/async", u, bad, from("2001:db8:1:2::5")), 403, "TimeoutIP")
		s.want(s.call("POST", "/generate/async", u, fields{"prompt": "a"}, from("2001:db8:1:3::5")), http.StatusAccepted)
		s.want(s.call("DELETE", "/operations/ipaddr", mod, fields{"ipaddr": "2001:db8:1:2::9"}), http.StatusOK)
		s.refused(s.call("POST", "/generate/async", u, bad, from("2001:db8:1:2::5")), 400, "CorruptPrompt")
		if got := s.get("/operations/ipaddr/2001:db8:1:2::5", mod).number(0, "seconds"); got != 180 {
			t.Errorf("who was forgiven begins anew: %v", got)
		}
	}, func(c *node.Config) { c.ServiceIPs = prefixesOf("198.51.100.0/24") })
}

func TestAccounts14Blocks(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 14)
	s := open(t)
	mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
	s.want(s.call("POST", "/operations/ipaddr", mod, `{"ipaddr":"172.16.0.0/16","hours":5}`), http.StatusOK)
	list := s.want(s.get("/operations/ipaddr/172.16.5.5", mod), http.StatusOK)
	if n := list.number(0, "seconds"); len(list.list()) != 1 || list.str(0, "ipaddr") != "172.16.0.0/16" || n <= 0 || n > 18000 {
		t.Errorf("got %s", list.text)
	}
	for _, path := range []string{"172.16.5.0%2F24", "172.16.0.0%2F16", "172.16.0.0%252F16"} {
		if a := s.want(s.get("/operations/ipaddr/"+path, mod), http.StatusOK); len(a.list()) != 1 {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	in, out := from("172.16.5.5"), from("172.17.0.1")
	a := s.refused(s.call("POST", "/generate/async", u, `{"prompt":"a"}`, in), 403, "TimeoutIP")
	if !strings.Contains(a.str("message"), "seconds") {
		t.Errorf("got %s", a.text)
	}
	id := s.want(s.call("POST", "/generate/async", u, `{"prompt":"a"}`, out), http.StatusAccepted).str("id")
	s.refused(s.call("POST", "/generate/text/async", u, `{"prompt":"a"}`, in), 403, "TimeoutIP")
	s.refused(s.call("POST", "/interrogate/async", u, fields{"forms": []fields{{"name": "caption"}}, "source_image": "AAAA"}, in), 403, "TimeoutIP")
	for _, path := range []string{"/generate/pop", "/generate/text/pop", "/interrogate/pop"} {
		s.refused(s.call("POST", path, u, fields{"name": "w " + path, "models": []string{"Deliberate"}, "forms": []string{"caption"}}, in), 403, "TimeoutIP")
	}
	s.refused(s.call("GET", "/generate/check/"+id, account{}, nil, in), 403, "Forbidden")
	s.want(s.call("GET", "/generate/check/"+id, account{}, nil, in, header{"Client-Agent", "mine:1:me"}), http.StatusOK)
	s.want(s.call("GET", "/generate/check/"+id, account{}, nil, out), http.StatusOK)

	for _, c := range []struct {
		method, path string
		body         any
		status       int
		rc, field    string
	}{
		{"POST", "/operations/ipaddr", `{"ipaddr":"10.0.0.5/8","hours":1}`, 400, "BadRequest", ""},
		{"POST", "/operations/ipaddr", `{"ipaddr":"10.0.0.0/99","hours":1}`, 400, "BadRequest", ""},
		{"POST", "/operations/ipaddr", `{"ipaddr":"example.org","hours":1}`, 400, "BadRequest", ""},
		{"POST", "/operations/ipaddr", `{"ipaddr":"10.0.0.5","hours":0}`, 400, "", "hours"},
		{"POST", "/operations/ipaddr", `{"ipaddr":"10.0.0.5","hours":721}`, 400, "", "hours"},
		{"POST", "/operations/ipaddr", `{"ipaddr":"1","hours":1}`, 400, "", "ipaddr"},
		{"DELETE", "/operations/ipaddr", `{"ipaddr":"10.0.0.5/8"}`, 400, "BadRequest", ""},
		{"GET", "/operations/ipaddr/nonsense", nil, 400, "BadRequest", ""},
		{"PUT", "/operations/block_worker_ipaddr/nope", `{"days":1}`, 404, "WorkerNotFound", ""},
		{"PUT", "/operations/block_worker_ipaddr/nope", `{"days":31}`, 400, "", "days"},
		{"DELETE", "/operations/block_worker_ipaddr/nope", nil, 404, "WorkerNotFound", ""},
	} {
		a, s := s.call(c.method, c.path, mod, c.body), s.in(subtest{t, fmt.Sprint(c.method, " ", c.path, " ", c.body)})
		if c.field != "" {
			s.invalid(a, c.field)
		} else {
			s.refused(a, c.status, c.rc)
		}
	}
	stranger := s.user(0, 0)
	s.refused(s.call("POST", "/operations/ipaddr", stranger, `{"ipaddr":"nonsense","hours":1}`), 400, "BadRequest")
	s.refused(s.call("POST", "/operations/ipaddr", stranger, `{"ipaddr":"10.0.0.5","hours":1}`), 403, "NotModerator")
	s.refused(s.call("PUT", "/operations/block_worker_ipaddr/nope", stranger, `{"days":1}`), 403, "NotModerator")

	owner := s.user(0, 0)
	s.want(s.call("POST", "/generate/pop", owner, fields{"name": "six", "models": []string{"Deliberate"}}, from("2001:db8:abcd:1234:5678::1")), http.StatusOK)
	worker := s.workerID(owner, "six")
	s.want(s.call("PUT", "/operations/block_worker_ipaddr/"+worker, mod, `{"days":2}`), http.StatusOK)
	all := s.want(s.get("/operations/ipaddr", mod), http.StatusOK)
	if len(all.list()) != 2 || all.str(1, "ipaddr") != "2001:db8:abcd:1234::/64" || all.number(1, "seconds") < 172790 || all.number(1, "seconds") > 172800 {
		t.Errorf("got %s", all.text)
	}
	s.refused(s.call("POST", "/generate/pop", owner, fields{"name": "six", "models": []string{"Deliberate"}}, from("2001:db8:abcd:1234::2")), 403, "TimeoutIP")
	s.want(s.call("DELETE", "/operations/block_worker_ipaddr/"+worker, mod, nil), http.StatusOK)
	s.want(s.call("POST", "/generate/pop", owner, fields{"name": "six", "models": []string{"Deliberate"}}, from("2001:db8:abcd:1234::2")), http.StatusOK)

	// A long block does not tell how long it is, and outlives the server; the loopback address can be blocked too.
	s.want(s.call("POST", "/operations/ipaddr", mod, `{"ipaddr":"::1","hours":720}`), http.StatusOK)
	s.away(0)
	a = s.refused(s.call("POST", "/generate/async", u, `{"prompt":"a"}`, from("::1")), 403, "TimeoutIP")
	if strings.ContainsAny(a.str("message"), "0123456789") {
		t.Errorf("got %s", a.text)
	}
	if a := s.want(s.get("/operations/ipaddr?callers=true", mod), http.StatusOK); len(a.list()) != 2 {
		t.Errorf("with callers: %s", a.text)
	}
	if a := s.want(s.call("DELETE", "/operations/ipaddr", mod, `{"ipaddr":"203.0.113.99"}`), http.StatusOK); a.at("message") != "OK" {
		t.Errorf("what is not there can be removed: %s", a.text)
	}
	s.want(s.call("DELETE", "/operations/ipaddr", mod, `{"ipaddr":"172.16.0.0/16"}`), http.StatusOK)
	s.want(s.call("POST", "/generate/async", u, `{"prompt":"a"}`, in), http.StatusAccepted)
}

func TestRefusedPromptsAreEvidence(t *testing.T) {
	t.Parallel()
	example(t, "newer", 8)
	inBubble(t, func(t *testing.T, s *server) {
		mod, u, other := s.user(0, horde.Moderator), s.user(1000, 0), s.user(1000, 0)
		s.exampleFilters(mod)
		bad := fields{"prompt": "zebracorn vermillex", "replacement_filter": false, "models": []string{"Deliberate"}}
		s.refused(s.call("POST", "/generate/async", u, bad, from("203.0.113.7")), 400, "CorruptPrompt")
		s.refused(s.call("POST", "/generate/async", other, bad, from("2001:db8::7")), 400, "CorruptPrompt")
		page := s.want(s.get("/operations/moderation/prompts", mod), http.StatusOK)
		first := page.at("events", 1)
		if len(page.list("events")) != 2 || page.at("next_cursor") != nil {
			t.Fatalf("got %s", page.text)
		}
		s.shows(answer{value: first}, fields{
			"id": 1.0, "user_id": float64(u.id), "ipaddr": "203.0.113.7", "reason": "filter_rejection", "outcome": "rejected",
			"submitted_prompt": "zebracorn vermillex", "text_state": "pending", "request_id": nil, "hold_source": nil, "anonymized": false,
		})
		if addr := page.str("events", 0, "ipaddr"); addr != "2001:db8::/64" {
			t.Errorf("got %s", addr)
		}
		for query, want := range map[string]int{
			"?user_id=" + fmt.Sprint(u.id): 1, "?user_id=-5": 0, "?event_id=2": 1, "?before_id=2": 1, "?before_id=1": 0, "?reason=worker_csam": 0,
			"?reason=worker_csam&reason=filter_rejection": 2, "?ipaddr=2001:db8::99": 1, "?ipaddr=203.0.113.8": 0, "?limit=1": 1,
			"?since=2000-01-01T00:00:00Z": 2, "?until=2000-01-01T00:00:00%2B00:00": 0, "?worker_id=x": 0, "?proxied_account=x": 0,
			"?ip_subject_key=" + page.str("events", 0, "ip_subject_key"): 1,
		} {
			if a := s.want(s.get("/operations/moderation/prompts"+query, mod), http.StatusOK); len(a.list("events")) != want {
				t.Errorf("%s: %s", query, a.text)
			}
		}
		for query, field := range map[string]string{"?limit=0": "limit", "?limit=101": "limit", "?reason=x": "reason", "?since=x": "since", "?ipaddr=x": "ipaddr", "?event_id=x": "event_id"} {
			s.invalid(s.get("/operations/moderation/prompts"+query, mod), field)
		}
		one := s.want(s.get("/operations/moderation/prompts?limit=1", mod), http.StatusOK)
		if one.number("next_cursor") != 2 {
			t.Errorf("got %s", one.text)
		}

		s.invalid(s.call("POST", "/operations/moderation/prompts/1/notes", mod, `{"note":""}`), "note")
		s.invalid(s.call("POST", "/operations/moderation/prompts/1/notes", mod, fields{"note": strings.Repeat("n", 2001)}), "note")
		s.refused(s.call("POST", "/operations/moderation/prompts/1/notes", mod, `{"note":"a\u0000"}`), 400, "NulByteInPayload")
		s.refused(s.call("POST", "/operations/moderation/prompts/99/notes", mod, `{"note":"a"}`), 404, "NotFound")
		s.refused(s.call("POST", "/operations/moderation/prompts/x/notes", mod, `{"note":"a"}`), 404, "NotFound")
		s.refused(s.call("POST", "/operations/moderation/prompts/1/notes", u, `{"note":"a"}`), 403, "NotModerator")
		note := s.want(s.call("POST", "/operations/moderation/prompts/1/notes", mod, `{"note":"seen"}`), http.StatusCreated)
		s.shows(note, fields{"id": 1.0, "author_id": float64(mod.id), "note": "seen"})
		if !strings.HasSuffix(note.str("created"), "+00:00") {
			t.Errorf("got %s", note.text)
		}

		// After its time everything is forgotten but what somebody has written on.
		s.away(31 * 24 * time.Hour)
		time.Sleep(2 * time.Minute)
		page = s.want(s.get("/operations/moderation/prompts", mod), http.StatusOK)
		s.shows(answer{value: page.at("events", 1)}, fields{"submitted_prompt": "zebracorn vermillex", "hold_source": "note", "ipaddr": "203.0.113.7"})
		s.shows(answer{value: page.at("events", 0)}, fields{"submitted_prompt": nil, "text_state": "none", "text_redacted": true, "ipaddr": nil, "user_id": float64(other.id)})
		if a := s.want(s.get("/operations/moderation/prompts?ipaddr=2001:db8::99", mod), http.StatusOK); len(a.list("events")) != 1 {
			t.Errorf("an address that was forgotten is still found by who knows it: %s", a.text)
		}
		s.want(s.call("DELETE", u.path(), mod, nil), http.StatusOK)
		s.want(s.call("DELETE", u.path(), mod, nil), http.StatusOK)
		page = s.want(s.get("/operations/moderation/prompts?event_id=1", mod), http.StatusOK)
		s.shows(answer{value: page.at("events", 0)}, fields{"submitted_prompt": nil, "user_id": nil, "ipaddr": nil, "anonymized": true})
		s.away(60 * 24 * time.Hour)
		time.Sleep(2 * time.Minute)
		if a := s.want(s.get("/operations/moderation/prompts?event_id=2", mod), http.StatusOK); len(a.list("events")) != 0 {
			t.Errorf("got %s", a.text)
		}
	})
}

func prefixesOf(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}
