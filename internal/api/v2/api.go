// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

// API serves the operations. A handler decodes, calls the engine and encodes: it holds no rule of the domain.
type API struct {
	engine  *engine.Engine
	streams streams
}

// Register adds all operations that need an engine to a router. See [RegisterHeartbeat] and [RegisterBulletins] for the others.
func Register(r *api.Router, e *engine.Engine) {
	a := &API{engine: e}
	r.Name(models...)
	a.imageRequests(r)
	a.textRequests(r)
	a.recorded(r)
	a.eventStreams(r)
	a.ratings(r)
	a.imageWorkers(r)
	a.textWorkers(r)
	a.alchemy(r)
	a.users(r)
	a.workers(r)
	a.teams(r)
	a.messages(r)
	a.sharedKeys(r)
	a.styles(r)
	a.collections(r)
	a.kudos(r)
	a.status(r)
	a.stats(r)
	a.constraints(r)
	a.filters(r)
	a.operations(r)
	a.moderation(r)
	a.styleContract(r)
}

const prefix = "/api/v2"

// Gone are messages for paths that programs of earlier years still call.
var Gone = map[string]string{
	prefix + "/generate/sync":   "Synchronous generation is gone. Send your request to " + prefix + "/generate/async and look for the result with the id that it answers.",
	"/api/v1/generate/sync":     "This interface is gone. Send your request to " + prefix + "/generate/async and look for the result with the id that it answers.",
	"/api/v1/generate/async":    "This interface is gone. Send your request to " + prefix + "/generate/async.",
	"/api/latest/generate/sync": "This interface is gone. Send your request to " + prefix + "/generate/async and look for the result with the id that it answers.",
}

func submitter(key string, c api.Caller) engine.Caller {
	return engine.Caller{Key: key, Addr: c.Client, Peer: c.Addr, Proxied: c.Proxied, Agent: c.Agent}
}

// missing refuses a body without a field that is asked for after the rest was validated.
func missing(field string) error {
	return horde.Invalid(map[string]string{field: "Missing required parameter in the JSON body"})
}
