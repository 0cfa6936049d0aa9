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

@test "a disk that vanishes is said to be missing, and is found when it comes back" {
	needs python3
	wait_until 60 "a number of its own" loop_choose
	D=/dev/loop$NUMBER D_file=$T/disk.apart
	on_end "rm -f $D; wait_until 60 'end of $D' loop_remove $NUMBER"
	on_end "disk_detach $D $D_file"
	truncate -s 32M "$D_file"
	loop_attach "$D_file"
	disk_make E 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	instance_start
	protect lost "$D" "$E"
	wait_continuous lost
	# What is open goes when it is closed; a disk that is pulled takes its node away, and so the agent lets go.
	losetup -d "$D"
	rm "$D"
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
