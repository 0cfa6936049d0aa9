#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The console's program by itself: starting, stopping, being killed, and what an
# administrator with curl can do to it.  No disks here.

load lib

setup() {
	test_begin
	needs curl jq openssl sqlite3
	LISTEN=127.0.0.1
	mkdir "$GODWIT_DATA"
}
teardown() { test_end; }

# console_start [OPTION...]: on a free port; CONSOLE_PORT, LISTEN and the data folder as api() wants them.
console_start() {
	[ -n "${CONSOLE_PORT-}" ] || port_choose CONSOLE_PORT
	on_end "console_stop $GODWIT_DATA"
	timeout 30 godwit-console run --data "$GODWIT_DATA" --listen $LISTEN --port "$CONSOLE_PORT" --daemon "$@" 3>&-
}
console_stop() {
	local pid
	pid=$(daemon_pid "$1/console/console.pid")
	[ -n "$pid" ] || return 0
	kill "$pid"
	wait_until 60 "end of the console" gone "$pid"
}

# must_say WHAT COMMAND...: fails, and says one line with WHAT in it.
must_say() {
	local what=$1
	shift
	must_fail timeout 30 "$@" >"$T/said" 2>&1 || return 1
	[ "$(wc -l <"$T/said")" = 1 ] || fail "not one line: $(cat "$T/said")" || return 1
	grep -q -- "$what" "$T/said" || fail "not said: $what, but: $(cat "$T/said")"
}

# enrol NAME [ROLE]: makes NAME.key, .crt and .id in $T.
enrol() {
	local token
	token=$(api POST /tokens "{\"role\": \"${2:-agent}\"}" | jq -r .token)
	enrol_with "$1" "$token" "${2:-agent}"
}
enrol_with() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$T/$1.key"
	openssl req -new -key "$T/$1.key" -subj /CN=x -out "$T/$1.csr"
	jq -n --arg t "$2" --arg r "$3" --arg n "$1" --rawfile q "$T/$1.csr" '{token: $t, role: $r, name: $n, request: $q}' |
		curl -sS --cacert "$GODWIT_DATA/console/ca.crt" -d @- "https://$LISTEN:$CONSOLE_PORT/api/godwit/v1/enrol" \
			>"$T/$1.json"
	jq -re .certificate "$T/$1.json" >"$T/$1.crt" && jq -re .id "$T/$1.json" >"$T/$1.id"
}

# peer NAME METHOD PATH [JSON]: as an agent or server that has enrolled.
peer() {
	curl -sS --max-time 70 --cacert "$GODWIT_DATA/console/ca.crt" --key "$T/$1.key" --cert "$T/$1.crt" -X "$2" ${4:+-d "$4"} \
		"https://$LISTEN:$CONSOLE_PORT/api/godwit/v1$3"
}
code() { jq -r '.code // empty'; }

@test "the first start makes everything, readable by its owner only" {
	console_start
	[ "$(stat -c %a "$GODWIT_DATA/admin.token")" = 600 ]
	[ "$(stat -c %a "$GODWIT_DATA/console")" = 700 ]
	[ "$(stat -c %a "$GODWIT_DATA/console/ca.key")" = 600 ]
	[ "$(stat -c %a "$GODWIT_DATA/console/catalogue.sqlite")" = 600 ]
	[ "$(api GET /health | jq -r .name)" = godwit-console ]
	[ "$(api GET /machines)" = '{"machines":[]}' ]
	# the token is in no file but its own
	must_fail grep -r -q "$(cut -c 41-79 "$GODWIT_DATA/admin.token")" "$GODWIT_DATA/console"
}

@test "a second console on the same folder is refused and names the first" {
	console_start
	must_say "process $(console_pid)" godwit-console run --data "$GODWIT_DATA" --port 0
	[ "$(api GET /health | jq -r .name)" = godwit-console ]
}

