/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Migrated state: a device or vCPU declares its fields once (name, width, offset, version); saving, loading and the
 * JSON description at the stream's end derive from the declaration.  Bytes on the wire are big-endian, in the order
 * of the table, as in QEMU's streams. */
#ifndef STATE_H
#define STATE_H

#include "base.h"

enum state_type {
    STATE_END,
    STATE_U8, STATE_U16, STATE_U32, STATE_U64,      /* 'count' of them in a row (0 means 1) */
    STATE_BOOL,                                     /* one byte */
    STATE_BUFFER,                                   /* 'count' raw bytes */
    STATE_VARIABLE,         /* a pointer to raw bytes at 'offset' whose length is the uint32_t at 'length_offset';
                             * the wire has be32 length, then the bytes; 'count' is the greatest length accepted.
                             * Load replaces the pointer (g_free of the old, g_try_malloc of the new) */
};

struct state_field {
    const char *name;
    enum state_type type;
    uint32_t offset;                /* in the object */
    uint32_t count;
    uint32_t length_offset;         /* STATE_VARIABLE */
    uint32_t since;                 /* first section version that has it (0 and 1: always) */
};

/* What a move did to the time that its guest reads, in microseconds.  By the clock and by the time stamp counter the
 * guest saw nothing happen for so long: that is the jump. */
struct time_jump {
    bool known;
    bool tsc_set;                   /* the counter was set here; else it is the host's, whatever that shows */
    int64_t away_us;                /* from the clocks' reading at the source, after its stop, to their setting here,
                                     * by the hosts' own clocks */
    int64_t clock_us;               /* how far the paravirtual clock went meanwhile */
    int64_t tsc_us;                 /* the same of CPU 0's time stamp counter, by its frequency */
};

/* One section of a stream: (name, instance) is unique in a machine. */
struct state_section {
    const char *name;
    uint32_t instance;
    uint32_t version;               /* written; a stream's version must be <= this */
    const struct state_field *fields;
    void *object;
    /* Fills the object's fields from the hardware before saving; may be NULL. vCPUs are parked. */
    bool (*before_save)(void *object, GError **error);
    /* Checks the loaded fields and puts them into the hardware; may be NULL.  vCPUs are parked. */
    bool (*after_load)(void *object, GError **error);
};

/* Appends the object's fields to 'out'.  Does not call before_save. */
void state_save(const struct state_section *section, GByteArray *out);
/* Gives exactly 'size' bytes of a stream, or fails (PEER) saying where it ended. */
typedef bool (*state_read)(void *from, void *bytes, size_t size, GError **error);

/* Reads the fields of the given 'version' in the order of the table.  Does not call after_load.
 * Error: PEER, names section, field and what was found.  Any bytes are safe. */
bool state_load(const struct state_section *section, uint32_t version, state_read read, void *from, GError **error);
/* Appends {"name": .., "instance_id": .., "vmsd_name": .., "version": .., "fields": [..]} as QEMU's
 * scripts/analyze-migration.py wants it: sizes are those of the object as it is now. */
void state_describe(const struct state_section *section, GString *json);

#endif
