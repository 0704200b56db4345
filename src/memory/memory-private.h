/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/memory/ share: the parts of making a block, the watch over lost pages, and the
 * implementations behind page_is_zero, apart so that a test can compare them. */
#ifndef MEMORY_PRIVATE_H
#define MEMORY_PRIVATE_H

#include "memory.h"

/* "cannot VERB backend 'm0' (64 MiB): strerror" */
bool fail_block(const struct block *b, int host_errno, const char *verb, GError **error);
/* Opens what is behind the mapping (open.c): sets 'fd', 'page_size', 'had_content' and 'made_file'. */
bool block_open(struct block *b, GError **error);

/* guard.c: a mapping is watched from guard_add to guard_remove. */
bool guard_add(struct block *b, GError **error);
void guard_remove(struct block *b);
/* Lost pages of the block also make this eventfd readable; -1: none. */
void guard_notify(const struct block *b, int fd);
void guard_mark(const struct block *b, uint64_t page);

/* 'page' is 32-byte aligned, PAGE_SIZE bytes.  The second only where page_has_avx2(). */
bool page_is_zero_plain(const uint8_t *page);
bool page_is_zero_avx2(const uint8_t *page);
bool page_has_avx2(void);

#endif
