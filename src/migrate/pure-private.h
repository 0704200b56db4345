/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What needs no session: bytes on the wire, runs of dirty pages, how a page is made smaller, paces and sums.  Each is
 * tested alone. */
#ifndef MIGRATE_PURE_PRIVATE_H
#define MIGRATE_PURE_PRIVATE_H

#include "migrate.h"

/* --- wire.c: QEMU's file format, pure ------------------------------------------------- */

enum {
    STREAM_MAGIC            = 0x5145564d,
    STREAM_VERSION          = 3,

    RECORD_EOF              = 0x00,
    RECORD_START            = 0x01,
    RECORD_PART             = 0x02,
    RECORD_END              = 0x03,
    RECORD_FULL             = 0x04,
    RECORD_SUBSECTION       = 0x05,
    RECORD_DESCRIPTION      = 0x06,
    RECORD_CONFIGURATION    = 0x07,
    RECORD_COMMAND          = 0x08,
    RECORD_FOOTER           = 0x7e,

    COMMAND_OPEN_RETURN_PATH = 1,
    COMMAND_PING            = 2,
    COMMAND_SWITCHOVER_START = 11,

    RAM_VERSION             = 4,
    RAM_ZERO                = 0x002,
    RAM_MEM_SIZE            = 0x004,
    RAM_PAGE                = 0x008,
    RAM_EOS                 = 0x010,
    RAM_CONTINUE            = 0x020,
    RAM_XBZRLE              = 0x040,
    RAM_COMPRESS            = 0x100,
    RAM_RUN                 = 0x400,        /* ours, with ZERO or PAGE: be32 count of such pages in a row, the first
                                             * at the offset; of PAGE then their bytes */
    RAM_LOCAL               = 0x800,        /* ours: be32 count of pages to copy; 0: be32 to answer with */
    RAM_FLAGS               = PAGE_SIZE - 1,

    XBZRLE_ENCODING         = 1,            /* the only one there is */

    RETURN_SHUT             = 1,
    RETURN_PONG             = 2,
    RETURN_REASON           = 0x4e4d,       /* ours: why the destination refuses, UTF-8 */
    RETURN_PARTS            = 0x4e50,       /* ours: parts of the downtime, before SHUT: be32 us, length byte, name;
                                             * ... */
    RETURN_PROGRESS         = 0x4e51,       /* ours: after SHUT 0: be64 us until the guest's first turn, be64 gap it
                                             * saw */
    RETURN_MOST             = 512,          /* bytes of a message's data */

    NAME_MOST               = 127,          /* a length byte that older readers take as signed */
    RAM_HEADER_MOST         = 8 + 1 + NAME_MOST,
    RAM_ZERO_SIZE           = 8 + 1,        /* of the record of a zero page that names no block */
    RAM_RUN_MOST            = 4096,         /* pages: what a reader may have to do before it looks up again */
    GLOBAL_STATE_TEXT       = 100,
    GLOBAL_STATE_SIZE       = 4 + GLOBAL_STATE_TEXT,
    MACHINE_TYPE_MOST       = 255,
    MACHINE_TEXT_MOST       = 4 * 1024 * 1024,
    DESCRIPTION_MOST        = 10 * 1024 * 1024,
};

/* What a reader of the stream must know, told by its configuration. */
enum {
    FEATURE_XBZRLE = 1 << 0, FEATURE_COMPRESS = 1 << 1, FEATURE_CHECKSUM = 1 << 2,
    FEATURE_HANDOVER = 1 << 3,              /* memory comes as descriptors */
    FEATURE_RUNS = 1 << 4,
    FEATURE_LOCAL = 1 << 5,                 /* pages are copied from descriptors */
    FEATURES_KNOWN = FEATURE_XBZRLE | FEATURE_COMPRESS | FEATURE_CHECKSUM | FEATURE_HANDOVER
                     | FEATURE_RUNS | FEATURE_LOCAL,
};
#define CHECKSUM_SECTION "checksum"
enum { CHECKSUM_VERSION = 1 };

/* A memory device that joins while the guest moves: the commands that give it (guest.announce).  Ours; stands in
 * front of the list that names its block. */
#define JOIN_SECTION "memory-device"
enum { JOIN_VERSION = 1, JOIN_TEXT_MOST = 4096 };

