/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Run control: the vCPU threads, and the set of reasons for which the guest does not run.
 *
 * A vCPU is parked (waits on 'go', settled, its state readable by anyone who holds a reason) or out (its thread is in
 * the class's vcpu_run or on the way there or back).  It goes out only under the lock and only while there is no
 * reason; a hold adds its reason under the same lock.  So either the vCPU sees the reason, or it is out and gets the
 * kick, which its class remembers until it is unkicked, under the lock again, before it next goes out.  The signal
 * only makes a system call return; should it come just before that call, the class's flag or the repeated kick of
 * the waiting hold does it.
 *
 * A throttle lets vCPUs run for 10 ms at a time: a thread of its own kicks those that are out and notes for each that
 * it owes a nap, which it takes before it next runs, still out, on 'rouse'.  A reason to stop rouses it.
 *
 * Events for main carry a reference to the 'port' rather than to the run, so that one that is delivered late finds
 * nobody instead of freed memory. */
#include "accel.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { KICK_AGAIN_US = 5000 };
enum { THROTTLE_RUN_US = 10000, THROTTLE_MOST = 99 };

/* Where events go.  Owned by main; references by run and letters. */
struct port {
    _Atomic unsigned references;
    void (*event)(void *self, const struct run_event *e);       /* NULL once the run is gone; main only */
    void *self;
};

struct vcpu {
    /* Fixed. */
    struct run *run;
    unsigned cpu;

    struct thread thread;           /* under the lock */
    bool present GUARDED;           /* the slot has a vCPU */
    bool parked GUARDED;
    bool pinned GUARDED;
    uint64_t host_cpus[WORDS_FOR(HOST_CPUS)] GUARDED;           /* if pinned */
    bool nap GUARDED;               /* it shall sleep before it runs again */
    uint64_t napped_us GUARDED;
    _Atomic int thread_id;
};

struct run {
    /* Fixed. */
    const struct accel_class *class;
    struct accel *accel;
    struct mailbox *mailbox;
    struct port *port;
    struct vcpu *vcpus;             /* by slot */
    unsigned cpu_slots;

    struct lock lock;               /* rank 10 */
    struct condition go;            /* reasons fell, or the end */
    struct condition back;          /* a vCPU parked, or reasons fell */
    unsigned reasons GUARDED;
    unsigned requested GUARDED;     /* bit n: enum vcpu_exit n was told to main, and its reason still stands */
    unsigned out GUARDED;           /* vCPUs not parked */
    bool ending GUARDED;

    struct thread ticker;           /* under the lock; started with the first throttle */
    struct condition rouse;         /* a reason to stop, another throttle, or the end */
    unsigned throttle GUARDED;      /* percent; 0: none */
    uint64_t naps GUARDED;
};

/* --- telling main ----------------------------------------------------------------------------------------------- */

struct letter {
    struct port *port;
    struct run_event event;
};

static void
port_unref(struct port *port)
{
    if (atomic_fetch_sub(&port->references, 1) == 1)
        g_free(port);
}

static void
deliver_letter(void *data)
{
    struct letter *l = data;

    on_main_thread();
    if (l->port->event)
        l->port->event(l->port->self, &l->event);
}

static void
free_letter(void *data)
{
    struct letter *l = data;

    port_unref(l->port);
    g_free(l->event.text);
    g_free(l);
}

/* Takes 'text'. */
static void
tell_main(struct run *r, enum vcpu_exit what, unsigned cpu, char *text)
{
    struct letter *l = g_new0(struct letter, 1);

    atomic_fetch_add(&r->port->references, 1);
    *l = (struct letter) { r->port, { what, cpu, text } };
    mailbox_post(r->mailbox, deliver_letter, l, free_letter);
}

/* --- kicks ------------------------------------------------------------------------------------------------------ */

static void
take_signal(int number)
{
    /* It has made a system call return: that was its work. */
}

/* The same handler however often it is installed; a program that has its own keeps it. */
static void
install_handler(void)
{
    struct sigaction now;

    if (sigaction(SIGUSR1, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO || now.sa_handler != SIG_DFL))
        return;
    now = (struct sigaction) { .sa_handler = take_signal };
    sigemptyset(&now.sa_mask);
    sigaction(SIGUSR1, &now, NULL);
}

/* Makes every vCPU that is out come back soon. */
static void
kick_all(struct run *r) REQUIRES(r->lock)
{
    condition_broadcast(&r->rouse);
    for (unsigned i = 0; i < r->cpu_slots; i++) {
        struct vcpu *v = &r->vcpus[i];

        if (v->parked)
            continue;
        r->class->vcpu_kick(r->accel, v->cpu);
        pthread_kill(v->thread.id, SIGUSR1);
    }
}

/* --- a vCPU's thread -------------------------------------------------------------------------------------------- */

/* The reason for which the guest stops when a vCPU comes back so. */
static unsigned
reason_of(enum vcpu_exit what)
{
    return what == VCPU_RESET ? STOP_CHANGE : STOP_ERROR;
}

/* Stops all and tells main, once for each kind until main has taken the reason away.  Takes 'text'. */
static void
ask(struct run *r, enum vcpu_exit what, unsigned cpu, char *text) EXCLUDES(r->lock)
{
    bool first;

    lock_take(&r->lock);
    first = !(r->requested & 1u << what);
    r->requested |= 1u << what;
    r->reasons |= reason_of(what);
    kick_all(r);
    lock_drop(&r->lock);
    if (first)
        tell_main(r, what, cpu, text);
    else
        g_free(text);
}

/* Waits until nothing stops the guest, settled; at the end stays parked. */
static void
park(struct run *r, struct vcpu *v) REQUIRES(r->lock)
{
    lock_drop(&r->lock);
    r->class->vcpu_settle(r->accel, v->cpu);
    lock_take(&r->lock);
    if (!r->reasons && !r->ending)
        return;
    v->parked = true;
    r->out--;
    condition_broadcast(&r->back);
}

static void
wait_for_go(struct run *r, struct vcpu *v) REQUIRES(r->lock)
{
    while ((r->reasons || !v->present) && !r->ending)
        condition_wait(&r->go, &r->lock);
    if (r->ending)
        return;
    v->parked = false;
    r->out++;
}

/* Guest time, until there is a reason to stop. */
static void
run_slice(struct run *r, struct vcpu *v) REQUIRES(r->lock)
{
    char *text = NULL;
    enum vcpu_exit what;

    r->class->vcpu_unkick(r->accel, v->cpu);
    lock_drop(&r->lock);
    what = r->class->vcpu_run(r->accel, v->cpu, &text);
    if (what == VCPU_NOTE)
        tell_main(r, what, v->cpu, text);
    else if (what != VCPU_AGAIN)
        ask(r, what, v->cpu, text);
    lock_take(&r->lock);
}

/* --- the throttle ----------------------------------------------------------------------------------------------- */

/* Until 'deadline_us', a reason to stop, the end, or another throttle. */
static void
sleep_throttled(struct run *r, int64_t deadline_us, bool whatever_stops) REQUIRES(r->lock)
{
    unsigned throttle = r->throttle;

    while ((whatever_stops || !r->reasons) && !r->ending && r->throttle == throttle)
        if (!condition_wait_until(&r->rouse, &r->lock, deadline_us))
            break;
}

static void
take_nap(struct run *r, struct vcpu *v) REQUIRES(r->lock)
{
    unsigned percent = r->throttle;

    v->nap = false;
    if (percent == 0)
        return;
    r->naps++;
    int64_t begin_us = g_get_monotonic_time();
    sleep_throttled(r, begin_us + THROTTLE_RUN_US * percent / (100 - percent), false);
    v->napped_us += (uint64_t)(g_get_monotonic_time() - begin_us);
}

static void
owe_naps(struct run *r) REQUIRES(r->lock)
{
    for (unsigned i = 0; i < r->cpu_slots; i++) {
        struct vcpu *v = &r->vcpus[i];

        if (v->parked)
            continue;
        v->nap = true;
        r->class->vcpu_kick(r->accel, v->cpu);
        pthread_kill(v->thread.id, SIGUSR1);
    }
}

static void *
ticker_thread(void *data)
{
    struct run *r = data;

    lock_take(&r->lock);
    while (!r->ending) {
        if (r->throttle == 0) {
            condition_wait(&r->rouse, &r->lock);
            continue;
        }
        owe_naps(r);
        sleep_throttled(r, g_get_monotonic_time() + THROTTLE_RUN_US * 100 / (100 - r->throttle), true);
    }
    lock_drop(&r->lock);
    return NULL;
}

bool
run_throttle(struct run *r, unsigned percent, GError **error)
{
    bool ok = true;

    g_assert(percent <= THROTTLE_MOST);
    lock_take(&r->lock);
    if (percent && !r->ticker.started)
        ok = thread_start(&r->ticker, "vcpu throttle", ticker_thread, r, error);
    if (ok) {
        r->throttle = percent;
        condition_broadcast(&r->rouse);
    }
    lock_drop(&r->lock);
    return ok;
}

uint64_t
run_throttle_naps(struct run *r)
{
    lock_take(&r->lock);
    uint64_t naps = r->naps;
    lock_drop(&r->lock);
    return naps;
}

uint64_t
run_throttled_us(struct run *r, unsigned cpu)
{
    lock_take(&r->lock);
    uint64_t us = r->vcpus[cpu].napped_us;
    lock_drop(&r->lock);
    return us;
}

/* --- a vCPU's life ---------------------------------------------------------------------------------------------- */

/* 0 or errno. */
static int
pin_thread(struct run *r, struct vcpu *v) REQUIRES(r->lock)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (unsigned cpu = 0; cpu < MIN(HOST_CPUS, CPU_SETSIZE); cpu++) {
        if (bit_test(v->host_cpus, cpu))
            CPU_SET(cpu, &set);
    }
    return sched_setaffinity(atomic_load(&v->thread_id), sizeof set, &set) == 0 ? 0 : errno;
}

