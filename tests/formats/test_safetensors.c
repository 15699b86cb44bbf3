#include "check.h"
#include "core/bytes.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file in memory: length, header text (which may hold NUL), n_data bytes 0, 1, 2, ... Exact size, so that a sanitizer
 * sees any read past the end. */
static uint8_t *make_file(const char *header, size_t len, size_t n_data, size_t *n)
{
    *n = 8 + len + n_data;
    uint8_t *bytes = check_malloc(*n);
    pare_store_u64le(bytes, len);
    memcpy(bytes + 8, header, len);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + len + i] = (uint8_t)i;
    return bytes;
}

static pare_status parse(pare_model *m, const char *header, size_t n_data, uint8_t **bytes, pare_error *err)
{
    size_t n = 0;
    *bytes = make_file(header, strlen(header), n_data, &n);
    return pare_safetensors_parse(m, *bytes, n, "t.safetensors", err);
}

static void accepts(const char *header, size_t n_data, size_t n_tensors)
{
    pare_model m;
    pare_error err = {0};
    uint8_t *bytes;
    CHECK_OK(parse(&m, header, n_data, &bytes, &err), &err);
    CHECK(m.n_tensors == n_tensors);
    pare_model_close(&m);
    free(bytes);
}

static void rejects(const char *header, size_t n_data, pare_status expected, const char *text)
{
    pare_model m;
    pare_error err = {0};
    uint8_t *bytes;
    pare_status st = parse(&m, header, n_data, &bytes, &err);
    if (st != expected || strstr(err.text, text) == NULL || strstr(err.text, "t.safetensors") == NULL)
        fail_msg("%.200s: status %d, '%s'; expected %d, '%s'", header, (int)st, err.text, (int)expected, text);
    CHECK(m.tensors == NULL && m.n_tensors == 0);
    free(bytes);
}

#define TENSOR(name, dtype, shape, from, to)                                                                           \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void reads_tensors_in_the_order_of_their_data(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    uint8_t *bytes;
    CHECK_OK(parse(&m,
                   "{" TENSOR("b", "F32", "[2,3]", 4, 28) "," TENSOR(
                       "a", "U8", "[4]", 0, 4) ",\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}}",
                   28, &bytes, &err),
             &err);
    CHECK(m.n_tensors == 2 && m.format == PARE_FORMAT_SAFETENSORS);
    const pare_tensor *a = &m.tensors[0], *b = pare_model_find(&m, "b");
    CHECK(strcmp(a->name, "a") == 0 && a->type == PARE_TYPE_U8 && a->n_bytes == 4 && a->data[3] == 3);
    CHECK(b == &m.tensors[1] && b->n_dims == 2 && b->dim[0] == 2 && b->dim[1] == 3 && b->n_bytes == 24);
    CHECK(b->data == bytes + b->offset && b->data[0] == 4);
    CHECK(m.meta.n == 2 && pare_str_equal(pare_meta_find(&m.meta, "format")->v.s, "pt"));
    pare_model_close(&m);
    free(bytes);
}

static void accepts_what_is_odd_but_valid(void **state)
{
    (void)state;
    accepts("{}", 0, 0);
    accepts(" \n\t{ } \r\n  ", 0, 0);
    accepts("{" TENSOR("s", "F32", "[]", 0, 4) "}   ", 4, 1);
    accepts("{" TENSOR("e", "F32", "[0]", 0, 0) "}", 0, 1);
    accepts("{" TENSOR("z", "F16", "[3,0]", 4, 4) "," TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR(
                "y", "I64", "[0,2]", 0, 0) "," TENSOR("b", "BOOL", "[2]", 4, 6) "}",
            6, 4);
    accepts("{\"w\" : { \"data_offsets\" : [ 0 , 2 ] , \"shape\":[ 2 , 1 ] , \"dtype\" : \"I8\" } }", 2, 1);
    accepts("{" TENSOR("f4", "F4", "[2,2]", 0, 2) "," TENSOR("f6", "F6_E2M3", "[4]", 2, 5) "}", 5, 2);
    accepts("{" TENSOR("\\ud83d\\ude00\\/\\u00e9\xc3\xa9", "U8", "[1]", 0, 1) "}", 1, 1);
    accepts("{" TENSOR("deep", "U8", "[1,1,1,1,1]", 0, 1) "}", 1, 1);
    accepts("{\"__metadata__\":{}}", 0, 0);
}