@test "a port that is taken and an address that is not ours are said" {
	console_start
	must_say "port $CONSOLE_PORT of $LISTEN is in use" \
		godwit-console run --data "$T/other" --listen $LISTEN --port "$CONSOLE_PORT" --daemon
	must_say "cannot listen on 192.0.2.1" godwit-console run --data "$T/other" --listen 192.0.2.1 --port 0
	must_say "cannot listen on no.such.host.invalid" godwit-console run --data "$T/other" --listen no.such.host.invalid
	must_say "not a port" godwit-console run --data "$T/other" --port 99999
	must_say "is needed" godwit-console run
	must_say "not a command" godwit-console walk --data "$T/other"
	touch "$T/file"
	must_say "cannot be used" godwit-console run --data "$T/file"
	must_say "cannot be used" godwit-console token --data "$T/nothing" --role agent
}

@test "two consoles side by side do not know each other's tokens" {
	console_start
	local token first=$GODWIT_DATA
	token=$(godwit-console token --data "$first" --role agent)
	unset CONSOLE_PORT
	GODWIT_DATA=$T/second
	console_start
	must_fail enrol_with stranger "$token" agent
	[ "$(code <"$T/stranger.json")" = TOKEN_WRONG ]
	enrol at-home
	must_fail curl -sS --cacert "$first/console/ca.crt" "https://$LISTEN:$CONSOLE_PORT/api/godwit/v1/health"
}

@test "a token of the command line is good with the console running, and expires" {
	console_start
	enrol_with one "$(godwit-console token --data "$GODWIT_DATA" --role agent)" agent
	local token
	token=$(api POST /tokens '{"role": "agent", "expires_seconds": 60}' | jq -r .token)
	sqlite3 -cmd '.timeout 5000' "$GODWIT_DATA/console/catalogue.sqlite" 'UPDATE tokens SET expires_us = 1'
	must_fail enrol_with two "$token" agent
	[ "$(code <"$T/two.json")" = TOKEN_EXPIRED ]
}

