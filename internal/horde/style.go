// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Bounds of a style (styles chapter, 2.1).
const (
	MaxStyleModels   = 5
	MaxStyleTags     = 10
	MaxStyleExamples = 4
	// MaxCollectionStyles bounds what has to be looked at and shown of a collection. The reference has no bound.
	MaxCollectionStyles = 500
)

// StyleID is the random id of a style.
type StyleID struct{ uuid.UUID }

// NewStyleID returns a fresh random id.
func NewStyleID() StyleID { return StyleID{uuid.New()} }

// ParseStyleID is ParseRequestID for styles.
func ParseStyleID(s string) (StyleID, bool) {
	id, err := uuid.Parse(s)
	return StyleID{id}, err == nil
}

// Style is a stored prompt template with parameters and models, which a client names in the field style of a request.
type Style struct {
	ID     StyleID `json:"id"`
	Kind   Kind    `json:"kind"` // Image or Text
	Owner  UserID  `json:"owner"`
	Name   string  `json:"name"` // sanitised; unique among the owner's styles of both kinds
	Info   string  `json:"info"` // sanitised; may be empty
	Prompt string  `json:"prompt"`
	// Params are a JSON object as it was sent, members that the schema does not know too. Nil is none.
	Params   json.RawMessage `json:"params,omitempty"`
	Public   bool            `json:"public"` // is listed; any style is found by its name and its id
	NSFW     bool            `json:"nsfw"`
	Tags     []string        `json:"tags,omitempty"`
	Models   []string        `json:"models"`
	Examples []StyleExample  `json:"examples,omitempty"` // the oldest first; of image styles only
	// Policy is what of a request wins over the style; nil is what has always been so. Fields are further places of the prompt.
	Policy *StylePolicy `json:"policy,omitempty"`
	Fields []StyleField `json:"fields,omitempty"`
	// SharedKey pays for requests with the style while it is valid; zero for none.
	SharedKey SharedKeyID `json:"shared_key,omitzero"`
	// Uses is how many requests were made with the style. It changes too often to be kept with the rest.
	Uses    int64     `json:"-"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// StyleExample is a picture that shows what a style makes. Its URL is only kept, never fetched.
type StyleExample struct {
	ID      uuid.UUID `json:"id"`
	URL     string    `json:"url"`
	Primary bool      `json:"primary"` // exactly one of a style's examples is
}

// UniqueName is the name of a style as it is printed, which names it and no other: "alias#1::style::name".
func (s *Style) UniqueName(ownerAlias string) string {
	return fmt.Sprintf("%s::style::%s", ownerAlias, s.Name)
}

// StyleReference is what a client may call a style or a collection by, when it is no id.
type StyleReference struct {
	// Styles and Collections tell which of the two may be meant.
	Styles, Collections bool
	// Owned tells that only what Owner owns is meant. Known is false for an owner that no number is read from: nothing is meant.
	Owned, Known bool
	Owner        UserID
	Name         string // as it was sent: lookups compare it raw and sanitised
}

// ParseStyleReference reads the forms of a name: "name", "style::name", "alias#1::name", "style::alias#1::name" and the printed
// "alias#1::style::name", and the same with "collection". What has four parts or more is a name as a whole.
func ParseStyleReference(text string) StyleReference {
	r := StyleReference{Styles: true, Collections: true, Name: text}
	parts := strings.Split(text, "::")
	if len(parts) > 3 {
		return r
	}
	qualifiers := parts[:len(parts)-1]
	r.Name = parts[len(parts)-1]
	kind, owner := "", ""
	switch len(qualifiers) {
	case 1:
		if q := qualifiers[0]; q == "style" || q == "collection" {
			kind = q
		} else {
			owner, r.Owned = q, true
		}
	case 2:
		kind, owner, r.Owned = qualifiers[0], qualifiers[1], true
		if owner == "style" || owner == "collection" {
			kind, owner = owner, kind
		}
	}
	switch kind {
	case "":
	case "style":
		r.Collections = false
	case "collection":
		r.Styles = false
	default: // two owners name nothing
		r.Styles, r.Collections = false, false
	}
	if r.Owned {
		r.Owner, r.Known = ParseAlias(owner)
	}
	return r
}

// CheckStylePrompt refuses a template without the places for the prompt, and of an image style for the negative prompt.
func CheckStylePrompt(kind Kind, template string) *Error {
	if !strings.Contains(template, "{p}") || kind == Image && !strings.Contains(template, "{np}") {
		return ErrStylePromptMissingVars
	}
	return nil
}

// RenderStyle puts a prompt into a template, and texts into the places that the style declares. What is put in is not read again,
// and all other braces stand as they are.
//
// A prompt for images is divided at its first "###" into what is wanted and what is not. The mark is put back where the template
// has none. In a template for text the mark means nothing, and "{np}" stands for nothing. What would be too long for a prompt is
// refused and not made.
func RenderStyle(kind Kind, template, prompt string, declared []StyleField, given map[string]string) (string, *Error) {
	places := placesOf(kind, template, prompt, declared, given)
	size := len(template)
	for i := 0; i < len(places); i += 2 {
		size += strings.Count(template, places[i]) * (len(places[i+1]) - len(places[i]))
	}
	if size > LongestPrompt(kind) {
		return "", ErrInvalidPromptSize
	}
	return strings.NewReplacer(places...).Replace(template), nil
}

// LongestPrompt is how many bytes the longest prompt has that passes the checks of its kind. A rendered template may have as many:
// it may name its places any number of times, so the sizes of it and of a prompt alone bound nothing.
func LongestPrompt(kind Kind) int {
	if kind == Image {
		return MaxImagePrompt
	}
	return MaxTextPrompt + TextPromptPerToken*maxContext
}

// maxContext is the longest context that a request may ask for, in tokens.
const maxContext = 1 << 20

// placesOf is what stands for what in a template: each place and what is put into it, in turn.
func placesOf(kind Kind, template, prompt string, declared []StyleField, given map[string]string) []string {
	negative := ""
	if kind == Image {
		var divided bool
		prompt, negative, divided = strings.Cut(prompt, NegativeMark)
		if divided && negative != "" && !strings.Contains(template, NegativeMark) && !strings.Contains(negative, NegativeMark) {
			negative = NegativeMark + negative
		}
	}
	places := make([]string, 0, 4+2*len(declared))
	places = append(places, "{p}", prompt, "{np}", negative)
	for _, f := range declared {
		places = append(places, "{"+value(f.Name)+"}", given[value(f.Name)])
	}
	return places
}

// NegativeMark divides a prompt for images from its negative prompt.
const NegativeMark = "###"

// CollectionID is the random id of a collection.
type CollectionID struct{ uuid.UUID }

// NewCollectionID returns a fresh random id.
func NewCollectionID() CollectionID { return CollectionID{uuid.New()} }

// ParseCollectionID is ParseRequestID for collections.
func ParseCollectionID(s string) (CollectionID, bool) {
	id, err := uuid.Parse(s)
	return CollectionID{id}, err == nil
}

// Collection is a set of styles of one kind. A request that names it is made with one of them.
type Collection struct {
	ID      CollectionID `json:"id"`
	Kind    Kind         `json:"kind"` // that of the styles
	Owner   UserID       `json:"owner"`
	Name    string       `json:"name"` // sanitised; unique among the owner's collections
	Info    string       `json:"info,omitempty"`
	Public  bool         `json:"public"` // is listed
	Styles  []StyleID    `json:"styles,omitempty"`
	Uses    int64        `json:"-"` // as of a style
	Created time.Time    `json:"created"`
	Updated time.Time    `json:"updated"`
}

// CollectionChange is what a collection is made of, or what of it is changed. Nil is what was not given.
type CollectionChange struct {
	Name, Info *string
	Public     *bool
	Styles     []string // ids or names
}
