// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"horde/internal/horde"
)

type loraBody struct {
	Name          string       `json:"name" required:"true" minLength:"1" maxLength:"255"`
	Model         Opt[float64] `json:"model" minimum:"-5" maximum:"5"`
	Clip          Opt[float64] `json:"clip" minimum:"-5" maximum:"5"`
	InjectTrigger Opt[string]  `json:"inject_trigger" minLength:"1" maxLength:"30"`
	IsVersion     bool         `json:"is_version"`
}

// styleBody is embedded, as the reference composes its schemas.
type styleBody struct {
	SamplerName    Opt[string]  `json:"sampler_name" enum:"k_lms,k_heun,k_euler,k_euler_a,DDIM"`
	CfgScale       Opt[float64] `json:"cfg_scale" minimum:"0" maximum:"100"`
	Denoising      Opt[float64] `json:"denoising_strength" minimum:"0.01" maximum:"1"`
	Height         Opt[int]     `json:"height" minimum:"64" maximum:"3072" multipleOf:"64"`
	Width          Opt[int]     `json:"width" minimum:"64" maximum:"3072" multipleOf:"64"`
	Karras         Opt[bool]    `json:"karras"`
	HiresFix       Opt[bool]    `json:"hires_fix"`
	Tiling         Opt[bool]    `json:"tiling"`
	ClipSkip       Opt[int]     `json:"clip_skip" minimum:"1" maximum:"12"`
	PostProcessing []string     `json:"post_processing" uniqueItems:"true" enum:"GFPGAN,RealESRGAN_x4plus,CodeFormers"`
	Loras          []loraBody   `json:"loras" maxItems:"5"`
	Special        Object       `json:"special"`
}

type paramsBody struct {
	styleBody
	N           Opt[int]    `json:"n" minimum:"1" maximum:"20"`
	Steps       Opt[int]    `json:"steps" minimum:"1" maximum:"500"`
	Seed        Opt[string] `json:"seed"`
	ControlType Opt[string] `json:"control_type" enum:"canny,hed" emptyabsent:"true"`
}

type imageBody struct {
	Prompt         string          `json:"prompt" required:"true" minLength:"1"`
	Params         Opt[paramsBody] `json:"params"`
	NSFW           Opt[bool]       `json:"nsfw"`
	TrustedWorkers bool            `json:"trusted_workers"`
	SlowWorkers    Opt[bool]       `json:"slow_workers"`
	CensorNSFW     Opt[bool]       `json:"censor_nsfw"`
	Models         []string        `json:"models" maxLength:"255"`
	Workers        []string        `json:"workers"`
	R2             Opt[bool]       `json:"r2"`
	Shared         bool            `json:"shared"`
	Replacement    Opt[bool]       `json:"replacement_filter"`
	DryRun         bool            `json:"dry_run"`
	Style          *string         `json:"style" minLength:"3" maxLength:"1024"`
}

var images = Compile[imageBody]()

// decodeKeys returns the sorted keys of the violations, or the message when there are no keys.
func decodeKeys[T any](d *Decoder[T], text string) (T, any) {
	var v T
	_, err := d.Decode([]byte(text), &v)
	var e *horde.Error
	switch {
	case err == nil:
		return v, nil
	case !errors.As(err, &e) || e.Status != http.StatusBadRequest || e.RC != "" || e.Message == "":
		return v, fmt.Sprintf("not a 400 of the framework: %#v", err)
	case e.Fields == nil:
		return v, e.Message
	}
	return v, slices.Sorted(maps.Keys(e.Fields))
}

