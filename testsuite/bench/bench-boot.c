/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench-boot NUMON IMAGES VERDICTS [JSON]
 * How long a virtual machine monitor takes from exec to its guest's first instruction, and to the first byte on its
 * guest's serial line: numon with several kernels, amounts of RAM and nodes; QEMU's microvm and lkvm where they are
 * installed.  All take turns, RUNS times (environment, 11), so that what else the host does meets all alike; each
 * number is the best and the median.  CPU is the processor time of all threads up to the first instruction, the
 * median: on a host with other work, that is what can be compared.
 *
 * What RAM and nodes add is the median of the differences within a turn.  What the host's KVM itself takes for memory
 * slots (much where it keeps page tables of its own for the guest) is measured apart, by a process that does nothing
 * else, and is none of numon's share.  Fails if numon is slower than it promises; LIMIT_MS (10) and SPREAD_MS (1) are
 * for slow machines.
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

enum { RUNS_DEFAULT = 11, RUNS_MOST = 200, ROWS_MOST = 24, WAIT_MS = 20000 };

struct program {
    const char *name;                   /* of the row */
    char *const *argv;
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

/* A program, and what was found: a number a turn, negative if it was not to be had. */
struct row {
    char *name;
    char *argv[24];
    unsigned ram, slots;                /* of its guest: MiB, and pieces; 0: not compared with others */
    double first[RUNS_MOST], cpu[RUNS_MOST], serial[RUNS_MOST], kvm[RUNS_MOST];
};

struct bench {
    char *numon, *images, *verdicts, *folder;
    struct row rows[ROWS_MOST];
    unsigned count, runs;
};

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The n-th of 'runs' numbers by size; 0 is the best. */
static double
sorted(const double *numbers, unsigned runs, unsigned n)
{
    double copy[RUNS_MOST];

    memcpy(copy, numbers, runs * sizeof copy[0]);
    qsort(copy, runs, sizeof copy[0], compare);
    return copy[n];
}

/* Milliseconds of processor time that KVM takes to be given so many MiB in so many slots, in this process. */
static double
slots_ms(unsigned ram, unsigned count)
{
    uint64_t size = (uint64_t)ram << 20, piece = size / count;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int system = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = system < 0 ? -1 : ioctl(system, KVM_CREATE_VM, 0);
    double begun = clock_ms(CLOCK_THREAD_CPUTIME_ID);

    if (memory == MAP_FAILED || vm < 0)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        struct kvm_userspace_memory_region slot = {
            .slot = i, .guest_phys_addr = i * piece, .memory_size = piece,
            .userspace_addr = (uint64_t)(uintptr_t)memory + i * piece,
        };

        if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return 0;
    }
    return clock_ms(CLOCK_THREAD_CPUTIME_ID) - begun;
}

/* The same in a process of its own, whose KVM has nothing at hand from before. */
static double
fresh_slots_ms(unsigned ram, unsigned count)
{
    double ms = 0;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    pid = fork();
    if (pid == 0) {
        ms = slots_ms(ram, count);
        _exit(write(ends[1], &ms, sizeof ms) != sizeof ms);
    }
    close(ends[1]);
    if (read(ends[0], &ms, sizeof ms) != sizeof ms)
        ms = 0;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return ms;
}

static void
take_turn(struct bench *b, unsigned turn)
{
    for (unsigned i = 0; i < b->count; i++) {
        struct row *r = &b->rows[i];
        struct program p = { r->name, r->argv };
        struct times first = measure(&p, false);

        r->first[turn] = first.wall;
        r->cpu[turn] = first.cpu;
        r->serial[turn] = measure(&p, true).wall;
        r->kvm[turn] = r->slots ? fresh_slots_ms(r->ram, r->slots) : 0;
    }
}

/* --- what is told ----------------------------------------------------------------------------------------------- */

static void
tell(FILE *json, const char *key, const double *numbers, unsigned runs)
{
    double best = sorted(numbers, runs, 0), median = sorted(numbers, runs, runs / 2);

    if (best < 0) {
        printf(" %8s %8s", "-", "-");
        return;
    }
    printf(" %8.2f %8.2f", best, median);
    if (json)
        fprintf(json, ", \"%s\": {\"best_ms\": %.3f, \"median_ms\": %.3f}", key, best, median);
}

