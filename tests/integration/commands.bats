# SPDX-License-Identifier: Apache-2.0
# What the commands promise to people and to programs.
load lib
setup() { test_begin; }
teardown() { test_end; }

has() { jq -e "$1" >/dev/null <<<"$2" || fail "$1 does not hold of: $2"; }

@test "status --json has what it promises, for one machine and for all" {
	disk_make D 32M
	instance_start
	protect one "$D"
	wait_continuous one
	mark one
	wait_status 60 one '.stage == "continuous" and .lag_seconds < 10 and .disks[0].dirty_bytes == 0'
	for s in "$(godwit status one --json)" "$(godwit status --json)"; do
		m=$(machine_of one <<<"$s")
		has '.name == "one" and (.id | test("^[0-9a-f]{8}-"))' "$m"
		has '.stage == "continuous"' "$m"
		has '.lag_seconds | type == "number" and . >= 0 and . < 60' "$m"
		has '.backlog_bytes | type == "number"' "$m"
		has '.newest_point | (.id | length > 0) and
			(.time | test("^[0-9-]{10}T[0-9:]{8}\\.[0-9]{6}Z$"))' "$m"
		has '.capture | (.mode == "payload" or .mode == "dirty-map") and (.lost_to_dirty_map_bytes | type == "number")' "$m"
		has ".disks | length == 1 and .[0].device == \"$D\" and .[0].size_bytes == $((32 << 20)) and
			(.[0].scanned_bytes | type == \"number\") and .[0].dirty_bytes == 0" "$m"
	done
}

@test "points --json has what it promises, in order, within the range asked for" {
	disk_make D 32M
	instance_start
	protect p "$D"
	wait_continuous p
	begin=$(now_us)
	load_start ledger write --log "$T/log" --rate 200 "$D"
	wait_until 60 points enough_points p 8 "$begin"
	godwit mark p "before the upgrade"
	p=$(godwit points p --json)
	has '.points | length >= 8' "$p"
	has '[.points[] | (.id | length > 0) and (.time | test("^[0-9-]{10}T[0-9:]{8}\\.[0-9]{6}Z$")) and
		(.kind | IN("epoch", "hourly", "daily", "named")) and has("label")] | all' "$p"
	has '.points | map(.time) == (map(.time) | sort)' "$p"
	has '[.points[] | select(.kind == "named" and .label == "before the upgrade")] | length == 1' "$p"
	from=$(jq -r '.points[2].time' <<<"$p") to=$(jq -r '.points[5].time' <<<"$p")
	has ".points | length == 4 and .[0].time == \"$from\" and .[3].time == \"$to\"" \
		"$(godwit points p --from "$from" --to "$to" --json)"
	load_stop
}

@test "a label is taken once, and brings back the disk of its moment" {
	disk_make D 32M
	instance_start
	protect l "$D"
	wait_continuous l
	dd if=/dev/urandom of="$D" bs=1M count=4 oflag=direct status=none
	cp --sparse=always "$D_file" "$T/then"
	godwit mark l then
	dd if=/dev/urandom of="$D" bs=1M count=4 oflag=direct status=none
	must_fail godwit mark l then
	disk_copy l then "$D" "$T/image"
	imgdiff "$T/then" "$T/image"
}

@test "images of each format hold the same disk" {
	needs qemu-img
	disk_make D 24M
	dd if=/dev/urandom of="$D" bs=1M count=4 seek=3 oflag=direct status=none
	instance_start
	protect f "$D"
	wait_continuous f
	for format in raw qcow2 vmdk vhdx; do
		godwit export f --disk "$D" --at latest --format $format "$T/image.$format"
		[ "$(qemu-img info --output=json "$T/image.$format" | jq -r .format)" = $format ]
		qemu-img compare -f raw -F $format "$D_file" "$T/image.$format"
	done
	[ "$(godwit serve --list --json | jq '.exports | length')" = 0 ]
}

# The unfinished files of exports to FILE.
parts_of() { compgen -G "$1.part-??????" || :; }
copy_begun() { [ -s "$(parts_of "$1" | head -n 1)" ]; }
two_copies_begun() { [ "$(parts_of "$1" | wc -l)" = 2 ]; }

