// SPDX-License-Identifier: AGPL-3.0-or-later

// Package hordeling is the service that gives workers CivitAI's textual inversions as safetensors.
//
//	GET /api/v1/embedding/{model_id}  →  {"url": "...", "sha256": "..."}
//
// A [Service] asks CivitAI for the model (package civitai), chooses the file, and answers with CivitAI's own link where
// that file is safetensors. A pickle is downloaded, compared with CivitAI's hash, converted without executing anything
// (package embedding), kept (package archive) and served from there. Everything a caller may be told is in refusals.go;
// the texts matter, since deployed workers search them.
package hordeling
