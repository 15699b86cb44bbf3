/* Models in the stores of other programs: found by name, compared with the hashes that the stores know them by. The
 * stores are laid out with git and sha256sum where these are the witnesses. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SNAPSHOT "hub/models--org--demo/snapshots/" COMMIT

/* A snapshot of the demo model: weights by SHA-256, the rest by what Git calls them. */
static const char hub[] = "rm -rf hub && mkdir -p hub/models--org--demo/blobs hub/models--org--demo/refs/pr " SNAPSHOT
                          " && printf " COMMIT " >hub/models--org--demo/refs/main &&"
                          " printf " COMMIT " >hub/models--org--demo/refs/pr/1 &&"
                          " for f in $DEMO/*; do n=$(basename $f); case $n in"
                          " *.safetensors) e=$(sha256sum <$f | cut -c1-64);;"
                          " *) e=$({ printf 'blob %d\\0' $(stat -c %s $f); cat $f; } | sha1sum | cut -c1-40);; esac;"
                          " cp $f hub/models--org--demo/blobs/$e && chmod u+w hub/models--org--demo/blobs/$e &&"
                          " ln -s ../../blobs/$e " SNAPSHOT "/$n; done";

static const char ollama[] =
    "rm -rf oll && mkdir -p oll/blobs oll/manifests/registry.ollama.ai/library/demo && cp one.gguf oll/blobs/w &&"
    " printf '{{ .Prompt }}' >oll/blobs/t && for f in w t; do h=$(sha256sum <oll/blobs/$f | cut -c1-64);"
    " eval $f=$h n$f=$(stat -c %s oll/blobs/$f); mv oll/blobs/$f oll/blobs/sha256-$h; done;"
    " printf '{\"schemaVersion\":2,\"layers\":["
    "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:%s\",\"size\":%s},"
    "{\"mediaType\":\"application/vnd.ollama.image.template\",\"digest\":\"sha256:%s\",\"size\":%s}]}' $w $nw $t $nt"
    " >oll/manifests/registry.ollama.ai/library/demo/latest; echo $w >weights";

static int set_up(void **state)
{
    (void)state;
    setenv("HF_HUB_CACHE", "hub", 1);
    setenv("OLLAMA_MODELS", "oll", 1);
    cli_expect(0, "$PARE convert $DEMO -o one.gguf -q");
    return 0;
}

static void a_snapshot_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"hf://org/demo",
                                        "hf://org/demo@main",
                                        "hf://org/demo@" COMMIT,
                                        "hf://org/demo@pr%2F1",
                                        "hub/models--org--demo",
                                        "hub/models--org--demo/",
                                        SNAPSHOT,
                                        SNAPSHOT "/"};
    cli_expect(0, "%s", hub);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cli_result r = cli_expect(0, "$PARE verify %s --json", names[i]);
        json_t *doc = cli_json(&r);
        CHECK(strcmp(json_string_value(json_object_get(doc, "bytes")), "ok") == 0);
        CHECK(cli_number(doc, "n_stored") >= 5);
        CHECK(strcmp(json_string_value(json_object_get(doc, "store")), "the Hub's cache") == 0);
        json_decref(doc);
    }
    CHECK(cli_contains(cli_expect(0, "$PARE verify hf://org/demo/model.safetensors").out, "names 1 of the files"));
    cli_expect(0, "$PARE quantize hf://org/demo -t q8_0 -o q.gguf -q && $PARE quantize $DEMO -t q8_0 -o r.gguf -q &&"
                  " cmp q.gguf r.gguf");
    /* without main, the only snapshot stands for the folder */
    cli_expect(0, "rm hub/models--org--demo/refs/main && $PARE verify hf://org/demo");
    CHECK(cli_contains(cli_expect(3, "mkdir hub/models--org--demo/snapshots/$(printf %%040d 1);"
                                     " $PARE verify hf://org/demo")
                           .err,
                       "2 snapshots"));
    cli_expect(0, "HF_HUB_CACHE= HF_HOME=$PWD/home; export HF_HUB_CACHE HF_HOME; mkdir home && cp -r hub home/ &&"
                  " $PARE verify hf://org/demo@" COMMIT);
    cli_expect(0, "unset HF_HUB_CACHE; XDG_CACHE_HOME=$PWD/xdg; export XDG_CACHE_HOME; mkdir -p xdg/huggingface &&"
                  " cp -r hub xdg/huggingface/ && $PARE verify hf://org/demo@" COMMIT);
    cli_expect(0, "unset HF_HUB_CACHE; HOME=$PWD/h; mkdir -p h/.cache && cp -r xdg/huggingface h/.cache/ && "
                  "$PARE verify hf://org/demo@" COMMIT);
}

