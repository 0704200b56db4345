/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Formats of x and xp, and lines as QEMU lays them out. */
#include "debug.h"

#include <string.h>

static const uint8_t bytes[32] = {
    0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 'A', '\n', 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80,
    0xef, 0xbe, 0xad, 0xde, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0x80,
};

static struct dump_format
format_of(const char *text)
{
    struct dump_format f;
    g_autoptr(GError) error = NULL;

    dump_format_parse(text, &f, &error);
    g_assert_no_error(error);
    return f;
}

static void
expect(const char *format, uint64_t size, const char *text)
{
    struct dump_format f = format_of(format);
    g_autoptr(GString) out = g_string_new(NULL);

    dump_append(&f, 0x1000, bytes, size, out);
    g_assert_cmpstr(out->str, ==, text);
}

static void
test_lines(void)
{
    expect("", 32, "0000000000001000: 0x807f0100\n");
    expect("5xw", 32, "0000000000001000: 0x807f0100 0x0a41feff 0x40302010 0x80706050\n0000000000001010: "
           "0xdeadbeef\n");
    expect("2xg", 32, "0000000000001000: 0x0a41feff807f0100 0x8070605040302010\n");
    expect("2dh", 32, "0000000000001000:   256 -32641\n");
    expect("2uh", 32, "0000000000001000:   256 32895\n");
    expect("3ob", 32, "0000000000001000: 0000 0001 0177\n");
    expect("9bd", 32, "0000000000001000:   0   1 127 -128  -1  -2  65  10\n0000000000001008:  16\n");
    expect("8c", 32, "0000000000001000: '\\x00' '\\x01' '\\x7f' '\\x80' '\\xff' '\\xfe' 'A' '\\n'\n");
    expect("4xw", 7, "0000000000001000: 0x807f0100\n");
    expect("4xw", 3, "");
    expect("1dg", 32, "0000000000001000:   739152187191394560\n");
}

static void
refuse(const char *text, int code, const char *part)
{
    struct dump_format f;
    g_autoptr(GError) error = NULL;

    g_assert_false(dump_format_parse(text, &f, &error));
    g_assert_error(error, NUMON_ERROR, code);
    g_assert_nonnull(strstr(error->message, part));
}

static void
test_refused(void)
{
    refuse("4xq", NUMON_ERROR_ARGUMENT, "'q'");
    refuse("0x", NUMON_ERROR_ARGUMENT, "count is 0");
    refuse("200000xg", NUMON_ERROR_LIMIT, "more than 1048576");
    refuse("99999999999999999999999xb", NUMON_ERROR_LIMIT, "more than");
    refuse("-1x", NUMON_ERROR_ARGUMENT, "'-'");
}

static void
test_instructions(void)
{
    static const uint8_t code[] = { 0x90, 0x48, 0x89, 0xe5, 0x06, 0xc3, 0x48 };
    struct dump_format f = format_of("9i");
    g_autoptr(GString) out = g_string_new(NULL);
    uint64_t shown = 0;
    g_auto(GStrv) lines = NULL;

    if (!disassembly_works()) {
        g_test_skip("built without Capstone");
        return;
    }
    g_assert_true(disassembly_append(&f, CODE_64, 0x2000, code, sizeof code, out, &shown, NULL));
    g_assert_cmpuint(shown, ==, sizeof code);
    lines = g_strsplit(out->str, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), ==, 6);
    g_assert_true(g_str_has_prefix(lines[1], "0x0000000000002001:  48 89 e5 "));
    g_assert_true(g_str_has_suffix(lines[1], "movq %rsp, %rbp"));
    g_assert_true(g_str_has_suffix(lines[2], ".byte 0x06"));
    g_assert_true(g_str_has_suffix(lines[3], "retq"));
    g_assert_true(g_str_has_suffix(lines[4], ".byte 0x48"));
    g_string_truncate(out, 0);
    g_assert_true(disassembly_append(&f, CODE_32, 0x2000, code, 5, out, &shown, NULL));
    g_assert_nonnull(strstr(out->str, "pushl %es"));
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dump/lines-are-those-of-qemu", test_lines);
    g_test_add_func("/dump/bad-formats-are-refused", test_refused);
    g_test_add_func("/dump/instructions-are-named-and-rubbish-shown", test_instructions);
    return g_test_run();
}
