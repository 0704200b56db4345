/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/migrate share.  wire, scan, xbzrle and pace are pure (pure-private.h); record keeps what a
 * migration was like (record-private.h); channel, listener and child are descriptors; output and input are buffers
 * over a channel; ram-out and ram-in are the pages; out, in, return and outcome are the threads; tell their events;
 * session holds all. */
#ifndef MIGRATE_PRIVATE_H
#define MIGRATE_PRIVATE_H

#include <sys/types.h>
#include <sys/uio.h>

#include "migrate.h"
#include "pure-private.h"
#include "record-private.h"
#include "handover-private.h"

/* --- address.c: URIs -------------------------------------------------------------------------------------------- */

enum transport { TRANSPORT_UNIX, TRANSPORT_TCP, TRANSPORT_EXEC, TRANSPORT_FD, TRANSPORT_FILE };

struct address {
    enum transport transport;
    char *where;                    /* path, host or command; owned */
    char *port;                     /* tcp; owned */
    uint64_t offset;                /* file: first byte of the stream; fd: the descriptor */
    bool has_offset;                /* file: in place, as part of the file */
    bool own;                       /* fd: it is numon's, not one that numon was started with */
};
/* Others wait for a connection; these are there, or not. */
static inline bool
address_listens(const struct address *a)
{
    return a->transport == TRANSPORT_UNIX || a->transport == TRANSPORT_TCP;
}
bool address_parse(const char *uri, enum migrate_direction direction, struct address *ret, GError **error);
void address_release(struct address *a);
/* Looks a tcp address up; freeaddrinfo() frees the list.  Blocks as long as the resolver does. */
struct addrinfo;
bool address_lookup(const struct address *a, bool passive, struct addrinfo **ret, GError **error);
/* The same without being held by the resolver once 'wake' is readable. */
bool address_lookup_wakeable(const struct address *a, int wake, struct addrinfo **ret, GError **error);

/* --- channel.c: one connection ---------------------------------------------------------------------------------- */

struct channel {
    int in, out;                    /* not blocking; the same for a socket; -1 where there is no such way */
    int wake;                       /* borrowed eventfd: readable means give up */
    int alarm;                      /* the same from the return path; -1 if there is none */
    bool broken;                    /* a write found that nobody reads any more */
    pid_t child;                    /* exec; 0 if none (any more) */
    int child_fd;                   /* pidfd */
    char *file_path;                /* owned; the name that a whole stream takes; NULL if it needs none */
    char *file_beside;              /* owned; where it is until then; NULL once it has its name */
    int child_words;                /* memfd: what it said on standard error; -1 if none */
    bool local;                     /* a unix socket: descriptors can go with bytes, */
    const int *give;                /* these with the next one written; borrowed, NULL: none */
    unsigned give_count;            /* CHANNEL_GIVES at most */
    GArray *given;                  /* int, owned: those that came and nobody has taken; NULL: none are taken */
};
enum { CHANNEL_GIVES = 250 };       /* at once; the kernel takes three more */

/* Ready, given up (wake, alarm), or too late. */
enum channel_wait { CHANNEL_READY, CHANNEL_WOKEN, CHANNEL_LATE };
enum channel_wait channel_wait(const struct channel *c, int fd, short events, int64_t deadline_us);
/* Lets a unix socket hold more; of other descriptors nothing changes. */
void channel_widen(int fd);
/* Takes the socket. */
struct channel *channel_new_socket(int fd, int wake);
/* With the other host silent for so long (0: for ever) the link is dead: reading fails.  A program there that does
 * nothing is not silent; but a source's bytes may have to wait for it, so that only a destination's that are on their
 * way ('drains': the source always reads) must be acknowledged in time.  Only tcp can tell. */
void channel_watch_link(struct channel *c, uint64_t seconds, bool drains);
/* Connects (until 'deadline_us') or starts the command.  Error: HOST or PEER. */
struct channel *channel_open(const struct address *a, enum migrate_direction direction, int wake, int64_t deadline_us,
                             GError **error);
void channel_free(struct channel *c);       /* ends the command if it still runs */
static inline bool channel_two_way(const struct channel *c) { return c->in >= 0 && c->in == c->out; }
/* Writes all; 'iov' is used up.  'stall_ms' without a byte accepted is an error (0: wait for ever).  Each time some
 * bytes are accepted they are added to 'accepted'. */
