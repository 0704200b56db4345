/* SPDX-License-Identifier: GPL-3.0-or-later */
/* usage: bench-limits all [MIB] | warm MIB | layout
 * What a machine can do at most, for bench-migrate to set results against.
 *   all     copies MIB (900), scans them for zeros, sends them through sockets in large writes into memory that is
 *           there and into fresh memory, takes memory from the host, compresses text; MiB a second, the best of three
 *   warm    takes so much memory and gives it back: what was free for some seconds may come slowly (a guest's memory
 *           that its host has taken back), whoever needs it
 *   layout  where in guest memory the workload guest's control words lie
 * Prints JSON. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <x86intrin.h>

#include "control-page.h"
#include "memory.h"

enum { WRITE = 1 << 20, TRIES = 3, TEXT = 8 << 20 };

static void
die(const char *what)
{
    fprintf(stderr, "bench-limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Memory that nobody has touched: with huge pages, with small ones, or of a memfd. */
enum kind { HUGE_PAGES, SMALL_PAGES, MEMFD_PAGES };

static uint8_t *
fresh(size_t size, enum kind kind)
{
    int fd = kind == MEMFD_PAGES ? memfd_create("bench", MFD_CLOEXEC) : -1;
    uint8_t *at;

    if (fd >= 0 && ftruncate(fd, (off_t)size) != 0)
        die("memfd");
    at = mmap(NULL, size + 2 * MIB, PROT_READ | PROT_WRITE,
              kind == MEMFD_PAGES ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
    if (at == MAP_FAILED)
        die("mmap");
    if (fd >= 0)
        close(fd);
    else
        madvise(at, size + 2 * MIB, kind == HUGE_PAGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return at;
}

static void
drop(uint8_t *at, size_t size)
{
    munmap(at, size + 2 * MIB);
}

static void
touch(uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE_SIZE)
        ((volatile uint8_t *)at)[i] = 0;
}

static void
warm(size_t size)
{
    uint8_t *at = fresh(size, HUGE_PAGES);

    touch(at, size);
    drop(at, size);
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

struct sending { int fd; const uint8_t *from; size_t size; };

static void *
send_all(void *data)
{
    struct sending *s = data;

    for (size_t at = 0; at < s->size;) {
        ssize_t n = write(s->fd, s->from + at, s->size - at < WRITE ? s->size - at : WRITE);
        if (n < 0)
            die("write");
        at += (size_t)n;
    }
    return NULL;
}

static void
tcp_pair(int fds[2])
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof a;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1) != 0
        || getsockname(listener, (struct sockaddr *)&a, &length) != 0)
        die("tcp");
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fds[0], (struct sockaddr *)&a, sizeof a) != 0 || (fds[1] = accept(listener, NULL, NULL)) < 0)
        die("tcp");
    setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

static double
carry(bool tcp, const uint8_t *from, uint8_t *to, size_t size)
{
    struct sending s = { .from = from, .size = size };
    double began = now();
    pthread_t thread;
    int fds[2];

    if (tcp)
        tcp_pair(fds);
    else if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        die("socketpair");
    s.fd = fds[0];
    if (pthread_create(&thread, NULL, send_all, &s) != 0)
        die("thread");
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fds[1], to + at, size - at < WRITE ? size - at : WRITE);
        if (n <= 0)
            die("read");
        at += (size_t)n;
    }
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    return now() - began;
}

/* --- each limit ------------------------------------------------------------------------------------------------- */

enum limit { COPY, ZERO_SCAN, UNIX, UNIX_HUGE, UNIX_MEMFD, TCP, TCP_HUGE, TOUCH_HUGE, TOUCH_SMALL, DEFLATE, LIMITS };
static const char *const names[LIMITS] = {
    "memcpy", "zero_scan", "unix", "unix_into_fresh_huge", "unix_into_fresh_memfd", "tcp", "tcp_into_fresh_huge",
    "touch_huge", "touch_small", "zlib_core",
};

struct memory { uint8_t *from, *to, *text; size_t size; };

static double
into_fresh(bool tcp, const struct memory *m, enum kind kind)
{
    uint8_t *at = fresh(m->size, kind);
    double took = carry(tcp, m->from, at, m->size);

    drop(at, m->size);
    return took;
}

static double
take(size_t size, enum kind kind)
{
    uint8_t *at = fresh(size, kind);
    double began = now(), took;

    touch(at, size);
    took = now() - began;
    drop(at, size);
    return took;
}

