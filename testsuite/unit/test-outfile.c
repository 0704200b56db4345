/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that a user names: whole or not at all. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "../../monitor/monitor-private.h"

struct fixture { char *dir, *path; };

static void
set_up(struct fixture *f, gconstpointer data)
{
    f->dir = g_dir_make_tmp("outfile-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "file", NULL);
}

static void
tear_down(struct fixture *f, gconstpointer data)
{
    g_unlink(f->path);
    g_assert_cmpint(g_rmdir(f->dir), ==, 0);
    g_free(f->path);
    g_free(f->dir);
}

static void
assert_holds(const char *path, const char *expected)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, expected);
}

static void
old_stays_until_commit(struct fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    struct outfile *out;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    out = outfile_open(f->path, &error);
    g_assert_no_error(error);
    g_assert_true(outfile_write(out, "new!", 4, &error));
    assert_holds(f->path, "old");
    g_assert_true(outfile_commit(out, &error));
    assert_holds(f->path, "new!");
}

static void
abandoned_leaves_nothing(struct fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    struct outfile *out = outfile_open(f->path, &error);

    g_assert_no_error(error);
    g_assert_true(outfile_write(out, "x", 1, &error));
    outfile_abandon(out);
    g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
}

static void
mode_is_kept(struct fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    struct outfile *out;
    struct stat st;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    g_assert_cmpint(chmod(f->path, 0640), ==, 0);
    out = outfile_open(f->path, &error);
    g_assert_true(outfile_commit(out, &error));
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0640);
}

static void
link_is_followed(struct fixture *f, gconstpointer data)
{
    g_autofree char *link = g_build_filename(f->dir, "link", NULL);
    g_autoptr(GError) error = NULL;
    struct outfile *out;

    g_assert_true(g_file_set_contents(f->path, "old", -1, NULL));
    g_assert_cmpint(symlink("file", link), ==, 0);
    out = outfile_open(link, &error);
    g_assert_true(outfile_write(out, "new", 3, &error));
    g_assert_true(outfile_commit(out, &error));
    g_assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    assert_holds(f->path, "new");
    g_unlink(link);
}

static void
full_device_is_told(void)
{
    g_autoptr(GError) error = NULL;
    struct outfile *out = outfile_open("/dev/full", &error);

    g_assert_no_error(error);
    g_assert_false(outfile_write(out, "x", 1, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "/dev/full"));
    outfile_abandon(out);
    g_assert_true(g_file_test("/dev/full", G_FILE_TEST_EXISTS));
}

static void
directory_is_refused(struct fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(outfile_open(f->dir, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
#define WITH_FILE(name) g_test_add("/outfile/" #name, struct fixture, NULL, set_up, name, tear_down)
    WITH_FILE(old_stays_until_commit);
    WITH_FILE(abandoned_leaves_nothing);
    WITH_FILE(mode_is_kept);
    WITH_FILE(link_is_followed);
    WITH_FILE(directory_is_refused);
    g_test_add_func("/outfile/full_device_is_told", full_device_is_told);
    return g_test_run();
}
