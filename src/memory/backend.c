/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory backends as the user defines them: one option table a kind, and the rules that a table cannot hold.  The
 * first rows are the same in all, so that one enum indexes any; file and memfd have rows of their own after them.
 *
 * What the host does not have (a node, a page size, a folder) is refused here, before there is anything to map; how
 * much it has is known when it is asked for it. */
#include "memory.h"

#include <string.h>

const char *const backend_kind_names[] = {
    [BACKEND_RAM] = "memory-backend-ram",
    [BACKEND_FILE] = "memory-backend-file",
    [BACKEND_MEMFD] = "memory-backend-memfd",
    [BACKEND_SHM] = "memory-backend-shm",
    [BACKEND_KINDS] = NULL,
};

static const char *const rom_choices[] = { "auto", "on", "off", NULL };

enum { ROM_AUTO, ROM_ON, ROM_OFF };

#define BACKEND_ROWS(share_default)                                                                                  \
    [BACKEND_P_ID] = { "id", PROPERTY_ID, .required = true, .help = "name by which nodes refer to it" },             \
    [BACKEND_P_SIZE] = { "size", PROPERTY_SIZE, .unit = "bytes", .required = true,                                   \
                         .help = "how much memory, a multiple of its page size" },                                   \
    [BACKEND_P_SHARE] = { "share", PROPERTY_BOOL, .value_default = (share_default),                                  \
                          .help = "map it so that other processes can share it" },                                   \
    [BACKEND_P_PREALLOC] = { "prealloc", PROPERTY_BOOL, .value_default = "off",                                      \
                             .help = "take all of it from the host before the guest starts" },                       \
    [BACKEND_P_MERGE] = { "merge", PROPERTY_BOOL, .value_default = "on",                                             \
                          .help = "let the host merge equal pages" },                                                \
    [BACKEND_P_DUMP] = { "dump", PROPERTY_BOOL, .value_default = "on",                                               \
                         .help = "include it in core dumps" },                                                       \
    [BACKEND_P_RESERVE] = { "reserve", PROPERTY_BOOL, .value_default = "on",                                         \
                            .help = "have the host set swap space or huge pages aside for it" },                     \
    [BACKEND_P_PREALLOC_THREADS] = { "prealloc-threads", PROPERTY_UINT, .min = 1, .max = UINT32_MAX,                 \
                                     .value_default = "1", .help = "threads that preallocate, at most one a CPU" },  \
    [BACKEND_P_PREALLOC_CONTEXT] = { "prealloc-context", PROPERTY_WORD,                                              \
                                     .help = "refused: there are no thread-context objects" },                       \
    [BACKEND_P_HOST_NODES] = { "host-nodes", PROPERTY_LIST, .max = HOST_NODES - 1,                                   \
                               .help = "host nodes that the policy is about" },                                      \
    [BACKEND_P_POLICY] = { "policy", PROPERTY_CHOICE, .choices = host_policy_names, .value_default = "default",      \
                           .help = "where on the host its pages come from" },                                        \
    [BACKEND_P_CANONICAL] = { "x-use-canonical-path-for-ramblock-id", PROPERTY_BOOL, .value_default = "off",         \
                              .help = "name its block in a stream /objects/ID instead of ID" }

const struct property backend_ram_properties[] = { BACKEND_ROWS("off"), { 0 } };
const struct property backend_shm_properties[] = { BACKEND_ROWS("on"), { 0 } };

const struct property backend_file_properties[] = {
    BACKEND_ROWS("off"),
    [BACKEND_P_MEM_PATH] = { "mem-path", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                             .help = "file to map, made if it is not there, or a folder for a nameless one; the "
                                     "guest finds what it holds, but builtin:workload clears it" },
    [BACKEND_P_ALIGN] = { "align", PROPERTY_SIZE, .unit = "bytes", .value_default = "0",
                          .help = "alignment of the mapping, a power of two; 0: the page size" },
    [BACKEND_P_OFFSET] = { "offset", PROPERTY_SIZE, .unit = "bytes", .value_default = "0",
                           .help = "where in the file it begins, a multiple of the page size" },
    [BACKEND_P_DISCARD_DATA] = { "discard-data", PROPERTY_BOOL, .value_default = "off",
                                 .help = "let what it held in the file go when the machine is torn down" },
    [BACKEND_P_PMEM] = { "pmem", PROPERTY_BOOL, .value_default = "off",
                         .help = "refused if on: needs libpmem, which numon is built without" },
    [BACKEND_P_READONLY] = { "readonly", PROPERTY_BOOL, .value_default = "off",
                             .help = "open the file for reading only; with rom=off and share=off" },
    [BACKEND_P_ROM] = { "rom", PROPERTY_CHOICE, .choices = rom_choices, .value_default = "auto",
                        .help = "whether the guest may not write; auto: as readonly" },
    { 0 }
};