bool channel_write(struct channel *c, struct iovec *iov, unsigned count, uint64_t stall_ms,
                   _Atomic uint64_t *accepted, GError **error);
/* At least one byte; 0 at the end, -1 with an error. */
ssize_t channel_read(struct channel *c, void *to, size_t size, int64_t deadline_us, GError **error);
ssize_t channel_read_pieces(struct channel *c, const struct iovec *iov, unsigned count, int64_t deadline_us,
                            GError **error);
/* From now on descriptors that come are kept, CHANNEL_GIVEN_MOST at most, or closed again: those that are there
 * too. */
enum { CHANNEL_GIVEN_MOST = BLOCKS_MAX + 1 };
void channel_take_descriptors(struct channel *c, bool take);
/* Our side says no more. */
void channel_end_output(struct channel *c);
/* Bytes that the link took and the other side has not (yet acknowledged or read); 0 where that cannot be told. */
uint64_t channel_underway(const struct channel *c);

/* --- child.c: the command of exec: ------------------------------------------------------------------------------ */

bool child_start(struct channel *c, const char *command, enum migrate_direction direction, GError **error);
/* Waits for its end.  True if it exited 0; else an error that says how it ended, or that it did not ("still ..."). */
bool child_wait(struct channel *c, int64_t deadline_us, GError **error);
/* Ends it and all of its group. */
void child_end(struct channel *c);
/* Lets it go on by itself; it is not waited for any more. */
void child_leave(struct channel *c);

/* --- file.c: files and inherited descriptors -------------------------------------------------------------------- */

bool file_open(struct channel *c, const struct address *a, enum migrate_direction direction, GError **error);
/* All is written: brings a file to the disk and under its name.  Nothing to do for other channels. */
bool file_finish(struct channel *c, GError **error);
void file_release(struct channel *c);       /* removes what did not get its name */
/* Can descriptor fd: be used in this direction?  Errors: ARGUMENT, HOST. */
bool inherited_check(const struct address *a, enum migrate_direction direction, bool *ret_two_way, GError **error);
/* Takes it: its number is free after. */
bool inherited_open(struct channel *c, const struct address *a, enum migrate_direction direction, GError **error);

/* --- listener.c ------------------------------------------------------------------------------------------------- */

struct listener {
    int fd;
    char *uri;                      /* as given, with the port chosen; owned */
    char *path;                     /* unix: ours to remove; owned */
    dev_t dev;
    ino_t ino;                      /* of the file we made */
    bool exposed;                   /* tcp: reached from other hosts too */
};
bool listener_open(struct listener *l, const struct address *a, const char *uri, GError **error);
void listener_close(struct listener *l);

/* --- output.c: what is going out, gathered ---------------------------------------------------------------------- */

enum { OUTPUT_BYTES = 64 * 1024, OUTPUT_PIECES = 1000, OUTPUT_WAITING = 1 << 20 };

/* Pages are not copied: the kernel reads them from guest memory when the buffer is flushed, which is after their
 * dirty bit was cleared.  To be summed up they must be: their guest may be writing them. */
struct output {
    struct channel *channel;        /* borrowed */
    uint64_t stall_ms;
    _Atomic uint64_t *accepted;     /* counter of bytes */
    uint64_t queued;                /* bytes ever put, those not yet flushed included */
    size_t waiting;                 /* of pages, not yet flushed: OUTPUT_WAITING and a run at most */
    bool summing;
    uint32_t sum;                   /* of the bytes flushed */
    unsigned pieces;
    size_t used;
    struct iovec iov[OUTPUT_PIECES];
    uint8_t bytes[OUTPUT_BYTES];
};
bool output_put(struct output *o, const void *data, size_t size, GError **error);
/* Records of zero pages in a row, of the block of the record before. */
bool output_put_zeros(struct output *o, uint64_t offset, uint64_t count, GError **error);
bool output_put_array(struct output *o, GByteArray *a, GError **error);     /* empties the array */
bool output_put_page(struct output *o, const uint8_t header[], size_t header_size, const uint8_t *page,
                     GError **error);
/* A run of pages behind their header, which is not to be summed up. */
bool output_put_pages(struct output *o, const uint8_t header[], size_t header_size, const uint8_t *pages,
                      uint64_t count, GError **error);
bool output_flush(struct output *o, GError **error);

/* --- return.c: what the destination says ------------------------------------------------------------------------ */

