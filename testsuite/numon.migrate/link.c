/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A link that fails on demand: forwards connections byte for byte, with descriptors that come with them, and, at a
 * byte that was chosen before, cuts, stalls, delays or truncates, or kills a process.  For
 * testsuite/numon.migrate/faults.exp.
 *
 *     link LISTEN TO          each a path (a unix socket) or a port of 127.0.0.1; LISTEN 0: any free one
 *
 * It prints "listening WHERE" and takes lines on its standard input, answering each with one line:
 *
 *     rule WHAT WAY AT [SINCE [NUMBER]]
 *                             for the next connection: once AT bytes were passed on the WAY (forth or back), counted
 *                             from when SINCE bytes had come back.  WHAT: cut, stall, delay (NUMBER ms), truncate
 *                             (that way ends, the other goes on), corrupt (bits NUMBER of the next byte) or kill
 *                             (process NUMBER).
 *     down | up               connections are broken off at once, new ones too | all is forwarded again, also what
 *                             stalled
 *     count                   "forth N back N since N fired N": bytes of the last connection with a rule (of the
 *                             last at all, if none had one), those forth since SINCE bytes had come back
 *     quit                    as does the end of input */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 8, BUFFER = 65536, LINE = 256, GIVEN = 253 };

struct rule {
    char what[16];                  /* empty: none */
    bool back;
    uint64_t at, since;
    long number;
};

struct way {
    int from, to;
    uint64_t passed;
    size_t begin, end;              /* of what is in 'bytes' */
    uint8_t flip;                   /* bits of the next byte that is read */
    int given[GIVEN];               /* descriptors that go on with the next byte */
    unsigned given_count;
    bool over;                      /* nothing more is read */
    bool ended;                     /* and 'to' was told */
    char bytes[BUFFER];
};

struct pair {
    bool used, stalled, fired, counting;
    uint64_t base;                  /* bytes passed forth when rule.since had come back */
    int64_t hold_until_ms;
    struct rule rule;
    struct way forth, back;
};

struct link {
    int listener;
    const char *to;
    bool down, quit;
    struct rule next;               /* of the next connection */
    struct pair *shown;             /* whose counts are told */
    struct pair pairs[PAIRS];
    char line[LINE];
    size_t line_size;
};

static void
die(const char *what)
{
    fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

union where {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_in in;
};

static socklen_t
where_of(const char *text, union where *ret)
{
    memset(ret, 0, sizeof *ret);
    if (strchr(text, '/')) {
        ret->un.sun_family = AF_UNIX;
        strncpy(ret->un.sun_path, text, sizeof ret->un.sun_path - 1);
        return sizeof ret->un;
    }
    ret->in.sin_family = AF_INET;
    ret->in.sin_port = htons((uint16_t)atoi(text));
    ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof ret->in;
}

static int
listen_at(const char *text)
{
    union where at;
    socklen_t size = where_of(text, &at);
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, &at.any, size) < 0 || listen(fd, PAIRS) < 0)
        die(text);
    if (at.any.sa_family == AF_UNIX) {
        printf("listening %s\n", text);
    } else {
        getsockname(fd, &at.any, &size);
        printf("listening %u\n", ntohs(at.in.sin_port));
    }
    return fd;
}

static int
connect_to(const char *text)
{
    union where at;
    socklen_t size = where_of(text, &at);
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &at.any, size) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* --- pairs ------------------------------------------------------------------------------------------------------ */

static void
way_drop(struct way *w)
{
    while (w->given_count > 0)
        close(w->given[--w->given_count]);
}

static void
pair_close(struct pair *p)
{
    if (!p->used)
        return;
    way_drop(&p->forth);
    way_drop(&p->back);
    close(p->forth.from);
    close(p->forth.to);
    p->used = false;
}

