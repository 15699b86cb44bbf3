/* SIGKILL in place of each call that gives or takes a name, and of some that write: what was there before is intact or
 * the new output complete, a set that has only some of its names has a journal, of which readers are told, and the next
 * run ends as if nothing had been. scripts/kill_test.sh kills at random moments; these are the ones that it seldom
 * hits. tests/cmd/fault_at.c kills. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTY "LD_PRELOAD=" PARE_FAULT_AT " "

/* What is run in an empty folder, or over what it made with other arguments: command with %s for `with`, then for
 * `over`. model: the names of what is made, one whole; read: reads it. */
static const struct {
    const char *name, *command, *over, *with, *model, *read;
} cases[] = {
    {"convert", "$PARE convert $DEMO -o m.gguf --dtype %s --force", "f32", "f16", "m.gguf", "$PARE inspect m.gguf"},
    {"quantize", "$PARE quantize ../f16.gguf -t %s -o m.gguf --pin --force", "q4_0", "q8_0", "m.gguf",
     "$PARE inspect m.gguf"},
    {"folder", "$PARE convert ../f16.gguf -o m --format safetensors --dtype %s --pin --force", "f32", "bf16", "m",
     "$PARE inspect m"},
    {"set", "$PARE convert ../f16.gguf -o m.gguf --split-size 1M --dtype %s --pin --force", "bf16", "f16", "m-*.gguf",
     "$PARE inspect m-00001-of-00005.gguf"},
    {"pin", "cp ../f16.gguf f.gguf && $PARE pin f.gguf -o pare.lock --%s --force", "quiet", "force", "f.gguf",
     "$PARE verify pare.lock"},
    {"imatrix",
     "$PARE imatrix ../f16.gguf -f ../text.txt -o m.gguf --full --resume --keep-every 1 -c 64 --chunks %s"
     " --force",
     "2", "3", "m.gguf", "$PARE inspect ../f16.gguf"},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static int set_up(void **state)
{
    (void)state;
    cli_expect(0, "$PARE convert $DEMO -o f16.gguf -q && head -c 2500 $TEXT >text.txt");
    return 0;
}

/* Run a case's command in `run`; environment: what comes before it. */
static cli_result act(size_t k, const char *environment, const char *with)
{
    char command[512];
    snprintf(command, sizeof command, cases[k].command, with);
    return cli_run("mkdir -p run && cd run && export %s; { %s -q -j1; }", environment, command);
}

/* What is in `run` of these names, with hashes; owned by the caller. */
static char *state_of(const char *names)
{
    return strdup(
        cli_expect(0, "cd run && find %s -type f 2>/dev/null | LC_ALL=C sort | xargs -r sha256sum", names).out);
}

static int count_calls(const char *kind)
{
    return atoi(cli_expect(0, "sed -n 's/^%s //p' counts", kind).out);
}

/* Has the killed run left a set without all of its names? Who reads it is told, or finds no first part. */
static bool is_between(size_t k)
{
    if (cli_run("ls run | grep -q '[.]pare[.]set[.]'").code != 0)
        return false;
    cli_result r = cli_run("cd run && %s", cases[k].read);
    return r.code == 0 ? strstr(r.err, ".pare.set.") != NULL : r.code == 3 && strstr(r.err, "No such file") != NULL;
}

typedef struct moment {
    size_t k;
    const char *kind;
    int at;
    bool over;              /* an older output */
    const char *old, *made; /* the model before, and as it is to be */
    const char *whole;      /* all that an undisturbed run leaves */
} moment;

static void check_moment(const moment *m)
{
    char environment[512];
    snprintf(environment, sizeof environment, "LD_PRELOAD=%s FAULT=%s:%d:kill", PARE_FAULT_AT, m->kind, m->at);
    cli_expect(0, m->over ? "rm -rf run && cp -r over run" : "rm -rf run");
    cli_result r = act(m->k, environment, cases[m->k].with);
    char *now = state_of(cases[m->k].model);
    bool is_whole = strcmp(now, m->made) == 0, is_old = strcmp(now, m->old) == 0;
    if (r.code != 137 || (!is_whole && !is_old && !is_between(m->k)))
        print_message("%s over %d: %s %d: exit code %d\n%s\nin the folder:\n%s", cases[m->k].name, m->over, m->kind,
                      m->at, r.code, r.err, now);
    CHECK(r.code == 137);
    CHECK(is_whole || is_old || is_between(m->k));
    if ((is_whole || is_old) && cli_run("test -e run/pare.lock").code == 0 && now[0] != '\0') {
        r = cli_run("$PARE verify run/pare.lock -q --allow-extra");
        if (r.code != 0)
            print_message("%s over %d: %s %d: the lock does not hold\n%s%s", cases[m->k].name, m->over, m->kind, m->at,
                          r.out, r.err);
        CHECK(r.code == 0);
    }
    free(now);
    r = act(m->k, "NOTHING=1", cases[m->k].with);
    now = state_of(".");
    if (r.code != 0 || strcmp(now, m->whole) != 0)
        print_message("%s over %d: %s %d: the next run: exit code %d\n%s\nin the folder:\n%s", cases[m->k].name,
                      m->over, m->kind, m->at, r.code, r.err, now);
    CHECK(r.code == 0 && strcmp(now, m->whole) == 0);
    free(now);
}

/* At all calls of a kind, or so many of them spread over all. Returns how many moments there were. */
static int kill_each(moment m, int most)
{
    int n = count_calls(m.kind), step = n > most ? n / most : 1, trials = 0;
    for (m.at = 1; m.at <= n; m.at += step, trials++)
        check_moment(&m);
    return trials;
}

static void check_case(size_t k, bool over)
{
    cli_expect(0, "rm -rf run over");
    if (over) {
        CHECK(act(k, "NOTHING=1", cases[k].over).code == 0);
        cli_expect(0, "mv run over && cp -r over run");
    } else {
        cli_expect(0, "mkdir run");
    }
    moment m = {.k = k, .over = over, .old = state_of(cases[k].model)};
    char environment[512];
    snprintf(environment, sizeof environment, "LD_PRELOAD=%s FAULT_COUNT=$PWD/../counts", PARE_FAULT_AT);
    CHECK(act(k, environment, cases[k].with).code == 0);
    m.made = state_of(cases[k].model);
    m.whole = state_of(".");
    static const struct {
        const char *kind;
        int most;
    } kinds[] = {{"rename", 40}, {"remove", 40}, {"sync", 8}, {"write", 3}};
    int trials = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        m.kind = kinds[i].kind;
        trials += kill_each(m, kinds[i].most);
    }
    print_message("%s, %s: killed at %d calls\n", cases[k].name, over ? "over an older one" : "anew", trials);
    CHECK(trials >= 4);
    free((char *)m.old);
    free((char *)m.made);
    free((char *)m.whole);
}

static void a_first_output(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++)
        check_case(k, false);
}

static void over_an_older_output(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_CASES; k++)
        check_case(k, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_output),
        cmocka_unit_test(over_an_older_output),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
