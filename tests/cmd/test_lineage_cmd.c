/* What a lock says of where its files come from, and --pin --sign: as a user types them. */
#include "cli.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REVISION "0123456789abcdef0123456789abcdef01234567"

/* m: the demo model with a lock; a: statistics of it; b: a model made of both. Each names the one before. */
static int set_up(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    cli_write_key("key.pem", key, true);
    cli_write_key("key.pub", key, false);
    EVP_PKEY_free(key);
    cli_expect(0, "cp -r $DEMO m && chmod -R u+w m && mkdir a b && $PARE pin m -o m/pare.lock && "
                  "$PARE imatrix m -f m/text.txt --chunks 1 -o a/im.gguf --pin --sign key.pem -q && "
                  "$PARE quantize ./m/ -t q8_0 --imatrix=./a/im.gguf -ob/q.gguf --pin --sign key.pem -q -j2");
    return 0;
}

static json_t *lock(const char *path)
{
    cli_result r = cli_expect(0, "cat %s", path);
    json_t *doc = json_loads(r.out, 0, NULL);
    CHECK(doc != NULL);
    return doc;
}

static const char *text(const json_t *doc, const char *key)
{
    const char *found = json_string_value(json_object_get(doc, key));
    return found != NULL ? found : "";
}

static const json_t *parent(const json_t *doc, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(doc, "parents"), i, row) if (strcmp(text(row, "name"), name) == 0) return row;
    return NULL;
}

static bool is_sum_of(const char *hex, const char *path)
{
    cli_result r = cli_expect(0, "sha256sum <%s", path);
    return strlen(hex) == 64 && strncmp(hex, r.out, 64) == 0;
}

static void a_model_is_followed_back(void **state)
{
    (void)state;
    json_t *b = lock("b/pare.lock"), *a = lock("a/pare.lock");
    const json_t *im = parent(b, "im.gguf"), *weights = parent(b, "model.safetensors"), *t = parent(a, "text.txt");
    CHECK(im != NULL && strcmp(text(im, "role"), "imatrix") == 0 && is_sum_of(text(im, "sha256"), "a/im.gguf") &&
          is_sum_of(text(im, "lock_sha256"), "a/pare.lock"));
    CHECK(weights != NULL && strcmp(text(weights, "role"), "model") == 0 &&
          is_sum_of(text(weights, "lock_sha256"), "m/pare.lock"));
    CHECK(json_integer_value(json_object_get(weights, "size")) > 4000000);
    CHECK(t != NULL && strcmp(text(t, "role"), "text") == 0 && is_sum_of(text(t, "lock_sha256"), "m/pare.lock"));
    CHECK(parent(a, "model.safetensors") != NULL && parent(b, "text.txt") == NULL);
    json_decref(a);
    json_decref(b);
    cli_expect(0, "$PARE verify a/pare.lock --key key.pub && $PARE verify b/pare.lock --key key.pub");
    cli_expect(0, "$PARE verify a/im.gguf");
    cli_expect(1,
               "cp -r a a2 && printf x | dd of=a2/im.gguf bs=1 seek=40 conv=notrunc 2>&1 && $PARE verify a2/pare.lock");
}

/* A lock beside an input that lists it with other bytes says nothing of this input, and something is wrong. */
static void a_lock_that_disagrees_is_warned_of(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "cp -r m m2 && echo ' ' >>m2/README.md && mkdir c && "
                                 "$PARE convert m2 -o c/x.gguf --pin && cat c/pare.lock >c.json");
    CHECK(cli_contains(r.err, "m2/README.md: is not what m2/pare.lock says of it"));
    json_t *doc = lock("c.json");
    CHECK(json_object_get(parent(doc, "README.md"), "lock_sha256") == NULL &&
          json_object_get(parent(doc, "config.json"), "lock_sha256") != NULL);
    json_decref(doc);
    /* nor does one that was edited say anything */
    r = cli_expect(0, "cp -r m m3 && sed -i 's/\"schema\": 1/\"edited\": 1, \"schema\": 1/' m3/pare.lock && "
                      "$PARE convert m3 -o c/w.gguf --pin --lock c/w.lock --sums c/w.sums && rm -r m3");
    CHECK(cli_contains(r.err, "m3/pare.lock: was edited after it was written: the lineage does not go on there"));
    cli_expect(1, "grep lock_sha256 c/w.lock");
    cli_expect(3, "$PARE convert m2 -o c/y.gguf --lock c/y.lock --sums c/y.sums --pin --strict");
    r = cli_expect(0, "echo '{}' >m2/pare.lock; $PARE convert m2 -o c/z.gguf --lock c/z.lock --sums c/z.sums --pin");
    CHECK(cli_contains(r.err, "m2/pare.lock") && cli_contains(r.err, "the lineage does not go on"));
    r = cli_expect(0, "rm m2/pare.lock && $PARE convert m2 -o c/z.gguf --lock c/z.lock --sums c/z.sums --pin --force");
    CHECK(!cli_contains(r.err, "lineage"));
    cli_expect(0, "! grep -q lock_sha256 c/z.lock && rm -r c m2");
}

