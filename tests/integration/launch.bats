# SPDX-License-Identifier: Apache-2.0
# Machines started from points.  Most are GRUB alone (tests/vm/small-machine), which
# is up in a second without hardware virtualisation; two are Linux.
load lib
load launch
setup() {
	test_begin
	needs_launch
}
teardown() { test_end; }

@test "a BIOS machine starts from an older point and from the latest, side by side, and its source is not disturbed" {
	kernel_choose
	machine_make D bios --kernel "$KERNEL"
	marker_write "$D" first
	instance_start
	machine_protect web "$D"
	mark web
	older=$LABEL
	marker_write "$D" second
	mark web
	began=$(now_us)
	launch web '{"blueprint": {"memory_mib": 256}}'
	latest=$LAUNCH
	launch web "$(jq -nc --arg at "$older" '{at: $at, blueprint: {memory_mib: 256}}')"
	wait_launch 300 "$LAUNCH" booted
	wait_launch 300 "$latest" booted
	# how long it was from the command to its kernel's first line: longer than until the boot loader had something to
	# say, shorter than until it was proved
	record "$latest" | jq -e --argjson passed $((($(now_us) - began) / 1000 + 1)) '.milliseconds |
		0 < .started and .started <= .output and .output <= .kernel and .kernel < .proof and .proof <= $passed' ||
		fail "$(record "$latest" '.milliseconds | tostring')"
	launch_says "$LAUNCH" "MARKER first"
	launch_says "$latest" "MARKER second"
	launch_says "$LAUNCH" "WRITTEN written by the copy"
	launch_says "$LAUNCH" "OEM godwit:launch=$LAUNCH"
	# no way out of a test machine
	tr '\0' ' ' </proc/"$(launch_pids "$LAUNCH" qemu)"/cmdline | grep -q 'user,model=virtio-net-pci,restrict=on'
	# its disks are the point's, and what it wrote is its own
	wait_continuous web
	equal web "$D"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	[ "$(record "$latest" .state)" = booted ]
	terminate "$latest"
	wait_nothing_left "$latest"
	[ "$(job "$JOB" .status)" = COMPLETED ]
}

@test "a UEFI machine is cut over: it boots, stands on its own, and has the point's bytes" {
	kernel_choose
	machine_make D uefi --kernel "$KERNEL"
	marker_write "$D" home
	instance_start
	machine_protect uefi "$D"
	launch uefi '{"kind": "cutover", "blueprint": {"memory_mib": 512, "cpus": 2}}'
	wait_launch 300 "$LAUNCH" standing
	launch_says "$LAUNCH" "MARKER home"
	[ "$(record "$LAUNCH" .boot.firmware)" = uefi ]
	[ -z "$(launch_pids "$LAUNCH" nbdkit)" ]
	disk=$(launch_folder)/disk0.qcow2
	[ "$(qemu-img info -U --output json "$disk" | jq -r '."backing-filename"')" = null ]
	qemu-img convert -U -O raw "$disk" "$T/own.img"
	# all but the last MiB, where it wrote
	cmp -n $((63 << 20)) "$D_file" "$T/own.img"
	grep -aq "written by the copy" "$T/own.img"
	must_fail grep -aq "written by the copy" "$D"
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a UEFI machine whose loader is elsewhere starts, and it is said what was done" {
	machine_make D uefi --loader EFI/debian/grubx64.efi
	instance_start
	machine_protect moved "$D"
	launch moved '{"uefi": true}'
	wait_launch 300 "$LAUNCH" booted
	record "$LAUNCH" '.log[].message' | grep -q 'EFI/debian/grubx64.efi is there now'
	equal moved "$D" # not on the source, nor in its replica
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a drill ends by itself and leaves its proof, the console's words and a picture" {
	machine_make D bios
	instance_start
	machine_protect drill "$D"
	launch drill '{"kind": "drill"}'
	over() { [ "$(record "$LAUNCH" .state)" = ended ]; }
	wait_until 120 "the drill's end" over
	wait_nothing_left "$LAUNCH"
	record "$LAUNCH" .proof | grep -q 'login prompt'
	[ "$(record "$LAUNCH" .milliseconds.proof)" -gt 0 ]
	api GET "/launches/$LAUNCH/screenshot" | head -c 4 | tail -c 3 | grep -qx PNG
	api GET "/launches/$LAUNCH/console-log" | grep -q 'small login:'
	wait_until 120 "the job's end" job_is "$JOB" COMPLETED
	# once more, by hand: record and folder go
	terminate "$LAUNCH"
	wait_until 120 "the folder to go" test ! -e "$(launch_folder)"
}
job_is() { [ "$(job "$1" .status)" = "$2" ]; }

@test "launch, launches, console-log, keep, terminate and drill, as people use them" {
	machine_make D bios
	instance_start
	machine_protect people "$D"
	timeout 60 godwit blueprint people memory_mib=128 cpus=1 >/dev/null
	timeout 300 godwit launch people --wait </dev/null >"$T/out" 2>&1 || { cat "$T/out"; fail "launch --wait"; }
	LAUNCH=$(godwit launches people --ids | head -n 1)
	[ "$(record "$LAUNCH" .state)" = booted ]
	godwit launches people | grep -q "${LAUNCH:0:8}"
	godwit console-log "${LAUNCH:0:8}" | grep -q 'small login:'
	timeout 300 godwit keep "$LAUNCH" --wait </dev/null
	[ "$(record "$LAUNCH" .state)" = standing ]
	must_fail timeout 300 godwit terminate "$LAUNCH" </dev/null 2>/dev/null
	timeout 300 godwit terminate "$LAUNCH" --yes </dev/null
	wait_nothing_left "$LAUNCH"
	timeout 300 godwit drill people --wait </dev/null
	# one that cannot boot: not 0, and why
	timeout 60 godwit blueprint people proof=text proof_text=never proof_seconds=2 >/dev/null
	must_fail timeout 300 godwit launch people --wait </dev/null >"$T/out" 2>&1
	grep -q 'did not show within 2 s' "$T/out"
}

