/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The lines entered so far.  A terminal's are also kept in the XDG state directory, in a file only its owner reads;
 * each line is appended when entered, so sessions beside each other and a killed one lose nothing. */
#include "monitor-private.h"

#include <errno.h>
#include <fcntl.h>
#include <readline/history.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_MAX = 1000 };        /* lines kept from earlier sessions, and of this one */

static void
remember(struct monitor *m, const char *line)
{
    if (m->history->len == HISTORY_MAX)
        g_ptr_array_remove_index(m->history, 0);
    g_ptr_array_add(m->history, g_strdup(line));
}

/* Adds to the file 'path', or replaces it.  A history that cannot be written is no reason to disturb the user. */
static void
save(const char *path, const char *text, int how)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | how, 0600);

    if (fd < 0)
        return;
    if (fchmod(fd, 0600) == 0)
        write_all(fd, text, strlen(text));
}

/* Writes only the newest lines back when the file has grown to twice what is kept. */
static void
trim(struct monitor *m, unsigned lines)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (lines <= 2 * HISTORY_MAX)
        return;
    for (unsigned i = 0; i < m->history->len; i++)
        g_string_append_printf(text, "%s\n", (char *)m->history->pdata[i]);
    save(m->history_path, text->str, O_TRUNC);
}

void
history_load(struct monitor *m)
{
    g_autofree char *folder = g_build_filename(g_get_user_state_dir(), "numon", NULL);
    g_autofree char *text = NULL;
    unsigned lines = 0;

    if (g_mkdir_with_parents(folder, 0700) < 0)
        return;
    m->history_path = g_build_filename(folder, "history", NULL);
    using_history();
    stifle_history(HISTORY_MAX);
    if (!g_file_get_contents(m->history_path, &text, NULL, NULL))
        return;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
        *end = '\0';
        remember(m, at);
        add_history(at);
    }
    trim(m, lines);
}

void
history_add(struct monitor *m, const char *line)
{
    g_autofree char *text = NULL;

    if (line[strspn(line, " \t")] == '\0'
        || (m->history->len && !strcmp(m->history->pdata[m->history->len - 1], line)))
        return;
    remember(m, line);
    if (!m->history_path)
        return;
    add_history(line);
    text = g_strdup_printf("%s\n", line);
    save(m->history_path, text, O_APPEND);
}
