/* SPDX-License-Identifier: GPL-3.0-or-later */
/* See migrate-fake.h.  The writer follows the rule of the dirty hub: it writes first and marks then. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

static const struct state_field device_fields[] = {
    { "counter", STATE_U64, offsetof(struct fake_device, counter) },
    { "list", STATE_U32, offsetof(struct fake_device, list), FAKE_LIST },
    { "flag", STATE_BOOL, offsetof(struct fake_device, flag) },
    { "bytes", STATE_BUFFER, offsetof(struct fake_device, bytes), 100 },
    { 0 }
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

/* Marsaglia's xorshift: the writer must not take locks of GLib's. */
static uint64_t
next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static struct block *
fake_block(struct fake *f, unsigned i)
{
    return f->map->blocks->pdata[i];
}

/* The page writer: named in testsuite/tsan.supp. */
static void __attribute__((noinline))
fake_write_page(struct fake *f)
{
    struct block *b = fake_block(f, next_random(&f->seed) % f->map->blocks->len);
    uint64_t pages = atomic_load(&b->used) / PAGE_SIZE, page = next_random(&f->seed) % MAX(pages, 1);
    uint64_t *words = (uint64_t *)(b->host + page * PAGE_SIZE);

    for (unsigned i = 0; i < 3; i++)
        words[next_random(&f->seed) % (PAGE_SIZE / 8)] = next_random(&f->seed);
    if (next_random(&f->seed) % 8 == 0)
        memset(words, 0, PAGE_SIZE);
    hub_mark(f->hub, b, page, 1);
    f->device.counter++;
}

static void *
fake_main(void *data)
{
    struct fake *f = data;

    while (!atomic_load(&f->end)) {
        lock_take(&f->lock);
        for (unsigned i = 0; i < 20 && atomic_load(&f->running); i++)
            fake_write_page(f);
        lock_drop(&f->lock);
        g_usleep(f->pause_us * 20);
    }
    return NULL;
}

static void
fake_now_runs(struct fake *f)
{
    g_assert_cmpint(atomic_fetch_add(f->running_somewhere, 1), ==, 0);
    atomic_store(&f->running, true);
}

static void
fake_stop(void *self)
{
    struct fake *f = self;

    lock_take(&f->lock);
    g_assert_true(atomic_exchange(&f->running, false));
    lock_drop(&f->lock);
    atomic_fetch_sub(f->running_somewhere, 1);
    atomic_fetch_add(&f->stops, 1);
    for (unsigned i = 0; i < f->map->blocks->len; i++) {
        g_free(f->stopped[i]);
        f->stopped_size[i] = atomic_load(&fake_block(f, i)->used);
        f->stopped[i] = g_memdup2(fake_block(f, i)->host, f->stopped_size[i]);
    }
    f->stopped_device = f->device;
}

static void
fake_go_on(void *self)
{
    struct fake *f = self;

    atomic_fetch_add(&f->go_ons, 1);
    fake_now_runs(f);
}

static bool
fake_throttle(void *self, unsigned percent, GError **error)
{
    struct fake *f = self;

    atomic_store(&f->throttle, percent);
    atomic_fetch_add(&f->throttles, 1);
    return true;
}

static void
fake_start(void *self, enum migrate_run_state state)
{
    struct fake *f = self;

    atomic_fetch_add(&f->starts, 1);
    atomic_store(&f->started_in, state);
    fake_now_runs(f);
}

static void
fake_reset(void *self)
{
    struct fake *f = self;

    atomic_fetch_add(&f->resets, 1);
    for (unsigned i = 0; i < f->map->blocks->len; i++)
        g_assert_true(block_discard(fake_block(f, i), NULL));
    memset(&f->device, 0, sizeof f->device);
}

static enum migrate_run_state
fake_run_state(void *self)
{
    return ((struct fake *)self)->run_state;
}

static char *
fake_describe(void *self)
{
    return g_strdup(((struct fake *)self)->description);
}

static bool
fake_agree(void *self, const char *theirs, GError **error)
{
    struct fake *f = self;

    return g_str_equal(theirs, f->description)
        || fail(error, NUMON_ERROR_PEER, "source %s, here %s", theirs, f->description);
}

