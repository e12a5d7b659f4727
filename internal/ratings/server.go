// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
	"horde/internal/limit"
)

func refuse(status int, rc, message string) *horde.Error {
	return &horde.Error{Status: status, RC: rc, Message: message}
}

// The refusals of the service (ratings chapter, 3.2).
var (
	errNothingLeft   = refuse(http.StatusNotFound, "NothingToRate", "There is nothing left for you to rate here.")
	errNotFound      = refuse(http.StatusNotFound, "NotFound", "There is no such thing here.")
	errNotPopped     = refuse(http.StatusForbidden, "NotPopped", "You were not given this image within the last half hour.")
	errAlreadyRated  = refuse(http.StatusForbidden, "AlreadyRated", "You have rated this image before.")
	errCaptchaFailed = refuse(http.StatusForbidden, "CaptchaFailed", "That was not the rating that the image asks for.")
	errImageNotFound = refuse(http.StatusNotFound, "ImageNotFound", "There is no such image.")
	errLimited       = refuse(http.StatusTooManyRequests, "RateLimited", "Too many requests. Wait a moment.")
	errNotModerator  = refuse(http.StatusForbidden, "NotModerator", "Only moderators may see this.")
)

const maxBody = 1 << 20 // bytes of a body

// Handler serves the API at prefix+"/api/v1/", and images at prefix+"/images/".
func (s *Service) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	api := prefix + "/api/v1"
	handle := func(pattern string, f func(*http.Request) (int, any, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+api+path, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, f) })
		if path == "/user/ratings" {
			mux.HandleFunc(method+" "+api+path+"/{$}", func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, f) })
		}
	}
	pop := func(r *http.Request) (int, any, error) { return s.pop(r, prefix) }
	handle("GET /rating/new", pop)
	handle("GET /rating/new/{dataset}", pop)
	handle("GET /rating/new/{dataset}/{model}", pop)
	handle("POST /rating/set", s.set)
	handle("POST /rating/{image}", s.rating)
	handle("GET /datasets", s.datasets)
	handle("GET /teams", func(*http.Request) (int, any, error) { return http.StatusOK, []struct{}{}, nil })
	handle("GET /image/ratings/{image}", func(r *http.Request) (int, any, error) { return s.imageRatings(r, prefix) })
	handle("GET /user/ratings", s.userRatings)
	handle("GET /user/validate/{user}", s.userValidate)
	handle("PUT /user/validate/{user}", s.validate)
	handle("DELETE /user/ratings/{user}", s.purge)
	handle("GET /user/check/{user}", s.userCheck)
	handle("GET /user/flagged", s.flagged)
	mux.HandleFunc("GET "+api+"/download/{file}", s.download)
	mux.HandleFunc("GET "+prefix+"/images/{file}", s.image)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { writeError(w, errNotFound) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "apikey, Client-Agent, Content-Type, X-Fields, Accept")
			h.Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if p := r.URL.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
			r = r.Clone(r.Context())
			r.URL.Path = strings.TrimRight(p, "/")
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (int, any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := s.limited(r); err != nil {
		writeError(w, err)
		return
	}
	status, body, err := f(r)
	var refusal *horde.Error
	switch {
	case errors.As(err, &refusal):
		writeError(w, refusal)
	case err != nil:
		s.Log.Error("the ratings service failed", "path", r.URL.Path, "error", err)
		writeError(w, refuse(http.StatusInternalServerError, "InternalError", "The ratings service failed."))
	default:
		writeJSON(w, status, body)
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func writeError(w http.ResponseWriter, e *horde.Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	body := map[string]any{"message": e.Message}
	if e.RC != "" {
		body["rc"] = e.RC
	}
	if e.Fields != nil {
		body["errors"] = e.Fields
	}
	writeJSON(w, e.Status, body)
}

// limited counts a call for its key and its address.
func (s *Service) limited(r *http.Request) *horde.Error {
	if s.limiter == nil || s.knowsSecret(r) {
		return nil
	}
	address, _ := s.Caller(r)
	hits := []limit.Result{s.limiter.Take(address, limit.Rule{Name: "ratings by address", Amount: 120, Per: time.Minute})}
	if key := r.Header.Get("apikey"); key != "" && key != horde.AnonymousKey {
		hits = append(hits, s.limiter.Take(clip(key, 100), limit.Rule{Name: "ratings by key", Amount: 60, Per: time.Minute}))
	}
	return exceeded(hits...)
}

// exceeded refuses a call that was beyond one of its limits.
func exceeded(hits ...limit.Result) *horde.Error {
	for _, h := range hits {
		if !h.OK {
			return later(h.RetryAfter())
		}
	}
	return nil
}

// knowsSecret tells whether a call comes from a horde in another program.
func (s *Service) knowsSecret(r *http.Request) bool {
	return s.Secret != "" && subtle.ConstantTimeCompare([]byte(s.Secret), []byte(r.Header.Get(SecretHeader))) == 1
}

func later(wait time.Duration) *horde.Error {
	e := *errLimited
	e.RetryAfter = wait
	return &e
}

// rater finds who calls.
func (s *Service) rater(r *http.Request) (*who, error) {
	known, err := s.Rater(r.Context(), r.Header.Get("apikey"))
	if err != nil {
		return nil, err
	}
	address, agent := s.Caller(r)
	w := &who{Rater: known, key: raterKey(known.ID), agent: agent}
	err = s.change(func() error {
		if known.ID == horde.Anonymous {
			key, err := s.secret("addresses", addressKey, time.Now())
			if err != nil {
				return err
			}
			w.key = "a:" + seal(key, address)[:32]
		}
		return s.load(w)
	})
	return w, err
}

func (s *Service) pop(r *http.Request, prefix string) (int, any, error) {
	w, err := s.rater(r)
	if err != nil {
		return 0, nil, err
	}
	now := time.Now()
	if wait := w.timeout.Sub(now); wait > 0 {
		return 0, nil, later(wait)
	}
	p, err := s.next(r.Context(), w, r.PathValue("dataset"), r.PathValue("model"), now)
	if err != nil {
		return 0, nil, err
	}
	p.URL = imageURL(s.base(r, prefix), p.URL, p.ID)
	return http.StatusOK, p, nil
}

// base is where the caller reaches the service with its prefix.
func (s *Service) base(r *http.Request, prefix string) string {
	if s.URL != "" {
		return s.URL
	}
	if r.TLS != nil {
		return "https://" + r.Host + prefix
	}
	return "http://" + r.Host + prefix
}

// imageURL is where an image is: at an address of its own, or in the service that is reached at base, if that is known.
func imageURL(base, own, id string) string {
	if own != "" || base == "" {
		return own
	}
	return base + "/images/" + id + ".webp"
}

// artifactNames are the words for 0 to 5.
var artifactNames = []string{"FLAWLESS", "LITTLE_FLAWS", "SOME_FLAWS", "OBVIOUS_FLAWS", "HARMFUL_FLAWS", "GARBAGE"}

func readBody(r *http.Request, v any) *horde.Error {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return invalid("body", "A JSON object is wanted.")
	}
	return nil
}

func invalid(field, message string) *horde.Error {
	e := horde.Invalid(map[string]string{field: message})
	e.RC = "ValidationError"
	return e
}

var integer = regexp.MustCompile(`^-?[0-9]{1,9}$`)

// between reads an integer of a JSON body within bounds.
func between(raw json.RawMessage, low, high int) (int, bool) {
	if !integer.Match(raw) {
		return 0, false
	}
	n, err := strconv.Atoi(string(raw))
	return n, err == nil && n >= low && n <= high
}

func (s *Service) rating(r *http.Request) (int, any, error) {
	var body struct{ Rating, Artifacts json.RawMessage }
	if err := readBody(r, &body); err != nil {
		return 0, nil, err
	}
	rating, ok := between(body.Rating, 1, 10)
	if !ok {
		return 0, nil, invalid("rating", "An integer from 1 to 10 is wanted.")
	}
	var artifacts *int
	if raw := bytes.TrimSpace(body.Artifacts); len(raw) > 0 && string(raw) != "null" {
		n, ok := between(raw, 0, 5)
		for i, name := range artifactNames {
			if string(raw) == `"`+name+`"` {
				n, ok = i, true
			}
		}
		if !ok {
			return 0, nil, invalid("artifacts", "An integer from 0 to 5 is wanted.")
		}
		artifacts = &n
	}
	w, err := s.rater(r)
	if err != nil {
		return 0, nil, err
	}
	now := time.Now()
	if wait := w.timeout.Sub(now); wait > 0 {
		return 0, nil, later(wait)
	}
	if s.limiter != nil {
		for _, rule := range []limit.Rule{{Name: "ratings", Amount: 30, Per: time.Minute}, {Name: "ratings", Amount: 600, Per: time.Hour}} {
			if err := exceeded(s.limiter.Take(w.key, rule)); err != nil {
				return 0, nil, err
			}
		}
	}
	id, err := uuid.Parse(r.PathValue("image"))
	if err != nil {
		return 0, nil, errImageNotFound
	}
	refusal, err := s.rate(w, id.String(), rating, artifacts, now)
	if err = cmp.Or(err, refusal); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"message": "Thank you for rating.", "reward": reward}, nil
}

