# SPDX-License-Identifier: Apache-2.0
# Strangers and broken peers on the data port: refused, logged, and no harm to others.
load lib
setup() {
	test_begin
	disk_make D 32M
	disk_make GOOD 32M
	instance_start
	protect bad "$D"
	protect good "$GOOD"
	wait_continuous bad
	wait_continuous good
	load_start ledger write --log "$T/log" --rate 100 --seed "$GODWIT_SEED" "$GOOD"
	MACHINE=$(status bad .id)
	DISK_ID=$(status bad '.disks[0].id')
	STATE=$(agent_state bad)
	agent_stop bad # the peer takes its place
	SERVER=$(server_pid)
}
teardown() { test_end; }

peer() { timeout 120 badpeer 127.0.0.1 "$PORT" "${2:-$STATE}" "$MACHINE" "$DISK_ID" $((32 << 20)) "$1" 3>&-; }

# says PATTERN MODE [STATE]
says() {
	local out
	out=$(peer "$2" "${3-}")
	say "$2: $out"
	grep -Eq -- "$1" <<<"$out" || fail "$2: $out"
}

# The server is the same, the other machine goes on, and so does this one with its own agent.
no_harm() {
	[ "$(server_pid)" = "$SERVER" ]
	local begin
	begin=$(now_us)
	wait_until 120 "points of the other machine" enough_points good 3 "$begin"
	agent_start bad
	dd if=/dev/urandom of="$D" bs=1M count=4 oflag=direct status=none
	equal bad "$D"
	load_stop
	equal good "$GOOD"
	ledger_judge good "$GOOD" "$T/log" 5
}
# The peer may hear of it before the server has written it down.
logged() { wait_until 120 "the log says $1" grep -Eiq -- "$1" "$GODWIT_DATA/server/server.log.0"; }

# The session of the agent just stopped may still be closing.
let_in() { [ "$(peer honest)" != "${1-}" ] && peer honest | grep -q ^WELCOME; }

@test "random bytes, an unfinished handshake and idle connections do not disturb" {
	for n in {1..5}; do
		head -c 100000 /dev/urandom | timeout 10 socat -t1 - "TCP:127.0.0.1:$PORT" >/dev/null 2>&1 || :
	done
	printf 'GET / HTTP/1.1\r\n\r\n' | timeout 10 socat -t1 - "TCP:127.0.0.1:$PORT" >/dev/null 2>&1 || :
	idle=()
	for n in {1..40}; do
		socat -u -t600 "TCP:127.0.0.1:$PORT" /dev/null 3>&- >/dev/null 2>&1 &
		idle+=($!)
	done
	no_harm
	for n in "${idle[@]}"; do ! ours "$n" || kill "$n"; done
}

@test "without a certificate, or with one of another CA, nobody gets in" {
	says '^TLS|^closed' nocert
	mkdir "$T/forged"
	cp "$STATE/ca.crt" "$T/forged/"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=agent:$MACHINE" \
		-keyout "$T/forged/agent.key" -out "$T/forged/agent.crt" 2>/dev/null
	says '^TLS|^closed' honest "$T/forged"
	no_harm
}

@test "an expired certificate of our own CA is refused" {
	mkdir "$T/old"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=agent:$MACHINE" \
		-keyout "$T/old/agent.key" -out "$T/old/request" 2>/dev/null
	touch "$T/old/index"
	echo 01 >"$T/old/serial"
	printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' \
		"$T/old/index" "$T/old/serial" "$T/old" >"$T/old/conf"
	openssl ca -batch -config "$T/old/conf" -cert "$GODWIT_DATA/console/ca.crt" -keyfile "$GODWIT_DATA/console/ca.key" \
		-startdate 20200101000000Z -enddate 20210101000000Z -in "$T/old/request" -out "$T/old/agent.crt" 2>/dev/null
	says '^TLS.*expired|^closed' honest "$T/old"
	logged 'expired|certificate'
	no_harm
}

@test "another machine's id, another protocol version, and lengths without measure are refused by name" {
	wait_until 60 "the old session to close" let_in
	says '^REFUSE IDENTITY' identity
	says '^REFUSE VERSION .*a newer server' version
	says '^REFUSE (VERSION|MALFORMED)' older # 0 as long as the lowest is 1, which no HELLO may say
	says '^REFUSE MALFORMED|^closed' length
	says '^REFUSE MALFORMED|^closed' length-first
	says '^REFUSE MALFORMED|^closed' garbage
	says '^REFUSE MALFORMED' order
	says '^REFUSE MALFORMED' range
	says '^REFUSE MALFORMED' epoch
	logged 'IDENTITY|another machine'
	logged 'VERSION|a newer server'
	logged MALFORMED
	no_harm
}

@test "corrupt payloads are refused, and nothing of their epoch is kept" {
	wait_until 60 "the old session to close" let_in
	before=$(peer honest)
	says '^REFUSE CHECKSUM' corrupt
	says '^REFUSE' tampered
	wait_until 60 "to be let in" let_in
	[ "$(peer honest)" = "$before" ]
	no_harm
}

@test "a peer that stops or vanishes in the middle of a frame leaves nothing behind" {
	wait_until 60 "the old session to close" let_in
	before=$(peer honest)
	peer vanish
	wait_until 60 "to be let in" let_in
	[ "$(peer honest)" = "$before" ]
	load_start badpeer 127.0.0.1 "$PORT" "$STATE" "$MACHINE" "$DISK_ID" $((32 << 20)) stop
	wait_until 180 "half a frame" grep -q half "$T/load.1"
	kill "${LOADS[1]}"
	wait "${LOADS[1]}" || :
	unset 'LOADS[1]'
	wait_until 60 "to be let in" let_in
	[ "$(peer honest)" = "$before" ]
	no_harm
}
