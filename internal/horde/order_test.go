// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// imageOrder makes an order with the effective defaults.
func imageOrder(change ...func(*Order)) *Order {
	o := (&ImageSubmission{Prompt: ptr("a cat")}).Order(&User{ID: 7}, nil, 0)
	for _, c := range change {
		c(o)
	}
	return o
}

func textOrder(change ...func(*Order)) *Order {
	o := (&TextSubmission{Prompt: ptr("a cat")}).Order(&User{ID: 7}, nil)
	for _, c := range change {
		c(o)
	}
	return o
}

func sized(w, h, steps int) func(*Order) {
	return func(o *Order) { o.Image.Width, o.Image.Height, o.Image.Steps = w, h, steps }
}

func post(names ...string) func(*Order) { return func(o *Order) { o.Image.PostProcessing = names } }
func sampledBy(s string) func(*Order)   { return func(o *Order) { o.Image.Sampler = s } }
func ofModels(m ...string) func(*Order) { return func(o *Order) { o.Models = m } }
func transparent(o *Order)              { o.Image.Transparent = true }
func unbatched(o *Order)                { o.DisableBatching = true }
func controlled(o *Order)               { o.SourceImage, o.Image.ControlType = "a", "canny" }

func TestBatchSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		o         *Order
		amount    int
		left      int
		maxPixels int64
		want      int
	}{
		{"small images", imageOrder(), 4, 20, 1048576, 4},
		{"as large as fits", imageOrder(sized(1024, 1024, 30)), 4, 20, 1048576, 1},
		{"a large worker", imageOrder(sized(1024, 1024, 30)), 4, 20, 4194304, 4},
		{"a light post-processor", imageOrder(sized(832, 1216, 30), post("GFPGAN")), 8, 20, 2097152, 3},
		{"a heavy post-processor", imageOrder(sized(1024, 1024, 30), post("4x_AnimeSharp")), 10, 20, 4194304, 5},
		{"the smallest worker", imageOrder(), 4, 20, 262144, 1},
		{"transparent is heavy", imageOrder(sized(1024, 1024, 30), transparent), 10, 20, 4194304, 6},
		{"both are heavy once", imageOrder(sized(1024, 1024, 30), transparent, post("RestoreFormer")), 10, 20, 4194304, 5},
		{"a worker too small", imageOrder(sized(2048, 2048, 30)), 4, 20, 64, 1},
		{"no more than is left", imageOrder(), 4, 3, 1048576, 3},
		{"without batching", imageOrder(unbatched), 4, 20, 1048576, 1},
		{"text", textOrder(), 20, 20, 0, 20},
		{"text, no more than is left", textOrder(), 5, 2, 0, 2},
	} {
		if got := c.o.BatchSize(c.amount, c.left, c.maxPixels); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	// Every heavy post-processor is heavy, and no other.
	for name := range PostProcessors {
		heavy := strings.Contains(" RealESRGAN_x4plus RealESRGAN_x4plus_anime_6B NMKD_Siax 4x_AnimeSharp CodeFormers "+
			"4xNomos8kSC 4xLSDIRplus 4xNomos2_hq_dat2 RestoreFormer ", " "+name+" ")
		want := 8
		if heavy {
			want = 5
		}
		if got := imageOrder(sized(1024, 1024, 30), post(name)).BatchSize(10, 20, 4194304); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		o         *Order
		extraSlow bool
		want      int // seconds, truncated as the answer shows it
	}{
		{"512x512, 20 steps", imageOrder(sized(512, 512, 20)), false, 150},
		{"1024x1024, 30 steps", imageOrder(sized(1024, 1024, 30)), false, 270},
		{"832x1216, 30 steps", imageOrder(sized(832, 1216, 30)), false, 261},
		{"1536x768, 40 steps", imageOrder(sized(1536, 768, 40)), false, 390},
		{"576x576, 50 steps of k_dpm_2", imageOrder(sized(576, 576, 50), sampledBy("k_dpm_2")), false, 283},
		{"768x768, 40 steps under control", imageOrder(sized(768, 768, 40), controlled), false, 420},
		{"1024x1024, 8 steps of flux", imageOrder(sized(1024, 1024, 8), ofModels("Deliberate", "Flux")), false, 282},
		{"1024x1024, 8 steps of Qwen", imageOrder(sized(1024, 1024, 8), ofModels("Qwen-Image")), false, 282},
		{"1024x1024, 8 steps of Z-Image", imageOrder(sized(1024, 1024, 8), ofModels("a [ZImage] mix", "Flux")), false, 282},
		{"an extra slow worker", imageOrder(), true, 450},
		{"adaptive steps", imageOrder(sized(1024, 1024, 500), sampledBy("k_dpm_adaptive")), false, 350},
		{"80 tokens", textOrder(), false, 150},
		{"960 tokens", textOrder(func(o *Order) { o.Text.MaxLength = ptr(960) }), false, 150},
		{"1024 tokens", textOrder(func(o *Order) { o.Text.MaxLength = ptr(1024) }), false, 158},
		{"4096 tokens", textOrder(func(o *Order) { o.Text.MaxLength = ptr(4096) }), false, 542},
		{"text workers are never extra slow", textOrder(), true, 150},
	} {
		got := c.o.Lease(c.extraSlow, testReference)
		if int(got/time.Second) != c.want {
			t.Errorf("%s: %v, want %d s", c.name, got, c.want)
		}
	}
	if got := imageOrder(sized(832, 1216, 30)).Lease(false, testReference).Round(time.Second); got != 262*time.Second {
		t.Errorf("rounded lease %v, want 262 s", got)
	}
	// The field case: 4096 tokens at 15 a second, submitted after 273 s.
	if got := textOrder(func(o *Order) { o.Text.MaxLength = ptr(4096) }).Lease(false, testReference); got <= 273*time.Second {
		t.Errorf("lease %v for 4096 tokens", got)
	}
}

