// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// The styles chapter: styles, and who may do what with them. What requests make of them is in style_use_test.go.

// style makes a style of a kind and returns its id.
func (s *server) style(kind string, as account, more fields) string {
	s.t.Helper()
	body := fields{"name": fresh("style"), "models": []string{"Deliberate"}}
	if kind == "text" {
		body["models"] = []string{"test/7B"}
	}
	return s.want(s.call("POST", "/styles/"+kind, as, body.with(more)), http.StatusOK).str("id")
}

func keysOf(a answer) []string {
	m, _ := a.value.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

func TestStyles7And9WhatAStyleMayBe(t *testing.T) {
	t.Parallel()
	example(t, "styles", 7, 9)
	s := open(t)
	u := s.user(0, horde.Customizer)
	ok := fields{"name": "X", "models": []string{"Deliberate"}}
	for _, c := range []struct {
		name   string
		kind   string
		change fields
		status int
		rc     string
		field  string
	}{
		{"no models", "image", fields{"models": nil}, 400, "BadRequest", ""},
		{"an empty list of models", "image", fields{"models": []string{}}, 400, "BadRequest", ""},
		{"6 models", "image", fields{"models": strings.Split("a b c d e f", " ")}, 400, "BadRequest", ""},
		{"11 tags", "image", fields{"tags": strings.Split("a b c d e f g h i j k", " ")}, 400, "BadRequest", ""},
		{"a tag of 26 characters", "image", fields{"tags": []string{strings.Repeat("t", 26)}}, 400, "", "tags.0"},
		{"an empty tag", "image", fields{"tags": []string{""}}, 400, "", "tags.0"},
		{"a short info", "image", fields{"info": "short"}, 400, "", "info"},
		{"an info of 1001 characters", "image", fields{"info": strings.Repeat("i", 1001)}, 400, "", "info"},
		{"no name", "image", fields{"name": nil}, 400, "", "name"},
		{"a name of 101 characters", "image", fields{"name": strings.Repeat("n", 101)}, 400, "", "name"},
		{"a width that is no multiple", "image", fields{"params": fields{"width": 100}}, 400, "", "params.width"},
		{"steps 501", "image", fields{"params": fields{"steps": 501}}, 400, "", "params.steps"},
		{"a LoRA without a name", "image", fields{"params": fields{"loras": []fields{{}}}}, 400, "", "params.loras.0.name"},
		{"a null", "image", fields{"params": fields{"karras": json.RawMessage("null")}}, 400, "", "params.karras"},
		{"an unknown sampler", "image", fields{"params": fields{"sampler_name": "k_nope"}}, 400, "", "params.sampler_name"},
		{"top_p 0", "text", fields{"params": fields{"top_p": 0}}, 400, "", "params.top_p"},
		{"max_length 8", "text", fields{"params": fields{"max_length": 8}}, 400, "", "params.max_length"},
		{"a short prompt", "image", fields{"prompt": "{p}{n}"}, 400, "", "prompt"},
		{"a short text prompt", "text", fields{"prompt": "{p"}, 400, "", "prompt"},
		{"no place for the negative prompt", "image", fields{"prompt": "{p} only"}, 400, "StylePromptMissingVars", ""},
		{"no place for the prompt", "text", fields{"prompt": "{np} only"}, 400, "StylePromptMissingVars", ""},
		{"a profane name", "image", fields{"name": "fuck you"}, 400, "BadRequest", ""},
		{"a profane tag", "image", fields{"tags": []string{"fuck you"}}, 400, "BadRequest", ""},
		{"a short shared key", "image", fields{"sharedkey": "x"}, 400, "", "sharedkey"},
		{"an unknown shared key", "image", fields{"sharedkey": "00000000-0000-4000-8000-000000000000"}, 400, "SharedKeyInvalid", ""},
		{"hires_fix with Flux", "image", fields{"models": []string{"Flux.1-Schnell fp8 (Compact)"}, "params": fields{"hires_fix": true}}, 400, "HiResMismatch", ""},
		{"6 LoRAs", "image", fields{"params": fields{"loras": slices.Repeat([]fields{{"name": "1"}}, 6)}}, 400, "TooManyLoras", ""},
		{"a bad LoRA version", "image", fields{"params": fields{"loras": []fields{{"name": "x", "is_version": true}}}}, 400, "BadLoraVersion", ""},
		{"21 textual inversions", "image", fields{"params": fields{"tis": slices.Repeat([]fields{{"name": "1"}}, 21)}}, 400, "TooManyTIs", ""},
		{"a transparent Flux", "image", fields{"models": []string{"Flux.1-Schnell fp8 (Compact)"}, "params": fields{"transparent": true}}, 400, "InvalidTransparencyModel", ""},
		{"a QR code of Flux", "image", fields{"models": []string{"Flux.1-Schnell fp8 (Compact)"}, "params": fields{"workflow": "qr_code"}}, 400, "ControlNetMismatch.", ""},
		{"7501 words", "image", fields{"prompt": "{p}{np}" + strings.Repeat(" w", 7501)}, 400, "InvalidPromptSize", ""},
		{"a post-processor as model", "image", fields{"models": []string{"GFPGAN"}}, 400, "UnexpectedModelName", ""},
		{"2 upscalers", "image", fields{"params": fields{"post_processing": []string{"NMKD_Siax", "4x_AnimeSharp"}}}, 400, "TooManyUpscalers", ""},
		{"3 decimals", "image", fields{"params": fields{"cfg_scale": 7.123}}, 400, "BadCFGDecimals", ""},
		{"a special model", "image", fields{"models": []string{"horde_special::x#1"}}, 403, "Forbidden", ""},
		{"more to write than to read", "text", fields{"params": fields{"max_length": 512, "max_context_length": 80}}, 400, "TokenOverflow", ""},
		{"6 samplers", "text", fields{"params": fields{"sampler_order": []int{0, 1, 2, 3, 4, 5}}}, 400, "MissingFullSamplerOrder", ""},
		{"129 stop sequences", "text", fields{"params": fields{"stop_sequence": numbered(129)}}, 400, "TooManyStopSequences", ""},
		{"a long stop sequence", "text", fields{"params": fields{"stop_sequence": []string{strings.Repeat("s", 2001)}}}, 400, "ExcessiveStopSequence", ""},
		{"a NUL", "image", fields{"prompt": "{p}{np}\x00"}, 400, "NulByteInPayload", ""},
		{"a NUL in what is not declared", "image", fields{"params": fields{"mine": "\x00"}}, 400, "NulByteInPayload", ""},
		{"params of 64 KiB", "image", fields{"params": fields{"mine": strings.Repeat("x", 64<<10)}}, 400, "BadRequest", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			body := ok.with(c.change)
			for k, v := range body {
				if v == nil {
					delete(body, k)
				}
			}
			a := s.call("POST", "/styles/"+c.kind, u, body)
			if c.field != "" {
				s.invalid(a, c.field)
			} else {
				s.refused(a, c.status, c.rc)
			}
		})
	}
	if n := len(s.get("/styles/image", account{}).list()) + len(s.get("/styles/text", account{}).list()); n > 0 {
		t.Errorf("what was refused left %d styles", n)
	}
	id := s.style("image", u, fields{"params": json.RawMessage(`{"seed":"x"}`)})
	if a := s.get("/styles/image/"+id, account{}); a.has("params") {
		t.Errorf("what is not declared is shown: %s", a.text)
	}
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

// Worked example 8, and sections 5.4 to 5.6: who may do what, in the order of the checks.
func TestStyles8WhoMayDoWhat(t *testing.T) {
	t.Parallel()
	example(t, "styles", 8, 12, 13, 16, 18)
	s := open(t)
	owner, stranger, mod, plain := s.user(0, horde.Customizer), s.user(0, horde.Trusted), s.user(0, horde.Moderator), s.user(0, 0)
	nobody := account{0, "bogus"}
	image, text := s.style("image", owner, fields{"name": "X"}), s.style("text", owner, fields{"name": "T"})
	example := s.want(s.call("POST", "/styles/image/"+image+"/example", owner, `{"url":"https://a.example/1.webp","primary":false}`), http.StatusOK).str("id")
	collection := s.want(s.call("POST", "/collections", owner, fields{"name": "C", "styles": []string{image}}), http.StatusOK).str("id")
	unknown := "00000000-0000-4000-8000-000000000000"
	good, x := `{"name":"new","models":["m"]}`, `{"url":"https://a.example/2.webp","primary":false}`
	for _, c := range []struct {
		name         string
		method, path string
		as           account
		body         string
		status       int
		rc           string
	}{
		{"no key", "POST", "/styles/image", account{}, good, 400, ""},
		{"no models, before the key", "POST", "/styles/image", nobody, `{"name":"new"}`, 400, "BadRequest"},
		{"11 tags, before the key", "POST", "/styles/image", nobody, `{"name":"new","models":["m"],"tags":["a","b","c","d","e","f","g","h","i","j","k"]}`, 400, "BadRequest"},
		{"an unknown key", "POST", "/styles/image", nobody, good, 401, "InvalidAPIKey"},
		{"no role", "POST", "/styles/image", plain, good, 403, "StylesRequiresCustomizer"},
		{"anonymous", "POST", "/styles/text", anonymous, good, 403, "StylesRequiresCustomizer"},
		{"a taken name", "POST", "/styles/image", owner, `{"name":"X","models":["m"]}`, 400, "BadRequest"},
		{"a taken name of the other kind", "POST", "/styles/text", owner, `{"name":"X","models":["m"]}`, 400, "BadRequest"},

		{"change: tags before the key", "PATCH", "/styles/image/" + image, nobody, `{"tags":["a","b","c","d","e","f","g","h","i","j","k"]}`, 400, "BadRequest"},
		{"change: an unknown key", "PATCH", "/styles/image/" + image, nobody, `{"info":"i"}`, 401, "InvalidAPIKey"},
		{"change: an unknown style", "PATCH", "/styles/image/" + unknown, owner, `{"info":"i"}`, 404, "StyleNotFound"},
		{"change: a stranger", "PATCH", "/styles/image/" + image, stranger, `{"info":"i"}`, 403, "Forbidden"},
		{"18 change: a moderator", "PATCH", "/styles/image/" + image, mod, `{"info":"i"}`, 403, "Forbidden"},
		{"change: the wrong kind", "PATCH", "/styles/text/" + image, owner, `{"info":"i"}`, 400, "StyleGetMistmatch"},
		{"change: no models", "PATCH", "/styles/image/" + image, owner, `{"models":[]}`, 400, "BadRequest"},
		{"change: a taken name", "PATCH", "/styles/image/" + image, owner, `{"name":"T"}`, 400, "BadRequest"},
		{"change: a profane name", "PATCH", "/styles/image/" + image, owner, `{"name":"fuck you"}`, 400, "BadRequest"},
		{"change: placeholders", "PATCH", "/styles/image/" + image, owner, `{"prompt":"{p} only"}`, 400, "StylePromptMissingVars"},
		{"change: merged with what is there", "PATCH", "/styles/image/" + image, owner, `{"models":["GFPGAN"]}`, 400, "UnexpectedModelName"},
		{"change: an unknown shared key", "PATCH", "/styles/image/" + image, owner, `{"sharedkey":"` + unknown + `"}`, 400, "SharedKeyInvalid"},

		{"delete: an unknown key", "DELETE", "/styles/image/" + image, nobody, ``, 401, "InvalidAPIKey"},
		{"delete: anonymous", "DELETE", "/styles/image/" + unknown, anonymous, ``, 403, "StylesAnonForbidden"},
		{"delete: an unknown style", "DELETE", "/styles/image/" + unknown, owner, ``, 404, "StyleNotFound"},
		{"delete: a collection", "DELETE", "/styles/image/" + collection, owner, ``, 404, "StyleNotFound"},
		{"delete: a stranger", "DELETE", "/styles/image/" + image, stranger, ``, 403, "Forbidden"},
		{"delete: the wrong kind", "DELETE", "/styles/text/" + image, owner, ``, 400, "StyleGetMistmatch"},

		{"example: no url", "POST", "/styles/image/" + image + "/example", owner, `{"primary":true}`, 400, ""},
		{"example: no primary", "POST", "/styles/image/" + image + "/example", owner, `{"url":"https://a.example/2.webp"}`, 400, ""},
		{"16 example: http, before the key", "POST", "/styles/image/" + image + "/example", nobody, `{"url":"http://a.example/2.webp","primary":true}`, 400, "BadRequest"},
		{"example: an unknown key", "POST", "/styles/image/" + image + "/example", nobody, x, 401, "InvalidAPIKey"},
		{"example: an unknown style", "POST", "/styles/image/" + unknown + "/example", owner, x, 404, "StyleNotFound"},
		{"example: a stranger", "POST", "/styles/image/" + image + "/example", stranger, x, 403, "Forbidden"},
		{"example: a text style", "POST", "/styles/image/" + text + "/example", owner, x, 400, "BadRequest"},
		{"16 example: the same url", "POST", "/styles/image/" + image + "/example", owner, `{"url":"https://a.example/1.webp","primary":false}`, 400, "ExampleURLAlreadyInUse"},
		{"change example: http", "PATCH", "/styles/image/" + image + "/example/" + unknown, nobody, `{"url":"http://a.example/2.webp"}`, 400, "BadRequest"},
		{"change example: unknown, before the key", "PATCH", "/styles/image/" + image + "/example/" + unknown, nobody, `{}`, 404, "Style exampleNotFound"},
		{"change example: malformed", "PATCH", "/styles/image/" + image + "/example/nope", owner, `{}`, 404, "Style exampleNotFound"},
		{"change example: of another style", "PATCH", "/styles/image/" + text + "/example/" + example, owner, `{}`, 404, "Style exampleNotFound"},
		{"change example: an unknown key", "PATCH", "/styles/image/" + image + "/example/" + example, nobody, `{}`, 401, "InvalidAPIKey"},
		{"change example: an unknown style", "PATCH", "/styles/image/" + unknown + "/example/" + example, owner, `{}`, 404, "StyleNotFound"},
		{"change example: a stranger", "PATCH", "/styles/image/" + image + "/example/" + example, stranger, `{}`, 403, "Forbidden"},
		{"change example: the only primary", "PATCH", "/styles/image/" + image + "/example/" + example, owner, `{"primary":false}`, 400, "BadRequest"},
		{"delete example: malformed", "DELETE", "/styles/image/" + image + "/example/nope", owner, ``, 404, "Style exampleNotFound"},
		{"delete example: an unknown key", "DELETE", "/styles/image/" + image + "/example/" + example, nobody, ``, 401, "InvalidAPIKey"},
		{"delete example: a stranger", "DELETE", "/styles/image/" + image + "/example/" + example, stranger, ``, 403, "Forbidden"},

		{"12 an image style as text", "GET", "/styles/text/" + image, account{}, ``, 400, "StyleGetMistmatch"},
		{"12 a text style as image", "GET", "/styles/image/" + text, account{}, ``, 400, "StyleGetMistmatch"},
		{"12 an unknown image style", "GET", "/styles/image/" + unknown, account{}, ``, 404, "Image styleNotFound"},
		{"12 an unknown text style", "GET", "/styles/text/nope", account{}, ``, 404, "Text styleNotFound"},
		{"12 the id of a collection", "GET", "/styles/image/" + collection, account{}, ``, 404, "Image styleNotFound"},
		{"12 an unknown name", "GET", "/styles/image_by_name/nope", account{}, ``, 404, "StyleNotFound"},
		{"12 the name of a collection", "GET", "/styles/image_by_name/C", account{}, ``, 404, "StyleNotFound"},
		{"12 a name of the other kind", "GET", "/styles/text_by_name/X", account{}, ``, 400, "StyleGetMistmatch"},
		{"12 an unknown collection", "GET", "/collections/nope", account{}, ``, 404, "CollectionNotFound"},
		{"12 an unknown name of a collection", "GET", "/collection_by_name/nope", account{}, ``, 404, "CollectionNotFound"},
		{"12 the name of a style", "GET", "/collection_by_name/X", account{}, ``, 404, "CollectionNotFound"},
		{"13 sort", "GET", "/styles/image?sort=new", account{}, ``, 400, "BadRequest"},
		{"13 page x", "GET", "/styles/image?page=x", account{}, ``, 400, ""},
		{"page 0", "GET", "/styles/text?page=0", account{}, ``, 400, "BadRequest"},
		{"sort of collections", "GET", "/collections?sort=new", account{}, ``, 400, "BadRequest"},
		{"page of collections", "GET", "/collections?page=-1", account{}, ``, 400, "BadRequest"},
		{"type of collections", "GET", "/collections?type=alchemy", account{}, ``, 400, "BadRequest"},

		{"collection: no key", "POST", "/collections", account{}, `{"name":"D","styles":["X"]}`, 400, ""},
		{"collection: no name", "POST", "/collections", owner, `{"styles":["X"]}`, 400, ""},
		{"collection: no styles", "POST", "/collections", owner, `{"name":"D"}`, 400, ""},
		{"collection: none, before the key", "POST", "/collections", nobody, `{"name":"D","styles":[]}`, 400, "BadRequest"},
		{"collection: an unknown key", "POST", "/collections", nobody, `{"name":"D","styles":["X"]}`, 401, "InvalidAPIKey"},
		{"collection: anonymous", "POST", "/collections", anonymous, `{"name":"D","styles":["X"]}`, 403, "StylesAnonForbidden"},
		{"collection: an unknown style", "POST", "/collections", plain, `{"name":"D","styles":["X","nope"]}`, 400, "BadRequest"},
		{"collection: a collection", "POST", "/collections", plain, `{"name":"D","styles":["` + collection + `"]}`, 400, "BadRequest"},
		{"collection: the name of one", "POST", "/collections", plain, `{"name":"D","styles":["collection::C"]}`, 400, "BadRequest"},
		{"collection: both kinds", "POST", "/collections", plain, `{"name":"D","styles":["` + image + `","` + text + `"]}`, 400, "StyleMismatch"},
		{"collection: a profane name", "POST", "/collections", plain, `{"name":"fuck you","styles":["X"]}`, 400, "BadRequest"},
		{"collection: a profane info", "POST", "/collections", plain, `{"name":"D","info":"fuck you","styles":["X"]}`, 400, "BadRequest"},
		{"collection: a taken name", "POST", "/collections", owner, `{"name":"C","styles":["X"]}`, 400, "BadRequest"},
		{"change collection: an unknown key", "PATCH", "/collections/" + unknown, nobody, `{"info":"i"}`, 401, "InvalidAPIKey"},
		{"change collection: unknown", "PATCH", "/collections/" + unknown, owner, `{"info":"i"}`, 404, "CollectionNotFound"},
		{"change collection: a stranger", "PATCH", "/collections/" + collection, stranger, `{"styles":["nope"]}`, 403, "Forbidden"},
		{"change collection: a moderator", "PATCH", "/collections/" + collection, mod, `{"info":"i"}`, 403, "Forbidden"},
		{"change collection: the other kind", "PATCH", "/collections/" + collection, owner, `{"styles":["T"]}`, 400, "StyleMismatch"},
		{"change collection: none", "PATCH", "/collections/" + collection, owner, `{"styles":[]}`, 400, "BadRequest"},
		{"delete collection: an unknown key", "DELETE", "/collections/" + collection, nobody, ``, 401, "InvalidAPIKey"},
		{"delete collection: unknown", "DELETE", "/collections/" + image, owner, ``, 404, "CollectionNotFound"},
		{"delete collection: a stranger", "DELETE", "/collections/" + collection, stranger, ``, 403, "Forbidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var body any
			if c.body != "" {
				body = c.body
			}
			s.refused(s.call(c.method, c.path, c.as, body), c.status, c.rc)
		})
	}
	s.shows(s.get("/styles/image/"+image, account{}), fields{"name": "X", "info": "", "prompt": "{p}{np}"})

	// An account that is to be deleted makes nothing more.
	s.want(s.call("DELETE", owner.path(), owner, nil), http.StatusOK)
	s.refused(s.call("POST", "/styles/image", owner, good), http.StatusForbidden, "DeletedUser")
	s.refused(s.call("POST", "/collections", owner, `{"name":"D","styles":["X"]}`), http.StatusForbidden, "DeletedUser")

	s.shows(s.want(s.call("DELETE", "/styles/image/"+image, mod, nil), http.StatusOK), fields{"message": "OK"})
	if a := s.get("/collections/"+collection, account{}); len(a.list("styles")) > 0 {
		t.Errorf("a style that was removed is in a collection: %s", a.text)
	}
	s.shows(s.want(s.call("DELETE", "/collections/"+collection, mod, nil), http.StatusOK), fields{"message": "OK"})
	s.want(s.get("/styles/text/"+text, account{}), http.StatusOK)
}

