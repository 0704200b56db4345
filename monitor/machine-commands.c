/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands that define the machine and turn the definition into one.  Each edits a copy of the definition, so
 * that a refused command changes nothing; each that QEMU has as a command-line option is that option too. */
#include <string.h>

#include "monitor-private.h"

static enum outcome
run_memory(struct call *call, GError **error)
{
    return call_edit(call, definition_set_memory, error);
}

static enum outcome
run_smp(struct call *call, GError **error)
{
    return call_edit(call, definition_set_smp, error);
}

static enum outcome
run_machine(struct call *call, GError **error)
{
    return call_edit(call, definition_set_machine, error);
}

static enum outcome
run_accel(struct call *call, GError **error)
{
    return call_edit(call, definition_set_accel, error);
}

/* --- one word of text: kernel, initrd, append, name, serial_target ---------------------------------------------- */

enum { TEXT_VALUE, SERIAL_PORT };

static const struct property kernel_args[] = {
    [TEXT_VALUE] = { "file", PROPERTY_WORD, .required = true, .value_default = BUILTIN_WORKLOAD,
                     .complete = COMPLETE_KERNEL,
                     .help = "Linux bzImage, PVH or Multiboot ELF, flat:FILE, or builtin:workload" },
    { 0 }
};
static const struct property initrd_args[] = {
    [TEXT_VALUE] = { "file", PROPERTY_WORD, .complete = COMPLETE_FILE,
                     .help = "the file, or Multiboot modules as \"FILE ARGUMENTS,FILE\"; without it, none" },
    { 0 }
};
static const struct property append_args[] = {
    [TEXT_VALUE] = { "text", PROPERTY_REST, .help = "the kernel's command line; without it, none" },
    { 0 }
};
static const struct property name_args[] = {
    [TEXT_VALUE] = { "text", PROPERTY_REST, .help = "what to call the machine; without it, no name" },
    { 0 }
};
static const struct property serial_target_args[] = {
    [TEXT_VALUE] = { "target", PROPERTY_WORD, .required = true, .value_default = "null",
                     .help = "null, stdio (with --batch only), pty, file:PATH or unix:PATH; none: without it" },
    [SERIAL_PORT] = { "port", PROPERTY_UINT, .max = SERIAL_PORTS - 1, .value_default = "0",
                      .help = "of the serial ports, the first of which is always there" },
    { 0 }
};

static const struct property debugcon_args[] = {
    [TEXT_VALUE] = { "target", PROPERTY_WORD,
                     .help = "as of serial_target; without it, the serial line" },
    { 0 }
};

static const char *
text_or_null(const struct values *v)
{
    const char *text = v->at[TEXT_VALUE].word;

    return text && *text ? text : NULL;
}

static bool
edit_kernel(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_kernel(d, v->at[TEXT_VALUE].word, error);
}

static bool
edit_initrd(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_initrd(d, v->at[TEXT_VALUE].word, error);
}

static bool
edit_append(struct definition *d, const struct values *v, GError **error)
{
    definition_set_append(d, text_or_null(v));
    return true;
}

static bool
edit_name(struct definition *d, const struct values *v, GError **error)
{
    definition_set_name(d, text_or_null(v));
    return true;
}

static bool
edit_serial_target(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_serial(d, (unsigned)v->at[SERIAL_PORT].number, v->at[TEXT_VALUE].word, error);
}

static enum outcome
run_kernel(struct call *call, GError **error)
{
    return call_edit(call, edit_kernel, error);
}

static enum outcome
run_initrd(struct call *call, GError **error)
{
    return call_edit(call, edit_initrd, error);
}

static enum outcome
run_append(struct call *call, GError **error)
{
    return call_edit(call, edit_append, error);
}

static enum outcome
run_name(struct call *call, GError **error)
{
    return call_edit(call, edit_name, error);
}

static bool
edit_debugcon(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_debugcon(d, text_or_null(v), error);
}

static bool
may_have_stdio(const struct call *call, GError **error)
{
    const char *target = text_or_null(call->args);

    if (!target || strcmp(target, "stdio") != 0 || call->input->batch)
        return true;
    return fail(error, NUMON_ERROR_ARGUMENT, "serial output to 'stdio' would mix with the prompt: use --batch, or "
                "file:PATH, or the command serial");
}

