/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The load of a Linux guest that is moved: on each CPU a process that writes its memory all the time, page by page at
 * random, and reads each page, before it does so again, with all that stands in it; and time, which must not go
 * backwards, neither on a CPU nor from one to another.  Its counts come each second; a line on its input ends it.
 *
 *   guest-load MEBIBYTES     for each process */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 512, CLOCKS = 2, CPUS_MOST = 64 };

static const clockid_t clocks[CLOCKS] = { CLOCK_MONOTONIC, CLOCK_REALTIME };

/* What all processes share. */
struct sums {
    _Atomic uint64_t latest[CLOCKS];    /* ns, the latest that anybody has read */
    _Atomic uint64_t pages;             /* written, and found as written */
    _Atomic uint64_t wrong;             /* words that were not as written */
    _Atomic uint64_t backwards;         /* readings of a clock earlier than one before */
    _Atomic bool stop;
};

/* Each clock is read after the latest reading is known, so it must not be less than that. */
static void
look_at_clocks(struct sums *sums)
{
    for (int i = 0; i < CLOCKS; i++) {
        uint64_t latest = atomic_load(&sums->latest[i]), now;
        struct timespec t;

        clock_gettime(clocks[i], &t);
        now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
        if (now < latest)
            atomic_fetch_add(&sums->backwards, 1);
        while (latest < now && !atomic_compare_exchange_weak(&sums->latest[i], &latest, now))
            ;
    }
}

/* The word that stands at a place once a page was written for the nth time. */
static uint64_t
word(uint64_t page, uint64_t times, uint64_t place)
{
    return (page << 40 ^ times << 10 ^ place) * UINT64_C(0x9e3779b97f4a7c15);
}

static void
work(struct sums *sums, uint64_t pages)
{
    uint64_t *memory = mmap(NULL, pages * WORDS * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *times = calloc(pages, sizeof(*times)), random = (uint64_t)getpid();

    if (memory == MAP_FAILED || times == NULL) {
        atomic_fetch_add(&sums->wrong, 1);
        return;
    }
    while (!atomic_load(&sums->stop)) {
        uint64_t page, *words, wrong = 0;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        page = (random >> 33) % pages;
        words = memory + page * WORDS;
        for (uint64_t i = 0; i < WORDS && times[page] > 0; i++)
            wrong += words[i] != word(page, times[page], i);
        times[page]++;
        for (uint64_t i = 0; i < WORDS; i++)
            words[i] = word(page, times[page], i);
        atomic_fetch_add(&sums->wrong, wrong);
        atomic_fetch_add(&sums->pages, 1);
        look_at_clocks(sums);
    }
}

/* One process on each CPU that there is; they end with this one. */
static void
start(struct sums *sums, uint64_t pages)
{
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN) && cpu < CPUS_MOST; cpu++) {
        cpu_set_t set;

        if (fork() != 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) != 0)
            atomic_fetch_add(&sums->wrong, 1);
        work(sums, pages);
        _exit(0);
    }
}

static void
say(struct sums *sums, const char *what)
{
    printf("guest: load %s: %llu pages, %llu words wrong, time went backwards %llu times\n", what,
           (unsigned long long)atomic_load(&sums->pages), (unsigned long long)atomic_load(&sums->wrong),
           (unsigned long long)atomic_load(&sums->backwards));
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    uint64_t pages = argc > 1 ? strtoull(argv[1], NULL, 10) * 256 : 0;
    struct sums *sums = mmap(NULL, sizeof(*sums), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

    if (pages == 0 || sums == MAP_FAILED) {
        fprintf(stderr, "usage: guest-load MEBIBYTES\n");
        return 2;
    }
    start(sums, pages);
    while (poll(&input, 1, 1000) <= 0)
        say(sums, "goes on");
    atomic_store(&sums->stop, true);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    say(sums, "ended");
    return 0;
}
