/* pin --sign and --cyclonedx, verify --key: as a user types them. */
#include "cli.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *stranger = EVP_EC_gen("P-384");
    cli_write_key("key.pem", key, true);
    cli_write_key("key.pub", key, false);
    cli_write_key("stranger.pub", stranger, false);
    EVP_PKEY_free(key);
    EVP_PKEY_free(stranger);
    cli_expect(0, "cp -r $DEMO m && chmod -R u+w m && $PARE convert m -o one.gguf -q");
    return 0;
}

static const char *word(const json_t *doc, const char *key)
{
    const char *text = json_string_value(json_object_get(doc, key));
    return text != NULL ? text : "";
}

static void a_signed_folder_is_verified(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(0, "$PARE pin m -o m/pare.lock --sign key.pem").out,
                       "m/model.sig: signed with the P-256"));
    cli_expect(0, "$PARE verify m/pare.lock"); /* the signature is no extra file */
    cli_result r = cli_expect(0, "$PARE verify m --key key.pub --json");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(word(doc, "signature"), "ok") == 0 && strcmp(word(doc, "structure"), "ok") == 0);
    CHECK(cli_number(doc, "n_signed") >= 8 && strlen(word(doc, "key")) == 64);
    json_decref(doc);
    r = cli_expect(0, "$PARE verify m/pare.lock --key key.pub");
    CHECK(cli_contains(r.out, "bytes: ok") && cli_contains(r.out, "signature: ok ("));
    CHECK(cli_contains(cli_expect(0, "$PARE verify m/pare.lock").out, "signature: absent (not looked at: m/model.sig"));
    r = cli_expect(1, "$PARE verify m --key stranger.pub");
    CHECK(cli_contains(r.out, "another key") && cli_contains(r.out, "signature: different"));
    cli_expect(1, "echo >>m/pare.lock; $PARE verify m --key key.pub"); /* the lock is signed */
    cli_expect(2, "$PARE pin m -o m/pare.lock --sign key.pem");
    cli_expect(0, "$PARE pin m -o m/pare.lock --sign key.pem --force && $PARE verify m --key key.pub");
    CHECK(cli_contains(cli_expect(1, "echo x >m/more; $PARE verify m --key key.pub").out, "more: unsigned"));
    cli_expect(0, "$PARE verify m --key key.pub --ignore-unsigned");
    cli_expect(1, "$PARE verify m/more --key key.pub --ignore-unsigned"); /* what was asked for is not signed */
    cli_expect(0, "$PARE verify m/config.json --key key.pub --ignore-unsigned");
    cli_expect(0, "rm m/more");
}

static void a_missing_signature_is_told(void **state)
{
    (void)state;
    cli_result r = cli_expect(1, "mkdir none && cp one.gguf none/ && $PARE verify none/one.gguf --key key.pub");
    CHECK(cli_contains(r.out, "there is no such bundle") && cli_contains(r.out, "signature: absent"));
    CHECK(cli_contains(r.out, "structure: ok"));
    cli_expect(3, "$PARE verify none/one.gguf --key none.pub");
    cli_expect(2, "$PARE verify none/one.gguf --ignore-unsigned");
    cli_expect(2, "$PARE verify none/one.gguf --signature none/model.sig");
    cli_expect(2, "$PARE pin none -o none/pare.lock --signature none/model.sig");
    cli_expect(3, "$PARE pin none -o none/pare.lock --sign key.pub");
    cli_expect(3, "$PARE pin none -o none/pare.lock --sign one.gguf");
    CHECK(cli_contains(cli_expect(2, "cp key.pem none/ && $PARE pin none -o none/pare.lock --sign none/key.pem").err,
                       "keep it elsewhere"));
    cli_expect(0, "test ! -e none/pare.lock && test ! -e none/SHA256SUMS && rm -r none");
}

/* A folder that is no model has a signature all the same; what claims to be one in it is looked at. */
static void any_folder_can_be_verified(void **state)
{
    (void)state;
    cli_expect(0, "mkdir any && echo 1 >any/notes && $PARE pin any -o any/pare.lock --sign key.pem");
    cli_result r = cli_expect(0, "$PARE verify any --key key.pub");
    CHECK(cli_contains(r.out, "structure: absent") && cli_contains(r.out, "signature: ok") &&
          cli_contains(r.err, "not looked at as a model"));
    cli_expect(3, "$PARE verify any");
    cli_expect(0, "cp one.gguf any/a.gguf && cp one.gguf any/b.gguf && "
                  "$PARE pin any -o any/pare.lock --sign key.pem --force");
    CHECK(cli_contains(cli_expect(0, "$PARE verify any --key key.pub").out, "structure: ok"));
    r = cli_expect(1, "truncate -s -1 any/b.gguf; $PARE verify any --key key.pub");
    CHECK(cli_contains(r.out, "b.gguf: structure") && cli_contains(r.out, "b.gguf: signed content"));
}

