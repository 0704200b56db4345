/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The migration engine, source and destination in one process, over every transport: what moves arrives whole, what
 * cannot is refused with the reason on both sides. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

/* --- it works --------------------------------------------------------------------------------------------------- */

static void
guest_moves_over_unix(void)
{
    struct pair p;
    struct stat file;

    pair_open(&p, MIDDLE, 20, 7);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    g_assert_cmpint(lstat(p.path, &file), ==, 0);
    g_assert_cmpuint(file.st_mode & 0777, ==, 0600);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    g_assert_cmpint(p.to.fake.started_in, ==, RUN_STATE_RUNNING);
    pair_release(&p);
}

static void
guest_moves_over_tcp_to_the_port_chosen(void)
{
    struct pair p;
    struct migrate_info info;

    pair_init(&p, SMALL, 20);
    fake_fill(&p.from.fake, 8);
    p.from.fake.run_state = RUN_STATE_INTERNAL_ERROR;
    fake_run(&p.from.fake);
    session_start(p.to.session, "tcp:127.0.0.1:0", NULL);
    session_info(p.to.session, &info);
    g_assert_true(g_str_has_prefix(info.uri, "tcp:127.0.0.1:") && !g_str_has_suffix(info.uri, ":0"));
    g_assert_true(session_start(p.from.session, info.uri, NULL));
    migrate_info_release(&info);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    g_assert_cmpint(p.to.fake.started_in, ==, RUN_STATE_INTERNAL_ERROR);
    pair_release(&p);
}

static void
file_by_exec_holds_the_guest(void)
{
    struct pair p;

    pair_open(&p, SMALL, 20, 9);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    g_assert_true(session_start(p.from.session, out, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_cmpstr(p.from.states->str, ==, "setup active device completed");
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_COPY);
    g_assert_cmpuint(p.from.fake.go_ons, ==, 0);
    g_assert_true(session_start(p.to.session, in, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    const char *keep = g_getenv("NUMON_TEST_KEEP_STREAM");
    if (keep) {
        g_autofree char *data = NULL;
        size_t size;
        g_assert_true(g_file_get_contents(file, &data, &size, NULL));
        g_assert_true(g_file_set_contents(keep, data, (gssize)size, NULL));
    }
    g_unlink(file);
    pair_release(&p);
}

static void
tiny_bandwidth_gives_rounds_full_speed_ends_them(void)
{
    struct pair p;
    struct migrate_info info;

    pair_open(&p, SMALL, 100, 10);
    atomic_store(&p.parameters.max_bandwidth, 4 * MIB);
    atomic_store(&p.parameters.downtime_limit, 0);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, p.from.passes >= 3);
    session_info(p.from.session, &info);
    g_assert_cmpint(info.state, ==, MIGRATE_ACTIVE);
    g_assert_cmpuint(info.dirty_syncs, >=, 3);
    g_assert_cmpuint(info.dirty_pages_rate, >, 0);
    g_assert_cmpfloat(info.mbps, <, 60);
    migrate_info_release(&info);
    atomic_store(&p.parameters.max_bandwidth, 0);
    atomic_store(&p.parameters.downtime_limit, 300);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    pair_release(&p);
}

static void
first_pass_is_finished_whatever_the_limit(void)
{
    struct pair p;

    pair_open(&p, SMALL, 0, 11);
    atomic_store(&p.parameters.downtime_limit, 2000000);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    struct migrate_info info;
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.downtime_bytes, ==, 0);
    migrate_info_release(&info);
    pair_release(&p);
}

static void
zero_pages_leave_untouched_memory_alone(void)
{
    struct pair p;

    pair_init(&p, MIDDLE, 0);
    fake_run(&p.from.fake);
    /* Not fresh: what lies there must become zero; the other blocks must stay unallocated. */
    memset(((struct block *)p.to.fake.map->blocks->pdata[0])->host, 0xaa, MIDDLE);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    struct stat file;
    g_assert_cmpint(fstat(((struct block *)p.to.fake.map->blocks->pdata[1])->fd, &file), ==, 0);
    g_assert_cmpint(file.st_blocks, ==, 0);
    pair_assert_moved(&p);
    pair_release(&p);
}

/* Between two rounds: what was sent whole, compressed or not, and what lay at the destination before. */
static void
runs_of_pages_become_zero_again(void)
{
    for (unsigned compress = 0; compress < 2; compress++) {
        struct pair p;

        pair_init(&p, MIDDLE, 0);
        for (unsigned i = 0; i < 2; i++) {
            struct block *b = p.from.fake.map->blocks->pdata[i];
            memset(b->host, 0xaa, b->size);
        }
        struct block *there = p.to.fake.map->blocks->pdata[2];
        memset(there->host, 0x55, there->size);
        fake_run(&p.from.fake);
        atomic_store(&p.capabilities.compress, compress);
        atomic_store(&p.parameters.step, true);
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        PAIR_WAIT(&p, session_may_continue(p.from.session, MIGRATE_ACTIVE, NULL));
        for (unsigned i = 0; i < 2; i++) {
            struct block *b = p.from.fake.map->blocks->pdata[i];
            memset(b->host + 10 * PAGE_SIZE, 0, 100 * PAGE_SIZE);
            hub_mark(p.from.fake.hub, b, 9, 102);
        }
        atomic_store(&p.parameters.step, false);
        g_assert_true(session_continue(p.from.session, MIGRATE_ACTIVE, NULL));
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
        pair_assert_equal(&p);
        struct migrate_info info;
        session_info(p.to.session, &info);
        g_assert_cmpuint(info.pages_zero, ==, there->page_count + 200);
        migrate_info_release(&info);
        g_assert_true(page_is_zero(((struct block *)p.to.fake.map->blocks->pdata[1])->host + 50 * PAGE_SIZE));
        pair_release(&p);
    }
}

/* --- refusals --------------------------------------------------------------------------------------------------- */

static void
assert_refused(struct pair *p, const char *why)
{
    g_autofree char *there = side_error(&p->to), *here = side_error(&p->from);

    g_assert_cmpint(side_state(&p->from), ==, MIGRATE_FAILED);
    g_assert_cmpint(side_state(&p->to), ==, MIGRATE_FAILED);
    g_assert_cmpint(session_owner(p->from.session), ==, OWNER_HERE);
    g_assert_cmpuint(p->from.fake.go_ons, ==, p->from.fake.stops);
    g_assert_cmpuint(p->to.fake.starts, ==, 0);
    g_assert_nonnull(strstr(there, why));
    g_assert_nonnull(strstr(here, why));
}

static void
other_definition_is_refused_and_may_be_mended(void)
{
    struct pair p;

    pair_open(&p, MIDDLE, 20, 12);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    p.to.fake.description = "nodes=3\n";
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "nodes=3");
    p.to.fake.description = "nodes=2\n";
    p.from.fake.machine_type = "pc-i440fx-7.2";
    pair_sessions(&p);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "pc-i440fx-7.2");
    p.from.fake.machine_type = "numon-0.1";
    p.to.fake.section.version = 1;
    pair_sessions(&p);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "version 2");
    p.to.fake.section.version = 2;
    p.to.fake.section.name = "other";
    pair_sessions(&p);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "fake-device");
    p.to.fake.section.name = "fake-device";
    p.from.fake.stops = p.from.fake.go_ons = 0;
    pair_sessions(&p);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    pair_release(&p);
}

