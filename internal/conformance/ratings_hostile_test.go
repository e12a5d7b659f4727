// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"horde/internal/horde"
	"horde/internal/node"
)

// ratingsDocument is the OpenAPI document of the ratings service, and holds its answers against it.
type ratingsDocument struct {
	t        testing.TB
	paths    document
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

const ratingsDocumentURL = "https://ratings.example/openapi.json"

func (s *server) ratingsDocument() *ratingsDocument {
	s.t.Helper()
	a := s.want(s.bare(s.request("GET", "/ratings/api/openapi.json", account{}, nil)), http.StatusOK)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.text))
	if err != nil {
		s.t.Fatal(err)
	}
	d := &ratingsDocument{s.t, value.(document)["paths"].(document), jsonschema.NewCompiler(), map[string]*jsonschema.Schema{}}
	if err := d.compiler.AddResource(ratingsDocumentURL, value); err != nil {
		s.t.Fatal(err)
	}
	return d
}

// has checks that the document has the status and the shape of an answer to an operation.
func (d *ratingsDocument) has(why, path, method string, a answer) {
	d.t.Helper()
	op := d.paths[path].(document)[strings.ToLower(method)].(document)
	response, ok := op["responses"].(document)[fmt.Sprint(a.status)].(document)
	if !ok {
		d.t.Errorf("%s %s, %s: answers %d, which is not documented: %.200s", method, path, why, a.status, a.text)
		return
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	content, _ := response["content"].(document)
	if a.text != "" && content[media] == nil {
		d.t.Errorf("%s %s, %s: answers %d as %q, which is not documented", method, path, why, a.status, media)
	}
	if media != "application/json" || content[media] == nil {
		return
	}
	at := fmt.Sprintf("#/paths/%s/%s/responses/%d/content/application~1json/schema", pointer(path), strings.ToLower(method), a.status)
	if d.schemas[at] == nil {
		schema, err := d.compiler.Compile(ratingsDocumentURL + at)
		if err != nil {
			d.t.Fatal(err)
		}
		d.schemas[at] = schema
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(a.text))
	if err == nil {
		err = d.schemas[at].Validate(value)
	}
	if err != nil {
		d.t.Errorf("%s %s, %s: answers %d unlike its schema: %v\n%.300s", method, path, why, a.status, err, a.text)
	}
}

// Every operation of the ratings service is called in ways that nobody means well. None may fail (5xx), and each answer is as its
// document says.
func TestHostileCallsOfTheRatingsService(t *testing.T) {
	t.Parallel()
	s := open(t, rated(nil), func(c *node.Config) { c.RatingsService, c.RatingsSecret = true, "hush" })
	mod := s.user(10_000, horde.Moderator)
	s.sharedImages(6)
	d := s.ratingsDocument()
	pops := map[string]any{"dataset_id": s.dataset(), "model_name": "stable_diffusion", "user_id": mod.id, "filename": "manifest.json", "image_id": s.popToRate(mod)}
	const set = `{"set":"00000000-0000-4000-8000-000000000009","all_set_ids":["00000000-0000-4000-8000-000000000001"],"ratings":[{"id":"00000000-0000-4000-8000-000000000001","rating":3}]}`
	calls := 0
	for _, path := range slices.Sorted(maps.Keys(d.paths)) {
		for method, operation := range d.paths[path].(document) {
			method, operation := strings.ToUpper(method), operation.(document)
			var body any
			query, as := "", mod
			request := func(instead map[string]string) *http.Request {
				target := path
				for name, value := range pops {
					text := fmt.Sprint(value)
					if by, ok := instead[name]; ok {
						text = by
					}
					target = strings.ReplaceAll(target, "{"+name+"}", text)
				}
				req := s.request(method, target+query, as, body)
				req.Header.Set("Horde-Ratings-Secret", "hush")
				return req
			}
			switch {
			case strings.HasSuffix(path, "/rating/set"):
				body = set
			case method == http.MethodPost:
				body = `{"rating":7,"artifacts":"GARBAGE"}`
			case method == http.MethodPut:
				body = `{"validated":true}`
			case strings.Contains(path, "/user/check/"):
				query = "?minutes=60&divergence=2"
			}
			try := func(why string, req *http.Request) answer {
				t.Helper()
				calls++
				a := s.bare(req)
				switch {
				case a.status >= 500:
					t.Errorf("%s %s, %s: %d %.300s", method, path, why, a.status, a.text)
				case a.status >= 400:
					if m, _ := a.at("message").(string); m == "" || len(a.text) > 16<<10 {
						t.Errorf("%s %s, %s: no error document: %d %.300s", method, path, why, a.status, a.text)
					}
				}
				if strings.Contains(a.text, as.key) || strings.Contains(a.text, "hush") {
					t.Errorf("%s %s, %s: a secret is repeated: %.300s", method, path, why, a.text)
				}
				if req.Method == method && req.Header.Get("X-Fields") == "" && req.Header.Get("Accept-Encoding") == "" {
					d.has(why, path, method, a)
				}
				return a
			}
			as = s.user(0, horde.Moderator) // who has not rated anything yet
			if strings.HasSuffix(path, "/rating/{image_id}") {
				pops["image_id"] = s.popToRate(as)
			}
			if a := try("as it is meant", request(nil)); a.status >= 300 && !strings.Contains(path, "{filename}") { // nothing is exported yet
				t.Errorf("%s %s: the call that works got %d %.300s", method, path, a.status, a.text)
			}
			for name := range pops {
				if strings.Contains(path, "{"+name+"}") {
					for _, segment := range hostileSegments {
						try(fmt.Sprintf("%.40s for %s", segment, name), request(map[string]string{name: segment}))
					}
				}
			}
			for _, p := range operation["parameters"].([]any) {
				p := p.(document)
				for _, value := range hostileValues {
					req := request(nil)
					switch name := p["name"].(string); p["in"] {
					case "query":
						req.URL.RawQuery = strings.TrimPrefix(strings.TrimPrefix(query, "?")+"&"+name+"="+escapeAll(value), "&")
						try(fmt.Sprintf("%s=%.40q after it", name, value), req)
						req = request(nil)
						req.URL.RawQuery = name + "=" + escapeAll(value) + "&" + strings.TrimPrefix(query, "?")
						try(fmt.Sprintf("%s=%.40q", name, value), req)
					case "header":
						req.Header[http.CanonicalHeaderKey(name)] = []string{value}
						try(fmt.Sprintf("%s: %.40q", name, value), req)
					}
				}
			}
			for _, h := range hostileHeaders() {
				req := request(nil)
				maps.Copy(req.Header, h)
				try(fmt.Sprintf("headers %.60q", fmt.Sprint(h)), req)
			}
			for _, other := range []string{"PATCH", "TRACE", "PROPFIND", "get"} {
				req := request(nil)
				req.Method = other
				if a := try("the method "+other, req); a.status != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %d, want 405", other, path, a.status)
				}
			}
			if body == nil {
				continue
			}
			valid := body.(string)
			bodies, ignored := hostileBodies(valid)
			for why, text := range bodies {
				body = text
				if a := try("the body is "+why, request(nil)); !ignored[why] && a.status != http.StatusBadRequest && a.status != http.StatusRequestEntityTooLarge {
					t.Errorf("%s %s, the body is %s: got %d %.300s, want 400", method, path, why, a.status, a.text)
				} else if a.status == http.StatusBadRequest && (a.at("rc") != "ValidationError" || a.at("errors") == nil) {
					t.Errorf("%s %s, the body is %s: refused without reasons: %.300s", method, path, why, a.text)
				}
			}
			body = valid
			for _, ct := range hostileContentTypes {
				req := request(nil)
				req.Header["Content-Type"] = []string{ct}
				try(fmt.Sprintf("content type %.40q", ct), req)
			}
		}
	}
	t.Logf("%d hostile calls of %d paths", calls, len(d.paths))
	if len(d.paths) < 12 || calls < 100*len(d.paths) {
		t.Error("too few calls were made")
	}
	s.away(0)
}

