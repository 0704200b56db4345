/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench-boot NUMON IMAGES VERDICTS [JSON]
 * How long a virtual machine monitor takes from exec to its guest's first instruction, and to the first byte on its
 * guest's serial line: numon with several kernels, amounts of RAM and nodes; QEMU's microvm and lkvm where they are
 * installed.  Each number is the best and the median of RUNS (environment, 11).  CPU is the processor time of all its
 * threads up to the first instruction, the best of the runs: on a host with other work, that is what can be compared.
 * What the host's KVM itself takes for memory slots (much where it keeps page tables of its own for the guest) is
 * measured apart and is none of numon's share.  Fails if numon is slower than it promises; LIMIT_MS (10) and
 * SPREAD_MS (1) are for slow machines.
 *
 * The first instruction is the first KVM_RUN, which a seccomp filter tells us of: nothing else of the program is
 * slowed, and programs need not help.  A filter cannot be taken away, so the serial line has runs of its own. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUNS_DEFAULT = 11, WAIT_MS = 20000 };

struct program {
    const char *name;                   /* of the row */
    char **argv;
};

static double
clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double
now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

/* --- the program under test ------------------------------------------------------------------------------------- */

/* Stops each KVM_RUN until the descriptor's holder lets it go on; -1 if this host cannot. */
static int
filter_runs(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)KVM_RUN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { G_N_ELEMENTS(code), code };

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}

static void
send_fd(int socket, int fd)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    struct iovec one = { (char *)"", 1 };
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };

    control.header = (struct cmsghdr) { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if (sendmsg(socket, &message, 0) < 0)
        _exit(125);
}

static int
receive_fd(int socket)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    char byte;
    struct iovec one = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };
    int fd = -1;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && message.msg_controllen >= sizeof control.header)
        memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

/* Starts the program with its input open and silent and its output in '*ret_output'.  'filtered': '*ret_runs' tells
 * of KVM_RUN. */
static pid_t
start(const struct program *p, bool filtered, int *ret_input, int *ret_output, int *ret_runs)
{
    int input[2], output[2], sockets[2];
    pid_t pid;

    if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
        return -1;
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC), runs;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        runs = filtered ? filter_runs() : -1;
        if (filtered && runs < 0)
            _exit(126);
        if (filtered)
            send_fd(sockets[1], runs);
        if (filtered)
            close(runs);
        execv(p->argv[0], p->argv);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    close(sockets[1]);
    *ret_input = input[1];
    *ret_output = output[0];
    *ret_runs = filtered ? receive_fd(sockets[0]) : -1;
    close(sockets[0]);
    return pid;
}

/* Milliseconds of processor time of all threads; what the program did before exec is not counted by itself. */
static double
cpu_ms(pid_t pid)
{
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
    GDir *dir = g_dir_open(tasks, 0, NULL);
    const char *name;
    double ns = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tasks, name, "schedstat", NULL), *text = NULL;

        if (g_file_get_contents(path, &text, NULL, NULL))
            ns += g_ascii_strtod(text, NULL);
    }
    if (dir)
        g_dir_close(dir);
    return ns / 1e6;
}

struct times { double wall, cpu; };

/* Milliseconds from before exec until it happened; negative if it did not. */
static struct times
measure(const struct program *p, bool serial)
{
    int input = -1, output = -1, runs = -1;
    pid_t pid = start(p, !serial, &input, &output, &runs);
    double begun = now_ms(), ended, cpu;    /* the filter is there, or the child was made: exec comes next */
    struct pollfd happens = { serial ? output : runs, POLLIN, 0 };
    char byte;

    if (pid < 0)
        return (struct times) { -1, -1 };
    ended = happens.fd >= 0 && poll(&happens, 1, WAIT_MS) == 1 && happens.revents & POLLIN &&
            (!serial || read(output, &byte, 1) == 1) ? now_ms() : begun - 1;
    cpu = cpu_ms(pid);
    kill(pid, SIGKILL);
    if (runs >= 0)
        close(runs);
    waitpid(pid, NULL, 0);
    close(input);
    close(output);
    return (struct times) { ended - begun, cpu };
}

/* --- many of them ----------------------------------------------------------------------------------------------- */

struct result { double best, median, cpu; bool known; };

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct result
measure_often(const struct program *p, bool serial)
{
    const char *asked = getenv("RUNS");
    unsigned runs = asked ? (unsigned)MAX(atoi(asked), 1) : RUNS_DEFAULT;
    g_autofree double *walls = g_new(double, runs), *cpus = g_new(double, runs);

    for (unsigned i = 0; i < runs; i++) {
        struct times t = measure(p, serial);

        if (t.wall < 0)
            return (struct result) { .known = false };
        walls[i] = t.wall;
        cpus[i] = t.cpu;
    }
    qsort(walls, runs, sizeof walls[0], compare);
    qsort(cpus, runs, sizeof cpus[0], compare);
    return (struct result) { walls[0], walls[runs / 2], cpus[0], true };
}

