/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Looking into the guest: memory by physical or virtual address, and what lies behind an address.  Reading stops no
 * CPU; finding out what a virtual address means holds them for a moment. */
#include "monitor-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "debug.h"

/* --- addresses -------------------------------------------------------------------------------------------------- */

/* A number, or a register of the current CPU: $rip, $rsp, $r8. */
static bool
read_address(struct call *call, const char *text, uint64_t *ret, GError **error)
{
    static const struct property number = { "addr", PROPERTY_SIZE };
    struct cpu_registers registers;
    struct value v = { 0 };
    bool ok;

    if (*text != '$') {
        ok = property_parse_value(&number, text, &v, error);
        *ret = v.number;
        g_free(v.word);
        return ok;
    }
    return machine_registers(call->monitor->machine, monitor_cpu(call->monitor), &registers, error) &&
           register_value(&registers, text + 1, ret, error);
}

/* After a read: false if pages of that block are lost, as zeros are read in their place. */
static bool
is_whole(const struct guest_map *map, uint64_t gpa, GError **error)
{
    g_autofree char *lost = NULL;
    uint64_t page;

    if (!block_lost(guest_map_find(map, gpa)->block, &page))
        return true;
    lost = guest_map_lost(map);
    return fail(error, NUMON_ERROR_HOST, "Cannot access memory: %s", lost ? lost : "a page of it is lost");
}

/* Reads as much as there is from 'address' on, up to 'size'; false with an error that says what is missing if that is
 * not all.  '*ret' is how much was read in any case. */
static bool
read_memory(struct call *call, bool is_virtual, uint64_t address, uint8_t *to, uint64_t size, uint64_t *ret,
            GError **error)
{
    const struct guest_map *map = machine_map(call->monitor->machine);

    for (*ret = 0; *ret < size;) {
        uint64_t at = address + *ret, gpa = at, here = MIN(size - *ret, PAGE_SIZE - at % PAGE_SIZE);

        if (at < address)
            return fail(error, NUMON_ERROR_ARGUMENT, "Cannot access memory: the address space ends at 0x%" PRIx64,
                        UINT64_MAX);
        if (is_virtual && !machine_translate(call->monitor->machine, monitor_cpu(call->monitor), at, &gpa, error)) {
            g_prefix_error(error, "Cannot access memory: ");
            return false;
        }
        if (!guest_map_read(map, gpa, to + *ret, here))
            return fail(error, NUMON_ERROR_ARGUMENT, "Cannot access memory: guest physical 0x%" PRIx64 " is no RAM "
                        "(`info mtree` shows what is)", gpa);
        if (!is_whole(map, gpa, error))
            return false;
        *ret += here;
    }
    return true;
}

/* --- x, xp ------------------------------------------------------------------------------------------------------ */

enum { X_FORMAT, X_ADDRESS };
static const struct property x_args[] = {
    [X_FORMAT] = { "/fmt", PROPERTY_WORD,
                   .help = "how many, as what, how large: /8xg, /16c, /10i; /1xw if not given" },
    [X_ADDRESS] = { "addr", PROPERTY_WORD, .required = true,
                    .help = "of the first: a number, or $rip and other registers" },
    { 0 }
};

/* Code is read as the current CPU would now. */
static bool
code_mode_now(struct call *call, enum code_mode *ret, GError **error)
{
    struct cpu_registers r;

    if (!machine_registers(call->monitor->machine, monitor_cpu(call->monitor), &r, error))
        return false;
    *ret = r.cs.l ? CODE_64 : r.cs.db ? CODE_32 : CODE_16;
    return true;
}

static bool
show_bytes(struct call *call, const struct dump_format *f, uint64_t address, const uint8_t *bytes, uint64_t size,
           uint64_t *ret_shown, GError **error)
{
    enum code_mode mode;

    if (f->letter != 'i') {
        *ret_shown = dump_append(f, address, bytes, size, call->output);
        return true;
    }
    return code_mode_now(call, &mode, error) &&
           disassembly_append(f, mode, address, bytes, size, call->output, ret_shown, error);
}

static unsigned
lines_of(const GString *text, size_t from)
{
    unsigned lines = 0;

    for (size_t i = from; i < text->len; i++)
        lines += text->str[i] == '\n';
    return lines;
}

/* What could be read is shown; it is an error only if that is less than what was asked for. */
static enum outcome
examine(struct call *call, bool is_virtual, GError **error)
{
    const struct value *at = call->args->at;
    struct dump_format f;
    uint64_t address, size = 0, shown;
    g_autoptr(GError) unread = NULL;
    g_autofree uint8_t *bytes = NULL;
    size_t before = call->output->len;
    bool short_of;

    if (!dump_format_parse(at[X_FORMAT].word, &f, error) || !read_address(call, at[X_ADDRESS].word, &address, error))
        return COMMAND_FAILED;
    bytes = g_malloc(dump_format_bytes(&f));
    read_memory(call, is_virtual, address, bytes, dump_format_bytes(&f), &size, &unread);
    if (!show_bytes(call, &f, address, bytes, size, &shown, error))
        return COMMAND_FAILED;
    short_of = f.letter == 'i' ? lines_of(call->output, before) < f.count : shown < dump_format_bytes(&f);
    if (!short_of)
        return COMMAND_DONE;
    g_propagate_error(error, g_steal_pointer(&unread));
    return COMMAND_FAILED;
}

static enum outcome
run_x(struct call *call, GError **error)
{
    return examine(call, true, error);
}

static enum outcome
run_xp(struct call *call, GError **error)
{
    return examine(call, false, error);
}

