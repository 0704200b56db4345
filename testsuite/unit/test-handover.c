/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Mode cpr-transfer: memory that is handed over; and local-copy: memory from which the destination copies.  In the
 * first a guest's memory is one and the same on both sides while it moves, so besides what test-handoff demands: a
 * destination that does not get the guest has changed none of it, and a source whose guest is gone reaches none of
 * it. */
#include "migrate-fake.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/migrate/migrate-private.h"

enum { SMALL = 32 * PAGE_SIZE };

static struct block *
block_of(struct side *s, unsigned i)
{
    return s->fake.map->blocks->pdata[i];
}

static ino_t
inode(int fd)
{
    struct stat s;

    g_assert_cmpint(fstat(fd, &s), ==, 0);
    return s.st_ino;
}

static void
assert_apart(struct pair *p)
{
    for (unsigned i = 0; i < FAKE_BLOCKS; i++)
        g_assert_cmpuint(inode(block_of(&p->from, i)->fd), !=, inode(block_of(&p->to, i)->fd));
}

/* --- that it works ---------------------------------------------------------------------------------------------- */

static void
begin(struct pair *p, uint64_t seed)
{
    pair_init_shared(p, SMALL, 20);
    fake_fill(&p->from.fake, seed);
    fake_run(&p->from.fake);
}

static void
assert_moved(struct pair *p, const ino_t *memory)
{
    g_assert_cmpstr(p->from.states->str, ==, "setup active device completed");
    g_assert_cmpstr(p->to.states->str, ==, "setup active device completed");
    g_assert_cmpint(session_owner(p->from.session), ==, OWNER_THERE);
    pair_assert_equal(p);
    session_settle(p->from.session);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        g_assert_cmpuint(inode(block_of(&p->to, i)->fd), ==, memory[i]);
        for (uint64_t at = 0; at < block_of(&p->from, i)->size; at += PAGE_SIZE)
            g_assert_true(page_is_zero(block_of(&p->from, i)->host + at));
    }
    assert_apart(p);
    /* What the source does to its memory now is its own affair. */
    memset(block_of(&p->from, 0)->host, 0x5a, block_of(&p->from, 0)->size);
    g_assert_true(block_discard(block_of(&p->from, 1), NULL));
    pair_assert_equal(p);
}

static void
memory_stays_and_the_source_lets_go(void)
{
    struct migrate_info info;
    ino_t memory[FAKE_BLOCKS];
    struct pair p;

    begin(&p, 1);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++)
        memory[i] = inode(block_of(&p.from, i)->fd);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    assert_moved(&p, memory);
    g_assert_true(session_took_memory(p.from.session));
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.handed_bytes, ==, info.total_bytes);
    g_assert_cmpuint(info.pages_normal + info.pages_zero, ==, 0);
    g_assert_cmpuint(info.bytes, <, 8192);
    migrate_info_release(&info);
    g_assert_false(session_claim(p.from.session, false, NULL));
    g_assert_true(session_claim(p.from.session, true, NULL));
    pair_release(&p);
}

static void
other_transports_and_memory_are_refused(void)
{
    g_autoptr(GError) error = NULL;
    struct pair p;

    begin(&p, 2);
    g_assert_false(session_start(p.from.session, "tcp:127.0.0.1:1", &error));
    g_assert_nonnull(strstr(error->message, "cpr-transfer"));
    pair_release(&p);
    g_clear_error(&error);
    pair_init(&p, SMALL, 20);
    atomic_store(&p.parameters.mode, MIGRATE_MODE_TRANSFER);
    g_assert_false(session_start(p.from.session, "unix:/nowhere", &error));
    g_assert_nonnull(strstr(error->message, "'m0' is memory-backend-ram with share=off"));
    pair_release(&p);
}

/* --- refusals of a destination ---------------------------------------------------------------------------------- */

/* The destination refuses, the guest goes on and is whole, and moves at the next attempt. */
static void
assert_refused(struct pair *p, const char *why)
{
    g_autofree char *from = NULL, *to = NULL;

    PAIR_WAIT(p, side_ended(&p->from) && side_ended(&p->to));
    from = side_error(&p->from);
    to = side_error(&p->to);
    if (!strstr(to, why) || !strstr(from, why))
        g_error("no '%s' in '%s' or '%s'", why, from, to);
    g_assert_cmpint(session_owner(p->from.session), ==, OWNER_HERE);
    g_assert_cmpint(p->running_somewhere, ==, 1);
    assert_apart(p);
}

