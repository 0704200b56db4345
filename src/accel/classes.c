/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The accelerators there are, in the order in which they are tried. */
#include "accel.h"

#include <string.h>

const struct accel_class *const accel_classes[] = {
    &accel_kvm,
    &accel_synthetic,
    NULL,
};

const struct accel_class *
accel_find(const char *name)
{
    for (const struct accel_class *const *c = accel_classes; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}
