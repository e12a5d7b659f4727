// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// StylePolicy says what of a request's parameters counts when the style is applied (newer chapter, 2.5).
type StylePolicy struct {
	// Override is "none", "listed" or "all"; nil is "none".
	Override *string `json:"override,omitempty" enum:"none,listed,all" default:"none" doc:"Which parameters of a request win over the style: none, those in overridable, or all."`
	// Overridable names them for "listed".
	Overridable []string `json:"overridable,omitzero" doc:"For listed: the names of the parameters."`
	// Ceilings are the largest values that a request may send, by parameter. A null is none.
	Ceilings json.RawMessage `json:"ceilings,omitempty" type:"object" doc:"The largest values that a request may send, by parameter."`
}

// The values of StylePolicy.Override.
const (
	OverrideNone   = "none"
	OverrideListed = "listed"
	OverrideAll    = "all"
)

// StyleField is a place of a style's template, "{name}", that a request fills.
type StyleField struct {
	Name        *string `json:"name" required:"true" minLength:"1" maxLength:"32"`
	Description *string `json:"description" required:"true" minLength:"1" maxLength:"200"`
	Required    *bool   `json:"required,omitempty" default:"false"`
}

// CeilingRange is what a ceiling may be.
type CeilingRange struct {
	Minimum *int `json:"minimum"`
	Maximum *int `json:"maximum"`
}

// styleRules are the rules for declarations of styles of one kind.
type styleRules struct {
	// overridable are the parameters of a request, by name, with where they are.
	overridable map[string][]int
	names       []string
	ceilings    map[string]CeilingRange
	unset       []string // parameters that a request may always set where the style does not
}

var styleRulesOf = map[Kind]*styleRules{
	Image: newStyleRules(reflect.TypeFor[ImageSettings](), []string{"width", "height"}, "width", "height", "steps", "n"),
	Text:  newStyleRules(reflect.TypeFor[TextSettings](), []string{"max_length", "max_context_length"}, "max_length", "max_context_length", "n"),
}

func newStyleRules(t reflect.Type, unset []string, ceilings ...string) *styleRules {
	r := &styleRules{overridable: map[string][]int{}, ceilings: map[string]CeilingRange{}, unset: unset}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" {
			continue
		}
		if slices.Contains(ceilings, name) {
			r.ceilings[name] = CeilingRange{boundOf(f, "minimum"), boundOf(f, "maximum")}
		}
		// The number of results is always the request's.
		if f.Tag.Get("hidden") != "true" && name != "n" {
			r.overridable[name] = f.Index
		}
	}
	r.names = slices.Sorted(maps.Keys(r.overridable))
	return r
}

func boundOf(f reflect.StructField, tag string) *int {
	var n int
	if _, err := fmt.Sscan(f.Tag.Get(tag), &n); err != nil {
		return nil
	}
	return &n
}

// OverridableParameters are the names that a policy of a style of the kind may list.
func OverridableParameters(k Kind) []string { return styleRulesOf[k].names }

// CeilingParameters are the parameters that may have a ceiling, with what it may be.
func CeilingParameters(k Kind) map[string]CeilingRange { return styleRulesOf[k].ceilings }

// orNone is nil for a policy that says nothing.
func (p *StylePolicy) orNone() *StylePolicy {
	if or(p.Override, OverrideNone) == OverrideNone && len(p.Overridable) == 0 && len(members(p.Ceilings)) == 0 {
		return nil
	}
	return p
}

// StyleDeclarations are what a style declares of requests, ready to be applied. Nil is nothing.
type StyleDeclarations struct {
	override string
	listed   []string
	ceilings map[string]int
}

// Declarations checks the policy and the fields of a style.
func (s *Style) Declarations() (*StyleDeclarations, *Error) {
	if err := checkFields(s.Fields); err != nil {
		return nil, err
	}
	p, rules := s.Policy, styleRulesOf[s.Kind]
	if p == nil {
		return &StyleDeclarations{override: OverrideNone}, nil
	}
	d := &StyleDeclarations{override: or(p.Override, OverrideNone), listed: p.Overridable, ceilings: map[string]int{}}
	if len(p.Overridable) > 0 && d.override != OverrideListed {
		return nil, ErrStyleOverridable
	}
	for i, name := range p.Overridable {
		if rules.overridable[name] == nil {
			return nil, Invalid(map[string]string{fmt.Sprint("parameter_policy.overridable.", i): fmt.Sprintf("%q is no parameter that a request may set", name)})
		}
	}
	for _, m := range members(p.Ceilings) {
		refuse := func(reason string) (*StyleDeclarations, *Error) {
			return nil, Invalid(map[string]string{"parameter_policy.ceilings." + m.name: reason})
		}
		var ceiling *int
		bounds, known := rules.ceilings[m.name]
		switch {
		case !known:
			return refuse("has no ceiling")
		case json.Unmarshal(m.value, &ceiling) != nil:
			return refuse("is not of type 'integer'")
		case ceiling == nil:
			continue
		case bounds.Minimum != nil && *ceiling < *bounds.Minimum, bounds.Maximum != nil && *ceiling > *bounds.Maximum:
			return refuse("is out of the range of the parameter")
		case m.name != "n" && d.override != OverrideAll && !slices.Contains(d.listed, m.name):
			return refuse("is for a parameter that a request may set")
		}
		d.ceilings[m.name] = *ceiling
	}
	return d, nil
}

