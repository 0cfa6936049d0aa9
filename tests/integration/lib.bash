# SPDX-License-Identifier: Apache-2.0
# lib.bash - what the integration tests share.
#
# Every test has a folder of its own, $T on tmpfs, and an instance of its own,
# in $T/data, on free ports.  Whatever a helper makes, it says in $T/cleanup how
# to take it away again; test_end does that backwards, also after a failure,
# and tells the logs' last lines when the test failed.
#
# Nothing here waits for a time: wait_until looks at a condition until it
# holds, or fails with what it saw when its deadline is over.
#
# Environment:	GODWIT_BUILD	the build folder (build/)
#		GODWIT_SEED	for tests that choose at random; printed by each
#		GODWIT_LONG=1	more points, longer loads

[ -z "${BATS_VERSION-}" ] || bats_require_minimum_version 1.5.0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${GODWIT_BUILD:-$ROOT/build}
TOOLS=$BUILD/tests/tools
PATH=$BUILD:$TOOLS:$PATH:/usr/sbin:/sbin
LC_ALL=C.UTF-8
export PATH LC_ALL

: "${GODWIT_LONG:=}"
BATS_TEST_TIMEOUT=${GODWIT_LONG:+3600}
BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-1800}
export BATS_TEST_TIMEOUT

# pick SHORT LONG: the second one with GODWIT_LONG=1.
pick() { [ -n "$GODWIT_LONG" ] && echo "$2" || echo "$1"; }

say() { echo "# $*"; }
# A figure that is to be seen when all goes well, too.
tell() { echo "# $*" >&3; }
fail() {
	say "FAILED: $*"
	return 1
}

# must_fail COMMAND...: bash does not count a `!` that comes out wrong.
must_fail() {
	if "$@"; then
		fail "succeeded, and should not: $*"
	fi
}

# needs COMMAND...: skip the test, saying why, if one is missing.
needs() {
	local c
	for c; do
		command -v "$c" >/dev/null || skip "$c is not installed"
	done
}

# needs_kernel NAME: skip if the kernel has no such file system.
needs_fs() {
	grep -qw "$1" /proc/filesystems || modprobe -q "$1" 2>/dev/null || skip "this kernel has no $1"
}

needs_capture() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	[ -e /sys/kernel/btf/vmlinux ] || skip "this kernel has no BTF"
}

# --- the test's folder, and its end ---------------------------------------------

test_begin() {
	needs_capture
	T=$(mktemp -d "${GODWIT_TEST_FOLDER:-/dev/shm}/godwit-test.XXXXXX")
	export GODWIT_DATA=$T/data
	: >"$T/cleanup"
	mkfifo "$T/never" # nobody writes to it: see tick
	: "${GODWIT_SEED:=$((RANDOM * 32768 + RANDOM))}"
	RANDOM=$((GODWIT_SEED & 32767))
	say "seed GODWIT_SEED=$GODWIT_SEED"
	LOADS=()
}

# on_end COMMAND: run it when the test is over, the last one first.
on_end() { echo "$*" >>"$T/cleanup"; }

test_end() {
	[ -n "${T-}" ] || return 0
	[ -n "${BATS_TEST_COMPLETED-}" ] || show_logs
	local line bad=0
	while read -r line; do
		eval "$line" || bad=1
	done < <(tac "$T/cleanup")
	unpin
	if [ -n "${GODWIT_KEEP-}" ]; then say "kept: $T"; else rm -rf --one-file-system "$T"; fi # never through what is mounted there
	return $bad
}

show_logs() {
	local log
	if [ -e "$GODWIT_DATA/instance.json" ]; then
		say "status:"
		timeout 10 godwit status --json 2>&1 | head -c 6000
	fi
	for log in "$GODWIT_DATA"/agents/*/agent.log.0 "$T"/far/agents/*/agent.log.0 "$GODWIT_DATA"/server/server.log.0 \
		"$GODWIT_DATA"/console/console.log.0; do
		[ -e "$log" ] || continue
		say "the end of ${log#"$T"/}:"
		tail -n 25 "$log"
	done
}

# Whatever this test's agents left pinned.
unpin() {
	local id
	for id in $(cat "$T/machines" 2>/dev/null); do
		rm -rf "/sys/fs/bpf/godwit/$id"
	done
	rmdir /sys/fs/bpf/godwit 2>/dev/null || : # another test's may be there
}

