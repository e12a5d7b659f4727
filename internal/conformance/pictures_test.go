// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"horde/internal/node"
)

// rgba is a picture with holes in it.
func rgba(width, height int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.SetNRGBA(x, y, color.NRGBA{uint8(x * 3), uint8(y * 5), 80, uint8(255 * (x % 2))})
		}
	}
	return m
}

// opaque is a picture without.
func opaque(width, height int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	return m
}

func encodePNG(m image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func base64PNG(m image.Image) string { return base64.StdEncoding.EncodeToString(encodePNG(m)) }

// declaredPNG is a small file that says of itself how large its picture is.
func declaredPNG(width, height int) []byte {
	b := encodePNG(image.NewGray(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(b[16:], uint32(width))
	binary.BigEndian.PutUint32(b[20:], uint32(height))
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

// img2img is a request with a source image.
func img2img(source string) fields {
	return fields{"prompt": "x", "models": []string{"Deliberate"}, "source_image": source}
}

func TestRequests17SourceImagesAreJudgedAtSubmission(t *testing.T) {
	t.Parallel()
	example(t, "requests", 17)
	example(t, "cases", 81)
	s := open(t)
	u := s.user(1000, 0)
	content := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.Write(b) }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/declared", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(5121000))
		w.Write(encodePNG(opaque(64, 64)))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for range 7 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/png", content(encodePNG(opaque(64, 64))))
	mux.HandleFunc("/text", content([]byte("no picture at all")))
	mux.HandleFunc("/empty", content(nil))
	mux.HandleFunc("/broken", content(encodePNG(rgba(64, 64))[:120]))
	mux.HandleFunc("/huge", content(declaredPNG(20000, 20000)))
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	rgb, hole := base64PNG(opaque(64, 64)), base64PNG(rgba(64, 64))
	for _, c := range []struct {
		name string
		body fields
		rc   string // empty for accepted
	}{
		{"17 a URL that declares 5121000 bytes", img2img(web.URL + "/declared"), "SourceImageSizeExceeded"},
		{"a URL with more than 5 MiB", img2img(web.URL + "/endless"), "SourceImageSizeExceeded"},
		{"17 base64 of 3073x3072 pixels", img2img(base64.StdEncoding.EncodeToString(declaredPNG(3073, 3072))), "SourceImageResolutionExceeded"},
		{"base64 of 20000x20000 pixels", img2img(base64.StdEncoding.EncodeToString(declaredPNG(20000, 20000))), "SourceImageResolutionExceeded"},
		{"a URL of 20000x20000 pixels", img2img(web.URL + "/huge"), "SourceImageResolutionExceeded"},
		{"17 inpainting without mask or transparency", img2img(rgb).with(fields{"source_processing": "inpainting"}), "InpaintingMissingMask"},
		{"17 inpainting with transparency", img2img(hole).with(fields{"source_processing": "inpainting"}), ""},
		{"inpainting with a mask", img2img(rgb).with(fields{"source_processing": "inpainting", "source_mask": rgb}), ""},
		{"outpainting needs neither", img2img(rgb).with(fields{"source_processing": "outpainting"}), ""},
		{"a URL of a PNG", img2img(web.URL + "/png"), ""},
		{"a URL of a text", img2img(web.URL + "/text"), "SourceImageUrlInvalid"},
		{"a URL of nothing", img2img(web.URL + "/empty"), "SourceImageUnreadable"},
		{"a URL of half a picture", img2img(web.URL + "/broken"), "SourceImageUnreadable"},
		{"a URL that nobody answers", img2img("http://127.0.0.1:1/a.png"), "ImageValidationFailed"},
		{"a data: URI", img2img("data:image/png;base64," + rgb), "ImageValidationFailed"},
		{"B081 broken base64", img2img("abcde"), "ImageValidationFailed"},
		{"B081 600 KB of base64 that is no picture", img2img(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("no picture "), 60000))), "ImageValidationFailed"},
		{"a broken mask", img2img(rgb).with(fields{"source_processing": "inpainting", "source_mask": "abcde"}), "ImageValidationFailed"},
		{"a mask without an image", fields{"prompt": "x", "source_mask": rgb}, "SourceMaskUnnecessary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			a := s.call("POST", "/generate/async", u, c.body)
			if c.rc == "" {
				s.want(a, http.StatusAccepted)
				return
			}
			s.refused(a, http.StatusBadRequest, c.rc)
			if c.rc != "SourceMaskUnnecessary" && !strings.Contains(a.text, "Image validation failed") && c.rc == "ImageValidationFailed" {
				t.Errorf("programs look for the words Image validation failed: %s", a.text)
			}
		})
	}
}