// sharedImages lets an account have so many images made that are shared, and rates one, so that the service has them all.
func (s *server) sharedImages(n int) {
	s.t.Helper()
	u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
	for range n {
		id := s.image(u, fields{"prompt": "a lighthouse", "models": []string{"stable_diffusion"}, "shared": true, "params": fields{"steps": 10}})
		job := s.popImage(owner, fresh("painter"), fields{"models": []string{"stable_diffusion"}})
		s.deliver(owner, job)
		s.want(s.call("POST", "/generate/rate/"+id, account{}, fields{"ratings": []fields{{"id": s.job(job), "rating": 6}}}), http.StatusOK)
	}
	if images, _ := s.datasetNow()["image_count"].(float64); int(images) != n {
		s.t.Fatalf("the service has %v images, want %d", images, n)
	}
}

func (s *server) datasetNow() map[string]any {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, s.request("GET", "/ratings/api/v1/datasets", account{}, nil))
	a := answer{text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.value)
	list, _ := a.value.([]any)
	if len(list) == 0 {
		s.t.Fatalf("no data sets: %s", a.text)
	}
	return list[0].(map[string]any)
}

func (s *server) dataset() string { return s.datasetNow()["id"].(string) }

// popToRate pops an image to rate that is no captcha for long; where nothing is left it is an id that nobody has.
func (s *server) popToRate(as account) string {
	a := s.bare(s.request("GET", "/ratings/api/v1/rating/new", as, nil))
	if id, _ := a.at("id").(string); id != "" {
		return id
	}
	return "00000000-0000-4000-8000-00000000000f"
}
