/* Rows 57 to 75 of docs/formats/HOSTILE.md: the safetensors container */
#include "rows.h"
#include "trial.h"

#include "core/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "m.safetensors"

#ifdef PARE_SANITIZED
enum { LITTLE_DATA = 0 };
#else
enum { LITTLE_DATA = 512 << 20 };
#endif

static void put(pare_buf *b, const void *bytes, size_t n)
{
    CHECK(pare_buf_put(b, bytes, n, NULL) == PARE_OK);
}

/* A file with this length in front, this header (NULL: none) and n_data zeros behind it. */
static void put_file(uint64_t length, const char *header, size_t n_header, size_t n_data)
{
    pare_buf b = {0};
    uint8_t first[8];
    pare_store_u64le(first, length);
    put(&b, first, 8);
    put(&b, header, n_header);
    for (size_t i = 0; i < n_data; i++)
        put(&b, "", 1);
    trial_put_buf(FILE_NAME, &b);
    pare_buf_close(&b);
}

/* Any verb that reads a model says the same. */
static void refused(int code, const char *says)
{
    static const char *const verbs[] = {"inspect", "verify", "inspect --tensors --json", "pin"};
    static size_t next;
    char parts[600];
    snprintf(parts, sizeof parts, FILE_NAME "|%s", says);
    trial_refused(code, parts, "%s " FILE_NAME "%s", verbs[next % 4], next % 4 == 3 ? " -o out.lock" : "");
    next++;
}

static void header_refused_n(int code, const char *header, size_t n, size_t n_data, const char *says)
{
    put_file(n, header, n, n_data);
    refused(code, says);
}

static void header_refused(int code, const char *header, size_t n_data, const char *says)
{
    header_refused_n(code, header, strlen(header), n_data, says);
}

static void header_accepted(const char *header, size_t n_data)
{
    put_file(strlen(header), header, strlen(header), n_data);
    trial_accepted(NULL, "inspect " FILE_NAME);
}

/* A tensor "w" with this member in the place of the right one. */
static void tensor_refused(int code, const char *dtype, const char *shape, const char *offsets, size_t n_data,
                           const char *says)
{
    char header[400];
    snprintf(header, sizeof header, "{\"w\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", dtype, shape, offsets);
    header_refused(code, header, n_data, says);
}

#define SOUND "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"

/* A file for which there is no room: its header is judged all the same. */
ROW(015)
{
    static const struct {
        uint64_t length;
        const char *header;
        int code;
        const char *says;
    } files[] = {{sizeof SOUND - 1, SOUND, 3, "bytes behind the last tensor"},
                 {2, "{]", 3, "offset "},
                 {(uint64_t)1 << 40, "{}", 3, "header length 1099511627776"},
                 {100000000, "{}", 3, "offset "},
                 {85,
                  "{\"w\":{\"dtype\":\"U8\",\"shape\":[9,1073741824],\"data_offsets\":[0,9663676416]},\"v\":0     }", 3,
                  "tensor"},
                 {80, "{\"w\":{\"dtype\":\"U8\",\"shape\":[9,1073741824],\"data_offsets\":[0,9663676416]}}       ", 5,
                  "cannot map 9663676504 bytes"}};
    if (!trial_limit_space((uint64_t)4 << 30))
        return;
    for (size_t i = 0; i < COUNT(files); i++) {
        put_file(files[i].length, files[i].header, strlen(files[i].header), 0);
        CHECK(truncate(trial_path(FILE_NAME), (off_t)(((uint64_t)9 << 30) + 88)) == 0);
        refused(files[i].code, files[i].says);
    }
    trial_remove(FILE_NAME);
    trial_limit_space(0);
}