func TestStyles10And11HowAStyleIsShown(t *testing.T) {
	t.Parallel()
	example(t, "styles", 10, 11)
	s := open(t)
	u := s.user(0, horde.Customizer)
	a := s.want(s.get("/styles/image/"+s.style("image", u, nil), account{}), http.StatusOK)
	if want := strings.Fields("creator examples id info models name nsfw prompt public tags use_count"); !slices.Equal(keysOf(a), want) {
		t.Errorf("an image style has %q, want %q", keysOf(a), want)
	}
	s.shows(a, fields{"info": "", "prompt": "{p}{np}", "public": true, "nsfw": false, "use_count": 0, "examples": []any{}, "tags": []any{}, "models": []any{"Deliberate"}})

	a = s.want(s.get("/styles/text/"+s.style("text", u, nil), account{}), http.StatusOK)
	if want := strings.Fields("creator id info models name nsfw params prompt public tags use_count"); !slices.Equal(keysOf(a), want) {
		t.Errorf("a text style has %q, want %q", keysOf(a), want)
	}
	s.shows(a, fields{"params": map[string]any{"min_p": 0.0, "smoothing_factor": 0.0, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0}})

	id := s.style("image", u, fields{"params": fields{"loras": []fields{{"name": "247778", "is_version": true}}, "tis": []fields{{"name": "x"}}}, "tags": []string{"a", "b", "a"}})
	a = s.get("/styles/image/"+id, account{})
	s.shows(a, fields{"tags": []any{"a", "b"}, "params": map[string]any{
		"loras": []any{map[string]any{"name": "247778", "model": 1.0, "clip": 1.0, "is_version": true}},
		"tis":   []any{map[string]any{"name": "x", "strength": 1.0}},
	}})
	// The owner sees when it was changed last.
	if got := s.get("/styles/image/"+id, u); !got.has("updated") || a.has("updated") {
		t.Errorf("the owner sees %s", got.text)
	}

	// Names are kept sanitised, and found as they were written too.
	id = s.style("image", u, fields{"name": " Salt & <Pepper> ", "models": []string{strings.Repeat("m", 120)}})
	for _, name := range []string{"Salt & <Pepper>", "Salt &amp; &lt;Pepper&gt;"} {
		a := s.want(s.get("/styles/image_by_name/"+url.PathEscape(name), account{}), http.StatusOK)
		s.shows(a, fields{"id": id, "name": "Salt &amp; &lt;Pepper&gt;", "models": []any{strings.Repeat("m", 100)}})
	}
}