static void
garbage_is_refused(void)
{
    struct pair p;
    static const char *const commands[] = {
        "exec:echo hello, this is no stream", "exec:printf 'QEVM\\0\\0\\0\\3'", "exec:exit 3", "exec:kill -9 $$",
    };

    pair_init(&p, SMALL, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        pair_sessions(&p);
        g_assert_true(session_start(p.to.session, commands[i], NULL));
        PAIR_WAIT(&p, side_ended(&p.to));
        g_assert_cmpint(side_state(&p.to), ==, MIGRATE_FAILED);
        g_autofree char *text = side_error(&p.to);
        g_assert_nonnull(strstr(text, "of the stream"));
        if (i >= 2)
            g_assert_nonnull(strstr(text, i == 2 ? "status 3" : "signal 9"));
    }
    pair_release(&p);
}

static void
command_that_fails_gives_the_guest_back(void)
{
    struct pair p;
    static const struct { const char *uri, *why; } cases[] = {
        { "exec:exit 5", "status 5" },
        { "exec:cat > /dev/full 2> /dev/null", "status 1" },
        { "exec:head -c 100000 > /dev/null; kill -15 $$", "signal 15" },
    };

    pair_open(&p, SMALL, 20, 13);
    atomic_store(&p.parameters.switchover_timeout, 100);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        pair_sessions(&p);
        g_assert_true(session_start(p.from.session, cases[i].uri, NULL));
        PAIR_WAIT(&p, side_ended(&p.from));
        g_autofree char *text = side_error(&p.from);
        g_assert_cmpint(side_state(&p.from), ==, MIGRATE_FAILED);
        if (!strstr(text, cases[i].why))
            g_error("'%s': '%s'", cases[i].uri, text);
        g_assert_cmpint(session_owner(p.from.session), ==, OWNER_HERE);
        g_assert_cmpuint(p.from.fake.go_ons, ==, p.from.fake.stops);
    }
    g_assert_cmpint(p.running_somewhere, ==, 1);
    pair_release(&p);
}

