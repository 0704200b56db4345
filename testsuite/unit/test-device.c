/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bus, serial output, UART, power ports and RTC without a guest. */
#include "device.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { COM1 = 0x3f8 };

/* --- bus -------------------------------------------------------------------------------------------------------- */

struct recorder { uint64_t offset, value; unsigned size, calls; };

static uint64_t
recorder_read(void *device, uint64_t offset, unsigned size)
{
    struct recorder *r = device;

    r->offset = offset;
    r->size = size;
    r->calls++;
    return r->value >> 8 * offset;
}

static void
recorder_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct recorder *r = device;

    r->offset = offset;
    r->size = size;
    r->calls++;
    r->value = value;
}

static const struct bus_ops recorder_ops = { recorder_read, recorder_write };

static void
test_bus(void)
{
    struct bus *bus = bus_new();
    struct recorder a = { .value = 0x8877665544332211 }, b = { .value = 0xaa };
    GError *error = NULL;

    g_assert_true(bus_claim(bus, BUS_MMIO, 0xd0000000, 8, "a", &recorder_ops, &a, &error));
    g_assert_true(bus_claim(bus, BUS_MMIO, 0xd0000008, 1, "b", &recorder_ops, &b, &error));
    g_assert_true(bus_claim(bus, BUS_PORT, 0xd0000000, 8, "other space", &recorder_ops, &b, &error));
    g_assert_false(bus_claim(bus, BUS_MMIO, 0xcffffff0, 0x11, "c", &recorder_ops, &b, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_nonnull(strstr(error->message, "to c: a has 0xd0000000 to 0xd0000007"));
    g_clear_error(&error);
    g_assert_false(bus_claim(bus, BUS_MMIO, 0xd0000007, 1, "c", &recorder_ops, &b, NULL));
    g_assert_cmphex(bus_read(bus, BUS_MMIO, 0xd0000000, 8), ==, 0x8877665544332211);
    g_assert_cmpuint(a.calls, ==, 1);
    /* Bytes 6 and 7 of a, the one of b, and one that nobody has. */
    g_assert_cmphex(bus_read(bus, BUS_MMIO, 0xd0000006, 4), ==, 0xffaa8877);
    g_assert_cmphex(bus_read(bus, BUS_MMIO, 0xcfffffff, 1), ==, 0xff);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0x1234, 4), ==, 0xffffffff);
    bus_write(bus, BUS_MMIO, 0xd0000002, 2, 0xbeef);
    g_assert_cmphex(a.value, ==, 0xbeef);
    g_assert_cmpuint(a.offset, ==, 2);
    bus_write(bus, BUS_MMIO, 0xe0000000, 8, 1);
    bus_free(bus);
    bus_free(NULL);
}

/* --- interrupt lines -------------------------------------------------------------------------------------------- */

struct lines { uint32_t levels; unsigned told; };

static void
tell_lines(void *self, unsigned gsi, bool level)
{
    struct lines *l = self;

    l->levels = (l->levels & ~(UINT32_C(1) << gsi)) | (uint32_t)level << gsi;
    l->told++;
}

static void
test_irqs(void)
{
    struct irqs *i = irqs_new();
    struct lines l = { 0 }, arrived = { .levels = 0xff };

    irqs_set(i, 3, true);                       /* nobody listens: kept */
    g_assert_cmphex(irqs_levels(i), ==, 0x08);
    irqs_connect(i, tell_lines, &l);
    irqs_set(i, 4, true);
    irqs_set(i, 4, true);
    g_assert_cmphex(l.levels, ==, 0x10);
    g_assert_cmpuint(l.told, ==, 1);
    irqs_set(i, 23, true);
    irqs_set(i, 4, false);
    g_assert_cmphex(l.levels, ==, 0x800000);
    irqs_connect(i, tell_lines, &arrived);
    irqs_tell(i);
    g_assert_cmphex(arrived.levels, ==, 0x800008);
    irqs_connect(i, NULL, NULL);
    irqs_set(i, 3, false);
    irqs_tell(i);
    g_assert_cmphex(arrived.levels, ==, 0x800008);
    g_assert_cmphex(irqs_levels(i), ==, 0x800000);
    irqs_free(i);
    irqs_free(NULL);
}

/* --- serial ----------------------------------------------------------------------------------------------------- */

static void
put_text(struct serial *s, const char *text)
{
    while (*text)
        serial_put(s, (uint8_t)*text++);
}

static void
test_ring(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct serial *s = serial_new("null", mailbox, NULL);
    uint64_t position = 0;
    g_autofree char *first = NULL, *second = NULL;
    size_t size;

    put_text(s, "hello");
    first = serial_read(s, &position, &size);
    g_assert_cmpstr(first, ==, "hello");
    g_assert_cmpuint(position, ==, 5);
    for (unsigned i = 0; i < SERIAL_RING_SIZE + 10; i++)
        serial_put(s, (uint8_t)('a' + i % 23));
    second = serial_read(s, &position, &size);
    g_assert_cmpuint(size, ==, SERIAL_RING_SIZE);
    g_assert_cmpuint(position, ==, serial_total(s));
    g_assert_cmpint(second[0], ==, 'a' + 10);
    g_assert_cmpint(second[size - 1], ==, 'a' + (SERIAL_RING_SIZE + 9) % 23);
    serial_free(s);
    serial_free(NULL);
    mailbox_free(mailbox);
}

