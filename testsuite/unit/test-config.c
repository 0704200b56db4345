/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The definition: its rules, that a refused edit changes nothing, that what check proposes mends, and that saving,
 * entering and saving again gives the same bytes.  Lines are applied as the monitor does it: on a copy. */
#include "config.h"

#include <string.h>

typedef bool edit_function(struct definition *d, const struct values *v, GError **error);

static bool
delete_node(struct definition *d, const struct values *v, GError **error)
{
    return topology_delete_node(&d->topology, (unsigned)v->at[0].number, error);
}

static bool
unmap_cpu(struct definition *d, const struct values *v, GError **error)
{
    return topology_unmap_cpu(&d->topology, v, error);
}

static bool
add_ram(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

static bool
add_memfd(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_MEMFD, v, error);
}

static bool
delete_backend(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_backend(d, v->at[0].word, error);
}

static bool
set_kernel(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_kernel(d, v->at[0].word, error);
}

static bool
set_serial(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_serial(d, (unsigned)v->at[1].number, v->at[0].word, error);
}

static bool
set_append(struct definition *d, const struct values *v, GError **error)
{
    definition_set_append(d, v->at[0].word);
    return true;
}

static bool
delete_device(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_device(d, v->at[0].word, error);
}

static bool
set_name(struct definition *d, const struct values *v, GError **error)
{
    definition_set_name(d, v->at[0].word);
    return true;
}

static const struct property one_word[] = { { "word", PROPERTY_WORD, .required = true }, { 0 } };
static const struct property serial_words[] = {
    { "target", PROPERTY_WORD, .required = true }, { "port", PROPERTY_UINT, .max = SERIAL_PORTS - 1 }, { 0 }
};
static const struct property rest[] = { { "text", PROPERTY_REST }, { 0 } };
static const struct property one_number[] = { { "node", PROPERTY_UINT, .max = 127, .required = true }, { 0 } };

enum form { OPTIONS, WORDS, PAIRS };

static const struct { const char *start; enum form form; const struct property *table; int implied;
                      edit_function *edit; } commands[] = {
    { "memory ", OPTIONS, memory_properties, MEMORY_P_SIZE, definition_set_memory },
    { "smp ", OPTIONS, smp_properties, SMP_P_CPUS, definition_set_smp },
    { "machine ", OPTIONS, machine_properties, -1, definition_set_machine },
    { "accel ", OPTIONS, accel_properties, ACCEL_P_ACCEL, definition_set_accel },
    { "kernel ", WORDS, one_word, 0, set_kernel },
    { "append ", WORDS, rest, 0, set_append },
    { "name ", WORDS, rest, 0, set_name },
    { "serial_target ", WORDS, serial_words, 0, set_serial },
    { "object_add memory-backend-ram,", OPTIONS, backend_ram_properties, -1, add_ram },
    { "object_add memory-backend-memfd,", OPTIONS, backend_memfd_properties, -1, add_memfd },
    { "object_del ", WORDS, one_word, 0, delete_backend },
    { "numa node,", OPTIONS, node_properties, -1, definition_add_node },
    { "numa dist,", OPTIONS, dist_properties, -1, definition_set_distance },
    { "numa cpu,", OPTIONS, cpu_properties, -1, definition_map_cpu },
    { "device_add cpu,", OPTIONS, cpu_plug_properties, -1, definition_add_cpu },
    { "device_del ", WORDS, one_word, 0, delete_device },
    { "numa_del node ", WORDS, one_number, 0, delete_node },
    { "numa_del cpu,", OPTIONS, cpu_properties, -1, unmap_cpu },
    { "workload ", PAIRS, workload_properties, 0, definition_set_workload },
};

static struct values *
parse(unsigned command, const char *line, GError **error)
{
    const char *text = line + strlen(commands[command].start);

    switch (commands[command].form) {
    case OPTIONS:
        return property_parse_options(commands[command].table, commands[command].implied, text, error);
    case WORDS:
        return property_parse_words(commands[command].table, text, error);
    default:
        return property_parse_pairs(commands[command].table, text, error);
    }
}

/* Edits '*d'; a refused line must leave it as it was. */
static bool
apply(struct definition *d, const char *line, GError **error)
{
    unsigned command = 0;

    while (!g_str_has_prefix(line, commands[command].start))
        g_assert_cmpuint(++command, <, G_N_ELEMENTS(commands));
    g_autoptr(values) v = parse(command, line, error);
    if (!v)
        return false;
    g_autoptr(definition) before = definition_copy(d);
    if (commands[command].edit(d, v, error))
        return true;
    g_assert_true(definition_equal(d, before));
    return false;
}