@test "two exports to one file do not mix, and the second is refused" {
	disk_make D 64M
	instance_start
	protect e "$D"
	wait_continuous e
	dd if=/dev/urandom of="$D" bs=1M count=60 oflag=direct status=none
	mark e
	one=$LABEL
	dd if=/dev/urandom of="$D" bs=1M count=60 oflag=direct status=none
	mark e
	two=$LABEL
	disk_copy e "$one" "$D" "$T/one"
	disk_copy e "$two" "$D" "$T/two"
	echo mine >"$T/image.part"
	mkdir "$T/bin"
	printf '#!/bin/sh\nexec flock -s %s %s "$@"\n' "$T/go" "$(command -v qemu-img)" >"$T/bin/qemu-img"
	chmod 755 "$T/bin/qemu-img"
	# Both copies are let go when both have begun.
	exec 9>"$T/go"
	flock 9
	PATH=$T/bin:$PATH godwit export e --at "$one" "$T/image" </dev/null >"$T/first" 2>&1 3>&- 9>&- &
	first=$!
	PATH=$T/bin:$PATH godwit export e --at "$two" "$T/image" </dev/null >"$T/second" 2>&1 3>&- 9>&- &
	second=$!
	wait_until 60 "both copies to begin" two_copies_begun "$T/image"
	exec 9>&-
	ok1=0 ok2=0
	wait $first || ok1=$?
	wait $second || ok2=$?
	cat "$T/first" "$T/second"
	[ $((ok1 + ok2)) = 1 ]
	if [ $ok1 = 0 ]; then cmp "$T/image" "$T/one"; else cmp "$T/image" "$T/two"; fi
	cat "$T/first" "$T/second" | grep -q 'already there'
	[ -z "$(parts_of "$T/image")" ]
	[ "$(cat "$T/image.part")" = mine ]
	godwit export e --at "$one" --force "$T/image"
	cmp "$T/image" "$T/one"
	[ "$(stat -c %a "$T/image")" = "$(printf %o $((0666 & ~0$(umask))))" ]
}

@test "a point is written onto a disk, with --force and if nothing uses it" {
	disk_make D 32M
	disk_make TO 48M
	disk_make SMALL 16M
	disk_make MOUNTED 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 seek=4 oflag=direct status=none
	dd if=/dev/urandom of="$TO" bs=1M count=48 oflag=direct status=none
	disk_format ext4 "$MOUNTED"
	disk_mount "$MOUNTED" "$T/m"
	instance_start
	protect d "$D"
	wait_continuous d
	must_fail godwit export d "$TO" 2>"$T/said"
	grep -q -- '--force' "$T/said"
	must_fail godwit export d "$MOUNTED" --force 2>"$T/said"
	grep -q 'Unmount' "$T/said"
	must_fail godwit export d "$SMALL" --force 2>"$T/said"
	grep -q 'needed' "$T/said"
	must_fail godwit export d "$T/m" 2>"$T/said"
	grep -q 'is a folder' "$T/said"
	mark d
	godwit export d --at "$LABEL" --force "$TO"
	cmp -n $((32 << 20)) "$TO" "$D"
}

@test "an export that is interrupted leaves nothing behind" {
	disk_make D 256M
	dd if=/dev/urandom of="$D" bs=1M count=250 oflag=direct status=none
	instance_start
	protect i "$D"
	wait_continuous i
	# it takes a quarter of an hour
	mkdir "$T/bin"
	printf '#!/bin/sh\nshift\nexec %s convert -r 256K "$@"\n' "$(command -v qemu-img)" >"$T/bin/qemu-img"
	chmod 755 "$T/bin/qemu-img"
	PATH=$T/bin:$PATH godwit export i --at latest --format raw "$T/image" </dev/null >/dev/null 2>&1 3>&- &
	pid=$!
	wait_until 60 "the copy to begin" copy_begun "$T/image"
	kill -TERM $pid
	must_fail wait $pid
	[ ! -e "$T/image" ]
	[ -z "$(parts_of "$T/image")" ]
	[ "$(godwit serve --list --json | jq '.exports | length')" = 0 ]
}