/* The rule about names is that of row 27. */
ROW(027)
{
    static const char *const names[] = {"",
                                        "/etc/passwd",
                                        "../x",
                                        "a/../b",
                                        "..",
                                        "a\\\\..\\\\b",
                                        "\\\\a",
                                        "a\\u001b[2J",
                                        "a\\nb",
                                        "\x7f",
                                        "a\\u009b2J",
                                        "a\\u202eb",
                                        "\xe2\x80\xae",
                                        "\\ufeffa",
                                        "a\xef\xbb\xbf",
                                        "a\\u200b",
                                        "a\\u3164b",
                                        "a\\ufe0fb",
                                        "a\\udb40\\udc41b",
                                        "a\\u0000b"};
    static const char *const fine[] = {"vision/blk.0/w", "a/b/c", "..a", "a../b", "\xc3\xa9"};
    char header[200];
    for (size_t i = 0; i < COUNT(names) + COUNT(fine); i++) {
        const char *name = i < COUNT(names) ? names[i] : fine[i - COUNT(names)];
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", name);
        if (i < COUNT(names))
            header_refused(3, header, 16, "offset ");
        else
            header_accepted(header, 16);
    }
}

ROW(006)
{
    static const char *const empty[] = {"{}", "{\"__metadata__\":{\"a\":\"b\"}}"};
    for (size_t i = 0; i < COUNT(empty); i++) {
        header_accepted(empty[i], 0);
        trial_refused(3, FILE_NAME "|holds no tensors", "convert " FILE_NAME " -o out.gguf");
        trial_refused(3, FILE_NAME "|holds no tensors", "quantize " FILE_NAME " -t q8_0 -o out.gguf");
    }
}

ROW(057)
{
    static const char bytes[8] = {2};
    for (size_t n = 0; n < 8; n++) {
        trial_put(FILE_NAME, bytes, n);
        refused(3, "shorter than the 8-byte header length");
    }
}

ROW(058)
{
    const uint64_t lengths[] = {0,
                                100000001,
                                (uint64_t)1 << 63,
                                UINT64_MAX,
                                UINT64_MAX - 7,
                                ((uint64_t)1 << 62) + 1,
                                trial_between(1 << 20, UINT64_MAX >> 8)
                                    << 8}; /* no opening brace first: verify takes it for a lock */
    const uint64_t behind[] = {sizeof SOUND - 1 + 17, 100000000, 1000};
    char says[100];
    trial_limit_data(LITTLE_DATA);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        put_file(lengths[i], SOUND, sizeof SOUND - 1, 16);
        snprintf(says, sizeof says, "offset 0|header length %" PRIu64 "|allowed 1 to 100000000", lengths[i]);
        refused(3, says);
    }
    for (size_t i = 0; i < COUNT(behind); i++) {
        put_file(behind[i], SOUND, sizeof SOUND - 1, 16);
        snprintf(says, sizeof says, "offset 0|header length %" PRIu64 "|the file has %zu bytes behind it", behind[i],
                 sizeof SOUND - 1 + 16);
        refused(3, says);
    }
    trial_limit_data(0);
}

ROW(059)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"\xff", 1},         {"\xc0\xaf", 2},         {"\xe0\x80\xaf", 3},
               {"\xed\xa0\x80", 3}, {"\xf5\x80\x80\x80", 4}, {"\x80", 1}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        pare_buf b = {0};
        char says[60];
        put(&b, "{\"w", 3);
        size_t lead = (size_t)trial_between(0, 5);
        put(&b, "aaaaa", lead);
        put(&b, bad[i].bytes, bad[i].n);
        put(&b, &SOUND[3], sizeof SOUND - 4);
        snprintf(says, sizeof says, "offset %zu|not UTF-8", 8 + 3 + lead);
        header_refused_n(3, b.data, b.len, 16, says);
        pare_buf_close(&b);
    }
    static const char *const lone[] = {"\\ud800", "\\udc00", "\\ud800x", "\\udbff\\ud800", "\\ud83d\\u0041"};
    for (size_t i = 0; i < COUNT(lone); i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"w%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", lone[i]);
        header_refused(3, header, 16, "offset ");
    }
}

