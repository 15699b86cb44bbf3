/* Bundles that pare signs, that the reference implementation signed (tests/data/signature), and broken ones. Keys are
 * made by libcrypto when the test runs. */
#include "check.h"
#include "core/json.h"
#include "formats/bundle.h"
#include "formats/bundle_names.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4300 };

static char secret[PATH], public[PATH], other[PATH];

static const char *at(const char *folder, const char *name)
{
    static char paths[32][2 * PATH];
    static int turn;
    char *path = paths[turn++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *folder, const char *name, const void *bytes, size_t n)
{
    check_write_file(at(folder, name), bytes, n);
}

static void write_pem(const char *path, EVP_PKEY *key, bool private, const char *password)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && key != NULL);
    CHECK((private ? PEM_write_PKCS8PrivateKey(file, key, password != NULL ? EVP_aes_128_cbc() : NULL, password,
                                               password != NULL ? (int)strlen(password) : 0, NULL, NULL)
                   : PEM_write_PUBKEY(file, key)) == 1);
    fclose(file);
}

static void make_keys(const char *curve)
{
    EVP_PKEY *key = EVP_EC_gen(curve), *stranger = EVP_EC_gen(curve);
    snprintf(secret, sizeof secret, "%s", at(temp_dir(), "secret.pem"));
    snprintf(public, sizeof public, "%s", at(temp_dir(), "owner.pub"));
    snprintf(other, sizeof other, "%s", at(temp_dir(), "other.pub"));
    write_pem(secret, key, true, NULL);
    write_pem(public, key, false, NULL);
    write_pem(other, stranger, false, NULL);
    EVP_PKEY_free(key);
    EVP_PKEY_free(stranger);
}

/* The folder that the bundles of tests/data/signature sign. */
static void make_folder(char *folder, const char *name)
{
    static const uint8_t zeros[2500];
    snprintf(folder, PATH, "%s/%s", temp_dir(), name);
    CHECK(mkdir(folder, 0777) == 0 && mkdir(at(folder, "onnx"), 0777) == 0 &&
          mkdir(at(folder, "onnx-int8"), 0777) == 0);
    put(folder, "a.txt", "hello\n", 6);
    put(folder, "empty", "", 0);
    put(folder, "onnx/x", "x\n", 2);
    put(folder, "onnx-int8/y", "y\n", 2);
    put(folder, "w.bin", zeros, sizeof zeros);
}

static const char *const names[] = {"w.bin", "onnx/x", "onnx-int8/y", "empty", "a.txt"};
enum { N_NAMES = sizeof names / sizeof names[0] };

static void sign(const char *folder, const char *bundle)
{
    pare_pin pin = {0};
    pare_output_set set = {0};
    pare_ec_key key;
    pare_error err = {0};
    CHECK_OK(pare_ec_key_load(&key, secret, PARE_EC_SIGN, &err), &err);
    for (size_t i = 0; i < N_NAMES; i++) {
        pare_pin_file *f = NULL;
        size_t n = 0;
        CHECK_OK(pare_pin_add_file(&pin, at(folder, names[i]), &f, &err), &err);
        uint8_t *bytes = check_read_file(f->path, &n);
        CHECK_OK(pare_hash_bytes(bytes, n, PARE_HASH_SHA256, &f->digest, &err), &err);
        free(bytes);
    }
    CHECK_OK(pare_bundle_add(&set, &pin, at(folder, "model.sig"), bundle, NULL, &key, true, &err), &err);
    CHECK_OK(pare_output_set_publish(&set, &err), &err);
    pare_output_set_close(&set);
    pare_ec_key_close(&key);
    pare_pin_close(&pin);
}

/* A signed folder. */
static void set_up(char *folder, const char *name)
{
    make_keys("P-256");
    make_folder(folder, name);
    sign(folder, at(folder, "model.sig"));
}

static pare_status run(const char *bundle, const char *target, const char *key_path, bool ignore, pare_verify_report *r,
                       uint64_t *n_files, pare_error *err)
{
    pare_ec_key key;
    const pare_bundle_options options = {.ignore_unsigned = ignore};
    *r = (pare_verify_report){.signature = PARE_VERDICT_ABSENT};
    CHECK_OK(pare_ec_key_load(&key, key_path, PARE_EC_VERIFY, err), err);
    pare_status st = pare_bundle_verify(bundle, target, &key, &options, r, n_files, err);
    pare_ec_key_close(&key);
    return st;
}

