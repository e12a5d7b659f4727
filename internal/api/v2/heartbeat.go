// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
)

// Vitals are facts of one node for its heartbeat, which load balancers ask for: nothing of them is shared with other nodes,
// whose state would take all out together.
type Vitals struct {
	// Queue counts the calls that wait longer than they should, and Active those that are being handled.
	Queue, Active int64
	// Threads is how many calls can be worked on at the same time.
	Threads int
	// Database tells that the database answers, and Serving that there is nothing else in the way.
	Database, Serving bool
}

// RegisterHeartbeat adds the heartbeat to a router. It needs no engine, so every node of several has its own.
func RegisterHeartbeat(r *api.Router, version string, vitals func(context.Context) Vitals) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/heartbeat", ID: "get_heartbeat", Summary: "Whether this server is well.",
		Description: "It answers 200 in any case. message is OK, DOWN while nothing can be served, or OVERLOADED while calls wait.",
		Published:   api.Published{NoMask: true, NoAnswer: true},
	}, func(ctx context.Context, _ *api.Call[api.NoInput]) (int, *heartbeat, error) {
		return http.StatusOK, heartbeatOf(version, vitals(ctx)), nil
	})
}

type heartbeat struct {
	Message      string `json:"message"`
	Version      string `json:"version"`
	Queue        int64  `json:"queue"`
	Threads      int    `json:"threads"`
	ActiveCount  int64  `json:"active_count"`
	DBConnection bool   `json:"db_connection"`
}

func heartbeatOf(version string, v Vitals) *heartbeat {
	h := &heartbeat{
		Message: "OK", Version: version, Queue: v.Queue, Threads: v.Threads, ActiveCount: max(0, v.Active-1), DBConnection: v.Database,
	}
	switch {
	case v.Queue > 0:
		h.Message = "OVERLOADED"
	case !v.Database || !v.Serving:
		h.Message = "DOWN"
	}
	return h
}
