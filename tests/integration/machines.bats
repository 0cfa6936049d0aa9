# SPDX-License-Identifier: Apache-2.0
# Several machines, disks and instances at once; disks that change.
load lib
setup() { test_begin; }
teardown() { test_end; }

@test "several machines with several disks each, under load at once, do not disturb each other" {
	instance_start
	for n in 1 2 3; do
		disk_make "A$n" 24M
		disk_make "B$n" 24M
		a=A$n b=B$n
		load_start ledger write --log "$T/log$n" --threads 4 --rate 600 --seed $((GODWIT_SEED + n)) "${!a}" "${!b}"
		protect "m$n" "${!a}" "${!b}"
	done
	begin=$(now_us)
	for n in 1 2 3; do
		wait_continuous m$n
		wait_until 180 "points of m$n" enough_points m$n 10 "$begin"
	done
	load_stop
	for n in 1 2 3; do
		a=A$n b=B$n
		equal m$n "${!a}" "${!b}"
		while read -r id at kind; do
			disk_copy m$n "$id" "${!a}" "$T/a.img"
			disk_copy m$n "$id" "${!b}" "$T/b.img"
			ledger check --log "$T/log$n" --at "$at" "$T/a.img" "$T/b.img"
		done < <(points_choose m$n 5)
	done
}

@test "two instances run side by side, each with its own machines" {
	disk_make A 32M
	disk_make B 32M
	instance_start
	protect here "$A"
	first=$GODWIT_DATA
	export GODWIT_DATA=$T/second
	PORT='' CONSOLE_PORT=''
	instance_start
	protect there "$B"
	wait_continuous there
	must_fail godwit status here >/dev/null 2>&1
	# what would start it at boot starts it as it was told
	grep -qx -- "CONSOLE_OPTIONS=--listen $LISTEN --port $CONSOLE_PORT" "$GODWIT_DATA/units.env"
	grep -qx -- "SERVER_OPTIONS=--listen $LISTEN --port $PORT" "$GODWIT_DATA/units.env"
	dd if=/dev/urandom of="$B" bs=1M count=8 oflag=direct status=none
	equal there "$B"
	export GODWIT_DATA=$first
	CONSOLE_PORT=$(jq -r '.console_port' "$first/instance.json")
	wait_continuous here
	dd if=/dev/urandom of="$A" bs=1M count=8 oflag=direct status=none
	equal here "$A"
	must_fail godwit status there >/dev/null 2>&1
}

@test "a disk that grows under load is followed, and points before still have the old size" {
	disk_make D 32M
	load_start ledger write --log "$T/log" --area $((32 << 20)) --threads 2 --rate 300 --seed "$GODWIT_SEED" "$D"
	instance_start
	protect grows "$D"
	wait_continuous grows
	mark grows
	small=$LABEL
	truncate -s 96M "$D_file"
	losetup -c "$D"
	wait_status 180 grows ".disks[0].size_bytes == $((96 << 20))"
	wait_continuous grows
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=20 oflag=direct status=none
	load_stop
	equal grows "$D"
	disk_copy grows "$small" "$D" "$T/small.img"
	[ "$(stat -c %s "$T/small.img")" = $((32 << 20)) ]
	ledger_judge grows "$D" "$T/log" 8
}

problem_is() { wait_status 180 "$1" ".problems | any(.code == \"$2\")"; }
no_problem() { wait_status 180 "$1" ".problems | all(.code != \"$2\")"; }
grow_to() {
	truncate -s "$1" "$D_file"
	losetup -c "$D"
}

@test "a disk whose regions become larger than reads were is followed, also by an agent that was not there" {
	disk_make D 1T
	instance_start
	protect huge "$D"
	wait_status 180 huge '.disks[0].scanned_bytes > 0'
	agent_kill huge
	grow_to 5T
	agent_start huge
	wait_status 180 huge ".disks[0].size_bytes == $((5 << 40))"
	wait_status 180 huge ".disks[0].scanned_bytes > $((64 << 20))"
	pid=$(agent_pid huge)
	grow_to 10T
	wait_status 180 huge ".disks[0].size_bytes == $((10 << 40))"
	wait_status 180 huge ".disks[0].scanned_bytes > $((256 << 20))"
	[ "$(agent_pid huge)" = "$pid" ]
}

