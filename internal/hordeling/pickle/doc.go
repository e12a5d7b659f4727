// SPDX-License-Identifier: AGPL-3.0-or-later

// Package pickle reads the pickles that PyTorch writes as inert data.
//
// A pickle is a program for a small stack machine, and the machine that Python ships can call anything. This package
// has a machine of its own that can call nothing: it knows the opcodes and the handful of symbols that tensors need
// (strings, numbers, containers, "a tensor over this storage"), gives them a meaning as data, and refuses every other
// opcode and symbol. No symbol is looked up anywhere; the allow list is the table in symbols.go.
//
//   - [Decode] runs one stream and returns its value, or a [*Refusal] that says why and at which byte.
//   - [Trace] walks any stream of protocols 0 to 5, also a hostile one, and tells opcode by opcode what Python would
//     have done, again without doing it.
//
// The input is hostile. Every length is compared with the bytes that remain before anything is allocated, [Limits]
// bounds opcodes, stack, memo, nesting, storages and tensors, and a stream of n bytes makes the machine hold O(n)
// memory: the opcodes that could copy the same container again and again are charged for each element.
//
// Storages hold no bytes here. A [Tensor] says which storage, offset, sizes and strides it has; package torchfile finds
// the bytes in the container and gathers them.
package pickle
