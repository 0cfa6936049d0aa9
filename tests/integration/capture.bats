# SPDX-License-Identifier: Apache-2.0
# What the tracker promises, with nothing above it: disk and image are equal
# whatever was done to the disk, to the ring, and to who reads it.
load lib
load capture
setup() {
	test_begin
	needs fio jq
}
teardown() { test_end; }

one_disk() {
	disk_make D "${1:-64M}" ${2:+"$2"}
	follow_start a "$D=$T/a.img" -- "${@:3}"
}

@test "raw writes that overlap in flight at depth 32 are all in the image" {
	one_disk
	[ "$READY" = "ready payload new" ]
	raw "$D" 3 --numjobs=2
	[ "$(counter a .overlap)" -gt 0 ]
	[ "$(counter a '.unreadable + .other')" = 0 ]
	settled a "$D" "$T/a.img"
}

@test "writes of all sizes at any sector, overlapping, are all in the image" {
	one_disk
	raw "$D" 3 --bssplit=512/20:1k/20:1536/20:3584/10:5k/10:33k/10:100k/5:1m/5 --blockalign=512
	[ "$(counter a '.unreadable + .other')" = 0 ]
	settled a "$D" "$T/a.img"
}

# distinct NAME DEPTH: many writes, and none was taken for overlapping, but those in flight
# when a completion was found that no program had seen (docs/capture.md).
distinct() {
	say "$(counter "$1" .)"
	[ "$(counter "$1" ".requests > 1000 and .overlap <= $2 * .unseen")" = true ]
}

@test "neighbouring sectors written at the same time are not taken for overlapping" {
	one_disk 512M
	amount "$D" 20000 --rw=write --bs=512 --iodepth=8
	distinct a 8
	settled a "$D" "$T/a.img"
}

@test "a few thousand writes at random places of a large disk are not taken for overlapping" {
	disk_make D 2T
	follow_start a "$D=$T/a.img" -- --no-base
	for round in 1 2 3; do # each fits into the ring, should nobody come to empty it: a full one voids the table
		amount "$D" 15000 --iodepth=64 --randseed="$((GODWIT_SEED + round))"
		ask a settle && [ "$ANSWER" = settled ]
	done
	[ "$(counter a .ring_full)" = 0 ]
	distinct a 64
}

@test "with a ring of the smallest size nothing is lost but order" {
	one_disk 64M '' --ring 65536
	raw "$D" 2
	raw "$D" 2 --rw=write --bs=1m --iodepth=4
	[ "$(counter a .ring_full)" -gt 0 ]
	settled a "$D" "$T/a.img"
}

@test "with nobody reading the ring, all that does not fit is marked" {
	one_disk 64M '' --ring 1048576
	ask a stop
	amount "$D" 16384
	[ "$(counter a '.ring_full > 10000000')" = true ]
	ask a go
	settled a "$D" "$T/a.img"
}

@test "the dirty map alone is enough" {
	one_disk 64M '' --dirty-map
	[ "$READY" = "ready dirty-map new" ]
	raw "$D" 3
	raw "$D" 1 --rw=trimwrite --bs=64k
	[ "$(counter a .marks)" -gt 0 ]
	settled a "$D" "$T/a.img"
}

@test "discards, single and of many ranges, are in the image in their order" {
	one_disk
	raw "$D" 2
	raw "$D" 1 --rw=randtrim --bs=64k
	raw "$D" 1 --rw=trimwrite --bs=16k --iodepth=8
	[ "$(counter a '.discarded > 0')" = true ]
	settled a "$D" "$T/a.img"
	raw "$D" 1
	blkdiscard "$D"
	settled a "$D" "$T/a.img"
	raw "$D" 1
	blkdiscard --zeroout --offset 1M --length 40M "$D"
	settled a "$D" "$T/a.img"
}

@test "a disk with sectors of 4 KiB" {
	one_disk 64M 4096
	raw "$D" 2 --bssplit=4k/50:8k/30:68k/20
	settled a "$D" "$T/a.img"
}

@test "killed while writes go on, and resumed: nothing is missing, nothing is read twice but what was marked" {
	local i
	one_disk 128M
	settled a "$D" "$T/a.img"
	load_start raw "$D" "$(pick 12 60)" --rate_iops=20000
	for i in 1 2 3 4 5; do
		tick; tick
		follow_kill a
		tick; tick
		follow_start a "$D=$T/a.img"
		[ "$READY" = "ready payload resumed" ]
	done
	load_wait
	settled a "$D" "$T/a.img"
}

@test "what was written while nobody was there is in the ring or marked" {
	one_disk 64M '' --ring 4194304
	settled a "$D" "$T/a.img"
	follow_kill a
	raw "$D" 2
	follow_start a "$D=$T/a.img" -- --ring 4194304
	[ "$READY" = "ready payload resumed" ]
	settled a "$D" "$T/a.img"
}

@test "two trackers on two disks, and two disks under one, do not disturb each other" {
	disk_make D 64M
	disk_make E 64M
	disk_make F 64M
	follow_start a "$D=$T/d.img"
	follow_start b "$E=$T/e.img" "$F=$T/f.img"
	load_start raw "$D" 3 --output="$T/1"
	load_start raw "$E" 3 --output="$T/2"
	load_start raw "$F" 3 --output="$T/3"
	load_wait
	settled a "$D" "$T/d.img"
	settled b "$E" "$T/e.img"
	same "$F" "$T/f.img"
	ask a remove
	raw "$D" 1
	raw "$E" 1
	settled b "$E" "$T/e.img"
}

