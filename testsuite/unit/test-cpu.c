/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Features by name: what is asked for, what a host makes of it and why, and the leaves that come of that. */
#include "cpu.h"

#include <string.h>

/* A host whose leaves have all features of the table but those named, and whose KVM cannot run some. */
struct host {
    struct cpu_host host;
    const char *lacks, *refused;        /* one name each, or NULL */
    GArray *leaves;
};

static const char *
refuses(void *self, unsigned feature)
{
    const struct host *h = self;

    return g_strcmp0(cpu_features[feature].name, h->refused) == 0 ? "cannot run it" : NULL;
}

static void
host_init(struct host *h, const char *vendor, const char *lacks, const char *refused)
{
    struct cpuid_leaf *leaf;

    *h = (struct host) { .lacks = lacks, .refused = refused };
    h->leaves = g_array_new(FALSE, TRUE, sizeof(struct cpuid_leaf));
    leaf = cpuid_make(h->leaves, 0, 0);
    memcpy(&leaf->reg[CPUID_EBX], vendor, 4);
    memcpy(&leaf->reg[CPUID_EDX], vendor + 4, 4);
    memcpy(&leaf->reg[CPUID_ECX], vendor + 8, 4);
    for (unsigned i = 0; i < cpu_feature_count; i++)
        if (g_strcmp0(cpu_features[i].name, lacks) != 0)
            cpuid_make(h->leaves, cpu_features[i].function, cpu_features[i].index)->reg[cpu_features[i].reg] |=
                cpu_features[i].mask;
    cpuid_make(h->leaves, 1, 0)->reg[CPUID_EAX] = 0x00a20f10;
    cpuid_make(h->leaves, 0xd, 0)->reg[CPUID_EAX] = 0x2e7;
    for (unsigned part = 2; part < 10; part++) {
        leaf = cpuid_make(h->leaves, 0xd, part);
        leaf->reg[CPUID_EAX] = 0x100;
        leaf->reg[CPUID_EBX] = 0x240 + 0x100 * (part - 2);
    }
    h->host = (struct cpu_host) { .leaves = h->leaves, .refuses = refuses, .self = h };
}

static void
resolve(struct host *h, const char *text, struct cpu_resolved *ret)
{
    struct cpu_options o;
    g_autoptr(GError) error = NULL;

    cpu_options_parse(text, &o, &error);
    g_assert_no_error(error);
    cpu_resolve(&o, &h->host, ret);
}

static void
expect_status(const struct cpu_resolved *r, const char *name, enum cpu_feature_state state, const char *why)
{
    int feature = cpu_feature_find(name);
    g_autofree char *text = NULL;

    g_assert_cmpint(feature, >=, 0);
    text = cpu_status_text(r, (unsigned)feature, "KVM");
    g_assert_cmpstr(text, ==, why);
    g_assert_cmpint(r->status[feature].state, ==, state);
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static void
every_feature_is_found_by_its_name_and_stands_behind_what_it_needs(void)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        const struct cpu_feature *f = &cpu_features[i];

        g_assert_cmpint(cpu_feature_find(f->name), ==, (int)i);
        if (f->alias)
            g_assert_cmpint(cpu_feature_find(f->alias), ==, (int)i);
        if (f->needs) {
            g_assert_cmpint(cpu_feature_find(f->needs), >=, 0);
            g_assert_cmpint(cpu_feature_find(f->needs), <, (int)i);
        }
        for (unsigned other = 0; other < i; other++) {
            const struct cpu_feature *o = &cpu_features[other];

            g_assert_false(o->function == f->function && o->index == f->index && o->reg == f->reg &&
                           o->mask & f->mask);
        }
    }
}

