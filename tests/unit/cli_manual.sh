#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cli_manual.sh GODWIT MANUAL: every verb and option of the table is in the
# manual, in the verb's section, and the manual has no others.
set -eu
godwit=$1 manual=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

common='data console token-file ca json lang help'

# "verb option" a line, from the headings and the items of lists.
awk '
	$1 == ".Sh" { verb = "" }
	$1 == ".Sh" && /COMMON OPTIONS/ { verb = "(common)" }
	$1 == ".Ss" && $2 == "godwit" { verb = $3; print verb }
	$1 == ".It" && $2 == "Fl" && verb != "" && $3 ~ /^-/ { print verb, substr($3, 2) }
	$1 == ".Ss" { for (i = 4; i < NF; i++) if ($i == "Fl" && $(i + 1) ~ /^-/) print verb, substr($(i + 1), 2) }
' "$manual" | sort -u >"$folder/manual"

"$godwit" help --list | sort -u >"$folder/table"

bad=0
for option in $common; do
	grep -qx "(common) $option" "$folder/manual" || { echo "COMMON OPTIONS lacks --$option"; bad=1; }
done
while read -r verb option; do
	case " $common " in
	*" $option "*) [ -z "$option" ] || continue ;;
	esac
	grep -qx "$verb${option:+ $option}" "$folder/manual" ||
		{ echo "the manual lacks: godwit $verb ${option:+--$option}"; bad=1; }
done <"$folder/table"
while read -r verb option; do
	[ "$verb" != "(common)" ] || continue
	grep -qx "$verb${option:+ $option}" "$folder/table" ||
		{ echo "only the manual has: godwit $verb ${option:+--$option}"; bad=1; }
done <"$folder/manual"
[ "$(wc -l <"$folder/table")" -gt 40 ] || { echo "the table is empty"; bad=1; }
exit $bad
