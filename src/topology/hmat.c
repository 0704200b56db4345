/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `numa hmat-lb`: latency and bandwidth between nodes, as ACPI's Heterogeneous Memory Attribute Table has them (ACPI
 * 6.5, 5.2.28.4).  A table is one hierarchy and one data type; its entries are 16 bits wide and count a base that
 * they share, so not all values go together.  The entries lie in one array, sorted by table, initiator and target. */
#include "topology.h"

#include <inttypes.h>
#include <string.h>

#include "topology-private.h"

const char *const hmat_hierarchy_names[] = { "memory", "first-level", "second-level", "third-level", NULL };
const char *const hmat_type_names[] = { "access-latency", "read-latency", "write-latency", "access-bandwidth",
                                        "read-bandwidth", "write-bandwidth", NULL };

/* Picoseconds must fit 64 bits. */
#define LATENCY_MAX (UINT64_MAX / 1000)

#define LB_KEY(name_, required_, help_) \
    { name_, PROPERTY_UINT, .max = UINT16_MAX, .required = required_, .complete = COMPLETE_NODE, .help = help_ }

const struct property hmat_lb_properties[] = {
    [LB_P_INITIATOR] = LB_KEY("initiator", true, "node whose CPUs access"),
    [LB_P_TARGET] = LB_KEY("target", true, "node whose memory is accessed"),
    [LB_P_HIERARCHY] = { "hierarchy", PROPERTY_CHOICE, .choices = hmat_hierarchy_names, .required = true,
                         .help = "the memory itself or a cache in front of it" },
    [LB_P_TYPE] = { "data-type", PROPERTY_CHOICE, .choices = hmat_type_names, .required = true,
                    .help = "what the value is" },
    [LB_P_LATENCY] = { "latency", PROPERTY_UINT, .max = LATENCY_MAX, .unit = "ns",
                       .help = "with a latency type; 0: not known" },
    [LB_P_BANDWIDTH] = { "bandwidth", PROPERTY_SIZE, .max = UINT64_MAX, .unit = "bytes/second",
                         .help = "with a bandwidth type; a multiple of 1M; 0: not known" },
    { 0 }
};

/* `numa_del hmat-lb`: what is left out matches all. */
const struct property hmat_lb_filter[] = {
    [LB_P_INITIATOR] = LB_KEY("initiator", false, "node whose CPUs access; left out: all"),
    [LB_P_TARGET] = LB_KEY("target", false, "node whose memory is accessed; left out: all"),
    [LB_P_HIERARCHY] = { "hierarchy", PROPERTY_CHOICE, .choices = hmat_hierarchy_names, .help = "left out: all" },
    [LB_P_TYPE] = { "data-type", PROPERTY_CHOICE, .choices = hmat_type_names, .help = "left out: all" },
    { 0 }
};

void
hmat_init(struct hmat *h)
{
    h->lb = g_array_new(FALSE, TRUE, sizeof(struct hmat_lb));
    h->cache = g_array_new(FALSE, TRUE, sizeof(struct hmat_cache));
}

void
hmat_copy(struct hmat *to, const struct hmat *from)
{
    to->lb = g_array_copy(from->lb);
    to->cache = g_array_copy(from->cache);
}

void
hmat_release(struct hmat *h)
{
    g_array_unref(h->lb);
    g_array_unref(h->cache);
}

const struct hmat_lb *
hmat_lb_at(const struct hmat *h, guint i)
{
    return &((const struct hmat_lb *)h->lb->data)[i];
}

bool
hmat_equal(const struct hmat *a, const struct hmat *b)
{
    for (guint i = 0; a->lb->len == b->lb->len && i < a->lb->len; i++) {
        const struct hmat_lb *x = hmat_lb_at(a, i), *y = hmat_lb_at(b, i);

        if (hmat_lb_key(x) != hmat_lb_key(y) || x->value != y->value)
            return false;
    }
    return a->lb->len == b->lb->len && caches_equal(a, b);
}

bool
hmat_enabled(const struct topology *t, GError **error)
{
    return t->options.hmat
        || fail(error, NUMON_ERROR_STATE, "ACPI Heterogeneous Memory Attribute Table (HMAT) is disabled, enable it "
                "with -machine hmat=on before using any of hmat specific options");
}

bool
hmat_is_latency(unsigned type)
{
    return type < HMAT_BANDWIDTH;
}

/* --- the array ------------------------------------------------------------------------------- */

uint32_t
hmat_lb_key(const struct hmat_lb *e)
{
    return (uint32_t)e->hierarchy << 24 | (uint32_t)e->type << 16 | (uint32_t)e->initiator << 8 | e->target;
}

