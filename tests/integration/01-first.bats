# SPDX-License-Identifier: Apache-2.0
# The whole path once, before anything else is tried.
load lib
setup() { test_begin; }
teardown() { test_end; }

@test "a disk with a file system under load reaches continuous protection and comes back equal" {
	disk_make D 256M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	load_start fsload run --log "$T/log" --dir "$T/m" --rate 3000 --seed "$GODWIT_SEED"
	instance_start
	protect first "$D"
	wait_continuous first
	begin=$(now_us)
	wait_until 180 "20 points" enough_points first 20 "$begin"
	load_stop
	umount "$T/m"
	equal first "$D"
}

@test "a disk comes back as it was at a time, not as it is" {
	disk_make D 64M
	instance_start
	load_start ledger write --log "$T/log" --rate 500 --seed "$GODWIT_SEED" "$D"
	protect past "$D"
	wait_continuous past
	begin=$(now_us)
	wait_until 180 "20 points" enough_points past 20 "$begin"
	load_stop
	ledger_judge past "$D" "$T/log" 10
	equal past "$D"
}

@test "stopped and started again, an instance knows its machines and points" {
	disk_make D 64M
	instance_start
	protect again "$D"
	wait_continuous again
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	mark again
	first=$LABEL
	timeout 120 godwit down
	instance_up
	wait_continuous again
	dd if=/dev/urandom of="$D" bs=1M seek=20 count=8 oflag=direct status=none
	equal again "$D"
	points again | grep -q .
	disk_copy again "$first" "$D" "$T/then.img"
	cmp -n $((8 << 20)) "$D" "$T/then.img"
}
