/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Mode cpr-transfer: guest memory stays where it is, and the destination, on the same host, is handed its descriptors
 * over the unix socket (SCM_RIGHTS), in sections "memory-handover" in front of the list of blocks.  No page is sent
 * and the dirty log is not needed: the guest is stopped at once.
 *
 *   section "memory-handover": be32 count, then for each block: length byte, name, be64 size, be64 size of its pages.
 *   With its first byte come as many descriptors, in this order; with instance 0 one more before them, the claim.
 *
 * Two processes have the same memory then, so who may run the guest must be certain whatever becomes of the socket.
 * The claim is a word in a page that both have mapped, changed by compare-and-swap alone:
 *
 *   OFFERED  the source may take the guest back              source: -> BACK               destination: -> TAKEN
 * TAKEN  all is loaded, the answer is being written  source, cont -f: -> BACK  destination: -> RUNNING, BACK
 *   RUNNING  it ran at the destination: it is gone           nobody leaves this
 *   BACK     the destination never ran it and never will     nobody leaves this
 *
 * So a source goes on only with a claim that is BACK, and a destination runs the guest only with one that is RUNNING;
 * a process that dies changes nothing.  A destination sees the memory read-only until all is loaded and checked, and
 * gets itself fresh memory before it resets anything; a source does so once the guest is gone. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HANDOVER_ID = 2 << 24 };             /* section ids, behind those of devices that join */
enum { BLOCKS_AT_ONCE = CHANNEL_GIVES - 1 };
enum { CLAIM_SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

/* Different in every byte. */
enum {
    CLAIM_OFFERED = 0x6f666665, CLAIM_TAKEN = 0x74616b6e, CLAIM_RUNNING = 0x72756e73, CLAIM_BACK = 0x6261636b,
};

/* --- the claim -------------------------------------------------------------------------------------------------- */

static bool
claim_map(struct claim *c, GError **error)
{
    void *page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);

    if (page == MAP_FAILED)
        return fail_host(error, errno, "cannot map the claim to the guest's memory");
    c->word = page;
    return true;
}