# --- waiting -----------------------------------------------------------------------

# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
	local seconds=$1 what=$2 left=$1 last=$SECONDS
	shift 2
	until "$@"; do
		if spent; then
			fail "not within $seconds s: $what"
			return 1
		fi
		tick
	done
}
# spent: a waiting that has so many seconds `left`, and looked `last` then, is over.  Between two looks at most
# half a minute is counted: a machine that was suspended, or processes that were halted, do not make it fail.
spent() {
	local passed=$((SECONDS - last))
	last=$SECONDS
	left=$((left - (passed < 30 ? passed : 30)))
	[ "$left" -le 0 ]
}
tick() { read -rt 0.1 <>"$T/never" || :; }

now_us() { date +%s%6N; }

# ours PID: it is this shell's child still; the number of one that has ended may be another process's by now.
ours() { [ "$(sed -n 's/^PPid:\t//p' "/proc/$1/status" 2>/dev/null)" = "$BASHPID" ]; }

# gone PID: it is not running any more, none of its threads either: one that has not ended yet still has its files,
# locks and mounts.
gone() {
	[ -e "/proc/$1" ] || return 0
	[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" = Z ] && [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -le 1 ]
}

# --- disks ---------------------------------------------------------------------------

# disk_make VARIABLE SIZE [SECTOR_BYTES]: a loop device on tmpfs; VARIABLE_file is what is below it.
disk_make() {
	local _file
	_file=$(mktemp "$T/disk.XXXX")
	truncate -s "$2" "$_file"
	disk_attach "$1" "$_file" ${3:+--sector-size "$3"}
	printf -v "$1_file" %s "$_file"
}

# disk_attach VARIABLE FILE [LOSETUP OPTION...]
disk_attach() {
	local _dev= _try
	for _try in 1 2 3 4 5; do # somebody else may take the free one first
		_dev=$(losetup --find --show "${@:3}" "$2") && break
	done
	[ -n "$_dev" ] || fail "no loop device" || return 1
	on_end "disk_detach $_dev $2"
	printf -v "$1" %s "$_dev"
}
# Only if it is still ours.
disk_detach() {
	[ "$(losetup --noheadings --output BACK-FILE "$1" 2>/dev/null | sed 's/ (deleted)$//')" != "$2" ] || losetup -d "$1"
}

# disk_format ext4|xfs|btrfs DEVICE; disk_mount DEVICE FOLDER [OPTIONS]
disk_format() {
	case $1 in
	ext4) mkfs.ext4 -q -F "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	btrfs) mkfs.btrfs -q -f "$2" ;;
	esac >/dev/null
}
disk_mount() {
	mkdir -p "$2"
	mount ${3:+-o "$3"} "$1" "$2"
	on_end "disk_umount $2"
}
disk_umount() {
	! mountpoint -q "$1" || umount "$1" 2>/dev/null || { wait_until 60 "umount $1" umount -q "$1"; }
}

# --- the instance ----------------------------------------------------------------------

port_free() { ! ss -Hltn "sport = :$1" | grep -q .; }
port_choose() {
	local p try
	for try in {1..100}; do
		p=$((20000 + (RANDOM * 32768 + RANDOM + BASHPID) % 12000))
		# The other one is chosen perhaps, and nobody listens there yet.
		[ "$p" != "${PORT-}" ] && [ "$p" != "${CONSOLE_PORT-}" ] && port_free $p && break
	done
	printf -v "$1" %s $p
}

# instance_start [ADDRESS]: console and server; sets PORT and CONSOLE_PORT.
instance_start() {
	LISTEN=${1:-127.0.0.1}
	[ -n "${PORT-}" ] || port_choose PORT
	[ -n "${CONSOLE_PORT-}" ] || port_choose CONSOLE_PORT
	on_end "instance_stop $GODWIT_DATA"
	instance_up
}
instance_up() {
	timeout 120 godwit up --port "$PORT" --console-port "$CONSOLE_PORT" --listen "$LISTEN" </dev/null 3>&-
}

