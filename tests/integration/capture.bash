# SPDX-License-Identifier: Apache-2.0
# capture.bash - the tracker by itself, through tests/tools/follow, which keeps an
# image equal to a disk as an agent and a server together would.

# follow_start NAME DISK=IMAGE... [-- OPTION...]: waits for its "ready".
follow_start() {
	local name=$1 disks=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		disks+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	PINS=/sys/fs/bpf/godwit/capture-test-$BASHPID-$name
	[ -e "$T/$name.in" ] || mkfifo "$T/$name.in"
	: >"$T/$name.out"
	follow "$@" "$PINS" "${disks[@]}" <>"$T/$name.in" >"$T/$name.out" 2>&1 3>&- &
	eval "FOLLOW_$name=$!"
	on_end "follow_end $name $! $PINS"
	wait_until 300 "follow $name is ready" follow_said "$name" 1 || return 1
	READY=$(head -n 1 "$T/$name.out")
	case $READY in ready*) ;; *) fail "$READY" ;; esac
}
follow_said() { [ "$(wc -l <"$T/$1.out")" -ge "$2" ] || gone "$(follow_pid "$1")"; }
follow_pid() { eval "echo \$FOLLOW_$1"; }
# Until it is gone, and with it what it holds open.
follow_end() {
	! ours "$2" || kill_hard "$2"
	rm -rf "$3"
}
follow_kill() { kill_hard "$(follow_pid "$1")"; }

# ask NAME COMMAND...: sets ANSWER.
ask() {
	local name=$1 have
	shift
	have=$(wc -l <"$T/$name.out")
	echo "$*" >"$T/$name.in"
	wait_until 300 "answer to $*" follow_said "$name" $((have + 1)) || return 1
	ANSWER=$(tail -n 1 "$T/$name.out")
	[ "$(wc -l <"$T/$name.out")" -gt "$have" ] || fail "follow $name died: $ANSWER"
}
# counter NAME JQ: of the first disk.
counter() {
	ask "$1" counters
	jq ".disks[0] | $2" <<<"$ANSWER"
}

# same DISK IMAGE: byte for byte.
same() {
	blockdev --flushbufs "$1"
	cmp "$1" "$2" || {
		imgdiff "$1" "$2" | tail -n 5
		fail "$1 and its image differ"
	}
}
# settled NAME DISK IMAGE: it has caught up, they are the same, and nothing has escaped it.
settled() {
	settle "$1"
	ask "$1" "suspect 0"
	# Of a discard of several ranges whose completion no program saw this is what is promised (docs/capture.md), and
	# the disk has to be read again.
	if [ "$ANSWER" = "suspect an operation completed whose range is not known" ] && [ "$(counter "$1" '.unseen > 0')" = true ]; then
		say "a discard's completion was not seen: the disk is read again"
		settle "$1"
		ask "$1" "suspect 0"
	fi
	[ "$ANSWER" = sound ] || fail "$ANSWER"
	same "$2" "$3"
}
settle() { ask "$1" settle && [ "$ANSWER" = settled ] || fail "not settled: $ANSWER"; }

# amount DISK WRITES [FIO OPTION...]: so many, however long they take.
amount() { raw "$1" 0 --time_based=0 --number_ios="$2" "${@:3}"; }
# raw DISK SECONDS [FIO OPTION...]
raw() {
	fio --name=raw --filename="$1" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=32 \
		--time_based --runtime="$2" --randseed="$GODWIT_SEED" --output="$T/fio.out" --norandommap \
		"${@:3}" </dev/null 3>&- || {
		cat "$T/fio.out"
		fail "fio"
	}
}