static void
enter(struct definition *d, const char *lines)
{
    g_auto(GStrv) each = g_strsplit(lines, "\n", -1);

    for (unsigned i = 0; each[i]; i++) {
        GError *error = NULL;

        if (*each[i] && !apply(d, each[i], &error))
            g_error("%s: %s", each[i], error->message);
    }
}

static struct definition *
definition_of(const char *lines)
{
    struct definition *d = definition_new();

    enter(d, lines);
    return d;
}

/* --- refusals --------------------------------------------------------------------------------------------------- */

static void
refusals_say_why(void)
{
    static const struct { const char *before, *line, *words; } cases[] = {
        { "", "memory 256M,maxmem=128M", "invalid value of maxmem: maximum memory size (0x8000000) must be at least "
          "the initial memory size (0x10000000)" },
        { "", "memory 256M,slots=2,maxmem=256M", "invalid value of maxmem: memory slots were specified but maximum "
          "memory size (0x10000000) is equal to the initial memory size (0x10000000)" },
        { "", "memory 256M,slots=2", "slots specified but no max-size" },
        { "", "memory 256M,slots=300,maxmem=1G", "unsupported amount of memory slots: 300" },
        { "", "memory 0", "memory size must be greater than zero" },
        { "", "memory 300000b", "memory size (300000 bytes) must be aligned to multiple of 4096 bytes" },
        { "", "memory 1M,maxmem=1048577b", "maximum memory size (1048577 bytes) must be aligned" },
        { "object_add memory-backend-ram,id=m0,size=4M", "object_add memory-backend-memfd,id=m0,size=8M",
          "Duplicate ID 'm0' for object" },
        { "", "object_add memory-backend-ram,id=numon.ram,size=4M", "the id 'numon.ram' is that of RAM" },
        { "", "object_add memory-backend-ram,id=m0,size=65T", "cannot make backend 'm0' of 65 TiB: at most 64 TiB" },
        { "", "object_del m0", "object 'm0' not found" },
        { "object_add memory-backend-ram,id=m0,size=4M\nnuma node,nodeid=3,memdev=m0", "object_del m0",
          "object 'm0' is in use, can not be deleted: it is the memory of node 3" },
        { "object_add memory-backend-ram,id=m0,size=4M\nnuma node,memdev=m0", "numa node,memdev=m0",
          "memory backend m0 can't be used multiple times" },
        { "", "numa node,memdev=m0", "memdev=m0 does not exist" },
        { "", "kernel builtin:other", "kernel 'builtin:other' does not exist" },
        { "", "kernel \"\"", "kernel must not be empty" },
        { "", "kernel \"a\tb\"", "kernel must not have the control character 0x09" },
        { "", "serial_target nowhere", "" },
        { "serial_target null 1", "serial_target nowhere 1", "" },
        { "serial_target null 1", "serial_target none", "" },
        { "", "accel xen", "" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(definition) d = definition_of(cases[i].before);
        g_autoptr(GError) error = NULL;

        g_assert_false(apply(d, cases[i].line, &error));
        if (!g_str_has_prefix(error->message, cases[i].words))
            g_assert_cmpstr(error->message, ==, cases[i].words);
    }
}

/* --- amounts ---------------------------------------------------------------------------------------------------- */

static void
ram_is_as_entered_or_the_sum_or_the_default(void)
{
    g_autoptr(definition) d = definition_new();

    g_assert_cmpuint(definition_ram(d), ==, 128 * MIB);
    enter(d, "object_add memory-backend-ram,id=m0,size=64M\nobject_add memory-backend-ram,id=m1,size=32M");
    g_assert_cmpuint(definition_ram(d), ==, 128 * MIB);
    enter(d, "numa node,memdev=m0\nnuma node,memdev=m1");
    g_assert_cmpuint(definition_ram(d), ==, 96 * MIB);
    g_assert_cmpint(definition_backend_user(d, "m1"), ==, 1);
    g_assert_cmpint(definition_backend_user(d, "m2"), ==, -1);
    enter(d, "memory 1G");
    g_assert_cmpuint(definition_ram(d), ==, GIB);
}

static void
the_summary_counts(void)
{
    g_autoptr(definition) empty = definition_new();
    g_autoptr(definition) d = definition_of("memory 2G\nsmp 4,maxcpus=8\nnuma node,mem=1G\nnuma node,mem=1G");
    g_autofree char *none = definition_summary(empty), *text = definition_summary(d);

    g_assert_cmpstr(none, ==, "complete: 0 nodes, 1 CPU, 128 MiB");
    g_assert_cmpstr(text, ==, "complete: 2 nodes, 4 CPUs, 2 GiB");
}

/* --- check ------------------------------------------------------------------------------------------------------ */

static void
expect_check(const char *lines, const char *wanted)
{
    g_autoptr(definition) d = definition_of(lines);
    g_autoptr(GPtrArray) problems = definition_check(d);
    g_autoptr(GString) found = g_string_new(NULL);

    for (guint i = 0; i < problems->len; i++) {
        const struct problem *p = problems->pdata[i];
        g_string_append_printf(found, "%s -> %s\n", p->text, p->remedy);
    }
    g_assert_cmpstr(found->str, ==, wanted);
}

static void
check_says_what_mends_memory(void)
{
    expect_check("", "");
    expect_check("memory 2G,slots=4,maxmem=8G\nnuma node,mem=512M", "total memory for NUMA nodes (0x20000000) should "
                 "equal RAM size (0x80000000) -> memory 512M,slots=4,maxmem=8G\n");
    expect_check("memory 1G,slots=4,maxmem=2G\nnuma node,mem=4G", "total memory for NUMA nodes (0x100000000) should "
                 "equal RAM size (0x40000000) -> memory 4G\n");
    expect_check("machine numa-auto-assign=off\nsmp 4\nnuma node,cpus=0-1\nnuma node,cpus=2-3",
                 "total memory for NUMA nodes (0x0) should equal RAM size (0x8000000) -> numa_del node 0\nnuma_del "
                 "node 1\nnuma node,nodeid=0,cpus=0-1,mem=64M\nnuma node,nodeid=1,cpus=2-3,mem=64M\n");
    expect_check("numa node,nodeid=0\nnuma node,nodeid=1", "");
    expect_check("memory 8M\nnuma node,nodeid=0\nnuma node,nodeid=1",
                 "RAM size (8 MiB) is less than the 16 MiB that the workload guest needs -> memory 16M\n");
    expect_check("memory 8M", "RAM size (8 MiB) is less than the 16 MiB that the workload guest needs -> memory "
                 "16M\n");
    expect_check("memory 8M\nkernel /boot/vmlinuz", "");
    expect_check("object_add memory-backend-ram,id=m1,size=4M\nnuma node,memdev=m1",
                 "RAM size (4 MiB) is less than the 16 MiB that the workload guest needs -> "
                 "object_add memory-backend-ram,id=m2,size=12M\nnuma node,nodeid=1,memdev=m2\n");
}

/* Feeds every remedy back; afterwards nothing may be wrong. */
static unsigned
mend(struct definition *d)
{
    g_autoptr(GPtrArray) problems = definition_check(d);

    for (guint i = 0; i < problems->len; i++)
        enter(d, ((const struct problem *)problems->pdata[i])->remedy);
    return problems->len;
}

/* What is beyond every limit is mended by commands that are within it. */
static void
remedies_keep_to_the_limit_of_ram(void)
{
    static const char backends[] = "object_add memory-backend-ram,id=m0,size=64T\n"
                                   "object_add memory-backend-memfd,id=m1,size=64T\n"
                                   "numa node,memdev=m0\nnuma node,memdev=m1";
    g_autofree char *entered = g_strconcat("memory 1T\n", backends, NULL);
    const char *const wrong[] = { backends, entered, "numa node,mem=64T\nnuma node,mem=64T" };

    expect_check(backends, "RAM size (128 TiB) is more than the 64 TiB that a guest can have -> numa_del node 1\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(definition) d = definition_of(wrong[i]);

        g_assert_cmpuint(mend(d), >, 0);
        g_assert_cmpuint(mend(d), ==, 0);
        g_assert_cmpuint(definition_ram(d), <=, RAM_MAX);
    }
}

/* --- random definitions ----------------------------------------------------------------------------------------- */

static unsigned
random_below(unsigned n)
{
    return (unsigned)g_test_rand_int_range(0, (int)n);
}

static char *
random_line(void)
{
    static const char *const texts[] = {
        "name a machine", "name", "append console=ttyS0 \"x y\" a=b,c", "kernel \"/tmp/a b\\\"c\\\\d\"",
        "kernel /boot/k", "kernel builtin:workload", "serial_target file:/tmp/out", "serial_target null", "accel kvm",
        "serial_target pty 1", "serial_target none 1", "serial_target \"file:/tmp/a b\" 3", "serial_target null 2",
        "accel synthetic", "accel auto", "workload pattern=random rate=20000", "workload size=1M interval=100",
        "memory 2G,slots=4,maxmem=8G", "memory 8M", "memory 4097K", "smp 8", "smp 6,sockets=3,maxcpus=6",
        "smp sockets=2,dies=2,cores=2", "smp 2", "smp 2,maxcpus=8,sockets=2", "smp 1,maxcpus=8,sockets=2,dies=2",
    };

    switch (random_below(12)) {
    case 0:
        return g_strdup_printf("object_add memory-backend-ram,id=m%u,size=%uM,share=%s", random_below(8),
                               random_below(20), random_below(2) ? "on" : "off");
    case 1:
        return g_strdup_printf("object_add memory-backend-memfd,id=m%u,size=%uK,prealloc=on,dump=off,share=%s",
                               random_below(8), 4 * random_below(20000), random_below(2) ? "on" : "off");
    case 2:
        return g_strdup_printf("numa node,nodeid=%u,memdev=m%u", random_below(6), random_below(8));
    case 3:
        return g_strdup_printf("numa node,nodeid=%u,cpus=%u,mem=%uM", random_below(6), random_below(9),
                               random_below(40));
    case 4:
        return g_strdup_printf("numa node,cpus=%u-%u", random_below(4), 4 + random_below(4));
    case 5:
    case 6:
        return g_strdup_printf("numa dist,src=%u,dst=%u,val=%u", random_below(6), random_below(6),
                               9 + random_below(20));
    case 7:
        return g_strdup_printf("numa cpu,node-id=%u,core-id=%u", random_below(6), random_below(4));
    case 8:
        if (random_below(2))
            return g_strdup_printf("numa_del cpu,socket-id=%u", random_below(2));
        return g_strdup_printf(random_below(2) ? "numa_del node %u" : "object_del m%u", random_below(6));
    case 9:
        return g_strdup_printf("device_add cpu,id=c%u,socket-id=%u,core-id=%u,thread-id=0%s", random_below(4),
                               random_below(2), random_below(4), random_below(2) ? ",die-id=1" : "");
    case 10:
        return g_strdup_printf("device_del c%u", random_below(4));
    default:
        return g_strdup(texts[random_below(G_N_ELEMENTS(texts))]);
    }
}

/* Refused lines change nothing: apply() looks. */
static struct definition *
random_definition(void)
{
    struct definition *d = definition_new();

    for (unsigned lines = random_below(60); lines > 0; lines--) {
        g_autofree char *line = random_line();

        if (strcmp(line, "name") == 0)
            definition_set_name(d, NULL);
        else
            apply(d, line, NULL);
    }
    return d;
}

static void
save_enter_save_gives_the_same(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        g_autoptr(definition) d = random_definition();
        g_autofree char *saved = definition_save(d);
        g_autoptr(definition) again = definition_of(saved);
        g_autofree char *saved_again = definition_save(again);

        g_assert_cmpstr(saved_again, ==, saved);
        g_assert_true(definition_equal(d, again));
    }
}

