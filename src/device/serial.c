/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A serial line as its guest sees it: a ring of the last 64 KiB sent, numbered by stream position, and whether more
 * may be sent.  Where the bytes go and come from is line.c's.
 *
 * vCPU threads put bytes into the ring under its lock and post at most one message to main.  A reader of the target
 * who falls half a ring behind makes the transmitter wait, which a guest sees that looks; what does not look goes
 * on, and the oldest bytes are lost to that reader, counted.  Nobody is waited for who is not there.
 *
 * A message may outlive the serial_free: it holds a reference to the box, which then says that nobody is home. */
#include "serial-private.h"

#include <string.h>

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
    if (s->closed)
        return;
    line_flush(s);
    if (s->output)
        s->output(s->output_self);
    line_deliver(s);
}

/* --- the guest's side ------------------------------------------------------------------------------------------- */

void
serial_put(struct serial *s, uint8_t byte)
{
    bool post;

    lock_take(&s->lock);
    s->ring[s->total++ % SERIAL_RING_SIZE] = byte;
    post = (s->outlet.kind != OUTLET_NULL || s->watched) && !s->posted;
    s->posted = s->posted || post;
    lock_drop(&s->lock);
    if (post)
        mailbox_post(s->mailbox, deliver, g_atomic_rc_box_acquire(s), serial_unref);
}

void
serial_wake(struct serial *s)
{
    bool post;

    lock_take(&s->lock);
    post = !s->posted;
    s->posted = true;
    lock_drop(&s->lock);
    if (post)
        mailbox_post(s->mailbox, deliver, g_atomic_rc_box_acquire(s), serial_unref);
}

/* How far the slower of those who are there is behind. */
static uint64_t
backlog(const struct serial *s) REQUIRES(s->lock)
{
    uint64_t of_reader = s->reader ? s->total - s->sent : 0;
    uint64_t of_watcher = s->watched && s->shown < s->total ? s->total - s->shown : 0;

    return MAX(of_reader, of_watcher);
}

bool
serial_full(struct serial *s)
{
    bool full;

    lock_take(&s->lock);
    full = backlog(s) >= SERIAL_PAUSE;
    s->paused = s->paused || full;
    lock_drop(&s->lock);
    return full;
}

bool
serial_has_resumed(struct serial *s)
{
    bool resumed = s->paused && backlog(s) <= SERIAL_RESUME;

    s->paused = s->paused && !resumed;
    return resumed;
}

void
serial_lose(struct serial *s, uint64_t bytes)
{
    lock_take(&s->lock);
    s->lost += bytes;
    s->too_fast = true;
    lock_drop(&s->lock);
}

/* --- what was sent ---------------------------------------------------------------------------------------------- */

size_t
serial_copy(struct serial *s, uint64_t *position, uint8_t *to, size_t room)
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
    size = serial_copy(s, position, (uint8_t *)bytes, SERIAL_RING_SIZE);
    lock_drop(&s->lock);
    bytes[size] = '\0';
    *ret_size = size;
    return g_realloc(bytes, size + 1);
}

void
serial_counts(struct serial *s, struct serial_counts *ret)
{
    lock_take(&s->lock);
    *ret = (struct serial_counts) { .total = s->total, .lost = s->lost, .reader = s->reader,
                                    .waiting = s->input_end - s->input_at };
    lock_drop(&s->lock);
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

const char *
serial_pty(const struct serial *s)
{
    return s->outlet.kind == OUTLET_PTY ? s->outlet.path : NULL;
}

bool
serial_target_check(const char *target, GError **error)
{
    g_autofree char *path = NULL;
    enum outlet_kind kind;

    return outlet_parse(target, &kind, &path, error);
}

char *
serial_target_path(const char *target)
{
    enum outlet_kind kind;
    char *path = NULL;

    return outlet_parse(target, &kind, &path, NULL) ? path : NULL;
}

/* --- made and freed --------------------------------------------------------------------------------------------- */

struct serial *
serial_new(const char *target, struct mailbox *mailbox, GError **error)
{
    struct serial *s = g_atomic_rc_box_new0(struct serial);

    s->mailbox = mailbox;
    lock_init(&s->lock, 55, "serial ring");
    if (!line_open(s, target, error)) {
        serial_unref(s);
        return NULL;
    }
    s->target = serial_pty(s) ? g_strconcat("pty:", serial_pty(s), NULL) : g_strdup(target);
    return s;
}

void
serial_attach(struct serial *s, const struct serial_guest *guest, void *self)
{
    s->guest = guest;
    s->guest_self = self;
    if (guest)
        serial_wake(s);
}

void
serial_on_output(struct serial *s, uint64_t shown, void (*output)(void *self), void *self)
{
    s->output = output;
    s->output_self = self;
    lock_take(&s->lock);
    s->watched = output != NULL;
    lock_drop(&s->lock);
    serial_shown(s, shown);
}

void
serial_shown(struct serial *s, uint64_t position)
{
    bool room;

    lock_take(&s->lock);
    s->shown = position;
    room = serial_has_resumed(s);
    lock_drop(&s->lock);
    if (room && s->guest)
        s->guest->room(s->guest_self);
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
    line_close(s);
    s->closed = true;
    serial_unref(s);
}
