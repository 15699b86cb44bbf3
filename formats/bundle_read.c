#include "core/json.h"
#include "formats/bundle.h"
#include "formats/bundle_names.h"
#include "formats/safe_path.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pare_envelope_close(pare_envelope *e)
{
    free(e->path);
    pare_buf_close(&e->payload);
    pare_buf_close(&e->signature);
    *e = (pare_envelope){0};
}

void pare_bundle_close(pare_bundle *b)
{
    for (size_t i = 0; i < b->n_items; i++)
        free(b->items[i].name);
    for (size_t i = 0; i < b->n_ignored; i++)
        free(b->ignored[i]);
    free(b->items);
    free(b->ignored);
    free(b->subject);
    *b = (pare_bundle){0};
}

/* Member key of parent, an object. */
static pare_status member(const json_t *parent, const char *path, const char *key, json_t **out, pare_error *err)
{
    *out = json_object_get(parent, key);
    return json_is_object(*out) ? PARE_OK
                                : pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' %s, expected an object", path, key,
                                            *out == NULL ? "is absent" : "is something else");
}

/* Member key of parent, an array; absent: *out is NULL when it may be. */
static pare_status list(const json_t *parent, const char *path, const char *key, bool may_lack, json_t **out,
                        pare_error *err)
{
    *out = json_object_get(parent, key);
    return json_is_array(*out) || (may_lack && *out == NULL)
               ? PARE_OK
               : pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' %s, expected an array", path, key,
                           *out == NULL ? "is absent" : "is something else");
}

static int shown(pare_str s)
{
    return s.len < 100 ? (int)s.len : 100;
}

/* Member key has to be this word. */
static pare_status expect_word(const json_t *parent, const char *path, const char *key, const char *word,
                               pare_error *err)
{
    pare_str found = {0};
    pare_status st = pare_json_str(parent, path, key, &found, NULL, err);
    if (st == PARE_OK && !pare_str_equal(found, word))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %s is '%.*s', expected '%s'", path, key, shown(found), found.data,
                       word);
    return st;
}

/* Append what the base64 text of member key says: the standard alphabet, padded, nothing between. */
static pare_status decode_member(pare_buf *out, const json_t *parent, const char *path, const char *key,
                                 pare_error *err)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    pare_str text = {0};
    size_t n_pad = 0;
    pare_status st = pare_json_str(parent, path, key, &text, NULL, err);
    if (st != PARE_OK)
        return st;
    while (n_pad < 2 && n_pad < text.len && text.data[text.len - 1 - n_pad] == '=')
        n_pad++;
    bool good = text.len > 0 && text.len % 4 == 0 && text.len <= PARE_BUNDLE_MAX_BYTES;
    for (size_t i = 0; i < text.len - n_pad && good; i++)
        good = memchr(alphabet, text.data[i], sizeof alphabet - 1) != NULL;
    if (good && (st = pare_buf_reserve(out, text.len / 4 * 3, err)) != PARE_OK)
        return st;
    int n = good ? EVP_DecodeBlock((uint8_t *)out->data + out->len, (const uint8_t *)text.data, (int)text.len) : -1;
    if (n < (int)n_pad)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %s is no base64", path, key);
    out->len += (size_t)n - n_pad;
    return PARE_OK;
}

static pare_status read_material(pare_envelope *e, const json_t *doc, pare_error *err)
{
    json_t *material, *key;
    pare_str hint = {0};
    pare_status st = member(doc, e->path, "verificationMaterial", &material, err);
    if (st == PARE_OK && json_object_get(material, "publicKey") == NULL &&
        (json_object_get(material, "certificate") != NULL || json_object_get(material, "x509CertificateChain") != NULL))
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: is signed with a certificate; pare verifies bundles that are signed with a key", e->path);
    if (st == PARE_OK && (st = member(material, e->path, "publicKey", &key, err)) == PARE_OK)
        st = pare_json_str(key, e->path, "hint", &hint, &(bool){false}, err);
    if (st == PARE_OK && hint.len > 0 && hint.len != 64)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the key's hint has %zu characters, expected 64", e->path, hint.len);
    if (st == PARE_OK && hint.len > 0)
        memcpy(e->hint, hint.data, 64);
    return st;
}

