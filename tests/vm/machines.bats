# SPDX-License-Identifier: Apache-2.0
# Whole Debian 12 machines, protected from inside while they write, their power cut, launched
# from points.
load machines

# point_judge NAME POINT FS DISK OFFSET BYTES: its file system, mounted once, is clean.
point_judge() {
	local dev
	disk_copy "$1" "$2" "$4" "$T/point.img" || return 1
	disk_attach dev "$T/point.img" --offset "$5" --sizelimit "$6" || return 1
	disk_mount "$dev" "$T/judge" || fail "the point's $4 does not mount" || return 1
	umount "$T/judge"
	case $3 in
	ext4) e2fsck -fn "$dev" ;;
	xfs) xfs_repair -n "$dev" ;;
	btrfs) btrfs check --readonly "$dev" ;;
	esac >"$T/fsck.out" 2>&1 || { cat "$T/fsck.out"; fail "fsck of $4"; return 1; }
	disk_detach "$dev" "$T/point.img"
	rm -f "$T/point.img"
}

# What the lines begin with that /boot/post_launch/check says.
CHECK_SAYS="CHECK|SECOND|COMMITS|BALANCE|POSTGRESQL|SELINUX|UNLABELLED|ADDRESS|AGENT|BAD"
# said_of KEY LINE: the number that /boot/post_launch/check says.
said_of() { sed -nE "s/^$2 .*\b$1=([0-9]+).*/\1/p" "$T/check"; }

# launched_judge NAME POINT TIME_US BLUEPRINT: it boots, has everything acknowledged by then, and its agent rests.
# That it has booted is proved by a command in it, and post_launch runs after that.
launched_judge() {
	local last want after
	after='echo $GODWIT_LAUNCH; systemctl show -P Result godwit-post-launch; '
	after+='systemctl --failed --plain --no-legend | grep -v vmsh; '
	after+="journalctl -b -q --no-pager | grep -E '$SELINUX_DENIED'; findmnt -no SOURCE /"
	launch "$1" "$(jq -nc --arg at "$2" --arg after "$after" --argjson more "$4" '{at: $at, blueprint: ({memory_mib: 1024,
		cpus: 2, proof: "command", proof_command: "cat /run/checked", proof_seconds: 900, post_launch: $after} + $more)}')"
	wait_launch 900 "$LAUNCH" booted
	wait_until 200 "post_launch" post_launch_ran "$LAUNCH"
	[ "$(record "$LAUNCH" '"\(.proof_command.status) \(.proof_command.output)"')" = "0 checked" ] ||
		fail "the proof's command" || return 1
	after=$(record "$LAUNCH" .post_launch.output)
	[ "$(head -n -1 <<<"$after")" = "$(printf '%s\nsuccess' "$LAUNCH")" ] || { echo "$after"; fail "post_launch"; return 1; }
	tell "root is $(tail -n 1 <<<"$after"), booted and proved by a command in it; post_launch ran, status" \
		"$(record "$LAUNCH" .post_launch.status)"
	wait_until 100 "its login prompt" launch_says "$LAUNCH" "login:"
	tr -d '\0\r' <"$(launch_folder)/serial.log" | grep -aE "^($CHECK_SAYS) " >"$T/check"
	cat "$T/check"
	last=$(said_of last CHECK)
	want=$(acked_by "$3")
	tell "launched $LAUNCH: last record $last, acknowledged by the point's time $want," \
		"started after $(record "$LAUNCH" .milliseconds.started) ms, proof after $(record "$LAUNCH" .milliseconds.proof) ms"
	grep -q '^CHECK.* bad=0 gaps=0' "$T/check" || fail "records are not what was synced" || return 1
	[ "$want" -gt 0 ] && [ "${last:-0}" -ge "$want" ] || fail "acknowledged records are missing" || return 1
	grep -q "^AGENT RESTS" "$T/check" || fail "the copy's agent does not rest" || return 1
	[ ! -e "$SECOND" ] || second_judge "$last" "$want" || return 1
	[ ! -e "$T/host/committed.1" ] || commits_judge "$3" || return 1
	[ -z "${SELINUX_CARD-}" ] || selinux_judge "$4" || return 1
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

