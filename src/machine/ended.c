/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Migrations that have ended: their sessions go, what they came to is kept, MACHINE_MIGRATIONS of them. */
#include "machine-private.h"

static void
free_record(void *data)
{
    migrate_record_free(data);
}

/* Appends what is known of a session that has ended; NULL and one that has not are passed over. */
static void
append_ended(GPtrArray *list, struct session *s)
{
    struct migrate_record *record;

    if (!s)
        return;
    record = session_record(s);
    if (migrate_state_ended(record->info.state))
        g_ptr_array_add(list, record);
    else
        migrate_record_free(record);
}

void
machine_retire(struct machine *m, struct session **place)
{
    if (!m->migrations)
        m->migrations = g_ptr_array_new_with_free_func(free_record);
    append_ended(m->migrations, *place);
    if (m->migrations->len > MACHINE_MIGRATIONS)
        g_ptr_array_remove_index(m->migrations, 0);
    session_free(g_steal_pointer(place));
}

GPtrArray *
machine_migrations(struct machine *m)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(free_record);
    struct session *other = m->last == m->outgoing ? m->incoming : m->outgoing;

    for (unsigned i = 0; m->migrations && i < m->migrations->len; i++)
        g_ptr_array_add(list, migrate_record_copy(m->migrations->pdata[i]));
    append_ended(list, other);
    append_ended(list, m->last);
    while (list->len > MACHINE_MIGRATIONS)
        g_ptr_array_remove_index(list, 0);
    return list;
}
