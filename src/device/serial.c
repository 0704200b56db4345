/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Serial output: a ring of the last 64 KiB, numbered by stream position, and a target that main keeps up to date.
 *
 * vCPU threads put bytes into the ring under its lock and post at most one message to main.  Main copies what the
 * target has not had yet out of the ring and writes it; where that would wait it watches the descriptor instead.  A
 * target that falls more than a ring behind loses the oldest bytes; one that fails is told once and loses what it
 * refused.
 *
 * A message may outlive the serial_free: it holds a reference to the box, which then says that nobody is home. */
#include "device-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COPY_SIZE = 8192 };

struct serial {
    /* Fixed. */
    struct mailbox *mailbox;        /* borrowed */
    char *target;                   /* as given; owned */

    struct lock lock;               /* rank 55 */
    uint8_t ring[SERIAL_RING_SIZE] GUARDED;     /* the byte of position p is at p modulo the size */
    uint64_t total GUARDED;         /* bytes ever put */
    bool posted GUARDED;            /* a message to main is on its way */

    /* Owned by main. */
    struct outlet outlet;
    bool closed;                    /* serial_free was called: messages do nothing */
    bool told;                      /* a failure was told */
    uint64_t sent;                  /* stream position up to which the target was served */
    GSource *writable;              /* watch while the target is full; owned */
    GSource *readable;              /* UNIX: for the next client, or for this one's end; owned */
    void (*failed)(void *self, const char *text);
    void *self;
};

static void serial_flush(struct serial *s);

/* --- ring ------------------------------------------------------------------------------------------------------- */

static void
serial_release(void *box)
{
    struct serial *s = box;

    lock_release(&s->lock);
    g_free(s->target);
}

static void
serial_unref(void *s)
{
    g_atomic_rc_box_release_full(s, serial_release);
}

static void
deliver(void *data)
{
    struct serial *s = data;

    lock_take(&s->lock);
    s->posted = false;
    lock_drop(&s->lock);
    if (!s->closed)
        serial_flush(s);
}

void
serial_put(struct serial *s, uint8_t byte)
{
    bool post;

    lock_take(&s->lock);
    s->ring[s->total++ % SERIAL_RING_SIZE] = byte;
    post = s->outlet.kind != OUTLET_NULL && !s->posted;
    s->posted = s->posted || post;
    lock_drop(&s->lock);
    if (post)
        mailbox_post(s->mailbox, deliver, g_atomic_rc_box_acquire(s), serial_unref);
}

/* Copies at most 'room' bytes from '*position' on (or from the oldest there is) and advances it. */
static size_t
copy_out(struct serial *s, uint64_t *position, uint8_t *to, size_t room) REQUIRES(s->lock)
{
    uint64_t oldest = s->total > SERIAL_RING_SIZE ? s->total - SERIAL_RING_SIZE : 0;
    uint64_t from = CLAMP(*position, oldest, s->total);
    size_t size = MIN(room, s->total - from), at = from % SERIAL_RING_SIZE;
    size_t first = MIN(size, SERIAL_RING_SIZE - at);

    memcpy(to, s->ring + at, first);
    memcpy(to + first, s->ring, size - first);
    *position = from + size;
    return size;
}

char *
serial_read(struct serial *s, uint64_t *position, size_t *ret_size)
{
    char *bytes = g_malloc(SERIAL_RING_SIZE + 1);
    size_t size;

    lock_take(&s->lock);
    size = copy_out(s, position, (uint8_t *)bytes, SERIAL_RING_SIZE);
    lock_drop(&s->lock);
    bytes[size] = '\0';
    *ret_size = size;
    return g_realloc(bytes, size + 1);
}

uint64_t
serial_total(struct serial *s)
{
    uint64_t total;

    lock_take(&s->lock);
    total = s->total;
    lock_drop(&s->lock);
    return total;
}

const char *
serial_target(const struct serial *s)
{
    return s->target;
}

bool
serial_target_check(const char *target, GError **error)
{
    enum outlet_kind kind;
    const char *path;

    return outlet_parse(target, &kind, &path, error);
}

/* --- target, on main -------------------------------------------------------------------------------------------- */

