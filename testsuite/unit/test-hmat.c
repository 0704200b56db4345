/* SPDX-License-Identifier: GPL-3.0-or-later */
/* HMAT: what its 16-bit entries can hold, against values worked out by hand, and what goes with what. */
#include "topology.h"

#include <string.h>

static bool
no_backend(const void *self, const char *id, uint64_t *ret_bytes)
{
    return false;
}

static struct topology
two_nodes(void)
{
    static const struct { const char *text; const struct property *table; int implied; } lines[] = {
        { "4", smp_properties, SMP_P_CPUS },
        { "mem=64M,cpus=0-3", node_properties, -1 }, { "mem=64M,initiator=0", node_properties, -1 },
    };
    struct topology t;

    topology_init(&t);
    t.options.hmat = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(values) v = property_parse_options(lines[i].table, lines[i].implied, lines[i].text, NULL);

        g_assert_true(i == 0 ? topology_set_smp(&t, v, NULL)
                             : topology_add_node(&t, v, (struct backend_lookup) { no_backend, NULL }, NULL));
    }
    return t;
}

/* "lb ..." or "cache ..."; NULL if it was taken, else the error's code. */
static int
apply(struct hmat *h, const struct topology *t, const char *line, char **ret_words)
{
    GError *error = NULL;
    bool lb = g_str_has_prefix(line, "lb ");
    g_autoptr(values) v = property_parse_options(lb ? hmat_lb_properties : hmat_cache_properties, -1,
                                                 strchr(line, ' ') + 1, &error);
    int code;

    g_assert_no_error(error);
    if (lb ? hmat_add_lb(h, t, v, &error) : hmat_add_cache(h, t, v, &error))
        return -1;
    code = error->code;
    if (ret_words)
        *ret_words = g_strdup(error->message);
    g_error_free(error);
    return code;
}

static void
enter(struct hmat *h, const struct topology *t, const char *line)
{
    g_assert_cmpint(apply(h, t, line, NULL), ==, -1);
}

static void
refused(struct hmat *h, const struct topology *t, const char *line, int code, const char *words)
{
    g_autofree char *found = NULL;
    struct hmat before;

    hmat_copy(&before, h);
    g_assert_cmpint(apply(h, t, line, &found), ==, code);
    g_assert_cmpstr(found, ==, words);
    g_assert_true(hmat_equal(h, &before));
    hmat_release(&before);
}

#define LATENCY(target, ns) "lb initiator=0,target=" #target ",hierarchy=memory,data-type=access-latency,latency=" #ns
#define BANDWIDTH(target, size) \
    "lb initiator=0,target=" #target ",hierarchy=memory,data-type=access-bandwidth,bandwidth=" #size

struct encoding { const char *first, *second; uint64_t base; uint16_t a, b; };

static void
check_encoding(const struct encoding *c, unsigned type)
{
    struct topology t = two_nodes();
    struct hmat h;

    hmat_init(&h);
    enter(&h, &t, c->first);
    enter(&h, &t, c->second);
    g_assert_cmpuint(hmat_base(&h, 0, type), ==, c->base);
    g_assert_cmpuint(hmat_encode(hmat_find(&h, 0, type, 0, 0)->value, c->base), ==, c->a);
    g_assert_cmpuint(hmat_encode(hmat_find(&h, 0, type, 0, 1)->value, c->base), ==, c->b);
    hmat_release(&h);
}

