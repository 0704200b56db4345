/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RTC and CMOS memory (Motorola MC146818 data sheet) behind ports 0x70 and 0x71: time of day from the host, alarm,
 * periodic and update interrupts, and 128 bytes, in which firmware would have put the memory's size.
 *
 * The clock is the host's UTC plus an offset in seconds, 0 until the guest sets the time.  While register B's SET
 * bit holds the clock still, the time registers are plain bytes; clearing the bit turns them into a new offset.
 * Time registers and flags are made when they are looked at, from the time since the last look; an alarm clock
 * looks where an interrupt is due, and whenever the host's clock was set. */
#include "device-private.h"

#include <time.h>

#include "platform.h"

enum {
    RTC_PORT = 0x70, RTC_PORTS = 2, CMOS_SIZE = 128,

    RTC_SECOND = 0, RTC_SECOND_ALARM = 1, RTC_MINUTE = 2, RTC_MINUTE_ALARM = 3, RTC_HOUR = 4, RTC_HOUR_ALARM = 5,
    RTC_WEEKDAY = 6, RTC_DAY = 7, RTC_MONTH = 8, RTC_YEAR = 9,
    RTC_A = 10, RTC_B = 11, RTC_C = 12, RTC_D = 13, RTC_CENTURY = 0x32,

    A_RESET = 0x26,                 /* 32768 Hz time base, 1024 Hz rate */
    A_UPDATES = 0x80, A_KEPT = 0x7f, A_DIVIDER_RESET = 0x60, A_RATE = 0x0f,
    B_SET = 0x80, B_BINARY = 0x04, B_24_HOURS = 0x02,
    /* Of interrupts: enabled by B, flagged in C, with C_ANY. */
    PERIODIC = 0x40, ALARM = 0x20, UPDATED = 0x10, CAUSES = PERIODIC | ALARM | UPDATED, SQUARE_WAVE = 0x08,
    C_ANY = 0x80,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0,               /* an alarm's byte with both bits: matches always */

    CRYSTAL_HZ = 32768,
    SECOND_US = 1000000,
    UPDATE_US = 244,                /* so long before a second begins an update is said to be in progress */
    DAY_S = 86400,
};

struct rtc {
    struct irqs *irqs;              /* borrowed; NULL: nobody takes interrupts */
    int64_t (*now_us)(void);        /* since 1970, UTC */
    struct alarm *alarm;            /* owned; NULL: a test's clock */
    struct clock_watch *watch;      /* owned; NULL: it cannot be watched */

    struct lock lock;               /* rank 15 */
    /* Under the lock; migrated. */
    uint8_t index;
    uint8_t cmos[CMOS_SIZE];
    uint64_t offset;                /* seconds to add to the host's time, modulo 2^64 */
    uint64_t seen_us;               /* the host's time of the last look; 0: none */
    /* Under the lock. */
    bool frozen;                    /* as with struct uart */
    int64_t armed_us;               /* the host's time for which the alarm is set; -1: it is not */
};

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

static int64_t
guest_seconds(const struct rtc *r, int64_t host_us)
{
    return (int64_t)((uint64_t)(host_us / SECOND_US) + r->offset);
}

/* Puts the time of now into the time registers. */
static void
latch(struct rtc *r)
{
    time_t now = guest_seconds(r, r->now_us());
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

    r->offset = (uint64_t)timegm(&tm) - (uint64_t)(r->now_us() / SECOND_US);
}

/* --- interrupts ------------------------------------------------------------------------------------------------- */

/* Periods of the square wave until then; 'rate' from 1 (table 5 of the data sheet: 1 and 2 are as 8 and 9). */
static unsigned
rate_shift(const struct rtc *r)
{
    unsigned rate = r->cmos[RTC_A] & A_RATE;

    return (rate < 3 ? rate + 7 : rate) - 1;
}

static int64_t
crystal_ticks(int64_t us)
{
    return us / SECOND_US * CRYSTAL_HZ + us % SECOND_US * CRYSTAL_HZ / SECOND_US;
}

/* The first microsecond in which the crystal has ticked so often. */
static int64_t
ticks_us(int64_t ticks)
{
    return ticks / CRYSTAL_HZ * SECOND_US + (ticks % CRYSTAL_HZ * SECOND_US + CRYSTAL_HZ - 1) / CRYSTAL_HZ;
}