static void expect_valid(const char *bundle, const char *target, const char *key, uint64_t n)
{
    pare_verify_report r;
    pare_error err = {0};
    uint64_t n_files = 0;
    CHECK_OK(run(bundle, target, key, false, &r, &n_files, &err), &err);
    CHECK(r.n_findings == 0 && r.signature == PARE_VERDICT_OK && n_files == n);
    pare_verify_report_close(&r);
}

/* Exactly this one finding. */
static void expect_finding(const char *bundle, const char *target, const char *key, bool ignore, const char *kind,
                           const char *file, const char *text)
{
    pare_verify_report r;
    pare_error err = {0};
    uint64_t n_files = 0;
    CHECK_OK(run(bundle, target, key, ignore, &r, &n_files, &err), &err);
    for (size_t i = 0; i < r.n_findings; i++)
        if (r.n_findings != 1 || strcmp(r.findings[i].kind, kind) != 0 || strstr(r.findings[i].text, text) == NULL)
            print_message("  found: %s | %s | %s | %s\n", r.findings[i].kind, r.findings[i].file, r.findings[i].item,
                          r.findings[i].text);
    CHECK(r.n_findings == 1 && strcmp(r.findings[0].kind, kind) == 0 && strstr(r.findings[0].text, text) != NULL);
    CHECK(file == NULL || strcmp(r.findings[0].file, file) == 0);
    CHECK(r.signature == PARE_VERDICT_DIFFERENT);
    pare_verify_report_close(&r);
}

static void expect_error(const char *bundle, const char *target, pare_status status, const char *text)
{
    pare_verify_report r;
    pare_error err = {0};
    uint64_t n_files = 0;
    pare_status st = run(bundle, target, public, false, &r, &n_files, &err);
    if (st != status || strstr(err.text, text) == NULL)
        print_message("  status %d: %s (wanted '%s')\n", (int)st, err.text, text);
    CHECK(st == status && strstr(err.text, text) != NULL && strstr(err.text, bundle) != NULL);
    pare_verify_report_close(&r);
}

static json_t *load(const char *path)
{
    json_t *doc = NULL;
    pare_error err = {0};
    CHECK_OK(pare_json_load(&doc, path, 1 << 20, 0, &err), &err);
    return doc;
}

static void store(const char *path, json_t *doc)
{
    char *text = json_dumps(doc, 0);
    CHECK(text != NULL);
    check_write_file(path, text, strlen(text));
    free(text);
    json_decref(doc);
}

static char *payload_of(const json_t *bundle, size_t *n)
{
    const char *text = json_string_value(json_object_get(json_object_get(bundle, "dsseEnvelope"), "payload"));
    size_t len = strlen(text), pad = text[len - 1] == '=' ? (text[len - 2] == '=' ? 2 : 1) : 0;
    char *out = check_malloc(len);
    *n = (size_t)EVP_DecodeBlock((uint8_t *)out, (const uint8_t *)text, (int)len) - pad;
    return out;
}

/* Put another statement into the bundle at path, signed by the owner as the format's description has it. */
static void sign_again(const char *path, const char *payload, size_t n)
{
    pare_ec_key key;
    pare_error err = {0};
    pare_buf message = {0}, signature = {0};
    uint8_t text[16384];
    json_t *doc = load(path), *envelope = json_object_get(doc, "dsseEnvelope");
    CHECK(n < 8192);
    CHECK_OK(pare_ec_key_load(&key, secret, PARE_EC_SIGN, &err), &err);
    CHECK_OK(pare_buf_printf(&message, &err, "DSSEv1 28 application/vnd.in-toto+json %zu %.*s", n, (int)n, payload),
             &err);
    CHECK_OK(pare_ec_key_sign(&key, message.data, message.len, &signature, &err), &err);
    EVP_EncodeBlock(text, (const uint8_t *)payload, (int)n);
    json_object_set_new(envelope, "payload", json_string((char *)text));
    EVP_EncodeBlock(text, (const uint8_t *)signature.data, (int)signature.len);
    json_object_set_new(json_array_get(json_object_get(envelope, "signatures"), 0), "sig", json_string((char *)text));
    pare_buf_close(&message);
    pare_buf_close(&signature);
    pare_ec_key_close(&key);
    store(path, doc);
}

/* Replace text in the statement of folder's bundle and sign it again, as a signer that errs or attacks would. The
 * bundle goes to "edited". */
