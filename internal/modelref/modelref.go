// SPDX-License-Identifier: AGPL-3.0-or-later

// Package modelref keeps the model reference: the lists that say which image models there are and what they are made
// from, and how large text models are. It starts with lists that are part of the program, so that a horde without any
// other source works, and replaces them with those of the operator's choice (status chapter, 5).
package modelref

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"horde/internal/horde"
)

// Where the lists come from, and how patiently.
const (
	// Builtin is the source that stands for the list that is part of the program.
	Builtin = "builtin"
	// RefreshEvery is how often Run loads the lists anew.
	RefreshEvery = time.Hour
	// RetryEvery is the pause after a refresh that failed.
	RetryEvery = 10 * time.Second

	maxListSize = 64 << 20 // bytes
	tries       = 10
	tryTimeout  = 2 * time.Second
)

//go:embed image.json
var builtinImage []byte

//go:embed text.json
var builtinText []byte

// Sources are the lists to use: paths of files, http and https addresses, or Builtin. A record of a later list replaces
// one of the same name. No source means Builtin.
type Sources struct {
	Image []string
	Text  []string
	// Keep is a directory for the last good copy of each list from the network, which is used where it cannot be had. Empty
	// keeps none.
	Keep string
}

// Load reads all lists. It returns what is wrong with the first that cannot be used, and with those of which the last good copy
// is used; there is a reference with the latter.
func Load(ctx context.Context, s Sources) (*horde.Reference, error) {
	image, errImage := s.image(ctx)
	if image == nil {
		return nil, errImage
	}
	text, errText := s.text(ctx)
	if text == nil {
		return nil, errText
	}
	return &horde.Reference{Image: image.models, Text: text.models}, errors.Join(errImage, errText)
}

// lists are the merged lists of a kind.
type lists[M any] struct {
	models map[string]M
	// made is when the oldest of those from the network were fetched, now where all are fresh.
	made time.Time
}

func (s Sources) image(ctx context.Context) (*lists[horde.ImageModel], error) {
	l, err := load(ctx, s.Image, builtinImage, kept{s.Keep}, ParseImage)
	if err != nil {
		err = fmt.Errorf("image model reference: %w", err)
	}
	return l, err
}

func (s Sources) text(ctx context.Context) (*lists[horde.TextModel], error) {
	l, err := load(ctx, s.Text, builtinText, kept{s.Keep}, ParseText)
	if err != nil {
		err = fmt.Errorf("text model reference: %w", err)
	}
	return l, err
}

// load reads and merges the lists of one kind. It returns nothing where one cannot be used and there is no copy of it.
func load[M any](ctx context.Context, sources []string, builtin []byte, copies kept, parse func([]byte) (map[string]M, error)) (*lists[M], error) {
	if len(sources) == 0 {
		sources = []string{Builtin}
	}
	// Side by side: a server starts when the slowest has answered or was given up, not after the sum of all.
	type answer struct {
		list map[string]M
		made time.Time
		err  error
	}
	answers := make([]answer, len(sources))
	var reading sync.WaitGroup
	for i, source := range sources {
		reading.Go(func() {
			a := &answers[i]
			a.list, a.made, a.err = loadOne(ctx, source, builtin, copies, parse)
		})
	}
	reading.Wait()
	l := &lists[M]{map[string]M{}, time.Now()}
	var problems []error
	for _, a := range answers {
		if a.err != nil {
			problems = append(problems, a.err)
		}
		if a.list == nil {
			return nil, errors.Join(problems...)
		}
		if a.made.Before(l.made) {
			l.made = a.made
		}
		maps.Copy(l.models, a.list)
	}
	if len(l.models) == 0 {
		return nil, errors.Join(append(problems, fmt.Errorf("%s: no models", redacted(sources[0])))...)
	}
	return l, errors.Join(problems...)
}

// loadOne reads one list, or its last good copy; then the error says why.
func loadOne[M any](ctx context.Context, source string, builtin []byte, copies kept, parse func([]byte) (map[string]M, error)) (map[string]M, time.Time, error) {
	now := time.Now()
	if source == Builtin {
		list, err := parse(builtin)
		return list, now, err
	}
	data, err := read(ctx, source)
	if err == nil {
		list, wrong := parse(data)
		if wrong == nil {
			if remote(source) {
				if err = copies.save(source, data); err != nil {
					err = fmt.Errorf("%s: no copy kept: %w", redacted(source), err)
				}
			}
			return list, now, err
		}
		err = fmt.Errorf("%s: %w", redacted(source), wrong)
	}
	if remote(source) {
		if data, made, ok := copies.load(source); ok {
			if list, wrong := parse(data); wrong == nil {
				return list, made, fmt.Errorf("%w; the copy of %s is used", err, made.UTC().Format(time.DateTime))
			}
		}
	}
	return nil, now, err
}

