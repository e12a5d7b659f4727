// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"horde/client"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/safetensors"
)

// maxTensors bounds the tensors of a textual inversion: there are one or two in real ones.
const maxTensors = 1024

// Embedding is a textual inversion that lies in the folder. It stays there until Release.
type Embedding struct {
	// ID is what it is called in prompts: the number of its model at CivitAI, and the name of its file without ending.
	ID      string
	release func()
}

// File is its name in the folder.
func (e *Embedding) File() string { return e.ID + ".safetensors" }

// Release says that the file is not needed any more. Nil has nothing to release.
func (e *Embedding) Release() {
	if e != nil {
		e.release()
	}
}

// Embedding returns the textual inversion that a job names, from the folder or else by way of the hordeling. It returns
// ErrLate when ctx ends first.
func (s *Store) Embedding(ctx context.Context, want client.TextualInversion) (*Embedding, error) {
	if !s.Embeddings() {
		return nil, ErrOff
	}
	name := strings.TrimSpace(want.Name)
	id, numeric, err := parseID(name)
	if err != nil {
		return nil, err
	}
	var e *entry
	if numeric {
		e = s.takeEmbedding(id)
	} else {
		e = s.embeddings.take(func(e *entry) int { return fit(name, e.Name, nearEmbedding) })
	}
	if e == nil {
		var model *civitai.Model
		if !numeric {
			model, err = shared(ctx, s, fmt.Sprintf("textual inversion %q", name), lookupLimit, foundLife, func(ctx context.Context) (*civitai.Model, error) {
				return s.search(ctx, civitai.TypeTextualInversion, name, nearEmbedding)
			})
			if err != nil {
				return nil, err
			}
			id = model.ID
		}
		_, err = shared(ctx, s, fmt.Sprintf("textual inversion %d", id), embeddingLimit, 0, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, s.fetchEmbedding(ctx, id, model)
		})
		if err != nil {
			return nil, err
		}
		if e = s.takeEmbedding(id); e == nil {
			return nil, fmt.Errorf("%w: removed again", ErrUnavailable)
		}
	}
	got := &Embedding{ID: strconv.FormatInt(e.ModelID, 10), release: func() { s.embeddings.back(e.File) }}
	if e.NSFW && !s.cfg.NSFW {
		got.Release()
		return nil, errNSFW
	}
	return got, nil
}

func (s *Store) takeEmbedding(id int64) *entry {
	return s.embeddings.take(func(e *entry) int {
		if e.ModelID == id {
			return fitsByID
		}
		return fitsNot
	})
}

// fetchEmbedding brings a textual inversion into the folder. model is what CivitAI said of it, nil when it was not asked;
// it is asked where the answer of the hordeling leaves something open.
func (s *Store) fetchEmbedding(ctx context.Context, id int64, model *civitai.Model) (err error) {
	e := entry{File: strconv.FormatInt(id, 10) + ".safetensors", ModelID: id}
	describe := func() error {
		if model == nil {
			if model, err = s.lookUp(ctx, s.modelURL(id), civitai.Decode); err != nil {
				return err
			}
		}
		if model.Type != civitai.TypeTextualInversion {
			return fmt.Errorf("%w: the model is no textual inversion", ErrRefused)
		}
		if model.NSFW && !s.cfg.NSFW {
			return errNSFW
		}
		return nil
	}
	if model != nil || !s.cfg.NSFW {
		if err := describe(); err != nil {
			return err
		}
	}
	ask, cancel := context.WithTimeout(ctx, askLimit)
	link, err := s.askHordeling(ask, id)
	cancel()
	if err != nil {
		return err
	}
	if link.SHA256 == "" {
		// Then it is the file of CivitAI itself.
		if err := describe(); err != nil {
			return err
		}
		f := civitai.Choose(model)
		if f == nil || f.SHA256 == "" {
			return fmt.Errorf("%w: nobody gives a hash", ErrRefused)
		}
		link.SHA256 = f.SHA256
	}
	if model != nil {
		e.Name, e.NSFW = model.Name, model.NSFW
		if len(model.Versions) > 0 {
			e.VersionID = model.Versions[0].ID
		}
	}
	e.SHA256 = strings.ToLower(link.SHA256)
	if sum, err := hashFile(s.embeddings.path(e.File)); err == nil && sum == e.SHA256 {
		if e.Size, err = sound(s.embeddings.path(e.File)); err == nil {
			return s.embeddings.adopt(e)
		}
	}
	from, err := webURL(link.URL)
	if err != nil {
		return fmt.Errorf("%w: the hordeling gave no address", ErrRefused)
	}
	got, err := s.download(ctx, download{from: from, to: s.embeddings.dir, limit: MaxEmbeddingBytes, sha256: e.SHA256})
	if err != nil {
		return err
	}
	if e.Size, err = sound(got.part); err == nil {
		err = s.embeddings.put(got.part, e)
	}
	if err != nil {
		_ = os.Remove(got.part)
	}
	return err
}

// sound checks that a file is safetensors with nothing amiss, and returns its size.
func sound(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	f, err := safetensors.Parse(data, safetensors.Limits{Tensors: maxTensors})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if len(f.Tensors) == 0 {
		return 0, fmt.Errorf("%w: the file holds no tensor", ErrRefused)
	}
	return int64(len(data)), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// link is where a converted textual inversion lies.
type link struct {
	URL     string `json:"url"`
	SHA256  string `json:"sha256"`
	Message string `json:"message"`
}

// askHordeling asks for a link until there is one, the answer is final, or ctx ends.
func (s *Store) askHordeling(ctx context.Context, id int64) (l link, err error) {
	u := s.hordeling.JoinPath("api", "v1", "embedding", strconv.FormatInt(id, 10))
	err = repeat(ctx, func() *failure {
		limited, cancel := context.WithTimeout(ctx, hordelingTimeout)
		defer cancel()
		req := s.request(limited, u)
		if s.cfg.Agent != "" {
			req.Header.Set("Client-Agent", s.cfg.Agent)
		}
		resp, err := s.answers.Do(req)
		if err != nil {
			return &failure{err: fmt.Errorf("%w: %w", errPending, err), cost: costLittle}
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		l = link{}
		return judgeHordeling(resp, errors.Join(err, json.Unmarshal(body, &l)) == nil, l)
	})
	return l, err
}

// errPending means that the hordeling may have the file in a moment.
var errPending = fmt.Errorf("%w: the hordeling has no answer yet", ErrUnavailable)

// judgeHordeling follows the table of the workers chapter, section 10.5. Other hordelings than ours tell by their message
// alone that an answer is final.
func judgeHordeling(resp *http.Response, isJSON bool, l link) *failure {
	about := func(err error) error { return fmt.Errorf("%w: status %d of the hordeling", err, resp.StatusCode) }
	message := strings.ToLower(l.Message)
	switch {
	case resp.StatusCode == http.StatusOK && isJSON && l.URL != "":
		return nil
	case resp.StatusCode == http.StatusNotFound:
		return &failure{err: about(ErrNotFound), cost: final}
	case resp.StatusCode == http.StatusUnprocessableEntity,
		resp.StatusCode/100 != 2 && isJSON && (strings.Contains(message, "unexpected type") || strings.Contains(message, "hash")):
		return &failure{err: about(ErrRefused), cost: final}
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusServiceUnavailable:
		return &failure{err: about(errPending), cost: costLittle, pause: retryAfter(resp)}
	}
	return &failure{err: about(errPending), cost: costLittle}
}
