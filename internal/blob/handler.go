// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// ServeHTTP serves the signed URLs: GET and HEAD of kept objects, PUT of uploads, and the preflight of browsers. It wants
// to be mounted at PathPrefix, with the path as the client sent it.
//
// GET and PUT succeed with 200. 403: the signature is wrong or has expired. 404: no such object. 409: an upload to an
// object that was accepted already. 413: an upload that is too large. 503 with Retry-After: no room left, or a disk that fails.
func (d *Disk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT, OPTIONS")
		header.Set("Access-Control-Allow-Headers", "*")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			header.Set("Access-Control-Allow-Headers", asked)
		}
		header.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, PathPrefix)
	key := Key(name)
	switch {
	case !ok || !key.Valid():
		d.fail(w, ErrNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPut:
		header.Set("Allow", "GET, HEAD, PUT, OPTIONS")
		refuse(w, "method not allowed", http.StatusMethodNotAllowed)
	case !d.permitted(r, key):
		refuse(w, "the signature is wrong or has expired", http.StatusForbidden)
	case r.Method == http.MethodPut:
		d.receive(w, r, key)
	default:
		d.send(w, r, key)
	}
}

// send answers GET and HEAD.
func (d *Disk) send(w http.ResponseWriter, r *http.Request, key Key) {
	f, info, err := d.open(key)
	if errors.Is(err, ErrNotFound) && r.Method == http.MethodHead && d.check(http.MethodPut, key, r.URL.Query()) {
		// The uploader asks after an upload that is not accepted yet.
		f, info, err = d.openUpload(key)
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", ContentType)
	// The object cannot change any more, but the permission to read it ends with the URL.
	w.Header().Set("Cache-Control", fmt.Sprintf("private, max-age=%d, immutable", int(URLLifetime.Seconds())))
	http.ServeContent(w, r, "", info.Stored, f)
}

// receive answers PUT.
func (d *Disk) receive(w http.ResponseWriter, r *http.Request, key Key) {
	if r.ContentLength > d.cfg.MaxBytes {
		d.fail(w, ErrTooLarge)
		return
	}
	// An upload may take longer than other requests may. Writers that know no deadlines are left to their own bounds.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d.cfg.UploadTimeout))
	if err := d.upload(r.Context(), key, http.MaxBytesReader(w, r.Body, d.cfg.MaxBytes)); err != nil {
		d.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// fail answers with the status that fits err.
func (d *Disk) fail(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrKey):
		refuse(w, ErrNotFound.Error(), http.StatusNotFound)
	case errors.Is(err, ErrSealed):
		refuse(w, ErrSealed.Error(), http.StatusConflict)
	case errors.Is(err, ErrTooLarge), errors.As(err, &tooLarge):
		refuse(w, ErrTooLarge.Error(), http.StatusRequestEntityTooLarge)
	case errors.Is(err, ErrFull):
		d.cfg.Log.Error("objects cannot be stored", "err", err)
		refuseForNow(w, "There is no room for images at the moment. Try again shortly.")
	case isPathError(err):
		d.cfg.Log.Error("object store failed", "err", err)
		refuseForNow(w, "Images cannot be kept at the moment. Try again shortly.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, "the upload took too long", http.StatusRequestTimeout)
	case errors.Is(err, context.Canceled):
		// Nobody is there to read an answer.
	default:
		// All else came from reading the body.
		refuse(w, "the upload broke off", http.StatusBadRequest)
	}
}

// retryAfter is when somebody whose object could not be stored or read for a reason of the disk may try again, in seconds.
const retryAfter = "5"

// refuseForNow refuses what may succeed when the disk has recovered.
func refuseForNow(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", retryAfter)
	refuse(w, message, http.StatusServiceUnavailable)
}

// refuse answers with an error in the form of the API: whoever follows a link that the API gave reads one form only.
func refuse(w http.ResponseWriter, message string, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Message string `json:"message"`
	}{message}) // The reader may be gone.
}

// isPathError tells whether a file, not the connection, failed.
func isPathError(err error) bool {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return true
	}
	_, ok := errors.AsType[*os.LinkError](err)
	return ok
}
