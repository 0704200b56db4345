/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Can this KVM run what it says that guests can have?  A KVM without hardware interprets the guest's kernel, and
 * knows fewer instructions there than the processor has: a guest that was shown such a feature would stop at its
 * first use.
 *
 * A virtual machine of its own tries, made when the first feature is asked for: 64-bit mode, ring 0, one short piece
 * of code a feature that ends in HLT.  A fault finds no handler and shuts the machine down; either way the vCPU is
 * put back before the next.  Some instructions are others with a prefix, which an interpreter may overlook: their
 * result counts too.  Features of user mode alone need no trial. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum {
    TABLE_4 = 0x1000, TABLE_3 = 0x2000, TABLE_2 = 0x3000, CODE = 0x4000, DATA = 0x8000, TRIAL_SIZE = 0x10000,
    ENTRY = 3, ENTRY_LARGE = 0x83,          /* present, writable; 2 MiB */
    EFER_LME = 1 << 8, EFER_LMA = 1 << 10,
    CR4_USUAL = 1 << 5 | 1 << 9 | 1 << 10,  /* PAE, OSFXSR, OSXMMEXCPT */
    CR4_UMIP = 1 << 11, CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22,
    RAX_BEFORE = 2, RCX_BEFORE = 7,
};
#define CR0_LONG UINT64_C(0x80000033)       /* PG NE ET MP PE */

/* RDI is the address of DATA. */
#define CODE(...) (const uint8_t[]) { __VA_ARGS__ }, sizeof (const uint8_t[]) { __VA_ARGS__ }
static const struct trial_code {
    const char *feature;
    uint32_t cr4;
    const uint8_t *code;
    size_t size;
    uint32_t eax;                           /* what it leaves there; 0: that does not count */
} trials[] = {
    { "smep", CR4_SMEP, CODE(0x90) },
    { "umip", CR4_UMIP, CODE(0x90) },
    { "pcid", CR4_PCIDE, CODE(0x90) },
    { "smap", CR4_SMAP, CODE(0x0f, 0x01, 0xcb, 0x0f, 0x01, 0xca) },                     /* stac; clac */
    { "fsgsbase", CR4_FSGSBASE, CODE(0xf3, 0x0f, 0xae, 0xc0) },                         /* rdfsbase %eax */
    { "pku", CR4_PKE, CODE(0x31, 0xc9, 0x0f, 0x01, 0xee) },                             /* rdpkru */
    { "invpcid", 0, CODE(0x66, 0x0f, 0x38, 0x82, 0x07) },
    { "cx16", 0, CODE(0xf0, 0x48, 0x0f, 0xc7, 0x0f) },                                  /* lock cmpxchg16b */
    { "rdtscp", 0, CODE(0x0f, 0x01, 0xf9) },
    { "rdpid", 0, CODE(0xf3, 0x0f, 0xc7, 0xf8) },
    { "rdrand", 0, CODE(0x0f, 0xc7, 0xf0) },
    { "rdseed", 0, CODE(0x0f, 0xc7, 0xf8) },
    { "movbe", 0, CODE(0x0f, 0x38, 0xf0, 0x07) },
    { "popcnt", 0, CODE(0xf3, 0x0f, 0xb8, 0xc1), 3 },                                   /* popcnt %ecx, %eax */
    { "abm", 0, CODE(0xf3, 0x0f, 0xbd, 0xc1), 29 },                                     /* lzcnt %ecx, %eax */
    { "bmi1", 0, CODE(0xc4, 0xe2, 0x40, 0xf2, 0xc1), RCX_BEFORE },                      /* andn %ecx, %edi, %eax */
    { "bmi2", 0, CODE(0xc4, 0xe3, 0x7b, 0xf0, 0xc1, 0x01), 0x80000003 },                /* rorx $1, %ecx, %eax */
    { "adx", 0, CODE(0x66, 0x0f, 0x38, 0xf6, 0xc1), RAX_BEFORE + RCX_BEFORE },          /* adcx %ecx, %eax */
    { "clflushopt", 0, CODE(0x66, 0x0f, 0xae, 0x3f) },
    { "clwb", 0, CODE(0x66, 0x0f, 0xae, 0x37) },
    { "clzero", 0, CODE(0x0f, 0x01, 0xfc) },
    { "3dnowprefetch", 0, CODE(0x0f, 0x0d, 0x0f) },
    { "wbnoinvd", 0, CODE(0xf3, 0x0f, 0x09) },
    { "serialize", 0, CODE(0x0f, 0x01, 0xe8) },
    { "movdiri", 0, CODE(0x0f, 0x38, 0xf9, 0x07) },
    { "movdir64b", 0, CODE(0x89, 0xf8, 0x66, 0x0f, 0x38, 0xf8, 0x07) },
    { "ssse3", 0, CODE(0x66, 0x0f, 0x38, 0x00, 0xc1) },                                 /* pshufb */
    { "sse4.1", 0, CODE(0x66, 0x0f, 0x3a, 0x16, 0xc0, 0x00) },                          /* pextrd */
    { "sse4.2", 0, CODE(0xf2, 0x0f, 0x38, 0xf0, 0xc1) },                                /* crc32b */
    { "sse4a", 0, CODE(0x66, 0x0f, 0x79, 0xc1) },                                       /* extrq */
    { "aes", 0, CODE(0x66, 0x0f, 0x38, 0xdc, 0xc1) },                                   /* aesenc */
    { "pclmulqdq", 0, CODE(0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00) },
    { "sha-ni", 0, CODE(0x0f, 0x38, 0xc8, 0xc1) },                                      /* sha1nexte */
    { "gfni", 0, CODE(0x66, 0x0f, 0x38, 0xcf, 0xc1) },                                  /* gf2p8mulb */
    /* xgetbv; xsave; xrstor */
    { "xsave", CR4_OSXSAVE, CODE(0x31, 0xc9, 0x0f, 0x01, 0xd0, 0x0f, 0xae, 0x27, 0x0f, 0xae, 0x2f) },
    { "xsaveopt", CR4_OSXSAVE, CODE(0x31, 0xd2, 0x0f, 0xae, 0x37) },
    { "xsavec", CR4_OSXSAVE, CODE(0x31, 0xd2, 0x0f, 0xc7, 0x27) },
    { "xgetbv1", CR4_OSXSAVE, CODE(0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd0) },
    { "xsaves", CR4_OSXSAVE, CODE(0x31, 0xd2, 0x0f, 0xc7, 0x2f) },
    /* xsetbv with 7; vxorps */
    { "avx", CR4_OSXSAVE, CODE(0x31, 0xc9, 0x31, 0xd2, 0xb8, 7, 0, 0, 0, 0x0f, 0x01, 0xd1, 0xc5, 0xfc, 0x57, 0xc0) },
};
#undef CODE