/* Memory that is handed over instead of sent (handover.c).  Ours; stands in front of the list of blocks. */
#define HANDOVER_SECTION "memory-handover"
enum { HANDOVER_VERSION = 1 };
/* Memory from which pages are copied instead of being sent (local.c).  Ours; at the same place. */
#define LOCAL_SECTION "memory-copy"
enum { LOCAL_VERSION = 1 };

#define MACHINE_SUBSECTION "configuration/numon-machine"
enum { MACHINE_SUBSECTION_VERSION = 1, MACHINE_SUBSECTION_FIXED = 8 + 8 + 4 + 4 };

void wire_put8(GByteArray *out, uint8_t value);
void wire_put16(GByteArray *out, uint16_t value);
void wire_put32(GByteArray *out, uint32_t value);
void wire_put64(GByteArray *out, uint64_t value);
/* A length byte and 1 to 127 bytes. */
void wire_put_name(GByteArray *out, const char *name);
/* Magic, version, configuration with its subsection: migration id, features needed to read the stream, page size,
 * length and text of guest.describe(). */
void wire_put_head(GByteArray *out, const char *machine_type, uint64_t id, uint64_t features, const char *text);
void wire_put_command(GByteArray *out, uint16_t command, const void *data, uint16_t size);
void wire_put_ping(GByteArray *out, uint32_t value);
void wire_put_section(GByteArray *out, uint8_t record, uint32_t id, const char *name, uint32_t instance,
                      uint32_t version);
void wire_put_part(GByteArray *out, uint8_t record, uint32_t id);
void wire_put_footer(GByteArray *out, uint32_t id);
/* The list of blocks with their used lengths, and its end; the first alone also stands in front of pages. A block of
 * no length is not in it. */
struct moving;
void wire_put_blocks(GByteArray *out, const struct moving *blocks, unsigned count);
void wire_put_block_list(GByteArray *out, const struct moving *blocks, unsigned count);
void wire_put_global_state(GByteArray *out, enum migrate_run_state state);
void wire_put_return(GByteArray *out, uint16_t type, const void *data, uint16_t size);
/* Header of a page's record; 'name' NULL means the block of the record before.  Returns its size. */
size_t wire_ram_header(uint8_t out[RAM_HEADER_MOST], uint64_t offset, unsigned flags, const char *name);
/* The same of a run of 'count' pages, which are ZERO or PAGE. */
enum { RAM_RUN_HEADER_MOST = RAM_HEADER_MOST + 4 };
size_t wire_ram_run_header(uint8_t out[RAM_RUN_HEADER_MOST], uint64_t offset, unsigned kind, uint32_t count,
                           const char *name);
/* Records of 'count' zero pages in a row of the block of the record before; RAM_ZERO_SIZE bytes each. */
void wire_ram_zeros(uint8_t *out, uint64_t offset, uint64_t count);
/* How many such records of pages in a row 'size' bytes begin with; '*ret_offset' of the first page. */
uint64_t wire_ram_zero_run(const uint8_t *from, size_t size, uint64_t *ret_offset);
/* What the stream's head must announce for a record with these flags; 0: nothing. */
uint64_t wire_ram_feature(unsigned flags);
/* Is it the header of a page that comes whole, at this offset in the block of the record before? */
bool wire_ram_is_page(const uint8_t header[8], uint64_t offset);
/* The JSON text at the stream's end.  Its last bytes are the tail that wire_description_tail gives, so that no
 * shortened text passes for a whole one.  Its length avoids what QEMU's stream analyser stumbles over.  'joined': the
 * sizes of the texts of devices that joined (uint32_t), or NULL. */
GString *wire_description(const struct migrate_guest *guest, uint64_t id, uint64_t features, size_t text_size,
                          const GArray *joined);
char *wire_description_tail(uint64_t id);
bool wire_description_length_safe(uint32_t length);

/* The unread part of bytes that came from a peer. */
struct cursor { const uint8_t *at, *end; };

bool cursor_take8(struct cursor *in, uint8_t *ret);
bool cursor_take16(struct cursor *in, uint16_t *ret);
bool cursor_take32(struct cursor *in, uint32_t *ret);
bool cursor_take64(struct cursor *in, uint64_t *ret);