static void
unwatch(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static GSource *
watch(struct serial *s, int fd, GIOCondition condition, GUnixFDSourceFunc body)
{
    GSource *source = g_unix_fd_source_new(fd, condition);

    g_source_set_callback(source, G_SOURCE_FUNC(body), s, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

static gboolean
became_writable(gint fd, GIOCondition condition, gpointer data)
{
    struct serial *s = data;

    unwatch(&s->writable);
    serial_flush(s);
    return G_SOURCE_REMOVE;
}

static gboolean became_readable(gint fd, GIOCondition condition, gpointer data);

/* A client has gone, or is to come: the next one in the queue gets what the ring has. */
static void
await_client(struct serial *s)
{
    unwatch(&s->writable);
    unwatch(&s->readable);
    close_fd(&s->outlet.fd);
    s->readable = watch(s, s->outlet.listener, G_IO_IN, became_readable);
}

static void
take_client(struct serial *s)
{
    int fd = accept4(s->outlet.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    unwatch(&s->readable);
    s->outlet.fd = fd;
    s->readable = watch(s, fd, G_IO_IN | G_IO_HUP | G_IO_ERR, became_readable);
    s->sent = 0;
    serial_flush(s);
}

/* What a client sends is dropped: the UART receives nothing. */
static gboolean
became_readable(gint fd, GIOCondition condition, gpointer data)
{
    struct serial *s = data;
    char dropped[256];
    ssize_t n;

    if (fd == s->outlet.listener) {
        take_client(s);
    } else {
        n = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            await_client(s);
    }
    return G_SOURCE_CONTINUE;       /* a source that was destroyed meanwhile stays so */
}

static void
write_failed(struct serial *s, int host_errno)
{
    g_autofree char *text = NULL;

    if (s->outlet.kind == OUTLET_UNIX) {
        await_client(s);            /* a reader may go as it came */
        return;
    }
    if (host_errno == EPIPE || host_errno == EBADF)
        s->outlet.fd = s->outlet.kind == OUTLET_STDIO ? -1 : s->outlet.fd;
    if (s->told)
        return;
    s->told = true;
    text = g_strdup_printf("cannot write serial output to '%s', some is lost: %s", s->target, g_strerror(host_errno));
    if (s->failed)
        s->failed(s->self, text);
}

/* Writes until the target has everything or is full. */
static void
serial_flush(struct serial *s)
{
    uint8_t bytes[COPY_SIZE];
    uint64_t position;
    size_t size;
    ssize_t n;

    while (s->outlet.fd >= 0 && !s->writable) {
        position = s->sent;
        lock_take(&s->lock);
        size = copy_out(s, &position, bytes, sizeof(bytes));
        lock_drop(&s->lock);
        if (size == 0)
            return;
        n = outlet_write(&s->outlet, bytes, size);
        if (n < 0) {
            s->sent = position;
            write_failed(s, errno);
        } else {
            s->sent = position - size + n;
        }
        if (n == 0)
            s->writable = watch(s, s->outlet.fd, G_IO_OUT | G_IO_HUP | G_IO_ERR, became_writable);
    }
}

struct serial *
serial_new(const char *target, struct mailbox *mailbox, GError **error)
{
    struct serial *s = g_atomic_rc_box_new0(struct serial);

    s->mailbox = mailbox;
    s->target = g_strdup(target);
    lock_init(&s->lock, 55, "serial ring");
    if (!outlet_open(&s->outlet, target, error)) {
        outlet_close(&s->outlet);
        serial_unref(s);
        return NULL;
    }
    if (s->outlet.kind == OUTLET_UNIX)
        await_client(s);
    return s;
}

void
serial_on_failure(struct serial *s, void (*failed)(void *self, const char *text), void *self)
{
    s->failed = failed;
    s->self = self;
}

void
serial_free(struct serial *s)
{
    if (!s)
        return;
    unwatch(&s->writable);          /* so that flush tries once more */
    serial_flush(s);
    unwatch(&s->writable);
    unwatch(&s->readable);
    s->closed = true;
    outlet_close(&s->outlet);
    serial_unref(s);
}
