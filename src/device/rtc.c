/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RTC and CMOS memory (Motorola MC146818) behind ports 0x70 and 0x71: time of day from the host, 128 bytes.
 *
 * The clock is the host's UTC plus an offset in seconds, 0 until the guest sets the time.  While register B's SET
 * bit holds the clock still, the time registers are plain bytes; clearing the bit turns them into a new offset.
 * No interrupt is raised and no update is ever in progress: a time register is computed when it is read. */
#include "device.h"

#include <time.h>

enum {
    RTC_PORT = 0x70, RTC_PORTS = 2, CMOS_SIZE = 128,

    RTC_SECOND = 0, RTC_MINUTE = 2, RTC_HOUR = 4, RTC_WEEKDAY = 6, RTC_DAY = 7, RTC_MONTH = 8, RTC_YEAR = 9,
    RTC_A = 10, RTC_B = 11, RTC_C = 12, RTC_D = 13, RTC_CENTURY = 0x32,

    A_RESET = 0x26,                 /* 32768 Hz time base, 1024 Hz rate */
    B_SET = 0x80, B_BINARY = 0x04, B_24_HOURS = 0x02,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
};

struct rtc {
    struct lock lock;               /* rank 15 */
    /* Under the lock; migrated. */
    uint8_t index;
    uint8_t cmos[CMOS_SIZE];
    uint64_t offset;                /* seconds to add to the host's time, modulo 2^64 */
};

struct rtc *
rtc_new(void)
{
    struct rtc *r = g_new0(struct rtc, 1);

    lock_init(&r->lock, 15, "rtc");
    rtc_reset(r);
    return r;
}

void
rtc_free(struct rtc *r)
{
    if (!r)
        return;
    lock_release(&r->lock);
    g_free(r);
}

/* Battery-backed memory and time survive a reset; the control registers do not. */
void
rtc_reset(struct rtc *r)
{
    lock_take(&r->lock);
    r->index = 0;
    r->cmos[RTC_A] = A_RESET;
    r->cmos[RTC_B] = B_24_HOURS;
    r->cmos[RTC_C] = 0;
    r->cmos[RTC_D] = D_VALID;
    lock_drop(&r->lock);
}

static uint8_t
encode(const struct rtc *r, int number)
{
    return r->cmos[RTC_B] & B_BINARY ? number : number / 10 << 4 | number % 10;
}

static int
decode(const struct rtc *r, uint8_t byte)
{
    return r->cmos[RTC_B] & B_BINARY ? byte : (byte >> 4) * 10 + (byte & 15);
}

