/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command `peer` and `info peers`. */
#include "monitor-private.h"

#include <string.h>

/* --- the command ------------------------------------------------------------------------------------------------ */

enum { PEER_A_FORCE, PEER_A_WORD, PEER_A_REST };
static const char *const peer_words[] = { "start", "stop", NULL };
static const struct property peer_args[] = {
    [PEER_A_FORCE] = { "-f", PROPERTY_FLAG, .help = "stop it although the guest's only running copy is there" },
    [PEER_A_WORD] = { "name", PROPERTY_WORD, .required = true, .choices = peer_words, .complete = COMPLETE_PEER,
                      .help = "start or stop a peer, or the peer to speak to" },
    [PEER_A_REST] = { "NAME|COMMAND", PROPERTY_REST, .complete = COMPLETE_PEER_LINE,
                     .help = "the peer's name, or the command line it shall run" },
    { 0 }
};

static void
finish_call(void *self, const char *uri, const GError *error)
{
    call_finish(self, error);
}

/* The first prompt came: the definition is in; now it shall wait for a guest. */
static void
started(void *self, struct peer *p, const char *reply, const GError *error)
{
    struct monitor *m = ((struct call *)self)->monitor;
    g_autoptr(GError) failure = NULL;

    if (!error && peer_listen(p, finish_call, self, &failure))
        return;
    call_finish(self, error ? error : failure);
    g_ptr_array_remove(m->peers, p);
}

static enum outcome
start_peer(struct call *call, const char *name, GError **error)
{
    static const struct property id = { "NAME", PROPERTY_ID };
    struct value parsed = { 0 };
    struct peer *p;
    bool ok = property_parse_value(&id, name, &parsed, error);

    g_free(parsed.word);
    if (!ok)
        return COMMAND_FAILED;
    if (peer_find(call->monitor, name) || strcmp(name, "start") == 0 || strcmp(name, "stop") == 0) {
        fail(error, NUMON_ERROR_ARGUMENT, "cannot start peer '%s': the name is taken", name);
        return COMMAND_FAILED;
    }
    p = peer_new(call->monitor, name, error);
    return p && peer_ask(p, NULL, started, call, error) ? COMMAND_PENDING : COMMAND_FAILED;
}

static enum outcome
stop_peer(struct call *call, const char *name, bool force, GError **error)
{
    struct peer *p = peer_get(call->monitor, name, error);

    if (!p)
        return COMMAND_FAILED;
    if (peer_holds_guest(p) && !force) {
        fail(error, NUMON_ERROR_STATE, "cannot stop peer '%s': the guest runs there (`peer stop -f %s` ends it)",
             name, name);
        return COMMAND_FAILED;
    }
    g_ptr_array_remove(call->monitor->peers, p);
    return COMMAND_DONE;
}

static void
show_reply(void *self, struct peer *p, const char *reply, const GError *error)
{
    struct call *call = self;

    call_print(call, "%s", reply);
    call_finish(call, error);
}

/* The peer has the guest: now its user's command. */
static void
ask_after_arrival(void *self, struct peer *p, const char *reply, const GError *error)
{
    struct call *call = self;
    g_autoptr(GError) failure = NULL;

    if (error || !peer_ask(p, call->args->at[PEER_A_REST].word, show_reply, call, &failure))
        call_finish(call, error ? error : failure);
}

/* The peer acknowledges a guest before it lets it run, so a question could come just before that: who migrated the
 * guest there and then asks must be told of the guest. */
static bool
ask_with_guest(struct peer *p, struct call *call, GError **error)
{
    if (peer_holds_guest(p) && strcmp(peer_state(p), "inmigrate") == 0)
        return peer_ask(p, "wait migration", ask_after_arrival, call, error);
    return peer_ask(p, call->args->at[PEER_A_REST].word, show_reply, call, error);
}

/* True for `quit` in its spellings: it ends the peer as `peer stop` does, with the same care for its guest. */
static bool
is_quit(const char *line)
{
    g_autofree char *word = g_strstrip(g_strdup(line));
    const struct command *c = command_find(word);

    return c && name_equal(c->name, "quit");
}

static enum outcome
run_peer(struct call *call, GError **error)
{
    const char *word = call->args->at[PEER_A_WORD].word, *rest = call->args->at[PEER_A_REST].word;
    struct peer *p;

    if (!rest || !*rest) {
        fail(error, NUMON_ERROR_ARGUMENT, "peer: %s",
             strcmp(word, "start") && strcmp(word, "stop") ? "a command for the peer is missing"
             : "the name is missing");
        call->usage = command_usage(call->command, NULL);
        return COMMAND_FAILED;
    }
    if (strcmp(word, "start") == 0)
        return start_peer(call, rest, error);
    if (strcmp(word, "stop") == 0)
        return stop_peer(call, rest, call->args->at[PEER_A_FORCE].set, error);
    if (is_quit(rest))
        return stop_peer(call, word, call->args->at[PEER_A_FORCE].set, error);
    p = peer_get(call->monitor, word, error);
    return p && ask_with_guest(p, call, error) ? COMMAND_PENDING : COMMAND_FAILED;
}

static void
detach_peer(struct call *call)
{
    peer_forget(call->monitor, call);
}

static const struct command peer_commands[] = {
    { .name = "peer", .summary = "start, stop or speak to a second numon",
      .details = "`peer start b` starts a child with the same definition that waits for a migration; `migrate "
                 "peer:b` sends the guest there; `peer b info numa` runs a command there and shows its answer. A "
                 "peer ends with its parent.",
      .form = FORM_WORDS, .args = peer_args, .when = WHEN_ALWAYS, .run = run_peer, .detach = detach_peer },
    { 0 }
};

const struct command_group peer_group = { "Peers", peer_commands };

/* --- info peers ------------------------------------------------------------------------------------------------- */

static GVariant *
get_peers(struct monitor *m, const struct values *args, GError **error)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(sssb)"));
    for (unsigned i = 0; i < m->peers->len; i++) {
        struct peer *p = g_ptr_array_index(m->peers, i);

        bool holds = peer_holds_guest(p);

        /* The state is that of its last prompt; the guest came later. */
        g_variant_builder_add(&rows, "(sssb)", peer_name(p), peer_process(p),
                              holds ? "has the guest" : peer_state(p), (gboolean)holds);
    }
    return g_variant_builder_end(&rows);
}

static void
print_peers(GVariant *tree, GString *out)
{
    GVariantIter iter;
    const char *name, *pid, *state;
    gboolean holds;

    g_variant_iter_init(&iter, tree);
    while (g_variant_iter_next(&iter, "(&s&s&sb)", &name, &pid, &state, &holds))
        g_string_append_printf(out, "peer %s: process %s, %s\n", name, pid, state);
}

const struct info_item info_peer_items[] = {
    { .name = "peers", .summary = "the peers, their processes and states", .when = WHEN_ALWAYS,
      .get = get_peers, .print = print_peers },
    { 0 }
};
