// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"

	"horde/internal/horde"
)

// Every body field is wrong in turn. What is sent must be refused with a clear 4xx, and nothing of it kept.

// kind is a type of a field with the values that are wrong for each of that type.
type kind struct {
	wrong []string // JSON
}

var (
	text    = kind{[]string{`5`, `true`, `[]`, `{}`, `null`}}
	integer = kind{[]string{`"5"`, `true`, `[]`, `{}`, `null`, `5.5`, `1e400`, `-1e400`, `9223372036854775808`, `1e-3`}}
	number  = kind{[]string{`"5"`, `true`, `[]`, `{}`, `null`, `1e400`}}
	boolean = kind{[]string{`"true"`, `1`, `0`, `[]`, `{}`, `null`}}
	mode    = kind{[]string{`"true"`, `[]`, `{}`, `2`}} // 0 and 1 are taken, and null is none
	texts   = kind{[]string{`"a"`, `5`, `true`, `{}`, `null`}}
	objects = kind{[]string{`"a"`, `5`, `true`, `{}`, `null`}}
	object  = kind{[]string{`"a"`, `5`, `true`, `[]`, `null`}}
)

// field is one field of a body: where, what type, and more values that are wrong.
type field struct {
	path string
	kind
	more []string
}

// bounded are the values beside the bounds of an integer.
func bounded(least, most int64) []string {
	return []string{fmt.Sprint(least - 1), fmt.Sprint(most + 1)}
}

func lengths(least, most int) []string {
	var out []string
	if least > 0 {
		out = append(out, quoted(least-1))
	}
	if most > 0 {
		out = append(out, quoted(most+1))
	}
	return out
}

func quoted(n int) string {
	return `"` + strings.Repeat("https://", 1)[:min(8, n)] + strings.Repeat("x", max(0, n-8)) + `"`
}

var workerFields = []field{
	{"name", text, nil}, {"models", texts, []string{`[5]`, `[null]`, `["ab"]`, `["` + strings.Repeat("m", 256) + `"]`}}, {"priority_usernames", texts, []string{`[5]`, `[null]`}},
	{"nsfw", boolean, nil}, {"bridge_agent", text, lengths(0, 1000)}, {"threads", integer, bounded(1, 50)},
	{"require_upfront_kudos", boolean, nil}, {"amount", integer, bounded(1, 20)}, {"extra_slow_worker", boolean, nil},
}

var metadata = []field{
	{"gen_metadata", objects, []string{`[5]`, `[{}]`, `[null]`, `[{"type":"censorship"}]`, `[{"value":"csam"}]`, `[{"type":5,"value":"csam"}]`,
		`[{"type":"nonsense","value":"csam"}]`, `[{"type":"censorship","value":"nonsense"}]`, `[{"type":"censorship","value":null}]`,
		`[{"type":"censorship","value":"csam","ref":5}]`, `[{"type":"censorship","value":"csam","ref":"` + strings.Repeat("r", 256) + `"}]`}},
}

