/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files that explain a stream share: explain reads records, explain-head those at the beginning,
 * explain-ram those of RAM, explain-fields what the description at the stream's end says of the rest.  All
 * functions: the thread of explain_run; false with an error where reading cannot go on: PEER is the stream's
 * fault, all others ours. */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "migrate-private.h"

#include <json-glib/json-glib.h>

enum {
    EXPLAIN_NOTES_MOST = 100,           /* faults kept */
    EXPLAIN_ROWS_MOST = 32 * 1024,
    EXPLAIN_BLOCKS_MOST = 4 * BLOCKS_MAX,       /* those that come and go while it moves included */
    EXPLAIN_SECTIONS_MOST = 64 * 1024,
    EXPLAIN_RUNS_MOST = PAGE_SIZE / 3,  /* of a delta: no run stands in fewer bytes */
};
/* Bytes of one: they are addressed one behind the other. */
#define EXPLAIN_BLOCK_MOST (UINT64_C(16) * TIB)
/* Pages that account is kept of, one bit each: 8 TiB of guest memory. */
#define EXPLAIN_PAGES_MOST (UINT64_C(8) * TIB / PAGE_SIZE)

struct explain {
    struct explain_report report;
    struct channel channel;
    int stop;                           /* eventfd; the channel's wake */
    _Atomic bool stopped;
    void (*record)(void *self, const struct explain_event *e);
    void *self;

    /* The description, found from the end as QEMU's stream analyser finds it. */
    JsonParser *parser;                 /* NULL: there is none that can be read */
    uint64_t description_place;         /* of its record */
    char *text;                         /* of it; owned */

    bool begun, ended;
    bool configured;                    /* the configuration was read: subsections may follow */
    bool ignore_shared;
    int ram;                            /* which of the sections is RAM; -1: none yet */
    bool in_ram;                        /* the next record is one of RAM */
    bool summed;
    uint32_t rest_sum;

    /* RAM. */
    int block;                          /* of the record before; -1: none */
    GArray *accounts;                   /* struct explain_account, a block */
    uint64_t pages_accounted;
    unsigned round;
    uint64_t high;                      /* highest address of this round; UINT64_MAX: none yet */
    uint64_t part_low, part_high;       /* of this part; low UINT64_MAX: no page yet */
    bool part_ends;                     /* it is the section's END */
    struct explain_run runs[EXPLAIN_RUNS_MOST];
    uint8_t bytes[CODED_MOST], page[PAGE_SIZE];

    _Atomic uint64_t taken;             /* bytes that 'input' took from the file */
    struct input input;
};

/* Of a block: where its addresses begin, which pages came, what came in this part, and its row of this round. */
struct explain_account {
    uint64_t start;
    uint64_t *seen;                     /* owned; NULL: not kept */
    struct explain_count part;
    unsigned row;                       /* place + 1 of its last row; 0: none */
};

/* --- explain.c -------------------------------------------------------------------------------------------------- */

/* Something is wrong with the stream, and reading goes on. */
void explain_fault(struct explain *e, uint64_t place, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* What would stop QEMU's stream analyser; the same text is counted. */
void explain_stops(struct explain *e, uint64_t place, const char *text);
bool explain_skip(struct explain *e, uint64_t bytes, GError **error);
void explain_tell(struct explain *e, const struct explain_event *event);

/* --- explain-head.c --------------------------------------------------------------------------------------------- */

bool explain_file_head(struct explain *e, GError **error);
/* Their type was read, at 'place'. */
bool explain_configuration(struct explain *e, uint64_t place, GError **error);
bool explain_subsection(struct explain *e, uint64_t place, GError **error);

/* --- explain-ram.c ---------------------------------------------------------------------------------------------- */

void explain_ram_begin(struct explain *e, bool end);
/* One record; '*ret_eos' if it is the last of its part. */
bool explain_ram_record(struct explain *e, bool *ret_eos, GError **error);
/* No more pages come. */
void explain_ram_end(struct explain *e);
void explain_ram_release(struct explain *e);

/* --- explain-fields.c ------------------------------------------------------------------------------------------- */

/* Looks for the description at the end of the file. */
bool explain_find_description(struct explain *e, GError **error);
/* Reads a section's payload as it describes; '*ret_known' false: it does not, and nothing was read. */
bool explain_fields(struct explain *e, const struct explain_section *s, bool *ret_known, GError **error);
/* What its 'configuration' says of a subsection; as above. */
bool explain_configuration_fields(struct explain *e, const char *name, bool *ret_known, GError **error);
/* Is the configuration described, other than by its first two fields? */
bool explain_configuration_described(const struct explain *e);
/* The description was read as a record at 'place': is it the one found? */
void explain_check_description(struct explain *e, uint64_t place, uint64_t size);

#endif
