#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs what internal/ratings reads its exports with: DuckDB and pandas, in a Python environment of their own.
#
#   hack/parts-ratings.sh PARTS_DIR
#
# The result is PARTS_DIR/ratings-venv/bin/python. Running this again is cheap: what is there already is kept.
set -eu
parts=${1:?usage: parts-ratings.sh PARTS_DIR}
env=$parts/ratings-venv
want='duckdb==2.0.1 pandas==3.1.1 pyarrow==26.0.1 pytz==2026.6'
[ "$(cat "$env/installed.txt" 2>/dev/null)" = "$want" ] && exit
rm -rf "$env"
mkdir -p "$parts"
python3 -m venv "$env"
# shellcheck disable=SC2086 # several packages
"$env/bin/python" -m pip install -q --disable-pip-version-check --no-compile $want
echo "$want" >"$env/installed.txt"