/* A source's reader of the way back; its own thread.  Rank 50. */
struct return_path;
struct return_path *return_new(struct channel *c, GError **error);
void return_free(struct return_path *r);    /* joins */
/* The parts of the downtime that the destination told so far.  Caller unrefs. */
GArray *return_parts(struct return_path *r);
/* After LOADED: waits for its last word; false if that has not come by then. */
bool return_last_word(struct return_path *r, int64_t deadline_us, uint64_t *ret_progress_us, uint64_t *ret_gap_us);
int return_alarm(struct return_path *r);    /* readable once nothing more will come */
enum return_verdict {
    RETURN_NOTHING,                 /* yet */
    RETURN_LOADED,                  /* it has the guest */
    RETURN_REFUSED,                 /* it said why, and that it ends */
    RETURN_LOST,                    /* closed, dead or nonsense */
};
/* Waits until 'deadline_us' for a pong (0: none) or a verdict; or until the channel is woken. */
enum return_verdict return_wait(struct return_path *r, uint32_t pong, int64_t deadline_us, bool *ret_pong,
                                GError **error);

/* --- session.c -------------------------------------------------------------------------------------------------- */

/* What became of a guest that came in; decided once. */
enum outcome {
    OUTCOME_NONE,                   /* no id known yet */
    OUTCOME_LOADING,
    OUTCOME_ANSWERING,              /* all loaded; the positive answer is being written */
    OUTCOME_RUNNING,
    OUTCOME_DISCARDED,
};

/* --- page-history.c: what became of each page ------------------------------------------------------------------- */

/* The migration thread writes it, others read it under the session's lock. */
struct page_history {
    GPtrArray *rounds;              /* struct history_round *, by rising number; owned; NULL: none are kept */
    uint64_t bytes, most;           /* of maps, and what they may come to */
    const char *names[BLOCKS_MAX];  /* of blocks, by their index while it was under way; interned; NULL: none */
    struct subscriber *subscriber;  /* that knows who writes, while there is one; else NULL */
    uint8_t *writers[BLOCKS_MAX];   /* after it: by block, a byte a page, the vCPU + 1; owned */
};
void history_init(struct page_history *h, uint64_t total_bytes);
void history_release(struct page_history *h);
/* A round begins; under the session's lock. */
void history_begin(struct page_history *h, uint64_t number);
/* Who writes is known to the subscriber from now on, if its log tells; and is remembered when that is about to go, of
 * the blocks that the worker has: main may be adding one to the map. */
void history_watch(struct session *s, struct subscriber *subscriber);
void history_end(struct session *s, const struct moving_list *blocks);
/* What became of a run of pages in this round: enum page_fate, a byte each. */
void history_note(struct session *s, const struct block *b, uint64_t first, uint64_t count, const uint8_t *fates);

/* explain-head.c: the name of a feature, which is one bit. */
const char *feature_name(uint64_t feature);

/* --- explain-text.c: records told while they pass --------------------------------------------------------------- */

/* Does anybody look?  Asked before an event is made. */
bool trace_on(const struct session *s);
/* 'coded': of a delta page, its encoding. */
void trace_record(struct session *s, struct explain_event *event, const void *coded, size_t size);

struct tell;                        /* events on their way to main; outlives the session */

struct session {
    /* Fixed before threads start. */
    enum migrate_direction direction;
    struct migrate_guest guest;
    struct migrate_parameters *parameters;      /* borrowed; live */
    struct migrate_capabilities *capabilities;
    struct mailbox *mailbox;
    struct tell *tell;
    struct address address;
    bool own_descriptor;            /* that of fd: was made for this session, which takes it once it has started */
    uint64_t features;              /* of an outgoing stream */
    struct listener listener;
    struct claim claim;             /* destination: the worker's */
    const char *sent_because;       /* source: why local-copy does not copy; static, NULL: it does, or is off */
    int wake;                       /* eventfd: the worker gives up what it waits for */
    int quit;                       /* eventfd: session_free; server and asker end */
    int proceed;                    /* eventfd: session_continue; the worker leaves PRE_SWITCHOVER */

    /* Fixed by session_start. */
    struct moving *blocks;          /* source: as they are then; owned */
    unsigned block_count;
    char *description;              /* source: guest.describe's; owned */
    bool following;                 /* main: the map tells of blocks */

    /* Main only. */
    struct thread worker, server, asker;