static void what_a_cache_keeps_is_compared(void **state)
{
    (void)state;
    cli_expect(0, "%s", hub);
    cli_expect(0, "$PARE pin " SNAPSHOT " -o " SNAPSHOT "/pare.lock && $PARE verify " SNAPSHOT "/pare.lock");
    /* a lock that lies elsewhere above them */
    cli_expect(0, "$PARE pin hub/models--org--demo -o out.lock && $PARE verify out.lock && cd hub &&"
                  " $PARE pin models--org--demo -q && $PARE verify pare.lock && rm pare.lock SHA256SUMS");
    cli_result r = cli_expect(1, "echo >>$(readlink -f " SNAPSHOT "/config.json); $PARE verify out.lock");
    CHECK(cli_contains(r.out, "bytes: different"));
    r = cli_expect(1, "$PARE verify hf://org/demo");
    CHECK(cli_contains(r.out, "config.json: git_sha1: is ") && cli_contains(r.out, "bytes: different"));
    cli_expect(0, "%s", hub);
    r = cli_expect(1,
                   "printf y | dd of=$(readlink -f " SNAPSHOT "/model.safetensors) bs=1 seek=90000 conv=notrunc 2>&-;"
                   " $PARE verify hf://org/demo");
    CHECK(cli_contains(r.out, "model.safetensors: sha256: is ") && cli_contains(r.out, "the Hub's cache says "));
    /* a lock of the damaged content: the bytes are as pinned, and yet not what the blob is called */
    r = cli_expect(1, "$PARE pin " SNAPSHOT " -o " SNAPSHOT "/pare.lock && $PARE verify " SNAPSHOT "/pare.lock");
    CHECK(cli_contains(r.out, "model.safetensors: etag: the Hub's cache names it "));
    r = cli_expect(0, "$PARE verify hf://org/demo --fast"); /* a name of a store is no XXH3 */
    CHECK(cli_contains(r.out, "bytes: absent") && !cli_contains(r.out, "XXH3"));
    /* blobs that lie elsewhere: the link of the folder is not followed, with a lock or without */
    cli_expect(0, "%s", hub);
    cli_expect(0, "$PARE pin " SNAPSHOT " -o hub/out.lock -q && $PARE verify hub/out.lock && "
                  "mv hub/models--org--demo/blobs hub/elsewhere && ln -s ../elsewhere hub/models--org--demo/blobs");
    r = cli_expect(3, "$PARE verify hub/out.lock");
    CHECK(cli_contains(r.out, "is a link into '../../blobs', which is a symbolic link"));
    static const char *const names[] = {"hf://org/demo", "hub/models--org--demo", SNAPSHOT};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(cli_contains(cli_expect(3, "$PARE verify %s", names[i]).err, "which is a symbolic link"));
    cli_expect(3, "$PARE pin " SNAPSHOT " -o hub/out.lock --force");
}