static void
tell_rows(const struct bench *b, FILE *json)
{
    printf("%-38s %26s %17s\n%-38s %8s %8s %8s %8s %8s\n", "milliseconds from exec to", "first instruction",
           "first serial byte", "", "best", "median", "CPU", "best", "median");
    for (unsigned i = 0; i < b->count; i++) {
        const struct row *r = &b->rows[i];
        double cpu = sorted(r->cpu, b->runs, b->runs / 2);

        printf("%-38s", r->name);
        if (json)
            fprintf(json, "%s\n  {\"name\": \"%s\"", i ? "," : "[", r->name);
        tell(json, "first_instruction", r->first, b->runs);
        if (sorted(r->first, b->runs, 0) < 0)
            printf(" %8s", "-");
        else
            printf(" %8.2f", cpu);
        if (json)
            fprintf(json, ", \"cpu_ms\": %.3f", cpu);
        tell(json, "first_serial_byte", r->serial, b->runs);
        if (json)
            fprintf(json, "}");
        printf("\n");
    }
    if (json)
        fprintf(json, "\n]\n");
}

/* --- what is measured ------------------------------------------------------------------------------------------- */

static struct row *
add_row(struct bench *b, char *name, char *const *argv)
{
    struct row *r = &b->rows[b->count++];

    g_assert(b->count <= ROWS_MOST);
    r->name = name;
    for (unsigned i = 0; argv[i]; i++)
        r->argv[i] = argv[i];
    return r;
}

/* numon with a kernel, RAM in MiB and nodes, the first of which has the CPU. */
static struct row *
add_numon(struct bench *b, const char *kernel, unsigned ram, unsigned nodes, const char *what)
{
    g_autofree char *file = g_strdup_printf("%u.numon", b->count);
    char *path = g_build_filename(b->folder, file, NULL);
    g_autoptr(GString) script = g_string_new(NULL);
    struct row *r = add_row(b, g_strdup_printf("numon %s, %u MiB, %u nodes", what, ram, nodes),
                            (char *[]) { b->numon, (char *)"--batch", (char *)"-x", path, NULL });

    g_string_append_printf(script, "accel kvm\nmemory %uM\nkernel \"%s\"\nserial_target stdio\n", ram, kernel);
    for (unsigned i = 0; i < nodes; i++)
        g_string_append_printf(script, "object_add memory-backend-ram,id=m%u,size=%uM\n", i, ram / nodes);
    for (unsigned i = 0; i < nodes; i++)
        g_string_append_printf(script, "numa node,nodeid=%u,memdev=m%u%s\n", i, i, i ? "" : ",cpus=0");
    g_string_append(script, "launch\nwait migration 60\n");
    if (!g_file_set_contents(path, script->str, -1, NULL))
        fprintf(stderr, "bench-boot: cannot write '%s'\n", path);
    r->ram = ram;
    r->slots = nodes ? nodes : 1;
    return r;
}

static void
add_others(struct bench *b)
{
    char *qemu = g_find_program_in_path("qemu-system-x86_64"), *lkvm = g_find_program_in_path("lkvm");
    char *pvh = g_build_filename(b->images, "numon-workload-pvh.elf", NULL);
    char *flat = g_build_filename(b->verdicts, "flat.bin", NULL);

    if (qemu)
        add_row(b, g_strdup("QEMU microvm PVH, 1024 MiB"), (char *[]) {
            qemu, (char *)"-M", (char *)"microvm,accel=kvm", (char *)"-cpu", (char *)"qemu64,-cx16", (char *)"-m",
            (char *)"1024", (char *)"-nodefaults", (char *)"-no-user-config", (char *)"-display", (char *)"none",
            (char *)"-serial", (char *)"stdio", (char *)"-kernel", pvh, (char *)"-append", (char *)"pattern=idle",
            NULL });
    else
        printf("QEMU microvm: not installed\n");
    if (lkvm)
        add_row(b, g_strdup("lkvm flat, 1024 MiB"), (char *[]) {
            lkvm, (char *)"run", (char *)"-k", flat, (char *)"-m", (char *)"1024", (char *)"-c", (char *)"1", NULL });
    else
        printf("lkvm: not installed\n");
}

static double
limit(const char *name, double standard)
{
    const char *text = getenv(name);

    return text ? atof(text) : standard;
}

/* What 'r' takes more than 'base' (NULL: nothing), less what is KVM's own; by the clock, or on a host that is busy by
 * processor time: what the program waits for but a processor is little. */
