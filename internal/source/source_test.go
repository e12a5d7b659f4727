// SPDX-License-Identifier: AGPL-3.0-or-later

package source_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"horde/internal/fetch"
	"horde/internal/horde"
	"horde/internal/picture"
	"horde/internal/source"
)

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plain(w, h int) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	return m
}

// holed has a transparent pixel in a corner.
func holed(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = 255
	}
	m.SetNRGBA(0, 0, color.NRGBA{255, 0, 0, 0})
	return m
}

// declares is a PNG without pixels that says it has w times h.
func declares(w, h uint32) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("IHDR"), w), h)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
}

func intake(allow ...netip.Prefix) *source.Intake {
	return source.New(fetch.New(source.FetchConfig(allow)), picture.NewCodec(0))
}

var loopback = netip.MustParsePrefix("127.0.0.1/32")

func TestBase64(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	small := pngOf(t, plain(40, 30))
	noise := make([]byte, 600<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	noise[0] = 0 // the beginning of no image
	tests := []struct {
		name, input   string
		width, height int
		want          *horde.Error
	}{
		{"an image", b64(small), 40, 30, nil},
		{"an image in lines", b64(small[:30]) + "\r\n" + b64(small[30:]), 40, 30, nil},
		{"the largest image", b64(pngOf(t, image.NewGray(image.Rect(0, 0, 3072, 3072)))), 3072, 3072, nil},
		{"an image with one column too many", b64(pngOf(t, image.NewGray(image.Rect(0, 0, 3073, 3072)))), 0, 0, horde.ErrSourceResolution},
		{"an image that declares 20,000 x 20,000", b64(declares(20000, 20000)), 0, 0, horde.ErrSourceResolution},
		{"an image that is too long for WebP", b64(pngOf(t, image.NewGray(image.Rect(0, 0, 1, 16384)))), 0, 0, horde.ErrSourceResolution},
		{"nothing", "", 0, 0, horde.ErrImageValidation},
		{"no base64", "abcde", 0, 0, horde.ErrImageValidation},
		{"no base64 at all", "!!!", 0, 0, horde.ErrImageValidation},
		{"base64 of no image", b64(noise), 0, 0, horde.ErrImageValidation},
		{"base64 of a text", b64([]byte("hello")), 0, 0, horde.ErrImageValidation},
		{"a data URI", "data:image/png;base64," + b64(small), 0, 0, horde.ErrImageValidation},
		{"the alphabet for URLs", strings.NewReplacer("+", "-", "/", "_").Replace(b64(small)), 0, 0, horde.ErrImageValidation},
		{"half an image", b64(small[:len(small)/2]), 0, 0, horde.ErrSourceUnreadable},
		{"an image without pixels", b64(declares(512, 512)), 0, 0, horde.ErrSourceUnreadable},
		{"something like a URL", "ftp://example.com/a.png", 0, 0, horde.ErrImageValidation},
		{"a NUL byte", "\x00", 0, 0, horde.ErrImageValidation},
	}
	in := intake()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := in.Take(t.Context(), tt.input)
			check(t, got, err, tt.width, tt.height, tt.want)
		})
	}
}

