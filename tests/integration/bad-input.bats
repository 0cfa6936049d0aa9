# SPDX-License-Identifier: Apache-2.0
# What cannot be done is refused with one clear sentence that says what to do.
load lib
setup() { test_begin; }
teardown() { test_end; }

# refused PATTERN COMMAND...: exit status not 0, and one line that has the pattern.
refused() {
	local pattern=$1 out
	shift
	if out=$(timeout 60 "$@" </dev/null 2>&1 3>&-); then
		fail "not refused: $*: $out"
		return 1
	fi
	say "$out"
	[ "$(grep -c . <<<"$out")" = 1 ] || fail "not one line: $out" || return 1
	grep -Eq -- "$pattern" <<<"$out" || fail "does not say $pattern" || return 1
	# It ends with what to do: there is a sentence after the first.
	grep -Eq '[.!] .*[.!]$' <<<"$out" || fail "does not say what to do"
}
refuse_disk() { refused "$1" godwit protect "$2" --name bad; }
nobody_left() { [ "$(godwit status --json | jq '.machines | length')" = "${1:-0}" ]; }

@test "what is not a whole, writable, large enough disk is not protected" {
	instance_start
	truncate -s 64M "$T/file"
	refuse_disk 'not a block device' "$T/file"
	refuse_disk 'not a block device' /dev/null
	refuse_disk 'does not exist' /dev/nothing-there
	disk_make SMALL 512K
	refuse_disk 'at least' "$SMALL"
	truncate -s 32M "$T/ro"
	disk_attach RO "$T/ro" --read-only
	refuse_disk 'read-only' "$RO"
	if [ -e /dev/ram0 ]; then refuse_disk 'cannot be' /dev/ram0; fi
	# Where this machine keeps root from a whole disk, as containers do.
	for d in /dev/[svx]d[a-z]; do
		{ : <"$d"; } 2>"$T/open" || ! grep -q 'not permitted' "$T/open" || refuse_disk 'may not be opened' "$d"
	done
	nobody_left
}

# partition_make DISK: its first one; sets PART.  The kernel is told of it and reads no table, which not every kernel can.
partition_make() {
	needs addpart delpart
	addpart "$1" 1 2048 65536 || skip "this kernel gives loop devices no partitions"
	PART=${1}p1
	on_end "delpart $1 1"
	wait_until 60 "$PART" test -b "$PART"
}

@test "a partition is refused, naming the whole disk" {
	disk_make D 64M
	partition_make "$D"
	instance_start
	refuse_disk "$PART is a partition of $D\. Protect the whole disk instead: $D\.\$" "$PART"
	nobody_left
}

@test "a volume is refused, naming the whole disk below it" {
	disk_make D 64M
	partition_make "$D"
	instance_start
	if name=godwit-test-$BASHPID && dmsetup create "$name" --table "0 65536 linear $PART 0" 2>/dev/null; then
		on_end "dmsetup remove $name"
		refuse_disk "is a volume that lies on $D\. .*instead: $D\.\$" "/dev/mapper/$name"
	else # no device mapper here: of another disk /sys says, for this command, what it says of a volume
		disk_make VOLUME 32M
		mkdir -p "$T/slaves/${PART#/dev/}"
		cat "/sys/class/block/${PART#/dev/}/dev" >"$T/slaves/${PART#/dev/}/dev"
		refused "$VOLUME is a volume that lies on $D\. .*instead: $D\.\$" unshare -m sh -c "mount --bind $T/slaves /sys/class/block/${VOLUME#/dev/}/slaves &&
			exec godwit protect $VOLUME --name bad"
	fi
	nobody_left
}

@test "a disk that is protected already is refused, naming the machine" {
	disk_make D 32M
	instance_start
	protect mine "$D"
	refuse_disk 'mine' "$D"
	nobody_left 1
	# The same for another instance on this machine.
	first=$GODWIT_DATA
	export GODWIT_DATA=$T/second
	PORT='' CONSOLE_PORT=''
	instance_start
	refuse_disk 'already protected' "$D"
	GODWIT_DATA=$first
}

