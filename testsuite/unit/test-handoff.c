/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The hand-off of a guest through cancels and every kind of harm to the link.  What must hold throughout: never two
 * running copies (migrate-fake.c aborts), nothing lost, and the source's word about what happened is true. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

#include "../../src/migrate/migrate-private.h"

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

/* --- cancel ----------------------------------------------------------------------------------------------------- */

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
        pair_open(&p, SMALL, 20, i + 1);
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
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

    pair_open(&p, MIDDLE, 20, 14);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(&x, path, p.path);
    pair_start(&p, out, in);
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

/* --- harm ------------------------------------------------------------------------------------------------------- */

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
    session_ask_outcome(p->from.session, note_outcome, &s, NULL);
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
    int64_t limit = g_get_monotonic_time() + 100 * 1000;

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
    pair_start(&p, out, in);
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
        pair_assert_moved(&p);
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
        struct proxy x = { .harm = HARM_CUT + (unsigned)g_test_rand_int_range(0, 100) * 3 / 100,
                           .backward = g_test_rand_int_range(0, 3) == 0,
                           .damage = (uint8_t)g_test_rand_int_range(1, 256) };
        if (i % 33 == 0)
            x.harm = HARM_STALL;
        if (x.backward)
            x.offset = i % 2 ? whole.backward_bytes - (uint64_t)g_test_rand_int_range(1, 9)
                     : (uint64_t)g_test_rand_int_range(0, (int)whole.backward_bytes);
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

/* The length of the description, damaged so that the text seems to end before the byte that the source holds back. */
static void
shortened_description_is_no_end(void)
{
    struct proxy whole = { .harm = HARM_NONE };
    struct tally t = { 0 };
    struct migrate_guest guest = { .machine_type = "numon-0.1", .section_count = 1 };
    struct pair p;

    pair_init(&p, SMALL, 0);
    guest.sections = p.from.fake.sections;
    GString *json = wire_description(&guest, 1, 0, strlen(p.from.fake.description), NULL);
    uint8_t low = json->len & 0xff;
    g_assert_cmpuint(low, >, 0);
    run_harm(&whole, 0, &t);
    struct proxy x = { .harm = HARM_DAMAGE, .offset = whole.forward_bytes - json->len - 1,
                       .damage = low ^ (low - 1) };
    run_harm(&x, 0, &t);
    g_assert_cmpuint(t.completed, ==, 1);
    g_assert_cmpuint(t.here, ==, 1);
    g_string_free(json, TRUE);
    pair_release(&p);
}

/* Bytes of a file are changed, cut off or repeated at random: it is refused with a word about the place, or loaded
 * where the change hit a page. */
static void
damaged_files_are_refused_or_loaded(void)
{
    struct pair p;
    g_autofree char *data = NULL;
    size_t size;

    pair_open(&p, SMALL / 4, 0, 17);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    g_assert_true(session_start(p.from.session, out, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_true(g_file_get_contents(file, &data, &size, NULL));
    for (unsigned i = 0; i < 60; i++) {
        g_autofree char *copy = g_memdup2(data, size);
        size_t length = i % 4 == 0 ? (size_t)g_test_rand_int_range(0, (int)size) : size;
        for (int hits = g_test_rand_int_range(1, 4); hits > 0; hits--) {
            /* The head and the tail are small and have most of the meaning. */
            size_t at = (size_t)g_test_rand_int_range(0, i % 2 ? (int)size : 600);
            copy[i % 4 == 3 ? size - 1 - at : at] = (char)g_test_rand_int_range(0, 256);
        }
        g_assert_true(g_file_set_contents(file, copy, (gssize)length, NULL));
        pair_sessions(&p);
        g_assert_true(session_start(p.to.session, in, NULL));
        PAIR_WAIT(&p, side_ended(&p.to));
        g_autofree char *text = side_error(&p.to);
        if (side_state(&p.to) == MIGRATE_FAILED)
            g_assert_true(*text);
        else
            atomic_store(&p.running_somewhere, 0);
    }
    g_unlink(file);
    pair_release(&p);
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
    pair_start(&p, out, in);
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
    pair_start(&p, out2, in2);
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_true(late.harmed);
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_UNKNOWN);
    g_assert_cmpint(p.running_somewhere, ==, 0);
    g_assert_false(session_cancel(p.from.session, NULL));
    session_ask_outcome(p.from.session, note_outcome, &s, NULL);
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
    g_test_add_func("/handoff/cancel at any moment", cancel_at_any_moment);
    g_test_add_func("/handoff/cancel wakes a stalled link", cancel_wakes_a_stalled_link);
    g_test_add_func("/handoff/harm never makes two nor none", harm_never_makes_two_nor_none);
    g_test_add_func("/handoff/shortened description is no end", shortened_description_is_no_end);
    g_test_add_func("/handoff/damaged files are refused or loaded", damaged_files_are_refused_or_loaded);
    g_test_add_func("/handoff/question while loading discards", question_while_loading_discards);
    return g_test_run();
}
