# SPDX-License-Identifier: Apache-2.0
# A whole Debian 12 machine that is bound to the hardware that it ran on, launched on other:
# libguestfs changes its copy.  tests/vm/run runs this; it takes ten minutes and more without
# hardware virtualisation.
#
# Environment: GODWIT_VM_CACHE, where root file systems are kept (build/vm).
load ../integration/lib
load ../integration/launch
BATS_TEST_TIMEOUT=5400
setup() {
	test_begin
	needs_launch
	needs mmdebstrap blkid supermin guestfish cpio
	[ -x "$BUILD/targets/godwit-convert" ] || skip "it was built without libguestfs"
	CACHE=${GODWIT_VM_CACHE:-$BUILD/vm}
	appliance_choose
}
teardown() { test_end; }

OLD_MAC=de:ad:be:ef:00:01

# in_guest COMMAND...: with $work as /.  This machine's /dev is mounted in it for that command
# only, in a mount namespace: a test that is interrupted takes its folder away, and what is in it.
in_guest() {
	unshare --mount --propagation private env -u TMPDIR sh -c 'guest=$1; shift
		for f in dev proc sys; do mount --bind /$f "$guest/$f" || exit 1; done; exec chroot "$guest" "$@"' sh "$work" "$@"
}

# bound_make [--dracut]: IMAGE, a machine of SATA disks and a network card, named in its files.
bound_make() {
	local said work=$T/guest device f make
	IMAGE=$T/source.img
	said=$("$ROOT/tests/vm/machine-image" bios ext4 "$IMAGE" "$BUILD" "$CACHE" "$@") || return 1
	eval "$said"
	disk_attach device "$IMAGE" --offset "$offset" --sizelimit "$bytes" || return 1
	mkdir -p "$work"
	mount "$device" "$work" || return 1
	UUID=$(blkid -p -s UUID -o value "$device")
	VERSION=$(ls "$work/lib/modules" | tail -n 1)
	printf '# / was on /dev/sda1 during installation\n/dev/sda1 / ext4 defaults 0 1\n' >"$work/etc/fstab"
	cat >"$work/boot/grub/grub.cfg" <<-GRUB
		serial --unit=0 --speed=115200
		terminal_output serial
		set root=(hd0,msdos1)
		linux /boot/vmlinuz-$VERSION root=/dev/sda1 ro console=ttyS0,115200 quiet
		initrd /boot/initrd.img-$VERSION
		boot
	GRUB
	rm -f "$work"/etc/systemd/network/*
	printf '[Match]\nMACAddress=%s\n[Link]\nName=ens18\n' $OLD_MAC >"$work/etc/systemd/network/05-lan.link"
	printf '[Match]\nName=ens18\n[Network]\nDHCP=yes\n' >"$work/etc/systemd/network/10-lan.network"
	if [ "${1-}" = --dracut ]; then
		make=(dracut --force "/boot/initrd.img-$VERSION" "$VERSION")
		# On an emulated processor each of its modules takes seconds.
		cat >"$work/etc/dracut.conf.d/10-few.conf" <<-'CONF'
			drivers+=" ahci sd_mod ext4 "
			omit_dracutmodules+=" qemu qemu-net crypt dm dmraid lvm mdraid multipath nvmf nvdimm btrfs overlay-root resume "
		CONF
	else
		make=(update-initramfs -u -k "$VERSION")
		echo MODULES=list >"$work/etc/initramfs-tools/conf.d/few"
		printf '%s\n' ahci sd_mod ext4 >>"$work/etc/initramfs-tools/modules"
	fi
	cat >"$work/boot/post_launch/check" <<-'CHECK'
		#!/bin/bash
		exec >/dev/console 2>&1
		/lib/systemd/systemd-networkd-wait-online --any --operational-state=routable --timeout=120
		echo
		echo "ROOT $(findmnt -no SOURCE /) $(cat /proc/cmdline)"
		echo "NETWORK $(ip -br -4 address | tr '\n' ' ')"
		echo "IDENTITY $(cat /etc/machine-id)"
		echo CHECKED
	CHECK
	in_guest systemctl --quiet enable godwit-post-launch.service # as `godwit protect` does
	in_guest "${make[@]}" >"$T/initramfs.out" 2>&1 || { cat "$T/initramfs.out"; f=failed; }
	OLD_IDENTITY=$(cat "$work/etc/machine-id")
	umount "$work"
	[ "$f" != failed ] || return 1
	# GRUB reads its configuration from the disk.
	grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$T/core.img" biosdisk part_msdos ext2 normal linux serial \
		terminal boot
	dd if="$T/core.img" of="$IMAGE" bs=512 seek=1 conv=notrunc status=none
	# What its agent would see, were it running: its files, and what the kernel says of the old hardware.
	mount -o ro,noload "$device" "$work"
	on_end "umount $work"
	mkdir -p "$T"/source/{proc/net,proc/sys/kernel,sys/class/net/ens18,dev/disk/by-uuid} "$T/bin"
	ln -s "$work/etc" "$work/boot" "$work/lib" "$T/source/"
	echo "$VERSION" >"$T/source/proc/sys/kernel/osrelease"
	echo "root=/dev/sda1 ro" >"$T/source/proc/cmdline"
	printf 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nens18\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n' \
		>"$T/source/proc/net/route"
	echo $OLD_MAC >"$T/source/sys/class/net/ens18/address"
	ln -s ../../sda1 "$T/source/dev/disk/by-uuid/$UUID"
	if [ "${1-}" = --dracut ]; then
		printf '#!/bin/sh\ndracutbasedir=%s/usr/lib/dracut exec bash %s/usr/bin/lsinitrd "$1"\n' "$work" "$work"
	else
		printf '#!/bin/sh\nexec sh %s/usr/bin/unmkinitramfs --list -- "$1"\n' "$work"
	fi >"$T/bin/lsinitramfs"
	chmod 755 "$T/bin/lsinitramfs"
	export GODWIT_FACTS_ROOT=$T/source PATH=$PATH:$T/bin
}

log_says() { record "$1" '.log[].message' | grep -qF -- "$2" || { record "$1" .log; fail "its log does not say: $2"; }; }
# The login prompt may stand before it.
console_says() { tr -d '\0\r' <"$(launch_folder)/serial.log" | grep -aoE "$1 /?[a-z0-9].*" | tail -n 1; }
facts_are_known() { [ "$(status bound '.facts.hardware.drivers.ahci')" = boot ]; }

@test "a machine without virtio in its initramfs, with root and fstab by name and its network bound to its old card, starts on virtio" {
	local mac disk
	bound_make
	disk_attach D "$IMAGE"
	instance_start
	machine_protect bound "$D"
	wait_until 60 "the facts" facts_are_known
	timeout 20 godwit blueprint bound disk_bus=virtio >/dev/null
	status bound '.launch_needs[].text'
	[ "$(status bound '[.launch_needs[].code] | unique | join(" ")')" = "NEEDS_INITRAMFS NEEDS_NAME NEEDS_NETWORK" ]
	launch bound '{"blueprint": {"memory_mib": 1024, "cpus": 2, "proof": "text", "proof_text": "CHECKED", "proof_seconds": 900,
		"new_identity": "yes"}}'
	wait_launch 2400 "$LAUNCH" booted || { record "$LAUNCH" '.log[].message'; return 1; }
	record "$LAUNCH" '.log[] | .time + " " + .message' | sed 's/^/# /' >&3
	mac=52:54:00:${LAUNCH:0:2}:${LAUNCH:2:2}:${LAUNCH:4:2}
	log_says "$LAUNCH" "/etc/fstab: /dev/sda1 is UUID=$UUID now"
	log_says "$LAUNCH" "/boot/grub/grub.cfg: root=/dev/sda1 is root=UUID=$UUID now"
	log_says "$LAUNCH" "/etc/systemd/network/05-lan.link: the address $OLD_MAC is $mac now"
	log_says "$LAUNCH" "10-godwit-launch.link: the card with the address $mac is called ens18"
	log_says "$LAUNCH" "/boot/initrd.img-$VERSION: has drivers for virtio disks now"
	log_says "$LAUNCH" "/etc/machine-id: emptied"
	console_says ROOT
	console_says ROOT | grep -q "ROOT /dev/vda1 .*root=UUID=$UUID "
	console_says NETWORK
	console_says NETWORK | grep -qE 'ens18 +UP +10\.0\.2\.'
	must_fail grep -qF "$OLD_IDENTITY" <<<"$(console_says IDENTITY)"
	# the source and its replica are as they were
	equal bound "$D"

	# done again there is nothing left to do, also on the machine that has run since
	api POST "/launches/$LAUNCH/keep" >/dev/null
	wait_launch 300 "$LAUNCH" standing
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 20 "the launch to fail" has_failed "$LAUNCH"
	disk=$(launch_folder)/disk0.qcow2
	(cd "$(launch_folder)" && "$BUILD/targets/godwit-convert" . 1 virtio) >"$T/again" 2>&1 || { cat "$T/again"; fail "again"; }
	must_fail grep '^step' "$T/again"
	terminate "$LAUNCH"
	wait_until 20 "its disk to go" test ! -e "$disk"
}

@test "a machine that is killed while it is changed leaves nothing, and the next attempt starts it on SATA disks" {
	bound_make
	disk_attach D "$IMAGE"
	instance_start
	machine_protect bound "$D"
	wait_until 60 "the facts" facts_are_known
	launch bound '{"blueprint": {"disk_bus": "virtio"}}'
	changing() { [ -n "$(launch_pids "$LAUNCH" godwit-convert)" ] && record "$LAUNCH" '.log[].message' | grep -q "UUID=$UUID"; }
	wait_until 600 "the first change" changing
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH" 30
	# SATA disks have the names that its files say; only its network is changed
	launch bound '{"blueprint": {"memory_mib": 1024, "cpus": 2, "proof": "text", "proof_text": "CHECKED", "proof_seconds": 900}}'
	wait_launch 1500 "$LAUNCH" booted || { record "$LAUNCH" '.log[].message'; return 1; }
	record "$LAUNCH" '.log[] | .time + " " + .message' | sed 's/^/# /' >&3
	must_fail grep -qE 'fstab|grub|initrd.img' <<<"$(record "$LAUNCH" '.log[].message' | grep -v 'attached by')"
	console_says ROOT | grep -q "ROOT /dev/sda1 "
	console_says NETWORK | grep -qE 'ens18 +UP +10\.0\.2\.'
	console_says IDENTITY | grep -q "$OLD_IDENTITY"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH" 30
}

@test "a machine whose initramfs dracut makes, without virtio in it, with root and fstab by name, starts on virtio" {
	bound_make --dracut
	disk_attach D "$IMAGE"
	instance_start
	machine_protect bound "$D"
	wait_until 60 "the facts" facts_are_known
	[ "$(status bound .facts.hardware.drivers.virtio_blk)" = module ]
	launch bound '{"blueprint": {"disk_bus": "virtio", "memory_mib": 1024, "cpus": 2, "proof": "text", "proof_text": "CHECKED",
		"proof_seconds": 900}}'
	wait_launch 2400 "$LAUNCH" booted || { record "$LAUNCH" '.log[].message'; return 1; }
	record "$LAUNCH" '.log[] | .time + " " + .message' | sed 's/^/# /' >&3
	log_says "$LAUNCH" "/boot/initrd.img-$VERSION: has no driver for virtio disks, it is made anew"
	log_says "$LAUNCH" "/etc/dracut.conf.d/99-godwit-launch.conf: written"
	log_says "$LAUNCH" "/boot/initrd.img-$VERSION: has drivers for virtio disks now"
	console_says ROOT | grep -q "ROOT /dev/vda1 .*root=UUID=$UUID "
	console_says NETWORK | grep -qE 'ens18 +UP +10\.0\.2\.'
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH" 30
}

# No whole machine is needed for this: as much of one as libguestfs knows it by.
@test "of several network cards each keeps its name, and its address is replaced where it is; what is written, SSH's new keys too, has a label of SELinux" {
	local root=$T/guest f=$T/launch card
	mkdir -p "$root"/{bin,etc/network,etc/systemd/network,lib/systemd,usr,var,boot} "$f"
	echo 12.0 >"$root/etc/debian_version"
	printf 'ID=debian\nVERSION_ID="12"\n' >"$root/etc/os-release"
	echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
	echo "UUID=be08e997-524f-45d1-877b-7b573057b22b / ext4 defaults 0 1" >"$root/etc/fstab"
	printf 'iface lan inet dhcp\n\thwaddress DE:AD:BE:EF:00:01\niface ens19 inet dhcp\n' >"$root/etc/network/interfaces"
	printf '[Match]\nMACAddress=de:ad:be:ef:00:01 de:ad:be:ef:00:03\n' >"$root/etc/systemd/network/05-both.network"
	label() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], "security.selinux", sys.argv[2].encode() + b"\0")' "$@"; }
	label_of() { python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "security.selinux").rstrip(b"\0").decode())' "$@"; }
	label "$root/etc/systemd/network" system_u:object_r:etc_t:s0
	label "$root/etc/network/interfaces" system_u:object_r:net_conf_t:s0
	mkdir -p "$root"/{etc/ssh,usr/bin}
	cp "$(command -v busybox)" "$root/bin/busybox"
	printf '#!/bin/busybox sh\nfor key in rsa_key rsa_key.pub more_key; do echo new >/etc/ssh/ssh_host_$key; done\n' >"$root/usr/bin/ssh-keygen"
	chmod 755 "$root/usr/bin/ssh-keygen"
	echo old | tee "$root/etc/ssh/ssh_host_rsa_key" >"$root/etc/ssh/ssh_host_rsa_key.pub"
	label "$root/etc" system_u:object_r:etc_t:s0
	label "$root/etc/ssh" system_u:object_r:etc_t:s0
	label "$root/etc/ssh/ssh_host_rsa_key" system_u:object_r:sshd_key_t:s0
	label "$root/etc/ssh/ssh_host_rsa_key.pub" system_u:object_r:sshd_key_t:s0
	truncate -s 64M "$f/root.img" # where it may read
	mke2fs -q -F -t ext4 -U be08e997-524f-45d1-877b-7b573057b22b -d "$root" "$f/root.img"
	qemu-img create -q -f qcow2 -F raw -b "$f/root.img" "$f/disk0.qcow2"
	jq -n '{launch: "0a0b0c0d-0000-4000-8000-000000000001", machine: "m", store: "/store", epoch: 1, new_identity: "yes",
		hardware: {kernel: "6.1", drivers: null, names: [], network: {interface: "lan", mac: "de:ad:be:ef:00:01",
		bound: [{file: "/etc/network/interfaces", by: "mac"}], more: [
		{interface: "ens19", mac: "de:ad:be:ef:00:02", bound: [{file: "/etc/network/interfaces", by: "name"}]},
		{interface: "lan3", mac: "de:ad:be:ef:00:03", bound: [{file: "/etc/systemd/network/05-both.network", by: "mac"}]}]}}}' \
		>"$f/spec.json"
	timeout 900 "$BUILD/targets/godwit-convert" "$f" 1 virtio >"$T/steps" 2>&1 || { cat "$T/steps"; fail "godwit-convert"; }
	cat "$T/steps"
	qemu-img convert -O raw "$f/disk0.qcow2" "$T/after.img"
	disk_attach D "$T/after.img"
	mkdir "$T/after"
	mount -o ro,noload "$D" "$T/after"
	on_end "umount '$T/after'"
	grep -qx '	hwaddress 52:54:00:0a:0b:0c' "$T/after/etc/network/interfaces"
	grep -qx 'MACAddress=52:54:00:0a:0b:0c 52:54:00:0a:0b:0e' "$T/after/etc/systemd/network/05-both.network"
	for card in ":0c lan 10-godwit-launch" ":0d ens19 10-godwit-launch-1" ":0e lan3 10-godwit-launch-2"; do
		set -- $card
		tr '\n' ' ' <"$T/after/etc/systemd/network/$3.link" | grep -qF "MACAddress=52:54:00:0a:0b$1  [Link] Name=$2 "
	done
	# what is changed keeps its label, what is new has its folder's
	[ "$(label_of "$T/after/etc/network/interfaces")" = system_u:object_r:net_conf_t:s0 ]
	[ "$(label_of "$T/after/etc/systemd/network/10-godwit-launch.link")" = system_u:object_r:etc_t:s0 ]
	for card in "rsa_key sshd_key_t" "rsa_key.pub sshd_key_t" "more_key etc_t"; do
		set -- $card
		grep -qx new "$T/after/etc/ssh/ssh_host_$1"
		[ "$(label_of "$T/after/etc/ssh/ssh_host_$1")" = "system_u:object_r:$2:s0" ]
	done
	[ "$(label_of "$T/after/etc/.godwit-new-identity")" = system_u:object_r:etc_t:s0 ]
	# once more: nothing is left to do
	timeout 900 "$BUILD/targets/godwit-convert" "$f" 1 virtio >"$T/again" 2>&1
	[ ! -s "$T/again" ] || { cat "$T/again"; fail "it changed something again"; }
}