static const char *edit(const char *folder, const char *from, const char *to)
{
    static char path[PATH];
    size_t n = 0, length = strlen(from);
    json_t *doc = load(at(folder, "model.sig"));
    char *payload = payload_of(doc, &n), *changed = check_malloc(n + strlen(to) + 1);
    char *place = memmem(payload, n, from, length);
    CHECK(place != NULL);
    size_t before = (size_t)(place - payload), after = n - before - length;
    memcpy(changed, payload, before);
    memcpy(changed + before, to, strlen(to));
    memcpy(changed + before + strlen(to), place + length, after);
    snprintf(path, sizeof path, "%.4200s.edited", folder);
    store(path, doc);
    sign_again(path, changed, before + strlen(to) + after);
    free(payload);
    free(changed);
    return path;
}

/* The same with the subject's digest computed anew: only the names or the digests lie. */
static const char *edit_resources(const char *folder, void (*change)(json_t *resources))
{
    static char path[PATH];
    size_t n = 0;
    json_t *doc = load(at(folder, "model.sig")), *statement = NULL;
    pare_error err = {0};
    pare_digest root;
    uint8_t digests[64][32];
    char hex[PARE_SHA256_HEX], *payload = payload_of(doc, &n);
    CHECK_OK(pare_json_parse(&statement, "payload", payload, n, 0, &err), &err);
    json_t *resources = json_object_get(json_object_get(statement, "predicate"), "resources");
    change(resources);
    for (size_t i = 0; i < json_array_size(resources); i++)
        CHECK(pare_unhex(digests[i], 32, json_string_value(json_object_get(json_array_get(resources, i), "digest"))));
    CHECK_OK(pare_hash_bytes(digests, 32 * json_array_size(resources), PARE_HASH_SHA256, &root, &err), &err);
    pare_hex(hex, root.sha256, 32);
    json_object_set_new(json_array_get(json_object_get(statement, "subject"), 0), "digest",
                        json_pack("{s:s}", "sha256", hex));
    free(payload);
    payload = json_dumps(statement, 0);
    snprintf(path, sizeof path, "%.4200s.edited", folder);
    store(path, doc);
    sign_again(path, payload, strlen(payload));
    free(payload);
    json_decref(statement);
    return path;
}

static void what_is_signed_is_valid_with_each_curve(void **state)
{
    (void)state;
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    char folder[PATH];
    make_folder(folder, "curves");
    for (int i = 0; i < 3; i++) {
        pare_ec_key key;
        pare_error err = {0};
        make_keys(curves[i]);
        sign(folder, at(folder, "model.sig"));
        CHECK_OK(pare_ec_key_load(&key, public, PARE_EC_VERIFY, &err), &err);
        CHECK(strcmp(key.curve, curves[i]) == 0);
        pare_ec_key_close(&key);
        expect_valid(at(folder, "model.sig"), folder, public, N_NAMES);
        expect_valid(at(folder, "model.sig"), at(folder, "a.txt"), public, N_NAMES);
        expect_finding(at(folder, "model.sig"), folder, other, false, "signature", NULL, "another key");
    }
}

/* Names in the order of code points, the bundle's own and Git's among what is left out, digests by sha256sum. */
static void the_statement_is_the_standards(void **state)
{
    (void)state;
    char folder[PATH];
    size_t n = 0;
    json_t *statement = NULL;
    pare_error err = {0};
    make_keys("P-256");
    make_folder(folder, "statement");
    CHECK(mkdir(at(folder, ".cache"), 0777) == 0 && mkdir(at(folder, ".cache/huggingface"), 0777) == 0);
    sign(folder, at(folder, "my.sig"));
    json_t *doc = load(at(folder, "my.sig"));
    char *payload = payload_of(doc, &n);
    CHECK_OK(pare_json_parse(&statement, "payload", payload, n, 0, &err), &err);
    json_t *predicate = json_object_get(statement, "predicate"), *resources = json_object_get(predicate, "resources");
    json_t *serialization = json_object_get(predicate, "serialization");
    static const char *const order[] = {"a.txt", "empty", "onnx-int8/y", "onnx/x", "w.bin"};
    static const char *const ignored[] = {".cache/huggingface", ".git",  ".gitattributes", ".github",
                                          ".gitignore",         "my.sig"};
    CHECK(json_array_size(resources) == N_NAMES);
    for (size_t i = 0; i < N_NAMES; i++)
        CHECK(strcmp(json_string_value(json_object_get(json_array_get(resources, i), "name")), order[i]) == 0);
    json_t *paths = json_object_get(serialization, "ignore_paths");
    CHECK(json_array_size(paths) == 6);
    for (size_t i = 0; i < 6; i++)
        CHECK(strcmp(json_string_value(json_array_get(paths, i)), ignored[i]) == 0);
    CHECK(strcmp(json_string_value(json_object_get(serialization, "method")), "files") == 0);
    CHECK(strcmp(json_string_value(json_object_get(json_array_get(resources, 0), "digest")),
                 "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03") == 0);
    json_t *subject = json_array_get(json_object_get(statement, "subject"), 0);
    CHECK(strcmp(json_string_value(json_object_get(subject, "name")), "statement") == 0);
    json_decref(statement);
    json_decref(doc);
    free(payload);
    expect_valid(at(folder, "my.sig"), folder, public, N_NAMES);
    put(folder, ".cache/huggingface/other", "x", 1);
    expect_valid(at(folder, "my.sig"), folder, public, N_NAMES);
    put(folder, ".cache/other", "x", 1); /* no more than what the Hub's client writes is left out */
    expect_finding(at(folder, "my.sig"), folder, public, false, "unsigned", ".cache/other", "");
}

