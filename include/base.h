/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What every part of numon stands on: errors, sizes and lists as people write them, words of bits, locks with
 * ranks, threads, the mailbox to the main loop, jobs, counters.  Includes nothing of ours. */
#ifndef BASE_H
#define BASE_H

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- attributes ------------------------------------------------------------------------------------------- */

#if defined(__clang__)
# define CHECKED(x) __attribute__((x))
#else
# define CHECKED(x)
#endif

struct CHECKED(capability("role")) role { char unused; };

#define GUARDED             CHECKED(guarded_var)
#define REQUIRES(l)         CHECKED(requires_capability(l))
#define EXCLUDES(l)         CHECKED(locks_excluded(l))
#define MAIN_THREAD         REQUIRES(main_role)
/* For a function that implements a capability, or that makes or frees what nobody else knows. */
#define UNCHECKED           CHECKED(no_thread_safety_analysis)

/* The role of the thread that runs the GMainContext: it alone changes configuration and writes to the terminal. */
extern struct role main_role;

/* Makes the calling thread the main thread of this process; called once by main() and by each unit test's main(). */
void main_thread_claim(void);
/* Aborts unless called on the main thread; callbacks of GLib and readline start with it. */
void on_main_thread(void) CHECKED(assert_capability(main_role));

enum { PAGE_SIZE = 4096, PAGE_SHIFT = 12 };

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

/* An id of a user's object or machine, with its NUL.  A stream's block name has a length byte that QEMU's
 * scripts/analyze-migration.py reads as signed: 127 characters are what it may have. */
enum { ID_SIZE = 128 };

/* --- errors ----------------------------------------------------------------------------------------------- */

/* What a user can do about it. */
enum numon_error {
    NUMON_ERROR_ARGUMENT,       /* mend the command */
    NUMON_ERROR_STATE,          /* right command, wrong moment */
    NUMON_ERROR_HOST,           /* the host refused; the message ends with strerror */
    NUMON_ERROR_PEER,           /* the other side sent nonsense, refused or went away */
    NUMON_ERROR_LIMIT,          /* a limit of this program */
};

GQuark numon_error_quark(void);
#define NUMON_ERROR (numon_error_quark())

/* The word for an error's code, as the plain prompt shows it: "argument", "state", "host", "peer", "limit"; "ok"
 * for NULL; "error" for an error of a library. */
const char *error_word(const GError *error);

/* Sets 'error' (if not NULL) and returns false, so that "return fail(...)" works.
 * The message: the attempt first, values quoted with units, no full stop. */
