// SPDX-License-Identifier: AGPL-3.0-or-later

// Package torchfile opens the containers that torch.save writes, without executing anything: the zip of PyTorch 1.6 and
// later, and the legacy stream before it.
//
// [Open] detects the container, decodes its pickle with package pickle, and finds the bytes of each storage.
// [File.Data] gathers a tensor, whatever its strides, into row-major little-endian bytes.
//
// Entries of a zip are never written anywhere. Names, ranges, sizes, ratios and checksums are tested against [Limits]
// before anything is inflated; a stored entry is not even copied.
package torchfile