// Worked example 14, and demand 140 of the clients chapter.
func TestStyles14NamesOfStyles(t *testing.T) {
	t.Parallel()
	example(t, "styles", 14)
	inBubble(t, func(t *testing.T, s *server) {
		u, other := s.user(0, horde.Customizer), s.user(0, horde.Customizer)
		alias := s.get(u.path(), account{}).str("username")
		id := s.style("image", u, fields{"name": "X"})
		time.Sleep(time.Second)
		later := s.style("image", other, fields{"name": "X"})
		s.style("text", other, fields{"name": "Y"})
		s.style("image", u, fields{"name": "a::b::c::d"})
		for _, name := range []string{"X", "style::X", alias + "::X", fmt.Sprint(int(u.id)) + "::X", "#" + fmt.Sprint(int(u.id)) + "::X", "style::" + alias + "::X", alias + "::style::X"} {
			s.shows(s.want(s.get("/styles/image_by_name/"+url.PathEscape(name), account{}), http.StatusOK), fields{"id": id})
		}
		for _, name := range []string{"collection::X", "nobody::X", "999::X", "style::999::X", "style::nobody::X", "x::y::X", alias + "::collection::X"} {
			s.refused(s.get("/styles/image_by_name/"+url.PathEscape(name), account{}), http.StatusNotFound, "StyleNotFound")
		}
		s.want(s.get("/styles/image_by_name/a::b::c::d", account{}), http.StatusOK)
		// One owner's name is free for others. Of several the wanted kind is meant, then what is used most, then the oldest.
		same := s.style("text", u, fields{"name": "Y"})
		s.shows(s.get("/styles/text_by_name/"+url.PathEscape(alias+"::Y"), account{}), fields{"id": same})
		s.shows(s.get("/styles/image_by_name/X", account{}), fields{"id": id})
		s.image(u, fields{"prompt": "x", "style": later})
		s.shows(s.get("/styles/image_by_name/X", account{}), fields{"id": later, "use_count": 1})
	})
}

