/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info migrate downtime, why, states: what the recording of a migration says of its end and of its moment. */
#include "migrate-views.h"
#include "table.h"

#include <string.h>

static double
ms(uint64_t us)
{
    return (double)us / 1000;
}

/* --- why -------------------------------------------------------------------------------------------------------- */

static const struct migrate_step *
step_before_end(const struct migrate_record *r)
{
    for (unsigned i = r->path->len; i-- > 0;) {
        const struct migrate_step *s = &g_array_index(r->path, struct migrate_step, i);

        if (!migrate_state_ended(s->state) && s->state != MIGRATE_CANCELLING)
            return s;
    }
    return NULL;
}

/* What the round at hand began with, as the last look at the log found it; in the first pass what is left of it. */
static uint64_t
pending_bytes(const struct migrate_record *r)
{
    if (r->rounds->len < 2 || r->info.first_pass)
        return r->info.remaining_bytes;
    return g_array_index(r->rounds, struct migrate_round, r->rounds->len - 1).dirty_start;
}

static unsigned
rounds_shortened(const struct migrate_record *r)
{
    unsigned count = 0;

    for (unsigned i = 0; i < r->rounds->len; i++)
        count += g_array_index(r->rounds, struct migrate_round, i).verdict == VERDICT_SHORTENING;
    return count;
}

void
why_of(struct machine *m, const struct migrate_record *r, struct why *ret)
{
    const struct migrate_parameters *p = machine_parameters(m);
    const struct migrate_info *i = &r->info;
    const struct migrate_step *before = step_before_end(r);

    *ret = (struct why) {
        .direction = i->direction, .state = i->state, .owner = i->owner, .uri = i->uri, .error = i->error,
        .ended_in = before ? before->state : MIGRATE_NONE, .begun = r->rounds->len > 0, .round = i->dirty_syncs,
        .rounds = i->dirty_syncs, .held = i->held, .silent_ms = i->silent_ms, .first_pass = i->first_pass,
        .pending = pending_bytes(r),
        .total = i->total_bytes, .came = i->bytes, .handed = i->handed_bytes, .fits = i->fits_bytes,
        .bandwidth = i->switchover_bandwidth,
        .max_bandwidth = counter_read(&p->max_bandwidth),
        .avail_switchover_bandwidth = counter_read(&p->avail_switchover_bandwidth),
        .downtime_limit_ms = counter_read(&p->downtime_limit), .shortening = i->shortening,
        .downtime_effort = (unsigned)counter_read(&p->downtime_effort), .shortened = rounds_shortened(r),
        .dirtied = i->dirty_pages_rate * i->page_size, .verdict = why_trend(r->rounds),
        .throttle_percent = i->throttle_percent, .stopped_us = i->downtime_known ? i->downtime_us : r->stopped_us,
        .runs = machine_running(m),
    };
    for (unsigned n = 0; n < r->parts->len; n++) {
        const char *name = g_array_index(r->parts, struct migrate_part, n).name;

        if (g_str_equal(name, MIGRATE_PART_FAILED))
            break;
        ret->part = name;
    }
}

GVariant *
why_tree(struct machine *m, const struct migrate_record *r)
{
    struct why facts = { .state = MIGRATE_NONE };
    GVariantDict dict;

    if (r)
        why_of(m, r, &facts);
    g_autofree char *sentence = why_sentence(&facts), *change = why_change(&facts);
    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, "why", text_variant(sentence));
    if (change)
        g_variant_dict_insert(&dict, "change", "s", change);
    if (r && facts.direction == MIGRATE_OUT) {
        g_variant_dict_insert(&dict, "pending-bytes", "t", facts.pending);
        g_variant_dict_insert(&dict, "fits-bytes", "t", facts.fits);
        g_variant_dict_insert(&dict, "bandwidth", "t", facts.bandwidth);
    }
    return g_variant_dict_end(&dict);
}

void
why_print(GVariant *tree, unsigned columns, GString *out)
{
    const char *sentence = "";

    g_variant_lookup(tree, "why", "&s", &sentence);
    wrap_text(out, sentence, 2, columns);
}

/* --- downtime --------------------------------------------------------------------------------------------------- */

static GVariant *
parts_tree(const GArray *parts)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(st)"));
    for (unsigned i = 0; i < parts->len; i++) {
        const struct migrate_part *p = &g_array_index(parts, struct migrate_part, i);
        g_autofree char *name = text_printable(p->name);

        g_variant_builder_add(&rows, "(st)", name, p->us);
    }
    return g_variant_builder_end(&rows);
}

static uint64_t
parts_sum(const GArray *parts)
{
    uint64_t us = 0;

    for (unsigned i = 0; i < parts->len; i++)
        us += g_array_index(parts, struct migrate_part, i).us;
    return us;
}

