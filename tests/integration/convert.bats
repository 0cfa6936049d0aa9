# SPDX-License-Identifier: Apache-2.0
# What a machine is bound to by the hardware that it ran on: known before it is needed, and
# its launched copies get hardware that they can start with.  What is changed on their disks
# is tested with a whole machine: tests/vm/convert.bats.
load lib
load launch
setup() {
	test_begin
	needs_launch
}
teardown() { test_end; }

# without_supermin COMMAND...: as on a server without libguestfs.
without_supermin() {
	mkdir -p "$T/poor"
	cp -s /usr/sbin/* /usr/bin/* "$T/poor" 2>/dev/null || : # some are in both
	rm -f "$T/poor/supermin"
	PATH=$BUILD:$T/poor:$T/bin "$@"
}

needs_of() { status "$1" '[.launch_needs[].code] | sort | join(" ")'; }
log_says() { record "$1" '.log[].message' | grep -qF -- "$2" || { record "$1" .log; fail "its log does not say: $2"; }; }
# untouched LAUNCH: nothing has been written over the point.
untouched() {
	(cd "$(launch_folder "$1")" && qemu-img map -U --output json disk0.qcow2) >"$T/map" || return 1
	jq -e 'length > 0 and all(.[]; .depth > 0)' "$T/map" >/dev/null || { cat "$T/map"; fail "something was written"; }
}

@test "what a machine needs is known while it runs, is kept when it is gone, and follows its files" {
	disk_make D 64M
	source_looks "lib/modules/6.1.0-test/kernel/drivers/ata/ahci.ko" "/dev/sda1 / ext4 defaults 0 1"
	printf 'auto ens18\niface ens18 inet dhcp\n' >"$T/source/etc/network/interfaces"
	instance_start
	machine_protect known "$D"
	wait_until 120 "the facts" hardware_is_known known
	status known .facts.hardware
	[ "$(status known '.facts.hardware.drivers | [.ahci, .virtio_blk, .sd_mod, .virtio_scsi] | join(" ")')" = "boot module boot none" ]
	[ "$(status known '.facts.hardware.names[0] | [.file, .device, .uuid, .disk] | join(" ")')" = "/etc/fstab /dev/sda1 12-34 0" ]
	[ "$(status known '.facts.hardware.network | [.interface, .mac, .bound[0].by] | join(" ")')" = "ens18 de:ad:be:ef:00:01 name" ]
	# with SATA disks /dev/sda1 is called so
	[ "$(needs_of known)" = "NEEDS_NETWORK NEEDS_OTHER_BUS" ]
	timeout 60 godwit blueprint known disk_bus=virtio >/dev/null
	[ "$(needs_of known)" = "NEEDS_INITRAMFS NEEDS_NAME NEEDS_NETWORK" ]
	timeout 60 godwit status known | grep -q 'has no driver for virtio disks: it is made anew'
	# the console has it without its machine, and after a restart
	timeout 300 godwit down
	rm -r "$T/source"
	instance_up
	[ "$(needs_of known)" = "NEEDS_INITRAMFS NEEDS_NAME NEEDS_NETWORK" ]
}

@test "a machine without virtio in its initramfs gets SATA disks, and is not touched" {
	machine_make D bios
	source_looks "x/ahci.ko.xz" "UUID=12-34 / ext4 defaults 0 1"
	instance_start
	machine_protect old "$D"
	wait_until 120 "the facts" hardware_is_known old
	[ "$(needs_of old)" = NEEDS_OTHER_BUS ]
	launch old
	wait_launch 300 "$LAUNCH" booted
	tr '\0' ' ' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep -q 'ide-hd,drive=disk0'
	log_says "$LAUNCH" "its disks are attached by sata: the initramfs of its kernel 6.1.0-test has no driver for virtio disks"
	untouched "$LAUNCH"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a machine that needs nothing is not touched, and one whose agent says nothing neither" {
	machine_make D bios
	machine_make E bios
	source_looks "x/virtio_blk.ko y/virtio_pci.ko" "UUID=12-34 / ext4 defaults 0 1"
	instance_start
	machine_protect fits "$D"
	wait_until 120 "the facts" hardware_is_known fits
	unset GODWIT_FACTS_ROOT
	machine_protect silent "$E"
	[ "$(needs_of fits)$(needs_of silent)" = "" ]
	for machine in fits silent; do
		launch $machine
		wait_launch 300 "$LAUNCH" booted
		tr '\0' ' ' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep -q 'virtio-blk-pci,drive=disk0'
		must_fail grep -q 'other hardware' <<<"$(record "$LAUNCH" '.log[].message')"
		untouched "$LAUNCH"
		terminate "$LAUNCH"
		wait_nothing_left "$LAUNCH"
	done
}

@test "a machine with several network cards that are configured gets as many, of one kind, in order" {
	machine_make D bios
	source_looks "x/virtio_blk.ko y/virtio_pci.ko" "UUID=12-34 / ext4 defaults 0 1"
	local args
	source_has_cards ens20 ens18 ens19 ens21 # by their index, not by their names; of one there is no configuration
	printf 'iface %s inet dhcp\n' ens18 ens20 ens19 >"$T/source/etc/network/interfaces"
	instance_start
	machine_protect wide "$D"
	wait_until 120 "the facts" hardware_is_known wide
	[ "$(status wide '.facts.hardware.network | [.interface, .more[].interface] | join(" ")')" = "ens20 ens18 ens19" ]
	launch wide '{"blueprint": {"convert": "never"}}'
	wait_launch 300 "$LAUNCH" booted
	args=$(tr '\0' '\n' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep '^user,')
	[ "$(wc -l <<<"$args")" = 3 ]
	[ "$(sed 's/.*mac=//' <<<"$args" | sort -u | wc -l)" = 3 ]
	must_fail grep -qv '^user,model=virtio-net-pci,restrict=on,mac=52:54:00:' <<<"$args"
	terminate "$LAUNCH"
	launch wide '{"blueprint": {"convert": "never", "network": "none"}}'
	wait_launch 300 "$LAUNCH" booted
	must_fail eval "tr '\0' '\n' </proc/$(launch_pids "$LAUNCH" qemu)/cmdline | grep -q '^user,'"
	terminate "$LAUNCH"
	launch wide "$(jq -nc --arg to "$T/out" '{kind: "images", to: $to, blueprint: {convert: "never"}}')"
	wait_launch_over "$LAUNCH" ended
	[ "$(grep -c "<mac address='52:54:00:" "$T/out/machine.xml")" = 3 ]
	[ "$(grep -c -- '-nic user,' "$T/out/start.sh")" = 3 ]
	sh -n "$T/out/start.sh"
	! command -v virt-xml-validate >/dev/null || virt-xml-validate "$T/out/machine.xml" domain
	wait_nothing_left "$LAUNCH"
}

# On a disk where nothing happens the newest point is an old one.
point_anew() {
	dd if=/dev/zero of="$D" bs=512 count=1 seek=$(($(blockdev --getsz "$D") - 100)) oflag=direct status=none
	mark changed
}

@test "an older point is launched by what its machine was bound to at its time" {
	machine_make D bios
	instance_start
	machine_protect changed "$D" # and says nothing: its root is not on that disk
	mark changed
	first=$LABEL
	agent_stop changed
	source_looks "x/virtio_blk.ko y/virtio_pci.ko" "UUID=12-34 / ext4 defaults 0 1"
	agent_start changed
	wait_until 120 "the facts" hardware_is_known changed
	point_anew
	# its initramfs is another one now
	agent_stop changed
	source_looks "x/ahci.ko.xz" "UUID=12-34 / ext4 defaults 0 1"
	agent_start changed
	wait_until 120 "the facts to change" eval '[ "$(needs_of changed)" = NEEDS_OTHER_BUS ]'
	launch changed "{\"at\": \"$LABEL\"}"
	wait_launch 300 "$LAUNCH" booted
	tr '\0' ' ' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep -q 'virtio-blk-pci,drive=disk0'
	log_says "$LAUNCH" "what it is bound to has changed since the point: taken is what it was from"
	terminate "$LAUNCH"
	point_anew
	launch changed
	wait_launch 300 "$LAUNCH" booted
	tr '\0' ' ' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep -q 'ide-hd,drive=disk0'
	must_fail grep -q 'taken is what it was' <<<"$(record "$LAUNCH" '.log[].message')"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	# before anything was known of it
	launch changed "{\"at\": \"$first\"}"
	wait_launch 300 "$LAUNCH" booted
	log_says "$LAUNCH" "what it was bound to at the point's time is not known: taken is what it was from"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "where nothing can be changed hardware is chosen that leaves names right, and what cannot start says why" {
	machine_make D bios
	source_looks "x/ahci.ko x/virtio_blk.ko y/virtio_pci.ko" "/dev/sda1 / ext4 defaults 0 1"
	without_supermin instance_start
	machine_protect poor "$D"
	wait_until 120 "the facts" hardware_is_known poor
	launch poor
	wait_launch 300 "$LAUNCH" booted
	log_says "$LAUNCH" "its disks are attached by sata: /etc/fstab names /dev/sda1"
	untouched "$LAUNCH"
	terminate "$LAUNCH"
	# asked for virtio it has no right name, and is started all the same
	launch poor '{"blueprint": {"disk_bus": "virtio"}}'
	wait_launch 300 "$LAUNCH" booted
	log_says "$LAUNCH" "what is bound to the old hardware was not changed"
	terminate "$LAUNCH"
	# asked for a bus that it has no driver for
	launch poor '{"blueprint": {"disk_bus": "nvme"}}'
	wait_failed 120 "$LAUNCH" LAUNCH_NOT_CONVERTED
	# unless it is not to be changed
	launch poor '{"blueprint": {"disk_bus": "nvme", "convert": "never"}}'
	wait_launch 300 "$LAUNCH" booted
	log_says "$LAUNCH" "convert=never"
	terminate "$LAUNCH"
	launch poor '{"blueprint": {"new_identity": "yes"}}'
	wait_failed 120 "$LAUNCH" LAUNCH_NOT_CONVERTED
}
