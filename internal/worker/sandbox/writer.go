// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Weights of the writer's choices; found by reading what came out.
const (
	topicPull    = 40.0   // a topic that the prompt calls for, for each time it does; one that it does not has 1
	topicOwn     = 25.0   // the topic that the writer chooses where the prompt calls for none
	followPull   = 12.0   // going on with the block of the last sentence, against all else together
	crossChance  = 0.20   // changing into another sentence where both share their last words, at temperature 1
	answerFollow = 1000.0 // going on with the block of an answer
	nounChance   = 0.75   // a thing of the prompt instead of one of the corpus
)

const (
	crossRest    = 3  // tokens that must be left of a sentence to change into it
	paragraphMin = 3  // sentences before a paragraph may end
	answerMin    = 3  // sentences of an answer
	answerMax    = 6  //
	storyMin     = 9  // sentences of a story that was asked for
	storyMax     = 14 //
)

var heroes = []phrase{
	{"Mira", "she", "her", "her"}, {"Tomas", "he", "his", "him"}, {"Ines", "she", "her", "her"}, {"Joren", "he", "his", "him"},
	{"Ada", "she", "her", "her"}, {"Pim", "he", "his", "him"}, {"Salome", "she", "her", "her"}, {"old Henrik", "he", "his", "him"},
}

// writer writes one text. It is used by one goroutine.
type writer struct {
	c      *corpus
	job    *TextJob
	out    *output
	r      *random
	wish   wish
	topics []float64         // weight of each topic
	used   map[int]bool      // sentences that are in the text already
	slots  map[string]string // what stands for a slot in this block
	last   int               // the sentence written last, -1 before the first
	nouns  int               // things of the prompt used so far
	prev   string            // the word written last, for "a" and "an"
	// capital: the next word begins a sentence. glue: no blank before it.
	capital, glue bool
	// pending is an article that waits for the word after it.
	pending string
}

func newWriter(c *corpus, job TextJob, out *output) *writer {
	w := &writer{
		c: c, job: &job, out: out, r: newRandom(job.Seed, "text"+job.Prompt), wish: readPrompt(c, job.Prompt),
		topics: make([]float64, len(c.topics)), used: map[int]bool{}, slots: map[string]string{}, last: -1,
	}
	if w.wish.hero.name == "" {
		w.wish.hero = heroes[w.pick(len(heroes))]
	}
	called := false
	for t := range c.topics {
		w.topics[t] = 1 + topicPull*w.wish.topics[t]
		called = called || w.wish.topics[t] > 0
	}
	if !called {
		w.topics[1+w.pick(len(c.topics)-2)] += topicOwn
	}
	w.glue = job.Prompt == "" || strings.ContainsAny(job.Prompt[len(job.Prompt)-1:], " \n\t")
	return w
}

// pick chooses among n equals; always the first at temperature 0.
func (w *writer) pick(n int) int {
	if w.job.Temperature <= 0 {
		return 0
	}
	return w.r.intn(n)
}

// write writes until the output is full or the text is finished.
func (w *writer) write() {
	if len(w.wish.tail) > 0 {
		if !w.finishSentence() {
			return
		}
	}
	want := -1 // sentences; -1: as many as fit
	switch {
	case w.wish.reply && w.wish.asks:
		want = answerMin + w.pick(answerMax-answerMin+1)
		lead := w.c.leads[w.pick(len(w.c.leads))]
		if !w.sentence(w.c.sentences[lead].tokens) {
			return
		}
	case w.wish.reply:
		want = storyMin + w.pick(storyMax-storyMin+1)
	}
	inParagraph := 1
	for n := 0; ; n++ {
		if want >= 0 && n >= want && !w.job.IgnoreEnd {
			w.out.finish = FinishEnd
			return
		}
		var list []string
		if w.wish.asks && n < answerMax {
			list = w.answer()
		} else {
			list = w.plan()
		}
		// A sentence that does not fit is left out where most of the text is there already.
		if !w.job.IgnoreEnd && w.out.tokens*5 > w.job.MaxLength*3 && w.estimate(list) > w.out.left() {
			w.out.finish = FinishEnd
			return
		}
		if w.last >= 0 && w.c.sentences[w.last].first && n > 0 && !w.wish.asks && inParagraph >= paragraphMin {
			if !w.lineBreak("\n\n") {
				return
			}
			inParagraph = 0
		} else if w.wish.verse && n > 0 && !w.lineBreak("\n") {
			return
		}
		if !w.sentence(list) {
			return
		}
		inParagraph++
	}
}