/* Against bits that one can look up: cpufeatures of Linux, word by word. */
static void
features_are_where_the_manuals_have_them(void)
{
    static const struct { const char *name, *place; } known[] = {
        { "fpu", "1.edx.0" }, { "sse2", "1.edx.26" }, { "cx16", "1.ecx.13" }, { "sse4.2", "1.ecx.20" },
        { "popcnt", "1.ecx.23" }, { "avx", "1.ecx.28" }, { "avx2", "7.0.ebx.5" }, { "smap", "7.0.ebx.20" },
        { "umip", "7.0.ecx.2" }, { "spec-ctrl", "7.0.edx.26" }, { "avx-vnni", "7.1.eax.4" },
        { "xsaves", "d.1.eax.3" },
        { "lm", "0x80000001.edx.29" }, { "topoext", "0x80000001.ecx.22" }, { "invtsc", "0x80000007.edx.8" },
        { "ibpb", "0x80000008.ebx.12" }, { "kvmclock-stable-bit", "0x40000001.eax.24" }, { "arat", "6.eax.2" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *place = cpu_feature_place(&cpu_features[cpu_feature_find(known[i].name)]);

        g_assert_cmpstr(place, ==, known[i].place);
    }
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static void
options_are_read_and_spelt(void)
{
    static const char *const pairs[][2] = {
        { "base", "base" }, { "host", "host" }, { "base,+sse4_2,+sse3", "base,+pni,+sse4.2" },
        { "base,avx=on,SSE4.1=off", "base,-sse4.1,+avx" }, { "host,+avx,-avx", "host,-avx" },
        { "base,-avx,+avx,+avx", "base,+avx" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *spelt = NULL;
        struct cpu_options o, again;

        cpu_options_parse(pairs[i][0], &o, &error);
        g_assert_no_error(error);
        spelt = cpu_options_spell(&o);
        g_assert_cmpstr(spelt, ==, pairs[i][1]);
        g_assert_true(cpu_options_parse(spelt, &again, NULL));
        g_assert_true(cpu_options_equal(&o, &again));
    }
}

static void
wrong_options_change_nothing(void)
{
    static const char *const pairs[][2] = {
        { "", "unknown CPU model ''" }, { "qemu64", "unknown CPU model 'qemu64'" }, { "Base", "unknown CPU model" },
        { "base,", "the name of a CPU feature is missing" },
        { "base,,+avx", "the name of a CPU feature is missing" },
        { "base,avx", "CPU feature 'avx' needs a sign: +avx" },
        { "base,+", "the name of a CPU feature is missing" },
        { "base,+avx9", "unknown CPU feature 'avx9'; nearest is avx" },
        { "base,+popcmt", "nearest is popcnt" }, { "base,avx=maybe", "must be 'on' or 'off', not 'maybe'" },
        { "base,=on", "the name of a CPU feature is missing" },
        { "base,-lm", "cannot take away CPU feature 'lm': every x86-64" },
        { "base,+i64", "cannot ask for CPU feature 'lm'" }, { "base,+ht", "it follows from `smp`" },
        { "host,+svm", "does not migrate" }, { "base,+mtrr", "do not migrate" }, { "base,++avx", "'+avx'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++) {
        struct cpu_options o, before;
        g_autoptr(GError) error = NULL;

        cpu_options_parse("host,+avx", &o, NULL);
        before = o;
        g_assert_false(cpu_options_parse(pairs[i][0], &o, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        if (!strstr(error->message, pairs[i][1]))
            g_error("%s: %s", pairs[i][0], error->message);
        g_assert_true(cpu_options_equal(&o, &before));
    }
}

/* --- what comes of them ----------------------------------------------------------------------------------------- */

static void
a_model_has_its_features(void)
{
    struct cpu_resolved base, all;
    struct host h;

    host_init(&h, "AuthenticAMD", NULL, NULL);
    resolve(&h, "base", &base);
    resolve(&h, "host", &all);
    g_assert_cmpint(base.vendor, ==, CPU_AMD);
    g_assert_cmphex(base.xcr0, ==, 1);
    g_assert_cmphex(all.xcr0, ==, 0x2e7);
    expect_status(&base, "sse2", CPU_FEATURE_ON, "base has it");
    expect_status(&base, "avx", CPU_FEATURE_OFF, "base does not have it");
    expect_status(&base, "svm", CPU_FEATURE_OFF, "what a guest hypervisor has in the processor does not migrate");
    expect_status(&all, "avx", CPU_FEATURE_ON, "host has it");
    expect_status(&all, "mtrr", CPU_FEATURE_OFF, "the registers of memory type ranges do not migrate");
    expect_status(&all, "kvm-pv-ipi", CPU_FEATURE_OFF, "host does not have it");
    expect_status(&all, "kvm-steal-time", CPU_FEATURE_ON, "host has it");
    g_assert_null(cpu_warning(&all, "KVM"));
    g_array_unref(h.leaves);
}

static void
what_is_asked_for_brings_what_it_needs(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "GenuineIntel", NULL, NULL);
    resolve(&h, "base,+avx2,+kvm-pv-ipi", &r);
    expect_status(&r, "avx2", CPU_FEATURE_ON, "asked for");
    expect_status(&r, "avx", CPU_FEATURE_ON, "avx2 needs it");
    expect_status(&r, "xsave", CPU_FEATURE_ON, "avx needs it");
    expect_status(&r, "kvm-pv-ipi", CPU_FEATURE_ON, "asked for");
    g_assert_cmphex(r.xcr0, ==, 7);
    g_array_unref(h.leaves);
}

static void
what_cannot_be_is_left_out_with_all_that_needs_it(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "GenuineIntel", "sse4.1", "xsave");
    resolve(&h, "base,+sse4.2,+avx2,+rdrand", &r);
    expect_status(&r, "sse4.1", CPU_FEATURE_LEFT_OUT, "KVM lacks it");
    expect_status(&r, "sse4.2", CPU_FEATURE_LEFT_OUT, "it needs sse4.1, which is not on");
    expect_status(&r, "xsave", CPU_FEATURE_LEFT_OUT, "KVM cannot run it");
    expect_status(&r, "avx2", CPU_FEATURE_LEFT_OUT, "it needs avx, which is not on");
    expect_status(&r, "rdrand", CPU_FEATURE_ON, "asked for");
    g_autofree char *warning = cpu_warning(&r, "KVM");
    g_assert_cmpstr(warning, ==, "the guest's CPUs go without sse4.2 (it needs sse4.1, which is not on), avx2 (it "
                    "needs avx, which is not on)");
    g_assert_cmphex(r.xcr0, ==, 1);
    resolve(&h, "host", &r);
    expect_status(&r, "sse4.1", CPU_FEATURE_OFF, "KVM lacks it");
    g_assert_null(cpu_warning(&r, "KVM"));
    g_array_unref(h.leaves);
}

static void
what_is_taken_away_takes_along_what_needs_it(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "GenuineIntel", NULL, NULL);
    resolve(&h, "host,-xsave", &r);
    expect_status(&r, "xsave", CPU_FEATURE_OFF, "taken away");
    expect_status(&r, "avx512f", CPU_FEATURE_LEFT_OUT, "it needs avx2, which is not on");
    g_assert_cmphex(r.xcr0, ==, 1);
    resolve(&h, "base,-avx,+avx2", &r);
    expect_status(&r, "avx", CPU_FEATURE_OFF, "taken away");
    expect_status(&r, "avx2", CPU_FEATURE_LEFT_OUT, "it needs avx, which is not on");
    g_array_unref(h.leaves);
}

/* --- leaves ----------------------------------------------------------------------------------------------------- */

static GArray *
leaves_of(struct host *h, const char *text, struct cpu_resolved *r)
{
    const struct cpu_leaves_input in = { .cpu = r, .host = h->leaves, .physical_bits = 40, .tsc_khz = 2600000 };

    resolve(h, text, r);
    return cpu_leaves(&in);
}

static void
leaves_of_base_on_intel(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "GenuineIntel", NULL, NULL);
    g_autoptr(GArray) l = leaves_of(&h, "base", &r);
    g_assert_cmphex(cpuid_get(l, 0, 0, CPUID_EAX), ==, 0x15);
    g_assert_cmpint(cpuid_vendor(l), ==, CPU_INTEL);
    g_assert_cmphex(cpuid_get(l, 1, 0, CPUID_EAX), ==, 0x60fb1);
    g_assert_cmphex(cpuid_get(l, 1, 0, CPUID_ECX), ==, 0x81200001);
    g_assert_cmphex(cpuid_get(l, 1, 0, CPUID_EDX), ==, 0x078bebfd);
    g_assert_cmphex(cpuid_get(l, 0x80000000, 0, CPUID_EAX), ==, 0x80000008);
    g_assert_cmphex(cpuid_get(l, 0x80000001, 0, CPUID_EDX), ==, 0x20100800);
    g_assert_cmphex(cpuid_get(l, 0x80000008, 0, CPUID_EAX), ==, 0x3028);
    g_assert_cmphex(cpuid_get(l, 0x40000000, 0, CPUID_EAX), ==, 0x40000010);
    g_assert_cmphex(cpuid_get(l, 0x40000000, 0, CPUID_EBX), ==, 0x4b4d564b);
    g_assert_cmphex(cpuid_get(l, 0x40000001, 0, CPUID_EAX), ==, 0x0100000b);
    g_assert_cmpuint(cpuid_get(l, 0x40000010, 0, CPUID_EAX), ==, 2600000);
    g_assert_null(cpuid_find(l, 0xd, 0));
    /* The counter's frequency as its reader reckons it: crystal * EBX / EAX. */
    g_assert_cmpuint((uint64_t)cpuid_get(l, 0x15, 0, CPUID_ECX) * cpuid_get(l, 0x15, 0, CPUID_EBX) /
                     cpuid_get(l, 0x15, 0, CPUID_EAX), ==, UINT64_C(2600000000));
    for (guint i = 1; i < l->len; i++)
        g_assert_cmphex(g_array_index(l, struct cpuid_leaf, i - 1).function, <=,
                        g_array_index(l, struct cpuid_leaf, i).function);
    g_array_unref(h.leaves);
}

static void
leaves_of_amd_repeat_its_first(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "AuthenticAMD", NULL, NULL);
    g_autoptr(GArray) l = leaves_of(&h, "base", &r);
    g_assert_cmphex(cpuid_get(l, 0, 0, CPUID_EAX), ==, 0xb);
    g_assert_cmphex(cpuid_get(l, 0x80000000, 0, CPUID_EAX), ==, 0x8000001e);
    g_assert_cmphex(cpuid_get(l, 0x80000001, 0, CPUID_EDX), ==, 0x20100800 | (0x078bebfd & 0x0183f3ff));
    g_assert_cmphex(cpuid_get(l, 0x80000001, 0, CPUID_EAX), ==, 0x60fb1);
    g_assert_null(cpuid_find(l, 0x15, 0));
    g_array_unref(h.leaves);
}

static void
extended_state_is_as_large_as_its_parts(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "GenuineIntel", NULL, NULL);
    g_autoptr(GArray) avx = leaves_of(&h, "base,+avx", &r);
    g_assert_cmphex(cpuid_get(avx, 0xd, 0, CPUID_EAX), ==, 7);
    g_assert_cmphex(cpuid_get(avx, 0xd, 0, CPUID_ECX), ==, 0x340);
    g_assert_nonnull(cpuid_find(avx, 0xd, 2));
    g_assert_null(cpuid_find(avx, 0xd, 5));
    g_autoptr(GArray) all = leaves_of(&h, "host", &r);
    g_assert_cmphex(cpuid_get(all, 0xd, 0, CPUID_EAX), ==, 0x2e7);
    g_assert_cmphex(cpuid_get(all, 0xd, 0, CPUID_ECX), ==, 0x240 + 0x100 * 8);
    g_assert_cmphex(cpuid_get(all, 1, 0, CPUID_EAX), ==, 0x00a20f10);
    g_assert_cmphex(cpuid_get(all, 7, 0, CPUID_EAX), ==, 1);
    g_array_unref(h.leaves);
}

