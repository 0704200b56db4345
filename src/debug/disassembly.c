/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Instructions in words, by Capstone where numon was built with its headers and it is installed. */
#include "debug.h"

#include <inttypes.h>

#include "build-config.h"

#ifdef HAVE_CAPSTONE
#include <capstone.h>
#include <dlfcn.h>

/* The library is opened for as long as it is used: it takes more memory than all of numon, and few sessions need
 * it. */
#define LIBRARY "libcapstone.so." G_STRINGIFY(CS_API_MAJOR)
struct capstone {
    void *library;
    __typeof__(cs_open) *open;
    __typeof__(cs_close) *close;
    __typeof__(cs_option) *option;
    __typeof__(cs_malloc) *malloc;
    __typeof__(cs_free) *free;
    __typeof__(cs_disasm_iter) *disasm_iter;
};

static const cs_mode modes[] = { [CODE_16] = CS_MODE_16, [CODE_32] = CS_MODE_32, [CODE_64] = CS_MODE_64 };

static bool
load(struct capstone *c, GError **error)
{
    const struct { const char *name; void **to; } symbols[] = {
        { "cs_open", (void **)&c->open }, { "cs_close", (void **)&c->close }, { "cs_option", (void **)&c->option },
        { "cs_malloc", (void **)&c->malloc }, { "cs_free", (void **)&c->free },
        { "cs_disasm_iter", (void **)&c->disasm_iter },
    };

    c->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!c->library)
        return fail(error, NUMON_ERROR_HOST, "cannot name instructions: %s", dlerror());
    for (unsigned i = 0; i < G_N_ELEMENTS(symbols); i++) {
        *symbols[i].to = dlsym(c->library, symbols[i].name);
        if (*symbols[i].to)
            continue;
        dlclose(c->library);
        return fail(error, NUMON_ERROR_HOST, "cannot name instructions: " LIBRARY " has no %s", symbols[i].name);
    }
    return true;
}

bool
disassembly_works(void)
{
    struct capstone c;
    bool works = load(&c, NULL);

    if (works)
        dlclose(c.library);
    return works;
}

static void
append_instruction(const cs_insn *in, GString *out)
{
    g_string_append_printf(out, "0x%016" PRIx64 ":  ", in->address);
    for (unsigned i = 0; i < in->size; i++)
        g_string_append_printf(out, "%02x ", in->bytes[i]);
    g_string_append_printf(out, "%*s%s%s%s\n", (int)(30 - MIN(3 * in->size, 30)), "", in->mnemonic,
                           *in->op_str ? " " : "", in->op_str);
}

/* Returns the bytes shown. */
static uint64_t
append_instructions(const struct capstone *c, csh handle, const struct dump_format *f, uint64_t address,
                    const uint8_t *bytes, uint64_t size, GString *out)
{
    const uint8_t *at = bytes;
    size_t left = size;
    cs_insn *in = c->malloc(handle);

    for (uint64_t i = 0; i < f->count && left; i++) {
        if (c->disasm_iter(handle, &at, &left, &address, in)) {
            append_instruction(in, out);
            continue;
        }
        g_string_append_printf(out, "0x%016" PRIx64 ":  %02x %27s.byte 0x%02x\n", address, *at, "", *at);
        at++;
        left--;
        address++;
    }
    c->free(in, 1);
    return (uint64_t)(at - bytes);
}

bool
disassembly_append(const struct dump_format *f, enum code_mode mode, uint64_t address, const uint8_t *bytes,
                   uint64_t size, GString *out, uint64_t *ret_shown, GError **error)
{
    struct capstone c;
    csh handle;
    bool ok;

    if (!load(&c, error))
        return false;
    ok = c.open(CS_ARCH_X86, modes[mode], &handle) == CS_ERR_OK;
    if (ok) {
        /* AT&T's syntax, as QEMU, gdb and the kernel's own messages have it. */
        c.option(handle, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
        *ret_shown = append_instructions(&c, handle, f, address, bytes, size, out);
        c.close(&handle);
    }
    dlclose(c.library);
    return ok || fail(error, NUMON_ERROR_HOST, "cannot name instructions: Capstone does not start");
}

#else

bool
disassembly_works(void)
{
    return false;
}

bool
disassembly_append(const struct dump_format *f, enum code_mode mode, uint64_t address, const uint8_t *bytes,
                   uint64_t size, GString *out, uint64_t *ret_shown, GError **error)
{
    return fail(error, NUMON_ERROR_HOST, "cannot name instructions: this numon was built without Capstone (install "
                "libcapstone-dev and configure again); /x shows the bytes");
}

#endif
