// SPDX-License-Identifier: AGPL-3.0-or-later

// Package civitai reads CivitAI: the description of a model, the choice of the file that holds its textual inversion, and
// the download of that file.
package civitai

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TypeTextualInversion is the type of models that are embeddings.
const TypeTextualInversion = "TextualInversion"

// MaxModelID is the largest id that CivitAI knows; above it, it answers 400.
const MaxModelID = 1<<31 - 1

// Model is a model as far as it matters here.
type Model struct {
	ID int64
	// Type is empty where CivitAI does not say it.
	Type string
	// Name is the author's text.
	Name string
	// NSFW: the model as a whole is not safe for work.
	NSFW bool
	// VersionID and Files are those of the newest version; 0 and nil where no version is published.
	VersionID int64
	Files     []File
	// Versions are all published ones, the newest first.
	Versions []Version
}

// Version is one state of a model that its author published.
type Version struct {
	ID int64
	// BaseModel is what it was trained on, in CivitAI's words: "SD 1.5", "SDXL 1.0", "Pony", ...
	BaseModel string
	// TrainedWords are the author's texts that bring it to bear in a prompt.
	TrainedWords []string
	// EarlyAccess: only those who paid can download it yet.
	EarlyAccess bool
	Files       []File
}

// File is one file of a version.
type File struct {
	// ID is unique among all files.
	ID int64
	// Name is the author's text: it may hold anything, "../" included.
	Name string
	// Type is "Model", "Pruned Model", "Negative", "Training Data", ...
	Type string
	// Format is "SafeTensor", "PickleTensor", "Other", ... or empty.
	Format string
	// SHA256 is lower-case hex; empty while CivitAI has not hashed the file.
	SHA256 string
	// SizeKB is in KiB, with fractions.
	SizeKB float64
	// DownloadURL is where the file is had; it redirects.
	DownloadURL string
	// Primary: the file that CivitAI prefers.
	Primary bool
	// Flagged: a scan of CivitAI found the file dangerous.
	Flagged bool
}

// scanDanger is the result of a scan that found something.
const scanDanger = "Danger"

// lenient is a value of an answer; one that is missing or of another type leaves Value as it is.
type lenient[T any] struct{ Value T }

// UnmarshalJSON never fails: a surprise in one key must not hide the others.
func (l *lenient[T]) UnmarshalJSON(data []byte) error {
	var v T
	if json.Unmarshal(data, &v) == nil {
		l.Value = v
	}
	return nil
}

// caution is a mark that restricts: whatever is neither false nor null sets it.
type caution bool

// UnmarshalJSON never fails.
func (c *caution) UnmarshalJSON(data []byte) error {
	text := string(data)
	*c = text != "false" && text != "null"
	return nil
}

// wireModel is the answer of GET /api/v1/models/{id}, as far as it is read.
type wireModel struct {
	ID       lenient[int64]                  `json:"id"`
	Type     lenient[string]                 `json:"type"`
	Name     lenient[string]                 `json:"name"`
	NSFW     caution                         `json:"nsfw"`
	Versions lenient[[]lenient[wireVersion]] `json:"modelVersions"`
}

// wireVersion is a version inside a model, or the answer of GET /api/v1/model-versions/{id}, which names the model.
type wireVersion struct {
	ID           lenient[int64]               `json:"id"`
	ModelID      lenient[int64]               `json:"modelId"`
	BaseModel    lenient[string]              `json:"baseModel"`
	TrainedWords lenient[[]string]            `json:"trainedWords"`
	Availability lenient[string]              `json:"availability"`
	EarlyUntil   lenient[string]              `json:"earlyAccessEndsAt"`
	Files        lenient[[]lenient[wireFile]] `json:"files"`
	Model        lenient[struct {
		Type lenient[string] `json:"type"`
		Name lenient[string] `json:"name"`
		NSFW caution         `json:"nsfw"`
	}] `json:"model"`
}

type wireFile struct {
	ID       lenient[int64]  `json:"id"`
	Name     lenient[string] `json:"name"`
	Type     lenient[string] `json:"type"`
	Metadata lenient[struct {
		Format lenient[string] `json:"format"`
	}] `json:"metadata"`
	Hashes lenient[struct {
		SHA256 lenient[string] `json:"SHA256"`
	}] `json:"hashes"`
	SizeKB           lenient[float64] `json:"sizeKB"`
	DownloadURL      lenient[string]  `json:"downloadUrl"`
	Primary          lenient[bool]    `json:"primary"`
	PickleScanResult lenient[string]  `json:"pickleScanResult"`
	VirusScanResult  lenient[string]  `json:"virusScanResult"`
}

// errNoModel means JSON that describes no model.
var errNoModel = errors.New("the answer is no model")

// Decode reads the description of a model. Keys that are missing or of the wrong type are no error, but a model without
// a type is: what lacks the others is not usable.
func Decode(body []byte) (*Model, error) {
	m, err := decodeAny(body)
	if err == nil && m.Type == "" {
		return nil, errNoModel
	}
	return m, err
}

