/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One consistent reading of a session, while it runs and after it. */
#include "migrate-private.h"

/* What failed here the user can do something about here; another wrong moment is one of the other side's making. */
static enum numon_error
code_of(const GError *failure)
{
    bool here = g_error_matches(failure, NUMON_ERROR, NUMON_ERROR_HOST)
        || g_error_matches(failure, NUMON_ERROR, NUMON_ERROR_LIMIT);

    return here ? (enum numon_error)failure->code : NUMON_ERROR_PEER;
}

/* Everything that the lock guards. */
static void
read_guarded(struct session *s, struct migrate_info *ret, int64_t now) REQUIRES(s->lock)
{
    int64_t end = s->end_us ? s->end_us : now;
    int64_t active = s->active_us ? s->active_us : end;

    ret->state = s->state;
    ret->owner = s->owner;
    ret->sent_because = s->sent_because;
    ret->error = s->failure ? g_strdup(s->failure->message) : NULL;
    ret->error_code = code_of(s->failure);
    ret->uri = g_strdup(s->uri);
    ret->id = s->id;
    ret->held = s->held;
    int64_t slice_us = atomic_load(&s->slice_us);
    if (slice_us && s->state == MIGRATE_ACTIVE && !s->held && now > slice_us)
        ret->silent_ms = (uint64_t)(now - slice_us) / 1000;
    ret->cache_bytes = s->cache_bytes;
    if (s->begin_us) {
        ret->total_ms = (uint64_t)(end - s->begin_us) / 1000;
        ret->setup_ms = (uint64_t)(active - s->begin_us) / 1000;
    }
    ret->downtime_known = s->state == MIGRATE_COMPLETED && s->stop_us && s->handed_us;
    if (ret->downtime_known)
        ret->downtime_us = (uint64_t)(s->handed_us - s->stop_us);
}

static void
read_page_rates(struct session *s, struct migrate_info *ret)
{
    ret->xbzrle = s->features & FEATURE_XBZRLE;
    ret->compress = s->features & FEATURE_COMPRESS;
    ret->xbzrle_miss_rate = atomic_load(&s->xbzrle_miss_rate);
    ret->xbzrle_encoding_rate = atomic_load(&s->xbzrle_encoding_rate);
    ret->compress_busy_rate = atomic_load(&s->compress_busy_rate);
    ret->compress_rate = atomic_load(&s->compress_rate);
}

static void
read_counters(struct session *s, struct migrate_info *ret)
{
#define X(c, unit, help) ret->c = counter_read(&s->counters.c);
    MIGRATE_COUNTERS(X)
#undef X
    ret->throttle_percent = (unsigned)counter_read(&s->throttle_percent);
    ret->dirty_limit = atomic_load(&s->dirty_limit);
    ret->limit_nap_us = counter_read(&s->limit_nap_us);
    ret->limit_full_us = counter_read(&s->limit_full_us);
    ret->remaining_bytes = counter_read(&s->remaining_bytes);
    ret->dirty_pages_rate = counter_read(&s->dirty_rate);
    ret->expected_downtime_ms = counter_read(&s->expected_downtime_ms);
    ret->fits_bytes = counter_read(&s->fits_bytes);
    ret->switchover_bandwidth = counter_read(&s->switchover_bandwidth);
    ret->shortening = atomic_load(&s->shortening);
    ret->first_pass = s->direction == MIGRATE_OUT && !atomic_load(&s->swept);
    ret->pages_per_second = counter_read(&s->pages_per_second);
    ret->mbps = (double)counter_read(&s->bytes_per_second) * 8 / 1e6;
}

/* An overflow went whole, and counts there. */
static uint64_t
pages_sent(const struct migrate_info *i)
{
    return i->pages_normal + i->pages_zero + i->compress_pages + i->xbzrle_pages - i->xbzrle_overflows;
}

/* Counters under the lock too: a state that has ended goes with its last figures. */
void
session_read(struct session *s, struct migrate_info *ret)
{
    int64_t whole_us = s->begin_us ? s->end_us - s->begin_us : 0;

    *ret = (struct migrate_info) {
        .direction = s->direction, .page_size = PAGE_SIZE, .total_bytes = atomic_load(&s->total_bytes),
    };
    read_guarded(s, ret, g_get_monotonic_time());
    read_counters(s, ret);
    read_page_rates(s, ret);
    if (!migrate_state_ended(ret->state))
        return;
    ret->mbps = whole_us > 0 ? (double)ret->bytes * 8 / (double)whole_us : 0;
    ret->pages_per_second = whole_us > 0 ? pages_sent(ret) * 1000000 / (uint64_t)whole_us : 0;
    if (ret->state == MIGRATE_COMPLETED) {
        ret->remaining_bytes = 0;
        ret->dirty_pages_rate = 0;
    }
}

void
session_info(struct session *s, struct migrate_info *ret)
{
    lock_take(&s->lock);
    session_read(s, ret);
    lock_drop(&s->lock);
}

void
migrate_info_release(struct migrate_info *i)
{
    g_clear_pointer(&i->error, g_free);
    g_clear_pointer(&i->uri, g_free);
}