func TestViolationsAreReportedByPath(t *testing.T) {
	t.Parallel()
	for text, keys := range map[string][]string{
		`{}`: {"prompt"},
		`{"prompt":5,"params":{"width":100,"height":4096,"n":21,"steps":0}}`: {"params.height", "params.n", "params.steps", "params.width", "prompt"},
		`{"prompt":"x","params":{"loras":[{"model":9}]}}`:                    {"params.loras.0.model", "params.loras.0.name"},
		`[1]`:           {""},
		`null`:          {""},
		`"x"`:           {""},
		`3`:             {""},
		`true`:          {""},
		`{"prompt":""}`: {"prompt"},
		`{"prompt":"x","params":{"width":100,"width":512}}`:               {"params.width"},
		`{"prompt":"x","params":{"width":512},"params":{}}`:               {"params"},
		`{"prompt":"a\ud83db"}`:                                           {"prompt"},
		`{"prompt":"a\udc00"}`:                                            {"prompt"},
		`{"prompt":"x","models":["a","\ud800"]}`:                          {"models.1"},
		`{"prompt":null}`:                                                 {"prompt"},
		`{"prompt":"x","params":null}`:                                    {"params"},
		`{"prompt":"x","params":[]}`:                                      {"params"},
		`{"prompt":"x","models":{}}`:                                      {"models"},
		`{"prompt":"x","models":"a"}`:                                     {"models"},
		`{"prompt":"x","models":[1,"a",null]}`:                            {"models.0", "models.2"},
		`{"prompt":"x","nsfw":1}`:                                         {"nsfw"},
		`{"prompt":"x","nsfw":"true"}`:                                    {"nsfw"},
		`{"prompt":"x","nsfw":{"a":[1]}}`:                                 {"nsfw"},
		`{"prompt":"x","params":{"width":true}}`:                          {"params.width"},
		`{"prompt":"x","params":{"width":"512"}}`:                         {"params.width"},
		`{"prompt":"x","params":{"width":512.5}}`:                         {"params.width"},
		`{"prompt":"x","params":{"width":1e400}}`:                         {"params.width"},
		`{"prompt":"x","params":{"width":-1e400}}`:                        {"params.width"},
		`{"prompt":"x","params":{"seed":5}}`:                              {"params.seed"},
		`{"prompt":"x","params":{"special":[]}}`:                          {"params.special"},
		`{"prompt":"x","params":{"cfg_scale":"5"}}`:                       {"params.cfg_scale"},
		`{"prompt":"x","params":{"cfg_scale":100.0001}}`:                  {"params.cfg_scale"},
		`{"prompt":"x","params":{"cfg_scale":-0.1}}`:                      {"params.cfg_scale"},
		`{"prompt":"x","params":{"sampler_name":"ddim"}}`:                 {"params.sampler_name"},
		`{"prompt":"x","params":{"control_type":"dog"}}`:                  {"params.control_type"},
		`{"prompt":"x","params":{"post_processing":["GFPGAN","GFPGAN"]}}`: {"params.post_processing"},
		`{"prompt":"x","params":{"post_processing":["GFPGAN","x"]}}`:      {"params.post_processing.1"},
		`{"prompt":"x","style":"ab"}`:                                     {"style"},
		`{"prompt":"x","params":{"loras":[{"name":""},{"name":"` + strings.Repeat("é", 256) + `"}]}}`: {"params.loras.0.name", "params.loras.1.name"},
		`{"prompt":"x","params":{"loras":[` + strings.Repeat(`{"name":"a"},`, 5) + `{"name":"a"}]}}`:  {"params.loras"},
		`{"prompt":"x","nsfw":false,"nsfw":3}`:                                                        {"nsfw"},
		`{"Prompt":"x"}`:                                                                              {"prompt"},
	} {
		if _, got := decodeKeys(images, text); !reflect.DeepEqual(got, any(keys)) {
			t.Errorf("%s: %v, want the keys %v", text, got, keys)
		}
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 1025)
	for text, want := range map[string]string{
		`{"prompt":5}`:                       `5 is not of type 'string'`,
		`{"prompt":""}`:                      `"" should be non-empty`,
		`{}`:                                 `'prompt' is a required property`,
		`{"prompt":"x","params":{"n":21}}`:   `21 is greater than the maximum of 20`,
		`{"prompt":"x","params":{"n":0}}`:    `0 is less than the minimum of 1`,
		`{"prompt":"x","params":{"n":1.5}}`:  `1.5 is not of type 'integer'`,
		`{"prompt":"x","params":{"n":null}}`: `null is not of type 'integer'`,
		`{"prompt":"x","params":{"denoising_strength":0}}`:                  `0 is less than the minimum of 0.01`,
		`{"prompt":"x","params":{"width":100}}`:                             `100 is not a multiple of 64`,
		`{"prompt":"x","params":{"width":128.5}}`:                           `128.5 is not of type 'integer'`,
		`{"prompt":"x","params":7}`:                                         `7 is not of type 'object'`,
		`{"prompt":"x","params":{"loras":{"a" : 1}}}`:                       `{"a" : 1} is not of type 'array'`,
		`{"prompt":"x","params":{"control_type":"x"}}`:                      `"x" is not one of ["canny", "hed"]`,
		`{"prompt":"x","params":{"post_processing": [ "GFPGAN","GFPGAN"]}}`: `[ "GFPGAN","GFPGAN"] has non-unique elements`,
		`{"prompt":"x","params":{"karras":"yes"}}`:                          `"yes" is not of type 'boolean'`,
		`{"prompt":"x","style":"a"}`:                                        `"a" is too short (at least 3 characters)`,
		`{"prompt":"x","style":"` + long + `"}`:                             `"` + long[:98] + `… is too long (at most 1024 characters)`,
		` [ 1, 2 ] `:                                                        `[ 1, 2 ] is not of type 'object'`,
	} {
		var v imageBody
		_, err := images.Decode([]byte(text), &v)
		var e *horde.Error
		if !errors.As(err, &e) || len(e.Fields) != 1 {
			t.Errorf("%.80s: %v", text, err)
			continue
		}
		for _, reason := range e.Fields {
			if reason != want {
				t.Errorf("%.80s: %s, want %s", text, reason, want)
			}
		}
	}
}

