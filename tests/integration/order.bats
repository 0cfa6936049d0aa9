# SPDX-License-Identifier: Apache-2.0
# One order of completion for all disks of a machine, and equality when the load is over.
load lib
setup() { test_begin; }
teardown() { test_end; }

@test "at no point does the second disk have a record whose twin the first lacks" {
	disk_make A 16M
	disk_make B 16M
	instance_start
	load_start ledger write --log "$T/log" --threads 8 --rate 4000 --seed "$GODWIT_SEED" "$A" "$B"
	protect twins "$A" "$B"
	setting twins epoch_ms=100
	wait_continuous twins
	begin=$(now_us)
	wait_until 180 "points" enough_points twins "$(pick 60 300)" "$begin"
	load_stop
	judged=0
	while read -r id at kind; do
		disk_copy twins "$id" "$A" "$T/a.img"
		disk_copy twins "$id" "$B" "$T/b.img"
		ledger check --log "$T/log" --at "$at" "$T/a.img" "$T/b.img"
		judged=$((judged + 1))
	done < <(points_choose twins "$(pick 50 250)" "$begin")
	[ $judged -ge 50 ]
	equal twins "$A" "$B"
}

@test "after overlapping raw writes at depth 32, source and replica are equal, and each point is exact" {
	disk_make D 48M
	instance_start
	protect overlap "$D"
	wait_continuous overlap
	load_start ledger write --log "$T/log" --random --threads 32 --max-units 16 --rate 3000 --seed "$GODWIT_SEED" "$D"
	wait_until 240 "writes" acked_at_least "$T/log" "$(pick 30000 300000)"
	load_stop
	equal overlap "$D"
	ledger_judge overlap "$D" "$T/log" "$(pick 15 60)"
}

@test "after fio's random writes at depth 32, overlapping at will, source and replica are equal" {
	needs fio
	disk_make D 64M
	instance_start
	protect fio "$D"
	wait_continuous fio
	timeout 120 fio --name=overlap --filename="$D" --rw=randwrite --bsrange=512-64k --direct=1 --ioengine=io_uring \
		--iodepth=32 --numjobs=2 --offset=0 --size=64M --norandommap --time_based --runtime="$(pick 8 60)" \
		--randseed="$GODWIT_SEED" --refill_buffers --output="$T/fio.out" </dev/null 3>&-
	wait_continuous fio
	equal fio "$D"
}

@test "after discards among overlapping writes, source and replica are equal, and each point is exact" {
	disk_make D 48M
	instance_start
	protect discards "$D"
	wait_continuous discards
	load_start ledger write --log "$T/log" --random --threads 8 --max-units 16 --discard 20 --rate 2000 \
		--seed "$GODWIT_SEED" "$D"
	wait_until 240 "writes" acked_at_least "$T/log" "$(pick 15000 150000)"
	load_stop
	ledger_judge discards "$D" "$T/log" "$(pick 15 60)"
	blkdiscard --offset $((4 << 20)) --length $((9 << 20)) "$D"
	equal discards "$D"
	blkdiscard --zeroout --offset $((20 << 20)) --length $((3 << 20)) "$D"
	equal discards "$D"
	blkdiscard "$D"
	equal discards "$D"
}

@test "after fstrim, source and replica are equal" {
	disk_make D 128M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	instance_start
	protect trim "$D"
	wait_continuous trim
	dd if=/dev/urandom of="$T/m/big" bs=1M count=60 conv=fsync status=none
	rm "$T/m/big"
	sync -f "$T/m"
	fstrim "$T/m"
	umount "$T/m"
	equal trim "$D"
}
