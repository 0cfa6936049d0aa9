# SPDX-License-Identifier: Apache-2.0
# A whole Debian 12 machine, protected from inside while it writes, rebooted, and given a newer kernel.
load machines

# vm_reboot: it reboots itself.  Its emulator is a new one then: qemu 7.2 that goes on keeps what
# it has translated of the code before, and throws it away page by page as the new kernel clears
# them; beside other machines a processor stood in that for up to 40 s, and a boot took minutes.
vm_reboot() {
	vm "systemctl reboot" || : # its shell may go before it answers
	wait_until 200 "the source machine to go down" gone $VM
	vm_on
}

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
