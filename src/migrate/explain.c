/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A stream in a file, record by record.  Nothing it says is trusted, and nothing is loaded.
 *
 * A fault that leaves it clear where the next record begins is noted, and reading goes on; one that does not ends it.
 * Rules of QEMU's stream analyser that the stream breaks are noted apart: most are no fault here.  A section of a
 * device is as long as the description at the end of the file says; without one it ends before the next footer with
 * its number. */
#include "explain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const page_form_names[] = { "zero", "whole", "delta", "compressed", NULL };

/* --- notes ------------------------------------------------------------------------------------------------------ */

static void
note_clear(void *note)
{
    g_free(((struct explain_note *)note)->text);
}

/* '*more' counts those beyond the most that are kept. */
static void
note_add(GArray *notes, uint64_t place, const char *text, uint64_t *more)
{
    for (unsigned i = 0; i < notes->len; i++) {
        struct explain_note *n = &g_array_index(notes, struct explain_note, i);
        if (g_str_equal(n->text, text)) {
            n->count++;
            return;
        }
    }
    if (notes->len == EXPLAIN_NOTES_MOST) {
        (*more)++;
        return;
    }
    struct explain_note note = { .place = place, .count = 1, .text = g_strdup(text) };
    g_array_append_val(notes, note);
}

void
explain_fault(struct explain *e, uint64_t place, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    note_add(e->report.faults, place, text, &e->report.more_faults);
}

void
explain_stops(struct explain *e, uint64_t place, const char *text)
{
    uint64_t more = 0;

    note_add(e->report.stops, place, text, &more);
}

void
explain_tell(struct explain *e, const struct explain_event *event)
{
    if (e->record)
        e->record(e->self, event);
}

bool
explain_skip(struct explain *e, uint64_t bytes, GError **error)
{
    while (bytes > 0) {
        size_t part = MIN(bytes, sizeof e->page);
        if (!input_read(&e->input, e->page, part, error))
            return false;
        bytes -= part;
    }
    return true;
}

/* --- commands --------------------------------------------------------------------------------------------------- */

enum { COMMAND_PACKAGED = 7 };

static bool
take_command(struct explain *e, uint64_t place, GError **error)
{
    uint16_t command, size;
    uint32_t packed = 0;

    if (!input_take16(&e->input, &command, error) || !input_take16(&e->input, &size, error))
        return false;
    if (command == COMMAND_PACKAGED && size == 4 ? !input_take32(&e->input, &packed, error)
                                                 : !explain_skip(e, size, error))
        return false;
    if (!explain_skip(e, packed, error))
        return false;
    if (command != COMMAND_SWITCHOVER_START || size)
        explain_stops(e, place, "a command");
    e->report.commands++;
    e->report.command_bytes += e->input.offset - place;
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_COMMAND, .place = place, .bytes = e->input.offset - place, .version = command });
    return true;
}

/* --- sections --------------------------------------------------------------------------------------------------- */

static struct explain_section *
section_at(struct explain *e, unsigned i)
{
    return &g_array_index(e->report.sections, struct explain_section, i);
}

static bool
take_footer(struct explain *e, const struct explain_section *s, GError **error)
{
    uint64_t place = e->input.offset;
    uint8_t record;
    uint32_t found;

    if (!input_take8(&e->input, &record, error))
        return false;
    if (record != RECORD_FOOTER)
        return input_fail(&e->input, error, "section '%s' (%u) does not end with its footer but with 0x%02x", s->name,
                          s->id, record);
    if (!input_take32(&e->input, &found, error))
        return false;
    if (found != s->id) {
        explain_fault(e, place, "the footer of section '%s' (%u) names %u", s->name, s->id, found);
        explain_stops(e, place, "a footer names another section");
    }
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_FOOTER, .place = place, .bytes = e->input.offset - place, .name = s->name, .id = found });
    return true;
}

/* A part of a section is over: counts it. */
static bool
end_part(struct explain *e, unsigned at, uint64_t place, GError **error)
{
    struct explain_section *s = section_at(e, at);

    if (!take_footer(e, s, error))
        return false;
    s->parts++;
    s->bytes += e->input.offset - place;
    return true;
}

/* Bytes up to and with the footer that bears this section's number. */
static bool
skip_to_footer(struct explain *e, const struct explain_section *s, GError **error)
{
    const uint8_t wanted[5] = { RECORD_FOOTER, (uint8_t)(s->id >> 24), (uint8_t)(s->id >> 16), (uint8_t)(s->id >> 8),
                                (uint8_t)s->id };
    uint8_t last[5] = { 0 };

    for (unsigned i = 0; i < 5 || memcmp(last, wanted, 5) != 0; i++) {
        memmove(last, last + 1, 4);
        if (!input_take8(&e->input, &last[4], error))
            return false;
        i = MIN(i, 5);
    }
    return true;
}

static bool
take_checksum(struct explain *e, uint64_t place, GError **error)
{
    uint32_t found = e->input.sum, wanted;

    if (!input_take32(&e->input, &wanted, error) || !input_take32(&e->input, &e->rest_sum, error))
        return false;
    if (found != wanted)
        explain_fault(e, place, "the checksum of all before is 0x%08x, and the stream says 0x%08x", found, wanted);
    e->summed = true;
    return true;
}

