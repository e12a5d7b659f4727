// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"horde/internal/worker/backend"
)

// A file that was put into a folder while the server runs can be used in the next graph, without asking for everything
// that the server has again.
func TestReload(t *testing.T) {
	t.Parallel()
	loras, asked := `"old.safetensors"`, []string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		loader := `"LoraLoader":{"input":{"required":{"lora_name":[[` + loras + `]]}}}`
		switch r.URL.Path {
		case "/system_stats":
			io.WriteString(w, `{}`)
		case "/object_info":
			classes := ""
			for _, c := range basic {
				classes += `"` + c + `":{},`
			}
			io.WriteString(w, `{`+classes+loader+`}`)
		case "/object_info/LoraLoader":
			io.WriteString(w, `{`+loader+`}`)
		case "/embeddings":
			io.WriteString(w, `["72437"]`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	at, err := backend.NewEndpoint(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	d := New(at, nil)
	if info, err := d.Probe(t.Context()); err != nil || !info.Has[backend.Embeddings] {
		t.Fatal(info, err)
	}
	before, _ := d.known(t.Context())
	loras, asked = `"old.safetensors","sub/new_79.safetensors"`, nil
	files, err := d.Reload(t.Context())
	if err != nil || strings.Join(files.Loras, " ") != "old.safetensors sub/new_79.safetensors" || strings.Join(files.Embeddings, " ") != "72437" ||
		strings.Join(asked, " ") != "/object_info/LoraLoader /embeddings" {
		t.Fatalf("%v, %v after %q", files, err, asked)
	}
	after, _ := d.known(t.Context())
	if after.Find("LoraLoader", "lora_name", "new_79.safetensors") != "sub/new_79.safetensors" || !after.Has(basic...) {
		t.Error("the next graph does not know the new file")
	}
	if before.Find("LoraLoader", "lora_name", "new_79.safetensors") != "" {
		t.Error("the map that running jobs read was changed")
	}
}
