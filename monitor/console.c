/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `console`: what is typed goes to the guest's UART and what it sends is shown, as it is, until Ctrl-a c.
 *
 * What the guest has no room for yet waits here, so that Ctrl-a is heard of a guest that does not listen.  A person
 * who types more than that is told that it goes nowhere; a pipe is read no further. */
#include "monitor-private.h"

#include <string.h>

enum {
    ESCAPE = 0x01,                  /* Ctrl-a, as QEMU's */
    WAITING_MOST = 65536,
};

struct console {
    struct call *call;
    unsigned port;
    struct serial *serial;          /* of the machine that was there at the beginning */
    struct watcher *watcher;
    GString *waiting;               /* for the guest */
    unsigned ended_id;              /* idle source that ends the call; 0: none */
    bool passing;                   /* the line is being given something */
    bool escaped;                   /* the last byte was Ctrl-a */
    bool input_ended;
    bool told_full;
};

/* Its machine was torn down: the line is not to be touched. */
static bool
is_gone(const struct console *c)
{
    return machine_serial(c->call->monitor->machine, c->port) != c->serial;
}

static void
say(struct console *c, const char *text)
{
    c->call->input->class->write(c->call->input, text, strlen(text));
}

static void
show_output(void *self)
{
    struct console *c = self;
    uint64_t *position = &c->call->monitor->console_position[c->port];
    g_autofree char *text = NULL;
    size_t size;

    text = serial_read(c->serial, position, &size);
    if (size)
        c->call->input->class->write(c->call->input, text, size);
    serial_shown(c->serial, *position);
}

/* Lets go of terminal and serial line; more than once is fine. */
static void
let_go(struct console *c)
{
    if (!is_gone(c)) {
        serial_on_output(c->serial, 0, NULL, NULL);
        serial_on_hungry(c->serial, NULL, NULL);
    }
    if (c->watcher)
        monitor_unwatch(c->call->monitor, c->watcher);
    c->watcher = NULL;
    grab_end(c->call->input);
}

static gboolean
end_call(gpointer data)
{
    struct console *c = data;

    on_main_thread();
    c->ended_id = 0;
    call_finish(c->call, NULL);
    return G_SOURCE_REMOVE;
}

/* From a byte typed, the serial line or a watcher: the call ends from the main loop. */
static void
leave(struct console *c, const char *why)
{
    if (c->ended_id)
        return;
    let_go(c);
    if (c->waiting->len) {
        g_autofree char *dropped = g_strdup_printf("\n[the guest did not take the last %zu bytes]", c->waiting->len);

        say(c, dropped);
    }
    say(c, why);
    c->ended_id = g_idle_add_full(G_PRIORITY_DEFAULT, end_call, c, NULL);
}

static bool
look(void *data)
{
    struct console *c = data;
    struct machine *machine = c->call->monitor->machine;

    if (is_gone(c))
        leave(c, "\n[the machine is gone]\n");
    else if (strcmp(machine_status(machine), "postmigrate") == 0)
        leave(c, "\n[the guest runs on the other side]\n");
    return false;
}

/* --- input ------------------------------------------------------------------------------------------------------ */

/* Called by the line as well, also while it is given something: then the loop goes on. */
static void
pass_on(void *self)
{
    struct console *c = self;
    size_t n = c->passing ? 0 : 1;
    bool full = c->waiting->len >= WAITING_MOST;

    while (!is_gone(c) && c->waiting->len && n > 0) {
        c->passing = true;
        n = serial_type(c->serial, c->waiting->str, c->waiting->len);
        c->passing = false;
        g_string_erase(c->waiting, 0, (gssize)n);
    }
    if (c->waiting->len)
        return;
    c->told_full = false;
    if (c->input_ended)
        leave(c, "");
    else if (full)
        grab_resume(c->call->input);
}

static void
help(struct console *c)
{
    say(c, "\nCtrl-a c  back to numon's prompt\n"
           "Ctrl-a a  send Ctrl-a (Ctrl-a Ctrl-a does as well)\n"
           "Ctrl-a b  send a break\n"
           "Ctrl-a x  end numon\n"
           "Ctrl-a h  this help\n");
}

