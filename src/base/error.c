/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors: a GError whose code says what the user can do about it.  Nothing here prints; the monitor shows each error
 * exactly once. */
#include "base.h"

#include <stdarg.h>

/* G_DEFINE_QUARK keeps its quark in a plain variable, which threads that fail at the same time would race for. */
GQuark
numon_error_quark(void)
{
    static _Atomic GQuark known;
    GQuark quark = atomic_load_explicit(&known, memory_order_relaxed);

    if (!quark) {
        quark = g_quark_from_static_string("numon-error-quark");
        atomic_store_explicit(&known, quark, memory_order_relaxed);
    }
    return quark;
}

const char *
error_word(const GError *error)
{
    static const char *const words[] = {
        [NUMON_ERROR_ARGUMENT] = "argument",
        [NUMON_ERROR_STATE] = "state",
        [NUMON_ERROR_HOST] = "host",
        [NUMON_ERROR_PEER] = "peer",
        [NUMON_ERROR_LIMIT] = "limit",
    };

    if (!error)
        return "ok";
    if (error->domain != NUMON_ERROR || error->code < 0 || error->code >= (int)G_N_ELEMENTS(words))
        return "error";
    return words[error->code];
}

bool
fail(GError **error, enum numon_error code, const char *format, ...)
{
    va_list args;

    if (error) {
        va_start(args, format);
        g_propagate_error(error, g_error_new_valist(NUMON_ERROR, code, format, args));
        va_end(args);
    }
    return false;
}

bool
fail_host(GError **error, int host_errno, const char *attempt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, attempt);
    text = g_strdup_vprintf(attempt, args);
    va_end(args);
    return fail(error, NUMON_ERROR_HOST, "%s: %s", text, g_strerror(host_errno));
}
