// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"horde/internal/api"
	"horde/internal/api/body"
	v2 "horde/internal/api/v2"
	"horde/internal/limit"
)

type benchPop struct {
	api.Key
	Body struct {
		Name        string           `json:"name" required:"true"`
		Models      []string         `json:"models" minLength:"3" maxLength:"255"`
		MaxPixels   body.Opt[int64]  `json:"max_pixels"`
		Threads     body.Opt[int32]  `json:"threads" minimum:"1" maximum:"50"`
		Amount      body.Opt[int32]  `json:"amount" minimum:"1" maximum:"20"`
		BridgeAgent body.Opt[string] `json:"bridge_agent" maxLength:"1000"`
		NSFW        body.Opt[bool]   `json:"nsfw"`
		Img2Img     body.Opt[bool]   `json:"allow_img2img"`
		Lora        body.Opt[bool]   `json:"allow_lora"`
		Blacklist   []string         `json:"blacklist"`
		Priority    []string         `json:"priority_usernames"`
	}
}

type benchNoJob struct {
	Payload  struct{}       `json:"payload"`
	ID       *string        `json:"id"`
	IDs      []string       `json:"ids"`
	Skipped  map[string]int `json:"skipped"`
	Messages []string       `json:"messages"`
}

const popBody = `{"name":"worker one","models":["Deliberate","stable_diffusion","AlbedoBase XL (SDXL)"],"max_pixels":1048576,"threads":2,"amount":4,` +
	`"bridge_agent":"AI Horde Worker reGen:10.1.0:https://github.com/Haidra-Org/horde-worker-reGen","nsfw":true,"allow_img2img":true,"allow_lora":true,"blacklist":[],"priority_usernames":["a#1"]}`

func popRouter() http.Handler {
	r := api.NewRouter(api.Options{
		Node: "node:7001:1.0", Log: slog.New(slog.DiscardHandler), Limiter: limit.New(0), Relaxed: new(limit.Relaxed),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	limits := api.Limits{v2.LimitsWorker[0]}
	limits[0].Amount = 1 << 30
	handle(r, http.MethodPost, "/api/v2/generate/pop", limits, func(_ context.Context, _ *api.Call[benchPop]) (int, any, error) {
		return http.StatusOK, benchNoJob{Skipped: map[string]int{"models": 3, "max_pixels": 1}}, nil
	})
	return r
}

func popHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("apikey", "0123456789012345678901")
	h.Set("Client-Agent", "reGen:10:x")
	h.Set("Accept-Encoding", "gzip, deflate")
}

// BenchmarkEmptyPop is what the floor costs for a pop that finds nothing, without the network.
func BenchmarkEmptyPop(b *testing.B) {
	h := popRouter()
	template := httptest.NewRequest(http.MethodPost, "/api/v2/generate/pop", nil)
	popHeaders(template.Header)
	template.ContentLength = int64(len(popBody))
	b.ReportAllocs()
	for b.Loop() {
		req := *template
		req.Body = io.NopCloser(strings.NewReader(popBody))
		w := discard{header: http.Header{}}
		h.ServeHTTP(&w, &req)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkEmptyPopOverTCP is the same with the network and Go's client, both on this machine.
func BenchmarkEmptyPopOverTCP(b *testing.B) {
	server := httptest.NewServer(popRouter())
	defer server.Close()
	client := server.Client()
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequest(http.MethodPost, server.URL+"/api/v2/generate/pop", strings.NewReader(popBody))
		if err != nil {
			b.Fatal(err)
		}
		popHeaders(req.Header)
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatal(resp.StatusCode)
		}
	}
}
