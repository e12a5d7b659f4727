// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"horde/internal/api"
	"horde/internal/api/body"
	v2 "horde/internal/api/v2"
	"horde/internal/horde"
)

// The toys are operations with the shapes of real ones and no horde behind them.

type toyLora struct {
	Name  string            `json:"name" required:"true" minLength:"1" maxLength:"255"`
	Model body.Opt[float64] `json:"model" minimum:"-5" maximum:"5"`
}

type toyParams struct {
	Width  body.Opt[int] `json:"width" minimum:"64" maximum:"3072" multipleOf:"64"`
	Height body.Opt[int] `json:"height" minimum:"64" maximum:"3072" multipleOf:"64"`
	Steps  body.Opt[int] `json:"steps" minimum:"1" maximum:"500"`
	N      body.Opt[int] `json:"n" minimum:"1" maximum:"20"`
	Loras  []toyLora     `json:"loras" maxItems:"5"`
}

type toyImage struct {
	Prompt string              `json:"prompt" required:"true" minLength:"1"`
	Params body.Opt[toyParams] `json:"params"`
	Models []string            `json:"models"`
}

type imageInput struct {
	api.Key
	Body toyImage
}

type toyText struct {
	Prompt string `json:"prompt" required:"true"`
}

type textInput struct {
	api.Key
	Body toyText
}

type idInput struct {
	ID string `path:"id"`
}

type pageInput struct {
	api.OptionalKey
	Page body.Opt[int]  `query:"page" minimum:"1"`
	Sort string         `query:"sort" enum:"kudos,age"`
	Full body.Opt[bool] `query:"full"`
	Min  *float64       `query:"min"`
}

type addressInput struct {
	api.Key
	Body struct {
		IP string `json:"ipaddr" required:"true"`
	}
}

type lenientInput struct {
	Body struct {
		Kudos body.Opt[int] `json:"kudos"`
		Raid  bool          `json:"raid_mode"`
	} `body:"optional,coerce"`
}

type toyUser struct {
	ID      int                `json:"id"`
	Name    string             `json:"username"`
	Kudos   float64            `json:"kudos"`
	Trusted bool               `json:"trusted,omitempty"`
	Workers []string           `json:"worker_ids"`
	Records map[string]toyPart `json:"records"`
}

type toyPart struct {
	Done int `json:"done"`
	Ms   int `json:"ms"`
}

var invalidKey = &horde.Error{RC: "InvalidAPIKey", Status: http.StatusUnauthorized, Message: "No user matches the key <&>."}

func known(key string) error {
	if key != "known" && key != api.AnonymousKey {
		return fmt.Errorf("looking up the key: %w", invalidKey)
	}
	return nil
}

// handle registers a toy, which no document describes.
func handle[In any](r *api.Router, method, path string, limits api.Limits, h api.Handler[In, any], maxBody ...int64) {
	o := api.Operation{Method: method, Path: path, Limits: limits, ID: method + path, Summary: "A toy.", Media: "application/json"}
	for _, n := range maxBody {
		o.MaxBody = n
	}
	api.Handle(r, o, h)
}

