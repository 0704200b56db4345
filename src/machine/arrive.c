/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices that are added while the guest moves: what a source tells of one, and how a destination makes it.
 *
 * What travels are the two commands that give a machine the device, object_add and device_add, with slot and address.
 * A destination takes the backend that its user defined under that name, if it has the size; else it makes one of the
 * same kind, on whatever host nodes it likes.  Where the source's memory is a file, ordinary memory takes its place:
 * no peer names files here, nor host nodes.  If the guest does not come after all, what came for it goes again. */
#include "machine-private.h"

#include <string.h>

#define ADD_BACKEND "object_add "
#define ADD_DEVICE  "device_add "

/* --- source ----------------------------------------------------------------------------------------------------- */

/* Without what concerns this host alone. */
static struct backend_options
portable(const struct backend_options *o)
{
    struct backend_options p = *o;

    p.policy = HOST_POLICY_DEFAULT;
    memset(p.host_nodes, 0, sizeof p.host_nodes);
    if (p.kind != BACKEND_FILE)
        return p;
    p.kind = BACKEND_RAM;
    p.mem_path = NULL;
    p.align = p.offset = 0;
    p.readonly = p.discard_data = false;
    return p;
}

char *
machine_announce(void *self, const struct block *b, GError **error)
{
    const struct machine *m = self;
    const struct definition *d = m->coming ? m->coming : m->definition;
    const struct memory_device *device = definition_device_of_backend(d, b->options.id);
    struct backend_options o = portable(&b->options);
    GString *text;

    if (!device) {
        fail(error, NUMON_ERROR_STATE, "cannot tell a destination of '%s': it is no memory device", b->name);
        return NULL;
    }
    text = g_string_new(ADD_BACKEND);
    backend_options_save(&o, text);
    g_string_append_c(text, '\n');
    memory_device_save(device, text);
    return g_string_free(text, FALSE);
}

/* --- destination: reading --------------------------------------------------------------------------------------- */

/* The word up to the first comma as an index of 'names', and in '*ret_options' what follows; -1 if it is none. */
static int
take_kind(const char *text, const char *const *names, const char **ret_options)
{
    size_t length = strcspn(text, ",");

    *ret_options = text[length] ? text + length + 1 : "";
    for (int i = 0; names[i]; i++) {
        if (strlen(names[i]) == length && strncmp(names[i], text, length) == 0)
            return i;
    }
    return -1;
}

/* The backend of that name that is here, or a new one. */
static bool
take_backend(struct definition *d, const char *text, bool *ret_new, GError **error)
{
    const char *options;
    int kind = take_kind(text, backend_kind_names, &options);
    g_autoptr(values) v = NULL;
    struct backend_options o;
    const struct backend_options *here;

    if (kind < 0 || kind == BACKEND_FILE)
        return fail(error, NUMON_ERROR_PEER, "the source's memory backend '%.40s' cannot be made here", text);
    v = property_parse_options(backend_properties((enum backend_kind)kind), -1, options, error);
    if (!v || !backend_options_read((enum backend_kind)kind, v, &o, error))
        return false;
    if (o.policy != HOST_POLICY_DEFAULT)
        return fail(error, NUMON_ERROR_PEER, "the source announced memory backend '%s' with a place on its own host",
                    o.id);
    here = definition_backend(d, o.id);
    *ret_new = !here;
    if (!here)
        return definition_add_backend(d, (enum backend_kind)kind, v, error);
    return here->size == o.size
        || fail(error, NUMON_ERROR_PEER, "memory backend '%s' has %" G_GUINT64_FORMAT " bytes at the source and %"
                G_GUINT64_FORMAT " here", o.id, o.size, here->size);
}

static bool
take_device(struct definition *d, const char *text, GError **error)
{
    const char *options;
    int kind = take_kind(text, memory_device_names, &options);
    g_autoptr(values) v = NULL;
    const struct memory_device *device;

    if (kind < 0)
        return fail(error, NUMON_ERROR_PEER, "the source's device '%.40s' is not known here", text);
    v = property_parse_options(memory_device_properties((enum memory_device_kind)kind), -1, options, error);
    if (!v || !definition_add_device(d, (enum memory_device_kind)kind, v, error))
        return false;
    device = &g_array_index(d->devices, struct memory_device, d->devices->len - 1);
    return (device->addr && (device->slot >= 0 || !memory_device_has_slot(device->kind)))
        || fail(error, NUMON_ERROR_PEER, "the source does not say where device '%s' is", memory_device_label(device));
}

/* The definition with the device last; NULL with an error. */
static struct definition *
read_text(const struct machine *m, const char *text, bool *ret_with_backend, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 3);
    g_autoptr(definition) d = definition_copy(m->definition);

    if (g_strv_length(lines) != 2 || !g_str_has_prefix(lines[0], ADD_BACKEND)
        || !g_str_has_prefix(lines[1], ADD_DEVICE)) {
        fail(error, NUMON_ERROR_PEER, "the source got a memory device and does not say which");
        return NULL;
    }
    definition_pin_devices(d);
    if (!take_backend(d, lines[0] + strlen(ADD_BACKEND), ret_with_backend, error)
        || !take_device(d, lines[1] + strlen(ADD_DEVICE), error))
        return NULL;
    return g_steal_pointer(&d);
}

void
machine_arrive(void *self, const char *text, struct migrate_arrival *a)
{
    struct machine *m = self;
    g_autoptr(GError) error = NULL;
    g_autoptr(definition) d = NULL;
    bool with_backend = false;

    if (migrate_arrival_wanted(a))
        d = read_text(m, text, &with_backend, &error);
    if (d && machine_device_arrive(m, d, with_backend, a, &error)) {
        d = NULL;
        return;
    }
    if (!error)
        fail(&error, NUMON_ERROR_STATE, "the migration has ended");
    migrate_arrival_done(a, error);
}

/* --- destination: keeping account ------------------------------------------------------------------------------- */

struct arrival {
    char name[ID_SIZE];
    char backend[ID_SIZE];          /* that came with it; "": it was here */
};

void
machine_note_arrival(struct machine *m, const struct memory_device *device, bool with_backend)
{
    struct arrival a = { 0 };

    g_strlcpy(a.name, memory_device_label(device), sizeof a.name);
    if (with_backend)
        g_strlcpy(a.backend, device->memdev, sizeof a.backend);
    if (!m->arrivals)
        m->arrivals = g_array_new(FALSE, FALSE, sizeof(struct arrival));
    g_array_append_val(m->arrivals, a);
}

/* Whoever works on their memory ends with a call of this. */
void
machine_settle_arrivals(struct machine *m)
{
    machine_settle_ejections(m);
    if (!m->arrivals || machine_arriving(m) || m->populating || m->plug_waits || m->measurements || m->dirtyings)
        return;
    for (unsigned i = m->arrivals->len; !atomic_load(&m->arrived) && m->parts && i-- > 0;) {
        const struct arrival *a = &g_array_index(m->arrivals, struct arrival, i);

        g_autofree char *text = g_strdup_printf("memory device '%s' deleted: its guest did not come", a->name);

        if (machine_take_device(m, a->name, *a->backend ? a->backend : NULL, NULL))
            machine_tell(m, text);
    }
    g_clear_pointer(&m->arrivals, g_array_unref);
}