static void what_the_reference_signed_is_valid(void **state)
{
    (void)state;
    char folder[PATH], key[PATH];
    make_folder(folder, "reference");
    snprintf(key, sizeof key, "%s", source_path("tests/data/signature/owner.pub"));
    expect_valid(source_path("tests/data/signature/files.sig"), folder, key, N_NAMES);
    /* an empty file has no shards: nothing speaks of it */
    expect_valid(source_path("tests/data/signature/shards.sig"), folder, key, N_NAMES - 1);
    uint8_t bytes[2501] = {0};
    bytes[1500] = 1;
    put(folder, "w.bin", bytes, 2500);
    expect_finding(source_path("tests/data/signature/shards.sig"), folder, key, false, "signed content", "w.bin",
                   "blake2b");
    expect_finding(source_path("tests/data/signature/files.sig"), folder, key, false, "signed content", "w.bin",
                   "sha256");
    bytes[1500] = 0;
    put(folder, "w.bin", bytes, 2501);
    expect_finding(source_path("tests/data/signature/shards.sig"), folder, key, false, "signed content", "w.bin",
                   "2501 bytes, 2500 are signed");
    put(folder, "w.bin", bytes, 2500);
    expect_valid(source_path("tests/data/signature/shards.sig"), folder, key, N_NAMES - 1);
}

static void a_changed_bundle_is_not_valid(void **state)
{
    (void)state;
    char folder[PATH], bundle[PATH], broken[PATH];
    size_t n = 0;
    set_up(folder, "changed");
    snprintf(bundle, sizeof bundle, "%s", at(folder, "model.sig"));
    snprintf(broken, sizeof broken, "%.4200s.sig", folder);
    /* a byte of the statement: an l of an URL */
    json_t *doc = load(bundle);
    char *payload = payload_of(doc, &n), *place = memmem(payload, n, "model_signing", 13);
    uint8_t text[16384];
    CHECK(place != NULL && n < 8192);
    *place = 'n';
    EVP_EncodeBlock(text, (uint8_t *)payload, (int)n);
    free(payload);
    json_object_set_new(json_object_get(doc, "dsseEnvelope"), "payload", json_string((char *)text));
    store(broken, doc);
    expect_finding(broken, folder, public, false, "signature", broken, "is not valid");
    /* a byte of the signature, its first one and one in the middle */
    for (int i = 0; i < 2; i++) {
        doc = load(bundle);
        json_t *signature = json_array_get(json_object_get(json_object_get(doc, "dsseEnvelope"), "signatures"), 0);
        char *sig = strdup(json_string_value(json_object_get(signature, "sig")));
        sig[i == 0 ? 0 : 40] ^= sig[i == 0 ? 0 : 40] == 'A' ? 3 : sig[i == 0 ? 0 : 40] == 'B' ? 1 : 0;
        if (strcmp(sig, json_string_value(json_object_get(signature, "sig"))) == 0)
            sig[i == 0 ? 0 : 40] = 'A';
        json_object_set_new(signature, "sig", json_string(sig));
        free(sig);
        store(broken, doc);
        expect_finding(broken, folder, public, false, "signature", broken, "is not valid");
    }
    /* without a hint the key decides alone */
    doc = load(bundle);
    json_object_clear(json_object_get(json_object_get(doc, "verificationMaterial"), "publicKey"));
    store(broken, doc);
    expect_valid(broken, folder, public, N_NAMES + 0);
    expect_finding(broken, folder, other, false, "signature", broken, "another key");
}