static bool
fake_after_load(void *object, GError **error)
{
    struct fake_device *device = object;

    return device->flag <= 1 || fail(error, NUMON_ERROR_PEER, "the device has flag %u", device->flag);
}

/* --- blocks that come ------------------------------------------------------------------------------------------- */

struct coming { struct fake *fake; struct block *block; };

static bool
put_into_map(void *self, GError **error)
{
    struct coming *c = self;
    struct section s = { .gpa = (c->fake->map->blocks->len + 1) * GIB, .size = c->block->size, .block = c->block,
                         .node = -1 };

    return guest_map_plug(c->fake->map, c->block, &s, error);
}

static struct block *
new_block(const char *name, uint64_t size, uint64_t used)
{
    struct backend_options options;
    struct block *b;

    backend_options_init_default(&options, name, size);
    b = block_new(&options, NULL);
    b->resizable = used < size;
    atomic_store(&b->used, used);
    return b;
}

bool
fake_add_block(struct fake *f, const char *name, uint64_t size, uint64_t used)
{
    struct coming c = { f, new_block(name, size, used) };
    bool ok;

    for (uint64_t i = 0; i < used / 8; i += 1 + next_random(&f->seed) % 700)
        ((uint64_t *)c.block->host)[i] = next_random(&f->seed);
    lock_take(&f->lock);
    ok = atomic_load(&f->running) && hub_add_block(f->hub, c.block, put_into_map, &c, NULL);
    lock_drop(&f->lock);
    if (!ok)
        block_free(c.block);
    return ok;
}

bool
fake_resize(struct fake *f, struct block *b, uint64_t used)
{
    uint64_t before = atomic_load(&b->used);
    bool ok;

    lock_take(&f->lock);
    ok = atomic_load(&f->running);
    if (ok && used < before) {
        g_assert_true(block_discard_range(b, used, before - used, NULL));
        hub_mark(f->hub, b, used / PAGE_SIZE, (before - used) / PAGE_SIZE);
    }
    if (ok)
        guest_map_resize(f->map, b, used);
    lock_drop(&f->lock);
    return ok;
}

static char *
fake_announce(void *self, const struct block *b, GError **error)
{
    return g_strdup_printf("%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, b->name, b->size, atomic_load(&b->used));
}

void
fake_let_arrive(struct fake *f)
{
    struct migrate_arrival *a = g_steal_pointer(&f->arrival);
    g_auto(GStrv) words = g_strsplit(f->arrival_text, " ", -1);
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&f->arrival_text, g_free);
    if (!migrate_arrival_wanted(a)) {
        f->unwanted++;
        fail(&error, NUMON_ERROR_STATE, "too late");
    } else if (f->refuses) {
        fail(&error, NUMON_ERROR_HOST, "%s", f->refuses);
    } else {
        struct coming c = { f, new_block(words[0], strtoull(words[1], NULL, 10), strtoull(words[2], NULL, 10)) };

        g_assert_true(hub_add_block(f->hub, c.block, put_into_map, &c, NULL));
        f->arrivals++;
    }
    migrate_arrival_done(a, error);
}

static void
fake_arrive(void *self, const char *text, struct migrate_arrival *a)
{
    struct fake *f = self;

    on_main_thread();
    g_assert_null(f->arrival);
    f->arrival = a;
    f->arrival_text = g_strdup(text);
    if (!f->keeps_waiting)
        fake_let_arrive(f);
}

static bool
fake_collect(void *self, struct block *block, uint64_t *words, GError **error)
{
    struct fake *f = self;

    if (block->index == 0 && atomic_load(&f->held))
        bit_set(words, 0);
    return true;
}

