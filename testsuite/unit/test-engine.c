/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What turns a migration beyond the plain precopy of test-migrate.c: parameters, capabilities, the pause before the
 * switchover, transports without a listener.  Source and destination in one process. */
#include "migrate-fake.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/migrate/migrate-private.h"

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

/* --- parameters and capabilities -------------------------------------------------------------------------------- */

static void
choices_and_numbers_are_set_and_shown(void)
{
    struct migrate_parameters p;
    g_autoptr(GError) error = NULL;

    migrate_parameters_init(&p);
    int at = property_find(migrate_parameter_properties, "switchover");
    g_assert_cmpint(at, >=, 0);
    g_autofree char *first = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(first, ==, "patient");
    g_assert_true(migrate_parameter_set(&p, "switchover", "eager", &error));
    g_autofree char *second = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(second, ==, "eager");
    g_assert_false(migrate_parameter_set(&p, "switchover", "hasty", &error));
    g_assert_nonnull(strstr(error->message, "patient or eager"));
    g_autofree char *third = migrate_parameter_text(&p, (unsigned)at);
    g_assert_cmpstr(third, ==, "eager");
}

static void
capabilities_of_others_are_refused_by_name(void)
{
    struct migrate_capabilities c = { 0 };
    static const char *const names[] = { "postcopy-ram", "multifd", "x_colo", "release-ram", "mapped-ram" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(migrate_capability_set(&c, names[i], true, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_assert_nonnull(strstr(error->message, "not supported by numon"));
    }
    g_assert_true(migrate_capability_set(&c, "zero-blocks", true, NULL));
    g_assert_true(migrate_capability_set(&c, "pause_before_switchover", true, NULL));
    g_assert_true(c.pause_before_switchover);
}

/* --- the switchover --------------------------------------------------------------------------------------------- */

/* On a line that needs seconds for the first pass the eager rule stops the guest within it. */
static void
eager_stops_within_the_first_pass(void)
{
    struct pair p;
    struct migrate_info info;

    pair_open(&p, MIDDLE, 20, 21);
    atomic_store(&p.parameters.max_bandwidth, MIB);
    atomic_store(&p.parameters.downtime_limit, 2000000);
    atomic_store(&p.parameters.switchover, SWITCHOVER_EAGER);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpstr(p.from.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.downtime_bytes, >, info.precopy_bytes);
    migrate_info_release(&info);
    pair_release(&p);
}

/* A stream in a file: what was sent whole and became zero goes whole again, also if the first pass was broken off. */
static void
eager_file_holds_the_guest(void)
{
    struct pair p;

    pair_open(&p, MIDDLE, 1000, 22);
    atomic_store(&p.parameters.max_bandwidth, 8 * MIB);
    atomic_store(&p.parameters.downtime_limit, 300);
    atomic_store(&p.parameters.switchover, SWITCHOVER_EAGER);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    g_assert_true(session_start(p.from.session, out, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_true(session_start(p.to.session, in, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    g_unlink(file);
    pair_release(&p);
}

static void
guest_waits_before_the_switchover(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;

    pair_open(&p, SMALL, 20, 23);
    p.capabilities.pause_before_switchover = true;
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_state(&p.from) == MIGRATE_PRE_SWITCHOVER);
    g_assert_false(p.from.fake.running);
    PAIR_WAIT(&p, side_state(&p.to) == MIGRATE_ACTIVE);
    g_assert_false(session_continue(p.from.session, MIGRATE_ACTIVE, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_true(session_continue(p.from.session, MIGRATE_PRE_SWITCHOVER, NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpstr(p.from.states->str, ==, "setup active pre-switchover device completed");
    g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
    pair_assert_equal(&p);
    g_assert_false(session_continue(p.from.session, MIGRATE_PRE_SWITCHOVER, NULL));
    pair_release(&p);
}

/* A cancel, or a destination that goes away, ends the pause, and the guest goes on. */
static void
pause_before_switchover_is_released(void)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        struct pair p;

        pair_open(&p, SMALL, 20, 24);
        p.capabilities.pause_before_switchover = true;
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        PAIR_WAIT(&p, side_state(&p.from) == MIGRATE_PRE_SWITCHOVER);
        g_assert_true(session_cancel(lost ? p.to.session : p.from.session, NULL));
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpstr(p.from.states->str, ==, lost ? "setup active pre-switchover failed"
                                                     : "setup active pre-switchover cancelling cancelled");
        g_assert_cmpuint(p.from.fake.go_ons, ==, 1);
        g_assert_true(p.from.fake.running);
        g_assert_cmpuint(p.to.fake.starts, ==, 0);
        pair_release(&p);
    }
}

/* A line that would be done in a second is taken for a narrow one until the user says what it can do. */
static void
bandwidth_that_is_told_counts_at_once(void)
{
    struct pair p;

    pair_open(&p, SMALL, 50, 25);
    atomic_store(&p.parameters.max_bandwidth, MIB);
    atomic_store(&p.parameters.downtime_limit, 1);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, p.from.passes >= 3);
    g_assert_cmpint(side_state(&p.from), ==, MIGRATE_ACTIVE);
    g_assert_true(migrate_parameter_set(&p.parameters, "avail-switchover-bandwidth", "100G", NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    pair_release(&p);
}

/* Two seconds in which it dirties too much throttle it; who switches that off ends it, and so does the end of the
 * migration, whichever. */
static void
throttle_ends_with_the_migration(void)
{
    struct pair p;
    struct migrate_info info;

    pair_open(&p, SMALL, 50, 26);
    p.capabilities.auto_converge = true;
    atomic_store(&p.parameters.max_bandwidth, MIB);
    atomic_store(&p.parameters.downtime_limit, 0);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, p.from.fake.throttle >= 20);
    PAIR_WAIT(&p, (session_info(p.from.session, &info), migrate_info_release(&info), info.throttle_percent >= 20));
    g_assert_cmpuint(info.throttle_strikes, >=, 2);
    p.capabilities.auto_converge = false;
    PAIR_WAIT(&p, p.from.fake.throttle == 0);
    g_assert_false(side_ended(&p.from));
    p.capabilities.auto_converge = true;
    PAIR_WAIT(&p, p.from.fake.throttle >= 20);
    g_assert_true(session_cancel(p.from.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpuint(p.from.fake.throttle, ==, 0);
    g_assert_cmpuint(p.from.fake.throttles, >=, 2);
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.throttle_percent, ==, 0);
    migrate_info_release(&info);
    pair_release(&p);
}

/* --- transports ------------------------------------------------------------------------------------------------- */

/* Moves the guest out to 'out', then in from 'in'. */
static void
move_one_way(struct pair *p, const char *out, const char *in)
{
    GError *error = NULL;

    session_start(p->from.session, out, &error);
    g_assert_no_error(error);
    PAIR_WAIT(p, side_ended(&p->from));
    g_assert_cmpstr(p->from.states->str, ==, "setup active device completed");
    g_assert_cmpint(session_owner(p->from.session), ==, OWNER_COPY);
    session_start(p->to.session, in, &error);
    g_assert_no_error(error);
    PAIR_WAIT(p, side_ended(&p->to));
    g_assert_cmpstr(p->to.states->str, ==, "setup active device completed");
    pair_assert_equal(p);
}

static void
file_takes_its_name_when_it_is_whole(void)
{
    struct pair p;
    struct stat file;

    pair_open(&p, SMALL, 20, 31);
    g_autofree char *path = g_build_filename(p.directory, "file", NULL);
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    g_assert_true(g_file_set_contents(path, "older", -1, NULL));
    atomic_store(&p.parameters.max_bandwidth, 64 * KIB);
    g_assert_true(session_start(p.from.session, uri, NULL));
    PAIR_WAIT(&p, side_state(&p.from) == MIGRATE_ACTIVE);
    g_assert_cmpint(stat(path, &file), ==, 0);
    g_assert_cmpint(file.st_size, ==, 5);
    g_assert_true(session_cancel(p.from.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_cmpint(stat(path, &file), ==, 0);
    g_assert_cmpint(file.st_size, ==, 5);
    GDir *directory = g_dir_open(p.directory, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(directory), ==, "file");
    g_assert_null(g_dir_read_name(directory));
    g_dir_close(directory);
    atomic_store(&p.parameters.max_bandwidth, 0);
    pair_sessions(&p);
    move_one_way(&p, uri, uri);
    g_assert_cmpint(stat(path, &file), ==, 0);
    g_assert_cmpuint(file.st_mode & 0777, ==, 0600);
    g_unlink(path);
    pair_release(&p);
}

/* What the library calls for a folder here fails so; 0: it is done. */
static _Atomic int folder_errno;

int
fsync(int fd)
{
    int wanted = atomic_load(&folder_errno);
    struct stat file;

    if (!wanted || fstat(fd, &file) != 0 || !S_ISDIR(file.st_mode))
        return (int)syscall(SYS_fsync, fd);
    errno = wanted;
    return -1;
}

/* Some file systems cannot bring a folder to the disk: the stream is whole in its file all the same. */
static void
folder_that_cannot_be_synced_does_not_matter(void)
{
    struct migrate_info info;
    struct pair p;

    pair_open(&p, SMALL, 20, 34);
    g_autofree char *path = g_build_filename(p.directory, "file", NULL);
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    atomic_store(&folder_errno, EIO);
    g_assert_true(session_start(p.from.session, uri, NULL));
    PAIR_WAIT(&p, side_ended(&p.from));
    session_info(p.from.session, &info);
    g_assert_cmpint(info.state, ==, MIGRATE_FAILED);
    g_assert_nonnull(strstr(info.error, "the stream is whole in '"));
    migrate_info_release(&info);
    pair_sessions(&p);
    atomic_store(&folder_errno, EINVAL);
    move_one_way(&p, uri, uri);
    atomic_store(&folder_errno, 0);
    g_unlink(path);
    pair_release(&p);
}

static void
file_with_offset_is_written_in_place(void)
{
    struct pair p;
    g_autofree char *data = NULL;
    size_t size;

    pair_open(&p, SMALL, 20, 32);
    g_autofree char *path = g_build_filename(p.directory, "file", NULL);
    g_autofree char *uri = g_strdup_printf("file:%s,offset=4K", path);
    g_assert_true(g_file_set_contents(path, "header", -1, NULL));
    move_one_way(&p, uri, uri);
    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    g_assert_cmpmem(data, 6, "header", 6);
    g_assert_cmpmem(data + 4096, 4, "QEVM", 4);
    g_unlink(path);
    pair_release(&p);
}

static void
what_is_no_file_is_left_alone(void)
{
    struct pair p;
    static const char *const uris[] = { "file:/dev/null", "file:/tmp", "file:/proc/nobody/x",
                                        "file:/dev/null,offset=1" };

    pair_init(&p, SMALL, 0);
    fake_run(&p.from.fake);
    for (unsigned i = 0; i < G_N_ELEMENTS(uris); i++) {
        pair_sessions(&p);
        g_assert_true(session_start(p.from.session, uris[i], NULL));
        PAIR_WAIT(&p, side_ended(&p.from));
        g_assert_cmpint(side_state(&p.from), ==, MIGRATE_FAILED);
    }
    struct stat file;
    g_assert_cmpint(stat("/dev/null", &file), ==, 0);
    g_assert_true(S_ISCHR(file.st_mode));
    pair_release(&p);
}

static void
inherited_socket_is_two_way(void)
{
    struct pair p;
    int ends[2];

    pair_open(&p, SMALL, 20, 33);
    p.capabilities.return_path = true;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    g_autofree char *out = g_strdup_printf("fd:%d", ends[0]);
    g_autofree char *in = g_strdup_printf("fd:%d", ends[1]);
    pair_start(&p, out, in);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpstr(p.from.states->str, ==, "setup active device completed");
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_THERE);
    pair_assert_equal(&p);
    pair_release(&p);
}

static void
inherited_pipe_is_one_way(void)
{
    struct pair p;
    int ends[2];
    g_autoptr(GError) error = NULL;

    pair_open(&p, SMALL, 20, 34);
    g_assert_cmpint(pipe(ends), ==, 0);
    g_autofree char *out = g_strdup_printf("fd:%d", ends[1]);
    g_autofree char *in = g_strdup_printf("fd:%d", ends[0]);
    p.capabilities.return_path = true;
    g_assert_false(session_start(p.from.session, out, &error));
    g_assert_nonnull(strstr(error->message, "no way back"));
    g_clear_error(&error);
    p.capabilities.return_path = false;
    g_assert_false(session_start(p.from.session, in, &error));
    g_assert_nonnull(strstr(error->message, "not open for writing"));
    pair_start(&p, out, in);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_COPY);
    pair_assert_equal(&p);
    pair_release(&p);
}

static void
own_descriptors_are_not_taken(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;

    pair_init(&p, SMALL, 0);
    g_autofree char *own = g_strdup_printf("fd:%d", ((struct block *)p.from.fake.map->blocks->pdata[1])->fd);
    g_assert_false(session_start(p.from.session, own, &error));
    g_assert_nonnull(strstr(error->message, "numon's own"));
    g_clear_error(&error);
    g_assert_false(session_start(p.from.session, "fd:1000000", &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    static const char *const bad[] = { "fd:", "fd:1", "fd:x", "fd:-3", "file:", "file:,offset=1", "file:x,offset=y" };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(migrate_uri_check(bad[i], MIGRATE_OUT, NULL));
    pair_release(&p);
}

static void
guest_moves_over_tcp_v6(void)
{
    struct pair p;
    struct migrate_info info;

    pair_open(&p, SMALL, 20, 35);
    if (!session_start(p.to.session, "tcp:[::1]:0", NULL)) {
        g_test_skip("there is no IPv6 here");
    } else {
        session_info(p.to.session, &info);
        g_assert_true(g_str_has_prefix(info.uri, "tcp:[::1]:") && !g_str_has_suffix(info.uri, ":0"));
        g_assert_false(session_exposed(p.to.session));
        g_assert_true(session_start(p.from.session, info.uri, NULL));
        migrate_info_release(&info);
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpint(session_owner(p.from.session), ==, OWNER_THERE);
        pair_assert_equal(&p);
    }
    pair_release(&p);
}

/* --- the checksum ----------------------------------------------------------------------------------------------- */

static void
both_ways_of_summing_agree(void)
{
    uint8_t bytes[300];

    g_assert_cmphex(checksum_add(0, "123456789", 9), ==, 0xe3069283);
    g_assert_cmphex(checksum_add_plain(0, "123456789", 9), ==, 0xe3069283);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + i / 7);
    for (unsigned first = 0; first < 9; first++)
        for (unsigned size = 0; size + first <= sizeof bytes; size++)
            g_assert_cmphex(checksum_add(77, bytes + first, size), ==, checksum_add_plain(77, bytes + first, size));
    g_assert_cmphex(checksum_add(checksum_add(0, bytes, 101), bytes + 101, 199), ==, checksum_add(0, bytes, 300));
}

/* Whatever byte is damaged, the guest is not taken; without a checksum a page's byte is. */
static void
damaged_byte_is_noticed(void)
{
    struct pair p;
    g_autofree char *data = NULL;
    size_t size;

    pair_open(&p, SMALL, 0, 36);
    p.capabilities.checksum = true;
    g_autofree char *path = g_build_filename(p.directory, "file", NULL);
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    move_one_way(&p, uri, uri);
    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    for (unsigned i = 0; i < 60; i++) {
        size_t at = i < 20 ? i * size / 20 : i < 40 ? size - 1 - (i - 20) * 7 : size - 1200 - (i - 40) * 31;
        data[at] ^= 1 << i % 8;
        g_assert_true(g_file_set_contents(path, data, (gssize)size, NULL));
        data[at] ^= 1 << i % 8;
        pair_sessions(&p);
        g_assert_true(session_start(p.to.session, uri, NULL));
        PAIR_WAIT(&p, side_ended(&p.to));
        if (side_state(&p.to) != MIGRATE_FAILED)
            g_error("damage at byte %zu of %zu was not noticed", at, size);
    }
    g_unlink(path);
    pair_release(&p);
}

static void
checksum_travels_both_ways(void)
{
    /* Also over pages that are coded. */
    for (unsigned coding = 0; coding < 4; coding++) {
        struct pair p;

        pair_open(&p, MIDDLE, 20, 37 + coding);
        p.capabilities.checksum = true;
        p.capabilities.xbzrle = coding & 1;
        p.capabilities.compress = coding & 2;
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpstr(p.to.states->str, ==, "setup active device completed");
        pair_assert_equal(&p);
        pair_release(&p);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/choices and numbers are set and shown", choices_and_numbers_are_set_and_shown);
    g_test_add_func("/engine/capabilities of others are refused by name", capabilities_of_others_are_refused_by_name);
    g_test_add_func("/engine/eager stops within the first pass", eager_stops_within_the_first_pass);
    g_test_add_func("/engine/eager file holds the guest", eager_file_holds_the_guest);
    g_test_add_func("/engine/guest waits before the switchover", guest_waits_before_the_switchover);
    g_test_add_func("/engine/pause before switchover is released", pause_before_switchover_is_released);
    g_test_add_func("/engine/bandwidth that is told counts at once", bandwidth_that_is_told_counts_at_once);
    g_test_add_func("/engine/throttle ends with the migration", throttle_ends_with_the_migration);
    g_test_add_func("/engine/file takes its name when it is whole", file_takes_its_name_when_it_is_whole);
    g_test_add_func("/engine/file with offset is written in place", file_with_offset_is_written_in_place);
    g_test_add_func("/engine/folder that cannot be synced does not "
                    "matter", folder_that_cannot_be_synced_does_not_matter);
    g_test_add_func("/engine/what is no file is left alone", what_is_no_file_is_left_alone);
    g_test_add_func("/engine/inherited socket is two-way", inherited_socket_is_two_way);
    g_test_add_func("/engine/inherited pipe is one-way", inherited_pipe_is_one_way);
    g_test_add_func("/engine/own descriptors are not taken", own_descriptors_are_not_taken);
    g_test_add_func("/engine/guest moves over tcp v6", guest_moves_over_tcp_v6);
    g_test_add_func("/engine/both ways of summing agree", both_ways_of_summing_agree);
    g_test_add_func("/engine/damaged byte is noticed", damaged_byte_is_noticed);
    g_test_add_func("/engine/checksum travels both ways", checksum_travels_both_ways);
    return g_test_run();
}
