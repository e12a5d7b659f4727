// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"context"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// DefaultMaxLength is the number of tokens where a job does not say.
	DefaultMaxLength = 80
	// pieceMax is the longest token in bytes; a longer word is several. With it a token is about four characters, as
	// with the tokenisers of real models.
	pieceMax = 7
	// pieceCut is the size of the tokens that a longer word is cut into.
	pieceCut = 5
)

// TextJob is one text to write.
type TextJob struct {
	Prompt string
	// MaxLength is the most tokens, of about four characters; 0 or less means DefaultMaxLength.
	MaxLength int
	// Stop are texts that end the work; the result ends with the one that did. Empty ones are ignored.
	Stop []string
	Seed uint64
	// Temperature sets how freely the writer chooses: 0 always takes the likeliest, which makes the seed irrelevant;
	// 1 is usual.
	Temperature float64
	TopK        int     // choose among so many only; 0: all
	TopP        float64 // choose among the likeliest with so much of the probability; 0 or 1: all
	MinP        float64 // leave out what is less likely than this part of the likeliest; 0: nothing
	// IgnoreEnd goes on to MaxLength where the writer would find an end before.
	IgnoreEnd bool
}

// Finish is why a text ended.
type Finish string

// The reasons.
const (
	FinishLength Finish = "length" // MaxLength was reached
	FinishStop   Finish = "stop"   // a stop sequence was written
	FinishEnd    Finish = "end"    // the text was finished
)

// TextResult is what was written.
type TextResult struct {
	Text   string // without the prompt
	Tokens int
	Finish Finish // empty when the context ended first
}

// Text is the demo writer. The zero value writes as fast as it can.
type Text struct {
	// TokensPerSecond slows the writer down to the pace of a real model, for demonstrations; 0 means no pause.
	TokensPerSecond float64
}

// Generate continues the job's prompt. token is called with each piece of text as it is written, in order; together
// they are the result's text. It may be nil. When ctx ends, what was written so far is returned with ctx's error;
// there are no other errors.
func (t Text) Generate(ctx context.Context, job TextJob, token func(string)) (TextResult, error) {
	if job.MaxLength <= 0 {
		job.MaxLength = DefaultMaxLength
	}
	out := &output{ctx: ctx, job: job, token: token, pace: t.TokensPerSecond}
	newWriter(loadCorpus(), job, out).write()
	return TextResult{Text: out.text.String(), Tokens: out.tokens, Finish: out.finish}, out.err
}

// output takes the words, cuts them into tokens and knows when it is enough. It is used by one goroutine.
type output struct {
	ctx    context.Context
	job    TextJob
	token  func(string)
	pace   float64
	text   strings.Builder
	tokens int
	finish Finish
	err    error
}

func (o *output) left() int { return o.job.MaxLength - o.tokens }

// full tells that nothing more can be written.
func (o *output) full() bool { return o.finish != "" || o.err != nil }

// write adds text and reports whether there is room for more.
func (o *output) write(s string) bool {
	for s != "" && !o.full() {
		piece := cutPiece(s)
		s = s[len(piece):]
		if o.err = o.wait(); o.err != nil {
			break
		}
		piece, stopped := o.untilStop(piece)
		o.text.WriteString(piece)
		o.tokens++
		if o.token != nil {
			o.token(piece)
		}
		switch {
		case stopped:
			o.finish = FinishStop
		case o.left() == 0:
			o.finish = FinishLength
		}
	}
	return !o.full()
}

// wait keeps the pace.
func (o *output) wait() error {
	if o.pace <= 0 {
		return o.ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(time.Second) / o.pace))
	defer timer.Stop()
	select {
	case <-o.ctx.Done():
		return o.ctx.Err()
	case <-timer.C:
		return nil
	}
}

// untilStop cuts piece where a stop sequence ends that it completes.
func (o *output) untilStop(piece string) (string, bool) {
	longest := 0
	for _, stop := range o.job.Stop {
		longest = max(longest, len(stop))
	}
	if longest == 0 {
		return piece, false
	}
	before := o.text.String()
	before = before[max(0, len(before)-longest+1):]
	both := before + piece
	end := len(both) + 1
	for _, stop := range o.job.Stop {
		if stop == "" {
			continue
		}
		if i := strings.Index(both, stop); i >= 0 {
			end = min(end, i+len(stop))
		}
	}
	if end > len(both) {
		return piece, false
	}
	return both[len(before):end], true
}

// cutPiece returns the first token of s: a mark, or a word with the blank before it, or a part of a long one.
func cutPiece(s string) string {
	if len(s) <= pieceMax {
		return s
	}
	n := pieceCut
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n++
	}
	return s[:n]
}

// countPieces is the number of tokens that write makes of s.
func countPieces(s string) int {
	n := 0
	for s != "" {
		s = s[len(cutPiece(s)):]
		n++
	}
	return n
}

// choose returns an index of weights as a sampler would: the weights are probabilities up to a factor.
func choose(r *random, weights []float64, job *TextJob) int {
	best := 0
	for i, w := range weights {
		if w > weights[best] {
			best = i
		}
	}
	if job.Temperature <= 0 || weights[best] <= 0 {
		return best
	}
	list := make([]float64, len(weights))
	var sum float64
	for i, w := range weights {
		if w > 0 && w >= job.MinP*weights[best] {
			list[i] = math.Pow(w/weights[best], 1/job.Temperature)
			sum += list[i]
		}
	}
	sum = truncate(list, sum, job)
	at := r.float() * sum
	for i, w := range list {
		if at -= w; at < 0 && w > 0 {
			return i
		}
	}
	return best
}

// truncate sets to zero what TopK and TopP leave out and returns the sum of the rest.
func truncate(list []float64, sum float64, job *TextJob) float64 {
	byP := job.TopP > 0 && job.TopP < 1
	if job.TopK <= 0 && !byP {
		return sum
	}
	kept := make([]float64, len(list))
	var keptSum float64
	for n := 0; n < len(list) && (job.TopK <= 0 || n < job.TopK); n++ {
		best := 0
		for i, w := range list {
			if w > list[best] {
				best = i
			}
		}
		if list[best] <= 0 {
			break
		}
		kept[best], list[best] = list[best], 0
		keptSum += kept[best]
		if byP && keptSum >= job.TopP*sum {
			break
		}
	}
	copy(list, kept)
	return keptSum
}
