/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A serial line, for the guest's side of it (serial.c) and the outside (line.c). */
#ifndef SERIAL_PRIVATE_H
#define SERIAL_PRIVATE_H

#include "device-private.h"

enum {
    SERIAL_PAUSE  = SERIAL_RING_SIZE / 2,       /* so far behind, the reader makes the transmitter wait ... */
    SERIAL_RESUME = SERIAL_RING_SIZE / 4,       /* ... until no more than this is left */
    SERIAL_INPUT  = 4096,
};

struct serial {
    /* Fixed. */
    struct mailbox *mailbox;        /* borrowed */
    char *target;                   /* as given, but "pty:PATH" of a pseudo terminal; owned */

    struct lock lock;               /* rank 55 */
    uint8_t ring[SERIAL_RING_SIZE] GUARDED;     /* the byte of position p is at p modulo the size */
    uint64_t total GUARDED;         /* bytes ever put */
    uint64_t sent GUARDED;          /* position up to which the target was served; main changes it */
    uint64_t lost GUARDED;          /* bytes that a reader who was there did not get */
    bool too_fast GUARDED;          /* some of it because the reader was slow, not because the target refused it */
    bool reader GUARDED;            /* somebody takes what is sent */
    bool watched GUARDED;           /* serial_on_output */
    uint64_t shown GUARDED;         /* if so: the position up to which the watcher was served */
    bool paused GUARDED;            /* serial_full said so */
    bool posted GUARDED;            /* a message to main is on its way */

    /* Owned by main. */
    struct outlet outlet;
    bool closed;                    /* serial_free was called: messages do nothing */
    bool told, told_lost;           /* a failure, a loss was told */
    GSource *writable;              /* watch while the target is full; owned */
    GSource *readable;              /* watch for input, while none waits; owned */
    GSource *awaited;               /* UNIX: for the next client; PTY: for somebody who opens it; owned */
    uint8_t input[SERIAL_INPUT];    /* came from outside, the guest has no room for it yet */
    size_t input_at, input_end;
    const struct serial_guest *guest;           /* NULL: nobody */
    void *guest_self;
    void (*hungry)(void *self);     /* see serial_on_hungry */
    void *hungry_self;
    void (*output)(void *self);     /* see serial_on_output */
    void *output_self;
    void (*failed)(void *self, const char *text);
    void *self;
};

/* serial.c: copies at most 'room' bytes from '*position' on (or from the oldest there is) and advances it. */
size_t serial_copy(struct serial *s, uint64_t *position, uint8_t *to, size_t room) REQUIRES(s->lock);

/* serial.c: the transmitter waited and has to no longer: then serial_guest.room() is due. */
bool serial_has_resumed(struct serial *s) REQUIRES(s->lock);

/* line.c, on main. */
bool line_open(struct serial *s, const char *target, GError **error);
void line_close(struct serial *s);
/* Writes until the target has everything or is full. */
void line_flush(struct serial *s);
/* Gives the guest what waits, and looks for more if that is all. */
void line_deliver(struct serial *s);

#endif