/* --- the virtual machine ---------------------------------------------------------------------------------------- */

static void
write_entry(uint8_t *at, uint64_t entry)
{
    memcpy(at, &entry, sizeof entry);
}

static bool
make_memory(struct cpu_trial *t)
{
    struct kvm_userspace_memory_region region = { .memory_size = TRIAL_SIZE };
    void *memory = mmap(NULL, TRIAL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return false;
    t->memory = memory;
    write_entry(t->memory + TABLE_4, TABLE_3 | ENTRY);
    write_entry(t->memory + TABLE_3, TABLE_2 | ENTRY);
    write_entry(t->memory + TABLE_2, ENTRY_LARGE);
    region.userspace_addr = (uintptr_t)memory;
    return kvm_ioctl(t->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static bool
make_cpu(struct cpu_trial *t)
{
    struct kvm_segment data = {
        .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1,
    };
    struct kvm_segment code = data;
    void *run;

    t->cpu_fd = kvm_ioctl_number(t->vm_fd, KVM_CREATE_VCPU, 0);
    t->run_size = (size_t)MAX(kvm_ioctl_number(t->system_fd, KVM_GET_VCPU_MMAP_SIZE, 0), 0);
    if (t->cpu_fd < 0 || kvm_ioctl(t->cpu_fd, KVM_SET_CPUID2, (void *)t->supported) < 0)
        return false;
    run = mmap(NULL, t->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu_fd, 0);
    if (run == MAP_FAILED)
        return false;
    t->run = run;
    if (kvm_ioctl(t->cpu_fd, KVM_GET_SREGS, &t->sregs) < 0 ||
        kvm_ioctl(t->cpu_fd, KVM_GET_VCPU_EVENTS, &t->events) < 0)
        return false;
    code.selector = 8;
    code.type = 11;
    code.db = 0;
    code.l = 1;
    t->sregs.cs = code;
    t->sregs.ds = t->sregs.es = t->sregs.fs = t->sregs.gs = t->sregs.ss = data;
    t->sregs.idt.limit = 0;
    t->sregs.cr0 = CR0_LONG;
    t->sregs.cr3 = TABLE_4;
    t->sregs.cr4 = CR4_USUAL;
    t->sregs.efer = EFER_LME | EFER_LMA;
    return true;
}

/* False if nothing can be tried: then what KVM says counts. */
static bool
begin(struct cpu_trial *t)
{
    if (!t->begun) {
        t->begun = true;
        t->vm_fd = kvm_ioctl_number(t->system_fd, KVM_CREATE_VM, 0);
        t->works = t->vm_fd >= 0 && make_memory(t) && make_cpu(t);
    }
    return t->works;
}

void
cpu_trial_release(struct cpu_trial *t)
{
    if (t->run)
        munmap(t->run, t->run_size);
    close_fd(&t->cpu_fd);
    close_fd(&t->vm_fd);
    if (t->memory)
        munmap(t->memory, TRIAL_SIZE);
}

/* --- one feature ------------------------------------------------------------------------------------------------ */

static bool
runs(struct cpu_trial *t, const struct trial_code *what)
{
    struct kvm_regs regs = {
        .rip = CODE, .rsp = DATA, .rdi = DATA, .rax = RAX_BEFORE, .rcx = RCX_BEFORE, .rflags = 2,
    };

    memcpy(t->memory + CODE, what->code, what->size);
    t->memory[CODE + what->size] = 0xf4;            /* hlt */
    if (kvm_ioctl(t->cpu_fd, KVM_SET_REGS, &regs) < 0 || kvm_ioctl(t->cpu_fd, KVM_RUN, NULL) < 0 ||
        t->run->exit_reason != KVM_EXIT_HLT || kvm_ioctl(t->cpu_fd, KVM_GET_REGS, &regs) < 0)
        return false;
    return regs.rip == CODE + what->size + 1 && (!what->eax || (uint32_t)regs.rax == what->eax);
}

static const char *
try(struct cpu_trial *t, const struct trial_code *what)
{
    struct kvm_sregs sregs = t->sregs;

    kvm_ioctl(t->cpu_fd, KVM_SET_VCPU_EVENTS, &t->events);
    sregs.cr4 |= what->cr4;
    if (kvm_ioctl(t->cpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return "does not let CR4 have it";
    return runs(t, what) ? NULL : "cannot run it in kernel mode";
}

const char *
cpu_trial_refuses(struct cpu_trial *t, const char *feature)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(trials); i++)
        if (strcmp(trials[i].feature, feature) == 0)
            return begin(t) ? try(t, &trials[i]) : NULL;
    return NULL;
}