static bool
claim_new(struct claim *c, GError **error)
{
    c->fd = memfd_create("numon-claim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (c->fd < 0 || ftruncate(c->fd, PAGE_SIZE) != 0 || fcntl(c->fd, F_ADD_SEALS, CLAIM_SEALS) != 0)
        return fail_host(error, errno, "cannot make the claim to the guest's memory");
    if (!claim_map(c, error))
        return false;
    atomic_store(c->word, CLAIM_OFFERED);
    return true;
}

void
claim_release(struct claim *c)
{
    if (c->word)
        munmap(c->word, PAGE_SIZE);
    c->word = NULL;
    close_fd(&c->fd);
}

static bool
claim_change(const struct claim *c, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(c->word, &from, to);
}

bool
claim_back(const struct claim *c)
{
    return !c->word || claim_change(c, CLAIM_OFFERED, CLAIM_BACK) || atomic_load(c->word) == CLAIM_BACK;
}

bool
claim_forced_back(const struct claim *c)
{
    return claim_back(c) || claim_change(c, CLAIM_TAKEN, CLAIM_BACK);
}

bool
claim_runs(const struct claim *c)
{
    return c->word && atomic_load(c->word) == CLAIM_RUNNING;
}

bool
claim_may_be_forced(const struct claim *c)
{
    return !claim_runs(c);
}

/* --- source ----------------------------------------------------------------------------------------------------- */

bool
handover_prepare(struct session *s, GError **error)
{
    const GPtrArray *blocks = s->guest.map->blocks;

    if (parameter(&s->parameters->mode) != MIGRATE_MODE_TRANSFER)
        return true;
    if (s->address.transport != TRANSPORT_UNIX)
        return fail(error, NUMON_ERROR_STATE, "mode cpr-transfer hands memory over to a process of this host: it "
                    "needs a peer or unix:PATH");
    for (unsigned i = 0; i < blocks->len; i++)
        if (!block_may_hand_over(blocks->pdata[i], error)) {
            g_prefix_error(error, "cannot migrate in mode cpr-transfer: ");
            return false;
        }
    s->features |= FEATURE_HANDOVER;
    return claim_new(&s->claim, error);
}

bool
handover_is(const struct session *s)
{
    return s->features & FEATURE_HANDOVER;
}

static bool
send_some(struct out *o, unsigned first, unsigned count, uint32_t instance, GError **error)
{
    int give[CHANNEL_GIVES];
    unsigned n = 0;

    if (instance == 0)
        give[n++] = o->session->claim.fd;
    wire_put_section(o->bytes, RECORD_FULL, HANDOVER_ID + instance, HANDOVER_SECTION, instance, HANDOVER_VERSION);
    wire_put32(o->bytes, count);
    for (unsigned i = first; i < first + count; i++) {
        const struct block *b = o->ram.list.at[i].block;

        give[n++] = b->fd;
        wire_put_name(o->bytes, b->name);
        wire_put64(o->bytes, b->size);
        wire_put64(o->bytes, b->page_size);
        counter_add(&o->session->counters.handed_bytes, b->size);
    }
    wire_put_footer(o->bytes, HANDOVER_ID + instance);
    o->channel->give = give;
    o->channel->give_count = n;
    bool good = out_put(o, error) && output_flush(&o->output, error);
    o->channel->give = NULL;
    return good;
}

/* Nobody is handed anything before having answered that the machine is the same; and what went before is read by
 * then, so that a link in between cannot attach descriptors to bytes which are read by who looks for none. */
static bool
await_agreement(struct out *o, GError **error)
{
    bool ponged = false;

    return out_await_pong(o, PING_PARTS, INT64_MAX, &ponged, error)
        && (ponged || fail(error, NUMON_ERROR_STATE, "interrupted before memory was handed over"));
}

bool
handover_send(struct out *o, GError **error)
{
    unsigned total = o->ram.list.count;
    uint32_t instance = 0;

    if (!(o->session->features & (FEATURE_HANDOVER | FEATURE_LOCAL)))
        return true;
    if (!out_put(o, error) || !output_flush(&o->output, error) || !await_agreement(o, error))
        return false;
    if (!handover_is(o->session))
        return local_offer(o, error);
    for (unsigned first = 0; first < total; first += BLOCKS_AT_ONCE)
        if (!send_some(o, first, MIN(total - first, BLOCKS_AT_ONCE), instance++, error))
            return false;
    return true;
}

bool
handover_begin(struct out *o, GError **error)
{
    struct session *s = o->session;

    pace_init(&o->pace, g_get_monotonic_time());
    counter_add(&s->counters.dirty_syncs, 1);
    atomic_store(&s->swept, true);
    record_first(s, &(struct round_facts) { .last = true });
    if (!session_enter(s, MIGRATE_ACTIVE))
        return session_alive(s, error);
    session_pass(s, 1);
    return true;
}

/* The section's end, without a page.  What this process has in place of a lost page would stay here. */
bool
handover_send_end(struct out *o, GError **error)
{
    if (!ram_out_whole(&o->ram, error))
        return false;
    wire_put_part(o->bytes, RECORD_END, RAM_ID);
    wire_put64(o->bytes, RAM_EOS);
    wire_put_footer(o->bytes, RAM_ID);
    if (!out_put(o, error) || !output_flush(&o->output, error))
        return false;
    record_part(o->session, "last RAM");
    return true;
}

bool
handover_take_back(struct out *o, GError **error)
{
    if (o->owner != OWNER_HERE || claim_back(&o->session->claim) || !o->stopped)
        return true;
    o->owner = OWNER_UNKNOWN;
    g_prefix_error(error, "the destination claims the guest's memory though it has no right to; ");
    return false;
}

void
handover_let_go(struct session *s)
{
    for (unsigned i = 0; handover_is(s) && i < s->block_count; i++)
        block_renew(s->blocks[i].block, NULL);
}

/* --- destination ------------------------------------------------------------------------------------------------ */

static bool
take_claim(struct ram_in *r, GError **error)
{
    struct claim *c = &r->session->claim;
    GArray *given = r->input->channel->given;
    struct stat s;
    int seals;

    if (!given || given->len == 0)
        return input_fail(r->input, error, "the source hands its memory over, and no descriptors came with that: %s",
                          given ? "what lies between passes bytes only" : "this is no unix socket");
    c->fd = g_array_index(given, int, 0);
    g_array_remove_index(given, 0);
    seals = fcntl(c->fd, F_GET_SEALS);      /* -1: it can have none, and may be cut short at any time */
    if (fstat(c->fd, &s) != 0 || s.st_size != PAGE_SIZE || seals < 0 || (seals & CLAIM_SEALS) != CLAIM_SEALS)
        return input_fail(r->input, error, "the claim that was handed over is no sealed page of shared memory");
    return claim_map(c, error);
}

/* Two blocks in one piece of memory would be two names for it. */
static bool
is_new(const struct ram_in *r, int fd)
{
    struct stat new, other;

    if (fstat(fd, &new) != 0)
        return false;
    for (unsigned i = 0; i < r->count; i++)
        if (r->blocks[i].handed >= 0 && fstat(r->blocks[i].handed, &other) == 0 && other.st_dev == new.st_dev
            && other.st_ino == new.st_ino)
            return false;
    return true;
}

static bool
take_one(struct ram_in *r, GError **error)
{
    GArray *given = r->input->channel->given;
    struct loading *l = ram_in_find(r, error);
    uint64_t size = 0, page_size = 0;

    if (!l || !input_take64(r->input, &size, error) || !input_take64(r->input, &page_size, error))
        return false;
    if (l->handed >= 0)
        return input_fail(r->input, error, "the memory of '%s' is handed over twice", l->block->name);
    if (given->len == 0)
        return input_fail(r->input, error, "the memory of '%s' was announced, and its descriptor did not come",
                          l->block->name);
    if (!is_new(r, g_array_index(given, int, 0)))
        return input_fail(r->input, error, "the memory handed over for '%s' is that of another block",
                          l->block->name);
    l->handed = g_array_index(given, int, 0);
    g_array_remove_index(given, 0);
    return block_may_take_over(l->block, error) && block_check_offer(l->block, l->handed, true, error);
}

bool
handover_take(struct ram_in *r, uint32_t instance, GError **error)
{
    uint32_t count;

    if (!(r->features & FEATURE_HANDOVER) || instance != r->handovers)
        return input_fail(r->input, error, "section '" HANDOVER_SECTION "' instance %u is not expected here",
                          instance);
    if (!input_take32(r->input, &count, error))
        return false;
    if (count == 0 || count > BLOCKS_AT_ONCE)
        return input_fail(r->input, error, "section '" HANDOVER_SECTION "' names %u blocks (1 to %d are allowed)",
                          count, BLOCKS_AT_ONCE);
    if (instance == 0 && !take_claim(r, error))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!take_one(r, error))
            return false;
    r->handovers++;
    return true;
}