static void the_command_line_is_recorded_without_folders(void **state)
{
    (void)state;
    json_t *doc = lock("b/pare.lock"), *recipe = json_object_get(doc, "recipe");
    json_t *argv = json_pack("[s, s, s, s, s, s, s, s, s, s, s]", "quantize", "m", "-t", "q8_0", "--imatrix=im.gguf",
                             "-oq.gguf", "--pin", "--sign", "key.pem", "-q", "-j2");
    CHECK(json_equal(json_object_get(recipe, "argv"), argv));
    json_t *outputs = json_pack("[s]", "q.gguf");
    CHECK(json_equal(json_object_get(recipe, "outputs"), outputs));
    CHECK(cli_number(recipe, "threads") == 2 && strcmp(text(recipe, "device"), "cpu") == 0);
    CHECK(json_object_get(recipe, "bytes_by_cpu") == NULL);
    json_decref(argv);
    json_decref(outputs);
    json_decref(doc);
    doc = lock("a/pare.lock");
    CHECK(json_is_true(json_object_get(json_object_get(doc, "recipe"), "bytes_by_cpu")));
    json_decref(doc);
    cli_expect(0, "$PARE imatrix m -f - --chunks 1 -o s.gguf --pin -q <m/text.txt");
    doc = lock("pare.lock");
    CHECK(is_sum_of(text(parent(doc, "-"), "sha256"), "m/text.txt"));
    json_decref(doc);
    cli_expect(0, "rm s.gguf pare.lock SHA256SUMS");
}

static void the_output_is_signed_with_it(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE convert m -o hf --pin --sign key.pem");
    CHECK(cli_contains(r.out, "hf/model.sig: signed with the P-256"));
    cli_expect(0, "$PARE verify hf/pare.lock --key key.pub && $PARE verify hf --key key.pub");
    r = cli_expect(0, "$PARE convert m -o hf --pin --sign key.pem --force --json");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(text(doc, "signature"), "hf/model.sig") == 0 && strlen(text(doc, "key")) == 64);
    json_decref(doc);
    cli_expect(1, "echo ' ' >>hf/pare.lock; $PARE verify hf --key key.pub");
    cli_expect(2, "$PARE convert m -o hf --pin --lock hf/config.json --force"); /* a file of the folder */
    r = cli_expect(2, "$PARE convert m -o new --pin --sums new/pare.lock"); /* in a folder that is not there yet */
    CHECK(cli_contains(r.err, "new/pare.lock: is the same output as --lock"));
    cli_expect(0, "cp -r hf twin && $PARE convert m -o twin/ --pin --sign key.pem --force && ! ls -d *.pare.part.* &&"
                  " $PARE verify twin/pare.lock --key key.pub");
    cli_expect(2, "$PARE convert m -o one.gguf --sign key.pem"); /* without --pin */
    cli_expect(2, "$PARE convert m -o key.pem --format gguf --pin --sign key.pem --force");
    cli_expect(2, "$PARE quantize m -t q4_0 -o one.gguf --pin --lock key.pem --sign key.pem --force");
    cli_expect(2, "cp key.pem hf/ && $PARE convert m -o hf --pin --sign hf/key.pem --force");
    cli_expect(3, "$PARE quantize m -t q4_0 -o one.gguf --pin --sign key.pub");
    cli_expect(0, "test ! -e one.gguf && test ! -e pare.lock && test ! -e model.sig && grep -q PRIVATE hf/key.pem && "
                  "grep -q PRIVATE key.pem && rm -r hf");
    r = cli_expect(2, "touch model.sig; $PARE quantize m -t q4_0 -o one.gguf --pin --sign key.pem");
    CHECK(cli_contains(r.err, "model.sig: exists already"));
    cli_expect(0, "rm model.sig && test ! -e one.gguf");
}