static void
test_targets(void)
{
    static const char *const bad[] = { "", "nul", "nullx", "stdio:", "file:", "unix:", "pty:", "ptyx", "tcp:1",
                                       "FILE:x" };
    g_autofree char *deep = g_strnfill(200, 'x'), *unix_deep = g_strconcat("unix:", deep, NULL);
    GError *error = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(serial_target_check(bad[i], &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_clear_error(&error);
    }
    g_assert_false(serial_target_check(unix_deep, NULL));
    g_assert_true(serial_target_check("null", NULL) && serial_target_check("stdio", NULL));
    g_assert_true(serial_target_check("file:a b", NULL) && serial_target_check("unix:/x", NULL));
}

static char *
scratch_path(const char *name)
{
    static const char *directory;       /* made once a process; g_test has no fixture for a whole program */

    if (!directory)
        directory = g_dir_make_tmp("numon-device-XXXXXX", NULL);
    return g_build_filename(directory, name, NULL);
}

static void
test_file(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("out"), *target = g_strconcat("file:", path, NULL), *text = NULL;
    struct serial *s = serial_new(target, mailbox, NULL);
    GError *error = NULL;

    put_text(s, "one\n");
    mailbox_drain(mailbox);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "one\n");
    g_clear_pointer(&text, g_free);
    put_text(s, "two\n");           /* not delivered: serial_free writes it, and the message finds nobody */
    serial_free(s);
    mailbox_drain(mailbox);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "one\ntwo\n");
    g_unlink(path);
    g_assert_null(serial_new("file:/nowhere/at/all", mailbox, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_clear_error(&error);
    mailbox_free(mailbox);
}

static void
count_failure(void *self, const char *text)
{
    g_assert_nonnull(strstr(text, "No space left on device"));
    ++*(unsigned *)self;
}

static void
test_full_disk(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct serial *s;
    unsigned failures = 0;

    if (access("/dev/full", W_OK) < 0) {
        g_test_skip("no /dev/full");
        mailbox_free(mailbox);
        return;
    }
    s = serial_new("file:/dev/full", mailbox, NULL);
    serial_on_failure(s, count_failure, &failures);
    for (unsigned i = 0; i < 3; i++) {
        put_text(s, "lost");
        mailbox_drain(mailbox);
    }
    g_assert_cmpuint(failures, ==, 1);
    g_assert_cmpuint(serial_total(s), ==, 12);
    serial_free(s);
    mailbox_free(mailbox);
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        close_fd(&fd);
    return fd;
}

/* Turns the main loop until 'want' bytes have come. */
static void
expect_bytes(int fd, const char *want)
{
    char got[256] = "";
    size_t have = 0;

    while (have < strlen(want)) {
        ssize_t n = recv(fd, got + have, sizeof(got) - 1 - have, MSG_DONTWAIT);

        g_assert_cmpint(n, !=, 0);
        if (n > 0)
            have += n;
        else
            g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpstr(got, ==, want);
}

static void
test_unix(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("sock"), *target = g_strconcat("unix:", path, NULL);
    struct serial *s = serial_new(target, mailbox, NULL);
    GError *error = NULL;
    struct stat st;
    int client;

    g_assert_nonnull(s);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmphex(st.st_mode, ==, S_IFSOCK | 0600);
    g_assert_null(serial_new(target, mailbox, &error));         /* alive */
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_clear_error(&error);
    put_text(s, "before");
    client = connect_to(path);
    expect_bytes(client, "before");
    put_text(s, " after");
    expect_bytes(client, " after");
    close_fd(&client);
    put_text(s, "!");
    client = connect_to(path);                                  /* the next one gets the ring */
    expect_bytes(client, "before after!");
    close_fd(&client);
    serial_free(s);
    g_assert_cmpint(access(path, F_OK), <, 0);
    mailbox_free(mailbox);
}

/* A client that never reads fills its socket; the guest and main go on, and it gets the rest once it reads. */
static void
test_slow_reader(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("slow"), *target = g_strconcat("unix:", path, NULL);
    struct serial *s = serial_new(target, mailbox, NULL);
    int client = connect_to(path);
    uint64_t total = 4 * MIB, got = 0;
    char bytes[4096], last = 0;

    while (g_main_context_iteration(NULL, FALSE))
        ;
    for (uint64_t i = 0; i < total; i++) {
        serial_put(s, (uint8_t)(i == total - 1 ? '$' : '.'));
        if (i % SERIAL_RING_SIZE == 0)
            while (g_main_context_iteration(NULL, FALSE))
                ;
    }
    while (last != '$') {
        ssize_t n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n > 0) {
            got += n;
            last = bytes[n - 1];
        } else {
            g_main_context_iteration(NULL, FALSE);
        }
    }
    g_assert_cmpuint(got, >=, SERIAL_RING_SIZE);
    g_assert_cmpuint(got, <, total);                /* the ring went round under it */
    close_fd(&client);
    serial_free(s);
    mailbox_free(mailbox);
}

static void
test_socket_files(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("dead"), *target = g_strconcat("unix:", path, NULL);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct serial *s;

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    close_fd(&fd);
    s = serial_new(target, mailbox, NULL);          /* a dead one is replaced */
    g_assert_nonnull(s);
    serial_free(s);
    g_assert_true(g_file_set_contents(path, "mine", -1, NULL));
    g_assert_null(serial_new(target, mailbox, NULL));           /* a file is not */
    g_assert_cmpint(g_unlink(path), ==, 0);
    mailbox_free(mailbox);
}

/* --- uart ------------------------------------------------------------------------------------------------------- */

static int64_t fake_time_us;

static int64_t
fake_now(void)
{
    return fake_time_us;
}

struct board {
    struct mailbox *mailbox;
    struct serial *serial;
    struct irqs *irqs;
    struct bus *bus;
    struct uart *uart;
};

static void
board_init(struct board *b)
{
    b->mailbox = mailbox_new(NULL);
    b->serial = serial_new("null", b->mailbox, NULL);
    b->bus = bus_new();
    b->irqs = irqs_new();
    b->uart = uart_new(b->serial, b->irqs, UART_GSI, fake_now);
    g_assert_true(uart_attach(b->uart, b->bus, COM1, NULL));
}

static void
board_release(struct board *b)
{
    uart_free(b->uart);
    irqs_free(b->irqs);
    bus_free(b->bus);
    serial_free(b->serial);
    mailbox_free(b->mailbox);
}

static uint64_t
in(struct board *b, unsigned reg)
{
    return bus_read(b->bus, BUS_PORT, COM1 + reg, 1);
}

static void
out(struct board *b, unsigned reg, uint8_t value)
{
    bus_write(b->bus, BUS_PORT, COM1 + reg, 1, value);
}

/* The four of a PC: each at its place, every second one with another on its line, which is high while one asks. */
static void
test_uart_places(void)
{
    static const struct { uint64_t port; unsigned gsi; } wanted[SERIAL_PORTS] = {
        { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
    };
    struct mailbox *mailbox = mailbox_new(NULL);
    struct bus *bus = bus_new();
    struct irqs *irqs = irqs_new();
    struct serial *serials[SERIAL_PORTS];
    struct uart *uarts[SERIAL_PORTS];
    uint32_t high = 0;

    for (unsigned i = 0; i < SERIAL_PORTS; i++) {
        g_assert_cmphex(bus_read(bus, BUS_PORT, wanted[i].port + 4, 1), ==, 0xff);
        serials[i] = serial_new("null", mailbox, NULL);
        uarts[i] = uart_new_at(serials[i], irqs, i);
        g_assert_true(uart_attach_at(uarts[i], bus, i, NULL));
        g_assert_cmpuint(uart_state(uarts[i], i).instance, ==, i);
        bus_write(bus, BUS_PORT, wanted[i].port, 1, 'a' + i);
        bus_write(bus, BUS_PORT, wanted[i].port + 4, 1, 0xff);
        /* Never 0xff, by which the DSDT knows it. */
        g_assert_cmphex(bus_read(bus, BUS_PORT, wanted[i].port + 4, 1), ==, 0x1f);
    }
    for (unsigned i = 0; i < SERIAL_PORTS; i++) {
        g_autofree char *text = NULL;
        uint64_t position = 0;
        size_t size;

        text = serial_read(serials[i], &position, &size);
        g_assert_cmpuint(size, ==, 1);
        g_assert_cmpint(text[0], ==, 'a' + i);
        bus_write(bus, BUS_PORT, wanted[i].port + 1, 1, 0x02);          /* the transmitter is empty */
        high |= 1u << wanted[i].gsi;
        g_assert_cmphex(irqs_levels(irqs), ==, high);
    }
    for (unsigned i = 0; i < SERIAL_PORTS; i++) {
        g_assert_cmphex(irqs_levels(irqs), ==, i < 3 ? 0x18 : 0x08);
        g_assert_cmphex(bus_read(bus, BUS_PORT, wanted[i].port + 2, 1) & 0x0f, ==, 0x02);
    }
    g_assert_cmphex(irqs_levels(irqs), ==, 0);
    for (unsigned i = 0; i < SERIAL_PORTS; i++) {
        uart_free(uarts[i]);
        serial_free(serials[i]);
    }
    bus_free(bus);
    irqs_free(irqs);
    mailbox_free(mailbox);
}

static void
test_uart_registers(void)
{
    struct board b;

    board_init(&b);
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    g_assert_cmphex(in(&b, 6), ==, 0xb0);
    g_assert_cmphex(in(&b, 2), ==, 0x01);
    out(&b, 7, 0x5a);
    g_assert_cmphex(in(&b, 7), ==, 0x5a);
    out(&b, 3, 0x83);
    out(&b, 0, 0x01);
    out(&b, 1, 0x02);
    g_assert_cmphex(in(&b, 0), ==, 0x01);
    g_assert_cmphex(in(&b, 1), ==, 0x02);
    out(&b, 3, 0x03);
    g_assert_cmphex(in(&b, 1), ==, 0x00);
    g_assert_cmpuint(serial_total(b.serial), ==, 0);
    out(&b, 2, 0x01);
    g_assert_cmphex(in(&b, 2), ==, 0xc1);
    out(&b, 1, 0x02);
    g_assert_cmphex(in(&b, 2), ==, 0xc2);       /* told once, and again after a byte */
    g_assert_cmphex(in(&b, 2), ==, 0xc1);
    out(&b, 0, 'x');
    g_assert_cmphex(in(&b, 2), ==, 0xc2);
    g_assert_cmpuint(serial_total(b.serial), ==, 1);
    uart_reset(b.uart);
    g_assert_cmphex(in(&b, 2), ==, 0x01);
    g_assert_cmphex(in(&b, 7), ==, 0x00);
    board_release(&b);
}

/* What Linux's 8250 driver does to tell a 16550A. */
static void
test_uart_loopback(void)
{
    struct board b;

    board_init(&b);
    out(&b, 4, 0x1a);
    g_assert_cmphex(in(&b, 6) & 0xf0, ==, 0x90);
    out(&b, 2, 0x01);
    for (unsigned i = 0; i < 17; i++)
        out(&b, 0, (uint8_t)(0x30 + i));
    g_assert_cmphex(in(&b, 5), ==, 0x63);       /* data, overrun, empty */
    g_assert_cmphex(in(&b, 5), ==, 0x61);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmphex(in(&b, 0), ==, 0x30 + i);
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    g_assert_cmpuint(serial_total(b.serial), ==, 0);
    out(&b, 4, 0x00);
    out(&b, 0, 'y');
    g_assert_cmpuint(serial_total(b.serial), ==, 1);
    board_release(&b);
}

/* --- uart with interrupts --------------------------------------------------------------------------------------- */

static bool
line(struct board *b)
{
    return irqs_levels(b->irqs) >> UART_GSI & 1;
}

/* From outside; what has room. */
static size_t
type(struct board *b, const char *text)
{
    size_t size = serial_type(b->serial, text, strlen(text));
    struct serial_counts counts;

    serial_counts(b->serial, &counts);
    return size - counts.waiting;
}

static void
test_uart_transmit_interrupt(void)
{
    struct board b;

    board_init(&b);
    g_assert_false(line(&b));
    out(&b, 1, 0x02);
    g_assert_true(line(&b));                    /* the transmitter is empty: told when that is asked for */
    g_assert_cmphex(in(&b, 2), ==, 0x02);
    g_assert_false(line(&b));                   /* reading IIR is the answer */
    out(&b, 1, 0x02);
    g_assert_false(line(&b));                   /* it was on already */
    out(&b, 1, 0x00);
    out(&b, 1, 0x02);
    g_assert_true(line(&b));                    /* Linux tests whether it comes anew */
    out(&b, 1, 0x00);
    g_assert_false(line(&b));
    g_assert_cmphex(in(&b, 2), ==, 0x01);
    out(&b, 1, 0x02);
    in(&b, 2);
    out(&b, 0, 'x');
    g_assert_true(line(&b));
    /* Another cause goes first, and leaves this one where it was. */
    out(&b, 1, 0x07);
    g_assert_cmpuint(type(&b, "a"), ==, 1);
    g_assert_cmphex(in(&b, 2), ==, 0x04);
    g_assert_cmphex(in(&b, 0), ==, 'a');
    g_assert_cmphex(in(&b, 2), ==, 0x02);
    g_assert_false(line(&b));
    board_release(&b);
}

/* 115200 bit/s, 8 bits, no parity: four characters are 347 us. */
static void
set_up_fifo(struct board *b, uint8_t fcr)
{
    out(b, 3, 0x83);
    out(b, 0, 1);
    out(b, 1, 0);
    out(b, 3, 0x03);
    out(b, 2, fcr);
}

static void
test_uart_trigger_and_timeout(void)
{
    static const uint8_t levels[] = { 1, 4, 8, 14 };
    struct board b;

    board_init(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(levels); i++) {
        fake_time_us = 1000;
        set_up_fifo(&b, (uint8_t)(0x07 | i << 6));
        out(&b, 1, 0x01);
        for (unsigned n = 1; n <= levels[i]; n++) {
            g_assert_false(line(&b));
            g_assert_cmpuint(type(&b, "c"), ==, 1);
        }
        g_assert_true(line(&b));
        g_assert_cmphex(in(&b, 2), ==, 0xc4);
        g_assert_cmphex(in(&b, 0), ==, 'c');
        g_assert_cmpint(line(&b), ==, false);
        g_assert_cmphex(in(&b, 5) & 0x01, ==, levels[i] > 1);
    }
    /* 13 bytes are left below a trigger of 14: their time comes. */
    fake_time_us += 346;
    uart_tick(b.uart);
    g_assert_false(line(&b));
    fake_time_us += 2;
    uart_tick(b.uart);
    g_assert_true(line(&b));
    g_assert_cmphex(in(&b, 2), ==, 0xcc);
    g_assert_cmphex(in(&b, 2), ==, 0xcc);       /* only reading a byte ends it */
    g_assert_cmphex(in(&b, 0), ==, 'c');
    g_assert_false(line(&b));
    fake_time_us += 348;
    uart_tick(b.uart);
    g_assert_true(line(&b));                    /* and it comes again for the rest */
    out(&b, 2, 0x03);
    g_assert_false(line(&b));                   /* the receiver was cleared */
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    board_release(&b);
}

/* Input waits outside while the FIFO is full, in order, and nothing overruns. */
static void
test_uart_input_waits(void)
{
    struct board b;

    board_init(&b);
    g_assert_cmpuint(type(&b, "xy"), ==, 1);    /* without FIFO one byte */
    g_assert_cmpuint(serial_type(b.serial, "no", 2), ==, 0);
    g_assert_cmphex(in(&b, 0), ==, 'x');
    mailbox_drain(b.mailbox);
    g_assert_cmphex(in(&b, 0), ==, 'y');
    set_up_fifo(&b, 0x07);
    g_assert_cmpuint(type(&b, "0123456789abcdefghijklmnopqrstuvw"), ==, 16);
    for (unsigned i = 0; i < 33; i++) {
        g_assert_cmphex(in(&b, 5), ==, 0x61);
        g_assert_cmphex(in(&b, 0), ==, "0123456789abcdefghijklmnopqrstuvw"[i]);
        mailbox_drain(b.mailbox);
    }
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    /* In loopback nothing comes from outside. */
    out(&b, 4, 0x10);
    g_assert_cmpuint(type(&b, "z"), ==, 0);
    out(&b, 0, 'L');
    g_assert_cmphex(in(&b, 0), ==, 'L');
    out(&b, 4, 0x00);
    mailbox_drain(b.mailbox);
    g_assert_cmphex(in(&b, 0), ==, 'z');
    board_release(&b);
}

static void
test_uart_line_and_modem(void)
{
    struct board b;

    board_init(&b);
    set_up_fifo(&b, 0x07);
    out(&b, 1, 0x0d);                           /* received, line, modem */
    type(&b, "a");
    serial_type_break(b.serial);
    g_assert_cmphex(in(&b, 5), ==, 0xe1);       /* an error somewhere in the FIFO, not of its first byte */
    g_assert_cmphex(in(&b, 2), ==, 0xc4);
    g_assert_cmphex(in(&b, 0), ==, 'a');
    g_assert_cmphex(in(&b, 2), ==, 0xc6);
    g_assert_cmphex(in(&b, 5), ==, 0xf1);       /* break; reading it is the answer */
    g_assert_cmphex(in(&b, 5), ==, 0x61);
    g_assert_cmphex(in(&b, 2), ==, 0xc4);
    g_assert_cmphex(in(&b, 0), ==, 0);
    g_assert_false(line(&b));
    in(&b, 6);
    out(&b, 4, 0x14);                           /* loopback: carrier, ready, clear to send fall, the bell rings */
    g_assert_true(line(&b));
    g_assert_cmphex(in(&b, 2), ==, 0xc0);
    g_assert_cmphex(in(&b, 6), ==, 0x4b);
    g_assert_false(line(&b));
    out(&b, 4, 0x10);
    g_assert_cmphex(in(&b, 6), ==, 0x04);       /* the bell's end is told, not its beginning */
    for (unsigned i = 0; i < 17; i++)
        out(&b, 0, 'o');
    g_assert_cmphex(in(&b, 2), ==, 0xc6);
    g_assert_cmphex(in(&b, 5), ==, 0x63);
    board_release(&b);
}

/* A reader that does not read makes the transmitter wait; what the guest sends without looking is lost and
 * counted. */
static void
test_uart_waits_for_reader(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("uart"), *target = g_strconcat("unix:", path, ",server=on,wait=off", NULL);
    struct board b = { .mailbox = mailbox, .serial = serial_new(target, mailbox, NULL), .bus = bus_new(),
                       .irqs = irqs_new() };
    struct serial_counts counts;
    uint64_t sent = 0, got = 0;
    char bytes[4096];
    int client;

    b.uart = uart_new(b.serial, b.irqs, UART_GSI, fake_now);
    g_assert_true(uart_attach(b.uart, b.bus, COM1, NULL));
    set_up_fifo(&b, 0x07);
    while (sent < 2 * SERIAL_RING_SIZE) {       /* nobody is there: nothing waits */
        g_assert_cmphex(in(&b, 5), ==, 0x60);
        out(&b, 0, '0');
        sent++;
    }
    client = connect_to(path);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    out(&b, 1, 0x02);
    in(&b, 2);
    while (in(&b, 5) & 0x20) {
        out(&b, 0, '1');
        sent++;
        g_assert_cmpuint(sent, <, 64 * MIB);
        if (sent % 4096 == 0)
            while (g_main_context_iteration(NULL, FALSE))
                ;
    }
    in(&b, 2);
    g_assert_false(line(&b));
    for (unsigned i = 0; i < 15; i++, sent++)   /* the FIFO has room for 16 in all */
        out(&b, 0, '2');
    serial_counts(b.serial, &counts);
    g_assert_true(counts.reader);
    g_assert_cmpuint(counts.lost, ==, 0);
    out(&b, 0, '!');
    serial_counts(b.serial, &counts);
    g_assert_cmpuint(counts.lost, ==, 1);
    while (!line(&b)) {
        ssize_t n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

        got += n > 0 ? (uint64_t)n : 0;
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    g_assert_cmphex(in(&b, 2), ==, 0xc2);
    g_assert_cmpuint(serial_total(b.serial), ==, sent);
    while (got < sent - SERIAL_RING_SIZE) {     /* all but what was gone before it came */
        ssize_t n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

        got += n > 0 ? (uint64_t)n : 0;
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpint(bytes[0], !=, '0');
    close_fd(&client);
    board_release(&b);
}

static void
show_nothing(void *self)
{
    ++*(unsigned *)self;
}

/* The same where the console is the reader; a file has no need to wait for it. */
static void
test_uart_waits_for_console(void)
{
    struct serial_counts counts;
    struct board b;
    unsigned told = 0;
    uint64_t sent = 0;

    board_init(&b);
    serial_on_output(b.serial, 0, show_nothing, &told);
    for (; in(&b, 5) & 0x20; sent++) {
        out(&b, 0, 'c');
        g_assert_cmpuint(sent, <, SERIAL_RING_SIZE);
        mailbox_drain(b.mailbox);
    }
    g_assert_cmpuint(told, >, 0);
    serial_shown(b.serial, 100);
    g_assert_cmphex(in(&b, 5), ==, 0x00);
    serial_shown(b.serial, sent);
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    for (; in(&b, 5) & 0x20; sent++)
        out(&b, 0, 'c');
    serial_on_output(b.serial, 0, NULL, NULL);  /* it has gone */
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    serial_counts(b.serial, &counts);
    g_assert_cmpuint(counts.lost, ==, 0);
    g_assert_cmpuint(counts.total, ==, sent);
    board_release(&b);
}

/* A reader that goes does not leave the transmitter waiting. */
static void
test_uart_reader_goes(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("gone"), *target = g_strconcat("unix:", path, NULL);
    struct board b = { .mailbox = mailbox, .serial = serial_new(target, mailbox, NULL), .bus = bus_new(),
                       .irqs = irqs_new() };
    int client = connect_to(path);

    b.uart = uart_new(b.serial, b.irqs, UART_GSI, fake_now);
    g_assert_true(uart_attach(b.uart, b.bus, COM1, NULL));
    while (g_main_context_iteration(NULL, FALSE))
        ;
    for (uint64_t i = 0; in(&b, 5) & 0x20; i++) {
        out(&b, 0, '1');
        g_assert_cmpuint(i, <, 64 * MIB);
        if (i % 4096 == 0)
            while (g_main_context_iteration(NULL, FALSE))
                ;
    }
    close_fd(&client);
    while (!(in(&b, 5) & 0x20))
        g_main_context_iteration(NULL, FALSE);
    board_release(&b);
}

enum { ECHOED = 20000 };

/* A guest that polls and echoes, each byte with its case turned. */
static void *
echo(void *data)
{
    struct board *b = data;

    for (unsigned i = 0; i < ECHOED; i++) {
        uint8_t byte;

        while (!(in(b, 5) & 0x01))
            g_thread_yield();
        byte = (uint8_t)in(b, 0);
        while (!(in(b, 5) & 0x20))
            g_thread_yield();
        out(b, 0, byte ^ 0x20);
    }
    return NULL;
}

/* Both ends at once, by a vCPU's thread and main: all comes back, in order, and nothing is lost. */
static void
test_uart_echoes(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    g_autofree char *path = scratch_path("echo"), *target = g_strconcat("unix:", path, NULL);
    struct board b = { .mailbox = mailbox, .serial = serial_new(target, mailbox, NULL), .bus = bus_new(),
                       .irqs = irqs_new() };
    struct thread guest = { 0 };
    unsigned sent = 0, got = 0;
    int client = connect_to(path);
    char bytes[4096];

    b.uart = uart_new(b.serial, b.irqs, UART_GSI, NULL);
    g_assert_true(uart_attach(b.uart, b.bus, COM1, NULL));
    set_up_fifo(&b, 0x87);
    out(&b, 1, 0x0f);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_true(thread_start(&guest, "guest", echo, &b, NULL));
    while (got < ECHOED) {
        char byte = (char)('a' + sent % 26);
        ssize_t n;

        if (sent < ECHOED && send(client, &byte, 1, MSG_DONTWAIT) == 1)
            sent++;
        n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++, got++)
            g_assert_cmphex(bytes[i], ==, 'A' + got % 26);
        g_main_context_iteration(NULL, FALSE);
    }
    thread_join(&guest);
    close_fd(&client);
    board_release(&b);
}

static void
test_uart_pty(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct board b = { .mailbox = mailbox, .serial = serial_new("pty", mailbox, NULL), .bus = bus_new(),
                       .irqs = irqs_new() };
    g_autofree char *name = NULL;
    char got[16] = "";
    ssize_t n = 0, last;
    int other;

    g_assert_nonnull(b.serial);
    name = g_strdup(serial_pty(b.serial));
    g_assert_true(g_str_has_prefix(serial_target(b.serial), "pty:/dev/"));
    b.uart = uart_new(b.serial, b.irqs, UART_GSI, fake_now);
    g_assert_true(uart_attach(b.uart, b.bus, COM1, NULL));
    set_up_fifo(&b, 0x07);
    out(&b, 0, 'h');
    other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(other, >=, 0);
    g_assert_cmpint(write(other, "in\r\003", 4), ==, 4);
    while (!(in(&b, 5) & 0x01))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmphex(in(&b, 0), ==, 'i');
    g_assert_cmphex(in(&b, 0), ==, 'n');
    g_assert_cmphex(in(&b, 0), ==, '\r');
    g_assert_cmphex(in(&b, 0), ==, 3);
    out(&b, 0, '\n');
    while (n < 2) {
        while (g_main_context_iteration(NULL, FALSE))
            ;
        last = read(other, got + n, sizeof(got) - (size_t)n);
        g_assert_cmpint(last, >, 0);
        n += last;
    }
    g_assert_cmpstr(got, ==, "h\n");            /* raw, with no echo */
    close_fd(&other);
    other = open(name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(write(other, "2", 1), ==, 1);       /* and gone again */
    close_fd(&other);
    while (!(in(&b, 5) & 0x01))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmphex(in(&b, 0), ==, '2');
    board_release(&b);
}

/* One that goes is noticed at its output too: its input may wait for a guest that takes none. */
static void
test_uart_pty_reader_goes(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct board b = { .mailbox = mailbox, .serial = serial_new("pty", mailbox, NULL), .bus = bus_new(),
                       .irqs = irqs_new() };
    struct serial_counts counts;
    unsigned turns = 0;
    int other;

    g_assert_nonnull(b.serial);
    b.uart = uart_new(b.serial, b.irqs, UART_GSI, fake_now);
    g_assert_true(uart_attach(b.uart, b.bus, COM1, NULL));
    other = open(serial_pty(b.serial), O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(other, >=, 0);
    g_assert_cmpint(write(other, "not taken", 9), ==, 9);
    do {
        g_main_context_iteration(NULL, TRUE);
        serial_counts(b.serial, &counts);
    } while (!counts.reader || !counts.waiting);
    for (uint64_t i = 0; in(&b, 5) & 0x20; i++) {
        out(&b, 0, '1');
        g_assert_cmpuint(i, <, 64 * MIB);
        if (i % 4096 == 0)
            while (g_main_context_iteration(NULL, FALSE))
                ;
    }
    close_fd(&other);
    for (; !(in(&b, 5) & 0x20); turns++) {
        g_assert_cmpuint(turns, <, 10000);
        g_main_context_iteration(NULL, FALSE);
    }
    serial_counts(b.serial, &counts);
    g_assert_false(counts.reader);
    board_release(&b);
}

/* --- state ------------------------------------------------------------------------------------------------------ */

struct cursor { const GByteArray *bytes; size_t at; };

static bool
cursor_read(void *from, void *bytes, size_t size, GError **error)
{
    struct cursor *c = from;

    if (size > c->bytes->len - c->at)
        return fail(error, NUMON_ERROR_PEER, "stream ended");
    memcpy(bytes, c->bytes->data + c->at, size);
    c->at += size;
    return true;
}

static void
move_state(const struct state_section *from, const struct state_section *to)
{
    GByteArray *bytes = g_byte_array_new();
    struct cursor c = { .bytes = bytes };

    state_save(from, bytes);
    g_assert_true(state_load(to, from->version, cursor_read, &c, NULL));
    g_assert_cmpuint(c.at, ==, bytes->len);
    g_assert_true(to->after_load(to->object, NULL));
    g_byte_array_unref(bytes);
}

static void
test_uart_state(void)
{
    struct board a, b;
    struct state_section from, to;

    board_init(&a);
    board_init(&b);
    out(&a, 7, 0x77);
    out(&a, 4, 0x10);
    out(&a, 2, 0xc1);
    out(&a, 0, 'p');
    out(&a, 0, 'q');
    out(&a, 1, 0x01);
    uart_freeze(a.uart, true);
    uart_freeze(b.uart, true);
    g_assert_cmpuint(type(&b, "later"), ==, 0);
    fake_time_us += 1000000;
    uart_tick(a.uart);                          /* neither time nor input change it any more */
    g_assert_false(line(&a));
    from = uart_state(a.uart, 0);
    to = uart_state(b.uart, 0);
    move_state(&from, &to);
    g_assert_false(line(&b));
    uart_freeze(b.uart, false);
    fake_time_us += 1000000;
    uart_tick(b.uart);
    g_assert_true(line(&b));
    g_assert_cmphex(in(&b, 2), ==, 0xcc);
    g_assert_cmphex(in(&b, 7), ==, 0x77);
    g_assert_cmphex(in(&b, 0), ==, 'p');
    g_assert_cmphex(in(&b, 0), ==, 'q');
    g_assert_cmphex(in(&b, 5), ==, 0x60);
    out(&b, 4, 0x00);
    mailbox_drain(b.mailbox);
    g_assert_cmphex(in(&b, 0), ==, 'l');
    board_release(&a);
    board_release(&b);
}

/* --- power and rtc ---------------------------------------------------------------------------------------------- */

struct heard { unsigned resets, exits, offs; uint64_t value; };

static void
hear(void *self, enum power_event what, uint64_t value)
{
    struct heard *h = self;

    *(what == POWER_RESET ? &h->resets : what == POWER_OFF ? &h->offs : &h->exits) += 1;
    h->value = value;
}

static void
test_power(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct serial *debug = serial_new("null", mailbox, NULL);
    struct bus *bus = bus_new();
    struct heard h = { 0 };
    struct power *p = power_new(debug, hear, &h);

    g_assert_true(power_attach(p, bus, NULL));
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0x64, 1), ==, 0);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0xe9, 1), ==, 0xe9);
    bus_write(bus, BUS_PORT, 0x64, 1, 0xd1);
    g_assert_cmpuint(h.resets, ==, 0);
    bus_write(bus, BUS_PORT, 0x64, 1, 0xfe);
    g_assert_cmpuint(h.resets, ==, 1);
    bus_write(bus, BUS_PORT, 0xf4, 4, 0x1234567);
    g_assert_cmpuint(h.exits, ==, 1);
    g_assert_cmphex(h.value, ==, 0x1234567);
    bus_write(bus, BUS_PORT, 0xf4, 1, 0x23);
    g_assert_cmphex(h.value, ==, 0x23);
    bus_write(bus, BUS_PORT, 0xf4, 2, 0x2345);
    g_assert_cmphex(h.value, ==, 0x2345);
    bus_write(bus, BUS_PORT, 0xf6, 2, 0x77);    /* QEMU's takes it at all four ports */
    g_assert_cmpuint(h.exits, ==, 4);
    g_assert_cmphex(h.value, ==, 0x77);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0xf4, 4), ==, 0);
    bus_write(bus, BUS_PORT, 0x92, 1, 0x02);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0x92, 1), ==, 0x02);
    g_assert_cmpuint(h.resets, ==, 1);
    bus_write(bus, BUS_PORT, 0x92, 1, 0x03);
    g_assert_cmpuint(h.resets, ==, 2);
    bus_write(bus, BUS_PORT, 0xcf9, 1, 0x02);
    g_assert_cmpuint(h.resets, ==, 2);
    bus_write(bus, BUS_PORT, 0xcf9, 1, 0x06);
    g_assert_cmpuint(h.resets, ==, 3);
    /* Who looks for PCI finds none, and does not reset by that. */
    bus_write(bus, BUS_PORT, 0xcf8, 4, 0x80000400);
    bus_write(bus, BUS_PORT, 0xcfb, 1, 0x01);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0xcf8, 4), ==, 0xffffffff);
    g_assert_cmpuint(h.resets, ==, 3);
    bus_write(bus, BUS_PORT, 0x600, 1, 0x14);   /* S5 without enable */
    bus_write(bus, BUS_PORT, 0x600, 1, 0x2c);   /* S3 */
    bus_write(bus, BUS_PORT, 0x601, 1, 0x34);
    g_assert_cmpuint(h.offs, ==, 0);
    bus_write(bus, BUS_PORT, 0x600, 1, 0x34);
    g_assert_cmpuint(h.offs, ==, 1);
    g_assert_cmphex(bus_read(bus, BUS_PORT, 0x601, 1), ==, 0);
    bus_write(bus, BUS_PORT, 0x602, 1, 0x00);
    g_assert_cmpuint(h.resets, ==, 3);
    bus_write(bus, BUS_PORT, 0x602, 1, 0x01);
    g_assert_cmpuint(h.resets, ==, 4);
    bus_write(bus, BUS_PORT, 0xe9, 1, '#');
    g_assert_cmpuint(serial_total(debug), ==, 1);
    power_free(p);
    bus_free(bus);
    serial_free(debug);
    mailbox_free(mailbox);
}