func TestStylesAreListed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, mod := s.user(0, horde.Customizer), s.user(0, horde.Moderator)
		for i := range 27 {
			s.style("image", u, fields{"name": fmt.Sprint("style ", i), "tags": []string{"many"}})
			time.Sleep(time.Second)
		}
		hidden := s.style("image", u, fields{"name": "hidden", "public": false, "tags": []string{"many"}})
		time.Sleep(time.Second)
		text := s.style("text", u, fields{"name": "a text"})
		s.image(mod, fields{"prompt": "x", "style": "style 26"})
		list := func(path string) (names []string) {
			for _, v := range s.want(s.get(path, account{}), http.StatusOK).list() {
				names = append(names, v.(map[string]any)["name"].(string))
			}
			return names
		}
		for _, c := range []struct {
			path        string
			count       int
			first, last string
		}{
			{"/styles/image", 25, "style 26", "style 23"},
			{"/styles/image?sort=age", 25, "style 0", "style 24"},
			{"/styles/image?sort=age&page=2", 2, "style 25", "style 26"},
			{"/styles/image?sort=popular&page=2", 2, "style 24", "style 25"},
			{"/styles/image?tag=many&model=Deliberate", 25, "style 26", "style 23"},
			{"/styles/text", 1, "a text", "a text"},
		} {
			names := list(c.path)
			if len(names) != c.count || names[0] != c.first || names[len(names)-1] != c.last {
				t.Errorf("%s: %d styles, %q", c.path, len(names), names)
			}
		}
		for _, path := range []string{"/styles/image?page=3", "/styles/image?page=4611686018427387904", "/styles/image?tag=man", "/styles/text?model=Deliberate"} {
			if names := list(path); len(names) > 0 {
				t.Errorf("%s: %q", path, names)
			}
		}
		// What is not listed is found by its id and its name, and shown in the profile to its owner and to moderators.
		s.want(s.get("/styles/image/"+hidden, account{}), http.StatusOK)
		s.want(s.get("/styles/image_by_name/hidden", account{}), http.StatusOK)
		alias := s.get(u.path(), account{}).str("username")
		for _, c := range []struct {
			as    account
			count int
		}{{account{}, 28}, {s.user(0, 0), 28}, {u, 29}, {mod, 29}} {
			a := s.get(u.path(), c.as)
			if len(a.list("styles")) != c.count {
				t.Errorf("the profile has %d styles, want %d", len(a.list("styles")), c.count)
			}
			last := a.at("styles", c.count-1)
			if fmt.Sprint(last) != fmt.Sprint(map[string]any{"id": text, "name": alias + "::style::a text", "type": "text"}) {
				t.Errorf("the last is %v", last)
			}
		}
		s.away(time.Minute)
		if names := list("/styles/image"); len(names) != 25 || names[0] != "style 26" {
			t.Errorf("after a restart: %q", names)
		}
	})
}

