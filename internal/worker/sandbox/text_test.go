// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func generate(t *testing.T, job TextJob) TextResult {
	t.Helper()
	var pieces []string
	r, err := Text{}.Generate(t.Context(), job, func(s string) { pieces = append(pieces, s) })
	if err != nil {
		t.Fatal(err)
	}
	if joined := strings.Join(pieces, ""); joined != r.Text || len(pieces) != r.Tokens {
		t.Errorf("%d pieces %q are not the result %q of %d tokens", len(pieces), joined, r.Text, r.Tokens)
	}
	return r
}

// The texts are part of what users keep: a seed of today must give the same text on every machine tomorrow.
func TestASeedIsATextForEver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		job  TextJob
		want string
	}{
		{TextJob{Prompt: "Once upon a time", MaxLength: 40, Seed: 1, Temperature: 1},
			" there was a kingdom so small that the king knew everybody by name. It had one castle, two roads and a dragon who came on thursdays."},
		{TextJob{Prompt: "The robot", MaxLength: 40, Seed: 42, Temperature: 0.7, TopP: 0.9, TopK: 40, MinP: 0.01},
			" had learned that the hard way, at three in the night, with cold coffee. Somewhere in ten thousand lines there was one that said the opposite of what it meant."},
		{TextJob{Prompt: "What is the tide?", MaxLength: 40, Seed: 7, Temperature: 1.5},
			" You ask about the tide, and the demo writer answers with a story, as it always does. It depends on whom you ask."},
	} {
		got := generate(t, c.job).Text
		if got != c.want {
			t.Errorf("%q: got\n%q, want\n%q", c.job.Prompt, got, c.want)
		}
		if again := generate(t, c.job).Text; again != got {
			t.Errorf("%q: twice is not the same", c.job.Prompt)
		}
	}
}

func TestSeedAndTemperature(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{}
	greedy := map[string]bool{}
	for seed := range uint64(20) {
		texts[generate(t, TextJob{Prompt: "In the forest", Seed: seed, Temperature: 1}).Text] = true
		greedy[generate(t, TextJob{Prompt: "In the forest", Seed: seed}).Text] = true
	}
	if len(texts) < 18 {
		t.Errorf("20 seeds gave %d texts", len(texts))
	}
	if len(greedy) != 1 {
		t.Errorf("temperature 0 gave %d texts", len(greedy))
	}
	for _, narrow := range []TextJob{{TopK: 1}, {TopP: 0.0001}, {MinP: 1}} {
		narrow.Prompt, narrow.Temperature = "The night", 1
		one := generate(t, narrow).Text
		if one == "" {
			t.Errorf("%+v gave nothing", narrow)
		}
	}
}

func TestLengthIsHonoured(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 16, 80, 512, 4096} {
		r := generate(t, TextJob{Prompt: "The sea", MaxLength: n, Seed: 3, Temperature: 1, IgnoreEnd: true})
		if r.Tokens != n || r.Finish != FinishLength {
			t.Errorf("%d tokens, %s, want %d", r.Tokens, r.Finish, n)
		}
		if per := float64(len(r.Text)) / float64(r.Tokens); n >= 80 && (per < 3.5 || per > 5) {
			t.Errorf("%.2f characters a token", per)
		}
		r = generate(t, TextJob{Prompt: "The sea", MaxLength: n, Seed: 3, Temperature: 1})
		if r.Tokens > n || r.Tokens*5 < n*3 {
			t.Errorf("%d tokens of %d", r.Tokens, n)
		}
		if r.Finish == FinishEnd && !strings.ContainsAny(r.Text[len(r.Text)-1:], ".!?") {
			t.Errorf("it calls this an end: %q", r.Text[max(0, len(r.Text)-40):])
		}
	}
	if r := generate(t, TextJob{IgnoreEnd: true}); r.Tokens != DefaultMaxLength {
		t.Errorf("%d tokens where none were asked for", r.Tokens)
	}
}

func TestStopSequencesEndTheText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		stop []string
	}{
		{"a full stop", []string{"."}},
		{"a part of a word and a blank", []string{"e "}},
		{"a paragraph", []string{"\n\n"}},
		{"several", []string{"zzz", "", " the ", "the"}},
		{"one letter", []string{"q", "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := generate(t, TextJob{Prompt: "Once upon a time", MaxLength: 400, Seed: 5, Temperature: 1, Stop: c.stop})
			if r.Finish != FinishStop {
				t.Fatalf("finish %s", r.Finish)
			}
			ends := false
			for _, s := range c.stop {
				if s == "" {
					continue
				}
				ends = ends || strings.HasSuffix(r.Text, s)
				if i := strings.Index(r.Text, s); i >= 0 && i+len(s) < len(r.Text) {
					t.Errorf("%q stands within %q", s, r.Text)
				}
			}
			if !ends {
				t.Errorf("no stop sequence at the end of %q", r.Text)
			}
		})
	}
}