/* --- what lies behind an address -------------------------------------------------------------------------------- */

enum { ADDRESS_P };
static const struct property address_args[] = {
    [ADDRESS_P] = { "addr", PROPERTY_WORD, .required = true, .help = "a number, or $rip and other registers" },
    { 0 }
};

static const struct section *
section_at(struct call *call, uint64_t *ret_gpa, GError **error)
{
    const struct section *s;

    if (!read_address(call, call->args->at[ADDRESS_P].word, ret_gpa, error))
        return NULL;
    s = guest_map_find(machine_map(call->monitor->machine), *ret_gpa);
    if (!s)
        fail(error, NUMON_ERROR_ARGUMENT, "No memory is mapped at address 0x%" PRIx64 " (`info mtree` shows what is)",
             *ret_gpa);
    return s;
}

static enum outcome
run_gpa2hva(struct call *call, GError **error)
{
    uint64_t gpa;
    const struct section *s = section_at(call, &gpa, error);

    if (!s)
        return COMMAND_FAILED;
    call_print(call, "Host virtual address for 0x%" PRIx64 " (%s) is %p\n", gpa, s->block->name,
               (void *)(s->block->host + s->offset + (gpa - s->gpa)));
    return COMMAND_DONE;
}

/* The frame that backs a page of this process.  Source: Documentation/admin-guide/mm/pagemap.rst. */
static bool
host_frame(uintptr_t address, uint64_t *ret, GError **error)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry = 0;
    bool ok = fd >= 0 && pread(fd, &entry, sizeof entry, (off_t)(address / PAGE_SIZE * sizeof entry)) == sizeof entry;

    if (!ok)
        fail_host(error, errno, "cannot read the host's page tables (/proc/self/pagemap)");
    close_fd(&fd);
    if (!ok)
        return false;
    if (!(entry >> 63))
        return fail(error, NUMON_ERROR_STATE, "the page at host virtual 0x%" PRIxPTR " is not in the host's memory",
                    address);
    *ret = entry & ((UINT64_C(1) << 55) - 1);
    return *ret || fail(error, NUMON_ERROR_HOST, "the host does not tell physical addresses to this user "
                        "(CAP_SYS_ADMIN is needed)");
}

static enum outcome
run_gpa2hpa(struct call *call, GError **error)
{
    uint64_t gpa, frame = 0;
    const struct section *s = section_at(call, &gpa, error);

    if (!s || !host_frame((uintptr_t)s->block->host + s->offset + (gpa - s->gpa), &frame, error))
        return COMMAND_FAILED;
    call_print(call, "Host physical address for 0x%" PRIx64 " (%s) is 0x%" PRIx64 "\n", gpa, s->block->name,
               frame * PAGE_SIZE + gpa % PAGE_SIZE);
    return COMMAND_DONE;
}

static enum outcome
run_gva2gpa(struct call *call, GError **error)
{
    uint64_t address, gpa;

    if (!read_address(call, call->args->at[ADDRESS_P].word, &address, error) ||
        !machine_translate(call->monitor->machine, monitor_cpu(call->monitor), address, &gpa, error))
        return COMMAND_FAILED;
    call_print(call, "gpa: 0x%" PRIx64 "\n", gpa);
    return COMMAND_DONE;
}

static const struct command examine_commands[] = {
    { .name = "x", .summary = "show guest virtual memory", .form = FORM_WORDS, .args = x_args, .when = WHEN_BUILT,
      .run = run_x,
      .details = "The format is a count, one of x d u o c i, and one of b h w g (1, 2, 4, 8 bytes), each optional.  "
                 "Addresses are those of the current CPU." },
    { .name = "xp", .summary = "show guest physical memory", .form = FORM_WORDS, .args = x_args, .when = WHEN_BUILT,
      .run = run_xp, .details = "Formats are those of x." },
    { .name = "gpa2hva", .summary = "show where numon has a guest physical address", .form = FORM_WORDS,
      .args = address_args, .when = WHEN_BUILT, .run = run_gpa2hva },
    { .name = "gpa2hpa", .summary = "show where the host has a guest physical address", .form = FORM_WORDS,
      .args = address_args, .when = WHEN_BUILT, .run = run_gpa2hpa },
    { .name = "gva2gpa", .summary = "translate a guest virtual address", .form = FORM_WORDS, .args = address_args,
      .when = WHEN_BUILT, .run = run_gva2gpa, .details = "By the page tables of the current CPU." },
    { .name = "memsave", .summary = "write guest virtual memory to a file", .form = FORM_WORDS, .args = memsave_args,
      .when = WHEN_BUILT, .run = memsave_run, .detach = pmemsave_detach,
      .details = "Addresses are those of the current CPU; the guest may run meanwhile." },
    { .name = "pmemsave", .summary = "write guest physical memory to a file", .form = FORM_WORDS,
      .args = pmemsave_args, .when = WHEN_BUILT, .run = pmemsave_run, .detach = pmemsave_detach },
    { .name = "acpi_dump", .summary = "write the guest's ACPI tables to files", .form = FORM_WORDS,
      .args = acpi_dump_args, .when = WHEN_ALWAYS, .run = acpi_dump_run, .detach = acpi_dump_detach,
      .details = "A file each, facp.dat and so on, as iasl -d reads them; several tables of one signature are "
                 "numbered from 1 on, ssdt1.dat, ssdt2.dat.  In preconfig they are what the definition comes to, "
                 "later what lies in guest memory." },
    { 0 }
};

const struct command_group examine_group = { .title = "Looking into the guest", .commands = examine_commands };