static enum outcome
run_serial_target(struct call *call, GError **error)
{
    return may_have_stdio(call, error) ? call_edit(call, edit_serial_target, error) : COMMAND_FAILED;
}

static enum outcome
run_debugcon(struct call *call, GError **error)
{
    return may_have_stdio(call, error) ? call_edit(call, edit_debugcon, error) : COMMAND_FAILED;
}

/* --- objects ---------------------------------------------------------------------------------------------------- */

static const struct command_variant object_variants[] = {
    [BACKEND_RAM]   = { "memory-backend-ram", backend_ram_properties, -1,
                        .summary = "anonymous memory, private unless share=on" },
    [BACKEND_FILE]  = { "memory-backend-file", backend_file_properties, -1,
                        .summary = "memory that is a file, private unless share=on" },
    [BACKEND_MEMFD] = { "memory-backend-memfd", backend_memfd_properties, -1,
                        .summary = "memory behind a descriptor, shared unless share=off" },
    [BACKEND_SHM]   = { "memory-backend-shm", backend_shm_properties, -1,
                        .summary = "a shared memory object, always shared" },
    [BACKEND_KINDS] = { NULL }
};

static bool
edit_add_ram(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

static bool
edit_add_file(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_FILE, v, error);
}

static bool
edit_add_memfd(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_MEMFD, v, error);
}

static bool
edit_add_shm(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_SHM, v, error);
}

/* Of a built machine only devices to come can use them. */
static enum outcome
edit_backends(struct call *call, edit_function *edit, GError **error)
{
    struct machine *machine = call->monitor->machine;
    g_autoptr(definition) d = NULL;

    if (!monitor_built(call->monitor))
        return call_edit(call, edit, error);
    d = definition_copy(machine_definition(machine));
    if (!edit(d, call->args, error) || !machine_define_backends(machine, g_steal_pointer(&d), error))
        return COMMAND_FAILED;
    call_echo_sizes(call);
    return COMMAND_DONE;
}

static enum outcome
run_object_add(struct call *call, GError **error)
{
    static edit_function *const edits[BACKEND_KINDS] = {
        [BACKEND_RAM] = edit_add_ram, [BACKEND_FILE] = edit_add_file, [BACKEND_MEMFD] = edit_add_memfd,
        [BACKEND_SHM] = edit_add_shm,
    };

    return edit_backends(call, edits[call->variant - object_variants], error);
}

enum { OBJECT_DEL_ID };
static const struct property object_del_args[] = {
    [OBJECT_DEL_ID] = { "id", PROPERTY_WORD, .required = true, .complete = COMPLETE_BACKEND,
                        .help = "the object to take away" },
    { 0 }
};

static bool
edit_object_del(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_backend(d, v->at[OBJECT_DEL_ID].word, error);
}

static enum outcome
run_object_del(struct call *call, GError **error)
{
    return edit_backends(call, edit_object_del, error);
}

/* --- from definition to machine and back ------------------------------------------------------------------------ */

static enum outcome
run_check(struct call *call, GError **error)
{
    if (!monitor_check(call, error))
        return COMMAND_FAILED;
    g_autofree char *summary = definition_summary(machine_definition(call->monitor->machine));

    call_print(call, "%s\n", summary);
    return COMMAND_DONE;
}

/* What -incoming asked for begins as soon as there is a machine to take it. */
static bool
begin_incoming(struct monitor *m, GError **error)
{
    if (!m->incoming)
        return true;
    if (strcmp(m->incoming, "defer") != 0)
        return machine_incoming(m->machine, m->incoming, m->start_paused, error);
    machine_defer_incoming(m->machine);
    return true;
}

static void
preconfig_left(struct call *call, const GError *error)
{
    g_autoptr(GError) failure = NULL;

    if (!error)
        begin_incoming(call->monitor, &failure);
    call_finish(call, error ? error : failure);
}

/* A machine that waits for a guest has none to start: the guest starts when it has arrived. */
static void
launched(struct call *call, const GError *error)
{
    struct monitor *m = call->monitor;
    g_autoptr(GError) failure = NULL;

    if (!error && begin_incoming(m, &failure) && !machine_awaits_incoming(m->machine))
        machine_cont(m->machine, false, &failure);
    call_finish(call, error ? error : failure);
}