ROW(060)
{
    static const char *const bad[] = {"[]",
                                      "1",
                                      "\"w\"",
                                      "null",
                                      "true",
                                      "{",
                                      "{]",
                                      "{\"w\"}",
                                      "{\"w\":}",
                                      "{,}",
                                      "{\"w\":{},}",
                                      "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],}}",
                                      "{\"w\":{\"dtype\":\"F32\",\"shape\":[4,],\"data_offsets\":[0,16]}}",
                                      SOUND "x",
                                      SOUND "{}",
                                      SOUND ",",
                                      SOUND "\n]",
                                      "{'w':1}",
                                      "{\"w\":{\"dtype\":\"F32\"/**/}}"};
    for (size_t i = 0; i < COUNT(bad); i++)
        header_refused(3, bad[i], 16, "offset ");
    header_refused_n(3, SOUND, sizeof SOUND, 16, "offset "); /* with the NUL behind it */
    header_refused_n(3, "\0" SOUND, sizeof SOUND, 16, "offset ");
    header_accepted(SOUND "   ", 16);
    header_accepted(" \n\t" SOUND, 16);
}

ROW(061)
{
    const size_t depths[] = {5, 100000, (size_t)trial_between(6, 1000)};
    for (size_t i = 0; i < COUNT(depths); i++)
        for (int kind = 0; kind < 3; kind++) {
            pare_buf b = {0};
            put(&b, kind == 2 ? "{\"w\":{\"shape\":" : "{\"w\":", kind == 2 ? 14 : 5);
            for (size_t k = 0; k < depths[i]; k++)
                put(&b, kind == 1 ? "{\"a\":" : "[", kind == 1 ? 5 : 1);
            for (size_t k = 0; k < depths[i]; k++)
                put(&b, kind == 1 ? "}" : "]", 1);
            put(&b, kind == 2 ? "}}" : "}", kind == 2 ? 2 : 1);
            header_refused_n(3, b.data, b.len, 0, "offset ");
            pare_buf_close(&b);
        }
}

#define ENTRY(dtype) "{\"dtype\":\"" dtype "\",\"shape\":[4],\"data_offsets\":[0,4]}"

ROW(062)
{
    static const char *const second[] = {"w", "\\u0077", "\\u0077"};
    for (size_t i = 0; i < COUNT(second); i++) {
        char header[300];
        snprintf(header, sizeof header, "{\"w\":" ENTRY("U8") ",\"%s\":" ENTRY("I8") "}", second[i]);
        header_refused(3, header, 4, "duplicate key 'w' at offsets 9 and ");
    }
    header_refused(3, "{\"w\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
                   "duplicate key 'dtype'");
    header_refused(3, "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"shap\\u0065\":[4],\"data_offsets\":[0,4]}}", 4,
                   "duplicate key 'shape'");
}

ROW(063)
{
    static const char *const bad[] = {"{\"__metadata__\":{},\"__metadata__\":{}}",
                                      "{\"__metadata__\":{},\"\\u005f_metadata__\":{}}",
                                      "{\"__metadata__\":1}",
                                      "{\"__metadata__\":[]}",
                                      "{\"__metadata__\":\"x\"}",
                                      "{\"__metadata__\":null}",
                                      "{\"__metadata__\":{\"a\":1}}",
                                      "{\"__metadata__\":{\"a\":[\"b\"]}}",
                                      "{\"__metadata__\":{\"a\":null}}",
                                      "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}"};
    for (size_t i = 0; i < COUNT(bad); i++)
        header_refused(3, bad[i], 0, "__metadata__");
    header_refused(3, "{\"__metadata__\":{\"a\":\"x\",\"a\":\"y\"}}", 0, "__metadata__: key 'a' twice");
    header_accepted("{\"__metadata__\":{\"a\":\"x\"}}", 0);
}

ROW(065)
{
    static const char *const dtypes[] = {"f32", "FLOAT", "I4", "F8", "float32", "", "F32 ", "F128"};
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        char dtype[40];
        snprintf(dtype, sizeof dtype, "\"%s\"", dtypes[i]);
        tensor_refused(4, dtype, "[4]", "[0,16]", 16, "'w'|dtype '| F32| BF16| F8_E4M3| I64");
    }
}

