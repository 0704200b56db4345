/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a destination reads, record by record: the head, commands, sections, the end.  The section "ram" is
 * ram-in.c's.
 *
 * Nothing of it is trusted: every record is checked, and an error says at which byte of the stream.  It is whole only
 * with the last byte of its description, which the source holds back until it can no longer go on by itself. */
#include "migrate-private.h"

#include <errno.h>
#include <inttypes.h>

/* --- head ------------------------------------------------------------------------------------------------------- */

static bool
expect32(struct in *n, uint32_t wanted, const char *what, GError **error)
{
    uint32_t found;

    if (!input_take32(&n->input, &found, error))
        return false;
    return found == wanted
        || input_fail(&n->input, error, "%s is 0x%x (0x%x is expected)", what, found, wanted);
}

static bool
take_text(struct in *n, uint32_t most, const char *what, char **ret, GError **error)
{
    uint32_t size;

    if (!input_take32(&n->input, &size, error))
        return false;
    if (size > most)
        return input_fail(&n->input, error, "%s has %u bytes (at most %u are allowed)", what, size, most);
    g_autofree char *text = g_try_malloc(size + 1);
    if (!text)
        return fail(error, NUMON_ERROR_HOST, "cannot take %s of %u bytes: %s", what, size, g_strerror(ENOMEM));
    if (!input_read(&n->input, text, size, error))
        return false;
    text[size] = '\0';
    if (!g_utf8_validate_len(text, size, NULL))
        return input_fail(&n->input, error, "%s is not text", what);
    *ret = g_steal_pointer(&text);
    return true;
}

static bool
take_machine_type(struct in *n, GError **error)
{
    g_autofree char *type = NULL;
    const char *ours = n->session->guest.machine_type;

    if (!take_text(n, MACHINE_TYPE_MOST, "the machine type", &type, error))
        return false;
    return g_str_equal(type, ours)
        || input_fail(&n->input, error, "the stream is of machine type '%s' and this is '%s'%s", type, ours,
                      g_str_has_prefix(type, "numon-") ? "" : ": guests do not move between numon and others");
}

/* The fixed fields of our subsection. */
static bool
take_machine_fields(struct in *n, uint64_t *ret_id, GError **error)
{
    uint64_t features;

    if (!input_take64(&n->input, ret_id, error) || !input_take64(&n->input, &features, error))
        return false;
    if (features & ~(uint64_t)FEATURES_KNOWN)
        return input_fail(&n->input, error, "the stream needs features that are not known here (0x%" PRIx64 ")",
                          features & ~(uint64_t)FEATURES_KNOWN);
    n->input.summing = features & FEATURE_CHECKSUM;
    n->ram.features = features;
    return expect32(n, PAGE_SIZE, "the source's page size", error);
}

static bool
take_machine(struct in *n, GError **error)
{
    struct session *s = n->session;
    char name[NAME_MOST + 1];
    g_autofree char *text = NULL;
    uint8_t record;
    uint64_t id;

    if (!input_take8(&n->input, &record, error))
        return false;
    if (record != RECORD_SUBSECTION)
        return input_fail(&n->input, error, "subsection '" MACHINE_SUBSECTION "' is missing");
    if (!input_take_name(&n->input, name, error))
        return false;
    if (!g_str_equal(name, MACHINE_SUBSECTION))
        return input_fail(&n->input, error, "subsection '%s' is not known", name);
    if (!expect32(n, MACHINE_SUBSECTION_VERSION, "the version of '" MACHINE_SUBSECTION "'", error)
        || !take_machine_fields(n, &id, error)
        || !take_text(n, MACHINE_TEXT_MOST, "the description of the machine", &text, error))
        return false;
    outcome_begin(s, id);
    return s->guest.agree(s->guest.self, text, error);
}

bool
load_head(struct in *n, GError **error)
{
    uint8_t record;

    if (!expect32(n, STREAM_MAGIC, "this is no migration stream: its first word", error)
        || !expect32(n, STREAM_VERSION, "the stream's version", error) || !input_take8(&n->input, &record, error))
        return false;
    if (record != RECORD_CONFIGURATION)
        return input_fail(&n->input, error, "the configuration is missing: record type 0x%02x", record);
    return take_machine_type(n, error) && take_machine(n, error);
}

/* --- commands --------------------------------------------------------------------------------------------------- */

static bool
open_return_path(struct in *n, GError **error)
{
    if (!channel_two_way(n->channel))
        return input_fail(&n->input, error, "the stream wants answers, and this transport has no way back");
    n->back = true;
    return true;
}

static bool
take_command(struct in *n, GError **error)
{
    uint16_t command, size;
    uint32_t value;

    if (!input_take16(&n->input, &command, error) || !input_take16(&n->input, &size, error))
        return false;
    if (command == COMMAND_OPEN_RETURN_PATH && size == 0)
        return open_return_path(n, error);
    if (command == COMMAND_SWITCHOVER_START && size == 0)
        return true;
    if (command == COMMAND_PING && size == 4) {
        if (!input_take32(&n->input, &value, error))
            return false;
        n->parts_wanted = n->parts_wanted || value == PING_PARTS;
        return n->back ? in_say32(n, RETURN_PONG, value, error)
             : input_fail(&n->input, error, "the source pings without having opened the way back");
    }
    return input_fail(&n->input, error, "command %u with %u bytes is not known", command, size);
}

