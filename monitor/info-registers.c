/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info registers`, in QEMU's layout. */
#include "monitor-private.h"

#include <inttypes.h>
#include <string.h>

enum { FLAG_DF = 1 << 10, FLAG_OF = 1 << 11, FLAG_SF = 1 << 7, FLAG_ZF = 1 << 6, FLAG_AF = 1 << 4, FLAG_PF = 1 << 2,
       FLAG_CF = 1 << 0 };

static const char *const general_names[] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9",
                                             "r10",
                                             "r11", "r12", "r13", "r14", "r15" };

/* Registers that are one number, and where. */
#define ONE(name, member) { name, offsetof(struct cpu_registers, member) }
static const struct { const char *name; size_t offset; } numbers[] = {
    ONE("rip", rip), ONE("pc", rip), ONE("rflags", rflags), ONE("eflags", rflags), ONE("cr0", cr0), ONE("cr2", cr2),
    ONE("cr3", cr3), ONE("cr4", cr4), ONE("cr8", cr8), ONE("efer", efer), ONE("fs_base", fs.base),
    ONE("gs_base", gs.base),
    ONE("gdt", gdt_base), ONE("idt", idt_base), ONE("tr", tr.base), ONE("sp", general[7]),
};

bool
register_value(const struct cpu_registers *r, const char *name, uint64_t *ret, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(general_names); i++) {
        if (g_ascii_strcasecmp(name, general_names[i]) == 0) {
            *ret = r->general[i];
            return true;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (g_ascii_strcasecmp(name, numbers[i].name) == 0) {
            memcpy(ret, (const char *)r + numbers[i].offset, sizeof *ret);
            return true;
        }
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "unknown register '$%s': $rax to $r15, $rip, $rflags, $cr0 to $cr8, "
                "$efer, $fs_base, $gs_base, $gdt, $idt, $tr", name);
}

/* --- the tree --------------------------------------------------------------------------------------------------- */

static void
add_u64(GVariantBuilder *dict, const char *name, uint64_t value)
{
    g_variant_builder_add(dict, "{sv}", name, g_variant_new_uint64(value));
}

/* selector, base, limit, the descriptor's attribute bits (Intel SDM 3A, 3.4.5, second word). */
static GVariant *
segment_tree(const struct cpu_segment *s)
{
    uint32_t attributes = (uint32_t)s->type << 8 | (uint32_t)s->s << 12 | (uint32_t)s->dpl << 13 |
                          (uint32_t)s->present << 15 | (uint32_t)s->l << 21 | (uint32_t)s->db << 22 |
                          (uint32_t)s->g << 23 | (s->limit >> (s->g ? 12 : 0) & 0xf0000);

    return g_variant_new("(utuu)", (guint32)s->selector, (guint64)s->base, (guint32)s->limit, attributes);
}

static void
add_segments(GVariantBuilder *dict, const struct cpu_registers *r)
{
    const struct { const char *name; const struct cpu_segment *s; } segments[] = {
        { "es", &r->es }, { "cs", &r->cs }, { "ss", &r->ss }, { "ds", &r->ds },
        { "fs", &r->fs }, { "gs", &r->gs }, { "ldt", &r->ldt }, { "tr", &r->tr },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++)
        g_variant_builder_add(dict, "{sv}", segments[i].name, segment_tree(segments[i].s));
    g_variant_builder_add(dict, "{sv}", "gdt", g_variant_new("(tu)", (guint64)r->gdt_base, (guint32)r->gdt_limit));
    g_variant_builder_add(dict, "{sv}", "idt", g_variant_new("(tu)", (guint64)r->idt_base, (guint32)r->idt_limit));
}

/* Two numbers a register, the high one first. */
static GVariant *
wide_tree(const uint8_t (*registers)[16], unsigned count)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(tt)"));
    for (unsigned i = 0; i < count; i++) {
        uint64_t low, high;

        memcpy(&low, registers[i], sizeof low);
        memcpy(&high, registers[i] + 8, sizeof high);
        g_variant_builder_add(&list, "(tt)", high, low);
    }
    return g_variant_builder_end(&list);
}

static GVariant *
cpu_tree(unsigned cpu, const struct cpu_registers *r)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "cpu", g_variant_new_uint32(cpu));
    for (unsigned i = 0; i < G_N_ELEMENTS(general_names); i++)
        add_u64(&dict, general_names[i], r->general[i]);
    add_u64(&dict, "rip", r->rip);
    add_u64(&dict, "rflags", r->rflags);
    add_u64(&dict, "cr0", r->cr0);
    add_u64(&dict, "cr2", r->cr2);
    add_u64(&dict, "cr3", r->cr3);
    add_u64(&dict, "cr4", r->cr4);
    add_u64(&dict, "cr8", r->cr8);
    add_u64(&dict, "efer", r->efer);
    g_variant_builder_add(&dict, "{sv}", "halted", g_variant_new_boolean(r->halted));
    add_segments(&dict, r);
    g_variant_builder_add(&dict, "{sv}", "dr", g_variant_new_fixed_array(G_VARIANT_TYPE_UINT64, r->debug, 8, 8));
    g_variant_builder_add(&dict, "{sv}", "fpu", g_variant_new("(uuuu)", (guint32)r->fcw, (guint32)r->fsw,
                                                                (guint32)r->ftw, (guint32)r->mxcsr));
    g_variant_builder_add(&dict, "{sv}", "fpr", wide_tree(r->fpr, 8));
    g_variant_builder_add(&dict, "{sv}", "xmm", wide_tree(r->xmm, 16));
    return g_variant_builder_end(&dict);
}

enum { REGISTERS_P_ALL };
static const struct property registers_args[] = {
    [REGISTERS_P_ALL] = { "-a", PROPERTY_FLAG, .help = "of all CPUs, not only the current one" },
    { 0 }
};

static GVariant *
registers_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct topology_final *t = machine_topology(m->machine);
    bool all = args->at[REGISTERS_P_ALL].set;
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned cpu = all ? 0 : monitor_cpu(m); cpu < TOPOLOGY_CPUS; cpu = all ? cpu + 1 : TOPOLOGY_CPUS) {
        struct cpu_registers r;

        if (!topology_has_cpu(t, cpu))
            continue;
        if (!machine_registers(m->machine, cpu, &r, error)) {
            g_variant_builder_clear(&list);
            return NULL;
        }
        g_variant_builder_add_value(&list, cpu_tree(cpu, &r));
    }
    return g_variant_builder_end(&list);
}

/* --- the layout ------------------------------------------------------------------------------------------------- */

static void
print_general(GVariant *cpu, GString *out)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(general_names); i++) {
        g_autofree char *name = g_ascii_strup(general_names[i], -1);

        g_string_append_printf(out, "%-3s=%016" PRIx64 "%c", name, tree_number(cpu, general_names[i]),
                               i % 4 == 3 ? '\n' : ' ');
    }
}

static void
print_flags(GVariant *cpu, GString *out)
{
    static const struct { unsigned bit; char letter; } flags[] = {
        { FLAG_DF, 'D' }, { FLAG_OF, 'O' }, { FLAG_SF, 'S' }, { FLAG_ZF, 'Z' }, { FLAG_AF, 'A' }, { FLAG_PF, 'P' },
        { FLAG_CF, 'C' },
    };
    uint64_t rflags = tree_number(cpu, "rflags");
    gboolean halted = FALSE;
    guint32 attributes = 0;

    g_variant_lookup(cpu, "halted", "b", &halted);
    g_variant_lookup(cpu, "ss", "(utuu)", NULL, NULL, NULL, &attributes);
    g_string_append_printf(out, "RIP=%016" PRIx64 " RFL=%08" PRIx64 " [", tree_number(cpu, "rip"), rflags);
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++)
        g_string_append_c(out, rflags & flags[i].bit ? flags[i].letter : '-');
    g_string_append_printf(out, "] CPL=%u II=0 A20=1 SMM=0 HLT=%d\n", attributes >> 13 & 3, halted);
}

static void
print_segments(GVariant *cpu, GString *out)
{
    static const char *const names[] = { "es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = g_ascii_strup(names[i], -1);
        guint32 selector = 0, limit = 0, attributes = 0;
        guint64 base = 0;

        g_variant_lookup(cpu, names[i], "(utuu)", &selector, &base, &limit, &attributes);
        g_string_append_printf(out, "%-3s=%04x %016" PRIx64 " %08x %08x\n", name, selector, (uint64_t)base, limit,
                               attributes);
    }
    for (unsigned i = 0; i < 2; i++) {
        guint64 base = 0;
        guint32 limit = 0;

        g_variant_lookup(cpu, i ? "idt" : "gdt", "(tu)", &base, &limit);
        g_string_append_printf(out, "%s=     %016" PRIx64 " %08x\n", i ? "IDT" : "GDT", (uint64_t)base, limit);
    }
}

static void
print_control(GVariant *cpu, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(cpu, "dr", G_VARIANT_TYPE("at"));
    gsize count;
    const guint64 *dr = g_variant_get_fixed_array(list, &count, sizeof *dr);

    g_string_append_printf(out, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n",
                           tree_number(cpu, "cr0"), tree_number(cpu, "cr2"), tree_number(cpu, "cr3"),
                           tree_number(cpu, "cr4"));
    for (unsigned i = 0; i < 4; i++)
        g_string_append_printf(out, "DR%u=%016" PRIx64 "%c", i, (uint64_t)dr[i], i == 3 ? '\n' : ' ');
    g_string_append_printf(out, "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\nEFER=%016" PRIx64 "\n", (uint64_t)dr[6],
                           (uint64_t)dr[7], tree_number(cpu, "efer"));
}

static void
print_fpu(GVariant *cpu, GString *out)
{
    g_autoptr(GVariant) fpr = g_variant_lookup_value(cpu, "fpr", G_VARIANT_TYPE("a(tt)"));
    g_autoptr(GVariant) xmm = g_variant_lookup_value(cpu, "xmm", G_VARIANT_TYPE("a(tt)"));
    guint32 fcw = 0, fsw = 0, ftw = 0, mxcsr = 0;
    guint64 high, low;

    g_variant_lookup(cpu, "fpu", "(uuuu)", &fcw, &fsw, &ftw, &mxcsr);
    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", fcw, fsw, fsw >> 11 & 7, ftw,
                           mxcsr);
    for (gsize i = 0; i < g_variant_n_children(fpr); i++) {
        g_variant_get_child(fpr, i, "(tt)", &high, &low);
        g_string_append_printf(out, "FPR%" G_GSIZE_FORMAT "=%016" PRIx64 " %04x%c", i, (uint64_t)low,
                               (unsigned)(high & 0xffff),
                               i % 2 ? '\n' : ' ');
    }
    for (gsize i = 0; i < g_variant_n_children(xmm); i++) {
        g_variant_get_child(xmm, i, "(tt)", &high, &low);
        g_string_append_printf(out, "XMM%02" G_GSIZE_FORMAT "=%016" PRIx64 " %016" PRIx64 "%c", i, (uint64_t)high,
                               (uint64_t)low, i % 2 ? '\n' : ' ');
    }
}

static void
registers_print(GVariant *tree, GString *out)
{
    for (gsize i = 0; i < g_variant_n_children(tree); i++) {
        g_autoptr(GVariant) cpu = g_variant_get_child_value(tree, i);
        guint32 index = 0;

        g_variant_lookup(cpu, "cpu", "u", &index);
        g_string_append_printf(out, "\nCPU#%u\n", index);
        print_general(cpu, out);
        print_flags(cpu, out);
        print_segments(cpu, out);
        print_control(cpu, out);
        print_fpu(cpu, out);
    }
}

const struct info_item info_register_items[] = {
    { "registers", "show the registers of a CPU", WHEN_BUILT, registers_args, registers_get, registers_print },
    { 0 }
};
