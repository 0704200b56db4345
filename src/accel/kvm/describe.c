/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a source tells of its virtual CPUs before the first page, and whether this host can take it.
 *
 * Features must be the same, as the guest has seen them.  Lists (parts of the state, MSRs, bits of XCR0) may be
 * longer here: nothing is lost then.  A counter's frequency is tried.  Each refusal names what is missing. */
#include "kvm-private.h"

#include <inttypes.h>
#include <string.h>
#include <x86intrin.h>

/* --- the source ------------------------------------------------------------------------------------------------- */

/* The place of a CPU follows from the machine's own lines, and so do the caches. */
static void
describe_cpuid(const struct kvm *k, GString *lines)
{
    g_autofree char *options = cpu_options_spell(&k->cpu.options);
    char vendor[13] = "";

    for (unsigned i = 0; i < 3; i++) {
        uint32_t text = cpuid_get(k->cpuid, 0, 0, (enum cpuid_register[]) { CPUID_EBX, CPUID_EDX, CPUID_ECX }[i]);

        memcpy(vendor + 4 * i, &text, sizeof text);
    }
    g_string_append_printf(lines, "kvm-cpu=%s\nkvm-cpu-vendor=%s\nkvm-cpu-signature=0x%x\nkvm-cpu-address-bits=0x%x\n"
                           "kvm-cpu-features=", options, vendor, cpuid_get(k->cpuid, 1, 0, CPUID_EAX),
                           cpuid_get(k->cpuid, 0x80000008, 0, CPUID_EAX) & 0xffff);
    cpu_features_seen(k->cpuid, lines);
    g_string_append_c(lines, '\n');
}

/* A counter that is the host's can be read without stopping the guest; nothing is known of another. */
static void
describe_tsc(const struct kvm *k, GString *lines)
{
    g_string_append_printf(lines, "kvm-tsc-khz=%" PRIu64 "\nkvm-tsc=", k->tsc_khz);
    if (k->tsc_setting == TSC_FIXED)
        g_string_append_printf(lines, "%" PRIu64 "\n", (uint64_t)__rdtsc());
    else
        g_string_append(lines, "its own\n");
}

void
kvm_describe(struct accel *a, GString *lines)
{
    struct kvm *k = (struct kvm *)a;
    const char *word;

    describe_cpuid(k, lines);
    g_string_append(lines, "kvm-state=");
    for (unsigned i = 0; (word = part_word(i)); i++)
        if (k->parts & 1u << i)
            g_string_append_printf(lines, "%s ", word);
    g_string_append(lines, "\nkvm-msrs=");
    for (unsigned i = 0; i < k->msr_count; i++)
        g_string_append_printf(lines, "%x ", k->msr_indices[i]);
    g_string_append_printf(lines, "\nkvm-xsave-size=%u\nkvm-xcr0=0x%" PRIx64 "\n", k->xsave_size, k->xcr0);
    describe_tsc(k, lines);
}

/* --- the destination -------------------------------------------------------------------------------------------- */

static bool
has_word(char *const *words, const char *wanted)
{
    for (; *words; words++)
        if (strcmp(*words, wanted) == 0)
            return true;
    return false;
}

/* Parts that have another way: the older form holds all that this guest can have, or the load says so. */
static bool
has_part(char *const *words, const char *wanted)
{
    return has_word(words, wanted) || (strcmp(wanted, "sregs2") == 0 && has_word(words, "sregs")) ||
           (strcmp(wanted, "sregs") == 0 && has_word(words, "sregs2")) ||
           (strcmp(wanted, "xsave2") == 0 && has_word(words, "xsave")) ||
           (strcmp(wanted, "xsave") == 0 && has_word(words, "xsave2"));
}

/* The words of 'source' that 'here' lacks, as "PREFIXa PREFIXb", or NULL. */
static char *
missing_words(const char *source, const char *here, bool (*has)(char *const *words, const char *wanted),
              const char *prefix)
{
    g_auto(GStrv) theirs = g_strsplit_set(source, " ", -1), ours = g_strsplit_set(here, " ", -1);
    GString *missing = g_string_new(NULL);

    for (char **word = theirs; *word; word++)
        if (**word && !has(ours, *word))
            g_string_append_printf(missing, "%s%s%s", missing->len ? " " : "", prefix, *word);
    return g_string_free(missing, missing->len == 0);
}

static char *
explain(const char *format, char *missing)
{
    char *text = missing ? g_strdup_printf(format, missing) : NULL;

    g_free(missing);
    return text;
}

/* Fewer would break what the guest does, more would appear under it: they must be the same, however they came
 * about. */
static char *
features_differ(const char *source, const char *here)
{
    g_autofree char *lacking = missing_words(source, here, has_word, "");
    g_autofree char *more = missing_words(here, source, has_word, "");

    if (!lacking && !more)
        return NULL;
    return g_strdup_printf("%s%s%s%s%s (info cpu_features says why; the same `cpu` on both sides, with + and -, "
                           "makes them equal)", lacking ? "not here: " : "", lacking ? lacking : "",
                           lacking && more ? ", " : "", more ? "only here: " : "", more ? more : "");
}

static char *
tsc_differs(struct kvm *k, const char *source)
{
    uint64_t theirs, now = __rdtsc();

    if (k->tsc_setting != TSC_FIXED || !number_parse(source, &theirs, NULL) || theirs <= now)
        return NULL;
    return g_strdup_printf("the guest's time stamp counter would go back from %" PRIu64 " to %" PRIu64 ", this "
                           "host's own, which KVM here cannot set", theirs, now);
}

static char *
number_differs(const char *name, const char *source, const char *here, bool (*fits)(uint64_t theirs, uint64_t ours))
{
    uint64_t theirs, ours;

    if (number_parse(source, &theirs, NULL) && number_parse(here, &ours, NULL) && fits(theirs, ours))
        return NULL;
    return g_strdup_printf("source %s, here %s", source, here);
}

static bool
is_subset(uint64_t theirs, uint64_t ours)
{
    return !(theirs & ~ours);
}

static bool
is_no_more(uint64_t theirs, uint64_t ours)
{
    return theirs <= ours;
}

char *
kvm_differs(struct accel *a, const char *name, const char *source, const char *here)
{
    struct kvm *k = (struct kvm *)a;
    uint64_t khz;

    if (strcmp(name, "kvm-state") == 0)
        return explain("KVM here has no %s", missing_words(source, here, has_part, ""));
    if (strcmp(name, "kvm-msrs") == 0)
        return explain("KVM here cannot set %s", missing_words(source, here, has_word, "0x"));
    if (strcmp(name, "kvm-cpu") == 0)
        return NULL;                /* the features that came of it count */
    if (strcmp(name, "kvm-cpu-features") == 0)
        return features_differ(source, here);
    if (strcmp(name, "kvm-xcr0") == 0)
        return number_differs(name, source, here, is_subset);
    if (strcmp(name, "kvm-xsave-size") == 0)
        return number_differs(name, source, here, is_no_more);
    if (strcmp(name, "kvm-tsc") == 0)
        return tsc_differs(k, source);
    if (strcmp(name, "kvm-tsc-khz") != 0 || !number_parse(source, &khz, NULL))
        return g_strdup_printf("source %s, here %s", source, here);
    return time_takes_khz(k, khz) ? NULL : g_strdup_printf("source %s, here %s, and KVM here cannot scale it", source,
                                                           here);
}
