/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The workload's parameters: from the kernel command line, or out of the control page. */
#include "guest.h"

enum { RATE_UNLIMITED = 0 };

/* True if 'word' begins with 'key' and '='; '*ret' is what follows. */
static bool
key_is(const char *word, const char *key, const char **ret)
{
    while (*key)
        if (*word++ != *key++)
            return false;
    *ret = word + 1;
    return *word == '=';
}

static bool
ends(char c)
{
    return c == '\0' || c == ' ' || c == '\t' || c == '\n';
}

static bool
value_is(const char *value, const char *text)
{
    while (*text)
        if (*value++ != *text++)
            return false;
    return ends(*value);
}

/* The index of the value in a list of names; '*ret' unchanged if it is none of them. */
static void
take_choice(const char *value, const char *const *names, uint32_t *ret)
{
    for (uint32_t i = 0; names[i]; i++)
        if (value_is(value, names[i]))
            *ret = i;
}

/* A decimal number with an optional size suffix; '*ret' unchanged if it is none or too large. */
static void
take_number(const char *value, uint64_t *ret)
{
    static const char suffixes[] = "kmgtKMGT";
    uint64_t n = 0;

    if (*value < '0' || *value > '9')
        return;
    for (; *value >= '0' && *value <= '9'; value++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *value - '0', &n))
            return;
    for (unsigned i = 0; suffixes[i]; i++)
        if (*value == suffixes[i] && ends(value[1])) {
            unsigned shift = 10 * (i % 4 + 1);

            if (n >> (64 - shift))
                return;
            n <<= shift;
            value++;
            break;
        }
    if (ends(*value))
        *ret = n;
}

static void
take_word(const char *word, struct control_parameters *p, uint64_t *tsc_khz)
{
    static const char *const patterns[] = { "idle", "sequential", "random", "hot", NULL };
    static const char *const writes[] = { "word", "line", "page", NULL };
    static const char *const fills[] = { "zero", "random", "text", NULL };
    const char *value;
    uint64_t n = CONTROL_NODE_OWN;

    if (key_is(word, "pattern", &value))
        take_choice(value, patterns, &p->pattern);
    else if (key_is(word, "write", &value))
        take_choice(value, writes, &p->write);
    else if (key_is(word, "fill", &value))
        take_choice(value, fills, &p->fill);
    else if (key_is(word, "rate", &value) && value_is(value, "unlimited"))
        p->rate = RATE_UNLIMITED;
    else if (key_is(word, "rate", &value))
        take_number(value, &p->rate);
    else if (key_is(word, "size", &value))
        take_number(value, &p->size);
    else if (key_is(word, "interval", &value))
        take_number(value, &p->interval_ms);
    else if (key_is(word, "tsc_khz", &value))
        take_number(value, tsc_khz);
    else if (key_is(word, "node", &value)) {
        take_number(value, &n);
        p->node = n < CONTROL_NODES ? n : CONTROL_NODE_OWN;
    }
}

void
parameters_parse(const char *command_line, struct control_parameters *p, uint64_t *ret_tsc_khz)
{
    const char *at = command_line;

    *p = (struct control_parameters) {
        .pattern = PATTERN_IDLE, .write = WRITE_WORD, .fill = FILL_RANDOM, .node = CONTROL_NODE_OWN,
        .rate = RATE_UNLIMITED, .size = 4 << 20, .interval_ms = 250,
    };
    while (*at) {
        take_word(at, p, ret_tsc_khz);
        while (!ends(*at))
            at++;
        while (*at && ends(*at))
            at++;
    }
}

bool
parameters_refresh(struct control_parameters *p, uint64_t *sequence)
{
    uint64_t now = load(&head->sequence);
    struct control_parameters fresh;

    if (now == *sequence || now % 2)
        return false;
    fresh = head->parameters;
    CONTROL_BARRIER();
    if (load(&head->sequence) != now)
        return false;
    *p = fresh;
    *sequence = now;
    return true;
}
