/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info acpi`, `acpi_dump`: the tables that the guest has or, in preconfig, would be given.  They are a few and some
 * hundred KiB at most; main takes a copy, and a job writes the files, which a disk may keep waiting. */
#include <string.h>

#include "acpi.h"

/* As people name them too. */
static const char *const table_names[] = { "RSDP", "XSDT", "FACP", "DSDT", "APIC", "SRAT", "SLIT", "HMAT", NULL };
static const struct { const char *also, *signature; } other_names[] = { { "FADT", "FACP" }, { "MADT", "APIC" } };

enum { ACPI_P_TABLE };
static const struct property acpi_args[] = {
    [ACPI_P_TABLE] = { "table", PROPERTY_WORD, .choices = table_names,
                       .help = "its signature, or FADT or MADT; not given: the list" },
    { 0 }
};

/* --- info acpi -------------------------------------------------------------------------------------------------- */

/* The signature, and a number from 1 on where several tables have it: as Linux names its files of them.  Caller
 * frees. */
static char *
table_label(const GPtrArray *tables, unsigned at)
{
    const struct acpi_table *one = tables->pdata[at];
    unsigned count = 0, number = 0;

    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];
        bool same = strcmp(t->signature, one->signature) == 0;

        count += same;
        number += same && i <= at;
    }
    return count > 1 ? g_strdup_printf("%s%u", one->signature, number) : g_strdup(one->signature);
}

static const struct acpi_table *
find_table(const GPtrArray *tables, const char *name, GError **error)
{
    g_autoptr(GString) there = g_string_new(NULL);
    const char *signature = name;

    for (unsigned i = 0; i < G_N_ELEMENTS(other_names); i++)
        if (g_ascii_strcasecmp(name, other_names[i].also) == 0)
            signature = other_names[i].signature;
    for (unsigned i = 0; i < tables->len; i++) {
        g_autofree char *label = table_label(tables, i);
        const struct acpi_table *t = tables->pdata[i];

        /* The signature alone is the first of several. */
        if (g_ascii_strcasecmp(t->signature, signature) == 0 || g_ascii_strcasecmp(label, signature) == 0)
            return t;
        g_string_append_printf(there, "%s%s", i ? ", " : "", label);
    }
    fail(error, NUMON_ERROR_ARGUMENT, "there is no ACPI table '%s': the guest is given %s", name, there->str);
    return NULL;
}

static GVariant *
acpi_get(struct monitor *m, const struct values *args, GError **error)
{
    g_autoptr(GPtrArray) tables = machine_acpi(m->machine, error);
    const char *name = args->at[ACPI_P_TABLE].set ? args->at[ACPI_P_TABLE].word : NULL;
    const struct acpi_table *one;
    GVariantBuilder list;

    if (!tables)
        return NULL;
    if (name) {
        one = find_table(tables, name, error);
        return one ? acpi_decode(one) : NULL;
    }
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < tables->len; i++)
        g_variant_builder_add_value(&list, acpi_summarize(tables->pdata[i]));
    return g_variant_builder_end(&list);
}

static void
acpi_show(GVariant *tree, GString *out)
{
    if (g_variant_is_of_type(tree, G_VARIANT_TYPE_VARDICT)) {
        acpi_print(tree, out);
        return;
    }
    for (gsize i = 0; i < g_variant_n_children(tree); i++) {
        g_autoptr(GVariant) table = g_variant_get_child_value(tree, i);

        acpi_print_summary(table, out);
    }
}

const struct info_item info_acpi_items[] = {
    { "acpi", "show the ACPI tables that the guest is given", WHEN_ALWAYS, acpi_args, acpi_get, acpi_show },
    { 0 }
};

/* --- acpi_dump -------------------------------------------------------------------------------------------------- */

enum { DUMP_P_DIR };
const struct property acpi_dump_args[] = {
    [DUMP_P_DIR] = { "dir", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                     .help = "a folder that exists; facp.dat and others in it are replaced" },
    { 0 }
};

struct acpi_dump {
    struct call *call;              /* NULL once detached */
    GPtrArray *tables;
    char *folder;
    GString *written;               /* names of the files, the job's until it is done */
    GError *error;
};

static void
dump_forget_call(void *data)
{
    ((struct acpi_dump *)data)->call = NULL;
}

static bool
write_table(const char *path, const GByteArray *bytes, GError **error)
{
    struct outfile *f = outfile_open(path, error);

    if (!f)
        return false;
    if (outfile_write(f, bytes->data, bytes->len, error))
        return outfile_commit(f, error);
    outfile_abandon(f);
    return false;
}

static void
write_tables(struct job *job, void *data)
{
    struct acpi_dump *d = data;

    for (unsigned i = 0; i < d->tables->len; i++) {
        const struct acpi_table *t = d->tables->pdata[i];
        g_autofree char *label = table_label(d->tables, i), *lower = g_ascii_strdown(label, -1);
        g_autofree char *name = g_strconcat(lower, ".dat", NULL);
        g_autofree char *path = g_build_filename(d->folder, name, NULL);

        if (!write_table(path, t->bytes, &d->error))
            return;
        g_string_append_printf(d->written, "%s%s", i ? " " : "", name);
    }
}

static void
tables_written(struct job *job, void *data)
{
    struct acpi_dump *d = data;
    struct call *call = d->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        if (!d->error && d->written->len)
            call_print(call, "%s\n", d->written->str);
        call_finish(call, d->error);
    }
    g_ptr_array_unref(d->tables);
    g_string_free(d->written, TRUE);
    g_clear_error(&d->error);
    g_free(d->folder);
    g_free(d);
}

enum outcome
acpi_dump_run(struct call *call, GError **error)
{
    GPtrArray *tables = machine_acpi(call->monitor->machine, error);
    struct acpi_dump *d;

    if (!tables)
        return COMMAND_FAILED;
    d = g_new0(struct acpi_dump, 1);
    *d = (struct acpi_dump) {
        .call = call, .tables = tables, .folder = g_strdup(call->args->at[DUMP_P_DIR].word),
        .written = g_string_new(NULL),
    };
    call->data = d;
    call->data_free = dump_forget_call;
    job_start(call->monitor->jobs, write_tables, tables_written, d);
    return COMMAND_PENDING;
}

/* The files are written all the same. */
void
acpi_dump_detach(struct call *call)
{
}