const struct property backend_memfd_properties[] = {
    BACKEND_ROWS("on"),
    [BACKEND_P_HUGETLB] = { "hugetlb", PROPERTY_BOOL, .value_default = "off",
                            .help = "make it of the host's huge pages" },
    [BACKEND_P_HUGETLBSIZE] = { "hugetlbsize", PROPERTY_SIZE, .unit = "bytes", .value_default = "0",
                                .help = "which of their sizes; 0: the host's default" },
    [BACKEND_P_SEAL] = { "seal", PROPERTY_BOOL, .value_default = "on",
                         .help = "forbid anybody to change its size" },
    { 0 }
};

const struct property *
backend_properties(enum backend_kind kind)
{
    static const struct property *const tables[BACKEND_KINDS] = {
        [BACKEND_RAM] = backend_ram_properties, [BACKEND_FILE] = backend_file_properties,
        [BACKEND_MEMFD] = backend_memfd_properties, [BACKEND_SHM] = backend_shm_properties,
    };

    return tables[kind];
}

/* --- rules ------------------------------------------------------------------------------------------------------ */

static bool
is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static bool
check_size(const struct backend_options *o, GError **error)
{
    g_autofree char *page = NULL;
    uint64_t page_size = PAGE_SIZE;

    if (o->size == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "property 'size' of backend '%s' doesn't take value '0'", o->id);
    if (o->hugetlb && !backend_page_size(o, &page_size, error))
        return false;
    page = size_spell(page_size);
    if (o->size % page_size)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot make backend '%s' of %" G_GUINT64_FORMAT " bytes: the size must be a multiple of %s",
                    o->id, o->size, o->hugetlb ? page : "4 KiB");
    return true;
}

/* What holds for every kind. */
static bool
check_common(const struct backend_options *o, const struct values *v, GError **error)
{
    bool any = bits_count(o->host_nodes, HOST_NODES) > 0;
    g_autofree char *attempt = g_strdup_printf("bind backend '%s' to", o->id);

    if (v->at[BACKEND_P_PREALLOC_CONTEXT].set)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot use property 'prealloc-context' of backend '%s': numon has no "
                    "thread-context objects (prealloc-threads says how many threads there are)", o->id);
    if (o->prealloc && !o->reserve)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot make backend '%s': 'prealloc=on' and 'reserve=off' are "
                    "incompatible", o->id);
    if (any && o->policy == HOST_POLICY_DEFAULT)
        return fail(error, NUMON_ERROR_ARGUMENT, "host-nodes must be empty for policy default, or you should "
                    "explicitly specify a policy other than default: preferred, bind or interleave");
    if (!any && o->policy != HOST_POLICY_DEFAULT)
        return fail(error, NUMON_ERROR_ARGUMENT, "host-nodes must be set for policy %s",
                    host_policy_names[o->policy]);
    if (o->canonical_name && strlen(o->id) + strlen(BACKEND_CANONICAL_PREFIX) >= ID_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot name the block of backend '%s' by its canonical path: longer "
                    "than %d characters", o->id, ID_SIZE - 1);
    return host_nodes_check(o->host_nodes, attempt, error);
}

static bool
check_path(const struct backend_options *o, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(o->mem_path);

    if (!*o->mem_path)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "mem-path property not set: backend '%s' needs a file or folder", o->id);
    if (!g_file_test(o->mem_path, G_FILE_TEST_EXISTS) && o->readonly)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot make backend '%s': there is no file '%s' to read", o->id,
                    o->mem_path);
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR))
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot make backend '%s': there is no folder '%s' for its file", o->id,
                    folder);
    return true;
}

