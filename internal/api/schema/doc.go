// SPDX-License-Identifier: AGPL-3.0-or-later

// Package schema describes Go types for the published documents, from the tags by which bodies are decoded and validated
// (see package body) and the names and options by which answers are encoded. Nothing is described by hand beside the type.
//
// There are two dialects, since two documents are published:
//
//   - [Swagger] makes the definitions of the interface as the reference publishes it, in the words of Swagger 2.0. Programs
//     generate code from them and compare names, so a definition has the reference's name and composition.
//   - [OpenAPI] makes JSON Schema for OpenAPI 3.1 of what this server really takes and sends: every field, what is never
//     absent, what may be null, and bounds that the reference does not publish.
//
// # Tags
//
// Beside those of package body, these are read:
//
//	default:"5"              the published default
//	doc:"…"                  a description
//	example:"…"              an example, JSON or else a string
//	argument:"true"          must be there, though it is asked for after the rest was validated
//	hidden:"true"            in no document
//	schema:"{…}"             the schema of JSON that is not looked into
//	ours:"A,B"               values of an enum that are not in the reference's document
//	published:"-"            not in the reference's document: a field of ours
//	published:"maximum=,minLength=5,type=number"
//	                         keywords that the reference publishes differently; nothing after the sign takes one away
//	part:"NAME"              the definition, among the bases of its type, that the field is published in
//	model:"NAME"             the name of an object without declared fields, or of a list's items
//	base:"true"              an embedded struct that OpenAPI describes by its name, with allOf, too
//	wildcard:"string"        what the members of such an object are published as
//
// A string type with a method PublishedEnum() []string has these values in the reference's document.
//
// # Names
//
// A struct type is published under its own name with a capital letter at the front, an anonymous one in place. [Named] gives
// a type another name, or none, which publishes it in place and an embedded one as fields of what embeds it. An embedded
// struct with a name is published as a base: allOf of the base and of the fields beside it. Two types may share a name when
// their definitions are the same.
package schema