static void rejects_bad_first_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } rows[] = {
        {"", 0, "shorter than the 8-byte"},
        {"\2\0\0\0\0\0\0", 7, "shorter than the 8-byte"},
        {"\0\0\0\0\0\0\0\0{}", 10, "allowed 1 to 100000000"},
        {"\x01\xe1\xf5\x05\0\0\0\0{}", 10, "header length 100000001"},
        {"\0\0\0\0\0\0\0\x80{}", 10, "header length 9223372036854775808"},
        {"\3\0\0\0\0\0\0\0{}", 10, "has 2 bytes behind it"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", 55, "git lfs pull"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        pare_error err = {0};
        uint8_t *bytes = check_malloc(rows[i].n);
        memcpy(bytes, rows[i].bytes, rows[i].n);
        CHECK(pare_safetensors_parse(&m, bytes, rows[i].n, "f", &err) != PARE_OK);
        if (strstr(err.text, rows[i].text) == NULL)
            fail_msg("row %zu: '%s'", i, err.text);
        free(bytes);
    }
}

static void rejects_bad_json(void **state)
{
    (void)state;
    rejects("[]", 0, PARE_ERR_FORMAT, "expected '{'");
    rejects("null", 0, PARE_ERR_FORMAT, "offset 8");
    rejects("{\"a", 0, PARE_ERR_FORMAT, "the end");
    rejects("{\"a\\", 0, PARE_ERR_FORMAT, "escape");
    rejects("{" TENSOR("a", "U8", "[1]", 0, 1) ",}", 1, PARE_ERR_FORMAT, "another item");
    rejects("{" TENSOR("a", "U8", "[1]", 0, 1) "", 1, PARE_ERR_FORMAT, "',' or '}'");
    rejects("{" TENSOR("a", "U8", "[1,]", 0, 1) "}", 1, PARE_ERR_FORMAT, "another item");
    rejects("{}x", 0, PARE_ERR_FORMAT, "only spaces");
    rejects("{\"a\x01\":{}}", 0, PARE_ERR_FORMAT, "control byte 0x01");
    rejects("{\"\\u0000\":{}}", 0, PARE_ERR_FORMAT, "NUL");
    rejects("{\"\\ud800\":{}}", 0, PARE_ERR_FORMAT, "lone surrogate");
    rejects("{\"\\udc00x\":{}}", 0, PARE_ERR_FORMAT, "lone surrogate");
    rejects("{\"\\ud83d\\u0041\":{}}", 0, PARE_ERR_FORMAT, "lone surrogate");
    rejects("{\"\xc0\xaf\":{}}", 0, PARE_ERR_FORMAT, "offset 10: header is not UTF-8");
    rejects("{\"\xff\":{}}", 0, PARE_ERR_FORMAT, "UTF-8");
    rejects("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":{}}}", 1, PARE_ERR_FORMAT,
            "unknown member 'x'");
    rejects("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, PARE_ERR_FORMAT, "needs dtype, shape and data_offsets");
    rejects("{\"a\":[]}", 0, PARE_ERR_FORMAT, "expected '{'");
    pare_model m;
    pare_error err = {0};
    size_t n = 0;
    uint8_t *bytes = make_file("{}\0", 3, 0, &n);
    CHECK(pare_safetensors_parse(&m, bytes, n, "f", &err) == PARE_ERR_FORMAT);
    free(bytes);
}