post_launch_ran() { [ "$(record "$1" .post_launch.pending)" = false ]; }

# second_judge LAST WANT: nothing on the second disk that the first lacks, and what was acknowledged.
second_judge() {
	local second
	second=$(said_of last SECOND)
	tell "on the second disk: last record $second"
	[ "$(said_of gaps SECOND)" = 0 ] || fail "the second disk has gaps" || return 1
	[ "$second" -le "$1" ] || fail "the second disk is ahead of the first" || return 1
	[ "$second" -ge "$2" ] || fail "acknowledged records are missing on the second disk"
}

# commits_judge TIME_US: every transaction acknowledged by then, and none by half.
commits_judge() {
	local session want last
	grep -qx 'BALANCE 0' "$T/check" || fail "a transaction is there by half" || return 1
	for session in 1 2; do
		want=$(awk -v t="$1" '$3 <= t { n = $2 } END { print n + 0 }' "$T/host/committed.$session")
		last=$(said_of last "COMMITS session=$session")
		tell "PostgreSQL, session $session: last transaction $last, acknowledged by the point's time $want"
		[ "$want" -gt 0 ] && [ "${last:-0}" -ge "$want" ] || fail "acknowledged commits are missing" || return 1
		[ "$(said_of count "COMMITS session=$session")" = "$last" ] || fail "commits are missing" || return 1
	done
}

# selinux_source: the source machine enforces; its network is bound to its card, so that a copy has to be changed.
selinux_source() {
	SELINUX_CARD=52:54:00:12:34:56 # qemu's
	[ "$(vm getenforce | tr -d '\r')" = Enforcing ] || fail "the source does not enforce" || return 1
	vm "ip link | grep -q $SELINUX_CARD && sed -i 's/^Name=.*/MACAddress=$SELINUX_CARD/' /etc/systemd/network/10-all.network"
}

# selinux_judge BLUEPRINT: the copy enforces, every file of it has a label, SSH's server has its keys; if it was changed
# on the way, it has its address by the files written then.
selinux_judge() {
	local said
	said=$(grep '^SELINUX' "$T/check")
	tell "the copy by SELinux: ${said#SELINUX }, nothing denied"
	[ "$said" = "SELINUX Enforcing ssh=active unlabelled=0" ] || fail "SELinux in the copy" || return 1
	[[ $1 != *convert*always* ]] || selinux_changed_judge
}
selinux_changed_judge() {
	local file
	record "$LAUNCH" '.log[] | .time + " " + .message' | sed 's/^/# /' >&3
	for file in /etc/systemd/network/10-all.network /etc/systemd/network/10-godwit-launch.link /etc/machine-id /etc/ssh; do
		record "$LAUNCH" '.log[].message' | grep -q "^$file: " || fail "$file was not changed" || return 1
	done
	grep -qE '^ADDRESS .*10[.]0[.]2[.]' "$T/check" || fail "the copy has no address"
}

# The power cut after a minute of load, and both points.
cut_and_launched() { # FS [DISK...], each launched and looked at
	local begin id at
	begin=$(now_us)
	wait_until 200 "a minute of points" older_than whole 62 "$begin"
	kill -9 "$VM"
	wait_until 10 "the power cut" gone "$VM"
	tell "$(acked_records) records acknowledged; power cut"
	read -r id at _ < <(points whole | tail -n 1)
	both_judges "$1" "$id" "$at" "$LATEST"
	read -r id at _ < <(points whole | awk -v t=$((at - 60000000)) '$2 <= t' | tail -n 1)
	both_judges "$1" "$id" "$at" "$OLDER"
}
both_judges() { # FS POINT TIME_US BLUEPRINT
	launched_judge whole "$2" "$3" "$4"
	point_judge whole "$2" "$1" "${DISKS[0]}" "$offset" "$bytes"
	[ ! -e "$SECOND" ] || point_judge whole "$2" xfs "${DISKS[1]}" 0 "$(stat -c %s "$SECOND")"
}
# older_than NAME SECONDS FROM_US: its points since then are so far apart.
older_than() {
	points "$1" --from "$(time_of "$3")" | awk -v s="$2" 'NR == 1 { a = $2 } { b = $2 } END { exit b - a < s * 1000000 }'
}