ROW(066)
{
    static const char *const dtypes[] = {"\"F4\"", "\"F6_E2M3\"", "\"F6_E3M2\""};
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        tensor_refused(3, dtypes[i], "[3]", "[0,2]", 2, "'w'|3 elements of F|not whole bytes");
        tensor_refused(3, dtypes[i], "[1]", "[0,1]", 1, "'w'|1 elements of F|not whole bytes");
    }
}

ROW(067)
{
    static const char *const shapes[] = {"[-1]",
                                         "[-0]",
                                         "[1.5]",
                                         "[4.0]",
                                         "[1e3]",
                                         "[4E0]",
                                         "[\"2\"]",
                                         "[01]",
                                         "[+4]",
                                         "[null]",
                                         "[18446744073709551616]",
                                         "[99999999999999999999999999]",
                                         "[true]",
                                         "4",
                                         "{}",
                                         "[[4]]",
                                         "[0x4]",
                                         "[4 4]"};
    for (size_t i = 0; i < COUNT(shapes); i++)
        tensor_refused(3, "\"F32\"", shapes[i], "[0,16]", 16, "offset ");
    static const char *const large[] = {"[9007199254740993]", "[9223372036854775808]", "[18446744073709551615]"};
    for (size_t i = 0; i < COUNT(large); i++)
        tensor_refused(3, "\"U8\"", large[i], "[0,16]", 16, "'w'|");
    tensor_refused(3, "\"U8\"", "[9007199254740993]", "[0,16]", 16, "9007199254740993"); /* exactly, not as a double */
}

ROW(068)
{
    static const char *const shapes[] = {"[2,18446744073709551614]", "[4294967296,4294967296]",
                                         "[3,6148914691236517206]", "[65536,65536,65536,65536]",
                                         "[18446744073709551615,18446744073709551615]"};
    for (size_t i = 0; i < COUNT(shapes); i++)
        tensor_refused(3, i % 2 == 0 ? "\"U8\"" : "\"F32\"", shapes[i], "[0,0]", 0, "'w'|overflow");
    char shape[60];
    uint64_t a = trial_between((uint64_t)1 << 33, (uint64_t)1 << 40);
    snprintf(shape, sizeof shape, "[%" PRIu64 ",%" PRIu64 "]", a, UINT64_MAX / a + 1);
    tensor_refused(3, "\"U8\"", shape, "[0,16]", 16, "'w'|overflow");
}

ROW(069)
{
    const size_t counts[] = {6, 17, 65, (size_t)trial_between(18, 64)};
    for (size_t i = 0; i < COUNT(counts); i++) {
        pare_buf b = {0};
        put(&b, "[1", 2);
        for (size_t k = 1; k < counts[i]; k++)
            put(&b, ",1", 2);
        put(&b, "]", 2);
        tensor_refused(3, "\"U8\"", b.data, "[0,1]", 1, "'w'|more than 5 dimensions");
        pare_buf_close(&b);
    }
}

ROW(070)
{
    static const char *const offsets[] = {"[16,0]",
                                          "[0]",
                                          "[]",
                                          "[0,1,2]",
                                          "[-1,16]",
                                          "[0,-16]",
                                          "[0,16.0]",
                                          "[\"0\",16]",
                                          "[0,1e1]",
                                          "0",
                                          "null",
                                          "{\"0\":16}",
                                          "[0,18446744073709551616]",
                                          "[18446744073709551615,15]"};
    for (size_t i = 0; i < COUNT(offsets); i++)
        tensor_refused(3, "\"F32\"", "[4]", offsets[i], 16, "offset");
    tensor_refused(3, "\"F32\"", "[4]", "[16,0]", 16, "'w'|[16, 0]");
    tensor_refused(3, "\"F32\"", "[4]", "[0,17]", 16, "'w'|[0, 17]|16 bytes of data");
    tensor_refused(3, "\"F32\"", "[4]", "[0,9223372036854775808]", 16, "'w'|[0, 9223372036854775808]");
}

