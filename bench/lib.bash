# SPDX-License-Identifier: Apache-2.0
# lib.bash - what the benches share: a folder and an instance as the tests have,
# samples, and the result as one JSON line.
#
# Environment:	BENCH_RUNS	paired runs of each (5)
#		BENCH_FOLDER	where disks and stores lie (/dev/shm)
#		BENCH_QUICK=1	small sizes: does it run at all?

set -euo pipefail
GODWIT_TEST_FOLDER=${BENCH_FOLDER:-/dev/shm}
# shellcheck source=../tests/integration/lib.bash
. "$(dirname "${BASH_SOURCE[0]}")/../tests/integration/lib.bash"
PATH=$BUILD/bench:$PATH
RUNS=${BENCH_RUNS:-5}
BENCH=$(basename "$0")
BATS_TEST_COMPLETED=

skip() {
	say "skipped: $*" >&2
	exit 0
}
quick() { [ -n "${BENCH_QUICK-}" ] && echo "$1" || echo "$2"; }

bench_begin() {
	exec 3>&1 1>&2 # only results go to the output
	test_begin
	trap bench_end EXIT
	trap 'exit 130' INT TERM
	mkdir "$T/samples"
}
bench_end() {
	local status=$?
	trap - EXIT
	[ $status != 0 ] || BATS_TEST_COMPLETED=1
	test_end || status=1
	exit $status
}

# sample SET VALUE
sample() {
	say "$BENCH: $1 $2"
	echo "$2" >>"$T/samples/$1"
}
# median SET
median() { sort -g "$T/samples/$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
runs_json() { jq -cs . "$T/samples/$1"; }
seconds() { awk "BEGIN { printf \"%.3f\", ($1) / 1000000 }"; }

# result TEXT UNIT SET [RIVAL-SET RIVAL-TEXT] [AIM-TEXT AIM-CONDITION]
# The condition is jq's, on .godwit, .rival and .ratio.
result() {
	local text=$1 unit=$2 set=$3 rival=${4-} rival_text=${5-} aim=${6-} condition=${7-}
	jq -cn --arg bench "$BENCH" --arg text "$text" --arg unit "$unit" --arg rival_text "$rival_text" --arg aim "$aim" \
		--argjson godwit "$(median "$set")" --argjson godwit_runs "$(runs_json "$set")" \
		--argjson rival "$([ -n "$rival" ] && median "$rival" || echo null)" \
		--argjson rival_runs "$([ -n "$rival" ] && runs_json "$rival" || echo null)" '
		{$bench, what: $text, $unit, $godwit, $rival, rival_name: $rival_text,
		 ratio: (if $rival != null and $rival != 0 then $godwit / $rival else null end), $aim,
		 $godwit_runs, $rival_runs} | .met = '"${condition:-null}" >&3
}

# A disk of SIZE with a file system half full of the files of this machine.
disk_of_files() {
	local half
	disk_make "$1" "$2"
	half=$(($(stat -c %s "$(eval echo "\$$1_file")") / 2 >> 20))
	disk_format ext4 "${!1}"
	disk_mount "${!1}" "$T/files"
	# Whole files until half of it is full; what is too much is cut off.
	tar -C / -cf - --ignore-failed-read usr/lib usr/share usr/bin 2>/dev/null |
		head -c "$((half << 20))" | tar -C "$T/files" -xf - 2>/dev/null || :
	umount "$T/files"
	blockdev --flushbufs "${!1}"
}

# cpu_us PID...: of the process, its threads and children that have ended, so far.
cpu_us() {
	local p total=0 t
	for p; do
		[ -e "/proc/$p/stat" ] || continue
		t=$(sed 's/.*) //' "/proc/$p/stat" | awk '{ print $12 + $13 + $14 + $15 }')
		total=$((total + t * 1000000 / $(getconf CLK_TCK)))
	done
	echo $total
}
# memory_bytes PID...: what only these processes have, and their BPF maps, which they have mapped too, once.
memory_bytes() {
	local p total=0
	for p; do
		[ -e "/proc/$p/smaps" ] || continue
		total=$((total + $(awk '/^[0-9a-f]+-/ { map = /bpf-map/ } /^Pss:/ && !map { s += $2 } END { print s * 1024 }' "/proc/$p/smaps")))
	done
	echo $((total + $(bpf_bytes "$1")))
}
bpf_bytes() {
	cat /proc/"$1"/fdinfo/* 2>/dev/null |
		awk '/^map_id:/ { id = $2 } /^memlock:/ { m = $2 } /^map_id:/ && !(id in seen) { seen[id] = m; s += m } END { print s + 0 }'
}
# points_watch NAME: what pointwatch says of its store goes to $T/points; until points_unwatch.
points_watch() {
	: >"$T/points"
	pointwatch "$(store_of "$1")" >>"$T/points" &
	WATCH=$!
	on_end "kill $WATCH 2>/dev/null || :"
}
points_unwatch() {
	kill $WATCH
	wait $WATCH || :
}
store_of() { echo "$GODWIT_DATA/server/store/$(status "$1" .id)"; }
