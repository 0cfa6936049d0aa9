# SPDX-License-Identifier: Apache-2.0
# Machines written for elsewhere: images, a libvirt domain file, a script for plain qemu.
load lib
load launch
setup() {
	test_begin
	needs_launch
	needs virt-xml-validate virsh libvirtd
}
teardown() { test_end; }

SMALL='{"cpus": 1, "memory_mib": 256}'

# boots FOLDER TEXT: as its README.txt says, with plain qemu; its serial console has the text.
boots() {
	grep -qx $'\tsh start.sh -display none -serial mon:stdio' "$1/README.txt" || { fail "README.txt"; return 1; }
	grep -q '`ACCEL=tcg sh start.sh' "$1/README.txt"
	ACCEL=tcg sh "$1/start.sh" -display none -serial mon:stdio >"$T/serial" 2>&1 </dev/null 3>&- &
	plain=$!
	on_end "! grep -q ^qemu /proc/$plain/comm 2>/dev/null || kill -9 $plain"
	wait_until 120 "$2 on the console" grep -aq -- "$2" "$T/serial" || { tail -c 1000 "$T/serial"; return 1; }
	kill -9 "$plain"
	wait "$plain" 2>/dev/null || :
}

# libvirt_start: a libvirt of this test's own, which virsh talks to by itself from then on.
libvirt_start() {
	mkdir "$T/libvirt"
	setpriv --pdeathsig KILL "$VM/private-libvirtd" "$T/libvirt" </dev/null >"$T/libvirt/out" 2>&1 3>&- &
	LIBVIRT=$!
	on_end "libvirt_stop $LIBVIRT"
	export LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket=$T/libvirt/libvirt-sock"
	wait_until 60 "libvirt" virsh -q version >"$T/libvirt/version" 2>&1 ||
		{ tail "$T"/libvirt/{out,version,*.log}; return 1; }
	chmod a+x "$T" # a folder above the images
}
# The first process in its namespaces ends last of all in there.
libvirt_stop() {
	local first
	first=$(pgrep -P "$1")
	kill -9 "$1"
	wait_until 60 "end of libvirt" gone "$first"
}
# typed FOLDER LINE: what README.txt there tells people to type on libvirt's machine.
typed() {
	grep -qxF $'\t'"$2" "$1/README.txt" || grep -qF "\`$2\`" "$1/README.txt" ||
		{ cat "$1/README.txt"; fail "no $2"; return 1; }
	nsenter --target "$(pgrep -P "$LIBVIRT")" --mount -- sh -c 'cd "$1" && eval "$2"' - "$1" "$2"
}
# libvirt_boots FOLDER TEXT [LINE...]: as README.txt says, these lines of it included; its console has the text.
# Sets DOMAIN and CONSOLE.
libvirt_boots() {
	local line
	DOMAIN=$(xmllint --xpath 'string(/domain/name)' "$1/machine.xml")
	for line in 'chmod a+x .' "${@:3}" "sed -i \"s|type='kvm'|type='qemu'|\" machine.xml" \
		'virsh define machine.xml'; do
		typed "$1" "$line" || return 1
	done
	grep -qx $'\t'"virsh start --console $DOMAIN" "$1/README.txt"
	: >"$T/console"
	# virsh wants a terminal, and what is typed there
	script -qefc "virsh start --console $DOMAIN" "$T/console" <>"$T/never" >/dev/null 2>&1 3>&- &
	CONSOLE=$!
	on_end "! ours $CONSOLE || kill $CONSOLE"
	wait_until 120 "$2 on libvirt's console" console_done "$2"
	grep -aq -- "$2" "$T/console" || { tail -c 3000 "$T/console"; fail "no $2"; }
}
console_done() { grep -aq -- "$1" "$T/console" || gone "$CONSOLE"; }
# libvirt_ends: the machine, by itself or not; then its console has, too, and only its images are left.
libvirt_ends() {
	wait_until 60 "the end of $DOMAIN" is_off
	wait_until 60 "the end of its console" gone "$CONSOLE"
	virsh -q undefine --nvram "$DOMAIN"
	[ -z "$(virsh -q list --all)" ]
}
is_off() { [ "$(virsh -q domstate "$DOMAIN")" = 'shut off' ]; }
agent_is() { [ "$(virsh dumpxml "$DOMAIN" | xmllint --xpath 'string(//channel/target/@state)' -)" = "$1" ]; }

# nothing_written FOLDER LAUNCH
nothing_written() { [ ! -e "$1" ] && [ ! -e "$1.godwit-$2" ]; }