bool fail(GError **error, enum numon_error code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* The same with code HOST and ": strerror(host_errno)" at the end. */
bool fail_host(GError **error, int host_errno, const char *attempt, ...) G_GNUC_PRINTF(3, 4);

/* --- numbers as people write them -------------------------------------------------------------------------- */

/* Reads a size: decimal or 0x number, fraction allowed before a suffix ("1.5G"); suffix b k M G T P E in either
 * case, optionally followed by "iB" or "B"; without suffix the number counts 'unit' bytes.  The whole text must
 * be consumed, the result must fit 64 bits and be a whole number of bytes.  Error: ARGUMENT, quotes the text. */
bool size_parse(const char *text, uint64_t unit, uint64_t *ret, GError **error);
/* The size with the largest binary unit that divides it: "2 GiB", "1536 MiB", "100 bytes", "1 byte".  Caller
 * frees. */
char *size_format(uint64_t bytes);
/* The same as a user would type it and size_parse reads back with any unit: "2G", "1536M", "100b".  Caller frees. */
char *size_spell(uint64_t bytes);
/* Reads a decimal or 0x number without sign; the whole text must be consumed.  Error: ARGUMENT. */
bool number_parse(const char *text, uint64_t *ret, GError **error);
/* Reads "3", "0-3" or "0-3,8" and sets those bits in 'words', which has room for 'limit' bits; indices must be
 * below 'limit' and ranges not fall.  On error 'words' is unchanged. */
bool list_parse(const char *text, unsigned limit, uint64_t *words, GError **error);
/* The set bits as ranges, "0-3,8"; "" if none.  Caller frees. */
char *list_format(const uint64_t *words, unsigned limit);

/* --- names of commands, options and parameters: '-' and '_' are equal ----------------------------------------- */

bool name_equal(const char *a, const char *b);
/* True if 'name' starts with the 'size' bytes of 'prefix'. */
bool name_has_prefix(const char *name, const char *prefix, size_t size);
/* How many characters must be added, dropped or changed to make 'name' of 'typed', of which the first ID_SIZE
 * count. */
unsigned name_distance(const char *typed, const char *name);

/* --- words of bits: one bit an object, 64-bit words, bit 0 lowest, as KVM's dirty log has them -------------- */

#define WORDS_FOR(bits) (((uint64_t)(bits) + 63) / 64)

static inline bool
bit_test(const uint64_t *words, uint64_t bit)
{
    return words[bit / 64] >> (bit % 64) & 1;
}

static inline void
bit_set(uint64_t *words, uint64_t bit)
{
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void
bit_clear(uint64_t *words, uint64_t bit)
{
    words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* Sets or clears 'count' bits from 'first'. */
void bits_set(uint64_t *words, uint64_t first, uint64_t count);
void bits_clear(uint64_t *words, uint64_t first, uint64_t count);
/* How many of the first 'bits' bits are set. */
uint64_t bits_count(const uint64_t *words, uint64_t bits);
/* The first set (clear) bit at or after 'from', below 'bits'; 'bits' if none. */
uint64_t bits_next(const uint64_t *words, uint64_t bits, uint64_t from);
uint64_t bits_next_clear(const uint64_t *words, uint64_t bits, uint64_t from);
/* The same operations for words that several threads share: each word changes atomically (relaxed unless said). */
void bits_set_atomic(_Atomic uint64_t *words, uint64_t first, uint64_t count);     /* release */
/* Clears the bits and returns how many were set; acquire. */
uint64_t bits_take_atomic(_Atomic uint64_t *words, uint64_t first, uint64_t count);
uint64_t bits_count_atomic(const _Atomic uint64_t *words, uint64_t bits);
uint64_t bits_next_atomic(const _Atomic uint64_t *words, uint64_t bits, uint64_t from);

/* --- locks and threads: thin wrappers over pthread, which ThreadSanitizer sees ------------------------------ */

/* Taken only upward in rank; debug builds check it per thread.  Never held over I/O, KVM_RUN, a join or a foreign
 * callback.  Ranks in use: 5 who writes guest memory, 10 run control, 12 a vCPU's nap, 15 a device, 16 interrupt
 * lines, 18 dirty limit, 20 dirty hub and slots, 22 dirty rings, 30 migration session, 40 work queues, 50 return
 * path, 55 serial ring, 57 trace, 60 mailbox. */
struct CHECKED(capability("mutex")) lock {
    pthread_mutex_t mutex;
    unsigned rank;
    const char *name;
};

void lock_init(struct lock *l, unsigned rank, const char *name);
void lock_release(struct lock *l);
void lock_take(struct lock *l) CHECKED(acquire_capability(*l));
void lock_drop(struct lock *l) CHECKED(release_capability(*l));

struct condition { pthread_cond_t cond; };      /* CLOCK_MONOTONIC */

void condition_init(struct condition *c);
void condition_release(struct condition *c);
void condition_wait(struct condition *c, struct lock *l) REQUIRES(*l);
/* Waits until g_get_monotonic_time() reaches 'deadline_us'; false when it has. */
bool condition_wait_until(struct condition *c, struct lock *l, int64_t deadline_us) REQUIRES(*l);
void condition_signal(struct condition *c);
void condition_broadcast(struct condition *c);

struct thread { pthread_t id; bool started; };

/* Starts 'body(data)' with the name shown by ps (15 characters at most), all signals blocked but 'SIGUSR1'. */
bool thread_start(struct thread *t, const char *name, void *(*body)(void *data), void *data, GError **error);
/* Waits for its end; does nothing if never started. */
void thread_join(struct thread *t);

/* --- the mailbox: how other threads reach the main thread ---------------------------------------------------- */

struct mailbox;

struct mailbox *mailbox_new(GMainContext *context);     /* NULL: the default context */
void mailbox_free(struct mailbox *m);                   /* drops (and releases) what was not delivered; main only */
/* Runs 'deliver(data)' on the main thread, in the order of posting.  'release' (may be NULL) is called on 'data'
 * after delivery or when the mailbox is freed first.  Any thread; never blocks. */
void mailbox_post(struct mailbox *m, void (*deliver)(void *data), void *data, GDestroyNotify release);
/* Delivers at once what waits; for unit tests and teardown.  Main only. */
void mailbox_drain(struct mailbox *m);
/* Drops (and releases) what was posted with this 'data' and waits: before 'data' is freed.  Main only. */
void mailbox_forget(struct mailbox *m, const void *data);

/* --- jobs: work over 50 ms that main must not do itself ------------------------------------------------------- */

struct jobs;
struct job;

struct jobs *jobs_new(struct mailbox *mailbox, unsigned threads);
/* Cancels every job, joins, and calls each 'done' that is still due before it returns; main only. */
void jobs_free(struct jobs *jobs);
/* Runs 'work' on a pool thread, then 'done' (may be NULL) on main through the mailbox.  A job that was cancelled
 * before its turn skips 'work', never 'done'.  The job is freed after 'done'.  Main only; threads start as needed,
 * and where the host gives none, 'work' is done before this returns. */
struct job *job_start(struct jobs *jobs, void (*work)(struct job *job, void *data),
                      void (*done)(struct job *job, void *data), void *data);
/* Asks 'work' to end early; it looks at job_cancelled() now and then. */
void job_cancel(struct job *job);
bool job_cancelled(struct job *job);

/* --- traces: lines about what happens inside, by class ---------------------------------------------------------- */

/* X(C name, name for people, help): all off at first. */
#define TRACE_CLASSES(X)                                                                                            \
    X(TRACE_MAP, "map", "guest memory that comes, goes or changes size, and the accelerator's slots for it")      \
    X(TRACE_EXITS, "exits", "each time a vCPU leaves its guest for numon, and what for")                           \
    X(TRACE_STREAM, "stream", "records of a migration's stream, as `explain -v` shows them")

enum trace_class {
#define X(c, name, help) c,
    TRACE_CLASSES(X)
#undef X
    TRACE_CLASSES_COUNT
};

enum { TRACE_LINES_A_SECOND = 20 };     /* of a class; what is more is counted */

struct trace_class_info { const char *name, *help; };
extern const struct trace_class_info trace_class_info[];    /* ends with a NULL name */

struct trace;
/* 'tell' gets each line on main: "exits: ...", "exits (3 lines left out): ...". */
struct trace *trace_new(struct mailbox *mailbox, void (*tell)(void *self, const char *text), void *self);
void trace_free(struct trace *t);       /* drops what was not told; main only; no writer may be left */
/* Any thread; 't' may be NULL.  Cheap: for a writer whose line takes work to make. */
bool trace_is_on(const struct trace *t, enum trace_class c);
void trace_switch(struct trace *t, enum trace_class c, bool on);
/* The same for a writer who has so many lines that most are left out: false counts one of these. */
bool trace_wants(struct trace *t, enum trace_class c);
/* Any thread; nothing if the class is off or 't' NULL.  Ranks of locks held: below 57. */
void trace_line(struct trace *t, enum trace_class c, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* --- counters: declared once with an X macro (see migrate.h); writers only add ---------------------------------- */

struct counter_info { const char *name, *unit, *help; size_t offset; };

static inline void
counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t
counter_read(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- descriptors ----------------------------------------------------------------------------------------------- */

/* Closes '*fd' if not negative and makes it -1. */
void close_fd(int *fd);
#define CLEANUP_FD __attribute__((cleanup(close_fd)))
/* Writes all of it, restarting after EINTR and waiting where the descriptor would block.  False sets errno. */
bool write_all(int fd, const void *data, size_t size);

#endif
