/* SPDX-License-Identifier: GPL-3.0-or-later */
/* until TEXT SECONDS PROGRAM [ARGUMENT...]
 * Runs a program, prints the milliseconds from before exec until TEXT has come on its output, and ends it.  Fails
 * with status 1 if TEXT does not come: then what came is printed instead. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20 };

static double
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* With its input open and silent.  Returns -1 if there can be no such process. */
static pid_t
start(char **argv, int *ret_input, int *ret_output)
{
    int input[2], output[2];
    pid_t pid;

    if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC))
        return -1;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        dup2(output[1], STDERR_FILENO);
        execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "cannot run '%s': %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    *ret_input = input[1];
    *ret_output = output[0];
    return pid;
}

/* When it came; negative if it does not come until 'end'. */
static double
listen_for(const char *wanted, int output, double end, char *heard)
{
    struct pollfd ready = { output, POLLIN, 0 };
    size_t size = 0;
    ssize_t got;

    while (now_ms() < end && size < ROOM - 1) {
        if (poll(&ready, 1, (int)(end - now_ms()) + 1) <= 0)
            continue;
        got = read(output, heard + size, ROOM - 1 - size);
        if (got <= 0)
            return -1;
        for (ssize_t i = 0; i < got; i++)
            if (heard[size + (size_t)i] == '\0')
                heard[size + (size_t)i] = ' ';
        size += (size_t)got;
        heard[size] = '\0';
        if (strstr(heard, wanted))
            return now_ms();
    }
    return -1;
}

int
main(int argc, char **argv)
{
    static char heard[ROOM];
    double begun = now_ms(), came;
    int input, output;
    pid_t pid;

    if (argc < 4) {
        fprintf(stderr, "usage: until TEXT SECONDS PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    pid = start(argv + 3, &input, &output);
    if (pid < 0) {
        fprintf(stderr, "until: %s\n", strerror(errno));
        return 2;
    }
    came = listen_for(argv[1], output, begun + atof(argv[2]) * 1e3, heard);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (came < 0) {
        fprintf(stderr, "until: '%s' did not come; what came:\n%s\n", argv[1], heard);
        return 1;
    }
    printf("%.0f\n", came - begun);
    return 0;
}
