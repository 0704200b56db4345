/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The implementations behind page_is_zero, apart so that a test can compare them. */
#ifndef MEMORY_PRIVATE_H
#define MEMORY_PRIVATE_H

#include "base.h"

/* 'page' is 32-byte aligned, PAGE_SIZE bytes.  The second only where page_has_avx2(). */
bool page_is_zero_plain(const uint8_t *page);
bool page_is_zero_avx2(const uint8_t *page);
bool page_has_avx2(void);

#endif