static enum outcome
run_exit_preconfig(struct call *call, GError **error)
{
    return monitor_build(call, preconfig_left, error) ? COMMAND_PENDING : COMMAND_FAILED;
}

static enum outcome
run_launch(struct call *call, GError **error)
{
    return monitor_build(call, launched, error) ? COMMAND_PENDING : COMMAND_FAILED;
}

/* The build itself goes on: freeing the call is all that a detached one needs. */
static void
detach_build(struct call *call)
{
    call_print(call, "the machine is being built all the same\n");
}

enum { FORCE_FLAG };
static const struct property enter_preconfig_args[] = {
    [FORCE_FLAG] = { "-f", PROPERTY_FLAG, .help = "although the guest runs or a migration lives" },
    { 0 }
};

static enum outcome
run_enter_preconfig(struct call *call, GError **error)
{
    if (!machine_teardown(call->monitor->machine, call->args->at[FORCE_FLAG].set, error))
        return COMMAND_FAILED;
    monitor_changed(call->monitor);
    return COMMAND_DONE;
}

enum { SAVE_FILE };
static const struct property save_config_args[] = {
    [SAVE_FILE] = { "file", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                    .help = "script to write; source or -x reads it" },
    { 0 }
};

static enum outcome
run_save_config(struct call *call, GError **error)
{
    g_autofree char *text = definition_save(machine_definition(call->monitor->machine));
    struct outfile *f = outfile_open(call->args->at[SAVE_FILE].word, error);

    if (!f)
        return COMMAND_FAILED;
    if (!outfile_write(f, text, strlen(text), error)) {
        outfile_abandon(f);
        return COMMAND_FAILED;
    }
    return outfile_commit(f, error) ? COMMAND_DONE : COMMAND_FAILED;
}

