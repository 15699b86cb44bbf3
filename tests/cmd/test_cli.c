#include "cli.h"

#include <stdlib.h>
#include <string.h>

static void misuse_gives_two_lines_and_2(void **state)
{
    static const char *const commands[] = {
        "$PARE",
        "$PARE convrt",
        "$PARE --frobnicate",
        "$PARE imatrix m -f t",
        "$PARE convert $DEMO --froce -o out.gguf",
        "$PARE quantize $DEMO -o out.gguf",
        "$PARE eval $DEMO -f $TEXT --logitz x",
        "$PARE env extra",
    };
    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        cli_result r = cli_expect(2, "%s", commands[i]);
        CHECK(r.out[0] == '\0');
        CHECK(cli_count_lines(r.err) == 2);
        CHECK(strncmp(r.err, "pare: error: ", 13) == 0);
        CHECK(cli_contains(r.err, "try 'pare help"));
    }
    CHECK(cli_contains(cli_expect(2, "$PARE convrt").err, "did you mean 'convert'?"));
    CHECK(cli_contains(cli_expect(2, "$PARE help evil").err, "did you mean 'eval'?"));
    CHECK(cli_contains(cli_expect(2, "$PARE convert --froce").err, "did you mean '--force'?"));
}

static void failures_have_their_codes(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(3, "$PARE inspect absent.gguf").err, "absent.gguf"));
    cli_expect(3, "$PARE quantize absent.gguf -t q4_k_m -o out.gguf");
    cli_expect(3, "$PARE eval absent.gguf -f $TEXT");
    cli_expect(3, "$PARE verify absent.lock");
    cli_expect(3, "printf 'GGUF\\003\\000\\000\\000short' >junk.gguf; $PARE inspect junk.gguf");
    CHECK(cli_contains(cli_expect(6, "PARE_CUDA_PLUGIN=./none.so $PARE eval $DEMO -f $TEXT --device cuda").err,
                       "looked for ./none.so"));
    cli_expect(2, "$PARE eval $DEMO -f $TEXT --device tpu");
    cli_expect(2, "$PARE eval $DEMO -f $TEXT --compute f16");
    cli_expect(2, "$PARE eval $DEMO -f $TEXT --fail-over 1");
    cli_expect(3, "$PARE eval $DEMO -f absent.txt");
    cli_expect(2, "echo short >short.txt; $PARE eval $DEMO -f short.txt");
}

static void errors_are_json_too(void **state)
{
    static const struct {
        const char *command, *code;
        int exit;
    } rows[] = {
        {"$PARE inspect absent.gguf --json", "format", 3},
        {"$PARE convert --json --nope", "usage", 2},
        {"$PARE convrt --json", "usage", 2},
        {"PARE_CUDA_PLUGIN=./none.so $PARE eval $DEMO -f $TEXT --device cuda --json", "device", 6},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(rows[i].exit, "%s", rows[i].command);
        json_t *doc = cli_json(&r), *error = json_object_get(doc, "error");
        CHECK(strcmp(json_string_value(json_object_get(error, "code")), rows[i].code) == 0);
        CHECK(json_integer_value(json_object_get(error, "exit")) == rows[i].exit);
        CHECK(strstr(r.err, json_string_value(json_object_get(error, "message"))) != NULL);
        json_decref(doc);
    }
    CHECK(cli_expect(2, "$PARE convrt -- --json").out[0] == '\0');
}

static void colour_obeys_the_environment(void **state)
{
    (void)state;
    CHECK(strchr(cli_run("$PARE inspect absent").err, '\033') == NULL);
    CHECK(strchr(cli_run("$PARE inspect absent --color=always").err, '\033') != NULL);
    CHECK(strchr(cli_run("CLICOLOR_FORCE=1 $PARE inspect absent").err, '\033') != NULL);
    CHECK(strchr(cli_run("CLICOLOR_FORCE=1 NO_COLOR=1 $PARE inspect absent").err, '\033') == NULL);
    CHECK(strchr(cli_run("NO_COLOR=1 $PARE inspect absent --color=always").err, '\033') != NULL);
}

static void a_full_stdout_is_told(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(5, "$PARE help >/dev/full").err, "stdout"));
    cli_expect(5, "$PARE env --json >/dev/full");
    /* a closed stdout must not become the number of the output file */
    cli_expect(5, "$PARE convert $DEMO -o a.gguf >&-");
    cli_expect(0, "$PARE convert $DEMO -o b.gguf && cmp a.gguf b.gguf >&2; rm a.gguf b.gguf");
}

static void a_closed_pipe_is_quiet(void **state)
{
    (void)state;
    cli_result r = cli_run("$PARE inspect $DEMO --tensors --metadata | head -n 1");
    CHECK(r.err[0] == '\0');
    CHECK(cli_count_lines(r.out) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misuse_gives_two_lines_and_2), cmocka_unit_test(failures_have_their_codes),
        cmocka_unit_test(errors_are_json_too),          cmocka_unit_test(colour_obeys_the_environment),
        cmocka_unit_test(a_full_stdout_is_told),        cmocka_unit_test(a_closed_pipe_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