static void a_bill_lists_the_files(void **state)
{
    (void)state;
    cli_expect(
        0, "mkdir b && cp one.gguf b/ && SOURCE_DATE_EPOCH=86400 $PARE pin b -o b/pare.lock --cyclonedx b/bom.json");
    /* it is pinned itself, and made anew from the other files when it is there */
    cli_expect(0, "$PARE verify b/pare.lock && grep -q bom.json b/SHA256SUMS && cp b/bom.json first.json && "
                  "SOURCE_DATE_EPOCH=86400 $PARE pin b -o b/pare.lock --cyclonedx b/bom.json --force && "
                  "cmp b/bom.json first.json && $PARE verify b/pare.lock");
    cli_result r = cli_expect(0, "cat b/bom.json");
    json_t *doc = json_loads(r.out, 0, NULL), *meta = json_object_get(doc, "metadata");
    const json_t *model = json_object_get(meta, "component"), *files = json_object_get(doc, "components");
    CHECK(strcmp(word(doc, "specVersion"), "1.6") == 0 && strcmp(word(meta, "timestamp"), "1970-01-02T00:00:00Z") == 0);
    CHECK(strcmp(word(model, "type"), "machine-learning-model") == 0 && json_array_size(files) == 1);
    const json_t *hash = json_array_get(json_object_get(model, "hashes"), 0);
    r = cli_expect(0, "sha256sum <b/one.gguf");
    CHECK(strncmp(word(hash, "content"), r.out, 64) == 0 && strcmp(word(hash, "alg"), "SHA-256") == 0);
    const json_t *parameters = json_object_get(json_object_get(model, "modelCard"), "modelParameters");
    CHECK(strcmp(word(parameters, "modelArchitecture"), "llama") == 0);
    json_decref(doc);
    cli_expect(2, "$PARE pin b/pare.lock -o b/x.lock --cyclonedx b/x.json"); /* no model */
    cli_expect(2, "$PARE pin b -o b/pare.lock --force --cyclonedx b/one.gguf");
    cli_expect(2, "cp one.gguf b/two.gguf; $PARE pin b -o b/pare.lock --force --cyclonedx b/bom.json"); /* two models */
    cli_expect(0, "test ! -e b/x.lock && test ! -e b/x.json");
}

/* The component of a bill of one.gguf with these addresses and this version; what was warned of goes to `warned`. */
static json_t *describe(const char *url, const char *version, char *warned, size_t size)
{
    cli_expect(0,
               "rm -rf d && mkdir d && $PARE quantize one.gguf -t q8_0 -o d/m.gguf -q --metadata 'general.url=str:%s' "
               "--metadata 'general.version=str:%s'",
               url, version);
    snprintf(warned, size, "%s", cli_expect(0, "$PARE pin d -o d/pare.lock --cyclonedx d/bom.json").err);
    cli_result r = cli_expect(0, "cat d/bom.json");
    json_t *doc = json_loads(r.out, 0, NULL), *metadata = json_object_get(doc, "metadata");
    json_t *model = json_incref(json_object_get(metadata, "component"));
    json_decref(doc);
    return model;
}

/* The schema of CycloneDX 1.6: url has the format iri-reference, version maxLength 1024. */
static void a_bill_is_valid_whatever_the_metadata_are(void **state)
{
    (void)state;
    static const char *const bad[] = {"http://[::bad", "http://x/%zz",   "http://a/%",   "http://u@[v1.x",
                                      "http://[1::2",  "http://a b",     "http://",      "https://a:x/",
                                      "http://a/{b}",  "http://a/b#c#d", "http://a[1]/", "not an address",
                                      "http://a/\\b",  "http://[::1]/"};
    static const char *const good[] = {"https://example.org", "http://u:p@h:80/a?b=/?#c", "http://a/%2f",
                                       "http://\xc3\xa9/\xc3\xbc"};
    char warned[4096], longest[1026];
    memset(longest, 'v', 1025);
    longest[1025] = '\0';
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *model = describe(bad[i], longest + 1, warned, sizeof warned);
        CHECK(json_object_get(model, "externalReferences") == NULL && strlen(word(model, "version")) == 1024);
        CHECK(cli_contains(warned, "general.url") && !cli_contains(warned, "general.version"));
        json_decref(model);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        json_t *model = describe(good[i], longest, warned, sizeof warned);
        CHECK(strcmp(word(json_array_get(json_object_get(model, "externalReferences"), 0), "url"), good[i]) == 0);
        CHECK(json_object_get(model, "version") == NULL);
        CHECK(!cli_contains(warned, "general.url") && cli_contains(warned, "general.version"));
        json_decref(model);
    }
}

/* Checksums and a signature under other names are no part of what is pinned, the second time either, and no extras. */
static void what_a_run_writes_is_no_extra(void **state)
{
    (void)state;
    static const char *const places[] = {"", "sub/"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        cli_expect(0, "rm -rf own && mkdir -p own/sub && echo a >own/a.txt");
        for (int round = 0; round < 2; round++) {
            cli_expect(0,
                       "cd own && $PARE pin . --sums SUMS --signature %smy.sig --sign ../key.pem -o my.lock --force -q",
                       places[i]);
            cli_expect(0, "cd own && $PARE verify my.lock && sha256sum -c --strict --quiet SUMS");
            cli_expect(0, "cd own && ! grep -q '\"name\": \".*\\(SUMS\\|my.sig\\)\"' my.lock && echo b >b.txt");
            CHECK(cli_contains(cli_expect(1, "cd own && $PARE verify my.lock; c=$?; rm b.txt; exit $c").out,
                               "b.txt: extra"));
        }
        CHECK(cli_contains(cli_expect(1, "cd own && cp my.lock x && $PARE verify my.lock").out, "x: extra"));
    }
    cli_expect(0, "$PARE convert one.gguf -o own/m --format safetensors --pin --sums own/m/SUMS -q && $PARE verify"
                  " own/m/pare.lock");
    cli_expect(0, "rm -r own");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_folder_is_verified), cmocka_unit_test(a_missing_signature_is_told),
        cmocka_unit_test(any_folder_can_be_verified),  cmocka_unit_test(what_a_run_writes_is_no_extra),
        cmocka_unit_test(a_bill_lists_the_files),      cmocka_unit_test(a_bill_is_valid_whatever_the_metadata_are),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
