#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs the published clients of the AI Horde that internal/peers drives against the server: releases of the Python package
# horde-sdk, each in an environment of its own, and the npm package @zeldafan0225/ai_horde.
#
#   hack/parts-peers.sh PARTS_DIR
#
# Needs Python 3.11 or newer with venv, and npm; 350 MB of disk. The results are PARTS_DIR/horde-sdk-VERSION/bin/python and
# PARTS_DIR/npm/node_modules. Running this again is cheap: what is there already is kept.
set -eu
parts=${1:?usage: parts-peers.sh PARTS_DIR}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$parts"
parts=$(cd "$parts" && pwd)

# 0.17.1 is what the deployed worker reGen is built on; 0.18.0 is the newest for Python 3.11, 0.33.3 for later ones.
sdk() { # sdk VERSION [PYTHON]: an environment with exactly what the list of that version names
	python=${2:-python3}
	list=$here/parts-peers/horde-sdk-$1.txt
	env=$parts/horde-sdk-$1
	cmp -s "$list" "$env/installed.txt" && return
	rm -rf "$env"
	"$python" -m venv --without-pip "$env"
	python3 -m pip --python "$env/bin/python" install -q --disable-pip-version-check --root-user-action=ignore \
		--no-compile --no-deps -r "$list"
	"$env/bin/python" -c 'import horde_sdk.ai_horde_api.ai_horde_clients'
	cp "$list" "$env/installed.txt"
}

# The newest release is installed where there is a Python for it, on the path or under pyenv.
newest_sdk() {
	for python in $(command -v python3.13 python3.12) "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python; do
		if "$python" -c "" 2>/dev/null; then # a shim of pyenv may be there without the Python behind it
			sdk 0.33.3 "$python"
			return
		fi
	done
	echo "parts-peers.sh: no Python after 3.11, so no horde-sdk 0.33.3" >&2
}

npm_client() {
	want='@zeldafan0225/ai_horde@5.2.0 @thunder04/supermap@3.0.5'
	[ "$(cat "$parts/npm/installed.txt" 2>/dev/null)" = "$want" ] && return
	rm -rf "$parts/npm"
	mkdir -p "$parts/npm"
	# shellcheck disable=SC2086 # two packages
	npm install --prefix "$parts/npm" --silent --no-save --no-audit --no-fund --no-package-lock $want
	echo "$want" >"$parts/npm/installed.txt"
}

# Side by side, for most of it is waiting; one that fails does not keep the others from being installed.
jobs=
for part in "sdk 0.17.1" "sdk 0.18.0" newest_sdk npm_client; do
	$part &
	jobs="$jobs $!"
done
failed=0
for job in $jobs; do wait "$job" || failed=1; done
exit $failed