static bool
is_running(const struct rtc *r)
{
    return (r->cmos[RTC_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static bool
has_period(const struct rtc *r)
{
    return is_running(r) && r->cmos[RTC_A] & A_RATE;
}

static bool
alarm_matches(uint8_t wanted, int decoded, int now)
{
    return (wanted & ALARM_ANY) == ALARM_ANY || decoded == now;
}

/* Seconds from 'from' (the guest's) to the first at or after it whose time of day is the alarm's; -1: there is
 * none. */
static int64_t
until_alarm(const struct rtc *r, int64_t from)
{
    const uint8_t *c = r->cmos;
    int hour = decode_hour(r, c[RTC_HOUR_ALARM]), minute = decode(r, c[RTC_MINUTE_ALARM]);
    int second = decode(r, c[RTC_SECOND_ALARM]), start = (int)((from % DAY_S + DAY_S) % DAY_S), at = start;

    while (at < start + DAY_S) {
        if (!alarm_matches(c[RTC_HOUR_ALARM], hour, at / 3600 % 24))
            at += 3600 - at % 3600;
        else if (!alarm_matches(c[RTC_MINUTE_ALARM], minute, at / 60 % 60))
            at += 60 - at % 60;
        else if (!alarm_matches(c[RTC_SECOND_ALARM], second, at % 60))
            at++;
        else
            return at - start;
    }
    return -1;
}

/* Flags what came to pass since the last look. */
static void
look(struct rtc *r, int64_t now)
{
    int64_t seen = r->seen_us ? (int64_t)r->seen_us : now, first = seen / SECOND_US + 1, wait;

    r->seen_us = (uint64_t)now;
    if (now <= seen || !is_running(r))
        return;
    if (has_period(r) && crystal_ticks(now) >> rate_shift(r) != crystal_ticks(seen) >> rate_shift(r))
        r->cmos[RTC_C] |= PERIODIC;
    if (r->cmos[RTC_B] & B_SET || now / SECOND_US < first)
        return;
    r->cmos[RTC_C] |= UPDATED;
    wait = until_alarm(r, guest_seconds(r, first * SECOND_US));
    if (wait >= 0 && wait <= now / SECOND_US - first)
        r->cmos[RTC_C] |= ALARM;
}

/* When the next interrupt that is enabled comes, in the host's time; -1: never. */
static int64_t
next_due(const struct rtc *r, int64_t now)
{
    int64_t due = INT64_MAX, next = now / SECOND_US + 1, wait;
    uint8_t b = r->cmos[RTC_B];

    if (b & PERIODIC && has_period(r))
        due = ticks_us(((crystal_ticks(now) >> rate_shift(r)) + 1) << rate_shift(r));
    if (is_running(r) && !(b & B_SET) && b & UPDATED)
        due = MIN(due, next * SECOND_US);
    if (is_running(r) && !(b & B_SET) && b & ALARM) {
        wait = until_alarm(r, guest_seconds(r, next * SECOND_US));
        due = wait < 0 ? due : MIN(due, (next + wait) * SECOND_US);
    }
    return due == INT64_MAX ? -1 : due;
}

/* The flag that an interrupt is asked for. */
static bool
flag_any(struct rtc *r)
{
    bool any = r->cmos[RTC_C] & r->cmos[RTC_B] & CAUSES;

    r->cmos[RTC_C] = (r->cmos[RTC_C] & CAUSES) | (any ? C_ANY : 0);
    return any;
}

/* Brings flag, line and alarm clock up to date.  While the line is high nothing more needs telling. */
static void
update_line(struct rtc *r)
{
    int64_t now = r->now_us(), due;
    bool any = flag_any(r);

    if (r->irqs)
        irqs_set(r->irqs, PLATFORM_RTC_IRQ, any);
    due = any || r->frozen ? -1 : next_due(r, now);
    if (!r->alarm || due == r->armed_us)
        return;
    r->armed_us = due;
    alarm_set(r->alarm, due < 0 ? -1 : g_get_monotonic_time() + MAX(due - now, 0));
}

void
rtc_tick(struct rtc *r)
{
    lock_take(&r->lock);
    r->armed_us = -1;
    if (!r->frozen) {
        look(r, r->now_us());
        update_line(r);
    }
    lock_drop(&r->lock);
}

static void
ring(void *self)
{
    rtc_tick(self);
}

void
rtc_freeze(struct rtc *r, bool frozen)
{
    lock_take(&r->lock);
    r->frozen = frozen;
    lock_drop(&r->lock);
    rtc_tick(r);
}

/* --- registers -------------------------------------------------------------------------------------------------- */

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
    if (index == RTC_A)
        value &= A_KEPT;            /* update in progress is ours to say */
    if (index == RTC_B && value & B_SET)
        value &= ~UPDATED;
    r->cmos[index] = value;
    if (held ? index == RTC_B && !(value & B_SET) : is_time(index))
        set_from_registers(r);
}

static uint8_t
read_cmos(struct rtc *r, uint8_t index)
{
    bool held = r->cmos[RTC_B] & B_SET;
    uint8_t value;

    if (is_time(index) && !held)
        latch(r);
    value = r->cmos[index];
    if (index == RTC_A && !held && is_running(r) && r->now_us() % SECOND_US >= SECOND_US - UPDATE_US)
        value |= A_UPDATES;
    if (index == RTC_C)
        r->cmos[RTC_C] = 0;
    return value;
}

/* The registers as they are now, before one is read or written: flags are of the settings until here. */
static void
bring_up(struct rtc *r)
{
    look(r, r->now_us());
    flag_any(r);
}

static uint64_t
rtc_read(void *device, uint64_t offset, unsigned size)
{
    struct rtc *r = device;
    uint64_t value = size > 1 ? 0xffff : 0xff;

    lock_take(&r->lock);
    if (offset + size > 1) {
        uint64_t data;

        bring_up(r);
        data = read_cmos(r, r->index);
        update_line(r);
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
    if (offset + size > 1) {
        bring_up(r);
        write_cmos(r, r->index, (uint8_t)(offset ? value : value >> 8));
        update_line(r);
    }
    lock_drop(&r->lock);
}

bool
rtc_attach(struct rtc *r, struct bus *bus, GError **error)
{
    static const struct bus_ops ops = { rtc_read, rtc_write };

    return bus_claim(bus, BUS_PORT, RTC_PORT, RTC_PORTS, "rtc", &ops, r, error);
}

/* --- made, reset, freed ----------------------------------------------------------------------------------------- */

/* Battery-backed memory and time survive a reset; what concerns interrupts does not. */
void
rtc_reset(struct rtc *r)
{
    lock_take(&r->lock);
    r->index = 0;
    r->cmos[RTC_A] = A_RESET;
    r->cmos[RTC_B] = B_24_HOURS;
    r->cmos[RTC_C] = 0;
    r->cmos[RTC_D] = D_VALID;
    update_line(r);
    lock_drop(&r->lock);
}

static void
put_size(struct rtc *r, uint8_t index, uint64_t units, unsigned bytes)
{
    units = MIN(units, (UINT64_C(1) << 8 * bytes) - 1);
    for (unsigned i = 0; i < bytes; i++)
        r->cmos[index + i] = (uint8_t)(units >> 8 * i);
}

/* Where a PC's firmware puts them, as QEMU's does: KiB below 640 KiB and above 1 MiB, 64 KiB above 16 MiB and above
 * 4 GiB. */
static void
put_memory(struct rtc *r, const struct rtc_memory *m)
{
    put_size(r, 0x15, 640, 2);
    put_size(r, 0x17, m->below_4g > MIB ? (m->below_4g - MIB) / KIB : 0, 2);
    put_size(r, 0x30, m->below_4g > MIB ? (m->below_4g - MIB) / KIB : 0, 2);
    put_size(r, 0x34, m->below_4g > 16 * MIB ? (m->below_4g - 16 * MIB) / (64 * KIB) : 0, 2);
    put_size(r, 0x5b, m->above_4g / (64 * KIB), 3);
}

struct rtc *
rtc_new(struct irqs *irqs, const struct rtc_memory *memory, int64_t (*now_us)(void))
{
    struct rtc *r = g_new0(struct rtc, 1);

    r->irqs = irqs;
    r->armed_us = -1;
    r->now_us = now_us ? now_us : g_get_real_time;
    lock_init(&r->lock, 15, "rtc");
    if (!now_us)
        r->alarm = alarm_new(ring, r);
    if (!now_us)
        r->watch = clock_watch_new(ring, r);
    put_memory(r, memory);
    rtc_reset(r);
    return r;
}

void
rtc_free(struct rtc *r)
{
    if (!r)
        return;
    alarm_free(r->alarm);
    clock_watch_free(r->watch);
    lock_release(&r->lock);
    g_free(r);
}

/* --- as it travels ---------------------------------------------------------------------------------------------- */

/* An alarm that was due on the way is due on arrival: the last look was the source's. */
static bool
rtc_after_load(void *object, GError **error)
{
    struct rtc *r = object;

    r->index &= CMOS_SIZE - 1;
    r->cmos[RTC_A] &= A_KEPT;
    /* A clock that is ahead of ours, or no clock: begins here. */
    if (r->seen_us > (uint64_t)r->now_us())
        r->seen_us = 0;
    return true;
}

static const struct state_field rtc_fields[] = {
    { "index", STATE_U8, offsetof(struct rtc, index) },
    { "cmos", STATE_BUFFER, offsetof(struct rtc, cmos), CMOS_SIZE },
    { "offset", STATE_U64, offsetof(struct rtc, offset) },
    { "seen_us", STATE_U64, offsetof(struct rtc, seen_us), .since = 2 },
    { 0 }
};

struct state_section
rtc_state(struct rtc *r)
{
    return (struct state_section) {
        .name = "rtc", .version = 2, .fields = rtc_fields, .object = r, .after_load = rtc_after_load,
    };
}
