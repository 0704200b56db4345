/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/device share: where serial output goes besides the ring and input comes from, a descriptor
 * that main uses without ever waiting; and alarms. */
#ifndef DEVICE_PRIVATE_H
#define DEVICE_PRIVATE_H

#include "device.h"

/* Owned and used by main. */
struct outlet {
    enum outlet_kind { OUTLET_NULL, OUTLET_STDIO, OUTLET_PTY, OUTLET_FILE, OUTLET_UNIX } kind;
    char *path;                     /* FILE and UNIX, and of a pseudo terminal once it is open; owned */
    int fd;                         /* where bytes go; -1: nowhere now */
    int listener;                   /* UNIX; -1 */
    uint64_t device, inode;         /* of the socket file that we made */
};

/* Splits a target; false (ARGUMENT) quotes it and lists the forms. '*ret_path' is NULL or the caller's. */
bool outlet_parse(const char *target, enum outlet_kind *ret_kind, char **ret_path, GError **error);
bool outlet_open(struct outlet *o, const char *target, GError **error);
void outlet_close(struct outlet *o);
/* How many bytes were taken; 0: it would have to wait; -1: errno says why it never will. */
ssize_t outlet_write(struct outlet *o, const void *bytes, size_t size);
/* UNIX and PTY: how many bytes came; 0: none for now; -1: the other end has gone. */
ssize_t outlet_read(struct outlet *o, void *bytes, size_t size);
/* PTY: somebody has the other end open. */
bool outlet_is_open(const struct outlet *o);
/* PTY: what was written and not read yet is for nobody. */
void outlet_forget(struct outlet *o);

/* alarm.c: calls 'ring' on main at a time of the monotonic clock (microseconds; -1: not), which any thread may set
 * while the alarm is there.  Made and freed on main. */
struct alarm;
struct alarm *alarm_new(void (*ring)(void *self), void *self);
void alarm_free(struct alarm *a);               /* NULL is fine */
void alarm_set(struct alarm *a, int64_t at_us);

/* clock.c: calls 'stepped' on main each time that the host's UTC was set or the host woke from sleep, which alarms do
 * not know of.  Made and freed on main. */
struct clock_watch;
struct clock_watch *clock_watch_new(void (*stepped)(void *self), void *self);   /* NULL: the host has no such thing */
void clock_watch_free(struct clock_watch *w);   /* NULL is fine */

#endif
