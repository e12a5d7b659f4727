// SPDX-License-Identifier: AGPL-3.0-or-later

// Package conformance holds the server against what is written about it: the worked examples of the chapters, the demands
// of existing programs, the problems that people had in the field, and every input that is wrong.
//
// A test starts a whole node, with its database, and speaks to it by HTTP requests. Of the inside it uses only what no
// request can do: making an account, naming an admin, and reading balances with their decimals. Where time has to pass, it
// passes in a bubble of testing/synctest. A test or a row of its table is named after what it shows,
// and starts with the number that the example, demand or case has where it is written.
//
// A test notes which worked examples it shows (examples_test.go), and every answer is compared with the tables of refusals, warnings
// and matched texts (refusals_test.go). A run of all tests fails where an example was shown by none, or a refusal never provoked;
// with -v it tells which test shows which.
//
// The package has tests only.
package conformance
