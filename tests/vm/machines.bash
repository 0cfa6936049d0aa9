# SPDX-License-Identifier: Apache-2.0
# Whole Debian 12 machines that are protected from inside while they write: what the tests of them
# share (machines.bats, reboot.bats).  tests/vm/run runs these; each takes five minutes and more
# without hardware virtualisation.
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

# What SELinux has denied to godwit: what names it; all that was denied in the domains in which a policy that
# does not know godwit has it (that of services without one, and systemd's, where it stays if it may not leave
# that); what was denied for want of a label.  Debian's policy denies this and that to Debian's own programs
# (udev, tmpfiles, getty, and dmesg on the shell's line), which is not counted.
SELINUX_DENIED="avc: +denied.*(godwit|scontext=[^ ]*:(init|initrc|unconfined)_t:|:unlabeled_t:)|seresult=denied"

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

acked_records() { cat "$T/host/acked" 2>/dev/null | wc -l; }
acked_more_than() { [ "$(acked_records)" -gt "$1" ]; }
# acked_by TIME_US: the last record acknowledged by then.
acked_by() { awk -v t="$1" '$2 <= t { n = $1 } END { print n + 0 }' "$T/host/acked"; }

# tell TEXT: shown also of a test that passes; tests/vm/run keeps it.
tell() { echo "# $*" >&3; }