static void
fake_init(struct fake *f, uint64_t block_size, unsigned pause_us, bool shared, _Atomic int *running_somewhere)
{
    struct backend_options options;

    *f = (struct fake) { .map = guest_map_new(), .description = "nodes=2\n", .machine_type = "numon-0.1",
                         .pause_us = pause_us, .seed = 88172645463325252, .running_somewhere = running_somewhere };
    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        g_autofree char *name = g_strdup_printf("m%u", i);
        backend_options_init_default(&options, name, block_size * (i + 1));
        if (i == 1) {
            options.kind = BACKEND_MEMFD;
            options.share = options.seal = true;
        }
        options.share = options.share || shared;
        guest_map_take_block(f->map, block_new(&options, NULL));
    }
    f->hub = hub_new(f->map, (struct dirty_source) { .collect = fake_collect, .self = f });
    lock_init(&f->lock, 10, "fake guest");
    f->section = (struct state_section) { .name = "fake-device", .version = 2, .fields = device_fields,
                                          .object = &f->device, .after_load = fake_after_load };
    f->sections[0] = &f->section;
}

static void
fake_release(struct fake *f)
{
    atomic_store(&f->end, true);
    thread_join(&f->thread);
    g_free(f->arrival_text);
    for (unsigned i = 0; i < FAKE_BLOCKS_MOST; i++)
        g_free(f->stopped[i]);
    hub_free(f->hub);
    guest_map_free(f->map);
    lock_release(&f->lock);
}

/* A third of the pages random, a third a word, a third zero. */
void
fake_fill(struct fake *f, uint64_t seed)
{
    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        uint64_t *words = (uint64_t *)fake_block(f, i)->host;
        for (uint64_t page = 0; page < fake_block(f, i)->page_count; page++) {
            unsigned count = page % 3 == 0 ? PAGE_SIZE / 8 : page % 3 == 1;
            for (unsigned w = 0; w < count; w++)
                words[page * (PAGE_SIZE / 8) + w] = next_random(&seed);
        }
    }
    f->device.flag = 1;
    for (unsigned i = 0; i < sizeof f->device.bytes; i++)
        f->device.bytes[i] = (uint8_t)next_random(&seed);
}

void
fake_run(struct fake *f)
{
    fake_now_runs(f);
    if (f->pause_us)
        g_assert_true(thread_start(&f->thread, "fake-writer", fake_main, f, NULL));
}

/* --- the pair --------------------------------------------------------------------------------------------------- */

static void
note_state(void *self, enum migrate_state state)
{
    struct side *s = self;

    on_main_thread();
    g_string_append_printf(s->states, "%s%s", s->states->len ? " " : "", migrate_state_name(state));
}

static void
note_pass(void *self, uint64_t count)
{
    struct side *s = self;

    g_assert_cmpuint(count, >, s->passes);
    s->passes = count;
}

static void
side_session(struct pair *p, struct side *s, enum migrate_direction direction)
{
    struct fake *f = &s->fake;
    struct migrate_guest guest = {
        .self = f, .map = f->map, .hub = f->hub, .sections = f->sections, .section_count = 1,
        .machine_type = f->machine_type, .describe = fake_describe, .agree = fake_agree, .stop = fake_stop,
        .go_on = fake_go_on, .throttle = fake_throttle, .run_state = fake_run_state, .start = fake_start,
        .reset = fake_reset,
        .announce = fake_announce, .arrive = fake_arrive,
    };
    struct migrate_events events = { .self = s, .state = note_state, .pass = note_pass };

    session_free(s->session);
    g_string_truncate(s->states, 0);
    s->passes = 0;
    s->session = session_new(direction, &guest, &p->parameters, &p->capabilities, p->mailbox, &events);
}

void
pair_sessions(struct pair *p)
{
    side_session(p, &p->to, MIGRATE_IN);
    side_session(p, &p->from, MIGRATE_OUT);
}

static void
init_pair(struct pair *p, uint64_t block_size, unsigned pause_us, bool shared)
{
    *p = (struct pair) { .mailbox = mailbox_new(NULL) };
    migrate_parameters_init(&p->parameters);
    atomic_store(&p->parameters.max_bandwidth, 0);
    fake_init(&p->from.fake, block_size, pause_us, shared, &p->running_somewhere);
    fake_init(&p->to.fake, block_size, 0, shared, &p->running_somewhere);
    p->from.states = g_string_new(NULL);
    p->to.states = g_string_new(NULL);
    p->directory = g_dir_make_tmp("numon-test-XXXXXX", NULL);
    p->path = g_build_filename(p->directory, "in", NULL);
    pair_sessions(p);
}

