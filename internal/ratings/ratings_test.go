// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/limit"
	"horde/internal/picture"
)

type service struct {
	*Service
	t    *testing.T
	till *till
	http http.Handler
}

// till is a horde that pays: it keeps the number of the last payment with what it paid. Its calls fail as broken says.
type till struct {
	paid   map[horde.UserID]horde.Kudos
	last   map[string]int64
	broken func(no int64) (taken bool, err error) // nil: never
}

func newTill() *till { return &till{paid: map[horde.UserID]horde.Kudos{}, last: map[string]int64{}} }

func (h *till) pay(_ context.Context, service string, no int64, id horde.UserID, amount horde.Kudos) error {
	var err error
	if h.broken != nil {
		taken := false
		if taken, err = h.broken(no); !taken {
			return err
		}
	}
	if no > h.last[service] {
		h.last[service] = no
		h.paid[id] += amount
	}
	return err
}

func (h *till) lastPaid(_ context.Context, service string) (int64, error) {
	return h.last[service], nil
}

// open opens a service without captchas, whose keys are the ids of their users; user 1 is a moderator.
func open(t *testing.T) *service { return openIn(t, t.TempDir(), newTill()) }

// openIn opens what a directory has.
func openIn(t *testing.T, dir string, paying *till) *service {
	s := &service{t: t, till: paying}
	var err error
	s.Service, err = Open(t.Context(), Config{
		Dir: dir, Codec: picture.NewCodec(1), NoLimits: true, NSFW: 0.5, Secret: "hush", Log: slog.New(slog.DiscardHandler),
		Rater: func(_ context.Context, key string) (engine.Rater, error) {
			if key == horde.AnonymousKey {
				return engine.Rater{Name: "Anonymous#0"}, nil
			}
			id, err := strconv.Atoi(key)
			if err != nil {
				return engine.Rater{}, horde.ErrInvalidAPIKey
			}
			return engine.Rater{ID: horde.UserID(id), Name: "x#" + key, Moderator: id == 1, Age: 24 * time.Hour, Kudos: 100}, nil
		},
		Pay: paying.pay, Paid: paying.lastPaid,
		Router: api.Options{Log: slog.New(slog.DiscardHandler), Limiter: limit.New(limit.DefaultCapacity)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.random = func() float64 { return 0.99 }
	if s.http, err = s.Handler("/ratings"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) images(n int) {
	for range n {
		if err := s.change(func() error { return s.addImage(horde.SharedImage{ID: uuid.NewString(), Model: "m"}, time.Now()) }); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *service) call(method, path, key, body string, status int) map[string]any {
	s.t.Helper()
	req := httptest.NewRequest(method, "/ratings/api/v1"+path, bytes.NewBufferString(body))
	req.Header.Set("apikey", key)
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, req)
	out := map[string]any{}
	json.Unmarshal(w.Body.Bytes(), &out)
	if w.Code != status {
		s.t.Errorf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, status)
	}
	return out
}

// aged makes what was popped older, for nobody rates within a second.
func (s *service) aged(d time.Duration) {
	if err := s.change(func() error { return s.do("update pops set created = created - ?", nil, int(d.Seconds())) }); err != nil {
		s.t.Fatal(err)
	}
}

// Rating what was popped: ratings chapter, worked examples 12 to 14.
func TestRating(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.call("GET", "/rating/new", "7", "", http.StatusNotFound)
	s.images(3)
	s.call("GET", "/rating/new", "bogus", "", http.StatusUnauthorized)
	s.call("GET", "/rating/new/"+uuid.NewString(), "7", "", http.StatusNotFound)
	s.call("GET", "/rating/new/"+s.dataset+"/other", "7", "", http.StatusNotFound)
	var ids []string
	for range 3 {
		p := s.call("GET", "/rating/new/", "7", "", http.StatusOK)
		ids = append(ids, p["id"].(string))
	}
	if ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2] {
		t.Errorf("an image was handed out twice: %v", ids)
	}
	s.call("GET", "/rating/new", "7", "", http.StatusNotFound)
	s.aged(2 * time.Second)
	for _, body := range []string{`{"rating":11}`, `{"rating":0}`, `{"rating":7.0}`, `{"rating":"7"}`, `{}`, `{"rating":5,"artifacts":6}`, `[]`} {
		if got := s.call("POST", "/rating/"+ids[0], "7", body, http.StatusBadRequest); got["errors"] == nil || got["rc"] != "ValidationError" {
			t.Errorf("%s: %v", body, got)
		}
	}
	got := s.call("POST", "/rating/"+ids[0], "7", `{"rating":8,"artifacts":2}`, http.StatusCreated)
	if got["reward"] != 5.0 || got["message"] == "" {
		t.Errorf("rating got %v", got)
	}
	s.call("POST", "/rating/"+ids[0], "7", `{"rating":8,"artifacts":2}`, http.StatusCreated)
	if got := s.call("POST", "/rating/"+ids[0], "7", `{"rating":7}`, http.StatusForbidden); got["rc"] != "AlreadyRated" {
		t.Errorf("another rating got %v", got)
	}
	s.call("POST", "/rating/"+ids[1], "7", `{"rating":5,"artifacts":"GARBAGE"}`, http.StatusCreated)
	if got := s.call("POST", "/rating/"+ids[1], "8", `{"rating":5}`, http.StatusForbidden); got["rc"] != "NotPopped" {
		t.Errorf("rating what another one popped got %v", got)
	}
	if got := s.call("POST", "/rating/"+uuid.NewString(), "7", `{"rating":5}`, http.StatusNotFound); got["rc"] != "ImageNotFound" {
		t.Errorf("rating what is not there got %v", got)
	}
	s.aged(31 * time.Minute)
	s.call("POST", "/rating/"+ids[2], "7", `{"rating":5}`, http.StatusForbidden)
	anonymous := s.call("GET", "/rating/new", horde.AnonymousKey, "", http.StatusOK)["id"].(string)
	s.aged(2 * time.Second)
	s.call("POST", "/rating/"+anonymous, horde.AnonymousKey, `{"rating":3}`, http.StatusCreated)

	for _, at := range []time.Duration{0, 25 * time.Hour, 26 * time.Hour} {
		if err := s.Settle(t.Context(), time.Now().Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.till.paid) != 1 || s.till.paid[7] != 10_00 {
		t.Errorf("paid: %v, want 10 kudos to user 7", s.till.paid)
	}
}

// How long a failed captcha sends away: worked example 15.
func TestCaptcha(t *testing.T) {
	t.Parallel()
	for k, want := range map[int64]time.Duration{1: 5 * time.Minute, 3: 20 * time.Minute, 10: 1440 * time.Minute, 90: 1440 * time.Minute} {
		if got := captchaTimeout(k); got != want {
			t.Errorf("failure %d: %v, want %v", k, got, want)
		}
	}
	s := open(t)
	s.images(1)
	trap := func() string {
		id := uuid.NewString()
		if err := s.change(func() error {
			return s.do("insert into pops (rater, image, kind, answer, created) values ('u:7', ?, 'captcha', 7, ?)", nil, id, time.Now().Unix())
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	failed := func() float64 {
		return s.call("GET", "/user/check/7?minutes=120&divergence=3", "1", "", http.StatusOK)["captchas_failed"].(float64)
	}
	s.call("POST", "/rating/"+trap(), "7", `{"rating":7}`, http.StatusCreated)
	if n := failed(); n != -1 {
		t.Errorf("after a pass %v are failed", n)
	}
	if got := s.call("POST", "/rating/"+trap(), "7", `{"rating":5}`, http.StatusForbidden); got["rc"] != "CaptchaFailed" {
		t.Errorf("a wrong answer got %v", got)
	}
	if n := failed(); n != 0 {
		t.Errorf("after a pass and a failure %v are failed", n)
	}
	s.call("GET", "/rating/new", "7", "", http.StatusTooManyRequests)
	s.call("POST", "/rating/"+uuid.NewString(), "7", `{"rating":5}`, http.StatusTooManyRequests)
}

// What moderators see: worked example 17.
func TestModeration(t *testing.T) {
	t.Parallel()
	s := open(t)
	id, other := uuid.NewString(), uuid.NewString()
	for i, rating := range []int{10, 1, 1, 1} {
		err := s.Set(t.Context(), horde.RatingSet{Set: uuid.NewString(), All: []string{id, other}, Best: id, User: horde.RatingUser{Name: fmt.Sprint("x#", i+5)},
			Rated: []horde.ImageRating{{ID: id, Rating: rating}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	got := s.call("GET", "/image/ratings/"+id, "1", "", http.StatusOK)
	if want := "http://example.com/ratings/images/" + id + ".webp"; got["image"] != want {
		t.Errorf("the image is at %v, want %v", got["image"], want)
	}
	if got["average"] != 3.2 || got["times_rated"] != 4.0 || got["total"] != 4.0 {
		t.Errorf("image ratings: %v", got)
	}
	if first := got["ratings"].([]any)[0].(map[string]any); first["artifacts"] != nil || len(first) != 3 {
		t.Errorf("a record: %v", first)
	}
	got = s.call("GET", "/user/validate/5", "5", "", http.StatusOK)
	if r := got["ratings"].([]any); len(r) != 1 || r[0].(map[string]any)["average"] != 1.0 || r[0].(map[string]any)["times_rated"] != 3.0 {
		t.Errorf("user validate: %v", got)
	}
	if got := s.call("GET", "/user/ratings/?rating=5", "1", "", http.StatusOK); got["total"] != 1.0 {
		t.Errorf("user ratings: %v", got)
	}
	s.call("GET", "/image/ratings/"+id, "5", "", http.StatusForbidden)
	s.call("GET", "/user/check/6?minutes=1&divergence=1", "5", "", http.StatusForbidden)
	s.call("GET", "/user/check/5?minutes=0&divergence=1", "5", "", http.StatusBadRequest)
	s.call("GET", "/user/check/x?minutes=1&divergence=1", "1", "", http.StatusNotFound)
	s.call("POST", "/rating/set", "1", `{}`, http.StatusBadRequest)
	s.call("POST", "/rating/set", "1", `{"set":"`+id+`","all_set_ids":["`+id+`"],"best":"`+id+`"}`, http.StatusUnauthorized)
	s.call("PUT", "/user/validate/6", "1", `{"validated":true}`, http.StatusOK)
	s.call("DELETE", "/user/ratings/5", "1", ``, http.StatusOK)
	if got := s.call("GET", "/image/ratings/"+id, "1", "", http.StatusOK); got["average"] != 1.0 || got["times_rated"] != 3.0 {
		t.Errorf("after the first rater was excluded: %v", got)
	}

	if err := s.Export(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "exports", "diffusiondb_export.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[compatible](bytes.NewReader(data), int64(len(data)))
	if err != nil || len(rows) != 3 || rows[0].RatingsCount != 3 || !rows[0].Validated || rows[0].Artifacts != nil {
		t.Errorf("exported: %+v, %v", rows, err)
	}
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, httptest.NewRequest("GET", "/ratings/api/v1/download/diffusiondb_export.parquet", nil))
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), data) || w.Header().Get("ETag") == "" {
		t.Errorf("downloaded: %d, %d bytes", w.Code, w.Body.Len())
	}
	s.call("GET", "/download/..%2Fratings.db", "", "", http.StatusNotFound)
}

// A set is taken once.
func TestSetTwice(t *testing.T) {
	t.Parallel()
	s := open(t)
	set := horde.RatingSet{Set: uuid.NewString(), All: []string{uuid.NewString(), uuid.NewString()}}
	set.Best = set.All[0]
	if err := s.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), set); !same(err, horde.ErrAlreadyRated) {
		t.Errorf("the second time: %v", err)
	}
}

// The first calls of a minute are answered, and what only looks like a secret changes nothing.
func TestCallsAreLimited(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.limiter = limit.New(limit.DefaultCapacity)
	for range 120 {
		s.call("GET", "/user/ratings", "", "", http.StatusUnauthorized)
	}
	s.call("GET", "/user/ratings", "", "", http.StatusTooManyRequests)
	for secret, want := range map[string]int{"": http.StatusTooManyRequests, "hus": http.StatusTooManyRequests, "hush": http.StatusUnauthorized} {
		req := httptest.NewRequest("GET", "/ratings/api/v1/user/ratings", nil)
		req.Header.Set(SecretHeader, secret)
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("with the secret %q: %d, want %d", secret, w.Code, want)
		}
	}
}

// A set of another program's horde: its images are not here to be shown, and its user is nobody here.
func TestSetsOfStrangers(t *testing.T) {
	t.Parallel()
	s := open(t)
	one, other := uuid.NewString(), uuid.NewString()
	req := httptest.NewRequest("POST", "/ratings/api/v1/rating/set", strings.NewReader(fmt.Sprintf(
		`{"set":"%s","all_set_ids":["%s","%s"],"best":"%s","user":{"username":"x#7"},"ratings":[{"id":"%s","rating":8}]}`, uuid.NewString(), one, other, one, one)))
	req.Header.Set(SecretHeader, "hush")
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		t.Fatalf("the set got %d %s", w.Code, w.Body)
	}
	s.call("GET", "/rating/new", "7", "", http.StatusNotFound)
	if err := s.change(func() error {
		n, err := s.number("select count(*) from ratings where user_id = 7 or rater = 'u:7'")
		if n != 0 {
			t.Errorf("%d ratings are the local user's", n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Whoever rates within a second has not looked: the rating is answered as usual, kept, and in no average.
func TestSpeedFloor(t *testing.T) {
	t.Parallel()
	s := open(t)
	when := time.Date(2026, 3, 4, 5, 6, 7, 900e6, time.UTC)
	for user, c := range map[horde.UserID]struct {
		after   time.Duration
		counted int64
	}{5: {200 * time.Millisecond, 0}, 6: {999 * time.Millisecond, 0}, 7: {time.Second, 1}, 8: {1100 * time.Millisecond, 1}} {
		id := uuid.NewString()
		var p popped
		w := &who{Rater: engine.Rater{ID: user}, key: raterKey(user)}
		if err := s.change(func() error {
			if err := s.addImage(horde.SharedImage{ID: id, Model: id}, when); err != nil {
				return err
			}
			return s.choose(w, &p, s.dataset, id, when)
		}); err != nil {
			t.Fatal(err)
		}
		if refusal, err := s.rate(w, id, 6, nil, when.Add(c.after)); refusal != nil || err != nil {
			t.Errorf("after %v: %v, %v", c.after, refusal, err)
		}
		if err := s.change(func() error {
			n, err := s.number("select rating_count from images where id = ?", id)
			kept, err2 := s.number("select count(*) from ratings where image = ?", id)
			if n != c.counted || kept != 1 || err2 != nil {
				t.Errorf("after %v: %d counted of %d", c.after, n, kept)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// Moderators may have their lists as a table; what others wrote is harmless in it, and a refusal stays as it is.
func TestTables(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := uuid.NewString()
	if err := s.Set(t.Context(), horde.RatingSet{Set: uuid.NewString(), All: []string{id}, User: horde.RatingUser{Name: "<script>x</script>#5"}, Rated: []horde.ImageRating{{ID: id, Rating: 9}}}); err != nil {
		t.Fatal(err)
	}
	get := func(path, key string) *httptest.ResponseRecorder {
		req := httptest.NewRequest("GET", "/ratings/api/v1"+path, nil)
		req.Header.Set("apikey", key)
		req.Header.Set("Accept-Encoding", "gzip")
		req.Header.Set("X-Fields", "total")
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, req)
		return w
	}
	for _, path := range []string{"/image/ratings/" + id, "/user/ratings"} {
		w := get(path+"?format=html", "1")
		text := w.Body.String()
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if !strings.Contains(text, "&lt;script&gt;x") || strings.Contains(text, "<script>") || !strings.Contains(text, `<img src="http://example.com/ratings/images/`+id+`.webp"`) || !strings.Contains(text, "<td>9</td>") {
			t.Errorf("%s: %s", path, text)
		}
	}
	if w := get("/user/ratings?format=html", "7"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"rc":"NotModerator"`) {
		t.Errorf("a refusal: %d %s", w.Code, w.Body)
	}
	if w := get("/user/ratings?format=xml", "1"); w.Code != http.StatusBadRequest {
		t.Errorf("another format: %d %s", w.Code, w.Body)
	}
}
