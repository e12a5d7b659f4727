// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/client"
	"horde/internal/hordeling/civitai"
	"horde/internal/worker/backend"
)

// loraTypes are CivitAI's types of models that are applied as LoRAs.
var loraTypes = []string{"LORA", "LoCon", "DoRA"}

// Lora is a LoRA that lies in the folder. It stays there until Release.
type Lora struct {
	// File is its name in the folder.
	File string
	// Words are to be put before the prompt; empty: none.
	Words   string
	release func()
}

// Release says that the file is not needed any more. Nil has nothing to release.
func (l *Lora) Release() {
	if l != nil {
		l.release()
	}
}

// candidate is a file that CivitAI has, with what will be known of it once it is here.
type candidate struct {
	entry
	from *url.URL
}

// Lora returns the LoRA that a job names, from the folder or else from CivitAI, for a model of this baseline (empty: not
// known). It returns ErrLate when ctx ends first.
func (s *Store) Lora(ctx context.Context, want client.Lora, base backend.Baseline) (*Lora, error) {
	if !s.Loras() {
		return nil, ErrOff
	}
	name := strings.TrimSpace(want.Name)
	id, numeric, err := parseID(name)
	switch {
	case err != nil:
		return nil, err
	case want.IsVersion && !numeric:
		return nil, fmt.Errorf("%w: a version is a number", ErrNotFound)
	}
	e := s.loras.take(func(e *entry) int {
		switch {
		case numeric && (want.IsVersion && e.VersionID == id || !want.IsVersion && e.ModelID == id):
			return fitsByID
		case want.IsVersion:
			return fitsNot
		}
		n := fit(name, e.Name, nearLora)
		if n < fitsExactly && fitsBaseline(e.BaseModel, base) != nil {
			return fitsNot // another one of a like name may be meant
		}
		return n
	})
	if e == nil {
		found, err := shared(ctx, s, fmt.Sprintf("lora %q version %v", name, want.IsVersion), lookupLimit, foundLife, func(ctx context.Context) (*candidate, error) {
			return s.findLora(ctx, name, id, numeric, want.IsVersion)
		})
		if err != nil {
			return nil, err
		}
		if err := fitsBaseline(found.BaseModel, base); err != nil {
			return nil, err
		}
		if e, err = s.fetchLora(ctx, found); err != nil {
			return nil, err
		}
	}
	lora := &Lora{File: e.File, Words: trigger(want.InjectTrigger, e.Words), release: func() { s.loras.back(e.File) }}
	if err := fitsBaseline(e.BaseModel, base); err != nil {
		lora.Release()
		return nil, err
	}
	if e.NSFW && !s.cfg.NSFW {
		lora.Release()
		return nil, errNSFW
	}
	return lora, nil
}

var errNSFW = fmt.Errorf("%w: not safe for work", ErrRefused)

const (
	// maxID is the first number that is no id.
	maxID = 1 << 32
	// maxName is the longest name that is looked for, in bytes; hordes take 255 characters.
	maxName = 1020
	// maxTrained is how many trained words of a version are kept.
	maxTrained = 100
)

// parseID reads a name that is a number. Numbers that no model can have are refused.
func parseID(name string) (id int64, numeric bool, err error) {
	if name == "" || len(name) > maxName {
		return 0, false, fmt.Errorf("%w: no name that a model could have", ErrNotFound)
	}
	if strings.Trim(name, "0123456789") != "" {
		return 0, false, nil
	}
	id, err = strconv.ParseInt(name, 10, 64)
	if err != nil || id <= 0 || id >= maxID {
		return 0, true, fmt.Errorf("%w: no model has this number", ErrRefused)
	}
	return id, true, nil
}

