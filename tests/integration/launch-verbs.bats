# SPDX-License-Identifier: Apache-2.0
# godwit launch, launches, console-log, keep, terminate, drill and blueprint, as a person types them.
load lib
load launch
setup() {
	test_begin
	needs_launch
}
teardown() { test_end; }

# launch_id [INDEX]: of the newest launch, or of the one before ...
launch_id() { godwit launches --json | jq -r ".launches[${1:-0}].id"; }

@test "a machine is launched, looked at, kept and terminated by the first digits of its launch" {
	machine_make D bios
	instance_start
	machine_protect web "$D"
	godwit blueprint web cpus=1 memory_mib=128 proof_seconds=1m | grep -q 'memory_mib *128 *(was 1024)'
	[ "$(godwit blueprint web --json | jq -c '.blueprint | [.cpus, .memory_mib, .proof_seconds]')" = '[1,128,60]' ]
	godwit blueprint web proof_text=READY | grep -q 'proof_text *READY *(was not set)'
	godwit blueprint web proof_text=default | grep -q 'proof_text *not set *(was READY)'
	godwit launch web --wait --json >"$T/launch" 2>"$T/progress"
	[ "$(jq -r '.state + " " + .kind + " " + .machine' "$T/launch")" = "booted test web" ]
	[ "$(jq .milliseconds.proof "$T/launch")" -gt 0 ]
	L=$(jq -r .id "$T/launch")
	short=${L:0:8}
	godwit launches web | grep -q "^$short  web  *test .*Booted"
	godwit console-log "$short" | grep -aq 'small login:'
	godwit console-log "$short" --all | grep -aq 'small login:'
	# while it needs the store it is in the way
	says 1 "$short" godwit unprotect web --yes
	godwit keep "$short" --wait --json 2>/dev/null | jq -e '.state == "standing"'
	[ -z "$(launch_pids "$L" nbdkit)" ]
	godwit keep "$short" --wait | grep -q "Stands on its own"
	# what was told till its end is there, and it ends with it
	godwit console-log "$short" --follow >"$T/followed" 3>&- &
	follower=$!
	says 1 'the only copy' godwit terminate "$short" </dev/null
	says 1 "launched from it: ${L:0:13}" godwit terminate web --yes
	says 1 'is too short' godwit terminate "${L:0:3}" --yes
	[ "$(godwit terminate "$short" --yes --wait --json | jq -r '.done + " " + .machine')" = "terminate web" ]
	wait "$follower"
	grep -aq 'small login:' "$T/followed"
	wait_nothing_left "$L"
	godwit launches | grep -q "^$short .*Gone"
	[ "$(api GET "/jobs?machine=web" | jq -c '[.jobs[] | .type + " " + .status] | sort | unique')" = \
		'["CLEANUP COMPLETED","KEEP COMPLETED","TEST_LAUNCH COMPLETED"]' ]
	[ "$(status web .life_cycle.last_test_launch_job)" = "$(jq -r .job "$T/launch")" ]
	# terminated again it is forgotten
	godwit terminate "$short" | grep -q 'was over'
	[ -z "$(godwit launches --ids)" ]
	godwit launches | grep -q 'Nothing was launched'
}

@test "a drill proves its point, and a failed one says why and has its last picture" {
	machine_make D bios
	instance_start
	machine_protect web "$D"
	echo '{"cpus": 1, "memory_mib": 128}' >"$T/small.json"
	godwit drill web --blueprint "$T/small.json" --wait --json 2>/dev/null >"$T/drill"
	[ "$(jq -r '.state + " " + .kind' "$T/drill")" = "ended drill" ]
	[ "$(api GET "/machines/web/points/$(jq -r .point.id "$T/drill")" | jq -r .proof.launch)" = "$(jq -r .id "$T/drill")" ]
	godwit events web | grep -q 'the drill of web succeeded'
	echo '{"cpus": 1, "memory_mib": 128, "proof": "text", "proof_text": "never said", "proof_seconds": 2}' >"$T/never.json"
	says 1 'did not show within 2 s' godwit drill web --blueprint "$T/never.json" --wait
	godwit events web | grep -q 'the drill of web failed: .*did not show within 2 s'
	wait_nothing_left "$(launch_id)"
	api GET "/launches/$(launch_id)/screenshot" >"$T/picture"
	[ "$(head -c 4 "$T/picture" | tail -c 3)" = PNG ]
	godwit console-log "$(launch_id)" --screenshot "$T/screen.png"
	cmp "$T/picture" "$T/screen.png"
}

