#include "cli.h"
#include "cmd/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an option is called in a man page: hyphens are escaped. */
static void man_name(char *dst, size_t size, const char *name)
{
    size_t at = (size_t)snprintf(dst, size, "\\-\\-");
    for (; *name != '\0' && at + 3 < size; name++)
        at += (size_t)snprintf(dst + at, size - at, *name == '-' ? "\\-" : "%c", *name);
}

/* Lines joined and indents gone. */
static void unwrap(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++)
        if (*from != ' ' && *from != '\n')
            *to++ = *from;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    *to = '\0';
}

static void every_verb_explains_every_option(void **state)
{
    const cmd_verb *verb;
    const cmd_option *o;
    char name[96];
    (void)state;
    for (size_t v = 0; (verb = cmd_verb_at(v)) != NULL; v++) {
        cli_result r = cli_expect(0, "$PARE help %s", verb->name);
        CHECK(strncmp(r.out, "Examples:", 9) == 0);
        CHECK(r.err[0] == '\0');
        char *help = strdup(r.out);
        for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++) {
            snprintf(name, sizeof name, "--%s", o->name);
            CHECK((strstr(help, name) != NULL) == !(o->traits & CMD_HIDDEN));
        }
        r = cli_expect(0, "$PARE %s --help", verb->name);
        CHECK(strcmp(r.out, help) == 0);
        unwrap(help);
        for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++) { /* to the end of the sentence */
            char text[4096];
            const bool choice = o->kind == CMD_KIND_CHOICE, otherwise = o->otherwise != NULL;
            snprintf(text, sizeof text, "%s%s%s%s%s%s", o->help, choice || otherwise ? " (" : "",
                     choice ? o->choices : "",
                     !otherwise ? ""
                     : choice   ? "; without it: "
                                : "default ",
                     otherwise ? o->otherwise : "", choice || otherwise ? ")" : "");
            unwrap(text);
            CHECK((o->traits & CMD_HIDDEN) || strstr(help, text) != NULL);
        }
        free(help);
        r = cli_expect(0, "$PARE help --man %s", verb->name);
        CHECK(strncmp(r.out, ".TH PARE\\-", 10) == 0);
        for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++) {
            man_name(name, sizeof name, o->name);
            CHECK((o->traits & CMD_HIDDEN) || cli_contains(r.out, name));
        }
    }
}

static void help_lines_fit_a_terminal(void **state)
{
    const cmd_verb *verb;
    (void)state;
    for (size_t v = 0; (verb = cmd_verb_at(v)) != NULL; v++) {
        cli_result r = cli_expect(0, "$PARE help %s", verb->name);
        for (const char *line = strstr(r.out, "Options:"), *end; line != NULL && (end = strchr(line, '\n')) != NULL;
             line = end + 1)
            CHECK(end - line <= 80);
    }
}

static void every_shell_completes_every_option(void **state)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};
    const cmd_verb *verb;
    const cmd_option *o;
    char name[96];
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        cli_result r = cli_expect(0, "$PARE help --completion %s | tee script.%s", shells[s], shells[s]);
        for (size_t v = 0; (verb = cmd_verb_at(v)) != NULL; v++) {
            CHECK(cli_contains(r.out, verb->name));
            for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++) {
                snprintf(name, sizeof name, s == 2 ? "from %s' -l %s" : "--%s%s", s == 2 ? verb->name : "", o->name);
                CHECK((o->traits & CMD_HIDDEN) || cli_contains(r.out, name));
            }
        }
        cli_expect(0, "! command -v %s || %s -n script.%s", shells[s], shells[s], shells[s]);
    }
}

/* The bash function, called as the shell would call it. */
static void bash_completes(void **state)
{
    (void)state;
    cli_result r =
        cli_expect(0, "bash -c 'source <($PARE help --completion bash); COMP_WORDS=(pare quan); COMP_CWORD=1; "
                      "_pare; echo ${COMPREPLY[@]}'");
    CHECK(strcmp(r.out, "quantize\n") == 0);
    r = cli_expect(0, "bash -c 'source <($PARE help --completion bash); COMP_WORDS=(pare convert --dt); COMP_CWORD=2; "
                      "_pare; echo ${COMPREPLY[@]}'");
    CHECK(strcmp(r.out, "--dtype\n") == 0);
    r = cli_expect(0,
                   "bash -c 'source <($PARE help --completion bash); COMP_WORDS=(pare quantize -t q4_k); COMP_CWORD=3; "
                   "_pare; echo ${COMPREPLY[@]}'");
    CHECK(cli_contains(r.out, "q4_k_m"));
}

static void the_overview_lists_what_exists(void **state)
{
    const cmd_verb *verb;
    (void)state;
    char *plain = strdup(cli_expect(0, "$PARE help").out);
    for (size_t v = 0; (verb = cmd_verb_at(v)) != NULL; v++)
        CHECK(cli_contains(plain, verb->summary));
    CHECK(strcmp(cli_expect(0, "$PARE --help").out, plain) == 0);
    free(plain);
    cli_result r = cli_expect(0, "$PARE --version");
    CHECK(strncmp(r.out, "pare ", 5) == 0);
    CHECK(cli_contains(r.out, "compiler ") && cli_contains(r.out, "commit ") && cli_contains(r.out, "zstd "));
    cli_expect(0, "$PARE help --man | grep -q 'pare..quantize'");
}

static void env_is_valid_json(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE env --json");
    json_t *doc = cli_json(&r);
    CHECK(json_is_string(json_object_get(doc, "version")));
    CHECK(json_integer_value(json_object_get(doc, "threads")) >= 1);
    CHECK(json_object_get(json_object_get(doc, "libraries"), "xxhash") != NULL);
    json_decref(doc);
    cli_expect(0, "$PARE env | grep -q OMP_NUM_THREADS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_explains_every_option),   cmocka_unit_test(help_lines_fit_a_terminal),
        cmocka_unit_test(every_shell_completes_every_option), cmocka_unit_test(bash_completes),
        cmocka_unit_test(the_overview_lists_what_exists),     cmocka_unit_test(env_is_valid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
