# SPDX-License-Identifier: Apache-2.0
# Enrolling: who can read the token meanwhile, and what a half of it leaves behind.
load lib
setup() { test_begin; }
teardown() { test_end; }

# cli_with_agent: in $T/cli a godwit that finds there, as its godwit-agent and godwit-server, a script around the real
# one: it says what everybody can read of its start, in $T/seen, and does not `run` while there is $T/cannot-run.
cli_with_agent() {
	local name
	mkdir "$T/cli"
	cp "$BUILD/cli/godwit" "$T/cli/godwit"
	for name in agent server; do
		cat >"$T/cli/godwit-$name" <<-END
			#!/bin/bash
			tr '\\0' ' ' <"/proc/\$\$/cmdline" >>"$T/seen"
			echo >>"$T/seen"
			[ "\$1" != run ] || [ -z "\${GODWIT_TOKEN-}" ] || echo "run has a token" >>"$T/seen"
			[ "\$1" != run ] || [ ! -e "$T/cannot-run" ] || exit 1
			exec "$BUILD/$name/godwit-$name" "\$@"
		END
		chmod +x "$T/cli/godwit-$name"
	done
	ln -s "$BUILD/console/godwit-console" "$T/cli/godwit-console"
	PATH=$T/cli:$PATH
}
token() { api POST /tokens '{"role": "agent"}' | jq -r .token; }
is_token() { [[ $1 =~ ^([0-9A-F]{4}-){15}[0-9A-F]{4}$ ]]; }

@test "no command line has the token while a server and an agent enrol" {
	cli_with_agent
	disk_make D 32M
	disk_make E 32M
	instance_start
	protect here "$D"
	on_end "agent_stop far"
	token >"$T/token"
	is_token "$(<"$T/token")"
	timeout 300 godwit protect "$E" --name far --data "$T/far" --console "https://127.0.0.1:$CONSOLE_PORT" \
		--token-file "$T/token" </dev/null 3>&-
	status far .id >>"$T/machines"
	cat "$T/seen"
	[ "$(grep -c ' enrol ' "$T/seen")" = 3 ]
	[ "$(grep -c 'godwit-server enrol ' "$T/seen")" = 1 ]
	must_fail grep -E '([0-9A-F]{4}-){3}|has a token' "$T/seen"
}

@test "an agent that cannot be started keeps its enrolment at a console elsewhere, and the same command goes on" {
	cli_with_agent
	disk_make D 32M
	instance_start
	export GODWIT_TOKEN
	GODWIT_TOKEN=$(token)
	touch "$T/cannot-run"
	on_end "agent_stop r"
	far=(timeout 300 godwit protect "$D" --name r --data "$T/far" --console "https://127.0.0.1:$CONSOLE_PORT")
	must_fail "${far[@]}" </dev/null 2>"$T/err" 3>&-
	cat "$T/err"
	grep -q 'Give the same command again' "$T/err"
	id=$(status r .id)
	echo "$id" >>"$T/machines"
	rm "$T/cannot-run"
	"${far[@]}" </dev/null 3>&-
	wait_continuous r
	[ "$(status r .id)" = "$id" ]
	# Here the enrolment is taken back.
	disk_make E 32M
	touch "$T/cannot-run"
	must_fail godwit protect "$E" --name here </dev/null 3>&-
	[ ! -e "$GODWIT_DATA/agents/here" ]
	[ "$(godwit status --names)" = r ]
}

# relay PORT: to the console; once a caller has made his request, he hears nothing any more.
relay() {
	rm -f "$T/relay"
	python3 - "$1" "$CONSOLE_PORT" 3>&- >"$T/relay" <<-END &
		import select, socket, sys
		here = socket.create_server(("127.0.0.1", int(sys.argv[1])))
		print("listens", flush=True)
		while True:
		    caller, _ = here.accept()
		    console = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
		    greeted, said, deaf = False, 0, False
		    while True:
		        ready = select.select([caller, console], [], [])[0]
		        if caller in ready:
		            data = caller.recv(65536)
		            if not data: break
		            said += len(data) if greeted else 0
		            deaf = said > 600 # the end of a handshake is shorter, the request is longer
		            console.sendall(data)
		        elif console in ready:
		            data = console.recv(65536)
		            if not data: break
		            greeted = True
		            if not deaf: caller.sendall(data)
		    caller.close(); console.close()
	END
	RELAY=$!
	on_end "! ours $RELAY || kill $RELAY"
	wait_until 60 "the relay" test -s "$T/relay"
}
enrolled_again() { godwit events --limit 1000 | grep -q "enrolled anew"; }
enrolled() { [ "$(godwit status --names)" = "$1" ]; }

@test "an enrolment whose answer is lost is the same machine when the command is given again" {
	disk_make D 32M
	instance_start
	port_choose RELAY_PORT
	export GODWIT_TOKEN
	GODWIT_TOKEN=$(token)
	on_end "agent_stop r"
	far=(timeout 300 godwit protect "$D" --name r --data "$T/far" --console)
	relay "$RELAY_PORT"
	"${far[@]}" "https://127.0.0.1:$RELAY_PORT" </dev/null 2>"$T/err" 3>&- &
	cli=$!
	wait_until 60 "the console has it" enrolled r
	kill "$RELAY"
	must_fail wait "$cli"
	cat "$T/err"
	grep -q 'Give the same command again' "$T/err"
	[ ! -e "$T/far/agents/r/agent.json" ]
	id=$(status r .id)
	echo "$id" >>"$T/machines"
	# Interrupted, where it was not even answered so far.
	relay "$RELAY_PORT"
	"${far[@]}" "https://127.0.0.1:$RELAY_PORT" </dev/null 2>"$T/err" 3>&- &
	cli=$!
	wait_until 60 "it enrols again" enrolled_again
	kill -INT "$cli"
	must_fail wait "$cli"
	kill "$RELAY"
	"${far[@]}" "https://127.0.0.1:$CONSOLE_PORT" </dev/null 3>&-
	wait_continuous r
	[ "$(status r .id)" = "$id" ]
	equal r "$D"
	# What the console refuses leaves nothing behind.
	must_fail timeout 300 godwit protect "$D" --name r --data "$T/other" --console "https://127.0.0.1:$CONSOLE_PORT" </dev/null 3>&-
	[ ! -e "$T/other" ]
}
