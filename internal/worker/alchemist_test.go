// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"horde/client"
	"horde/internal/horde"
	"horde/internal/node/nodetest"
)

func half() []byte {
	m := image.NewNRGBA(image.Rect(0, 0, 64, 32))
	for y := range 32 {
		for x := range 64 {
			m.SetNRGBA(x, y, color.NRGBA{255, uint8(x / 32 * 255), 0, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// TestAlchemistWorksForAHorde runs the worker against a real node: two forms of an image that the node keeps, and one of an
// image that is no more when the worker wants it.
func TestAlchemistWorksForAHorde(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	_, owner := s.User("owner", 1000, horde.Trusted)
	_, key := s.User("asker", 1000, 0)
	asker, err := client.New(s.URL, key)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked > 1 {
			http.NotFound(w, r)
			return
		}
		w.Write(half())
	}))
	t.Cleanup(images.Close)
	id, err := asker.SubmitAlchemy(t.Context(), client.AlchemyRequest{
		SourceImage: base64.StdEncoding.EncodeToString(half()), Forms: []client.Form{{Name: "describe"}, {Name: "palette"}, {Name: "caption"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := asker.SubmitAlchemy(t.Context(), client.AlchemyRequest{SourceImage: images.URL, Forms: []client.Form{{Name: "palette"}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.HordeURL, cfg.APIKey, cfg.AlchemistName, cfg.StatsOutputFrequency = s.URL, owner, "my alchemist", 0
	cfg.SourcePrefixes = []string{"127.0.0.0/8"}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, UI{}, Backends{}, "alchemist") }()
	var got client.AlchemyStatus
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got, err = asker.AlchemyStatus(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if got.Forms[0].State == "done" && got.Forms[1].State == "done" {
			break
		}
	}
	description, _ := got.Forms[0].Result["describe"].(map[string]any)
	if description["width"] != json.Number("64") || description["height"] != json.Number("32") || description["format"] != "WEBP" {
		t.Errorf("described as %v", got.Forms[0].Result)
	}
	palette, _ := got.Forms[1].Result["palette"].(map[string]any)
	if colors, _ := palette["colors"].([]any); len(colors) < 2 || !strings.HasPrefix(fmt.Sprint(colors[0].(map[string]any)["hex"]), "#") {
		t.Errorf("the palette is %v", got.Forms[1].Result)
	}
	if got.Forms[2].State != "waiting" {
		t.Errorf("a form that the worker does not offer is %s", got.Forms[2].State)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the worker does not end")
	}
	if got, err := asker.AlchemyStatus(t.Context(), gone); err != nil || got.State == "done" || got.State == "processing" {
		t.Errorf("the form whose image is gone is %s, %v", got.State, err)
	}
	a := s.Call("GET", "/workers/name/my%20alchemist", "", nil)
	if a.Body["requests_fulfilled"] != 2.0 || !strings.HasPrefix(a.Body["bridge_agent"].(string), "horde Alchemist:") {
		t.Errorf("the worker's record is %s", a.Text)
	}
}

func TestAlchemistOffersWhatItCanMake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		forms []string
		want  string
	}{
		{[]string{"caption", "nsfw", "interrogation", "post-process"}, ""},
		{[]string{"Palette", "caption", "describe", "palette"}, "palette describe"},
	} {
		cfg := testConfig(t)
		cfg.AlchemistName, cfg.Forms, cfg.HordeURL = "my alchemist", c.forms, "http://127.0.0.1:1"
		ui := UI{}
		p, err := newProcess(t.Context(), cfg, &ui)
		if err != nil {
			t.Fatal(err)
		}
		l, err := p.makeAlchemist(t.Context())
		p.close()
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "palette and describe") {
				t.Errorf("%q: %v", c.forms, err)
			}
			continue
		}
		if err != nil || strings.Join(l.kind.(*alchemist).forms, " ") != c.want {
			t.Errorf("%q: %v, %v", c.forms, l, err)
		}
	}
}