@test "a BIOS machine of two disks is written as images, which start with libvirt and with plain qemu as their text says" {
	kernel_choose
	machine_make D bios --kernel "$KERNEL" --agent --power-button
	disk_make E 32M
	marker_write "$D" home
	instance_start
	machine_protect web "$D" "$E"
	echo "$SMALL" >"$T/small.json"
	cd "$T"
	godwit launch web --images out/ --blueprint small.json --wait --json >"$T/launch" 2>"$T/progress"
	[ "$(jq -r '.state + " " + .kind + " " + .images.folder + " " + (.images.written | tostring)' "$T/launch")" = \
		"ended images $T/out true" ]
	L=$(jq -r .id "$T/launch")
	wait_nothing_left "$L"
	[ "$(ls "$T/out" | xargs)" = 'README.txt disk0.qcow2 disk1.qcow2 machine.xml start.sh' ]
	[ "$(stat -c %a "$T/out" "$T/out/disk0.qcow2" | xargs)" = '700 600' ]
	[ "$(qemu-img info --output json "$T/out/disk0.qcow2" | jq -r '."backing-filename"')" = null ]
	qemu-img compare "$T/out/disk0.qcow2" "$D_file"
	qemu-img compare "$T/out/disk1.qcow2" "$E"
	virt-xml-validate "$T/out/machine.xml" domain
	virsh -q -c test:///default define "$T/out/machine.xml"
	# what it is, in libvirt's words
	x() { xmllint --xpath "string($1)" "$T/out/machine.xml"; }
	[ "$(x /domain/uuid) $(x /domain/vcpu) $(x /domain/memory) $(x /domain/name)" = "$L 1 256 web-${L:0:8}" ]
	[ "$(x /domain/sysinfo/oemStrings/entry)" = "godwit:launch=$L" ]
	[ "$(x '//disk[1]/source/@file') $(x '//disk[1]/target/@bus') $(x '//disk[1]/boot/@order')" = "$T/out/disk0.qcow2 virtio 1" ]
	[ "$(x '//interface/link/@state') $(x '//serial/target/@type')" = 'down isa-serial' ]
	[ "$(job "$(jq -r .job "$T/launch")" '.type + " " + .status')" = 'IMAGES COMPLETED' ]
	godwit events web | grep -q "is written to $T/out on the replication server"
	[ "$(status web .life_cycle.last_test_launch)" = null ]
	# with libvirt
	libvirt_start
	libvirt_boots "$T/out" 'small login:'
	grep -aq "MARKER home" "$T/console"
	grep -aq "OEM godwit:launch=$L" "$T/console"
	[ "$(virsh -q domif-getlink "$DOMAIN" "$(x //mac/@address)" | awk '{ print $2 }')" = down ]
	wait_until 60 "the guest agent" agent_is connected
	[ "$(virsh -q qemu-agent-command "$DOMAIN" '{"execute": "guest-ping"}')" = '{"return":{}}' ]
	virsh -q shutdown "$DOMAIN"
	libvirt_ends
	grep -aq "POWER BUTTON" "$T/console"
	[ "$(stat -c '%a %U' "$T/out"/disk*.qcow2 | xargs)" = '600 root 600 root' ]
	# with plain qemu, what libvirt's machine wrote
	boots "$T/out" 'small login:'
	grep -aq "MARKER shut down in order" "$T/serial"
	grep -aq "OEM godwit:launch=$L" "$T/serial"
	wait_continuous web
	must_fail grep -aq "written by the copy" "$D"
}

@test "a UEFI machine is written with the loader where a new firmware looks for it, and starts, moved with libvirt, too" {
	machine_make D uefi --loader EFI/debian/grubx64.efi
	instance_start
	machine_protect uefi "$D"
	launch uefi '{"kind": "images", "to": "'"$T"'/out", "format": "raw", "uefi": true, "blueprint": {"disk_bus": "sata"}}'
	wait_launch_over "$LAUNCH" ended
	virt-xml-validate "$T/out/machine.xml" domain
	[ "$(xmllint --xpath 'string(/domain/os/@firmware)' "$T/out/machine.xml")" = efi ]
	[ "$(qemu-img info --output json "$T/out/disk0.raw" | jq -r .format)" = raw ]
	record "$LAUNCH" '.log[].message' | grep -q 'EFI/debian/grubx64.efi is there now'
	boots "$T/out" 'small login:'
	# elsewhere
	mv "$T/out" "$T/moved"
	libvirt_start
	libvirt_boots "$T/moved" 'small login:' \
		"sed -i \"s|file=\\('\\{0,1\\}\\)/[^']*/disk|file=\\1\$PWD/disk|\" machine.xml"
	virsh -q destroy "$DOMAIN"
	libvirt_ends
	[ "$(ls "$T/moved" | xargs)" = 'README.txt disk0.raw machine.xml start.sh vars.fd' ]
}

@test "the domain file starts for every bus, network and format, and is left out where libvirt cannot read the images" {
	machine_make D bios
	instance_start
	machine_protect many "$D"
	libvirt_start
	n=0
	for how in 'scsi none vmdk' 'sata user raw' 'nvme isolated qcow2' 'virtio isolated vhdx'; do
		set -- $how
		n=$((n + 1))
		mkdir -m 750 "$T/an & empty, one$n"
		chown nobody "$T/an & empty, one$n"
		launch many "$(jq -nc --arg to "$T/an & empty, one$n" --arg bus "$1" --arg net "$2" --arg f "$3" \
			'{kind: "images", to: $to, format: $f, blueprint: {disk_bus: $bus, network: $net}}')"
		wait_launch_over "$LAUNCH" ended
		f="$T/an & empty, one$n"
		[ "$(stat -c '%a %U' "$f")" = '750 nobody' ]
		qemu-img compare "$f/disk0.$3" "$D_file"
		if [ "$3" = vhdx ]; then
			[ ! -e "$f/machine.xml" ]
			grep -q 'libvirt does not know this format' "$f/README.txt"
		else
			virt-xml-validate "$f/machine.xml" domain
			lines=()
			[ "$1" != nvme ] || lines=('chown libvirt-qemu disk*')
			libvirt_boots "$f" 'small login:' "${lines[@]}"
			virsh -q destroy "$DOMAIN"
			libvirt_ends
		fi
		boots "$f" 'small login:'
	done
	# on a bridge of whoever runs it: none of this machine is looked for
	launch many '{"kind": "images", "to": "'"$T"'/bridged", "blueprint": {"network": "bridge", "bridge": "br-lan.9"}}'
	wait_launch_over "$LAUNCH" ended
	virt-xml-validate "$T/bridged/machine.xml" domain
	[ "$(xmllint --xpath 'string(//interface[@type="bridge"]/source/@bridge)' "$T/bridged/machine.xml")" = br-lan.9 ]
	grep -q 'allow br-lan.9' "$T/bridged/README.txt"
}

# inside COMMAND...: in the namespaces of libvirt and its machines, whose network is nobody else's.
inside() { nsenter --target "$(pgrep -P "$LIBVIRT")" --mount --net -- "$@"; }
answers_inside() { inside curl --noproxy '*' -s --connect-timeout 2 -m 5 "http://$1/" | grep -qx 'the copy answers'; }
ports_inside() { inside ip -o link show master "$1" | wc -l; }
no_taps_inside() { [ -z "$(inside ip -o link show type tun)" ]; }

@test "a machine written for bridges is reached over each of them, with libvirt and with plain qemu, and leaves no port" {
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	kernel_choose
	machine_make D bios --kernel "$KERNEL" --address 10.9.1.2/30,10.9.2.2/30
	source_looks "x/virtio_blk.ko y/virtio_pci.ko" "UUID=12-34 / ext4 defaults 0 1"
	source_has_cards ens18 ens19
	instance_start
	machine_protect web "$D"
	wait_until 120 "the facts" hardware_is_known web
	launch web "$(jq -nc --arg to "$T/out" --argjson small "$SMALL" '{kind: "images", to: $to,
		blueprint: ($small + {convert: "never", network: "bridge", bridge: "br-one,br-two"})}')"
	wait_launch_over "$LAUNCH" ended
	virt-xml-validate "$T/out/machine.xml" domain
	libvirt_start
	for n in one two; do
		inside ip link add "br-$n" type bridge
		inside ip link set "br-$n" up
	done
	inside ip addr add 10.9.1.1/30 dev br-one
	inside ip addr add 10.9.2.1/30 dev br-two
	libvirt_boots "$T/out" 'SERVES .*10.9.1.2/30'
	for n in 1 2; do wait_until 60 "its answer over bridge $n" answers_inside "10.9.$n.2"; done
	[ "$(ports_inside br-one) $(ports_inside br-two)" = '1 1' ]
	virsh -q destroy "$DOMAIN"
	libvirt_ends
	must_fail answers_inside 10.9.1.2
	wait_until 30 "the end of its ports" no_taps_inside
	# with plain qemu, as its text says; /etc is another one there
	[ -x /usr/lib/qemu/qemu-bridge-helper ] || skip "with libvirt only: no qemu-bridge-helper"
	inside sh -c 'mkdir /run/etc /run/etc.work && mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc.work none /etc' \
		2>"$T/mount.out" || skip "with libvirt only: $(cat "$T/mount.out")"
	inside mkdir -p /etc/qemu
	grep -A 3 bridge.conf "$T/out/README.txt" | grep -o 'allow .*' | inside tee /etc/qemu/bridge.conf >"$T/allowed"
	[ "$(xargs <"$T/allowed")" = 'allow br-one allow br-two' ]
	# a process of this shell's, which becomes qemu
	nsenter --target "$(pgrep -P "$LIBVIRT")" --mount --net -- env ACCEL=tcg sh "$T/out/start.sh" -display none \
		-serial mon:stdio >"$T/serial" 2>&1 </dev/null 3>&- &
	plain=$!
	on_end "! ours $plain || kill -9 $plain"
	wait_until 120 "its being up" grep -aq 'SERVES .*10.9.1.2/30' "$T/serial" || { tail -c 1000 "$T/serial"; false; }
	for n in 1 2; do wait_until 60 "its answer over bridge $n" answers_inside "10.9.$n.2"; done
	kill -9 "$plain"
	wait "$plain" 2>/dev/null || :
	wait_until 60 "the end of its ports" no_taps_inside
}

@test "a folder that is not empty, or cannot be, no room, an unknown point, a kill half way: said, and nothing is left" {
	machine_make D bios --size 512M
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=300 oflag=direct status=none
	# writing takes half a minute
	mkdir "$T/bin"
	printf '#!/bin/bash\n[ "$1" != convert ] || set -- convert -r 16M "${@:2}"\nexec -a qemu-img %s "$@"\n' \
		"$(command -v qemu-img)" >"$T/bin/qemu-img"
	chmod 755 "$T/bin/qemu-img"
	PATH=$T/bin:$PATH instance_start
	machine_protect bad "$D"
	mkdir "$T/full" "$T/mounted"
	touch "$T/full/mine" "$T/file"
	# refused TO CODE [MORE]
	refused() {
		local answer
		answer=$(api POST /machines/bad/launches "$(jq -nc --arg to "$1" --argjson more "${3:-{\}}" \
			'{kind: "images", to: $to} + $more')")
		[ "$(jq -r .code <<<"$answer")" = "$2" ] || fail "$answer"
	}
	refused "$T/full" LAUNCH_FOLDER_NOT_EMPTY
	refused "$T/file" LAUNCH_FOLDER_BAD
	refused "$T/none/none" LAUNCH_FOLDER_BAD
	refused relative VALUE_BAD
	refused "$T/x" VALUE_BAD '{"format": "floppy"}'
	refused "$T/x" VALUE_BAD '{"kind": "test"}'
	refused "$T/x" POINT_UNKNOWN '{"at": "no such label"}'
	mount -t tmpfs -o size=64M none "$T/mounted"
	on_end "umount '$T/mounted'"
	refused "$T/mounted" LAUNCH_FOLDER_BAD
	launch bad '{"kind": "images", "to": "'"$T"'/mounted/out"}'
	wait_failed 120 "$LAUNCH" LAUNCH_NO_ROOM
	nothing_written "$T/mounted/out" "$LAUNCH"
	for part in godwit-launch qemu-img nbdkit; do
		launch bad '{"kind": "images", "to": "'"$T"'/out"}'
		wait_until 120 "it writes" has_begun "$T/out.godwit-$LAUNCH"
		kill -9 $(launch_pids "$LAUNCH" $part)
		case $part in
		godwit-launch) code=LAUNCH_KILLED ;;
		qemu-img) code=LAUNCH_NOT_WRITTEN ;;
		nbdkit) code=LAUNCH_STORE_GONE ;;
		esac
		wait_failed 120 "$LAUNCH" $code
		nothing_written "$T/out" "$LAUNCH"
	done
	# the one that was in the way is still what it was
	[ "$(ls "$T/full")" = mine ]
	wait_continuous bad
	says 2 'without --test or --cutover' godwit launch bad --images "$T/x" --cutover
	says 2 '--format goes with --images' godwit launch bad --format raw
	says 1 'is not empty' godwit launch bad --images "$T/full" --wait
}
has_begun() { p=$(pgrep -f "^qemu-img convert .*$1/disk0") && kill -STOP "$p"; }