protected_cut_and_launched() { # DRIVER FIRMWARE FS [OPTION...]
	local driver=$1 more=()
	shift
	vm_address
	instance_start "$HOST"
	vm_image "$@"
	[ ! -e "$SECOND" ] || more=("$SECOND")
	vm_start "${more[@]}"
	[[ " $* " != *" --selinux "* ]] || selinux_source
	vm "systemd-run --unit load /usr/local/sbin/vm-load"
	wait_until 120 "the load to run" acked_more_than 5
	vm_protect whole "${DISKS[@]:0:$((${#more[@]} + 1))}"
	wait_continuous whole 2400
	vm_agent_judge "$driver"
	[ -z "${SERVER_INSIDE-}" ] || vm_server_judge
	cut_and_launched "$2"
}

@test "Debian 12, BIOS, ext4: protected from inside under load, its power cut, launched from the latest point and one a minute older" {
	SERVER_INSIDE=1
	protected_cut_and_launched virtio_blk bios ext4
}

@test "Debian 12, UEFI, xfs on SCSI: protected from inside under load, its power cut, launched from the latest point on virtio, and on SCSI from one a minute older" {
	BUSES=(scsi) DISKS=(/dev/sda) OLDER='{"disk_bus": "scsi"}'
	protected_cut_and_launched virtio_scsi uefi xfs
}

@test "Debian 12, BIOS, GPT, btrfs on NVMe, data on a second disk on SCSI: protected from inside under load, its power cut, launched from the latest point on virtio, and on NVMe from one a minute older" {
	BUSES=(nvme megasas) DISKS=(/dev/nvme0n1 /dev/sda) OLDER='{"disk_bus": "nvme"}'
	protected_cut_and_launched nvme bios btrfs --gpt --second "$SECOND"
}

@test "Debian 12, BIOS, ext4, SELinux enforcing: protected from inside under load, its power cut, launched as it is from the latest point, and changed for its new card, with a new identity, from one a minute older: it enforces, nothing of godwit is denied" {
	LATEST='{"convert": "never"}'
	OLDER='{"convert": "always", "new_identity": "yes"}'
	SERVER_INSIDE=1
	needs supermin guestfish
	[ -x "$BUILD/targets/godwit-convert" ] || skip "it was built without libguestfs"
	appliance_choose
	protected_cut_and_launched virtio_blk bios ext4 --selinux
}

@test "Debian 12, UEFI, root and /boot on LVM, data on a second disk, PostgreSQL: its power cut, launched: no record on the second disk that the first lacks, every acknowledged commit there" {
	vm_address
	instance_start "$HOST"
	vm_image uefi ext4 --lvm --second "$SECOND" --postgresql
	vm_start "$SECOND"
	vm "systemd-run --unit load /usr/local/sbin/vm-load"
	wait_until 120 "the load to run" acked_more_than 5
	vm "systemd-run --unit commits /usr/local/sbin/vm-commits"
	wait_until 240 "commits" committed_more_than 10
	vm_protect whole /dev/vda /dev/vdb
	wait_continuous whole 2400
	cut_and_launched ext4
}
committed_more_than() { [ "$(cat "$T/host/committed.1" 2>/dev/null | wc -l)" -gt "$1" ]; }
