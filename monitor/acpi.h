/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What ACPI tables say, as value trees. */
#ifndef ACPI_H
#define ACPI_H

#include "monitor-private.h"

/* A table's fields: signature, address, length, name, checksum, fields, entries, distances; floating. */
GVariant *acpi_decode(const struct acpi_table *t);
/* The same in short. */
GVariant *acpi_summarize(const struct acpi_table *t);
void acpi_print(GVariant *table, GString *out);
void acpi_print_summary(GVariant *table, GString *out);

#endif