static uint8_t
cmos(struct bus *bus, uint8_t index)
{
    bus_write(bus, BUS_PORT, 0x70, 1, index);
    return (uint8_t)bus_read(bus, BUS_PORT, 0x71, 1);
}

static void
set_cmos(struct bus *bus, uint8_t index, uint8_t value)
{
    bus_write(bus, BUS_PORT, 0x70, 1, index);
    bus_write(bus, BUS_PORT, 0x71, 1, value);
}

static time_t
rtc_time(struct bus *bus)
{
    struct tm tm = { 0 };
    int second;

    do {
        second = cmos(bus, 0);
        tm.tm_min = cmos(bus, 2);
        tm.tm_hour = cmos(bus, 4);
        tm.tm_mday = cmos(bus, 7);
        tm.tm_mon = cmos(bus, 8) - 1;
        tm.tm_year = cmos(bus, 9) + cmos(bus, 0x32) * 100 - 1900;
    } while (second != cmos(bus, 0));
    tm.tm_sec = second;
    return timegm(&tm);
}

static void
test_rtc(void)
{
    struct bus *bus = bus_new(), *other = bus_new();
    struct rtc_memory memory = { .below_4g = 3 * GIB, .above_4g = 2 * GIB };
    struct rtc *r = rtc_new(NULL, &memory, NULL), *q = rtc_new(NULL, &memory, NULL);
    struct state_section from = rtc_state(r), to = rtc_state(q);
    time_t now;

    g_assert_true(rtc_attach(r, bus, NULL) && rtc_attach(q, other, NULL));
    g_assert_cmphex(cmos(bus, 10) & 0x7f, ==, 0x26);
    g_assert_cmphex(cmos(bus, 13), ==, 0x80);
    set_cmos(bus, 11, 0x06);                    /* binary, 24 hours */
    now = time(NULL);
    g_assert_cmpint(rtc_time(bus) - now, <=, 2);
    g_assert_cmpint(rtc_time(bus) - now, >=, 0);
    set_cmos(bus, 11, 0x86);                    /* hold, set 2001-02-03 */
    set_cmos(bus, 9, 1);
    set_cmos(bus, 0x32, 20);
    set_cmos(bus, 8, 2);
    set_cmos(bus, 7, 3);
    set_cmos(bus, 4, 13);
    g_assert_cmpuint(cmos(bus, 7), ==, 3);
    set_cmos(bus, 11, 0x06);
    g_assert_cmpuint(cmos(bus, 9), ==, 1);
    g_assert_cmpuint(cmos(bus, 4), ==, 13);
    set_cmos(bus, 11, 0x04);                    /* 12 hours: 1 pm */
    g_assert_cmphex(cmos(bus, 4), ==, 0x81);
    set_cmos(bus, 11, 0x02);                    /* decimal digits */
    g_assert_cmphex(cmos(bus, 4), ==, 0x13);
    set_cmos(bus, 0x32, 0);                     /* the year 1, long before struct tm's 1900 */
    g_assert_cmphex(cmos(bus, 9), ==, 0x01);
    g_assert_cmphex(cmos(bus, 0x32), ==, 0x00);
    set_cmos(bus, 0x40, 0xa5);
    move_state(&from, &to);
    g_assert_cmphex(cmos(other, 0x40), ==, 0xa5);
    g_assert_cmphex(cmos(other, 9), ==, 0x01);
    rtc_free(r);
    rtc_free(q);
    bus_free(bus);
    bus_free(other);
}

