#include "report/record_seal.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

/* A part is what stands this deep in the document, or less deep and holds nothing. */
enum { DEPTH = 3, PART_HEX = 17, N_DIGEST = 64, MAX_NAME = 512 };

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
static const char digest_key[] = "\n \"digest\": \""; /* a member of the outermost object: one space of indentation */

typedef pare_status (*part_fn)(const char *name, const json_t *value, void *user, pare_error *err);

/* Parts of value, whose name is in name[0..len). */
static pare_status walk(char *name, size_t len, const json_t *value, int depth, part_fn each, void *user,
                        pare_error *err)
{
    pare_status st = PARE_OK;
    const char *key;
    json_t *member;
    size_t i;
    if (depth == DEPTH || (json_object_size(value) == 0 && json_array_size(value) == 0))
        return each(name, value, user, err);
    json_object_foreach((json_t *)value, key, member)
    {
        if (depth == 0 && (strcmp(key, "seal") == 0 || strcmp(key, "digest") == 0))
            continue;
        int n = snprintf(name + len, MAX_NAME - len, "%s%s", depth > 0 ? "." : "", key);
        size_t end = (size_t)n < MAX_NAME - len ? len + (size_t)n : MAX_NAME - 1;
        if (st == PARE_OK)
            st = walk(name, end, member, depth + 1, each, user, err);
    }
    json_array_foreach(value, i, member)
    {
        int n = snprintf(name + len, MAX_NAME - len, "[%zu]", i);
        size_t end = (size_t)n < MAX_NAME - len ? len + (size_t)n : MAX_NAME - 1;
        if (st == PARE_OK)
            st = walk(name, end, member, depth + 1, each, user, err);
    }
    name[len] = '\0';
    return st;
}

static pare_status hash_part(char hex[PART_HEX], const json_t *value, pare_error *err)
{
    pare_digest digest;
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    pare_status st = pare_hash_bytes(text, strlen(text), PARE_HASH_SHA256, &digest, err);
    if (st == PARE_OK)
        pare_hex(hex, digest.sha256, PART_HEX / 2);
    free(text);
    return st;
}

static pare_status seal_part(const char *name, const json_t *value, void *user, pare_error *err)
{
    char hex[PART_HEX];
    pare_status st = hash_part(hex, value, err);
    if (st == PARE_OK && json_object_set_new_nocheck(user, name, json_string(hex)) != 0)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    return st;
}

pare_status pare_record_seal(json_t *doc, pare_buf *out, pare_error *err)
{
    char name[MAX_NAME] = "", hex[PARE_SHA256_HEX];
    size_t start = out->len;
    pare_digest digest;
    json_t *seal = json_object();
    pare_status st = walk(name, 0, doc, 0, seal_part, seal, err);
    if (json_object_set_new(doc, "seal", seal) != 0 || json_object_set_new(doc, "digest", json_string(zeros)) != 0)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    if (st == PARE_OK)
        st = pare_json_dump(doc, out, err);
    if (st == PARE_OK)
        st = pare_hash_bytes(out->data + start, out->len - start, PARE_HASH_SHA256, &digest, err);
    if (st != PARE_OK)
        return st;
    char *at = strstr(out->data + start, digest_key);
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    memcpy(at + sizeof digest_key - 1, hex, N_DIGEST);
    return json_object_set_new(doc, "digest", json_string(hex)) == 0
               ? PARE_OK
               : pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
}

pare_status pare_record_check_digest(const void *text, size_t len, bool *found, bool *fits, pare_error *err)
{
    pare_hasher hasher = {0};
    pare_digest digest;
    char hex[PARE_SHA256_HEX];
    const char *key = memmem(text, len, digest_key, sizeof digest_key - 1);
    const char *at = key != NULL ? key + sizeof digest_key - 1 : NULL;
    *fits = false;
    *found = at != NULL && len - (size_t)(at - (const char *)text) >= N_DIGEST;
    if (!*found)
        return PARE_OK;
    size_t before = (size_t)(at - (const char *)text);
    pare_status st = pare_hasher_open(&hasher, PARE_HASH_SHA256, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&hasher, text, before, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&hasher, zeros, N_DIGEST, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&hasher, at + N_DIGEST, len - before - N_DIGEST, err);
    if (st == PARE_OK)
        st = pare_hasher_finish(&hasher, &digest, err);
    pare_hasher_close(&hasher);
    if (st != PARE_OK)
        return st;
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    *fits = memcmp(hex, at, N_DIGEST) == 0;
    return PARE_OK;
}

typedef struct comparison {
    const json_t *seal;
    json_t *seen; /* names of parts */
    pare_seal_fn each;
    void *user;
} comparison;

static pare_status compare_part(const char *name, const json_t *value, void *user, pare_error *err)
{
    comparison *c = user;
    char hex[PART_HEX];
    const char *expected = json_string_value(json_object_get(c->seal, name));
    pare_status st = hash_part(hex, value, err);
    if (st == PARE_OK && json_object_set_new_nocheck(c->seen, name, json_true()) != 0)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    if (st != PARE_OK || (expected != NULL && strcmp(hex, expected) == 0))
        return st;
    return c->each(name, expected != NULL ? "is not what was written" : "was not there when the record was written",
                   c->user, err);
}

pare_status pare_record_check_seal(const json_t *doc, pare_seal_fn each, void *user, pare_error *err)
{
    char name[MAX_NAME] = "";
    const char *key;
    json_t *value;
    comparison c = {json_object_get(doc, "seal"), json_object(), each, user};
    pare_status st = walk(name, 0, doc, 0, compare_part, &c, err);
    json_object_foreach((json_t *)c.seal, key, value)
    {
        if (st == PARE_OK && json_object_get(c.seen, key) == NULL)
            st = each(key, "is missing", user, err);
    }
    json_decref(c.seen);
    return st;
}
