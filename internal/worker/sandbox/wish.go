// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// promptRead is how much of a prompt's end the writer looks at, in bytes.
	promptRead = 16 << 10
	// nounsMax is how many things of a prompt may turn up in the text.
	nounsMax = 8
	// tailMax is the most words of an unfinished sentence.
	tailMax = 12
	// questionMax is the longest prompt in bytes that is taken for a question without the form of a chat.
	questionMax = 300
)

// wish is what the writer understands of a prompt.
type wish struct {
	topics  []float64 // how much the prompt calls for each topic of the corpus
	hero    phrase    // whom the text is about; zero: the writer chooses
	nouns   []string  // things that the prompt names, the latest first
	subject string    // what a question is about, "" when it is not clear
	reply   bool      // the prompt waits for an answer, as in a chat
	asks    bool      // … to a question or a task, not for a story
	verse   bool      // one sentence a line
	// tail is the unfinished sentence at the prompt's end, its last words at least; empty: the text begins a new one.
	tail []string
}

// phrase is somebody, with the words that stand for them.
type phrase struct{ name, they, their, them string }

var (
	// chatMark is what chat formats put around turns. Only the words between are read.
	chatMark = regexp.MustCompile(`<\|[^|<>]{1,40}\|>(?:system|user|assistant)?|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>(?:user|model)?|(?m:^#{2,4} ?\w+:?)`)
	// answerDue matches a prompt whose end is the place of an answer: a mark of a chat format or "Name:" on a line.
	answerDue = regexp.MustCompile(`(?:<\|[^|<>]{1,40}\|>(?:assistant)?|\[/INST\]|<start_of_turn>model|#{2,4} ?(?:Response|Assistant|Answer|Output):?|(?:^|\n)[\pL][\pL\pN _-]{0,30}:)\s*$`)
	// turnName is the name in front of a turn.
	turnName = regexp.MustCompile(`(?m)^[\pL][\pL\pN _-]{0,30}: ?`)

	wordPattern = regexp.MustCompile(`[\pL\pN][\pL\pN'’-]*|[.,!?;:\n]`)
)