void
pair_init(struct pair *p, uint64_t block_size, unsigned pause_us)
{
    init_pair(p, block_size, pause_us, false);
}

void
pair_open(struct pair *p, uint64_t block_size, unsigned pause_us, uint64_t seed)
{
    pair_init(p, block_size, pause_us);
    fake_fill(&p->from.fake, seed);
    fake_run(&p->from.fake);
}

void
pair_init_shared(struct pair *p, uint64_t block_size, unsigned pause_us)
{
    init_pair(p, block_size, pause_us, true);
    atomic_store(&p->parameters.mode, MIGRATE_MODE_TRANSFER);
}

void
pair_release(struct pair *p)
{
    session_free(p->from.session);
    session_free(p->to.session);
    fake_release(&p->from.fake);
    fake_release(&p->to.fake);
    mailbox_drain(p->mailbox);
    mailbox_free(p->mailbox);
    g_string_free(p->from.states, TRUE);
    g_string_free(p->to.states, TRUE);
    g_assert_cmpint(g_rmdir(p->directory), ==, 0);      /* so the socket is gone */
    g_free(p->directory);
    g_free(p->path);
}

void
pair_turn(struct pair *p)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_usleep(200);
}

enum migrate_state
side_state(struct side *s)
{
    struct migrate_info info;

    session_info(s->session, &info);
    enum migrate_state state = info.state;
    migrate_info_release(&info);
    return state;
}

/* Ended, and the last event delivered. */
bool
side_ended(struct side *s)
{
    return migrate_state_ended(side_state(s)) && g_str_has_suffix(s->states->str, migrate_state_name(side_state(s)));
}

char *
side_error(struct side *s)
{
    struct migrate_info info;

    session_info(s->session, &info);
    char *text = g_strdup(info.error ? info.error : "");
    migrate_info_release(&info);
    return text;
}

void
pair_assert_equal(struct pair *p)
{
    g_assert_cmpuint(p->to.fake.map->blocks->len, ==, p->from.fake.map->blocks->len);
    for (unsigned i = 0; i < p->to.fake.map->blocks->len; i++) {
        struct block *b = fake_block(&p->to.fake, i);
        g_assert_cmpuint(atomic_load(&b->used), >=, p->from.fake.stopped_size[i]);
        for (uint64_t page = 0; page < p->from.fake.stopped_size[i] / PAGE_SIZE; page++)
            if (memcmp(b->host + page * PAGE_SIZE, p->from.fake.stopped[i] + page * PAGE_SIZE, PAGE_SIZE))
                g_error("page %u of block %s differs", (unsigned)page, b->name);
    }
    g_assert_cmpmem(&p->to.fake.device, sizeof p->to.fake.device, &p->from.fake.stopped_device,
                    sizeof p->to.fake.device);
}

void
pair_start(struct pair *p, const char *out, const char *in)
{
    GError *error = NULL;

    session_start(p->to.session, in, &error);
    g_assert_no_error(error);
    g_assert_cmpint(side_state(&p->to), ==, MIGRATE_SETUP);
    session_start(p->from.session, out, &error);
    g_assert_no_error(error);
}

void
pair_assert_moved(struct pair *p)
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
    g_assert_cmpuint(info.pages_normal + info.pages_zero + info.compress_pages, >=, info.total_bytes / PAGE_SIZE);
    g_assert_cmpuint(info.precopy_bytes + info.downtime_bytes, <, info.bytes);
    g_assert_cmpuint(info.dirty_syncs, >=, 3);
    uint64_t bytes = info.bytes, normal = info.pages_normal, zero = info.pages_zero, id = info.id;
    uint64_t compressed = info.compress_pages;
    migrate_info_release(&info);
    session_info(p->to.session, &info);
    g_assert_cmpuint(info.bytes, ==, bytes);
    g_assert_cmpuint(info.pages_normal, ==, normal);
    g_assert_cmpuint(info.pages_zero, ==, zero);
    g_assert_cmpuint(info.compress_pages, ==, compressed);
    g_assert_cmpuint(info.id, ==, id);
    migrate_info_release(&info);
}
