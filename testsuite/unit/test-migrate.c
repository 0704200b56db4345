/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The migration engine, source and destination in one process, over every transport, through every kind of harm.
 * What must hold throughout: never two running copies (migrate-fake.c aborts), nothing lost, and the source's word
 * about what happened is true. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

static void
start_both(struct pair *p, const char *out, const char *in)
{
    GError *error = NULL;

    session_start(p->to.session, in, &error);
    g_assert_no_error(error);
    g_assert_cmpint(side_state(&p->to), ==, MIGRATE_SETUP);
    session_start(p->from.session, out, &error);
    g_assert_no_error(error);
}

static void
assert_moved(struct pair *p)
{
    struct migrate_info info;

    g_assert_cmpstr(p->from.states->str, ==, "setup active device completed");
    g_assert_cmpstr(p->to.states->str, ==, "setup active device completed");
    g_assert_cmpint(session_owner(p->from.session), ==, OWNER_THERE);
    g_assert_cmpuint(p->from.fake.stops, ==, 1);
    g_assert_cmpuint(p->from.fake.go_ons, ==, 0);
    g_assert_cmpuint(p->to.fake.starts, ==, 1);
    pair_assert_equal(p);
    session_info(p->from.session, &info);
    g_assert_true(info.downtime_known);
    g_assert_cmpuint(info.downtime_us, <=, info.total_ms * 1000 + 1000);
    g_assert_cmpuint(info.remaining_bytes, ==, 0);
    g_assert_cmpuint(info.pages_normal + info.pages_zero, >=, info.total_bytes / PAGE_SIZE);
    g_assert_cmpuint(info.precopy_bytes + info.downtime_bytes, <, info.bytes);
    g_assert_cmpuint(info.dirty_syncs, >=, 3);
    uint64_t bytes = info.bytes, normal = info.pages_normal, zero = info.pages_zero, id = info.id;
    migrate_info_release(&info);
    session_info(p->to.session, &info);
    g_assert_cmpuint(info.bytes, ==, bytes);
    g_assert_cmpuint(info.pages_normal, ==, normal);
    g_assert_cmpuint(info.pages_zero, ==, zero);
    g_assert_cmpuint(info.id, ==, id);
    migrate_info_release(&info);
}

/* --- it works ------------------------------------------------------------------------------------------------------------- */

static void
guest_moves_over_unix(void)
{
    struct pair p;
    struct stat file;

    pair_init(&p, MIDDLE, 20);
    fake_fill(&p.from.fake, 7);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    start_both(&p, uri, uri);
    g_assert_cmpint(lstat(p.path, &file), ==, 0);
    g_assert_cmpuint(file.st_mode & 0777, ==, 0600);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_moved(&p);
    g_assert_false(p.to.fake.started_paused);
    pair_release(&p);
}

static void
guest_moves_over_tcp_to_the_port_chosen(void)
{
    struct pair p;
    struct migrate_info info;

    pair_init(&p, SMALL, 20);
    fake_fill(&p.from.fake, 8);
    p.from.fake.user_paused = true;
    fake_run(&p.from.fake);
    session_start(p.to.session, "tcp:127.0.0.1:0", NULL);
    session_info(p.to.session, &info);
    g_assert_true(g_str_has_prefix(info.uri, "tcp:127.0.0.1:") && !g_str_has_suffix(info.uri, ":0"));
    g_assert_true(session_start(p.from.session, info.uri, NULL));
    migrate_info_release(&info);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_moved(&p);
    g_assert_true(p.to.fake.started_paused);
    pair_release(&p);
}

static void
file_by_exec_holds_the_guest(void)
{
    struct pair p;

    pair_init(&p, SMALL, 20);
    fake_fill(&p.from.fake, 9);
    fake_run(&p.from.fake);
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

    pair_init(&p, SMALL, 100);
    fake_fill(&p.from.fake, 10);
    fake_run(&p.from.fake);
    atomic_store(&p.parameters.max_bandwidth, 4 * MIB);
    atomic_store(&p.parameters.downtime_limit, 0);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    start_both(&p, uri, uri);
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
    assert_moved(&p);
    pair_release(&p);
}

