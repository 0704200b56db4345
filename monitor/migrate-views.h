/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views of a migration's recording: each a value tree with one key that names it, and a printer. */
#ifndef MIGRATE_VIEWS_H
#define MIGRATE_VIEWS_H

#include "monitor-private.h"
#include "why.h"

/* The facts of a recording; borrows from it. */
void why_of(struct machine *m, const struct migrate_record *r, struct why *ret);

/* Floating trees. */
GVariant *rounds_tree(const struct migrate_record *r);
GVariant *downtime_tree(struct machine *m, const struct migrate_record *r);
GVariant *why_tree(struct machine *m, const struct migrate_record *r);       /* NULL: no migration */
GVariant *states_tree(struct monitor *m, const struct migrate_record *r);
/* "nodes", "blocks" or "vcpus". */
GVariant *shares_tree(const struct migrate_record *r, const char *by);

/* For a terminal of so many columns; 0: for a program. */
void prediction_print(GVariant *tree, unsigned columns, GString *out);      /* predict-print.c */
void rounds_print(GVariant *tree, unsigned columns, GString *out);
void downtime_print(GVariant *tree, unsigned columns, GString *out);
void why_print(GVariant *tree, unsigned columns, GString *out);
void states_print(GVariant *tree, unsigned columns, GString *out);
void shares_print(GVariant *tree, unsigned columns, GString *out);

#endif