@test "a name that is taken is refused" {
	disk_make D 32M
	disk_make E 32M
	instance_start
	protect taken "$D"
	refused taken godwit protect "$E" --name taken
	nobody_left 1
}

@test "the disk that holds the data folder is refused" {
	disk_make D 128M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	mkdir "$T/m/data"
	export GODWIT_DATA=$T/m/data
	instance_start
	refuse_disk "$T/m/data|replica" "$D"
	nobody_left
}

@test "the disk that holds the store is refused, too, where the console is reached like one elsewhere" {
	disk_make D 128M
	disk_make E 32M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	mkdir "$T/m/data"
	export GODWIT_DATA=$T/m/data
	instance_start
	token=$(api POST /tokens '{"role": "agent"}' | jq -r .token)
	on_end "agent_stop self" # if it is not refused
	refused "$T/m/data|replica" godwit protect "$D" --name self --data "$T/far" \
		--console "https://127.0.0.1:$CONSOLE_PORT" --token "$token"
	nobody_left
	[ ! -e "$T/far/agents/self" ]
	# Another disk of the same machine may be.
	on_end "agent_stop other"
	timeout 300 godwit protect "$E" --name other --data "$T/far" --console "https://127.0.0.1:$CONSOLE_PORT" \
		--token "$token" </dev/null 3>&-
	status other .id >>"$T/machines"
	refused 'named twice' godwit protect "$D" "$D" --name twice
}

@test "without root, or on a kernel without BTF, it says so" {
	disk_make D 32M
	instance_start
	chmod 755 "$T"
	su_to=$(command -v setpriv) || skip "setpriv is not installed"
	mkdir -p "$T/bin" && cp "$(readlink -f "$(command -v godwit)")" "$T/bin/godwit"
	refused root "$su_to" --reuid 65534 --regid 65534 --clear-groups "$T/bin/godwit" protect "$D" --name bad --data "$T/other"
	refused 'btf|BTF|types' unshare -m sh -c "mount -t tmpfs none /sys/kernel/btf && exec godwit protect $D --name bad"
	nobody_left
}

@test "a time before the first or after the last point is refused with the range there is" {
	disk_make D 32M
	instance_start
	refused "nothing" godwit points nothing
	protect times "$D"
	wait_continuous times
	mark times
	year=$(date -u +%Y)
	for at in 2001-01-01T00:00:00Z 2100-01-01T00:00:00Z; do
		refused "$year-.*$year-" godwit export times --at $at --format raw "$T/never.img"
		[ ! -e "$T/never.img" ]
		[ -z "$(compgen -G "$T/never.img.part*")" ]
	done
	refused 'no-such' godwit export times --at no-such-label --format raw "$T/never.img"
	refused 'no-such|disk' godwit export times --disk /dev/no-such --format raw "$T/never.img"
}

@test "before the first point it is said that there is none, and what cannot begin is not waited for" {
	disk_make D 32M
	instance_start
	server=$(server_pid)
	kill -STOP "$server" # it is connected, and nothing gets to it
	on_end "kill -CONT $server 2>/dev/null || :"
	protect e "$D"
	agent=$(agent_pid e)
	kill -STOP "$agent"
	on_end "kill -CONT $agent 2>/dev/null || :"
	kill -CONT "$server"
	refused 'nothing of machine e yet' godwit export e "$T/never.img"
	# As a staging disk leaves it that was full from the start: a folder, and no store in it.
	server_kill
	mkdir -p "$GODWIT_DATA/server/store/$(status e .id)"
	instance_up
	refused 'no recovery point yet' godwit export e "$T/never.img"
	refused 'no recovery point yet' godwit points e
	refused 'no recovery point yet' godwit serve e
	[ ! -e "$T/never.img" ]
	kill -CONT "$agent"
	wait_continuous e
	godwit pause e
	refused 'paused' godwit verify e
	godwit rescan e | grep -q 'after `godwit resume e`'
	godwit resume e
	wait_continuous e
	refused '--yes' godwit unprotect e
	nobody_left 1
	server_kill
	wait_until 60 "the server to be missed" verify_names_the_server
	godwit rescan e | grep -q 'when its replication server is back'
}
verify_names_the_server() { timeout 60 godwit verify e 2>&1 </dev/null | grep -Eq 'not connected|does not answer|refused|lost'; }