static void names_that_lead_nowhere(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
    } rows[] = {{"hf://org/none", "hub/models--org--none is not there; nothing is downloaded"},
                {"hf://demo", "expected hf://org/name"},
                {"hf://org/", "expected hf://org/name"},
                {"hf:///demo", "expected hf://org/name"},
                {"hf://../demo", "expected hf://org/name"},
                {"hf://org/demo@", "the revision behind '@' is no name"},
                {"hf://org/demo@dev", "no snapshot of revision 'dev'"},
                {"hf://org/demo@..%2F..%2Fx", "is no name of a revision"},
                {"hf://org/demo@0000000000000000000000000000000000000000", "is not there; nothing is downloaded"},
                {"hf://org/demo/../../x", "the file's name holds '..'"},
                {"hf://org/demo/none.gguf", "none.gguf is absent"},
                {"hf://org/demo@bad", "holds no commit"},
                {"hf://org/demo@link", "is a symbolic link"},
                {"ollama://none", "none/latest is no file; nothing is downloaded"},
                {"ollama://demo:8b", "demo/8b is no file"},
                {"ollama://", "expected ollama://"},
                {"ollama://a/b/c/d", "expected ollama://"},
                {"ollama://../../demo", "expected ollama://"}};
    cli_expect(0, "%s", hub);
    cli_expect(0, "cd hub/models--org--demo/refs && echo main >bad && ln -s ../../../one.gguf link");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_result r = cli_expect(3, "$PARE verify '%s'", rows[i].name);
        if (!cli_contains(r.err, rows[i].text))
            print_message("%s: %s", rows[i].name, r.err);
        CHECK(cli_contains(r.err, rows[i].text) && cli_count_lines(r.err) == 1);
    }
    CHECK(cli_contains(cli_expect(2, "$PARE quantize $DEMO -t q8_0 -o hf://org/demo/x.gguf").err,
                       "nothing is written to a store"));
    CHECK(cli_contains(cli_expect(2, "$PARE quantize $DEMO -t q8_0 -o z.gguf --pin --lock ollama://demo --force").err,
                       "nothing is written to a store"));
}

static void a_download_has_notes(void **state)
{
    (void)state;
    cli_expect(0, "cp -r $DEMO local && chmod -R u+w local && mkdir -p local/.cache/huggingface/download && cd local &&"
                  " printf '" COMMIT "\\n%%s\\n17.5\\n' $(git hash-object config.json 2>&- ||"
                  " { printf 'blob %%d\\0' $(stat -c %%s config.json); cat config.json; } | sha1sum | cut -c1-40)"
                  " >.cache/huggingface/download/config.json.metadata &&"
                  " printf '" COMMIT "\\n%%s\\n17.5\\n' $(sha256sum <model.safetensors | cut -c1-64)"
                  " >.cache/huggingface/download/model.safetensors.metadata");
    CHECK(cli_contains(cli_expect(0, "$PARE verify local").out, "the Hub's client names 2 of the files"));
    CHECK(cli_contains(cli_expect(0, "$PARE verify local/model.safetensors").out, "names 1 of the files"));
    CHECK(cli_contains(cli_expect(1, "echo >>local/config.json; $PARE verify local").out, "config.json: git_sha1"));
    CHECK(cli_contains(
        cli_expect(3, "echo x >local/.cache/huggingface/download/config.json.metadata; $PARE verify local").err,
        "config.json.metadata: line 2 is no etag"));
}

/* Where Git LFS did not fetch the content of a pinned file. */
static void a_pointer_is_told(void **state)
{
    (void)state;
    cli_expect(0,
               "cp -r $DEMO lfs && chmod -R u+w lfs && $PARE pin lfs -o lfs/pare.lock && cp lfs/model.safetensors w");
    cli_result r = cli_expect(1,
                              "%s $(sha256sum <w | cut -c1-64) $(stat -c %%s w) >lfs/model.safetensors;"
                              " $PARE verify lfs/pare.lock",
                              "printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n'");
    CHECK(cli_contains(r.out, "a Git-LFS pointer to the pinned content; run git lfs pull"));
    r = cli_expect(1, "sed -i 's/size ./size 9/' lfs/model.safetensors; $PARE verify lfs/pare.lock");
    CHECK(cli_contains(r.out, "a Git-LFS pointer to other content"));
}