func TestBodiesThatAreNotJSON(t *testing.T) {
	t.Parallel()
	for text, fragment := range map[string]string{
		"":                             "empty",
		" \n":                          "empty",
		`{bad`:                         "not valid JSON",
		`{"prompt":"x"`:                "not valid JSON",
		`{"prompt":"x`:                 "not valid JSON",
		`{"prompt":"x"} x`:             "not valid JSON",
		`{"prompt":"x"}{"prompt":"x"}`: "something follows",
		`{"prompt":"x",}`:              "not valid JSON",
		`{"prompt":01}`:                "not valid JSON",
		`{"prompt":5,"x":}`:            "not valid JSON",
		`{"prompt":NaN}`:               "not valid JSON",
		`[1`:                           "not valid JSON",
		`nul`:                          "not valid JSON",
		"{\"prompt\":\"a\x00b\"}":      "not valid JSON",
		"{\"prompt\":\"a\nb\"}":        "not valid JSON",
		"{\"prompt\":\"\xff\"}":        "UTF-8",
		`{"prompt":"\x"}`:              "not valid JSON",
		`{"prompt":"x","z":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`: "",
		`{"prompt":"x","z":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`: "nested more than 32",
		strings.Repeat(`{"params":`, 1<<16):                                            "nested more than 32",
		strings.Repeat(`[`, 1<<20):                                                     "nested more than 32",
		`{"prompt":"x","params":{"special":` + strings.Repeat(`{"a":`, 1<<16):          "nested more than 32",
	} {
		_, got := decodeKeys(images, text)
		message, _ := got.(string)
		if (got == nil) != (fragment == "") || !strings.Contains(message, fragment) || len(message) > 200 {
			t.Errorf("%.60q: %v, want a message with %q", text, got, fragment)
		}
	}
}

func TestAcceptedValues(t *testing.T) {
	t.Parallel()
	width := func(v imageBody) any { return v.Params.V.Width }
	for _, c := range []struct {
		text string
		get  func(imageBody) any
		want any
	}{
		{`{"prompt":"x","params":{"width":512}}`, width, Some(512)},
		{`{"prompt":"x","params":{"width":512.0}}`, width, Some(512)},
		{`{"prompt":"x","params":{"width":5.12e2}}`, width, Some(512)},
		{`{"prompt":"x","params":{"width":5120E-1}}`, width, Some(512)},
		{`{"prompt":"x","params":{"n":1.0000000000000001}}`, func(v imageBody) any { return v.Params.V.N }, Some(1)},
		{`{"prompt":"x","params":{"cfg_scale":7}}`, func(v imageBody) any { return v.Params.V.CfgScale }, Some(7.0)},
		{`{"prompt":"x","params":{"cfg_scale":-0}}`, func(v imageBody) any { return v.Params.V.CfgScale.V == 0 }, true},
		{`{"prompt":"x","params":{"control_type":""}}`, func(v imageBody) any { return v.Params.V.ControlType }, Opt[string]{}},
		{`{"prompt":"x","params":{"seed":""}}`, func(v imageBody) any { return v.Params.V.Seed }, Some("")},
		{`{"prompt":"x","params":{}}`, func(v imageBody) any { return v.Params.Set }, true},
		{`{"prompt":"x"}`, func(v imageBody) any { return v.Params.Set }, false},
		{`{"prompt":"x"}`, func(v imageBody) any { return v.Models == nil }, true},
		{`{"prompt":"x","models":[]}`, func(v imageBody) any { return v.Models != nil && len(v.Models) == 0 }, true},
		{`{"prompt":"x","models":["a", "b"]}`, func(v imageBody) any { return v.Models }, []string{"a", "b"}},
		{`{"prompt":"x","nsfw":false}`, func(v imageBody) any { return v.NSFW.Or(true) }, false},
		{`{"prompt":"x"}`, func(v imageBody) any { return v.NSFW.Or(true) }, true},
		{`{"prompt":"\ud83d\ude00\u0041"}`, func(v imageBody) any { return v.Prompt }, "😀A"},
		{`{"\u0070rompt":"escaped name"}`, func(v imageBody) any { return v.Prompt }, "escaped name"},
		{`{"prompt":"x","style":"abc"}`, func(v imageBody) any { return *v.Style }, "abc"},
		{`{"prompt":"x","style":"` + strings.Repeat("é", 1024) + `"}`, func(v imageBody) any { return len(*v.Style) }, 2048},
		{`{"prompt":"x","params":{"special":{"a":[1, {"b":null}]}}}`, func(v imageBody) any { return string(v.Params.V.Special) }, `{"a":[1, {"b":null}]}`},
		{`{"prompt":"x","sampler_name":5,"toggles":[1,4],"params":{"sampler_seed":{},"loras":[{"name":"5","x":[]}]}}`,
			func(v imageBody) any { return v.Params.V.Loras[0].Name }, "5"},
	} {
		v, got := decodeKeys(images, c.text)
		if got != nil {
			t.Errorf("%.80s: %v", c.text, got)
		} else if value := c.get(v); !reflect.DeepEqual(value, c.want) {
			t.Errorf("%.80s: %#v, want %#v", c.text, value, c.want)
		}
	}
}

