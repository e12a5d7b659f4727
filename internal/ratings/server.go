// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"horde/internal/api"
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
	errNoSecret      = refuse(http.StatusUnauthorized, "InvalidAPIKey", "Only a horde that knows the secret may hand on ratings.")
)

// validation is the code of a body or an argument that is not as it is described.
const validation = "ValidationError"

// maxBody is the size in bytes of a body: one of the largest set.
const maxBody = 64 << 10

// The addresses of what the service serves below its prefix.
const (
	apiPath    = "/api/v1"
	imagesPath = "/images/"
	// DocumentPath is the OpenAPI document of the service.
	DocumentPath = "/api/openapi.json"
)

// served is the service as it is served below a prefix.
type served struct {
	*Service
	prefix string
	router *api.Router
}

// Handler serves the service below a prefix, which may be empty: the API at "/api/v1/", its OpenAPI document at [DocumentPath], the
// images at "/images/", and what Config.Pages adds.
func (s *Service) Handler(prefix string) (http.Handler, error) {
	v := &served{Service: s, prefix: prefix}
	options := s.Router
	options.Admit, options.InvalidRC = v.admit, validation
	v.router = api.NewRouter(options)
	v.operations(v.router)
	if err := v.router.MountOpenAPI(prefix+DocumentPath, api.Info{
		Version: s.Version, Title: "Ratings", Description: "People say which images they like. Every operation answers JSON, and reads two " +
			"headers beside its own: Client-Agent names the calling program, X-Fields the fields of the answer that are wanted.",
	}); err != nil {
		return nil, fmt.Errorf("describe the ratings: %w", err)
	}
	v.router.Mount(prefix+imagesPath+"{file}", nil, http.HandlerFunc(v.image))
	if s.Pages != nil {
		s.Pages(v.router, prefix)
	}
	return v, nil
}

func (v *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.wantsTable(r) {
		v.table(w, r)
		return
	}
	v.router.ServeHTTP(w, r)
}

// admit counts a call of the API for its key and its address.
func (v *served) admit(r *http.Request, c api.Caller) error {
	if !strings.HasPrefix(r.URL.Path, v.prefix+apiPath+"/") || v.limiter == nil || !v.router.Limits(c) || v.knowsSecret(r.Header.Get(SecretHeader)) {
		return nil
	}
	hits := []limit.Result{v.limiter.Take(limit.Bucket(c.Addr), limit.Rule{Name: "ratings by address", Amount: 120, Per: time.Minute})}
	if key := r.Header.Get("apikey"); key != "" && key != horde.AnonymousKey {
		hits = append(hits, v.limiter.Take(clip(key, 100), limit.Rule{Name: "ratings by key", Amount: 60, Per: time.Minute}))
	}
	return exceeded(hits...)
}

// exceeded refuses a call that was beyond one of its limits.
func exceeded(hits ...limit.Result) error {
	for _, h := range hits {
		if !h.OK {
			return later(h.RetryAfter())
		}
	}
	return nil
}

// knowsSecret tells whether a call with this secret comes from a horde in another program.
func (s *Service) knowsSecret(secret string) bool {
	return s.Secret != "" && subtle.ConstantTimeCompare([]byte(s.Secret), []byte(secret)) == 1
}

func later(wait time.Duration) *horde.Error {
	e := *errLimited
	e.RetryAfter = wait
	return &e
}

// base is where the caller reaches the service with its prefix.
func (v *served) base(r *http.Request) string {
	if v.URL != "" {
		return v.URL
	}
	if r.TLS != nil {
		return "https://" + r.Host + v.prefix
	}
	return "http://" + r.Host + v.prefix
}

// imageURL is where an image is: at an address of its own, or in the service that is reached at base, if that is known.
func imageURL(base, own, id string) string {
	if own != "" || base == "" {
		return own
	}
	return base + imagesPath + id + ".webp"
}

// fileName is what an export may be called.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$`)

func (v *served) image(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	f, info, err := (*os.File)(nil), os.FileInfo(nil), error(errImageNotFound)
	if id, isImage := strings.CutSuffix(name, ".webp"); isImage && uuid.Validate(id) == nil {
		f, info, err = openFile(filepath.Join(v.Dir, "images", name), errImageNotFound)
	}
	if err != nil {
		v.router.WriteError(w, r, err)
		return
	}
	defer f.Close()
	sendFile(w, r, f, info, "image/webp")
}

// openFile opens a file to be sent. missing is the refusal where there is none.
func openFile(path string, missing *horde.Error) (*os.File, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, missing
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, missing
	}
	return f, info, nil
}

func sendFile(w http.ResponseWriter, r *http.Request, f *os.File, info os.FileInfo, media string) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("ETag", `"`+strconv.FormatInt(info.ModTime().UnixNano(), 36)+"-"+strconv.FormatInt(info.Size(), 36)+`"`)
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}
