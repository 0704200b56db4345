/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How much memory the host has left for this process: what it has available, and what each memory cgroup above the
 * process still lets it take; the least of these counts.  A cgroup's pages of files that nobody has looked at lately
 * are given up before it is full, so they count as left. */
#include "memory.h"

#include <string.h>

struct looking {
    const char *root;               /* before /proc and the like; "" but in tests */
    struct memory_left *left;
};

/* The number behind "NAME" in a file of lines "NAME NUMBER"; NULL: the file is the number.  False if there is none,
 * as where a limit says "max". */
static bool
read_number(const char *path, const char *name, uint64_t *ret)
{
    g_autofree char *text = NULL;
    char *at, *end;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return false;
    at = text;
    while (name && at && !(g_str_has_prefix(at, name) && strchr(": \t", at[strlen(name)]))) {
        at = strchr(at, '\n');
        at += at ? 1 : 0;
    }
    if (!at)
        return false;
    at += name ? strlen(name) : 0;
    at += strspn(at, ": \t");
    *ret = g_ascii_strtoull(at, &end, 10);
    return end > at && g_ascii_isdigit(*at);
}

static bool
read_in(const char *folder, const char *file, const char *name, uint64_t *ret)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);

    return read_number(path, name, ret);
}

static void
take_least(struct memory_left *left, uint64_t bytes, const char *where)
{
    if (left->known && left->bytes <= bytes)
        return;
    left->known = true;
    left->bytes = bytes;
    g_strlcpy(left->where, where, sizeof left->where);
}

/* --- cgroups ---------------------------------------------------------------------------------------------------- */

/* What the two versions call it. */
static const struct hierarchy {
    const char *controller;         /* in /proc/self/cgroup; "": version 2 */
    const char *type;               /* of the file system */
    const char *limits[2], *usage, *idle_files;
} hierarchies[] = {
    { "", "cgroup2", { "memory.max", "memory.high" }, "memory.current", "inactive_file" },
    { "memory", "cgroup", { "memory.limit_in_bytes", NULL }, "memory.usage_in_bytes", "total_inactive_file" },
};

static bool
list_has(const char *list, const char *word)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);

    return g_strv_contains((const char *const *)words, word);
}

static char *
read_text(const struct looking *l, const char *path)
{
    g_autofree char *whole = g_strconcat(l->root, path, NULL);
    char *text = NULL;

    g_file_get_contents(whole, &text, NULL, NULL);
    return text;
}

/* Of this process, "/a/b"; or NULL. */
static char *
own_path(const struct looking *l, const struct hierarchy *h)
{
    g_autofree char *text = read_text(l, "/proc/self/cgroup");
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(lines[i], ":", 3);

        if (g_strv_length(parts) == 3 && (*h->controller ? list_has(parts[1], h->controller) : *parts[1] == '\0'))
            return g_strdup(parts[2]);
    }
    return NULL;
}

/* Where the hierarchy is mounted, and which of its cgroups is the folder there. */
static bool
find_mount(const struct looking *l, const struct hierarchy *h, char **ret_folder, char **ret_top)
{
    enum { TOP = 3, FOLDER = 4 };
    g_autofree char *text = read_text(l, "/proc/self/mountinfo");
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        char *rest = strstr(lines[i], " - ");
        g_auto(GStrv) words = g_strsplit(lines[i], " ", FOLDER + 2);
        g_auto(GStrv) kind = g_strsplit(rest ? rest + 3 : "", " ", 3);

        if (g_strv_length(words) < FOLDER + 2 || g_strv_length(kind) < 3 || !g_str_equal(kind[0], h->type)
            || (*h->controller && !list_has(kind[2], h->controller)))
            continue;
        *ret_folder = g_strconcat(l->root, words[FOLDER], NULL);
        *ret_top = g_strdup(words[TOP]);
        return true;
    }
    return false;
}

static void
look_at_group(const struct looking *l, const struct hierarchy *h, const char *folder, const char *name)
{
    g_autofree char *where = g_strdup_printf("memory cgroup %s", *name ? name : "/");
    uint64_t limit, usage, idle = 0;

    if (!read_in(folder, h->usage, NULL, &usage))
        return;
    read_in(folder, "memory.stat", h->idle_files, &idle);
    usage -= MIN(idle, usage);
    for (unsigned i = 0; i < G_N_ELEMENTS(h->limits) && h->limits[i]; i++)
        if (read_in(folder, h->limits[i], NULL, &limit))
            take_least(l->left, limit - MIN(usage, limit), where);
}

/* What of 'path' lies in the folder of cgroup 'top', "/b" of "/a/b" in "/a"; "" if it lies elsewhere: what is outside
 * of the folder that is mounted cannot be seen, and the folder is the nearest. */
static char *
path_below(char *path, const char *top)
{
    size_t size = g_str_equal(top, "/") ? 0 : strlen(top);
    char *below = path + size, *none = path + strlen(path);

    return strncmp(path, top, size) == 0 && *below == '/' && !strstr(path, "..") ? below : none;
}

/* The process's cgroup and those above it, as far as they can be seen. */
static void
look_at_groups(const struct looking *l, const struct hierarchy *h)
{
    g_autofree char *path = own_path(l, h), *folder = NULL, *top = NULL;

    if (!path || !find_mount(l, h, &folder, &top))
        return;
    char *name = path_below(path, top);
    for (;;) {
        g_autofree char *here = g_strconcat(folder, name, NULL);

        look_at_group(l, h, here, name);
        char *slash = strrchr(name, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

void
memory_left(const char *root, struct memory_left *ret)
{
    const struct looking l = { .root = root, .left = ret };
    g_autofree char *meminfo = g_strconcat(root, "/proc/meminfo", NULL);
    uint64_t kib;

    *ret = (struct memory_left) { 0 };
    if (read_number(meminfo, "MemAvailable", &kib) && kib <= UINT64_MAX / KIB)
        take_least(ret, kib * KIB, "the host");
    for (unsigned i = 0; i < G_N_ELEMENTS(hierarchies); i++)
        look_at_groups(&l, &hierarchies[i]);
}
