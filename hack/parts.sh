#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs what the tests need from outside, each part by a script of its own. What cannot be installed here is said, and
# its tests are skipped; with HORDE_TEST_REQUIRE=1 it is an error.
set -eu
cd "$(dirname "$0")/.."
parts=${1:?usage: parts.sh PARTS_DIR}
mkdir -p "$parts"

missing() {
	echo "not installed: $*"
	[ "${HORDE_TEST_REQUIRE:-}" != 1 ] || exit 1
}

apt_has() { dpkg -s "$1" >/dev/null 2>&1; }

need_apt() { # need_apt PACKAGE COMMAND WHAT-FOR
	command -v "$2" >/dev/null 2>&1 && return
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		[ -e "$parts/apt-updated" ] || { apt-get -o DPkg::Lock::Timeout=600 update -q >/dev/null && touch "$parts/apt-updated"; }
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "$1" >/dev/null && return
	fi
	missing "$1 ($3)"
}

need_apt chromium chromium "browser tests"

for script in hack/parts-*.sh; do
	[ -e "$script" ] || continue
	echo "== $script"
	"$script" "$parts" || missing "$script"
done