@test "a served point is read-only, or copy-on-write without touching the point" {
	needs nbdinfo nbdcopy
	disk_make D 24M
	dd if=/dev/urandom of="$D" bs=1M count=4 oflag=direct status=none
	instance_start
	protect s "$D"
	wait_continuous s
	served=$(godwit serve s --at latest --json)
	uri=$(jq -r '.disks[0].uri' <<<"$served")
	nbdcopy "$uri" "$T/ro.img"
	cmp "$T/ro.img" "$D_file"
	must_fail nbdcopy "$D_file" "$uri" 2>/dev/null
	writable=$(godwit serve s --at latest --writable --json)
	uri=$(jq -r '.disks[0].uri' <<<"$writable")
	dd if=/dev/urandom of="$T/new.img" bs=1M count=24 status=none
	nbdcopy "$T/new.img" "$uri"
	nbdcopy "$uri" "$T/back.img"
	cmp "$T/new.img" "$T/back.img"
	equal s "$D"
	godwit serve --stop "$(jq -r .export <<<"$served")"
	godwit serve --stop "$(jq -r .export <<<"$writable")"
	wait_until 30 "the end of the export" eval "! nbdinfo '$uri' >/dev/null 2>&1"
}

@test "verify finds nothing on an honest replica under load" {
	disk_make D 64M
	load_start ledger write --log "$T/log" --random --threads 4 --rate 500 "$D"
	instance_start
	protect v "$D"
	wait_continuous v
	v=$(timeout 120 godwit verify v --json) || has '.unsettled_bytes > 0' "$v" # a block may never have held still
	has '.state == "done" and .differing_bytes == 0 and .checked_bytes > 0' "$v"
	load_stop
	mark v # and with it all that was still to be sent
	v=$(timeout 120 godwit verify v --json)
	has ".state == \"done\" and .differing_bytes == 0 and .unsettled_bytes == 0 and .checked_bytes == $((64 << 20))" "$v"
}

@test "verify finds what changed behind everybody's back, and rescan mends it" {
	disk_make D 64M
	dd if=/dev/urandom of="$D" bs=1M count=32 oflag=direct status=none
	instance_start
	protect v "$D"
	wait_continuous v
	mark v
	dd if=/dev/urandom of="$D_file" bs=64k count=1 seek=40 conv=notrunc status=none # below the disk
	must_fail timeout 120 godwit verify v --json >"$T/verify"
	has '.differing_bytes > 0' "$(cat "$T/verify")"
	godwit rescan v
	wait_status 60 v '.stage == "continuous"'
	wait_until 60 "equality" equal v "$D"
}

# scrubbed NAME JQ: a scrub asked for now has ended, and its result holds.
scrubbed() {
	local after result
	after=$(godwit events "$1" --json | jq '[.events[].id] | max')
	godwit scrub "$1"
	wait_until 300 "the end of the scrub" scrub_is_over "$1" "$after"
	result=$(godwit events "$1" --after "$after" --limit 1000 --json)
	jq -c '.events[] | [.code, .args]' <<<"$result"
	has "$2" "$result"
}
scrub_is_over() {
	[ "$(godwit events "$1" --after "$2" --limit 1000 --json | jq '[.events[] | select(.code | test("^SCRUB_"))] | length')" -gt 0 ]
}