static uint64_t
cmos_number(struct bus *bus, uint8_t index, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)cmos(bus, (uint8_t)(index + i)) << 8 * i;
    return number;
}

static void
test_rtc_memory(void)
{
    static const struct { struct rtc_memory memory; uint64_t above_1m, above_16m, above_4g; } cases[] = {
        { { 64 * KIB, 0 }, 0, 0, 0 },
        { { 8 * MIB, 0 }, 7 * 1024, 0, 0 },
        { { 3 * GIB, 5 * GIB }, 65535, (3 * GIB - 16 * MIB) / 65536, 5 * GIB / 65536 },
        { { 3 * GIB, 4096 * GIB }, 65535, (3 * GIB - 16 * MIB) / 65536, 0xffffff },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct bus *bus = bus_new();
        struct rtc *r = rtc_new(NULL, &cases[i].memory, fake_now);

        g_assert_true(rtc_attach(r, bus, NULL));
        g_assert_cmpuint(cmos_number(bus, 0x15, 2), ==, 640);
        g_assert_cmpuint(cmos_number(bus, 0x17, 2), ==, cases[i].above_1m);
        g_assert_cmpuint(cmos_number(bus, 0x30, 2), ==, cases[i].above_1m);
        g_assert_cmpuint(cmos_number(bus, 0x34, 2), ==, cases[i].above_16m);
        g_assert_cmpuint(cmos_number(bus, 0x5b, 3), ==, cases[i].above_4g);
        rtc_free(r);
        bus_free(bus);
    }
}

