/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Property tables: what they accept, what they say of what they refuse, and how they show themselves. */
#include "property.h"

#include <string.h>

static const char *const colours[] = { "red", "green", "dark-blue", NULL };

enum { P_ID, P_SIZE, P_COUNT, P_SHARE, P_CPUS, P_COLOUR, P_NAME };
static const struct property options[] = {
    [P_ID] = { "id", PROPERTY_ID, .required = true, .help = "name of it" },
    [P_SIZE] = { "size", PROPERTY_SIZE, .min = 1, .max = 4 * GIB, .unit_size = MIB, .unit = "bytes", .help = "room" },
    [P_COUNT] = { "max-count", PROPERTY_UINT, .min = 1, .max = 8, .value_default = "3", .help = "how many" },
    [P_SHARE] = { "share", PROPERTY_BOOL, .value_default = "off", .help = "whether shared" },
    [P_CPUS] = { "cpus", PROPERTY_LIST, .max = 127, .help = "CPUs" },
    [P_COLOUR] = { "colour", PROPERTY_CHOICE, .choices = colours, .help = "colour of it" },
    [P_NAME] = { "name", PROPERTY_WORD, .repeatable = true, .help = "any word" },
    { 0 }
};

enum { W_DETACH, W_URI, W_SECONDS, W_FORCE, W_TEXT };
static const struct property positional[] = {
    [W_DETACH] = { "-d", PROPERTY_FLAG, .help = "return at once" },
    [W_URI] = { "uri", PROPERTY_WORD, .required = true, .help = "where" },
    [W_SECONDS] = { "seconds", PROPERTY_UINT, .unit = "s", .value_default = "30", .help = "how long" },
    [W_FORCE] = { "-f", PROPERTY_FLAG, .help = "in any case" },
    [W_TEXT] = { "text", PROPERTY_REST, .help = "the rest" },
    { 0 }
};

static const struct property short_words[] = {
    { "-d", PROPERTY_FLAG, .help = "return at once" },
    { "uri", PROPERTY_WORD, .required = true, .help = "where" },
    { 0 }
};

typedef struct values *(*parser)(const char *text, GError **error);

static struct values *
parse_options(const char *text, GError **error)
{
    return property_parse_options(options, P_ID, text, error);
}

static struct values *
parse_keys_only(const char *text, GError **error)
{
    return property_parse_options(options, -1, text, error);
}

static struct values *
parse_pairs(const char *text, GError **error)
{
    return property_parse_pairs(options, text, error);
}

static struct values *
parse_words(const char *text, GError **error)
{
    return property_parse_words(positional, text, error);
}

static struct values *
parse_short(const char *text, GError **error)
{
    return property_parse_words(short_words, text, error);
}

static struct values *
accept(parser parse, const char *text)
{
    g_autoptr(GError) error = NULL;
    struct values *v = parse(text, &error);

    g_test_message("%s", text);
    g_assert_no_error(error);
    g_assert_nonnull(v);
    return v;
}

