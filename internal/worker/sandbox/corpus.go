// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed corpus.txt
var corpusText string

// answersTopic holds what is said to a question; it takes no part in stories.
const answersTopic = "answers"

// corpus is the writer's whole knowledge, read once from corpus.txt and never changed. Its sentences are sequences of
// tokens: words, punctuation marks and slots such as "{hero}", which stand for something else in each text.
type corpus struct {
	topics    []topic
	sentences []sentence
	leads     []int // sentences that open an answer
	// after lists, by the one, two or three tokens before it joined with spaces, all places where a token stands.
	after map[string][]place
	known map[string]bool // all tokens
}

// topic is a field of words. Topic 0 is "any".
type topic struct {
	name  string
	words map[string]bool     // stems that call for the topic
	slots map[string][]string // what may stand for a slot, by its name without braces
}

type sentence struct {
	topic  int
	tokens []string // the last one ends the sentence
	first  bool     // begins a block
	last   bool     // ends one
}

// place is a token in the corpus.
type place struct{ sentence, token int }

// contextMax is the longest sequence of tokens after which the writer may change from one sentence into another.
const contextMax = 3

var loadCorpus = sync.OnceValue(func() *corpus { return parseCorpus(corpusText) })

func parseCorpus(text string) *corpus {
	c := &corpus{after: map[string][]place{}, known: map[string]bool{}}
	fresh := true // the next sentence begins a block
	endBlock := func() {
		if n := len(c.sentences); n > 0 {
			c.sentences[n-1].last = true
		}
		fresh = true
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			endBlock()
		case line[0] == ';':
		case line[0] == '=':
			endBlock()
			name, words, _ := strings.Cut(line[1:], ":")
			t := topic{name: strings.TrimSpace(name), words: map[string]bool{}, slots: map[string][]string{}}
			for _, w := range strings.Fields(words) {
				t.words[stem(w)] = true
			}
			c.topics = append(c.topics, t)
		case line[0] == '@':
			name, values, _ := strings.Cut(line[1:], ":")
			if name == "lead" {
				c.leads = append(c.leads, len(c.sentences))
				c.add(values+".", true)
				c.sentences[len(c.sentences)-1].last = true
				break
			}
			t := &c.topics[len(c.topics)-1]
			for v := range strings.SplitSeq(values, ",") {
				t.slots[name] = append(t.slots[name], strings.TrimSpace(v))
			}
		default:
			c.add(line, fresh)
			fresh = false
		}
	}
	endBlock()
	return c
}

func (c *corpus) add(line string, first bool) {
	s := sentence{topic: len(c.topics) - 1, tokens: tokens(line), first: first}
	n := len(c.sentences)
	c.sentences = append(c.sentences, s)
	for i, t := range s.tokens {
		c.known[t] = true
		if c.topics[s.topic].name == answersTopic {
			continue
		}
		for k := 1; k <= contextMax && k <= i; k++ {
			key := strings.Join(s.tokens[i-k:i], " ")
			c.after[key] = append(c.after[key], place{n, i})
		}
	}
}

// tokens splits a line into words, slots and punctuation marks.
func tokens(line string) []string {
	var list []string
	for _, w := range strings.Fields(line) {
		core := strings.TrimRight(w, ".,!?;:")
		if core != "" {
			list = append(list, core)
		}
		for _, mark := range w[len(core):] {
			list = append(list, string(mark))
		}
	}
	return list
}

func isMark(token string) bool { return len(token) == 1 && strings.Contains(".,!?;:", token) }

func endsSentence(token string) bool { return token == "." || token == "!" || token == "?" }

// stem makes forms of one word alike, roughly: "Cooking", "cooks" and "cook" are one.
func stem(word string) string {
	w := strings.ToLower(word)
	for _, end := range []string{"ing", "ies", "es", "ed", "s", "e", "y"} {
		if s := strings.TrimSuffix(w, end); s != w && len(s) >= 3 {
			return strings.TrimSuffix(s, "y")
		}
	}
	return w
}