static void
remedies_mend_random_definitions(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < 1000; i++) {
        g_autoptr(definition) d = random_definition();

        if (!mend(d))
            continue;
        wrong++;
        if (mend(d) && mend(d)) {
            g_autofree char *saved = definition_save(d);
            g_error("still wrong:\n%s", saved);
        }
    }
    g_assert_cmpuint(wrong, >, 300);
}

static void
what_cannot_be_on_a_line_is_made_to_fit(void)
{
    g_autoptr(definition) d = definition_new();

    definition_set_append(d, "  a\nquit\tb ");
    definition_set_name(d, " \n ");
    g_autofree char *saved = definition_save(d);
    g_assert_cmpstr(saved, ==, "append a quit b\n");
    g_assert_null(d->name);
}

static void
a_copy_is_equal_and_apart(void)
{
    g_autoptr(definition) d = definition_of("name x\nobject_add memory-backend-ram,id=m0,size=4M");
    g_autoptr(definition) copy = definition_copy(d);

    g_assert_true(definition_equal(d, copy));
    enter(copy, "object_del m0");
    g_assert_false(definition_equal(d, copy));
    g_assert_nonnull(definition_backend(d, "m0"));
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
#define ADD(f) g_test_add_func("/config/" #f, f)
    ADD(refusals_say_why);
    ADD(ram_is_as_entered_or_the_sum_or_the_default);
    ADD(the_summary_counts);
    ADD(check_says_what_mends_memory);
    ADD(save_enter_save_gives_the_same);
    ADD(remedies_keep_to_the_limit_of_ram);
    ADD(remedies_mend_random_definitions);
    ADD(what_cannot_be_on_a_line_is_made_to_fit);
    ADD(a_copy_is_equal_and_apart);
    return g_test_run();
}