func TestThePromptSteersTheText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prompt, words string }{
		{"The ocean was wide. ", "sea boat water wave sail tide ship shore island harbour"},
		{"Snow and ice were", "snow cold winter ice frozen white leaves wind storm rain"},
		{"This is my recipe for dinner. ", "soup bread salt butter oven kitchen table apples onions bakery"},
		{"All the robots and computers ", "machine robot clock gears oil program engine lever inventor lamp"},
	} {
		hits := 0
		for seed := range uint64(10) {
			text := strings.ToLower(generate(t, TextJob{Prompt: c.prompt, MaxLength: 120, Seed: seed, Temperature: 1}).Text)
			for w := range strings.FieldsSeq(c.words) {
				if strings.Contains(text, w) {
					hits++
					break
				}
			}
		}
		if hits < 9 {
			t.Errorf("%q: %d of 10 texts speak of it", c.prompt, hits)
		}
	}
	for _, c := range []struct{ prompt, says string }{
		{"Write a story about a dragon.\n", "dragon"},
		{"Ottilie looked up. Nobody had told Ottilie where she was. ", "Ottilie"},
		{"### Instruction:\nTell me a tale of an old pirate\n### Response:\n", "pirate"},
	} {
		hits := 0
		for seed := range uint64(10) {
			if strings.Contains(generate(t, TextJob{Prompt: c.prompt, MaxLength: 160, Seed: seed, Temperature: 1}).Text, c.says) {
				hits++
			}
		}
		if hits < 8 {
			t.Errorf("%q: %d of 10 texts name %s", c.prompt, hits, c.says)
		}
	}
}

func TestAnAnswerSaysWhoSpeaks(t *testing.T) {
	t.Parallel()
	for _, prompt := range []string{
		"<|im_start|>user\nHow do I bake bread?<|im_end|>\n<|im_start|>assistant\n",
		"[INST] What is a whale? [/INST]",
		"User: Explain gravity to me\nAssistant:",
		"<start_of_turn>user\nWhy is the sky blue?<end_of_turn>\n<start_of_turn>model\n",
		"What is the capital of France?",
	} {
		for seed := range uint64(5) {
			r := generate(t, TextJob{Prompt: prompt, MaxLength: 300, Seed: seed, Temperature: 1})
			first, _, _ := strings.Cut(r.Text, ".")
			if !strings.Contains(first, "demo writer") || r.Finish != FinishEnd {
				t.Errorf("%q: %s: %q", prompt, r.Finish, r.Text)
			}
			if strings.ContainsAny(r.Text, "<>[]#|{}") {
				t.Errorf("markup in %q", r.Text)
			}
		}
	}
}

func TestContinuationsJoinThePrompt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prompt, begins string }{
		{"The robot", " "},
		{"The robot ", "lower"},
		{"It was late.", " Upper"},
		{"It was late.\n", "Upper"},
		{"", "Upper"},
		{"They walked through the", " lower"},
		{"zxqv blorp frindel wakka morp", ","},
	} {
		for seed := range uint64(8) {
			text := generate(t, TextJob{Prompt: c.prompt, Seed: seed, Temperature: 1}).Text
			ok := true
			rest := strings.TrimPrefix(text, " ")
			switch c.begins {
			case " ":
				ok = strings.HasPrefix(text, " ")
			case ",":
				ok = strings.HasPrefix(text, ", and ")
			case "lower":
				ok = rest == text && strings.ToLower(text[:1]) == text[:1]
			case " lower":
				ok = rest != text
			case "Upper", " Upper":
				ok = strings.ToUpper(rest[:1]) == rest[:1] && (rest == text) == (c.begins == "Upper")
			}
			if !ok {
				t.Errorf("%q + %q", c.prompt, text)
			}
		}
	}
}

func TestArticlesFitTheirWords(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		text := " " + strings.ToLower(generate(t, TextJob{Seed: seed, MaxLength: 200, Temperature: 1}).Text)
		for _, v := range "aeiou" {
			if i := strings.Index(text, " a "+string(v)); i >= 0 {
				t.Errorf("…%q…", text[i:min(len(text), i+20)])
			}
		}
		if i := strings.Index(text, "{"); i >= 0 {
			t.Errorf("an empty slot: %q", text)
		}
	}
}