@test "a disk that shrank or grew past what can be protected is named as such until it is not any more" {
	disk_make D 32M
	disk_make E 32M
	instance_start
	protect odd "$D" "$E"
	wait_continuous odd
	grow_to 16M
	problem_is odd DISK_SHRANK
	[ "$(status odd '.stage')" != continuous ]
	status odd '.problems[] | .text, .remedy'
	# An agent that begins says the same, and its other disk goes on.
	agent_stop odd
	agent_start odd
	problem_is odd DISK_SHRANK
	grow_to 32M
	wait_continuous odd
	no_problem odd DISK_SHRANK
	grow_to 33T
	problem_is odd DISK_TOO_LARGE
	status odd '.problems[] | .text, .remedy'
	grow_to 32M
	no_problem odd DISK_TOO_LARGE
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	wait_continuous odd
	equal odd "$D" "$E"
}

# A loop device of a number so high that nobody who looks for a free one is given it, before there is it or after.
loop_add() { python3 -c 'import fcntl, sys; fcntl.ioctl(open("/dev/loop-control"), 0x4C80, int(sys.argv[1]))' "$1" 2>/dev/null; }
loop_remove() { python3 -c 'import fcntl, sys; fcntl.ioctl(open("/dev/loop-control"), 0x4C81, int(sys.argv[1]))' "$1" 2>/dev/null; }
loop_choose() { NUMBER=$((10000 + RANDOM)) && loop_add "$NUMBER"; }
# loop_attach FILE: to the number, which has a node perhaps.
loop_attach() {
	[ -e "/dev/loop$NUMBER" ] || mknod "/dev/loop$NUMBER" b 7 "$NUMBER"
	losetup "/dev/loop$NUMBER" "$1"
}

# disk_apart SIZE: a disk of such a number, D, in front of D_file, that can be pulled and put in again.
disk_apart() {
	wait_until 60 "a number of its own" loop_choose
	D=/dev/loop$NUMBER D_file=$T/disk.apart
	on_end "rm -f $D; wait_until 60 'end of $D' loop_remove $NUMBER"
	on_end "losetup -d $D 2>/dev/null || :"
	truncate -s "$1" "$D_file"
	loop_attach "$D_file"
}
# What is open goes when it is closed; a disk that is pulled takes its node away, and so the agent lets go.
disk_pull() {
	losetup -d "$D"
	rm "$D"
}
detached() { [ ! -e "/sys/block/loop$NUMBER/loop/backing_file" ]; }
# disk_put FILE: another disk of the same number, or the same one again.
disk_put() {
	wait_until 60 "end of $D" detached
	loop_attach "$1"
}

@test "a disk that vanishes is said to be missing, and is found when it comes back" {
	needs python3
	disk_apart 32M
	disk_make E 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	instance_start
	protect lost "$D" "$E"
	wait_continuous lost
	disk_pull
	wait_status 180 lost '(.problems | any(.code == "DISK_GONE")) and .stage != "continuous"'
	status lost '.problems[] | .code, .text, .remedy'
	# Changed behind everybody's back, at the same name.
	dd if=/dev/urandom of="$D_file" bs=1M count=2 seek=20 conv=notrunc status=none
	wait_until 60 "end of $D" loop_remove "$NUMBER"
	wait_until 60 "$D anew" loop_add "$NUMBER"
	loop_attach "$D_file"
	wait_continuous lost
	equal lost "$D" "$E"
}

@test "what is written to another disk that has a vanished one's number does not go into its replica" {
	needs python3
	disk_apart 32M
	disk_make E 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	instance_start
	protect lost "$D" "$E"
	wait_continuous lost
	disk_pull
	wait_status 180 lost '.problems | any(.code == "DISK_GONE")'
	truncate -s 48M "$T/stranger"
	disk_put "$T/stranger"
	dd if=/dev/urandom of="$D" bs=1M count=24 oflag=direct status=none
	dd if=/dev/urandom of="$E" bs=1M count=4 oflag=direct status=none
	# Nothing of the vanished one had been left to send: it is what it was, and points go on.
	mark lost
	disk_copy lost "$LABEL" "$D" "$T/copy.img"
	imgdiff "$D_file" "$T/copy.img"
	disk_copy lost "$LABEL" "$E" "$T/copy.img"
	imgdiff "$E" "$T/copy.img"
	losetup -d "$D"
	disk_put "$D_file"
	wait_continuous lost
	equal lost "$D" "$E"
}

