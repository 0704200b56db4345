/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the test programs of src/machine share: see the header. */
#include "machine-bench.h"

#include <glib/gstdio.h>

void
world_open(struct world *w, GMainContext *context)
{
    *w = (struct world) { .context = context };
    w->mailbox = mailbox_new(w->context);
    w->jobs = jobs_new(w->mailbox, 2);
    w->directory = g_dir_make_tmp("numon-test-XXXXXX", NULL);
    w->uri = g_strdup_printf("unix:%s/socket", w->directory);
    w->other_uri = g_strdup_printf("unix:%s/other", w->directory);
}

void
world_close(struct world *w)
{
    jobs_free(w->jobs);
    machine_free(w->a);
    machine_free(w->b);
    mailbox_free(w->mailbox);
    g_main_context_unref(w->context);
    g_rmdir(w->directory);
    g_free(w->directory);
    g_free(w->uri);
    g_free(w->other_uri);
}

void
world_set(struct definition *d, const struct property *table, int implied,
          bool (*change)(struct definition *, const struct values *, GError **), const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(values) v = property_parse_options(table, implied, text, &error);

    g_assert_no_error(error);
    change(d, v, &error);
    g_assert_no_error(error);
}

static void
built(void *self, const GError *error)
{
    g_assert_no_error(error);
    *(bool *)self = true;
}

void
world_build(struct world *w, struct machine *m)
{
    bool done = false;

    machine_build(m, built, &done);
    g_assert_false(done);
    loop_until(w, done);
    g_assert_true(machine_built(m));
}

void
world_reset(struct world *w, struct machine *m, bool force)
{
    g_autoptr(GError) error = NULL;
    bool done = false, begun = machine_reset(m, force, built, &done, &error);

    g_assert_no_error(error);
    g_assert_true(begun && !done);
    loop_until(w, done);
}

uint64_t
world_ticks(struct machine *m)
{
    g_autofree struct workload_status *s = g_new0(struct workload_status, 1);
    g_autoptr(GError) error = NULL;

    workload_status(machine_map(m), s, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(s->stage, !=, STAGE_PANIC);
    return s->ticks;
}

enum migrate_state
world_state(struct machine *m)
{
    struct migrate_info info;
    enum migrate_state s;

    session_info(machine_session(m), &info);
    s = info.state;
    if (info.error)
        g_test_message("%s: %s", migrate_state_name(s), info.error);
    migrate_info_release(&info);
    return s;
}