func checkFields(fields []StyleField) *Error {
	if len(fields) > MaxTemplateFields {
		return Invalid(map[string]string{"template_fields": fmt.Sprintf("more than %d", MaxTemplateFields)})
	}
	taken := map[string]bool{"p": true, "np": true}
	for i, f := range fields {
		name := value(f.Name)
		reason := ""
		switch {
		case strings.ContainsAny(name, "{}"):
			reason = "has a brace"
		case taken[name]:
			reason = "is taken"
		}
		if reason != "" {
			return Invalid(map[string]string{fmt.Sprintf("template_fields.%d.name", i): reason})
		}
		taken[name] = true
	}
	return nil
}

// AcceptsFields refuses texts for places that the style does not declare, and the lack of those that it requires.
func (s *Style) AcceptsFields(given map[string]string) *Error {
	known := 0
	for _, f := range s.Fields {
		_, there := given[value(f.Name)]
		if there {
			known++
		} else if value(f.Required) {
			return Invalid(map[string]string{"template_fields": fmt.Sprintf("the style requires %q", value(f.Name))})
		}
	}
	if known < len(given) {
		return Invalid(map[string]string{"template_fields": "a name that the style does not declare"})
	}
	return nil
}

// ApplyImage is what a request becomes with the style: its own prompt is put into the template, the models are the style's, and so
// are the parameters but for what d leaves to the request. params are the style's, and are not changed.
func (s *Style) ApplyImage(sent *ImageSubmission, params *ImageSettings, d *StyleDeclarations, given map[string]string) (*ImageSubmission, *Error) {
	styled, p, request := *sent, *params, sent.settings()
	p.N = request.N
	if err := d.combine(s.Kind, reflect.ValueOf(&p).Elem(), reflect.ValueOf(request).Elem(), request.N); err != nil {
		return nil, err
	}
	prompt, err := RenderStyle(s.Kind, s.Prompt, value(sent.Prompt), s.Fields, given)
	styled.Prompt, styled.Params, styled.Models = &prompt, &p, s.Models
	return &styled, err
}

// ApplyText is ApplyImage for texts.
func (s *Style) ApplyText(sent *TextSubmission, params *TextSettings, d *StyleDeclarations, given map[string]string) (*TextSubmission, *Error) {
	styled, p, request := *sent, *params, &TextSettings{}
	if sent.Params != nil {
		request = sent.Params
	}
	p.N = request.N
	if err := d.combine(s.Kind, reflect.ValueOf(&p).Elem(), reflect.ValueOf(request).Elem(), request.N); err != nil {
		return nil, err
	}
	prompt, err := RenderStyle(s.Kind, s.Prompt, value(sent.Prompt), s.Fields, given)
	styled.Prompt, styled.Params, styled.Models = &prompt, &p, s.Models
	return &styled, err
}

// combine sets what the request may set. Parameters are pointers and lists, which are nil where they were not sent.
func (d *StyleDeclarations) combine(k Kind, style, request reflect.Value, results *int) *Error {
	rules := styleRulesOf[k]
	for name, ceiling := range d.ceilings {
		sent := results
		if name != "n" {
			sent, _ = request.FieldByIndex(rules.overridable[name]).Interface().(*int)
		}
		if sent != nil && *sent > ceiling {
			return ErrStyleCeiling.Withf("This style allows %d for %s at most.", ceiling, name)
		}
	}
	set := func(name string, only bool) {
		at := rules.overridable[name]
		to, from := style.FieldByIndex(at), request.FieldByIndex(at)
		if !from.IsNil() && (!only || to.IsNil()) {
			to.Set(from)
		}
	}
	switch d.override {
	case OverrideAll:
		for _, name := range rules.names {
			set(name, false)
		}
	case OverrideListed:
		for _, name := range d.listed {
			set(name, false)
		}
	default:
		for _, name := range rules.unset {
			set(name, true)
		}
	}
	return nil
}

// CheckImage checks the parameters of an image style like those of a request with its prompt and its models, for the style's
// owner, and returns the warnings that such a request would get.
func (s *Style) CheckImage(params *ImageSettings, owner *User, ref *Reference) ([]Warning, *Error) {
	request := &ImageSubmission{Prompt: &s.Prompt, Params: params, Models: s.Models}
	if err := request.checkSettings(owner, ref); err != nil {
		return nil, err
	}
	return request.Warnings(ref), CheckStylePrompt(s.Kind, s.Prompt)
}

// CheckText is CheckImage for texts, which have no warnings.
func (s *Style) CheckText(params *TextSettings) *Error {
	request := &TextSubmission{Prompt: &s.Prompt, Params: params, Models: s.Models}
	if err := request.Check(); err != nil {
		return err
	}
	return CheckStylePrompt(s.Kind, s.Prompt)
}