static void
latencies_count_a_power_of_ten(void)
{
    static const struct encoding cases[] = {
        { LATENCY(0, 5), LATENCY(1, 10), 1, 5, 10 },
        { LATENCY(0, 50), LATENCY(1, 100), 10, 5, 10 },
        { LATENCY(0, 1), LATENCY(1, 65534), 1, 1, 65534 },
        { LATENCY(0, 10), LATENCY(1, 655340), 10, 1, 65534 },
        { LATENCY(0, 655340), LATENCY(1, 20), 10, 65534, 2 },
        { LATENCY(0, 0), LATENCY(1, 7000), 1000, 0, 7 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
        check_encoding(&cases[i], 0);
}

static void
bandwidths_count_a_power_of_two(void)
{
    static const struct encoding cases[] = {
        { BANDWIDTH(0, 1M), BANDWIDTH(1, 2M), MIB, 1, 2 },
        { BANDWIDTH(0, 6G), BANDWIDTH(1, 2G), 2 * GIB, 3, 1 },
        { BANDWIDTH(0, 65534M), BANDWIDTH(1, 32767M), MIB, 65534, 32767 },
        { BANDWIDTH(0, 0), BANDWIDTH(1, 12G), 4 * GIB, 0, 3 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
        check_encoding(&cases[i], HMAT_BANDWIDTH);
}

static void
values_too_far_apart_are_refused(void)
{
    struct topology t = two_nodes();
    struct hmat h;

    hmat_init(&h);
    enter(&h, &t, LATENCY(0, 1));
    refused(&h, &t, LATENCY(1, 65535), NUMON_ERROR_LIMIT, "Latency 65535 between initiator=0 and target=1 should not "
            "differ from previously entered min or max values on more than 65534");
    enter(&h, &t, BANDWIDTH(0, 1M));
    refused(&h, &t, BANDWIDTH(1, 65535M), NUMON_ERROR_LIMIT, "Bandwidth 68718428160 between initiator=0 and target=1 "
            "should not differ from previously entered values on more than 65534");
    refused(&h, &t, BANDWIDTH(1, 65536M), NUMON_ERROR_LIMIT, "Bandwidth 68719476736 between initiator=0 and target=1 "
            "should not differ from previously entered values on more than 65534");
    enter(&h, &t, BANDWIDTH(1, 65534M));
    hmat_release(&h);

    /* A value that alone does not fit: all its 16 bits are set. */
    hmat_init(&h);
    refused(&h, &t, BANDWIDTH(1, 65535G), NUMON_ERROR_LIMIT,
            "Bandwidth 70367670435840 between initiator=0 and target=1 should not differ from previously entered "
            "values on more than 65534");
    refused(&h, &t, LATENCY(1, 65537), NUMON_ERROR_LIMIT, "Latency 65537 between initiator=0 and target=1 should not "
            "differ from previously entered min or max values on more than 65534");
    hmat_release(&h);
}

#define CACHE(level, size) \
    "cache node-id=1,size=" #size ",level=" #level ",associativity=direct,policy=write-back,line=64"

static void
caches_rest_on_what_is_below(void)
{
    struct topology t = two_nodes();
    struct hmat h;

    hmat_init(&h);
    enter(&h, &t, LATENCY(1, 5));
    enter(&h, &t, BANDWIDTH(1, 0));
    refused(&h, &t, CACHE(1, 10K), NUMON_ERROR_STATE, "The latency and bandwidth information of node-id=1 should be "
            "provided before memory side cache attributes");
    enter(&h, &t, "lb initiator=0,target=1,hierarchy=first-level,data-type=read-bandwidth,bandwidth=1G");
    refused(&h, &t, CACHE(2, 10K), NUMON_ERROR_STATE, "Cache level=1 shall be defined first");
    enter(&h, &t, CACHE(1, 10K));
    refused(&h, &t, CACHE(2, 10K), NUMON_ERROR_ARGUMENT, "Invalid size=10240, the size of level=2 should be larger "
            "than the size(10240) of level=1");
    enter(&h, &t, CACHE(2, 11K));
    g_assert_nonnull(hmat_cache_find(&h, 1, 2));
    g_autoptr(values) v = property_parse_options(hmat_lb_filter, -1, "data-type=read-bandwidth", NULL);
    g_assert_true(hmat_delete_lb(&h, v, NULL));
    g_assert_null(hmat_cache_find(&h, 1, 1));
    g_assert_cmpuint(h.lb->len, ==, 2);
    hmat_forget_node(&h, 1);
    g_assert_cmpuint(h.lb->len, ==, 0);
    hmat_release(&h);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hmat/latency", latencies_count_a_power_of_ten);
    g_test_add_func("/hmat/bandwidth", bandwidths_count_a_power_of_two);
    g_test_add_func("/hmat/limits", values_too_far_apart_are_refused);
    g_test_add_func("/hmat/caches", caches_rest_on_what_is_below);
    return g_test_run();
}