static void
unlike_memory_is_refused(void)
{
    struct pair p;

    begin(&p, 3);
    block_of(&p.to, 1)->options.share = false;
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    assert_refused(&p, "'m1' is memory-backend-memfd with share=off");
    block_of(&p.to, 1)->options.share = true;
    pair_sessions(&p);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_THERE);
    pair_assert_equal(&p);
    pair_release(&p);
}

/* In place of a lost page this process has one of its own, which would not go along. */
static void
lost_pages_are_refused(void)
{
    struct pair p;

    begin(&p, 5);
    block_note_lost(block_of(&p.from, 1), 3);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_autofree char *why = side_error(&p.from);
    if (!why || !strstr(why, "cannot migrate guest memory"))
        g_error("no refusal: %s", why);
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_HERE);
    g_assert_cmpint(p.running_somewhere, ==, 1);
    assert_apart(&p);
    pair_release(&p);
}

static void
bytes_without_descriptors_are_refused(void)
{
    struct proxy x = { .harm = HARM_NONE, .drops_descriptors = true };
    struct pair p;

    begin(&p, 4);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(&x, path, p.path);
    pair_start(&p, out, in);
    assert_refused(&p, "no descriptors came with that");
    proxy_stop(&x);
    pair_release(&p);
}

static void
hostile_descriptors_are_refused(void)
{
    struct pair p;
    GError *error = NULL;
    char path[] = "/tmp/numon-offer-XXXXXX";

    pair_init_shared(&p, SMALL, 0);
    struct block *b = block_of(&p.to, 0);
    const struct { int fd; off_t size; int seals; const char *why; } offers[] = {
        { memfd_create("x", MFD_ALLOW_SEALING), (off_t)b->size, 0, "not sealed" },
        { memfd_create("x", MFD_ALLOW_SEALING), (off_t)b->size, F_SEAL_SHRINK, "not sealed" },
        { memfd_create("x", MFD_ALLOW_SEALING), (off_t)b->size, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
          "written" },
        { memfd_create("x", MFD_ALLOW_SEALING), PAGE_SIZE, F_SEAL_SHRINK | F_SEAL_GROW, "has 4096 bytes" },
        { memfd_create("x", MFD_ALLOW_SEALING), (off_t)b->size * 2, F_SEAL_SHRINK | F_SEAL_GROW, "bytes, and here" },
        { mkostemp(path, O_CLOEXEC), (off_t)b->size, 0, "no memfd" },
        { open("/dev/zero", O_RDWR), 0, 0, "no memfd" },
        { socket(AF_UNIX, SOCK_STREAM, 0), 0, 0, "no memfd" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(offers); i++) {
        int fd = offers[i].fd;

        g_assert_cmpint(fd, >=, 0);
        if (offers[i].size)
            g_assert_cmpint(ftruncate(fd, offers[i].size), ==, 0);
        if (offers[i].seals)
            g_assert_cmpint(fcntl(fd, F_ADD_SEALS, offers[i].seals), ==, 0);
        g_assert_false(block_check_offer(b, fd, true, &error));
        if (!strstr(error->message, offers[i].why))
            g_error("offer %zu: %s", i, error->message);
        g_clear_error(&error);
        close(fd);
    }
    unlink(path);
    g_assert_true(block_may_hand_over(block_of(&p.from, 0), NULL));
    g_assert_true(block_check_offer(b, block_of(&p.from, 0)->fd, true, NULL));
    pair_release(&p);
}

/* A reader of a stream of which these bytes are there, and these descriptors. */
struct reading {
    struct session session;
    struct channel channel;
    struct input input;
    struct ram_in ram;
};

static struct reading *
read_bytes(const void *bytes, size_t size, uint64_t features)
{
    struct reading *g = g_new0(struct reading, 1);

    g->session.claim.fd = -1;
    g->channel = (struct channel) { .in = -1, .out = -1, .wake = -1, .alarm = -1,
                                    .given = g_array_new(FALSE, FALSE, sizeof(int)) };
    g->input.channel = &g->channel;
    memcpy(g->input.bytes, bytes, size);
    g->input.end = size;
    g->ram = (struct ram_in) { .session = &g->session, .input = &g->input, .features = features };
    return g;
}

static void
end_reading(struct reading *g)
{
    claim_release(&g->session.claim);
    g_array_unref(g->channel.given);
    g_free(g);
}

/* Who made it may cut it short at any time, and the next look would be the end of the process. */
static void
claims_that_shrink_are_refused(void)
{
    static const uint8_t one_block[4] = { 0, 0, 0, 1 };
    char path[] = "/tmp/numon-claim-XXXXXX";
    int fds[] = { mkostemp(path, O_CLOEXEC), memfd_create("x", MFD_ALLOW_SEALING) };

    unlink(path);
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        struct reading *g = read_bytes(one_block, sizeof one_block, FEATURE_HANDOVER);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(ftruncate(fds[i], PAGE_SIZE), ==, 0);
        g_array_append_val(g->channel.given, fds[i]);
        g_assert_false(handover_take(&g->ram, 0, &error));
        g_assert_nonnull(strstr(error->message, "is no sealed page of shared memory"));
        end_reading(g);
    }
}

