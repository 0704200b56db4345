/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices as the user defines them: pc-dimm, nvdimm, virtio-pmem, virtio-mem, each memory of one backend that
 * is not there when the guest starts, or may go.  One option table a kind, and the rules that a table cannot hold. */
#include "memory.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK_SIZE_LEAST (2 * MIB)      /* a transparent huge page */
#define LABEL_SIZE_LEAST (128 * KIB)    /* NVDIMM Namespace Specification, "Label Storage Area" */

const char *const memory_device_names[] = {
    [DEVICE_DIMM] = "pc-dimm", [DEVICE_NVDIMM] = "nvdimm", [DEVICE_VIRTIO_PMEM] = "virtio-pmem",
    [DEVICE_VIRTIO_MEM] = "virtio-mem", [MEMORY_DEVICE_KINDS] = NULL,
};

static const char *const any_slot[] = { "-1", NULL };
static const char *const inaccessible_names[] = { "on", "off", "auto", NULL };

#define DEVICE_ROWS                                                                                                  \
    [DEVICE_P_ID] = { "id", PROPERTY_ID, .help = "name by which it can be deleted" },                                \
    [DEVICE_P_MEMDEV] = { "memdev", PROPERTY_ID, .complete = COMPLETE_FREE_BACKEND,                                  \
                          .help = "memory backend that it is made of; required" }

#define ADDRESS_ROW(key)                                                                                             \
    { key, PROPERTY_UINT, .max = UINT64_MAX, .value_default = "0",                                                   \
      .help = "guest physical address; 0: the first that fits" }

#define NODE_ROW                                                                                                     \
    { "node", PROPERTY_UINT, .max = UINT32_MAX, .value_default = "0", .complete = COMPLETE_NODE,                     \
      .help = "node that it is in" }

#define SLOT_ROWS                                                                                                    \
    DEVICE_ROWS,                                                                                                     \
    [DIMM_P_NODE] = NODE_ROW,                                                                                        \
    [DIMM_P_SLOT] = { "slot", PROPERTY_UINT, .max = INT32_MAX, .choices = any_slot, .value_default = "-1",           \
                      .help = "memory slot; -1: the first that is free" },                                           \
    [DIMM_P_ADDR] = ADDRESS_ROW("addr")

const struct property dimm_properties[] = {
    SLOT_ROWS,
    { 0 }
};

const struct property nvdimm_properties[] = {
    SLOT_ROWS,
    [NVDIMM_P_LABEL_SIZE] = { "label-size", PROPERTY_SIZE, .unit = "bytes", .value_default = "0",
                              .help = "taken from the end of its memory for labels, at least 128K; 0: none" },
    [NVDIMM_P_UNARMED] = { "unarmed", PROPERTY_BOOL, .value_default = "off",
                           .help = "it cannot promise that what is written persists" },
    [NVDIMM_P_UUID] = { "uuid", PROPERTY_WORD, .help = "by which its labels know it" },
    { 0 }
};

const struct property virtio_pmem_properties[] = {
    DEVICE_ROWS,
    [PMEM_P_MEMADDR] = ADDRESS_ROW("memaddr"),
    { 0 }
};

const struct property virtio_mem_properties[] = {
    DEVICE_ROWS,
    [VIRTIO_MEM_P_NODE] = NODE_ROW,
    [VIRTIO_MEM_P_MEMADDR] = ADDRESS_ROW("memaddr"),
    [VIRTIO_MEM_P_BLOCK_SIZE] = { "block-size", PROPERTY_SIZE, .unit = "bytes", .value_default = "2M",
                                  .help = "what comes and goes at once, a power of two" },
    [VIRTIO_MEM_P_REQUESTED_SIZE] = { "requested-size", PROPERTY_SIZE, .unit = "bytes", .value_default = "0",
                                      .help = "how much of it is plugged, a multiple of block-size" },
    [VIRTIO_MEM_P_PREALLOC] = { "prealloc", PROPERTY_BOOL, .value_default = "off",
                                .help = "take what is plugged from the host at once" },
    [VIRTIO_MEM_P_UNPLUGGED_INACCESSIBLE] = { "unplugged-inaccessible", PROPERTY_CHOICE,
                                              .choices = inaccessible_names,
                                              .value_default = "on",
                                              .help = "the guest must not touch what is not plugged, off: it may "
                                                      "read" },
    [VIRTIO_MEM_P_DYNAMIC_MEMSLOTS] = { "dynamic-memslots", PROPERTY_BOOL, .value_default = "off",
                                        .help = "only off: one slot of the accelerator has all of it" },
    [VIRTIO_MEM_P_EARLY_MIGRATION] = { "x-early-migration", PROPERTY_BOOL, .value_default = "on",
                                       .help = "only on: how much is plugged travels before the pages" },
    { 0 }
};