# Agents, server and console; it is a failure if they do not stop.
instance_stop() {
	local data=$1 f pid bad=0
	[ -d "$data" ] || return 0
	for f in "$data"/agents/*/agent.json; do
		[ -e "$f" ] && jq -r '.machine_id // .id // .machine // empty' "$f" >>"$T/machines"
	done
	timeout 120 godwit down --data "$data" </dev/null >"$T/down.out" 2>&1 || { bad=1; cat "$T/down.out"; }
	for f in "$data"/agents/*/agent.pid "$data"/server/server.pid "$data"/console/console.pid; do
		pid=$(daemon_pid "$f")
		[ -n "$pid" ] || continue
		! wait_until 20 "end of $pid" gone "$pid" || continue
		say "${f#"$data"/}: $pid did not stop"
		kill -9 "$pid"
		bad=1
	done
	return $bad
}

# daemon_pid FILE: the pid of the daemon that wrote it, if it lives.
daemon_pid() {
	local pid
	[ -e "$1" ] || return 0
	pid=$(tr -cd 0-9 <"$1")
	[ -z "$pid" ] || ! grep -q ^godwit "/proc/$pid/comm" 2>/dev/null || echo "$pid"
}
# The state folder of an agent, protected here or over the link.
agent_state() { [ -d "$T/far/agents/$1" ] && echo "$T/far/agents/$1" || echo "$GODWIT_DATA/agents/$1"; }
agent_pid() { daemon_pid "$(agent_state "$1")/agent.pid"; }
# agent_start NAME [OPTION...]: again, after it was killed.
agent_start() { timeout 120 godwit-agent run --state "$(agent_state "$1")" --daemon "${@:2}" </dev/null 3>&-; }
agent_kill() { kill_hard "$(agent_pid "$1")"; }
agent_stop() {
	local pid
	pid=$(agent_pid "$1")
	[ -z "$pid" ] || { kill "$pid" && wait_until 60 "end of the agent of $1" gone "$pid"; }
}
agent_log() { cat "$(agent_state "$1")/agent.log.0"; }
server_pid() { daemon_pid "$GODWIT_DATA/server/server.pid"; }
console_pid() { daemon_pid "$GODWIT_DATA/console/console.pid"; }

# kill_hard PID: SIGKILL, and until it is gone.
kill_hard() {
	kill -9 "$1" 2>/dev/null || :
	wait_until 60 "end of $1" gone "$1"
}

# server_kill: the server and every process of its own, at once.
server_kill() {
	local pid
	pid=$(server_pid)
	kill -9 "$pid" $(descendants "$pid") 2>/dev/null || :
	wait_until 60 "end of the server" gone "$pid"
}
descendants() {
	local p
	for p in $(pgrep -P "$1"); do
		echo "$p"
		descendants "$p"
	done
}

# api METHOD PATH [JSON]
api() {
	curl -sS --max-time 90 --cacert "$GODWIT_DATA/console/ca.crt" -X "$1" ${3:+-d "$3" -H 'Content-Type: application/json'} \
		-H "Authorization: Bearer $(cat "$GODWIT_DATA/admin.token")" \
		"https://$LISTEN:$CONSOLE_PORT/api/godwit/v1$2"
}

# --- machines ---------------------------------------------------------------------------

# protect NAME DISK...: an agent on this machine.
protect() {
	local name=$1
	shift
	timeout 300 godwit protect "$@" --name "$name" </dev/null 3>&-
	godwit status "$name" --json | machine_of "$name" | jq -r .id >>"$T/machines"
}

# protect_throttled NAME MBIT DISK...: the server stands still until the agent has its throttle, so that not a byte is
# sent without it.
protect_throttled() {
	local name=$1 mbit=$2 server
	server=$(server_pid)
	kill -STOP "$server"
	on_end "kill -CONT $server 2>/dev/null || :"
	protect "$name" "${@:3}"
	setting "$name" throttle_mbit_per_second="$mbit"
	wait_throttle "$name" "$mbit"
	kill -CONT "$server"
}
# wait_throttle NAME MBIT: the agent has been told, too.
throttle_is() { agent_log "$1" | grep 'throttle: ' | tail -n 1 | grep -q "throttle: $2 Mbit/s"; }
wait_throttle() { wait_until 60 "the throttle of $1" throttle_is "$@"; }

# Whatever `status --json` wraps it in: the object with that name.
machine_of() { jq -c --arg n "$1" 'first(.. | objects | select(.name? == $n and has("stage")))'; }

