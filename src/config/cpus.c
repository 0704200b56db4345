/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which CPU slots have a CPU. */
#include "config.h"

#include <string.h>

#include "config-private.h"

void
definition_cpus(const struct definition *d, uint64_t *ret_slots)
{
    struct smp smp;
    bool derived = smp_derive(&d->topology.smp, &smp, NULL);

    g_assert(derived);
    memset(ret_slots, 0, WORDS_FOR(TOPOLOGY_CPUS) * sizeof *ret_slots);
    bits_set(ret_slots, 0, smp.cpus);
}
