#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Runs fuzz targets.
#
#   hack/fuzz.sh TIME          every target for TIME ("60s", or "500x" for so many inputs: a time as short as seconds
#                              sometimes fails by ending)
#   hack/fuzz.sh TIME SECONDS  as many as fit into so many seconds in all, beginning with another one each hour
#
# What the targets found before lies in testdata/fuzz, and every plain run of the tests goes through it.
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s} budget=${2:-0}
start=$(date +%s)
list=$(git grep -o "^func Fuzz[A-Za-z0-9_]*" -- "*_test.go" | sed "s/:func / /")
count=$(echo "$list" | wc -l)
first=1
[ "$budget" = 0 ] || first=$((start / 3600 % count + 1))
{ echo "$list" | tail -n "+$first"; echo "$list" | head -n "$((first - 1))"; } | while read -r file target; do
	[ "$budget" = 0 ] || [ $(($(date +%s) - start)) -lt "$budget" ] || break
	package=./$(dirname "$file")
	echo "== $package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
done
