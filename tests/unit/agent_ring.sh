#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# agent_ring.sh AGENT HEADER MANUAL: a size of the ring that the tracker does not take is
# refused in a sentence that says which it takes, and the manual says the same.
set -eu
agent=$1 header=$2 manual=$3 bad=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
most=$(sed -n 's/^#define TRACKER_RING_MOST  *(\([0-9]*\) \* GIB)$/\1/p' "$header")
most=$((most << 30))

grep -q "power of two from 65536 to $most;" "$manual" || { echo "the manual has another limit than $most"; bad=1; }
for size in $((2 * most)) $((4 * most)) 32768 65537 0 x; do
	status=0
	said=$("$agent" run --state "$folder" --ring-bytes "$size" 2>&1) || status=$?
	case "$status $said" in
	"2 "*"--ring-bytes takes a power of two from 65536 to $most") ;;
	*) echo "$size: $status, $said"; bad=1 ;;
	esac
done
# What it takes gets as far as the state folder.
for size in 65536 "$most"; do
	said=$("$agent" run --state "$folder" --ring-bytes "$size" 2>&1) || :
	case "$said" in
	*--ring-bytes* | "") echo "$size: $said"; bad=1 ;;
	esac
done
exit $bad
