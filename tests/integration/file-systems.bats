# SPDX-License-Identifier: Apache-2.0
# At a hundred points chosen at random over a mixed load, each file system is
# clean after its journal was replayed, and has what was synced by then.
load lib
setup() { test_begin; }
teardown() { test_end; }

trim_now_and_then() {
	while read -rt 1 <>"$T/never" || [ $? -gt 128 ]; do fstrim "$1"; done
}

# clean_at_random_points ext4|xfs|btrfs SIZE [MOUNT OPTIONS]
clean_at_random_points() {
	local fs=$1 count begin id at kind judged=0
	count=$(pick 100 500)
	needs_fs "$fs"
	disk_make D "$2"
	disk_format "$fs" "$D"
	disk_mount "$D" "$T/m" "${3-}"
	load_start fsload run --log "$T/log" --dir "$T/m" --rate 3000 --seed "$GODWIT_SEED"
	load_start trim_now_and_then "$T/m"
	instance_start
	protect fs "$D"
	setting fs epoch_ms=100
	wait_continuous fs
	begin=$(now_us)
	wait_until 400 "points to choose from" enough_points fs $((count * 3 / 2)) "$begin"
	kill "${LOADS[1]}"
	wait "${LOADS[1]}" || :
	unset 'LOADS[1]'
	load_stop
	while read -r id at kind; do
		disk_copy fs "$id" "$D" "$T/point.img"
		fs_judge "$fs" "$T/point.img" "$T/log" "$at"
		judged=$((judged + 1))
	done < <(points_choose fs "$count" "$begin")
	say "$judged points judged"
	[ $judged -ge "$count" ]
	umount "$T/m"
	equal fs "$D"
}

@test "ext4 under mixed load is clean at 100 random points, and has what was synced" {
	clean_at_random_points ext4 256M discard
}

@test "xfs under mixed load is clean at 100 random points, and has what was synced" {
	clean_at_random_points xfs 320M
}

@test "btrfs under mixed load is clean at 100 random points, and has what was synced" {
	clean_at_random_points btrfs 320M discard=async
}
