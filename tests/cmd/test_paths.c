/* Whole files made with calibration: the same bytes on every instruction set that this machine has (quant/path.h). The
 * program chooses the best one by itself, so its commands are called here. */
#include "cli.h"

#include "cmd/options.h"
#include "quant/path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_WORDS = 24 };

/* Run a command, words apart by spaces, in the test's folder. */
static void run(const char *line)
{
    char text[1024], *argv[MAX_WORDS];
    int argc = 0;
    cmd_args args = {0};
    const cmd_verb *verb = NULL;
    pare_error err = {0};
    CHECK(strlen(line) < sizeof text);
    strcpy(text, line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        CHECK(argc < MAX_WORDS);
        argv[argc++] = word;
    }
    CHECK(chdir(cli_folder()) == 0);
    CHECK_OK(cmd_verb_require(&verb, argv[0], &err), &err);
    CHECK_OK(cmd_args_parse(&args, verb, argc, argv, &err), &err);
    CHECK_OK(verb->run(&args, &err), &err);
    cmd_args_close(&args);
}

/* Scales of experts' inputs among them, clipped groups, feedback, codebooks. */
static void files_do_not_depend_on_the_path(void **state)
{
    (void)state;
    static const struct {
        const char *command, *file;
    } rows[] = {
        {"convert %s -o %s --format awq --group-size 32 --method awq --imatrix full.gguf -q", "/model.safetensors"},
        {"convert %s -o %s --format gptq --bits 3 --group-size 32 --method awq-feedback --imatrix full.gguf -q",
         "/model.safetensors"},
        {"quantize %s -o %s -t q4_0 --imatrix full.gguf -q", ""},
    };
    const char *model = shared_path("oracle/models/mixtral");
    pare_path best = pare_path_current();
    cli_expect(0, "$PARE imatrix %s -f $TEXT -c 64 --chunks 8 --full -o full.gguf -q", model);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            char line[1024], name[16];
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            snprintf(name, sizeof name, "out%d", p);
            snprintf(line, sizeof line, rows[i].command, model, name);
            run(line);
            cli_expect(0, "cmp out%d%s %s%s >&2", PARE_PATH_PORTABLE, rows[i].file, name, rows[i].file);
        }
        cli_expect(0, "rm -r out*");
    }
    pare_path_use(best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_do_not_depend_on_the_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
