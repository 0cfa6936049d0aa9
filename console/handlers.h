/* SPDX-License-Identifier: Apache-2.0 */
/* handlers - one for each line of the router's table; docs/api.md says what they do. */
#ifndef GODWIT_CONSOLE_HANDLERS_H
#define GODWIT_CONSOLE_HANDLERS_H

struct request;

/* health.c, metrics.c */
int handle_health(struct request *r);
int handle_metrics(struct request *r);

/* enrol.c */
int handle_token_create(struct request *r);
int handle_enrol(struct request *r);

/* machines.c */
int handle_machine_list(struct request *r);
int handle_machine_get(struct request *r);
int handle_machine_remove(struct request *r);
int handle_machine_pause(struct request *r);
int handle_machine_resume(struct request *r);
int handle_machine_stop(struct request *r);
int handle_machine_rescan(struct request *r);
int handle_disks(struct request *r);

/* settings.c */
int handle_settings_table(struct request *r);
int handle_settings_get(struct request *r);
int handle_settings_change(struct request *r);

/* points.c */
int handle_point_list(struct request *r);
int handle_point_get(struct request *r);
int handle_mark(struct request *r);
int handle_scrub(struct request *r);

/* exports.c */
int handle_export_create(struct request *r);
int handle_export_list(struct request *r);
int handle_export_remove(struct request *r);

/* blueprint.c */
int handle_blueprint_table(struct request *r);
int handle_blueprint_get(struct request *r);
int handle_blueprint_change(struct request *r);

/* launch_api.c */
int handle_launch_create(struct request *r);
int handle_launch_list(struct request *r);
int handle_launch_get(struct request *r);
int handle_launch_log(struct request *r);
int handle_launch_screenshot(struct request *r);
int handle_launch_keep(struct request *r);
int handle_launch_end(struct request *r);

/* jobs.c */
int handle_job_list(struct request *r);
int handle_job_get(struct request *r);

/* verify.c */
int handle_verify_start(struct request *r);
int handle_verify_get(struct request *r);

/* events.c */
int handle_event_list(struct request *r);

/* servers.c */
int handle_server_list(struct request *r);
int handle_server_remove(struct request *r);

/* peers.c */
int handle_link_poll(struct request *r);
int handle_link_reply(struct request *r);
int handle_link_status(struct request *r);
int handle_link_events(struct request *r);

#endif