@test "settings out of their range are refused and nothing changes" {
	disk_make D 32M
	instance_start
	protect set "$D"
	godwit settings set --json >"$T/before"
	refused epoch_ms godwit settings set epoch_ms=5
	refused colour godwit settings set colour=blue
	refused compression godwit settings set compression=zip
	refused throttle godwit settings set throttle_mbit_per_second=-1
	refused epoch_ms godwit settings set throttle_mbit_per_second=7 epoch_ms=1
	godwit settings set --json | cmp - "$T/before"
}

@test "a command to an instance that is not there or not running says how to start it" {
	refused 'godwit up' godwit status --data "$T/nowhere"
	instance_start
	godwit down
	refused 'godwit up' godwit status
}

@test "a console that is named wrongly is refused with what is wrong of it" {
	disk_make D 32M
	instance_start
	url=https://127.0.0.1:$CONSOLE_PORT
	ca=$GODWIT_DATA/console/ca.crt
	there="--token-file $GODWIT_DATA/admin.token --ca $ca"
	echo 0000-1111 >"$T/wrong"
	godwit status --console "$url/" $there
	refused 'https://HOST:PORT' godwit status --console "http://127.0.0.1:$CONSOLE_PORT" $there
	refused 'https://HOST:PORT' godwit status --console "$url/machines" $there
	refused 'https://HOST:PORT' godwit protect "$D" --name x --data "$T/far" --console "http://127.0.0.1:$CONSOLE_PORT" --token 1
	refused 'https://HOST:PORT' godwit protect "$D" --name x --data "$T/far" --console "$url/x" --token 1
	refused 'CA certificate' godwit status --console "$url" --token-file "$GODWIT_DATA/admin.token" --ca "$ROOT/README.md"
	refused 'CA certificate' godwit status --console "$url" --token-file "$GODWIT_DATA/admin.token" --ca "$T/none"
	refused 'admin token' godwit status --console "$url" --token-file "$T/none" --ca "$ca"
	refused 'admin token' godwit status --console "$url" --token-file "$T/wrong" --ca "$ca"
	refused token godwit protect "$D" --name x --data "$T/far" --console "$url" --token 1
	run -2 godwit protect "$D" --name x --console "$url" --token --data "$T/far"
	[ ! -e "$T/far" ]
	nobody_left
}

@test "what fails leaves no folder behind" {
	must_fail godwit up --listen 300.1.1.1 --data "$T/none"
	port_choose FREE
	must_fail godwit up --listen 203.0.113.1 --port "$FREE" --data "$T/none"
	must_fail godwit-agent run --state "$T/none"
	[ ! -e "$T/none" ]
	run -2 godwit-console nonsense --data "$T/none"
	[ ! -e "$T/none" ]
}

@test "small mistakes get one sentence each" {
	disk_make D 32M
	instance_start
	protect s "$D"
	wait_continuous s
	refused 'nobody' godwit events nobody
	refused 'later than' godwit points s --from now --to '1h ago'
	refused '203.0.113.1' godwit serve s --listen 203.0.113.1
	run -2 godwit mark s ''
	# The hint is for the instance that was named.
	data=$GODWIT_DATA
	unset GODWIT_DATA
	godwit pause s --data "$data" | grep -qF "\`godwit resume s --data $data\`"
	export GODWIT_DATA=$data
	godwit resume s
	chmod 755 "$T"
	command -v setpriv || skip "setpriv is not installed"
	mkdir -p "$T/bin" && cp "$(readlink -f "$(command -v godwit)")" "$T/bin/godwit"
	refused root setpriv --reuid 65534 --regid 65534 --clear-groups "$T/bin/godwit" log s
	id=$(status s .id)
	godwit unprotect s --yes
	godwit events s --json | jq -e '.events | length > 0' >/dev/null # it was there
}

@test "ports that are taken are named with who has them" {
	instance_start
	export GODWIT_DATA=$T/second
	port_choose FREE
	refused "$PORT" godwit up --port "$PORT" --console-port "$FREE" --listen 127.0.0.1
	export GODWIT_DATA=$T/data
}