static uint8_t
encode_hour(const struct rtc *r, int hour)
{
    if (r->cmos[RTC_B] & B_24_HOURS)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int
decode_hour(const struct rtc *r, uint8_t byte)
{
    if (r->cmos[RTC_B] & B_24_HOURS)
        return decode(r, byte);
    return decode(r, byte & ~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* Puts the time of now into the time registers. */
static void
latch(struct rtc *r)
{
    time_t now = (time_t)((uint64_t)time(NULL) + r->offset);
    int64_t year;
    struct tm tm;

    if (!gmtime_r(&now, &tm))
        return;                     /* a guest's year beyond int: the registers stay */
    r->cmos[RTC_SECOND] = encode(r, tm.tm_sec);
    r->cmos[RTC_MINUTE] = encode(r, tm.tm_min);
    r->cmos[RTC_HOUR] = encode_hour(r, tm.tm_hour);
    r->cmos[RTC_WEEKDAY] = encode(r, tm.tm_wday + 1);
    r->cmos[RTC_DAY] = encode(r, tm.tm_mday);
    r->cmos[RTC_MONTH] = encode(r, tm.tm_mon + 1);
    /* A guest can go back before the year 0, and a stream beyond what the registers hold. */
    year = ((int64_t)tm.tm_year + 1900) % 10000;
    year += year < 0 ? 10000 : 0;
    r->cmos[RTC_YEAR] = encode(r, (int)(year % 100));
    r->cmos[RTC_CENTURY] = encode(r, (int)(year / 100));
}

/* The other way: the time registers say what it is now. */
static void
set_from_registers(struct rtc *r)
{
    struct tm tm = {
        .tm_sec = decode(r, r->cmos[RTC_SECOND]), .tm_min = decode(r, r->cmos[RTC_MINUTE]),
        .tm_hour = decode_hour(r, r->cmos[RTC_HOUR]), .tm_mday = decode(r, r->cmos[RTC_DAY]),
        .tm_mon = decode(r, r->cmos[RTC_MONTH]) - 1,
        .tm_year = decode(r, r->cmos[RTC_YEAR]) + decode(r, r->cmos[RTC_CENTURY]) * 100 - 1900,
    };

    r->offset = (uint64_t)timegm(&tm) - (uint64_t)time(NULL);
}

static bool
is_time(uint8_t index)
{
    return index == RTC_SECOND || index == RTC_MINUTE || index == RTC_HOUR ||
           (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static void
write_cmos(struct rtc *r, uint8_t index, uint8_t value)
{
    bool held = r->cmos[RTC_B] & B_SET;

    if (index == RTC_C || index == RTC_D)
        return;                     /* read only */
    if (!held && (is_time(index) || (index == RTC_B && value & B_SET)))
        latch(r);
    r->cmos[index] = value;
    if (!held && is_time(index))
        set_from_registers(r);
    if (index == RTC_A)
        r->cmos[RTC_A] &= 0x7f;     /* update in progress is ours to say */
    if (index == RTC_B && held && !(value & B_SET))
        set_from_registers(r);
}

static uint8_t
read_cmos(struct rtc *r, uint8_t index)
{
    uint8_t value;

    if (is_time(index) && !(r->cmos[RTC_B] & B_SET))
        latch(r);
    value = r->cmos[index];
    if (index == RTC_C)
        r->cmos[RTC_C] = 0;
    return value;
}

static uint64_t
rtc_read(void *device, uint64_t offset, unsigned size)
{
    struct rtc *r = device;
    uint64_t value = size > 1 ? 0xffff : 0xff;

    lock_take(&r->lock);
    if (offset + size > 1) {
        uint64_t data = read_cmos(r, r->index);

        value = size > 1 ? data << 8 | 0xff : data;
    }
    lock_drop(&r->lock);
    return value;
}

static void
rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct rtc *r = device;

    lock_take(&r->lock);
    if (offset == 0)
        r->index = value & (CMOS_SIZE - 1);     /* bit 7 masks the NMI, which nobody raises */
    if (offset + size > 1)
        write_cmos(r, r->index, (uint8_t)(offset ? value : value >> 8));
    lock_drop(&r->lock);
}

bool
rtc_attach(struct rtc *r, struct bus *bus, GError **error)
{
    static const struct bus_ops ops = { rtc_read, rtc_write };

    return bus_claim(bus, BUS_PORT, RTC_PORT, RTC_PORTS, "rtc", &ops, r, error);
}

static bool
rtc_after_load(void *object, GError **error)
{
    struct rtc *r = object;

    r->index &= CMOS_SIZE - 1;
    r->cmos[RTC_A] &= 0x7f;
    return true;
}

static const struct state_field rtc_fields[] = {
    { "index", STATE_U8, offsetof(struct rtc, index) },
    { "cmos", STATE_BUFFER, offsetof(struct rtc, cmos), CMOS_SIZE },
    { "offset", STATE_U64, offsetof(struct rtc, offset) },
    { 0 }
};

struct state_section
rtc_state(struct rtc *r)
{
    return (struct state_section) {
        .name = "rtc", .version = 1, .fields = rtc_fields, .object = r, .after_load = rtc_after_load,
    };
}