static bool
check_file(const struct backend_options *o, const struct values *v, GError **error)
{
    uint64_t rom = v->at[BACKEND_P_ROM].number;

    if (v->at[BACKEND_P_PMEM].flag)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot set property 'pmem' of backend '%s' to on: numon is built "
                    "without libpmem", o->id);
    if (rom == ROM_ON && !o->readonly)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "property 'rom' of backend '%s' cannot be on without readonly=on", o->id);
    if (rom == ROM_OFF && o->readonly && o->share)
        return fail(error, NUMON_ERROR_ARGUMENT, "property 'rom' of backend '%s' cannot be off with readonly=on and "
                    "share=on: writes have nowhere to go", o->id);
    if (o->readonly && rom != ROM_OFF)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot make backend '%s' read-only: RAM of a guest must be writable "
                    "(readonly=on,rom=off reads the file and keeps writes to itself)", o->id);
    if (o->offset % PAGE_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "property 'offset' of backend '%s' must be a multiple of 4 KiB, not %"
                    G_GUINT64_FORMAT " bytes", o->id, o->offset);
    if (o->offset > INT64_MAX - MIN(o->size, INT64_MAX))
        return fail(error, NUMON_ERROR_ARGUMENT, "property 'offset' of backend '%s' is too large: %" G_GUINT64_FORMAT
                    " bytes", o->id, o->offset);
    if (o->align && (!is_power_of_two(o->align) || o->align < PAGE_SIZE))
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "property 'align' of backend '%s' must be a power of two and at least "
                    "4 KiB, not %" G_GUINT64_FORMAT " bytes", o->id, o->align);
    return check_path(o, error);
}

static bool
check_memfd(const struct backend_options *o, GError **error)
{
    if (o->hugetlbsize && !o->hugetlb)
        return fail(error, NUMON_ERROR_ARGUMENT, "property 'hugetlbsize' of backend '%s' needs hugetlb=on", o->id);
    if (o->hugetlbsize && !is_power_of_two(o->hugetlbsize))
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "property 'hugetlbsize' of backend '%s' must be a power of two, not %"
                    G_GUINT64_FORMAT " bytes", o->id, o->hugetlbsize);
    return true;
}

/* "2 MiB, 1 GiB" */
static char *
list_pools(const struct host_huge_pool *pools, unsigned count)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < count; i++) {
        g_autofree char *size = size_format(pools[i].page_size);

        g_string_append_printf(out, "%s%s", i ? ", " : "", size);
    }
    return g_string_free(out, FALSE);
}

/* The host's default size of huge pages; 0 if it has none. */
static uint64_t
default_huge_size(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL) || !(line = strstr(text, "Hugepagesize:")))
        return 0;
    return g_ascii_strtoull(line + strlen("Hugepagesize:"), NULL, 10) * KIB;
}

bool
backend_page_size(const struct backend_options *o, uint64_t *ret, GError **error)
{
    struct host_huge_pool pools[HOST_HUGE_POOLS];
    uint64_t wanted = o->hugetlbsize ? o->hugetlbsize : default_huge_size();
    unsigned count = host_huge_pools(-1, pools, HOST_HUGE_POOLS);
    g_autofree char *size = size_format(wanted), *list = list_pools(pools, count);

    *ret = o->hugetlb ? wanted : PAGE_SIZE;
    if (!o->hugetlb)
        return true;
    for (unsigned i = 0; i < count; i++) {
        if (pools[i].page_size == wanted)
            return true;
    }
    if (!count)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot make backend '%s' of huge pages: this host has none", o->id);
    return fail(error, NUMON_ERROR_ARGUMENT,
                "cannot make backend '%s' of pages of %s: this host has huge pages of %s",
                o->id, size, list);
}

/* --- from values to options and back ---------------------------------------------------------------------------- */

