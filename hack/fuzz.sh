#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Runs every fuzz target for the given time.
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s}
git grep -l '^func Fuzz' -- '*_test.go' | while read -r file; do
	package=./$(dirname "$file")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
