/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The RTC's alarm while the host's clock is set.  Nobody may set that for a test: this program stands between the RTC
 * and the host (ld --wrap), with a clock of its own and a descriptor in place of the timer that the kernel
 * cancels. */
#include "device.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RTC_IRQ = 8, HOUR_S = 3600 };

static struct { int64_t step_us; int watch; } host = { 0, -1 };

gint64 __real_g_get_real_time(void);
gint64 __wrap_g_get_real_time(void);
int __wrap_timerfd_create(int clock, int flags);

gint64
__wrap_g_get_real_time(void)
{
    return __real_g_get_real_time() + host.step_us;
}

int
__wrap_timerfd_create(int clock, int flags)
{
    host.watch = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return host.watch;
}

int __wrap_timerfd_settime(int fd, int flags, const void *new_value, void *old_value);

int
__wrap_timerfd_settime(int fd, int flags, const void *new_value, void *old_value)
{
    return 0;
}

/* --- a guest with an alarm -------------------------------------------------------------------------------------- */

struct guest { struct bus *bus; struct irqs *irqs; struct rtc *rtc; };

static void
set_cmos(struct guest *g, uint8_t index, uint8_t value)
{
    bus_write(g->bus, BUS_PORT, 0x70, 1, index);
    bus_write(g->bus, BUS_PORT, 0x71, 1, value);
}

static void
step(int64_t seconds)
{
    uint64_t one = 1;

    host.step_us += seconds * G_USEC_PER_SEC;
    g_assert_cmpint(write(host.watch, &one, sizeof one), ==, sizeof one);
}

/* Whether it rings within a second of the loop. */
static bool
rings(const struct guest *g)
{
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC;

    while (!(irqs_levels(g->irqs) >> RTC_IRQ & 1) && g_get_monotonic_time() < end)
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(1000);
    return irqs_levels(g->irqs) >> RTC_IRQ & 1;
}

/* The clock says midnight, the alarm is at one. */
static void
begin(struct guest *g)
{
    static const struct rtc_memory memory = { .below_4g = 64 * MIB };

    *g = (struct guest) { bus_new(), irqs_new(), NULL };
    g->rtc = rtc_new(g->irqs, &memory, NULL);
    g_assert_true(rtc_attach(g->rtc, g->bus, NULL));
    set_cmos(g, 11, 0x86);
    for (unsigned i = 0; i < 6; i++)
        set_cmos(g, (uint8_t)i, i == 5);
    set_cmos(g, 11, 0x26);
}

static void
end(struct guest *g)
{
    rtc_free(g->rtc);
    bus_free(g->bus);
    irqs_free(g->irqs);
}

static void
an_alarm_that_a_step_passes_rings(void)
{
    struct guest g;

    begin(&g);
    g_assert_false(rings(&g));
    step(HOUR_S / 2);
    g_assert_false(rings(&g));
    step(HOUR_S);
    g_assert_true(rings(&g));
    end(&g);
}

static void
an_alarm_is_later_after_a_step_back(void)
{
    struct guest g;

    begin(&g);
    step(HOUR_S - 2);
    step(-10);
    g_assert_false(rings(&g));
    g_usleep(2 * G_USEC_PER_SEC);
    g_assert_false(rings(&g));
    step(10);
    g_assert_true(rings(&g));
    end(&g);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock-step/an-alarm-that-a-step-passes-rings", an_alarm_that_a_step_passes_rings);
    g_test_add_func("/clock-step/an-alarm-is-later-after-a-step-back", an_alarm_is_later_after_a_step_back);
    return g_test_run();
}