// fetchLora brings a file into the folder and takes it.
func (s *Store) fetchLora(ctx context.Context, found *candidate) (*entry, error) {
	_, err := shared(ctx, s, fmt.Sprintf("lora file %d", found.VersionID), downloadLimit, 0, func(ctx context.Context) (struct{}, error) {
		if sum, err := hashFile(s.loras.path(found.File)); err == nil && sum == found.SHA256 {
			return struct{}{}, s.loras.adopt(found.entry)
		}
		got, err := s.download(ctx, download{from: found.from, to: s.loras.dir, size: found.Size, limit: MaxLoraBytes, sha256: found.SHA256})
		if err != nil {
			s.suspect(ctx, err)
			return struct{}{}, err
		}
		e := found.entry
		e.Size = got.size
		return struct{}{}, s.loras.put(got.part, e)
	})
	if err != nil {
		return nil, err
	}
	e := s.loras.take(func(e *entry) int {
		if e.File == found.File {
			return fitsByID
		}
		return fitsNot
	})
	if e == nil {
		return nil, fmt.Errorf("%w: removed again", ErrUnavailable)
	}
	return e, nil
}

// findLora asks CivitAI.
func (s *Store) findLora(ctx context.Context, name string, id int64, numeric, isVersion bool) (*candidate, error) {
	var model *civitai.Model
	var err error
	switch {
	case isVersion:
		// The answer names the model too, so that this is not asked for in addition.
		model, err = s.lookUp(ctx, s.civitai.JoinPath("api", "v1", "model-versions", strconv.FormatInt(id, 10)), civitai.DecodeVersion)
	case numeric:
		model, err = s.lookUp(ctx, s.modelURL(id), civitai.Decode)
	default:
		model, err = s.search(ctx, "LORA", name, nearLora)
	}
	if err != nil {
		return nil, err
	}
	return s.chooseLora(model, isVersion)
}

// chooseLora picks the file: the primary one of the newest version that everybody can have, or of the one asked for.
func (s *Store) chooseLora(m *civitai.Model, isVersion bool) (*candidate, error) {
	if !slices.Contains(loraTypes, m.Type) {
		return nil, fmt.Errorf("%w: the model is no LoRA", ErrRefused)
	}
	if m.NSFW && !s.cfg.NSFW {
		return nil, errNSFW
	}
	i := slices.IndexFunc(m.Versions, func(v civitai.Version) bool { return isVersion || !v.EarlyAccess })
	if i < 0 {
		return nil, fmt.Errorf("%w: no version is published", ErrNotFound)
	}
	v := &m.Versions[i]
	isWeights := func(f civitai.File) bool { return strings.HasSuffix(strings.ToLower(f.Name), ".safetensors") }
	k := slices.IndexFunc(v.Files, func(f civitai.File) bool { return f.Primary })
	if k < 0 {
		k = slices.IndexFunc(v.Files, isWeights)
	}
	if k < 0 || !isWeights(v.Files[k]) {
		return nil, fmt.Errorf("%w: the version has no safetensors file", ErrNotFound)
	}
	f := v.Files[k]
	from, err := webURL(f.DownloadURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: it has no address", ErrRefused)
	case f.SHA256 == "":
		return nil, fmt.Errorf("%w: CivitAI gives no hash", ErrRefused)
	case f.SizeKB*1024 > MaxLoraBytes:
		return nil, fmt.Errorf("%w: larger than %d MB", ErrRefused, MaxLoraBytes>>20)
	}
	words := slices.DeleteFunc(slices.Clone(v.TrainedWords), func(w string) bool { return len(w) > maxWords })
	stem := Sanitise(m.Name)
	if stem == "" {
		stem = "lora"
	}
	return &candidate{from: from, entry: entry{
		File: fmt.Sprintf("%s_%d.safetensors", stem, v.ID), Name: m.Name, ModelID: m.ID, VersionID: v.ID, BaseModel: v.BaseModel,
		Words: words[:min(len(words), maxTrained)], NSFW: m.NSFW, SHA256: f.SHA256, Size: int64(f.SizeKB * 1024),
	}}, nil
}

func (s *Store) modelURL(id int64) *url.URL {
	return s.civitai.JoinPath("api", "v1", "models", strconv.FormatInt(id, 10))
}