func (w *writer) lineBreak(s string) bool {
	w.glue = true
	return w.out.write(s)
}

// plan chooses the next sentence and lets it change into another one on the way.
func (w *writer) plan() []string {
	weights := make([]float64, len(w.c.sentences))
	var sum float64
	for i, s := range w.c.sentences {
		if w.used[i] || w.c.topics[s.topic].name == answersTopic {
			continue
		}
		if s.first { // the others speak of what came before
			weights[i] = w.topics[s.topic]
			sum += weights[i]
		}
	}
	if sum == 0 { // everything has been said
		clear(w.used)
		return w.plan()
	}
	if next := w.last + 1; w.last >= 0 && next < len(weights) && !w.c.sentences[next].first && !w.used[next] && w.c.topics[w.c.sentences[next].topic].name != answersTopic {
		weights[next] = sum * followPull
	}
	i := choose(w.r, weights, w.job)
	if w.c.sentences[i].first {
		clear(w.slots)
	}
	w.used[i], w.last = true, i
	return w.walk(place{i, 0}, nil)
}

// answer returns the next sentence about the subject of a question.
func (w *writer) answer() []string {
	weights := make([]float64, len(w.c.sentences))
	for i, s := range w.c.sentences {
		if !w.used[i] && w.c.topics[s.topic].name == answersTopic && !slices.Contains(w.c.leads, i) {
			switch {
			case s.first:
				weights[i] = 1
			case i == w.last+1 && i > 0:
				weights[i] = answerFollow
			}
		}
	}
	i := choose(w.r, weights, w.job)
	w.used[i], w.last = true, i
	return w.c.sentences[i].tokens
}

// walk follows a sentence from p to its end. Once on the way it may go over into another sentence that has the same
// last words; before are the tokens written already.
func (w *writer) walk(p place, before []string) []string {
	list := slices.Clone(before)
	crossed := false
	for {
		s := w.c.sentences[p.sentence]
		if p.token >= len(s.tokens) {
			return list[len(before):]
		}
		if !crossed && len(list) >= contextMax && p.token < len(s.tokens)-2 && w.r.chance(crossChance*min(w.job.Temperature, 2)) {
			if q, ok := w.cross(list, p); ok {
				crossed = true
				p = q
				w.used[q.sentence] = true
				continue
			}
		}
		list = append(list, s.tokens[p.token])
		p.token++
	}
}

// cross finds another place that follows the last words of list.
func (w *writer) cross(list []string, from place) (place, bool) {
	key := strings.Join(list[len(list)-contextMax:], " ")
	var places []place
	var weights []float64
	for _, q := range w.c.after[key] {
		if q.sentence == from.sentence || w.used[q.sentence] || q.token >= len(w.c.sentences[q.sentence].tokens)-crossRest {
			continue
		}
		places = append(places, q)
		weights = append(weights, w.topics[w.c.sentences[q.sentence].topic])
	}
	if len(places) == 0 {
		return place{}, false
	}
	return places[choose(w.r, weights, w.job)], true
}

// linkWords are those with which a sentence can go on after a verb.
var linkWords = []string{"through", "with", "in", "to", "on", "over", "behind", "for"}

// finishSentence goes on where the prompt stopped.
func (w *writer) finishSentence() bool {
	tail := w.wish.tail
	lower := make([]string, len(tail))
	for i, t := range tail {
		lower[i] = strings.ToLower(t)
	}
	n := len(tail)
	last := lower[n-1]
	w.prev = tail[n-1]
	heroNoun := strings.ToLower(strings.TrimPrefix(w.wish.hero.name, "the "))
	subject := n <= 3 // "The old dragon": what it does comes next
	switch {
	case last == heroNoun && subject || strings.HasSuffix(last, "ly"):
		return w.goOn([]string{"{hero}"})
	case isMark(last):
		return w.goOn([]string{","})
	}
	// The longest context that the corpus knows wins; a single word must be one after which much can come.
	for k := min(contextMax, n); k > 0; k-- {
		if context := lower[n-k:]; w.known(context) && (k > 1 || breaks[last] || determiners[last]) {
			return w.goOn(context)
		}
	}
	switch {
	case strings.HasSuffix(last, "ed") || strings.HasSuffix(last, "ing"):
		word := linkWords[w.pick(len(linkWords))]
		return w.word(word) && w.goOn([]string{word})
	case subject:
		return w.goOn([]string{"{hero}"})
	}
	return w.word(",") && w.word("and") && w.sentence(w.plan())
}