bool
handover_show(struct ram_in *r, GError **error)
{
    struct session *s = r->session;

    channel_take_descriptors(r->input->channel, false);
    if (!(r->features & FEATURE_HANDOVER))
        return true;
    for (unsigned i = 0; i < r->count; i++) {
        struct loading *l = &r->blocks[i];

        if (l->handed < 0)
            return input_fail(r->input, error, "the memory of '%s' was not handed over", l->block->name);
        l->shown = true;
        if (!block_show(l->block, l->handed, error))
            return false;
        bits_set(l->seen, 0, l->pages);
        counter_add(&s->counters.handed_bytes, l->block->size);
    }
    return true;
}

/* All is loaded.  Nothing writes to the memory between this and the guest's start. */
bool
handover_adopt(struct ram_in *r, GError **error)
{
    struct hub *hub = r->session->guest.hub;

    if (!(r->features & FEATURE_HANDOVER))
        return true;
    for (unsigned i = 0; i < r->count; i++) {
        struct loading *l = &r->blocks[i];

        if (!block_adopt(l->block, l->handed, error))
            return false;
        if (hub && hub_active(hub))
            hub_mark(hub, l->block, 0, l->block->page_count);
    }
    record_part(r->session, "take memory over");
    return true;
}

bool
handover_claim(struct session *s, GError **error)
{
    return !s->claim.word || claim_change(&s->claim, CLAIM_OFFERED, CLAIM_TAKEN)
        || fail(error, NUMON_ERROR_PEER, "the source has taken its guest's memory back");
}

bool
handover_run(struct session *s, GError **error)
{
    return !s->claim.word || claim_change(&s->claim, CLAIM_TAKEN, CLAIM_RUNNING)
        || fail(error, NUMON_ERROR_PEER, "the source's user took the guest's memory back by force");
}

void
handover_give_back(struct session *s, struct ram_in *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (r->blocks[i].shown)
            block_renew(r->blocks[i].block, NULL);
        r->blocks[i].shown = false;
    }
    if (s->claim.word)
        claim_change(&s->claim, CLAIM_TAKEN, CLAIM_BACK);
}
