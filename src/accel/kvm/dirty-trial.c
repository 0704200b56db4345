/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Does this KVM stop a vCPU that writes in kernel mode when its dirty ring is nearly full?  A virtual machine of its
 * own tries: a ring of the smallest size, and a guest of ten instructions in 32-bit protected mode, ring 0, that
 * writes to fewer pages than the ring has entries, but to more than KVM lets it fill.  So nothing can overflow,
 * whatever the answer.  A KVM that stops it leaves the guest with KVM_EXIT_DIRTY_RING_FULL as soon as the entries it
 * keeps in reserve are touched (64, and those of a processor's own log: dirty_ring.c); one that does not lets it
 * come to its end, or is some way into the reserve when a timer happens to stop the guest. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
    TRIAL_PAGES = DIRTY_RING_MIN - 16, TRIAL_CODE = 0x1000, TRIAL_FIRST = 0x2000,
    TRIAL_SIZE = TRIAL_FIRST + TRIAL_PAGES * PAGE_SIZE,
    RESERVED = 64,
    SLACK = 8,                      /* entries beyond the limit that one instruction and its exit may add */
};

struct trial {
    int vm_fd, cpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
    struct kvm_dirty_gfn *ring;
    uint32_t entries;
};

static void
write_code(uint8_t *at)
{
    static const uint8_t code[] = {
        0xbf, 0, 0, 0, 0,                       /* mov $TRIAL_FIRST, %edi */
        0xb9, 0, 0, 0, 0,                       /* mov $TRIAL_PAGES, %ecx */
        0xc6, 0x07, 1,                          /* 1: movb $1, (%edi) */
        0x81, 0xc7, 0, 0x10, 0, 0,              /* add $4096, %edi */
        0x49, 0x75, 0xf4,                       /* dec %ecx; jnz 1b */
        0xe6, 0x10, 0xf4,                       /* out %al, $0x10; hlt */
    };
    uint32_t first = TRIAL_FIRST, pages = TRIAL_PAGES;

    memcpy(at, code, sizeof code);
    memcpy(at + 1, &first, sizeof first);
    memcpy(at + 6, &pages, sizeof pages);
}

static bool
make_memory(struct trial *t)
{
    struct kvm_userspace_memory_region region = { .flags = KVM_MEM_LOG_DIRTY_PAGES, .memory_size = TRIAL_SIZE };
    void *memory = mmap(NULL, TRIAL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return false;
    t->memory = memory;
    write_code(t->memory + TRIAL_CODE);
    region.userspace_addr = (uintptr_t)memory;
    return kvm_ioctl(t->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static void *
map_cpu(const struct trial *t, size_t size, off_t page)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu_fd, page * PAGE_SIZE);

    return at == MAP_FAILED ? NULL : at;
}

static bool
make_cpu(struct trial *t, int system_fd)
{
    struct kvm_segment data = { .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1,
                                .g = 1 };
    struct kvm_segment code = data;
    struct kvm_regs regs = { .rip = TRIAL_CODE, .rflags = 2 };
    struct kvm_sregs sregs;

    t->cpu_fd = kvm_ioctl_number(t->vm_fd, KVM_CREATE_VCPU, 0);
    t->run_size = (size_t)MAX(kvm_ioctl_number(system_fd, KVM_GET_VCPU_MMAP_SIZE, 0), 0);
    if (t->cpu_fd < 0)
        return false;
    t->run = map_cpu(t, t->run_size, 0);
    t->ring = map_cpu(t, t->entries * sizeof *t->ring, KVM_DIRTY_LOG_PAGE_OFFSET);
    if (!t->run || !t->ring || kvm_ioctl(t->cpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    code.selector = 8;
    code.type = 11;
    sregs.cr0 |= 1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    return kvm_ioctl(t->cpu_fd, KVM_SET_SREGS, &sregs) == 0 && kvm_ioctl(t->cpu_fd, KVM_SET_REGS, &regs) == 0;
}

/* True if it left the guest when the reserve was reached. */
static bool
runs_in_bounds(struct trial *t)
{
    uint32_t used = 0;

    if (kvm_ioctl(t->cpu_fd, KVM_RUN, NULL) < 0 || t->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
        return false;
    while (used < t->entries && __atomic_load_n(&t->ring[used].flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)
        used++;
    return used <= t->entries - RESERVED + SLACK;
}

static void
release_trial(struct trial *t)
{
    if (t->ring)
        munmap(t->ring, t->entries * sizeof *t->ring);
    if (t->run)
        munmap(t->run, t->run_size);
    close_fd(&t->cpu_fd);
    close_fd(&t->vm_fd);
    if (t->memory)
        munmap(t->memory, TRIAL_SIZE);
}

bool
ring_trial(int system_fd, bool *ret_leaky, GError **error)
{
    struct trial t = { .vm_fd = kvm_ioctl_number(system_fd, KVM_CREATE_VM, 0), .cpu_fd = -1,
                       .entries = DIRTY_RING_MIN };
    bool ok = (t.vm_fd >= 0 || fail_host(error, errno, "cannot create a KVM virtual machine to try its dirty ring"))
        && rings_enable(t.vm_fd, &t.entries, error);

    if (ok && !(make_memory(&t) && make_cpu(&t, system_fd)))
        ok = fail_host(error, errno, "cannot try the dirty ring of this KVM");
    if (ok)
        *ret_leaky = !runs_in_bounds(&t);
    release_trial(&t);
    return ok;
}
