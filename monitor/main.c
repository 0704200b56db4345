/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program: command line, then the machine's options and the scripts as the first lines of the console's input,
 * then what the input reads.  The only place that ends the process. */
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build-config.h"
#include "monitor-private.h"

static gboolean
on_interrupt(gpointer data)
{
    struct monitor *m = data;

    on_main_thread();
    /* A Ctrl-C at our parent's terminal reaches us too, but is not meant for us. */
    if (!m->is_peer)
        input_interrupt(m->inputs->pdata[0]);
    return G_SOURCE_CONTINUE;
}

static gboolean
on_terminate(gpointer data)
{
    on_main_thread();
    monitor_quit(data, 1);
    return G_SOURCE_CONTINUE;
}

static void
queue_script(struct input *in, const char *path)
{
    g_autoptr(GString) text = g_string_new("source \"");
    struct input_line *line;

    for (; *path; path++) {
        if (*path == '"' || *path == '\\')
            g_string_append_c(text, '\\');
        g_string_append_c(text, *path);
    }
    g_string_append_c(text, '"');
    line = input_line_new(text->str, NULL, 0);
    line->script = true;
    input_queue(in, line);
}

/* What the command line asks for comes before anything that is read. */
static void
queue_startup(struct input *in, struct options *o)
{
    for (unsigned i = 0; i < o->lines->len; i++)
        input_queue(in, o->lines->pdata[i]);
    g_ptr_array_set_size(o->lines, 0);
    for (unsigned i = 0; i < o->scripts->len; i++)
        queue_script(in, o->scripts->pdata[i]);
    if (o->start) {
        struct input_line *line = input_line_new(o->paused ? "exit_preconfig" : "launch", NULL, 0);

        line->start = true;
        input_queue(in, line);
    }
}

/* -incoming is checked as the other options are, before anything is built for it. */
static void
take_incoming(struct monitor *m, struct input *in, const char *uri)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *option = g_strdup_printf("-incoming %s", uri ? uri : "");

    if (!uri || strcmp(uri, "defer") == 0 || migrate_uri_check(uri, MIGRATE_IN, &error))
        m->incoming = g_strdup(uri);
    else
        input_refuse_option(in, option, error);
}

static struct input *
input_for(struct monitor *m, const struct options *o)
{
    if (!o->plain && !o->batch && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return terminal_new(m);
    return stream_new(m, o->plain, o->batch);
}

static int
session(struct options *o)
{
    struct monitor *m = monitor_new();
    struct input *in = input_for(m, o);
    unsigned sources[3];
    int status;

    g_ptr_array_add(m->inputs, in);
    take_incoming(m, in, o->incoming);
    m->start_paused = o->paused;
    m->is_peer = o->peer;
    in->stdin_wanted = !(o->batch && o->scripts->len && isatty(STDIN_FILENO));
    queue_startup(in, o);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);           /* ignored, children's exit statuses would be lost */
    sources[0] = g_unix_signal_add(SIGINT, on_interrupt, m);
    sources[1] = g_unix_signal_add(SIGTERM, on_terminate, m);
    sources[2] = g_unix_signal_add(SIGHUP, on_terminate, m);
    input_start(in);
    status = monitor_run(m);
    for (unsigned i = 0; i < G_N_ELEMENTS(sources); i++)
        g_source_remove(sources[i]);
    monitor_free(m);
    return status;
}

static int
print_text(void (*make)(GString *out))
{
    g_autoptr(GString) out = g_string_new(NULL);

    make(out);
    return fputs(out->str, stdout) < 0 || fflush(stdout) != 0;
}

static void
version_text(GString *out)
{
    g_string_append(out, PACKAGE_STRING "\n"
                    "License GPLv3+: GNU GPL version 3 or later <https://gnu.org/licenses/gpl.html>.\n"
                    "This is free software: you are free to change and redistribute it.\n"
                    "There is NO WARRANTY, to the extent permitted by law.\n");
}

static int
self_test(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    bool good = tables_check(out);

    fputs(out->str, stdout);
    return !good;
}

static int
run(struct options *o)
{
    if (o->version)
        return print_text(version_text);
    if (o->help)
        return print_text(options_help);
    if (o->dump)
        return print_text(dump_texinfo);
    if (o->self_test)
        return self_test();
    return session(o);
}

/* The descriptors of standard input, output and error must never become those of something else.  Reading from what
 * was closed is then the end of input, writing to it an error as before. */
static void
hold_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            _exit(1);
    }
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    struct options options;
    int status = 2;

    hold_standard_descriptors();
    main_thread_claim();
    if (options_parse(&options, argc, argv, &error))
        status = run(&options);
    else
        fprintf(stderr, "numon: %s\nTry 'numon --help'.\n", error->message);
    options_release(&options);
    return status;
}