static pare_status read_envelope(pare_envelope *e, const json_t *doc, pare_error *err)
{
    json_t *envelope, *signatures;
    pare_status st = member(doc, e->path, "dsseEnvelope", &envelope, err);
    if (st == PARE_OK && (st = expect_word(envelope, e->path, "payloadType", PARE_BUNDLE_PAYLOAD_TYPE, err)) == PARE_OK)
        st = list(envelope, e->path, "signatures", false, &signatures, err);
    if (st == PARE_OK && json_array_size(signatures) != 1)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %zu signatures, expected one", e->path, json_array_size(signatures));
    if (st == PARE_OK && !json_is_object(json_array_get(signatures, 0)))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the signature is no object", e->path);
    if (st == PARE_OK && (st = decode_member(&e->payload, envelope, e->path, "payload", err)) == PARE_OK)
        st = decode_member(&e->signature, json_array_get(signatures, 0), e->path, "sig", err);
    return st;
}

pare_status pare_envelope_parse(pare_envelope *e, const char *path, const void *text, size_t len, pare_error *err)
{
    json_t *doc = NULL;
    *e = (pare_envelope){.path = strdup(path)};
    pare_status st = e->path == NULL ? pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", path)
                                     : pare_json_parse(&doc, path, text, len, 0, err);
    if (st == PARE_OK && !json_is_object(doc))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is no JSON object", path);
    if (st == PARE_OK && (st = expect_word(doc, path, "mediaType", PARE_BUNDLE_MEDIA_TYPE, err)) == PARE_OK &&
        (st = read_material(e, doc, err)) == PARE_OK)
        st = read_envelope(e, doc, err);
    json_decref(doc);
    if (st != PARE_OK)
        pare_envelope_close(e);
    return st;
}

pare_status pare_bundle_encode(pare_buf *out, const void *payload, size_t n, pare_error *err)
{
    pare_status st = pare_buf_printf(out, err, "DSSEv1 %zu %s %zu ", sizeof PARE_BUNDLE_PAYLOAD_TYPE - 1,
                                     PARE_BUNDLE_PAYLOAD_TYPE, n);
    return st == PARE_OK ? pare_buf_put(out, payload, n, err) : st;
}

pare_status pare_envelope_check(const pare_envelope *e, const pare_ec_key *key, const char **fault, pare_error *err)
{
    pare_buf message = {0};
    bool valid = false;
    *fault = NULL;
    if (e->hint[0] != '\0' && strcmp(e->hint, key->hint) != 0) {
        *fault = "was made with another key than the one given";
        return PARE_OK;
    }
    pare_status st = pare_bundle_encode(&message, e->payload.data, e->payload.len, err);
    if (st == PARE_OK)
        st = pare_ec_key_verify(key, message.data, message.len, e->signature.data, e->signature.len, &valid, err);
    if (st == PARE_OK && !valid)
        *fault = e->hint[0] != '\0' ? "is not valid: the statement or the signature was changed"
                                    : "is not valid: changed, or made with another key than the one given";
    pare_buf_close(&message);
    return st;
}

/* The number in a shard's name: digits without a leading zero. */
static bool read_offset(pare_str s, uint64_t *out)
{
    *out = 0;
    if (s.len == 0 || s.len > 18 || (s.len > 1 && s.data[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        *out = 10 * *out + (uint64_t)(s.data[i] - '0');
    }
    return true;
}

/* "path:start:end", divided at the last two colons: the path may hold more of them. */
static bool split_shard(pare_str *name, uint64_t *start, uint64_t *end)
{
    size_t at[2], n = 0;
    for (size_t i = name->len; i > 0 && n < 2; i--)
        if (name->data[i - 1] == ':')
            at[n++] = i - 1;
    if (n < 2 || !read_offset((pare_str){name->data + at[1] + 1, at[0] - at[1] - 1}, start) ||
        !read_offset((pare_str){name->data + at[0] + 1, name->len - at[0] - 1}, end) || *start >= *end)
        return false;
    name->len = at[1];
    return true;
}

static pare_status read_item(const pare_bundle *b, pare_bundle_item *item, const json_t *resource, size_t i,
                             const char *path, const char *algorithm, pare_error *err)
{
    pare_str name = {0}, hash = {0}, digest = {0};
    if (!json_is_object(resource))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: resource %zu is no object", path, i);
    pare_status st = pare_json_str(resource, path, "name", &name, NULL, err);
    if (st == PARE_OK && (st = pare_json_str(resource, path, "algorithm", &hash, NULL, err)) == PARE_OK)
        st = pare_json_str(resource, path, "digest", &digest, NULL, err);
    if (st != PARE_OK)
        return st;
    const int n_shown = shown(name);
    if (!pare_str_equal(hash, algorithm))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: resource '%.*s': its algorithm is '%.*s', the statement's is '%s'",
                         path, n_shown, name.data, shown(hash), hash.data, algorithm);
    if (digest.len != 2 * b->n_digest || !pare_unhex(item->digest, b->n_digest, digest.data))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: resource '%.*s': its digest is not %zu lower-case hexadecimal digits", path, n_shown,
                         name.data, 2 * b->n_digest);
    if (b->shards && !split_shard(&name, &item->start, &item->end))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: resource '%.*s' is no shard 'path:start:end'", path, n_shown,
                         name.data);
    bool single = pare_str_equal(name, "."); /* a model that is one file */
    const char *fault = single ? NULL : pare_path_leaves(name);
    if (fault != NULL)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: resource '%.*s': its name %s; only files of the folder can be signed", path, n_shown,
                         name.data, fault);
    item->name = single ? strdup("") : strndup(name.data, name.len);
    return item->name != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", path);
}