/* The first entry whose key is not below 'key'. */
static guint
find_key(const struct hmat *h, uint32_t key)
{
    guint low = 0, high = h->lb->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (hmat_lb_key(hmat_lb_at(h, middle)) < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct hmat_lb *
hmat_find(const struct hmat *h, unsigned hierarchy, unsigned type, unsigned initiator, unsigned target)
{
    struct hmat_lb wanted = { (uint8_t)hierarchy, (uint8_t)type, (uint8_t)initiator, (uint8_t)target };
    guint i = find_key(h, hmat_lb_key(&wanted));
    bool found = i < h->lb->len && hmat_lb_key(hmat_lb_at(h, i)) == hmat_lb_key(&wanted);

    return found ? hmat_lb_at(h, i) : NULL;
}

/* --- encoding ------------------------------------------------------------------------------- */

/* What has been looked at of one table; zeros mean "not known" and need no place in it. */
struct range { uint64_t base, all, max; };

static void
range_add(struct range *r, unsigned type, uint64_t value)
{
    uint64_t unit = 1;

    if (!value)
        return;
    if (hmat_is_latency(type)) {
        while (value % (unit * 10) == 0)
            unit *= 10;
    } else {
        unit = UINT64_C(1) << __builtin_ctzll(value);
    }
    r->base = r->base ? MIN(r->base, unit) : unit;
    r->all |= value;
    r->max = MAX(r->max, value);
}

static struct range
range_of(const struct hmat *h, unsigned hierarchy, unsigned type)
{
    struct hmat_lb first = { (uint8_t)hierarchy, (uint8_t)type };
    struct range r = { 0 };

    for (guint i = find_key(h, hmat_lb_key(&first)); i < h->lb->len; i++) {
        const struct hmat_lb *e = hmat_lb_at(h, i);

        if (e->hierarchy != hierarchy || e->type != type)
            break;
        range_add(&r, type, e->value);
    }
    return r;
}

uint64_t
hmat_base(const struct hmat *h, unsigned hierarchy, unsigned type)
{
    return range_of(h, hierarchy, type).base;
}

uint16_t
hmat_encode(uint64_t value, uint64_t base)
{
    return value ? (uint16_t)(value / base) : 0;
}

/* 65535 stands for "unreachable", so it is no value. */
static bool
range_fits(const struct range *r, unsigned type)
{
    if (!r->base)
        return true;
    if (!hmat_is_latency(type) && r->all / r->base > UINT16_MAX)
        return false;
    return r->max / r->base < UINT16_MAX;
}

/* --- numa hmat-lb ------------------------------------------------------------------------------- */

bool
node_has_own_cpus(const struct topology *t, unsigned node)
{
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (t->cpu_node[cpu] == (int)node)
            return true;
    }
    return false;
}

static bool
node_is_present(const struct topology *t, uint64_t id)
{
    return id < TOPOLOGY_NODES && t->nodes[id].present;
}

static bool
nodes_are_right(const struct topology *t, uint64_t initiator, uint64_t target, GError **error)
{
    if (!node_is_present(t, initiator) && initiator >= t->node_count)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid initiator=%" PRIu64 ", it should be less than %u",
                    initiator, t->node_count);
    if (!node_is_present(t, target) && target >= t->node_count)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid target=%" PRIu64 ", it should be less than %u", target,
                    t->node_count);
    if (!node_is_present(t, initiator) || !node_has_own_cpus(t, (unsigned)initiator))
        return fail(error, NUMON_ERROR_STATE, "Invalid initiator=%" PRIu64 ", it isn't an initiator proximity "
                    "domain: give the node CPUs first", initiator);
    if (!node_is_present(t, target))
        return fail(error, NUMON_ERROR_STATE, "The target=%" PRIu64 " should point to an existing node", target);
    return true;
}

static bool
values_are_right(const struct values *v, bool latency, GError **error)
{
    const struct value *bandwidth = &v->at[LB_P_BANDWIDTH];

    if (latency && !v->at[LB_P_LATENCY].set)
        return fail(error, NUMON_ERROR_ARGUMENT, "Missing 'latency' option");
    if (latency && bandwidth->set)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid option 'bandwidth' since the data type is latency");
    if (!latency && !bandwidth->set)
        return fail(error, NUMON_ERROR_ARGUMENT, "Missing 'bandwidth' option");
    if (!latency && v->at[LB_P_LATENCY].set)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid option 'latency' since the data type is bandwidth");
    if (!latency && bandwidth->number % MIB)
        return fail(error, NUMON_ERROR_ARGUMENT, "Bandwidth %" PRIu64 " between initiator=%u and target=%u should be "
                    "1MB aligned", bandwidth->number, (unsigned)v->at[LB_P_INITIATOR].number,
                    (unsigned)v->at[LB_P_TARGET].number);
    return true;
}