func check(t *testing.T, got source.Image, err error, width, height int, want *horde.Error) {
	t.Helper()
	if want != nil {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	info, err := picture.InspectWebP(got.WebP)
	if err != nil || got.Width != width || got.Height != height || info.Width != width || info.Height != height {
		t.Errorf("took %dx%d and made %+v, %v; want %dx%d", got.Width, got.Height, info, err, width, height)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	small := pngOf(t, plain(40, 30))
	// padded is an image followed by so much that the whole has n bytes.
	padded := func(n int) []byte { return append(bytes.Clone(small), make([]byte, n-len(small))...) }
	mux := http.NewServeMux()
	bodies := map[string][]byte{
		"image": small, "empty": nil, "text": []byte("<html>"), "half": small[:len(small)/2], "bomb": declares(20000, 20000),
		"large": declares(3073, 3072), "example": padded(5121000), "largest": padded(5000 << 10), "5MiB": padded(5 << 20), "5MiB+1": padded(5<<20 + 1),
	}
	mux.HandleFunc("/{length}/{status}/{name}", func(w http.ResponseWriter, r *http.Request) {
		body := bodies[r.PathValue("name")]
		if r.PathValue("length") == "announced" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.WriteHeader(status)
		if r.PathValue("length") == "chunked" {
			w.(http.Flusher).Flush()
		}
		w.Write(body)
	})
	mux.HandleFunc("/hops/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		next := "/announced/200/image"
		if n > 1 {
			next = fmt.Sprintf("/hops/%d", n-1)
		}
		http.Redirect(w, r, next, http.StatusFound)
	})
	mux.HandleFunc("/inside", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.2/image.png", http.StatusFound)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	in := intake(loopback)
	tests := []struct {
		name, url string
		want      *horde.Error
	}{
		{"an image", srv.URL + "/announced/200/image", nil},
		{"an image of unknown length", srv.URL + "/chunked/200/image", nil},
		{"an image with another status", srv.URL + "/announced/404/image", nil},
		{"behind three redirects", srv.URL + "/hops/3", nil},
		{"behind four redirects", srv.URL + "/hops/4", horde.ErrImageValidation},
		{"behind a redirect to the inside", srv.URL + "/inside", horde.ErrImageValidation},
		{"no image", srv.URL + "/announced/200/text", horde.ErrSourceURL},
		{"not found", srv.URL + "/announced/404/text", horde.ErrSourceURL},
		{"nothing", srv.URL + "/announced/200/empty", horde.ErrSourceUnreadable},
		{"half an image", srv.URL + "/announced/200/half", horde.ErrSourceUnreadable},
		{"declares 20,000 x 20,000", srv.URL + "/announced/200/bomb", horde.ErrSourceResolution},
		{"one column too many", srv.URL + "/announced/200/large", horde.ErrSourceResolution},
		{"5121000 bytes", srv.URL + "/announced/200/example", horde.ErrSourceSize},
		{"5000 KiB", srv.URL + "/announced/200/largest", nil},
		{"5 MiB of unknown length", srv.URL + "/chunked/200/5MiB", nil},
		{"more than 5 MiB", srv.URL + "/announced/200/5MiB+1", horde.ErrSourceSize},
		{"more than 5 MiB of unknown length", srv.URL + "/chunked/200/5MiB+1", horde.ErrSourceSize},
		{"loopback", "http://127.0.0.2/a.png", horde.ErrImageValidation},
		{"cloud metadata", "http://169.254.169.254/latest/meta-data/", horde.ErrImageValidation},
		{"a private address", "https://10.0.0.1/a.png", horde.ErrImageValidation},
		{"another scheme", "httpx://example.com/a.png", horde.ErrImageValidation},
		{"no URL", "http", horde.ErrImageValidation},
		{"credentials", "http://user:password@127.0.0.1/a.png", horde.ErrImageValidation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := in.Take(t.Context(), tt.url)
			check(t, got, err, 40, 30, tt.want)
		})
	}
}

// Old clients look for this text.
func TestMessage(t *testing.T) {
	t.Parallel()
	_, err := intake().Take(t.Context(), "abcde")
	var refused *horde.Error
	if !errors.As(err, &refused) || refused.RC != "ImageValidationFailed" || refused.Status != http.StatusBadRequest ||
		!strings.Contains(refused.Message, "Image validation failed") {
		t.Errorf("%+v", refused)
	}
}

// Field problem B079: a hole in the alpha channel is enough for inpainting, a picture without one is refused at once.
func TestInpainting(t *testing.T) {
	t.Parallel()
	in := intake()
	take := func(m image.Image) source.Image {
		got, err := in.Take(t.Context(), base64.StdEncoding.EncodeToString(pngOf(t, m)))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	rgba, rgb := take(holed(64, 64)), take(plain(64, 64))
	if rgba.Channels != 4 || rgb.Channels != 3 {
		t.Fatalf("%d and %d channels, want 4 and 3", rgba.Channels, rgb.Channels)
	}
	p, err := picture.NewCodec(0).Decode(t.Context(), rgba.WebP, picture.MaxSourcePixels)
	if err != nil || p.NRGBAAt(0, 0).A != 0 || p.NRGBAAt(63, 63).A != 255 {
		t.Errorf("the hole was lost: %v, %v, %v", p.NRGBAAt(0, 0), p.NRGBAAt(63, 63), err)
	}
	for _, tt := range []struct {
		src  source.Image
		mask bool
		want error
	}{
		{rgba, false, nil}, {rgba, true, nil}, {rgb, true, nil}, {rgb, false, horde.ErrInpaintingMask},
	} {
		if err := source.CheckInpainting(tt.src, tt.mask); !errors.Is(err, tt.want) {
			t.Errorf("%d channels, mask %v: %v, want %v", tt.src.Channels, tt.mask, err, tt.want)
		}
	}
}

func TestTakeEndsWithTheContext(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := intake(loopback).Take(ctx, srv.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
}