static void
features_that_leaves_show_are_named(void)
{
    struct cpu_resolved r;
    struct host h;

    host_init(&h, "AuthenticAMD", NULL, NULL);
    g_autoptr(GArray) l = leaves_of(&h, "base", &r);
    g_autoptr(GString) names = g_string_new(NULL);

    cpu_features_seen(l, names);
    g_assert_cmpstr(names->str, ==, "fpu de pse tsc msr pae mce cx8 apic sep pge mca cmov pat pse36 clflush mmx fxsr "
                    "sse sse2 syscall nx lm pni x2apic tsc-deadline hypervisor lahf-lm arat invtsc kvmclock "
                    "kvm-nopiodelay kvmclock-stable-bit ");
    cpuid_make(l, 7, 0)->reg[CPUID_EBX] |= 1 << 12 | 1 << 5;
    cpuid_make(l, 1, 0)->reg[CPUID_ECX] |= 1 << 27;             /* the guest's own switch */
    g_string_truncate(names, 0);
    cpu_features_seen(l, names);
    g_assert_nonnull(strstr(names->str, "arat avx2 7.0.ebx.12 invtsc"));
    cpu_note_seen(&r, l);
    expect_status(&r, "avx2", CPU_FEATURE_ON, "KVM shows it whatever is asked for");
    cpuid_make(l, 1, 0)->reg[CPUID_EDX] &= ~(UINT32_C(1) << 26);
    cpu_note_seen(&r, l);
    expect_status(&r, "sse2", CPU_FEATURE_LEFT_OUT, "KVM does not show it");
    g_array_unref(h.leaves);
}

#define ADD(function) g_test_add_func("/cpu/" #function, function)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(every_feature_is_found_by_its_name_and_stands_behind_what_it_needs);
    ADD(features_are_where_the_manuals_have_them);
    ADD(options_are_read_and_spelt);
    ADD(wrong_options_change_nothing);
    ADD(a_model_has_its_features);
    ADD(what_is_asked_for_brings_what_it_needs);
    ADD(what_cannot_be_is_left_out_with_all_that_needs_it);
    ADD(what_is_taken_away_takes_along_what_needs_it);
    ADD(leaves_of_base_on_intel);
    ADD(leaves_of_amd_repeat_its_first);
    ADD(extended_state_is_as_large_as_its_parts);
    ADD(features_that_leaves_show_are_named);
    return g_test_run();
}