static void
refuse(parser parse, const char *text, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_test_message("%s", text);
    g_assert_null(parse(text, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
    g_assert_cmpstr(error->message, ==, message);
}

static void
all_types_are_read(void)
{
    g_autoptr(values) v = accept(parse_options,
                                   " m0,size=1.5G,max_count=0x8,share=yes,cpus=0-1,cpus=64,colour=dark-blue ");

    g_assert_cmpuint(v->count, ==, 7);
    g_assert_cmpstr(v->at[P_ID].word, ==, "m0");
    g_assert_cmpuint(v->at[P_SIZE].number, ==, 3 * GIB / 2);
    g_assert_cmpuint(v->at[P_COUNT].number, ==, 8);
    g_assert_true(v->at[P_SHARE].flag);
    g_assert_cmpuint(v->at[P_CPUS].words[0], ==, 3);
    g_assert_cmpuint(v->at[P_CPUS].words[1], ==, 1);
    g_assert_cmpuint(v->at[P_COLOUR].number, ==, 2);
    g_assert_cmpstr(v->at[P_COLOUR].word, ==, "dark-blue");
    g_assert_false(v->at[P_NAME].set);
}

static void
defaults_fill_what_was_not_given(void)
{
    g_autoptr(values) v = accept(parse_options, "id=m0");

    g_assert_true(v->at[P_ID].set);
    g_assert_false(v->at[P_COUNT].set);
    g_assert_cmpuint(v->at[P_COUNT].number, ==, 3);
    g_assert_false(v->at[P_SHARE].set);
    g_assert_false(v->at[P_SHARE].flag);
    g_assert_null(v->at[P_CPUS].words);
    g_assert_null(v->at[P_NAME].word);
}

static void
a_size_without_suffix_counts_units(void)
{
    g_autoptr(values) v = accept(parse_options, "m0,size=7");

    g_assert_cmpuint(v->at[P_SIZE].number, ==, 7 * MIB);
}

static void
a_doubled_comma_is_one(void)
{
    g_autoptr(values) v = accept(parse_options, "m0,name=a,,b,,,size=1b");
    g_autoptr(values) w = NULL;
    g_autoptr(GString) text = g_string_new("m0,name=");

    g_assert_cmpstr(v->at[P_NAME].word, ==, "a,b,");
    g_assert_cmpuint(v->at[P_SIZE].number, ==, 1);
    property_append_word(text, ",x,,y=z,");
    w = accept(parse_options, text->str);
    g_assert_cmpstr(w->at[P_NAME].word, ==, ",x,,y=z,");
}

static void
bare_items_continue_a_list(void)
{
    g_autoptr(values) v = accept(parse_options, "m0,cpus=0-1,4,6-7,share,cpus=9");

    g_assert_cmpuint(v->at[P_CPUS].words[0], ==, 0x2d3);
    g_assert_true(v->at[P_SHARE].flag);
}

static void
a_bare_switch_is_on(void)
{
    g_autoptr(values) v = accept(parse_pairs, "  id=x   share\tname=a,b ");

    g_assert_true(v->at[P_SHARE].flag && v->at[P_SHARE].set);
    g_assert_cmpstr(v->at[P_NAME].word, ==, "a,b");
}

static void
the_last_of_a_repeatable_holds(void)
{
    g_autoptr(values) v = accept(parse_pairs, "id=x name=a name=\"b c\"");

    g_assert_cmpstr(v->at[P_NAME].word, ==, "b c");
}

static void
wrong_options_are_named(void)
{
    refuse(parse_options, "", "Parameter 'id' is missing");
    refuse(parse_options, "size=1G", "Parameter 'id' is missing");
    refuse(parse_options, "m0,sise=1G", "Invalid parameter 'sise'; nearest is size");
    refuse(parse_keys_only, "m0", "Invalid parameter 'm0'; nearest is id");
    refuse(parse_options, "m0,size", "Parameter 'size' needs a value: size=...");
    refuse(parse_options, "m0,size=1,size=2", "Parameter 'size' is given twice");
    refuse(parse_options, "m0,id=m1", "Parameter 'id' is given twice");
    refuse(parse_options, "m0,", "Parameter expected after ',' in 'm0,'");
    refuse(parse_options, ",size=1", "Parameter expected before ',' in ',size=1'");
    refuse(parse_options, "m0,cpus=0-1,x", "Invalid parameter 'x'; nearest is id");
    refuse(parse_options, "m0,=1", "Invalid parameter ''; nearest is id");
    refuse(parse_pairs, "id=x share on", "Invalid parameter 'on'; nearest is id");
}

static void
wrong_values_are_quoted(void)
{
    refuse(parse_options, "m0,size=1Z", "Parameter 'size' expects a size value: invalid size '1Z': a number with an "
           "optional suffix b, k, M, G, T, P or E is expected");
    refuse(parse_options, "m0,size=0", "Parameter 'size' expects a size value from 1 byte to 4 GiB, not '0'");
    refuse(parse_options, "m0,size=4097", "Parameter 'size' expects a size value from 1 byte to 4 GiB, not '4097'");
    refuse(parse_options, "m0,max-count=9", "Parameter 'max-count' expects a number from 1 to 8, not '9'");
    refuse(parse_options, "m0,max-count=-1", "Parameter 'max-count' expects a number from 1 to 8, not '-1'");
    refuse(parse_options, "m0,share=maybe", "Parameter 'share' expects 'on' or 'off', not 'maybe'");
    refuse(parse_options, "m0,share=", "Parameter 'share' expects 'on' or 'off', not ''");
    refuse(parse_options, "m0,colour=blue", "Parameter 'colour' expects red, green or dark-blue, not 'blue'");
    refuse(parse_options, "0m", "Parameter 'id' expects an identifier (a letter, then letters, digits, '-', '.' or "
           "'_'), not '0m'");
    refuse(parse_options, "m0,cpus=3-1", "Parameter 'cpus' expects a number or range up to 127: invalid list '3-1': "
           "range '3-1' falls");
    refuse(parse_options, "m0,cpus=128", "Parameter 'cpus' expects a number or range up to 127: invalid list '128': "
           "'128' is not below 128");
}

static void
an_id_has_room_for_its_end(void)
{
    g_autofree char *longest = g_strnfill(ID_SIZE - 1, 'x');
    g_autofree char *longer = g_strnfill(ID_SIZE, 'x');
    struct value value = { 0 };

    g_assert_true(property_parse_value(&options[P_ID], longest, &value, NULL));
    g_assert_false(property_parse_value(&options[P_ID], longer, &value, NULL));
    g_assert_cmpstr(value.word, ==, longest);
    g_assert_true(property_parse_value(&options[P_ID], "a-b.c_9", &value, NULL));
    g_assert_cmpstr(value.word, ==, "a-b.c_9");
    g_free(value.word);
}

static void
words_stand_beside_numbers(void)
{
    static const char *const words[] = { "unlimited", NULL };
    static const struct property rate = { "rate", PROPERTY_UINT, .max = 9, .unit = "pages/s", .choices = words };
    struct value value = { 0 };
    g_autofree char *shape = property_shape(&rate);
    g_autoptr(GError) error = NULL;

    g_assert_true(property_parse_value(&rate, "unlimited", &value, NULL));
    g_assert_cmpstr(value.word, ==, "unlimited");
    g_assert_cmpuint(value.number, ==, 0);
    g_assert_true(property_parse_value(&rate, "7", &value, NULL));
    g_assert_null(value.word);
    g_assert_cmpuint(value.number, ==, 7);
    g_assert_false(property_parse_value(&rate, "10", &value, &error));
    g_assert_cmpstr(error->message, ==,
                    "Parameter 'rate' expects a number from 0 to 9 (pages/s), or unlimited, not '10'");
    g_assert_cmpuint(value.number, ==, 7);
    g_assert_cmpstr(shape, ==, "N|unlimited");
}

static void
flags_stand_anywhere_before_the_rest(void)
{
    static const char *const lines[] = {
        "-d u 5 -f t", "u -d 5 -f t", "u 5 -d -f t", "-f -d u 5 t", "  -d\tu  5  -f  t",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(values) v = accept(parse_words, lines[i]);

        g_assert_true(v->at[W_DETACH].flag && v->at[W_FORCE].flag);
        g_assert_cmpstr(v->at[W_URI].word, ==, "u");
        g_assert_cmpuint(v->at[W_SECONDS].number, ==, 5);
        g_assert_cmpstr(v->at[W_TEXT].word, ==, "t");
    }
}

static void
the_rest_is_as_typed(void)
{
    g_autoptr(values) v = accept(parse_words, "u 5  say \"it  -d, \\n");

    g_assert_cmpstr(v->at[W_TEXT].word, ==, "say \"it  -d, \\n");
    g_assert_false(v->at[W_DETACH].set);
}

static void
words_may_be_quoted(void)
{
    g_autoptr(values) v = accept(parse_words, "\"a b\\\"c\\\\d\"e");
    g_autoptr(values) empty = accept(parse_words, "\"\"");
    g_autoptr(values) plain = accept(parse_words, "a\\b");

    g_assert_cmpstr(v->at[W_URI].word, ==, "a b\"c\\de");
    g_assert_cmpuint(v->at[W_SECONDS].number, ==, 30);
    g_assert_false(v->at[W_SECONDS].set);
    g_assert_cmpstr(empty->at[W_URI].word, ==, "");
    g_assert_cmpstr(plain->at[W_URI].word, ==, "a\\b");
}

static void
wrong_words_are_named(void)
{
    refuse(parse_words, "", "Parameter 'uri' is missing");
    refuse(parse_words, "-d", "Parameter 'uri' is missing");
    refuse(parse_words, "-d -d u", "Parameter '-d' is given twice");
    refuse(parse_words, "-x u", "Invalid parameter '-x'; nearest is -d, -f");
    refuse(parse_words, "\"u", "Quote not closed in '\"u'");
    refuse(parse_words, "u x", "Parameter 'seconds' expects a number (s), not 'x'");
    refuse(parse_short, "a b", "Unexpected parameter 'b'");
}

static void
random_text_is_safe(void)
{
    static const char letters[] = "id=m0,size-_\"\\ \tcpus=0-1,,=x9k.";
    static const parser parsers[] = { parse_options, parse_keys_only, parse_pairs, parse_words, parse_short };

    for (unsigned round = 0; round < 5000; round++) {
        char text[40] = "";
        int length = g_test_rand_int_range(0, sizeof text);

        for (int i = 0; i < length; i++)
            text[i] = letters[g_test_rand_int_range(0, sizeof letters - 1)];
        for (unsigned i = 0; i < G_N_ELEMENTS(parsers); i++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(values) v = parsers[i](text, &error);

            g_assert_true((v == NULL) == (error != NULL));
        }
    }
}

/* A choice that follows its dash is shown with it. */
static void
a_named_choice_keeps_its_name(void)
{
    static const char *const words[] = { "a", "b", NULL };
    static const struct property table[] = {
        { "-f", PROPERTY_CHOICE, .choices = words }, { "kind", PROPERTY_CHOICE, .choices = words, .required = true },
        { 0 }
    };
    g_autofree char *usage = property_usage_words(table);

    g_assert_cmpstr(usage, ==, "[-f a|b] a|b");
}

static void
usage_derives_from_the_table(void)
{
    g_autofree char *as_options = property_usage_options(options, P_ID);
    g_autofree char *as_pairs = property_usage_pairs(options);
    g_autofree char *as_words = property_usage_words(positional);

    g_assert_cmpstr(as_options, ==,
                    "ID[,size=SIZE][,max-count=N][,share=on|off][,cpus=LIST][,colour=red|green|dark-blue]"
                    "[,name=WORD]");
    g_assert_cmpstr(as_pairs, ==, "id=ID [size=SIZE] [max-count=N] [share=on|off] [cpus=LIST] "
                    "[colour=red|green|dark-blue] [name=WORD]");
    g_assert_cmpstr(as_words, ==, "[-d] URI [SECONDS] [-f] [TEXT...]");
}

static void
help_is_one_line_a_property(void)
{
    g_autoptr(GString) out = g_string_new(NULL);

    property_help(options, out);
    g_assert_cmpstr(out->str, ==,
                    "  id=ID                       name of it (required)\n"
                    "  size=SIZE                   room (bytes, 1 byte to 4 GiB)\n"
                    "  max-count=N                 how many (1 to 8, default 3)\n"
                    "  share=on|off                whether shared (default off)\n"
                    "  cpus=LIST                   CPUs (0 to 127)\n"
                    "  colour=red|green|dark-blue  colour of it\n"
                    "  name=WORD                   any word\n");
}

static void
names_are_found_with_either_dash(void)
{
    g_assert_cmpint(property_find(options, "max_count"), ==, P_COUNT);
    g_assert_cmpint(property_find(options, "max-count"), ==, P_COUNT);
    g_assert_cmpint(property_find(options, "max"), ==, -1);
    g_assert_cmpint(property_find(options, "max-counts"), ==, -1);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/property/all-types-are-read", all_types_are_read);
    g_test_add_func("/property/defaults-fill-what-was-not-given", defaults_fill_what_was_not_given);
    g_test_add_func("/property/a-size-without-suffix-counts-units", a_size_without_suffix_counts_units);
    g_test_add_func("/property/a-doubled-comma-is-one", a_doubled_comma_is_one);
    g_test_add_func("/property/bare-items-continue-a-list", bare_items_continue_a_list);
    g_test_add_func("/property/a-bare-switch-is-on", a_bare_switch_is_on);
    g_test_add_func("/property/the-last-of-a-repeatable-holds", the_last_of_a_repeatable_holds);
    g_test_add_func("/property/wrong-options-are-named", wrong_options_are_named);
    g_test_add_func("/property/wrong-values-are-quoted", wrong_values_are_quoted);
    g_test_add_func("/property/an-id-has-room-for-its-end", an_id_has_room_for_its_end);
    g_test_add_func("/property/words-stand-beside-numbers", words_stand_beside_numbers);
    g_test_add_func("/property/flags-stand-anywhere-before-the-rest", flags_stand_anywhere_before_the_rest);
    g_test_add_func("/property/the-rest-is-as-typed", the_rest_is_as_typed);
    g_test_add_func("/property/words-may-be-quoted", words_may_be_quoted);
    g_test_add_func("/property/wrong-words-are-named", wrong_words_are_named);
    g_test_add_func("/property/random-text-is-safe", random_text_is_safe);
    g_test_add_func("/property/usage-derives-from-the-table", usage_derives_from_the_table);
    g_test_add_func("/property/a-named-choice-keeps-its-name", a_named_choice_keeps_its_name);
    g_test_add_func("/property/help-is-one-line-a-property", help_is_one_line_a_property);
    g_test_add_func("/property/names-are-found-with-either-dash", names_are_found_with_either_dash);
    return g_test_run();
}