// search asks for a model by its name; only the first result counts, and only if it is called like that.
func (s *Store) search(ctx context.Context, kind, name string, near int) (*civitai.Model, error) {
	u := s.civitai.JoinPath("api", "v1", "models")
	u.RawQuery = fmt.Sprintf("types=%s&sort=Highest%%20Rated&primaryFileOnly=true&nsfw=%v&query=%s", kind, s.cfg.NSFW,
		strings.ReplaceAll(url.QueryEscape(name), "+", "%20"))
	list, err := s.lookUp(ctx, u, func(body []byte) (*civitai.Model, error) {
		list, err := civitai.DecodeList(body)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		return list[0], nil
	})
	if err != nil {
		return nil, err
	}
	if list == nil || fit(name, list.Name, near) == fitsNot {
		return nil, fmt.Errorf("%w: CivitAI finds nothing of this name", ErrNotFound)
	}
	return list, nil
}

// lookUp asks CivitAI, with repetitions.
func (s *Store) lookUp(ctx context.Context, u *url.URL, decode func([]byte) (*civitai.Model, error)) (m *civitai.Model, err error) {
	if s.Blocked() {
		return nil, fmt.Errorf("%w: CivitAI did not serve this place a while ago", ErrBlocked)
	}
	err = repeat(ctx, func() *failure {
		limited, cancel := context.WithTimeout(ctx, metadataTimeout)
		defer cancel()
		resp, f := s.get(limited, s.metadata, u)
		if f != nil {
			return f
		}
		defer resp.Body.Close()
		if f := judge(resp); f != nil {
			return f
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
		if err != nil {
			return &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, err), cost: costSilent}
		}
		if m, err = decode(body); err != nil {
			return &failure{err: fmt.Errorf("%w: the answer cannot be read", ErrUnavailable), cost: costBroken}
		}
		return nil
	})
	s.suspect(ctx, err)
	return m, err
}

// probeLimit bounds the question whether CivitAI serves this place at all.
const probeLimit = 5 * time.Second

// suspect finds out whether err means that CivitAI as a whole does not serve this place, and not just one file: it has no
// address, or it also refuses what nobody objects to.
func (s *Store) suspect(ctx context.Context, err error) {
	if !errors.Is(err, ErrBlocked) {
		return
	}
	if errors.Is(err, errNoSite) {
		s.block()
		return
	}
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	u := s.civitai.JoinPath("api", "v1", "models")
	u.RawQuery = "limit=1"
	resp, f := s.get(limited, s.metadata, u)
	if f != nil {
		return
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusUnavailableForLegalReasons {
		s.block()
	}
}

// baseFamilies maps the beginnings of CivitAI's names of base models to baselines.
var baseFamilies = []struct {
	prefix string
	base   backend.Baseline
}{
	{"SD 1", backend.SD1}, {"SD 2", backend.SD2}, {"SDXL", backend.SDXL}, {"Pony V7", ""}, {"Pony", backend.SDXL}, {"Illustrious", backend.SDXL},
	{"NoobAI", backend.SDXL}, {"Flux.1", backend.Flux1}, {"Stable Cascade", backend.StableCascade}, {"Qwen", backend.QwenImage},
	{"ZImage", backend.ZImageTurbo},
}

// knownBaselines are those that baseFamilies can tell apart.
var knownBaselines = []backend.Baseline{backend.SD1, backend.SD2, backend.SDXL, backend.Flux1, backend.StableCascade, backend.QwenImage, backend.ZImageTurbo}

// fitsBaseline is ErrBaseline when a LoRA for the base model would do nothing on a model of this baseline. What is not
// known fits.
func fitsBaseline(baseModel string, base backend.Baseline) error {
	if base == backend.SD2_512 {
		base = backend.SD2
	}
	for _, f := range baseFamilies {
		if strings.HasPrefix(baseModel, f.prefix) {
			if f.base != "" && f.base != base && slices.Contains(knownBaselines, base) {
				return ErrBaseline
			}
			return nil
		}
	}
	return nil
}