@test "whatever part of a launch is killed, it says so and leaves nothing" {
	machine_make D bios
	instance_start
	machine_protect killed "$D"
	for part in godwit-launch qemu nbdkit; do
		launch killed
		wait_launch 300 "$LAUNCH" booted
		# it needs no port on the network
		for p in $(launch_pids "$LAUNCH" ''); do must_fail eval "ss -Hlntup | grep -q pid=$p,"; done
		kill -9 $(launch_pids "$LAUNCH" $part)
		case $part in
		godwit-launch) code=LAUNCH_KILLED ;;
		qemu) code=LAUNCH_DIED ;;
		nbdkit) code=LAUNCH_STORE_GONE ;;
		esac
		wait_failed 120 "$LAUNCH" $code
	done
	# before it has booted, too
	launch killed '{"blueprint": {"proof": "text", "proof_text": "never said"}}'
	wait_launch 300 "$LAUNCH" booting
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	wait_failed 120 "$LAUNCH" LAUNCH_KILLED
	wait_continuous killed
}

@test "a launched machine goes on while the server is restarted or killed, and is found again" {
	machine_make D bios
	instance_start
	machine_protect stays "$D"
	launch stays
	wait_launch 300 "$LAUNCH" booted
	qemu=$(launch_pids "$LAUNCH" qemu)
	timeout 300 godwit down
	must_fail gone "$qemu"
	instance_up
	wait_launch 300 "$LAUNCH" booted
	server_kill
	must_fail gone "$qemu"
	instance_up
	wait_continuous stays
	api POST "/launches/$LAUNCH/keep" >/dev/null
	wait_launch 300 "$LAUNCH" standing
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	gone "$qemu"
	# killed while the server is away: buried when it comes back
	launch stays
	wait_launch 300 "$LAUNCH" booted
	timeout 300 godwit down
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	instance_up
	wait_failed 120 "$LAUNCH" LAUNCH_KILLED
}