const maxSet = 100 // images of a set

// set takes a set from a horde in another program, which knows the secret.
func (s *Service) set(r *http.Request) (int, any, error) {
	if !s.knowsSecret(r) {
		return 0, nil, refuse(http.StatusUnauthorized, "InvalidAPIKey", "Only a horde that knows the secret may hand on ratings.")
	}
	var set horde.RatingSet
	if err := readBody(r, &set); err != nil {
		return 0, nil, err
	}
	known := map[string]bool{}
	for _, id := range set.All {
		if _, err := uuid.Parse(id); err != nil || len(set.All) > maxSet {
			return 0, nil, invalid("all_set_ids", "At most 100 ids are wanted.")
		}
		known[id] = true
	}
	seen := map[string]bool{}
	for _, rated := range set.Rated {
		if !known[rated.ID] || seen[rated.ID] || rated.Rating < 1 || rated.Rating > 10 || rated.Artifacts != nil && (*rated.Artifacts < 0 || *rated.Artifacts > 5) {
			return 0, nil, invalid("ratings", "Ratings from 1 to 10 of images of the set are wanted, one for each.")
		}
		seen[rated.ID] = true
	}
	switch _, err := uuid.Parse(set.Set); {
	case err != nil:
		return 0, nil, invalid("set", "An id is wanted.")
	case set.Best != "" && !known[set.Best]:
		return 0, nil, invalid("best", "An image of the set is wanted.")
	case set.Best == "" && len(set.Rated) == 0:
		return 0, nil, invalid("ratings", "Ratings or the best image are wanted.")
	}
	err := s.takeSet(r.Context(), set, stranger(set.User.Name))
	if errors.Is(err, horde.ErrAlreadyRated) {
		err = errAlreadyRated
	}
	return http.StatusCreated, map[string]any{"message": "Thank you."}, err
}