static void
tell(FILE *json, const char *key, const struct result *r)
{
    if (r->known)
        printf(" %8.2f %8.2f", r->best, r->median);
    else
        printf(" %8s %8s", "-", "-");
    if (json && r->known)
        fprintf(json, ", \"%s\": {\"best_ms\": %.3f, \"median_ms\": %.3f}", key, r->best, r->median);
}

/* One row; what is known of the first instruction. */
static struct result
row(FILE *json, const char *name, char **argv)
{
    struct program p = { name, argv };
    struct result first = measure_often(&p, false), serial = measure_often(&p, true);
    static bool more;

    printf("%-38s", name);
    if (json)
        fprintf(json, "%s\n  {\"name\": \"%s\"", more ? "," : "", name);
    more = true;
    tell(json, "first_instruction", &first);
    if (first.known)
        printf(" %8.2f", first.cpu);
    else
        printf(" %8s", "-");
    if (json && first.known)
        fprintf(json, ", \"cpu_ms\": %.3f", first.cpu);
    tell(json, "first_serial_byte", &serial);
    if (json)
        fprintf(json, "}");
    printf("\n");
    fflush(stdout);
    return first;
}

/* --- what is measured ------------------------------------------------------------------------------------------- */

struct bench {
    char *numon, *images, *verdicts, *folder;
    FILE *json;
};

/* numon with a kernel, RAM in MiB and nodes, each with a CPU for at most 'cpus' of them. */
static struct result
numon_row(const struct bench *b, const char *kernel, unsigned ram, unsigned nodes, unsigned cpus, const char *what)
{
    g_autofree char *name = g_strdup_printf("numon %s, %u MiB, %u nodes", what, ram, nodes);
    g_autofree char *path = g_build_filename(b->folder, "bench.numon", NULL);
    g_autoptr(GString) script = g_string_new(NULL);
    char *argv[] = { b->numon, (char *)"--batch", (char *)"-x", path, NULL };

    g_string_append_printf(script, "accel kvm\nmemory %uM\nsmp %u\nkernel \"%s\"\nserial_target stdio\n",
                           ram, cpus, kernel);
    for (unsigned i = 0; i < nodes; i++)
        g_string_append_printf(script, "object_add memory-backend-ram,id=m%u,size=%uM\n", i, ram / nodes);
    for (unsigned i = 0; i < nodes; i++) {
        g_string_append_printf(script, "numa node,nodeid=%u,memdev=m%u", i, i);
        g_string_append_printf(script, i < cpus ? ",cpus=%u\n" : "\n", i);
    }
    g_string_append(script, "launch\nwait migration 60\n");
    if (!g_file_set_contents(path, script->str, -1, NULL))
        return (struct result) { .known = false };
    return row(b->json, name, argv);
}

static void
qemu_row(const struct bench *b)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-system-x86_64");
    g_autofree char *kernel = g_build_filename(b->images, "numon-workload-pvh.elf", NULL);
    char *argv[] = {
        qemu, (char *)"-M", (char *)"microvm,accel=kvm", (char *)"-cpu", (char *)"qemu64,-cx16", (char *)"-m",
        (char *)"1024", (char *)"-nodefaults", (char *)"-no-user-config", (char *)"-display", (char *)"none",
        (char *)"-serial", (char *)"stdio", (char *)"-kernel", kernel, (char *)"-append", (char *)"pattern=idle",
        NULL,
    };

    if (qemu)
        row(b->json, "QEMU microvm PVH, 1024 MiB", argv);
    else
        printf("QEMU microvm: not installed\n");
}

static void
lkvm_row(const struct bench *b)
{
    g_autofree char *lkvm = g_find_program_in_path("lkvm"), *kernel = g_build_filename(b->verdicts, "flat.bin", NULL);
    char *argv[] = {
        lkvm, (char *)"run", (char *)"-k", kernel, (char *)"-m", (char *)"1024", (char *)"-c", (char *)"1", NULL,
    };

    if (lkvm)
        row(b->json, "lkvm flat, 1024 MiB", argv);
    else
        printf("lkvm: not installed\n");
}