func TestAccurateSteps(t *testing.T) {
	t.Parallel()
	for sampler, want := range map[string]int{
		"k_lms": 30, "k_heun": 60, "k_euler": 30, "k_euler_a": 30, "k_dpm_2": 60, "k_dpm_2_a": 60, "k_dpm_fast": 30,
		"k_dpm_adaptive": 40, "k_dpmpp_2s_a": 60, "k_dpmpp_2m": 30, "dpmsolver": 30, "k_dpmpp_sde": 60, "DDIM": 30, "lcm": 30,
	} {
		if got := AccurateSteps(sampler, 30); got != want {
			t.Errorf("%s: %d, want %d", sampler, got, want)
		}
	}
	if got := imageOrder(sized(1024, 512, 20), sampledBy("k_heun")).Things(); got != 1024*512*40 {
		t.Errorf("%v things", got)
	}
	if got := textOrder().Things(); got != 80 {
		t.Errorf("%v things", got)
	}
}

func TestPostProcessorsAndUpscalers(t *testing.T) {
	t.Parallel()
	if len(PostProcessors) != 16 || len(Upscalers) != 11 {
		t.Errorf("%d post-processors, %d upscalers", len(PostProcessors), len(Upscalers))
	}
	for _, name := range []string{"GFPGAN", "GFPGANv1.3", "CodeFormers", "RestoreFormer", "strip_background"} {
		if Upscalers[name] || !PostProcessors[name] {
			t.Errorf("%s: upscaler %v, post-processor %v", name, Upscalers[name], PostProcessors[name])
		}
	}
}

