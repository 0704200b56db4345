/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices as the user defines them: pc-dimm, nvdimm, virtio-pmem, virtio-mem, each memory of one backend that
 * is not there when the guest starts, or may go.  One option table a kind, and the rules that a table cannot hold. */
#include "memory.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK_SIZE_LEAST (2 * MIB)      /* a transparent huge page */

const char *const memory_device_names[] = {
    [DEVICE_DIMM] = "pc-dimm", [DEVICE_NVDIMM] = "nvdimm", [DEVICE_VIRTIO_PMEM] = "virtio-pmem",
    [DEVICE_VIRTIO_MEM] = "virtio-mem", [MEMORY_DEVICE_KINDS] = NULL,
};

static const char *const any_slot[] = { "-1", NULL };

#define DEVICE_ROWS                                                                                                  \
    [DEVICE_P_ID] = { "id", PROPERTY_ID, .help = "name by which it can be deleted" },                                \
    [DEVICE_P_MEMDEV] = { "memdev", PROPERTY_ID, .complete = COMPLETE_FREE_BACKEND,                                  \
                          .help = "memory backend that it is made of; required" }

#define ADDRESS_ROW(key)                                                                                             \
    { key, PROPERTY_UINT, .max = UINT64_MAX, .value_default = "0", .help = "guest physical address; 0: the first that fits" }

#define NODE_ROW                                                                                                     \
    { "node", PROPERTY_UINT, .max = UINT32_MAX, .value_default = "0", .complete = COMPLETE_NODE, .help = "node that it is in" }

const struct property dimm_properties[] = {
    DEVICE_ROWS,
    [DIMM_P_NODE] = NODE_ROW,
    [DIMM_P_SLOT] = { "slot", PROPERTY_UINT, .max = INT32_MAX, .choices = any_slot, .value_default = "-1",
                      .help = "memory slot; -1: the first that is free" },
    [DIMM_P_ADDR] = ADDRESS_ROW("addr"),
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
    { 0 }
};

const struct property *
memory_device_properties(enum memory_device_kind kind)
{
    return kind == DEVICE_VIRTIO_MEM ? virtio_mem_properties : kind == DEVICE_VIRTIO_PMEM ? virtio_pmem_properties
                                                                                          : dimm_properties;
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

static void
read_own(const struct values *v, struct memory_device *d)
{
    const struct value *at = v->at;

    if (memory_device_has_slot(d->kind)) {
        d->node = (unsigned)at[DIMM_P_NODE].number;
        d->slot = at[DIMM_P_SLOT].word ? -1 : (int)at[DIMM_P_SLOT].number;
        d->addr = at[DIMM_P_ADDR].number;
    } else if (d->kind == DEVICE_VIRTIO_PMEM) {
        d->addr = at[PMEM_P_MEMADDR].number;
    } else {
        d->node = (unsigned)at[VIRTIO_MEM_P_NODE].number;
        d->addr = at[VIRTIO_MEM_P_MEMADDR].number;
        d->block_size = at[VIRTIO_MEM_P_BLOCK_SIZE].number;
        d->requested_size = at[VIRTIO_MEM_P_REQUESTED_SIZE].number;
    }
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
    read_own(v, &d);
    *ret = d;
    return true;
}

bool
memory_device_check_sizes(const struct memory_device *d, const struct backend_options *backend, GError **error)
{
    uint64_t page = PAGE_SIZE, block = d->block_size, least;

    if (d->kind != DEVICE_VIRTIO_MEM)
        return true;
    if (!backend_page_size(backend, &page, error))
        return false;
    least = MAX(page, BLOCK_SIZE_LEAST);
    if (backend->prealloc)
        return fail(error, NUMON_ERROR_ARGUMENT, "'memdev' property specifies a memdev with preallocation enabled: %s",
                    backend->id);
    if (block == 0 || block & (block - 1))
        return fail(error, NUMON_ERROR_ARGUMENT, "'block-size' property has to be a power of two, not 0x%" PRIx64, block);
    if (block < least)
        return fail(error, NUMON_ERROR_ARGUMENT, "'block-size' property has to be at least 0x%" PRIx64 ", not 0x%" PRIx64,
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
}
