/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The outside of a serial line, on main: serves the target from the ring, and takes its input.
 *
 * What the target has not had yet is copied out of the ring and written; where that would wait its descriptor is
 * watched instead.  Input is read only while none waits: as long as the guest has no room, the rest stays where it
 * came from.  A target that fails is told once and loses what it refused. */
#include "serial-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    COPY_SIZE = 8192,
    LOOK_MS   = 100,                /* between looks whether a pseudo terminal was opened, which nothing tells */
};

static gboolean became_readable(gint fd, GIOCondition condition, gpointer data);
static bool read_input(struct serial *s);

static void
unwatch(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static GSource *
attach(struct serial *s, GSource *source, GSourceFunc body)
{
    g_source_set_callback(source, body, s, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static GSource *
watch(struct serial *s, int fd, GIOCondition condition, GUnixFDSourceFunc body)
{
    return attach(s, g_unix_fd_source_new(fd, condition), G_SOURCE_FUNC(body));
}

static void
tell(struct serial *s, bool *told, const char *text)
{
    if (!*told && s->failed)
        s->failed(s->self, text);
    *told = true;
}

/* --- who is there ----------------------------------------------------------------------------------------------- */

static void
watch_input(struct serial *s)
{
    bool reads = s->outlet.kind == OUTLET_UNIX || s->outlet.kind == OUTLET_PTY;

    if (reads && s->outlet.fd >= 0 && !s->readable && !s->awaited && s->input_at == s->input_end)
        s->readable = watch(s, s->outlet.fd, G_IO_IN | G_IO_HUP | G_IO_ERR, became_readable);
}

/* Somebody is there: gets what the ring has. */
static void
connected(struct serial *s)
{
    unwatch(&s->awaited);
    lock_take(&s->lock);
    s->reader = true;
    s->sent = s->total > SERIAL_RING_SIZE ? s->total - SERIAL_RING_SIZE : 0;
    lock_drop(&s->lock);
    watch_input(s);
    line_flush(s);
}

static gboolean
client_came(gint fd, GIOCondition condition, gpointer data)
{
    struct serial *s = data;

    s->outlet.fd = accept4(s->outlet.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (s->outlet.fd < 0)
        return G_SOURCE_CONTINUE;
    connected(s);
    return G_SOURCE_REMOVE;
}

static gboolean
look_at_pty(gpointer data)
{
    struct serial *s = data;

    if (outlet_is_open(&s->outlet)) {
        connected(s);
        return G_SOURCE_REMOVE;
    }
    read_input(s);                  /* it may have been opened, written to and closed since the last look */
    return G_SOURCE_CONTINUE;
}

/* Nobody is there: the next one is awaited, and the transmitter does not wait any more. */
static void
await(struct serial *s)
{
    bool room;

    unwatch(&s->writable);
    unwatch(&s->readable);
    lock_take(&s->lock);
    s->reader = false;
    room = serial_has_resumed(s);
    lock_drop(&s->lock);
    if (s->outlet.kind == OUTLET_UNIX) {
        close_fd(&s->outlet.fd);
        s->awaited = watch(s, s->outlet.listener, G_IO_IN, client_came);
    } else {
        outlet_forget(&s->outlet);
        s->awaited = attach(s, g_timeout_source_new(LOOK_MS), look_at_pty);
    }
    if (room && s->guest)
        s->guest->room(s->guest_self);
}

/* --- output ----------------------------------------------------------------------------------------------------- */

static gboolean
became_writable(gint fd, GIOCondition condition, gpointer data)
{
    struct serial *s = data;

    unwatch(&s->writable);
    /* A pseudo terminal that nobody has open is full for good, which is no error of writing. */
    if (s->outlet.kind == OUTLET_PTY && condition & G_IO_HUP)
        await(s);
    else
        line_flush(s);
    return G_SOURCE_REMOVE;
}

static void
write_failed(struct serial *s, int host_errno)
{
    g_autofree char *text = NULL;

    if (s->outlet.kind == OUTLET_UNIX || s->outlet.kind == OUTLET_PTY) {
        await(s);                   /* a reader may go as it came */
        return;
    }
    if (host_errno == EPIPE || host_errno == EBADF)
        s->outlet.fd = s->outlet.kind == OUTLET_STDIO ? -1 : s->outlet.fd;
    text = g_strdup_printf("cannot write serial output to '%s', some is lost: %s", s->target, g_strerror(host_errno));
    tell(s, &s->told, text);
}

/* The next bytes for the target: '*ret_end' is the position after them. */
static size_t
copy_next(struct serial *s, uint8_t *to, size_t room, uint64_t *ret_end, bool *ret_lost)
{
    uint64_t wanted, missed;
    size_t size;

    lock_take(&s->lock);
    wanted = *ret_end = s->sent;
    size = serial_copy(s, ret_end, to, room);
    missed = *ret_end - size - wanted;
    s->lost += missed;
    *ret_lost = s->too_fast = s->too_fast || missed;
    s->sent = *ret_end - size;
    lock_drop(&s->lock);
    return size;
}

/* Served up to there; true if the transmitter waited and has to no longer. */
static bool
served(struct serial *s, uint64_t position, uint64_t lost)
{
    bool room;

    lock_take(&s->lock);
    s->sent = position;
    s->lost += lost;
    room = serial_has_resumed(s);
    lock_drop(&s->lock);
    return room;
}

void
line_flush(struct serial *s)
{
    uint8_t bytes[COPY_SIZE];
    uint64_t end;
    size_t size;
    ssize_t n;
    bool lost;

    while (s->outlet.fd >= 0 && !s->writable && !s->awaited) {
        size = copy_next(s, bytes, sizeof(bytes), &end, &lost);
        if (lost)
            tell(s, &s->told_lost, "serial output comes faster than it is read, some is lost (see `info serial`)");
        if (size == 0)
            return;
        n = outlet_write(&s->outlet, bytes, size);
        if (served(s, n < 0 ? end : end - size + (size_t)n, n < 0 ? size : 0) && s->guest)
            s->guest->room(s->guest_self);
        if (n < 0)
            write_failed(s, errno);
        else if (n == 0)
            s->writable = watch(s, s->outlet.fd, G_IO_OUT | G_IO_HUP | G_IO_ERR, became_writable);
    }
}

/* --- input ------------------------------------------------------------------------------------------------------ */

void
line_deliver(struct serial *s)
{
    bool waited = s->input_at < s->input_end;

    while (s->input_at < s->input_end) {
        size_t n = s->guest ? s->guest->take(s->guest_self, s->input + s->input_at, s->input_end - s->input_at)
                            : s->input_end - s->input_at;

        if (n == 0)
            return;
        s->input_at += n;
    }
    s->input_at = s->input_end = 0;
    watch_input(s);
    if (waited && s->hungry)
        s->hungry(s->hungry_self);
}

/* False if the other end has gone.  Only while nothing waits. */
static bool
read_input(struct serial *s)
{
    ssize_t n;

    if (s->input_at < s->input_end)
        return true;
    n = outlet_read(&s->outlet, s->input, sizeof(s->input));
    s->input_end = n > 0 ? (size_t)n : 0;
    line_deliver(s);
    return n >= 0;
}

static gboolean
became_readable(gint fd, GIOCondition condition, gpointer data)
{
    struct serial *s = data;

    unwatch(&s->readable);
    if (read_input(s))
        watch_input(s);
    else
        await(s);
    return G_SOURCE_REMOVE;
}

size_t
serial_type(struct serial *s, const void *bytes, size_t size)
{
    size_t n = s->input_at == s->input_end ? MIN(size, sizeof(s->input)) : 0;

    if (n == 0)
        return 0;
    memcpy(s->input, bytes, n);
    s->input_end = n;
    unwatch(&s->readable);
    line_deliver(s);
    return n;
}

void
serial_type_break(struct serial *s)
{
    if (s->guest)
        s->guest->take_break(s->guest_self);
}

void
serial_on_hungry(struct serial *s, void (*hungry)(void *self), void *self)
{
    s->hungry = hungry;
    s->hungry_self = self;
}

/* --- opened and closed ------------------------------------------------------------------------------------------ */

bool
line_open(struct serial *s, const char *target, GError **error)
{
    if (!outlet_open(&s->outlet, target, error)) {
        outlet_close(&s->outlet);
        return false;
    }
    if (s->outlet.kind == OUTLET_UNIX || s->outlet.kind == OUTLET_PTY)
        await(s);
    else if (s->outlet.fd >= 0)
        connected(s);
    return true;
}

void
line_close(struct serial *s)
{
    unwatch(&s->writable);          /* so that flush tries once more */
    line_flush(s);
    unwatch(&s->writable);
    unwatch(&s->readable);
    unwatch(&s->awaited);
    outlet_close(&s->outlet);
}