# status NAME [JQ]: of the machine object.
status() {
	local s
	s=$(timeout 20 godwit status "$1" --json 2>/dev/null) || return 1
	machine_of "$1" <<<"$s" | jq -r "${2:-.}"
}
status_is() { [ "$(status "$1" "$2")" = true ]; }

# wait_status SECONDS NAME JQ-CONDITION
wait_status() {
	wait_until "$1" "$2: $3" status_is "$2" "$3" || {
		status "$2"
		return 1
	}
}
wait_stage() { wait_status "$3" "$1" ".stage == \"$2\""; }
wait_continuous() { wait_stage "$1" continuous "${2:-300}"; }

# setting NAME KEY=VALUE...
setting() { timeout 30 godwit settings "$@" >/dev/null; }

# --- points ------------------------------------------------------------------------------

# mark NAME: a point made now; sets LABEL.  It is given a minute to be durable, which is little where others take the
# machine's time: one that took longer, and no other failure, is made anew with another label, until 300 s have gone.
mark() {
	local begin=$SECONDS
	while :; do
		LABEL=m$BASHPID-$RANDOM$RANDOM
		timeout 90 godwit mark "$1" "$LABEL" >"$T/mark.out" 2>&1 && return
		cat "$T/mark.out"
		grep -q 'was not durable within a minute' "$T/mark.out" && [ $((SECONDS - begin)) -lt 300 ] || break
		say "mark $1: anew"
	done
	fail "mark $1"
}

# points NAME [OPTION...]: "ID TIME_US KIND LABEL", one a line, oldest first.
points() {
	timeout 60 godwit points "$@" --json | jq -r '.points[] | "\(.id) \(
		((.time[0:19] + "Z" | fromdate) * 1000000) + (.time[20:26] | tonumber)) \(.kind) \(.label // "")"'
}

# points_choose NAME COUNT [FROM_US [TO_US]]: so many of them, at random, in order.
points_choose() {
	points "$1" | awk -v from="${3:-0}" -v to="${4:-9999999999999999}" '$2 >= from && $2 <= to' |
		shuf -n "$2" --random-source=<(seed_bytes) | sort -k2n
}
seed_bytes() { yes "$GODWIT_SEED"; }

# disk_copy NAME POINT DISK FILE: the disk at the point, as a sparse raw file.
disk_copy() {
	rm -f "$4"
	timeout 300 godwit export "$1" --disk "$3" --at "$2" --format raw "$4" >"$T/export.out" 2>&1 || {
		cat "$T/export.out"
		fail "export $1 $3 at $2"
	}
}

# equal NAME DISK...: a point made now is the disks as they are now, byte for
# byte.  Nothing may write to them meanwhile.
equal() {
	local name=$1 disk bad=0
	shift
	mark "$name" || return 1
	for disk; do
		disk_copy "$name" "$LABEL" "$disk" "$T/equal.img" || return 1
		imgdiff "$disk" "$T/equal.img" || { say "$disk (left) and its replica (right) differ"; bad=1; }
		rm -f "$T/equal.img"
	done
	return $bad
}

# --- load -----------------------------------------------------------------------------------