static void a_manifest_is_a_model(void **state)
{
    (void)state;
    static const char *const names[] = {"ollama://demo", "ollama://demo:latest", "ollama://library/demo",
                                        "ollama://registry.ollama.ai/library/demo:latest",
                                        "oll/manifests/registry.ollama.ai/library/demo/latest"};
    cli_expect(0, "%s", ollama);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(cli_contains(cli_expect(0, "$PARE verify %s", names[i]).out, "Ollama's manifest names 2 of the files"));
    cli_expect(0, "$PARE convert ollama://demo -o back.gguf -q && cmp back.gguf one.gguf");
    cli_expect(0, "for b in oll/blobs/sha256-*; do $PARE verify $b || exit 9; done");
    cli_expect(0, "$PARE pin ollama://demo -o oll/pare.lock && $PARE verify oll/pare.lock && grep -q blobs/sha256-"
                  " oll/pare.lock && rm oll/pare.lock oll/SHA256SUMS");
    CHECK(
        cli_contains(cli_expect(1, "printf x | dd of=oll/blobs/sha256-$(cat weights) bs=1 seek=90000 conv=notrunc 2>&-;"
                                   " $PARE verify ollama://demo")
                         .out,
                     "Ollama's manifest says"));
    CHECK(cli_contains(cli_expect(1, "$PARE verify oll/blobs/sha256-$(cat weights)").out, "Ollama's store says"));
    cli_result r = cli_expect(1, "truncate -s 100 oll/blobs/sha256-$(cat weights); $PARE verify ollama://demo");
    CHECK(cli_contains(r.out, ": size: has 100 bytes") && cli_contains(r.out, "structure: different"));
    CHECK(cli_contains(cli_expect(1, "rm oll/blobs/sha256-$(cat weights); $PARE verify ollama://demo").out,
                       ": missing: "));
    CHECK(cli_contains(cli_expect(3, "$PARE inspect ollama://demo").err, "the blob of the weights"));
}

static void damaged_manifests_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *edit, *text;
    } rows[] = {{"s/sha256:/sha512:/g", "has no digest"},
                {"s/\"size\":[0-9]*/\"size\":-1/", "has no size"},
                {"s/image.model/image.other/", "no layer is weights"},
                {"s/image.template/image.model/", "several layers are weights"},
                {"s/\"mediaType\":\"[^\"]*\",\"digest/\"digest/", "has no mediaType"},
                {"s/\"layers\":\\[/\"layers\":{},\"x\":[/", "is no list"},
                {"s#sha256:[0-9a-f]*#sha256:../../../../etc/passwd#", "has no digest"},
                {"s/\"mediaType\":\"/&\\\\u0000/", "a string holds a NUL"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cli_expect(0, "%s", ollama);
        cli_result r = cli_expect(3,
                                  "sed -i '%s' oll/manifests/registry.ollama.ai/library/demo/latest;"
                                  " $PARE inspect ollama://demo",
                                  rows[i].edit);
        if (!cli_contains(r.err, rows[i].text))
            print_message("%s: %s", rows[i].edit, r.err);
        CHECK(cli_contains(r.err, rows[i].text) && cli_count_lines(r.err) == 1);
    }
    cli_expect(0, "%s", ollama);
    CHECK(cli_contains(cli_expect(3, "cp oll/manifests/registry.ollama.ai/library/demo/latest m.json;"
                                     " $PARE inspect m.json")
                           .err,
                       "this one lies in none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_found),
        cmocka_unit_test(what_a_cache_keeps_is_compared),
        cmocka_unit_test(names_that_lead_nowhere),
        cmocka_unit_test(a_download_has_notes),
        cmocka_unit_test(a_pointer_is_told),
        cmocka_unit_test(a_manifest_is_a_model),
        cmocka_unit_test(damaged_manifests_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
