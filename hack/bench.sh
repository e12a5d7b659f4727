#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Measures a server on this machine against the targets of docs/performance.md: one node with SQLite (synchronous=FULL), the
# load generator beside it on the same two processors. Prints minimum, median and maximum of several runs and keeps what was
# measured as JSON.
#
#   hack/bench.sh [DIR]     DIR takes the results; bench-results by default
#
# RUNS      how often everything is measured, 3
# WAITING   length of the long queue, 1000000
# CLIENTS   of the closed loop, 256
# SECONDS_  measured of each load, 20
# ONLY      some of: mixed text image rate rate-text idle short long restart; all by default
# SERVE     further options of horde serve. On PostgreSQL: HORDE_DATABASE=URL SERVE="--node-address URL --local-images" DATABASE_PID=PID
# HORDE     a program built already
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-bench-results}
runs=${RUNS:-3} waiting=${WAITING:-1000000} clients=${CLIENTS:-256} seconds=${SECONDS_:-20}
only=${ONLY:-mixed text image rate rate-text idle short long restart}
mkdir -p "$out"
out=$(cd "$out" && pwd)
scratch=$(mktemp -d "$out/scratch.XXXXXX") # on the disk that the results are on, not in memory
server=
cleanup() {
	if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
	rm -rf "$scratch"
}
trap cleanup EXIT
horde=${HORDE:-$scratch/horde}
[ -n "${HORDE:-}" ] || go build -trimpath -o "$horde" ./cmd/horde
pin=()
if [ "$(nproc)" -gt 2 ]; then pin=(taskset -c 0,1); fi
port=${PORT:-17001}
url=http://127.0.0.1:$port
data=

start() { # DATA: starts a server there and sets began, to the time of its start
	data=$1
	began=$(date +%s.%N)
	# shellcheck disable=SC2086
	"${pin[@]}" "$horde" serve --listen "127.0.0.1:$port" --data "$data" --no-rate-limit --log-level warn ${SERVE:-} 2>>"$out/server.log" &
	server=$!
}
stop() { # [SIGNAL]
	kill "${1:--TERM}" "$server"
	wait "$server" 2>/dev/null || true
	server=
}
bench() { # NAME OPTIONS: measures and keeps the result
	local name=$1
	shift
	# shellcheck disable=SC2086
	"${pin[@]}" "$horde" bench --server "$url" --data "$data" --server-pid "$server" \
		${DATABASE_PID:+--database-pid $DATABASE_PID} --json "$out/$name-$run.json" "$@" >"$out/$name-$run.txt" ||
		{ cat "$out/$name-$run.txt"; echo "bench.sh: $name failed" >&2; exit 1; }
}
fresh() { # NAME OPTIONS: the same on a new and empty server
	start "$scratch/data"
	until curl -sf -o /dev/null "$url/api/v2/status/heartbeat"; do sleep 0.05; done
	bench "$@"
	stop
	rm -rf "$scratch/data"
}
wanted() { case " $only " in *" $1 "*) return 0 ;; esac; return 1; }

: >"$out/server.log"
for run in $(seq "$runs"); do
	echo "run $run of $runs" >&2
	if wanted mixed; then fresh mixed --clients "$clients" --workers $((clients / 2)) --images 0.5 --duration "${seconds}s"; fi
	if wanted text; then fresh text --clients "$clients" --workers $((clients / 2)) --images 0 --duration "${seconds}s"; fi
	if wanted image; then fresh image --clients "$clients" --workers $((clients / 2)) --images 1 --duration "${seconds}s"; fi
	if wanted rate; then fresh rate --rate 660 --workers "$clients" --images 0.5 --duration "${seconds}s"; fi
	if wanted rate-text; then fresh rate-text --rate 660 --workers "$clients" --images 0 --duration "${seconds}s"; fi
	if wanted idle; then fresh idle --idle-workers 10000 --idle-every 2s --idle-for "${seconds}s"; fi
	if wanted short; then fresh short --preload 1000 --preload-kind same --images 0 --pops 900 --yardstick 0s --settle 2s; fi
	if wanted long || wanted restart; then
		start "$scratch/long"
		until curl -sf -o /dev/null "$url/api/v2/status/heartbeat"; do sleep 0.05; done
		bench long --preload "$waiting" --preload-kind mixed --images 0 --pops 900 --yardstick 0s --settle 150s
		if wanted restart; then
			stop
			start "$scratch/long"
			bench restart --ready-since "$began" --yardstick 0s
			stop -KILL
			start "$scratch/long"
			bench restart-after-kill --ready-since "$began" --yardstick 0s
		fi
		stop
		rm -rf "$scratch/long"
	fi
done
for name in mixed text image rate rate-text idle short long restart restart-after-kill; do
	files=("$out/$name"-[0-9]*.json)
	[ -e "${files[0]}" ] || continue
	printf '\n%s\n' "$name"
	"$horde" bench "${files[@]/#/--summary=}"
done