func (s *Service) datasets(*http.Request) (int, any, error) {
	type dataset struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Description string `json:"description"`
		Images      int64  `json:"image_count"`
	}
	list := []dataset{}
	err := s.change(func() error {
		return s.do("select id, name, description, (select count(*) from images where dataset = datasets.id and active = 1) from datasets where active = 1", func(r *sqlite.Stmt) {
			list = append(list, dataset{r.ColumnText(0), r.ColumnText(1), r.ColumnText(2), r.ColumnInt64(3)})
		})
	})
	return http.StatusOK, list, err
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$`)

func (s *Service) download(w http.ResponseWriter, r *http.Request) {
	s.serveFile(w, r, filepath.Join(s.Dir, "exports"), "application/octet-stream")
}

func (s *Service) image(w http.ResponseWriter, r *http.Request) {
	if id, isImage := strings.CutSuffix(r.PathValue("file"), ".webp"); !isImage || uuid.Validate(id) != nil {
		writeError(w, errImageNotFound)
		return
	}
	s.serveFile(w, r, filepath.Join(s.Dir, "images"), "image/webp")
}

func (s *Service) serveFile(w http.ResponseWriter, r *http.Request, dir, media string) {
	name := r.PathValue("file")
	if !fileName.MatchString(name) {
		writeError(w, errNotFound)
		return
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		writeError(w, errNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		writeError(w, errNotFound)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("ETag", `"`+strconv.FormatInt(info.ModTime().UnixNano(), 36)+"-"+strconv.FormatInt(info.Size(), 36)+`"`)
	http.ServeContent(w, r, name, info.ModTime(), f)
}

func indented(v any) []byte {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		panic(err) // a struct of texts and numbers
	}
	return text
}

// writeFile replaces a file as a whole, or not at all.
func writeFile(path string, data []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
