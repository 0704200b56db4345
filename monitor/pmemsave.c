/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `pmemsave`, `memsave`: guest memory to a file.  Main copies a piece out of guest memory, a job writes it to the
 * file, main copies the next: a slow disk stops no one, and a machine that is torn down meanwhile is noticed before
 * the next piece is read. */
#include "monitor-private.h"

enum {
    PIECE_SIZE = 4 << 20,
    VIRTUAL_PIECE_SIZE = 128 << 10,     /* each page holds the guest for a moment, to be translated */
};

enum { PMEMSAVE_ADDR, PMEMSAVE_SIZE, PMEMSAVE_FILE };
const struct property pmemsave_args[] = {
    [PMEMSAVE_ADDR] = { "addr", PROPERTY_SIZE, .required = true, .unit = "bytes",
                        .help = "guest physical address of the first byte" },
    [PMEMSAVE_SIZE] = { "size", PROPERTY_SIZE, .min = 1, .required = true, .unit = "bytes", .help = "how much" },
    [PMEMSAVE_FILE] = { "file", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                        .help = "file to write; it appears when it is complete" },
    { 0 }
};

const struct property memsave_args[] = {
    [PMEMSAVE_ADDR] = { "addr", PROPERTY_SIZE, .required = true, .unit = "bytes",
                        .help = "guest virtual address of the first byte" },
    [PMEMSAVE_SIZE] = { "size", PROPERTY_SIZE, .min = 1, .required = true, .unit = "bytes", .help = "how much" },
    [PMEMSAVE_FILE] = { "file", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                        .help = "file to write; it appears when it is complete" },
    { 0 }
};

struct pmemsave {
    struct monitor *monitor;
    struct call *call;              /* NULL once detached */
    struct outfile *file;
    uint8_t *piece;
    bool is_virtual;
    unsigned cpu;                   /* whose addresses */
    uint64_t at, left;              /* address of what is not read yet, bytes */
    size_t piece_size;              /* bytes in 'piece', the job's */
    GError *error;                  /* the job's, then main's */
};

static void
pmemsave_free(struct pmemsave *p)
{
    outfile_abandon(p->file);
    g_free(p->piece);
    g_clear_error(&p->error);
    g_free(p);
}

static void
pmemsave_forget_call(void *data)
{
    struct pmemsave *p = data;

    p->call = NULL;
}

/* The first address in the range that is no RAM; false if all of it is. */
static bool
find_hole(const struct guest_map *map, uint64_t gpa, uint64_t size, uint64_t *ret)
{
    uint64_t end = gpa + size;

    while (gpa < end) {
        const struct section *s = guest_map_find(map, gpa);

        if (!s) {
            *ret = gpa;
            return true;
        }
        gpa = s->gpa + s->size;
    }
    return false;
}

static bool
check_range(const struct guest_map *map, uint64_t gpa, uint64_t size, GError **error)
{
    uint64_t hole;

    if (size > UINT64_MAX - gpa)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot save %" G_GUINT64_FORMAT " bytes from 0x%" G_GINT64_MODIFIER
                    "x: they reach beyond the end of the address space", size, gpa);
    if (!find_hole(map, gpa, size, &hole))
        return true;
    return fail(error, NUMON_ERROR_ARGUMENT, "cannot save %" G_GUINT64_FORMAT " bytes from 0x%" G_GINT64_MODIFIER
                "x: there is no RAM at 0x%" G_GINT64_MODIFIER "x", size, gpa, hole);
}

static void
write_piece(struct job *job, void *data)
{
    struct pmemsave *p = data;

    if (p->piece_size)
        outfile_write(p->file, p->piece, p->piece_size, &p->error);
    else
        outfile_commit(g_steal_pointer(&p->file), &p->error);
}