/* Where it brought the guest, and whether that runs there, nobody knows. */
static void
command_that_took_all_and_failed_keeps_the_guest_paused(gconstpointer data)
{
    struct pair p;
    const char *const *uri_and_why = data;

    pair_open(&p, SMALL, 20, 13);
    atomic_store(&p.parameters.switchover_timeout, 100);
    g_assert_true(session_start(p.from.session, uri_and_why[0], NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_autofree char *text = side_error(&p.from);
    g_assert_cmpint(side_state(&p.from), ==, MIGRATE_FAILED);
    g_assert_nonnull(strstr(text, uri_and_why[1]));
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_COPY);
    g_assert_cmpuint(p.from.fake.stops, ==, 1);
    g_assert_cmpuint(p.from.fake.go_ons, ==, 0);
    g_assert_cmpint(p.running_somewhere, ==, 0);
    pair_release(&p);
}

static const char *const endless[] = { "exec:cat > /dev/null; sleep 100", "the command still runs" };
static const char *const failing[] = { "exec:cat > /dev/null; exit 7", "the command exited with status 7" };

static void
sockets_are_replaced_only_if_dead(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;

    pair_init(&p, SMALL, 0);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    g_assert_true(session_start(p.to.session, uri, NULL));
    struct session *second = session_new(MIGRATE_IN, &(struct migrate_guest) { .map = p.to.fake.map }, &p.parameters,
                                         &p.capabilities, p.mailbox, NULL);
    g_assert_false(session_start(second, uri, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    session_free(second);
    g_assert_true(g_file_test(p.path, G_FILE_TEST_EXISTS));
    g_assert_true(session_cancel(p.to.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpstr(p.to.states->str, ==, "setup cancelling cancelled");
    pair_sessions(&p);
    g_assert_false(g_file_test(p.path, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_set_contents(p.path, "mine", -1, NULL));
    g_assert_false(session_start(p.to.session, uri, NULL));
    g_assert_true(g_file_test(p.path, G_FILE_TEST_EXISTS));
    g_unlink(p.path);
    pair_release(&p);
}

static void
uris_are_checked(void)
{
    static const char *const bad[] = { "", "x", "unix:", "exec:", "tcp:", "tcp:host", "tcp:host:", "tcp:h:65536",
                                       "tcp:h:0", "tcp:h:-1", "ftp:x", "unix" };
    static const char *const good[] = { "unix:/x", "exec:cat", "tcp:h:1", "tcp::1", "tcp:[::1]:65535" };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(migrate_uri_check(bad[i], MIGRATE_OUT, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(migrate_uri_check(good[i], MIGRATE_OUT, NULL));
    g_assert_true(migrate_uri_check("tcp:h:0", MIGRATE_IN, NULL));
    g_autofree char *longer = g_strnfill(200, 'x');
    g_autofree char *uri = g_strconcat("unix:", longer, NULL);
    g_assert_false(migrate_uri_check(uri, MIGRATE_OUT, NULL));
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/migrate/guest moves over unix", guest_moves_over_unix);
    g_test_add_func("/migrate/guest moves over tcp to the port chosen", guest_moves_over_tcp_to_the_port_chosen);
    g_test_add_func("/migrate/file by exec holds the guest", file_by_exec_holds_the_guest);
    g_test_add_func("/migrate/tiny bandwidth gives rounds, full speed ends them",
                    tiny_bandwidth_gives_rounds_full_speed_ends_them);
    g_test_add_func("/migrate/first pass is finished whatever the limit", first_pass_is_finished_whatever_the_limit);
    g_test_add_func("/migrate/zero pages leave untouched memory alone", zero_pages_leave_untouched_memory_alone);
    g_test_add_func("/migrate/runs of pages become zero again", runs_of_pages_become_zero_again);
    g_test_add_func("/migrate/other definition is refused and may be mended",
                    other_definition_is_refused_and_may_be_mended);
    g_test_add_func("/migrate/garbage is refused", garbage_is_refused);
    g_test_add_func("/migrate/command that fails gives the guest back", command_that_fails_gives_the_guest_back);
    g_test_add_data_func("/migrate/command that does not end keeps the guest paused", endless,
                         command_that_took_all_and_failed_keeps_the_guest_paused);
    g_test_add_data_func("/migrate/command that fails with the whole guest keeps it paused", failing,
                         command_that_took_all_and_failed_keeps_the_guest_paused);
    g_test_add_func("/migrate/sockets are replaced only if dead", sockets_are_replaced_only_if_dead);
    g_test_add_func("/migrate/uris are checked", uris_are_checked);
    return g_test_run();
}
