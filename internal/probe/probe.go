// SPDX-License-Identifier: AGPL-3.0-or-later

// Package probe looks for inference servers that already run on this machine, at the ports where their programs listen
// when nobody says otherwise. Everything is asked at once and within [Budget], so that a command may look each time it
// starts; whatever does not answer rightly in that time counts as absent.
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Budget is the time for all places together. A server on loopback that is alive answers these calls in a few
// milliseconds; one that is busy with its first model may take longer and is then found the next time.
const Budget = 500 * time.Millisecond

// bodyMax bounds an answer, in bytes: whatever listens at such a port need not be what we hope for.
const bodyMax = 4 << 20

// Kind is the program that listens.
type Kind string

// The programs that are recognised.
const (
	ComfyUI   Kind = "comfyui"
	A1111     Kind = "a1111" // AUTOMATIC1111, Forge, SD.Next and others with the same API
	KoboldCpp Kind = "koboldcpp"
	LlamaCpp  Kind = "llamacpp"
	Ollama    Kind = "ollama"
)

// Images tells whether the program makes images; the others make text.
func (k Kind) Images() bool { return k == ComfyUI || k == A1111 }

// String is the program's own name.
func (k Kind) String() string {
	switch k {
	case ComfyUI:
		return "ComfyUI"
	case A1111:
		return "AUTOMATIC1111"
	case KoboldCpp:
		return "KoboldCpp"
	case LlamaCpp:
		return "llama.cpp"
	case Ollama:
		return "Ollama"
	}
	return string(k)
}

// Place is where to look for what.
type Place struct {
	Kind Kind
	URL  string // without a slash at the end
}

// Usual are the programs' own default ports on loopback.
func Usual() []Place {
	return []Place{
		{ComfyUI, "http://127.0.0.1:8188"},
		{A1111, "http://127.0.0.1:7860"},
		{KoboldCpp, "http://127.0.0.1:5001"},
		{LlamaCpp, "http://127.0.0.1:8080"},
		{Ollama, "http://127.0.0.1:11434"},
	}
}

// Found is one server that runs.
type Found struct {
	Kind    Kind
	URL     string // as in Place
	Version string // the server's own, or empty
	// Models are those it offers, in its spelling and order. Empty: none is loaded, or it did not tell in time.
	Models []string
	// Context is the tokens of prompt and answer together, of the first model; 0 for images and when not known.
	Context int
	// Loading: it is the right program, but not ready yet.
	Loading bool
	// Locked: it wants a password for more than this.
	Locked bool
}

// String is one line for people: "llama.cpp at http://127.0.0.1:8080 (SmolLM2, 2048 tokens)".
func (f Found) String() string {
	var about []string
	switch n := len(f.Models); {
	case f.Loading:
		about = append(about, "still loading")
	case f.Locked:
		about = append(about, "wants a password")
	case n == 0:
		about = append(about, "no model")
	case n <= 2:
		about = append(about, f.Models...)
	default:
		about = append(about, fmt.Sprintf("%s and %d more models", f.Models[0], n-1))
	}
	if f.Context > 0 {
		about = append(about, fmt.Sprintf("%d tokens", f.Context))
	}
	return fmt.Sprintf("%s at %s (%s)", f.Kind, f.URL, strings.Join(about, ", "))
}

// Look asks all places at once and returns the servers that it recognised, in the order of places. It takes at most
// Budget, less when ctx ends first.
func Look(ctx context.Context, places []Place) []Found {
	ctx, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true}
	l := &looker{client: &http.Client{
		Transport:     transport, // without a proxy: these places are on this machine
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	found := make([]*Found, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			f := &Found{Kind: p.Kind, URL: p.URL}
			if ask, ok := asks[p.Kind]; ok && ask(l, ctx, f) == nil {
				found[i] = f
			}
		})
	}
	wg.Wait()
	var list []Found
	for _, f := range found {
		if f != nil {
			list = append(list, *f)
		}
	}
	return list
}

// asks fills in what is known of a server, per program. An error means that it is not that program.
var asks = map[Kind]func(*looker, context.Context, *Found) error{
	ComfyUI:   (*looker).comfyUI,
	A1111:     (*looker).a1111,
	KoboldCpp: (*looker).koboldCpp,
	LlamaCpp:  (*looker).llamaCpp,
	Ollama:    (*looker).ollama,
}

// errOther: something answers, but it is another program.
var errOther = errors.New("not the program looked for")

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return http.StatusText(int(e)) }

type looker struct{ client *http.Client }

// get decodes the answer of a GET into v, or of a POST where there is a body.
func (l *looker) get(ctx context.Context, url string, body []byte, v any) error {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, bodyMax)).Decode(v)
}
