# SPDX-License-Identifier: Apache-2.0
# The command godwit as a person meets it, and the quickstart.
load lib
setup() { test_begin; }
teardown() { test_end; }

# Nobody holds this folder's files, mounts or loop devices any more.  A loop device that somebody else looks into just
# then (udev does) goes when he is done.
nothing_left() {
	wait_until 20 "loop devices are left" not_found_in "$1" losetup -a
	must_fail found_in "$1" findmnt -rno TARGET || fail "mounts are left"
	wait_until 20 "processes are left" eval "! pgrep -af -- '$1'"
	[ ! -e "$1" ] || fail "$1 is left"
}
found_in() { "${@:2}" | grep -F "$1"; }
not_found_in() { ! found_in "$@"; }
# quickstart [VARIABLE=VALUE...]: in a folder of this test.
quickstart() { env GODWIT_BUILD="$BUILD" QUICKSTART_FOLDER="$T/quick.gwdata" "$@" "$ROOT/scripts/quickstart" </dev/null 3>&-; }

record_of() { sed -n "s/^$1 *record \([0-9]*\) .*/\1/p" "$T/out"; }
# older_than SECONDS WHAT: the record was written at least so long before the moment that is called "live, at".
older_than() {
	local now written
	now=$(sed -n 's/^live, at \([0-9:]*\) .*/\1/p' "$T/out")
	written=$(sed -n "s/^$2 *record [0-9]* written at \([^ ]*\)$/\1/p" "$T/out")
	# "live, at" has no fraction of a second and no date
	[ $((($(date -ud "1970-01-01T${now}Z" +%s) + 1 - $(date -ud "$written" +%s) % 86400 + 86400) % 86400)) -ge "$1" ]
}

@test "the quickstart brings the disk back as it was 10 and 2 seconds ago, again and again" {
	for run in 1 2; do
		quickstart timeout 1200 env >"$T/out" 2>&1 || { cat "$T/out"; fail "run $run"; }
		grep -q 'Finalizing initial sync: flushing backlog' "$T/out"
		grep -q 'Finalizing initial sync: creating first launchable snapshot' "$T/out"
		grep -q 'Continuous data protection' "$T/out"
		say "live $(record_of 'live.*') 2 s ago $(record_of '2 seconds ago') 10 s ago $(record_of '10 seconds ago')"
		# the one that writes may have been held up for some of these seconds
		[ "$(record_of '10 seconds ago')" -le "$(record_of '2 seconds ago')" ]
		[ "$(record_of '2 seconds ago')" -le "$(record_of 'live, at [0-9:]*')" ]
		[ "$(record_of '10 seconds ago')" -lt "$(record_of 'live, at [0-9:]*')" ]
		older_than 10 '10 seconds ago'
		older_than 2 '2 seconds ago'
		nothing_left "$T/quick.gwdata"
	done
}

@test "the quickstart, interrupted at any moment, leaves nothing behind" {
	# A moment that is seldom hit: the device is there, what mounts it is not yet.
	mkdir "$T/quick.gwdata"
	truncate -s 1M "$T/quick.gwdata/back-2.img"
	disk_attach D "$T/quick.gwdata/back-2.img"
	for seconds in 3 $((5 + RANDOM % 10)) $((15 + RANDOM % 20)); do
		say "after $seconds s"
		quickstart timeout --foreground -s INT "$seconds" env >"$T/out" 2>&1 || :
		nothing_left "$T/quick.gwdata"
	done
}

@test "the quickstart, interrupted while its program is writing a record, waits for that and leaves nothing behind" {
	mkdir "$T/bin"
	printf '#!/bin/sh\nexec 3<"$1" && : >"%s" && exec /bin/sleep 5\n' "$T/syncs" >"$T/bin/sync"
	chmod 755 "$T/bin/sync"
	export PATH=$T/bin:$PATH
	GODWIT_BUILD=$BUILD QUICKSTART_FOLDER=$T/quick.gwdata "$ROOT/scripts/quickstart" </dev/null >"$T/out" 2>&1 3>&- &
	load=$!
	on_end "! ours $load || { kill $load; wait $load; }"
	wait_until 120 "a record" test -e "$T/syncs"
	kill -TERM "$load"
	must_fail wait "$load"
	cat "$T/out"
	nothing_left "$T/quick.gwdata"
}

@test "the quickstart with a disk of one's own writes nothing to it" {
	disk_make D 128M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/mnt"
	echo hello >"$T/mnt/file"
	umount "$T/mnt"
	before=$(sha256sum <"$D_file")
	quickstart DISK="$D" timeout 1200 env >"$T/out" 2>&1 || { cat "$T/out"; fail "quickstart"; }
	cat "$T/out"
	[ ! -e /dev/fuse ] || grep -q '10 s ago .*newest file: .*/file' "$T/out"
	[ "$(sha256sum <"$D_file")" = "$before" ]
	nothing_left "$T/quick.gwdata"
}