# load_start COMMAND...: in the background; load_stop ends all of them and fails if one had failed.
load_start() {
	local log=$T/load.${#LOADS[@]}
	"$@" </dev/null >"$log" 2>&1 3>&- &
	LOADS+=($!)
	on_end "kill_load $!"
}
kill_load() {
	! ours "$1" || ! kill "$1" 2>/dev/null || wait_until 30 "end of load" gone "$1" || kill -9 "$1"
}
load_stop() {
	local i status bad=0
	for i in "${!LOADS[@]}"; do
		kill -TERM "${LOADS[i]}" 2>/dev/null || :
	done
	load_wait
}
# load_wait: until they end by themselves.
load_wait() {
	local i bad=0
	for i in "${!LOADS[@]}"; do
		wait "${LOADS[i]}" && continue
		say "load ${LOADS[i]} failed:"
		cat "$T/load.$i"
		bad=1
	done
	LOADS=()
	return $bad
}
load_running() { kill -0 "${LOADS[0]}" 2>/dev/null; }

# --- a link of its own: agent in a network namespace, server outside -------------------------

# link_make: sets NS, NEAR (the instance's address) and FAR (the agent's).
link_make() {
	local n=$((RANDOM % 250)) m=$((RANDOM % 250))
	NS=gwt-$BASHPID
	VETH=gwt$BASHPID
	NEAR=10.$((100 + n % 100)).$m.1
	FAR=${NEAR%.1}.2
	ip netns add "$NS"
	on_end "ip netns del $NS"
	ip link add "$VETH" type veth peer name gwfar netns "$NS"
	on_end "ip link del $VETH 2>/dev/null || :"
	ip addr add "$NEAR/24" dev "$VETH"
	ip link set "$VETH" up
	in_ns ip addr add "$FAR/24" dev gwfar
	in_ns ip link set gwfar up
	in_ns ip link set lo up
}
# `ip netns exec` would hide /sys/fs/bpf.
in_ns() { nsenter --net="/run/netns/$NS" "$@"; }

# link_rate RATE: both ways, as tc says it ("8mbit"), or "full".
link_rate() {
	tc qdisc del dev "$VETH" root 2>/dev/null || :
	in_ns tc qdisc del dev gwfar root 2>/dev/null || :
	[ "$1" != full ] || return 0
	tc qdisc add dev "$VETH" root tbf rate "$1" burst 64kb latency 100ms
	in_ns tc qdisc add dev gwfar root tbf rate "$1" burst 64kb latency 100ms
}
link_cut() { ip link set "$VETH" down; }
link_mend() { ip link set "$VETH" up; }

# protect_far NAME DISK...: an agent in the namespace, over the link.
protect_far() {
	local name=$1 token
	shift
	token=$(api POST /tokens '{"role": "agent"}' | jq -r .token)
	on_end "agent_stop $name"
	in_ns timeout 300 godwit protect "$@" --name "$name" --data "$T/far" --console "https://$NEAR:$CONSOLE_PORT" \
		--token "$token" </dev/null 3>&-
	status "$name" .id >>"$T/machines"
}

# --- judging points -------------------------------------------------------------------------

# fs_judge ext4|xfs|btrfs IMAGE LOG AT_US: mounted once (its journal is
# replayed), the image has what fsload's log says was synced by then, and the
# file system's own checker finds nothing.
fs_judge() {
	local fs=$1 image=$2 log=$3 at=$4 dev options= bad=0
	[ "$fs" = xfs ] && options=nouuid # its twin is mounted
	disk_attach dev "$image" || return 1
	disk_mount "$dev" "$T/judge" $options || fail "$fs at $at does not mount" || return 1
	fsload check --log "$log" --dir "$T/judge" --at "$at" >"$T/judge.out" || bad=1
	disk_umount "$T/judge" || bad=1
	case $fs in
	ext4) e2fsck -fn "$dev" ;;
	xfs) xfs_repair -n "$dev" ;;
	btrfs) btrfs check --readonly "$dev" ;;
	esac >>"$T/judge.out" 2>&1 || bad=1
	disk_detach "$dev" "$image"
	[ $bad = 0 ] || {
		cat "$T/judge.out"
		fail "$fs at $at"
	}
}

# ledger_judge NAME DISK LOG COUNT [FROM_US [TO_US]]: so many points at random are
# what the ledger says was on the disk at their times.
ledger_judge() {
	local name=$1 disk=$2 log=$3 count=$4 id at kind judged=0
	while read -r id at kind; do
		disk_copy "$name" "$id" "$disk" "$T/judge.img" || return 1
		ledger check --log "$log" --at "$at" "$T/judge.img" >"$T/judge.out" || {
			cat "$T/judge.out"
			fail "point $id at $at of $name"
			return 1
		}
		judged=$((judged + 1))
	done < <(points_choose "$name" "$count" "${5:-0}" "${6:-9999999999999999}")
	rm -f "$T/judge.img"
	say "$judged points are what the ledger says"
	[ $judged -gt 0 ] || fail "no points to judge"
}

# enough_points NAME COUNT FROM_US
enough_points() { [ "$(points "$1" --from "$(time_of "$3")" | wc -l)" -ge "$2" ]; }
time_of() { date -u -d "@${1%??????}" "+%Y-%m-%dT%H:%M:%S.${1: -6}Z"; }
acked_at_least() { [ "$(ledger acked --log "$1")" -ge "$2" ]; }