    struct lock lock;               /* rank 30; never held over I/O */
    struct condition changed;       /* connection, outcome, closing */
    enum migrate_state state GUARDED;
    enum migrate_owner owner GUARDED;
    GError *failure GUARDED;        /* owned */
    char *uri GUARDED;              /* owned */
    uint64_t id GUARDED;
    bool held GUARDED;              /* the worker waits between two rounds */
    bool committed GUARDED;         /* the last byte (the answer) may be written: no way back */
    bool closing GUARDED;
    bool asking GUARDED;
    enum outcome outcome GUARDED;
    int connection GUARDED;         /* accepted, its magic read; -1 if none; the worker takes it */
    uint8_t first[4] GUARDED;       /* the bytes read of it */
    unsigned first_size GUARDED;
    bool connected GUARDED;         /* there was one */
    struct page_cache *new_cache GUARDED;       /* owned; main made it, the worker takes it; NULL: goes on with his */
    uint64_t cache_bytes GUARDED;               /* 0: differences are not used */
    GPtrArray *joining GUARDED;                 /* source: struct joining *, not yet taken by the worker; or NULL */
    struct migrate_arrival *arrival GUARDED;    /* destination: main was asked for this device; main frees it */
    GError *arrival_error GUARDED;              /* owned; what became of it */
    int64_t begin_us GUARDED, active_us GUARDED, stop_us GUARDED, handed_us GUARDED,
        end_us GUARDED;
    struct recording record GUARDED;

    struct page_history history;                /* see there */
    struct migrate_counters counters;           /* atomic */
    /* Atomic; written by the worker, or by main before it starts. */
    _Atomic uint64_t total_bytes;               /* of RAM: used lengths */
    _Atomic bool grown;                         /* main: some block got longer, the worker looks */
    _Atomic uint64_t throttle_percent;
    _Atomic bool dirty_limit;       /* the vCPUs are limited */
    _Atomic uint64_t limit_nap_us, limit_full_us;
    _Atomic uint64_t remaining_bytes, dirty_rate, expected_downtime_ms, pages_per_second, bytes_per_second;
    _Atomic uint64_t fits_bytes, switchover_bandwidth;
    _Atomic bool swept, shortening; /* shortening: the rest would fit */
    _Atomic int64_t slice_us;       /* beginning of the last slice of pages; 0: none */
    _Atomic double xbzrle_miss_rate, xbzrle_encoding_rate, compress_busy_rate, compress_rate;
};

/* Under the lock: into the recording. */
void record_step(struct session *s, enum migrate_state state, int64_t now_us) REQUIRES(s->lock);
void record_end(struct session *s) REQUIRES(s->lock);
void session_read(struct session *s, struct migrate_info *ret) REQUIRES(s->lock);

/* Makes the transition and tells main; false if the session was cancelled meanwhile. */
bool session_enter(struct session *s, enum migrate_state next) EXCLUDES(s->lock);
/* The worker's last word: COMPLETED, or FAILED with the error (taken), or CANCELLED if that was asked. */
void session_end(struct session *s, enum migrate_owner owner, GError *error) EXCLUDES(s->lock);
/* The other side has the guest (or a copy): the downtime is over. */
void session_handed(struct session *s) EXCLUDES(s->lock);
/* No way back from here.  False if it was cancelled or is closing. */
bool session_commit(struct session *s) EXCLUDES(s->lock);
void session_uncommit(struct session *s) EXCLUDES(s->lock);
/* Error STATE if the worker shall end. */
bool session_alive(struct session *s, GError **error) EXCLUDES(s->lock);
/* The migration's random id; 0 before a destination has read it. */
uint64_t session_id(struct session *s) EXCLUDES(s->lock);
/* One reference for the session; letters under way have their own. */
struct tell *tell_new(const struct migrate_events *events);
void tell_free(struct tell *t);
void tell_end(struct tell *t);      /* nothing is told any more; main */
void session_tell_state(struct session *s, enum migrate_state state);
void session_pass(struct session *s, uint64_t count);
/* A strike was counted, or the throttle is now 'percent'. */
void session_throttle(struct session *s, unsigned percent);
void session_wake(struct session *s);
/* The worker waits between two rounds now, or no longer. */
void session_hold(struct session *s, bool held) EXCLUDES(s->lock);
void session_post(struct session *s, void (*deliver)(void *data), void *data, GDestroyNotify release);