struct clock_board { struct bus *bus; struct irqs *irqs; struct rtc *rtc; };

/* At 2026-01-02 03:04:05.25 UTC, in binary and 24 hours. */
static void
clock_init(struct clock_board *b)
{
    static const struct rtc_memory memory = { .below_4g = 64 * MIB };

    fake_time_us = 1767323045250000;
    *b = (struct clock_board) { bus_new(), irqs_new(), NULL };
    b->rtc = rtc_new(b->irqs, &memory, fake_now);
    g_assert_true(rtc_attach(b->rtc, b->bus, NULL));
    set_cmos(b->bus, 11, 0x06);
}

static void
clock_release(struct clock_board *b)
{
    rtc_free(b->rtc);
    bus_free(b->bus);
    irqs_free(b->irqs);
}

static bool
clock_line(struct clock_board *b)
{
    return irqs_levels(b->irqs) >> 8 & 1;
}

static void
pass_time(struct clock_board *b, int64_t us)
{
    fake_time_us += us;
    rtc_tick(b->rtc);
}

static void
test_rtc_updates(void)
{
    struct clock_board b;

    clock_init(&b);
    g_assert_cmpuint(cmos(b.bus, 0), ==, 5);
    g_assert_cmphex(cmos(b.bus, 12), ==, 0);
    set_cmos(b.bus, 11, 0x16);                  /* update ended */
    pass_time(&b, 749000);
    g_assert_false(clock_line(&b));
    g_assert_cmphex(cmos(b.bus, 10) & 0x80, ==, 0);
    pass_time(&b, 800);
    g_assert_cmphex(cmos(b.bus, 10) & 0x80, ==, 0x80);
    g_assert_cmpuint(cmos(b.bus, 0), ==, 5);
    pass_time(&b, 200);
    g_assert_cmphex(cmos(b.bus, 10) & 0x80, ==, 0);
    g_assert_cmpuint(cmos(b.bus, 0), ==, 6);
    g_assert_true(clock_line(&b));
    g_assert_cmphex(cmos(b.bus, 12) & 0x90, ==, 0x90);
    g_assert_false(clock_line(&b));             /* reading is the answer */
    g_assert_cmphex(cmos(b.bus, 12), ==, 0);
    set_cmos(b.bus, 11, 0x96);                  /* SET: no updates, and their interrupt goes off */
    g_assert_cmphex(cmos(b.bus, 11), ==, 0x86);
    pass_time(&b, 3000000);
    g_assert_cmphex(cmos(b.bus, 12) & 0x10, ==, 0);
    g_assert_cmpuint(cmos(b.bus, 0), ==, 6);
    rtc_reset(b.rtc);
    g_assert_cmphex(cmos(b.bus, 11), ==, 0x02);
    clock_release(&b);
}