// decodeAny is Decode for models that may lack a type, too: an error is only what is no JSON, or no object.
func decodeAny(body []byte) (*Model, error) {
	var w *wireModel
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	if w == nil {
		return nil, errNoModel
	}
	return w.model(), nil
}

// DecodeVersion reads the description of a version, as a model that has this version alone. A model without a type is an
// error.
func DecodeVersion(body []byte) (*Model, error) {
	var v wireVersion
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, err
	}
	of := v.Model.Value
	if of.Type.Value == "" {
		return nil, errNoModel
	}
	return wireModel{
		ID: v.ModelID, Type: of.Type, Name: of.Name, NSFW: of.NSFW,
		Versions: lenient[[]lenient[wireVersion]]{[]lenient[wireVersion]{{v}}},
	}.model(), nil
}

// DecodeList reads the result of a search, the best first. Entries that are no models are left out.
func DecodeList(body []byte) ([]*Model, error) {
	var w struct {
		Items *[]lenient[wireModel] `json:"items"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, err
	}
	if w.Items == nil {
		return nil, errNoModel
	}
	var list []*Model
	for _, item := range *w.Items {
		if item.Value.Type.Value != "" {
			list = append(list, item.Value.model())
		}
	}
	return list, nil
}

func (w wireModel) model() *Model {
	m := &Model{ID: w.ID.Value, Type: w.Type.Value, Name: w.Name.Value, NSFW: bool(w.NSFW)}
	for _, v := range w.Versions.Value {
		m.Versions = append(m.Versions, v.Value.version())
	}
	if len(m.Versions) > 0 {
		m.VersionID, m.Files = m.Versions[0].ID, m.Versions[0].Files
	}
	return m
}

// availabilityEarly is how CivitAI marks a version that is still to be paid for.
const availabilityEarly = "EarlyAccess"

func (w wireVersion) version() Version {
	v := Version{ID: w.ID.Value, BaseModel: w.BaseModel.Value, TrainedWords: w.TrainedWords.Value}
	if until, err := time.Parse(time.RFC3339, w.EarlyUntil.Value); err == nil {
		v.EarlyAccess = time.Now().Before(until)
	} else {
		v.EarlyAccess = w.Availability.Value == availabilityEarly
	}
	for _, file := range w.Files.Value {
		f := file.Value
		sha := strings.ToLower(f.Hashes.Value.SHA256.Value)
		if b, err := hex.DecodeString(sha); err != nil || len(b) != 32 {
			sha = ""
		}
		v.Files = append(v.Files, File{
			ID: f.ID.Value, Name: f.Name.Value, Type: f.Type.Value, Format: f.Metadata.Value.Format.Value, SHA256: sha,
			SizeKB: f.SizeKB.Value, DownloadURL: f.DownloadURL.Value, Primary: f.Primary.Value,
			Flagged: f.PickleScanResult.Value == scanDanger || f.VirusScanResult.Value == scanDanger,
		})
	}
	return v
}

// Kind is the format of weights that a file holds.
type Kind uint8

// The kinds in the order of preference. None is no weights at all.
const (
	None Kind = iota
	Safetensors
	Pickle
)

var (
	// notWeights are the file types that are never the embedding.
	notWeights = []string{"Training Data", "Config", "Archive", "Workflow"}
	// mainTypes are the types of the embedding itself, as opposed to companions such as "Negative".
	mainTypes      = []string{"Model", "Pruned Model"}
	pickleSuffixes = []string{".pt", ".bin", ".pth", ".ckpt"}
)

// Kind tells what f holds by its format or, where that says nothing, by the suffix of its name in any case.
func (f *File) Kind() Kind {
	switch f.Format {
	case "SafeTensor":
		return Safetensors
	case "PickleTensor":
		return Pickle
	case "", "Other":
		name := strings.ToLower(f.Name)
		if strings.HasSuffix(name, ".safetensors") {
			return Safetensors
		}
		if slices.ContainsFunc(pickleSuffixes, func(s string) bool { return strings.HasSuffix(name, s) }) {
			return Pickle
		}
	}
	return None
}

// Choose returns the file of m that a worker should get, or nil if none is usable: safetensors before pickles, primary
// before others, then CivitAI's order. Companions such as negatives count only where there is no main file.
// A model without a type has no usable file.
func Choose(m *Model) *File {
	if m.Type == "" {
		return nil
	}
	var usable []*File
	for i := range m.Files {
		f := &m.Files[i]
		if f.Kind() != None && !slices.Contains(notWeights, f.Type) && f.ID > 0 && isWebURL(f.DownloadURL) {
			usable = append(usable, f)
		}
	}
	isMain := func(f *File) bool { return slices.Contains(mainTypes, f.Type) }
	if slices.ContainsFunc(usable, isMain) {
		usable = slices.DeleteFunc(usable, func(f *File) bool { return !isMain(f) })
	}
	if len(usable) == 0 {
		return nil
	}
	order := func(f *File) int {
		n := 2 * int(f.Kind())
		if !f.Primary {
			n++
		}
		return n
	}
	return slices.MinFunc(usable, func(a, b *File) int { return order(a) - order(b) })
}

// isWebURL tells whether raw can be handed out as a link.
func isWebURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