/* The values of one table share a base. */
static bool
value_fits(const struct hmat *h, const struct hmat_lb *e, GError **error)
{
    struct range r = range_of(h, e->hierarchy, e->type);

    range_add(&r, e->type, e->value);
    if (range_fits(&r, e->type))
        return true;
    return fail(error, NUMON_ERROR_LIMIT, "%s %" PRIu64 " between initiator=%u and target=%u should not differ from "
                "previously entered %s on more than %u", hmat_is_latency(e->type) ? "Latency" : "Bandwidth", e->value,
                e->initiator, e->target, hmat_is_latency(e->type) ? "min or max values" : "values", UINT16_MAX - 1);
}

bool
hmat_add_lb(struct hmat *h, const struct topology *t, const struct values *v, GError **error)
{
    unsigned type = (unsigned)v->at[LB_P_TYPE].number;
    bool latency = hmat_is_latency(type);
    struct hmat_lb e = { .hierarchy = (uint8_t)v->at[LB_P_HIERARCHY].number, .type = (uint8_t)type };

    if (!hmat_enabled(t, error)
        || !nodes_are_right(t, v->at[LB_P_INITIATOR].number, v->at[LB_P_TARGET].number, error)
        || !values_are_right(v, latency, error))
        return false;
    e.initiator = (uint8_t)v->at[LB_P_INITIATOR].number;
    e.target = (uint8_t)v->at[LB_P_TARGET].number;
    e.value = v->at[latency ? LB_P_LATENCY : LB_P_BANDWIDTH].number;
    if (hmat_find(h, e.hierarchy, e.type, e.initiator, e.target))
        return fail(error, NUMON_ERROR_STATE, "Duplicate configuration of the %s for initiator=%u and target=%u",
                    latency ? "latency" : "bandwidth", e.initiator, e.target);
    if (!value_fits(h, &e, error))
        return false;
    g_array_insert_val(h->lb, find_key(h, hmat_lb_key(&e)), e);
    return true;
}

/* --- the way back ------------------------------------------------------------------------------- */

static bool
lb_matches(const struct hmat_lb *e, const struct values *v)
{
    return (!v->at[LB_P_INITIATOR].set || v->at[LB_P_INITIATOR].number == e->initiator)
        && (!v->at[LB_P_TARGET].set || v->at[LB_P_TARGET].number == e->target)
        && (!v->at[LB_P_HIERARCHY].set || v->at[LB_P_HIERARCHY].number == e->hierarchy)
        && (!v->at[LB_P_TYPE].set || v->at[LB_P_TYPE].number == e->type);
}

bool
hmat_delete_lb(struct hmat *h, const struct values *v, GError **error)
{
    guint before = h->lb->len;

    for (guint i = h->lb->len; i-- > 0;) {
        if (lb_matches(hmat_lb_at(h, i), v))
            g_array_remove_index(h->lb, i);
    }
    caches_forget_unfounded(h);
    return h->lb->len < before || fail(error, NUMON_ERROR_ARGUMENT, "no match found: no such hmat-lb was given");
}

void
hmat_forget_node(struct hmat *h, unsigned node)
{
    for (guint i = h->lb->len; i-- > 0;) {
        if (hmat_lb_at(h, i)->initiator == node || hmat_lb_at(h, i)->target == node)
            g_array_remove_index(h->lb, i);
    }
    caches_forget_unfounded(h);
}

bool
hmat_initiators_have_cpus(const struct hmat *h, const struct topology *t, GError **error)
{
    unsigned last = TOPOLOGY_NODES;

    for (guint i = 0; i < h->lb->len; i++) {
        unsigned node = hmat_lb_at(h, i)->initiator;

        if (node != last && !node_has_own_cpus(t, node))
            return fail(error, NUMON_ERROR_STATE, "cannot take all CPUs out of node %u: it is the initiator of a "
                        "latency or bandwidth; numa_del hmat-lb,initiator=%u takes that back", node, node);
        last = node;
    }
    return true;
}

/* --- saved ------------------------------------------------------------------------------------------------------ */

void
hmat_save(const struct hmat *h, GString *out)
{
    for (guint i = 0; i < h->lb->len; i++) {
        const struct hmat_lb *e = hmat_lb_at(h, i);
        g_autofree char *size = size_spell(e->value);

        g_string_append_printf(out, "numa hmat-lb,initiator=%u,target=%u,hierarchy=%s,data-type=%s,", e->initiator,
                               e->target, hmat_hierarchy_names[e->hierarchy], hmat_type_names[e->type]);
        if (hmat_is_latency(e->type))
            g_string_append_printf(out, "latency=%" PRIu64 "\n", e->value);
        else
            g_string_append_printf(out, "bandwidth=%s\n", size);
    }
    caches_save(h, out);
}