struct return_message {
    uint16_t type;
    uint32_t value;                 /* SHUT: status; PONG: the ping's value */
    char text[RETURN_MOST + 1];     /* REASON */
    uint64_t progress_us, gap_us;   /* PROGRESS */
};
/* One message RETURN_PARTS with as many of the parts from '*at' on as fit; moves '*at'. */
void wire_put_parts(GByteArray *out, const GArray *parts, unsigned *at);
/* Appends what such a message holds, MIGRATE_PARTS at most.  Error: PEER. */
bool wire_parts_decode(const void *data, size_t size, GArray *parts, GError **error);
void wire_put_progress(GByteArray *out, uint64_t progress_us, uint64_t gap_us);
/* Decodes a message whose header said 'type' and 'size'.  Error: PEER. */
bool wire_return_decode(uint16_t type, const void *data, size_t size, struct return_message *ret, GError **error);
/* The 104 bytes of "globalstate".  Error PEER, also for a state that QEMU has and numon has not. */
bool wire_global_state_decode(const uint8_t data[GLOBAL_STATE_SIZE], enum migrate_run_state *ret, GError **error);

/* The question after an outcome, on a connection of its own (outcome.c): be32 magic, be32 version, be64 id; and the
 * answer: be32 magic, be32 word, be64 id.  The words differ in every byte, so that no damaged byte turns one into
 * another.  Neither magic is a stream's. */
enum {
    QUESTION_MAGIC = 0x4e4d4f51, ANSWER_MAGIC = 0x4e4d4f41, OUTCOME_VERSION = 1, OUTCOME_SIZE = 16,
    OUTCOME_WORD_RUNNING = 0x72756e73, OUTCOME_WORD_DISCARDED = 0x676f6e65, OUTCOME_WORD_UNKNOWN = 0x3f3f3f3f,
};
void wire_question(uint8_t out[OUTCOME_SIZE], uint64_t id);
bool wire_question_decode(const uint8_t in[OUTCOME_SIZE], uint64_t *ret_id);
void wire_answer(uint8_t out[OUTCOME_SIZE], uint32_t word, uint64_t id);
bool wire_answer_decode(const uint8_t in[OUTCOME_SIZE], uint64_t id, uint32_t *ret_word);

/* --- scan.c: dirty words to runs of pages ----------------------------------------------------------------------- */

/* The first run of set bits at or after 'from', cut after 'most' bits; false if there is none below 'bits'. */
bool scan_run(const _Atomic uint64_t *words, uint64_t bits, uint64_t from, uint64_t most, uint64_t *ret_first,
              uint64_t *ret_count);

/* A block as a migration out has it. */
struct moving {
    struct block *block;            /* borrowed: it cannot go while the guest moves */
    uint64_t pages;                 /* announced: of the longest used length so far; what lies behind is not looked
                                     * at */
    uint64_t sent;                  /* pages below were sent at least once */
    bool local;                     /* the destination copies its pages */
    uint64_t address;               /* of its first byte in the page cache's numbering */
};
/* The worker's own list, in the map's order: main adds blocks to the map while the worker goes over these. */
struct moving_list {
    struct moving *at;              /* owned */
    unsigned count;
    struct subscriber *subscriber;  /* borrowed; NULL at first */
};

/* One pass over all blocks, from the first page of the first to the last of the last.  Pages that become dirty
 * behind it wait for the next pass. */
struct sweep {
    const struct moving_list *list; /* borrowed; it may grow */
    unsigned block;
    uint64_t page;
};
void sweep_begin(struct sweep *w, const struct moving_list *list);
/* The next run, which stays set; moves behind it.  False at the end of the pass. */
bool sweep_next(struct sweep *w, uint64_t most, struct block **ret_block, uint64_t *ret_first, uint64_t *ret_count);
/* All pages of all blocks become dirty: the start of the first pass. */
void sweep_fill(const struct moving_list *list);
uint64_t sweep_remaining(const struct moving_list *list);

/* ram-out.c: false (HOST) if pages of the block were lost under us: what was read from them were zeros. */
bool block_is_whole(const struct block *b, GError **error);

/* --- xbzrle.c: a page as the difference from its predecessor, pure --------------------------- */

#define XBZRLE_TOO_BIG SIZE_MAX
/* Writes what turns 'old' into 'new', both of 'size' bytes (PAGE_SIZE at most), to 'out', which has 'room' bytes.
 * Returns the encoded size, 0 if the pages are equal, XBZRLE_TOO_BIG if 'room' does not suffice. */
size_t xbzrle_encode(const uint8_t *old, const uint8_t *new, size_t size, uint8_t *out, size_t room);
/* Turns 'page' into what it became; false if 'coded' is no encoding or leaves the page ('page' is spoiled then). */
bool xbzrle_decode(const uint8_t *coded, size_t coded_size, uint8_t *page, size_t size);
/* The next run of an encoding: '*at' goes on to its place in the page of 'size' bytes, 'in' to its '*ret_run' bytes,
 * which the caller takes.  False if there is none that is right. */
