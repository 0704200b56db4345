/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What turns a migration beyond the plain precopy of test-migrate.c: parameters, capabilities, the pause before the
 * switchover, transports without a listener.  Source and destination in one process. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

/* --- parameters and capabilities -------------------------------------------------------------------------------- */

static void
choices_and_numbers_are_set_and_shown(void)
{
    struct migrate_parameters p;
    g_autoptr(GError) error = NULL;

    migrate_parameters_init(&p);
    int at = property_find(migrate_parameter_properties, "switchover");
    g_assert_cmpint(at, >=, 0);
    g_autofree char *first = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(first, ==, "patient");
    g_assert_true(migrate_parameter_set(&p, "switchover", "eager", &error));
    g_autofree char *second = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(second, ==, "eager");
    g_assert_false(migrate_parameter_set(&p, "switchover", "hasty", &error));
    g_assert_nonnull(strstr(error->message, "patient or eager"));
    g_autofree char *third = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(third, ==, "eager");
}

static void
capabilities_of_others_are_refused_by_name(void)
{
    struct migrate_capabilities c = { 0 };
    static const char *const names[] = { "postcopy-ram", "multifd", "x_colo", "dirty-limit", "mapped-ram" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(migrate_capability_set(&c, names[i], true, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_assert_nonnull(strstr(error->message, "not supported by numon"));
    }
    g_assert_true(migrate_capability_set(&c, "zero-blocks", true, NULL));
    g_assert_true(migrate_capability_set(&c, "pause_before_switchover", true, NULL));
    g_assert_true(c.pause_before_switchover);
}

/* --- the switchover --------------------------------------------------------------------------------------------- */

/* On a line that needs seconds for the first pass the eager rule stops the guest within it. */
static void
eager_stops_within_the_first_pass(void)
{
    struct pair p;
    struct migrate_info info;

    pair_init(&p, MIDDLE, 20);
    fake_fill(&p.from.fake, 21);
    fake_run(&p.from.fake);
    atomic_store(&p.parameters.max_bandwidth, MIB);
    atomic_store(&p.parameters.downtime_limit, 2000000);
    atomic_store(&p.parameters.switchover, SWITCHOVER_EAGER);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpstr(p.from.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.downtime_bytes, >, info.precopy_bytes);
    migrate_info_release(&info);
    pair_release(&p);
}

/* A stream in a file: what was sent whole and became zero goes whole again, also if the first pass was broken off. */
static void
eager_file_holds_the_guest(void)
{
    struct pair p;

    pair_init(&p, MIDDLE, 1000);
    fake_fill(&p.from.fake, 22);
    fake_run(&p.from.fake);
    atomic_store(&p.parameters.max_bandwidth, 8 * MIB);
    atomic_store(&p.parameters.downtime_limit, 300);
    atomic_store(&p.parameters.switchover, SWITCHOVER_EAGER);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    g_assert_true(session_start(p.from.session, out, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_true(session_start(p.to.session, in, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    g_unlink(file);
    pair_release(&p);
}

static void
guest_waits_before_the_switchover(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;

    pair_init(&p, SMALL, 20);
    fake_fill(&p.from.fake, 23);
    fake_run(&p.from.fake);
    p.capabilities.pause_before_switchover = true;
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_state(&p.from) == MIGRATE_PRE_SWITCHOVER);
    g_assert_false(p.from.fake.running);
    g_assert_cmpint(side_state(&p.to), ==, MIGRATE_ACTIVE);
    g_assert_false(session_continue(p.from.session, MIGRATE_ACTIVE, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_true(session_continue(p.from.session, MIGRATE_PRE_SWITCHOVER, NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpstr(p.from.states->str, ==, "setup active pre-switchover device completed");
    g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    g_assert_false(session_continue(p.from.session, MIGRATE_PRE_SWITCHOVER, NULL));
    pair_release(&p);
}

/* A cancel, or a destination that goes away, ends the pause, and the guest goes on. */
static void
pause_before_switchover_is_released(void)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        struct pair p;

        pair_init(&p, SMALL, 20);
        fake_fill(&p.from.fake, 24);
        fake_run(&p.from.fake);
        p.capabilities.pause_before_switchover = true;
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        PAIR_WAIT(&p, side_state(&p.from) == MIGRATE_PRE_SWITCHOVER);
        g_assert_true(session_cancel(lost ? p.to.session : p.from.session, NULL));
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpstr(p.from.states->str, ==, lost ? "setup active pre-switchover failed"
                                                     : "setup active pre-switchover cancelling cancelled");
        g_assert_cmpuint(p.from.fake.go_ons, ==, 1);
        g_assert_true(p.from.fake.running);
        g_assert_cmpuint(p.to.fake.starts, ==, 0);
        pair_release(&p);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/choices and numbers are set and shown", choices_and_numbers_are_set_and_shown);
    g_test_add_func("/engine/capabilities of others are refused by name", capabilities_of_others_are_refused_by_name);
    g_test_add_func("/engine/eager stops within the first pass", eager_stops_within_the_first_pass);
    g_test_add_func("/engine/eager file holds the guest", eager_file_holds_the_guest);
    g_test_add_func("/engine/guest waits before the switchover", guest_waits_before_the_switchover);
    g_test_add_func("/engine/pause before switchover is released", pause_before_switchover_is_released);
    return g_test_run();
}