# spoil NAME TEXT: one byte of it, where the store of the machine has it.
spoil() {
	local found file at
	found=$(grep -obUaF -- "$2" "$GODWIT_DATA/server/store/$(status "$1" .id)"/dat-*.gwd /dev/null | head -n 1)
	file=${found%%:*}
	at=${found#*:}
	at=${at%%:*}
	say "at $at of $file"
	printf '#' | dd of="$file" bs=1 seek=$((at + 20)) conv=notrunc status=none
}

@test "scrub finds nothing in a sound store, and names the disk, the place and the points of what rotted" {
	disk_make D 32M
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	text=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
	printf %s "$text" | dd of="$D" bs=4096 seek=512 conv=notrunc,sync status=none
	instance_start
	protect rot "$D"
	wait_continuous rot
	mark rot
	old=$LABEL
	scrubbed rot '[.events[] | select(.code == "SCRUB_DONE" and .args.damaged == "0" and (.args.bytes | tonumber) >= 8388608)] | length == 1'
	has 'all(.events[]; .code != "STORE_DAMAGED")' "$(godwit events rot --json)"
	spoil rot "$text"
	scrubbed rot '[.events[] | select(.code == "SCRUB_DONE" and (.args.damaged | tonumber) >= 1)] | length == 1'
	has "any(.events[]; .code == \"STORE_DAMAGED\" and .severity == \"error\" and (.args.offset | tonumber) <= $((512 * 4096)) and
		(.args.offset | tonumber) + (.args.length | tonumber) > $((512 * 4096)) and (.args.first | length > 0) and
		(.args.last | length > 0))" "$(godwit events rot --json)"
	must_fail godwit export rot --disk "$D" --at "$old" --format raw "$T/old.img" # an error rather than a lie
	godwit rescan rot # as the event says
	wait_status 120 rot '.stage == "continuous"'
	wait_until 120 "new points to be whole" equal rot "$D"
}

@test "pause stops what travels and resume catches up; both are events" {
	disk_make D 64M
	load_start ledger write --log "$T/log" --threads 2 --rate 300 "$D"
	instance_start
	protect p "$D"
	wait_continuous p
	godwit pause p
	wait_stage p paused 60
	sent=$(status p .sent_bytes)
	acked=$(ledger acked --log "$T/log")
	wait_until 60 "load" acked_at_least "$T/log" $((acked + 900))
	[ "$(status p .sent_bytes)" = "$sent" ]
	godwit resume p
	wait_continuous p
	load_stop
	equal p "$D"
	ledger_judge p "$D" "$T/log" 8
}

@test "every change of a setting is an event with the old value, the new one and who" {
	disk_make D 32M
	instance_start
	protect e "$D"
	setting e throttle_mbit_per_second=50
	setting e throttle_mbit_per_second=0 epoch_ms=250ms
	e=$(godwit events --json)
	has '[.events[] | select(.changes != null and .who != null) | .changes[] |
		select(.name == "throttle_mbit_per_second" and (.old | tostring) == "0" and (.new | tostring) == "50")] | length == 1' "$e"
	has '[.events[].changes[]? | select(.name == "epoch_ms" and (.old | tostring) == "500" and
		(.new | tostring) == "250")] | length == 1' "$e"
}

@test "the throttle is kept" {
	disk_make D 64M
	dd if=/dev/urandom of="$D" bs=1M count=24 oflag=direct status=none
	instance_start
	protect t "$D"
	wait_continuous t
	setting t throttle_mbit_per_second=16
	wait_throttle t 16
	begin=$(now_us)
	dd if=/dev/urandom of="$D" bs=1M count=16 seek=30 oflag=direct status=none
	mark t
	took=$((($(now_us) - begin) / 1000))
	say "16 MiB at 16 Mbit/s took $took ms"
	[ $took -ge 6500 ]
	[ $took -le 300000 ] # and it is not kept by hardly sending at all, however busy the machine
	equal t "$D"
}

# The policy of the agent's own thread.
agent_policy() { chrt -p "$(agent_pid "$1")" | sed -nE 's/.*policy: (SCHED_[A-Z]+).*/\1/p'; }
agent_has_policy() { [ "$(agent_policy "$1")" = "$2" ]; }

@test "the first scan takes only what processor time other programs leave, following takes its part" {
	[ "$(chrt -p $BASHPID | sed -nE 's/.*policy: (SCHED_[A-Z]+).*/\1/p')" = SCHED_OTHER ] ||
		skip "started with a scheduling policy of its own, which an agent keeps"
	disk_make D 512M
	dd if=/dev/urandom of="$D" bs=1M count=512 oflag=direct status=none
	instance_start
	protect_throttled t 16 "$D" # or it is through before anybody can look
	wait_until 120 "the scan to give way" agent_has_policy t SCHED_IDLE
	setting t throttle_mbit_per_second=0
	wait_continuous t 1200
	wait_until 120 "following to take its part" agent_has_policy t SCHED_OTHER
	equal t "$D"
}