static void
set_alarm(struct clock_board *b, uint8_t hour, uint8_t minute, uint8_t second)
{
    set_cmos(b->bus, 5, hour);
    set_cmos(b->bus, 3, minute);
    set_cmos(b->bus, 1, second);
}

static void
test_rtc_alarm(void)
{
    struct clock_board b;

    clock_init(&b);
    set_alarm(&b, 3, 4, 7);
    set_cmos(b.bus, 11, 0x26);
    pass_time(&b, 1740000);
    g_assert_false(clock_line(&b));
    pass_time(&b, 20000);
    g_assert_true(clock_line(&b));
    g_assert_cmphex(cmos(b.bus, 12) & 0xa0, ==, 0xa0);
    pass_time(&b, (int64_t)86390 * 1000000);
    g_assert_false(clock_line(&b));
    pass_time(&b, (int64_t)20 * 1000000);       /* found late, but found */
    g_assert_true(clock_line(&b));
    cmos(b.bus, 12);
    set_alarm(&b, 0xff, 0xff, 30);              /* each minute */
    for (unsigned i = 0; i < 3; i++) {
        pass_time(&b, (int64_t)60 * 1000000);
        g_assert_true(clock_line(&b));
        g_assert_cmphex(cmos(b.bus, 12) & 0xa0, ==, 0xa0);
    }
    set_alarm(&b, 25, 0, 0);                    /* never */
    pass_time(&b, (int64_t)200000 * 1000000);
    g_assert_false(clock_line(&b));
    g_assert_cmphex(cmos(b.bus, 12) & 0x20, ==, 0);
    set_cmos(b.bus, 11, 0x24);                  /* 12 hours: 1 pm */
    set_alarm(&b, 0x81, 0, 0);
    pass_time(&b, (int64_t)86400 * 1000000);
    g_assert_true(clock_line(&b));
    clock_release(&b);
}