static double
scan(const struct memory *m)
{
    double began = now();
    size_t zeros = 0;

    memset(m->to, 0, m->size);
    began = now();
    for (size_t at = 0; at < m->size; at += PAGE_SIZE)
        zeros += page_is_zero(m->to + at);
    if (zeros != m->size / PAGE_SIZE)
        die("zero scan");
    return now() - began;
}

/* Page by page at level 1, as a migration does. */
static double
deflate_text(const struct memory *m)
{
    uint8_t coded[2 * PAGE_SIZE];
    double began = now();
    z_stream z = { 0 };

    if (deflateInit(&z, 1) != Z_OK)
        die("zlib");
    for (size_t at = 0; at < TEXT; at += PAGE_SIZE) {
        deflateReset(&z);
        z.next_in = m->text + at;
        z.avail_in = PAGE_SIZE;
        z.next_out = coded;
        z.avail_out = sizeof coded;
        if (deflate(&z, Z_FINISH) != Z_STREAM_END)
            die("zlib");
    }
    deflateEnd(&z);
    return (now() - began) * (double)m->size / TEXT;
}

static double
seconds(enum limit limit, const struct memory *m)
{
    double began = now();

    switch (limit) {
    case COPY:
        memcpy(m->to, m->from, m->size);
        return now() - began;
    case ZERO_SCAN:
        return scan(m);
    case UNIX:
        return carry(false, m->from, m->to, m->size);
    case UNIX_HUGE:
        return into_fresh(false, m, HUGE_PAGES);
    case UNIX_MEMFD:
        return into_fresh(false, m, MEMFD_PAGES);
    case TCP:
        return carry(true, m->from, m->to, m->size);
    case TCP_HUGE:
        return into_fresh(true, m, HUGE_PAGES);
    case TOUCH_HUGE:
        return take(m->size, HUGE_PAGES);
    case TOUCH_SMALL:
        return take(m->size, SMALL_PAGES);
    case DEFLATE:
        return deflate_text(m);
    case LIMITS:
        break;
    }
    return 0;
}

static double
tsc_khz(void)
{
    double began = now();
    uint64_t first = __rdtsc();

    while (now() - began < 0.05)
        ;
    return (double)(__rdtsc() - first) / (now() - began) / 1000;
}

static void
all(size_t mib)
{
    struct memory m = { .size = mib * MIB };

    m.from = fresh(m.size, HUGE_PAGES);
    m.to = fresh(m.size, HUGE_PAGES);
    m.text = fresh(TEXT, SMALL_PAGES);
    for (size_t i = 0; i < m.size / 8; i++)
        ((uint64_t *)(void *)m.from)[i] = control_fill_word(FILL_RANDOM, i / 512, 1, i % 512);
    for (size_t i = 0; i < TEXT / 8; i++)
        ((uint64_t *)(void *)m.text)[i] = control_fill_word(FILL_TEXT, i / 512, 1, i % 512);
    touch(m.to, m.size);
    warm(m.size);
    printf("{");
    for (enum limit limit = 0; limit < LIMITS; limit++) {
        double best = 1e9;

        for (unsigned i = 0; i < TRIES; i++)
            best = MIN(best, seconds(limit, &m));
        printf("\"%s\": %.0f, ", names[limit], (double)mib / best);
    }
    printf("\"tsc_khz\": %.0f }\n", tsc_khz());
}

static void
layout(void)
{
    printf("{ \"head\": %d, \"cpu\": %d, \"tsc_khz\": %zu, \"sequence\": %zu, \"parameters\": %zu, \"stage\": %zu, "
           "\"running\": %d, \"pages_written\": %zu, \"gap\": %zu, \"mismatches\": %zu, \"bytes\": %d }\n",
           CONTROL_GPA, CONTROL_CPUS_GPA, offsetof(struct control_head, tsc_khz),
           offsetof(struct control_head, sequence), offsetof(struct control_head, parameters),
           offsetof(struct control_head, stage), STAGE_RUNNING, offsetof(struct control_cpu, pages_written),
           offsetof(struct control_cpu, gap), offsetof(struct control_cpu, mismatches), CONTROL_PAGE);
}

int
main(int argc, char **argv)
{
    size_t mib = argc > 2 ? (size_t)atol(argv[2]) : 900;

    if (argc > 1 && strcmp(argv[1], "all") == 0)
        all(mib);
    else if (argc > 2 && strcmp(argv[1], "warm") == 0)
        warm(mib * MIB);
    else if (argc > 1 && strcmp(argv[1], "layout") == 0)
        layout();
    else
        return fprintf(stderr, "usage: bench-limits all [MIB] | warm MIB | layout\n"), 2;
    return 0;
}