static void rejects_deep_nesting(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static const char starts[3][32] = {"{\"a\":", "{\"a\":{\"shape\":", "{\"__metadata__\":{\"a\":"};
    for (size_t i = 0; i < 3; i++) {
        char *header = check_malloc(sizeof starts[0] + DEPTH + 1);
        size_t n = strlen(starts[i]);
        memcpy(header, starts[i], n);
        memset(header + n, '[', DEPTH);
        header[n + DEPTH] = '\0';
        rejects(header, 0, PARE_ERR_FORMAT, "found '['");
        free(header);
    }
}

static void rejects_duplicates(void **state)
{
    (void)state;
    rejects("{" TENSOR("w", "U8", "[4]", 0, 4) "," TENSOR("w", "F32", "[1]", 0, 4) "}", 4, PARE_ERR_FORMAT,
            "duplicate key 'w' at offsets 9 and");
    rejects("{" TENSOR("w", "U8", "[4]", 0, 4) "," TENSOR("\\u0077", "U8", "[4]", 4, 8) "}", 8, PARE_ERR_FORMAT,
            "duplicate key 'w'");
    rejects("{\"__metadata__\":{},\"__metadata__\":{}}", 0, PARE_ERR_FORMAT, "duplicate key '__metadata__'");
    rejects("{\"__metadata__\":{},\"\\u005f_metadata__\":{}}", 0, PARE_ERR_FORMAT, "duplicate key '__metadata__'");
    rejects("{\"__metadata__\":{\"a\":\"1\",\"\\u0061\":\"2\"}}", 0, PARE_ERR_FORMAT, "'a' twice");
    rejects("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, PARE_ERR_FORMAT,
            "duplicate key 'dtype'");
}

static void rejects_bad_metadata(void **state)
{
    (void)state;
    rejects("{\"__metadata__\":{\"a\":1}}", 0, PARE_ERR_FORMAT, "__metadata__");
    rejects("{\"__metadata__\":{\"a\":[\"b\"]}}", 0, PARE_ERR_FORMAT, "expected a string");
    rejects("{\"__metadata__\":{\"a\":null}}", 0, PARE_ERR_FORMAT, "expected a string");
    rejects("{\"__metadata__\":\"a\"}", 0, PARE_ERR_FORMAT, "expected '{'");
    rejects("{" TENSOR("__metadata__", "U8", "[1]", 0, 1) "}", 1, PARE_ERR_FORMAT, "__metadata__");
}