func TestEveryFieldWrongInTurn(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(1000, 0), s.user(1000, 0)
	mod := s.user(1000, horde.Moderator)
	// One job of each kind runs and may not change.
	s.image(u, `{"prompt":"running","models":["Deliberate"]}`)
	s.text(u, `{"prompt":"running"}`)
	imageJob, textJob := s.popImage(w, "dreamer", nil), s.popText(w, "scribe", nil)
	worker := s.get("/workers/name/dreamer", account{}).str("id")
	state := func() string {
		var all strings.Builder
		for _, path := range []string{"/status/performance", "/workers", "/status/models", "/status/models?type=text"} {
			all.WriteString(s.want(s.get(path, mod), http.StatusOK).text)
		}
		s.want(s.get("/status/modes", mod), http.StatusOK)
		for _, a := range []account{u, w, mod, anonymous} {
			v := s.want(s.get(a.path(), mod), http.StatusOK).value.(map[string]any)
			delete(v, "account_age")
			fmt.Fprint(&all, v, s.balance(a))
		}
		return all.String()
	}
	before := state()

	for _, e := range []struct {
		name, method, path string
		as                 account
		valid              string
		fields             []field
	}{
		{"async", "POST", "/generate/async", u, `{"prompt":"x","models":["Deliberate"],"params":{}}`, []field{
			{"prompt", text, []string{`""`}}, {"params", object, nil}, {"nsfw", boolean, nil}, {"censor_nsfw", boolean, nil}, {"trusted_workers", boolean, nil},
			{"validated_backends", boolean, nil}, {"slow_workers", boolean, nil}, {"extra_slow_workers", boolean, nil}, {"workers", texts, []string{`[5]`, `[null]`}},
			{"worker_blacklist", boolean, nil}, {"models", texts, []string{`[5]`, `[null]`, `["` + strings.Repeat("m", 256) + `"]`}}, {"source_image", text, nil},
			{"source_processing", text, []string{`"nonsense"`, `""`}}, {"source_mask", text, nil}, {"extra_source_images", objects, []string{`[5]`, `[null]`, `[{"image":5}]`, `[{"image":""}]`, `[{"image":"a","strength":"1"}]`}},
			{"r2", boolean, nil}, {"shared", boolean, nil}, {"replacement_filter", boolean, nil}, {"dry_run", boolean, nil}, {"proxied_account", text, lengths(0, 255)},
			{"disable_batching", boolean, nil}, {"allow_downgrade", boolean, nil}, {"webhook", text, lengths(10, 1024)}, {"style", text, lengths(3, 1024)},
			{"params.n", integer, bounded(1, 20)}, {"params.steps", integer, bounded(1, 500)}, {"params.width", integer, []string{`0`, `63`, `65`, `3136`, `-64`}},
			{"params.height", integer, []string{`0`, `63`, `65`, `3136`, `-64`}}, {"params.sampler_name", text, []string{`"nonsense"`, `""`}}, {"params.cfg_scale", number, []string{`-0.01`, `100.01`}},
			{"params.karras", boolean, nil}, {"params.denoising_strength", number, []string{`0`, `0.009`, `1.01`}}, {"params.hires_fix", boolean, nil},
			{"params.hires_fix_denoising_strength", number, []string{`0`, `1.01`}}, {"params.clip_skip", integer, bounded(1, 12)}, {"params.tiling", boolean, nil},
			{"params.facefixer_strength", number, []string{`-0.01`, `1.01`}}, {"params.post_processing", texts, []string{`["nonsense"]`, `["GFPGAN","GFPGAN"]`, `[5]`}},
			{"params.loras", objects, []string{`[{}]`, `[5]`, `[{"name":""}]`, `[{"name":"` + strings.Repeat("l", 256) + `"}]`, `[{"name":"a","model":5.1}]`, `[{"name":"a","clip":-5.1}]`,
				`[{"name":"a","inject_trigger":""}]`, `[{"name":"a","inject_trigger":"` + strings.Repeat("l", 31) + `"}]`, `[{"name":"a","is_version":1}]`}},
			{"params.tis", objects, []string{`[{}]`, `[{"name":""}]`, `[{"name":"a","inject_ti":"nonsense"}]`, `[{"name":"a","inject_ti":null}]`, `[{"name":"a","strength":6}]`}},
			{"params.special", object, nil}, {"params.workflow", text, []string{`"nonsense"`}}, {"params.transparent", boolean, nil}, {"params.seed", text, nil},
			{"params.seed_variation", integer, bounded(1, 1000)}, {"params.control_type", text, []string{`"nonsense"`}}, {"params.image_is_control", boolean, nil},
			{"params.return_control_map", boolean, nil}, {"params.extra_texts", objects, []string{`[5]`, `[{"text":"","reference":"abc"}]`, `[{"text":"a","reference":"ab"}]`, `[{"text":5,"reference":"abc"}]`}},
		}},
		{"text async", "POST", "/generate/text/async", u, `{"prompt":"x","params":{}}`, []field{
			{"prompt", text, nil}, {"params", object, nil}, {"softprompt", text, []string{`""`}}, {"trusted_workers", boolean, nil}, {"validated_backends", boolean, nil},
			{"slow_workers", boolean, nil}, {"extra_slow_workers", boolean, nil}, {"workers", texts, []string{`[5]`}}, {"worker_blacklist", boolean, nil},
			{"models", texts, []string{`[5]`, `["` + strings.Repeat("m", 256) + `"]`}}, {"dry_run", boolean, nil}, {"proxied_account", text, lengths(0, 255)}, {"disable_batching", boolean, nil},
			{"allow_downgrade", boolean, nil}, {"webhook", text, lengths(0, 1024)}, {"style", text, lengths(3, 1024)},
			{"params.n", integer, bounded(1, 20)}, {"params.max_length", integer, bounded(16, 16384)}, {"params.max_context_length", integer, bounded(80, 1048576)},
			{"params.temperature", number, []string{`-0.1`, `5.1`}}, {"params.rep_pen", number, []string{`0.9`, `3.1`}}, {"params.rep_pen_range", integer, bounded(0, 4096)},
			{"params.rep_pen_slope", number, []string{`-0.1`, `10.1`}}, {"params.top_a", number, []string{`-0.1`, `1.1`}}, {"params.tfs", number, []string{`-0.1`, `1.1`}},
			{"params.typical", number, []string{`-0.1`, `1.1`}}, {"params.top_k", integer, bounded(0, 200)}, {"params.top_p", number, []string{`0`, `1.1`}},
			{"params.min_p", number, []string{`-0.1`, `1.1`}}, {"params.smoothing_factor", number, []string{`-0.1`, `10.1`}}, {"params.dynatemp_range", number, []string{`-0.1`, `5.1`}},
			{"params.dynatemp_exponent", number, []string{`-0.1`, `5.1`}}, {"params.sampler_order", objects, []string{`["a"]`, `[1.5]`}}, {"params.stop_sequence", texts, []string{`[5]`}},
			{"params.singleline", boolean, nil}, {"params.frmtadsnsp", boolean, nil}, {"params.frmtrmblln", boolean, nil}, {"params.frmtrmspch", boolean, nil},
			{"params.frmttriminc", boolean, nil}, {"params.use_default_badwordsids", boolean, nil},
		}},
		{"pop", "POST", "/generate/pop", w, `{"name":"new","models":["Deliberate"]}`, append(slices.Clone(workerFields),
			field{"max_pixels", integer, nil}, field{"blacklist", texts, []string{`[5]`}}, field{"allow_img2img", boolean, nil}, field{"allow_painting", boolean, nil},
			field{"allow_unsafe_ipaddr", boolean, nil}, field{"allow_post_processing", boolean, nil}, field{"allow_controlnet", boolean, nil},
			field{"allow_sdxl_controlnet", boolean, nil}, field{"allow_lora", boolean, nil}, field{"limit_max_steps", boolean, nil})},
		{"text pop", "POST", "/generate/text/pop", w, `{"name":"new","models":["test/7B"]}`, append(slices.Clone(workerFields),
			field{"max_length", integer, []string{`2147483648`}}, field{"max_context_length", integer, []string{`2147483648`}}, field{"softprompts", texts, []string{`[5]`}})},
		{"submit", "POST", "/generate/submit", w, `{"id":"` + imageJob.str("id") + `","generation":"R2","seed":1}`, append(slices.Clone(metadata),
			field{"id", text, nil}, field{"generation", text, nil}, field{"state", text, []string{`"nonsense"`, `""`}},
			field{"seed", kind{[]string{`true`, `[]`, `{}`, `null`, `"a"`, `""`}}, nil})},
		{"text submit", "POST", "/generate/text/submit", w, `{"id":"` + textJob.str("id") + `","generation":"x"}`, append(slices.Clone(metadata),
			field{"id", text, nil}, field{"generation", text, nil}, field{"state", text, []string{`"nonsense"`, `""`}})},
		{"a worker", "PUT", "/workers/" + worker, w, `{"maintenance":false}`, []field{
			{"maintenance", boolean, nil}, {"maintenance_msg", text, nil}, {"info", text, lengths(0, 1000)}, {"paused", boolean, nil}, {"name", text, lengths(5, 100)},
			{"team", text, lengths(0, 36)},
		}},
		{"a user", "PUT", u.path(), mod, `{"public_workers":false}`, []field{
			{"kudos", number, nil}, {"monthly_kudos", integer, nil}, {"usage_multiplier", number, []string{`0.09`, `10.1`}}, {"moderator", boolean, nil},
			{"concurrency", integer, bounded(0, 500)}, {"worker_invited", integer, []string{`-1`}}, {"trusted", boolean, nil}, {"flagged", boolean, nil}, {"customizer", boolean, nil},
			{"vpn", boolean, nil}, {"service", boolean, nil}, {"education", boolean, nil}, {"special", boolean, nil}, {"reset_suspicion", boolean, nil},
			{"admin_comment", text, lengths(5, 500)}, {"public_workers", boolean, nil}, {"username", text, lengths(3, 100)}, {"contact", text, lengths(5, 500)},
			{"generate_proxy_passkey", boolean, nil}, {"undelete", boolean, nil},
		}},
		{"modes", "PUT", "/status/modes", mod, `{"raid_mode":false}`, []field{{"maintenance_mode", mode, nil}, {"invite_only_mode", mode, nil}, {"raid_mode", mode, nil}}},
	} {
		t.Run(e.name, func(t *testing.T) {
			s := s.in(t)
			for _, f := range e.fields {
				for _, value := range append(slices.Clone(f.wrong), f.more...) {
					a := s.call(e.method, e.path, e.as, setAt(e.valid, f.path, value))
					errs, _ := a.at("errors").(map[string]any)
					named := false
					for path := range errs {
						named = named || path == f.path || strings.HasPrefix(path, f.path+".")
					}
					if a.status != http.StatusBadRequest || !named {
						t.Errorf("%s = %.60s: %d %.300s", f.path, value, a.status, a.text)
						continue
					}
					s.isRefusal(a)
				}
				if slices.Equal(f.wrong, text.wrong) {
					for _, value := range []string{`"a\u0000bcdefghijk"`, "\"abcdef\xffghijkl\"", "\"abcd\x01efghijklm\"", "\"abcd\nefghijklm\""} {
						if strings.HasPrefix(value, `"a\u0000`) && (f.path == "generation" || strings.HasSuffix(e.path, "pop") || e.method == "PUT") {
							continue // results keep a NUL as U+FFFD, and names and notes lose it
						}
						a := s.call(e.method, e.path, e.as, setAt(e.valid, f.path, value))
						if a.status < 400 || a.status >= 500 {
							t.Errorf("%s = %.40q: %d %.200s", f.path, value, a.status, a.text)
							continue
						}
						s.isRefusal(a)
					}
				}
			}
			// The body as a whole.
			deep := strings.Repeat(`[`, 100000) + strings.Repeat(`]`, 100000)
			first := strings.Split(e.valid[2:], `"`)[0]
			for name, body := range map[string]string{
				"truncated": e.valid[:len(e.valid)-1], "half a string": `{"` + first + `":"a`, "nothing": "", "two values": e.valid + e.valid, "an array": "[" + e.valid + "]",
				"null": "null", "a string": `"a"`, "a number": "5", "a comma too many": e.valid[:len(e.valid)-1] + ",}", "single quotes": strings.ReplaceAll(e.valid, `"`, `'`),
				"deep in an unknown field": e.valid[:len(e.valid)-1] + `,"unknown":` + deep + `}`, "deep": deep,
				"a byte order mark": "\ufeff" + e.valid, "NaN": setAt(e.valid, first, "NaN"), "not UTF-8": "\xff" + e.valid, "zeros": "\x00\x00" + e.valid,
			} {
				a := s.call(e.method, e.path, e.as, body)
				if a.status != http.StatusBadRequest {
					t.Errorf("%s: %d %.200s", name, a.status, a.text)
					continue
				}
				s.isRefusal(a)
			}
			for _, ct := range []string{"text/plain", "application/xml", "multipart/form-data; boundary=x", "nonsense", ""} {
				if a := s.call(e.method, e.path, e.as, e.valid, header{"Content-Type", ct}); a.status != http.StatusBadRequest && a.status != http.StatusUnsupportedMediaType {
					t.Errorf("content type %q: %d %.200s", ct, a.status, a.text)
				} else {
					s.isRefusal(a)
				}
			}
		})
	}
	if after := state(); after != before {
		t.Errorf("something was kept:\n%s\n%s", before, after)
	}
	s.deliver(w, imageJob)
	s.deliverText(w, textJob.str("id"), "still running")
}