/* The byte behind Ctrl-a; unknown ones do nothing. */
static void
command(struct console *c, char byte)
{
    switch (byte) {
    case 'c':
        leave(c, "\n");
        break;
    case 'a':
    case ESCAPE:
        g_string_append_c(c->waiting, ESCAPE);
        break;
    case 'b':
        if (!is_gone(c))
            serial_type_break(c->serial);
        break;
    case 'x':
        monitor_quit(c->call->monitor, c->call->monitor->exit_status);
        leave(c, "\n");
        break;
    case 'h':
    case '?':
        help(c);
        break;
    }
}

/* False: there is no room for it now. */
static bool
take_byte(struct console *c, char byte)
{
    bool plain = !c->escaped && byte != ESCAPE;

    if (plain && c->waiting->len >= WAITING_MOST) {
        if (!c->call->input->class->interactive)
            return false;
        if (!c->told_full)
            say(c, "\n[the guest takes no input: what is typed now is dropped]\n");
        c->told_full = true;
    } else if (plain) {
        g_string_append_c(c->waiting, byte);
    } else if (c->escaped) {
        c->escaped = false;
        command(c, byte);
    } else {
        c->escaped = true;
    }
    return true;
}

static size_t
typed(void *self, const char *bytes, size_t size)
{
    struct console *c = self;
    size_t taken = 0;

    c->input_ended = size == 0;
    while (taken < size && !c->ended_id && take_byte(c, bytes[taken]))
        taken++;
    if (!c->ended_id)
        pass_on(c);
    return taken;
}

/* --- the command ------------------------------------------------------------------------------------------------ */

static void
console_free(void *data)
{
    struct console *c = data;

    if (c->ended_id)
        g_source_remove(c->ended_id);
    g_string_free(c->waiting, TRUE);
    g_free(c);
}

static void
console_detach(struct call *call)
{
    let_go(call->data);
}

enum { CONSOLE_PORT };
static const struct property console_args[] = {
    [CONSOLE_PORT] = { "port", PROPERTY_UINT, .max = SERIAL_PORTS - 1, .value_default = "0",
                       .help = "the serial port" },
    { 0 }
};

static enum outcome
run_console(struct call *call, GError **error)
{
    unsigned port = (unsigned)call->args->at[CONSOLE_PORT].number;
    struct serial *serial = serial_of_port(call->monitor, port, error);
    struct console *c;

    if (!serial)
        return COMMAND_FAILED;
    c = g_new0(struct console, 1);
    *c = (struct console) { .call = call, .port = port, .serial = serial, .waiting = g_string_new(NULL) };
    if (!grab_begin(call->input, typed, c, error)) {
        console_free(c);
        return COMMAND_FAILED;
    }
    call->data = c;
    call->data_free = console_free;
    if (call->input->class->interactive)
        say(c, "[Ctrl-a c is back to the prompt, Ctrl-a h help]\n");
    c->watcher = monitor_watch(call->monitor, 0, look, c);
    show_output(c);
    serial_on_output(c->serial, call->monitor->console_position[port], show_output, c);
    serial_on_hungry(c->serial, pass_on, c);
    grab_resume(call->input);
    look(c);
    return COMMAND_PENDING;
}

static const struct command console_commands[] = {
    { .name = "console", .summary = "give terminal and keyboard to the guest", .form = FORM_WORDS,
      .args = console_args, .when = WHEN_BUILT, .run = run_console, .detach = console_detach,
      .details = "Shows what the guest sent since the last time (at first, what is kept) and sends what is typed, "
                 "Ctrl-C as well, until Ctrl-a c.  Ctrl-a h lists what else Ctrl-a begins.  In a pipe or script the "
                 "bytes that follow are the guest's, until Ctrl-a c or the end of input." },
    { 0 }
};

const struct command_group console_group = { .title = "The guest's console", .commands = console_commands };