static void *
vcpu_thread(void *data)
{
    struct vcpu *v = data;
    struct run *r = v->run;

    lock_take(&r->lock);
    atomic_store(&v->thread_id, gettid());
    /* A host CPU that has gone meanwhile leaves it where it is. */
    if (v->pinned)
        pin_thread(r, v);
    /* Parked from the start: there is nothing to settle before it ever ran. */
    for (;;) {
        if (v->parked)
            wait_for_go(r, v);
        if (v->parked)
            break;
        if (r->reasons || r->ending)
            park(r, v);
        else if (v->nap)
            take_nap(r, v);
        else
            run_slice(r, v);
    }
    lock_drop(&r->lock);
    return NULL;
}

/* --- for main and the migration thread -------------------------------------------------------------------------- */

struct run *
run_new(const struct accel_class *class, struct accel *a, unsigned cpu_slots, const uint64_t *present,
        struct mailbox *mailbox, void (*event)(void *self, const struct run_event *e), void *self)
{
    struct run *r = g_new0(struct run, 1);

    install_handler();
    r->class = class;
    r->accel = a;
    r->mailbox = mailbox;
    r->port = g_new0(struct port, 1);
    *r->port = (struct port) { .references = 1, .event = event, .self = self };
    r->cpu_slots = cpu_slots;
    r->vcpus = g_new0(struct vcpu, cpu_slots);
    for (unsigned i = 0; i < cpu_slots; i++)
        r->vcpus[i] = (struct vcpu) {
            .run = r, .cpu = i, .present = !present || bit_test(present, i), .parked = true,
        };
    lock_init(&r->lock, 10, "run control");
    condition_init(&r->go);
    condition_init(&r->back);
    condition_init(&r->rouse);
    lock_take(&r->lock);
    r->reasons = STOP_USER;
    lock_drop(&r->lock);
    return r;
}