// setAt puts a raw value into a JSON object.
func setAt(body, path, value string) string {
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		panic(err)
	}
	first, rest, nested := strings.Cut(path, ".")
	if nested {
		value = setAt(string(o[first]), rest, value)
	}
	var b strings.Builder
	b.WriteByte('{')
	for k, v := range o {
		if k != first {
			fmt.Fprintf(&b, "%q:%s,", k, v)
		}
	}
	fmt.Fprintf(&b, "%q:%s}", first, value)
	return b.String()
}

func TestBodiesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(1000, 0), s.user(0, 0)
	zipped := func(body string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(body))
		z.Close()
		return b.Bytes()
	}
	// 200 MiB in 200 KiB: a stream of gzip may consist of many.
	bomb := slices.Concat(zipped(`{"prompt":"`), bytes.Repeat(zipped(strings.Repeat("a", 1<<20)), 200), zipped(`"}`))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for name, c := range map[string]struct {
		path string
		body any
		h    []header
		want []int
	}{
		"a gzip bomb":                     {"/generate/text/async", bomb, []header{{"Content-Encoding", "gzip"}}, []int{400, 413, 415}},
		"a gzip bomb as a pop":            {"/generate/pop", bomb, []header{{"Content-Encoding", "gzip"}}, []int{400, 413, 415}},
		"what says gzip and is not":       {"/generate/async", `{"prompt":"x"}`, []header{{"Content-Encoding", "gzip"}}, []int{400, 415}},
		"an encoding that nobody knows":   {"/generate/async", `{"prompt":"x"}`, []header{{"Content-Encoding", "zstd, br"}}, []int{400, 415}},
		"broken gzip":                     {"/generate/async", zipped(`{"prompt":"x"}`)[:15], []header{{"Content-Encoding", "gzip"}}, []int{400, 415}},
		"a pop of 5 MB":                   {"/generate/pop", `{"name":"` + strings.Repeat("n", 5<<20) + `"}`, nil, []int{400, 413}},
		"a model list of 100000":          {"/generate/pop", `{"name":"new","models":[` + strings.Repeat(`"who knows",`, 60000) + `"x y z"]}`, nil, []int{400, 413}},
		"an image prompt of 10 MB words":  {"/generate/async", `{"prompt":"` + strings.Repeat("word ", 2<<20) + `"}`, nil, []int{400, 413}},
		"a hundred thousand unknown keys": {"/generate/pop", manyKeys(100000), nil, []int{400, 413}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			as := u
			if strings.HasSuffix(c.path, "pop") {
				as = w
			}
			a := s.call("POST", c.path, as, c.body, c.h...)
			if !slices.Contains(c.want, a.status) {
				t.Errorf("got %d %.200s, want one of %v", a.status, a.text, c.want)
				return
			}
			s.isRefusal(a)
			if len(a.text) > 4096 {
				t.Errorf("the refusal has %d bytes", len(a.text))
			}
		})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 150<<20 {
		t.Errorf("the memory has grown by %d MiB", grown>>20)
	}
	if a := s.get("/workers", account{}); len(a.list()) != 0 {
		t.Errorf("there are workers: %s", a.text)
	}
	s.untouched(u, 1000)
	t.Run("a prompt of 10 MB without a blank is refused", func(t *testing.T) {
		s := s.in(t)
		body := `{"prompt":"` + strings.Repeat("p", 10<<20) + `"}`
		s.refused(s.call("POST", "/generate/text/async", u, body), http.StatusBadRequest, "InvalidPromptSize")
		s.refused(s.call("POST", "/generate/async", u, body), http.StatusBadRequest, "InvalidPromptSize")
	})
}

