/* pare reproduce: as a user types it, and with locks that somebody else wrote. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* m: the demo model without what names it, so that its folder does. q: a quantized model of it with statistics in s. */
static int set_up(void **state)
{
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s/tmp", cli_folder());
    setenv("TMPDIR", folder, 1);
    cli_expect(0, "cp -r $DEMO m && chmod -R u+w m && rm m/README.md && mkdir tmp s q && "
                  "$PARE imatrix m -f m/text.txt --chunks 1 -o s/im.gguf --pin -q && "
                  "$PARE quantize ./m/ -t q4_k_m --imatrix=./s/im.gguf -o q/q.gguf --pin -q -j2");
    return 0;
}

static void nothing_is_left(void)
{
    cli_expect(0, "test -z \"$(ls -A tmp)\" && test -z \"$(find . -name 'reproduce.*' -o -name original.lock)\"");
}

static void the_same_bytes_come_out(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE reproduce q/pare.lock --inputs m --inputs s -j1");
    CHECK(cli_contains(r.out, "q.gguf: same bytes") && !cli_contains(r.out, "differs") && r.err[0] == '\0');
    r = cli_expect(0, "$PARE reproduce s/pare.lock --inputs m --device cpu -j3 --json");
    json_t *doc = cli_json(&r);
    CHECK(json_is_true(json_object_get(doc, "same")) && json_is_true(json_object_get(doc, "bytes_by_cpu")));
    CHECK(json_array_size(json_object_get(doc, "files")) == 1 &&
          json_array_size(json_object_get(doc, "findings")) == 0);
    CHECK(cli_number(doc, "threads") == 3 && json_array_size(json_object_get(doc, "inputs")) >= 6);
    json_decref(doc);
    nothing_is_left();
    /* the model's folder in a folder, and what was piped in */
    cli_expect(0, "$PARE imatrix m -f - --chunks 1 -o s/p.gguf --pin --lock s/p.lock --sums s/p.sums -q <m/text.txt && "
                  "$PARE reproduce s/p.lock --inputs . <m/text.txt");
    cli_expect(3, "$PARE reproduce s/p.lock --inputs . <m/tokenizer.json");
    nothing_is_left();
}

/* Every shape of an output, and of a place for the lock. */
static void folders_and_sets_are_made_again(void **state)
{
    (void)state;
    cli_expect(
        0,
        "mkdir o o/sub && $PARE convert m -o o/hf --dtype f16 --pin -q && $PARE reproduce o/hf/pare.lock --inputs m");
    cli_expect(0, "$PARE convert m -o o/two --pin --lock o/two.lock --sums o/two.sums -q && "
                  "$PARE reproduce o/two.lock --inputs . -o kept && cmp kept/two/model.safetensors "
                  "o/two/model.safetensors && rm -r kept");
    cli_expect(0, "$PARE convert o/hf -o o/sub/x.gguf --split-size 2M --pin --lock o/x.lock --sums o/x.sums -q && "
                  "test -e o/sub/x-00002-of-00003.gguf && $PARE reproduce o/x.lock --inputs o");
    cli_expect(0, "$PARE quantize o/sub/x-00001-of-00003.gguf -t q8_0 -o o/y.gguf --pin -q && "
                  "$PARE reproduce o/pare.lock --inputs o/sub");
    cli_expect(3, "mv o/sub/x-00003-of-00003.gguf o/; $PARE reproduce o/pare.lock --inputs o/sub"); /* not together */
    cli_expect(0, "rm -r o");
    nothing_is_left();
}

/* general.name comes from the folder: the model may have moved all the same. */
static void the_models_folder_may_have_another_name(void **state)
{
    (void)state;
    cli_expect(0, "mkdir o && cp -r m other-7b && $PARE convert m -o o/a.gguf --pin -q && "
                  "$PARE convert other-7b -o o/b.gguf -q && ! cmp -s o/a.gguf o/b.gguf && "
                  "$PARE reproduce o/pare.lock --inputs other-7b");
    cli_expect(0, "cd m && $PARE convert . -o ../o/c.gguf --pin --lock ../o/c.lock --sums ../o/c.sums -q && cd .. && "
                  "cmp o/a.gguf o/c.gguf && $PARE reproduce o/c.lock --inputs other-7b");
    /* a file that would be read with them is another input */
    cli_result r = cli_expect(3, "echo '{}' >other-7b/preprocessor_config.json; cp $DEMO/README.md other-7b/; "
                                 "$PARE reproduce o/pare.lock --inputs other-7b");
    CHECK(cli_contains(r.err, "'README.md' was read, and not when the files were made"));
    cli_expect(0, "rm -r o other-7b");
    nothing_is_left();
}