@test "the schedule starts a drill by itself, and one that fails is an event" {
	disk_make D 64M
	instance_start
	protect web "$D"
	wait_continuous web
	# no machine can start from that disk: it is known at once
	godwit settings web drill_every_seconds=60 >/dev/null
	wait_until 60 "the drill's event" eval 'godwit events web | grep -q "the drill of web failed: none of the disks"'
	[ "$(godwit launches --json | jq -r '.launches[0] | .kind + " " + .initiated_by + " " + .state')" = "drill console failed" ]
	# it is in the list, and nothing of it ever ran
	says 1 'never started' godwit console-log "$(launch_id)"
	says 1 'never started' godwit console-log "$(launch_id)" --screenshot "$T/never.png"
	[ ! -e "$T/never.png" ]
}

@test "the states of a launch are told while it is on its way, here until it is terminated" {
	machine_make D bios
	instance_start
	machine_protect web "$D"
	echo '{"cpus": 1, "memory_mib": 128, "proof": "text", "proof_text": "never said", "proof_seconds": 3600}' >"$T/long.json"
	godwit launch web --blueprint "$T/long.json" --wait >/dev/null 2>"$T/progress" 3>&- &
	follower=$!
	wait_until 120 "a state of the launch" grep -q '^Booting' "$T/progress"
	godwit terminate "$(launch_id)" >/dev/null
	must_fail wait "$follower"
	wait_nothing_left "$(launch_id)"
}

@test "a server that is away is said when a launch is to end, and ends it when it is back" {
	machine_make D bios
	instance_start
	machine_protect web "$D"
	launch web
	wait_launch 300 "$LAUNCH" booted
	server_kill
	wait_until 120 "the server to be away" eval 'record "$LAUNCH" .problems[0].code | grep -qx SERVER_AWAY'
	godwit terminate "$LAUNCH" >"$T/said" 2>"$T/why"
	grep -q 'will be ended when its replication server is back' "$T/said"
	grep -q 'replication server .* is not connected' "$T/why"
	says 1 'is not connected' godwit launch web
	instance_up
	wait_launch_over "$LAUNCH" ended
	wait_nothing_left "$LAUNCH"
}

@test "a launch that cannot be is one clear sentence, and a bad command line is another" {
	machine_make D bios
	instance_start
	machine_protect web "$D"
	says 1 'there is no machine nobody' godwit launch nobody
	says 1 'there is no machine nobody' godwit launches nobody
	says 1 'there is no machine nobody' godwit blueprint nobody
	says 1 'is not a recovery point of web' godwit launch web --at 'no such label'
	says 1 'there is no recovery point at' godwit launch web --at '9d ago' --wait
	says 1 'there is no recovery point at' godwit export web --at 9999-01-01T00:00:00Z "$T/none.img"
	godwit export web --at now "$T/now.img" 2>/dev/null >/dev/null
	godwit export web --at '0s ago' --force "$T/now.img" 2>/dev/null >/dev/null
	says 1 'there is no launch 0000' godwit console-log 0000
	says 1 'there is no launch 0000' godwit keep 0000
	says 1 'there is no launch 0000' godwit terminate 0000
	says 1 'is too short' godwit terminate ''
	says 1 'is too short' godwit console-log ''
	says 1 'is too short' godwit keep 0
	says 2 'either --test or --cutover' godwit launch web --test --cutover
	says 2 'LAUNCH is missing' godwit keep
	says 2 'is not KEY=VALUE' godwit blueprint web cpus
	says 2 '; forward=default takes back' godwit blueprint web forward=
	says 1 'a blueprint has no gpus' godwit blueprint web gpus=1
	says 1 'cpus cannot be 0' godwit blueprint web cpus=0
	says 1 'cpus cannot be 256' godwit blueprint web cpus=256
	says 1 'proof_seconds=1w is 604800 seconds' godwit blueprint web proof_seconds=1w
	says 1 'network cannot be wifi' godwit blueprint web network=wifi
	says 1 'does not say which' godwit blueprint web proof=text
	says 1 "$T/none is not a blueprint" godwit launch web --blueprint "$T/none"
	echo '[1]' >"$T/list"
	says 1 'it is not an object' godwit launch web --blueprint "$T/list"
	echo '{"cpus": "many"}' >"$T/many"
	says 1 'cpus cannot be many' godwit launch web --blueprint "$T/many"
	echo '{"memory_mib": 4194304}' >"$T/huge"
	says 1 'of memory to be launched' godwit launch web --blueprint "$T/huge" --wait
	godwit launches --lang ja | grep -q '失敗'
	[ -z "$(ls "$GODWIT_DATA/server/launches" 2>/dev/null)" ]
	# the two that began are forgotten one by one
	godwit launches --ids | grep -c . >"$T/count"
	for l in $(godwit launches --ids); do godwit terminate "$l" >/dev/null; done
	[ -z "$(godwit launches --ids)" ]
	godwit launches --limit 0 2>&1 | grep -q 'is a number from 1 to 1000'
}
