/* SPDX-License-Identifier: GPL-3.0-or-later */
/* FADT: which fixed hardware there is (ACPI 6.4, 5.2.9).  None but what a hardware-reduced platform has (4.1):
 * registers to sleep and to reset.  There is no firmware, no power management timer and no system control interrupt;
 * events come by the Generic Event Device of the DSDT. */
#include "boot-private.h"

#include "platform.h"

struct address {                        /* table 5-1, generic address structure */
    uint8_t space, bit_width, bit_offset, access;
    uint64_t address;
} __attribute__((packed));

struct fadt {                           /* table 5-33 */
    struct acpi_header header;
    uint32_t facs, dsdt;
    uint8_t reserved_1, profile;
    uint16_t sci;
    uint32_t smi_command;
    uint8_t smi_values[4];
    uint32_t pm_blocks[8];              /* PM1a event to GPE1 */
    uint8_t pm_lengths[7], cst_control; /* and the base of GPE1 */
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_flags;
    uint8_t reserved_2;
    uint32_t flags;
    struct address reset;
    uint8_t reset_value;
    uint16_t arm_boot_flags;
    uint8_t minor_version;
    uint64_t x_facs, x_dsdt;
    struct address x_pm_blocks[8];
    struct address sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct fadt) == 276);
G_STATIC_ASSERT(offsetof(struct fadt, reset) == 116);

enum {
    FADT_MAJOR = 6, FADT_MINOR = 4,
    PROFILE_SERVER = 4,                 /* 5.2.9.1, preferred PM profile: enterprise server */
    SPACE_PORTS = 1, ACCESS_BYTE = 1,
    C2_NEVER = 0xfff, C3_NEVER = 0xfff, /* larger than 100 and 1000 us: there is no such state */
    BOOT_LEGACY_DEVICES = 1 << 0,       /* table 5-34: there is a UART to be found at the PC's place */
    BOOT_NO_VGA = 1 << 2,
    FLAG_WBINVD = 1 << 0,               /* table 5-35 */
    FLAG_NO_FIXED_POWER_BUTTON = 1 << 4, FLAG_NO_FIXED_SLEEP_BUTTON = 1 << 5,
    FLAG_RESET = 1 << 10, FLAG_HEADLESS = 1 << 12, FLAG_HARDWARE_REDUCED = 1 << 20,
};

static struct address
byte_port(uint64_t port)
{
    return (struct address) { SPACE_PORTS, 8, 0, ACCESS_BYTE, GUINT64_TO_LE(port) };
}

GByteArray *
fadt_build(uint64_t dsdt)
{
    GByteArray *table = acpi_table_begin("FACP", FADT_MAJOR, sizeof(struct fadt));
    struct fadt *f = (struct fadt *)table->data;

    f->minor_version = FADT_MINOR;
    f->dsdt = GUINT32_TO_LE((uint32_t)dsdt);
    f->x_dsdt = GUINT64_TO_LE(dsdt);
    f->profile = PROFILE_SERVER;
    f->c2_latency = GUINT16_TO_LE(C2_NEVER);
    f->c3_latency = GUINT16_TO_LE(C3_NEVER);
    f->century = PLATFORM_RTC_CENTURY;
    f->boot_flags = GUINT16_TO_LE(BOOT_LEGACY_DEVICES | BOOT_NO_VGA);
    f->flags = GUINT32_TO_LE(FLAG_WBINVD | FLAG_NO_FIXED_POWER_BUTTON | FLAG_NO_FIXED_SLEEP_BUTTON | FLAG_RESET |
                             FLAG_HEADLESS | FLAG_HARDWARE_REDUCED);
    f->reset = byte_port(PLATFORM_RESET_PORT);
    f->reset_value = PLATFORM_RESET_VALUE;
    f->sleep_control = byte_port(PLATFORM_SLEEP_CONTROL_PORT);
    f->sleep_status = byte_port(PLATFORM_SLEEP_STATUS_PORT);
    acpi_table_end(table);
    return table;
}
