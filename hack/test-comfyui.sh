#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs a real ComfyUI on the CPU, starts it, and runs the image worker's driver against it. Takes several minutes.
set -eu
cd "$(dirname "$0")/.."
parts=${1:?usage: test-comfyui.sh PARTS_DIR}
port=${PORT:-18188}
dir=$(hack/comfyui.sh "$parts" | tail -n 1)
"$dir/run" 127.0.0.1 "$port" >"$dir/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT INT TERM
tries=0
until curl -sf "http://127.0.0.1:$port/system_stats" >/dev/null; do
	tries=$((tries + 1))
	[ $tries -lt 180 ] || { tail "$dir/server.log"; exit 1; }
	sleep 1
done
HORDE_TEST_COMFYUI=http://127.0.0.1:$port go test -tags real -count=1 -timeout 40m -v -run Real ./internal/worker/comfyui
