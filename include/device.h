/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Port and MMIO bus, and the devices on it.  vCPU threads call; each device has a lock of rank 15. */
#ifndef DEVICE_H
#define DEVICE_H

#include "base.h"
#include "memory.h"
#include "state.h"

enum bus_space { BUS_PORT, BUS_MMIO };

/* A device's registers.  'size' is 1, 2, 4 or 8 bytes; values are zero-extended. */
struct bus_ops {
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct bus;
struct bus *bus_new(void);
void bus_free(struct bus *bus);
/* Claims [base, base + length).  Error STATE if part of it is taken, naming both.  Main only, before vCPUs run. */
bool bus_claim(struct bus *bus, enum bus_space space, uint64_t base, uint64_t length, const char *name,
               const struct bus_ops *ops, void *device, GError **error);
/* All that is claimed, by rising base.  Main. */
void bus_each(const struct bus *bus, enum bus_space space,
              void (*tell)(void *self, const char *name, uint64_t base, uint64_t length), void *self);
/* Nobody there: reads all ones, writes are dropped.  vCPU threads, frozen map. */
uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size);
void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value);

/* --- interrupt lines: devices raise and lower them, the accelerator's controllers take them -------------------- */

enum { IRQ_LINES = 24 };                /* inputs of the I/O APIC; the first 16 are the PICs' too */

struct irqs;
struct irqs *irqs_new(void);            /* all low */
void irqs_free(struct irqs *i);         /* NULL is fine */
/* Where levels go; NULL: nowhere.  'tell' must not wait nor take a lock of ours.  Main, while vCPUs are parked. */
void irqs_connect(struct irqs *i, void (*tell)(void *self, unsigned gsi, bool level), void *self);
/* The line's level from now on; nothing is told if it is so already.  A line belongs to one device.  Any thread,
 * under the device's lock. */
void irqs_set(struct irqs *i, unsigned gsi, bool level);
/* The same of a line that up to eight devices share, numbered from 0: it is high while one holds it so. */
void irqs_share(struct irqs *i, unsigned gsi, unsigned who, bool high);
/* Tells every level anew: the controllers were reset, or arrived.  vCPUs parked. */
void irqs_tell(struct irqs *i);
uint32_t irqs_levels(struct irqs *i);   /* a bit a line.  Any thread */

/* --- a serial line: a ring of the last 64 KiB sent, where it goes besides, and input ---------------------------- */

enum { SERIAL_RING_SIZE = 64 * 1024 };

struct serial;
/* 'target': "null" (only the ring), "stdio" (output only), "pty" (a pseudo terminal), "file:PATH", "unix:PATH"
 * (listens; 0600; replaces only a dead socket; ",server=on,wait=off" as QEMU writes it changes nothing). Bytes
 * leave on the main thread through the mailbox; a reader that is slow or gone never blocks a vCPU.  One that comes
 * gets what the ring has. */
struct serial *serial_new(const char *target, struct mailbox *mailbox, GError **error);
/* Writes what the target takes at once, then lets go.  Main. */
void serial_free(struct serial *s);
/* Told on main, once each, when the target refuses output (full disk, reader gone) and when a reader was too slow;
 * the guest goes on.  The writer of standard output must ignore SIGPIPE. */
void serial_on_failure(struct serial *s, void (*failed)(void *self, const char *text), void *self);

/* The device at the guest's end; called on main. */
struct serial_guest {
    /* How many it took; the rest waits for serial_wake. */
    size_t (*take)(void *self, const uint8_t *bytes, size_t size);
    void (*take_break)(void *self);
    void (*room)(void *self);       /* serial_full said true, and that has changed */
};
/* NULL: nobody, and input is dropped.  Main. */
void serial_attach(struct serial *s, const struct serial_guest *guest, void *self);
/* Any thread; never blocks.  A byte more than the reader has room for costs it its oldest. */
void serial_put(struct serial *s, uint8_t byte);
/* The reader is so far behind that the transmitter should wait: room() follows a true.  Any thread. */
bool serial_full(struct serial *s);
/* Counts what the guest sent without room for it.  Any thread. */
void serial_lose(struct serial *s, uint64_t bytes);
/* The guest has room for input again.  Any thread. */
void serial_wake(struct serial *s);