func TestSourceImagesAreNotFetchedFromPrivateAddresses(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.AllowPrivate = nil })
	u := s.user(1000, 0)
	hits := make(chan string, 10)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits <- r.URL.Path
		w.Write(encodePNG(opaque(64, 64)))
	}))
	t.Cleanup(web.Close)
	port := web.URL[strings.LastIndexByte(web.URL, ':'):]
	for _, url := range []string{
		web.URL + "/a", "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
		"http://2130706433" + port, "http://0x7f.1" + port, "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/",
		"http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://[fd00::1]/", "http://[fe80::1]/", "http://224.0.0.1/",
		"http://[64:ff9b::7f00:1]/", "http://user:word@127.0.0.1" + port, "https://127.0.0.1" + port,
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			for _, body := range []fields{
				img2img(url), img2img(base64PNG(opaque(64, 64))).with(fields{"source_mask": url, "source_processing": "inpainting"}),
				{"prompt": "x", "models": []string{"Stable Cascade 1.0"}, "source_processing": "remix", "extra_source_images": []fields{{"image": url}}},
			} {
				s.refused(s.call("POST", "/generate/async", u, body), http.StatusBadRequest, "ImageValidationFailed")
			}
		})
	}
	t.Cleanup(func() {
		if len(hits) > 0 {
			t.Errorf("the server fetched %s from a private address", <-hits)
		}
		s.untouched(u, 1000)
	})
}

func TestRedirectsToPrivateAddressesAreNotFollowed(t *testing.T) {
	t.Parallel()
	// Only 127.0.0.1 may be fetched from here; 127.0.0.2 is what a redirect must not reach.
	s := open(t, func(c *node.Config) { c.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	u := s.user(1000, 0)
	hits := make(chan string, 10)
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hits <- r.URL.Path }))
	t.Cleanup(secret.Close)
	port := secret.URL[strings.LastIndexByte(secret.URL, ':'):]
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := "http://127.0.0.2" + port + "/secret"
		switch r.URL.Path {
		case "/loop":
			to = "/loop"
		case "/file":
			to = "file:///etc/passwd"
		}
		http.Redirect(w, r, to, http.StatusFound)
	}))
	t.Cleanup(web.Close)
	for _, path := range []string{"/a", "/loop", "/file"} {
		s.refused(s.call("POST", "/generate/async", u, img2img(web.URL+path)), http.StatusBadRequest, "ImageValidationFailed")
	}
	if len(hits) > 0 {
		t.Error("the server followed a redirect to a private address")
	}
	s.untouched(u, 1000)
}

// untouched checks that nothing of what was sent was kept.
func (s *server) untouched(u account, kudos float64) {
	s.t.Helper()
	if got := s.kudos(u); got != kudos {
		s.t.Errorf("the balance is %v, want %v", got, kudos)
	}
	if a := s.want(s.get("/find_user", u), http.StatusOK); a.has("active_generations") && fmt.Sprint(a.at("active_generations")) != "map[]" {
		s.t.Errorf("the account has requests: %v", a.at("active_generations"))
	}
	s.shows(s.want(s.get("/status/performance", account{}), http.StatusOK), fields{"queued_requests": 0, "queued_text_requests": 0})
}