static void the_hubs_repository_is_recorded(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "org/x",          "org/x@main",      "org/x@" REVISION "0", "org/x@0123456789ABCDEF0123456789abcdef01234567",
        "@" REVISION,     "a/b/c@" REVISION, "/b@" REVISION,        "../b@" REVISION,
        "a--b@" REVISION, "a/b c@" REVISION};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cli_expect(2, "$PARE pin m -o m/h.lock --sums m/h.sums --hf '%s'", bad[i]);
    cli_expect(0, "test ! -e m/h.lock && $PARE pin m -o m/h.lock --sums m/h.sums --hf org/x@" REVISION);
    json_t *doc = lock("m/h.lock"), *expected = json_pack("{s:s, s:s}", "name", "org/x", "revision", REVISION);
    CHECK(json_equal(json_object_get(doc, "repository"), expected));
    json_decref(doc);
    cli_expect(0, "$PARE verify m/h.lock --allow-extra");
    cli_expect(
        3, "sed 's/\"revision\": \"0/\"revision\": \"x/' m/h.lock >m/i.lock && $PARE verify m/i.lock --allow-extra");
    /* a snapshot of the Hub's cache says it itself: the folder, or one of its files */
    cli_expect(0, "mkdir -p hub/models--org--x/blobs hub/models--org--x/snapshots/" REVISION " && "
                  "cd hub/models--org--x/snapshots/" REVISION
                  " && sum=$(sha256sum <../../../../m/config.json | cut -c1-64)"
                  " && cp ../../../../m/config.json ../../blobs/$sum && ln -s ../../blobs/$sum config.json && "
                  "$PARE pin . -o pare.lock && cp pare.lock ../../../../h.json && "
                  "$PARE pin config.json -o pare.lock --force -q && grep -q '\"name\": \"org/x\"' pare.lock");
    doc = lock("h.json");
    CHECK(json_equal(json_object_get(doc, "repository"), expected));
    json_decref(doc);
    json_decref(expected);
    cli_expect(2, "cd hub/models--org--x/snapshots/" REVISION
                  " && $PARE pin . -o o.lock --sums o.sums --hf org/y@" REVISION);
    cli_expect(0, "rm -r hub h.json m/h.lock m/h.sums m/i.lock");
}

/* Set the member at path ("parents/0/sha256") to the JSON value; NULL: remove it. */
static void edit(json_t *doc, const char *path, const char *value)
{
    char part[64];
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        doc = json_is_array(doc) ? json_array_get(doc, (size_t)atoi(part)) : json_object_get(doc, part);
        CHECK(doc != NULL);
    }
    json_t *new = value != NULL ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    CHECK(value == NULL || new != NULL);
    if (json_is_array(doc))
        CHECK(json_array_set_new(doc, (size_t)atoi(path), new) == 0);
    else
        CHECK(value != NULL ? json_object_set_new(doc, path, new) == 0 : json_object_del(doc, path) == 0);
}

static cli_result verify_edited(int code, const char *path, const char *value)
{
    char name[5000];
    json_t *doc = lock("b/pare.lock");
    json_object_del(doc, "seal");
    edit(doc, path, value);
    snprintf(name, sizeof name, "%s/b/x.lock", cli_folder());
    CHECK(json_dump_file(doc, name, JSON_INDENT(1)) == 0);
    json_decref(doc);
    return cli_expect(code, "$PARE verify b/x.lock");
}

/* What others add is checked for its form. */
static void other_members_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *text;
    } bad[] = {{"parents", "{}", "'parents' is no array"},
               {"parents/0", "1", "holds what is no object"},
               {"parents/0/sha256", "\"AB\"", "expected 64 lower-case"},
               {"parents/0/lock_sha256", "\"a\"", "expected 64 lower-case"},
               {"parents/0/size", "-1", "size"},
               {"parents/0/role", NULL, "role"},
               {"repository", "[]", "'repository' is no object"},
               {"repository", "{\"name\": \"../x\", \"revision\": \"" REVISION "\"}", "no name of a repository"},
               {"files/0/xet", "\"ab\"", "expected 64 lower-case"}};
    verify_edited(0, "files/0/xet", "\"384e9e0552e7ec6567813c333908a9800790d7d71a5559e3ba6239a5707a812c\"");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(cli_contains(verify_edited(3, bad[i].path, bad[i].value).err, bad[i].text));
    cli_expect(0, "rm b/x.lock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_followed_back),
        cmocka_unit_test(a_lock_that_disagrees_is_warned_of),
        cmocka_unit_test(the_command_line_is_recorded_without_folders),
        cmocka_unit_test(the_output_is_signed_with_it),
        cmocka_unit_test(the_hubs_repository_is_recorded),
        cmocka_unit_test(other_members_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
