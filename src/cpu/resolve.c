/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which features a guest gets: what was asked for, less what the host lacks or cannot run, less what depends on
 * these.  Each has a reason. */
#include "cpu-private.h"

#include <string.h>

/* What is needed by name stands before: -1 if nothing is. */
static int
needed_by(unsigned feature)
{
    return cpu_features[feature].needs ? cpu_feature_find(cpu_features[feature].needs) : -1;
}

static void
set_status(struct cpu_resolved *r, unsigned feature, enum cpu_feature_state state, enum cpu_feature_why why)
{
    r->status[feature].state = state;
    r->status[feature].why = why;
}

static bool
host_has(const struct cpu_host *host, const struct cpu_feature *f)
{
    uint32_t parts = cpuid_get(host->leaves, LEAF_XSAVE, 0, CPUID_EAX);

    return (cpuid_get(host->leaves, f->function, f->index, f->reg) & f->mask) == f->mask &&
           (parts & f->xsave) == f->xsave;
}

/* What is wanted, as CPU_FEATURE_ON. */
static void
ask(struct cpu_resolved *r, const struct cpu_host *host)
{
    const struct cpu_options *o = &r->options;

    for (unsigned i = 0; i < cpu_feature_count; i++) {
        const struct cpu_feature *f = &cpu_features[i];
        bool of_model = o->model == CPU_MODEL_BASE ? f->flags & CPU_F_BASE
                        : !(f->flags & CPU_F_BY_NAME) && (!f->refused || f->flags & CPU_F_BASE);

        r->status[i].asked = bit_test(o->on, i);
        if (bit_test(o->off, i))
            set_status(r, i, CPU_FEATURE_OFF, CPU_WHY_REMOVED);
        else if (r->status[i].asked)
            set_status(r, i, CPU_FEATURE_ON, CPU_WHY_ASKED);
        else if (of_model && o->model == CPU_MODEL_HOST && !host_has(host, f))
            set_status(r, i, CPU_FEATURE_OFF, CPU_WHY_LACKING);
        else
            set_status(r, i, of_model ? CPU_FEATURE_ON : CPU_FEATURE_OFF, CPU_WHY_MODEL);
    }
}

/* What a user wants brings along what it needs, unless that was taken away. */
static void
ask_needed(struct cpu_resolved *r)
{
    for (unsigned i = cpu_feature_count; i-- > 0;) {
        int needed = needed_by(i);

        if (needed < 0 || !cpu_is_on(r, i) || (!r->status[i].asked && r->status[i].why != CPU_WHY_NEEDED))
            continue;
        if (r->status[needed].state == CPU_FEATURE_OFF && r->status[needed].why != CPU_WHY_REMOVED) {
            set_status(r, (unsigned)needed, CPU_FEATURE_ON, CPU_WHY_NEEDED);
            r->status[needed].other = i;
        }
    }
}

/* Takes away what cannot be; what others need comes first. */
static void
sift(struct cpu_resolved *r, const struct cpu_host *host)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        struct cpu_feature_status *s = &r->status[i];
        int needed = needed_by(i);

        if (s->state != CPU_FEATURE_ON)
            continue;
        if (!host_has(host, &cpu_features[i])) {
            set_status(r, i, CPU_FEATURE_LEFT_OUT, CPU_WHY_LACKING);
        } else if (needed >= 0 && !cpu_is_on(r, (unsigned)needed)) {
            set_status(r, i, CPU_FEATURE_LEFT_OUT, CPU_WHY_DEPENDS);
            s->other = (unsigned)needed;
        } else if (host->refuses && (s->text = host->refuses(host->self, i))) {
            set_status(r, i, CPU_FEATURE_LEFT_OUT, CPU_WHY_REFUSED);
        }
    }
}

void
cpu_resolve(const struct cpu_options *o, const struct cpu_host *host, struct cpu_resolved *ret)
{
    *ret = (struct cpu_resolved) { .options = *o, .vendor = cpuid_vendor(host->leaves), .xcr0 = 1 };
    ask(ret, host);
    ask_needed(ret);
    sift(ret, host);
    for (unsigned i = 0; i < cpu_feature_count; i++)
        if (cpu_is_on(ret, i))
            ret->xcr0 |= cpu_features[i].xsave;
}

void
cpu_note_seen(struct cpu_resolved *r, const GArray *seen)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        const struct cpu_feature *f = &cpu_features[i];
        bool shown = (cpuid_get(seen, f->function, f->index, f->reg) & f->mask) == f->mask;

        if (f->flags & CPU_F_TOPOLOGY) {
            set_status(r, i, shown ? CPU_FEATURE_ON : CPU_FEATURE_OFF, CPU_WHY_TOPOLOGY);
        } else if (shown && !cpu_is_on(r, i)) {
            set_status(r, i, CPU_FEATURE_ON, CPU_WHY_FORCED);
        } else if (!shown && cpu_is_on(r, i)) {
            set_status(r, i, CPU_FEATURE_LEFT_OUT, CPU_WHY_REFUSED);
            r->status[i].text = "does not show it";
        }
    }
}

/* --- words ------------------------------------------------------------------------------------------------------ */

char *
cpu_status_text(const struct cpu_resolved *r, unsigned feature, const char *host)
{
    const struct cpu_feature_status *s = &r->status[feature];
    const char *model = cpu_model_names[r->options.model];

    switch (s->why) {
    case CPU_WHY_MODEL:
        if (s->state == CPU_FEATURE_OFF && cpu_features[feature].refused)
            return g_strdup(cpu_features[feature].refused);
        return g_strdup_printf(s->state == CPU_FEATURE_ON ? "%s has it" : "%s does not have it", model);
    case CPU_WHY_TOPOLOGY:
        return g_strdup(cpu_features[feature].refused);
    case CPU_WHY_ASKED:
        return g_strdup("asked for");
    case CPU_WHY_NEEDED:
        return g_strdup_printf("%s needs it", cpu_features[s->other].name);
    case CPU_WHY_REMOVED:
        return g_strdup("taken away");
    case CPU_WHY_LACKING:
        return g_strdup_printf("%s lacks it", host);
    case CPU_WHY_REFUSED:
        return g_strdup_printf("%s %s", host, s->text);
    case CPU_WHY_DEPENDS:
        return g_strdup_printf("it needs %s, which is not on", cpu_features[s->other].name);
    case CPU_WHY_FORCED:
        return g_strdup_printf("%s shows it whatever is asked for", host);
    }
    return NULL;
}

char *
cpu_warning(const struct cpu_resolved *r, const char *host)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < cpu_feature_count; i++) {
        g_autofree char *why = r->status[i].state == CPU_FEATURE_LEFT_OUT && r->status[i].asked
                               ? cpu_status_text(r, i, host) : NULL;

        if (why)
            g_string_append_printf(out, "%s%s (%s)", out->len ? ", " : "the guest's CPUs go without ",
                                   cpu_features[i].name, why);
    }
    return g_string_free(out, out->len == 0);
}