/* What the guest noticed: the longest time between two turns of its loop, and how far its clocks went. */
static void
put_guest(GVariantDict *dict, struct machine *m, const struct migrate_record *r)
{
    struct time_jump jump;

    if (r->progress_us) {
        g_variant_dict_insert(dict, "progress-us", "t", r->progress_us);
        g_variant_dict_insert(dict, "total-us", "t", parts_sum(r->parts) + r->progress_us);
    }
    if (r->guest_gap_us)
        g_variant_dict_insert(dict, "guest-gap-us", "t", r->guest_gap_us);
    if (r->info.direction != MIGRATE_IN || !machine_time_jump(m, &jump) || !jump.known)
        return;
    g_variant_dict_insert(dict, "guest-away-us", "x", jump.away_us);
    g_variant_dict_insert(dict, "guest-clock-us", "x", jump.clock_us);
    g_variant_dict_insert(dict, "guest-tsc-us", "x", jump.tsc_us);
}

GVariant *
downtime_tree(struct machine *m, const struct migrate_record *r)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, "parts", r ? parts_tree(r->parts)
                                : g_variant_new_array(G_VARIANT_TYPE("(st)"), NULL, 0));
    if (!r || r->parts->len == 0)
        return g_variant_dict_end(&dict);
    g_variant_dict_insert(&dict, "direction", "s", r->info.direction == MIGRATE_OUT ? "outgoing" : "incoming");
    g_variant_dict_insert(&dict, "sum-us", "t", parts_sum(r->parts));
    if (r->info.downtime_known)
        g_variant_dict_insert(&dict, "downtime-us", "t", r->info.downtime_us);
    g_variant_dict_insert(&dict, "ended", "b", (gboolean)migrate_state_ended(r->info.state));
    if (r->there->len) {
        g_variant_dict_insert_value(&dict, "there", parts_tree(r->there));
        g_variant_dict_insert(&dict, "there-sum-us", "t", parts_sum(r->there));
    }
    if (r->info.direction == MIGRATE_OUT)
        g_variant_dict_insert(&dict, "there-asked", "b", (gboolean)r->there_asked);
    put_guest(&dict, m, r);
    return g_variant_dict_end(&dict);
}

/* One part a line: its name has what a narrow screen leaves. */
static void
print_part(const char *indent, const char *name, uint64_t us, unsigned columns, GString *out)
{
    enum { NAME_WIDTH = 34, NAME_LEAST = 12, NUMBER_WIDTH = 14 };
    int width = columns ? CLAMP((int)columns - NUMBER_WIDTH, NAME_LEAST, NAME_WIDTH) : NAME_WIDTH;

    g_string_append_printf(out, "%s%-*s %10.3f ms\n", indent, width - (int)strlen(indent), name, ms(us));
}

static void
print_parts(GVariant *tree, const char *key, const char *indent, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, key, G_VARIANT_TYPE("a(st)"));
    const char *name;
    GVariantIter iter;
    uint64_t us;

    g_variant_iter_init(&iter, rows);
    while (g_variant_iter_next(&iter, "(&st)", &name, &us))
        print_part(indent, name, us, columns, out);
}

static void
print_guest(GVariant *tree, unsigned columns, GString *out)
{
    g_autofree char *text = NULL;
    int64_t away, clock, tsc;
    uint64_t gap;

    if (g_variant_lookup(tree, "guest-gap-us", "t", &gap))
        g_string_append_printf(out, "the guest saw a gap of %.3f ms\n", ms(gap));
    if (!g_variant_lookup(tree, "guest-away-us", "x", &away) || !g_variant_lookup(tree, "guest-clock-us", "x", &clock)
        || !g_variant_lookup(tree, "guest-tsc-us", "x", &tsc))
        return;
    text = g_strdup_printf("it was away for %.3f ms by the hosts' clocks; its clock went on by %.3f ms and its time "
                           "stamp counter by %.3f ms", (double)away / 1000, (double)clock / 1000, (double)tsc / 1000);
    wrap_text(out, text, 2, columns);
}

/* What the destination told of its own time. */
static void
print_there(GVariant *tree, unsigned columns, GString *out)
{
    const char *direction = "";
    gboolean ended = FALSE, asked = FALSE;
    uint64_t there;

    g_variant_lookup(tree, "direction", "&s", &direction);
    g_variant_lookup(tree, "ended", "b", &ended);
    g_variant_lookup(tree, "there-asked", "b", &asked);
    if (g_variant_lookup(tree, "there-sum-us", "t", &there)) {
        wrap_text(out, "at the destination, since its first byte of the last RAM:", 2, columns);
        print_parts(tree, "there", "  ", columns, out);
        print_part("  ", "sum", there, columns, out);
    } else if (ended && g_str_equal(direction, "outgoing")) {
        wrap_text(out, asked ? "the destination told nothing of its part"
                  : "the destination's part is not known: the transport has no way back", 2, columns);
    }
}