/* Input from the console: how many bytes were taken, 0 as long as other input waits; then 'hungry' is called.
 * Main. */
size_t serial_type(struct serial *s, const void *bytes, size_t size);
void serial_type_break(struct serial *s);
/* Told on main when bytes were put; NULL: nobody.  The one who is told says how far it has come, at the beginning
 * and by serial_shown(), and makes the transmitter wait as a reader of the target does.  Main. */
void serial_on_output(struct serial *s, uint64_t shown, void (*output)(void *self), void *self);
void serial_shown(struct serial *s, uint64_t position);
/* Told on main when input that waited was taken; NULL: nobody. */
void serial_on_hungry(struct serial *s, void (*hungry)(void *self), void *self);

/* The bytes from stream position '*position' on that the ring still has; advances it.  Position 0 is the first byte
 * ever.  Any thread.  Caller frees. */
char *serial_read(struct serial *s, uint64_t *position, size_t *ret_size);
uint64_t serial_total(struct serial *s);        /* bytes ever put */
struct serial_counts {
    uint64_t total;                 /* bytes ever put */
    uint64_t lost;                  /* of these, what a reader who was there did not get */
    uint64_t waiting;               /* bytes of input that the guest has no room for yet */
    bool reader;                    /* somebody takes what is sent */
};
void serial_counts(struct serial *s, struct serial_counts *ret);        /* main */
const char *serial_target(const struct serial *s);      /* of a pseudo terminal "pty:/dev/pts/N" */
const char *serial_pty(const struct serial *s);         /* the pseudo terminal's name; NULL if it is none */
/* Checks the form of a target without opening it. */
bool serial_target_check(const char *target, GError **error);
/* The path in a target whose form is right; NULL if it has none.  Caller frees. */
char *serial_target_path(const char *target);

/* --- devices --------------------------------------------------------------------------------------------------- */

/* 16550A UART (PC16550D data sheet) at the guest's end of a serial line. */
enum { UART_PORT = 0x3f8, UART_GSI = 4 };       /* the PC's first serial port */
enum { SERIAL_PORTS = 4 };                      /* that a PC has places for: every second one shares its interrupt */
struct uart_place { uint64_t port; unsigned gsi, sharer; const char *name; };
extern const struct uart_place uart_places[SERIAL_PORTS];
struct uart;
/* 'irqs' may be NULL; 'now_us' NULL: the monotonic clock, else a test's, which calls uart_tick itself. */
struct uart *uart_new(struct serial *serial, struct irqs *irqs, unsigned gsi, int64_t (*now_us)(void));
/* At one of the places; 'number' is its index. */
struct uart *uart_new_at(struct serial *serial, struct irqs *irqs, unsigned number);
void uart_free(struct uart *u);
bool uart_attach(struct uart *u, struct bus *bus, uint64_t port, GError **error);
bool uart_attach_at(struct uart *u, struct bus *bus, unsigned number, GError **error);
void uart_reset(struct uart *u);
/* Looks at the time: is the FIFO's timeout due?  Main. */
void uart_tick(struct uart *u);
/* Frozen, nothing from outside changes a register: from a guest's stop for a migration to its going on here, and
 * while a guest is awaited.  Any thread, vCPUs parked. */
void uart_freeze(struct uart *u, bool frozen);
struct state_section uart_state(struct uart *u, unsigned number);

