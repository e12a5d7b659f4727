// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// compressible are the types of answers that shrink. Images do not, and a stream of events must not wait for a block to
// fill.
var compressible = []string{
	"application/json", "application/javascript", "text/javascript", "text/html", "text/css", "text/plain", "text/markdown", "image/svg+xml",
}

// compressMin is the size in bytes below which compressing costs more than it saves: it all fits in one packet anyway.
const compressMin = 1 << 10

// compressed adds gzip for those who ask for it. Never Brotli, which a client announces without being able to read it, and
// not zstd, which proxies of the field do not know.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.EnableZstd(false), gzhttp.MinSize(compressMin), gzhttp.ContentTypes(compressible), gzhttp.SetContentType(false),
	)
	if err != nil {
		panic("api: " + err.Error()) // the options above are constant
	}
	return wrap(h)
}