// Worked example 18, and section 5.5.
func TestStyles18WhatIsNotGivenStays(t *testing.T) {
	t.Parallel()
	example(t, "styles", 18)
	inBubble(t, func(t *testing.T, s *server) {
		u := s.user(0, horde.Customizer)
		for _, kind := range []string{"image", "text"} {
			before := fields{"name": "S " + kind, "info": "0123456789", "prompt": "{p}, {np}", "public": false, "nsfw": true, "tags": []any{"a"}, "models": []any{"m"}}
			path := "/styles/" + kind + "/" + s.style(kind, u, before)
			a := s.want(s.call("PATCH", path, u, `{"info":"new text"}`), http.StatusOK)
			if kind == "image" && len(a.list("warnings")) > 0 || kind == "text" && a.has("warnings") {
				t.Errorf("%s: %s", kind, a.text)
			}
			s.shows(s.get(path, account{}), before.with(fields{"info": "new text"}))
			// Nothing.
			if a := s.want(s.call("PATCH", path, u, `{}`), http.StatusOK); a.has("warnings") {
				t.Errorf("%s: %s", kind, a.text)
			}
			// All.
			after := fields{"name": "N " + kind, "info": "i", "prompt": "{np} {p}", "public": true, "nsfw": false, "tags": []any{}, "models": []any{"n", "o"}}
			s.want(s.call("PATCH", path, u, after), http.StatusOK)
			s.shows(s.get(path, account{}), after)
			s.want(s.get("/styles/"+kind+"_by_name/"+url.PathEscape("N "+kind), account{}), http.StatusOK)
			s.refused(s.get("/styles/"+kind+"_by_name/"+url.PathEscape("S "+kind), account{}), http.StatusNotFound, "StyleNotFound")
			s.style(kind, u, fields{"name": "S " + kind})
			s.away(time.Minute)
			s.shows(s.get(path, account{}), after)
		}
		// The parameters are replaced as a whole.
		path := "/styles/image/" + s.style("image", u, fields{"params": fields{"steps": 8, "width": 512}})
		s.want(s.call("PATCH", path, u, `{"params":{"height":768}}`), http.StatusOK)
		s.shows(s.get(path, account{}), fields{"params": map[string]any{"height": 768.0}})
		// A model's wishes are warnings.
		a := s.want(s.call("PATCH", path, u, `{"models":["AlbedoBase XL (SDXL)"],"params":{"clip_skip":1}}`), http.StatusOK)
		if !a.has("warnings") {
			t.Error(a.text)
		}
	})
}