void *out_main(void *session);
void *in_main(void *session);

/* --- join.c: blocks that come or grow while the guest moves ----------------------------------------------------- */

/* A block that came since session_start. */
struct joining {
    struct block *block;            /* borrowed */
    char *text;                     /* guest.announce's; owned */
};
void joining_free(void *joining);
/* Main: lists the blocks that there are and follows the map from here on; ends that. */
void session_list_blocks(struct session *s);
void session_follow(struct session *s);
void session_unfollow(struct session *s);
/* Is there something that the worker has not taken? */
bool session_joins(struct session *s) EXCLUDES(s->lock);
/* Source, between parts: announces the devices that came.  Adds to 'list' (struct moving) what is to be listed in the
 * next part: its pages are dirty now. */
struct out;
bool out_join(struct out *o, GArray *list, GError **error);
/* Destination: has main make the device of this text; the map has it when this returns true. */
bool in_join(struct session *s, const char *text, GError **error) EXCLUDES(s->lock);
/* Main, after the worker was joined: an answer that still comes is for nobody. */
void arrival_forget(struct session *s) EXCLUDES(s->lock);

/* --- outcome.c -------------------------------------------------------------------------------------------------- */

/* The destination's thread that owns the listener: hands the stream's connection to the worker, answers questions. */
void *server_main(void *session);
void *asker_main(void *question);
/* Decisions of the worker. */
void outcome_begin(struct session *s, uint64_t id) EXCLUDES(s->lock);
/* All is loaded: from here only the writing of the answer decides.  False if it was discarded already. */
bool outcome_answering(struct session *s) EXCLUDES(s->lock);
void outcome_running(struct session *s) EXCLUDES(s->lock);
/* True if a question had discarded it before. */
bool outcome_discard(struct session *s) EXCLUDES(s->lock);
/* Tells a source why it is refused, that this is all, and drains what it still sends.  Errors do not matter here. */
void refuse(struct channel *c, const char *reason, int64_t drain_us);

/* --- input.c: what comes in ------------------------------------------------------------------------------------- */

enum { INPUT_BYTES = 256 * 1024 };

struct input {
    struct channel *channel;        /* borrowed */
    _Atomic uint64_t *counter;      /* bytes read */
    uint64_t offset;                /* in the stream, of the next byte to give */
    bool summing;
    uint32_t sum;                   /* of the bytes given */
    size_t at, end;                 /* unread part of 'bytes' */
    uint8_t bytes[INPUT_BYTES];
};
/* Exactly 'size' bytes.  Error: PEER, with the offset.  A state_read. */
bool input_read(void *input, void *to, size_t size, GError **error);
/* The same into guest memory, past the buffer and in large pieces; not to be summed up. */
bool input_read_pages(struct input *in, uint8_t *to, size_t size, GError **error);
/* At least one byte is there then. */
bool input_await(struct input *in, GError **error);
/* What is there already, unread; and passes over some of it. */
const uint8_t *input_peek(const struct input *in, size_t *ret_size);
void input_skip(struct input *in, size_t size);
/* With all read that was there: reads into these places what is there, one byte at least, past the buffer and the
 * offset; and puts what it read too much into the buffer, piece by piece, INPUT_BYTES at most. */