@test "up can be repeated, and starts what has died" {
	instance_start
	instance_up | grep -q 'Running already'
	kill_hard "$(cat "$GODWIT_DATA/server/server.pid")"
	instance_up
	wait_until 60 "the server is back" server_connected
	kill_hard "$(cat "$GODWIT_DATA/console/console.pid")"
	instance_up
	wait_until 60 "the server is back at the console" server_connected
}
server_connected() { api GET /servers | jq -e '.servers[0].connected' >/dev/null; }

@test "up that cannot start everything takes back what it started" {
	port_choose PORT
	port_choose CONSOLE_PORT
	LISTEN=127.0.0.1
	python3 -c 'import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(); print(flush=True); time.sleep(600)' "$PORT" >"$T/listens" 3>&- &
	on_end "kill $!"
	wait_until 60 "the port is taken" test -s "$T/listens"
	must_fail instance_up >"$T/out" 2>&1
	cat "$T/out"
	grep -q "TCP port $PORT is already in use by python3 (pid $!)" "$T/out"
	port_free "$CONSOLE_PORT"
}

@test "a protect that fails leaves nothing behind" {
	instance_start
	must_fail godwit protect /dev/null --name bad </dev/null 3>&-
	[ ! -e "$GODWIT_DATA/agents/bad" ]
	[ -z "$(godwit status --names)" ]
}

@test "protect --wait shows the stages by their names and ends at continuous protection" {
	disk_make D 64M
	instance_start
	godwit protect "$D" --name w --wait </dev/null >"$T/out" 2>&1 3>&-
	cat "$T/out"
	for words in 'Initial sync' 'flushing backlog' 'creating first launchable snapshot' 'Continuous data protection'; do
		grep -q "$words" "$T/out"
	done
	must_fail grep '100 %' "$T/out"
	wait_continuous w
	status w .id >>"$T/machines"
}

@test "status is in Japanese where people speak it" {
	disk_make D 64M
	instance_start
	protect j "$D"
	wait_continuous j
	godwit status --lang ja | grep -q '継続的なデータ保護'
	LC_ALL=ja_JP.UTF-8 godwit status j | grep -q '最新の復旧ポイント'
	LC_ALL=ja_JP.UTF-8 must_fail godwit status nobody 2>"$T/err"
	grep -q 'nobody はありません' "$T/err"
}

@test "status --watch writes plain lines where there is no terminal" {
	disk_make D 64M
	instance_start
	protect p "$D"
	wait_continuous p
	godwit status --watch >"$T/out" 3>&- &
	watcher=$!
	wait_until 60 "three lines" lines_at_least "$T/out" 3
	kill -INT "$watcher"
	wait "$watcher"
	grep -q '^p: Continuous data protection; lag .* newest point ' "$T/out"
	must_fail grep $'\033' "$T/out"
}
lines_at_least() { [ "$(wc -l <"$1")" -ge "$2" ]; }

@test "a console elsewhere is used with its token and CA" {
	instance_start
	cp "$GODWIT_DATA/admin.token" "$GODWIT_DATA/console/ca.crt" "$T"
	url=https://127.0.0.1:$CONSOLE_PORT
	env -u GODWIT_DATA godwit status --console "$url" --token-file "$T/admin.token" --ca "$T/ca.crt"
	must_fail env -u GODWIT_DATA godwit status --console "$url" 2>"$T/err"
	grep -q -- '--token-file and --ca' "$T/err"
	echo wrong >"$T/admin.token"
	must_fail env -u GODWIT_DATA godwit status --console "$url" --token-file "$T/admin.token" --ca "$T/ca.crt"
}

@test "the completion is what bash understands, and offers what there is" {
	godwit help --completion >"$T/completion"
	cat >"$T/try" <<-'END'
		source "$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_godwit
		echo "${COMPREPLY[*]}"
	END
	[ "$(bash "$T/try" "$T/completion" godwit unp)" = unprotect ]
	[ "$(bash "$T/try" "$T/completion" godwit export --format q)" = qcow2 ]
	[ "$(bash "$T/try" "$T/completion" godwit export --f)" = "--format --force" ]
}

@test "what is installed: each program with a manual page, units that start programs which are there, a completion" {
	DESTDIR=$T/root meson install -C "$BUILD" --no-rebuild --quiet >"$T/install.out" 2>&1 || { cat "$T/install.out"; false; }
	find "$T/root" -path '*bin/*' -type f >"$T/programs"
	[ "$(wc -l <"$T/programs")" -ge 7 ]
	while read -r program; do
		page=$(find "$T/root" -path '*/man/*' -name "${program##*/}.[18]")
		[ -s "$page" ] || { echo "no manual page of ${program##*/}"; false; }
		mandoc -Tlint -Wwarning "$page"
	done <"$T/programs"
	find "$T/root" -name '*.service' >"$T/units"
	[ "$(wc -l <"$T/units")" -ge 5 ]
	while read -r unit; do
		sed -nE 's/^(Exec[A-Za-z]*)=[-+!]*([^ ]+).*/\2/p' "$unit" | while read -r program; do
			[ -x "$T/root$program" ] || [ -x "$program" ] || { echo "$unit: no $program"; exit 1; }
		done
	done <"$T/units"
	bash -n "$(find "$T/root" -path '*completions/godwit')"
}
