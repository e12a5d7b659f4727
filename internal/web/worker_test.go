// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gen2brain/webp"

	"horde/internal/horde"
	"horde/internal/node/nodetest"
)

// story is what the worker writes.
const story = " the lamp went out,\nand <b>something</b> answered from the fog."

// worker works for a node through its API, one job after the other.
type worker struct {
	s           *nodetest.Server
	key         string
	image, text string // model names; empty does none of the kind
}

// online makes a worker that has been seen, and takes no job before it is told to.
func online(t *testing.T, s *nodetest.Server, image, text string) *worker {
	t.Helper()
	_, key := s.User("owner", 0, horde.Trusted|horde.Customizer)
	w := &worker{s: s, key: key, image: image, text: text}
	for _, kind := range []struct{ model, path string }{{image, "/generate/pop"}, {text, "/generate/text/pop"}} {
		if kind.model == "" {
			continue
		}
		if a := w.pop(kind.path, kind.model); a.Status != http.StatusOK || a.Body["id"] != nil {
			t.Fatalf("pop: %d %s", a.Status, a.Text)
		}
	}
	return w
}

// work takes jobs until the test ends.
func (w *worker) work(t *testing.T) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := w.once(); err != nil {
				t.Errorf("worker: %v", err)
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); done.Wait() })
}

func (w *worker) pop(path, model string) nodetest.Answer {
	name := "Lamp of " + model
	return w.s.Call("POST", path, w.key, map[string]any{
		"name": name, "models": []string{model}, "max_pixels": 1024 * 1024, "max_length": 512, "max_context_length": 8192,
		"bridge_agent": "AI Horde Worker reGen:13.0.0:https://example.org", "nsfw": true,
	})
}

func (w *worker) once() error {
	if w.image != "" {
		a := w.pop("/generate/pop", w.image)
		if a.Status != http.StatusOK {
			return fmt.Errorf("pop: %d %s", a.Status, a.Text)
		}
		if a.Body["id"] != nil {
			if err := w.paint(a.Body); err != nil {
				return err
			}
		}
	}
	if w.text != "" {
		a := w.pop("/generate/text/pop", w.text)
		if a.Status != http.StatusOK {
			return fmt.Errorf("pop: %d %s", a.Status, a.Text)
		}
		if a.Body["id"] != nil {
			d := w.s.Call("POST", "/generate/text/submit", w.key, map[string]any{"id": a.Body["id"], "generation": story, "seed": 1})
			if d.Status != http.StatusOK {
				return fmt.Errorf("submit: %d %s", d.Status, d.Text)
			}
		}
	}
	return nil
}

// paint makes a picture of the size asked for and hands it in.
func (w *worker) paint(job map[string]any) error {
	payload := job["payload"].(map[string]any)
	width, height := int(payload["width"].(float64)), int(payload["height"].(float64))
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			picture.Set(x, y, color.RGBA{uint8(40 + y*120/height), uint8(30 + y*60/height), uint8(80 - y*40/height), 255})
		}
	}
	var file bytes.Buffer
	if err := webp.Encode(&file, picture, webp.Options{Quality: 50, Method: 0}); err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPut, job["r2_upload"].(string), &file)
	if err != nil {
		return err
	}
	if a := w.s.Do(req); a.Status != http.StatusOK {
		return fmt.Errorf("upload: %d %s", a.Status, a.Text)
	}
	seed, _ := strconv.Atoi(payload["seed"].(string))
	if d := w.s.Call("POST", "/generate/submit", w.key, map[string]any{"id": job["id"], "generation": "R2", "seed": seed}); d.Status != http.StatusOK {
		return fmt.Errorf("submit: %d %s", d.Status, d.Text)
	}
	return nil
}
