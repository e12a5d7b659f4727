#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Runs all tests with the race detector, and ends with the runner's own summary.
set -eu
cd "$(dirname "$0")/.."
exec go run gotest.tools/gotestsum@v1.13.0 --format pkgname-and-test-fails --format-hide-empty-pkg -- -race -timeout 15m "$@" ./...