static const struct command machine_commands[] = {
    { .name = "memory", .summary = "set the size of the machine's RAM", .form = FORM_OPTIONS,
      .args = memory_properties, .implied = MEMORY_P_SIZE, .option = "-m", .when = WHEN_PRECONFIG, .run = run_memory,
      .details = "Without suffix a size counts MiB.  By default RAM is the sum of the nodes' memory backends, "
                 "or 128 MiB if there are none." },
    { .name = "smp", .summary = "set the number of CPUs and their levels", .form = FORM_OPTIONS,
      .args = smp_properties, .implied = SMP_P_CPUS, .option = "-smp", .when = WHEN_PRECONFIG, .run = run_smp,
      .details = "The default is 1 CPU.  Levels that are not given follow from the others, cores before sockets "
                 "before threads, so that their product is maxcpus." },
    { .name = "machine", .summary = "set properties of the machine", .form = FORM_OPTIONS,
      .args = machine_properties, .implied = -1, .option = "-machine", .when = WHEN_PRECONFIG, .run = run_machine,
      .details = "Properties that are not given stay as they are." },
    { .name = "cpu", .summary = "choose what CPUs show, or the CPU that is looked at", .form = FORM_WORDS,
      .args = cpu_args, .option = "-cpu", .when = WHEN_ALWAYS, .run = cpu_run,
      .details = "In preconfig a model, base or host, and features that are asked for (+name) or taken away "
                 "(-name), in place of what was said before: cpu base,+avx2,-sse3.  The default is base.  What a "
                 "feature needs comes along; what this host cannot give is left out, and info cpu_features says "
                 "why.  Once the machine is built a number: the CPU that registers and addresses are of, 0 until "
                 "then; info cpus marks it." },
    { .name = "accel", .summary = "choose what runs the guest's CPUs", .form = FORM_OPTIONS,
      .args = accel_properties, .implied = ACCEL_P_ACCEL, .option = "-accel", .when = WHEN_PRECONFIG,
      .run = run_accel,
      .details = "The default is the first that works here, kvm before synthetic.  One that is asked for by name "
                 "must work." },
    { .name = "kernel", .summary = "choose what the guest boots", .form = FORM_WORDS, .args = kernel_args,
      .option = "-kernel", .when = WHEN_PRECONFIG, .run = run_kernel,
      .details = "The default is builtin:workload, with pattern=idle.  Other files are recognised by what is in "
                 "them, Multiboot before PVH before Linux.  flat:FILE is code that is loaded at 0x10000 and begins "
                 "there in real mode, with all segments 0x1000 and the stack at 0x8000." },
    { .name = "initrd", .summary = "give the kernel an initrd, or modules", .form = FORM_WORDS, .args = initrd_args,
      .option = "-initrd", .when = WHEN_PRECONFIG, .run = run_initrd,
      .details = "A Multiboot kernel is given each file of the list as a module whose text is the file's name and "
                 "arguments; two commas stand for one in a name.  Others have one file, under the name as it is "
                 "written." },
    { .name = "append", .summary = "set the kernel's command line", .form = FORM_WORDS, .args = append_args,
      .option = "-append", .when = WHEN_PRECONFIG, .run = run_append },
    { .name = "name", .summary = "name the machine", .form = FORM_WORDS, .args = name_args, .option = "-name",
      .when = WHEN_PRECONFIG, .run = run_name },
    { .name = "serial_target", .summary = "choose where serial output goes besides the ring", .form = FORM_WORDS,
      .args = serial_target_args, .option = "-serial", .numbered = true, .when = WHEN_PRECONFIG,
      .run = run_serial_target,
      .details = "The command serial always shows the last 64 KiB.  A pty and a socket (which listens, 0600) also "
                 "take input; who connects gets what was sent before.  A guest that sends faster than its reader "
                 "reads is made to wait, nobody is waited for who is not there; info serial counts what a reader "
                 "lost.  Ports 1 to 3 are a PC's COM2 to COM4, every second one on the same interrupt; each further "
                 "option -serial is of the next port." },
    { .name = "debugcon", .summary = "choose where the debug console's output goes", .form = FORM_WORDS,
      .args = debugcon_args, .option = "-debugcon", .when = WHEN_PRECONFIG, .run = run_debugcon,
      .details = "What the guest writes to port 0xe9; reading that gives 0xe9." },
    { .name = "object_add", .summary = "create a memory backend", .form = FORM_VARIANTS,
      .variants = object_variants, .option = "-object", .when = WHEN_ALWAYS, .run = run_object_add },
    { .name = "object_del", .summary = "delete a memory backend that nothing uses", .form = FORM_WORDS,
      .args = object_del_args, .when = WHEN_ALWAYS, .run = run_object_del },
    { .name = "undo", .summary = "take back the last changes of the definition", .form = FORM_WORDS,
      .args = undo_args, .when = WHEN_PRECONFIG, .run = undo_run,
      .details = "Shows the lines of the definition that went (-) and came (+).  There is no limit to the depth." },
    { .name = "redo", .summary = "make changes again that were taken back", .form = FORM_WORDS, .args = undo_args,
      .when = WHEN_PRECONFIG, .run = redo_run },
    { .name = "check", .summary = "list all that keeps the machine from being built", .form = FORM_WORDS,
      .when = WHEN_PRECONFIG, .run = run_check,
      .details = "Each problem comes with a command that mends it.  Fails if there is a problem." },
    { .name = "exit_preconfig", .summary = "build the machine, its guest not started", .form = FORM_WORDS,
      .when = WHEN_PRECONFIG, .run = run_exit_preconfig, .detach = detach_build,
      .details = "Runs check first and stays in preconfig if it fails.  With -incoming the machine then waits for "
                 "its guest." },
    { .name = "launch", .summary = "build the machine and start its guest", .form = FORM_WORDS,
      .when = WHEN_PRECONFIG, .run = run_launch, .detach = detach_build,
      .details = "The same as exit_preconfig, then cont." },
    { .name = "enter_preconfig", .summary = "tear the machine down, its definition kept", .form = FORM_WORDS,
      .args = enter_preconfig_args, .when = WHEN_BUILT, .run = run_enter_preconfig },
    { .name = "show", .summary = "print the definition, also as QEMU takes it", .form = FORM_WORDS,
      .args = show_args, .when = WHEN_ALWAYS, .run = show_run,
      .details = "-f qemu prints one command line.  -f qmp prints the lines for a QEMU that was started with "
                 "--preconfig and the same -machine, -cpu, -m and -smp: these cannot be given by QMP." },
    { .name = "save_config", .summary = "write the definition as a script of commands", .form = FORM_WORDS,
      .args = save_config_args, .when = WHEN_ALWAYS, .run = run_save_config,
      .details = "The script gives the same machine, and the same bytes when saved again." },
    { 0 }
};

const struct command_group machine_group = { .title = "The machine", .commands = machine_commands };
