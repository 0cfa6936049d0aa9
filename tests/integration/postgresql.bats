# SPDX-License-Identifier: Apache-2.0
# A database under pgbench: at random points it recovers, is whole, and has
# every commit that a client had been told of by then.
load lib
setup() { test_begin; }
teardown() { test_end; }

pg() { (cd / && runuser -u postgres -- "$@"); }
pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

# pg_start FOLDER SOCKETS; pg_stop FOLDER [MODE]
pg_start() {
	mkdir -p "$2"
	chown postgres "$2"
	pg pg_ctl -D "$1" -s -w -t 60 -l "$2/log" -o "-k $2 -c listen_addresses= -c max_wal_size=128MB \
		-c shared_buffers=32MB -c checkpoint_timeout=30s" start </dev/null >/dev/null 2>&1 3>&- || {
		tail -n 30 "$2/log"
		fail "PostgreSQL does not start on $1"
	}
}
pg_stop() { pg pg_ctl -D "$1" -s -w -m "${2:-fast}" stop >/dev/null 2>&1; }

# Every client counts its commits; pgbench's log says when each was acknowledged.
make_script() {
	cat >"$T/script.sql" <<'END'
\set n :n + 1
\set aid random(1, 100000 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, CURRENT_TIMESTAMP);
INSERT INTO ledger (client, n) VALUES (:client_id, :n);
END;
END
}

# acknowledged AT_US: "CLIENT N" of every client's last commit acknowledged by then.
acknowledged() {
	awk -v at="$1" '$5 * 1000000 + $6 <= at && $2 > last[$1] { last[$1] = $2 }
		END { for (k in last) print k, last[k] }' "$T/pglog" | sort
}

# judge POINT AT_US
judge() {
	local dev m=$T/restored client n got bad=0
	disk_copy db "$1" "$D" "$T/point.img"
	disk_attach dev "$T/point.img"
	disk_mount "$dev" "$m"
	rm -f "$m/data/postmaster.pid" # the live one runs on this machine, too
	pg_start "$m/data" "$T/sockets2"
	pg pg_amcheck -h "$T/sockets2" --install-missing --heapallindexed -d bench >"$T/judge.out" 2>&1 || bad=1
	pg psql -h "$T/sockets2" -d bench -XAtF ' ' -c 'SELECT client, max(n), count(*) FROM ledger GROUP BY 1 ORDER BY 1' \
		>"$T/found" || bad=1
	pg_stop "$m/data"
	pg pg_checksums --check -D "$m/data" >>"$T/judge.out" 2>&1 || bad=1
	umount "$m"
	disk_detach "$dev" "$T/point.img"
	[ $bad = 0 ] || cat "$T/judge.out"
	while read -r client n; do
		got=$(awk -v c="$client" '$1 == c { print $2 == $3 ? $2 : -1 }' "$T/found")
		[ "${got:-0}" -ge "$n" ] || {
			say "client $client was told of commit $n, the point has ${got:-0}"
			bad=1
		}
		COMMITS=$((COMMITS + n))
	done < <(acknowledged "$2")
	[ $bad = 0 ] || fail "point $1 at $2"
}

@test "PostgreSQL under pgbench recovers at 30 random points with every commit acknowledged by then" {
	PATH=$(pg_bin):$PATH
	needs pgbench pg_ctl pg_amcheck
	chmod 755 "$T"
	disk_make D 512M
	disk_format ext4 "$D"
	disk_mount "$D" "$T/m"
	mkdir "$T/m/data"
	chown postgres "$T/m/data" "$T/m"
	pg initdb -D "$T/m/data" -k --wal-segsize=4 -A trust --no-instructions >"$T/initdb.out"
	pg_start "$T/m/data" "$T/sockets"
	on_end "pg_stop $T/m/data immediate || :"
	pg createdb -h "$T/sockets" bench
	pg pgbench -h "$T/sockets" -q -i -s 3 bench >"$T/init.out" 2>&1
	pg psql -h "$T/sockets" -d bench -qc 'CREATE TABLE ledger (client int, n bigint, PRIMARY KEY (client, n))'
	make_script

	load_start runuser -u postgres -- pgbench -h "$T/sockets" -n -M prepared -c 8 -T 3600 -R 400 -D n=0 -D scale=3 \
		-f "$T/script.sql" -l --log-prefix="$T/sockets/pglog" bench
	instance_start
	protect db "$D"
	wait_continuous db
	begin=$(now_us)
	wait_until 400 "points to choose from" enough_points db "$(pick 50 400)" "$begin"
	end=$(now_us)
	kill "$(pgrep -P "${LOADS[0]}")"
	wait "${LOADS[0]}" || :
	LOADS=()
	sed '$d' "$T"/sockets/pglog.* >"$T/pglog" # its last line was cut off
	judged=0
	COMMITS=0
	while read -r id at kind; do
		judge "$id" "$at"
		judged=$((judged + 1))
	done < <(points_choose db "$(pick 30 200)" "$begin" "$end")
	say "$judged points, $COMMITS acknowledged commits looked for"
	[ $judged -ge 30 ]
	[ $COMMITS -gt 0 ]
	pg_stop "$T/m/data"
	umount "$T/m"
	equal db "$D"
}