/* --- sections --------------------------------------------------------------------------------------------------- */

struct section_head {
    uint32_t id, instance, version;
    char name[NAME_MOST + 1];
};

static bool
take_section_head(struct in *n, struct section_head *ret, GError **error)
{
    uint64_t place = n->input.offset - 1;

    if (!input_take32(&n->input, &ret->id, error) || !input_take_name(&n->input, ret->name, error)
        || !input_take32(&n->input, &ret->instance, error) || !input_take32(&n->input, &ret->version, error))
        return false;
    if (trace_on(n->session))
        trace_record(n->session, &(struct explain_event) {
            .kind = EXPLAIN_SECTION, .place = place, .bytes = n->input.offset - place, .name = ret->name,
            .id = ret->id, .instance = ret->instance, .version = ret->version }, NULL, 0);
    return true;
}

static bool
take_footer(struct in *n, uint32_t id, const char *name, GError **error)
{
    uint8_t record;
    uint32_t found;

    if (!input_take8(&n->input, &record, error) || !input_take32(&n->input, &found, error))
        return false;
    return (record == RECORD_FOOTER && found == id)
        || input_fail(&n->input, error, "section '%s' (%u) does not end with its footer: 0x%02x, %u", name, id,
                      record, found);
}

static bool
take_start(struct in *n, GError **error)
{
    struct section_head h;

    if (!take_section_head(n, &h, error))
        return false;
    if (!g_str_equal(h.name, "ram") || h.instance != 0 || n->ram_started)
        return input_fail(&n->input, error, "section '%s' instance %u cannot start here", h.name, h.instance);
    if (h.version != RAM_VERSION)
        return input_fail(&n->input, error, "section 'ram' has version %u (%d is expected)", h.version, RAM_VERSION);
    n->ram_started = true;
    n->ram_id = h.id;
    return ram_in_start(&n->ram, error) && take_footer(n, h.id, "ram", error);
}

static bool
take_ram(struct in *n, bool end, GError **error)
{
    uint32_t id;

    if (!input_take32(&n->input, &id, error))
        return false;
    if (!n->ram_started || n->ram_ended || id != n->ram_id)
        return input_fail(&n->input, error, "section %u goes on and is not open", id);
    if (end) {
        record_stop(n->session);
        n->ram_ended = true;
        n->ram.counter = &n->session->counters.downtime_bytes;
        if (!session_enter(n->session, MIGRATE_DEVICE))
            return session_alive(n->session, error);
    }
    if (!ram_in_pages(&n->ram, error) || !take_footer(n, id, "ram", error)
        || (end && !ram_in_complete(&n->ram, error)))
        return false;
    if (end)
        record_part(n->session, "last RAM");
    return true;
}

static bool
take_global_state(struct in *n, const struct section_head *h, GError **error)
{
    uint8_t data[GLOBAL_STATE_SIZE];

    if (h->instance != 0 || h->version != 1 || n->have_global_state)
        return input_fail(&n->input, error, "section 'globalstate' instance %u version %u is not known or is there "
                          "twice", h->instance, h->version);
    n->have_global_state = true;
    return input_read(&n->input, data, sizeof data, error) && wire_global_state_decode(data, &n->run_state, error)
        && take_footer(n, h->id, h->name, error);
}

static bool
take_checksum(struct in *n, const struct section_head *h, GError **error)
{
    uint32_t found = n->input.sum, wanted;

    if (h->instance != 0 || h->version != CHECKSUM_VERSION || n->summed)
        return input_fail(&n->input, error, "section '" CHECKSUM_SECTION "' instance %u version %u is not known or "
                          "is there twice", h->instance, h->version);
    if (!input_take32(&n->input, &wanted, error) || !input_take32(&n->input, &n->rest_sum, error)
        || !take_footer(n, h->id, h->name, error))
        return false;
    if (found != wanted)
        return input_fail(&n->input, error, "the stream is damaged: its checksum is 0x%08x, and the source's 0x%08x",
                          found, wanted);
    n->summed = true;
    n->input.sum = 0;
    return true;
}

static bool
take_device(struct in *n, const struct section_head *h, unsigned at, GError **error)
{
    const struct state_section *section = n->session->guest.sections[at];

    if (n->loaded[at])
        return input_fail(&n->input, error, "section '%s' instance %u is there twice", h->name, h->instance);
    n->loaded[at] = true;
    if (h->version == 0 || h->version > section->version)
        return input_fail(&n->input, error, "section '%s' instance %u has version %u (1 to %u are known here)",
                          h->name, h->instance, h->version, section->version);
    if (!state_load(section, h->version, input_read, &n->input, error) || !take_footer(n, h->id, h->name, error))
        return false;
    if (section->after_load && !section->after_load(section->object, error))
        return false;
    record_part(n->session, "load %s %u", h->name, h->instance);
    return true;
}

