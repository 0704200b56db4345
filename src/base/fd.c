/* SPDX-License-Identifier: GPL-3.0-or-later */
/* File descriptors. */
#include "base.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

void
close_fd(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

/* Waits until a descriptor that would block takes more; false sets errno. */
static bool
wait_writable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

bool
write_all(int fd, const void *data, size_t size)
{
    const uint8_t *at = data;

    while (size) {
        ssize_t n = write(fd, at, size);

        if (n >= 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_writable(fd))
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}
