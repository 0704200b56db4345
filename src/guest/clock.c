/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Time is the time stamp counter.  It may stand still, jump or go backwards when the guest is stopped or moved to
 * another host, so nobody waits for an absolute value: elapsed time is added up in small steps. */
#include "guest.h"

/* Intel 8254 channel 2, gated by port 0x61 (bit 0 gate, bit 1 speaker, bit 5 output). */
enum { PIT_HZ = 1193182, PIT_CHANNEL_2 = 0x42, PIT_COMMAND = 0x43, PIT_GATE = 0x61 };
enum { PIT_ONE_SHOT_2 = 0xb0, GATE_ON = 1, GATE_OUTPUT = 0x20 };
enum { MEASURE_MS = 25, MEASURE_COUNT = PIT_HZ / 1000 * MEASURE_MS, MEASURE_POLLS = 1000000 };
enum { KHZ_MIN = 100000, KHZ_MAX = 20000000 };

uint64_t
clock_elapsed(uint64_t *last)
{
    uint64_t now = read_tsc(), before = *last;

    *last = now;
    return now > before ? now - before : 0;
}

/* One run of the counter: time stamp ticks while it counts down, 0 if it is not there. */
static uint64_t
measure_once(void)
{
    uint64_t start;
    unsigned polls = 0;

    out8(PIT_GATE, in8(PIT_GATE) & ~3);
    out8(PIT_COMMAND, PIT_ONE_SHOT_2);
    out8(PIT_CHANNEL_2, MEASURE_COUNT & 0xff);
    out8(PIT_CHANNEL_2, MEASURE_COUNT >> 8);
    out8(PIT_GATE, (in8(PIT_GATE) & ~3) | GATE_ON);
    start = read_tsc();
    while (!(in8(PIT_GATE) & GATE_OUTPUT))
        if (++polls == MEASURE_POLLS)
            return 0;
    return clock_elapsed(&start);
}

uint64_t
clock_measure(void)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 3; i++) {
        uint64_t ticks = measure_once();

        /* Losing the CPU in between only makes it longer. */
        if (ticks && ticks < best)
            best = ticks;
    }
    best = best == UINT64_MAX ? 0 : best * PIT_HZ / MEASURE_COUNT / 1000;
    return best >= KHZ_MIN && best <= KHZ_MAX ? best : 0;
}

void
clock_spin(uint64_t microseconds, const uint64_t *word, uint64_t value)
{
    uint64_t last = read_tsc(), left = microseconds * load(&head->tsc_khz) / 1000, step;

    while (!word || load(word) == value) {
        relax();
        step = clock_elapsed(&last);
        if (step >= left)
            return;
        left -= step;
    }
}
