/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/config share. */
#ifndef CONFIG_PRIVATE_H
#define CONFIG_PRIVATE_H

#include "config.h"

#define KERNEL_DEFAULT BUILTIN_WORKLOAD
#define SERIAL_DEFAULT "null"
#define SERIAL_NONE "none"

/* Appends "memory SIZE[,slots=N][,maxmem=SIZE]", without a line end. */
void memory_save(const struct memory_options *m, GString *out);
/* Appends "machine KEY=VALUE,..." with what is not the default and a line end; nothing if all is. */
void machine_options_save(const struct definition *d, GString *out);
/* Appends "object_add KIND,id=ID,..." with what is not its kind's default, without a line end. */
void backend_save(const struct backend_options *o, GString *out);

/* Fills a place for each device; those without one are problems, or with 'problems' NULL the first is an error. */
bool definition_place_devices(const struct definition *d, struct device_place *ret, GPtrArray *problems,
                              GError **error);
void definition_check_devices(const struct definition *d, GPtrArray *problems);
void devices_save(const struct definition *d, GString *out);
bool devices_equal(const GArray *a, const GArray *b);

bool definition_delete_cpu(struct definition *d, const char *name, GError **error);
/* STATE if a CPU plugged in before would be elsewhere after. */
bool cpus_fit(const struct definition *before, const struct definition *after, GError **error);
void cpus_save(const struct definition *d, GString *out);
bool cpus_equal(const GArray *a, const GArray *b);

/* Equal in all but topology, HMAT, and the lists of the next. */
bool definition_rest_equal(const struct definition *a, const struct definition *b);
/* Backends, devices and CPUs. */
bool definition_lists_equal(const struct definition *a, const struct definition *b);

#endif
