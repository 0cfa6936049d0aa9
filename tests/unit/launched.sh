#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# godwit-launched: what it says of a copy and of an original, and what it runs once.
set -u
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GODWIT_DMI_TABLES="$work/dmi" GODWIT_LAUNCHED_STATE="$work/state"
failed=0
check() { # WHAT COMMAND...
	what=$1
	shift
	"$@" || { echo "FAILED: $what"; failed=1; }
}
not() { ! "$@"; }
mkdir "$work/scripts"
for n in 2 1; do
	printf '#!/bin/sh\necho %s $GODWIT_LAUNCH >>%s\n' "$n" "$work/ran" >"$work/scripts/$n"
	chmod +x "$work/scripts/$n"
done
echo 'exit 1' >"$work/scripts/3" # not executable

for tables in none empty; do
	[ $tables = none ] || : >"$work/dmi"
	check "an original is none" not "$program"
	check "an original is not a copy" "$program" --not
	check "nor is it with an agent" "$program" --not "$work"
	check "an original runs nothing" "$program" --run "$work/scripts"
	check "an original ran something" test ! -e "$work/ran"
done
printf 'QEMU\0godwit:launch=6f6ff1e0-0000-4000-8000-000000000001\0x\0' >"$work/dmi"
check "a copy is one" "$program"
check "a copy is no original" not "$program" --not
# an agent's state
mkdir "$work/agent"
check "a copy with its original's agent is no original" not "$program" --not "$work/agent"
printf 6f6ff1e0-0000-4000-8000-000000000001 >"$work/agent/launch"
check "an agent that was enrolled in this launch may start" "$program" --not "$work/agent"
check "and it is a copy all the same" "$program"
printf 6f6ff1e0-0000-4000-8000-000000000002 >"$work/agent/launch"
check "one that was enrolled in another launch may not" not "$program" --not "$work/agent"
: >"$work/agent/launch"
check "nor one of which it is not known" not "$program" --not "$work/agent"
check "it knows which" test "$("$program" --id)" = 6f6ff1e0-0000-4000-8000-000000000001
check "scripts run" "$program" --run "$work/scripts" >/dev/null
check "at most once" "$program" --run "$work/scripts"
check "by name, with the launch's id" test "$(cat "$work/ran")" = \
	"$(printf '%s\n' '1 6f6ff1e0-0000-4000-8000-000000000001' '2 6f6ff1e0-0000-4000-8000-000000000001')"
printf 'godwit:launch=6f6ff1e0-0000-4000-8000-000000000002' >"$work/dmi"
printf '#!/bin/sh\nexit 3\n' >"$work/scripts/0"
chmod +x "$work/scripts/0"
check "a script that fails is said" not "$program" --run "$work/scripts" >/dev/null
check "and the others run all the same" test "$(wc -l <"$work/ran")" = 4
# commands of a blueprint's
coded() { printf %s "$1" | base64 -w 0; }
printf 'run proof_command %s\nnonsense\nrun post_launch %s\n' "$(coded 'cat; echo ü $GODWIT_LAUNCH; exit 3')" "$(coded true)" |
	"$program" --answer >"$work/answers"
check "a command is run, with its status and what it said" test "$(cat "$work/answers")" = "$(printf '%s\n' ready \
	"ran proof_command 3 $(printf 'ü 6f6ff1e0-0000-4000-8000-000000000002\n' | base64 -w 0)" 'ran post_launch 0 ')"
printf 'run x %s\n' "$(coded 'head -c 9000 /dev/zero | tr "\0" x; echo end')" | "$program" --answer >"$work/answers"
check "of much output the end is told" test "$(sed -n 's/^ran x 0 //p' "$work/answers" | base64 -d | wc -c)" = 4000
rm "$work/dmi"
check "in an original nothing is run" not "$program" --answer </dev/null
check "nor is anything served" "$program" --serve
exit $failed
