/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `object_add` and `object_del`: the list of memory backends, by id. */
#include "config.h"

#include <string.h>

#include "config-private.h"

static const struct backend_options *
backend_at(const struct definition *d, guint i)
{
    return &((const struct backend_options *)d->backends->data)[i];
}

const struct backend_options *
definition_backend(const struct definition *d, const char *id)
{
    for (guint i = 0; i < d->backends->len; i++) {
        if (strcmp(backend_at(d, i)->id, id) == 0)
            return backend_at(d, i);
    }
    return NULL;
}

int
definition_backend_user(const struct definition *d, const char *id)
{
    const struct topology *t = &d->topology;

    for (unsigned i = 0; i < t->node_count; i++) {
        if (strcmp(t->nodes[t->node_order[i]].memdev, id) == 0)
            return t->node_order[i];
    }
    return -1;
}

static bool
backend_size(const void *self, const char *id, uint64_t *ret_bytes)
{
    const struct backend_options *o = definition_backend(self, id);

    if (o)
        *ret_bytes = o->size;
    return o != NULL;
}

struct backend_lookup
definition_backends(const struct definition *d)
{
    return (struct backend_lookup) { .size = backend_size, .self = d };
}

bool
definition_add_backend(struct definition *d, enum backend_kind kind, const struct values *v, GError **error)
{
    struct backend_options o;

    if (!backend_options_read(kind, v, &o, error))
        return false;
    if (definition_backend(d, o.id))
        return fail(error, NUMON_ERROR_STATE, "Duplicate ID '%s' for object", o.id);
    if (strcmp(o.id, RAM_BLOCK) == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "the id '" RAM_BLOCK "' is that of RAM without backends");
    if (o.size > RAM_MAX) {
        g_autofree char *size = size_format(o.size), *most = size_format(RAM_MAX);
        return fail(error, NUMON_ERROR_LIMIT, "cannot make backend '%s' of %s: at most %s", o.id, size, most);
    }
    g_array_append_val(d->backends, o);
    return true;
}

bool
definition_backend_changed(const struct definition *d, const char *id, const char *property, const char *text,
                           struct backend_options *ret, GError **error)
{
    const struct backend_options *now = definition_backend(d, id);
    const struct memory_device *device = definition_device_of_backend(d, id);
    struct backend_options changed;

    if (!now)
        return fail(error, NUMON_ERROR_ARGUMENT, "object '%s' not found", id);
    changed = *now;
    if (!backend_options_change(&changed, property, text, error) ||
        (device && !memory_device_check_sizes(device, &changed, error)))
        return false;
    *ret = changed;
    return true;
}

void
definition_change_backend(struct definition *d, const struct backend_options *o)
{
    const struct backend_options *old = definition_backend(d, o->id);

    g_assert(old);
    ((struct backend_options *)d->backends->data)[old - backend_at(d, 0)] = *o;
}

bool
definition_delete_backend(struct definition *d, const char *id, GError **error)
{
    const struct backend_options *o = definition_backend(d, id);
    int user = definition_backend_user(d, id);

    if (!o)
        return fail(error, NUMON_ERROR_ARGUMENT, "object '%s' not found", id);
    if (user >= 0)
        return fail(error, NUMON_ERROR_STATE, "object '%s' is in use, can not be deleted: it is the memory of node "
                    "%d", id, user);
    if (definition_device_of_backend(d, id))
        return fail(error, NUMON_ERROR_STATE, "object '%s' is in use, can not be deleted: it is the memory of device "
                    "'%s'", id, memory_device_label(definition_device_of_backend(d, id)));
    g_array_remove_index(d->backends, (guint)(o - backend_at(d, 0)));
    return true;
}

void
backend_save(const struct backend_options *o, GString *out)
{
    g_string_append(out, "object_add ");
    backend_options_save(o, out);
}
