/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Looking into a guest: memory laid out as QEMU's `x` and `xp` do, instructions in words.  Pure; any thread. */
#ifndef DEBUG_H
#define DEBUG_H

#include "base.h"

enum { DUMP_BYTES_MAX = 1 << 20 };      /* of one dump: more is for a file (memsave, pmemsave) */

/* "/4xw": how many items, in what form, how large.  Any part may be missing; the order of form and size is free. */
struct dump_format {
    uint64_t count;                     /* items; of 'i' instructions */
    char letter;                        /* x hexadecimal, d signed, u unsigned, o octal, c character, i instruction */
    unsigned size;                      /* bytes of an item: 1 (b), 2 (h), 4 (w), 8 (g); 1 with 'c' */
};
/* 'text' without the slash; NULL or "" is one hexadecimal word of 4 bytes.  Errors: ARGUMENT, LIMIT. */
bool dump_format_parse(const char *text, struct dump_format *ret, GError **error);
/* Bytes that the dump needs at most from its address on. */
uint64_t dump_format_bytes(const struct dump_format *f);
/* Appends lines that begin with the address.  'size' bytes are there, perhaps fewer than were wanted; an item that is
 * not all there is left out.  Returns the bytes that were shown.  Not for 'i'. */
uint64_t dump_append(const struct dump_format *f, uint64_t address, const uint8_t *bytes, uint64_t size,
                     GString *out);

/* What code is to be read as. */
enum code_mode { CODE_16, CODE_32, CODE_64 };
/* True if this numon can name instructions: Capstone was there when it was built, and is. */
bool disassembly_works(void);
/* Appends a line an instruction, at most f->count; what is none is shown as ".byte".  Returns the bytes shown.
 * Error HOST: it cannot. */
bool disassembly_append(const struct dump_format *f, enum code_mode mode, uint64_t address, const uint8_t *bytes,
                        uint64_t size, GString *out, uint64_t *ret_shown, GError **error);

#endif