static void
pair_fire(struct pair *p)
{
    struct way *w = p->rule.back ? &p->back : &p->forth;

    p->fired = true;
    if (strcmp(p->rule.what, "cut") == 0)
        pair_close(p);
    else if (strcmp(p->rule.what, "stall") == 0)
        p->stalled = true;
    else if (strcmp(p->rule.what, "delay") == 0)
        p->hold_until_ms = now_ms() + p->rule.number;
    else if (strcmp(p->rule.what, "truncate") == 0)
        w->over = true;
    else if (strcmp(p->rule.what, "corrupt") == 0)
        w->flip = (uint8_t)p->rule.number;
    else if (strcmp(p->rule.what, "kill") == 0 && p->rule.number > 1)
        kill((pid_t)p->rule.number, SIGKILL);
}

/* Bytes that may still pass before the rule of this way fires. */
static uint64_t
way_allows(const struct pair *p, const struct way *w)
{
    if (!p->rule.what[0] || p->fired || (w == &p->back) != p->rule.back)
        return UINT64_MAX;
    if (p->rule.back)
        return p->rule.at - w->passed;
    return p->counting ? p->base + p->rule.at - w->passed : UINT64_MAX;
}

static void
pair_look(struct pair *p)
{
    if (!p->counting && p->back.passed >= p->rule.since) {
        p->counting = true;
        p->base = p->forth.passed;
    }
    if (p->used && (way_allows(p, &p->forth) == 0 || way_allows(p, &p->back) == 0))
        pair_fire(p);
}

static void
pair_open(struct link *l, int fd)
{
    struct pair *p = l->pairs;

    while (p < l->pairs + PAIRS && (p->used || (p == l->shown && p->rule.what[0])))
        p++;
    int to = l->down || p == l->pairs + PAIRS ? -1 : connect_to(l->to);
    if (to < 0) {
        close(fd);
        return;
    }
    memset(p, 0, sizeof *p);
    p->used = true;
    p->rule = l->next;
    l->next.what[0] = '\0';
    if (p->rule.what[0] || !l->shown || !l->shown->rule.what[0])
        l->shown = p;
    p->forth.from = p->back.to = fd;
    p->forth.to = p->back.from = to;
    pair_look(p);
}

union room { struct cmsghdr align; char bytes[CMSG_SPACE(GIVEN * sizeof(int))]; };

static ssize_t
way_receive(struct way *w, size_t size)
{
    struct iovec iov = { w->bytes, size };
    union room room;
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room };
    ssize_t got = recvmsg(w->from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;

    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        w->given_count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(w->given, CMSG_DATA(header), w->given_count * sizeof(int));
    }
    return got;
}

static ssize_t
way_send(struct way *w)
{
    struct iovec iov = { w->bytes + w->begin, w->end - w->begin };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    size_t size = w->given_count * sizeof(int);
    union room room = { 0 };

    if (size) {
        m.msg_control = &room;
        m.msg_controllen = CMSG_SPACE(size);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr) { CMSG_LEN(size), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), w->given, size);
    }
    ssize_t sent = sendmsg(w->to, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0)
        way_drop(w);
    return sent;
}

/* False if the pair is broken. */
static bool
way_read(struct pair *p, struct way *w)
{
    uint64_t most = way_allows(p, w);
    ssize_t got = way_receive(w, most < BUFFER ? (size_t)most : BUFFER);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    w->over = got == 0;
    w->begin = 0;
    w->end = (size_t)got;
    if (got > 0) {
        w->bytes[0] ^= (char)w->flip;
        w->flip = 0;
    }
    return true;
}

static bool
way_write(struct pair *p, struct way *w)
{
    ssize_t sent = way_send(w);

    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    w->begin += (size_t)sent;
    w->passed += (uint64_t)sent;
    pair_look(p);
    return true;
}

/* --- the loop --------------------------------------------------------------------------------------------------- */

static bool
pair_rests(const struct pair *p)
{
    return !p->used || p->stalled || p->hold_until_ms > now_ms();
}

static void
way_ask(const struct pair *p, const struct way *w, struct pollfd *fd)
{
    bool full = w->end > w->begin;

    *fd = (struct pollfd) { -1, 0, 0 };
    if (!pair_rests(p) && full)
        *fd = (struct pollfd) { w->to, POLLOUT, 0 };
    else if (!pair_rests(p) && !w->over)
        *fd = (struct pollfd) { w->from, POLLIN, 0 };
}

