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
}

// Load reads all lists. It returns what is wrong with the first that cannot be used.
func Load(ctx context.Context, s Sources) (*horde.Reference, error) {
	image, err := s.image(ctx)
	if err != nil {
		return nil, err
	}
	text, err := s.text(ctx)
	if err != nil {
		return nil, err
	}
	return &horde.Reference{Image: image, Text: text}, nil
}

func (s Sources) image(ctx context.Context) (map[string]horde.ImageModel, error) {
	models, err := load(ctx, s.Image, builtinImage, ParseImage)
	if err != nil {
		return nil, fmt.Errorf("image model reference: %w", err)
	}
	return models, nil
}

func (s Sources) text(ctx context.Context) (map[string]horde.TextModel, error) {
	models, err := load(ctx, s.Text, builtinText, ParseText)
	if err != nil {
		return nil, fmt.Errorf("text model reference: %w", err)
	}
	return models, nil
}

// load reads and merges the lists of one kind.
func load[M any](ctx context.Context, sources []string, builtin []byte, parse func([]byte) (map[string]M, error)) (map[string]M, error) {
	if len(sources) == 0 {
		sources = []string{Builtin}
	}
	models := map[string]M{}
	for _, source := range sources {
		data, err := builtin, error(nil)
		if source != Builtin {
			data, err = read(ctx, source)
		}
		if err != nil {
			return nil, err
		}
		list, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", redacted(source), err)
		}
		maps.Copy(models, list)
	}
	if len(models) == 0 {
		return nil, fmt.Errorf("%s: no models", redacted(sources[0]))
	}
	return models, nil
}

// redacted is how a source may be shown: without the password that an address can hold.
func redacted(source string) string {
	if u, err := url.Parse(source); err == nil {
		return u.Redacted()
	}
	return source
}

func read(ctx context.Context, source string) ([]byte, error) {
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
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
	sources Sources
	log     *slog.Logger
	current atomic.Pointer[horde.Reference]
	refresh sync.Mutex // held while the lists are loaded, so that an older load never replaces a newer one
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
	h.current.Store(builtin)
	return h
}

// Reference is what is in use now. It is never changed, only replaced.
func (h *Holder) Reference() *horde.Reference { return h.current.Load() }

// Refresh loads the lists anew. A kind whose lists cannot all be used keeps the models that it had, and the error says
// why. Before a server answers anything it calls this once, and goes on whatever comes of it. With sources that do not
// answer it takes up to 20 seconds for each.
func (h *Holder) Refresh(ctx context.Context) error {
	h.refresh.Lock()
	defer h.refresh.Unlock()
	next := *h.current.Load()
	image, errImage := h.sources.image(ctx)
	if errImage == nil {
		next.Image = image
	}
	text, errText := h.sources.text(ctx)
	if errText == nil {
		next.Text = text
	}
	h.current.Store(&next)
	return errors.Join(errImage, errText)
}

// Run refreshes the reference every RefreshEvery and logs what goes wrong. It returns when ctx is done.
func (h *Holder) Run(ctx context.Context) {
	tick := time.NewTicker(RefreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := h.Refresh(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("model reference not refreshed, the last one stays in use", "error", err)
		}
	}
}