func TestRequestLife(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		r             Request
		waiting, done bool
	}{
		{"fresh", Request{Left: 2}, true, false},
		{"all handed out", Request{Left: 0, Running: 2}, false, false},
		{"two faulted, two finished, one running", Request{Faults: 2, Finished: 2, Running: 1}, false, false},
		{"finished", Request{Finished: 3}, false, true},
		{"given up", Request{Left: 1, Running: 1, Faults: 3, Faulted: true}, false, true},
		{"cancelled with one running", Request{Cancelled: true, Running: 1}, false, false},
		{"cancelled", Request{Cancelled: true}, false, true},
		{"cancelled with results left", Request{Cancelled: true, Left: 1, Running: 1}, false, false},
	} {
		if c.r.Waiting() != c.waiting || c.r.Done() != c.done {
			t.Errorf("%s: waiting %v, done %v; want %v, %v", c.name, c.r.Waiting(), c.r.Done(), c.waiting, c.done)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := Request{Expires: now.Add(Lifetime)}
	if r.Touch(now.Add(-time.Minute), Lifetime); !r.Expires.Equal(now.Add(Lifetime)) {
		t.Errorf("touching made the life shorter: %v", r.Expires)
	}
	if r.Touch(now, ExtraSlowLifetime); !r.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("expires %v", r.Expires)
	}
}

