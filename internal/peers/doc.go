// SPDX-License-Identifier: AGPL-3.0-or-later

// Package peers has no code but tests: programs that others wrote, and that are in use, are driven against a whole node.
//
// The clients are the Python package horde-sdk in several releases (0.17.1 is what the worker reGen is built on, 0.33.3 the
// newest, for Pythons after 3.11) and the npm package @zeldafan0225/ai_horde. Beside scenes that are compared line by line, each
// is made to do everything that it can: what there is to call is found by looking into the client. Each is driven by scripts in testdata, in the client's own language, which report what the
// client made of the server's answers as lines of JSON. A test compares every line with the transcript that lies beside the
// script under the same name; transcript_test.go tells how a transcript writes what differs from run to run. For workers,
// llama.cpp's server with a small real model stands behind the scribe of package worker.
//
// hack/parts-peers.sh installs the clients into a directory that the tests find by HORDE_TEST_PARTS, or as .parts in the
// root of the repository. Where a part is missing its test is skipped; with HORDE_TEST_REQUIRE=1 it fails.
package peers