static bool
take_payload(struct explain *e, unsigned at, uint64_t place, GError **error)
{
    struct explain_section s = *section_at(e, at);
    bool known = false;

    if (e->report.ours && e->input.summing && g_str_equal(s.name, CHECKSUM_SECTION)) {
        if (!take_checksum(e, place, error) || !end_part(e, at, place, error))
            return false;
        e->input.sum = 0;
        return true;
    }
    if (!explain_fields(e, &s, &known, error))
        return false;
    if (known)
        return end_part(e, at, place, error);
    explain_stops(e, place, "a section that the description does not have");
    if (!skip_to_footer(e, &s, error))
        return false;
    section_at(e, at)->parts++;
    section_at(e, at)->bytes += e->input.offset - place;
    return true;
}

static void
begin_ram(struct explain *e, unsigned at, uint64_t place)
{
    const struct explain_section *s = section_at(e, at);

    if (e->ram >= 0)
        explain_fault(e, place, "section 'ram' is there twice");
    if (s->version != RAM_VERSION || s->instance != 0) {
        explain_fault(e, place, "section 'ram' has instance %u and version %u (0 and %d are known)", s->instance,
                      s->version, RAM_VERSION);
        explain_stops(e, place, "RAM of another version or instance");
    }
    e->ram = (int)at;
    e->in_ram = true;
    section_at(e, at)->bytes += e->input.offset - place;
    explain_ram_begin(e, false);
}

static bool
take_section(struct explain *e, bool full, uint64_t place, GError **error)
{
    struct explain_section s = { .place = place };
    unsigned at = e->report.sections->len;

    if (!input_take32(&e->input, &s.id, error) || !input_take_name(&e->input, s.name, error)
        || !input_take32(&e->input, &s.instance, error) || !input_take32(&e->input, &s.version, error))
        return false;
    if (at == EXPLAIN_SECTIONS_MOST)
        return input_fail(&e->input, error, "the stream has more than %u sections", EXPLAIN_SECTIONS_MOST);
    e->input.summing = e->input.summing && e->report.ours;
    for (unsigned i = 0; i < at; i++)
        if (section_at(e, i)->id == s.id)
            explain_fault(e, place, "section '%s' has the number of section '%s', %u", s.name, section_at(e, i)->name,
                          s.id);
    g_array_append_val(e->report.sections, s);
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_SECTION, .place = place, .bytes = e->input.offset - place, .name = s.name, .id = s.id,
        .instance = s.instance, .version = s.version });
    if (g_str_equal(s.name, "ram") && !full) {
        begin_ram(e, at, place);
        return true;
    }
    return take_payload(e, at, place, error);
}

static bool
take_part(struct explain *e, bool end, uint64_t place, GError **error)
{
    uint32_t id;

    if (!input_take32(&e->input, &id, error))
        return false;
    if (e->ram < 0 || section_at(e, (unsigned)e->ram)->id != id) {
        explain_stops(e, place, "a part of a section that was not started");
        return input_fail(&e->input, error, "section %u goes on and was not started", id);
    }
    section_at(e, (unsigned)e->ram)->bytes += e->input.offset - place;
    e->in_ram = true;
    explain_ram_begin(e, end);
    explain_tell(e, &(struct explain_event) {
        .kind = end ? EXPLAIN_END : EXPLAIN_PART, .place = place, .bytes = e->input.offset - place, .name = "ram",
        .id = id });
    return true;
}

/* The records of a part, one a call. */
static bool
take_ram(struct explain *e, GError **error)
{
    uint64_t place = e->input.offset;
    bool eos = false;

    if (!explain_ram_record(e, &eos, error))
        return false;
    section_at(e, (unsigned)e->ram)->bytes += e->input.offset - place;
    e->in_ram = !eos;
    return !eos || end_part(e, (unsigned)e->ram, e->input.offset, error);
}

/* --- end -------------------------------------------------------------------------------------------------------- */

static bool
take_end(struct explain *e, uint64_t place, GError **error)
{
    uint8_t record;
    uint32_t size;

    explain_tell(e, &(struct explain_event) { .kind = EXPLAIN_EOF, .place = place, .bytes = 1 });
    e->ended = true;
    explain_ram_end(e);
    if (e->report.ours && e->input.summing && !e->summed)
        explain_fault(e, place, "section '" CHECKSUM_SECTION "' is missing");
    if (e->input.offset == e->report.size)
        return true;                /* what that means is said where the description was looked for */
    place = e->input.offset;
    if (!input_take8(&e->input, &record, error))
        return false;
    if (record != RECORD_DESCRIPTION)
        return input_fail(&e->input, error, "after the end comes 0x%02x and not the description", record);
    if (!input_take32(&e->input, &size, error) || !explain_skip(e, size, error))
        return false;
    explain_check_description(e, place, size);
    if (e->summed && e->input.sum != e->rest_sum)
        explain_fault(e, place, "the checksum of the end is 0x%08x, and the stream says 0x%08x", e->input.sum,
                      e->rest_sum);
    e->report.description_bytes = e->input.offset - place;
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_DESCRIPTION, .place = place, .bytes = e->input.offset - place });
    return true;
}