static void
first_pass_is_finished_whatever_the_limit(void)
{
    struct pair p;

    pair_init(&p, SMALL, 0);
    fake_fill(&p.from.fake, 11);
    fake_run(&p.from.fake);
    atomic_store(&p.parameters.downtime_limit, 2000000);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_moved(&p);
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
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    struct stat file;
    g_assert_cmpint(fstat(((struct block *)p.to.fake.map->blocks->pdata[1])->fd, &file), ==, 0);
    g_assert_cmpint(file.st_blocks, ==, 0);
    assert_moved(&p);
    pair_release(&p);
}

/* --- refusals ----------------------------------------------------------------------------------------------------------------- */

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

    pair_init(&p, MIDDLE, 20);
    fake_fill(&p.from.fake, 12);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    p.to.fake.description = "nodes=3\n";
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "nodes=3");
    p.to.fake.description = "nodes=2\n";
    p.from.fake.machine_type = "pc-i440fx-7.2";
    pair_sessions(&p);
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "pc-i440fx-7.2");
    p.from.fake.machine_type = "numon-0.1";
    p.to.fake.section.version = 1;
    pair_sessions(&p);
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "version 2");
    p.to.fake.section.version = 2;
    p.to.fake.section.name = "other";
    pair_sessions(&p);
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_refused(&p, "fake-device");
    p.to.fake.section.name = "fake-device";
    p.from.fake.stops = p.from.fake.go_ons = 0;
    pair_sessions(&p);
    start_both(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_moved(&p);
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
        { "exec:cat > /dev/null; exit 7", "status 7" }, { "exec:exit 5", "status 5" },
        { "exec:cat > /dev/full", "status 1" }, { "exec:head -c 100000 > /dev/null; kill -15 $$", "signal 15" },
        { "exec:cat > /dev/null; sleep 100", "still runs" },
    };

    pair_init(&p, SMALL, 20);
    fake_fill(&p.from.fake, 13);
    fake_run(&p.from.fake);
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

/* --- cancel ------------------------------------------------------------------------------------------------------------------------ */

static void
assert_consistent(struct pair *p)
{
    struct fake *f = &p->from.fake;
    enum migrate_owner owner = session_owner(p->from.session);

    if (owner == OWNER_HERE) {
        g_assert_cmpuint(f->go_ons, ==, f->stops);
        g_assert_cmpuint(p->to.fake.starts, ==, 0);
        g_assert_cmpint(p->running_somewhere, ==, 1);
    } else {
        g_assert_cmpuint(f->go_ons, ==, f->stops - 1);
    }
}

static void
cancel_at_any_moment(void)
{
    unsigned cancelled = 0, completed = 0;

    for (unsigned i = 0; i < 100; i++) {
        struct pair p;
        pair_init(&p, SMALL, 20);
        fake_fill(&p.from.fake, i + 1);
        fake_run(&p.from.fake);
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        start_both(&p, uri, uri);
        int64_t at = g_get_monotonic_time() + g_test_rand_int_range(0, 4000);
        while (g_get_monotonic_time() < at)
            ;
        int64_t asked = g_get_monotonic_time();
        bool accepted = session_cancel(p.from.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.from));
        if (accepted) {
            g_assert_cmpint(g_get_monotonic_time() - asked, <, 1000000);
            g_assert_cmpint(side_state(&p.from), ==, MIGRATE_CANCELLED);
            g_assert_cmpint(session_owner(p.from.session), ==, OWNER_HERE);
        } else {
            g_assert_cmpint(side_state(&p.from), ==, MIGRATE_COMPLETED);
        }
        if (side_state(&p.to) == MIGRATE_SETUP)
            session_cancel(p.to.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.to));
        assert_consistent(&p);
        *(accepted ? &cancelled : &completed) += 1;
        pair_release(&p);
    }
    g_test_message("%u cancelled, %u completed", cancelled, completed);
    g_assert_cmpuint(cancelled, >, 0);
}