/* Models out of stores: no path of the machine in the lock, and found again where the user says. A lock alone makes
 * nobody look into a store. */
static void models_of_stores_are_found_again(void **state)
{
    (void)state;
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    cli_expect(
        0,
        "mkdir -p o hub/models--org--x-7b/refs hub/models--org--x-7b/blobs hub/models--org--x-7b/snapshots/%s && "
        "printf %s >hub/models--org--x-7b/refs/main && cd hub/models--org--x-7b/snapshots/%s && "
        "for f in ../../../../m/*; do s=$(sha256sum <$f | cut -c1-64) && cp $f ../../blobs/$s && "
        "ln -s ../../blobs/$s $(basename $f); done",
        commit, commit, commit);
    cli_expect(0, "export HF_HUB_CACHE=$PWD/hub; $PARE convert hf://org/x-7b -o o/a.gguf --pin -q && "
                  "$PARE imatrix $PWD/hub/models--org--x-7b -f hf://org/x-7b/text.txt --chunks 1 -o o/i.gguf --pin "
                  "--lock o/i.lock "
                  "--sums o/i.sums -q");
    cli_expect(0, "grep -q '\"hf://org/x-7b\"' o/pare.lock && grep -q '\"folder\": \"x-7b\"' o/pare.lock && "
                  "! grep -q $PWD o/pare.lock && ! grep -q $PWD o/i.lock && grep -q '\"models--org--x-7b\"' o/i.lock");
    cli_expect(0, "$PARE reproduce o/pare.lock --inputs m"); /* other-named, with the same files */
    cli_expect(0, "$PARE reproduce o/pare.lock --inputs hub/models--org--x-7b/snapshots/%s", commit);
    cli_expect(0, "HF_HUB_CACHE=$PWD/hub $PARE reproduce o/i.lock --inputs hf://org/x-7b");
    cli_expect(3, "HF_HUB_CACHE=$PWD/hub $PARE reproduce o/pare.lock");
    cli_expect(0, "rm -r o hub");
    nothing_is_left();
}

static void all_that_is_missing_is_told_at_once(void **state)
{
    (void)state;
    cli_result r = cli_expect(3, "mkdir n && cp m/* n/ && rm n/config.json && echo ' ' >>n/tokenizer.json && "
                                 "printf x | dd of=n/model.safetensors bs=1 seek=9999 conv=notrunc 2>&1 && "
                                 "$PARE reproduce q/pare.lock --inputs n");
    CHECK(cli_contains(r.out, "config.json: missing") &&
          cli_contains(r.out, "n/tokenizer.json: different: is not the"));
    CHECK(cli_contains(r.out, "n/model.safetensors: different: is not the recorded one: its sha256 is"));
    CHECK(cli_contains(r.out, "im.gguf: missing") && cli_contains(r.err, "4 of the"));
    r = cli_expect(3, "$PARE reproduce q/pare.lock --inputs s --inputs n --inputs q"); /* told of where the most is */
    CHECK(cli_contains(r.out, "n/tokenizer.json: different") && !cli_contains(r.out, "im.gguf"));
    r = cli_expect(3, "$PARE reproduce q/pare.lock --inputs n --json");
    json_t *doc = cli_json(&r);
    CHECK(cli_number(json_object_get(doc, "error"), "exit") == 3 && json_object_get(doc, "files") == NULL);
    json_decref(doc);
    /* a folder that has all is taken before one that comes first and has not */
    cli_expect(0, "$PARE reproduce q/pare.lock --inputs n --inputs s --inputs m");
    r = cli_expect(3, "rm n/* && cp m/* n/ && rm n/config.json && ln -s ../m/config.json n/ && "
                      "$PARE reproduce q/pare.lock --inputs n --inputs s");
    CHECK(cli_contains(r.out, "n/config.json: different: is a symbolic link to"));
    cli_expect(3, "$PARE reproduce q/pare.lock --inputs none");
    cli_expect(3, "$PARE reproduce q/pare.lock --inputs m/config.json");
    cli_expect(3, "$PARE reproduce none.lock");
    cli_expect(3, "$PARE reproduce m/model.safetensors");
    cli_expect(2, "$PARE reproduce q/pare.lock --inputs m --force");
    cli_expect(0, "rm -r n");
    nothing_is_left();
}

