/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Streams in files and over inherited descriptors.
 *
 * A file is written beside its name and takes it only when all is on the disk: whoever finds a file under the name
 * finds a whole stream, or what was there before.  With an offset it is written in place, as part of a larger file.
 *
 * An inherited descriptor came through exec, so it does not have close-on-exec set; all of numon's own have.  A
 * wrong number can so not take numon's own memory or sockets for a stream. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- files ------------------------------------------------------------------------------------------------------ */

/* The file that is to be replaced: what a link leads to, not the link. */
static bool
resolve_target(const char *path, char **ret, GError **error)
{
    struct stat file;

    if (stat(path, &file) < 0) {
        *ret = g_strdup(path);
        return errno == ENOENT || fail_host(error, errno, "cannot look at '%s'", path);
    }
    if (!S_ISREG(file.st_mode))
        return fail(error, NUMON_ERROR_HOST, "cannot write the stream to '%s': it exists and is no file", path);
    char *real = realpath(path, NULL);
    if (!real)
        return fail_host(error, errno, "cannot find '%s'", path);
    *ret = g_strdup(real);
    free(real);
    return true;
}

static bool
open_beside(struct channel *c, const char *path, GError **error)
{
    if (!resolve_target(path, &c->file_path, error))
        return false;
    c->file_beside = g_strconcat(c->file_path, ".XXXXXX", NULL);
    c->out = mkostemp(c->file_beside, O_CLOEXEC);
    if (c->out >= 0)
        return true;
    g_clear_pointer(&c->file_beside, g_free);
    return fail_host(error, errno, "cannot write a file beside '%s'", path);
}

static bool
open_in_place(int *ret, const struct address *a, int flags, GError **error)
{
    struct stat file;

    *ret = open(a->where, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (*ret < 0)
        return fail_host(error, errno, "cannot open '%s'", a->where);
    if (fstat(*ret, &file) < 0 || !S_ISREG(file.st_mode))
        return fail(error, NUMON_ERROR_HOST, "'%s' is no file", a->where);
    return lseek(*ret, (off_t)a->offset, SEEK_SET) >= 0
        || fail_host(error, errno, "cannot go to byte %" G_GUINT64_FORMAT " of '%s'", a->offset, a->where);
}

bool
file_open(struct channel *c, const struct address *a, enum migrate_direction direction, GError **error)
{
    if (direction == MIGRATE_IN)
        return open_in_place(&c->in, a, O_RDONLY, error);
    if (a->has_offset)
        return open_in_place(&c->out, a, O_WRONLY | O_CREAT, error);
    return open_beside(c, a->where, error);
}

/* The name is on the disk once its folder is.  Where folders cannot be synced, or this one cannot be read, that is up
 * to the file system: the stream is whole there all the same. */
static bool
sync_folder(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    CLEANUP_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) == 0 || errno == EINVAL || errno == ENOSYS || errno == ENOTSUP || errno == EROFS)
        return true;
    return fail_host(error, errno, "the stream is whole in '%s', but that name may not be on the disk", path);
}

bool
file_finish(struct channel *c, GError **error)
{
    struct stat file;

    if (c->out < 0 || fstat(c->out, &file) < 0 || !S_ISREG(file.st_mode))
        return true;
    if (fsync(c->out) < 0)
        return fail_host(error, errno, "cannot bring the stream to the disk");
    if (!c->file_beside)
        return true;
    if (rename(c->file_beside, c->file_path) < 0)
        return fail_host(error, errno, "cannot name the stream '%s'", c->file_path);
    g_clear_pointer(&c->file_beside, g_free);
    return sync_folder(c->file_path, error);
}

void
file_release(struct channel *c)
{
    if (c->file_beside)
        unlink(c->file_beside);
    g_clear_pointer(&c->file_beside, g_free);
    g_clear_pointer(&c->file_path, g_free);
}

/* --- inherited descriptors -------------------------------------------------------------------------------------- */

static bool
is_stream_socket(int fd)
{
    int type = 0, listens = 0;
    socklen_t size = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM
        && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && !listens;
}

bool
inherited_check(const struct address *a, enum migrate_direction direction, bool *ret_two_way, GError **error)
{
    int fd = (int)a->offset, flags = fcntl(fd, F_GETFD), mode = fcntl(fd, F_GETFL);
    int wanted = direction == MIGRATE_OUT ? O_WRONLY : O_RDONLY;
    struct stat file;

    if (flags < 0 || mode < 0 || fstat(fd, &file) < 0)
        return fail_host(error, errno, "cannot use descriptor %d", fd);
    if (flags & FD_CLOEXEC && !a->own)
        return fail(error, NUMON_ERROR_ARGUMENT, "descriptor %d is numon's own: only one that numon was started with "
                    "can be used", fd);
    *ret_two_way = is_stream_socket(fd);
    if (*ret_two_way)
        return true;
    if (!S_ISFIFO(file.st_mode) && !S_ISREG(file.st_mode))
        return fail(error, NUMON_ERROR_ARGUMENT, "descriptor %d is no connected socket, pipe or file", fd);
    if ((mode & O_ACCMODE) != wanted && (mode & O_ACCMODE) != O_RDWR)
        return fail(error, NUMON_ERROR_ARGUMENT, "descriptor %d is not open for %s", fd,
                    direction == MIGRATE_OUT ? "writing" : "reading");
    return true;
}

bool
inherited_open(struct channel *c, const struct address *a, enum migrate_direction direction, GError **error)
{
    bool two_way;

    if (!inherited_check(a, direction, &two_way, error))
        return false;
    int given = (int)a->offset, fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        fail_host(error, errno, "cannot take descriptor %d", given);
        if (a->own)
            close_fd(&given);
        return false;
    }
    /* It is used up: the other side must see the end when the migration ends. */
    close_fd(&given);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    channel_widen(fd);
    if (two_way)
        c->in = c->out = fd;
    else
        *(direction == MIGRATE_OUT ? &c->out : &c->in) = fd;
    return true;
}
