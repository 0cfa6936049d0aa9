# SPDX-License-Identifier: Apache-2.0
# Whole Debian 12 machines, protected from inside while they write, their power cut,
# launched from points.  tests/vm/run runs this; it takes minutes without hardware
# virtualisation.
#
# Environment: GODWIT_VM_CACHE, where root file systems are kept (build/vm).
load ../integration/lib
load ../integration/launch
BATS_TEST_TIMEOUT=2400
setup() {
	test_begin
	needs_launch
	needs mmdebstrap blkid python3
	CACHE=${GODWIT_VM_CACHE:-$BUILD/vm}
}
teardown() { test_end; }

# An address of this machine that the guest reaches through qemu's user network.
vm_address() {
	HOST=10.$((100 + RANDOM % 100)).$((RANDOM % 250)).1
	ip addr add "$HOST/32" dev lo
	on_end "ip addr del $HOST/32 dev lo"
}

# vm_start IMAGE KERNEL INITRD UUID [DISK...]: the source machine.
vm_start() {
	local extra=() disk accel
	# What the first launch on this machine found out (targets/qemu/kvm.h).
	accel=$(cut -d ' ' -f 2 /run/godwit/kvm 2>/dev/null) || :
	for disk in "${@:5}"; do
		extra+=(-drive "file=$disk,format=raw,if=virtio,cache=writeback,discard=unmap")
	done
	mkdir -p "$T/host"
	qemu-system-x86_64 -nodefaults -machine q35,accel=${accel:-tcg} -cpu max -smp 2 -m 1024 -display none -no-reboot \
		-kernel "$2" -initrd "$3" -append "root=UUID=$4 ro console=ttyS0,115200 quiet" \
		-drive "file=$1,format=raw,if=virtio,cache=writeback,discard=unmap" "${extra[@]}" \
		-nic user,model=virtio-net-pci,net=10.9.0.0/24 \
		-serial "file:$T/source.log" -serial "unix:$T/shell,server=on,wait=off" \
		-virtfs "local,path=$T/host,mount_tag=host,security_model=none,id=host" </dev/null >"$T/qemu.out" 2>&1 3>&- &
	VM=$!
	on_end "kill -9 $VM 2>/dev/null || :"
	wait_until 400 "the source machine's login prompt" said_or_gone || :
	grep -aq 'login:' "$T/source.log" || {
		tail -c 3000 "$T/source.log" "$T/qemu.out"
		fail "the source machine does not start"
		return 1
	}
}
said_or_gone() { grep -aq 'login:' "$T/source.log" || gone $VM; }
vm() { "$VM_TOOLS/vmsh" "$T/shell" "${SECONDS_FOR_VM:-120}" "$1"; }
VM_TOOLS=$ROOT/tests/vm

# vm_protect NAME DISK...: from inside.
vm_protect() {
	local name=$1 token
	shift
	token=$(api POST /tokens '{"role": "agent"}' | jq -r .token)
	vm "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; /usr/local/bin/godwit protect $* --name $name \
		--console https://$HOST:$CONSOLE_PORT --token $token" || { fail "protect inside"; return 1; }
}

acked_records() { wc -l <"$T/host/acked" 2>/dev/null || echo 0; }
acked_more_than() { [ "$(acked_records)" -gt "$1" ]; }
# acked_by TIME_US: the last record acknowledged by then.
acked_by() { awk -v t="$1" '$2 <= t { n = $1 } END { print n + 0 }' "$T/host/acked"; }

# point_judge NAME POINT FS OFFSET: its file system, mounted once, is clean.
point_judge() {
	local dev
	disk_copy "$1" "$2" "$5" "$T/point.img" || return 1
	disk_attach dev "$T/point.img" --offset "$4" || return 1
	disk_mount "$dev" "$T/judge" || fail "the point does not mount" || return 1
	umount "$T/judge"
	case $3 in
	ext4) e2fsck -fn "$dev" ;;
	xfs) xfs_repair -n "$dev" ;;
	esac >"$T/fsck.out" 2>&1 || { cat "$T/fsck.out"; fail "fsck"; return 1; }
	disk_detach "$dev" "$T/point.img"
	rm -f "$T/point.img"
}

# launched_judge NAME POINT TIME_US: it boots, has everything acknowledged by then, and its agent rests.
launched_judge() {
	local last want
	launch "$1" "$(jq -nc --arg at "$2" '{at: $at, blueprint: {memory_mib: 1024, cpus: 2, proof: "text", proof_text:
		"CHECKED", proof_seconds: 900}}')"
	wait_launch 900 "$LAUNCH" booted
	sed -n '/^CHECK /s/\r//p' <(tr -d '\0' <"$(launch_folder)/serial.log") >"$T/check"
	cat "$T/check"
	last=$(sed -nE 's/.* last=([0-9]+) .*/\1/p' "$T/check")
	want=$(acked_by "$3")
	say "launched $LAUNCH: last record $last, acknowledged by the point's time $want," \
		"kernel $(record "$LAUNCH" .milliseconds.kernel) ms, proof $(record "$LAUNCH" .milliseconds.proof) ms"
	grep -q ' bad=0 gaps=0' "$T/check" || fail "records are not what was synced" || return 1
	[ "$want" -gt 0 ] && [ "${last:-0}" -ge "$want" ] || fail "acknowledged records are missing" || return 1
	launch_says "$LAUNCH" "AGENT RESTS"
	launch_says "$LAUNCH" "login:"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

# A minute of load, the power cut, and both points.
protected_cut_and_launched() { # FIRMWARE FS OFFSET
	local kernel initrd uuid begin
	vm_address
	instance_start "$HOST"
	read -r kernel initrd uuid < <("$VM_TOOLS/machine-image" "$1" "$2" "$T/source.img" "$BUILD" "$CACHE")
	vm_start "$T/source.img" "$kernel" "$initrd" "$uuid"
	vm "systemd-run --unit load /usr/local/sbin/vm-load"
	wait_until 120 "the load to run" acked_more_than 5
	vm_protect whole /dev/vda
	wait_continuous whole 600
	begin=$(now_us)
	wait_until 200 "a minute of points" older_than whole 62 "$begin"
	kill -9 "$VM"
	wait_until 10 "the power cut" gone "$VM"
	say "$(acked_records) records acknowledged; power cut"
	read -r id at _ < <(points whole | tail -n 1)
	launched_judge whole "$id" "$at"
	point_judge whole "$id" "$2" "$3" /dev/vda
	read -r id at _ < <(points whole | awk -v t=$((at - 60000000)) '$2 <= t' | tail -n 1)
	launched_judge whole "$id" "$at"
	point_judge whole "$id" "$2" "$3" /dev/vda
}
# older_than NAME SECONDS FROM_US: its points since then are so far apart.
older_than() {
	points "$1" --from "$(time_of "$3")" | awk -v s="$2" 'NR == 1 { a = $2 } { b = $2 } END { exit b - a < s * 1000000 }'
}

@test "Debian 12, BIOS, ext4: protected from inside under load, its power cut, launched from the latest point and one a minute older" {
	protected_cut_and_launched bios ext4 $((2048 * 512))
}

@test "Debian 12, UEFI, xfs: protected from inside under load, its power cut, launched from the latest point and one a minute older" {
	protected_cut_and_launched uefi xfs $((67584 * 512))
}