static void what_differs_is_explained(void **state)
{
    (void)state;
    cli_result r =
        cli_expect(1, "mkdir x && cp q/q.gguf x/ && printf xyz | dd of=x/q.gguf bs=1 seek=900000 conv=notrunc "
                      "2>&1 && $PARE pin x -o x/pare.lock --recipe q/pare.lock -q && "
                      "$PARE reproduce x/pare.lock --inputs m --inputs s -o again");
    CHECK(cli_contains(r.out, "q.gguf: differs") && cli_contains(r.out, "  tensor ") &&
          cli_contains(r.out, "1 of 21 tensors, 0 metadata keys") && cli_contains(r.out, "kept in again"));
    cli_expect(0, "cmp again/q.gguf q/q.gguf && test \"$(ls -A again)\" = q.gguf");
    cli_expect(2, "$PARE reproduce x/pare.lock --inputs m --inputs s -o again"); /* is not empty */
    r = cli_expect(1, "$PARE reproduce x/pare.lock --inputs m --inputs s --json");
    json_t *doc = cli_json(&r);
    CHECK(json_is_false(json_object_get(doc, "same")) && json_array_size(json_object_get(doc, "findings")) == 2);
    json_decref(doc);
    /* what the recipe does not make is told and no difference */
    r = cli_expect(0,
                   "cp q/q.gguf x/ && echo hello >x/NOTES && $PARE pin x -o x/pare.lock --recipe q/pare.lock --force "
                   "-q && $PARE reproduce x/pare.lock --inputs m --inputs s");
    CHECK(cli_contains(r.out, "NOTES: is in the lock, and not made by its recipe"));
    cli_expect(0, "rm -r x again && mkdir empty && $PARE reproduce q/pare.lock --inputs m --inputs s -o empty && "
                  "cmp empty/q.gguf q/q.gguf && rm -r empty");
    nothing_is_left();
}

/* ---- locks that somebody else wrote ---- */

static json_t *lock(void)
{
    cli_result r = cli_expect(0, "cat q/pare.lock");
    json_t *doc = json_loads(r.out, 0, NULL);
    CHECK(doc != NULL);
    json_object_del(doc, "seal");
    return doc;
}

static void set_member(json_t *doc, const char *path, const char *value)
{
    char part[64];
    json_t *at = doc;
    const char *last = path;
    for (const char *slash; (slash = strchr(last, '/')) != NULL; last = slash + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - last), last);
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
        CHECK(at != NULL);
    }
    json_t *new = value != NULL ? json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    CHECK(value == NULL || new != NULL);
    if (json_is_array(at))
        CHECK(json_array_set_new(at, (size_t)atoi(last), new) == 0);
    else
        CHECK(value != NULL ? json_object_set_new(at, last, new) == 0 : json_object_del(at, last) == 0);
}

/* The members at the paths (the other may be NULL) set to the JSON values (NULL: removed), then reproduced. */
static cli_result reproduce_edits(int code, const char *path, const char *value, const char *other,
                                  const char *other_value)
{
    char name[5000];
    json_t *doc = lock();
    set_member(doc, path, value);
    if (other != NULL)
        set_member(doc, other, other_value);
    snprintf(name, sizeof name, "%s/h/pare.lock", cli_folder());
    CHECK(json_dump_file(doc, name, JSON_INDENT(1)) == 0);
    json_decref(doc);
    return cli_expect(code, "$PARE reproduce h/pare.lock --inputs m --inputs s");
}

static cli_result reproduce_edited(int code, const char *path, const char *value)
{
    return reproduce_edits(code, path, value, NULL, NULL);
}