static void rejects_bad_dtypes(void **state)
{
    (void)state;
    rejects("{" TENSOR("a", "f32", "[1]", 0, 4) "}", 4, PARE_ERR_UNSUPPORTED, "'f32' is not one of F32 F16");
    rejects("{" TENSOR("a", "FLOAT", "[1]", 0, 4) "}", 4, PARE_ERR_UNSUPPORTED, "FLOAT");
    rejects("{" TENSOR("a", "I4", "[2]", 0, 1) "}", 1, PARE_ERR_UNSUPPORTED, "I4");
    rejects("{" TENSOR("a", "", "[2]", 0, 1) "}", 1, PARE_ERR_UNSUPPORTED, "dtype ''");
    rejects("{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, PARE_ERR_FORMAT, "dtype");
    rejects("{" TENSOR("a", "F4", "[3]", 0, 1) "}", 1, PARE_ERR_FORMAT, "3 elements of F4 are not whole bytes");
    rejects("{" TENSOR("a", "F4", "[]", 0, 1) "}", 1, PARE_ERR_FORMAT, "not whole bytes");
    rejects("{" TENSOR("a", "F6_E3M2", "[3]", 0, 2) "}", 2, PARE_ERR_FORMAT, "not whole bytes");
    rejects("{" TENSOR("a", "F4", "[2,3]", 0, 3) "}", 3, PARE_ERR_UNSUPPORTED, "rows of 3 elements of F4");
}

static void rejects_bad_shapes(void **state)
{
    (void)state;
    static const char *const wrong[] = {"[-1]", "[-0]", "[1.5]", "[1e3]", "[\"2\"]", "[null]",
                                        "[01]", "[+1]", "[0x1]", "[[1]]", "2",       "{}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":[0,2]}}", wrong[i]);
        rejects(header, 2, PARE_ERR_FORMAT, "shape");
    }
    rejects("{" TENSOR("a", "U8", "[9007199254740993]", 0, 1) "}", 1, PARE_ERR_FORMAT, "9007199254740993");
    rejects("{" TENSOR("a", "U8", "[18446744073709551616]", 0, 1) "}", 1, PARE_ERR_RANGE, "above 2^64");
    rejects("{" TENSOR("a", "U8", "[18446744073709551615]", 0, 1) "}", 1, PARE_ERR_RANGE, "overflow");
    rejects("{" TENSOR("a", "U8", "[2,18446744073709551614]", 0, 1) "}", 1, PARE_ERR_RANGE, "overflow");
    rejects("{" TENSOR("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, PARE_ERR_RANGE, "overflow");
    rejects("{" TENSOR("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, PARE_ERR_RANGE, "");
    rejects("{" TENSOR("a", "U8", "[1,1,1,1,1,1]", 0, 1) "}", 1, PARE_ERR_RANGE, "more than 5");
}

static void rejects_bad_ranges(void **state)
{
    (void)state;
    rejects("{" TENSOR("a", "U8", "[16]", 16, 0) "}", 16, PARE_ERR_RANGE, "data_offsets [16, 0]");
    rejects("{" TENSOR("a", "U8", "[16]", 0, 16) "}", 15, PARE_ERR_RANGE, "15 bytes of data");
    rejects("{" TENSOR("a", "U8", "[1]", 0, -1) "}", 1, PARE_ERR_FORMAT, "data_offsets");
    rejects("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, PARE_ERR_FORMAT,
            "data_offsets (two integers)");
    rejects("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, PARE_ERR_FORMAT,
            "data_offsets (two integers)");
    rejects("{" TENSOR("a", "F32", "[2]", 0, 4) "}", 4, PARE_ERR_FORMAT, "make 8 bytes, data_offsets give 4");
    rejects("{" TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR("b", "U8", "[4]", 2, 6) "}", 6, PARE_ERR_FORMAT,
            "'b' starts here; it must start at offset");
    rejects("{" TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR("b", "U8", "[4]", 0, 4) "}", 4, PARE_ERR_FORMAT, "overlaps");
    rejects("{" TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR("b", "U8", "[4]", 5, 9) "}", 9, PARE_ERR_FORMAT, "hole");
    rejects("{" TENSOR("a", "U8", "[4]", 1, 5) "}", 5, PARE_ERR_FORMAT, "hole");
    rejects("{" TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR("e", "U8", "[0]", 2, 2) "}", 4, PARE_ERR_FORMAT, "overlaps");
    rejects("{" TENSOR("a", "U8", "[4]", 0, 4) "}", 7, PARE_ERR_FORMAT, "3 bytes behind the last tensor");
    rejects("{}", 1, PARE_ERR_FORMAT, "1 bytes behind the last tensor");
}

/* The reference library's own attack: very many tensors that share one range. */
static void rejects_many_overlapping_tensors_quickly(void **state)
{
    (void)state;
    enum { N = 100000 };
    char *header = check_malloc(N * 80 + 16);
    size_t at = 0;
    header[at++] = '{';
    for (int i = 0; i < N; i++)
        at += (size_t)sprintf(header + at, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[0,64]}",
                              i > 0 ? "," : "", i);
    strcpy(header + at, "}");
    rejects(header, 64, PARE_ERR_FORMAT, "overlaps");
    free(header);
}

static void rejects_every_truncation(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR(
        "a\\u00e9", "F32", "[2,3]", 0, 24) "," TENSOR("b", "U8", "[4]", 24, 28) "}  ";
    size_t n = 0;
    uint8_t *whole = make_file(header, sizeof header - 1, 28, &n);
    for (size_t len = 0; len < n; len++) {
        pare_model m;
        pare_error err = {0};
        uint8_t *cut = check_malloc(len);
        memcpy(cut, whole, len);
        CHECK(pare_safetensors_parse(&m, cut, len, "cut", &err) != PARE_OK);
        CHECK(strstr(err.text, "cut: ") == err.text);
        /* the same with a header length that fits, so that the JSON itself is cut */
        if (len > 8 && len < n - 28) {
            pare_store_u64le(cut, len - 8);
            bool only_spaces_lost = len >= n - 28 - 2;
            CHECK((pare_safetensors_parse(&m, cut, len, "cut", &err) != PARE_OK) || only_spaces_lost);
        }
        free(cut);
    }
    free(whole);
}

/* A folder of its own a test. */
static const char *folder(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    mkdir(path, 0777);
    return path;
}

static void put(const char *dir, const char *name, const void *data, size_t n)
{
    char *path = pare_path_join(dir, name, NULL);
    check_write_file(path, data, n);
    free(path);
}

static void put_shard(const char *dir, const char *name, const char *header, size_t n_data)
{
    size_t n = 0;
    uint8_t *bytes = make_file(header, strlen(header), n_data, &n);
    put(dir, name, bytes, n);
    free(bytes);
}

static pare_status open_index(pare_model *m, const char *dir, const char *json, pare_error *err)
{
    char *path = pare_path_join(dir, "model.safetensors.index.json", NULL);
    check_write_file(path, json, strlen(json));
    pare_status st = pare_safetensors_open_index(m, path, err);
    free(path);
    return st;
}

static void rejects_index(const char *dir, const char *json, const char *text)
{
    pare_model m;
    pare_error err = {0};
    pare_status st = open_index(&m, dir, json, &err);
    if (st != PARE_ERR_FORMAT || strstr(err.text, text) == NULL)
        fail_msg("%s: status %d, '%s'; expected '%s'", json, (int)st, err.text, text);
    CHECK(m.tensors == NULL && m.files == NULL);
}

static int n_warnings;
static char last_warning[PARE_ERROR_TEXT];

static void count_warning(const char *text, void *user)
{
    (void)user;
    n_warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", text);
}

#define MAP(entries) "{\"weight_map\":{" entries "}}"

static void opens_shards_by_their_index(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    const char *dir = folder("shards");
    put_shard(dir, "s1", "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR("a", "U8", "[4]", 0, 4) "}", 4);
    put_shard(dir, "s2",
              "{\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"}," TENSOR("c", "U8", "[2]", 0,
                                                                          2) "," TENSOR("b", "F32", "[1]", 2, 6) "}",
              6);
    pare_set_warn_sink(count_warning, NULL);
    n_warnings = 0;
    CHECK_OK(open_index(&m, dir,
                        "{\"metadata\":{\"total_size\":10},\"weight_map\":{\"b\":\"s2\",\"c\":\"s2\",\"a\":\"s1\"}}",
                        &err),
             &err);
    CHECK(n_warnings == 0);
    CHECK(m.n_tensors == 3 && m.n_files == 2 && m.meta.n == 2);
    CHECK(strcmp(m.tensors[0].name, "a") == 0 && strcmp(m.tensors[1].name, "c") == 0 &&
          strcmp(m.tensors[2].name, "b") == 0);
    CHECK(m.tensors[2].file == 1 && m.tensors[2].data == m.files[1].data + m.tensors[2].offset &&
          m.tensors[2].data[0] == 2);
    pare_model_close(&m);
    CHECK_OK(open_index(&m, dir,
                        "{\"metadata\":{\"total_size\":11.0},\"weight_map\":{\"b\":\"s2\",\"c\":\"s2\",\"a\":\"s1\"}}",
                        &err),
             &err);
    CHECK(n_warnings == 1 && strstr(last_warning, "total_size is 11, the tensors have 10") != NULL);
    pare_model_close(&m);
    pare_set_warn_sink(NULL, NULL);
    /* everything that is wrong is said at once */
    rejects_index(dir, MAP("\"a\":\"s2\",\"b\":\"s2\",\"d\":\"s1\""),
                  "4 faults: no tensor a in s2; no tensor d in s1; weight_map puts elsewhere tensor a of s1; "
                  "weight_map lacks tensor c of s2");
    rejects_index(dir, MAP("\"a\":\"s1\",\"b\":\"s3\",\"c\":\"s4\""), "2 faults: shard s3 is absent; shard s4");
    rejects_index(dir, MAP("\"a\":\"s1\",\"b\":\"s2\",\"c\":\"s2\",\"a\":\"s2\""), "duplicate");
    put_shard(dir, "s1", "{" TENSOR("a", "U8", "[4]", 0, 4) "," TENSOR("b", "F32", "[1]", 4, 8) "}", 8);
    rejects_index(dir, MAP("\"a\":\"s1\",\"b\":\"s2\",\"c\":\"s2\""), "weight_map puts elsewhere tensor b of s1");
}

