/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weak places of parts that another branch brings; this file goes when they are there. */
#include "monitor-private.h"

static const struct command none[] = { { 0 } };
__attribute__((weak)) const struct command_group migration_group = { "Live migration", none };
__attribute__((weak)) const struct command_group peer_group = { "Peers", none };
__attribute__((weak)) const struct info_item info_migrate_items[] = { { 0 } };
__attribute__((weak)) void peer_free(struct peer *p) { }
__attribute__((weak)) const char *peer_name(const struct peer *p) { return ""; }
__attribute__((weak)) bool peer_holds_guest(const struct peer *p) { return false; }
__attribute__((weak)) void migrate_parameters_init(struct migrate_parameters *p) { }
__attribute__((weak)) const struct property migrate_parameter_properties[] = { { 0 } };
__attribute__((weak)) const struct migrate_capability_info migrate_capability_info[] = { { 0 } };
__attribute__((weak)) void session_free(struct session *s) { }