@test "nor is it captured while nobody has noticed that the disk vanished" {
	needs python3
	disk_apart 32M
	disk_make E 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	instance_start
	protect unnoticed "$D" "$E"
	wait_continuous unnoticed
	mark unnoticed # all of it is durable
	agent_kill unnoticed
	losetup -d "$D"
	truncate -s 48M "$T/stranger"
	disk_put "$T/stranger"
	dd if=/dev/urandom of="$D" bs=1M count=24 oflag=direct status=none
	agent_start unnoticed
	wait_status 180 unnoticed '.problems | any(.code == "DISK_GONE")'
	mark unnoticed
	disk_copy unnoticed "$LABEL" "$D" "$T/copy.img"
	imgdiff "$D_file" "$T/copy.img"
	losetup -d "$D"
	disk_put "$D_file"
	wait_continuous unnoticed
	equal unnoticed "$D" "$E"
}

@test "while no agent ran a disk was changed elsewhere and came back under its number: it is compared" {
	needs python3
	disk_apart 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	instance_start
	protect rescued "$D"
	wait_continuous rescued
	agent_kill rescued
	losetup -d "$D"
	dd if=/dev/urandom of="$D_file" bs=1M count=4 seek=10 conv=notrunc status=none
	disk_put "$D_file"
	agent_start rescued
	wait_continuous rescued
	equal rescued "$D"
}

@test "a disk that is not there when the agent starts, and comes later, is compared" {
	needs python3
	disk_apart 32M
	disk_make E 32M
	instance_start
	protect late "$D" "$E"
	wait_continuous late
	server=$(server_pid)
	kill -STOP "$server" # what is written stays in the ring
	on_end "kill -CONT $server 2>/dev/null || :"
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	agent_kill late
	disk_pull
	agent_start late
	kill -CONT "$server"
	wait_status 180 late '.problems | any(.code == "DISK_GONE" or .code == "DISK_GONE_UNSENT")'
	dd if=/dev/urandom of="$E" bs=1M count=4 oflag=direct status=none
	dd if=/dev/urandom of="$D_file" bs=1M count=4 seek=20 conv=notrunc status=none
	disk_put "$D_file"
	wait_continuous late
	equal late "$D" "$E"
}

@test "of a machine whose vanished disk had something that was not sent no point is called until it is back" {
	needs python3
	disk_apart 64M
	disk_make E 32M
	dd if=/dev/urandom of="$D" bs=1M count=64 oflag=direct status=none
	instance_start
	protect_throttled torn 8 "$D" "$E"
	wait_status 180 torn '.sent_bytes > 1000000'
	disk_pull
	wait_status 180 torn '.problems | any(.code == "DISK_GONE_UNSENT")'
	status torn '.problems[] | .code, .text, .remedy'
	setting torn throttle_mbit_per_second=0
	dd if=/dev/urandom of="$E" bs=1M count=4 oflag=direct status=none
	E_id=$(status torn ".disks[] | select(.device == \"$E\") | .id")
	wait_status 180 torn ".disks | any(.id == \"$E_id\" and .dirty_bytes == 0)" # the others are replicated
	[ "$(status torn .newest_point)" = null ]
	disk_put "$D_file"
	wait_continuous torn
	equal torn "$D" "$E"
}

