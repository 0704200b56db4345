/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The head of a stream in a file: magic and version, the configuration and its subsections. */
#include "explain.h"

#include <errno.h>
#include <inttypes.h>

const struct migrate_feature_name migrate_feature_names[] = {
    { FEATURE_XBZRLE, "xbzrle" }, { FEATURE_COMPRESS, "compress" }, { FEATURE_CHECKSUM, "checksum" },
    { FEATURE_HANDOVER, "memory-handover" }, { FEATURE_RUNS, "runs" }, { FEATURE_LOCAL, "memory-copy" }, { 0, NULL },
};

const char *
feature_name(uint64_t feature)
{
    const struct migrate_feature_name *f = migrate_feature_names;

    while (f->name && f->feature != feature)
        f++;
    return f->name;
}

/* --- head ------------------------------------------------------------------------------------------------------- */

/* A counted text of at most 'most' bytes.  Caller frees. */
static bool
take_text(struct explain *e, uint32_t most, const char *what, char **ret, GError **error)
{
    uint32_t size;

    if (!input_take32(&e->input, &size, error))
        return false;
    if (size > most)
        return input_fail(&e->input, error, "%s has %u bytes (at most %u are allowed)", what, size, most);
    g_autofree char *text = g_try_malloc(size + 1);
    if (!text)
        return fail(error, NUMON_ERROR_HOST, "cannot take %s of %u bytes: %s", what, size, g_strerror(ENOMEM));
    if (!input_read(&e->input, text, size, error))
        return false;
    text[size] = '\0';
    if (!g_utf8_validate_len(text, size, NULL))
        return input_fail(&e->input, error, "%s is not text", what);
    *ret = g_steal_pointer(&text);
    return true;
}

bool
explain_file_head(struct explain *e, GError **error)
{
    uint32_t magic, version;

    if (!input_take32(&e->input, &magic, error) || !input_take32(&e->input, &version, error))
        return false;
    if (magic != STREAM_MAGIC)
        return input_fail(&e->input, error, "this is no migration stream: its first word is 0x%08x (0x%08x, "
                          "\"QEVM\", is expected)", magic, STREAM_MAGIC);
    if (version != STREAM_VERSION)
        return input_fail(&e->input, error, "the stream has version %u (%u is known)", version, STREAM_VERSION);
    explain_tell(e, &(struct explain_event) { .kind = EXPLAIN_HEAD, .bytes = 8, .version = version });
    return true;
}

bool
explain_configuration(struct explain *e, uint64_t place, GError **error)
{
    if (e->configured)
        explain_fault(e, place, "there is a second configuration");
    g_clear_pointer(&e->report.machine_type, g_free);
    if (!take_text(e, MACHINE_TYPE_MOST, "the machine type", &e->report.machine_type, error))
        return false;
    if (!*e->report.machine_type)
        explain_stops(e, place, "the machine type is empty");
    e->configured = true;
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_CONFIGURATION, .place = place, .bytes = e->input.offset - place,
        .name = e->report.machine_type });
    return true;
}

/* numon's own subsection. */
static bool
take_machine(struct explain *e, uint64_t place, GError **error)
{
    struct explain_report *r = &e->report;
    uint32_t page_size;

    r->ours = true;
    g_clear_pointer(&r->text, g_free);
    if (!input_take64(&e->input, &r->id, error) || !input_take64(&e->input, &r->features, error)
        || !input_take32(&e->input, &page_size, error)
        || !take_text(e, MACHINE_TEXT_MOST, "the description of the machine", &r->text, error))
        return false;
    if (r->features & ~(uint64_t)FEATURES_KNOWN)
        explain_fault(e, place, "the stream needs features that are not known here (0x%" PRIx64 ")",
                      r->features & ~(uint64_t)FEATURES_KNOWN);
    e->input.summing = r->features & FEATURE_CHECKSUM;
    return page_size == PAGE_SIZE
        || input_fail(&e->input, error, "the source's page size is %u (%d is expected)", page_size, PAGE_SIZE);
}

/* QEMU's: a count, and names. */
static bool
take_capabilities(struct explain *e, GError **error)
{
    g_autoptr(GString) list = g_string_new(NULL);
    char name[NAME_MOST + 1];
    uint32_t count;

    if (!input_take32(&e->input, &count, error))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (list->len > MACHINE_TYPE_MOST * 16)
            return input_fail(&e->input, error, "the configuration names %u capabilities", count);
        if (!input_take_name(&e->input, name, error))
            return false;
        g_string_append_printf(list, "%s%s", list->len ? " " : "", name);
        e->ignore_shared = e->ignore_shared || g_str_equal(name, "x-ignore-shared");
        if (g_str_equal(name, "mapped-ram"))
            return input_fail(&e->input, error, "the stream has mapped-ram: its pages lie outside of the records, "
                              "and are not read here");
    }
    g_free(e->report.capabilities);
    e->report.capabilities = g_strdup(list->str);
    return true;
}

static bool
take_known_subsection(struct explain *e, const char *name, uint64_t place, GError **error)
{
    bool known;

    if (g_str_equal(name, MACHINE_SUBSECTION))
        return take_machine(e, place, error);
    if (g_str_equal(name, "configuration/capabilities"))
        return take_capabilities(e, error);
    if (g_str_equal(name, "configuration/target-page-bits"))
        return explain_skip(e, 4, error);
    if (g_str_equal(name, "configuration/uuid"))
        return explain_skip(e, 16, error);
    if (!explain_configuration_fields(e, name, &known, error))
        return false;
    return known || input_fail(&e->input, error, "subsection '%s' of the configuration is not known", name);
}

bool
explain_subsection(struct explain *e, uint64_t place, GError **error)
{
    char name[NAME_MOST + 1];
    uint32_t version;

    if (!e->configured || e->report.sections->len)
        return input_fail(&e->input, error, "a subsection stands where none can be");
    if (!input_take_name(&e->input, name, error) || !input_take32(&e->input, &version, error)
        || !take_known_subsection(e, name, place, error))
        return false;
    if (!explain_configuration_described(e))
        explain_stops(e, place, "the configuration has a subsection and the description none of it");
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_SUBSECTION, .place = place, .bytes = e->input.offset - place, .name = name,
        .version = version });
    return true;
}
