/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CRC-32C (Castagnoli, reflected, as in RFC 3720 B.4), with the processor's instruction where it has one.  The plain
 * way takes four bits at a time: its table is the sixteen remainders of a nibble. */
#include "migrate-private.h"

#include <string.h>

static uint32_t
crc_plain(uint32_t crc, const uint8_t *at, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (; size > 0; size--) {
        crc ^= *at++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

#ifdef __x86_64__

static uint32_t __attribute__((target("sse4.2")))
crc_sse42(uint32_t crc, const uint8_t *at, size_t size)
{
    uint64_t wide = crc, word;

    for (; size >= sizeof word; size -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    for (crc = (uint32_t)wide; size > 0; size--)
        crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}

static bool
have_sse42(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#else

static uint32_t
crc_sse42(uint32_t crc, const uint8_t *at, size_t size)
{
    return crc_plain(crc, at, size);
}

static bool
have_sse42(void)
{
    return false;
}

#endif

uint32_t
checksum_add_plain(uint32_t sum, const void *data, size_t size)
{
    return ~crc_plain(~sum, data, size);
}

uint32_t
checksum_add(uint32_t sum, const void *data, size_t size)
{
    return ~(have_sse42() ? crc_sse42 : crc_plain)(~sum, data, size);
}