@test "what was acknowledged survives kill -9 in the middle of writing" {
	console_start
	enrol m1
	local i acked=0 round value
	for round in 1 2 3 4 5; do
		: >"$T/acked"
		(
			for i in {1..500}; do
				[ "$(api PATCH /machines/m1/settings "{\"epoch_ms\": $((round * 1000 + i))}" 2>/dev/null |
					jq .epoch_ms)" = $((round * 1000 + i)) ] || break
				echo $((round * 1000 + i)) >>"$T/acked"
			done
		) &
		wait_until 120 "some writes" test -s "$T/acked"
		wait_until 120 "more writes" eval '[ "$(wc -l <"$T/acked")" -ge $((RANDOM % 12 + 2)) ]'
		kill_hard "$(console_pid)"
		wait $! || :
		acked=$(tail -n 1 "$T/acked")
		console_start
		value=$(api GET /machines/m1/settings | jq .epoch_ms)
		# the last one acknowledged, or the one that was being written
		[ "$value" = "$acked" ] || [ "$value" = $((acked + 1)) ] || fail "acknowledged $acked, found $value"
		api GET "/events?machine=m1&limit=1000" | jq -e --arg v "$acked" \
			'any(.events[]; .code == "SETTING_CHANGED" and .changes[0].new == $v and .who == "admin")' >/dev/null
	done
	[ "$(sqlite3 "$GODWIT_DATA/console/catalogue.sqlite" 'PRAGMA integrity_check')" = ok ]
}

@test "SIGTERM ends it within seconds, with long polls open" {
	console_start
	enrol m1
	local version pid
	pid=$(console_pid)
	version=$(peer m1 GET /link | jq .version)
	peer m1 GET "/link?version=$version&wait=60" >"$T/polled" 2>&1 3>&- &
	wait_until 60 "the poll" eval 'ss -Htn "sport = :$CONSOLE_PORT" | grep -q ESTAB'
	kill "$pid"
	wait_until 30 "end of the console" gone "$pid"
	wait $! || :
	console_start
	[ "$(api GET /machines | jq -r '.machines[0].name')" = m1 ]
}

@test "a lost admin token is made anew at the next start, and the old one is worthless" {
	console_start
	local old
	old=$(cat "$GODWIT_DATA/admin.token")
	console_stop "$GODWIT_DATA"
	rm "$GODWIT_DATA/admin.token"
	console_start
	[ "$(cat "$GODWIT_DATA/admin.token")" != "$old" ]
	api GET /machines | jq -e .machines >/dev/null
	echo "$old" >"$GODWIT_DATA/admin.token"
	[ "$(api GET /machines | code)" = API_NOT_AUTHENTICATED ]
}

@test "a catalogue that is damaged or newer is left alone and said" {
	console_start
	console_stop "$GODWIT_DATA"
	sqlite3 "$GODWIT_DATA/console/catalogue.sqlite" 'PRAGMA user_version = 77'
	must_say "newer version" godwit-console run --data "$GODWIT_DATA" --port 0
	printf 'this is not a database, by far not, and it is longer than a header of one is, which has 100 bytes.' \
		>"$GODWIT_DATA/console/catalogue.sqlite"
	cp "$GODWIT_DATA/console/catalogue.sqlite" "$T/before"
	must_say "damaged" godwit-console run --data "$GODWIT_DATA" --port 0 --daemon
	cmp "$T/before" "$GODWIT_DATA/console/catalogue.sqlite"
}

@test "a full disk changes nothing, is said, and is over when there is room" {
	mount -t tmpfs -o size=3m none "$GODWIT_DATA"
	on_end "umount $GODWIT_DATA"
	console_start
	enrol m1
	api PATCH /machines/m1/settings '{"epoch_ms": 700}' >/dev/null
	dd if=/dev/zero of="$GODWIT_DATA/filler" bs=4k 2>/dev/null || :
	local i refused=
	for i in {1..200}; do
		[ "$(api PATCH /machines/m1/settings "{\"epoch_ms\": $((1000 + i))}" | code)" != CATALOGUE_FAILED ] || {
			refused=1
			break
		}
	done
	[ -n "$refused" ] || fail "never full"
	[ "$(api GET /machines/m1/settings | jq .epoch_ms)" = $((1000 + i - 1)) ] || [ $i = 1 ]
	rm "$GODWIT_DATA/filler"
	[ "$(api PATCH /machines/m1/settings '{"epoch_ms": 900}' | jq .epoch_ms)" = 900 ]
}

@test "strangers on the port do no harm" {
	console_start
	local i fds=()
	head -c 100000 /dev/urandom | timeout 5 nc -q 1 $LISTEN "$CONSOLE_PORT" >/dev/null 2>&1 || :
	printf 'GET / HTTP/1.1\r\n\r\n' | timeout 5 nc -q 1 $LISTEN "$CONSOLE_PORT" >/dev/null 2>&1 || :
	# many who connect and say nothing
	for i in {1..150}; do
		exec {fd}<>"/dev/tcp/$LISTEN/$CONSOLE_PORT"
		fds+=("$fd")
	done
	[ "$(api GET /health | jq -r .name)" = godwit-console ]
	for i in "${fds[@]}"; do exec {i}>&-; done
	# a body without an end, one that is announced too large, one that never comes
	[ "$(head -c 3000000 /dev/zero | curl -sS --cacert "$GODWIT_DATA/console/ca.crt" -H "Transfer-Encoding: chunked" \
		-H "Authorization: Bearer $(cat "$GODWIT_DATA/admin.token")" -T - -X POST \
		"https://$LISTEN:$CONSOLE_PORT/api/godwit/v1/tokens" | code)" = API_BODY_TOO_LARGE ]
	must_fail curl -sS --max-time 2 --cacert "$GODWIT_DATA/console/ca.crt" -H "Content-Length: 100" -d '{' \
		-H "Authorization: Bearer $(cat "$GODWIT_DATA/admin.token")" \
		"https://$LISTEN:$CONSOLE_PORT/api/godwit/v1/tokens"
	# deep nesting
	[ "$(printf '%060000d' 0 | tr 0 '[' | curl -sS --cacert "$GODWIT_DATA/console/ca.crt" -d @- \
		"https://$LISTEN:$CONSOLE_PORT/api/godwit/v1/enrol" | code)" = API_NOT_UNDERSTOOD ]
	[ "$(api GET /health | jq -r .name)" = godwit-console ]
}

@test "old TLS is refused, 1.2 and 1.3 are spoken, and the CA comes with the handshake" {
	console_start
	local to=(-connect "$LISTEN:$CONSOLE_PORT" -CAfile "$GODWIT_DATA/console/ca.crt")
	openssl s_client "${to[@]}" -tls1_3 -showcerts </dev/null >"$T/tls" 2>&1
	grep -q "Verify return code: 0" "$T/tls"
	[ "$(grep -c BEGIN.CERTIFICATE "$T/tls")" = 2 ]
	openssl s_client "${to[@]}" -tls1_2 </dev/null >/dev/null 2>&1
	must_fail openssl s_client "${to[@]}" -tls1_1 -cipher DEFAULT@SECLEVEL=0 </dev/null >/dev/null 2>&1
}

@test "a settings change reaches ten agents that wait, at once" {
	console_start
	local i token began polls=() versions=()
	token=$(godwit-console token --data "$GODWIT_DATA" --role agent)
	for i in {1..10}; do enrol_with "m$i" "$token" agent; done
	for i in {1..10}; do versions[i]=$(peer "m$i" GET /link | jq .version); done
	for i in {1..10}; do
		peer "m$i" GET "/link?wait=60&version=${versions[i]}" >"$T/m$i.polled" 2>&1 3>&- &
		polls+=($!)
	done
	wait_until 60 "the polls" eval '[ "$(ss -Htn "sport = :$CONSOLE_PORT" | grep -c ESTAB)" -ge 10 ]'
	for i in {1..10}; do api PATCH "/machines/m$i/settings" '{"throttle_mbit_per_second": 42}' >/dev/null; done
	began=$SECONDS
	wait "${polls[@]}"
	[ $((SECONDS - began)) -lt 30 ]
	for i in {1..10}; do [ "$(jq .desired.settings.throttle_mbit_per_second "$T/m$i.polled")" = 42 ]; done
}

@test "metrics are Prometheus text" {
	console_start
	enrol m1
	peer m1 POST /link/status '{"stage": "continuous", "backlog_bytes": 12, "sent_bytes": 5000000000}'
	curl -sS --cacert "$GODWIT_DATA/console/ca.crt" -H "Authorization: Bearer $(cat "$GODWIT_DATA/admin.token")" \
		"https://$LISTEN:$CONSOLE_PORT/metrics" >"$T/metrics"
	must_fail grep -vE '^(# (HELP|TYPE) [a-z_]+ .*|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+]+)$' "$T/metrics"
	grep -qx 'godwit_machine_backlog_bytes{machine="m1"} 12' "$T/metrics"
	grep -qx 'godwit_machine_sent_bytes_total{machine="m1"} 5000000000' "$T/metrics"
	grep -qx 'godwit_machine_stage{machine="m1",stage="continuous"} 1' "$T/metrics"
}

@test "an agent that goes silent is disconnected, and that is an event" {
	console_start
	enrol m1
	wait_until 60 "continuous" stage_told continuous # after a pause of 15 s it would be disconnected already
	wait_until 60 "disconnected" eval '[ "$(api GET /machines/m1 | jq -r .stage)" = disconnected ]'
	wait_until 60 "the event" eval 'api GET "/events?machine=m1" | jq -e "any(.events[]; .code == \"AGENT_DISCONNECTED\")" >/dev/null'
	api GET /machines/m1 | jq -e 'any(.problems[]; .code == "AGENT_DISCONNECTED" and (.remedy | length) > 0)' >/dev/null
	wait_until 60 "lagging" stage_told lagging
}
# stage_told STAGE: the agent says so, and that is what is shown of it.
stage_told() {
	peer m1 POST /link/status "{\"stage\": \"$1\"}"
	[ "$(api GET /machines/m1 | jq -r .stage)" = "$1" ]
}

@test "it keeps no rights that it does not need" {
	console_start
	grep -q 'CapEff:\s*0000000000000000' "/proc/$(console_pid)/status"
	grep -q 'NoNewPrivs:\s*1' "/proc/$(console_pid)/status"
}