func manyKeys(n int) string {
	var b strings.Builder
	b.WriteString(`{"name":5`)
	for i := range n {
		fmt.Fprintf(&b, `,"key%d":%d`, i, i)
	}
	b.WriteString("}")
	return b.String()
}

func TestErrorsNeverRepeatSecrets(t *testing.T) {
	t.Parallel()
	s := open(t)
	secret := account{0, "Secret_Key_1234567890x"}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/generate/async", `{"prompt":"x"}`}, {"POST", "/generate/text/async", `{"prompt":"x"}`}, {"POST", "/generate/pop", `{"name":"a","models":["Deliberate"]}`},
		{"POST", "/generate/submit", `{"id":"a","generation":"R2","seed":1}`}, {"GET", "/find_user", ""}, {"GET", "/users/0", ""}, {"PUT", "/users/0", `{"contact":"somebody"}`},
		{"DELETE", "/users/0", ""}, {"GET", "/status/modes", ""}, {"PUT", "/status/modes", `{"raid_mode":true}`},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		a := s.call(c.method, c.path, secret, body)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.text)
		}
		if strings.Contains(a.text, secret.key) || strings.Contains(fmt.Sprint(a.header), secret.key) {
			t.Errorf("%s %s repeats the key: %s", c.method, c.path, a.text)
		}
	}
}