/* Waits until all are parked or 'reasons' are no longer all there, kicking again now and then. */
static void
wait_parked(struct run *r, unsigned reasons) REQUIRES(r->lock)
{
    while (r->out && (r->reasons & reasons) == reasons)
        if (!condition_wait_until(&r->back, &r->lock, g_get_monotonic_time() + KICK_AGAIN_US))
            kick_all(r);
}

void
run_free(struct run *r)
{
    if (!r)
        return;
    run_hold(r, STOP_CHANGE);
    lock_take(&r->lock);
    r->ending = true;
    condition_broadcast(&r->go);
    condition_broadcast(&r->rouse);
    lock_drop(&r->lock);
    thread_join(&r->ticker);
    for (unsigned i = 0; i < r->cpu_slots; i++)
        thread_join(&r->vcpus[i].thread);
    r->port->event = NULL;
    port_unref(r->port);
    condition_release(&r->go);
    condition_release(&r->back);
    condition_release(&r->rouse);
    lock_release(&r->lock);
    g_free(r->vcpus);
    g_free(r);
}

void
run_hold(struct run *r, unsigned reasons)
{
    lock_take(&r->lock);
    r->reasons |= reasons;
    kick_all(r);
    wait_parked(r, reasons);
    lock_drop(&r->lock);
}

static bool
start_vcpu(struct run *r, struct vcpu *v, GError **error) REQUIRES(r->lock)
{
    g_autofree char *name = g_strdup_printf("vcpu %u", v->cpu);

    return v->thread.started || thread_start(&v->thread, name, vcpu_thread, v, error);
}

