// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// The examples of the accounts chapter, and what follows from its section 7.

func TestNormalise(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a (red fox:1.3) on ((snow))":      "a red fox on snow ",
		"look z e b r a":                   "look zebra",
		"z e b r a corn":                   "z ebra corn",
		"x a b c d, y a b c d":             "x abcd y abcd",
		"(zebra:2)":                        " zebra 2 ",
		"[zebra|horse], <lora:x:0.8>":      " zebra horse lora x08 ",
		"z3bra":                            "z3bra",
		"foo a1 b c d":                     "foo a1 bcd",
		"zébrà—corn":                       "zebra corn",
		"ｚｅｂｒａ":                            "zebra",
		"":                                 "",
		"zebra_corn":                       "zebra corn",
		"(a\nb:1.3)":                       " ab13 ", // over a line end no weight, but a spaced word
		"((deep:1.1):1.2)":                 " deep 1 2 ",
		"a b c":                            "a b c", // the first letter has nothing before it, and two are no word
		" a b c":                           " abc",
		"b c d ef":                         "b c d ef",
		"𝔷𝔢𝔟𝔯𝔞":                            "zebra",
		"tabs\tand\n\nlines":               "tabs and lines",
		strings.Repeat("(", 3) + "a:1.0)":  " a",
		"say (a:0.5) and (b:12.34) and (c": "say a and b and c",
	} {
		if got := Normalise(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := normalise("z e b r a corn", true); got != "zebra corn" {
		t.Errorf("at the start: %q", got)
	}
}

func describe(s string) *string { return &s }

func exampleSet(t testing.TB, o Options) *Set {
	t.Helper()
	s, err := Compile([]Filter{
		{ID: 1, Regex: "zebracorn", Type: UnderAge, Replacement: "horse"}, {ID: 2, Regex: "quixotle", Type: UnderAgeToo},
		{ID: 3, Regex: "vermillex", Type: Lewd, Description: describe("a word")}, {ID: 4, Regex: "anything", Type: 25},
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScore(t *testing.T) {
	t.Parallel()
	s := exampleSet(t, Options{Data: Data{Emoji: []string{"👪", "👧🏽"}}})
	for _, c := range []struct {
		prompt string
		only   FilterType
		score  int
		found  string
	}{
		{"zebracorn quixotle", 0, 1, "zebracorn"},
		{"zebracorn, VERMILLEX", 0, 2, "zebracorn VERMILLEX"},
		{"my (zebracorn:1.3) v e r m i l l e x", 0, 2, "zebracorn vermillex"},
		{"zebra_corn vermillex", 0, 1, "vermillex"},
		{"clean###zebracorn vermillex", 0, 0, ""},
		{"quixotle and vermillex", UnderAge, 0, ""},
		{"quixotle and vermillex", Lewd, 1, "vermillex"},
		{"quixotle and anything", 25, 0, ""},
		{"z e b r a c o r n vermillex", 0, 2, "zebracorn vermillex"},
		{"👪 👪 👧🏽 vermillex", 0, 2, "👪 👧🏽 vermillex"},
		{"👧 vermillex", 0, 1, "vermillex"},
		{"👨‍👩‍👧 vermillex", 0, 1, "vermillex"},
		{"👪 zebracorn", 0, 1, "👪"},
		{"👪 zebracorn", Lewd, 0, ""},
		{"", 0, 0, ""},
	} {
		score, found := s.Score(c.prompt, c.only)
		if score != c.score || strings.Join(found, " ") != c.found || found == nil {
			t.Errorf("%q with %d: got %d %q", c.prompt, c.only, score, found)
		}
	}
	if score, _ := exampleSet(t, Options{Off: true}).Score("zebracorn vermillex", 0); score != 0 {
		t.Errorf("switched off: %d", score)
	}
	leet := "z3bracorn v3rm1ll3x"
	if score, _ := s.Score(leet, 0); score != 0 {
		t.Errorf("not folded: %d", score)
	}
	if score, found := exampleSet(t, Options{Fold: true}).Score(leet, 0); score != 2 {
		t.Errorf("folded: %d %q", score, found)
	}
	// What is disguised cannot be replaced, so it is refused; what stands there as it is can.
	folding := exampleSet(t, Options{Fold: true})
	for prompt, want := range map[string]Ruling{leet: RefusedByFilter, "zebracorn v3rm1ll3x": RefusedByFilter, "zebracorn vermillex": Passed, "a h0rse": Passed} {
		if j := folding.Judge(Question{Prompt: prompt, Kind: horde.Image, MayReplace: true}); j.Ruling != want {
			t.Errorf("%q is ruled %d, want %d", prompt, j.Ruling, want)
		}
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	s := exampleSet(t, Options{Data: Data{Negative: "N"}})
	for in, want := range map[string]string{
		"a (zebracorn:1.2), vermillex###blurry": "a horse vermillex###N, blurry",
		"a zebracorn":                           "a horse###N",
		"!!!":                                   "",
		"a ZEBRACORN###":                        "a horse###N, ",
		"z e b r a c o r n vermillex":           "horse vermillex###N",
	} {
		got, ok := s.Replace(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q %v", in, got, ok)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	data := Data{Negative: "N", CountTagModel: "anime", Rules: []Rule{
		{Pattern: "(?:tiny|young)", Substitute: "grown"}, {Pattern: "foals?", Substitute: "mare", CountTag: true},
	}}
	s := exampleSet(t, Options{Data: data})
	stopped := "zebracorn vermillex"
	for _, c := range []struct {
		name   string
		q      Question
		ruling Ruling
		prompt string
	}{
		{"clean", Question{Prompt: "a (fox:1.2)", Kind: horde.Image, MayReplace: true}, Passed, "a (fox:1.2)"},
		{"half", Question{Prompt: "zebracorn", Kind: horde.Image}, Passed, "zebracorn"},
		{"replaced", Question{Prompt: stopped, Kind: horde.Image, MayReplace: true}, Passed, "horse vermillex###N"},
		{"may not be", Question{Prompt: stopped, Kind: horde.Image}, RefusedByFilter, stopped},
		{"too long", Question{Prompt: stopped + strings.Repeat("x", 7000), Kind: horde.Image, MayReplace: true}, RefusedTooLong, stopped + strings.Repeat("x", 7000)},
		{"long behind the separator", Question{Prompt: stopped + "###" + strings.Repeat("x", 7000), Kind: horde.Image, MayReplace: true}, Passed, "horse vermillex###N, " + strings.Repeat("x", 7000)},
		{"texts are not scored", Question{Prompt: stopped, Kind: horde.Text}, Passed, stopped},
		{"a lewd text model", Question{Prompt: "a tiny fox", Kind: horde.Text, Lewd: true}, Passed, "a grown fox###N"},
		{"a lewd model and nothing young", Question{Prompt: "a (fox:1.2)", Kind: horde.Image, Lewd: true}, Passed, "a (fox:1.2)"},
		{"a lewd model and a rule", Question{Prompt: "a young foal###bad", Kind: horde.Image, Lewd: true}, Passed, "a grown mare###N, bad"},
		{"a lewd model and a filter", Question{Prompt: "zebracorn", Kind: horde.Image, Lewd: true}, Passed, "horse###N"},
		{"count tags", Question{Prompt: "1foal, 2foals, foal", Kind: horde.Image, Lewd: true, Model: "anime"}, Passed, "1foal 2mare mare###N"},
		{"count tags of others", Question{Prompt: "1foal", Kind: horde.Image, Lewd: true, Model: "b"}, Passed, "1mare###N"},
		{"count tags alone", Question{Prompt: "1foal", Kind: horde.Image, Lewd: true, Model: "anime"}, Passed, "1foal"},
		{"flagged", Question{Prompt: "a fox!", Kind: horde.Image, Flagged: true}, Passed, "a fox ###N"},
		{"flagged and empty", Question{Prompt: "!!!", Kind: horde.Image, Flagged: true}, RefusedForModel, ""},
		{"flagged texts", Question{Prompt: "a fox!", Kind: horde.Text, Flagged: true}, Passed, "a fox!"},
		{"replaced once", Question{Prompt: stopped + " tiny", Kind: horde.Image, MayReplace: true, Flagged: true}, Passed, "horse vermillex grown###N"},
	} {
		j := s.Judge(c.q)
		if j.Ruling != c.ruling || j.Prompt != c.prompt {
			t.Errorf("%s: got %d %q", c.name, j.Ruling, j.Prompt)
		}
		again := s.Judge(c.q)
		if again.Prompt != j.Prompt || again.Ruling != j.Ruling {
			t.Errorf("%s: not the same twice", c.name)
		}
	}
}

// Field case B125: nothing is looked for in a text whose answer decides nothing, however long it is.
func TestTextsAreNotSearched(t *testing.T) {
	s := exampleSet(t, Options{AgeRule: true})
	long := Question{Prompt: strings.Repeat("zebracorn vermillex, 12 years old ", 60<<10/34), Kind: horde.Text, MayReplace: true}
	if !long.Idle() {
		t.Error("something could come of it")
	}
	if n := testing.AllocsPerRun(50, func() {
		if j := s.Judge(long); j.Ruling != Passed || j.Score != 0 {
			t.Errorf("judged %+v", j.Ruling)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a text of 60 KB", n)
	}
}

func TestAgeRule(t *testing.T) {
	t.Parallel()
	for prompt, want := range map[string]bool{
		"22 years old": true, "07 year old": true, "18yearsold": true, "12-year-old": true, "a (12 year old:1.3) tree": true,
		"23 years old": false, "122 years old": false, "0 years old": true, "x12 years old": false, "tree###12 years old": false,
		"007 years old": false,
	} {
		if got := TellsAge(prompt); got != want {
			t.Errorf("%q: %v", prompt, got)
		}
	}
}

func TestRegexesThatAreNoFilters(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"(", "a(?=b", `(a)\2`, "a*", "", "(?=a)", `\b`, strings.Repeat("a", maxRegex+1), "(?<!a)"} {
		if CheckRegex(text) == nil {
			t.Errorf("%.30q is taken", text)
		}
	}
	s, err := Compile([]Filter{{ID: 1, Regex: "(", Type: Lewd}, {ID: 2, Regex: "a|b)", Type: Lewd}, {ID: 3, Regex: "vermillex", Type: Lewd}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "1, 2") {
		t.Errorf("got %v", err)
	}
	if score, _ := s.Score("vermillex", 0); score != 1 {
		t.Errorf("the others are still there: %d", score)
	}
	if got := Regex([]Filter{{ID: 2, Regex: "b", Type: Lewd}, {ID: 1, Regex: "a", Type: Lewd}, {ID: 3, Regex: "c", Type: UnderAge}}, Lewd); got != "a|b" {
		t.Errorf("got %q", got)
	}
}

// Looking for literals first must never hide what an expression finds.
func TestLiteralsHideNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var regexes []string
		atom := rapid.SampledFrom([]string{"ab", "b", "c+", "[ab]", "(?:ab|c)", "(?:a|bc)?", `\b`, "(?:b{2})", "A", ".", "(c|ba)+", "(?i)Ab"})
		for range rapid.IntRange(1, 4).Draw(t, "filters") {
			regexes = append(regexes, strings.Join(rapid.SliceOfN(atom, 1, 4).Draw(t, "regex"), ""))
		}
		text := rapid.StringMatching(`[abcAB ]{0,12}`).Draw(t, "text")
		var list []expression
		parts := make([]string, len(regexes))
		for i, r := range regexes {
			x, err := newExpression(r, nil)
			if err != nil {
				t.Skip()
			}
			if CheckRegex(r) != nil || findsNothing(x.re, text) {
				t.Skip()
			}
			list, parts[i] = append(list, x), "(?:"+r+")"
		}
		want := regexp.MustCompile(group(strings.Join(parts, "|"))).FindString(text)
		if got := findFirst(list, text, strings.ToLower(text)); got != want {
			t.Fatalf("%q in %q: got %q, want %q", regexes, text, got, want)
		}
	})
}

// Expressions with what package regexp does not have are filters too, for as long as they are quick.
func TestFiltersThatGoBackAndForth(t *testing.T) {
	t.Parallel()
	var late []int64
	filters := []Filter{
		{ID: 1, Regex: `(?<!plush )zebracorn(?!ade)`, Type: UnderAge, Replacement: "$1"},
		{ID: 2, Regex: `\b(\w+) \1 horse`, Type: Lewd},
		{ID: 3, Regex: `(?:a+)+(?=b)c`, Type: UnderAgeToo},
	}
	s, err := Compile(filters, Options{TimedOut: func(id int64) { late = append(late, id) }, Data: Data{Negative: "N"}})
	if err != nil {
		t.Fatal(err)
	}
	for prompt, want := range map[string][]string{
		"a zebracorn":                       {"zebracorn"},
		"a plush zebracorn":                 {},
		"zebracornade":                      {},
		"ZEBRACORN, very very horse":        {"ZEBRACORN", "very very horse"},
		"very horse":                        {},
		"plush zebracorn and a zebracorn x": {"zebracorn"},
	} {
		if score, matches := s.Score(prompt, 0); score != len(want) || !slices.Equal(matches, want) {
			t.Errorf("%q: %d %q, want %q", prompt, score, matches, want)
		}
	}
	if got, ok := s.Replace("a plush zebracorn, a zebracorn"); !ok || got != "a plush zebracorn a $1###N" {
		t.Errorf("replaced: %q, %t", got, ok)
	}
	if late != nil {
		t.Fatalf("%d are too slow", late)
	}
	// Without a limit this takes until the end of the world.
	if score, _ := s.Score(strings.Repeat("a", 5000), UnderAgeToo); score != 1 || !slices.Equal(late, []int64{3}) {
		t.Errorf("what takes too long has score %d, and was told of %d", score, late)
	}
}

func FuzzJudge(f *testing.F) {
	for _, s := range []string{"a (red fox:1.3) z e b r a c o r n###b", "👨‍👩‍👧", "((((a:1.1)", "\x00\xff", "1foal2foal"} {
		f.Add(s)
	}
	s, err := Compile([]Filter{{ID: 1, Regex: "zebracorn", Type: UnderAge}, {ID: 2, Regex: "ver?millex", Type: Lewd}},
		Options{Fold: true, Data: Data{Emoji: []string{"👪"}, CountTagModel: "m", Rules: []Rule{{Pattern: "foal", CountTag: true}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, prompt string) {
		for _, k := range horde.Generated {
			j := s.Judge(Question{Prompt: prompt, Kind: k, MayReplace: true, Flagged: true, Lewd: true, Model: "m"})
			if j.Ruling == Passed && k == horde.Image && strings.TrimSpace(j.Prompt) == "" {
				t.Errorf("an empty prompt passed: %q", prompt)
			}
		}
		if n := Normalise(prompt); slices.Contains([]byte(n), '_') && isASCII(prompt) {
			t.Errorf("%q became %q", prompt, n)
		}
	})
}

// BenchmarkJudge is what the filters cost a submission: they run without the lock of the engine.
func BenchmarkJudge(b *testing.B) {
	var filters []Filter
	for i := range 300 {
		filters = append(filters, Filter{ID: int64(i), Regex: `\b(?:word` + strings.Repeat("y", i%7) + string(rune('a'+i%26)) + `s?|other` + string(rune('a'+i%26)) + `.{0,3}thing)\b`, Type: Evaluated[i%3]})
	}
	s, err := Compile(filters, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for name, prompt := range map[string]string{
		"short": "a lighthouse in a storm at night, oil on canvas, masterpiece###blurry",
		"long":  strings.Repeat("a lighthouse in a (storm:1.2) at night, oil on canvas, masterpiece, ", 20),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(Question{Prompt: prompt, Kind: horde.Image, MayReplace: true})
			}
		})
	}
}
