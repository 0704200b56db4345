/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that a user names as the target of a command.  A regular file is written under a temporary name in the same
 * directory, flushed to disk and renamed over the old one, so that a full disk or a refused write leaves what was
 * there.  A symbolic link is followed: the file it leads to is replaced, the link stays.  Devices are written
 * directly. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "monitor-private.h"

struct outfile {
    char *path;                     /* as the user wrote it */
    char *target;                   /* where it goes, links followed */
    char *temporary;                /* NULL: written directly */
    int fd;
};

static void
outfile_free(struct outfile *f)
{
    close_fd(&f->fd);
    g_free(f->path);
    g_free(f->target);
    g_free(f->temporary);
    g_free(f);
}

/* The path with links followed; the path itself where nothing is there yet. */
static char *
follow_links(const char *path)
{
    char *real = realpath(path, NULL);
    char *target = g_strdup(real ? real : path);

    free(real);
    return target;
}

/* /dev/stdout, /proc/self/fd/3: what is open there already is meant, not a file to replace. */
static bool
is_descriptor(const char *path)
{
    return g_str_has_prefix(path, "/dev/") || g_str_has_prefix(path, "/proc/");
}

static bool
open_direct(struct outfile *f, GError **error)
{
    f->fd = open(f->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    return f->fd >= 0 || fail_host(error, errno, "cannot write '%s'", f->path);
}

/* 'old' is the file that will be replaced, whose mode is kept; NULL if there is none. */
static bool
open_temporary(struct outfile *f, const struct stat *old, GError **error)
{
    f->temporary = g_strconcat(f->target, ".XXXXXX", NULL);
    f->fd = g_mkstemp_full(f->temporary, O_WRONLY | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        g_clear_pointer(&f->temporary, g_free);
        return fail_host(error, errno, "cannot write '%s'", f->path);
    }
    if (old && fchmod(f->fd, old->st_mode & 0777) < 0)
        return fail_host(error, errno, "cannot write '%s'", f->path);
    return true;
}

struct outfile *
outfile_open(const char *path, GError **error)
{
    struct outfile *f = g_new0(struct outfile, 1);
    struct stat st;
    bool there, ok;

    *f = (struct outfile) { .path = g_strdup(path), .target = follow_links(path), .fd = -1 };
    there = stat(f->target, &st) == 0;
    if (is_descriptor(path) || (there && S_ISCHR(st.st_mode)))
        ok = open_direct(f, error);
    else if (there && !S_ISREG(st.st_mode))
        ok = fail(error, NUMON_ERROR_ARGUMENT, "cannot write '%s': it is neither a regular file nor a character "
                  "device", path);
    else
        ok = open_temporary(f, there ? &st : NULL, error);
    if (!ok)
        g_clear_pointer(&f, outfile_abandon);
    return f;
}

bool
outfile_write(struct outfile *f, const void *data, size_t size, GError **error)
{
    return write_all(f->fd, data, size) || fail_host(error, errno, "cannot write '%s'", f->path);
}

bool
outfile_commit(struct outfile *f, GError **error)
{
    bool ok = !f->temporary || fsync(f->fd) == 0;

    if (ok) {
        ok = close(f->fd) == 0;
        f->fd = -1;
    }
    if (ok && f->temporary)
        ok = rename(f->temporary, f->target) == 0;
    if (!ok) {
        fail_host(error, errno, "cannot write '%s'", f->path);
        outfile_abandon(f);
        return false;
    }
    outfile_free(f);
    return true;
}

void
outfile_abandon(struct outfile *f)
{
    if (!f)
        return;
    if (f->temporary)
        unlink(f->temporary);
    outfile_free(f);
}
