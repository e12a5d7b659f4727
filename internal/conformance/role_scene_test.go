// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"horde/internal/horde"
)

// scene is where one cell of the role matrix is tried: the objects that the row names, and who owns them.
type scene struct {
	*server
	owner account
	made  map[string]string // by kind
	addr  string            // where the owner's workers are
}

// thing is a kind of object that rows name in <>.
type thing struct {
	// roles are what the owner needs to have such an object.
	roles horde.Roles
	// nobodys is for texts that are no object of anybody.
	nobodys bool
	// by is the operation that makes it, where that is another part of the API than what the object is tried with.
	by   string
	make func(*scene) string
	// look is the path that shows the object to a moderator; empty for none.
	look func(sc *scene) string
}

// The models that the workers of scenes offer when they are to get no work.
const idleModel = "RPG"

var things map[string]thing

func init() { // a literal of things would refer to itself
	things = map[string]thing{
		"new name": {nobodys: true, make: func(sc *scene) string { return fresh("something new") }},
		"picture":  {nobodys: true, make: func(sc *scene) string { return small }},

		// An account of which there is everything to see.
		"user": {roles: horde.Service, make: func(sc *scene) string {
			mod := sc.user(0, horde.Moderator)
			sc.want(sc.call("PUT", sc.owner.path(), sc.owner, fields{"contact": "owner@example.org", "generate_proxy_passkey": true}), http.StatusOK)
			sc.want(sc.call("PUT", sc.owner.path(), mod, fields{"admin_comment": "somebody we know"}), http.StatusOK)
			sc.object("worker")
			sc.object("image request")
			return sc.owner.id.String()
		}},
		"alias":     {make: func(sc *scene) string { return sc.owner.alias() }},
		"moderator": {roles: horde.Moderator, make: func(sc *scene) string { return sc.owner.id.String() }},

		"shared key": {by: "PUT:/sharedkeys", make: func(sc *scene) string {
			return sc.want(sc.call("PUT", "/sharedkeys", sc.owner, fields{"kudos": 5000, "name": fresh("key")}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/sharedkeys/" + sc.object("shared key") }},

		"image request": {make: func(sc *scene) string {
			return sc.image(sc.owner, fields{"prompt": "x", "models": []string{"Deliberate"}})
		}, look: func(sc *scene) string { return "/generate/check/" + sc.object("image request") }},
		"text request": {make: func(sc *scene) string {
			return sc.text(sc.owner, fields{"prompt": "x", "models": []string{"test/7B"}})
		}, look: func(sc *scene) string { return "/generate/text/status/" + sc.object("text request") }},
		"cancelled request": {make: func(sc *scene) string {
			id := sc.image(sc.owner, fields{"prompt": "x", "models": []string{"Deliberate"}})
			sc.want(sc.call("DELETE", "/generate/status/"+id, account{}, nil), http.StatusOK)
			return id
		}},
		"alchemy request": {make: func(sc *scene) string { return sc.alchemy(sc.owner, nil, "caption") }, look: func(sc *scene) string {
			return "/interrogate/status/" + sc.object("alchemy request")
		}},

		"worker": {make: func(sc *scene) string {
			return sc.server.get("/workers/name/"+url.PathEscape(sc.object("worker name")), account{}).str("id")
		}, look: func(sc *scene) string { return "/workers/" + sc.object("worker") }},
		"worker name": {make: func(sc *scene) string {
			name := fresh("idle worker")
			sc.want(sc.call("PUT", sc.owner.path(), sc.owner, fields{"contact": "owner@example.org"}), http.StatusOK)
			sc.noJob(sc.tryPopImageFrom(name, idleModel))
			return name
		}},
		"image worker name": {make: func(sc *scene) string {
			name := fresh("image worker")
			sc.noJob(sc.tryPopImageFrom(name, idleModel))
			return name
		}},
		"text worker name": {make: func(sc *scene) string {
			name := fresh("text worker")
			sc.popText(sc.owner, name, fields{"models": []string{"idle/13B"}})
			return name
		}},
		"alchemist name": {make: func(sc *scene) string {
			name := fresh("alchemist")
			sc.popForms(sc.owner, name, fields{"forms": []string{"palette"}})
			return name
		}},

		// What a worker of the owner has in hand, for somebody else.
		"image job": {make: func(sc *scene) string {
			sc.image(sc.user(1000, 0), fields{"prompt": "x", "models": []string{"Deliberate"}})
			return sc.job(sc.want(sc.tryPopImageFrom(fresh("busy painter"), "Deliberate"), http.StatusOK))
		}},
		"text job": {make: func(sc *scene) string {
			sc.text(sc.user(1000, 0), fields{"prompt": "x", "models": []string{"test/7B"}})
			return sc.job(sc.popText(sc.owner, fresh("busy writer"), nil))
		}},
		"form": {make: func(sc *scene) string {
			sc.alchemy(sc.user(1000, 0), nil, "caption")
			return sc.form(sc.popForms(sc.owner, fresh("busy alchemist"), fields{"forms": []string{"caption"}}))
		}},

		"message": {make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/workers/messages", sc.owner, fields{"worker_id": sc.object("worker"), "message": "hello", "expiry": 1}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/workers/messages/" + sc.object("message") }},

		"team": {roles: horde.Trusted, make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/teams", sc.owner, fields{"name": fresh("team")}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/teams/" + sc.object("team") }},

		"image style": {roles: horde.Customizer, make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/styles/image", sc.owner, fields{
				"name": sc.named("image style"), "prompt": "{p}{np}", "models": []string{"Deliberate"},
			}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/styles/image/" + sc.object("image style") }},
		"image style name": {roles: horde.Customizer, make: func(sc *scene) string {
			sc.object("image style")
			return sc.named("image style")
		}},
		"text style": {roles: horde.Customizer, make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/styles/text", sc.owner, fields{
				"name": sc.named("text style"), "prompt": "{p}", "models": []string{"test/7B"},
			}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/styles/text/" + sc.object("text style") }},
		"text style name": {roles: horde.Customizer, make: func(sc *scene) string {
			sc.object("text style")
			return sc.named("text style")
		}},
		"example": {roles: horde.Customizer, make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/styles/image/"+sc.object("image style")+"/example", sc.owner, fields{
				"url": "https://example.org/first.webp", "primary": true,
			}), http.StatusOK).str("id")
		}},
		"collection": {roles: horde.Customizer, make: func(sc *scene) string {
			return sc.want(sc.call("POST", "/collections", sc.owner, fields{
				"name": sc.named("collection"), "styles": []string{sc.object("image style")},
			}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/collections/" + sc.object("collection") }},
		"collection name": {roles: horde.Customizer, make: func(sc *scene) string {
			sc.object("collection")
			return sc.named("collection")
		}},

		"filter": {nobodys: true, make: func(sc *scene) string {
			return sc.want(sc.call("PUT", "/filters", sc.user(0, horde.Moderator), fields{
				"regex": strings.ReplaceAll(fresh("quixotle"), " ", ""), "filter_type": 11, "description": "a word",
			}), http.StatusOK).str("id")
		}, look: func(sc *scene) string { return "/filters/" + sc.object("filter") }},
	}
}

// thingOf is a kind of object. One that starts with a colon is the text behind it.
func thingOf(kind string) thing {
	if literal, ok := strings.CutPrefix(kind, ":"); ok {
		return thing{nobodys: true, make: func(*scene) string { return literal }}
	}
	return things[kind]
}

// scene makes the owner of objects of some kinds.
func (s *server) scene(kinds []string) *scene {
	var roles horde.Roles
	for _, kind := range kinds {
		roles |= thingOf(kind).roles
	}
	names.Lock()
	names.n++
	addr := fmt.Sprintf("198.51.%d.%d", names.n/250%250, names.n%250+1)
	names.Unlock()
	return &scene{server: s, owner: s.user(1000, roles), made: map[string]string{}, addr: addr}
}

// object makes an object, or finds the one of before.
func (sc *scene) object(kind string) string {
	if sc.made[kind] == "" {
		v := thingOf(kind).make(sc)
		sc.made[kind] = v
	}
	return sc.made[kind]
}

// named is the name of an object of a kind, which it gets before it is made.
func (sc *scene) named(kind string) string {
	if sc.made[kind+" name"] == "" {
		sc.made[kind+" name"] = fresh(kind)
	}
	return sc.made[kind+" name"]
}

// tryPopImageFrom polls as a worker of the owner at the owner's address.
func (sc *scene) tryPopImageFrom(name, model string) answer {
	return sc.call("POST", "/generate/pop", sc.owner, fields{
		"name": name, "models": []string{model}, "bridge_agent": reGen, "max_pixels": 4 << 20,
	}, header{"X-Forwarded-For", sc.addr})
}

// fill puts the objects into a path or a body.
func (sc *scene) fill(text string, path bool) string {
	return inAngles.ReplaceAllStringFunc(text, func(m string) string {
		v := sc.object(strings.Trim(m, "<>"))
		if path {
			return url.PathEscape(v)
		}
		return v
	})
}

// look describes all objects and the owner, as a moderator sees them.
func (sc *scene) look(as account) string {
	var b strings.Builder
	show := func(path string) {
		a := sc.call("GET", path, as, nil)
		if m, ok := a.value.(map[string]any); ok {
			delete(m, "account_age")
		}
		fmt.Fprintln(&b, path, a.status, a.value)
	}
	show(sc.owner.path())
	fmt.Fprintln(&b, sc.balance(sc.owner))
	for _, kind := range slices.Sorted(maps.Keys(sc.made)) {
		if path := thingOf(kind).look; path != nil {
			show(path(sc))
		}
	}
	return b.String()
}