@test "a disk that grows is followed to its new end, and region sizes may change with it" {
	one_disk 32M
	raw "$D" 1
	truncate -s 96M "$D_file"
	losetup -c "$D"
	ask a "resize 0"
	raw "$D" 1 --size=96M
	settled a "$D" "$T/a.img"
	follow_kill a
	follow_start a "$D=$T/a.img"
	[ "$READY" = "ready payload resumed" ]
	settled a "$D" "$T/a.img"
}

@test "writes that fail leave the image as the disk is" {
	mkdir "$T/small"
	mount -t tmpfs -o size=24m tmpfs "$T/small"
	on_end "umount $T/small"
	truncate -s 64M "$T/small/file"
	disk_attach D "$T/small/file"
	follow_start a "$D=$T/a.img"
	raw "$D" 2 --continue_on_error=write --ignore_error=,ENOSPC:EIO || :
	say "$(counter a .)"
	[ "$(counter a '.other > 0')" = true ]
	settled a "$D" "$T/a.img"
}

@test "a disk without block requests is refused, with its driver's name" {
	local zram
	[ -e /sys/class/zram-control/hot_add ] || skip "no zram here"
	zram=$(cat /sys/class/zram-control/hot_add)
	on_end "echo $zram >/sys/class/zram-control/hot_remove"
	echo 64M >/sys/block/zram"$zram"/disksize
	run follow /sys/fs/bpf/godwit/capture-test-$BASHPID-z "/dev/zram$zram=$T/z.img" </dev/null
	rm -rf /sys/fs/bpf/godwit/capture-test-$BASHPID-z
	say "$output"
	[ "$status" -ne 0 ]
	[[ "$output" == *"/dev/zram$zram completes its writes without block requests (zram)"* ]]
}

@test "whichever of the three completion programs gets a completion, it is handled" {
	disk_make D 64M
	follow_start a "$D=$T/a.img" -- --spares
	raw "$D" 1
	[ "$(counter a .nested)" = 0 ]
	follow_start b "$D=$T/b.img" -- --spares --without 1
	raw "$D" 1
	[ "$(counter b '.nested >= .requests')" = true ]
	follow_start c "$D=$T/c.img" -- --spares --without 1 --without 3
	raw "$D" 1
	settled a "$D" "$T/a.img"
	settled b "$D" "$T/b.img"
	settled c "$D" "$T/c.img"
	[ "$(counter a .nested)" = 0 ]
}

@test "a completion that hits the only program attached is found and marked" {
	disk_make D 64M
	follow_start a "$D=$T/a.img" -- --without 1
	raw "$D" 1
	settled a "$D" "$T/a.img"
	say "$(counter a .)"
	[ "$(counter a '.unseen > 0')" = true ]
}

@test "writes that no program saw are found in the kernel's own count" {
	disk_make D 64M
	follow_start a "$D=$T/a.img" -- --without 1 --without 2
	ask a "suspect 0"
	[ "$ANSWER" = sound ]
	dd if=/dev/urandom of="$D" bs=4k count=1 oflag=direct status=none
	ask a "suspect 0"
	[ "$ANSWER" = "suspect the kernel has written more to the disk than capture saw" ]
	settled a "$D" "$T/a.img" # all is read again after such an answer
}

# file_system ext4|xfs|btrfs SIZE OPTIONS [RING_BYTES [RATE]]: points under load are clean; after it, equal.
file_system() {
	local i word position at
	needs_fs "$1"
	disk_make D "$2"
	disk_format "$1" "$D"
	disk_mount "$D" "$T/m" "$3"
	follow_start a "$D=$T/a.img" -- --ring "${4:-67108864}"
	load_start fsload run --log "$T/log" --dir "$T/m" --rate "${5:-4000}" --seed "$GODWIT_SEED"
	mkdir "$T/points"
	for i in $(seq "$(pick 8 60)"); do
		tick
		ask a "point $T/points"
		read -r _ position at <<<"$ANSWER"
		fs_judge "$1" "$T/points/a.img" "$T/log" "$at"
	done
	say "$(counter a .)"
	load_stop
	disk_umount "$T/m"
	settled a "$D" "$T/a.img"
}

@test "ext4 with discard under mixed load: points are clean, and in the end disk and image are equal" {
	file_system ext4 256M discard
}

@test "xfs with discard under mixed load: points are clean, and in the end disk and image are equal" {
	file_system xfs 320M discard
}

@test "btrfs with discard under mixed load and a small ring: points are clean, in the end equal" {
	# a rate that it can make up for after it was held up: a point needs the ring empty for a moment
	file_system btrfs 320M discard=sync 524288 500
}

# Each file's one page is written over and over while it is synced, then the file is
# deleted: what the page held last may have been captured and never have reached the
# disk, nor ever will.
rewrite_and_delete() { # FOLDER FILES
	python3 - "$@" <<-'END'
		import os, sys, threading, time
		for n in range(int(sys.argv[2])):
		    path = f"{sys.argv[1]}/f{n}"
		    fd = os.open(path, os.O_RDWR | os.O_CREAT)
		    end = time.monotonic() + 0.1
		    def write():
		        i = 0
		        while time.monotonic() < end:
		            os.pwrite(fd, (b"%08d" % i) * 4096, 0)
		            i += 1
		    writer = threading.Thread(target=write)
		    writer.start()
		    while time.monotonic() < end:
		        os.fdatasync(fd)
		    writer.join()
		    os.unlink(path)
		    os.close(fd)
	END
}

@test "pages changed while they are written, and never written again: in the end equal" {
	needs python3
	disk_make D 128M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	follow_start a "$D=$T/a.img"
	rewrite_and_delete "$T/m" "$(pick 60 600)"
	disk_umount "$T/m"
	settled a "$D" "$T/a.img"
}
