#include "cmd/options.h"
#include "check.h"

#include <string.h>

static void sizes_have_binary_and_decimal_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {{"512", 512},           {"1K", 1024},           {"24G", 24ull << 30},
                {"24GiB", 24ull << 30}, {"24GB", 24000000000u}, {"1.5M", 3ull << 19},
                {"500MB", 500000000u},  {"2T", 2ull << 40},     {"7B", 7},
                {"0.5KiB", 512},        {"24g", 24ull << 30}};
    static const char *const bad[] = {"",    "G",    "-1",  "0",   "1X",  "1GiBB",
                                      "1e3", "0x10", "nan", "inf", "1 G", "9999999T"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t n = 0;
        CHECK(cmd_parse_size(rows[i].text, &n));
        CHECK(n == rows[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t n;
        if (cmd_parse_size(bad[i], &n))
            print_message("accepted '%s'\n", bad[i]);
        CHECK(!cmd_parse_size(bad[i], &n));
    }
}

static const char *next_word(size_t i, const void *ctx)
{
    static const char *const words[] = {"convert", "quantize", "force", "q4_k_m", "q4_k_s", NULL};
    (void)ctx;
    return words[i];
}

static void the_nearest_word_is_found(void **state)
{
    (void)state;
    CHECK(strcmp(cmd_nearest("convrt", next_word, NULL), "convert") == 0);
    CHECK(strcmp(cmd_nearest("froce", next_word, NULL), "force") == 0);
    CHECK(strcmp(cmd_nearest("quantise", next_word, NULL), "quantize") == 0);
    CHECK(strcmp(cmd_nearest("q4_km", next_word, NULL), "q4_k_m") == 0);
    CHECK(cmd_nearest("reproduce", next_word, NULL) == NULL);
    CHECK(cmd_nearest("", next_word, NULL) == NULL);
}

static pare_status parse(cmd_args *args, const char *verb, int argc, const char *const *words, pare_error *err)
{
    static char *argv[32]; /* getopt permutes it, and operands point into it */
    argv[0] = (char *)verb;
    for (int i = 0; i < argc; i++)
        argv[i + 1] = (char *)words[i];
    argv[argc + 1] = NULL;
    return cmd_args_parse(args, cmd_verb_find(verb), argc + 1, argv, err);
}

#define WORDS(...)                                                                                                     \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[])                                    \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void options_and_operands_mix(void **state)
{
    cmd_args args;
    pare_error err = {0};
    (void)state;
    CHECK_OK(parse(&args, "eval", WORDS("-f", "a.txt", "model", "--file=b.txt", "-c128"), &err), &err);
    CHECK(args.n_operands == 1 && strcmp(args.operands[0], "model") == 0);
    CHECK(cmd_count(&args, OPT_FILE) == 2);
    CHECK(strcmp(cmd_nth(&args, OPT_FILE, 1), "b.txt") == 0);
    CHECK(cmd_number(&args, OPT_CONTEXT) == 128);
    CHECK(!cmd_has(&args, OPT_CHUNKS) && cmd_number(&args, OPT_CHUNKS) == 0);
    cmd_args_close(&args);

    CHECK_OK(parse(&args, "inspect", WORDS("--metadata", "--", "--odd-name"), &err), &err);
    CHECK(cmd_has(&args, OPT_METADATA) && cmd_text(&args, OPT_METADATA) == NULL);
    CHECK(strcmp(args.operands[0], "--odd-name") == 0);
    cmd_args_close(&args);
}

static void defaults_come_from_the_table(void **state)
{
    cmd_args args;
    pare_error err = {0};
    (void)state;
    CHECK_OK(parse(&args, "eval", WORDS("m", "-f", "t"), &err), &err);
    CHECK(cmd_number(&args, OPT_CONTEXT) == 512);
    CHECK(strcmp(cmd_text(&args, OPT_DEVICE), "auto") == 0);
    CHECK(cmd_text(&args, OPT_REFERENCE) == NULL);
    cmd_args_close(&args);
}

static void misuse_is_told(void **state)
{
    static const struct {
        const char *verb;
        int n;
        const char *words[4];
        const char *part;
    } rows[] = {
        {"convert", 1, {"m"}, "--output OUT is missing"},
        {"convert", 2, {"-o", "out"}, "MODEL -o OUT is missing"},
        {"convert", 4, {"m", "n", "-o", "out"}, "one argument too many: 'n'"},
        {"convert", 2, {"m", "-o"}, "--output needs OUT"},
        {"convert", 2, {"m", "--forse"}, "did you mean '--force'?"},
        {"convert", 2, {"m", "--forc"}, "did you mean '--force'?"},
        {"convert", 2, {"m", "--force=yes"}, "--force takes no value"},
        {"convert", 2, {"m", "--dtype=q3"}, "expected one of: auto f32 f16 bf16 q8_0"},
        {"convert", 2, {"m", "--split-size=lots"}, "expected a size"},
        {"convert", 4, {"-o", "x", "-o", "y"}, "--output is given twice"},
        {"convert", 2, {"m", "--chunks"}, "unknown option '--chunks'"},
        {"eval", 2, {"m", "-c0"}, "expected a whole number"},
        {"eval", 2, {"m", "-Z"}, "unknown option '-Z'"},
        {"eval", 3, {"m", "--fail-over", "-1"}, "not negative"},
        {"imatrix", 3, {"m", "--cache-k", "q8_0"}, "unknown option '--cache-k'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cmd_args args;
        pare_error err = {0};
        CHECK(parse(&args, rows[i].verb, rows[i].n, rows[i].words, &err) == PARE_ERR_USAGE);
        if (strstr(err.text, rows[i].part) == NULL)
            print_message("row %zu: %s\n", i, err.text);
        CHECK(strstr(err.text, rows[i].part) != NULL);
        cmd_args_close(&args);
    }
}

/* A letter or name that two rows of a verb share would make getopt take the first one in silence. */
static void rows_do_not_clash(void **state)
{
    const cmd_verb *verb;
    const cmd_option *a, *b;
    (void)state;
    for (size_t v = 0; (verb = cmd_verb_at(v)) != NULL; v++)
        for (size_t i = 0; (a = cmd_option_at(verb->id, i)) != NULL; i++)
            for (size_t k = 0; k < i; k++) {
                b = cmd_option_at(verb->id, k);
                CHECK(strcmp(a->name, b->name) != 0);
                CHECK(a->letter == 0 || a->letter != b->letter);
                CHECK(a->id != b->id);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_binary_and_decimal_units),
        cmocka_unit_test(the_nearest_word_is_found),
        cmocka_unit_test(options_and_operands_mix),
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(misuse_is_told),
        cmocka_unit_test(rows_do_not_clash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
