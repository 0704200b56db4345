/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rates of counters that are looked at now and then: the monitor keeps, by a name, when it looked last and what it
 * saw.  So `watch` of any item shows how fast its counters go. */
#include "monitor-private.h"

enum { LOOK_PERIOD_US = 250 * 1000 };       /* rates over less time say little: the older look stays */

struct look {
    int64_t time_us;                /* monotonic */
    uint64_t value;
};

GHashTable *
looks_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

bool
look_rate(struct monitor *m, const char *name, uint64_t value, double *ret)
{
    struct look *last = g_hash_table_lookup(m->looks, name);
    int64_t now = g_get_monotonic_time();
    bool known = last && value >= last->value && now > last->time_us;

    if (known)
        *ret = (double)(value - last->value) * G_USEC_PER_SEC / (double)(now - last->time_us);
    if (!last) {
        last = g_new0(struct look, 1);
        g_hash_table_insert(m->looks, g_strdup(name), last);
    }
    if (now - last->time_us >= LOOK_PERIOD_US || value < last->value)
        *last = (struct look) { now, value };
    return known;
}