/* Each edit of the envelope, with what is said of it. */
static void a_bundle_of_another_form_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
        pare_status status;
    } rows[] = {
        {"vnd.in-toto+json", "vnd.in-toto+jsom", "payloadType", PARE_ERR_FORMAT},
        {"bundle.v0.3+json", "bundle.v0.4+json", "mediaType", PARE_ERR_FORMAT},
        {"\"publicKey\"", "\"certificate\"", "certificate", PARE_ERR_UNSUPPORTED},
        {"\"signatures\"", "\"signature\"", "'signatures' is absent", PARE_ERR_FORMAT},
        {"\"keyid\": \"\",", "\"keyid\": \"\"},{\"keyid\": \"\",", "2 signatures", PARE_ERR_FORMAT},
        {"\"sig\": \"", "\"sig\": \"!", "sig is no base64", PARE_ERR_FORMAT},
        {"\"payload\": \"", "\"payload\": \" ", "payload is no base64", PARE_ERR_FORMAT},
        {"\"hint\": \"", "\"hint\": \"0", "hint has 65", PARE_ERR_FORMAT},
        {"\"mediaType\"", "\"payload\": 1, \"mediaType\": 2, \"mediaType\"", "uplicate", PARE_ERR_FORMAT},
        {"{", "[", "offset", PARE_ERR_FORMAT},
    };
    char folder[PATH], broken[PATH];
    size_t n = 0;
    set_up(folder, "form");
    snprintf(broken, sizeof broken, "%.4200s.sig", folder);
    char *text = (char *)check_read_file(at(folder, "model.sig"), &n);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pare_buf edited = {0};
        pare_error err = {0};
        char *place = memmem(text, n, rows[i].from, strlen(rows[i].from));
        CHECK(place != NULL);
        CHECK_OK(pare_buf_put(&edited, text, (size_t)(place - text), &err), &err);
        CHECK_OK(pare_buf_puts(&edited, rows[i].to, &err), &err);
        place += strlen(rows[i].from);
        CHECK_OK(pare_buf_put(&edited, place, n - (size_t)(place - text), &err), &err);
        check_write_file(broken, edited.data, edited.len);
        expect_error(broken, folder, rows[i].status, rows[i].says);
        pare_buf_close(&edited);
    }
    for (size_t i = 0; i < n; i += 97) { /* cut anywhere */
        check_write_file(broken, text, i);
        expect_error(broken, folder, PARE_ERR_FORMAT, "");
    }
    free(text);
}

/* Statements that are signed well and say what cannot be. */
static void drop_all(json_t *resources)
{
    json_array_clear(resources);
}