static bool
holds(const struct bench *b, const char *what, const struct row *r, const struct row *base, double most)
{
    double wall[RUNS_MOST], cpu[RUNS_MOST], kvm[RUNS_MOST], of_wall, of_cpu;
    bool busy = sorted(r->first, b->runs, b->runs / 2) > 2 * sorted(r->cpu, b->runs, b->runs / 2), good;

    for (unsigned i = 0; i < b->runs; i++) {
        kvm[i] = base ? r->kvm[i] - base->kvm[i] : 0;
        wall[i] = r->first[i] - (base ? base->first[i] : 0) - kvm[i];
        cpu[i] = r->cpu[i] - (base ? base->cpu[i] : 0) - kvm[i];
    }
    of_wall = sorted(wall, b->runs, b->runs / 2);
    of_cpu = sorted(cpu, b->runs, b->runs / 2);
    good = (busy ? of_cpu : of_wall) <= most;
    printf("%s: %.2f ms, %.2f ms of CPU, at most %.2f, besides %.2f ms of KVM's own: %s%s\n", what, of_wall, of_cpu,
           most, sorted(kvm, b->runs, b->runs / 2), good ? "holds" : "DOES NOT HOLD",
           busy ? " (by CPU: the host is busy)" : "");
    return good;
}

static int
run(struct bench *b, FILE *json)
{
    static const unsigned rams[] = { 256, 4096, 16384 }, nodes[] = { 2, 16, 64, 128 };
    g_autofree char *pvh = g_build_filename(b->images, "numon-workload-pvh.elf", NULL);
    g_autofree char *flat_path = g_build_filename(b->verdicts, "flat.bin", NULL);
    g_autofree char *linux_path = g_build_filename(b->verdicts, "bzimage.bin", NULL);
    g_autofree char *flat = g_strconcat("flat:", flat_path, NULL);
    const char *kernel = getenv("BENCH_KERNEL");
    double spread = limit("SPREAD_MS", 1);
    struct row *base = add_numon(b, "builtin:workload", 1024, 0, "workload");
    struct row *of_ram[G_N_ELEMENTS(rams)], *of_nodes[G_N_ELEMENTS(nodes)];
    bool ok;

    for (unsigned i = 0; i < G_N_ELEMENTS(rams); i++)
        of_ram[i] = add_numon(b, "builtin:workload", rams[i], 0, "workload");
    for (unsigned i = 0; i < G_N_ELEMENTS(nodes); i++)
        of_nodes[i] = add_numon(b, "builtin:workload", 1024, nodes[i], "workload");
    add_numon(b, pvh, 1024, 0, "PVH");
    add_numon(b, linux_path, 1024, 0, "small bzImage");
    add_numon(b, flat, 1024, 0, "flat");
    if (kernel)
        add_numon(b, kernel, 1024, 0, "BENCH_KERNEL");
    add_others(b);
    for (unsigned turn = 0; turn < b->runs; turn++)
        take_turn(b, turn);
    if (sorted(base->first, b->runs, 0) < 0) {
        printf("cannot see numon's first KVM_RUN: no KVM, or no seccomp\n");
        return 77;
    }
    tell_rows(b, json);
    ok = holds(b, "exec to first instruction with 1 GiB", base, NULL, limit("LIMIT_MS", 10));
    for (unsigned i = 0; i < G_N_ELEMENTS(rams); i++) {
        g_autofree char *what = g_strdup_printf("%u MiB more than 1 GiB", rams[i]);

        ok &= holds(b, what, of_ram[i], base, spread);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(nodes); i++) {
        g_autofree char *what = g_strdup_printf("%u nodes more than none", nodes[i]);

        ok &= holds(b, what, of_nodes[i], base, spread * MAX(nodes[i] / 16, 1));
    }
    return ok ? 0 : 1;
}

static void
clean_up(struct bench *b)
{
    for (unsigned i = 0; i < b->count; i++) {
        g_autofree char *file = g_strdup_printf("%u.numon", i), *path = g_build_filename(b->folder, file, NULL);

        g_unlink(path);
    }
    g_rmdir(b->folder);
}

int
main(int argc, char **argv)
{
    g_autofree struct bench *b = g_new0(struct bench, 1);
    const char *asked = getenv("RUNS");
    FILE *json;
    int status;

    if (argc < 4) {
        fprintf(stderr, "usage: bench-boot NUMON IMAGES VERDICTS [JSON]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    b->numon = argv[1];
    b->images = argv[2];
    b->verdicts = argv[3];
    b->folder = g_dir_make_tmp("numon-boot-XXXXXX", NULL);
    b->runs = asked ? (unsigned)CLAMP(atoi(asked), 1, RUNS_MOST) : RUNS_DEFAULT;
    json = argc > 4 ? fopen(argv[4], "w") : NULL;
    status = run(b, json);
    if (json)
        fclose(json);
    clean_up(b);
    return status;
}