func TestOddPathsAndQueries(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, path := range []string{"/users/%2e%2e", "/workers/..%2f..", "/workers/name/" + url.PathEscape(strings.Repeat("n", 5000)), "/status/models/%00", "/status/models/%ff",
		"/workers/%ff%fe", "/users?page=99999999999999999999", "/users?page=-5", "/users?sort=%00", "/status/models?type=%ff", "/status/models?min_count=1e3",
		"/workers?name=%00", "/workers?type=image&type=text", "/generate/check/%2f%2f", "/users/1/2/3", "/workers/name/"} {
		a := s.get(path, account{})
		if a.status >= 500 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
		if a.status >= 400 {
			s.isRefusal(a)
		}
	}
}

// Halves of surrogate pairs are no text, so they are refused; but the work of a model that stopped in the middle of a
// character is not lost: there a half is replaced.
func TestHalvesOfSurrogatePairsAreRefusedButInResults(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	s.invalid(s.call("POST", "/generate/text/async", u, `{"prompt":"a\ud800b\udc00"}`), "prompt")
	s.invalid(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"seed":"\udc00"}}`), "params.seed")
	id := s.text(u, `{"prompt":"x"}`)
	p := s.popText(w, "w", nil)
	s.want(s.call("POST", "/generate/text/submit", w, `{"id":"`+s.job(p)+`","generation":"\udc00x"}`), http.StatusOK)
	if a := s.get("/generate/text/status/"+id, account{}); !strings.Contains(a.text, "\ufffdx") {
		t.Errorf("the result is %s", a.text)
	}
}

func TestPromptsThatNoModelReads(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, 0)
	// The default context is 2,048 tokens: 256 KiB and 16 bytes for each.
	most := 256<<10 + 16*2048
	s.text(u, fields{"prompt": strings.Repeat("a", most)})
	s.refused(s.call("POST", "/generate/text/async", u, fields{"prompt": strings.Repeat("a", most+1)}), http.StatusBadRequest, "InvalidPromptSize")
	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": strings.Repeat("a", 1<<20+1)}), http.StatusBadRequest, "InvalidPromptSize")
	s.invalid(s.call("POST", "/generate/text/async", u, fields{"prompt": "x", "softprompt": strings.Repeat("a", 1001)}), "softprompt")
}

func TestDuplicateKeysAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, 0)
	s.invalid(s.call("POST", "/generate/text/async", u, `{"prompt":"x","prompt":"y"}`), "prompt")
	s.invalid(s.call("POST", "/generate/text/async", u, `{"prompt":"x","params":{"n":1,"n":1}}`), "params.n")
	s.text(u, `{"prompt":"x","mine":1,"mine":2}`) // what is not declared is not looked at
}