static bool
take_record(struct explain *e, GError **error)
{
    uint64_t place = e->input.offset;
    uint8_t record;

    if (!e->begun) {
        e->begun = true;
        return explain_file_head(e, error);
    }
    if (e->in_ram)
        return take_ram(e, error);
    if (!input_take8(&e->input, &record, error))
        return false;
    switch (record) {
    case RECORD_CONFIGURATION:
        return explain_configuration(e, place, error);
    case RECORD_SUBSECTION:
        return explain_subsection(e, place, error);
    case RECORD_COMMAND:
        return take_command(e, place, error);
    case RECORD_START:
    case RECORD_FULL:
        return take_section(e, record == RECORD_FULL, place, error);
    case RECORD_PART:
    case RECORD_END:
        return take_part(e, record == RECORD_END, place, error);
    case RECORD_EOF:
        return take_end(e, place, error);
    default:
        return input_fail(&e->input, error, "record type 0x%02x is not known", record);
    }
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* The stream's own fault ends the report; ours is an error. */
static bool
give_up(struct explain *e, GError *why, GError **error)
{
    if (!g_error_matches(why, NUMON_ERROR, NUMON_ERROR_PEER)) {
        g_propagate_error(error, why);
        return false;
    }
    char *suffix = strstr(why->message, " (before byte ");

    if (suffix)
        *suffix = '\0';
    explain_fault(e, e->input.offset, "%s", why->message);
    explain_stops(e, e->input.offset, "what cannot be read");
    explain_ram_end(e);
    g_error_free(why);
    e->ended = true;
    return true;
}

bool
explain_run(struct explain *e, const bool *enough, bool *ret_end, GError **error)
{
    GError *why = NULL;
    bool good = true;

    while (good && !e->ended && !(enough && *enough))
        if (!take_record(e, &why))
            good = give_up(e, why, error);
    e->report.read = e->input.offset;
    *ret_end = e->ended;
    return good;
}

void
explain_stop(struct explain *e)
{
    uint64_t one = 1;

    atomic_store(&e->stopped, true);
    (void)!write(e->stop, &one, sizeof one);
}

const struct explain_report *
explain_report(const struct explain *e)
{
    return &e->report;
}

static bool
open_file(struct explain *e, const char *path, GError **error)
{
    struct stat file;

    e->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->channel.in = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (e->stop < 0 || e->channel.in < 0)
        return fail_host(error, errno, "cannot open '%s'", path);
    if (fstat(e->channel.in, &file) < 0)
        return fail_host(error, errno, "cannot look at '%s'", path);
    if (!S_ISREG(file.st_mode))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot explain '%s': it is no plain file, which can be read from "
                    "its end", path);
    e->channel.wake = e->stop;
    e->report.size = (uint64_t)file.st_size;
    return true;
}

struct explain *
explain_new(const char *path, void (*record)(void *self, const struct explain_event *e), void *self, GError **error)
{
    struct explain *e = g_try_new0(struct explain, 1);

    if (!e) {
        fail(error, NUMON_ERROR_HOST, "cannot explain '%s': %s", path, g_strerror(ENOMEM));
        return NULL;
    }
    e->record = record;
    e->self = self;
    e->stop = -1;
    e->channel = (struct channel) { .in = -1, .out = -1, .alarm = -1, .child_fd = -1, .child_words = -1 };
    e->ram = e->block = -1;
    e->high = UINT64_MAX;
    e->input.channel = &e->channel;
    e->input.counter = &e->taken;
    e->input.summing = true;        /* until the head has said whether it is to be */
    e->report.sections = g_array_new(FALSE, TRUE, sizeof(struct explain_section));
    e->report.blocks = g_array_new(FALSE, TRUE, sizeof(struct explain_block));
    e->report.rows = g_array_new(FALSE, TRUE, sizeof(struct explain_row));
    e->report.faults = g_array_new(FALSE, TRUE, sizeof(struct explain_note));
    e->report.stops = g_array_new(FALSE, TRUE, sizeof(struct explain_note));
    e->accounts = g_array_new(FALSE, TRUE, sizeof(struct explain_account));
    g_array_set_clear_func(e->report.faults, note_clear);
    g_array_set_clear_func(e->report.stops, note_clear);
    if (open_file(e, path, error) && explain_find_description(e, error))
        return e;
    explain_free(e);
    return NULL;
}

void
explain_free(struct explain *e)
{
    if (!e)
        return;
    explain_ram_release(e);
    close_fd(&e->channel.in);
    close_fd(&e->stop);
    g_clear_object(&e->parser);
    g_free(e->text);
    g_free(e->report.machine_type);
    g_free(e->report.text);
    g_free(e->report.capabilities);
    g_array_unref(e->report.sections);
    g_array_unref(e->report.blocks);
    g_array_unref(e->report.rows);
    g_array_unref(e->report.faults);
    g_array_unref(e->report.stops);
    g_free(e);
}