/* A cancel is seen between two records. */
static void
copies_without_end_are_refused(void)
{
    static const uint8_t pages[4] = { 0, 0, RAM_RUN_MOST >> 8, 1 };
    struct reading *g = read_bytes(pages, sizeof pages, FEATURE_LOCAL);
    g_autoptr(GError) error = NULL;
    struct pair p;

    pair_init_shared(&p, 2 * RAM_RUN_MOST * PAGE_SIZE, 0);
    struct block *b = block_of(&p.to, 0);
    struct loading l = { .block = b, .pages = b->page_count, .handed = block_of(&p.from, 0)->fd,
                         .seen = g_new0(uint64_t, WORDS_FOR(b->page_count)) };
    g->ram.of = &l;
    g_assert_false(local_load(&g->ram, 0, true, &error));
    g_assert_nonnull(strstr(error->message, "4097 pages at 0x0 of block 'm0' are to be copied, and cannot be"));
    g_free(l.seen);
    end_reading(g);
    pair_release(&p);
}

/* It would come without a claim. */
static void
one_stream_hands_over_or_is_copied_from(void)
{
    struct reading *g = read_bytes("", 0, FEATURE_LOCAL | FEATURE_HANDOVER);
    g_autoptr(GError) error = NULL;

    g_assert_false(local_take(&g->ram, 0, &error));
    g_assert_nonnull(strstr(error->message, "is not expected here"));
    end_reading(g);
}

/* --- never two, never none -------------------------------------------------------------------------------------- */

struct tally { unsigned there, here, forced; };

static void
note_outcome(void *self, enum migrate_owner owner, const GError *error)
{
    *(int *)self = (int)owner;
}

static void
settle_unknown(struct pair *p, struct tally *t)
{
    int owner = -1;

    g_assert_cmpuint(p->from.fake.go_ons, ==, p->from.fake.stops - 1);
    session_ask_outcome(p->from.session, note_outcome, &owner, NULL);
    PAIR_WAIT(p, owner >= 0);
    if (owner == OWNER_UNKNOWN) {
        PAIR_WAIT(p, side_ended(&p->to));
        /* The user's word counts unless it ran there. */
        g_assert_cmpint(session_claim(p->from.session, false, NULL), ==, p->to.fake.starts == 0);
        t->forced++;
        return;
    }
    PAIR_WAIT(p, side_ended(&p->to));
    g_assert_cmpuint(p->to.fake.starts, ==, owner == OWNER_THERE);
}

/* Of a guest that writes nothing: all is as it was when it was stopped. */
static void
assert_untouched(struct pair *p)
{
    const struct fake *f = &p->from.fake;

    for (unsigned i = 0; i < FAKE_BLOCKS && f->stopped[i]; i++)
        g_assert_cmpmem(block_of(&p->from, i)->host, f->stopped_size[i], f->stopped[i], f->stopped_size[i]);
}

/* The same memory, but copied (capability local-copy). */
static void
init_copied(struct pair *p, uint64_t block_size, unsigned pause_us)
{
    pair_init_shared(p, block_size, pause_us);
    atomic_store(&p->parameters.mode, MIGRATE_MODE_NORMAL);
    atomic_store(&p->capabilities.local_copy, true);
}

