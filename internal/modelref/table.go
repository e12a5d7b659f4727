// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// listedText is a record of a text model list with all that people and programs want to know of a model.
type listedText struct {
	Name           string          `json:"name"`
	ModelName      string          `json:"model_name"`
	Parameters     int64           `json:"parameters"`
	Baseline       string          `json:"baseline"`
	Description    string          `json:"description"`
	Version        string          `json:"version"`
	Style          string          `json:"style"`
	NSFW           bool            `json:"nsfw"`
	DisplayName    string          `json:"display_name"`
	Tags           []string        `json:"tags"`
	URL            string          `json:"url,omitempty"`
	InstructFormat string          `json:"instruct_format,omitempty"`
	Settings       json.RawMessage `json:"settings,omitempty"`
}

// billion is what the column parameters_bn counts in.
const billion = 1e9

// byteOrderMark is what spreadsheets put before their tables.
var byteOrderMark = []byte("\uFEFF")

var wordBreaks = regexp.MustCompile(`[-_]+`)

// TextList makes a text model list of the table that people edit, models.csv: a line of column names, then a model a line
// (status chapter, 5.3). Each model is in the list three times, under the names under which back ends offer it; where two have
// the same name, the later one has it. Columns may be missing but for name and parameters_bn, and those without a meaning are
// skipped. The error names the line.
func TextList(table []byte) ([]byte, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(table, byteOrderMark)))
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("not a table of models: %w", err)
	}
	if !slices.Contains(header, "name") || !slices.Contains(header, "parameters_bn") {
		return nil, errors.New("not a table of models: no columns name and parameters_bn")
	}
	list := map[string]listedText{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		cells := map[string]string{}
		for i, cell := range row[:min(len(row), len(header))] {
			cells[header[i]] = strings.TrimSpace(cell)
		}
		m, err := listed(cells)
		if err != nil {
			line, _ := r.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		name := m.Name
		for _, m.Name = range []string{name, aphrodite + name, koboldcpp + m.ModelName} {
			list[m.Name] = m
		}
	}
	return json.MarshalIndent(list, "", "  ")
}

// listed is the record of a row.
func listed(cells map[string]string) (m listedText, err error) {
	size, err := strconv.ParseFloat(cells["parameters_bn"], 64)
	switch {
	case cells["name"] == "":
		return m, errors.New("no name")
	case err != nil, !(size*billion >= 1 && size*billion <= maxParameters):
		return m, fmt.Errorf("%s: %q is no number of billions of parameters", cells["name"], cells["parameters_bn"])
	}
	m = listedText{
		Name: cells["name"], ModelName: baseName(cells["name"]), Parameters: int64(size * billion), Baseline: cells["baseline"],
		Description: cells["description"], Version: "1", Style: cells["style"], DisplayName: cells["display_name"], Tags: []string{},
		URL: cells["url"], InstructFormat: cells["instruct_format"],
	}
	if m.DisplayName == "" {
		m.DisplayName = strings.TrimSpace(wordBreaks.ReplaceAllString(m.ModelName, " "))
	}
	for tag := range strings.SplitSeq(cells["tags"], ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			m.Tags = append(m.Tags, tag)
		}
	}
	if m.Style != "" {
		m.Tags = append(m.Tags, m.Style)
	} else {
		m.Style = "generalist"
	}
	m.Tags = append(m.Tags, fmt.Sprintf("%.0fB", math.Round(size)))
	slices.Sort(m.Tags)
	m.Tags = slices.Compact(m.Tags)
	if text := cells["settings"]; text != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
			return m, fmt.Errorf("%s: settings are no JSON object", m.Name)
		}
		m.Settings = json.RawMessage(text)
	}
	return m, nil
}

// baseName is the name of a text model without whoever made it.
func baseName(name string) string { return name[strings.IndexByte(name, '/')+1:] }

// isTable tells a table from a list.
func isTable(data []byte) bool {
	data = bytes.TrimSpace(data)
	return len(data) > 0 && data[0] != '{' && data[0] != '[' && data[0] != '<' && !json.Valid(data)
}