static void
test_rtc_period(void)
{
    struct clock_board b;
    unsigned rings = 0;

    clock_init(&b);
    set_cmos(b.bus, 10, 0x2a);                  /* 64 Hz */
    set_cmos(b.bus, 11, 0x46);
    for (unsigned i = 0; i < 1000; i++) {
        pass_time(&b, 1000);
        if (clock_line(&b)) {
            rings++;
            g_assert_cmphex(cmos(b.bus, 12) & 0xc0, ==, 0xc0);
        }
    }
    g_assert_cmpuint(rings, ==, 64);
    set_cmos(b.bus, 10, 0x20);                  /* none */
    pass_time(&b, 5000000);
    g_assert_false(clock_line(&b));
    set_cmos(b.bus, 10, 0x6a);                  /* the divider held */
    pass_time(&b, 5000000);
    g_assert_cmphex(cmos(b.bus, 12) & 0x40, ==, 0);
    clock_release(&b);
}

/* An alarm that was due while its guest moved is due on arrival. */
static void
test_rtc_moves(void)
{
    struct clock_board a, b;
    struct state_section from, to;

    clock_init(&a);
    clock_init(&b);
    set_alarm(&a, 3, 4, 8);
    set_cmos(a.bus, 11, 0x26);
    rtc_freeze(a.rtc, true);
    rtc_freeze(b.rtc, true);
    pass_time(&a, 10000000);
    g_assert_false(clock_line(&a));
    from = rtc_state(a.rtc);
    to = rtc_state(b.rtc);
    move_state(&from, &to);
    g_assert_false(clock_line(&b));
    rtc_freeze(b.rtc, false);
    g_assert_true(clock_line(&b));
    g_assert_cmphex(cmos(b.bus, 12) & 0xa0, ==, 0xa0);
    clock_release(&a);
    clock_release(&b);
}