/* Page by page, as neighbours among virtual addresses need not be among physical ones. */
static bool
read_virtual(struct pmemsave *p, const struct guest_map *map, GError **error)
{
    for (uint64_t done = 0, here; done < p->piece_size; done += here) {
        uint64_t address = p->at + done, gpa;

        here = MIN(p->piece_size - done, PAGE_SIZE - address % PAGE_SIZE);
        if (!machine_translate(p->monitor->machine, p->cpu, address, &gpa, error)) {
            g_prefix_error(error, "cannot save the memory: ");
            return false;
        }
        if (!guest_map_read(map, gpa, p->piece + done, here))
            return fail(error, NUMON_ERROR_ARGUMENT, "cannot save the memory: guest virtual 0x%" G_GINT64_MODIFIER
                        "x is physical 0x%" G_GINT64_MODIFIER "x, which is no RAM", address, gpa);
    }
    return true;
}

static bool
read_piece(struct pmemsave *p, GError **error)
{
    const struct guest_map *map = machine_map(p->monitor->machine);
    g_autofree char *lost = NULL;

    p->piece_size = MIN(p->left, p->is_virtual ? VIRTUAL_PIECE_SIZE : PIECE_SIZE);
    if (p->piece_size && map && p->is_virtual && !read_virtual(p, map, error))
        return false;
    if (p->piece_size && (!map || (!p->is_virtual && !guest_map_read(map, p->at, p->piece, p->piece_size))))
        return fail(error, NUMON_ERROR_STATE, "cannot save the memory to its end: the machine was torn down");
    lost = p->piece_size ? guest_map_lost(map) : NULL;
    if (lost)
        return fail(error, NUMON_ERROR_HOST, "cannot save the memory: %s", lost);
    p->at += p->piece_size;
    p->left -= p->piece_size;
    return true;
}

static void
finish(struct pmemsave *p)
{
    struct call *call = p->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        call_finish(call, p->error);
    }
    pmemsave_free(p);
}

/* On main: the last piece has been written, the empty one puts the file in place. */
static void
piece_written(struct job *job, void *data)
{
    struct pmemsave *p = data;
    bool complete = p->piece_size == 0;

    if (!p->call || p->error || complete || !read_piece(p, &p->error))
        finish(p);
    else
        job_start(p->monitor->jobs, write_piece, piece_written, p);
}

static enum outcome
begin(struct call *call, bool is_virtual, GError **error)
{
    const struct value *at = call->args->at;
    struct pmemsave *p = g_new0(struct pmemsave, 1);

    *p = (struct pmemsave) {
        .monitor = call->monitor, .call = call, .is_virtual = is_virtual, .cpu = monitor_cpu(call->monitor),
        .at = at[PMEMSAVE_ADDR].number, .left = at[PMEMSAVE_SIZE].number,
    };
    p->file = outfile_open(at[PMEMSAVE_FILE].word, error);
    if (!p->file) {
        pmemsave_free(p);
        return COMMAND_FAILED;
    }
    p->piece = g_malloc(PIECE_SIZE);
    if (!read_piece(p, error)) {
        pmemsave_free(p);
        return COMMAND_FAILED;
    }
    call->data = p;
    call->data_free = pmemsave_forget_call;
    job_start(p->monitor->jobs, write_piece, piece_written, p);
    return COMMAND_PENDING;
}

enum outcome
pmemsave_run(struct call *call, GError **error)
{
    const struct value *at = call->args->at;

    if (!check_range(machine_map(call->monitor->machine), at[PMEMSAVE_ADDR].number, at[PMEMSAVE_SIZE].number, error))
        return COMMAND_FAILED;
    return begin(call, false, error);
}

enum outcome
memsave_run(struct call *call, GError **error)
{
    const struct value *at = call->args->at;

    if (at[PMEMSAVE_SIZE].number - 1 > UINT64_MAX - at[PMEMSAVE_ADDR].number) {
        fail(error, NUMON_ERROR_ARGUMENT, "cannot save %" G_GUINT64_FORMAT " bytes from 0x%" G_GINT64_MODIFIER
             "x: they reach beyond the end of the address space", at[PMEMSAVE_SIZE].number, at[PMEMSAVE_ADDR].number);
        return COMMAND_FAILED;
    }
    return begin(call, true, error);
}

void
pmemsave_detach(struct call *call)
{
    const struct pmemsave *p = call->data;

    if (p->piece_size)
        call_print(call, "nothing was saved\n");
}