// Worked example 16, and section 5.7.
func TestStyles16Examples(t *testing.T) {
	t.Parallel()
	example(t, "styles", 16)
	inBubble(t, func(t *testing.T, s *server) {
		u, mod := s.user(0, horde.Customizer), s.user(0, horde.Moderator)
		style := "/styles/image/" + s.style("image", u, nil)
		add := func(n int, primary bool) string {
			t.Helper()
			a := s.want(s.call("POST", style+"/example", u, fields{"url": fmt.Sprintf("https://a.example/%d.webp", n), "primary": primary}), http.StatusOK)
			if a.str("message") != "OK" || len(a.list("warnings")) > 0 {
				t.Errorf("%s", a.text)
			}
			return a.str("id")
		}
		primary := func(want string) {
			t.Helper()
			var found []string
			for _, x := range s.get(style, account{}).list("examples") {
				if x := x.(map[string]any); x["primary"] == true {
					found = append(found, x["id"].(string))
				}
			}
			if !slices.Equal(found, []string{want}) {
				t.Errorf("the primary examples are %q, want %q", found, want)
			}
		}
		first := add(1, false)
		primary(first)
		second, third := add(2, false), add(3, true)
		primary(third)
		add(4, false)
		s.refused(s.call("POST", style+"/example", u, `{"url":"https://a.example/5.webp","primary":false}`), http.StatusForbidden, "TooManyStyleExamples")
		change := func(as account, id, body string) answer { return s.call("PATCH", style+"/example/"+id, as, body) }
		s.want(change(mod, second, `{"primary":true}`), http.StatusOK)
		primary(second)
		s.refused(change(u, second, `{"url":"https://a.example/1.webp"}`), http.StatusBadRequest, "ExampleURLAlreadyInUse")
		s.want(change(u, second, `{"url":"https://a.example/2.webp"}`), http.StatusOK) // its own
		s.want(change(u, first, `{"url":"https://a.example/new.webp","primary":false}`), http.StatusOK)
		s.want(change(u, first, `{}`), http.StatusOK)
		primary(second)
		s.want(s.call("DELETE", style+"/example/"+second, u, nil), http.StatusOK)
		primary(first)
		s.refused(s.call("DELETE", style+"/example/"+second, u, nil), http.StatusNotFound, "Style exampleNotFound")
		s.away(time.Minute)
		primary(first)
		a := s.get(style, account{})
		if len(a.list("examples")) != 3 || a.str("examples", 0, "url") != "https://a.example/new.webp" || a.str("examples", 1, "id") != third {
			t.Errorf("%s", a.text)
		}
	})
}