// remote tells whether a source is on the network.
func remote(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// redacted is how a source may be shown: without the password that an address can hold.
func redacted(source string) string {
	if u, err := url.Parse(source); err == nil {
		return u.Redacted()
	}
	return source
}

func read(ctx context.Context, source string) ([]byte, error) {
	if remote(source) {
		return fetch(ctx, source)
	}
	f, err := os.Open(source)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Size() > maxListSize {
		err = errTooLarge
	}
	var data []byte
	if err == nil {
		data, err = bounded(f, maxListSize)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return data, nil
}

// fetch tries again at once, because the usual failure is a dropped packet or a busy front end. A refusal stays one.
func fetch(ctx context.Context, address string) (data []byte, err error) {
	for range tries {
		var retry bool
		if data, retry, err = fetchOnce(ctx, address); err == nil || !retry || ctx.Err() != nil {
			break
		}
	}
	return data, err
}

func fetchOnce(ctx context.Context, address string) (data []byte, retry bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, true, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests,
			fmt.Errorf("%s: %s", req.URL.Redacted(), resp.Status)
	}
	if resp.ContentLength > maxListSize {
		return nil, false, fmt.Errorf("%s: %w", req.URL.Redacted(), errTooLarge)
	}
	if data, err = bounded(resp.Body, maxListSize); err != nil {
		return nil, !errors.Is(err, errTooLarge), fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	}
	return data, false, nil
}

var errTooLarge = fmt.Errorf("more than %d MiB", maxListSize>>20)

// bounded reads all of r, and fails where that is more than limit bytes.
func bounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errTooLarge
	}
	return data, err
}

// Holder has the reference that is in use. Its methods may be called at any time by anybody.
type Holder struct {
	// OnRefresh is told of each Refresh by Run. Set it before Run; nil ignores it.
	OnRefresh func(began time.Time, err error)

	sources Sources
	log     *slog.Logger
	current atomic.Pointer[horde.Reference]
	// imageMade and textMade are of when the lists in use are, in nanoseconds since 1970.
	imageMade, textMade atomic.Int64

	refresh sync.Mutex  // held while the lists are loaded, so that an older load never replaces a newer one
	failed  atomic.Bool // whether something was wrong at the last Refresh
}

// NewHolder returns a holder that has the lists of the program until the first Refresh. A nil log is the default one.
func NewHolder(s Sources, log *slog.Logger) *Holder {
	if log == nil {
		log = slog.Default()
	}
	builtin, err := Load(context.Background(), Sources{})
	if err != nil {
		panic(err) // the lists were checked by the tests of this package
	}
	h := &Holder{sources: s, log: log}
	h.imageMade.Store(time.Now().UnixNano())
	h.textMade.Store(time.Now().UnixNano())
	h.current.Store(builtin)
	return h
}

// Reference is what is in use now. It is never changed, only replaced.
func (h *Holder) Reference() *horde.Reference { return h.current.Load() }

// Refresh loads the lists anew. A kind whose lists cannot all be used keeps the models that it had, and the error says
// why. Before a server answers anything it calls this once, and goes on whatever comes of it. With sources that do not
// answer it takes up to 20 seconds.
func (h *Holder) Refresh(ctx context.Context) error {
	h.refresh.Lock()
	defer h.refresh.Unlock()
	next := *h.current.Load()
	var text *lists[horde.TextModel]
	var errText error
	var reading sync.WaitGroup
	reading.Go(func() { text, errText = h.sources.text(ctx) })
	image, errImage := h.sources.image(ctx)
	reading.Wait()
	if image != nil {
		next.Image = image.models
		h.imageMade.Store(image.made.UnixNano())
	}
	if text != nil {
		next.Text = text.models
		h.textMade.Store(text.made.UnixNano())
	}
	h.current.Store(&next)
	err := errors.Join(errImage, errText)
	h.failed.Store(err != nil)
	return err
}

// Age is how old the lists of a kind are that are in use: since they were last read from their sources or, before they ever
// were, since the start.
func (h *Holder) Age(k horde.Kind) time.Duration {
	made := &h.imageMade
	if k == horde.Text {
		made = &h.textMade
	}
	return time.Since(time.Unix(0, made.Load()))
}

// Run refreshes the reference every RefreshEvery and, after a failure, that of the first Refresh too, every RetryEvery until it
// works. It logs what goes wrong once, as long as that stays the same. It returns when ctx is done.
func (h *Holder) Run(ctx context.Context) {
	pause, told := RefreshEvery, ""
	if h.failed.Load() {
		pause = RetryEvery
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		err := h.Refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		if h.OnRefresh != nil {
			h.OnRefresh(began, err)
		}
		if err == nil {
			pause, told = RefreshEvery, ""
			continue
		}
		pause = RetryEvery
		if text := err.Error(); text != told {
			told = text
			h.log.Error("model reference not refreshed, the last one stays in use", "error", err)
		}
	}
}
