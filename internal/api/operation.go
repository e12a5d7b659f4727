// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
)

// Operation says what an operation is: how it is reached, what bounds it, and what the documents tell of it beside the
// types of its input and its answer. See [Handle].
type Operation struct {
	Method string
	// Path is a pattern of net/http without a method, for example "/api/v2/generate/check/{id}". The names of what varies are
	// published.
	Path   string
	Limits Limits
	// MaxBody is the size in bytes above which a body is refused with 413; 0 means [DefaultMaxBody].
	MaxBody int64

	// ID is the operationId, which generated clients name their functions after.
	ID string
	// Summary is a line, Description as much as there is to say, or nothing.
	Summary     string
	Description string
	// Tags group the operations of a document; none means "v2".
	Tags []string

	// Success are the statuses of success, 200 when there are none. 204 has no body.
	Success []int
	// Refuses are the statuses of refusals that the reference publishes. With Validates, 400 is published as the one with
	// reasons for fields.
	Refuses   []int
	Validates bool
	// Also are further statuses of refusals that this operation has. What the router may answer to any operation, from 429 to
	// 503, is documented without being named.
	Also []int

	// Example is a body, as JSON. It is decoded like one when the operation is registered.
	Example string
	// Links say which operations go on from an answer.
	Links []Link

	// Media is the type of an answer that is not JSON, or not described by a type.
	Media string
	// AlsoMedia is a further type of the answer of success, empty for none.
	AlsoMedia string

	// Published says what the reference's document has that does not follow from the types.
	Published Published

	in, out reflect.Type
	input   *inputPlan
}

// Link is a way from an answer to another operation.
type Link struct {
	// To is the ID of the other operation.
	To string
	// Argument is the name of its argument, and Member that of the member of the answer that it takes.
	Argument, Member string
}

// Published is where the reference's document differs from what an operation does.
type Published struct {
	// Ours marks an operation that the reference does not have. It is in the OpenAPI document only.
	Ours bool
	// NoAgent and NoMask leave out the headers Client-Agent and X-Fields, which are read by every operation.
	NoAgent, NoMask bool
	// NoAnswer publishes the statuses of success without a schema.
	NoAnswer bool
	// Success are the statuses of success that are published in place of the real ones; nil means the real ones.
	Success []int
	// ID is the operationId of the reference, which has one of them twice; empty means that of the operation.
	ID string
	// Answer is a value of the type that is published as the answer in place of the real one; nil means the real one.
	Answer any
}

// tryExample decodes the example.
func (o *Operation) tryExample() error {
	switch {
	case o.Example == "":
		return nil
	case o.input.body == nil:
		return errors.New("there is an example, and no body")
	}
	_, err := o.input.body.Decode([]byte(o.Example), reflect.New(o.in).Elem().FieldByIndex(o.input.bodyIndex))
	if err != nil {
		return fmt.Errorf("the example: %w", err)
	}
	return nil
}

func (o *Operation) check() error {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Success == nil {
		o.Success = []int{http.StatusOK}
	}
	if o.Tags == nil {
		o.Tags = []string{"v2"}
	}
	switch {
	case o.ID == "" || o.Summary == "":
		return errors.New("an operation needs an ID and a Summary")
	case o.out.Kind() == reflect.Interface && o.Media == "":
		return errors.New("the type of the answer says nothing about it")
	case o.Validates && !slices.Contains(o.Refuses, http.StatusBadRequest):
		return errors.New("an operation that validates refuses with 400")
	}
	for _, status := range slices.Concat(o.Refuses, o.Also) {
		if status < 400 || status > 599 {
			return fmt.Errorf("%d is no status of a refusal", status)
		}
	}
	return nil
}
