// SPDX-License-Identifier: AGPL-3.0-or-later

package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// plainImage is imageBody for encoding/json, which knows pointers only.
type plainImage struct {
	Prompt         string       `json:"prompt"`
	Params         *plainParams `json:"params"`
	NSFW           *bool        `json:"nsfw"`
	TrustedWorkers bool         `json:"trusted_workers"`
	SlowWorkers    *bool        `json:"slow_workers"`
	CensorNSFW     *bool        `json:"censor_nsfw"`
	Models         []string     `json:"models"`
	Workers        []string     `json:"workers"`
	R2             *bool        `json:"r2"`
	Shared         bool         `json:"shared"`
	Replacement    *bool        `json:"replacement_filter"`
	DryRun         bool         `json:"dry_run"`
	Style          *string      `json:"style" minLength:"3"`
}

type plainParams struct {
	N              *int        `json:"n" minimum:"1" maximum:"20"`
	Steps          *int        `json:"steps"`
	Width          *int        `json:"width" multipleOf:"64"`
	Height         *int        `json:"height"`
	CfgScale       *float64    `json:"cfg_scale" maximum:"100"`
	SamplerName    *string     `json:"sampler_name" enum:"k_lms,k_heun,k_euler_a,DDIM"`
	Karras         *bool       `json:"karras"`
	Seed           *string     `json:"seed"`
	PostProcessing []string    `json:"post_processing" uniqueItems:"true"`
	Loras          []plainLora `json:"loras" maxItems:"5"`
}

type plainLora struct {
	Name  string   `json:"name" required:"true" minLength:"1"`
	Model *float64 `json:"model" minimum:"-5" maximum:"5"`
}

var plain = Compile[plainImage]()

// Bodies that are valid must mean to us what they mean to encoding/json.
func TestAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	boolean := rapid.Ptr(rapid.Bool(), true)
	number := func(low, high int) *rapid.Generator[*int] { return rapid.Ptr(rapid.IntRange(low, high), true) }
	lora := rapid.Custom(func(t *rapid.T) plainLora {
		return plainLora{
			Name:  rapid.StringN(1, 20, -1).Draw(t, "name"),
			Model: rapid.Ptr(rapid.Float64Range(-5, 5), true).Draw(t, "model"),
		}
	})
	params := rapid.Custom(func(t *rapid.T) plainParams {
		p := plainParams{
			N:              number(1, 20).Draw(t, "n"),
			Steps:          number(-1<<62, 1<<62).Draw(t, "steps"),
			CfgScale:       rapid.Ptr(rapid.Float64Max(100), true).Draw(t, "cfg_scale"),
			SamplerName:    rapid.Ptr(rapid.SampledFrom([]string{"k_lms", "DDIM"}), true).Draw(t, "sampler"),
			Karras:         boolean.Draw(t, "karras"),
			Seed:           rapid.Ptr(rapid.String(), true).Draw(t, "seed"),
			PostProcessing: rapid.SliceOfDistinct(rapid.String(), rapid.ID[string]).Draw(t, "post"),
			Loras:          rapid.SliceOfN(lora, 0, 5).Draw(t, "loras"),
		}
		if w := number(-50, 50).Draw(t, "width"); w != nil {
			*w *= 64
			p.Width = w
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		in := plainImage{
			Prompt:  rapid.String().Draw(t, "prompt"),
			Params:  rapid.Ptr(params, true).Draw(t, "params"),
			NSFW:    boolean.Draw(t, "nsfw"),
			Models:  rapid.SliceOf(rapid.String()).Draw(t, "models"),
			Shared:  rapid.Bool().Draw(t, "shared"),
			Style:   rapid.Ptr(rapid.StringN(3, 100, -1), true).Draw(t, "style"),
			R2:      boolean.Draw(t, "r2"),
			Workers: []string{},
		}
		text, err := json.Marshal(withoutNulls(t, in))
		if err != nil {
			t.Fatal(err)
		}
		var want, got plainImage
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if _, err := plain.Decode(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", text, got, want)
		}
	})
}

func withoutNulls(t *rapid.T, v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return pruneNulls(tree)
}

func pruneNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if item == nil {
				delete(v, k)
			} else {
				v[k] = pruneNulls(item)
			}
		}
	case []any:
		for i := range v {
			v[i] = pruneNulls(v[i])
		}
	}
	return v
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		string(submission), `{}`, `[1]`, `null`, `{"prompt":5,"params":{"width":100,"n":21}}`, `{"prompt":"\ud800\u0000"}`,
		`{"prompt":"x","params":{"width":512.0,"cfg_scale":1e400,"special":{"a":[{}]}}}`, `{"models":[1,"a",null],"models":[]}`,
	} {
		f.Add([]byte(s))
	}
	coercing := Compile[imageBody](Options{Coerce: true, Optional: true})
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		var v, w imageBody
		_, err := images.Decode(text, &v)
		if string(text) != before {
			t.Fatal("the text was changed")
		}
		var e *horde.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not a caller-visible error: %v", err)
		}
		if e != nil && e.Fields != nil && len(e.Fields) == 0 {
			t.Fatal("a violation without a field")
		}
		isJSON := json.Valid(text)
		if (err == nil || e.Fields != nil) && !isJSON {
			t.Fatalf("accepted as JSON: %q", text)
		}
		if _, lenient := coercing.Decode(text, &w); err == nil && lenient != nil {
			t.Fatalf("strictly valid but leniently not: %v", lenient)
		}
		if err == nil && v.Prompt == "" {
			t.Fatal("a missing or empty prompt passed")
		}
	})
}