/* The source got a memory device.  Its block is listed in front of its pages. */
static bool
take_join(struct in *n, const struct section_head *h, GError **error)
{
    g_autofree char *text = NULL;

    if (!n->ram_started || n->ram_ended || h->instance != n->joined || h->version != JOIN_VERSION)
        return input_fail(&n->input, error, "section '" JOIN_SECTION "' instance %u version %u is not known or "
                          "cannot be here", h->instance, h->version);
    if (!take_text(n, JOIN_TEXT_MOST, "the description of a memory device", &text, error)
        || !take_footer(n, h->id, h->name, error) || !in_join(n->session, text, error)
        || !ram_in_join(&n->ram, error))
        return false;
    n->joined++;
    /* No section was loaded yet: these come after RAM. */
    g_free(n->loaded);
    n->loaded = g_new0(bool, n->session->guest.section_count + 1);
    return true;
}

static bool
take_handover(struct in *n, const struct section_head *h, GError **error)
{
    bool copies = g_str_equal(h->name, LOCAL_SECTION);

    if (n->ram_started || h->version != (copies ? LOCAL_VERSION : HANDOVER_VERSION))
        return input_fail(&n->input, error, "section '%s' version %u is not known or cannot be here", h->name,
                          h->version);
    return (copies ? local_take : handover_take)(&n->ram, h->instance, error)
        && take_footer(n, h->id, h->name, error);
}

static bool
take_full(struct in *n, GError **error)
{
    const struct migrate_guest *g = &n->session->guest;
    struct section_head h;

    if (!take_section_head(n, &h, error))
        return false;
    if (g_str_equal(h.name, JOIN_SECTION))
        return take_join(n, &h, error);
    if (g_str_equal(h.name, HANDOVER_SECTION) || g_str_equal(h.name, LOCAL_SECTION))
        return take_handover(n, &h, error);
    if (!n->ram_ended)
        return input_fail(&n->input, error, "section '%s' comes before the end of RAM", h.name);
    if (g_str_equal(h.name, "globalstate"))
        return take_global_state(n, &h, error);
    if (n->input.summing && g_str_equal(h.name, CHECKSUM_SECTION))
        return take_checksum(n, &h, error);
    for (unsigned i = 0; i < g->section_count; i++)
        if (g_str_equal(g->sections[i]->name, h.name) && g->sections[i]->instance == h.instance)
            return take_device(n, &h, i, error);
    return input_fail(&n->input, error, "section '%s' instance %u is not known here", h.name, h.instance);
}

/* --- end -------------------------------------------------------------------------------------------------------- */

static bool
all_there(struct in *n, GError **error)
{
    const struct migrate_guest *g = &n->session->guest;

    if (!n->ram_ended || !n->have_global_state)
        return input_fail(&n->input, error, "section '%s' is missing", n->ram_ended ? "globalstate" : "ram");
    for (unsigned i = 0; i < g->section_count; i++)
        if (!n->loaded[i])
            return input_fail(&n->input, error, "section '%s' instance %u is missing", g->sections[i]->name,
                              g->sections[i]->instance);
    if (n->input.summing && !n->summed)
        return input_fail(&n->input, error, "section '" CHECKSUM_SECTION "' is missing");
    return ram_in_whole(&n->ram, error);
}

/* The description must come, and must end as the source ends it. */
static bool
take_end(struct in *n, GError **error)
{
    g_autofree char *text = NULL, *tail = NULL;
    uint8_t record;

    if (!all_there(n, error) || !input_take8(&n->input, &record, error))
        return false;
    if (record != RECORD_DESCRIPTION)
        return input_fail(&n->input, error, "the description is missing: record type 0x%02x", record);
    if (!take_text(n, DESCRIPTION_MOST, "the description", &text, error))
        return false;
    if (n->input.summing && n->input.sum != n->rest_sum)
        return input_fail(&n->input, error, "the stream is damaged: the checksum of its end is 0x%08x, and the "
                          "source's 0x%08x", n->input.sum, n->rest_sum);
    tail = wire_description_tail(session_id(n->session));
    n->ended = g_str_has_suffix(text, tail);
    return n->ended || input_fail(&n->input, error, "the description does not end with the migration's id");
}

bool
load_record(struct in *n, GError **error)
{
    uint8_t record;

    if (!session_alive(n->session, error) || !input_take8(&n->input, &record, error))
        return false;
    switch (record) {
    case RECORD_COMMAND:
        return take_command(n, error);
    case RECORD_START:
        return take_start(n, error);
    case RECORD_PART:
    case RECORD_END:
        return take_ram(n, record == RECORD_END, error);
    case RECORD_FULL:
        return take_full(n, error);
    case RECORD_EOF:
        return take_end(n, error);
    default:
        return input_fail(&n->input, error, "record type 0x%02x is not known", record);
    }
}