@test "a machine that stood on its own keeps its disks when its process is killed" {
	machine_make D bios
	instance_start
	machine_protect own "$D"
	launch own '{"kind": "cutover"}'
	wait_launch 300 "$LAUNCH" standing
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	wait_until 120 "the end of its processes" no_process "$LAUNCH"
	qemu-img compare "$(launch_folder)/disk0.qcow2" "$D_file"
	must_fail ls "$(launch_folder)"/*.sock "$(launch_folder)/control" 2>/dev/null
	# what is on them now is nowhere else: it is started again from them
	godwit launches own | grep -q "godwit keep ${LAUNCH:0:8}"
	godwit keep "$LAUNCH" --wait --json 2>"$T/progress" | jq -e '.state == "standing" and .ended == null and (.disks_kept | not)'
	[ -n "$(launch_pids "$LAUNCH" qemu)" ]
	[ -z "$(launch_pids "$LAUNCH" nbdkit)" ]
	wait_until 120 "its second boot" eval '[ "$(grep -ac "small login:" "$(launch_folder)/serial.log")" -ge 2 ]'
	# ended from inside, as by its own power button
	kill -9 $(launch_pids "$LAUNCH" qemu)
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	[ "$(record "$LAUNCH" '.fault.code + " " + (.disks_kept | tostring)')" = "LAUNCH_DIED true" ]
	godwit keep "$LAUNCH" --wait --json 2>"$T/progress" | jq -e '.state == "standing"'
	terminate "$LAUNCH"
	wait_launch_over "$LAUNCH" ended
	wait_nothing_left "$LAUNCH"
	terminate "$LAUNCH"
	wait_until 120 "the folder to go" test ! -e "$(launch_folder)"
}

@test "a store that goes away under a launched machine is said, and nothing is left" {
	machine_make D bios
	instance_start
	machine_protect lost "$D"
	launch lost
	wait_launch 300 "$LAUNCH" booted
	# another one in its place is not it
	store=$GODWIT_DATA/server/store/$(status lost .id)
	mv "$store" "$T/moved" && mkdir -m 700 "$store"
	rm -rf "$T/moved"
	wait_failed 120 "$LAUNCH" LAUNCH_STORE_GONE
}

@test "a machine that has no kernel, or no point yet, is not launched, and what it lacks is said" {
	machine_make D bios --no-kernel
	instance_start
	machine_protect empty "$D"
	launch empty
	wait_failed 120 "$LAUNCH" LAUNCH_NO_KERNEL
	record "$LAUNCH" .fault.message | grep -q 'found no kernel to start: error: you need to load the kernel first'
	wait_continuous empty
	# still far from its first point
	disk_make E 512M
	dd if=/dev/urandom of="$E" bs=1M count=512 oflag=direct status=none
	protect_throttled young 1 "$E"
	refused young '{}' POINT_NONE
	says 1 'no recovery point' godwit launch young
}

@test "a machine that cannot be kept for want of room says so and runs on, and can be kept when there is some" {
	machine_make D bios --size 160M
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=60 oflag=direct status=none
	mkdir -p "$GODWIT_DATA/server/launches"
	mount -t tmpfs -o size=40M none "$GODWIT_DATA/server/launches"
	on_end "umount -l '$GODWIT_DATA/server/launches'"
	instance_start
	machine_protect tight "$D"
	launch tight
	wait_launch 300 "$LAUNCH" booted
	KEEP=$(api POST "/launches/$LAUNCH/keep" | jq -r .job)
	wait_until 120 "the job to fail" eval '[ "$(job "$KEEP" .status)" = FAILED ]'
	[ "$(job "$KEEP" .fault.code)" = LAUNCH_NOT_KEPT ]
	job "$KEEP" .fault.message | grep -q 'could not be made its own: [0-9]* MiB are needed, [0-9]* MiB are free'
	godwit events tight | grep -q 'MiB are needed'
	[ "$(record "$LAUNCH" .state)" = booted ]
	wait_continuous tight
	mount -o remount,size=200M "$GODWIT_DATA/server/launches"
	api POST "/launches/$LAUNCH/keep" >/dev/null
	wait_launch 300 "$LAUNCH" standing
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a machine that would take the room which replication needs is not kept, and replication goes on" {
	local free
	machine_make D bios --size 160M
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=60 oflag=direct status=none
	mkdir -p "$GODWIT_DATA/server"
	mount -t tmpfs -o size=800M none "$GODWIT_DATA/server"
	on_end "umount -l '$GODWIT_DATA/server'"
	instance_start
	machine_protect tight "$D"
	launch tight
	wait_launch 300 "$LAUNCH" booted
	# 64 MiB are kept back, and 16 above them
	free=$(df --output=avail -B1M "$GODWIT_DATA/server" | tail -n 1)
	fallocate -l "$((free - 120))M" "$GODWIT_DATA/server/ballast"
	KEEP=$(api POST "/launches/$LAUNCH/keep" | jq -r .job)
	wait_until 120 "the job to fail" eval '[ "$(job "$KEEP" .status)" = FAILED ]'
	[ "$(job "$KEEP" .fault.code)" = LAUNCH_NOT_KEPT ]
	job "$KEEP" .fault.message | grep -q 'MiB are needed, .* and 80 MiB of them are kept back for replication'
	[ "$(df --output=avail -B1M "$GODWIT_DATA/server" | tail -n 1)" -ge 100 ]
	[ "$(record "$LAUNCH" .state)" = booted ]
	wait_continuous tight
	rm "$GODWIT_DATA/server/ballast"
	api POST "/launches/$LAUNCH/keep" >/dev/null
	wait_launch 300 "$LAUNCH" standing
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a machine that does not boot in time has failed, with a picture of its screen" {
	machine_make D bios
	instance_start
	machine_protect slow "$D"
	launch slow '{"blueprint": {"proof": "text", "proof_text": "never said", "proof_seconds": 3}}'
	wait_failed 120 "$LAUNCH" LAUNCH_NOT_PROVED
	api GET "/launches/$LAUNCH/screenshot" | head -c 4 | tail -c 3 | grep -qx PNG
}

# bridge_make: a bridge of the test's own, with an address that leads nowhere else: in BRIDGE; the machine's in THERE.
bridge_make() {
	local net
	until net=10.$((200 + RANDOM % 50)).$((RANDOM % 256)) && ! ip -o addr | grep -qF " $net."; do :; done
	BRIDGE=gwt$BASHPID$((made += 1)) HERE=$net.1 THERE=$net.2
	bridge_there
	on_end "ip link del $BRIDGE 2>/dev/null || :"
}
# bridge_there: made, or made again.
bridge_there() {
	ip link add "$BRIDGE" type bridge 2>"$T/bridge.out" || skip "no bridge can be made here: $(cat "$T/bridge.out")"
	ip addr add "$HERE/30" dev "$BRIDGE"
	ip link set "$BRIDGE" up
}
# served_make COMMAND: a machine that answers on the bridge, protected as "served" in the instance that COMMAND starts.
served_make() {
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	kernel_choose
	bridge_make
	machine_make D bios --kernel "$KERNEL" --address "$THERE/30"
	"$1"
	machine_protect served "$D"
	before=$(taps)
}
answers() { curl --noproxy '*' -s --connect-timeout 2 -m 5 "http://${1-$THERE}/" | grep -qx 'the copy answers'; }
may_make_ports() { (($(awk '/^CapPrm/ { print "0x" $2 }' "/proc/$1/status") >> 12 & 1)); } # CAP_NET_ADMIN
taps() { find /sys/class/net -name 'gw[0-9]*' | wc -l; }
ports() { ls "/sys/class/net/$1/brif" | wc -l; }
# wait_no_port COUNT: none on the bridge, and as many taps as there were.  A process that ends has left its folder
# (no_process) a moment before its files are closed.
wait_no_port() { wait_until 30 "its ports to be gone" no_port "$1"; }
no_port() { [ "$(ports "$BRIDGE") $(taps)" = "0 $1" ]; }

@test "a machine on a bridge is reached over it and leaves no port, an isolated one is not, and a bridge that is not there is said" {
	served_make instance_start
	says 1 'does not say which' godwit blueprint served network=bridge
	refused served '{"blueprint": {"network": "bridge", "bridge": "gwt-nobody"}}' LAUNCH_NO_BRIDGE
	says 1 'is to be on the bridge gwt-nobody' godwit launch served --blueprint <(echo '{"network": "bridge", "bridge": "gwt-nobody"}')
	launch served
	isolated=$LAUNCH
	timeout 60 godwit blueprint served network=bridge bridge="$BRIDGE" >/dev/null
	launch served '{"kind": "cutover"}'
	wait_launch 300 "$LAUNCH" standing
	wait_until 60 "its answer over the bridge" answers
	[ "$(taps)" = $((before + 1)) ]
	# qemu could not make it, and who did cannot make another
	may_make_ports $$
	must_fail may_make_ports "$(launch_pids "$LAUNCH" qemu)"
	must_fail may_make_ports "$(launch_pids "$LAUNCH" godwit-launch)"
	# however it ends; the isolated one has the same address, and nobody gets there
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 60 "its end" no_process "$LAUNCH"
	wait_no_port "$before"
	wait_launch 300 "$isolated" booted
	launch_says "$isolated" "SERVES .* $THERE/30"
	must_fail may_make_ports "$(launch_pids "$isolated" godwit-launch)"
	must_fail answers
	terminate "$isolated"
	# started again it is on the bridge again
	wait_until 60 "the launch to fail" has_failed "$LAUNCH"
	godwit keep "$LAUNCH" --wait >/dev/null 2>"$T/progress"
	wait_until 120 "its answer after its second start" answers
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	wait_no_port "$before"
}

@test "each card of a machine is on its bridge, those left over on the last one, and a bridge for no card is said" {
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	kernel_choose
	bridge_make
	first=$BRIDGE first_there=$THERE
	bridge_make
	machine_make D bios --kernel "$KERNEL" --address "$first_there/30,$THERE/30"
	source_looks "x/virtio_blk.ko y/virtio_pci.ko" "UUID=12-34 / ext4 defaults 0 1"
	source_has_cards ens20 ens18 ens19
	instance_start
	machine_protect wide "$D"
	wait_until 120 "the facts" hardware_is_known wide
	before=$(taps)
	says 1 'commas between' godwit blueprint wide network=bridge "bridge=$first,br/0"
	godwit blueprint wide convert=never network=bridge "bridge=$first,gwt-nobody" >/dev/null
	# each that a card is on has to be there
	refused wide '{}' LAUNCH_NO_BRIDGE
	says 1 'is to be on the bridge gwt-nobody,' godwit launch wide
	godwit blueprint wide "bridge=$first,$BRIDGE" >/dev/null
	launch wide
	wait_launch 300 "$LAUNCH" booted
	[ "$(ports "$first") $(ports "$BRIDGE")" = '1 2' ]
	wait_until 60 "its answer over the first" answers "$first_there"
	wait_until 60 "its answer over the second" answers "$THERE"
	record "$LAUNCH" '.log[].message' | grep -qx "its cards are.* ports of bridges .*: $first $BRIDGE $BRIDGE"
	must_fail eval 'record "$LAUNCH" ".log[].message" | grep "not used"'
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	wait_no_port "$before"
	# with one bridge more than cards it starts, and that is said
	launch wide '{"blueprint": {"bridge": "'"$first,$first,$BRIDGE"',gwt-nobody"}}'
	wait_launch 300 "$LAUNCH" booted
	[ "$(ports "$first") $(ports "$BRIDGE")" = '2 1' ]
	record "$LAUNCH" '.log[].message' | grep -q 'more bridges than the machine has cards (3); not used: gwt-nobody$'
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	# written for elsewhere, the same
	launch wide "$(jq -nc --arg to "$T/out" '{kind: "images", to: $to, blueprint: {bridge: "br-a,br-b,br-a,br-c"}}')"
	wait_launch_over "$LAUNCH" ended
	[ "$(grep -o "bridge='[^']*'" "$T/out/machine.xml" | cut -d "'" -f 2 | xargs)" = 'br-a br-b br-a' ]
	[ "$(grep -o 'br=br-.' "$T/out/start.sh" | xargs)" = 'br=br-a br=br-b br=br-a' ]
	[ "$(grep -A 3 'bridge.conf' "$T/out/README.txt" | xargs)" = '/etc/qemu/bridge.conf: allow br-a allow br-b' ]
	record "$LAUNCH" '.log[].message' | grep -q 'not used: br-c$'
}

# led_to LAUNCH: where its port 80 is reached.
led_to() { record "$1" '.forwards[] | select(.guest_port == 80) | "\(.address):\(.port)"'; }
fetch() { curl --noproxy '*' -s --connect-timeout 2 -m 20 "http://$1"; }
serves() { fetch "$1/" | grep -qx 'the copy answers'; }
# reaches ADDRESS_OF_THE_COPY ADDRESS: what it gets from there itself.
reaches() { fetch "$1/cgi-bin/reach?$2" >"$T/reached"; }

@test "an isolated machine is reached at the ports that lead to it and has no way out all the same, and a port that is taken is said" {
	local first there other way outside
	kernel_choose
	# the address that qemu's DHCP would give it
	machine_make D bios --kernel "$KERNEL" --address 10.0.2.15/24
	instance_start
	machine_protect led "$D"
	mkdir "$T/outside"
	echo "the server's own" >"$T/outside/index.html"
	port_choose OUTSIDE
	busybox httpd -f -p "127.0.0.1:$OUTSIDE" -h "$T/outside" 3>&- &
	on_end "kill $!"
	outside=10.0.2.2:$OUTSIDE
	wait_until 30 "the server's own page" eval 'fetch "127.0.0.1:$OUTSIDE/" | grep -q own'
	says 1 "'host' of host:2222:22 in forward is not an address" godwit blueprint led forward=host:2222:22
	says 1 'which network=none cannot' godwit blueprint led forward=0:80 network=none
	port_choose FIXED
	timeout 60 godwit blueprint led forward="$FIXED:80,0:22" >/dev/null
	launch led '{"kind": "cutover"}'
	first=$LAUNCH
	wait_launch 300 "$first" standing
	[ "$(led_to "$first")" = "127.0.0.1:$FIXED" ]
	wait_until 60 "its answer" serves "127.0.0.1:$FIXED"
	reaches "127.0.0.1:$FIXED" "$outside"
	grep -q "no way to $outside" "$T/reached" || { cat "$T/reached"; fail "it has a way out"; }
	# it is said wherever somebody may look
	there=$(record "$first" '.forwards[] | select(.guest_port == 22) | .port')
	[ "$there" -ge 1024 ]
	[ "$(jq -c '[.forwards[].port]' "$(launch_folder "$first")/launch.json")" = "[$FIXED,$there]" ]
	godwit launches led | grep -q "Its port 80 is reached at 127.0.0.1:$FIXED of the replication server"
	godwit launches led --json | jq -e --argjson p "$there" '.launches[0].forwards[1] == {address: "127.0.0.1", port: $p, guest_port: 22}'
	job "$JOB" '.log[].message' | grep -q "its port 22 is reached at 127.0.0.1:$there of this machine"
	# another one: not with the same port, but with a free one; a drill has none
	refused led '{}' LAUNCH_PORT_TAKEN
	says 1 "port $FIXED of 127.0.0.1 on the replication server's machine" godwit launch led
	launch led '{"blueprint": {"forward": "0:80", "network": "user"}}'
	other=$LAUNCH
	wait_launch 300 "$other" booted
	way=$(led_to "$other")
	[ "$way" != "127.0.0.1:$FIXED" ]
	wait_until 60 "the other's answer" serves "$way"
	# where there is a way out, that is seen
	reaches "$way" "$outside"
	grep -qx "the server's own" "$T/reached" || { cat "$T/reached"; fail "the machine of network=user has no way out"; }
	serves "127.0.0.1:$FIXED"
	terminate "$other"
	wait_launch_over "$other" ended
	wait_nothing_left "$other"
	must_fail serves "$way"
	[ "$(record "$other" '.forwards | length')" = 0 ]
	# a drill has none
	launch led '{"kind": "drill"}'
	wait_until 120 "the drill's end" eval '[ "$(record "$LAUNCH" .state)" = ended ]'
	must_fail eval 'record "$LAUNCH" ".log[].message" | grep -q "is reached at"'
	# started again it is reached again
	kill -9 $(launch_pids "$first" godwit-launch)
	wait_until 60 "its end" no_process "$first"
	wait_until 60 "the launch to fail" has_failed "$first"
	[ "$(record "$first" '.forwards | length')" = 0 ]
	must_fail serves "127.0.0.1:$FIXED"
	godwit keep "$first" --wait >/dev/null 2>"$T/progress"
	[ "$(led_to "$first")" = "127.0.0.1:$FIXED" ]
	wait_until 120 "its answer after its second start" serves "127.0.0.1:$FIXED"
	terminate "$first"
	wait_nothing_left "$first"
	must_fail serves "127.0.0.1:$FIXED"
}

# refused NAME JSON CODE: the launch fails at once, its job too, and nothing is left of it.
refused() {
	local answer launch
	answer=$(api POST "/machines/$1/launches" "$2")
	[ "$(jq -r .code <<<"$answer")" != "$3" ] || return 0
	launch=$(jq -r '.launch // empty' <<<"$answer")
	[ -n "$launch" ] || fail "$answer" || return 1
	wait_failed 120 "$launch" "$3"
}

@test "a disk without a boot loader, too little memory, a point that is not there: said, and nothing left" {
	disk_make D 64M
	machine_make E uefi --loader EFI/debian/readme.txt
	machine_make F bios
	instance_start
	machine_protect data "$D"
	machine_protect bare "$E"
	machine_protect big "$F"
	refused data '{}' LAUNCH_NOT_BOOTABLE
	refused bare '{}' LAUNCH_NO_LOADER
	# nor what cannot be with the firmware that is asked for
	refused bare '{"blueprint": {"firmware": "bios"}}' LAUNCH_NO_BOOT_CODE
	refused big '{"blueprint": {"firmware": "uefi"}}' LAUNCH_NO_ESP
	refused big '{"blueprint": {"memory_mib": 4000000}}' LAUNCH_NO_MEMORY
	refused big '{"at": "2001-01-01T00:00:00Z"}' POINT_OUT_OF_RANGE
	refused big '{"at": "no such label"}' POINT_UNKNOWN
	refused nobody '{}' MACHINE_UNKNOWN
	[ -z "$(pgrep -f "^qemu.*$GODWIT_DATA")" ]
	# their replication has not noticed
	for m in data bare big; do wait_continuous $m; done
}

@test "without qemu on the server it is said which package to install" {
	machine_make D bios
	mkdir "$T/bin"
	cp -s /usr/sbin/* /usr/bin/* "$T/bin" 2>/dev/null || : # some are in both
	rm "$T/bin/qemu-system-x86_64"
	PATH=$BUILD:$T/bin instance_start
	machine_protect poor "$D"
	refused poor '{}' LAUNCH_NO_PROGRAM
	wait_continuous poor
}

@test "a command of the blueprint's proves that it has booted, and another runs after that, once" {
	kernel_choose
	machine_make D bios --kernel "$KERNEL" --launched
	instance_start
	machine_protect asks "$D"
	godwit blueprint asks cpus=1 memory_mib=256 proof=command \
		proof_command='n=$(cat /tmp/n 2>/dev/null); echo "$n" x >/tmp/n; echo "tried$n"; [ "$n" ]' \
		post_launch='echo "I am $GODWIT_LAUNCH"; echo once >>/dev/ttyS0; exit 4' >/dev/null
	godwit launch asks --wait --json >"$T/launch" 2>"$T/progress"
	LAUNCH=$(jq -r .id "$T/launch") JOB=$(jq -r .job "$T/launch")
	[ "$(jq -c '[.state, .proof]' "$T/launch")" = '["booted","the command asked for has succeeded in it"]' ]
	[ "$(jq -c .proof_command "$T/launch")" = '{"pending":false,"output":"tried x\n","status":0}' ]
	[ "$(jq -c .post_launch "$T/launch")" = "$(jq -nc --arg l "$LAUNCH" '{pending: false, output: "I am \($l)\n", status: 4}')" ]
	# in the job's log: the first try, the one that succeeded, what ran then
	job "$JOB" '.log[].message' >"$T/log"
	grep -qx 'proof_command ended with status 1, and said:' "$T/log"
	grep -qx 'proof_command: tried x' "$T/log"
	grep -qx "post_launch: I am $LAUNCH" "$T/log"
	grep -q 'post_launch was not run to a good end in the launched machine: status 4' "$T/log"
	[ "$(job "$JOB" .status)" = COMPLETED ]
	[ "$(tr -d '\0\r' <"$(launch_folder)/serial.log" | grep -ao once | wc -l)" = 1 ]
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a guest agent that answers in the machine is a proof, and the kernel's first line has its time" {
	kernel_choose
	machine_make D bios --kernel "$KERNEL" --agent
	instance_start
	machine_protect answers "$D"
	launch answers '{"blueprint": {"memory_mib": 256, "proof": "agent"}}'
	wait_launch 300 "$LAUNCH" booted
	[ "$(record "$LAUNCH" .proof)" = "its guest agent answers" ]
	record "$LAUNCH" | jq -e '.milliseconds | 0 < .kernel and .output <= .kernel and .kernel <= .proof'
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}

@test "a cutover that does not show that it boots runs on, is kept by hand, and asks before it goes" {
	machine_make D bios
	instance_start
	machine_protect quiet "$D"
	launch quiet '{"kind": "cutover", "blueprint": {"proof": "text", "proof_text": "never said", "proof_seconds": 5}}'
	wait_until 120 "the job to fail" job_has_failed "$JOB"
	[ "$(job "$JOB" .fault.code)" = LAUNCH_UNPROVED ]
	[ "$(record "$LAUNCH" '.state + " " + .not_proved.code')" = "booting LAUNCH_UNPROVED" ]
	[ -n "$(launch_pids "$LAUNCH" qemu)" ]
	godwit launches quiet | grep -q 'as a cutover it runs on'
	godwit events quiet | grep -q 'as a cutover it runs on'
	wait_until 60 "its picture" godwit console-log "$LAUNCH" --screenshot "$T/screen.png"
	says 1 'the only copy' godwit terminate "$LAUNCH" </dev/null
	godwit keep "$LAUNCH" --wait --json 2>"$T/progress" | jq -e '.state == "standing" and .proof == null'
	godwit terminate "$LAUNCH" --yes --wait >/dev/null
	wait_nothing_left "$LAUNCH"
}

@test "a command that does not succeed, or that nothing in the machine runs, is no proof" {
	machine_make D bios
	instance_start
	machine_protect silent "$D"
	launch silent '{"blueprint": {"proof": "command", "proof_command": "true", "proof_seconds": 5}}'
	wait_failed 120 "$LAUNCH" LAUNCH_NOT_PROVED
	# it boots all the same without being asked; what was to run then is said to have had nobody to run it
	launch silent '{"blueprint": {"post_launch": "true", "proof_seconds": 120}}'
	wait_until 400 "the job" job_is "$JOB" COMPLETED # for so long it is waited for, too
	record "$LAUNCH" '.log[].message' | grep -q 'godwit-launched does not answer in the machine'
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
}
job_is() { [ "$(job "$1" .status)" = "$2" ]; }

# instance_of_boots: an instance whose machine can be rebooted, by name only.
instance_of_boots() {
	echo boot-0 >"$T/boot-id"
	export GODWIT_BOOT_ID_FILE=$T/boot-id
	n=0
	instance_start
}
# reboot: all processes of the instance go at once, and the next ones are on another boot.
reboot() {
	server_kill
	kill -9 $(launch_pids "$LAUNCH" godwit-launch) $(launch_pids "$LAUNCH" qemu) 2>/dev/null || :
	wait_until 120 "the machine to be gone" no_process "$LAUNCH"
	echo "boot-$((n += 1))" >"$T/boot-id"
	instance_up
}
# stands_again QEMU: another process runs it, on the same disk.
is_another() { local now; now=$(launch_pids "$LAUNCH" qemu) && [ -n "$now" ] && [ "$now" != "$1" ]; }

# is_led_to: qemu listens where the launch says that the machine's port 22 is reached.
is_led_to() {
	local port
	port=$(record "$LAUNCH" '.forwards[] | select(.guest_port == 22) | .port')
	ss -Hltnp "sport = :$port" | grep -q "pid=$(launch_pids "$LAUNCH" qemu),"
}

@test "a machine that stands on its own is started again with its disks after the server's machine was restarted" {
	machine_make D bios
	instance_of_boots
	machine_protect own "$D"
	launch own '{"kind": "cutover", "blueprint": {"poweroff_seconds": 1, "forward": "0:22"}}'
	wait_launch 300 "$LAUNCH" standing
	is_led_to
	stands=$(record "$LAUNCH" .times.proof)
	ino=$(stat -c %i "$(launch_folder)/disk0.qcow2")
	qemu=$(launch_pids "$LAUNCH" qemu)
	# crashed, as by a power cut
	reboot
	wait_until 120 "the machine to run again" is_another "$qemu"
	wait_launch 300 "$LAUNCH" standing
	wait_until 120 "its event" eval 'godwit events own | grep -q "was started again from its own disks"'
	[ "$(stat -c %i "$(launch_folder)/disk0.qcow2")" = "$ino" ]
	[ "$(record "$LAUNCH" .times.proof)" = "$stands" ]
	[ -z "$(launch_pids "$LAUNCH" nbdkit)" ]
	is_led_to
	wait_until 120 "the second boot on its console" eval '[ "$(grep -ac "small login:" "$(launch_folder)/serial.log")" -ge 2 ]'
	# shut down in order: the launch's process is told before the server's machine goes
	qemu=$(launch_pids "$LAUNCH" qemu)
	kill -TERM $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 120 "it to be stopped" eval '[ "$(record "$LAUNCH" .state)" = stopped ]'
	[ -z "$(launch_pids "$LAUNCH" qemu)" ]
	godwit launches own | grep -q 'Stopped with the server'
	reboot
	wait_until 120 "the machine to run again" is_another "$qemu"
	wait_launch 300 "$LAUNCH" standing
	# killed while this boot goes on it was killed, as ever
	kill -9 $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	[ "$(record "$LAUNCH" '.fault.code + " " + (.disks_kept | tostring)')" = "LAUNCH_KILLED true" ]
	reboot
	[ -z "$(launch_pids "$LAUNCH" '')" ]
	terminate "$LAUNCH"
	wait_until 120 "the folder to go" test ! -e "$(launch_folder)"
	wait_continuous own
}

tries() { record "$LAUNCH" '.log[].message' | grep -c "is to be on the bridge $BRIDGE,"; }
has_tried() { [ "$(tries)" -ge "$1" ]; }

@test "a machine on a bridge is on it again after a restart, and is tried again until a bridge that is missing then is there" {
	served_make instance_of_boots
	launch served '{"kind": "cutover", "blueprint": {"poweroff_seconds": 1, "network": "bridge", "bridge": "'"$BRIDGE"'"}}'
	wait_launch 300 "$LAUNCH" standing
	wait_until 60 "its answer" answers
	# crashed, as by a power cut
	reboot
	wait_launch 300 "$LAUNCH" standing
	wait_until 120 "its answer after the restart" answers
	[ "$(ports "$BRIDGE")" = 1 ]
	# shut down in order, and the bridge is gone when it is there again
	stop_in_order "$LAUNCH" 120
	wait_until 60 "the end of its processes" no_process "$LAUNCH"
	wait_no_port "$before"
	must_fail answers
	ip link del "$BRIDGE"
	reboot
	wait_until 120 "it to be tried, and tried again" has_tried 2
	wait_until 60 "its disks to be kept for the next time" waits_for_bridge
	[ "$(taps)" = "$before" ]
	bridge_there
	wait_until 180 "it to stand again" stands
	wait_until 120 "its answer over the bridge that is there now" answers
	[ "$(ports "$BRIDGE")" = 1 ]
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	wait_no_port "$before"
}
waits_for_bridge() {
	[ "$(record "$LAUNCH" '.state + " " + .fault.code + " " + (.disks_kept | tostring)')" = 'failed LAUNCH_NO_BRIDGE true' ]
}
stands() { [ "$(record "$LAUNCH" .state)" = standing ]; }

# stop_in_order LAUNCH SECONDS: as when the server's machine is shut down.
stop_in_order() {
	kill -TERM $(launch_pids "$1" godwit-launch)
	wait_until "$2" "it to be stopped" eval "[ \"\$(record '$1' .state)\" = stopped ]"
}

@test "a machine that stands on its own is asked to power itself off before the server's machine goes down" {
	kernel_choose
	machine_make D bios --kernel "$KERNEL" --power-button
	instance_of_boots
	machine_protect asked "$D"
	launch asked '{"kind": "cutover", "blueprint": {"memory_mib": 256}}'
	wait_launch 300 "$LAUNCH" standing
	qemu=$(launch_pids "$LAUNCH" qemu)
	# such a shutdown tells everybody; the machine does not hear it
	kill -TERM $qemu
	stop_in_order "$LAUNCH" 200
	launch_says "$LAUNCH" "POWER BUTTON"
	[ "$(record "$LAUNCH" .power_off.by_itself)" = true ]
	record "$LAUNCH" '.log[].message' | grep -q 'it has powered itself off'
	wait_until 60 "the end of its processes" no_process "$LAUNCH"
	reboot
	wait_launch 300 "$LAUNCH" standing
	wait_until 240 "what it wrote when it was asked" launch_says "$LAUNCH" "MARKER shut down in order"
	# one launch of several, as the systemd unit tells them; a test has nothing to lose
	launch asked '{"blueprint": {"memory_mib": 256}}'
	wait_launch 300 "$LAUNCH" booting
	timeout 60 "$BUILD/targets/godwit-launch" --stop-all "$GODWIT_DATA/server/launches"
	wait_launch_over "$LAUNCH" ended
	wait_nothing_left "$LAUNCH"
	[ -z "$(pgrep -f "^qemu.*$GODWIT_DATA")" ]
	timeout 10 "$BUILD/targets/godwit-launch" --stop-all "$GODWIT_DATA/server/launches"
	must_fail timeout 10 "$BUILD/targets/godwit-launch" --stop-all "$T/nowhere"
}

@test "a machine that does not power itself off is ended after a time, and at once when it is terminated" {
	machine_make D bios # GRUB alone does not look at the button
	instance_of_boots
	machine_protect deaf "$D"
	launch deaf '{"kind": "cutover", "blueprint": {"poweroff_seconds": 2}}'
	wait_launch 300 "$LAUNCH" standing
	stop_in_order "$LAUNCH" 120
	[ "$(record "$LAUNCH" .power_off.by_itself)" = false ]
	record "$LAUNCH" '.log[].message' | grep -q 'had not powered itself off after 2 s'
	reboot
	wait_launch 300 "$LAUNCH" standing
	terminate "$LAUNCH"
	wait_nothing_left "$LAUNCH"
	# terminated while it is waited for
	launch deaf '{"kind": "cutover", "blueprint": {"poweroff_seconds": 600}}'
	wait_launch 300 "$LAUNCH" standing
	kill -TERM $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 120 "its being asked" eval "record '$LAUNCH' '.log[].message' | grep -q 'asked to power itself off'"
	terminate "$LAUNCH"
	wait_launch_over "$LAUNCH" ended
	wait_nothing_left "$LAUNCH"
}

# unkept_cutover NAME [BLUEPRINT]: a cutover of disk D that has booted, and has no room to stand.
unkept_cutover() {
	mkdir -p "$GODWIT_DATA/server/launches"
	mount -t tmpfs -o size=40M none "$GODWIT_DATA/server/launches"
	on_end "launches_end '$GODWIT_DATA'; umount -l '$GODWIT_DATA/server/launches'"
	instance_of_boots
	machine_protect "$1" "$D"
	launch "$1" "{\"kind\": \"cutover\", \"blueprint\": ${2:-{\}}}"
	wait_not_kept "$1" 1
}
not_kept_times() { record "$LAUNCH" '.log[].message' | grep -c 'could not be made its own: .* MiB are needed'; }
wait_not_kept() {
	wait_until 300 "its not being kept" eval "[ \"\$(not_kept_times)\" = $2 ]"
	wait_launch 120 "$LAUNCH" booted
}
# only_one_before NAME TIME_US: the others have expired; something new is written all the while.
only_one_before() {
	dd if=/dev/urandom of="$D" bs=4k count=1 seek=$(($(blockdev --getsize64 "$D") / 4096 - 1)) oflag=direct status=none
	[ "$(points "$1" | awk -v b="$2" '$2 < b' | wc -l)" = 1 ]
}

@test "a cutover that had booted and does not stand yet is started again on its point, which stays, and then stands" {
	machine_make D bios --size 160M
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=60 oflag=direct status=none
	unkept_cutover ours '{"poweroff_seconds": 1}'
	dd if="$D" of="$T/wanted" bs=1M iflag=direct status=none
	# crashed, as by a power cut
	qemu=$(launch_pids "$LAUNCH" qemu)
	reboot
	wait_until 120 "the machine to run again" is_another "$qemu"
	wait_not_kept ours 2
	[ "$(godwit events ours | grep -c "was started again from its own disks")" = 1 ]
	# shut down in order; nothing holds its point now, and all others of that time expire
	stop_in_order "$LAUNCH" 120
	wait_until 60 "the end of its processes" no_process "$LAUNCH"
	at=$(record "$LAUNCH" .point.id)
	stopped=$(now_us)
	mount -o remount,size=400M "$GODWIT_DATA/server/launches"
	# something that it has written, where its source has something else
	qemu-io -c "write -P 0x5a 100M 64k" "json:{\"driver\": \"qcow2\", \"backing\": null, \"file\": {\"driver\": \"file\",
		\"filename\": \"$(launch_folder)/disk0.qcow2\"}}" >"$T/out"
	head -c 65536 /dev/zero | tr '\0' Z | dd of="$T/wanted" bs=64k seek=1600 conv=notrunc status=none
	setting ours retention_every_seconds=60 retention_hourly_seconds=0 retention_daily_seconds=0
	wait_until 300 "points of that time to expire" only_one_before ours "$stopped"
	points ours | grep -qF "$at"
	reboot
	wait_launch 300 "$LAUNCH" standing
	[ -z "$(launch_pids "$LAUNCH" nbdkit)" ]
	wait_until 120 "its event" eval 'godwit events ours | grep -q "stands on its own and does not need"'
	[ "$(godwit events ours | grep -c "MiB are needed")" = 2 ]
	stop_in_order "$LAUNCH" 120
	qemu-img compare "$(launch_folder)/disk0.qcow2" "$T/wanted"
	terminate "$LAUNCH"
	wait_launch_over "$LAUNCH" ended
}

@test "a cutover that had booted and can not be started again keeps its disks, and says why" {
	machine_make D bios --size 160M
	dd if=/dev/urandom of="$D" bs=1M seek=70 count=60 oflag=direct status=none
	unkept_cutover ours '{"poweroff_seconds": 1}'
	# it is somebody's: a forced removal of its machine ends it, and until then its store stays
	must_fail timeout 60 godwit unprotect ours --yes
	stop_in_order "$LAUNCH" 120
	must_fail timeout 60 godwit unprotect ours --yes
	store=$GODWIT_DATA/server/store/$(status ours .id)
	server_kill
	mv "$store" "$T/moved"
	echo another >"$T/boot-id"
	instance_up
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	[ "$(record "$LAUNCH" '.fault.code + " " + (.disks_kept | tostring)')" = "LAUNCH_NO_POINT true" ]
	[ -s "$(launch_folder)/disk0.qcow2" ]
	wait_until 60 "the end of its processes" no_process "$LAUNCH"
	terminate "$LAUNCH"
	wait_until 120 "the folder to go" test ! -e "$(launch_folder)"
}

@test "a machine that is to be left, that cannot be started, or that is not to be any more, is not started again" {
	machine_make D uefi
	instance_of_boots
	machine_protect left "$D"
	launch left '{"kind": "cutover", "uefi": true, "blueprint": {"after_restart": "leave"}}'
	wait_launch 300 "$LAUNCH" standing
	reboot
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	[ "$(record "$LAUNCH" '.fault.code + " " + (.disks_kept | tostring)')" = "LAUNCH_KILLED true" ]
	[ -e "$(launch_folder)/vars.fd" ]
	qemu-img compare "$(launch_folder)/disk0.qcow2" "$D_file"
	terminate "$LAUNCH"
	# stopped with the machine, and ended before that is there again
	launch left '{"kind": "cutover", "uefi": true, "blueprint": {"poweroff_seconds": 0}}'
	wait_launch 300 "$LAUNCH" standing
	kill -TERM $(launch_pids "$LAUNCH" godwit-launch)
	wait_until 120 "it to be stopped" eval '[ "$(record "$LAUNCH" .state)" = stopped ]'
	terminate "$LAUNCH"
	wait_launch_over "$LAUNCH" ended
	wait_nothing_left "$LAUNCH"
	# its firmware's variables are what they were
	launch left '{"kind": "cutover", "uefi": true}'
	wait_launch 300 "$LAUNCH" standing
	ino=$(stat -c %i "$(launch_folder)/vars.fd")
	qemu=$(launch_pids "$LAUNCH" qemu)
	reboot
	wait_until 120 "the machine to run again" is_another "$qemu"
	[ "$(stat -c %i "$(launch_folder)/vars.fd")" = "$ino" ]
	wait_launch 300 "$LAUNCH" standing
	# one that cannot be started says why and keeps its disks
	server_kill
	kill -9 $(launch_pids "$LAUNCH" godwit-launch) $(launch_pids "$LAUNCH" qemu) 2>/dev/null || :
	wait_until 60 "the end of its processes" no_process "$LAUNCH"
	jq '.memory_mib = 4000000' "$(launch_folder)/spec.json" >"$T/spec"
	cp "$T/spec" "$(launch_folder)/spec.json"
	echo another >"$T/boot-id"
	instance_up
	wait_until 120 "the launch to fail" has_failed "$LAUNCH"
	[ "$(record "$LAUNCH" '.fault.code + " " + (.disks_kept | tostring)')" = "LAUNCH_NO_MEMORY true" ]
	qemu-img compare "$(launch_folder)/disk0.qcow2" "$D_file"
	terminate "$LAUNCH"
	wait_until 120 "the folder to go" test ! -e "$(launch_folder)"
}