@test "the log names the server's address and port 1500's like at each connection" {
	disk_make D 32M
	instance_start
	protect log "$D"
	wait_continuous log
	grep -F ":$PORT" "$GODWIT_DATA/agents/log/agent.log.0"
	server_kill
	instance_up
	mark log
	[ "$(grep -cF ":$PORT" "$GODWIT_DATA/agents/log/agent.log.0")" -ge 2 ]
}

@test "unprotect ends capture, forgets the machine and gives the room back" {
	disk_make D 32M
	dd if=/dev/urandom of="$D" bs=1M count=16 oflag=direct status=none
	instance_start
	protect gone "$D"
	wait_continuous gone
	id=$(status gone .id)
	pid=$(agent_pid gone)
	[ -e "/sys/fs/bpf/godwit/$id" ]
	timeout 60 godwit unprotect gone --yes
	wait_until 60 "end of the agent" gone "$pid"
	[ ! -e "/sys/fs/bpf/godwit/$id" ]
	[ "$(godwit status --json | jq '.machines | length')" = 0 ]
	wait_until 60 "the store to be deleted" test ! -e "$GODWIT_DATA/server/store/$id"
	protect gone "$D"
	wait_continuous gone
	equal gone "$D"
}

# protect_from_far NAME DISK: with a folder of its own, as with a console elsewhere.
protect_from_far() {
	on_end "agent_stop $1"
	timeout 300 godwit protect "$2" --name "$1" --data "$T/far" --console "https://127.0.0.1:$CONSOLE_PORT" \
		--token "$(api POST /tokens '{"role": "agent"}' | jq -r .token)" </dev/null 3>&-
	status "$1" .id >>"$T/machines"
}

@test "the agents of a machine whose console is elsewhere are stopped and started by themselves" {
	disk_make D 32M
	instance_start
	protect_from_far r "$D"
	wait_continuous r
	pid=$(agent_pid r)
	godwit down --data "$T/far" | grep -q -- '--agents'
	wait_until 60 "end of the agent" gone "$pid"
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none
	godwit up --agents --data "$T/far"
	wait_continuous r
	[ ! -e "$T/far/instance.json" ]
	equal r "$D"
	must_fail godwit up --agents --data "$T/none"
	[ ! -e "$T/none" ]
}

@test "unprotect leaves the agent of another console's machine of that name alone" {
	disk_make D 32M
	instance_start
	protect_from_far r "$D"
	wait_continuous r
	pid=$(agent_pid r)
	mkdir -p "$GODWIT_DATA/agents/r"
	on_end "rm -r $GODWIT_DATA/agents/r"
	jq '.id = "11111111-1111-4111-8111-111111111111"' "$T/far/agents/r/agent.json" >"$GODWIT_DATA/agents/r/agent.json"
	godwit unprotect r --yes
	wait_until 60 "end of the agent" gone "$pid"
	[ -z "$(godwit status --names)" ]
	[ "$(ls "$GODWIT_DATA/agents/r")" = agent.json ]
}

@test "what was unprotected at a console elsewhere can be protected again under the same name" {
	disk_make D 32M
	instance_start
	protect_from_far r "$D"
	wait_continuous r
	first=$(status r .id)
	must_fail godwit unprotect r </dev/null
	pid=$(agent_pid r)
	godwit unprotect r --yes
	wait_until 60 "end of the agent" gone "$pid"
	[ ! -e "$T/far/agents/r/agent.json" ]
	dd if=/dev/urandom of="$D" bs=1M count=8 oflag=direct status=none # nobody sees it
	protect_from_far r "$D"
	wait_continuous r
	[ "$(status r .id)" != "$first" ]
	equal r "$D"
}

@test "an instance comes up on a machine that has no host name" {
	instance_up() {
		timeout 120 unshare --uts sh -c 'echo "(none)" >/proc/sys/kernel/hostname && exec "$@"' sh godwit up --port "$PORT" \
			--console-port "$CONSOLE_PORT" --listen "$LISTEN" </dev/null 3>&-
	}
	instance_start
	[ "$(api GET /servers | jq -r '.servers[].name')" = server ]
}