struct cursor;
bool xbzrle_take_run(struct cursor *in, bool first, size_t size, size_t *at, size_t *ret_run);
/* All of them, 'most' at most; '*ret_good' (may be NULL) says whether they are an encoding. */
unsigned xbzrle_list_runs(const uint8_t *coded, size_t size, struct explain_run *runs, unsigned most, bool *ret_good);
/* For tests: with these units of the CPU, which it must have. */
enum xbzrle_unit { XBZRLE_PLAIN, XBZRLE_AVX2, XBZRLE_AVX512, XBZRLE_UNITS };
bool xbzrle_has(enum xbzrle_unit unit);
size_t xbzrle_encode_by(enum xbzrle_unit unit, const uint8_t *old, const uint8_t *new, size_t size, uint8_t *out,
                        size_t room);

/* --- page-cache.c: pages as the destination has them ------------------------------------------------------------ */

struct page_cache;
/* 'bytes' is a power of two, PAGE_SIZE at least.  Error HOST: there is not so much memory. */
struct page_cache *page_cache_new(uint64_t bytes, GError **error);
void page_cache_free(struct page_cache *c);
uint64_t page_cache_bytes(const struct page_cache *c);
/* The largest size of a cache that is not above 'bytes'; PAGE_SIZE at least. */
uint64_t page_cache_size_round(uint64_t bytes);
/* Addresses are multiples of PAGE_SIZE, all blocks one behind the other; an age is the count of dirty syncs. */
/* The page's copy, which thereby gets this age; NULL: it is not there. */
uint8_t *page_cache_find(struct page_cache *c, uint64_t address, uint64_t age);
/* Makes the slot this page's; the caller fills it.  NULL: another page has it that was of use lately. */
uint8_t *page_cache_insert(struct page_cache *c, uint64_t address, uint64_t age);

/* --- deflate.c: the faster library, where numon is built with it ----------------------------------------------- */

struct deflater;
struct deflater *deflater_new(void);        /* NULL: there is none */
void deflater_free(struct deflater *d);     /* NULL is fine */
/* A page as a zlib stream of at most 'room' bytes; returns its size, 0 if zlib must do it. */
size_t deflater_deflate(struct deflater *d, int level, const uint8_t *page, uint8_t *out, size_t room);
/* True if the 'size' bytes were exactly one stream of one page; else zlib says what they are. */
bool deflater_inflate(struct deflater *d, const uint8_t *coded, size_t size, uint8_t *target);

/* --- compress.c: pages as zlib streams, by worker threads ------------------------------------------------------- */

/* zlib's compressBound(PAGE_SIZE): no level makes a page longer. */
enum { CODED_MOST = PAGE_SIZE + (PAGE_SIZE >> 12) + (PAGE_SIZE >> 14) + 13 };

struct squeeze_job {
    struct block *block;            /* whose page it is, for the owner of the pool */
    uint64_t offset;                /* in the block */
    uint64_t place;                 /* in the stream, of its record */
    int level;                      /* deflate, in: 0 to 9 */
    uint8_t page[PAGE_SIZE];        /* deflate, in: a copy, which its guest cannot change */
    uint8_t *target;                /* inflate, out: a page */
    uint8_t coded[CODED_MOST];      /* deflate: out; inflate: in */
    uint32_t coded_size;
    bool good;                      /* out */
    const char *why;                /* out: if not good */
};

/* All functions: the migration thread. */
struct pool;
struct pool *pool_new(bool inflates, unsigned count, GError **error);
void pool_free(struct pool *p);     /* joins; what is under way is finished and lost */
/* A job to fill and give; '*ret_done' says that its last result must be used first.  NULL: all are at work. */
struct squeeze_job *pool_take(struct pool *p, bool wait, bool *ret_done);
void pool_give(struct pool *p, struct squeeze_job *job);
/* Waits until nothing is under way and hands every result to 'done'. */
bool pool_drain(struct pool *p, bool (*done)(void *self, struct squeeze_job *job, GError **error), void *self,
                GError **error);
/* Is some result still to come that goes to 'target'? */
bool pool_works_on(struct pool *p, const uint8_t *target);

/* --- pace.c: how fast may we send, how fast did we ------------------------------------------- */

enum { PACE_WINDOW_US = 100 * 1000, PACE_SLICE_US = 50 * 1000 };