static void
run_harm(struct proxy *x, bool copied, unsigned pause_us, struct tally *t)
{
    struct pair p;

    (copied ? init_copied : pair_init_shared)(&p, SMALL, pause_us);
    if (x->harm != HARM_NONE)
        atomic_store(&p.parameters.switchover_timeout, 40);
    fake_fill(&p.from.fake, 15);
    fake_run(&p.from.fake);
    g_autofree char *in = g_strconcat("unix:", p.path, NULL);
    g_autofree char *path = g_strconcat(p.path, "-link", NULL);
    g_autofree char *out = g_strconcat("unix:", path, NULL);
    proxy_start(x, path, p.path);
    pair_start(&p, out, in);
    int64_t limit = g_get_monotonic_time() + (x->harm == HARM_NONE ? 5000 : 100) * 1000;
    while (!side_ended(&p.from) && g_get_monotonic_time() < limit)
        pair_turn(&p);
    if (!side_ended(&p.from))
        session_cancel(p.from.session, NULL);
    PAIR_WAIT(&p, side_ended(&p.from));
    enum migrate_owner owner = session_owner(p.from.session);
    if (owner == OWNER_UNKNOWN && copied) {
        session_claim(p.from.session, false, NULL);
        session_cancel(p.to.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.to));
    } else if (owner == OWNER_UNKNOWN) {
        settle_unknown(&p, t);
    } else {
        if (side_state(&p.to) != MIGRATE_COMPLETED)
            session_cancel(p.to.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.to));
        g_assert_cmpuint(p.to.fake.starts, ==, owner == OWNER_THERE);
        g_assert_cmpuint(p.from.fake.go_ons, ==, p.from.fake.stops - (owner == OWNER_THERE));
        *(owner == OWNER_THERE ? &t->there : &t->here) += 1;
    }
    /* What stands in the stream may be damaged without being noticed, the memory is not in it. */
    if (p.to.fake.starts && x->harm != HARM_DAMAGE)
        pair_assert_equal(&p);
    else if (!p.to.fake.starts && !pause_us)
        assert_untouched(&p);
    if (!p.to.fake.starts)
        assert_apart(&p);
    proxy_stop(x);
    pair_release(&p);
}

static void
harm_at_random(bool copied)
{
    struct tally t = { 0 };
    struct proxy whole = { .harm = HARM_NONE };

    run_harm(&whole, copied, 0, &t);
    g_assert_cmpuint(t.there, ==, 1);
    for (unsigned i = 0; i < 200; i++) {
        struct proxy x = { .harm = HARM_CUT + (unsigned)g_test_rand_int_range(0, 100) * 3 / 100,
                           .backward = g_test_rand_int_range(0, 3) == 0,
                           .damage = (uint8_t)g_test_rand_int_range(1, 256) };
        uint64_t bytes = x.backward ? whole.backward_bytes : whole.forward_bytes;
        if (i % 33 == 0)
            x.harm = HARM_STALL;
        x.offset = i % 2 ? bytes - (uint64_t)g_test_rand_int_range(1, x.backward ? 9 : 40)
                 : (uint64_t)g_test_rand_int_range(0, (int)bytes);
        run_harm(&x, copied, i % 2 ? 0 : 20, &t);
    }
    g_test_message("there %u, here %u, by force %u", t.there, t.here, t.forced);
    g_assert_cmpuint(t.here, >, 0);
}

static void
harm_never_makes_two_nor_none(void)
{
    harm_at_random(false);
}

static void
harm_while_pages_are_copied_loses_none(void)
{
    harm_at_random(true);
}

/* --- pages that the destination copies -------------------------------------------------------------------------- */

static void
pages_are_copied(void)
{
    struct migrate_info info;
    struct pair p;

    init_copied(&p, 512 * PAGE_SIZE, 20);
    fake_fill(&p.from.fake, 31);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    session_info(p.from.session, &info);
    g_assert_null(info.sent_because);
    g_assert_cmpuint(info.copied_bytes, ==, info.pages_normal * PAGE_SIZE);
    g_assert_cmpuint(info.bytes, <, info.total_bytes / 4);
    migrate_info_release(&info);
    assert_apart(&p);
    pair_release(&p);
}

/* Memory of its own kind goes its own way, in one migration. */
static void
private_memory_is_sent_beside(void)
{
    struct migrate_info info;
    struct pair p;

    pair_init(&p, 512 * PAGE_SIZE, 20);
    atomic_store(&p.capabilities.local_copy, true);
    fake_fill(&p.from.fake, 32);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.copied_bytes, >, 0);
    g_assert_cmpuint(info.copied_bytes, <, info.pages_normal * PAGE_SIZE);
    migrate_info_release(&info);
    pair_release(&p);
}

static void
other_ways_say_why_pages_are_sent(void)
{
    struct migrate_info info;
    struct pair p;

    init_copied(&p, SMALL, 20);
    atomic_store(&p.capabilities.checksum, true);
    fake_fill(&p.from.fake, 33);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    session_info(p.from.session, &info);
    g_assert_nonnull(strstr(info.sent_because, "checksum"));
    g_assert_cmpuint(info.copied_bytes, ==, 0);
    migrate_info_release(&info);
    pair_release(&p);
}

/* The source goes while nobody knows whose the guest is: what runs elsewhere with the same memory keeps it, also
 * where memory that is let go is to be forgotten (discard-data). */