func (w *writer) known(context []string) bool {
	return len(w.c.after[strings.Join(context, " ")]) > 0
}

// goOn continues after a context that the corpus knows.
func (w *writer) goOn(context []string) bool {
	places := w.c.after[strings.Join(context, " ")]
	weights := make([]float64, len(places))
	for i, p := range places {
		if context[0] == "{hero}" && p.token != 1 {
			continue // "when the dragon" goes on in another way than "the dragon"
		}
		if rest := w.c.sentences[p.sentence].tokens[p.token:]; !isMark(rest[0]) {
			weights[i] = w.topics[w.c.sentences[p.sentence].topic]
		}
	}
	p := places[choose(w.r, weights, w.job)]
	w.used[p.sentence], w.last = true, p.sentence
	return w.sentenceFrom(w.walk(p, context))
}

// sentence writes tokens from the beginning of a sentence.
func (w *writer) sentence(list []string) bool {
	w.capital = w.prev == "" || endsSentence(w.prev)
	return w.sentenceFrom(list)
}

func (w *writer) sentenceFrom(list []string) bool {
	for _, t := range list {
		for _, word := range strings.Fields(w.fill(t)) {
			if !w.word(word) {
				return false
			}
		}
	}
	return true
}

// word writes one word or mark. An article waits for the word that it must sound well with.
func (w *writer) word(s string) bool {
	if w.pending != "" {
		article := "a"
		w.pending = ""
		if strings.ContainsRune("aeiou", unicode.ToLower(firstRune(s))) {
			article = "an"
		}
		if !w.put(article) {
			return false
		}
	}
	if s == "a" || s == "an" {
		w.pending = s
		return true
	}
	if w.prev == "a" && strings.EqualFold(s, "an") {
		return true
	}
	return w.put(s)
}

func (w *writer) put(s string) bool {
	w.prev = s
	if w.capital {
		r := firstRune(s)
		s = string(unicode.ToUpper(r)) + s[utf8.RuneLen(r):]
		w.capital = false
	}
	if !w.glue && !isMark(s) {
		s = " " + s
	}
	w.glue = false
	return w.out.write(s)
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// fill returns what stands for a token in this text.
func (w *writer) fill(token string) string {
	if !strings.HasPrefix(token, "{") {
		return token
	}
	name, rest, _ := strings.Cut(token[1:], "}")
	hero := w.wish.hero
	switch name {
	case "hero":
		return hero.name + rest
	case "they":
		return hero.they + rest
	case "their":
		return hero.their + rest
	case "them":
		return hero.them + rest
	case "topic":
		if w.wish.subject == "" {
			return "this" + rest
		}
		return w.wish.subject + rest
	}
	if value, ok := w.slots[name]; ok {
		return value + rest
	}
	value := w.choice(name)
	switch name {
	case "adj", "sound", "food", "weather": // these may change from sentence to sentence
	default:
		w.slots[name] = value
	}
	return value + rest
}

// choice draws what stands for a slot, from the prompt or from the topics by their weight.
func (w *writer) choice(name string) string {
	if name == "thing" && w.nouns < len(w.wish.nouns) && (w.job.Temperature <= 0 || w.r.chance(nounChance)) {
		w.nouns++
		return w.wish.nouns[w.nouns-1]
	}
	var values []string
	var weights []float64
	for t, topic := range w.c.topics {
		for _, v := range topic.slots[name] {
			if v == w.wish.hero.name {
				continue
			}
			values = append(values, v)
			weights = append(weights, w.topics[t]/float64(len(topic.slots[name])))
		}
	}
	if len(values) == 0 {
		panic(fmt.Sprintf("the corpus has nothing for {%s}", name)) // a test reads every slot
	}
	return values[choose(w.r, weights, w.job)]
}

// estimate is about how many tokens a planned sentence takes.
func (w *writer) estimate(list []string) int {
	n := 0
	for _, t := range list {
		if strings.HasPrefix(t, "{") {
			n += 2
		} else {
			n += countPieces(" " + t)
		}
	}
	return n
}