static void
way_serve(struct pair *p, struct way *w, short events)
{
    if (!p->used || !events)
        return;
    if (!(w->end > w->begin ? way_write(p, w) : way_read(p, w))) {
        pair_close(p);
        return;
    }
    if (w->over && w->end == w->begin && !w->ended) {
        w->ended = true;
        shutdown(w->to, SHUT_WR);
    }
    if (p->forth.ended && p->back.ended)
        pair_close(p);
}

/* A truncated way ends without having been read to its end. */
static void
pair_truncate(struct pair *p)
{
    struct way *w = p->rule.back ? &p->back : &p->forth;

    if (p->used && p->fired && strcmp(p->rule.what, "truncate") == 0 && !w->ended) {
        w->ended = true;
        shutdown(w->to, SHUT_WR);
    }
}

static void
take_rule(struct link *l, const char *text)
{
    struct rule r = { .what = "" };
    char way[16] = "";
    unsigned long long at = 0, since = 0;

    sscanf(text, "%15s %15s %llu %llu %ld", r.what, way, &at, &since, &r.number);
    r.back = strcmp(way, "back") == 0;
    r.at = at;
    r.since = since;
    l->next = r;
    l->shown = NULL;
    printf("ok\n");
}

static void
tell_count(const struct link *l)
{
    const struct pair *p = l->shown;

    if (!p)
        printf("forth 0 back 0 since 0 fired 0\n");
    else
        printf("forth %llu back %llu since %llu fired %d\n", (unsigned long long)p->forth.passed,
               (unsigned long long)p->back.passed,
               (unsigned long long)(p->counting ? p->forth.passed - p->base : 0), p->fired);
}

static void
take_line(struct link *l, const char *line)
{
    l->quit = strcmp(line, "quit") == 0;
    if (strncmp(line, "rule ", 5) == 0) {
        take_rule(l, line + 5);
    } else if (strcmp(line, "count") == 0) {
        tell_count(l);
    } else {
        l->down = strcmp(line, "down") == 0;
        for (struct pair *p = l->pairs; p < l->pairs + PAIRS; p++) {
            p->stalled = false;
            if (l->down)
                pair_close(p);
        }
        printf("ok\n");
    }
}

static void
take_input(struct link *l)
{
    char c;

    if (read(STDIN_FILENO, &c, 1) <= 0) {
        l->quit = true;
    } else if (c != '\n') {
        l->line[l->line_size] = c;
        l->line_size += l->line_size < LINE - 1;
    } else {
        l->line[l->line_size] = '\0';
        l->line_size = 0;
        take_line(l, l->line);
    }
}

static void
link_run(struct link *l)
{
    while (!l->quit) {
        struct pollfd fds[2 + 2 * PAIRS] = { { STDIN_FILENO, POLLIN, 0 }, { l->listener, POLLIN, 0 } };
        int timeout = -1;
        for (unsigned i = 0; i < PAIRS; i++) {
            struct pair *p = &l->pairs[i];
            pair_truncate(p);
            way_ask(p, &p->forth, &fds[2 + 2 * i]);
            way_ask(p, &p->back, &fds[3 + 2 * i]);
            if (p->used && p->hold_until_ms > now_ms())
                timeout = 10;
        }
        if (poll(fds, 2 + 2 * PAIRS, timeout) < 0)
            continue;
        for (unsigned i = 0; i < PAIRS; i++) {
            way_serve(&l->pairs[i], &l->pairs[i].forth, fds[2 + 2 * i].revents);
            way_serve(&l->pairs[i], &l->pairs[i].back, fds[3 + 2 * i].revents);
        }
        if (fds[1].revents) {
            int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                pair_open(l, fd);
        }
        if (fds[0].revents)
            take_input(l);
    }
}

int
main(int argc, char **argv)
{
    static struct link l;

    if (argc != 3) {
        fprintf(stderr, "usage: link LISTEN TO\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    l.to = argv[2];
    l.listener = listen_at(argv[1]);
    link_run(&l);
    return 0;
}