// toyRouter returns a router with one operation of each kind.
func toyRouter(o api.Options) *api.Router {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Node = "node:7001:1.0"
	o.NotFound = map[string]string{"/api/v2/generate/sync": "Use /api/v2/generate/async"}
	r := api.NewRouter(o)

	handle(r, http.MethodPost, "/api/v2/generate/async", v2.LimitsSubmit,
		func(_ context.Context, c *api.Call[imageInput]) (int, any, error) {
			if err := known(c.In.APIKey); err != nil {
				return 0, nil, err
			}
			if c.NUL {
				return 0, nil, &horde.Error{RC: "NulByteInPayload", Status: http.StatusBadRequest, Message: "NUL"}
			}
			return http.StatusAccepted, map[string]any{"id": "5", "kudos": 8.0, "agent": c.Agent, "client": c.Client.String(), "proxied": c.Proxied}, nil
		}, api.MaxGenerationBody)
	handle(r, http.MethodPost, "/api/v2/generate/text/async", v2.LimitsSubmit,
		func(_ context.Context, c *api.Call[textInput]) (int, any, error) {
			if c.In.Body.Prompt == "" {
				return 0, nil, &horde.Error{RC: "MissingPrompt", Status: http.StatusBadRequest, Message: "You cannot specify an empty prompt."}
			}
			return http.StatusAccepted, nil, nil
		})
	notFound := func(_ context.Context, _ *api.Call[idInput]) (int, any, error) {
		return 0, nil, &horde.Error{RC: "RequestNotFound", Status: http.StatusNotFound, Message: "Request with this ID not found."}
	}
	handle(r, http.MethodGet, "/api/v2/generate/check/{id}", v2.LimitsCheck, notFound)
	handle(r, http.MethodGet, "/api/v2/generate/status/{id}", v2.LimitsImageStatus, notFound)
	handle(r, http.MethodDelete, "/api/v2/generate/status/{id}", v2.LimitsImageStatus, notFound)
	handle(r, http.MethodGet, "/api/v2/users", api.DefaultLimits,
		func(_ context.Context, c *api.Call[pageInput]) (int, any, error) {
			if c.In.Page.Or(1) > 2 {
				return http.StatusOK, []toyUser(nil), nil
			}
			return http.StatusOK, []toyUser{{ID: 1, Name: "a<b&c", Kudos: 8}, {ID: 2, Kudos: 0.5, Trusted: true, Workers: []string{"w"}}}, nil
		})
	handle(r, http.MethodGet, "/api/v2/users/{id}", v2.LimitsUser,
		func(_ context.Context, c *api.Call[idInput]) (int, any, error) {
			if len(c.In.ID) > 10 {
				return 0, nil, &horde.Error{RC: "UserNotFound", Status: http.StatusNotFound, Message: "User with ID '" + c.In.ID + "' not found."}
			}
			return http.StatusOK, toyUser{ID: 7, Name: c.In.ID, Records: map[string]toyPart{"image": {5, 6}}}, nil
		})
	handle(r, http.MethodDelete, "/api/v2/operations/ipaddr", api.DefaultLimits,
		func(_ context.Context, c *api.Call[addressInput]) (int, any, error) {
			return http.StatusOK, map[string]string{"message": c.In.Body.IP}, nil
		})
	handle(r, http.MethodPut, "/api/v2/status/modes", v2.LimitsModes,
		func(_ context.Context, c *api.Call[lenientInput]) (int, any, error) {
			return http.StatusOK, map[string]any{"kudos": c.In.Body.Kudos.Or(-1), "raid": c.In.Body.Raid}, nil
		})
	handle(r, http.MethodGet, "/api/v2/status/modes", v2.LimitsModes,
		func(context.Context, *api.Call[api.NoInput]) (int, any, error) { return http.StatusOK, struct{}{}, nil })
	handle(r, http.MethodGet, "/api/v2/status/heartbeat", nil,
		func(context.Context, *api.Call[api.NoInput]) (int, any, error) {
			return http.StatusOK, map[string]string{"message": "OK"}, nil
		})
	handle(r, http.MethodGet, "/api/v2/fault/{kind}", nil,
		func(_ context.Context, c *api.Call[struct {
			Kind string `path:"kind"`
		}]) (int, any, error) {
			switch c.In.Kind {
			case "panic":
				panic("secret detail")
			case "error":
				return 0, nil, errors.New("secret detail")
			case "encode":
				return http.StatusOK, func() {}, nil
			case "late":
				return http.StatusOK, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Length", "100")
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
					panic("secret detail")
				}), nil
			case "wait":
				return 0, nil, &horde.Error{RC: "Locked", Status: http.StatusLocked, Message: "m", RetryAfter: 1200*1e9 + 1}
			}
			return 0, nil, &horde.Error{RC: "Bare"}
		})
	handle(r, http.MethodGet, "/api/v2/long", nil,
		func(_ context.Context, c *api.Call[api.NoInput]) (int, any, error) {
			c.Header().Set("X-Of-Its-Own", "yes")
			return http.StatusOK, map[string]string{"text": strings.Repeat("a", 5000)}, nil
		})
	return r
}

type answer struct {
	*http.Response
	text string
}

// errorKeys returns the sorted keys of the validation errors.
func (a answer) errorKeys(t testing.TB) []string {
	var doc struct {
		Errors map[string]string `json:"errors"`
	}
	a.decode(t, &doc)
	return slices.Sorted(maps.Keys(doc.Errors))
}

func (a answer) rc(t testing.TB) string {
	var doc struct {
		RC string `json:"rc"`
	}
	a.decode(t, &doc)
	return doc.RC
}

func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.text), v); err != nil {
		t.Fatalf("%d %q: %v", a.StatusCode, a.text, err)
	}
}

// call sends a request with the headers given as "name: value" lines. A body is sent as JSON unless they say otherwise.
func call(t testing.TB, h http.Handler, method, target, content string, headers ...string) answer {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(content))
	if content != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
		if name == "Remote" {
			req.RemoteAddr = value
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return answer{rec.Result(), rec.Body.String()}
}