static int compare_items(const void *pa, const void *pb)
{
    const pare_bundle_item *a = pa, *b = pb;
    int order = strcmp(a->name, b->name);
    return order != 0 ? order : a->start < b->start ? -1 : a->start > b->start;
}

/* After sorting: no name twice, no shard that lacks. */
static pare_status check_items(pare_bundle *b, const char *path, pare_error *err)
{
    b->single = b->n_items > 0 && b->items[0].name[0] == '\0';
    for (size_t i = 0; i < b->n_items; i++) {
        const pare_bundle_item *item = &b->items[i];
        bool first = i == 0 || strcmp(item->name, item[-1].name) != 0;
        if (!first && !b->shards)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: resource '%s' stands twice", path, item->name);
        if (b->shards && item->start != (first ? 0 : item[-1].end))
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: resource '%s': a shard starts at %" PRIu64 ", expected %" PRIu64, path, item->name,
                             item->start, first ? 0 : item[-1].end);
        if (b->single && item->name[0] != '\0')
            return pare_fail(err, PARE_ERR_FORMAT, "%s: resources '.' and '%s': one file, or files of a folder", path,
                             item->name);
    }
    return PARE_OK;
}

static pare_status check_root(const pare_bundle *b, const char *path, const json_t *subject, pare_error *err)
{
    pare_digest root;
    pare_hasher h = {0};
    uint8_t expected[32];
    pare_str text = {0};
    json_t *digest;
    pare_status st = member(subject, path, "digest", &digest, err);
    if (st == PARE_OK)
        st = pare_json_str(digest, path, "sha256", &text, NULL, err);
    if (st == PARE_OK && (text.len != 64 || !pare_unhex(expected, sizeof expected, text.data)))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the subject's sha256 is not 64 lower-case hexadecimal digits", path);
    if (st != PARE_OK)
        return st;
    st = pare_hasher_open(&h, PARE_HASH_SHA256, err);
    for (size_t i = 0; i < b->n_items && st == PARE_OK; i++)
        st = pare_hasher_add(&h, b->items[i].digest, b->n_digest, err);
    if (st == PARE_OK)
        st = pare_hasher_finish(&h, &root, err);
    pare_hasher_close(&h);
    if (st == PARE_OK && memcmp(root.sha256, expected, sizeof expected) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the subject's digest is not that of the resources", path);
    return st;
}

/* What hash_type means; *algorithm (size bytes) is how the resources have to call it. */
static pare_status read_method(pare_bundle *b, const char *path, const json_t *serialization, char *algorithm,
                               size_t size, pare_error *err)
{
    pare_str hash = {0}, method = {0};
    double shard_size = 0; /* protobuf's JSON has no integers: 1000.0 */
    pare_status st = pare_json_str(serialization, path, "hash_type", &hash, NULL, err);
    if (st == PARE_OK)
        st = pare_json_str(serialization, path, "method", &method, NULL, err);
    if (st != PARE_OK)
        return st;
    if (pare_str_equal(hash, "sha256")) {
        b->algorithm = "sha256";
        b->n_digest = 32;
    } else if (pare_str_equal(hash, "blake2b")) {
        b->algorithm = "blake2b";
        b->n_digest = 64;
    } else
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: hash_type is '%.*s', pare knows sha256 and blake2b", path,
                         shown(hash), hash.data);
    snprintf(algorithm, size, "%s", b->algorithm);
    if (pare_str_equal(method, "files"))
        return PARE_OK;
    if (!pare_str_equal(method, "shards"))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: method is '%.*s', pare knows files and shards", path,
                         shown(method), method.data);
    b->shards = true;
    st = pare_json_f64(serialization, path, "shard_size", &shard_size, NULL, err);
    if (st == PARE_OK && !(shard_size >= 1 && shard_size <= 1e15 && shard_size == (double)(uint64_t)shard_size))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: shard_size is %g, expected 1 to 1e15 bytes", path, shard_size);
    if (st == PARE_OK)
        snprintf(algorithm, size, "%s-sharded-%" PRIu64, b->algorithm, (uint64_t)shard_size);
    return st;
}

