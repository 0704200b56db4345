/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A migration over a network that falls silent: this program has one of its own, whose loopback it takes down. */
#include "migrate-fake.h"

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALL = 1 << 20 };

static bool
set_loopback(bool up)
{
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = (short)(up ? IFF_UP : 0) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &r) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

/* A host that crashed says nothing more, not even that. */
static void
destination_does_not_wait_for_a_host_that_is_gone(void)
{
    struct pair p;

    if ((unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) || !set_loopback(true)) {
        g_test_skip("this process may not have a network of its own");
        return;
    }
    pair_open(&p, SMALL, 50, 41);
    atomic_store(&p.parameters.max_bandwidth, 64 * KIB);
    atomic_store(&p.parameters.downtime_limit, 0);
    atomic_store(&p.parameters.link_timeout, 2);
    pair_start(&p, "tcp:127.0.0.1:4444", "tcp:127.0.0.1:4444");
    PAIR_WAIT(&p, side_state(&p.to) == MIGRATE_ACTIVE);
    g_assert_true(set_loopback(false));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_autofree char *why = side_error(&p.to);
    g_test_message("%s", why);
    g_assert_cmpint(side_state(&p.to), ==, MIGRATE_FAILED);
    g_assert_nonnull(strstr(why, "timed out"));
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_HERE);
    if (!side_ended(&p.from))
        g_assert_true(session_cancel(p.from.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    pair_release(&p);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/silence/destination does not wait for a host that is gone",
                    destination_does_not_wait_for_a_host_that_is_gone);
    return g_test_run();
}