func words(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

var (
	determiners = words("a an the my your our their his her its this that another every some about")
	// breaks end a noun phrase: words that are surely no noun.
	breaks = words(`a an the about and or but nor so yet of in on at to for from with without by into onto over under between through
		across behind before after near during until while because if when where who whom whose which that what why how as than
		is are was were be been am do does did has have had will would can could may might shall should must not no he she it
		they we you i me him us them this these those there here then now very too also just only still again away
		went came said saw made found took looked walked ran stood sat lived loved loves likes wants wanted lives comes goes
		says makes finds knew knows thought felt told tells began begins met meets learns learned named called`)
	// dull nouns name the text and not what is in it.
	dull = words(`story stories poem poems tale text essay article paragraph line lines sentence sentences word words song
		something anything nothing everything someone somebody anyone thing things way lot bit kind sort time times day days
		one two three question answer user assistant instruction response input please help example list name character
		scene chapter part title prompt task following hello hey thanks thank welcome`)
	// animate nouns can be a hero; other nouns become things of the story.
	animate = words(`girl boy woman man child baby lady king queen prince princess knight wizard witch fairy elf giant ghost
		dragon unicorn monster vampire mermaid robot android alien pirate captain sailor astronaut detective thief hunter
		cat dog fox wolf bear owl bird raven crow horse cow pig sheep goat rabbit mouse rat hedgehog squirrel lion tiger
		elephant whale dolphin shark fish frog turtle snake bee butterfly spider snail kitten puppy penguin duck chicken
		mother father grandmother grandfather sister brother aunt uncle friend stranger hero heroine poet cook chef smith
		student nurse artist musician scientist librarian soldier monk priest god goddess warrior guard orphan clown`)
	agentEnds        = []string{"er", "or", "ist", "man", "woman", "ian", "smith"}
	notAgents        = words("water river flower tower winter summer paper letter door floor weather motor mirror number computer corner power october november december september border ladder order hammer butter harbor color danger power layer pepper fever silver father weather thunder matter")
	tellStory        = words("story tale poem write tell novel haiku rhyme verse once upon chapter scene fable imagine describe")
	verseWord        = words("poem haiku rhyme verse poetry limerick sonnet lyrics")
	prepositionWords = words("of in on at to for from with without by into onto over under through across behind before after near beside against around")
	verbs            = words("is was had has went came said saw found took looked walked ran stood sat lived loves wants lives knew thought felt told began met")
	women            = words("girl woman lady queen princess mother grandmother sister witch aunt daughter")
	men              = words("boy man king prince father grandfather brother wizard knight uncle son sailor pirate captain")
)

// readPrompt finds out what a prompt wants. Nothing of it is kept word by word but single nouns and names.
func readPrompt(c *corpus, prompt string) wish {
	if over := len(prompt) - promptRead; over > 0 {
		for over < len(prompt) && !utf8.RuneStart(prompt[over]) {
			over++
		}
		prompt = prompt[over:]
	}
	w := wish{topics: make([]float64, len(c.topics))}
	w.reply = answerDue.MatchString(prompt)
	plain := prompt
	if end := strings.TrimSpace(prompt); len(end) <= questionMax && strings.HasSuffix(end, "?") && !strings.Contains(end, "\n") {
		w.reply = true // a bare question is not the beginning of a story
	}
	if w.reply {
		plain = answerDue.ReplaceAllString(prompt, "")
	}
	plain = chatMark.ReplaceAllString(plain, "\n")
	if w.reply {
		plain = turnName.ReplaceAllString(plain, "")
	}
	list := wordPattern.FindAllString(plain, -1)

	// The last turn of a chat says what is wanted now; what came before only colours the text.
	last := list
	if w.reply {
		if i := lastLineStart(list); i > 0 {
			last = list[i:]
		}
	}
	w.weighTopics(c, list, 1)
	w.weighTopics(c, last, 2)
	w.findNouns(c, list)
	asked := false
	for _, word := range last {
		lower := strings.ToLower(word)
		asked = asked || tellStory[lower]
		w.verse = w.verse || verseWord[lower]
	}
	if w.reply {
		w.asks = !asked
		w.subject = subjectOf(last)
	} else {
		w.tail = unfinished(prompt)
	}
	return w
}

// lastLineStart is the index of the first word of the last line that has words.
func lastLineStart(list []string) int {
	end := len(list)
	for end > 0 && list[end-1] == "\n" {
		end--
	}
	for i := end - 1; i >= 0; i-- {
		if list[i] == "\n" {
			return i + 1
		}
	}
	return 0
}

func (w *wish) weighTopics(c *corpus, list []string, weight float64) {
	for i, word := range list {
		if len(word) < 3 || breaks[strings.ToLower(word)] {
			continue
		}
		s := stem(word)
		for t := range c.topics {
			if c.topics[t].words[s] {
				// Later words count up to twice as much: a long story may have moved on.
				w.topics[t] += weight * (1 + float64(i)/float64(len(list)))
			}
		}
	}
}

// findNouns takes the last word of each "a/the/my …" as a thing, and a name in the middle of a sentence as the hero.
func (w *wish) findNouns(c *corpus, list []string) {
	var nouns []string
	names := map[string]int{}
	for i := 0; i < len(list); i++ {
		word, lower := list[i], strings.ToLower(list[i])
		r, _ := utf8.DecodeRuneInString(word)
		middle := i > 0 && !isMark(list[i-1]) && list[i-1] != "\n" && !prepositionLike(strings.ToLower(list[i-1]))
		if !middle && i+1 < len(list) && (i == 0 || endsSentence(list[i-1]) || list[i-1] == "\n") {
			// At the beginning of a sentence only what is done tells a name from any other word.
			next := strings.ToLower(list[i+1])
			middle = !c.known[lower] && (strings.HasSuffix(next, "ed") || verbs[next])
		}
		if middle && unicode.IsUpper(r) && len(word) > 2 && !breaks[lower] && !dull[lower] {
			names[word]++
		}
		if !determiners[lower] {
			continue
		}
		j := i + 1
		for j < len(list) && j <= i+3 && !isMark(list[j]) && list[j] != "\n" && !breaks[strings.ToLower(list[j])] {
			j++
		}
		if noun := nounOf(list[i+1 : j]); noun != "" && !slices.Contains(nouns, noun) {
			nouns = append(nouns, noun)
		}
	}
	best := ""
	for _, word := range list { // in order, so that ties do not depend on the map
		if names[word] > names[best] {
			best = word
		}
	}
	switch {
	case best != "":
		w.hero = personOf(best, list)
	default:
		if i := slices.IndexFunc(nouns, isAnimate); i >= 0 {
			w.hero = personOf("the "+nouns[i], nil)
			nouns = slices.Delete(nouns, i, i+1)
		}
	}
	slices.Reverse(nouns)
	w.nouns = nouns[:min(len(nouns), nounsMax)]
}

func isAnimate(noun string) bool {
	if animate[noun] {
		return true
	}
	return !notAgents[noun] && len(noun) > 4 && slices.ContainsFunc(agentEnds, func(end string) bool { return strings.HasSuffix(noun, end) })
}

func prepositionLike(word string) bool { return prepositionWords[word] }

// nounOf picks the noun of the words between a determiner and the next function word, "" when there is none.
func nounOf(list []string) string {
	for len(list) > 1 {
		last := strings.ToLower(list[len(list)-1])
		if !strings.HasSuffix(last, "ed") && !strings.HasSuffix(last, "ing") && !strings.HasSuffix(last, "ly") {
			break
		}
		list = list[:len(list)-1] // a verb: "the robot slowly opened"
	}
	if len(list) == 0 {
		return ""
	}
	noun := strings.ToLower(list[len(list)-1])
	if len(noun) < 3 || len(noun) > 24 || dull[noun] || strings.HasSuffix(noun, "ly") || strings.ContainsFunc(noun, unicode.IsDigit) {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(noun, "'s"), "’s")
}

// personOf chooses the words that stand for somebody. For a name the prompt's own pronouns decide; without any the
// name is repeated, which is never wrong.
func personOf(name string, list []string) phrase {
	noun := strings.TrimPrefix(name, "the ")
	she, he := 0, 0
	for _, word := range list {
		switch strings.ToLower(word) {
		case "she", "her", "hers":
			she++
		case "he", "him", "his":
			he++
		}
	}
	switch {
	case she > he || women[noun]:
		return phrase{name, "she", "her", "her"}
	case he > she || men[noun]:
		return phrase{name, "he", "his", "him"}
	case noun != name:
		return phrase{name, "it", "its", "it"}
	}
	return phrase{name, name, name + "'s", name}
}

// subjectOf is what a question is about: its last noun with "the" or as it stands.
func subjectOf(list []string) string {
	subject := ""
	for i, word := range list {
		lower := strings.ToLower(word)
		if len(word) < 4 || isMark(word) || breaks[lower] || dull[lower] || strings.HasSuffix(lower, "ly") {
			continue
		}
		if subject = lower; unicode.IsUpper([]rune(word)[0]) && i > 0 {
			subject = word
		}
		if i > 0 && determiners[strings.ToLower(list[i-1])] {
			subject = "the " + subject
		}
	}
	if len(subject) > 40 {
		return ""
	}
	return subject
}

// unfinished returns the last words of a prompt that stops within a sentence, lower case but for names.
func unfinished(prompt string) []string {
	trimmed := strings.TrimRight(prompt, " \t")
	if trimmed == "" || strings.HasSuffix(trimmed, "\n") {
		return nil
	}
	if r, _ := utf8.DecodeLastRuneInString(strings.TrimRight(trimmed, `"'”’)*`)); strings.ContainsRune(".!?…:;", r) {
		return nil
	}
	list := wordPattern.FindAllString(trimmed, -1)
	start := len(list)
	for start > 0 && len(list)-start < tailMax && !endsSentence(list[start-1]) && list[start-1] != "\n" {
		start--
	}
	return slices.Clone(list[start:])
}
