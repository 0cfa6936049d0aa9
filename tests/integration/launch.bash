# SPDX-License-Identifier: Apache-2.0
# launch.bash - machines started from points, for launch.bats; after lib.bash.

VM=$ROOT/tests/vm

needs_launch() {
	needs qemu-system-x86_64 qemu-img nbdkit grub-mkimage mcopy sfdisk mke2fs mkfs.vfat
	on_end "launches_end $GODWIT_DATA"
}

# kernel_choose: a kernel of Debian's in KERNEL, from the cache or the archive; or skip.
kernel_choose() {
	local cache=${GODWIT_KERNELS:-$BUILD/kernels} folder
	for folder in "$cache"/6.1.*; do
		[ -e "$folder/complete" ] && KERNEL=$folder && return
	done
	KERNEL=$("$VM/fetch-kernels" "$cache" bookworm 2>"$T/fetch.out" | awk '{ print $3 }')
	[ -n "$KERNEL" ] || skip "no kernel to boot: $(tail -n 1 "$T/fetch.out")"
}

# appliance_choose: libguestfs' own machine needs a kernel: this machine's, or one that was fetched.
appliance_choose() {
	local release
	! ls /boot/vmlinuz-* >/dev/null 2>&1 || return 0
	kernel_choose
	release=$(basename "$KERNEL"/lib/modules/*)
	export SUPERMIN_KERNEL=$KERNEL/vmlinuz SUPERMIN_MODULES=$KERNEL/lib/modules/$release SUPERMIN_KERNEL_VERSION=$release
	[ -d /lib/modules ] || { mkdir /lib/modules && on_end "rmdir /lib/modules"; } # supermin wants it to be
}

# machine_make VARIABLE bios|uefi [OPTION...]: a loop device with a machine on it (tests/vm/small-machine).
machine_make() {
	local _image
	_image=$(mktemp "$T/machine.XXXX")
	"$VM/small-machine" "$2" "$_image" "${@:3}" || return 1
	disk_attach "$1" "$_image"
	printf -v "$1_file" %s "$_image"
}

# machine_protect NAME DISK...: and until it can be launched.
machine_protect() {
	protect "$@"
	wait_continuous "$1"
}

# source_looks LISTING FSTAB: what the agent sees of its machine, in place of this one.
source_looks() {
	local root=$T/source
	mkdir -p "$root"/{etc/network,boot,proc/net,proc/sys/kernel,lib/modules/6.1.0-test,sys/class/net/ens18,dev/disk/by-uuid} "$T/bin"
	echo 6.1.0-test >"$root/proc/sys/kernel/osrelease"
	printf '%s\n' kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_pci.ko: \
		kernel/drivers/net/virtio_net.ko: kernel/drivers/nvme/host/nvme.ko: >"$root/lib/modules/6.1.0-test/modules.dep"
	echo kernel/drivers/scsi/sd_mod.ko >"$root/lib/modules/6.1.0-test/modules.builtin"
	echo "BOOT_IMAGE=/vmlinuz root=UUID=12-34 ro" >"$root/proc/cmdline"
	printf 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\nens18\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n' \
		>"$root/proc/net/route"
	echo de:ad:be:ef:00:01 >"$root/sys/class/net/ens18/address"
	ln -sf ../../sda1 "$root/dev/disk/by-uuid/12-34"
	tr ' ' '\n' <<<"$1" >"$root/boot/initrd.img-6.1.0-test"
	echo "$2" >"$root/etc/fstab"
	printf '#!/bin/sh\nexec cat "$1"\n' >"$T/bin/lsinitramfs"
	chmod 755 "$T/bin/lsinitramfs"
	export GODWIT_FACTS_ROOT=$root PATH=$PATH:$T/bin
}
# source_has_cards CARD...: after source_looks, in this order, each configured.
source_has_cards() {
	local card i=1
	for card; do
		mkdir -p "$T/source/sys/class/net/$card/device"
		echo $((i += 1)) >"$T/source/sys/class/net/$card/ifindex"
		echo "de:ad:be:ef:01:0$i" >"$T/source/sys/class/net/$card/address"
	done
	printf 'iface %s inet dhcp\n' "$@" >"$T/source/etc/network/interfaces"
}
hardware_is_known() { [ "$(status "$1" '.facts.hardware != null')" = true ]; }

# marker_write DISK TEXT: what a small machine says when it starts.
marker_write() {
	printf '%-511s\n' "$2" | tr ' ' '\0' |
		dd of="$1" bs=512 seek=$(($(blockdev --getsz "$1") - 2048)) conv=notrunc oflag=direct status=none
}

# launch NAME [JSON]: sets LAUNCH, and JOB; JSON has what POST .../launches takes.
launch() {
	local answer body
	body=$(jq -nc --argjson more "${2:-{\}}" \
		'{blueprint: {cpus: 1, memory_mib: 128}} * $more | if .blueprint.memory_mib == 128 and .uefi then
		.blueprint.memory_mib = 512 else . end | del(.uefi)')
	answer=$(api POST "/machines/$1/launches" "$body")
	LAUNCH=$(jq -r '.launch // empty' <<<"$answer")
	JOB=$(jq -r '.job // empty' <<<"$answer")
	[ -n "$LAUNCH" ] || fail "launch $1: $answer"
}

launch_folder() { echo "$GODWIT_DATA/server/launches/${1:-$LAUNCH}"; }
# record LAUNCH [JQ]: what the console has of it.
record() { api GET "/launches/$1" | jq -r "${2:-.}"; }
job() { api GET "/jobs/$1" | jq -r "${2:-.}"; }

# wait_launch SECONDS LAUNCH STATE
wait_launch() {
	local left=$1 last=$SECONDS state
	while :; do
		state=$(record "$2" .state)
		[ "$state" != "$3" ] || return 0
		if [ "$state" = failed ] || [ "$state" = ended ] || spent; then
			record "$2"
			tail -c 2000 "$(launch_folder "$2")/serial.log" 2>/dev/null
			fail "launch is $state, not $3"
			return 1
		fi
		tick
	done
}
# wait_launch_over LAUNCH STATE: ended or failed, which is no surprise.
is_over() { case $(record "$1" .state) in ended | failed) ;; *) false ;; esac; }
wait_launch_over() {
	wait_until 120 "the end of the launch" is_over "$1" && [ "$(record "$1" .state)" = "$2" ] || { record "$1"; return 1; }
}
launch_says() { tr -d '\0' 2>/dev/null <"$(launch_folder "$1")/serial.log" | grep -aq -- "$2"; }
terminate() { api DELETE "/launches/$1" >/dev/null; }

# launch_pids LAUNCH NAME: of the processes that it runs, those called so.  A process is there until its last thread
# has ended: that one has its files and their locks, when the first one is gone already.
launch_pids() {
	local p folder
	folder=$(realpath "$(launch_folder "$1")" 2>/dev/null) && [ -n "$folder" ] || return 0
	for p in $(find /proc/[0-9]*/task/*/cwd -maxdepth 0 -lname "$folder" -print 2>/dev/null | cut -d / -f 3 | sort -nu); do
		case $(cat "/proc/$p/comm" 2>/dev/null) in "$2"*) echo "$p" ;; esac
	done
}

no_process() {
	local left
	left=$(launch_pids "$1" '')
	[ -z "$left" ] || { ps -o pid,ppid,stat,args -p $left >"$T/left"; return 1; }
}

# nothing_left LAUNCH: no process, no socket, no disk.
nothing_left() {
	local left
	[ -z "$(launch_pids "$1" '')" ] || { say "runs: $(launch_pids "$1" '')"; return 1; }
	left=$(ls "$(launch_folder "$1")" 2>/dev/null | grep -vxE 'spec.json|launch.json|launch.pid|launch.log.*|serial.log|screenshot.png')
	[ -z "$left" ] || { say "left: $left"; return 1; }
}
wait_nothing_left() { wait_until "${2:-60}" "nothing left of $1" nothing_left "$1"; }

# wait_failed SECONDS LAUNCH CODE: failed because of that, its job too unless it had booted, and nothing left.
has_failed() { [ "$(record "$1" .state)" = failed ]; }
job_has_failed() { [ "$(job "$1" .status)" = FAILED ]; }
wait_failed() {
	wait_until "$1" "the launch to fail" has_failed "$2" || { record "$2"; return 1; }
	[ "$(record "$2" .fault.code)" = "$3" ] || { record "$2"; fail "not because of $3"; return 1; }
	# of one that had booted the job is done
	[ "$(record "$2" .proof)" != null ] || wait_until 60 "the job to fail" job_has_failed "$(record "$2" .job)"
	wait_nothing_left "$2"
}

# says STATUS TEXT COMMAND...: it ends with that status and one line on standard error that has the text.
says() {
	local status=$1 text=$2 got=0
	shift 2
	"$@" >"$T/out.said" 2>"$T/err" || got=$?
	[ "$got" = "$status" ] || { cat "$T/out.said" "$T/err"; fail "exit status $got, not $status: $*"; return 1; }
	grep -qF -- "$text" "$T/err" || { cat "$T/err"; fail "does not say \"$text\": $*"; return 1; }
	[ "$status" = 2 ] || [ "$(grep -c '^godwit: ' "$T/err")" = 1 ] || { cat "$T/err"; fail "not one sentence: $*"; return 1; }
}

# Whatever is still there of a test's launches.
launches_end() {
	local p
	for p in /proc/[0-9]*; do
		case $(readlink "$p/cwd" 2>/dev/null) in
		"$(realpath "$1" 2>/dev/null)"/server/launches/*) kill -9 "${p#/proc/}" 2>/dev/null || : ;;
		esac
	done
}
