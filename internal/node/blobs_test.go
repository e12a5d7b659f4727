// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"horde/internal/bucket/buckettest"
	"horde/internal/horde"
	"horde/internal/node"
	"horde/internal/node/nodetest"
)

// startOnS3 starts a node that keeps its images in a real S3 server.
func startOnS3(t *testing.T) (*nodetest.Server, *buckettest.Server) {
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.Secret)
	server := buckettest.Start(t, "images")
	return nodetest.Start(t, func(c *node.Config) { c.Blobs = "s3://images/horde?endpoint=" + server.Endpoint }), server
}

func smallPNG(t *testing.T) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		m.Set(i%64, i/64, color.RGBA{uint8(4 * (i % 64)), uint8(4 * (i / 64)), 128, 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func isWebP(text string) bool {
	return strings.HasPrefix(text, "RIFF") && len(text) > 12 && text[8:12] == "WEBP"
}

func fetched(s *nodetest.Server, method, url, body string) nodetest.Answer {
	req, _ := http.NewRequest(method, url, strings.NewReader(body))
	return s.Do(req)
}

// imageJob submits a request and pops it with a worker of the given agent.
func imageJob(t *testing.T, s *nodetest.Server, requester, owner, agent string, order map[string]any) (id string, job map[string]any) {
	t.Helper()
	order["models"] = []string{"Deliberate"}
	a := s.Call("POST", "/generate/async", requester, order)
	if a.Status != http.StatusAccepted {
		t.Fatalf("submit: %d %s", a.Status, a.Text)
	}
	j := s.Call("POST", "/generate/pop", owner, popOf(owner, agent))
	if j.Status != http.StatusOK || j.Body["id"] == nil {
		t.Fatalf("pop: %d %s", j.Status, j.Text)
	}
	return a.Body["id"].(string), j.Body
}

func popOf(owner, agent string) map[string]any {
	return map[string]any{"name": strings.SplitN(agent, ":", 2)[0] + owner[:8], "models": []string{"Deliberate"}, "bridge_agent": agent, "amount": 4,
		"max_pixels": 1048576, "allow_img2img": true}
}

// oldAgent cannot follow links to source images.
const oldAgent = "AI Horde Worker:11:https://example.org"

func TestAnImageRequestOverS3(t *testing.T) {
	s, server := startOnS3(t)
	_, requester := s.User("requester", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)

	id, job := imageJob(t, s, requester, owner, reGen, map[string]any{
		"prompt": "a cat", "r2": true, "source_image": smallPNG(t), "params": map[string]any{"n": 2, "width": 64, "height": 64, "denoising_strength": 0.5},
	})
	src := job["source_image"].(string)
	if !strings.HasPrefix(src, server.Endpoint) || !strings.Contains(src, "_src.webp?") {
		t.Errorf("the source image is at %s", src)
	}
	if a := fetched(s, "GET", src, ""); a.Status != http.StatusOK || !isWebP(a.Text) {
		t.Errorf("source image: %d, %d bytes", a.Status, len(a.Text))
	}
	uploads, ids := job["r2_uploads"].([]any), job["ids"].([]any)
	for i, up := range uploads {
		if !strings.HasPrefix(up.(string), server.Endpoint) || !strings.Contains(up.(string), ids[i].(string)+".webp?") {
			t.Errorf("upload %d goes to %s", i, up)
		}
		if a := fetched(s, "PUT", up.(string), fmt.Sprint("image ", i)); a.Status != http.StatusOK {
			t.Fatalf("upload: %d %s", a.Status, a.Text)
		}
		a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": ids[i], "generation": "R2", "seed": 5})
		if a.Status != http.StatusOK {
			t.Fatalf("deliver: %d %s", a.Status, a.Text)
		}
		if a := fetched(s, "PUT", up.(string), "exchanged"); a.Status != http.StatusOK {
			t.Errorf("late upload: %d", a.Status)
		}
		if a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": ids[i], "generation": "R2", "seed": 5}); a.RC() != "DuplicateGen" {
			t.Errorf("delivering again: %d %s", a.Status, a.Text)
		}
	}
	a := s.Call("GET", "/generate/status/"+id, "", nil)
	got := map[string]bool{}
	for _, g := range a.Body["generations"].([]any) {
		url := g.(map[string]any)["img"].(string)
		if !strings.HasPrefix(url, server.Endpoint) {
			t.Errorf("the image is at %s", url)
		}
		down := fetched(s, "GET", url, "")
		if down.Header.Get("Content-Type") != "image/webp" {
			t.Errorf("Content-Type %q", down.Header.Get("Content-Type"))
		}
		got[down.Text] = true
	}
	if !got["image 0"] || !got["image 1"] || len(got) != 2 {
		t.Errorf("downloaded %v", got)
	}
	if files, _ := os.ReadDir(filepath.Join(s.Data, "images")); len(files) != 0 {
		t.Errorf("the local disk has %d entries for images", len(files))
	}
	// The server itself serves none.
	if a := fetched(s, "GET", s.URL+"/blobs/https/results/"+ids[0].(string)+".webp", ""); a.Status != http.StatusNotFound {
		t.Errorf("GET of the server: %d", a.Status)
	}
}

// Workers and clients that know no links send and get base64.
func TestBase64OverS3(t *testing.T) {
	s, _ := startOnS3(t)
	_, requester := s.User("requester", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)
	id, job := imageJob(t, s, requester, owner, oldAgent, map[string]any{
		"prompt": "a cat", "r2": false, "source_image": smallPNG(t), "params": map[string]any{"width": 64, "height": 64, "denoising_strength": 0.5},
	})
	src, err := base64.StdEncoding.DecodeString(job["source_image"].(string))
	if err != nil || !isWebP(string(src)) {
		t.Errorf("source image: %v, %d bytes", err, len(src))
	}
	a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": job["id"], "generation": smallPNG(t), "seed": 5})
	if a.Status != http.StatusOK {
		t.Fatalf("deliver: %d %s", a.Status, a.Text)
	}
	a = s.Call("GET", "/generate/status/"+id, "", nil)
	img, err := base64.StdEncoding.DecodeString(a.Body["generations"].([]any)[0].(map[string]any)["img"].(string))
	if err != nil || !isWebP(string(img)) {
		t.Errorf("image: %v, %d bytes: %s", err, len(img), a.Text)
	}
}

// A worker that uploads nothing, or something enormous, is told so, and the request gets another try.
func TestSpoiledUploadsOverS3(t *testing.T) {
	s, _ := startOnS3(t)
	_, requester := s.User("requester", 1000, 0)
	for i, body := range []string{"", strings.Repeat("x", 32<<20+1)} {
		_, owner := s.User(fmt.Sprint("owner", i), 0, horde.Trusted)
		id, job := imageJob(t, s, requester, owner, reGen, map[string]any{"prompt": "a cat"})
		if body != "" {
			if a := fetched(s, "PUT", job["r2_upload"].(string), body); a.Status != http.StatusOK {
				t.Fatalf("upload: %d %s", a.Status, a.Text)
			}
		}
		a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": job["id"], "generation": "R2", "seed": 5})
		if a.Status != horde.ErrCorruptResult.Status || a.RC() != horde.ErrCorruptResult.RC {
			t.Errorf("deliver %d bytes: %d %s", len(body), a.Status, a.Text)
		}
		if a := s.Call("GET", "/generate/check/"+id, "", nil); a.Body["waiting"] != 1.0 || a.Body["restarted"] != 1.0 {
			t.Errorf("check: %s", a.Text)
		}
		s.Call("DELETE", "/generate/status/"+id, requester, nil)
	}
}

// While S3 is away, who needs it is told to come back, others are served, and afterwards everything is there.
func TestS3AwayForAWhile(t *testing.T) {
	s, server := startOnS3(t)
	_, requester := s.User("requester", 1000, 0)
	_, owner := s.User("owner", 0, horde.Trusted)

	kept, job := imageJob(t, s, requester, owner, reGen, map[string]any{"prompt": "kept", "r2": false})
	fetched(s, "PUT", job["r2_upload"].(string), "kept image")
	if a := s.Call("POST", "/generate/submit", owner, map[string]any{"id": job["id"], "generation": "R2", "seed": 5}); a.Status != http.StatusOK {
		t.Fatalf("deliver: %d %s", a.Status, a.Text)
	}
	uploaded, job := imageJob(t, s, requester, owner, reGen, map[string]any{"prompt": "uploaded", "r2": false})
	fetched(s, "PUT", job["r2_upload"].(string), "uploaded image")
	waiting := s.Call("POST", "/generate/async", requester, map[string]any{
		"prompt": "waiting", "models": []string{"Deliberate"}, "source_image": smallPNG(t), "params": map[string]any{"denoising_strength": 0.5},
	}).Body["id"].(string)

	server.Stop()
	away := func(what string, a nodetest.Answer) {
		t.Helper()
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s, Retry-After %q", what, a.Status, a.Text, a.Header.Get("Retry-After"))
		}
	}
	deliver := map[string]any{"id": job["id"], "generation": "R2", "seed": 5}
	away("deliver", s.Call("POST", "/generate/submit", owner, deliver))
	away("deliver base64", s.Call("POST", "/generate/submit", owner, map[string]any{"id": job["id"], "generation": smallPNG(t), "seed": 5}))
	away("status with base64", s.Call("GET", "/generate/status/"+kept, "", nil))
	away("submit with a source image", s.Call("POST", "/generate/async", requester, map[string]any{"prompt": "x", "source_image": smallPNG(t)}))
	away("pop of a source image", s.Call("POST", "/generate/pop", owner, popOf(owner, oldAgent)))
	if a := s.Call("GET", "/generate/check/"+waiting, "", nil); a.Body["waiting"] != 1.0 || a.Body["restarted"] != 0.0 {
		t.Errorf("the job that could not be handed out: %s", a.Text)
	}
	text := s.Call("POST", "/generate/text/async", requester, map[string]any{"prompt": "Once"})
	if text.Status != http.StatusAccepted {
		t.Errorf("a text needs no images: %d %s", text.Status, text.Text)
	}

	server.Run()
	if a := s.Call("POST", "/generate/submit", owner, deliver); a.Status != http.StatusOK {
		t.Fatalf("deliver afterwards: %d %s", a.Status, a.Text)
	}
	for id, want := range map[string]string{kept: "kept image", uploaded: "uploaded image"} {
		a := s.Call("GET", "/generate/status/"+id, "", nil)
		if a.Status != http.StatusOK {
			t.Fatalf("status afterwards: %d %s", a.Status, a.Text)
		}
		img, _ := base64.StdEncoding.DecodeString(a.Body["generations"].([]any)[0].(map[string]any)["img"].(string))
		if string(img) != want {
			t.Errorf("afterwards %s holds %q, want %q", id, img, want)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if a := s.Call("POST", "/generate/pop", owner, popOf(owner, oldAgent)); a.Body["id"] != nil {
			if src, _ := base64.StdEncoding.DecodeString(a.Body["source_image"].(string)); !isWebP(string(src)) {
				t.Errorf("source image: %d bytes", len(src))
			}
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("pop afterwards: %d %s", a.Status, a.Text)
		}
	}
}

func TestBlobsThatCannotBe(t *testing.T) {
	for _, place := range []string{"s3://images?color=red", "ftp://images", "s3://key:secret@images"} {
		if n, err := node.Open(t.Context(), node.Config{Data: t.TempDir(), Blobs: place}); err == nil {
			n.Close()
			t.Errorf("%s: accepted", place)
		}
	}
}