static void a_statement_of_another_form_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
        pare_status status;
    } rows[] = {
        {"Statement/v1", "Statement/v0", "_type", PARE_ERR_FORMAT},
        {"signature/v1.0", "signature/v2.0", "predicateType", PARE_ERR_FORMAT},
        {"\"subject\": [", "\"subject\": [{}, ", "2 subjects", PARE_ERR_FORMAT},
        {"\"digest\": \"5891", "\"digest\": \"5892", "the subject's digest is not that", PARE_ERR_FORMAT},
        {"\"sha256\": \"", "\"sha256\": \"0", "64 lower-case", PARE_ERR_FORMAT},
        {"\"digest\": \"5891", "\"digest\": \"589", "64 lower-case", PARE_ERR_FORMAT},
        {"\"algorithm\": \"sha256\"", "\"algorithm\": \"blake2b\"", "'a.txt': its algorithm is 'blake2b'",
         PARE_ERR_FORMAT},
        {"\"hash_type\": \"sha256\"", "\"hash_type\": \"blake2b\"", "its algorithm is 'sha256'", PARE_ERR_FORMAT},
        {"\"hash_type\": \"sha256\"", "\"hash_type\": \"blake3\"", "blake3", PARE_ERR_UNSUPPORTED},
        {"\"method\": \"files\"", "\"method\": \"tensors\"", "method is 'tensors'", PARE_ERR_UNSUPPORTED},
        {"\"method\": \"files\"", "\"method\": \"shards\"", "shard_size", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \"../a.txt\"", "holds '..'", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \"/etc/passwd\"", "is absolute", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \"\"", "is empty", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \"a\\u0000b\"", "a string holds a NUL", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \".\"", "one file, or files of a folder", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": \"empty\"", "'empty' stands twice", PARE_ERR_FORMAT},
        {"\"name\": \"a.txt\"", "\"name\": 5", "name", PARE_ERR_FORMAT},
        {"\"resources\"", "\"resource\"", "'resources' is absent", PARE_ERR_FORMAT},
        {"\"allow_symlinks\": false", "\"allow_symlinks\": \"yes\"", "allow_symlinks", PARE_ERR_FORMAT},
        {"\"ignore_paths\": [", "\"ignore_paths\": [7, ", "ignore_paths[0]", PARE_ERR_FORMAT},
    };
    char folder[PATH];
    set_up(folder, "words");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_error(edit(folder, rows[i].from, rows[i].to), folder, rows[i].status, rows[i].says);
    expect_error(edit_resources(folder, drop_all), folder, PARE_ERR_FORMAT, "empty resources");
    /* "." and "" leave nothing out, a folder leaves out what is in it */
    put(folder, "extra", "x", 1);
    expect_finding(edit(folder, "\"ignore_paths\": [", "\"ignore_paths\": [\".\", \"\", \"..\", "), folder, public,
                   false, "unsigned", "extra", "not in the bundle");
    expect_valid(edit(folder, "\"ignore_paths\": [", "\"ignore_paths\": [\"extra\", "), folder, public, N_NAMES);
}

/* A statement of shards with these names, all digests zero. */
static pare_status parse_shards(const char *const *shards, size_t n, pare_bundle *b, pare_error *err)
{
    static const uint8_t zeros[8 * 32];
    json_t *resources = json_array();
    pare_digest root;
    char hex[PARE_SHA256_HEX], zero[PARE_SHA256_HEX];
    pare_hex(zero, zeros, 32);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(resources, json_pack("{s:s, s:s, s:s}", "name", shards[i], "algorithm",
                                                   "sha256-sharded-3", "digest", zero));
    CHECK_OK(pare_hash_bytes(zeros, 32 * n, PARE_HASH_SHA256, &root, err), err);
    pare_hex(hex, root.sha256, 32);
    json_t *doc = json_pack("{s:s, s:s, s:[{s:{s:s}}], s:{s:{s:s, s:s, s:f}, s:o}}", "_type", PARE_BUNDLE_STATEMENT,
                            "predicateType", PARE_BUNDLE_PREDICATE, "subject", "digest", "sha256", hex, "predicate",
                            "serialization", "method", "shards", "hash_type", "sha256", "shard_size", 3.0, "resources",
                            resources);
    char *text = json_dumps(doc, 0);
    json_decref(doc);
    pare_status st = pare_bundle_parse(b, "model.sig", text, strlen(text), err);
    free(text);
    return st;
}

