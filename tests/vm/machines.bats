# SPDX-License-Identifier: Apache-2.0
# Whole Debian 12 machines, protected from inside while they write, their power cut,
# launched from points; rebooted, and given a newer kernel.  tests/vm/run runs this; each
# takes five minutes and more without hardware virtualisation.
#
# Environment: GODWIT_VM_CACHE, where root file systems are kept (build/vm).
load ../integration/lib
load ../integration/launch
BATS_TEST_TIMEOUT=4800
setup() {
	test_begin
	needs_launch
	needs mmdebstrap blkid python3 btrfs
	CACHE=${GODWIT_VM_CACHE:-$BUILD/vm}
	SECOND=$T/second.img
	BUSES=(virtio)    # of the source machine's disks, one by one: virtio, scsi (virtio's), megasas (SCSI), nvme
	DISKS=(/dev/vda /dev/vdb)
	LATEST={} OLDER={} # what else the blueprint says of the copy of the latest point, of the older
}
teardown() { test_end; }

# An address of this machine that the guest reaches through qemu's user network.
vm_address() {
	HOST=10.$((100 + RANDOM % 100)).$((RANDOM % 250)).1
	ip addr add "$HOST/32" dev lo
	on_end "ip addr del $HOST/32 dev lo"
}

# vm_image FIRMWARE FS [OPTION...]: IMAGE, and what machine-image says of it.
vm_image() {
	local said
	IMAGE=$T/source.img
	said=$("$VM_TOOLS/machine-image" "$1" "$2" "$IMAGE" "$BUILD" "$CACHE" "${@:3}") || return 1
	eval "$said"
}

# vm_start [DISK...]: the source machine of IMAGE, its kernel started directly; with
# vm_start_grub as its firmware does it, so that it can be rebooted (vm_reboot).  Either has
# GRUB installed as the distribution does it, before it is protected.
vm_start() {
	vm_run -kernel "$kernel" -initrd "$initrd" -append "root=$root ro console=ttyS0,115200 quiet $arguments" \
		$(vm_disks "$IMAGE" "$@")
	vm_grub
}
vm_start_grub() {
	vm_run $(vm_disks "$IMAGE" "$@")
	vm_grub
}
vm_grub() {
	SECONDS_FOR_VM=400 vm "vm-grub ${DISKS[0]}" >"$T/grub.out" || { cat "$T/grub.out"; fail "GRUB is not installed"; return 1; }
	grep -q 'Installation finished. No error reported' "$T/grub.out"
}
vm_disks() { # IMAGE...
	local n=0 image
	[[ " ${BUSES[*]} " != *" scsi "* ]] || printf -- '-device virtio-scsi-pci,id=scsi '
	[[ ${BUSES[*]} != *megasas* ]] || printf -- '-device megasas,id=raid '
	for image; do
		printf -- '-drive file=%s,format=raw,if=none,id=d%s,cache=writeback,discard=unmap ' "$image" $n
		case ${BUSES[n]:-${BUSES[-1]}} in
		virtio) printf -- '-device virtio-blk-pci,drive=d%s ' $n ;;
		scsi) printf -- '-device scsi-hd,bus=scsi.0,drive=d%s ' $n ;;
		megasas) printf -- '-device scsi-hd,bus=raid.0,drive=d%s ' $n ;;
		nvme) printf -- '-device nvme,serial=disk%s,drive=d%s ' $n $n ;;
		esac
		n=$((n + 1))
	done
}
vm_run() {
	VM_ARGS=("$@") BOOTS=0
	mkdir -p "$T/host"
	vm_on
}
# vm_on: the machine of VM_ARGS, from its firmware on, until its login prompt.
vm_on() {
	local accel
	# What the first launch on this machine found out (targets/qemu/kvm.h).
	accel=$(cut -d ' ' -f 2 /run/godwit/kvm 2>/dev/null) || :
	qemu-system-x86_64 -no-reboot -nodefaults -machine q35,accel=${accel:-tcg} -cpu max -smp 2 -m 1024 -display none "${VM_ARGS[@]}" \
		-nic user,model=virtio-net-pci,net=10.9.0.0/24 \
		-chardev "file,id=log,path=$T/source.log,append=on" -serial chardev:log -serial "unix:$T/shell,server=on,wait=off" \
		-virtfs "local,path=$T/host,mount_tag=host,security_model=none,id=host" </dev/null >"$T/qemu.out" 2>&1 3>&- &
	VM=$!
	on_end "kill -9 $VM 2>/dev/null || :"
	BOOTS=$((BOOTS + 1))
	wait_until 400 "the source machine's login prompt" said_or_gone || :
	[ "0$(logins)" -ge $BOOTS ] || {
		tail -c 3000 "$T/source.log" "$T/qemu.out"
		fail "the source machine does not start"
		return 1
	}
}
logins() { grep -asc 'login:' "$T/source.log" || :; }
said_or_gone() { [ "0$(logins)" -ge $BOOTS ] || gone $VM; }
# vm_reboot: it reboots itself.  Its emulator is a new one then: qemu 7.2 that goes on keeps what
# it has translated of the code before, and throws it away page by page as the new kernel clears
# them; beside other machines a processor stood in that for up to 40 s, and a boot took minutes.
vm_reboot() {
	vm "systemctl reboot" || : # its shell may go before it answers
	wait_until 200 "the source machine to go down" gone $VM
	vm_on
}
vm() { "$VM_TOOLS/vmsh" "$T/shell" "${SECONDS_FOR_VM:-120}" "$1"; }
VM_TOOLS=$ROOT/tests/vm

