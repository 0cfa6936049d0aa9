/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids are lower-case UUID texts; times are microseconds since 1970 in UTC,
 * columns named ..._us.  What is structured but never searched is JSON text.
 *
 *	accounts 1---n users
 *	accounts 1---n projects 1---n replication_configurations
 *	                        1---n machines n---1 servers
 *	                                       1---n disks
 *	settings: of a configuration (the project's defaults) or of a machine
 *	(its own, which win); what is in neither has settings.c's default
 *	jobs n---n machines: work that has a beginning, an end and a log
 *	events: the audit log.  They outlive what they speak of, so they carry
 *	names as well as ids, and no foreign keys
 *	tokens: installation tokens; expires_us NULL is a project's own, which
 *	does not expire
 *	launches n---1 machines, 1---n jobs: machines started from points, with
 *	the server's last record of each; those that are over stay until they
 *	are deleted.  They outlive the machine that they were made from, so
 *	they carry its name
 *	blueprints: of a machine; members that are not the defaults
 *	commands: to be told to an agent or a server when it comes, kept until
 *	it has answered
 *
 * Recovery points are not here: the store is their only home, and a point's id
 * says which epoch of it is meant (uuid.h).
 *
 * A machine that is removed stays as a row until its agent and its server have
 * been told (told_us, store_gone_us); names are unique among the others.
 */
#include "schema.h"

#include "base.h"

static const char step_1[] =
	"CREATE TABLE accounts(\n"
	"	id TEXT PRIMARY KEY, name TEXT NOT NULL, created_us INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE users(\n"
	"	id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts,\n"
	"	username TEXT NOT NULL UNIQUE,\n"
	"	status TEXT NOT NULL CHECK(status IN ('PENDING', 'CONFIRMED', 'DELETED')),\n"
	"	roles TEXT NOT NULL, password_hash TEXT, api_token_sha256 BLOB UNIQUE,\n"
	"	terms_accepted INTEGER NOT NULL DEFAULT 0, settings TEXT NOT NULL DEFAULT '{}',\n"
	"	created_us INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE projects(\n"
	"	id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES accounts,\n"
	"	name TEXT NOT NULL, type TEXT NOT NULL CHECK(type IN ('MIGRATION', 'DR', 'BACKUP')),\n"
	"	configuration_id TEXT REFERENCES replication_configurations DEFERRABLE INITIALLY DEFERRED,\n"
	"	options TEXT NOT NULL DEFAULT '{}', created_us INTEGER NOT NULL,\n"
	"	UNIQUE(account_id, name)\n"
	") STRICT;\n"
	"CREATE TABLE replication_configurations(\n"
	"	id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,\n"
	"	region TEXT, options TEXT NOT NULL DEFAULT '{}', created_us INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE servers(\n"
	"	id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, key_sha256 BLOB NOT NULL,\n"
	"	address TEXT NOT NULL DEFAULT '', port INTEGER NOT NULL DEFAULT 1500,\n"
	"	facts TEXT NOT NULL DEFAULT '{}', status TEXT,\n"
	"	connected INTEGER NOT NULL DEFAULT 0, last_seen_us INTEGER, enrolled_us INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE machines(\n"
	"	id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects,\n"
	"	server_id TEXT REFERENCES servers, name TEXT NOT NULL, key_sha256 BLOB NOT NULL,\n"
	"	state TEXT NOT NULL CHECK(state IN ('started', 'paused', 'stopped')),\n"
	"	facts TEXT NOT NULL DEFAULT '{}', status TEXT,\n"
	"	connected INTEGER NOT NULL DEFAULT 0, last_seen_us INTEGER, enrolled_us INTEGER NOT NULL,\n"
	"	removed_us INTEGER, told_us INTEGER, store_gone_us INTEGER\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX machines_name ON machines(name) WHERE removed_us IS NULL;\n"
	"CREATE INDEX machines_server ON machines(server_id);\n"
	"CREATE TABLE disks(\n"
	"	machine_id TEXT NOT NULL REFERENCES machines ON DELETE CASCADE,\n"
	"	id TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,\n"
	"	size_bytes INTEGER NOT NULL, sector_bytes INTEGER NOT NULL,\n"
	"	PRIMARY KEY(machine_id, id)\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE TABLE settings(\n"
	"	machine_id TEXT REFERENCES machines ON DELETE CASCADE,\n"
	"	configuration_id TEXT REFERENCES replication_configurations ON DELETE CASCADE,\n"
	"	name TEXT NOT NULL, value TEXT NOT NULL,\n"
	"	CHECK((machine_id IS NULL) <> (configuration_id IS NULL)),\n"
	"	UNIQUE(machine_id, name), UNIQUE(configuration_id, name)\n"
	") STRICT;\n"
	"CREATE TABLE tokens(\n"
	"	sha256 BLOB PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,\n"
	"	role TEXT NOT NULL CHECK(role IN ('agent', 'server')),\n"
	"	created_us INTEGER NOT NULL, expires_us INTEGER\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE TABLE commands(\n"
	"	id TEXT PRIMARY KEY, peer_id TEXT NOT NULL, body TEXT NOT NULL, created_us INTEGER NOT NULL\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE INDEX commands_peer ON commands(peer_id, created_us);\n"
	"CREATE TABLE jobs(\n"
	"	id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,\n"
	"	type TEXT NOT NULL,\n"
	"	status TEXT NOT NULL CHECK(status IN ('PENDING', 'STARTED', 'COMPLETED', 'FAILED')),\n"
	"	initiated_by TEXT NOT NULL, result TEXT,\n"
	"	created_us INTEGER NOT NULL, ended_us INTEGER\n"
	") STRICT;\n"
	"CREATE TABLE job_machines(\n"
	"	machine_id TEXT NOT NULL, job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,\n"
	"	PRIMARY KEY(machine_id, job_id)\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE TABLE job_log(\n"
	"	id INTEGER PRIMARY KEY, job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,\n"
	"	time_us INTEGER NOT NULL, message TEXT NOT NULL\n"
	") STRICT;\n"
	"CREATE TABLE events(\n"
	"	id INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, recorded_us INTEGER NOT NULL,\n"
	"	code TEXT NOT NULL, severity TEXT NOT NULL,\n"
	"	project_id TEXT, machine_id TEXT, machine_name TEXT, job_id TEXT, who TEXT NOT NULL,\n"
	"	args TEXT NOT NULL, changes TEXT NOT NULL DEFAULT '[]'\n"
	") STRICT;\n"
	"CREATE INDEX events_machine ON events(machine_id, id);\n"
	"CREATE INDEX events_machine_name ON events(machine_name, id);\n";

/* What is known of machines that were there before: when the agent was first
 * heard is in the events; the first byte came no earlier. */
static const char step_2[] =
	"ALTER TABLE machines ADD COLUMN connection_us INTEGER;\n"
	"ALTER TABLE machines ADD COLUMN first_byte_us INTEGER;\n"
	"ALTER TABLE machines ADD COLUMN first_point_us INTEGER;\n"
	"UPDATE machines SET connection_us = coalesce((SELECT min(time_us) FROM events\n"
	"	WHERE machine_id = machines.id AND code = 'AGENT_CONNECTED'), enrolled_us)\n"
	"	WHERE last_seen_us IS NOT NULL;\n"
	"ALTER TABLE jobs ADD COLUMN launch_id TEXT;\n"
	"CREATE INDEX jobs_launch ON jobs(launch_id) WHERE launch_id IS NOT NULL;\n"
	"CREATE INDEX jobs_created ON jobs(created_us);\n"
	"CREATE INDEX job_log_job ON job_log(job_id);\n"
	"CREATE TABLE launches(\n"
	"	id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,\n"
	"	machine_id TEXT NOT NULL, machine_name TEXT NOT NULL, server_id TEXT NOT NULL,\n"
	"	job_id TEXT NOT NULL, kind TEXT NOT NULL CHECK(kind IN ('test', 'cutover', 'drill')),\n"
	"	at TEXT NOT NULL, blueprint TEXT NOT NULL, initiated_by TEXT NOT NULL,\n"
	"	state TEXT NOT NULL, record TEXT, created_us INTEGER NOT NULL, ended_us INTEGER\n"
	") STRICT;\n"
	"CREATE INDEX launches_machine ON launches(machine_id, created_us);\n"
	"CREATE INDEX launches_open ON launches(server_id) WHERE ended_us IS NULL;\n"
	"CREATE TABLE blueprints(\n"
	"	machine_id TEXT PRIMARY KEY REFERENCES machines ON DELETE CASCADE, members TEXT NOT NULL\n"
	") STRICT, WITHOUT ROWID;\n";

/* When a job of each type was last COMPLETED: {type: {us, job}}.  The jobs go, this stays. */
static const char step_3[] = "ALTER TABLE machines ADD COLUMN life TEXT NOT NULL DEFAULT '{}';\n";

/* A launch may write a machine for elsewhere. */
static const char step_4[] =
	"CREATE TABLE launches_new(\n"
	"	id TEXT PRIMARY KEY, project_id TEXT NOT NULL REFERENCES projects ON DELETE CASCADE,\n"
	"	machine_id TEXT NOT NULL, machine_name TEXT NOT NULL, server_id TEXT NOT NULL,\n"
	"	job_id TEXT NOT NULL, kind TEXT NOT NULL CHECK(kind IN ('test', 'cutover', 'drill', 'images')),\n"
	"	at TEXT NOT NULL, blueprint TEXT NOT NULL, initiated_by TEXT NOT NULL,\n"
	"	state TEXT NOT NULL, record TEXT, created_us INTEGER NOT NULL, ended_us INTEGER\n"
	") STRICT;\n"
	"INSERT INTO launches_new(id, project_id, machine_id, machine_name, server_id, job_id, kind, at, blueprint,\n"
	"	initiated_by, state, record, created_us, ended_us) SELECT id, project_id, machine_id, machine_name,\n"
	"	server_id, job_id, kind, at, blueprint, initiated_by, state, record, created_us, ended_us FROM launches;\n"
	"DROP TABLE launches;\n"
	"ALTER TABLE launches_new RENAME TO launches;\n"
	"CREATE INDEX launches_machine ON launches(machine_id, created_us);\n"
	"CREATE INDEX launches_open ON launches(server_id) WHERE ended_us IS NULL;\n";

/* What a machine was bound to over time, by its own clock; of what was there before it is not
 * known since when. */
static const char step_5[] =
	"CREATE TABLE machine_hardware(\n"
	"	machine_id TEXT NOT NULL REFERENCES machines ON DELETE CASCADE,\n"
	"	since_us INTEGER NOT NULL, hardware TEXT NOT NULL,\n"
	"	PRIMARY KEY(machine_id, since_us)\n"
	") STRICT, WITHOUT ROWID;\n"
	"INSERT INTO machine_hardware SELECT id, enrolled_us, json_extract(facts, '$.hardware') FROM machines\n"
	"	WHERE json_type(facts, '$.hardware') = 'object';\n";

/* db_events.c drops the oldest of each kind apart. */
static const char step_6[] =
	"CREATE INDEX events_said ON events(id) WHERE (who GLOB 'agent:*' OR who GLOB 'server:*');\n"
	"CREATE INDEX events_done ON events(id) WHERE NOT (who GLOB 'agent:*' OR who GLOB 'server:*');\n";

const char *const schema_steps[] = { step_1, step_2, step_3, step_4, step_5, step_6 };
const size_t schema_step_count = ARRAY_LEN(schema_steps);