void
downtime_print(GVariant *tree, unsigned columns, GString *out)
{
    uint64_t sum, progress, total;
    gboolean ended = FALSE;

    if (!g_variant_lookup(tree, "sum-us", "t", &sum)) {
        g_string_append(out, "the guest was not stopped\n");
        return;
    }
    g_variant_lookup(tree, "ended", "b", &ended);
    print_parts(tree, "parts", "", columns, out);
    print_part("", ended ? "sum" : "so far", sum, columns, out);
    if (g_variant_lookup(tree, "progress-us", "t", &progress) && g_variant_lookup(tree, "total-us", "t", &total)) {
        print_part("", "first guest progress", progress, columns, out);
        print_part("", "in all", total, columns, out);
    }
    print_there(tree, columns, out);
    print_guest(tree, columns, out);
}

/* --- states ----------------------------------------------------------------------------------------------------- */

static GVariant *
path_tree(const struct migrate_record *r)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(st)"));
    for (unsigned i = 0; r && i < r->path->len; i++) {
        const struct migrate_step *s = &g_array_index(r->path, struct migrate_step, i);

        g_variant_builder_add(&rows, "(st)", migrate_state_name(s->state), s->at_us);
    }
    return g_variant_builder_end(&rows);
}

static GVariant *
next_tree(enum migrate_state now)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("as"));
    for (unsigned s = 0; s < MIGRATE_STATES; s++)
        if (migrate_state_may_follow(now, s))
            g_variant_builder_add(&rows, "s", migrate_state_name(s));
    return g_variant_builder_end(&rows);
}

/* Every command that has a rule for the moment, by the rule that it itself goes by. */
static GVariant *
commands_tree(struct monitor *m)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(sbs)"));
    for (unsigned g = 0; command_groups[g]; g++)
        for (const struct command *c = command_groups[g]->commands; c->name; c++) {
            g_autoptr(GError) error = NULL;

            if (!c->may)
                continue;
            bool may = when_allowed(m, c->name, c->when, &error) && c->may(m, &error);
            g_autofree char *why = text_printable(error ? error->message : "");
            g_variant_builder_add(&rows, "(sbs)", c->name, (gboolean)may, why);
        }
    return g_variant_builder_end(&rows);
}

GVariant *
states_tree(struct monitor *m, const struct migrate_record *r)
{
    enum migrate_state now = r ? r->info.state : MIGRATE_NONE;
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "state", "s", migrate_state_name(now));
    g_variant_dict_insert_value(&dict, "path", path_tree(r));
    g_variant_dict_insert_value(&dict, "next", next_tree(now));
    g_variant_dict_insert_value(&dict, "commands", commands_tree(m));
    return g_variant_dict_end(&dict);
}

static void
print_path(GVariant *tree, unsigned columns, GString *out)
{
    enum { WIDE = 50 };
    bool narrow = columns && columns < WIDE;
    g_autoptr(GVariant) path = g_variant_lookup_value(tree, "path", G_VARIANT_TYPE("a(st)"));
    size_t count = g_variant_n_children(path);
    const char *name;
    uint64_t at, next;

    for (size_t i = 0; i < count; i++) {
        g_variant_get_child(path, i, "(&st)", &name, &at);
        g_string_append_printf(out, "%*.3f ms  %-*s", narrow ? 9 : 12, ms(at), narrow ? 0 : 15, name);
        if (i + 1 < count) {
            g_variant_get_child(path, i + 1, "(&st)", NULL, &next);
            g_string_append_printf(out, " for %.3f ms", ms(next - at));
        }
        g_string_append_c(out, '\n');
    }
}

static void
print_next(GVariant *tree, const char *state, unsigned columns, GString *out)
{
    g_autoptr(GVariant) next = g_variant_lookup_value(tree, "next", G_VARIANT_TYPE("as"));
    g_autoptr(GString) line = g_string_new(state);
    const char *name;
    GVariantIter iter;

    g_variant_iter_init(&iter, next);
    for (const char *word = " may become "; g_variant_iter_next(&iter, "&s", &name); word = ", ")
        g_string_append_printf(line, "%s%s", word, name);
    if (g_variant_n_children(next) == 0)
        g_string_append(line, " is an end");
    wrap_text(out, line->str, 2, columns);
}

void
states_print(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) commands = g_variant_lookup_value(tree, "commands", G_VARIANT_TYPE("a(sbs)"));
    const char *state = "", *name, *why;
    GVariantIter iter;
    gboolean may;

    g_variant_lookup(tree, "state", "&s", &state);
    print_path(tree, columns, out);
    print_next(tree, state, columns, out);
    g_variant_iter_init(&iter, commands);
    while (g_variant_iter_next(&iter, "(&sb&s)", &name, &may, &why)) {
        g_autofree char *line = g_strdup_printf("%-24s %s%s", name, may ? "yes" : "no: ", why);

        wrap_text(out, line, 4, columns);
    }
}