ROW(071)
{
    for (uint64_t n = 0; n < 8; n++) {
        char shape[40], says[80];
        uint64_t elements = n == 4 ? 5 : n < 7 ? n : trial_between(8, 1000);
        snprintf(shape, sizeof shape, "[%" PRIu64 "]", elements);
        snprintf(says, sizeof says, "'w'|make %" PRIu64 " bytes|give 16", 4 * elements);
        tensor_refused(3, "\"F32\"", shape, "[0,16]", 16, says);
    }
    tensor_refused(3, "\"F32\"", "[]", "[0,16]", 16, "'w'|make 4 bytes|give 16");
    tensor_refused(3, "\"F32\"", "[0]", "[0,16]", 16, "'w'|make 0 bytes|give 16");
}

/* many tensors on one range: an overlap, and time that does not grow with the square (the trial's minute) */
ROW(072)
{
    pare_buf b = {0};
    enum { N = 100000 };
    for (int i = 0; i < N; i++)
        CHECK(pare_buf_printf(&b, NULL, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}",
                              i == 0 ? "{" : ",", i) == PARE_OK);
    put(&b, "}", 1);
    header_refused_n(3, b.data, b.len, 16, "overlaps");
    pare_buf_close(&b);
    header_refused(3,
                   "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":["
                   "9],\"data_offsets\":[7,16]}}",
                   16, "tensor 'b'|overlaps");
}

ROW(073)
{
    header_refused(3,
                   "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":["
                   "4],\"data_offsets\":[8,12]}}",
                   12, "tensor 'b'|hole");
    tensor_refused(3, "\"U8\"", "[4]", "[4,8]", 8, "'w'|hole");
    const size_t tails[] = {1, 8, (size_t)trial_between(2, 100)};
    for (size_t i = 0; i < COUNT(tails); i++) {
        char says[60];
        snprintf(says, sizeof says, "%zu bytes behind the last tensor", tails[i]);
        tensor_refused(3, "\"U8\"", "[4]", "[0,4]", 4 + tails[i], says);
    }
    header_refused(3, "{}", 5, "5 bytes behind the last tensor");
    header_accepted("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":["
                    "0],\"data_offsets\":[4,4]}}",
                    4); /* empty tensors share an offset by design */
}

static void memory_while_parsing(void **state)
{
    (void)state;
    enum { N = 100000 };
    pare_buf b = {0};
    for (int i = 0; i < N; i++)
        CHECK(pare_buf_printf(&b, NULL, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                              i == 0 ? "{" : ",", i, i, i + 1) == PARE_OK);
    put(&b, "}", 1);
    put_file(b.len, b.data, b.len, N);
    trial_memory("inspect " FILE_NAME, b.len);
    b.len = 0;
    put(&b, "{\"__metadata__\":{", 17);
    for (int i = 0; i < 65536; i++)
        CHECK(pare_buf_printf(&b, NULL, "%s\"k%d\":\"v\"", i == 0 ? "" : ",", i) == PARE_OK);
    put(&b, "}}", 2);
    put_file(b.len, b.data, b.len, 0);
    trial_memory("inspect " FILE_NAME, b.len);
    b.len -= 2;
    put(&b, ",\"more\":\"v\"}}", 14);
    header_refused_n(3, b.data, b.len, 0, "__metadata__ has more than 65536 strings");
    pare_buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_006), cmocka_unit_test(row_015),
        cmocka_unit_test(row_027), cmocka_unit_test(row_057),
        cmocka_unit_test(row_058), cmocka_unit_test(row_059),
        cmocka_unit_test(row_060), cmocka_unit_test(row_061),
        cmocka_unit_test(row_062), cmocka_unit_test(row_063),
        cmocka_unit_test(row_065), cmocka_unit_test(row_066),
        cmocka_unit_test(row_067), cmocka_unit_test(row_068),
        cmocka_unit_test(row_069), cmocka_unit_test(row_070),
        cmocka_unit_test(row_071), cmocka_unit_test(row_072),
        cmocka_unit_test(row_073), cmocka_unit_test(memory_while_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