#define ARGV(...) "[\"quantize\", \"m\", \"-t\", \"q4_k_m\", \"--imatrix=im.gguf\", \"--pin\", " __VA_ARGS__ "]"

static void hostile_locks_reach_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value;
        int code;
        const char *text;
    } cases[] = {
        /* another version's, or none */
        {"recipe", NULL, 4, "records no recipe"},
        {"recipe", "{}", 4, "records no recipe"},
        {"recipe/argv", NULL, 4, "an older version wrote it"},
        {"recipe/argv", ARGV("\"--shiny\", \"-o\", \"q.gguf\""), 4, "unknown option '--shiny'"},
        {"recipe/argv", ARGV("\"-o\", \"q.gguf\", \"--effort\", \"huge\""), 4, "expected one of"},
        {"recipe/command", "\"pin\"", 3, "is not the first word"},
        {"recipe/argv", "[\"sh\", \"-c\", \"touch owned\"]", 3, "is not the first word"},
        /* names that lead elsewhere */
        {"recipe/argv", ARGV("\"-o\", \"../owned.gguf\""), 3, "no plain name behind --output"},
        {"recipe/argv", ARGV("\"-o\", \"/tmp/owned.gguf\""), 3, "no plain name behind --output"},
        {"recipe/argv", ARGV("\"-o\", \"..\""), 3, "no plain name behind --output"},
        {"recipe/outputs", "[\"../q.gguf\"]", 3, "which the lock does not list"},
        {"recipe/outputs", "[]", 3, "names no file"},
        {"recipe/outputs", "{}", 3, "names no file"},
        {"recipe/folder", "\"../m\"", 3, "no name of a folder"},
        {"recipe/folder", "7", 3, "no name of a folder"},
        {"parents/0/name", "\"../m/model.safetensors\"", 3, "holds '..'"},
        {"parents/0/name", "\"/etc/passwd\"", 3, "is absolute"},
        {"parents", "[]", 3, "names no input"},
        {"recipe/argv", "[\"quantize\", \"m\", \"-t\", \"q4_k_m\", \"--imatrix=/etc/passwd\", \"-o\", \"q.gguf\"]", 3,
         "'/etc/passwd' is given and not recorded"},
        {"recipe/argv", ARGV("\"-o\", \"q.gguf\", \"--sequential\", \"x.txt\""), 3,
         "'x.txt' is given and not recorded"},
        {"recipe/argv", "[\"quantize\", \"m\", \"-t\", \"q4_k_m\", \"-o\", \"q.gguf\"]", 3, "no option names it"},
        {"recipe/argv", "[\"quantize\", \"m\", \"n\", \"-t\", \"q4_k_m\", \"-o\", \"q.gguf\"]", 4,
         "one argument too many"},
        {"recipe/argv", "[1]", 3, "what is no word"},
        {"recipe/argv", "[\"quantize\", \"a\\u0000b\"]", 3, "what is no word"},
        {"recipe/argv", ARGV("\"-o\", \"q.gguf\", \"--output-type\", \"q9_9\""), 3, "unknown block type"},
        {"recipe/argv", ARGV("\"-h\""), 3, "no plain name behind --output"},
    };
    cli_expect(0, "mkdir h");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result r = reproduce_edits(cases[i].code, cases[i].path, cases[i].value,
                                       strcmp(cases[i].path, "recipe") == 0        ? NULL
                                       : strncmp(cases[i].path, "parents", 7) == 0 ? "recipe/inputs"
                                                                                   : "recipe/options",
                                       NULL);
        if (!cli_contains(r.err, cases[i].text))
            fail_msg("%s = %s: '%s'", cases[i].path, cases[i].value, r.err);
    }
    /* what names an output is this run's to say */
    cli_result r = reproduce_edited(0, "recipe/argv",
                                    ARGV("\"-o\", \"q.gguf\", \"--lock=owned.lock\", \"--sums\", \"/tmp/owned.sums\", "
                                         "\"--sign\", \"key.pem\", \"--force\", \"--dry-run\", \"--json\""));
    CHECK(cli_contains(r.out, "q.gguf: same bytes"));
    CHECK(cli_contains(reproduce_edited(0, "recipe/pare", "\"0.0.1\"").err, "was made by pare 0.0.1"));
    CHECK(cli_contains(
        reproduce_edits(1, "recipe/argv", ARGV("\"-o\", \"q.gguf\", \"--output-type\", \"q8_0\""), "recipe/options",
                        "[[\"type\", \"q4_k_m\"], [\"imatrix\", \"im.gguf\"], [\"output-type\", \"q8_0\"]]")
            .out,
        "is q8_0 ["));
    /* one that was edited without more is told of, and no success */
    CHECK(cli_contains(cli_expect(1, "sed 's/\"name\": \"pare\"/\"name\": \"pure\"/' q/pare.lock >h/pare.lock && "
                                     "$PARE reproduce h/pare.lock --inputs m --inputs s")
                           .err,
                       "was edited after it was written"));
    cli_expect(0,
               "test ! -e owned && test ! -e owned.lock && test ! -e h/owned.lock && test \"$(ls h)\" = pare.lock && "
               "rm -r h");
    nothing_is_left();
}

