/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What memory a host has left, told by files as hosts have them. */
#include "memory.h"

#include <glib/gstdio.h>
#include <string.h>

#define CGROUP2 "36 25 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define CGROUP1 "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" \
                "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define MEMINFO "MemTotal:       24000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\n"

/* A host of files; removed with all in it. */
struct host { char *root; GPtrArray *files; };

static struct host
host_new(void)
{
    return (struct host) { g_dir_make_tmp("numon-left-XXXXXX", NULL), g_ptr_array_new_with_free_func(g_free) };
}

static void
put(struct host *h, const char *path, const char *text)
{
    char *file = g_build_filename(h->root, path, NULL);
    g_autofree char *folder = g_path_get_dirname(file);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    g_ptr_array_add(h->files, file);
}

static void
host_free(struct host *h)
{
    for (unsigned i = 0; i < h->files->len; i++)
        g_unlink(h->files->pdata[i]);
    /* Folders, from the innermost out. */
    for (unsigned i = 0; i < h->files->len; i++) {
        g_autofree char *folder = g_path_get_dirname(h->files->pdata[i]);

        while (strlen(folder) >= strlen(h->root) && g_rmdir(folder) == 0) {
            char *up = g_path_get_dirname(folder);
            g_free(folder);
            folder = up;
        }
    }
    g_assert_false(g_file_test(h->root, G_FILE_TEST_EXISTS));
    g_ptr_array_unref(h->files);
    g_free(h->root);
}

static void
assert_left(struct host *h, uint64_t bytes, const char *where)
{
    struct memory_left left;

    memory_left(h->root, &left);
    g_assert_cmpuint(left.bytes, ==, bytes);
    g_assert_cmpstr(left.where, ==, where);
    g_assert_true(left.known == (*where != '\0'));
    host_free(h);
}

static void
a_host_without_cgroups_has_what_is_available(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", MEMINFO);
    assert_left(&h, 4000000 * KIB, "the host");
}

static void
a_host_that_says_nothing_is_not_known(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", "MemTotal: 5 kB\nMemAvailable: lots\n");
    assert_left(&h, 0, "");
}

/* The one above may be the tighter, and one without a limit ("max") is none. */
static void
every_cgroup_above_counts(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", MEMINFO);
    put(&h, "proc/self/mountinfo", CGROUP2);
    put(&h, "proc/self/cgroup", "0::/user/app\n");
    put(&h, "sys/fs/cgroup/user/memory.max", "1000000\n");
    put(&h, "sys/fs/cgroup/user/memory.current", "700000\n");
    put(&h, "sys/fs/cgroup/user/memory.stat", "anon 500000\ninactive_file 50000\nactive_file 150000\n");
    put(&h, "sys/fs/cgroup/user/app/memory.max", "max\n");
    put(&h, "sys/fs/cgroup/user/app/memory.current", "600000\n");
    assert_left(&h, 350000, "memory cgroup /user");
}

static void
what_slows_a_cgroup_down_limits_it_too(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", MEMINFO);
    put(&h, "proc/self/mountinfo", CGROUP2);
    put(&h, "proc/self/cgroup", "0::/app\n");
    put(&h, "sys/fs/cgroup/app/memory.max", "1000000\n");
    put(&h, "sys/fs/cgroup/app/memory.high", "500000\n");
    put(&h, "sys/fs/cgroup/app/memory.current", "600000\n");
    assert_left(&h, 0, "memory cgroup /app");
}

static void
the_older_cgroups_are_read_too(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", MEMINFO);
    put(&h, "proc/self/mountinfo", CGROUP1);
    put(&h, "proc/self/cgroup", "4:memory:/job/7\n3:cpu,cpuacct:/\n0::/\n");
    put(&h, "sys/fs/cgroup/memory/job/7/memory.limit_in_bytes", "900000\n");
    put(&h, "sys/fs/cgroup/memory/job/7/memory.usage_in_bytes", "400000\n");
    put(&h, "sys/fs/cgroup/memory/job/7/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n");
    put(&h, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(&h, "sys/fs/cgroup/memory/memory.usage_in_bytes", "400000\n");
    assert_left(&h, 600000, "memory cgroup /job/7");
}

/* In a container the path is the host's, and the folder that is mounted is the container's own. */
static void
a_container_sees_its_own_cgroup(void)
{
    struct host h = host_new();

    put(&h, "proc/meminfo", MEMINFO);
    put(&h, "proc/self/mountinfo", "36 25 0:30 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put(&h, "proc/self/cgroup", "0::/box/in\n");
    put(&h, "sys/fs/cgroup/in/memory.max", "800\n");
    put(&h, "sys/fs/cgroup/in/memory.current", "100\n");
    put(&h, "sys/fs/cgroup/memory.max", "600\n");
    put(&h, "sys/fs/cgroup/memory.current", "200\n");
    assert_left(&h, 400, "memory cgroup /");
}

static void
a_cgroup_out_of_sight_is_the_one_that_is_mounted(void)
{
    static const char *const paths[] = { "0::/../other\n", "0::/boxes\n", "0::/elsewhere/x\n" };

    for (unsigned i = 0; i < G_N_ELEMENTS(paths); i++) {
        struct host h = host_new();

        put(&h, "proc/meminfo", MEMINFO);
        put(&h, "proc/self/mountinfo", "36 25 0:30 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        put(&h, "proc/self/cgroup", paths[i]);
        put(&h, "sys/fs/cgroup/memory.max", "600\n");
        put(&h, "sys/fs/cgroup/memory.current", "200\n");
        assert_left(&h, 400, "memory cgroup /");
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/left/a-host-without-cgroups-has-what-is-available",
                    a_host_without_cgroups_has_what_is_available);
    g_test_add_func("/left/a-host-that-says-nothing-is-not-known", a_host_that_says_nothing_is_not_known);
    g_test_add_func("/left/every-cgroup-above-counts", every_cgroup_above_counts);
    g_test_add_func("/left/what-slows-a-cgroup-down-limits-it-too", what_slows_a_cgroup_down_limits_it_too);
    g_test_add_func("/left/the-older-cgroups-are-read-too", the_older_cgroups_are_read_too);
    g_test_add_func("/left/a-container-sees-its-own-cgroup", a_container_sees_its_own_cgroup);
    g_test_add_func("/left/a-cgroup-out-of-sight-is-the-one-that-is-mounted",
                    a_cgroup_out_of_sight_is_the_one_that_is_mounted);
    return g_test_run();
}
