#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs schemathesis, which internal/peers lets make requests from the OpenAPI document of the server.
#
#   hack/parts-contract.sh PARTS_DIR
#
# Needs Python 3.11 or newer with venv; 60 MB of disk. The result is PARTS_DIR/schemathesis/bin/schemathesis. Running this
# again is cheap: what is there already is kept.
set -eu
parts=${1:?usage: parts-contract.sh PARTS_DIR}
list=$(cd "$(dirname "$0")" && pwd)/parts-contract/schemathesis.txt
mkdir -p "$parts"
env=$(cd "$parts" && pwd)/schemathesis
cmp -s "$list" "$env/installed.txt" && exit
rm -rf "$env"
python3 -m venv --without-pip "$env"
python3 -m pip --python "$env/bin/python" install -q --disable-pip-version-check --root-user-action=ignore \
	--no-compile --no-deps -r "$list"
"$env/bin/schemathesis" --version
cp "$list" "$env/installed.txt"