func TestImageOrderDefaults(t *testing.T) {
	t.Parallel()
	got := (&ImageSubmission{Prompt: ptr("a cat")}).Order(&User{ID: 7}, nil, 5)
	want := &Order{
		Kind: Image, Prompt: "a cat", Models: []string{"stable_diffusion"}, NSFW: true, CensorNSFW: true, SlowWorkers: true, R2: true,
		Image: &ImageParams{Width: 512, Height: 512, Steps: 30, Sampler: "k_euler_a", CFGScale: 5, Karras: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %+v, want %+v %+v", got, got.Image, want, want.Image)
	}
	if got.UseNSFWCensor() {
		t.Error("censored although it is allowed")
	}
	for _, c := range []struct {
		name  string
		s     ImageSubmission
		u     User
		check func(*Order) bool
	}{
		{"control lowers the default steps", ImageSubmission{Params: &ImageSettings{ControlType: ptr("canny")}}, User{},
			func(o *Order) bool { return o.Image.Steps == 20 }},
		{"control caps the steps", ImageSubmission{Params: &ImageSettings{ControlType: ptr("canny"), Steps: ptr(60)}}, User{},
			func(o *Order) bool { return o.Image.Steps == 40 }},
		{"control lets fewer steps be", ImageSubmission{Params: &ImageSettings{ControlType: ptr("canny"), Steps: ptr(31)}}, User{},
			func(o *Order) bool { return o.Image.Steps == 31 }},
		{"no models means any", ImageSubmission{Models: []string{}}, User{}, func(o *Order) bool { return len(o.Models) == 0 }},
		{"blank models mean any", ImageSubmission{Models: []string{"", " "}}, User{}, func(o *Order) bool { return len(o.Models) == 0 }},
		{"models are kept in order", ImageSubmission{Models: []string{"b", " a ", "b"}}, User{},
			func(o *Order) bool { return reflect.DeepEqual(o.Models, []string{"b", "a"}) }},
		{"education", ImageSubmission{NSFW: ptr(true), CensorNSFW: ptr(false), TrustedWorkers: ptr(false)}, User{ID: 1, Roles: Education},
			func(o *Order) bool { return !o.NSFW && o.CensorNSFW && o.TrustedWorkers && o.UseNSFWCensor() }},
		{"not safe and not censored", ImageSubmission{NSFW: ptr(false), CensorNSFW: ptr(false)}, User{},
			func(o *Order) bool { return !o.UseNSFWCensor() }},
		{"trusted", ImageSubmission{}, User{ID: 1, Roles: Trusted}, func(o *Order) bool { return o.RequesterTrusted }},
		{"a seed", ImageSubmission{Params: &ImageSettings{Seed: ptr("abc")}}, User{},
			func(o *Order) bool { return *o.Image.Seed == 6513249 }},
		{"an empty seed", ImageSubmission{Params: &ImageSettings{Seed: ptr("")}}, User{},
			func(o *Order) bool { return o.Image.Seed == nil }},
		{"a variation without a seed", ImageSubmission{Params: &ImageSettings{SeedVariation: ptr(3)}}, User{},
			func(o *Order) bool { return *o.Image.Seed == 5 && o.Image.SeedVariation == 3 }},
		{"loras get their strengths", ImageSubmission{Params: &ImageSettings{Loras: []LoraSettings{{Name: ptr("9999"), Clip: ptr(-1.5)}}}}, User{},
			func(o *Order) bool { return o.Image.Loras[0] == Lora{Name: "9999", Model: 1, Clip: -1.5} }},
		{"an empty list of loras is not an absent one", ImageSubmission{Params: &ImageSettings{Loras: []LoraSettings{}}}, User{},
			func(o *Order) bool { return o.Image.Loras != nil && o.Needs().Wants&WantsLoras != 0 }},
		{"TIs get their strength", ImageSubmission{Params: &ImageSettings{TIs: []TISettings{{Name: ptr("x")}}}}, User{},
			func(o *Order) bool { return o.Image.TIs[0] == TI{Name: "x", Strength: 1} }},
		{"qr_code is not batched", ImageSubmission{Params: &ImageSettings{Workflow: ptr("qr_code")}}, User{},
			func(o *Order) bool { return o.DisableBatching }},
		{"without a picture there is nothing to paint in", ImageSubmission{SourceProcessing: ptr("inpainting")}, User{},
			func(o *Order) bool { return o.SourceProcessing == "" && !o.Painting() }},
		{"source images", ImageSubmission{SourceImage: ptr("img"), SourceMask: ptr("msk"), SourceProcessing: ptr("outpainting"),
			ExtraSourceImages: []ExtraSourceImage{{Image: ptr("x")}, {Image: ptr("y"), Strength: ptr(0.5)}}}, User{},
			func(o *Order) bool {
				return o.SourceImage == "img" && o.SourceMask == "msk" && o.Painting() && o.ExtraSources == nil
			}},
		{"a source image alone is img2img", ImageSubmission{SourceImage: ptr("img")}, User{},
			func(o *Order) bool { return o.SourceProcessing == "img2img" }},
		{"base64 results", ImageSubmission{R2: ptr(false)}, User{}, func(o *Order) bool { return !o.R2 }},
	} {
		if o := c.s.Order(&c.u, nil, 5); !c.check(o) {
			t.Errorf("%s: %+v %+v", c.name, o, o.Image)
		}
	}
	workers := make([]WorkerID, 7)
	for i := range workers {
		workers[i] = WorkerID{uuid.New()}
	}
	if got := (&ImageSubmission{}).Order(&User{}, workers, 0).Workers; !reflect.DeepEqual(got, workers[:5]) {
		t.Errorf("%d workers count", len(got))
	}
	if n, m := (&ImageSubmission{}).Results(), (&ImageSubmission{Params: &ImageSettings{N: ptr(4)}}).Results(); n != 1 || m != 4 {
		t.Errorf("results %d, %d", n, m)
	}
}

func TestTextOrderDefaults(t *testing.T) {
	t.Parallel()
	got := (&TextSubmission{Prompt: ptr("a cat")}).Order(&User{ID: 7}, nil)
	want := &Order{Kind: Text, Prompt: "a cat", SlowWorkers: true,
		Text: &TextParams{TextSettings{MaxLength: ptr(80), MaxContextLength: ptr(2048)}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %+v, want %+v %+v", got, got.Text, want, want.Text)
	}
	s := &TextSubmission{Softprompt: ptr("soft"), DisableBatching: ptr(true), Models: []string{"b", "a"},
		ValidatedBackends: ptr(true), Params: &TextSettings{N: ptr(3), MaxLength: ptr(100), Temperature: ptr(0.5)}}
	o := s.Order(&User{ID: 7}, nil)
	if o.Softprompt != "soft" || o.DisableBatching || !o.ValidatedBackends || o.Text.N != nil || *o.Text.MaxLength != 100 ||
		*o.Text.Temperature != 0.5 || s.Results() != 3 || *s.Params.N != 3 || (&TextSubmission{}).Results() != 1 {
		t.Errorf("%+v %+v", o, o.Text)
	}
	if payload, err := json.Marshal(o.Text); err != nil || string(payload) != `{"max_length":100,"max_context_length":2048,"temperature":0.5}` {
		t.Errorf("stored as %s, %v", payload, err)
	}
}