@test "while a disk is back and cannot be followed no point is called, and what is written to it then is found" {
	needs python3
	disk_apart 32M
	disk_make E 32M
	instance_start
	protect held "$D" "$E"
	wait_continuous held
	disk_pull
	wait_status 180 held '.problems | any(.code == "DISK_GONE")'
	mark held # as it was
	# Another agent was quicker to take it.
	agent=$(agent_pid held)
	wait_until 60 "end of $D" detached
	kill -STOP "$agent"
	on_end "kill -CONT $agent 2>/dev/null || :"
	disk_put "$D_file"
	mkdir "$T/other"
	touch "$T/other/agent.json"
	printf 'other\n%s\n%s\n' "$T/other" "$(cat "/sys/block/loop$NUMBER/diskseq")" >"/run/godwit/disks/7:$NUMBER"
	on_end "rm -f /run/godwit/disks/7:$NUMBER"
	kill -CONT "$agent"
	wait_status 180 held '.problems | any(.code == "DISK_NOT_FOLLOWED")'
	status held '.problems[] | .code, .text, .remedy'
	before=$(status held .newest_point.id)
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	sent=$(status held .sent_bytes)
	dd if=/dev/urandom of="$E" bs=1M count=8 oflag=direct status=none
	wait_status 180 held ".sent_bytes > $((sent + 8000000))" # the others are replicated
	[ "$(status held .newest_point.id)" = "$before" ]
	rm "$T/other/agent.json" # it is gone
	wait_continuous held
	equal held "$D" "$E"
}

@test "a disk with 4 KiB sectors is replicated like any other" {
	disk_make D 64M 4096
	[ "$(blockdev --getss "$D")" = 4096 ] || skip "no 4 KiB sectors here"
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	load_start fsload run --log "$T/log" --dir "$T/m" --files 30 --rate 1000 --seed "$GODWIT_SEED"
	instance_start
	protect big "$D"
	wait_continuous big
	begin=$(now_us)
	wait_until 180 "points" enough_points big 15 "$begin"
	load_stop
	umount "$T/m"
	equal big "$D"
}

@test "a disk whose size is no multiple of anything is replicated to its last sector" {
	disk_make D $((33 * 1024 * 1024 + 512 * 7))
	dd if=/dev/urandom of="$D" bs=512 count=7 seek=$((33 * 2048)) oflag=direct status=none
	instance_start
	protect odd "$D"
	wait_continuous odd
	equal odd "$D"
	dd if=/dev/urandom of="$D" bs=512 count=1 seek=$((33 * 2048 + 6)) oflag=direct status=none
	equal odd "$D"
}

# clock_ahead SECONDS: $T/ahead.so, with which a program's wall clock is ahead.
clock_ahead() {
	cc -shared -fPIC -O1 -o "$T/ahead.so" -x c - <<-END
		#include <sys/syscall.h>
		#include <time.h>
		#include <unistd.h>
		int clock_gettime(clockid_t clock, struct timespec *t)
		{
			int r = (int)syscall(SYS_clock_gettime, clock, t);
			if (r == 0 && clock == CLOCK_REALTIME)
				t->tv_sec += $1;
			return r;
		}
	END
}
lag_is_above() {
	[ "$(status hung .stage)" = disconnected ] || echo "$(status hung .stage)" >>"$T/stages"
	[ "$(status hung ".lag_seconds > $1")" = true ]
}
disconnections() { api GET "/events?machine=hung&limit=1000" | jq '[.events[] | select(.code == "AGENT_DISCONNECTED")] | length'; }

@test "an agent that hangs is disconnected throughout, and lag grows though its clock is an hour ahead" {
	needs cc
	disk_make D 32M
	instance_start
	protect hung "$D"
	wait_continuous hung
	agent_stop hung
	clock_ahead 3600
	LD_PRELOAD=$T/ahead.so agent_start hung
	wait_status 60 hung '.problems | any(.code == "CLOCKS_DIFFER" and (.args.seconds | tonumber) > 3000)'
	wait_continuous hung
	[ "$(status hung '.lag_seconds < 30')" = true ]
	before=$(disconnections)
	agent=$(agent_pid hung)
	kill -STOP "$agent" # its process that polls goes on
	on_end "kill -CONT $agent 2>/dev/null || :"
	wait_stage hung disconnected 60
	wait_until 180 "lag of 70 s" lag_is_above 70 # it has polled twice meanwhile
	[ ! -e "$T/stages" ] || fail "$(cat "$T/stages")"
	[ "$(disconnections)" = $((before + 1)) ]
	kill -CONT "$agent"
	wait_continuous hung
}
