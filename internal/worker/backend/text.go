// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"horde/client"
)

// TextJob is one text to generate. A nil pointer means that the requester did not say; a driver then leaves the member
// out, or sends a neutral value where the server's own default would change the text.
type TextJob struct {
	// Key is unique for each job and fit for servers that can abort by a key.
	Key    string
	Prompt string
	// MaxLength is the number of new tokens, MaxContext that of prompt and new tokens together.
	MaxLength, MaxContext int
	Temperature           *float64
	TopK                  *int
	TopP                  *float64
	TopA                  *float64
	Typical               *float64
	TFS                   *float64
	MinP                  *float64
	SmoothingFactor       *float64
	DynatempRange         *float64
	DynatempExponent      *float64
	RepPen                *float64
	RepPenRange           *int
	RepPenSlope           *float64
	SamplerOrder          []int
	Stop                  []string
	// BanEOS forbids the end-of-text token. Nil: not said.
	BanEOS     *bool
	Softprompt string
	// Model is the server's own name of the model, for servers that hold several.
	Model string
	// Formatting is applied to the result by the worker, not by the server.
	Formatting Formatting
}

// Formatting are the switches by which a requester has a text tidied.
type Formatting struct {
	AddSentenceSpacing bool // frmtadsnsp
	SingleLine         bool // singleline
	TrimIncomplete     bool // frmttriminc
	RemoveBlankLines   bool // frmtrmblln
	RemoveSpecial      bool // frmtrmspch
}

// Defaults that the horde documents for absent members, in tokens.
const (
	defaultMaxLength  = 80
	defaultMaxContext = 2048
)

// NewTextJob makes a job of what the horde sent. limit is the largest context in tokens that the server behind this
// worker holds (0: unknown).
func NewTextJob(key string, p client.TextPayload, limit int) TextJob {
	on := func(b *bool) bool { return b != nil && *b }
	j := TextJob{
		Key: key, Prompt: p.Prompt, MaxLength: p.MaxLength, MaxContext: p.MaxContextLength,
		Temperature: p.Temperature, TopK: p.TopK, TopP: p.TopP, TopA: p.TopA, Typical: p.Typical, TFS: p.TFS, MinP: p.MinP,
		SmoothingFactor: p.SmoothingFactor, DynatempRange: p.DynatempRange, DynatempExponent: p.DynatempExponent,
		RepPen: p.RepPen, RepPenRange: p.RepPenRange, RepPenSlope: p.RepPenSlope, SamplerOrder: p.SamplerOrder,
		Stop: stops(p.StopSequence), BanEOS: p.UseDefaultBadwordsIDs,
		Formatting: Formatting{on(p.AddSentenceSpacing), on(p.Singleline), on(p.TrimIncomplete), on(p.RemoveBlankLines), on(p.RemoveSpecial)},
	}
	if j.MaxLength <= 0 {
		j.MaxLength = defaultMaxLength
	}
	if j.MaxContext <= 0 {
		j.MaxContext = defaultMaxContext
	}
	if limit > 0 {
		j.MaxContext = min(j.MaxContext, limit)
	}
	// At least a few tokens must be left for the prompt.
	j.MaxLength = min(j.MaxLength, max(1, j.MaxContext-4))
	if j.Formatting.AddSentenceSpacing {
		j.Prompt = SpaceAtEnd(j.Prompt)
	}
	return j
}