static void shards_follow_one_another(void **state)
{
    (void)state;
    static const struct {
        const char *shards[3], *says;
    } rows[] = {{{"b:0:2", "a:3:5", "a:0:3"}, NULL},
                {{"x:y:0:3"}, NULL},
                {{"./a"}, "no shard"},
                {{"a:0:3", "a:4:6"}, "starts at 4, expected 3"},
                {{"a:0:3", "a:2:6"}, "starts at 2, expected 3"},
                {{"a:0:3", "a:0:3"}, "starts at 0, expected 3"},
                {{"a:1:3"}, "starts at 1, expected 0"},
                {{"b:3:6", "a:0:3"}, "starts at 3, expected 0"},
                {{"a:3:3"}, "no shard"},
                {{"a:0:03"}, "no shard"},
                {{"a:0:1234567890123456789"}, "no shard"},
                {{"a:-1:3"}, "no shard"},
                {{"a:0"}, "no shard"},
                {{":0:3"}, "is empty"},
                {{"../a:0:3"}, "holds '..'"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = 0;
        pare_bundle b;
        pare_error err = {0};
        while (n < 3 && rows[i].shards[n] != NULL)
            n++;
        pare_status st = parse_shards(rows[i].shards, n, &b, &err);
        CHECK(rows[i].says == NULL ? st == PARE_OK : st == PARE_ERR_FORMAT && strstr(err.text, rows[i].says) != NULL);
        if (i == 0)
            CHECK(b.n_items == 3 && b.items[1].start == 3 && b.items[1].end == 5 && strcmp(b.items[2].name, "b") == 0);
        if (i == 1)
            CHECK(strcmp(b.items[0].name, "x:y") == 0);
        pare_bundle_close(&b);
    }
}

static void swap_order(json_t *resources)
{
    json_t *first = json_incref(json_array_get(resources, 0));
    json_array_remove(resources, 0);
    json_array_append_new(resources, first);
}

static void drop_first(json_t *resources)
{
    json_array_remove(resources, 0);
}

static void change_digest(json_t *resources)
{
    json_object_set_new(json_array_get(resources, 0), "digest",
                        json_string("0000000000000000000000000000000000000000000000000000000000000000"));
}

static void lists_are_compared_with_the_folder(void **state)
{
    (void)state;
    char folder[PATH];
    set_up(folder, "lists");
    expect_valid(edit_resources(folder, swap_order), folder, public, N_NAMES); /* any order */
    expect_finding(edit_resources(folder, drop_first), folder, public, false, "unsigned", "a.txt", "not in the bundle");
    expect_finding(edit_resources(folder, change_digest), folder, public, false, "signed content", "a.txt", "sha256");
}

static void files_are_compared_with_the_list(void **state)
{
    (void)state;
    char folder[PATH], bundle[PATH];
    pare_verify_report r;
    pare_error err = {0};
    uint64_t n_files = 0;
    set_up(folder, "files");
    snprintf(bundle, sizeof bundle, "%s", at(folder, "model.sig"));
    put(folder, "a.txt", "hellO\n", 6);
    expect_finding(bundle, folder, public, false, "signed content", "a.txt", "sha256");
    put(folder, "a.txt", "hello\n", 6);
    put(folder, "onnx/more", "", 0);
    expect_finding(bundle, folder, public, false, "unsigned", "onnx/more", "not in the bundle");
    CHECK_OK(run(bundle, folder, public, true, &r, &n_files, &err), &err); /* ignore_unsigned */
    CHECK(r.n_findings == 0 && r.signature == PARE_VERDICT_OK);
    pare_verify_report_close(&r);
    CHECK(unlink(at(folder, "onnx/more")) == 0);
    CHECK(rename(at(folder, "a.txt"), at(folder, "b.txt")) == 0);
    expect_finding(bundle, folder, public, false, "signed renamed", "a.txt", "same content as 'b.txt'");
    CHECK(unlink(at(folder, "b.txt")) == 0);
    expect_finding(bundle, folder, public, false, "signed missing", "a.txt", "not there");
    expect_finding(bundle, folder, public, true, "signed missing", "a.txt", "not there");
    CHECK(symlink("/etc/hostname", at(folder, "a.txt")) == 0);
    expect_finding(bundle, folder, public, true, "signed refused", "a.txt", "symbolic link");
    CHECK(unlink(at(folder, "a.txt")) == 0 && mkfifo(at(folder, "a.txt"), 0600) == 0);
    expect_finding(bundle, folder, public, false, "signed refused", "a.txt", "FIFO");
    CHECK(unlink(at(folder, "a.txt")) == 0);
    put(folder, "a.txt", "hello\n", 6);
    CHECK(symlink("a.txt", at(folder, "link")) == 0);
    expect_finding(bundle, folder, public, false, "unsigned", "link", "symbolic link");
    CHECK(unlink(at(folder, "link")) == 0);
    CHECK(mkdir(at(folder, ".git"), 0777) == 0);
    put(folder, ".git/HEAD", "x", 1);
    expect_valid(bundle, folder, public, N_NAMES);
}

static void an_absent_bundle_is_told(void **state)
{
    (void)state;
    char folder[PATH];
    pare_verify_report r;
    pare_error err = {0};
    uint64_t n_files = 0;
    make_keys("P-256");
    make_folder(folder, "absent");
    CHECK_OK(run(at(folder, "model.sig"), folder, public, false, &r, &n_files, &err), &err);
    CHECK(r.signature == PARE_VERDICT_ABSENT && r.n_findings == 1 && strcmp(r.findings[0].kind, "signature") == 0);
    pare_verify_report_close(&r);
}

static void expect_bad_key(const char *path, pare_ec_use use, pare_status status, const char *text)
{
    pare_ec_key key;
    pare_error err = {0};
    pare_status st = pare_ec_key_load(&key, path, use, &err);
    if (st != status || strstr(err.text, text) == NULL)
        print_message("  status %d: %s (wanted '%s')\n", (int)st, err.text, text);
    CHECK(st == status && strstr(err.text, text) != NULL && key.key == NULL);
}

static void keys_of_other_kinds_are_refused(void **state)
{
    (void)state;
    make_keys("P-256");
    char path[PATH];
    snprintf(path, sizeof path, "%s", at(temp_dir(), "key.pem"));
    expect_bad_key(public, PARE_EC_SIGN, PARE_ERR_FORMAT, "is a public key");
    expect_bad_key(secret, PARE_EC_VERIFY, PARE_ERR_FORMAT, "is a private key");
    expect_bad_key(at(temp_dir(), "none.pem"), PARE_EC_SIGN, PARE_ERR_FORMAT, "none.pem");
    check_write_file(path, "", 0);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_FORMAT, "is no PEM file");
    check_write_file(path, "-----BEGIN CERTIFICATE-----\n", 28);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_FORMAT, "is a certificate");
    check_write_file(path, "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", 56);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_FORMAT, "holds no key");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    write_pem(path, key, true, "password");
    expect_bad_key(path, PARE_EC_SIGN, PARE_ERR_UNSUPPORTED, "encrypted");
    EVP_PKEY_free(key);
    key = EVP_EC_gen("secp256k1");
    write_pem(path, key, false, NULL);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_UNSUPPORTED, "secp256k1");
    EVP_PKEY_free(key);
    key = EVP_EC_gen("P-256"); /* spelled out, it is the same curve and another hint */
    CHECK(EVP_PKEY_set_utf8_string_param(key, "encoding", "explicit") == 1);
    write_pem(path, key, false, NULL);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_FORMAT, "parameters of its curve");
    write_pem(path, key, true, NULL);
    expect_bad_key(path, PARE_EC_SIGN, PARE_ERR_FORMAT, "parameters of its curve");
    EVP_PKEY_free(key);
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    write_pem(path, key, true, NULL);
    expect_bad_key(path, PARE_EC_SIGN, PARE_ERR_UNSUPPORTED, "ED25519");
    EVP_PKEY_free(key);
    key = EVP_RSA_gen(1024);
    write_pem(path, key, false, NULL);
    expect_bad_key(path, PARE_EC_VERIFY, PARE_ERR_UNSUPPORTED, "RSA");
    EVP_PKEY_free(key);
}

