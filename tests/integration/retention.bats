# SPDX-License-Identifier: Apache-2.0
# Points expire by the policy, their room is given back, and named ones stay.
load lib
setup() { test_begin; }
teardown() { test_end; }

store_bytes() { du -s --block-size=1 "$GODWIT_DATA/server/store" | cut -f1; }
store_below() { [ "$(store_bytes)" -lt "$1" ]; }
# old_points_below NAME BEFORE_US COUNT
old_points_below() { [ "$(points "$1" | awk -v b="$2" '$2 < b' | wc -l)" -lt "$3" ]; }

@test "with short windows, points and room are given back, and the named point stays" {
	disk_make D 16M
	instance_start
	load_start ledger write --log "$T/log" --threads 4 --rate 1500 --seed "$GODWIT_SEED" "$D"
	protect short "$D"
	wait_continuous short
	mark short
	named=$LABEL
	at=$(points short | awk -v l="$named" '$4 == l { print $2 }')
	begin=$(now_us)
	wait_until 240 "points" enough_points short 40 "$begin"
	wait_until 600 "more to give back than is kept" acked_at_least "$T/log" 30000
	load_stop
	equal short "$D"
	last=$LABEL
	before=$(store_bytes)
	count=$(points short | wc -l)
	setting short retention_every_seconds=60 retention_hourly_seconds=0 retention_daily_seconds=0
	# Points more than a minute old go; one on a quiet disk stays current.
	wait_until 400 "points of the load to expire" old_points_below short "$(now_us)" 4
	wait_until 300 "room given back" store_below $((before / 2))
	say "$before bytes and $count points; then $(store_bytes) and $(points short | wc -l)"
	for label in "$named" "$last"; do
		points short | grep -qF "$label"
	done
	disk_copy short "$named" "$D" "$T/named.img"
	ledger check --log "$T/log" --at "$at" "$T/named.img"
	disk_copy short "$last" "$D" "$T/last.img"
	imgdiff "$D" "$T/last.img"
	equal short "$D"
}

@test "with the default windows nothing expires, however often upkeep runs" {
	disk_make D 16M
	instance_start
	load_start ledger write --log "$T/log" --threads 2 --rate 500 --seed "$GODWIT_SEED" "$D"
	protect long "$D"
	setting long epoch_ms=100
	wait_continuous long
	begin=$(now_us)
	wait_until 240 "points" enough_points long "$(pick 200 2000)" "$begin"
	points long | sort >"$T/before"
	wait_until 180 "more points" enough_points long "$(pick 260 2600)" "$begin"
	load_stop
	[ -z "$(points long | sort | comm -23 "$T/before" -)" ]
	ledger_judge long "$D" "$T/log" 20
}
