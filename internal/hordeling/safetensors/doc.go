// SPDX-License-Identifier: AGPL-3.0-or-later

// Package safetensors writes and strictly reads files of the safetensors format: named arrays of numbers and nothing
// that could run.
//
// A file is an 8-byte little-endian length, a JSON header of that length, and the data of all tensors without gaps:
//
//	u64 N | N bytes of JSON | data
//	{"__metadata__": {"format": "pt"}, "emb_params": {"dtype": "F32", "shape": [2, 768], "data_offsets": [0, 6144]}}
//
// [Encode] makes the bytes that the standard writer makes for the same tensors. [Parse] accepts what the standard
// reader accepts and refuses everything else, before it allocates: names given twice, unknown keys, offsets that
// overlap, leave gaps or reach beyond the end, sizes that overflow or do not match the shape.
package safetensors
