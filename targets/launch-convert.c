/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for other hardware than it ran on: decided by what the source said of itself
 * (hardware.h), done by godwit-convert (convert.h) on the machine's own disks.
 *
 *	convert=auto	if something has to be changed
 *	convert=never	nothing is, but for a new identity if one is asked for
 *	convert=always	it is looked for, whatever the source said
 *
 * disk_bus=auto takes hardware that the machine has drivers for; what has to be changed
 * beyond that is.  Where that cannot be done, hardware is chosen that leaves as much as
 * possible right, and the machine is started unless it could not find its root disk.
 */
#include "launch-private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool wants_all(const struct launch *l)
{
	return l->spec.convert == CONVERT_ALWAYS || l->spec.new_identity;
}

static bool may_convert(const struct launch *l)
{
	return l->spec.convert != CONVERT_NEVER && convert_available();
}

/* An older point has the configuration of its time on its disks. */
static void note_age(struct launch *l)
{
	char line[256];

	if (!l->spec.hardware.known || l->spec.hardware_is == HARDWARE_NEWEST)
		return;
	if (l->spec.hardware_is == HARDWARE_OLDER)
		snprintf(line, sizeof(line), "what it is bound to has changed since the point: taken is what it was from %s on",
			 l->spec.hardware_since);
	else
		snprintf(line, sizeof(line), "what it was bound to at the point's time is not known: taken is what it was from %s on",
			 l->spec.hardware_since);
	record_line(l->record, line);
}

static enum target_bus choose(const struct launch *l, bool converted)
{
	struct hardware_disks disks = { .count = l->disk_count };

	for (unsigned int i = 0; i < l->disk_count; i++)
		disks.sector_bytes = MAX(disks.sector_bytes, l->target_disks[i].sector_bytes);
	return hardware_choose_bus(&l->spec.hardware, converted, &disks);
}

void launch_choose_bus(struct launch *l)
{
	const struct hardware *h = &l->spec.hardware;
	const struct hardware_disks disks = { l->disk_count, SECTOR_BYTES };
	unsigned int i = 0;
	char line[256];

	note_age(l);
	l->bus = l->spec.bus != BUS_AUTO ? l->spec.bus : choose(l, may_convert(l));
	if (l->spec.bus != BUS_AUTO || l->bus == BUS_VIRTIO)
		return;
	while (i + 1 < h->name_count && hardware_name_fits(&h->names[i], BUS_VIRTIO))
		i++;
	if (!hardware_bus_holds(BUS_VIRTIO, &disks))
		snprintf(line, sizeof(line), "its disks are attached by %s: there are %u of them", hardware_bus_name(l->bus),
			 l->disk_count);
	else if (hardware_bus_boots(h, BUS_VIRTIO))
		snprintf(line, sizeof(line), "its disks are attached by %s: %s names %s", hardware_bus_name(l->bus),
			 h->names[i].file, h->names[i].device);
	else
		snprintf(line, sizeof(line), "its disks are attached by %s: the initramfs of its kernel %s has no driver for "
			 "virtio disks", hardware_bus_name(l->bus), h->kernel);
	record_line(l->record, line);
}

/* Without its root disk it cannot start; all else is for its proof to say. */
static void give_up_or_go_on(struct launch *l, const char *reason)
{
	struct hardware_needs needs = hardware_needs(&l->spec.hardware, l->bus);
	struct fault f;

	if (needs.drivers || wants_all(l)) {
		(void)fault_set(&f, -EIO, MSG_LAUNCH_NOT_CONVERTED, "machine", l->spec.machine, "reason", reason, NULL);
		launch_fail(l, &f);
		return;
	}
	(void)fault_set(&f, 0, MSG_LAUNCH_NOT_ADAPTED, "reason", reason, NULL);
	record_note(l->record, &f);
	launch_run_machine(l);
}

static void step_done(void *context, const char *line)
{
	record_line(((struct launch *)context)->record, line);
}

static void converted(void *context, const char *error)
{
	struct launch *l = context;
	struct fault f;

	convert_stop(l->convert);
	l->convert = NULL;
	if (!error) {
		launch_run_machine(l);
		return;
	}
	/* Half of it may be done: a new view, and hardware that needs less. */
	if (launch_make_view(l, &f)) {
		launch_fail(l, &f);
		return;
	}
	if (l->spec.bus == BUS_AUTO)
		l->bus = choose(l, false);
	give_up_or_go_on(l, error);
}

static void start_converting(struct launch *l)
{
	struct convert_options o = { .folder = l->folder, .disk_count = l->disk_count, .bus = l->bus,
				     .step = step_done, .done = converted, .context = l };
	int err;

	record_line(l->record, l->spec.convert == CONVERT_NEVER ?
			       "it gets an identity of its own, and convert=never forbids to change anything else" :
			       "what is bound to other hardware is looked for on the machine's own disks");
	err = convert_start(l->loop, &o, &l->convert);
	if (err)
		give_up_or_go_on(l, strerror(-err));
}

void launch_convert(struct launch *l)
{
	struct hardware_needs needs = hardware_needs(&l->spec.hardware, l->bus);
	bool needed = needs.drivers || needs.names || needs.network;

	if (l->spec.convert == CONVERT_NEVER && needs.drivers)
		record_line(l->record, "it has no driver for its disks, and convert=never forbids to change that");
	if (l->spec.convert == CONVERT_NEVER && !l->spec.new_identity) {
		launch_run_machine(l);
	} else if (!needed && !wants_all(l)) {
		launch_run_machine(l); /* not touched */
	} else if (!convert_available()) {
		give_up_or_go_on(l, "godwit-convert or libguestfs is not installed");
	} else {
		start_converting(l);
	}
}

void launch_stop_converting(struct launch *l)
{
	convert_stop(l->convert);
	l->convert = NULL;
}
