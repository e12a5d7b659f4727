#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# What can be said about the code without running it: formatting, vet, staticcheck, tidy modules, licence lines.
set -eu
cd "$(dirname "$0")/.."

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
[ -z "$unformatted" ] || { echo "gofmt would change:"; echo "$unformatted"; exit 1; }

go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
go mod tidy -diff

unlicensed=$(git ls-files '*.go' '*.sh' '*.py' '*.mjs' '*.js' '*.css' | xargs grep -L 'SPDX-License-Identifier: AGPL-3.0-or-later' || true)
[ -z "$unlicensed" ] || { echo "no licence line in:"; echo "$unlicensed"; exit 1; }
