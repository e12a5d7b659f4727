#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs what the Fediseer's tests need besides Go, once: PostgreSQL 15 and Chromium from Debian (as root), and the
# Python client pythonseer and the Mastodon-API server mastodon_mock in a virtual environment.
#
# Usage: hack/parts-fediseer.sh DIR
# The tests look for the environment in DIR, which is named by HORDE_TEST_PARTS and is .parts by default.
set -eu
dir=${1:?usage: $0 DIR}
venv=$dir/fediseer-venv
pins="pythonseer==0.3.5 mastodon_mock==0.6.1"

need=""
[ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || need="$need postgresql-15"
command -v chromium >/dev/null 2>&1 || need="$need chromium"
if [ -n "$need" ]; then
	if [ "$(id -u)" = 0 ]; then
		apt-get -o DPkg::Lock::Timeout=600 update -qq
		# shellcheck disable=SC2086
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends $need
	else
		echo "$0: as root it would install:$need" >&2
	fi
fi

if [ "$(cat "$venv/pins" 2>/dev/null)" != "$pins" ]; then
	mkdir -p "$dir"
	python3 -m venv "$venv"
	# shellcheck disable=SC2086
	"$venv/bin/pip" install --quiet --disable-pip-version-check $pins
	printf '%s\n' "$pins" >"$venv/pins"
fi