const struct property *
memory_device_properties(enum memory_device_kind kind)
{
    static const struct property *const tables[MEMORY_DEVICE_KINDS] = {
        [DEVICE_DIMM] = dimm_properties, [DEVICE_NVDIMM] = nvdimm_properties,
        [DEVICE_VIRTIO_PMEM] = virtio_pmem_properties, [DEVICE_VIRTIO_MEM] = virtio_mem_properties,
    };

    return tables[kind];
}

bool
memory_device_has_slot(enum memory_device_kind kind)
{
    return kind == DEVICE_DIMM || kind == DEVICE_NVDIMM;
}

const char *
memory_device_label(const struct memory_device *d)
{
    return *d->id ? d->id : d->memdev;
}

static bool
read_slotted(const struct value *at, struct memory_device *d, GError **error)
{
    d->node = (unsigned)at[DIMM_P_NODE].number;
    d->slot = at[DIMM_P_SLOT].word ? -1 : (int)at[DIMM_P_SLOT].number;
    d->addr = at[DIMM_P_ADDR].number;
    if (d->kind != DEVICE_NVDIMM)
        return true;
    d->label_size = at[NVDIMM_P_LABEL_SIZE].number;
    d->unarmed = at[NVDIMM_P_UNARMED].flag;
    if (d->label_size && d->label_size < LABEL_SIZE_LEAST)
        return fail(error, NUMON_ERROR_ARGUMENT, "Property 'nvdimm.label-size' (0x%" PRIx64 ") is required to be at "
                    "least 0x%" PRIx64, d->label_size, LABEL_SIZE_LEAST);
    if (at[NVDIMM_P_UUID].set && !g_uuid_string_is_valid(at[NVDIMM_P_UUID].word))
        return fail(error, NUMON_ERROR_ARGUMENT, "Property 'nvdimm.uuid' is no UUID: '%s'", at[NVDIMM_P_UUID].word);
    for (size_t i = 0; at[NVDIMM_P_UUID].set && at[NVDIMM_P_UUID].word[i]; i++)
        d->uuid[i] = g_ascii_tolower(at[NVDIMM_P_UUID].word[i]);
    return true;
}

static bool
read_virtio_mem(const struct value *at, struct memory_device *d, GError **error)
{
    d->node = (unsigned)at[VIRTIO_MEM_P_NODE].number;
    d->addr = at[VIRTIO_MEM_P_MEMADDR].number;
    d->block_size = at[VIRTIO_MEM_P_BLOCK_SIZE].number;
    d->requested_size = at[VIRTIO_MEM_P_REQUESTED_SIZE].number;
    d->prealloc = at[VIRTIO_MEM_P_PREALLOC].flag;
    d->inaccessible = (enum unplugged_inaccessible)at[VIRTIO_MEM_P_UNPLUGGED_INACCESSIBLE].number;
    if (at[VIRTIO_MEM_P_DYNAMIC_MEMSLOTS].flag)
        return fail(error, NUMON_ERROR_ARGUMENT, "'dynamic-memslots' cannot be on: one slot of the accelerator has "
                    "all of a virtio-mem from the start");
    if (!at[VIRTIO_MEM_P_EARLY_MIGRATION].flag)
        return fail(error, NUMON_ERROR_ARGUMENT, "'x-early-migration' cannot be off: how much of a virtio-mem is "
                    "plugged is told before its pages are sent");
    return true;
}

static bool
read_own(const struct values *v, struct memory_device *d, GError **error)
{
    if (memory_device_has_slot(d->kind))
        return read_slotted(v->at, d, error);
    if (d->kind == DEVICE_VIRTIO_MEM)
        return read_virtio_mem(v->at, d, error);
    d->addr = v->at[PMEM_P_MEMADDR].number;
    return true;
}

bool
memory_device_read(enum memory_device_kind kind, const struct values *v, struct memory_device *ret, GError **error)
{
    struct memory_device d = { .kind = kind, .slot = -1 };

    if (!v->at[DEVICE_P_MEMDEV].set)
        return fail(error, NUMON_ERROR_ARGUMENT, "'memdev' property is not set: a %s is made of a memory backend "
                    "(object_add)", memory_device_names[kind]);
    g_strlcpy(d.memdev, v->at[DEVICE_P_MEMDEV].word, sizeof d.memdev);
    if (v->at[DEVICE_P_ID].set)
        g_strlcpy(d.id, v->at[DEVICE_P_ID].word, sizeof d.id);
    if (!read_own(v, &d, error))
        return false;
    *ret = d;
    return true;
}

uint64_t
memory_device_size(const struct memory_device *d, const struct backend_options *backend, uint64_t page)
{
    return (backend->size - MIN(d->label_size, backend->size)) / page * page;
}

static bool
check_nvdimm(const struct memory_device *d, const struct backend_options *backend, GError **error)
{
    uint64_t page = PAGE_SIZE;

    if (!backend_page_size(backend, &page, error))
        return false;
    return memory_device_size(d, backend, page) > 0 ||
           fail(error, NUMON_ERROR_ARGUMENT, "the size of memdev %s (0x%" PRIx64 ") is too small to contain nvdimm "
                "label (0x%" PRIx64 ") and aligned PMEM (0x%" PRIx64 ")", backend->id, backend->size, d->label_size,
                page);
}

