// SPDX-License-Identifier: AGPL-3.0-or-later

package assetstest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"horde/internal/hordeling"
	"horde/internal/hordeling/archive"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/hordelingtest"
)

// Hordeling runs a real hordeling on loopback over a stand-in CivitAI and returns its address.
func Hordeling(t *testing.T, site *hordelingtest.CivitAI) string {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c, err := civitai.New(civitai.Config{BaseURL: site.URL, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := archive.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(context.Background(), bucket, archive.Config{Budget: 1 << 30, Local: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	service := hordeling.New(hordeling.Config{CivitAI: c, Archive: a, Log: log})
	server := httptest.NewServer(service.Handler())
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		service.Close(ctx)
		bucket.Close()
		c.Close()
	})
	return server.URL
}