func TestIntegersFitTheirField(t *testing.T) {
	t.Parallel()
	type sized struct {
		A int64   `json:"a"`
		B int32   `json:"b"`
		C uint16  `json:"c"`
		D uint64  `json:"d"`
		E float64 `json:"e"`
		F int32   `json:"f" minimum:"-99999999999"`
	}
	d := Compile[sized]()
	for text, want := range map[string]any{
		`{"a":9223372036854775807}`:                           sized{A: math.MaxInt64},
		`{"a":-9223372036854775808}`:                          sized{A: math.MinInt64},
		`{"a":9223372036854775808}`:                           []string{"a"},
		`{"a":-9223372036854775809}`:                          []string{"a"},
		`{"a":-9223372036854775809.0}`:                        sized{A: math.MinInt64}, // equal in float64 precision
		`{"a":-9.3e18}`:                                       []string{"a"},
		`{"a":1e30}`:                                          []string{"a"},
		`{"a":-1e400}`:                                        []string{"a"},
		`{"a":` + strings.Repeat("9", 5000) + `}`:             []string{"a"},
		`{"a":1` + strings.Repeat("0", 500) + `e-500}`:        sized{A: 1},
		`{"a":9007199254740993}`:                              sized{A: 9007199254740993},
		`{"b":2147483647,"c":65535,"d":9223372036854775807}`:  sized{B: math.MaxInt32, C: math.MaxUint16, D: math.MaxInt64},
		`{"b":2147483648,"c":65536,"d":18446744073709551615}`: []string{"b", "c", "d"},
		`{"b":-2147483649,"c":-1,"d":-1}`:                     []string{"b", "c", "d"},
		`{"b":-2147483648,"c":-0,"d":-0.0}`:                   sized{B: math.MinInt32},
		`{"e":1e400}`:                                         []string{"e"},
		`{"e":-1e400}`:                                        []string{"e"},
		`{"e":1e-400}`:                                        sized{},
		`{"e":1.5}`:                                           sized{E: 1.5},
		`{"f":-2147483649}`:                                   []string{"f"},
	} {
		v, got := decodeKeys(d, text)
		if got == nil {
			got = v
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%.60s: %v, want %v", text, got, want)
		}
	}
}