/* The Generic Event Device: events for guests that interpret ACPI tables (platform.h, PLATFORM_EVENT_*). */
struct ged;
struct ged *ged_new(struct irqs *irqs);
void ged_free(struct ged *g);                           /* NULL is fine */
bool ged_attach(struct ged *g, struct bus *bus, GError **error);
void ged_reset(struct ged *g);
/* Tells the guest; it finds out when it listens.  Any thread, without a device's lock. */
void ged_raise(struct ged *g, uint32_t events);
struct state_section ged_state(struct ged *g);

/* Slots of memory or CPUs, as guests that interpret ACPI tables find them (platform.h, PLATFORM_SLOT_*). */
struct slot_content {
    bool there;
    uint64_t base, size;            /* of memory; bytes */
    uint32_t node;
    uint32_t id;                    /* a CPU's APIC id */
};
struct bays;
/* 'name' is static; 'event' is told by the GED.  At most PLATFORM_MEMORY_SLOTS.  'answered' is called on a vCPU's
 * thread, without the device's lock, when bays_ejected or bays_refused has something new. */
struct bays *bays_new(const char *name, unsigned count, uint32_t event, struct ged *ged,
                        void (*answered)(void *self), void *self);
void bays_free(struct bays *s);                       /* NULL is fine */
bool bays_attach(struct bays *s, struct bus *bus, uint64_t port, GError **error);
/* Nobody listens and nothing is under way; what is in the slots stays. */
void bays_reset(struct bays *s);
/* What is in a slot from now on; when there is nothing, nothing is under way either.  Any thread. */
void bays_set(struct bays *s, unsigned slot, const struct slot_content *content);
/* True if the guest interprets tables, so that it wants to be told and asked.  Any thread. */
bool bays_listen(struct bays *s);
/* Tells the guest that something came to the slot, if it listens.  Any thread. */
void bays_inserted(struct bays *s, unsigned slot);
/* Asks the guest, which listens, to let go of it; false if it was asked and has not answered.  Any thread. */
bool bays_want(struct bays *s, unsigned slot);
/* The first slot from 'from' on that the guest has let go of and that has not been emptied since (bays_set); the
 * count of slots if there is none.  Any thread. */
unsigned bays_ejected(struct bays *s, unsigned from);
/* It stays although the guest let go of it, which the guest cannot do again until it is reset or bays_want asks: so
 * one that does nothing else is told of once. */
void bays_keep(struct bays *s, unsigned slot);
/* One thing that the guest refused, told once: to let go of it, or ('*ret_came') to take it; _OST's status code.
 * False if there is none.  Any thread. */
bool bays_refused(struct bays *s, unsigned *ret_slot, bool *ret_came, uint32_t *ret_code);
struct state_section bays_state(struct bays *s);

/* The ports of the power block: resets (0x64, 0x92, 0xcf9 and ACPI's), ACPI's S5, exit port (0xf4), debug console
 * (0xe9).  'event' is called on the vCPU's thread; 'value' is what was written to the exit port. */
enum power_event { POWER_RESET, POWER_OFF, POWER_EXIT };
struct power;
struct power *power_new(struct serial *debug, void (*event)(void *self, enum power_event what, uint64_t value),
                        void *self);
void power_free(struct power *p);
bool power_attach(struct power *p, struct bus *bus, GError **error);

/* RTC/CMOS at 0x70/0x71 (MC146818): time of day from the host, interrupts, 128 bytes. */
struct rtc;
/* Bytes of RAM, for the CMOS. */
struct rtc_memory { uint64_t below_4g, above_4g; };
/* 'irqs' may be NULL; 'now_us' NULL: the host's UTC, else a test's, which calls rtc_tick itself. */
struct rtc *rtc_new(struct irqs *irqs, const struct rtc_memory *memory, int64_t (*now_us)(void));
void rtc_free(struct rtc *r);
bool rtc_attach(struct rtc *r, struct bus *bus, GError **error);
void rtc_reset(struct rtc *r);
void rtc_tick(struct rtc *r);                   /* as uart_tick */
void rtc_freeze(struct rtc *r, bool frozen);    /* as uart_freeze */
struct state_section rtc_state(struct rtc *r);

#endif