// stops drops empty sequences: they would end every text at once.
func stops(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// SpaceAtEnd appends one space unless s ends in whitespace.
func SpaceAtEnd(s string) string {
	if r, _ := utf8.DecodeLastRuneInString(s); s == "" || unicode.IsSpace(r) {
		return s
	}
	return s + " "
}

// sentenceEnds are the characters after which a text counts as complete.
const sentenceEnds = ".!?…\"'”)*~"

// specialCharacters are removed by RemoveSpecial.
const specialCharacters = `#/@%}{+=~|\^<>`

// Format tidies a result in the fixed order of the horde: single line, trimming to the last complete sentence, blank
// lines, special characters. Formatting twice changes nothing more.
func (f Formatting) Format(s string) string {
	if f.SingleLine {
		s, _, _ = strings.Cut(s, "\n")
	}
	if f.TrimIncomplete {
		if i := strings.LastIndexAny(s, sentenceEnds); i >= 0 {
			_, size := utf8.DecodeRuneInString(s[i:])
			s = s[:i+size]
		}
	}
	if f.RemoveBlankLines {
		for strings.Contains(s, "\n\n") {
			s = strings.ReplaceAll(s, "\n\n", "\n")
		}
	}
	if f.RemoveSpecial {
		s = strings.Map(func(r rune) rune {
			if strings.ContainsRune(specialCharacters, r) {
				return -1
			}
			return r
		}, s)
	}
	return s
}

// CutAtStop ends s after the first stop sequence in it, for servers that generate past one. found tells which.
func CutAtStop(s string, stop []string) (text string, found string) {
	best := -1
	for _, q := range stop {
		if i := strings.Index(s, q); i >= 0 && (best < 0 || i < best || i == best && len(q) > len(found)) {
			best, found = i, q
		}
	}
	if best < 0 {
		return s, ""
	}
	return s[:best+len(found)], found
}

// charactersPerToken is the guess where a server has no tokeniser that can be asked.
const charactersPerToken = 3.2

// EstimateTokens guesses the number of tokens of s.
func EstimateTokens(s string) int {
	return int(float64(utf8.RuneCountInString(s))/charactersPerToken) + 1
}

// Tokenizer counts tokens as the server does.
type Tokenizer interface {
	// Tokens returns the tokens of s.
	Tokens(ctx context.Context, s string) ([]int, error)
	// Text is the reverse; nil function value means that the server has no such call.
	Text(ctx context.Context, tokens []int) (string, error)
}

// Counter counts tokens without listing them.
type Counter func(ctx context.Context, s string) (int, error)

// trimRounds bounds the recounting when text is dropped by words.
const trimRounds = 4

// TrimTokens drops whole tokens from the left of prompt until it fits in budget tokens.
func TrimTokens(ctx context.Context, t Tokenizer, prompt string, budget int) (string, error) {
	if len(prompt) <= budget { // no token is shorter than a byte
		return prompt, nil
	}
	ids, err := t.Tokens(ctx, prompt)
	if err != nil || len(ids) <= budget {
		return prompt, err
	}
	return t.Text(ctx, ids[len(ids)-budget:])
}

// TrimWords drops text from the left of prompt at line or word borders until count says that it fits in budget tokens,
// in at most four rounds. It aims by the measured tokens per character.
func TrimWords(ctx context.Context, count Counter, prompt string, budget int) (string, error) {
	for range trimRounds {
		if len(prompt) <= budget {
			return prompt, nil
		}
		n, err := count(ctx, prompt)
		if err != nil || n <= budget {
			return prompt, err
		}
		// One per cent more than the average says, so that rounds are rare.
		prompt = dropLeft(prompt, int(float64(len(prompt))*(1-float64(budget)/float64(n))*1.01)+1)
	}
	return prompt, nil
}

// TrimEstimate is TrimWords for servers without any tokeniser.
func TrimEstimate(prompt string, budget int) string {
	n := utf8.RuneCountInString(prompt)
	keep := int(float64(budget) * charactersPerToken)
	if n <= keep {
		return prompt
	}
	return dropLeft(prompt, len(prompt)*(n-keep)/n)
}

// dropLeft removes at least n bytes from the left of s, on to the next line border, or word border where no line
// follows soon, or character border.
func dropLeft(s string, n int) string {
	if n >= len(s) {
		return ""
	}
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n++
	}
	rest := s[n:]
	// A line border is worth at most a fifth of what is left.
	if i := strings.IndexByte(rest, '\n'); i >= 0 && i < len(rest)/5 {
		return rest[i+1:]
	}
	if i := strings.IndexByte(rest, ' '); i >= 0 && i < len(rest)/5 {
		return rest[i+1:]
	}
	return rest
}