static void
a_source_that_goes_leaves_the_memory(void)
{
    char found[8] = { 0 };
    struct pair p;

    pair_init_shared(&p, SMALL, 0);
    struct session *s = p.from.session;
    struct block *b = block_of(&p.from, 0);
    CLEANUP_FD int fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);

    b->options.discard_data = true;
    memcpy(b->host, "content", sizeof found);
    s->address.transport = TRANSPORT_UNIX;
    g_assert_true(handover_prepare(s, NULL));
    session_list_blocks(s);
    atomic_store(s->claim.word, 1);         /* no longer offered, and not given back */
    lock_take(&s->lock);
    s->owner = OWNER_UNKNOWN;
    lock_drop(&s->lock);
    pair_release(&p);
    g_assert_cmpint(pread(fd, found, sizeof found, 0), ==, sizeof found);
    g_assert_cmpstr(found, ==, "content");
}

/* A destination stands still and is being asked when the user decides. */
static void
a_question_does_not_keep_main(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), owner = -1;
    struct pair p;

    pair_init_shared(&p, SMALL, 0);
    struct session *s = p.from.session;

    g_strlcpy(at.sun_path, p.path, sizeof at.sun_path);
    g_assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0);
    atomic_store(&p.parameters.switchover_timeout, 20000);
    s->address = (struct address) { .transport = TRANSPORT_UNIX, .where = g_strdup(p.path) };
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert_true(handover_prepare(s, NULL));
    atomic_store(s->claim.word, 1);
    lock_take(&s->lock);
    s->owner = OWNER_UNKNOWN;
    lock_drop(&s->lock);
    session_ask_outcome(s, note_outcome, &owner, NULL);
    int64_t begin_us = g_get_monotonic_time();
    session_settle(s);
    g_assert_cmpint(g_get_monotonic_time() - begin_us, <, 10 * 1000 * 1000);
    PAIR_WAIT(&p, owner >= 0);
    g_assert_cmpint(owner, ==, OWNER_UNKNOWN);
    close(fd);
    unlink(p.path);
    pair_release(&p);
}

static void
cancel_at_any_moment(void)
{
    for (unsigned i = 0; i < 60; i++) {
        struct pair p;

        begin(&p, i + 1);
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        int64_t at = g_get_monotonic_time() + g_test_rand_int_range(0, 1500);
        while (g_get_monotonic_time() < at)
            ;
        bool accepted = session_cancel(p.from.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.from));
        g_assert_cmpint(session_owner(p.from.session), ==, accepted ? OWNER_HERE : OWNER_THERE);
        if (side_state(&p.to) == MIGRATE_SETUP)
            session_cancel(p.to.session, NULL);
        PAIR_WAIT(&p, side_ended(&p.to));
        g_assert_cmpuint(p.to.fake.starts, ==, !accepted);
        g_assert_cmpint(p.running_somewhere, ==, 1);
        pair_release(&p);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/handover/memory stays and the source lets go", memory_stays_and_the_source_lets_go);
    g_test_add_func("/handover/other transports and memory are refused", other_transports_and_memory_are_refused);
    g_test_add_func("/handover/unlike memory is refused", unlike_memory_is_refused);
    g_test_add_func("/handover/lost pages are refused", lost_pages_are_refused);
    g_test_add_func("/handover/bytes without descriptors are refused", bytes_without_descriptors_are_refused);
    g_test_add_func("/handover/hostile descriptors are refused", hostile_descriptors_are_refused);
    g_test_add_func("/handover/claims that shrink are refused", claims_that_shrink_are_refused);
    g_test_add_func("/handover/copies without end are refused", copies_without_end_are_refused);
    g_test_add_func("/handover/one stream hands over or is copied from", one_stream_hands_over_or_is_copied_from);
    g_test_add_func("/handover/a source that goes leaves the memory", a_source_that_goes_leaves_the_memory);
    g_test_add_func("/handover/a question does not keep main", a_question_does_not_keep_main);
    g_test_add_func("/handover/harm never makes two nor none", harm_never_makes_two_nor_none);
    g_test_add_func("/handover/pages are copied", pages_are_copied);
    g_test_add_func("/handover/private memory is sent beside", private_memory_is_sent_beside);
    g_test_add_func("/handover/other ways say why pages are sent", other_ways_say_why_pages_are_sent);
    g_test_add_func("/handover/harm while pages are copied loses none", harm_while_pages_are_copied_loses_none);
    g_test_add_func("/handover/cancel at any moment", cancel_at_any_moment);
    return g_test_run();
}