/* The hint is that of the key and not of the file: the compressed form of the same point gives the same. */
static void the_hint_is_the_keys(void **state)
{
    (void)state;
    pare_ec_key a, b;
    pare_error err = {0};
    char path[PATH];
    snprintf(path, sizeof path, "%s", at(temp_dir(), "compressed.pub"));
    CHECK_OK(pare_ec_key_load(&a, source_path("tests/data/signature/owner.pub"), PARE_EC_VERIFY, &err), &err);
    json_t *doc = load(source_path("tests/data/signature/files.sig"));
    json_t *key = json_object_get(json_object_get(doc, "verificationMaterial"), "publicKey");
    CHECK(strcmp(a.hint, json_string_value(json_object_get(key, "hint"))) == 0);
    json_decref(doc);
    EVP_PKEY *copy = EVP_PKEY_dup(a.key);
    CHECK(EVP_PKEY_set_utf8_string_param(copy, "point-format", "compressed") == 1);
    write_pem(path, copy, false, NULL);
    EVP_PKEY_free(copy);
    CHECK_OK(pare_ec_key_load(&b, path, PARE_EC_VERIFY, &err), &err);
    CHECK(strcmp(a.hint, b.hint) == 0);
    pare_ec_key_close(&a);
    pare_ec_key_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_signed_is_valid_with_each_curve),
        cmocka_unit_test(the_statement_is_the_standards),
        cmocka_unit_test(what_the_reference_signed_is_valid),
        cmocka_unit_test(a_changed_bundle_is_not_valid),
        cmocka_unit_test(a_bundle_of_another_form_is_an_error),
        cmocka_unit_test(a_statement_of_another_form_is_an_error),
        cmocka_unit_test(shards_follow_one_another),
        cmocka_unit_test(lists_are_compared_with_the_folder),
        cmocka_unit_test(files_are_compared_with_the_list),
        cmocka_unit_test(an_absent_bundle_is_told),
        cmocka_unit_test(keys_of_other_kinds_are_refused),
        cmocka_unit_test(the_hint_is_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