/* By the clock of the machine: main is called when it is due. */
static void
test_rtc_rings(void)
{
    static const struct rtc_memory memory = { .below_4g = 64 * MIB };
    struct bus *bus = bus_new();
    struct irqs *irqs = irqs_new();
    struct rtc *r = rtc_new(irqs, &memory, NULL);

    g_assert_true(rtc_attach(r, bus, NULL));
    set_cmos(bus, 10, 0x26);
    set_cmos(bus, 11, 0x42);
    while (!(irqs_levels(irqs) & 1 << 8))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmphex(cmos(bus, 12) & 0xc0, ==, 0xc0);
    g_assert_cmphex(irqs_levels(irqs), ==, 0);
    while (!(irqs_levels(irqs) & 1 << 8))
        g_main_context_iteration(NULL, TRUE);
    rtc_free(r);
    bus_free(bus);
    irqs_free(irqs);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/device/bus", test_bus);
    g_test_add_func("/device/irqs", test_irqs);
    g_test_add_func("/device/serial/ring", test_ring);
    g_test_add_func("/device/serial/targets", test_targets);
    g_test_add_func("/device/serial/file", test_file);
    g_test_add_func("/device/serial/full-disk", test_full_disk);
    g_test_add_func("/device/serial/unix", test_unix);
    g_test_add_func("/device/serial/slow-reader", test_slow_reader);
    g_test_add_func("/device/serial/socket-files", test_socket_files);
    g_test_add_func("/device/uart/places", test_uart_places);
    g_test_add_func("/device/uart/registers", test_uart_registers);
    g_test_add_func("/device/uart/loopback", test_uart_loopback);
    g_test_add_func("/device/uart/transmit-interrupt", test_uart_transmit_interrupt);
    g_test_add_func("/device/uart/trigger-and-timeout", test_uart_trigger_and_timeout);
    g_test_add_func("/device/uart/input-waits", test_uart_input_waits);
    g_test_add_func("/device/uart/line-and-modem", test_uart_line_and_modem);
    g_test_add_func("/device/uart/waits-for-reader", test_uart_waits_for_reader);
    g_test_add_func("/device/uart/waits-for-console", test_uart_waits_for_console);
    g_test_add_func("/device/uart/reader-goes", test_uart_reader_goes);
    g_test_add_func("/device/uart/echoes", test_uart_echoes);
    g_test_add_func("/device/uart/pseudo-terminal", test_uart_pty);
    g_test_add_func("/device/uart/pseudo-terminal-reader-goes", test_uart_pty_reader_goes);
    g_test_add_func("/device/uart/state", test_uart_state);
    g_test_add_func("/device/power", test_power);
    g_test_add_func("/device/rtc/time", test_rtc);
    g_test_add_func("/device/rtc/memory-sizes", test_rtc_memory);
    g_test_add_func("/device/rtc/updates", test_rtc_updates);
    g_test_add_func("/device/rtc/alarm", test_rtc_alarm);
    g_test_add_func("/device/rtc/period", test_rtc_period);
    g_test_add_func("/device/rtc/moves", test_rtc_moves);
    g_test_add_func("/device/rtc/rings", test_rtc_rings);
    return g_test_run();
}