func TestTheCorpusIsWhole(t *testing.T) {
	t.Parallel()
	c := loadCorpus()
	w := newWriter(c, TextJob{Temperature: 1}, &output{ctx: t.Context(), job: TextJob{MaxLength: 1}})
	words := 0
	for i, s := range c.sentences {
		if len(s.tokens) < 4 || !endsSentence(s.tokens[len(s.tokens)-1]) {
			t.Errorf("sentence %d: %v", i, s.tokens)
		}
		for _, token := range s.tokens {
			words++
			clear(w.slots)
			if filled := w.fill(token); filled == "" || strings.ContainsAny(filled, "{}") {
				t.Errorf("%q is filled with %q", token, filled)
			}
		}
	}
	if words < 5000 || len(c.leads) < 3 {
		t.Errorf("%d words, %d leads", words, len(c.leads))
	}
}

func TestPaceAndCancellation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r, err := Text{TokensPerSecond: 20}.Generate(t.Context(), TextJob{MaxLength: 40, IgnoreEnd: true}, nil)
		if err != nil || r.Tokens != 40 || time.Since(start) != 2*time.Second {
			t.Errorf("%d tokens in %v, %v", r.Tokens, time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1025*time.Millisecond)
		defer cancel()
		r, err = Text{TokensPerSecond: 20}.Generate(ctx, TextJob{MaxLength: 40, IgnoreEnd: true}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || r.Tokens != 20 || r.Text == "" || r.Finish != "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := (Text{}).Generate(ctx, TextJob{}, nil); !errors.Is(err, context.Canceled) || r.Text != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAnyJobGivesAnHonestResult(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := TextJob{
			Prompt:      rapid.String().Draw(t, "prompt"),
			MaxLength:   rapid.IntRange(1, 300).Draw(t, "length"),
			Seed:        rapid.Uint64().Draw(t, "seed"),
			Temperature: rapid.Float64Range(0, 5).Draw(t, "temperature"),
			TopP:        rapid.Float64Range(0, 1).Draw(t, "top_p"),
			TopK:        rapid.IntRange(0, 200).Draw(t, "top_k"),
			MinP:        rapid.Float64Range(0, 1).Draw(t, "min_p"),
			Stop:        rapid.SliceOfN(rapid.StringN(0, 3, 6), 0, 3).Draw(t, "stop"),
		}
		checkHonest(t, job)
	})
}

func FuzzText(f *testing.F) {
	f.Add("Once upon a time", uint64(1), "the")
	f.Add("<|im_start|>user\n\xff?<|im_end|>", uint64(2), "\x00")
	f.Add("a an the \n\n A: ", uint64(3), "")
	f.Fuzz(func(t *testing.T, prompt string, seed uint64, stop string) {
		checkHonest(t, TextJob{Prompt: prompt, Seed: seed, Stop: []string{stop}, Temperature: 1, MaxLength: 50})
	})
}

func checkHonest(t interface {
	Errorf(string, ...any)
	Fatal(...any)
}, job TextJob) {
	r, err := Text{}.Generate(context.Background(), job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Tokens > job.MaxLength || r.Tokens < 1 || r.Finish == "" {
		t.Errorf("%+v: %+v", job, r)
	}
	if utf8.ValidString(job.Prompt) && utf8.ValidString(strings.Join(job.Stop, "")) && !utf8.ValidString(r.Text) {
		t.Errorf("%q", r.Text)
	}
	for _, s := range job.Stop {
		if i := strings.Index(r.Text, s); s != "" && i >= 0 && i+len(s) != len(r.Text) {
			t.Errorf("%q goes on after %q", r.Text, s)
		}
	}
}

func ExampleText() {
	r, _ := Text{}.Generate(context.Background(), TextJob{Prompt: "The lighthouse", MaxLength: 30}, nil)
	fmt.Println(strings.TrimSpace(r.Text))
	// Output:
	// stood on a rock at the end of the bay. Its light went round and round, patient as a clock.
}

func BenchmarkText(b *testing.B) {
	tokens := 0
	for i := range b.N {
		r, _ := Text{}.Generate(b.Context(), TextJob{Prompt: "The lighthouse", MaxLength: 200, Seed: uint64(i), Temperature: 1}, nil)
		tokens += r.Tokens
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}