/* Pure: the caller passes the time. */
struct pace {
    int64_t begin_us, window_us;    /* of the whole, of this window */
    uint64_t total;                 /* bytes, of the whole */
    uint64_t bytes, pages;          /* sent in this window */
    uint64_t debt;                  /* of the windows before: a page may be larger than a window's budget */
    double bytes_per_ms;            /* of the last whole window; 0 before there was one */
    double pages_per_second;
    uint64_t last_window_us;        /* how long that window was */
};
void pace_init(struct pace *p, int64_t now_us);
/* Nothing was sent for so long, on purpose: that is not the line's doing. */
void pace_resume(struct pace *p, int64_t held_us, int64_t now_us);
/* Closes the window if it is over.  'max_bandwidth' in bytes per second, 0 is unlimited. */
void pace_advance(struct pace *p, uint64_t max_bandwidth, int64_t now_us);
/* Bytes that may still be sent in this window; UINT64_MAX without limit. */
uint64_t pace_budget(const struct pace *p, uint64_t max_bandwidth);
void pace_spend(struct pace *p, uint64_t bytes, uint64_t pages);
int64_t pace_window_end(const struct pace *p);
/* Of a whole window; UINT64_MAX without limit. */
uint64_t pace_window_budget(uint64_t max_bandwidth);
/* Bytes per millisecond: the last window's, else of the time so far. */
double pace_bandwidth(const struct pace *p, uint64_t max_bandwidth, int64_t now_us);
/* Most bytes that may remain at the switchover. */
uint64_t pace_threshold(double bytes_per_ms, uint64_t avail_switchover_bandwidth, uint64_t downtime_limit_ms);

/* --- settle.c: when the guest is stopped ------------------------------------------------------------------------ */

/* What was sent lately, and in which time, that of waiting for a window not counted: bytes of pages that are not
 * zero, and of the stream. */
struct flow { double raw, wire, us; };
void flow_add(struct flow *f, double raw, double wire, double us);

/* Pure: the caller passes the time. */
struct settle {
    double until_us;                /* by when all must be over; 0: nothing ever fitted */
    double most;                    /* bytes that this look may find for another round; 0: it is the first */
};
/* At the end of a round, or when little is known to remain. */
struct settle_facts {
    uint64_t rest, fits;            /* bytes that remain, that may remain */
    uint64_t fresh;                 /* bytes dirtied in the last 'fresh_us' */
    int64_t fresh_us;
    const struct flow *flow;
    uint64_t budget, window_budget; /* bytes of this window and of each; UINT64_MAX: unlimited */
    int64_t window_end_us;
    int64_t begin_us, now_us;       /* of the first page; */
    int64_t look_us;                /* what a look at the log takes */
    unsigned effort;                /* downtime-effort, percent; 0: the first rest that fits is the last */
};
enum settle_step {
    SETTLE_TOO_MUCH,                /* the rest does not fit */
    SETTLE_SHORTEN,                 /* it does; one more round makes the stop much shorter */
    SETTLE_STOP,
};
enum settle_step settle_look(struct settle *s, const struct settle_facts *k);

/* --- converge.c: auto-converge --------------------------------------------------------------- */

/* Pure: the caller passes the time. */
struct converge {
    int64_t period_us;              /* beginning of the period that is counted */
    uint64_t dirtied;               /* bytes, in it */
    uint64_t sent_before;           /* bytes sent before it */
    unsigned count;                 /* strikes towards the next action */
    unsigned percent;               /* throttle; 0 before the first action */
};
struct converge_rules {
    unsigned threshold, initial, increment, most;       /* percent */
    bool tailslow;
};
enum converge_step { CONVERGE_NOTHING, CONVERGE_STRIKE, CONVERGE_THROTTLE };
void converge_init(struct converge *c, int64_t now_us);
/* At a dirty sync that found 'dirtied' bytes anew; 'sent' in all.  THROTTLE is a strike too: 'percent' changed. */
enum converge_step converge_sync(struct converge *c, const struct converge_rules *rules, uint64_t dirtied,
                                 uint64_t sent, int64_t now_us);

/* --- checksum.c: CRC-32C ---------------------------------------------------------------------------------------- */

/* Of the bytes that gave 'sum' (0: none) and these.  The second never uses the processor's instruction. */
uint32_t checksum_add(uint32_t sum, const void *data, size_t size);
uint32_t checksum_add_plain(uint32_t sum, const void *data, size_t size);

#endif
