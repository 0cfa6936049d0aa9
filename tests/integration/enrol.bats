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
