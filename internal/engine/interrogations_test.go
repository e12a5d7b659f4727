// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"

	"horde/internal/horde"
	"horde/internal/store/memory"
)

// TestEachFormIsAnnouncedOnce lets a client with a webhook have three forms: one is delivered, one given back, one cancelled.
func TestEachFormIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	var notices []Notice
	e, err := Open(t.Context(), Config{
		Store: memory.New(), Reference: noModels, Pictures: tiled{}, Blobs: noBlobs{}, Notify: func(n Notice) { notices = append(notices, n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, key, err := e.Register(t.Context(), NewUser{Name: "owner", OAuthID: "g_1", Roles: horde.Trusted})
	if err != nil {
		t.Fatal(err)
	}
	name, image, hook, addr := "caption", "https://example.org/a.png", "https://example.org/hook", netip.MustParseAddr("192.0.2.1")
	id, err := e.SubmitAlchemy(t.Context(), Caller{Key: key, Addr: addr}, &horde.AlchemySubmission{
		SourceImage: &image, Webhook: &hook, Forms: []horde.FormSubmission{{Name: &name}, {Name: &name}, {Name: &name}},
	})
	if err != nil {
		t.Fatal(err)
	}
	three, worker := 3, "one"
	popped, err := e.PopAlchemy(t.Context(), key, addr, &horde.AlchemyPop{Name: &worker, Forms: []string{name}, Amount: &three})
	if err != nil || len(popped.Forms) != 3 {
		t.Fatalf("%d forms, %v", len(popped.Forms), err)
	}
	for i, state := range []string{"ok", "ok", "faulted"} { // the first twice
		form := popped.Forms[i/2].ID.String()
		_, _ = e.DeliverAlchemy(context.Background(), key, &horde.AlchemyDelivery{ID: &form, Result: json.RawMessage(`{"caption":"x","y":null}`), State: &state})
	}
	if _, err := e.CancelAlchemy(t.Context(), id.String()); err != nil {
		t.Fatal(err)
	}
	if len(notices) != 1 {
		t.Fatalf("%d notices", len(notices))
	}
	n := notices[0]
	if n.URL != hook || n.Kind != horde.Alchemy || n.Request != id || n.Kudos != 1 || n.Form.ID != popped.Forms[0].ID ||
		n.Form.State != horde.FormDone || string(n.Form.Result) != `{"caption":"x","y":null}` || n.Form.WorkerName != worker {
		t.Errorf("the notice is %+v", n)
	}
}

// TestFormsThatDoNotReachTheirWorkerWaitAgain lets a worker hang up before it has its form.
func TestFormsThatDoNotReachTheirWorkerWaitAgain(t *testing.T) {
	t.Parallel()
	e, err := Open(t.Context(), Config{Store: memory.New(), Reference: noModels, Pictures: tiled{}, Blobs: noBlobs{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, key, err := e.Register(t.Context(), NewUser{Name: "owner", OAuthID: "g_1", Roles: horde.Trusted})
	if err != nil {
		t.Fatal(err)
	}
	name, image, worker, addr := "caption", "https://example.org/a.png", "one", netip.MustParseAddr("192.0.2.1")
	id, err := e.SubmitAlchemy(t.Context(), Caller{Key: key, Addr: addr}, &horde.AlchemySubmission{SourceImage: &image, Forms: []horde.FormSubmission{{Name: &name}}})
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	for range horde.MaxFormAborts + 2 { // it counts for nothing
		if p, err := e.PopAlchemy(gone, key, addr, &horde.AlchemyPop{Name: &worker, Forms: []string{name}}); err == nil {
			t.Fatalf("a worker that is gone got %d forms", len(p.Forms))
		}
	}
	if v, err := e.Interrogation(t.Context(), id.String()); err != nil || v.State != horde.FormWaiting {
		t.Errorf("the request is %s, %v", v.State, err)
	}
	if p, err := e.PopAlchemy(t.Context(), key, addr, &horde.AlchemyPop{Name: &worker, Forms: []string{name}}); err != nil || len(p.Forms) != 1 {
		t.Errorf("another pop got %d forms, %v", len(p.Forms), err)
	}
}