/* What a recipe says beside its command line is what people read. */
static void a_recipe_says_what_is_run(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *text;
    } cases[] = {
        {"recipe/options/0", "[\"type\", \"q8_0\"]",
         "'options[0]' is [\"type\", \"q8_0\"], and 'argv' says [\"type\", \"q4_k_m\"]"},
        {"recipe/options", "[[\"type\", \"q4_k_m\"]]",
         "'options[1]' is nothing, and 'argv' says [\"imatrix\", \"im.gguf\"]"},
        {"recipe/options", "[[\"type\", \"q4_k_m\"], [\"imatrix\", \"im.gguf\"], [\"effort\", \"high\"]]",
         "'options[2]' is [\"effort\", \"high\"], and 'argv' says nothing"},
        {"recipe/options", "{}", "'options' is no array"},
        {"recipe/argv", ARGV("\"-o\", \"q.gguf\", \"--output-type\", \"q8_0\""),
         "'options[2]' is nothing, and 'argv' says [\"output-type\", \"q8_0\"]"},
        {"recipe/inputs/0/sha256", "\"00\"", "'inputs[0]' is {\"name\": \"model.safetensors\", \"sha256\": \"00\"}"},
        {"recipe/inputs/1/name", "\"other.json\"", "'inputs[1]' is {\"name\": \"other.json\""},
        {"recipe/inputs", "[]", "'inputs[0]' is nothing, and 'parents' says {"},
        {"recipe/argv", ARGV("\"-o\", \"y\""), "'outputs[0]' is \"q.gguf\", and 'argv' says y"},
        {"recipe/argv", ARGV("\"-o\", \"y.gguf\""), "'outputs[0]' is \"q.gguf\", and 'argv' says y.gguf"},
        {"recipe/argv", ARGV("\"-o\", \"q.gguf\", \"-j3\""), "'threads' is 2, and 'argv' says 3"},
        {"recipe/threads", "3", "'threads' is 3, and 'argv' says 2"},
        {"recipe/threads", "2.0", "'threads' is a real number"},
        {"recipe/threads", "0", "'threads' is 0"},
        {"recipe/device", "0", "'device' is no string"},
    };
    cli_expect(0, "mkdir h");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result r = reproduce_edited(3, cases[i].path, cases[i].value);
        if (!cli_contains(r.err, cases[i].text))
            fail_msg("%s = %s: '%s'", cases[i].path, cases[i].value, r.err);
    }
    reproduce_edited(0, "recipe/options", NULL); /* says nothing, and nothing else */
    cli_expect(0, "rm -r h");
    nothing_is_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes_come_out),
        cmocka_unit_test(folders_and_sets_are_made_again),
        cmocka_unit_test(the_models_folder_may_have_another_name),
        cmocka_unit_test(models_of_stores_are_found_again),
        cmocka_unit_test(all_that_is_missing_is_told_at_once),
        cmocka_unit_test(what_differs_is_explained),
        cmocka_unit_test(hostile_locks_reach_nothing),
        cmocka_unit_test(a_recipe_says_what_is_run),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