# vm_protect NAME DISK...: from inside.
vm_protect() {
	local name=$1 token
	shift
	token=$(api POST /tokens '{"role": "agent"}' | jq -r .token)
	SECONDS_FOR_VM=300 vm "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; /usr/local/bin/godwit protect $* --name $name \
		--console https://$HOST:$CONSOLE_PORT --token $token" || { fail "protect inside"; return 1; }
}

# vm_agent_judge DRIVER: its agent runs by systemd as its unit confines it, captures payloads, nothing
# was denied to it, it has found out that DRIVER is there at boot, and it is back after it was killed.
vm_agent_judge() {
	local said agent=godwit-agent@whole denied="SIGSYS|status=31|type=1326|apparmor=.DENIED|godwit.*(denied|not permitted)|$SELINUX_DENIED"
	said=$(vm "systemctl is-active $agent; systemctl show -P NRestarts $agent; systemctl --failed --plain --no-legend;
		systemctl show -P SystemCallFilter $agent | grep -c finit_module;
		{ journalctl -b --no-pager -q; dmesg; } | grep -iE '$denied'; :")
	[ "$(tr -d '\r' <<<"$said" | tr '\n' ' ')" = "active 0 1 " ] || { echo "$said"; fail "the agent under systemd"; return 1; }
	[ "$(status whole .capture.mode)" = payload ] || fail "payload is not captured" || return 1
	wait_until 400 "what a launched copy needs" status_is whole ".facts.hardware.drivers.$1 == \"boot\"" ||
		{ status whole .facts; vm "tail -n 20 /var/lib/godwit/agents/whole/agent.log.0; ps ax | tail -n 40"; return 1; }
	vm "systemctl kill -s KILL --kill-who=main $agent"
	wait_until 120 "its agent to be there again" vm_agent_is_back $agent
	wait_status 300 whole ".stage == \"continuous\" and .newest_point.time > \"$(time_of "$(now_us)")\""
	tell "its agent under systemd: active, captures payloads, nothing denied, is back when killed; $1 is there at boot"
}
vm_agent_is_back() { vm "[ \$(systemctl show -P NRestarts $1) = 1 ] && systemctl is-active -q $1"; }

# vm_server_judge: godwit-server runs by systemd as its unit confines it, connected with the console; nothing
# was denied to it, it sees the kernel's modules, of which libguestfs makes its machine, and what shuts down
# launches is there, too.
vm_server_judge() {
	local said token denied="SIGSYS|status=31|type=1326|godwit-server.*(denied|not permitted)|$SELINUX_DENIED"
	token=$(api POST /tokens '{"role": "server"}' | jq -r .token)
	SECONDS_FOR_VM=300 vm "/usr/local/sbin/godwit-server enrol --console https://$HOST:$CONSOLE_PORT --token $token --name inside \
		&& systemctl start godwit-server" || { fail "a server inside"; return 1; }
	wait_until 120 "the server inside to be connected" server_is_connected inside
	said=$(vm "systemctl is-active godwit-server godwit-launches; systemctl show -P NRestarts godwit-server;
		systemctl show -P SystemCallFilter godwit-server | grep -c finit_module;
		ls /proc/\$(systemctl show -P MainPID godwit-server)/root/lib/modules/*/modules.dep | wc -l;
		{ journalctl -b --no-pager -q -u godwit-server; dmesg; } | grep -iE '$denied'; :")
	[ "$(tr -d '\r' <<<"$said" | tr '\n' ' ')" = "active active 0 1 1 " ] || { echo "$said"; fail "the server under systemd"; return 1; }
	vm "systemctl stop godwit-launches godwit-server && rm -r /var/lib/godwit/server;
		[ \$(systemctl show -P Result godwit-launches godwit-server | grep -cx success) = 2 ]"
	tell "a server under systemd: active, connected, nothing denied, sees the kernel's modules, stops"
}
server_is_connected() { api GET /servers | jq -e --arg name "$1" '.servers[] | select(.name == $name) | .connected' >/dev/null; }

# vm_instance_judge: the instance that was brought up inside before the reboot is there by systemd, on the
# ports and the address it was told and on no other, its server connected, and nothing was denied to it.
vm_instance_judge() {
	local said denied="SIGSYS|status=31|type=1326|godwit-(console|server).*(denied|not permitted)"
	wait_until 200 "the instance inside to answer" vm_instance_answers || {
		vm "systemctl status --no-pager godwit-console godwit-server; tail -n 20 /var/lib/godwit/*/*.log.0"
		return 1
	}
	said=$(vm "for unit in godwit-console godwit-server; do systemctl is-active \$unit; systemctl show -P NRestarts \$unit; done;
		awk '\$4 == \"0A\" && \$2 ~ /:(09C4|24E3|05DC|20FB)\$/ { print \$2 }' /proc/net/tcp | sort;
		{ journalctl -b --no-pager -q; dmesg; } | grep -iE '$denied'; :")
	[ "$(tr -d '\r' <<<"$said" | tr '\n' ' ')" = "active 0 active 0 0100007F:09C4 0100007F:24E3 " ] || {
		echo "$said"
		fail "the instance under systemd"
		return 1
	}
	SECONDS_FOR_VM=300 vm "/usr/local/bin/godwit down --keep-agents && ! systemctl -q is-enabled godwit-console godwit-server"
	tell "an instance brought up on other ports and one address is there again after the reboot, on those"
}
vm_instance_answers() {
	vm "/usr/local/bin/godwit status --json >/dev/null && [ \$(grep -c 'the console is there' /var/lib/godwit/server/server.log.0) -ge 2 ]"
}

acked_records() { cat "$T/host/acked" 2>/dev/null | wc -l; }
acked_more_than() { [ "$(acked_records)" -gt "$1" ]; }
# acked_by TIME_US: the last record acknowledged by then.
acked_by() { awk -v t="$1" '$2 <= t { n = $1 } END { print n + 0 }' "$T/host/acked"; }

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

# tell TEXT: shown also of a test that passes; tests/vm/run keeps it.
tell() { echo "# $*" >&3; }

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

# What SELinux has denied to godwit: what names it; all that was denied in the domains in which a policy that
# does not know godwit has it (that of services without one, and systemd's, where it stays if it may not leave
# that); what was denied for want of a label.  Debian's policy denies this and that to Debian's own programs
# (udev, tmpfiles, getty, and dmesg on the shell's line), which is not counted.
SELINUX_DENIED="avc: +denied.*(godwit|scontext=[^ ]*:(init|initrc|unconfined)_t:|:unlabeled_t:)|seresult=denied"

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

# vm_load: the load runs (again).
vm_load() {
	local before
	before=$(acked_records)
	vm "systemd-run --unit load /usr/local/sbin/vm-load"
	wait_until 300 "the load to run" acked_more_than $((before + 5)) || {
		tail -c 3000 "$T/source.log"
		vm "uptime; systemctl status --no-pager load 'godwit-agent@*'; systemctl list-jobs --no-pager; ip -br address; ps ax -o stat,wchan:20,args | grep -v ' \\['; dmesg | tail -n 40" || :
		return 1
	}
}

# vm_rescanned KERNEL: after it has booted, with KERNEL, and nothing done to it, its agent is
# there, has compared by hashes and sent what differs, and protection is continuous.
vm_rescanned() {
	local begin size sent running
	begin=$(now_us)
	vm_load
	wait_status 600 whole ".stage == \"continuous\" and .newest_point.time > \"$(time_of "$begin")\""
	read -r size sent < <(status whole '"\(.disks[0].size_bytes) \(.sent_bytes)"')
	running=$(vm "uname -r" | tail -n 1)
	[[ $running =~ $1 ]] || fail "it runs $running" || return 1
	tell "boot $BOOTS, kernel $running, capture $(status whole .capture.mode): compared by hashes," \
		"$sent bytes sent for a disk of $size, until protection was continuous again $((($(now_us) - begin) / 1000000)) s" \
		"after the login prompt, under load"
	vm "systemctl is-active godwit-agent@whole && systemctl is-enabled godwit-agent@whole && [ \$(grep -c 'to Rescan' /var/lib/godwit/agents/whole/agent.log.0) -ge $((BOOTS - 1)) ]"
	[ $((sent * 10)) -lt "$size" ] || fail "not only differences were sent" || return 1
	[ "$(status whole .capture.mode)" = payload ] || fail "payload is not captured"
}

# vm_equal: with the load stopped, its disk and the latest point are the same, byte for byte.
# Its agent writes a line or a page now and then, so the machine is halted meanwhile, and looked
# at again when there was a write later than the latest point.
vm_equal() {
	vm "systemctl stop load; sync"
	mark whole
	wait_until 60 "a moment at which disk and replica are equal" vm_equal_now || {
		cat "$T/differ"
		fail "disk (left) and replica (right) differ"
		return 1
	}
	tell "after boot $BOOTS: disk and replica are equal, $(stat -c %s "$IMAGE") bytes"
}
vm_equal_now() {
	local bad=0
	kill -STOP "$VM"
	disk_copy whole latest /dev/vda "$T/equal.img" && imgdiff "$IMAGE" "$T/equal.img" >"$T/differ" || bad=1
	kill -CONT "$VM"
	rm -f "$T/equal.img"
	return $bad
}

@test "Debian 12, BIOS, ext4: a reboot of the source, and one into a newer kernel: its agent starts by itself, rescans by hashes, sends only what differs" {
	vm_address
	instance_start "$HOST"
	vm_image bios ext4 --second-kernel
	vm_start_grub
	vm_load
	vm_protect whole /dev/vda
	wait_continuous whole 2400
	[ "$(status whole .capture.mode)" = payload ]
	SECONDS_FOR_VM=300 vm "/usr/local/bin/godwit up --port 2500 --console-port 9443 --listen 127.0.0.1"
	vm_reboot
	vm_rescanned "^6[.]1[.]"
	vm_instance_judge
	vm_equal
	SECONDS_FOR_VM=1500 vm "dpkg --force-confold -i /var/cache/kernel/*.deb" >"$T/dpkg.out" || { cat "$T/dpkg.out"; fail "the newer kernel"; }
	vm_reboot
	vm_rescanned "^6[.]12[.]"
	vm_equal
}