/* Milliseconds of processor time that KVM takes to be given so many MiB in so many slots; the best of a few. */
static double
slots_ms(unsigned ram, unsigned count)
{
    uint64_t size = (uint64_t)ram << 20, piece = size / count;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    double best = 1e9;

    for (unsigned turn = 0; memory != MAP_FAILED && turn < 7; turn++) {
        int system = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = system < 0 ? -1 : ioctl(system, KVM_CREATE_VM, 0);
        double begun = clock_ms(CLOCK_THREAD_CPUTIME_ID);

        for (unsigned i = 0; vm >= 0 && i < count; i++) {
            struct kvm_userspace_memory_region slot = {
                .slot = i, .guest_phys_addr = i * piece, .memory_size = piece,
                .userspace_addr = (uint64_t)(uintptr_t)memory + i * piece,
            };

            if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
                break;
        }
        best = MIN(best, clock_ms(CLOCK_THREAD_CPUTIME_ID) - begun);
        close(vm);
        close(system);
    }
    if (memory != MAP_FAILED)
        munmap(memory, size);
    return best < 1e9 ? best : 0;
}

static double
limit(const char *name, double standard)
{
    const char *text = getenv(name);

    return text ? atof(text) : standard;
}

/* 'value' less 'base', which may be nothing, and less what is KVM's own. */
static bool
holds(const char *what, const struct result *value, const struct result *base, double kvm, double most)
{
    double wall = value->best - base->best - kvm, cpu = value->cpu - base->cpu - kvm;
    /* What the program waits for but a processor is little: more is the host's other work. */
    bool busy = value->best > 2 * value->cpu || base->best > 2 * base->cpu;
    bool good = (busy ? cpu : wall) <= most;

    printf("%s: %.2f ms, %.2f ms of CPU, at most %.2f, besides %.2f ms of KVM's own: %s%s\n", what, wall, cpu, most,
           kvm, good ? "holds" : "DOES NOT HOLD", busy ? " (by CPU: the host is busy)" : "");
    return good;
}

static int
run(const struct bench *b)
{
    static const unsigned node_counts[] = { 16, 64 };
    g_autofree char *pvh = g_build_filename(b->images, "numon-workload-pvh.elf", NULL);
    g_autofree char *flat_path = g_build_filename(b->verdicts, "flat.bin", NULL);
    g_autofree char *linux_path = g_build_filename(b->verdicts, "bzimage.bin", NULL);
    g_autofree char *flat = g_strconcat("flat:", flat_path, NULL);
    const char *kernel = getenv("BENCH_KERNEL");
    double most = limit("LIMIT_MS", 10), spread = limit("SPREAD_MS", 1), slots;
    struct result base, large, nodes, nothing = { 0 };
    bool ok;

    printf("%-38s %26s %17s\n%-38s %8s %8s %8s %8s %8s\n", "milliseconds from exec to", "first instruction",
           "first serial byte", "", "best", "median", "CPU", "best", "median");
    base = numon_row(b, "builtin:workload", 1024, 0, 1, "workload");
    if (!base.known) {
        printf("cannot see numon's first KVM_RUN: no KVM, or no seccomp\n");
        return 77;
    }
    numon_row(b, "builtin:workload", 128, 0, 1, "workload");
    large = numon_row(b, "builtin:workload", 16384, 0, 1, "workload");
    slots = slots_ms(1024, 1);
    ok = holds("exec to first instruction with 1 GiB", &base, &nothing, 0, most);
    ok &= holds("16 GiB more than 1 GiB", &large, &base, slots_ms(16384, 1) - slots, spread);
    for (unsigned i = 0; i < G_N_ELEMENTS(node_counts); i++) {
        g_autofree char *what = g_strdup_printf("%u nodes more than none", node_counts[i]);

        nodes = numon_row(b, "builtin:workload", 1024, node_counts[i], 1, "workload");
        ok &= holds(what, &nodes, &base, slots_ms(1024, node_counts[i]) - slots, spread * node_counts[i] / 16);
    }
    numon_row(b, pvh, 1024, 0, 1, "PVH");
    numon_row(b, linux_path, 1024, 0, 1, "small bzImage");
    numon_row(b, flat, 1024, 0, 1, "flat");
    if (kernel)
        numon_row(b, kernel, 1024, 0, 1, "BENCH_KERNEL");
    qemu_row(b);
    lkvm_row(b);
    return ok ? 0 : 1;
}

int
main(int argc, char **argv)
{
    struct bench b = { 0 };
    g_autofree char *script = NULL;
    int status;

    if (argc < 4) {
        fprintf(stderr, "usage: bench-boot NUMON IMAGES VERDICTS [JSON]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    b = (struct bench) { argv[1], argv[2], argv[3], g_dir_make_tmp("numon-boot-XXXXXX", NULL), NULL };
    b.json = argc > 4 ? fopen(argv[4], "w") : NULL;
    if (b.json)
        fprintf(b.json, "[");
    status = run(&b);
    if (b.json) {
        fprintf(b.json, "\n]\n");
        fclose(b.json);
    }
    script = g_build_filename(b.folder, "bench.numon", NULL);
    g_unlink(script);
    g_rmdir(b.folder);
    g_free(b.folder);
    return status;
}