static bool
start_threads(struct run *r, GError **error) REQUIRES(r->lock)
{
    for (unsigned i = 0; i < r->cpu_slots; i++)
        if (r->vcpus[i].present && !start_vcpu(r, &r->vcpus[i], error))
            return false;
    return true;
}

bool
run_add_cpu(struct run *r, unsigned cpu, GError **error)
{
    struct vcpu *v = &r->vcpus[cpu];
    bool ok;

    lock_take(&r->lock);
    g_assert(r->reasons && !v->present);
    /* Where the others have their threads it gets its own at once: a guest that goes on must not fail for want of
     * it. */
    ok = !r->vcpus[0].thread.started || start_vcpu(r, v, error);
    v->present = ok;
    lock_drop(&r->lock);
    return ok;
}

void
run_remove_cpu(struct run *r, unsigned cpu)
{
    struct vcpu *v = &r->vcpus[cpu];

    lock_take(&r->lock);
    g_assert(r->reasons && v->present && v->parked);
    v->present = false;
    lock_drop(&r->lock);
}

bool
run_release(struct run *r, unsigned reasons, GError **error)
{
    bool ok = true;

    lock_take(&r->lock);
    if (!(r->reasons & ~reasons))
        ok = start_threads(r, error);
    if (ok) {
        r->reasons &= ~reasons;
        for (unsigned what = VCPU_RESET; what <= VCPU_ERROR; what++)
            if (reasons & reason_of(what))
                r->requested &= ~(1u << what);
        condition_broadcast(&r->back);
        if (!r->reasons)
            condition_broadcast(&r->go);
    }
    lock_drop(&r->lock);
    return ok;
}

unsigned
run_reasons(struct run *r)
{
    unsigned reasons;

    lock_take(&r->lock);
    reasons = r->reasons;
    lock_drop(&r->lock);
    return reasons;
}

unsigned
run_requests(struct run *r)
{
    unsigned requested;

    lock_take(&r->lock);
    requested = r->requested;
    lock_drop(&r->lock);
    return requested;
}

int
run_thread_id(struct run *r, unsigned cpu)
{
    return atomic_load(&r->vcpus[cpu].thread_id);
}

/* Which vCPU calls; a device does not know. */
static unsigned
calling_cpu(struct run *r)
{
    int id = gettid();

    for (unsigned i = 0; i < r->cpu_slots; i++)
        if (run_thread_id(r, i) == id)
            return i;
    return 0;
}

void
run_request(struct run *r, enum vcpu_exit what)
{
    ask(r, what, calling_cpu(r), NULL);
}

/* --- host CPUs -------------------------------------------------------------------------------------------------- */

bool
run_pin(struct run *r, unsigned cpu, const uint64_t *host_cpus, GError **error)
{
    struct vcpu *v = &r->vcpus[cpu];
    uint64_t before[WORDS_FOR(HOST_CPUS)];
    int host_errno = 0;

    lock_take(&r->lock);
    memcpy(before, v->host_cpus, sizeof before);
    memcpy(v->host_cpus, host_cpus, sizeof v->host_cpus);
    if (atomic_load(&v->thread_id))
        host_errno = pin_thread(r, v);
    if (host_errno)
        memcpy(v->host_cpus, before, sizeof before);
    else
        v->pinned = true;
    lock_drop(&r->lock);
    if (!host_errno)
        return true;
    g_autofree char *list = list_format(host_cpus, HOST_CPUS);

    return fail_host(error, host_errno, "cannot pin vCPU %u to host CPUs %s", cpu, list);
}

bool
run_pinned(struct run *r, unsigned cpu, uint64_t *ret_host_cpus)
{
    struct vcpu *v = &r->vcpus[cpu];
    int id = atomic_load(&v->thread_id);
    cpu_set_t set;
    bool pinned;

    lock_take(&r->lock);
    memcpy(ret_host_cpus, v->host_cpus, sizeof v->host_cpus);
    pinned = v->pinned;
    lock_drop(&r->lock);
    if (sched_getaffinity(id, sizeof set, &set) != 0 || (!id && pinned))
        return pinned;
    memset(ret_host_cpus, 0, sizeof v->host_cpus);
    for (unsigned i = 0; i < MIN(HOST_CPUS, CPU_SETSIZE); i++) {
        if (CPU_ISSET(i, &set))
            bit_set(ret_host_cpus, i);
    }
    return pinned;
}