static void
cancel_wakes_a_stalled_link(void)
{
    struct pair p;
    struct proxy x = { .harm = HARM_STALL, .offset = 50000 };

    pair_init(&p, MIDDLE, 20);
    fake_fill(&p.from.fake, 14);
    fake_run(&p.from.fake);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(&x, path, p.path);
    start_both(&p, out, in);
    PAIR_WAIT(&p, x.harmed);
    g_assert_true(session_cancel(p.from.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_cmpstr(p.from.states->str, ==, "setup active cancelling cancelled");
    g_assert_true(session_cancel(p.to.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpuint(p.to.fake.resets, ==, 1);
    assert_consistent(&p);
    proxy_stop(&x);
    pair_release(&p);
}

/* --- harm ------------------------------------------------------------------------------------------------------------------------------ */

struct settled { bool done; enum migrate_owner owner; };

static void
note_outcome(void *self, enum migrate_owner owner, const GError *error)
{
    struct settled *s = self;

    *s = (struct settled) { true, owner };
    g_assert_true((error != NULL) == (owner == OWNER_UNKNOWN));
}

/* What a run of harm came to. */
struct tally { unsigned completed, here, unknown_there, unknown_here, unknown; };

static void
settle(struct pair *p, struct tally *t)
{
    struct settled s = { 0 };

    g_assert_cmpuint(p->from.fake.go_ons, ==, p->from.fake.stops - 1);
    session_ask_outcome(p->from.session, note_outcome, &s);
    PAIR_WAIT(p, s.done);
    if (s.owner == OWNER_UNKNOWN) {
        t->unknown++;               /* the id itself was damaged on its way: the guest stays paused */
        return;
    }
    g_assert_cmpint(session_owner(p->from.session), ==, s.owner);
    PAIR_WAIT(p, side_ended(&p->to));
    g_assert_cmpuint(p->to.fake.starts, ==, s.owner == OWNER_THERE);
    if (s.owner == OWNER_THERE)
        t->unknown_there++;
    else
        t->unknown_here++;
}

/* The end of the source, which a stall before the switchover keeps from coming. */
static void
await_source(struct pair *p)
{
    int64_t limit = g_get_monotonic_time() + 150 * 1000;

    while (!side_ended(&p->from) && g_get_monotonic_time() < limit)
        pair_turn(p);
    if (!side_ended(&p->from))
        session_cancel(p->from.session, NULL);
    PAIR_WAIT(p, side_ended(&p->from));
}

static void
run_harm(struct proxy *x, unsigned pause_us, struct tally *t)
{
    struct pair p;

    pair_init(&p, SMALL, pause_us);
    atomic_store(&p.parameters.switchover_timeout, 40);
    fake_fill(&p.from.fake, 15);
    fake_run(&p.from.fake);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(x, path, p.path);
    start_both(&p, out, in);
    await_source(&p);
    if (session_owner(p.from.session) == OWNER_UNKNOWN) {
        settle(&p, t);
    } else {
        if (side_state(&p.to) != MIGRATE_COMPLETED)
            session_cancel(p.to.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.to));
        assert_consistent(&p);
        t->here += session_owner(p.from.session) == OWNER_HERE;
        t->completed += side_state(&p.from) == MIGRATE_COMPLETED;
        g_assert_cmpint(side_state(&p.from) == MIGRATE_COMPLETED, ==, p.to.fake.starts == 1);
    }
    if (x->harm == HARM_NONE)
        assert_moved(&p);
    proxy_stop(x);
    pair_release(&p);
}

/* Half of the runs do harm anywhere while the guest writes, half near the hand-off of a quiet guest, where each byte
 * is known. */
static void
harm_never_makes_two_nor_none(void)
{
    struct tally t = { 0 };
    struct proxy whole = { .harm = HARM_NONE };

    run_harm(&whole, 0, &t);
    g_assert_cmpuint(t.completed, ==, 1);
    for (unsigned i = 0; i < 200; i++) {
        struct proxy x = { .harm = HARM_CUT + (unsigned)g_test_rand_int_range(0, 100) * 32 / 1000,
                           .backward = g_test_rand_int_range(0, 3) == 0, .damage = (uint8_t)g_test_rand_int_range(1, 256) };
        if (i % 20 == 0)
            x.harm = HARM_STALL;
        if (x.backward)
            x.offset = (uint64_t)g_test_rand_int_range(0, 24);
        else if (i % 2)
            x.offset = whole.forward_bytes - (uint64_t)g_test_rand_int_range(1, 40);
        else
            x.offset = (uint64_t)g_test_rand_int_range(0, (int)whole.forward_bytes);
        run_harm(&x, i % 2 ? 0 : 20, &t);
    }
    g_test_message("completed %u, here %u, unknown then there %u, then here %u, unknown %u", t.completed, t.here,
                   t.unknown_there, t.unknown_here, t.unknown);
    g_assert_cmpuint(t.here, >, 0);
    g_assert_cmpuint(t.unknown_there, >, 0);
}

/* A question that comes before the answer decides: the destination must not start what the source takes back. */
static void
question_while_loading_discards(void)
{
    struct pair p;
    struct proxy x = { .harm = HARM_NONE };
    struct proxy late = { .harm = HARM_NONE };

    pair_init(&p, SMALL, 0);
    atomic_store(&p.parameters.switchover_timeout, 40);
    fake_fill(&p.from.fake, 16);
    fake_run(&p.from.fake);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(&x, path, p.path);
    start_both(&p, out, in);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    proxy_stop(&x);
    /* The same stream but for the id's length is known now: hold its last byte back for ever. */
    late.harm = HARM_STALL;
    late.offset = x.forward_bytes - 1;
    pair_release(&p);

    struct settled s = { 0 };
    pair_init(&p, SMALL, 0);
    atomic_store(&p.parameters.switchover_timeout, 40);
    fake_fill(&p.from.fake, 16);
    fake_run(&p.from.fake);
    g_autofree char *in2 = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path2 = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out2 = g_strconcat("unix:", path2, NULL);
    proxy_start(&late, path2, p.path);
    start_both(&p, out2, in2);
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_true(late.harmed);
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_UNKNOWN);
    g_assert_cmpint(p.running_somewhere, ==, 0);
    g_assert_false(session_cancel(p.from.session, NULL));
    session_ask_outcome(p.from.session, note_outcome, &s);
    PAIR_WAIT(&p, s.done && side_ended(&p.to));
    g_assert_cmpint(s.owner, ==, OWNER_HERE);
    g_autofree char *text = side_error(&p.to);
    g_assert_nonnull(strstr(text, "asked"));
    g_assert_cmpuint(p.to.fake.starts, ==, 0);
    g_assert_cmpuint(p.to.fake.resets, ==, 1);
    proxy_stop(&late);
    pair_release(&p);
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
    g_test_add_func("/migrate/other definition is refused and may be mended",
                    other_definition_is_refused_and_may_be_mended);
    g_test_add_func("/migrate/garbage is refused", garbage_is_refused);
    g_test_add_func("/migrate/command that fails gives the guest back", command_that_fails_gives_the_guest_back);
    g_test_add_func("/migrate/sockets are replaced only if dead", sockets_are_replaced_only_if_dead);
    g_test_add_func("/migrate/uris are checked", uris_are_checked);
    g_test_add_func("/migrate/cancel at any moment", cancel_at_any_moment);
    g_test_add_func("/migrate/cancel wakes a stalled link", cancel_wakes_a_stalled_link);
    g_test_add_func("/migrate/harm never makes two nor none", harm_never_makes_two_nor_none);
    g_test_add_func("/migrate/question while loading discards", question_while_loading_discards);
    return g_test_run();
}