bool
memory_device_check_sizes(const struct memory_device *d, const struct backend_options *backend, GError **error)
{
    uint64_t page = PAGE_SIZE, block = d->block_size, least;

    if (d->kind == DEVICE_NVDIMM)
        return check_nvdimm(d, backend, error);
    if (d->kind != DEVICE_VIRTIO_MEM)
        return true;
    if (!backend_page_size(backend, &page, error))
        return false;
    least = MAX(page, BLOCK_SIZE_LEAST);
    if (backend->prealloc)
        return fail(error, NUMON_ERROR_ARGUMENT, "'memdev' property specifies a memdev with preallocation enabled: "
                    "%s",
                    backend->id);
    if (block == 0 || block & (block - 1))
        return fail(error, NUMON_ERROR_ARGUMENT, "'block-size' property has to be a power of two, not 0x%" PRIx64,
                    block);
    if (block < least)
        return fail(error, NUMON_ERROR_ARGUMENT, "'block-size' property has to be at least 0x%" PRIx64 ", not "
                    "0x%" PRIx64,
                    least, block);
    if (backend->size % block)
        return fail(error, NUMON_ERROR_ARGUMENT, "'memdev' property size, 0x%" PRIx64 ", must be multiples of "
                    "'block-size' (0x%" PRIx64 ")", backend->size, block);
    if (d->requested_size % block)
        return fail(error, NUMON_ERROR_ARGUMENT, "'requested-size' property, 0x%" PRIx64 ", must be multiples of "
                    "'block-size' (0x%" PRIx64 ")", d->requested_size, block);
    if (d->requested_size > backend->size)
        return fail(error, NUMON_ERROR_ARGUMENT, "'requested-size' cannot exceed the memory backend size: 0x%" PRIx64
                    " of 0x%" PRIx64, d->requested_size, backend->size);
    return true;
}

/* What only one kind has. */
static void
save_particulars(const struct memory_device *d, GString *out)
{
    g_autofree char *label = size_spell(d->label_size);

    if (d->label_size)
        g_string_append_printf(out, ",label-size=%s", label);
    if (d->unarmed)
        g_string_append(out, ",unarmed=on");
    if (*d->uuid)
        g_string_append_printf(out, ",uuid=%s", d->uuid);
    if (d->prealloc)
        g_string_append(out, ",prealloc=on");
    if (d->inaccessible != INACCESSIBLE_ON)
        g_string_append_printf(out, ",unplugged-inaccessible=%s", inaccessible_names[d->inaccessible]);
}

bool
memory_device_equal(const struct memory_device *a, const struct memory_device *b)
{
    return a->kind == b->kind && strcmp(a->id, b->id) == 0 && strcmp(a->memdev, b->memdev) == 0 && a->node == b->node
        && a->slot == b->slot && a->addr == b->addr && a->block_size == b->block_size
        && a->requested_size == b->requested_size && a->label_size == b->label_size && a->unarmed == b->unarmed
        && strcmp(a->uuid, b->uuid) == 0 && a->prealloc == b->prealloc && a->inaccessible == b->inaccessible;
}

void
memory_device_describe(const struct memory_device *d, GString *out)
{
    if (d->kind == DEVICE_NVDIMM)
        g_string_append_printf(out, ", label size %" PRIu64 "%s%s%s", d->label_size, d->unarmed ? ", unarmed" : "",
                               *d->uuid ? ", uuid " : "", d->uuid);
    if (d->kind == DEVICE_VIRTIO_MEM)
        g_string_append_printf(out, ", unplugged memory is %s", d->inaccessible == INACCESSIBLE_OFF ? "readable"
                                                                                                   : "inaccessible");
}

void
memory_device_save(const struct memory_device *d, GString *out)
{
    const struct property *table = memory_device_properties(d->kind);
    g_autofree char *block = size_spell(d->block_size), *requested = size_spell(d->requested_size);

    g_string_append_printf(out, "device_add %s", memory_device_names[d->kind]);
    if (*d->id)
        g_string_append_printf(out, ",id=%s", d->id);
    g_string_append_printf(out, ",memdev=%s", d->memdev);
    if (d->node)
        g_string_append_printf(out, ",node=%u", d->node);
    if (d->slot >= 0)
        g_string_append_printf(out, ",slot=%d", d->slot);
    if (d->addr)
        g_string_append_printf(out, ",%s=0x%" PRIx64, memory_device_has_slot(d->kind) ? "addr" : "memaddr", d->addr);
    if (table == virtio_mem_properties && d->block_size != BLOCK_SIZE_LEAST)
        g_string_append_printf(out, ",block-size=%s", block);
    if (d->requested_size)
        g_string_append_printf(out, ",requested-size=%s", requested);
    save_particulars(d, out);
}