static pare_status read_ignored(pare_bundle *b, const char *path, const json_t *serialization, pare_error *err)
{
    json_t *paths;
    pare_status st = list(serialization, path, "ignore_paths", true, &paths, err);
    size_t n = json_array_size(paths);
    if (st == PARE_OK && n > 0 && (b->ignored = calloc(n, sizeof *b->ignored)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu paths", path, n);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const json_t *text = json_array_get(paths, i);
        pare_str name = {json_string_value(text), json_string_length(text)};
        if (name.data == NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: ignore_paths[%zu] is no text", path, i);
        else if ((b->ignored[b->n_ignored++] = strndup(name.data, name.len)) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a path", path);
    }
    return st;
}

static pare_status read_resources(pare_bundle *b, const char *path, const json_t *predicate, const char *algorithm,
                                  pare_error *err)
{
    json_t *resources;
    pare_status st = list(predicate, path, "resources", false, &resources, err);
    size_t n = json_array_size(resources);
    if (st == PARE_OK && n == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: empty resources: the bundle signs no file", path);
    if (st == PARE_OK && (b->items = calloc(n, sizeof *b->items)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu resources", path, n);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        b->n_items = i + 1;
        st = read_item(b, &b->items[i], json_array_get(resources, i), i, path, algorithm, err);
    }
    return st;
}

static pare_status read_statement(pare_bundle *b, const char *path, const json_t *doc, pare_error *err)
{
    json_t *subjects, *predicate, *serialization;
    pare_str subject = {0};
    char algorithm[64] = "";
    pare_status st = expect_word(doc, path, "_type", PARE_BUNDLE_STATEMENT, err);
    if (st == PARE_OK && (st = expect_word(doc, path, "predicateType", PARE_BUNDLE_PREDICATE, err)) == PARE_OK)
        st = list(doc, path, "subject", false, &subjects, err);
    if (st == PARE_OK && (json_array_size(subjects) != 1 || !json_is_object(json_array_get(subjects, 0))))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %zu subjects, expected one object", path, json_array_size(subjects));
    if (st == PARE_OK)
        st = pare_json_str(json_array_get(subjects, 0), path, "name", &subject, &(bool){false}, err);
    if (st == PARE_OK && (b->subject = strndup(subject.len > 0 ? subject.data : "", subject.len)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", path);
    if (st == PARE_OK && (st = member(doc, path, "predicate", &predicate, err)) == PARE_OK &&
        (st = member(predicate, path, "serialization", &serialization, err)) == PARE_OK &&
        (st = read_method(b, path, serialization, algorithm, sizeof algorithm, err)) == PARE_OK &&
        (st = read_ignored(b, path, serialization, err)) == PARE_OK &&
        /* links are refused whatever it says */
        (st = pare_json_bool(serialization, path, "allow_symlinks", &(bool){false}, &(bool){false}, err)) == PARE_OK &&
        (st = read_resources(b, path, predicate, algorithm, err)) == PARE_OK)
        st = check_root(b, path, json_array_get(subjects, 0), err);
    if (st == PARE_OK && b->n_items > 0)
        qsort(b->items, b->n_items, sizeof *b->items, compare_items);
    return st == PARE_OK ? check_items(b, path, err) : st;
}

pare_status pare_bundle_parse(pare_bundle *b, const char *path, const void *text, size_t len, pare_error *err)
{
    json_t *doc = NULL;
    *b = (pare_bundle){0};
    pare_status st = pare_json_parse(&doc, path, text, len, 0, err);
    if (st == PARE_OK && !json_is_object(doc))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the statement is no JSON object", path);
    if (st == PARE_OK)
        st = read_statement(b, path, doc, err);
    json_decref(doc);
    if (st != PARE_OK)
        pare_bundle_close(b);
    return st;
}
