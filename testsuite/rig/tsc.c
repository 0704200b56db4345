/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prints the frequency of this host's TSC in kHz.  The rig's CPUs have that TSC, and their kernel is told, for on a
 * busy host it would take a wrong measure of it. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

enum { MEASURE_NS = 200 * 1000 * 1000 };

static uint64_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The TSC at a time; of several tries the one that was least disturbed. */
static uint64_t
tsc_at(uint64_t *ret_ns)
{
    uint64_t best = UINT64_MAX, tsc = 0;

    for (int i = 0; i < 100; i++) {
        uint64_t before = __rdtsc(), ns = now_ns(), after = __rdtsc();

        if (after - before < best) {
            best = after - before;
            tsc = before + best / 2;
            *ret_ns = ns;
        }
    }
    return tsc;
}

int
main(void)
{
    struct timespec pause = { .tv_nsec = MEASURE_NS };
    uint64_t from_ns = 0, to_ns = 0, from = tsc_at(&from_ns), to;

    nanosleep(&pause, NULL);
    to = tsc_at(&to_ns);
    printf("%" PRIu64 "\n", (to - from) * 1000000 / (to_ns - from_ns));
    return 0;
}
