// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"horde/internal/horde"
)

// maxParameters is more than any text model has. It keeps prices finite, whatever a list says.
const maxParameters = 1e15

// legacyBaselines maps the spelling of the newer model reference service to that of the lists.
var legacyBaselines = map[string]string{
	"stable_diffusion_1": horde.BaselineSD1, "stable_diffusion_2_768": horde.BaselineSD2,
	"stable_diffusion_2_512": horde.BaselineSD2x512, "flux_schnell": horde.BaselineFlux, "flux_dev": horde.BaselineFlux,
}

// loose is a field for people only: anything but a string is as good as nothing.
type loose string

func (l *loose) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*l = loose(s)
	}
	return nil
}

// whole is a number without a fraction, however it is written: 8, 8.0 and 8e0 are the same in a list made by hand.
type whole int

func (w *whole) UnmarshalJSON(data []byte) error {
	var x float64
	if err := json.Unmarshal(data, &x); err != nil {
		return err
	}
	if x != math.Trunc(x) || math.Abs(x) > math.MaxInt32 {
		return fmt.Errorf("%s is no whole number", data)
	}
	*w = whole(x)
	return nil
}

func (w *whole) pointer() *int {
	if w == nil {
		return nil
	}
	n := int(*w)
	return &n
}

type imageRecord struct {
	Baseline     string `json:"baseline"`
	Type         string `json:"type"`
	Inpainting   bool   `json:"inpainting"`
	NSFW         bool   `json:"nsfw"`
	Description  loose  `json:"description"`
	Style        loose  `json:"style"`
	Requirements struct {
		ClipSkip    *whole   `json:"clip_skip"`
		MinSteps    *whole   `json:"min_steps"`
		MaxSteps    *whole   `json:"max_steps"`
		CFGScale    *float64 `json:"cfg_scale"`
		MinCFGScale *float64 `json:"min_cfg_scale"`
		MaxCFGScale *float64 `json:"max_cfg_scale"`
		Samplers    []string `json:"samplers"`
		Schedulers  []string `json:"schedulers"`
	} `json:"requirements"`
}

// ParseImage reads an image model list: an object of records by the model's name. Fields that the server does not use may
// hold anything. The error names the record that is at fault.
func ParseImage(data []byte) (map[string]horde.ImageModel, error) {
	records, err := split(data)
	if err != nil {
		return nil, err
	}
	models := make(map[string]horde.ImageModel, len(records))
	for _, name := range slices.Sorted(maps.Keys(records)) {
		var r imageRecord
		if err := decode(name, records[name], &r); err != nil {
			return nil, err
		}
		if r.Baseline == "" {
			return nil, fmt.Errorf("record %q: no baseline", name)
		}
		if legacy, ok := legacyBaselines[r.Baseline]; ok {
			r.Baseline = legacy
		}
		q := r.Requirements
		models[name] = horde.ImageModel{
			Name: name, Baseline: r.Baseline, Type: r.Type, Inpainting: r.Inpainting, NSFW: r.NSFW,
			Description: string(r.Description), Style: string(r.Style),
			Requirements: horde.Requirements{
				ClipSkip: q.ClipSkip.pointer(), MinSteps: q.MinSteps.pointer(), MaxSteps: q.MaxSteps.pointer(),
				CFGScale: q.CFGScale, MinCFGScale: q.MinCFGScale, MaxCFGScale: q.MaxCFGScale,
				Samplers: q.Samplers, Schedulers: q.Schedulers,
			},
		}
	}
	return models, nil
}

type textRecord struct {
	Parameters float64 `json:"parameters"`
	NSFW       bool    `json:"nsfw"`
}

// ParseText reads a text model list: an object of records by the model's name, or a table (see [TextList]). Lists that have each model once get the
// names under which back ends offer it too: "aphrodite/" before the whole name, and "koboldcpp/" before what follows the
// first slash in it.
func ParseText(data []byte) (map[string]horde.TextModel, error) {
	if isTable(data) {
		list, err := TextList(data)
		if err != nil {
			return nil, err
		}
		data = list
	}
	records, err := split(data)
	if err != nil {
		return nil, err
	}
	models := make(map[string]horde.TextModel, 3*len(records))
	names := slices.Sorted(maps.Keys(records))
	for _, name := range names {
		var r textRecord
		if err := decode(name, records[name], &r); err != nil {
			return nil, err
		}
		if !(r.Parameters >= 1 && r.Parameters <= maxParameters) {
			return nil, fmt.Errorf("record %q: parameters %v is no number of parameters", name, r.Parameters)
		}
		models[name] = horde.TextModel{Name: name, Parameters: int64(r.Parameters), NSFW: r.NSFW}
	}
	for _, name := range names {
		if strings.HasPrefix(name, aphrodite) || strings.HasPrefix(name, koboldcpp) {
			continue
		}
		for _, twin := range []string{aphrodite + name, koboldcpp + baseName(name)} {
			if _, ok := models[twin]; !ok {
				m := models[name]
				m.Name = twin
				models[twin] = m
			}
		}
	}
	return models, nil
}

const (
	aphrodite = "aphrodite/"
	koboldcpp = "koboldcpp/"
)

func split(data []byte) (map[string]json.RawMessage, error) {
	var records map[string]json.RawMessage
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, fmt.Errorf("not a list of models: %w", err)
	}
	if records == nil {
		return nil, errors.New("not a list of models: null")
	}
	return records, nil
}

func decode(name string, record []byte, into any) error {
	if string(record) == "null" {
		return fmt.Errorf("record %q: null", name)
	}
	if err := json.Unmarshal(record, into); err != nil {
		return fmt.Errorf("record %q: %w", name, err)
	}
	return nil
}