func TestCoercion(t *testing.T) {
	t.Parallel()
	type fields struct {
		I    Opt[int]    `json:"i" minimum:"-1" maximum:"100"`
		N    float64     `json:"n"`
		B    Opt[bool]   `json:"b"`
		S    string      `json:"s" maxLength:"5"`
		List []string    `json:"list"`
		R    Opt[string] `json:"r" required:"true"`
	}
	whole := Compile[fields](Options{Coerce: true})
	type seedOnly struct {
		Seed  Opt[int64] `json:"seed" coerce:"true"`
		Other Opt[int64] `json:"other"`
		Must  Opt[int64] `json:"must" coerce:"true" nonull:"true"`
	}
	one := Compile[seedOnly]()
	for text, want := range map[string]any{
		`{"r":"","i":"42","n":"-7","b":1,"s":5,"list":[1,true,"a"]}`: fields{Some(42), -7, Some(true), "5", []string{"1", "true", "a"}, Some("")},
		`{"r":"","i":5.9,"b":0}`:                                     fields{I: Some(5), B: Some(false), R: Some("")},
		`{"r":"","i":null,"n":null,"s":null}`:                        fields{R: Some("")},
		`{"r":null}`:                                                 []string{"r"},
		`{"r":"","i":"x"}`:                                           []string{"i"},
		`{"r":"","i":"5.5"}`:                                         []string{"i"},
		`{"r":"","i":""}`:                                            []string{"i"},
		`{"r":"","i":"-"}`:                                           []string{"i"},
		`{"r":"","i":"101"}`:                                         []string{"i"},
		`{"r":"","b":"false"}`:                                       []string{"b"},
		`{"r":"","b":2}`:                                             []string{"b"},
		`{"r":"","s":123456}`:                                        []string{"s"},
		`{"r":"","s":{}}`:                                            []string{"s"},
		`{"r":"","list":[null]}`:                                     []string{"list.0"},
		`{"r":"","i":"99999999999999999999999"}`:                     []string{"i"},
	} {
		v, got := decodeKeys(whole, text)
		if got == nil {
			got = v
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]any{
		`{"seed":"4294967295"}`: seedOnly{Seed: Some(int64(4294967295))},
		`{"seed":-1}`:           seedOnly{Seed: Some(int64(-1))},
		`{"seed":null}`:         seedOnly{},
		`{}`:                    seedOnly{},
		`{"other":"5"}`:         []string{"other"},
		`{"must":"5"}`:          seedOnly{Must: Some(int64(5))},
		`{"must":null}`:         []string{"must"},
		`{"other":null}`:        []string{"other"},
	} {
		v, got := decodeKeys(one, text)
		if got == nil {
			got = v
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	optional := Compile[seedOnly](Options{Optional: true})
	if v, got := decodeKeys(optional, " "); got != nil || v != (seedOnly{}) {
		t.Errorf("a missing optional body: %v", got)
	}
}

func TestNULIsReported(t *testing.T) {
	t.Parallel()
	type fields struct {
		S string   `json:"s"`
		L []string `json:"l"`
		O Object   `json:"o"`
		A Any      `json:"a"`
	}
	d := Compile[fields]()
	for text, want := range map[string]bool{
		`{"s":"a\u0000b"}`:          true,
		`{"l":["a","\u0000"]}`:      true,
		`{"o":{"x":"\u0000"}}`:      true,
		`{"o":{"\u0000":1}}`:        true,
		`{"a":"\u0000"}`:            true,
		`{"a":"\\u0000"}`:           false,
		`{"o":{"x":"\\\\u0000"}}`:   false,
		`{"o":{"x":"\\\u0000"}}`:    true,
		`{"s":"\u0001","a":["\n"]}`: false,
		`{"undeclared":"\u0000"}`:   false,
	} {
		var v fields
		report, err := d.Decode([]byte(text), &v)
		if err != nil || report.NUL != want {
			t.Errorf("%s: %+v %v", text, report, err)
		}
	}
}

func TestNothingRefersToTheText(t *testing.T) {
	t.Parallel()
	text := []byte(`{"prompt":"abc","models":["m"],"params":{"special":{"k":"v"},"seed":"1"}}`)
	var v imageBody
	if _, err := images.Decode(text, &v); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v", v)
	for i := range text {
		text[i] = '#'
	}
	if after := fmt.Sprintf("%+v", v); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	bad := `"models":[` + strings.Repeat(`1,`, 500) + `1]`
	var v imageBody
	_, err := images.Decode([]byte(`{"prompt":"x",`+bad+`}`), &v)
	var e *horde.Error
	if !errors.As(err, &e) || len(e.Fields) != MaxErrors {
		t.Errorf("%v", err)
	}
	// What fell off the end of the list stays wrong when the list is taken back.
	if _, got := decodeKeys(images, `{`+bad+`,"prompt":5,"prompt":"x","params":5,"models":[]}`); got == nil {
		t.Error("a body with violations passed")
	}
}

// A hostile body must not cost much more than its own size.
func TestMemoryIsProportionalToTheBody(t *testing.T) {
	const size = 1 << 20
	fill := func(open, item, end string) string {
		return open + strings.Repeat(item, (size-len(open)-len(end))/len(item)) + end
	}
	for name, text := range map[string]string{
		"many loras":          fill(`{"params":{"loras":[`, `{},`, `{}]},"prompt":"x"}`),
		"many models":         fill(`{"models":[`, `"",`, `""],"prompt":"x"}`),
		"wrong models":        fill(`{"models":[`, `1,`, `1],"prompt":"x"}`),
		"many undeclared":     fill(`{`, `"a":1,`, `"prompt":"x"}`),
		"many duplicates":     fill(`{`, `"nsfw":1,`, `"prompt":"x"}`),
		"duplicate arrays":    fill(`{`, `"workers":["a"],`, `"prompt":"x"}`),
		"big prompt":          fill(`{"prompt":"`, `x`, `"}`),
		"big escaped prompt":  fill(`{"prompt":"`, `\u0041`, `"}`),
		"big name":            fill(`{"`, `x`, `":1}`),
		"big number":          fill(`{"params":{"width":`, `9`, `}}`),
		"big wrong value":     fill(`{"params":{"seed":[`, `9,`, `1]}}`),
		"unterminated string": fill(`{"prompt":"`, `x`, ``),
	} {
		t.Run(name, func(t *testing.T) {
			input := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var v imageBody
			_, err := images.Decode(input, &v)
			runtime.ReadMemStats(&after)
			if total := after.TotalAlloc - before.TotalAlloc; total > 8*size {
				t.Errorf("%d KiB allocated for a body of %d KiB", total>>10, size>>10)
			}
			var e *horde.Error
			if errors.As(err, &e) {
				for _, reason := range e.Fields {
					if len(reason) > 300 {
						t.Errorf("a reason of %d bytes", len(reason))
					}
				}
			}
		})
	}
}

func TestTypesThatCannotDescribeABody(t *testing.T) {
	t.Parallel()
	for name, compile := range map[string]func(){
		"no name": func() { Compile[struct{ A int }]() },
		"a channel": func() {
			Compile[struct {
				A chan int `json:"a"`
			}]()
		},
		"bad bound": func() {
			Compile[struct {
				A int `json:"a" minimum:"x"`
			}]()
		},
		"bad count": func() {
			Compile[struct {
				A string `json:"a" minLength:"-1"`
			}]()
		},
		"bad flag": func() {
			Compile[struct {
				A string `json:"a" coerce:"yes"`
			}]()
		},
		"fractional ints": func() {
			Compile[struct {
				A int `json:"a" multipleOf:"0.5"`
			}]()
		},
		"twice the name": func() {
			a := reflect.StructField{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"a"`}
			b := a
			b.Name = "B"
			structPlanOf(reflect.StructOf([]reflect.StructField{a, b}))
		},
		"unique objects": func() {
			Compile[struct {
				A []loraBody `json:"a" uniqueItems:"true"`
			}]()
		},
		"empty absent ints": func() {
			Compile[struct {
				A int `json:"a" emptyabsent:"true"`
			}]()
		},
		"not a struct": func() { Compile[int]() },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("compiled")
				}
			}()
			compile()
		})
	}
}

var submission = []byte(`{"prompt":"a small cat sitting on a wooden bench in the park, watercolour, soft light, detailed fur ### blurry, text","params":{"sampler_name":"k_euler_a","cfg_scale":7.5,"denoising_strength":0.75,"seed":"12345","height":512,"width":512,"post_processing":["GFPGAN"],"karras":true,"tiling":false,"hires_fix":false,"clip_skip":1,"steps":30,"n":1,"loras":[{"name":"GlowingRunesAI","model":1,"clip":1}]},"nsfw":false,"trusted_workers":false,"slow_workers":true,"censor_nsfw":false,"workers":[],"models":["Deliberate"],"r2":true,"shared":false,"replacement_filter":true,"dry_run":false}`)

func BenchmarkImageSubmission(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(submission)))
	for b.Loop() {
		var v imageBody
		if _, err := images.Decode(submission, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkImageSubmissionEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(submission)))
	for b.Loop() {
		var v plainImage
		if err := json.Unmarshal(submission, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHalvesOfSurrogatePairsAreRepairedWhereTheTagSaysSo(t *testing.T) {
	t.Parallel()
	type result struct {
		Text string `json:"text" repair:"true"`
	}
	var v result
	if _, err := Compile[result]().Decode([]byte(`{"text":"a\ud83db\udc00"}`), &v); err != nil || v.Text != "a\ufffdb\ufffd" {
		t.Errorf("%q %v", v.Text, err)
	}
}
