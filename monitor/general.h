/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The general commands, whose functions are spread over a few files. */
#ifndef GENERAL_H
#define GENERAL_H

#include "monitor-private.h"

enum { SOURCE_P_FILE };
enum outcome source_run(struct call *call, GError **error);         /* script.c */
void source_detach(struct call *call);

extern const struct property watch_properties[];                    /* watch.c */
enum outcome watch_run(struct call *call, GError **error);
void watch_detach(struct call *call);

enum { INFO_P_JSON, INFO_P_ITEM, INFO_P_REST };
enum outcome info_run(struct call *call, GError **error);           /* info.c */
void info_detach(struct call *call);

#endif
