/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Standard input given to a command, byte by byte, instead of lines to the prompt.  What was read and not taken
 * stays in the class's buffer: the next prompt begins with it.
 *
 * A terminal is raw meanwhile, so that Ctrl-C and the like are bytes; it is as it was found whenever another
 * program may have it: at the end, however that comes, and while numon is stopped.  SIGTSTP is therefore not taken
 * when it comes but read from a descriptor, on the main loop. */
#include "monitor-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

struct grab {
    struct input *input;
    GString *buffer;                /* the class's: read, not taken */
    size_t (*typed)(void *self, const char *bytes, size_t size);
    void *self;
    unsigned read_id;               /* source of stdin; 0: what was read was not all taken */
    bool ended;                     /* end of input seen */
    bool giving, again;             /* the taker has been given something; it asked for more meanwhile */
    bool raw;                       /* the terminal was made raw; what follows is set then */
    struct termios modes_found, modes_raw;
    struct sigaction action_found;  /* of SIGTSTP */
    sigset_t mask_found;
    int stop_fd;                    /* signalfd; -1: the terminal stays raw while numon is stopped */
    unsigned stop_id;               /* its source */
};

/* The main thread has it blocked, but one that a library made may have been given it: where it can be read it
 * goes. */
static void
pass_on(int signal_number)
{
    int saved = errno;

    syscall(SYS_tgkill, getpid(), getpid(), signal_number);
    errno = saved;
}

/* The process goes on behind the raise() when somebody lets it. */
static gboolean
on_stop(int fd, GIOCondition condition, gpointer data)
{
    const struct grab *g = data;
    struct signalfd_siginfo info;

    on_main_thread();
    if (read(fd, &info, sizeof info) != sizeof info)
        return G_SOURCE_CONTINUE;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &g->modes_found);
    raise(SIGSTOP);
    while (tcsetattr(STDIN_FILENO, TCSADRAIN, &g->modes_raw) < 0 && errno == EINTR)
        continue;
    return G_SOURCE_CONTINUE;
}

static void
watch_stop(struct grab *g)
{
    struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
    sigset_t stop;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    g->stop_fd = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
    if (g->stop_fd < 0)
        return;
    pthread_sigmask(SIG_BLOCK, &stop, &g->mask_found);
    sigfillset(&action.sa_mask);
    sigaction(SIGTSTP, &action, &g->action_found);
    g->stop_id = g_unix_fd_add(g->stop_fd, G_IO_IN, on_stop, g);
}

/* With the terminal as it was found: a stop that nobody read comes now. */
static void
unwatch_stop(struct grab *g)
{
    if (g->stop_fd < 0)
        return;
    g_source_remove(g->stop_id);
    close_fd(&g->stop_fd);
    sigaction(SIGTSTP, &g->action_found, NULL);
    pthread_sigmask(SIG_SETMASK, &g->mask_found, NULL);
}

static void
make_raw(struct grab *g)
{
    if (tcgetattr(STDIN_FILENO, &g->modes_found) < 0)
        return;
    g->modes_raw = g->modes_found;
    g->modes_raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    g->modes_raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    g->modes_raw.c_cc[VMIN] = 1;
    g->modes_raw.c_cc[VTIME] = 0;
    g->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &g->modes_raw) == 0;
    if (g->raw)
        watch_stop(g);
}

static void
make_as_found(struct grab *g)
{
    if (!g->raw)
        return;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &g->modes_found);
    unwatch_stop(g);
}

static gboolean grab_readable(int fd, GIOCondition condition, gpointer data);

/* Gives what was read, as often as the taker asks for it, and reads on if all was taken.  The taker may end the
 * grab. */
static void
give(struct input *in)
{
    struct grab *g = in->grab;
    GString *buffer = g->buffer;

    if (g->giving) {
        g->again = true;
        return;
    }
    do {
        size_t taken;

        if (buffer->len == 0 && !g->ended)
            break;
        g->giving = true;
        g->again = false;
        taken = g->typed(g->self, buffer->str, buffer->len);
        g_string_erase(buffer, 0, (gssize)MIN(taken, buffer->len));
        if (in->grab != g)
            return;
        g->giving = false;
    } while (g->again);
    if (!g->read_id && !g->ended && buffer->len == 0)
        g->read_id = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, grab_readable, in);
}

static gboolean
grab_readable(int fd, GIOCondition condition, gpointer data)
{
    struct input *in = data;
    struct grab *g = in->grab;
    char bytes[4096];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);

    on_main_thread();
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    g->read_id = 0;
    g->ended = got <= 0;
    if (got > 0)
        g_string_append_len(g->buffer, bytes, got);
    give(in);
    return G_SOURCE_REMOVE;
}

bool
grab_begin(struct input *in, size_t (*typed)(void *self, const char *bytes, size_t size), void *self, GError **error)
{
    struct grab *g;

    if (!in->class->typed || in->monitor->is_peer || in->grab)
        return fail(error, NUMON_ERROR_STATE, "cannot read what is typed: %s", in->monitor->is_peer
                    ? "a peer's input is commands; its guest's output is shown by serial" : "this input has none");
    g = in->grab = g_new0(struct grab, 1);
    *g = (struct grab) { .input = in, .buffer = in->class->typed(in), .typed = typed, .self = self };
    make_raw(g);
    return true;
}

void
grab_resume(struct input *in)
{
    if (in->grab && !in->grab->read_id)
        give(in);
}

void
grab_end(struct input *in)
{
    struct grab *g = in->grab;

    if (!g)
        return;
    in->grab = NULL;
    if (g->read_id)
        g_source_remove(g->read_id);
    /* What is the end of a line to the prompt was a byte as others. */
    if (g->raw)
        g_strdelimit(g->buffer->str, "\r", '\n');
    make_as_found(g);
    g_free(g);
}