static void
read_own(const struct values *v, struct backend_options *o)
{
    if (o->kind == BACKEND_FILE) {
        o->mem_path = g_intern_string(v->at[BACKEND_P_MEM_PATH].word);
        o->align = v->at[BACKEND_P_ALIGN].number;
        o->offset = v->at[BACKEND_P_OFFSET].number;
        o->discard_data = v->at[BACKEND_P_DISCARD_DATA].flag;
        o->readonly = v->at[BACKEND_P_READONLY].flag;
    } else if (o->kind == BACKEND_MEMFD) {
        o->hugetlb = v->at[BACKEND_P_HUGETLB].flag;
        o->hugetlbsize = v->at[BACKEND_P_HUGETLBSIZE].number;
        o->seal = v->at[BACKEND_P_SEAL].flag;
    }
}

static bool
check_own(const struct backend_options *o, const struct values *v, GError **error)
{
    if (o->kind == BACKEND_SHM && !o->share)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot set property 'share' of backend '%s' to off: %s is always "
                    "shared", o->id, backend_kind_names[o->kind]);
    if (o->kind == BACKEND_FILE)
        return check_file(o, v, error);
    return o->kind != BACKEND_MEMFD || check_memfd(o, error);
}

bool
backend_options_read(enum backend_kind kind, const struct values *v, struct backend_options *ret, GError **error)
{
    struct backend_options o = {
        .kind = kind,
        .size = v->at[BACKEND_P_SIZE].number,
        .share = v->at[BACKEND_P_SHARE].flag,
        .prealloc = v->at[BACKEND_P_PREALLOC].flag,
        .merge = v->at[BACKEND_P_MERGE].flag,
        .dump = v->at[BACKEND_P_DUMP].flag,
        .reserve = v->at[BACKEND_P_RESERVE].flag,
        .canonical_name = v->at[BACKEND_P_CANONICAL].flag,
        .prealloc_threads = (unsigned)v->at[BACKEND_P_PREALLOC_THREADS].number,
        .policy = (enum host_policy)v->at[BACKEND_P_POLICY].number,
    };

    g_strlcpy(o.id, v->at[BACKEND_P_ID].word, sizeof o.id);
    if (v->at[BACKEND_P_HOST_NODES].words)
        memcpy(o.host_nodes, v->at[BACKEND_P_HOST_NODES].words, sizeof o.host_nodes);
    read_own(v, &o);
    if (!check_own(&o, v, error) || !check_size(&o, error) || !check_common(&o, v, error))
        return false;
    *ret = o;
    return true;
}

void
backend_options_init_default(struct backend_options *o, const char *id, uint64_t size)
{
    *o = (struct backend_options) {
        .kind = BACKEND_RAM, .size = size, .merge = true, .dump = true, .reserve = true, .prealloc_threads = 1,
    };
    g_strlcpy(o->id, id, sizeof o->id);
}

bool
backend_options_equal(const struct backend_options *a, const struct backend_options *b)
{
    return a->kind == b->kind && strcmp(a->id, b->id) == 0 && a->size == b->size && a->share == b->share
        && a->prealloc == b->prealloc && a->merge == b->merge && a->dump == b->dump && a->reserve == b->reserve
        && a->canonical_name == b->canonical_name && a->prealloc_threads == b->prealloc_threads
        && a->policy == b->policy && memcmp(a->host_nodes, b->host_nodes, sizeof a->host_nodes) == 0
        && g_strcmp0(a->mem_path, b->mem_path) == 0 && a->align == b->align && a->offset == b->offset
        && a->discard_data == b->discard_data && a->readonly == b->readonly && a->hugetlb == b->hugetlb
        && a->hugetlbsize == b->hugetlbsize && a->seal == b->seal;
}

static char *
flag_text(bool flag)
{
    return g_strdup(flag ? "on" : "off");
}

static char *
common_text(const struct backend_options *o, unsigned row)
{
    switch (row) {
    case BACKEND_P_ID:
        return g_strdup(o->id);
    case BACKEND_P_SIZE:
        return size_spell(o->size);
    case BACKEND_P_SHARE:
        return flag_text(o->share);
    case BACKEND_P_PREALLOC:
        return flag_text(o->prealloc);
    case BACKEND_P_MERGE:
        return flag_text(o->merge);
    case BACKEND_P_DUMP:
        return flag_text(o->dump);
    case BACKEND_P_RESERVE:
        return flag_text(o->reserve);
    case BACKEND_P_PREALLOC_THREADS:
        return g_strdup_printf("%u", o->prealloc_threads);
    case BACKEND_P_HOST_NODES:
        return list_format(o->host_nodes, HOST_NODES);
    case BACKEND_P_POLICY:
        return g_strdup(host_policy_names[o->policy]);
    case BACKEND_P_CANONICAL:
        return flag_text(o->canonical_name);
    }
    return g_strdup("");
}

