/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory backends as the user defines them: one option table a kind, and the rules that a table cannot hold.  The
 * rows are the same in both, so that one enum indexes either. */
#include "memory.h"

#include <string.h>

const char *const backend_kind_names[] = {
    [BACKEND_RAM] = "memory-backend-ram",
    [BACKEND_MEMFD] = "memory-backend-memfd",
    [BACKEND_KINDS] = NULL,
};

#define BACKEND_ROWS(share_default)                                                                                  \
    [BACKEND_P_ID] = { "id", PROPERTY_ID, .required = true, .help = "name by which nodes refer to it" },             \
    [BACKEND_P_SIZE] = { "size", PROPERTY_SIZE, .unit = "bytes", .required = true,                                   \
                         .help = "how much memory, a multiple of 4 KiB" },                                           \
    [BACKEND_P_SHARE] = { "share", PROPERTY_BOOL, .value_default = (share_default),                                  \
                          .help = "map it so that other processes can share it" },                                   \
    [BACKEND_P_PREALLOC] = { "prealloc", PROPERTY_BOOL, .value_default = "off",                                      \
                             .help = "take all of it from the host before the guest starts" },                       \
    [BACKEND_P_MERGE] = { "merge", PROPERTY_BOOL, .value_default = "on",                                             \
                          .help = "let the host merge equal pages" },                                                \
    [BACKEND_P_DUMP] = { "dump", PROPERTY_BOOL, .value_default = "on",                                               \
                         .help = "include it in core dumps" },                                                       \
    { 0 }

const struct property backend_ram_properties[] = { BACKEND_ROWS("off") };
const struct property backend_memfd_properties[] = { BACKEND_ROWS("on") };

static bool
check_size(const char *id, uint64_t size, GError **error)
{
    if (size == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "property 'size' of backend '%s' doesn't take value '0'", id);
    if (size % PAGE_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot make backend '%s' of %" G_GUINT64_FORMAT " bytes: the size must be a multiple of 4 KiB",
                    id, size);
    return true;
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
    };

    g_strlcpy(o.id, v->at[BACKEND_P_ID].word, sizeof o.id);
    if (!check_size(o.id, o.size, error))
        return false;
    *ret = o;
    return true;
}

void
backend_options_init_default(struct backend_options *o, const char *id, uint64_t size)
{
    *o = (struct backend_options) { .kind = BACKEND_RAM, .size = size, .merge = true, .dump = true };
    g_strlcpy(o->id, id, sizeof o->id);
}