// Section 7.
func TestStylesCollections(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		author, u := s.user(0, horde.Customizer), s.user(0, 0)
		alias := s.get(author.path(), account{}).str("username")
		one, two, text := s.style("image", author, fields{"name": "One", "public": false}), s.style("image", author, fields{"name": "Two"}), s.style("text", author, fields{"name": "T"})
		a := s.want(s.call("POST", "/collections", u, fields{"name": "All & more", "styles": []string{one, "Two", alias + "::style::Two", one}}), http.StatusOK)
		if a.str("message") != "OK" || len(a.list("warnings")) > 0 {
			t.Errorf("%s", a.text)
		}
		id := a.str("id")
		member := func(name, id string) any { return map[string]any{"id": id, "name": alias + "::style::" + name} }
		want := fields{"id": id, "name": "All &amp; more", "type": "image", "info": nil, "public": true, "use_count": 0, "styles": []any{member("One", one), member("Two", two)}}
		a = s.get("/collections/"+id, account{})
		if s.shows(a, want); !a.has("info") {
			t.Errorf("a null is left out: %s", a.text)
		}
		s.shows(s.get("/collection_by_name/"+url.PathEscape("All & more"), account{}), want)
		s.shows(s.get("/collection_by_name/"+url.PathEscape(fmt.Sprint("collection::#", int(u.id), "::All & more")), account{}), want)

		time.Sleep(time.Second)
		texts := s.want(s.call("POST", "/collections", u, fields{"name": "Texts", "info": "i", "styles": []string{text}}), http.StatusOK).str("id")
		s.want(s.call("POST", "/collections", u, fields{"name": "Mine", "public": false, "styles": []string{text}}), http.StatusOK)
		s.want(s.call("POST", "/collections", author, fields{"name": "Texts", "styles": []string{text}}), http.StatusOK)
		for path, want := range map[string]int{"/collections": 3, "/collections?type=image": 1, "/collections?type=text": 2, "/collections?sort=age&page=1": 3, "/collections?page=2": 0} {
			if n := len(s.want(s.get(path, account{}), http.StatusOK).list()); n != want {
				t.Errorf("%s: %d collections, want %d", path, n, want)
			}
		}
		s.shows(s.get("/collections/"+texts, account{}), fields{"info": "i", "type": "text"})

		if a := s.want(s.call("PATCH", "/collections/"+id, u, `{}`), http.StatusOK); a.has("warnings") {
			t.Errorf("%s", a.text)
		}
		if a := s.want(s.call("PATCH", "/collections/"+id, u, `{"info":"now"}`), http.StatusOK); len(a.list("warnings")) > 0 {
			t.Errorf("%s", a.text)
		}
		s.shows(s.get("/collections/"+id, account{}), want.with(fields{"info": "now"}))
		s.want(s.call("PATCH", "/collections/"+id, u, `{"name":"Renamed","public":false,"styles":["Two"]}`), http.StatusOK)
		want = want.with(fields{"info": "now", "name": "Renamed", "public": false, "styles": []any{member("Two", two)}})
		s.away(time.Minute)
		s.shows(s.get("/collections/"+id, account{}), want)
		s.refused(s.call("PATCH", "/collections/"+id, u, `{"name":"Texts"}`), http.StatusBadRequest, "BadRequest")

		s.want(s.call("DELETE", "/collections/"+id, u, nil), http.StatusOK)
		s.refused(s.get("/collections/"+id, account{}), http.StatusNotFound, "CollectionNotFound")
		s.want(s.get("/styles/image/"+two, account{}), http.StatusOK)
	})
}

// An operator bounds what one account may fill the lists with.
func TestStylesAreBoundedPerAccount(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.StylesPerAccount = 2 })
	u, other := s.user(0, horde.Customizer), s.user(0, horde.Customizer)
	first := s.style("image", u, nil)
	s.style("text", u, nil)
	third := fields{"name": "Third", "models": []string{"Deliberate"}}
	if a := s.refused(s.call("POST", "/styles/image", u, third), http.StatusForbidden, "Forbidden"); !strings.Contains(a.str("message"), "2 styles") {
		t.Errorf("the refusal says %q", a.str("message"))
	}
	s.style("image", other, nil)
	s.want(s.call("DELETE", "/styles/image/"+first, u, nil), http.StatusOK)
	left := s.style("image", u, third)
	for _, name := range []string{"One", "Two"} {
		s.want(s.call("POST", "/collections", u, fields{"name": name, "styles": []string{left}}), http.StatusOK)
	}
	s.refused(s.call("POST", "/collections", u, fields{"name": "Three", "styles": []string{left}}), http.StatusForbidden, "Forbidden")
}
