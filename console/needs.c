/* SPDX-License-Identifier: Apache-2.0 */
#include "needs.h"
#include "hardware.h"
#include "resource.h"

#include <stdlib.h>

static void add(json_t *list, const struct request *r, enum message_code code, json_t *args)
{
	resource_problem(list, r, code, args, json_null());
}

static void add_drivers(json_t *list, const struct request *r, const struct hardware *h, enum target_bus bus, bool asked)
{
	if (!hardware_bus_boots(h, bus))
		add(list, r, MSG_NEEDS_INITRAMFS,
		    json_pack("{s:s, s:s}", "kernel", h->kernel, "bus", hardware_bus_name(bus)));
	else if (!asked && bus != BUS_VIRTIO)
		add(list, r, MSG_NEEDS_OTHER_BUS,
		    json_pack("{s:s, s:s}", "kernel", h->kernel, "bus", hardware_bus_name(bus)));
}

static enum target_bus bus_of(const json_t *blueprint, const struct hardware *h)
{
	const char *asked = json_string_value(json_object_get(blueprint, "disk_bus"));

	for (unsigned int b = 0; asked && b < BUSES; b++)
		if (!strcmp(asked, hardware_bus_name((enum target_bus)b)))
			return (enum target_bus)b;
	return hardware_choose_bus(h, true, NULL);
}

static void add_all(json_t *list, const struct request *r, const struct hardware *h, const json_t *blueprint)
{
	const char *asked = json_string_value(json_object_get(blueprint, "disk_bus"));
	enum target_bus bus = bus_of(blueprint, h);

	add_drivers(list, r, h, bus, asked && strcmp(asked, "auto") != 0);
	for (unsigned int i = 0; i < h->name_count; i++)
		if (!hardware_name_fits(&h->names[i], bus))
			add(list, r, MSG_NEEDS_NAME,
			    json_pack("{s:s, s:s}", "file", h->names[i].file, "device", h->names[i].device));
	for (unsigned int i = 0; i < h->binding_count && hardware_needs(h, bus).network; i++)
		if (i == 0 || strcmp(h->bindings[i].file, h->bindings[i - 1].file) != 0) /* once by each */
			add(list, r, MSG_NEEDS_NETWORK,
			    json_pack("{s:s, s:s, s:s}", "file", h->bindings[i].file, "interface",
				      h->cards[h->bindings[i].card].interface, "mac", h->cards[h->bindings[i].card].mac));
}

json_t *needs_view(const struct request *r, const json_t *facts, const json_t *blueprint)
{
	struct hardware *h = malloc(sizeof(*h));
	json_t *list = json_array();

	if (h && hardware_from_json(json_object_get(facts, "hardware"), h) == 0)
		add_all(list, r, h, blueprint);
	free(h);
	return list;
}
