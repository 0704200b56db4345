/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a user does with the guest itself: its workload, the proof that nothing was lost, its serial output. */
#include <string.h>

#include "monitor-private.h"

/* --- workload --------------------------------------------------------------------------------------------------- */

static bool
any_set(const struct values *v)
{
    for (unsigned i = 0; i < v->count; i++) {
        if (v->at[i].set)
            return true;
    }
    return false;
}

static enum outcome
run_workload(struct call *call, GError **error)
{
    struct machine *machine = call->monitor->machine;
    struct control_parameters parameters;

    if (any_set(call->args)) {
        if (!machine_workload_set(machine, call->args, error))
            return COMMAND_FAILED;
        call_echo_sizes(call);
        workload_sample_take(call->monitor);
        return COMMAND_DONE;
    }
    machine_workload_get(machine, &parameters);
    g_autofree char *text = workload_parameters_format(&parameters, false);

    call_print(call, "%s\n", text);
    return COMMAND_DONE;
}

/* --- verify ----------------------------------------------------------------------------------------------------- */

/* Outlives its call if that is detached, until the verification has ended. */
struct verify {
    struct call *call;              /* NULL once detached */
};

static void
verify_forget_call(void *data)
{
    struct verify *v = data;

    v->call = NULL;
}

static void
verify_report(struct call *call, const struct workload_verdict *verdict)
{
    g_autoptr(GError) error = NULL;
    uint64_t pages = verdict->pages, lost = verdict->lost;

    if (lost == 0 && !verdict->text)
        call_print(call, "%" G_GUINT64_FORMAT " pages verified, 0 lost\n", pages);
    else
        fail(&error, NUMON_ERROR_STATE, "%" G_GUINT64_FORMAT " pages verified, %" G_GUINT64_FORMAT " lost: %s", pages,
             lost, verdict->text ? verdict->text : "no page named");
    call_finish(call, error);
}

static void
verify_done(void *self, const struct workload_verdict *verdict, const GError *error)
{
    struct verify *v = self;
    struct call *call = v->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        if (error)
            call_finish(call, error);
        else
            verify_report(call, verdict);
    }
    g_free(v);
}

static enum outcome
run_verify(struct call *call, GError **error)
{
    struct verify *v = g_new(struct verify, 1);

    *v = (struct verify) { .call = call };
    if (!machine_verify(call->monitor->machine, verify_done, v, error)) {
        g_free(v);
        return COMMAND_FAILED;
    }
    call->data = v;
    call->data_free = verify_forget_call;
    return COMMAND_PENDING;
}

static void
verify_detach(struct call *call)
{
    machine_verify_cancel(call->monitor->machine);
    call_print(call, "the verification is abandoned, the guest goes on\n");
}

/* --- serial ----------------------------------------------------------------------------------------------------- */

/* A terminal must not obey the guest: control characters are shown, line ends made plain. */
static void
append_for_terminal(GString *out, const char *text, size_t size)
{
    g_autoptr(GString) plain = g_string_sized_new(size);

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
            continue;
        if (text[i] == '\0')
            g_string_append(plain, "\\x00");
        else
            g_string_append_c(plain, text[i]);
    }
    g_autofree char *printable = text_printable(plain->str);

    g_string_append(out, printable);
}

struct serial *
serial_of_port(struct monitor *m, unsigned port, GError **error)
{
    struct serial *serial = machine_serial(m->machine, port);

    if (!serial)
        fail(error, NUMON_ERROR_ARGUMENT, "the machine has no serial port %u (`serial_target TARGET %u` gives it one "
             "before it is built)", port, port);
    return serial;
}

static void
append_serial(struct call *call, struct serial *serial, uint64_t *position)
{
    g_autofree char *text = NULL;
    size_t size;

    text = serial_read(serial, position, &size);
    if (call_redraws(call))
        append_for_terminal(call->output, text, size);
    else
        g_string_append_len(call->output, text, (gssize)size);
}

struct follow {
    struct call *call;
    struct watcher *watcher;
    unsigned port;
    uint64_t position;
};

/* Ends with the machine, or when another has no such port, else only by Ctrl-C. */
static bool
follow_check(void *data)
{
    struct follow *f = data;

    if (!machine_serial(f->call->monitor->machine, f->port)) {
        f->watcher = NULL;
        call_finish(f->call, NULL);
        return true;
    }
    append_serial(f->call, machine_serial(f->call->monitor->machine, f->port), &f->position);
    if (f->call->output->len)
        call_flush(f->call);
    return false;
}

static void
serial_detach(struct call *call)
{
    struct follow *f = call->data;

    if (f->watcher)
        monitor_unwatch(call->monitor, f->watcher);
    f->watcher = NULL;
}

enum { SERIAL_FOLLOW, SERIAL_PORT };
static const struct property serial_args[] = {
    [SERIAL_FOLLOW] = { "-f", PROPERTY_FLAG, .help = "go on showing what comes, until Ctrl-C" },
    [SERIAL_PORT] = { "port", PROPERTY_UINT, .max = SERIAL_PORTS - 1, .value_default = "0",
                      .help = "the serial port" },
    { 0 }
};

static enum outcome
run_serial(struct call *call, GError **error)
{
    unsigned port = (unsigned)call->args->at[SERIAL_PORT].number;
    struct serial *serial = serial_of_port(call->monitor, port, error);
    uint64_t position = 0;

    if (!serial)
        return COMMAND_FAILED;
    append_serial(call, serial, &position);
    if (!call->args->at[SERIAL_FOLLOW].set) {
        /* The prompt begins a line of its own. */
        if (call->output->len && call->output->str[call->output->len - 1] != '\n')
            g_string_append_c(call->output, '\n');
        return COMMAND_DONE;
    }
    struct follow *f = g_new(struct follow, 1);

    *f = (struct follow) { .call = call, .port = port, .position = position };
    call->data = f;
    call->data_free = g_free;
    call_flush(call);
    f->watcher = monitor_watch(call->monitor, 50, follow_check, f);
    return COMMAND_PENDING;
}

static const struct command guest_commands[] = {
    { .name = "workload", .summary = "show or change what the workload guest does", .form = FORM_PAIRS,
      .args = workload_properties, .when = WHEN_ALWAYS, .run = run_workload,
      .details = "Without arguments shows all.  Before the machine is built these are the values it starts with; "
                 "later they change at once, while it runs." },
    { .name = "verify", .summary = "prove that no page the guest wrote was lost", .form = FORM_WORDS,
      .when = WHEN_BUILT, .run = run_verify, .detach = verify_detach,
      .details = "Stops the guest, checks every page against its table and every CPU's total of writes, and lets it "
                 "go on.  Fails if a page is not what was written last." },
    { .name = "serial", .summary = "show the guest's serial output", .form = FORM_WORDS, .args = serial_args,
      .when = WHEN_BUILT, .run = run_serial, .detach = serial_detach,
      .details = "The last 64 KiB are kept." },
    { 0 }
};

const struct command_group guest_group = { .title = "The guest", .commands = guest_commands };