static char *
file_text(const struct backend_options *o, unsigned row)
{
    switch (row) {
    case BACKEND_P_MEM_PATH:
        return g_strdup(o->mem_path);
    case BACKEND_P_ALIGN:
        return o->align ? size_spell(o->align) : g_strdup("0");
    case BACKEND_P_OFFSET:
        return o->offset ? size_spell(o->offset) : g_strdup("0");
    case BACKEND_P_DISCARD_DATA:
        return flag_text(o->discard_data);
    case BACKEND_P_READONLY:
        return flag_text(o->readonly);
    case BACKEND_P_ROM:                 /* no other combination is taken */
        return g_strdup(o->readonly ? "off" : "auto");
    }
    return flag_text(false);
}

static char *
memfd_text(const struct backend_options *o, unsigned row)
{
    if (row == BACKEND_P_HUGETLBSIZE)
        return o->hugetlbsize ? size_spell(o->hugetlbsize) : g_strdup("0");
    return flag_text(row == BACKEND_P_HUGETLB ? o->hugetlb : o->seal);
}

char *
backend_options_text(const struct backend_options *o, unsigned row)
{
    if (row < BACKEND_P_OWN)
        return common_text(o, row);
    return o->kind == BACKEND_FILE ? file_text(o, row) : memfd_text(o, row);
}

/* A list as QEMU takes it too: the key once for each range. */
static void
append_option(GString *out, const struct property *p, const char *text)
{
    g_auto(GStrv) ranges = p->type == PROPERTY_LIST ? g_strsplit(text, ",", -1) : NULL;

    for (char **range = ranges; range && *range; range++)
        g_string_append_printf(out, ",%s=%s", p->name, *range);
    if (ranges)
        return;
    g_string_append_printf(out, ",%s=", p->name);
    property_append_word(out, text);
}

void
backend_options_save(const struct backend_options *o, GString *out)
{
    const struct property *table = backend_properties(o->kind);

    g_string_append(out, backend_kind_names[o->kind]);
    for (unsigned row = 0; table[row].type != PROPERTY_END; row++) {
        g_autofree char *text = backend_options_text(o, row);

        if (strcmp(text, table[row].value_default ? table[row].value_default : "") != 0)
            append_option(out, &table[row], text);
    }
}

/* --- changes ---------------------------------------------------------------------------------------------------- */

bool
backend_options_change(struct backend_options *o, const char *name, const char *text, GError **error)
{
    const struct property *table = backend_properties(o->kind);
    int row = property_find(table, name);
    struct value value = { 0 };

    if (row < 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "Property '%s.%s' not found", backend_kind_names[o->kind], name);
    if (row != BACKEND_P_MERGE && row != BACKEND_P_DUMP && row != BACKEND_P_PREALLOC)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot change property '%s' of %s '%s': only merge, dump and prealloc "
                    "can be changed (`object_del` it and add it anew)", table[row].name, backend_kind_names[o->kind],
                    o->id);
    if (!property_parse_value(&table[row], text, &value, error))
        return false;
    if (row == BACKEND_P_PREALLOC && o->prealloc && !value.flag)
        return fail(error, NUMON_ERROR_STATE,
                    "cannot change property 'prealloc' of '%s' to off: what was taken from the "
                    "host is not given back", o->id);
    if (row == BACKEND_P_PREALLOC && value.flag && !o->reserve)
        return fail(error, NUMON_ERROR_STATE, "cannot change property 'prealloc' of '%s' to on: 'prealloc=on' and "
                    "'reserve=off' are incompatible", o->id);
    *(row == BACKEND_P_MERGE ? &o->merge : row == BACKEND_P_DUMP ? &o->dump : &o->prealloc) = value.flag;
    return true;
}