static void rejects_paths_that_leave_the_folder(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "../../x.safetensors", "/etc/passwd", "a\\\\..\\\\b", "a/../b", "..", ".", "", "a//b", "./a", "a/", "a\\nb"};
    const char *dir = folder("escape");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char json[256];
        snprintf(json, sizeof json, MAP("\"t\":\"%s\""), paths[i]);
        rejects_index(dir, json, "expected a plain relative path");
    }
    rejects_index(dir, MAP("\"t\":\"a\\u0000b\""), "or a NUL");
    rejects_index(dir, MAP("\"t\":1"), "no string");
    rejects_index(dir, "{\"weight_map\":[]}", "no object");
    rejects_index(dir, "[]", "no object");
}

static void follows_only_links_of_the_hub_cache(void **state)
{
    (void)state;
    static const char blob[] = "0123456789abcdef0123456789abcdef01234567";
    char cache[4096], path[8192], target[256];
    snprintf(cache, sizeof cache, "%s", folder("cache"));
    snprintf(path, sizeof path, "%s/blobs", cache);
    mkdir(path, 0777);
    put_shard(path, blob, "{" TENSOR("a", "U8", "[4]", 0, 4) "}", 4);
    put_shard(path, "notahash", "{" TENSOR("a", "U8", "[4]", 0, 4) "}", 4);
    snprintf(path, sizeof path, "%s/snapshots", cache);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/snapshots/main", cache);
    mkdir(path, 0777);
    CHECK(chdir(path) == 0);
    snprintf(target, sizeof target, "../../blobs/%s", blob);
    CHECK(symlink(target, "good") == 0 && symlink("../../blobs/notahash", "bad") == 0 &&
          symlink("/etc/hostname", "out") == 0);
    CHECK(symlink("good", "second") == 0 && mkfifo("fifo", 0666) == 0 && mkdir("dir", 0777) == 0 &&
          symlink("dir", "dirlink") == 0);
    CHECK(symlink("../../blobs/0123456789abcdef0123456789abcdef01234568", "gone") == 0);
    put_shard(path, "dir/x", "{" TENSOR("a", "U8", "[4]", 0, 4) "}", 4);
    pare_model m;
    pare_error err = {0};
    CHECK_OK(open_index(&m, path, MAP("\"a\":\"good\""), &err), &err);
    pare_model_close(&m);
    CHECK_OK(open_index(&m, path, MAP("\"a\":\"dir/x\""), &err), &err);
    pare_model_close(&m);
    rejects_index(path, MAP("\"a\":\"bad\""), "is a symbolic link to");
    rejects_index(path, MAP("\"a\":\"out\""), "is a symbolic link to '/etc/hostname'");
    rejects_index(path, MAP("\"a\":\"second\""), "is a symbolic link to");
    rejects_index(path, MAP("\"a\":\"fifo\""), "is a FIFO");
    rejects_index(path, MAP("\"a\":\"dir\""), "is a folder");
    rejects_index(path, MAP("\"a\":\"dirlink/x\""), "is a symbolic link");
    rejects_index(path, MAP("\"a\":\"gone\""), "absent blob");
    CHECK(chdir("/") == 0);
}

