// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"bytes"
	"embed"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed static
var static embed.FS

// asset is a file that pages load. Its name holds a digest of its bytes, so that a browser may keep it for good.
type asset struct {
	name  string
	text  []byte
	kind  string // the content type
	plain string // the name without the digest
}

// assets are the files by the name under which they are served; paths are those names by the name of the source file.
var assets, paths = load()

func load() (map[string]asset, map[string]string) {
	entries, err := static.ReadDir("static")
	if err != nil {
		panic("web: " + err.Error()) // the directory is part of the program
	}
	assets, paths := make(map[string]asset), make(map[string]string)
	for _, entry := range entries {
		plain := entry.Name()
		text, err := static.ReadFile("static/" + plain)
		if err != nil {
			panic("web: " + err.Error())
		}
		ext := path.Ext(plain)
		a := asset{name: plain[:len(plain)-len(ext)] + "." + digest(text) + ext, text: text, kind: types[ext], plain: plain}
		assets[a.name], paths[plain] = a, "/assets/"+a.name
	}
	return assets, paths
}

// types are told here because mime.TypeByExtension depends on the machine.
var types = map[string]string{
	".css": mime.FormatMediaType("text/css", utf8), ".js": mime.FormatMediaType("text/javascript", utf8), ".svg": "image/svg+xml",
}

var utf8 = map[string]string{"charset": "utf-8"}

// assetPath is where the file of that name is served.
func assetPath(plain string) string {
	p, ok := paths[plain]
	if !ok {
		panic("web: no file " + plain)
	}
	return p
}

func (p *pages) serveAsset(w http.ResponseWriter, req *http.Request) {
	a, ok := assets[req.PathValue("file")]
	if !ok {
		p.router.WriteError(w, req, &refusal{Status: http.StatusNotFound})
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	a.serve(w, req)
}

// serveFavicon is for browsers that show an answer of the API and ask for an icon on their own account.
func serveFavicon(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=86400")
	assets[path.Base(assetPath("favicon.svg"))].serve(w, req)
}

func (a asset) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", etag(a.text))
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(a.text))
}

// robots keeps search engines to what is worth finding.
const robots = "User-agent: *\nDisallow: /api/v2/\nDisallow: /register\nDisallow: /login\nDisallow: /profile\nDisallow: /transfer\n"

func serveRobots(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=86400")
	_, _ = w.Write([]byte(robots))
}

// light is one lamp of the picture on the front page.
type light struct{ X, Y int }

// The picture has this many lamps, this many units apart.
const (
	lightColumns = 20
	lightRows    = 7
	lightGap     = 20
)

// lights are where the lamps are.
func lights() []light {
	list := make([]light, 0, lightColumns*lightRows)
	for y := range lightRows {
		for x := range lightColumns {
			list = append(list, light{lightGap/2 + x*lightGap, lightGap/2 + y*lightGap})
		}
	}
	return list
}
