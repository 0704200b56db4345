/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where serial output goes besides the ring: a descriptor that main writes to without ever waiting. */
#ifndef DEVICE_PRIVATE_H
#define DEVICE_PRIVATE_H

#include "device.h"

/* Owned and used by main. */
struct outlet {
    enum outlet_kind { OUTLET_NULL, OUTLET_STDIO, OUTLET_FILE, OUTLET_UNIX } kind;
    char *path;                     /* FILE and UNIX; owned */
    int fd;                         /* where bytes go; -1: nowhere now */
    int listener;                   /* UNIX; -1 */
    uint64_t device, inode;         /* of the socket file that we made */
};

/* Splits a target; false (ARGUMENT) quotes it and lists the forms. '*ret_path' points into 'target' or is NULL. */
bool outlet_parse(const char *target, enum outlet_kind *ret_kind, const char **ret_path, GError **error);
bool outlet_open(struct outlet *o, const char *target, GError **error);
void outlet_close(struct outlet *o);
/* How many bytes were taken; 0: it would have to wait; -1: errno says why it never will. */
ssize_t outlet_write(struct outlet *o, const void *bytes, size_t size);

#endif