static const uint8_t payload[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                    13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};

static void add(pare_model *m, const char *name, pare_type type, uint32_t n_dims, uint64_t d0, uint64_t d1)
{
    pare_error err = {0};
    pare_tensor t = {.name = name, .type = type, .n_dims = n_dims, .dim = {d0, d1}, .data = payload};
    CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

static const char *const six_names[] = {"z", "b", "a", "c", "e", "q\"x/\xc3\xa9"};

/* Tensors of several alignments, a scalar, an empty one, a name that needs escapes. */
static void make_six(pare_model *m)
{
    pare_error err = {0};
    *m = (pare_model){0};
    CHECK_OK(pare_model_reserve(m, 6, &err), &err);
    add(m, "1", PARE_TYPE_F32, 2, 2, 3);
    add(m, "2", PARE_TYPE_F16, 1, 3, 0);
    add(m, "3", PARE_TYPE_U8, 1, 2, 0);
    add(m, "4", PARE_TYPE_I64, 0, 0, 0);
    add(m, "5", PARE_TYPE_F32, 2, 0, 4);
    add(m, "6", PARE_TYPE_F16, 1, 1, 0);
}

/* What safetensors 0.8.0 (Python, numpy) writes for the same tensors. */
static const char six_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
    "\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[8,8]},\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_"
    "offsets\":[8,32]},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[32,38]},\"q\\\"x/\xc3\xa9\":{\"dtype\":\"F16\","
    "\"shape\":[1],"
    "\"data_offsets\":[38,40]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[40,42]}}   ";

static void writes_the_bytes_of_the_reference_library(void **state)
{
    (void)state;
    pare_model m, back;
    pare_error err = {0};
    pare_pin pin = {0};
    const char *dir = folder("write");
    make_six(&m);
    CHECK_OK(pare_safetensors_write(&m, six_names, dir, 0, &pin, &err), &err);
    char *path = pare_path_join(dir, "model.safetensors", NULL);
    size_t n = 0;
    uint8_t *bytes = check_read_file(path, &n);
    CHECK(n == 8 + 368 + 42 && pare_load_u64le(bytes) == 368);
    CHECK(sizeof six_header - 1 == 368 && memcmp(bytes + 8, six_header, 368) == 0);
    CHECK(memcmp(bytes + 8 + 368 + 8, payload, 24) == 0 && memcmp(bytes + 8 + 368 + 40, payload, 2) == 0);

    pare_digest whole;
    CHECK_OK(pare_hash_bytes(bytes, n, PARE_HASH_BOTH, &whole, &err), &err);
    CHECK(pin.n_files == 1 && strcmp(pin.files[0].path, path) == 0 &&
          memcmp(&pin.files[0].digest, &whole, sizeof whole) == 0);
    CHECK_OK(pare_safetensors_open(&back, path, &err), &err);
    CHECK(back.n_tensors == 6 && pin.files[0].n_tensors == 6 && pin.files[0].n_meta == 1);
    for (size_t i = 0; i < back.n_tensors; i++) {
        const pare_tensor *t = &back.tensors[i];
        const pare_pin_tensor *p = &pin.files[0].tensors[i];
        pare_digest digest;
        CHECK_OK(pare_hash_bytes(t->data, (size_t)t->n_bytes, PARE_HASH_BOTH, &digest, &err), &err);
        CHECK(strcmp(t->name, p->name) == 0 && t->offset == p->offset && t->type == p->type && t->n_dims == p->n_dims);
        CHECK(memcmp(&digest, &p->digest, sizeof digest) == 0);
    }
    CHECK(pare_safetensors_write(&m, six_names, dir, 0, NULL, &err) == PARE_ERR_USAGE); /* it exists */
    pare_pin_close(&pin);
    pare_model_close(&back);
    pare_model_close(&m);
    free(bytes);
    free(path);
}

static void writes_shards_with_an_index(void **state)
{
    (void)state;
    pare_model m, back;
    pare_error err = {0};
    pare_pin pin = {0};
    const char *dir = folder("write-shards");
    make_six(&m);
    CHECK_OK(pare_safetensors_write(&m, six_names, dir, 9, &pin, &err), &err);
    char *path = pare_path_join(dir, "model.safetensors.index.json", NULL);
    pare_set_warn_sink(count_warning, NULL);
    n_warnings = 0;
    CHECK_OK(pare_safetensors_open_index(&back, path, &err), &err);
    pare_set_warn_sink(NULL, NULL);
    CHECK(n_warnings == 0); /* total_size is right */
    /* 24 | 6 + 2 | 8 + 0 | 2: a tensor larger than the limit has a shard of its own */
    CHECK(back.n_tensors == 6 && back.n_files == 4 && pin.n_files == 5);
    CHECK(strstr(back.files[3].path, "model-00004-of-00004.safetensors") != NULL);
    for (size_t i = 0; i < 6; i++) {
        const pare_tensor *t = pare_model_find(&back, six_names[i]);
        CHECK(t != NULL && t->n_bytes == m.tensors[i].n_bytes && memcmp(t->data, payload, (size_t)t->n_bytes) == 0);
    }
    pare_pin_close(&pin);
    pare_model_close(&back);
    pare_model_close(&m);
    free(path);
}

static void refuses_to_write_what_cannot_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        pare_type type;
        pare_status expected;
        const char *text;
    } rows[] = {
        {"a", "__metadata__", PARE_TYPE_U8, PARE_ERR_FORMAT, "__metadata__"},
        {"a", "a", PARE_TYPE_U8, PARE_ERR_FORMAT, "two tensors named 'a'"},
        {"a", "\xff", PARE_TYPE_U8, PARE_ERR_FORMAT, "not UTF-8"},
        {"a", "b", PARE_TYPE_Q4_0, PARE_ERR_UNSUPPORTED, "no dtype for q4_0"},
    };
    const char *dir = folder("refuse");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m = {0};
        pare_error err = {0};
        const char *names[] = {rows[i].a, rows[i].b};
        CHECK_OK(pare_model_reserve(&m, 2, &err), &err);
        add(&m, "x", PARE_TYPE_U8, 1, 1, 0);
        add(&m, "y", rows[i].type, 1, 32, 0);
        CHECK(pare_safetensors_write(&m, names, dir, 0, NULL, &err) == rows[i].expected);
        CHECK(strstr(err.text, rows[i].text) != NULL);
        pare_model_close(&m);
    }
    CHECK(rmdir(dir) == 0); /* nothing was left in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_the_order_of_their_data),
        cmocka_unit_test(accepts_what_is_odd_but_valid),
        cmocka_unit_test(rejects_bad_first_bytes),
        cmocka_unit_test(rejects_bad_json),
        cmocka_unit_test(rejects_deep_nesting),
        cmocka_unit_test(rejects_duplicates),
        cmocka_unit_test(rejects_bad_metadata),
        cmocka_unit_test(rejects_bad_dtypes),
        cmocka_unit_test(rejects_bad_shapes),
        cmocka_unit_test(rejects_bad_ranges),
        cmocka_unit_test(rejects_many_overlapping_tensors_quickly),
        cmocka_unit_test(rejects_every_truncation),
        cmocka_unit_test(opens_shards_by_their_index),
        cmocka_unit_test(rejects_paths_that_leave_the_folder),
        cmocka_unit_test(follows_only_links_of_the_hub_cache),
        cmocka_unit_test(writes_the_bytes_of_the_reference_library),
        cmocka_unit_test(writes_shards_with_an_index),
        cmocka_unit_test(refuses_to_write_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