bool input_read_pieces(struct input *in, const struct iovec *iov, unsigned count, size_t *ret_size, GError **error);
void input_give_back(struct input *in, const void *data, size_t size);
bool input_take8(struct input *in, uint8_t *ret, GError **error);
bool input_take16(struct input *in, uint16_t *ret, GError **error);
bool input_take32(struct input *in, uint32_t *ret, GError **error);
bool input_take64(struct input *in, uint64_t *ret, GError **error);
/* A length byte and 1 to 127 bytes of UTF-8. */
bool input_take_name(struct input *in, char ret[NAME_MOST + 1], GError **error);
/* Error PEER: the message and the place in the stream. */
bool input_fail(struct input *in, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* --- ram-out.c: the pages of a source --------------------------------------------------------------------------- */

enum { RUN_MOST = 4096 };           /* pages taken from the log at once */
_Static_assert((int)RUN_MOST <= (int)RAM_RUN_MOST, "a run from the log may be one record");

struct ram_out {
    struct session *session;        /* borrowed, as output and subscriber */
    struct output *output;
    struct moving_list list;
    struct block *block;            /* of the last record; NULL: none */
    bool one_way;
    bool last;                      /* the guest is stopped: what goes now is not sent again */
    uint64_t told, copied;          /* pages that the destination is to copy: not waited for; of the whole */
    uint32_t marks;                 /* times it was waited for */
    uint64_t taken;                 /* pages, of those taken from the log since the caller set this to 0 */
    struct pool *pool;              /* owned; NULL: pages are not compressed */
    struct page_cache *cache;       /* owned; NULL: differences are not used */
    uint64_t handled;               /* pages looked at, of the whole */
    struct ram_rates { uint64_t handled, misses, deltas, delta_bytes, busy, squeezed, squeezed_bytes; } before;
    bool reckoned;                  /* rates are known */
    uint8_t now[PAGE_SIZE], coded[PAGE_SIZE];
    size_t coded_size;              /* of the last difference */
    enum page_fate fate;            /* of the last page */
    uint8_t fates[RUN_MOST];        /* of a run */
};
bool ram_out_init(struct ram_out *r, struct session *s, struct output *output, GError **error);
void ram_out_release(struct ram_out *r);
/* A part of the section begins, everything before it was flushed: a new page cache is taken up. */
void ram_out_part(struct ram_out *r);
/* A block more, all of whose pages are dirty. */
struct moving *ram_out_join(struct ram_out *r, struct block *b);
/* A block's used length may be more than was announced: true if so; all that is new of it is dirty then, from
 * '*ret_first' on. */
bool ram_out_grow(struct ram_out *r, struct moving *m, uint64_t *ret_first);
/* Was every page sent at least once? */
bool ram_out_swept(const struct ram_out *r);
/* False (HOST) if a page of a block was lost. */
bool ram_out_whole(const struct ram_out *r, GError **error);
/* Sends the pages of a run: clears it in the log first, then reads them. */
bool ram_out_run(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, GError **error);
/* Sends what workers still have. */
bool ram_out_drain(struct ram_out *r, GError **error);
/* A period is over: rates of the period.  At the end only if it is the first. */
void ram_out_reckon(struct ram_out *r, bool end);

/* --- out.c, throttle.c, switchover.c: a source ------------------------------------------------------------------ */

enum { RAM_ID = 1 };                /* section id */

struct out {
    struct session *session;        /* borrowed */
    struct channel *channel;
    struct return_path *back;       /* NULL on a one-way transport */
    struct output output;
    struct pace pace;
    struct subscriber *subscriber;
    struct sweep sweep;
    struct ram_out ram;
    GByteArray *bytes;              /* for headers; empty between uses */
    GArray *joined;                 /* uint32_t: sizes of the texts of devices that joined */
    bool stopped;                   /* we stopped the guest */
    enum migrate_owner owner;
    /* As of the last dirty sync. */
    struct pieces pieces;
    bool was_held;                  /* what it finds was dirtied while nothing was sent, too */
    uint64_t rate_pages;            /* dirtied since rate_us */
    int64_t rate_us;
    int64_t sync_us;                /* of the last sync */
    uint64_t copied_before;         /* ram.copied that the pace knows */
    int64_t look_us;                /* what it took */
    struct settle settle;
    enum settle_step step;          /* what it came to */
    struct flow flow;
    struct converge converge;
};

/* The source asks for the parts of the downtime by a ping of this value; who does not know it just answers. */
enum { PING_PARTS = 0x4e4d5054 };

/* A parameter as it is now. */
static inline uint64_t
parameter(const _Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

/* What stands in 'bytes'. */
bool out_put(struct out *o, GError **error);
bool out_begin_part(struct out *o, uint8_t record, GError **error);
bool out_end_part(struct out *o, GError **error);
bool out_send_run(struct out *o, struct block *b, uint64_t first, uint64_t count, GError **error);
/* Collects what the guest wrote; '*ret_bytes' remain to be sent. */
bool out_sync(struct out *o, uint64_t *ret_bytes, GError **error);
/* hold.c: after a round, until a person lets it go on.  Error STATE: nobody wants it any more; HOST. */
bool out_hold(struct out *o, GError **error);
/* throttle.c: may it be slowed down, or is it still?  Auto-converge: a guest that dirties too much gets less time;
 * dirty-limit: it dirties less.  'fresh' pages were dirtied since the last look. */
bool out_slows_down(const struct out *o);
bool out_slow_down(struct out *o, uint64_t fresh, GError **error);
void out_end_throttle(struct out *o);
/* Waits for the pong to ping 'mark'; '*ret_pong' stays false if it has not come by 'deadline_us'.  False if the
 * destination said something else, or nobody wants the migration any more. */
bool out_await_pong(struct out *o, uint32_t mark, int64_t deadline_us, bool *ret_pong, GError **error);
/* What remains is little enough: the rest of the migration.  'text_size': of the machine's description. */
bool out_switch_over(struct out *o, size_t text_size, GError **error);

/* --- ram-in.c: the section "ram" of a destination --------------------------------------------------------------- */

struct ram_in {
    struct session *session;        /* borrowed, as all but 'blocks' */
    struct input *input;
    struct loading {
        struct block *block;        /* borrowed: main changes the map only when this worker asks it to */
        uint64_t *seen;             /* pages that came; owned */
        uint64_t pages;             /* of the length that was announced; 0: it is not listed */
        bool fresh;                 /* nothing was ever there */
        int handed;                 /* memory that is to be the block's; owned; -1: none */
        bool shown;                 /* it has been mapped in place of the block's own */
        uint8_t *copied;            /* mapped to copy from; NULL: not */
    } *blocks;                      /* owned */
    unsigned count;                 /* devices may come on their own once the guest has arrived */
    uint32_t handovers;             /* sections of such memory */
    struct loading *of;             /* the block of the record before; NULL at first */
    _Atomic uint64_t *counter;      /* where bytes of RAM count */
    uint64_t features;              /* of the stream */
    uint64_t place;                 /* in the stream, of the record at hand */
    uint32_t run;                   /* pages of it; 0: it is none of a run */
    struct pool *pool;              /* owned; NULL: no page is compressed */
    unsigned ahead;                 /* pages that are expected behind one that came whole */
    bool follows;                   /* the record before was such a page, 'last' of its block */
    uint64_t last;
    uint8_t coded[PAGE_SIZE];
};
/* ahead.c: may pages be read past the input's buffer?  Reads page '*index' of the record's block and those that come
 * whole behind it, as far as they are there: '*index' is the last one. */
bool ahead_may(const struct ram_in *r);
bool ahead_load(struct ram_in *r, uint64_t *index, GError **error);
/* The same for those behind page '*index', which has come; none of them if they cannot be expected. */
bool ahead_go_on(struct ram_in *r, uint64_t *index, GError **error);
bool ram_in_init(struct ram_in *r, struct session *s, struct input *in, GError **error);
/* Takes the blocks that the map has got since.  Error: HOST. */
bool ram_in_join(struct ram_in *r, GError **error);
void ram_in_stop(struct ram_in *r);         /* nothing writes to RAM any more */
void ram_in_release(struct ram_in *r);
/* The block whose name comes next; NULL with an error. */
struct loading *ram_in_find(struct ram_in *r, GError **error);
bool ram_in_start(struct ram_in *r, GError **error);        /* payload of START */
bool ram_in_pages(struct ram_in *r, GError **error);        /* payload of PART and END */
/* Did every page come? */
bool ram_in_complete(struct ram_in *r, GError **error);
/* False (HOST) if a page of a block was lost. */
bool ram_in_whole(const struct ram_in *r, GError **error);

/* --- in.c, load.c: a destination -------------------------------------------------------------------------------- */

struct in {
    struct session *session;        /* borrowed */
    struct channel *channel;
    struct input input;
    struct ram_in ram;
    uint32_t ram_id;
    bool ram_started, ram_ended;
    bool back;                      /* the source reads our answers */
    bool parts_wanted;              /* and wants to know what took how long */
    bool ended;                     /* EOF and description were read */
    bool have_global_state;
    enum migrate_run_state run_state;
    bool summed;                    /* section "checksum" was read, and right */
    uint32_t rest_sum;              /* what the bytes after it must have */
    bool *loaded;                   /* a section of the guest's table; owned */
    uint32_t joined;                /* devices that came while it was loaded */
};
/* Over the way back, which there is. */
bool in_say32(struct in *n, uint16_t type, uint32_t value, GError **error);
/* The stream's head: it comes from a machine like this one.  Error: PEER. */
bool load_head(struct in *n, GError **error);
/* Loads one record, 'ended' is set with the last.  Error: PEER, HOST; STATE if the worker shall end. */
bool load_record(struct in *n, GError **error);

#endif
