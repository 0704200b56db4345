/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weak places of parts that another branch brings; this file goes when they are there. */
#include "monitor-private.h"

__attribute__((weak)) void migrate_parameters_init(struct migrate_parameters *p) { }
__attribute__((weak)) const struct property migrate_parameter_properties[] = { { 0 } };
__attribute__((weak)) const struct migrate_capability_info migrate_capability_info[] = { { 0 } };
__attribute__((weak)) void session_free(struct session *s) { }
