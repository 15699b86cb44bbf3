#include "check.h"

#include "core/json.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_error err;

static json_t *parse(const char *text)
{
    json_t *doc = NULL;
    CHECK_OK(pare_json_parse(&doc, "a.json", text, strlen(text), PARE_JSON_NUL, &err), &err);
    return doc;
}

static void refuses(const char *text, size_t len, const char *words)
{
    json_t *doc = (json_t *)1;
    char *exact = check_malloc(len); /* not terminated, so a sanitizer sees a read past the end */
    memcpy(exact, text, len);
    err = (pare_error){0};
    CHECK(pare_json_parse(&doc, "a.json", exact, len, 0, &err) == PARE_ERR_FORMAT);
    CHECK(doc == NULL);
    if (strstr(err.text, "a.json: offset ") == NULL || strstr(err.text, words) == NULL)
        fail_msg("'%s' should say '%s'", err.text, words);
    free(exact);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", ""},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":{\"b\":1,\"b\":1}}", "duplicate"},
        {"{\"a\":1} x", "end of file"},
        {"{\"a\":1,}", ""},
        {"[1,2", ""},
        {"{\"a\" 1}", ""},
        {"{'a':1}", ""},
        {"[01]", ""},
        {"[1.]", ""},
        {"[NaN]", ""},
        {"[Infinity]", ""},
        {"[1e999]", ""},
        {"[9223372036854775808]", ""},
        {"[\"\\ud800\"]", ""},
        {"[\"a\nb\"]", ""},
        {"\xef\xbb\xbf{}", ""}, /* byte order mark */
        {"[\"\xff\"]", "offset 2: not UTF-8"},
        {"[\"\xed\xa0\x80\"]", "offset 2: not UTF-8"},
        {"// comment\n{}", ""},
        {"{\"a\":\"b\\u0000c\"}", "a string holds a NUL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses(cases[i].text, strlen(cases[i].text), cases[i].words);
    refuses("{}\0", 3, "");
}

static void says_where(void **state)
{
    (void)state;
    json_t *doc = NULL;
    const char text[] = "{\n \"a\": 1,\n \"b\": oops\n}";
    CHECK(pare_json_parse(&doc, "a.json", text, strlen(text), 0, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "line 3") != NULL);
}

static void every_truncation_fails(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, 2.5, \"x\\u00e9\", {\"b\": null}], \"c\": true}";
    for (size_t len = 0; len < sizeof text - 1; len++)
        refuses(text, len, "");
    json_decref(parse(text));
}

/* Nesting is bounded: deep input is an error, not a full stack. */
static void deep_nesting_fails(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *text = check_malloc(2 * DEPTH);
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    refuses(text, 2 * DEPTH, "depth");
    for (size_t i = 0; i + 5 <= 2 * DEPTH; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    refuses(text, 2 * DEPTH, "depth");
    free(text);
}

static void big_integers_become_reals_on_request(void **state)
{
    (void)state;
    static const char text[] = "{\"n\": 1000000000000000019884624838656, \"k\": 512}";
    json_t *doc = NULL;
    uint64_t k = 0;
    double n = 0;
    CHECK(pare_json_parse(&doc, "a.json", text, strlen(text), 0, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_json_parse(&doc, "a.json", text, strlen(text), PARE_JSON_BIG_AS_REAL, &err), &err);
    CHECK_OK(pare_json_f64(doc, "a.json", "n", &n, NULL, &err), &err);
    CHECK(n == 1e30);
    CHECK_OK(pare_json_u64(doc, "a.json", "k", 0, 1000, &k, NULL, &err), &err);
    CHECK(k == 512);
    CHECK(pare_json_u64(doc, "a.json", "n", 0, UINT64_MAX, &k, NULL, &err) == PARE_ERR_FORMAT);
    json_decref(doc);
}

static void typed_access(void **state)
{
    (void)state;
    json_t *doc =
        parse("{\"i\": 7, \"neg\": -1, \"r\": 2.5, \"whole\": 8.0, \"b\": true, \"s\": \"a\\u0000b\", \"z\": null}");
    uint64_t u = 99;
    double f = 0;
    bool b = false, found = true;
    pare_str s = {0};
    CHECK_OK(pare_json_u64(doc, "p", "i", 1, 7, &u, &found, &err), &err);
    CHECK(u == 7 && found);
    CHECK_OK(pare_json_u64(doc, "p", "whole", 0, 8, &u, NULL, &err), &err);
    CHECK(pare_json_integer(doc, "p", "whole", 0, 8, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(u == 8);
    CHECK(pare_json_u64(doc, "p", "i", 8, 9, &u, NULL, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "'i' is 7, allowed 8 to 9") != NULL);
    CHECK(pare_json_u64(doc, "p", "i", 0, 6, &u, NULL, &err) == PARE_ERR_RANGE);
    CHECK(pare_json_u64(doc, "p", "neg", 0, UINT64_MAX, &u, NULL, &err) == PARE_ERR_RANGE);
    CHECK(pare_json_u64(doc, "p", "r", 0, 9, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(pare_json_u64(doc, "p", "s", 0, 9, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "a string") != NULL);
    CHECK_OK(pare_json_f64(doc, "p", "i", &f, NULL, &err), &err);
    CHECK(f == 7.0);
    CHECK(pare_json_f64(doc, "p", "b", &f, NULL, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_json_bool(doc, "p", "b", &b, NULL, &err), &err);
    CHECK(b);
    CHECK(pare_json_bool(doc, "p", "i", &b, NULL, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_json_str(doc, "p", "s", &s, NULL, &err), &err);
    CHECK(s.len == 3 && memcmp(s.data, "a\0b", 3) == 0);
    CHECK(pare_json_str(doc, "p", "i", &s, NULL, &err) == PARE_ERR_FORMAT);
    const json_t *text = json_object_get(doc, "s"), *number = json_object_get(doc, "i");
    CHECK(!pare_json_is(text, "a") && !pare_json_is(text, "axb") && !pare_json_is(number, "7") &&
          !pare_json_is(NULL, ""));

    u = 99;
    CHECK_OK(pare_json_u64(doc, "p", "z", 0, 9, &u, &found, &err), &err); /* null counts as absent */
    CHECK(!found && u == 99);
    CHECK_OK(pare_json_str(doc, "p", "none", &s, &found, &err), &err);
    CHECK(!found);
    CHECK(pare_json_u64(doc, "p", "z", 0, 9, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "'z' is missing") != NULL);
    json_decref(doc);
}

static void dumps_the_same_bytes(void **state)
{
    (void)state;
    static const char want[] = "{\n \"a\": [\n  1,\n  0.5\n ],\n \"b\": \"\xc3\xa9\"\n}\n";
    pare_buf out = {0};
    setlocale(LC_ALL, "de_DE.UTF-8"); /* a comma in numbers, where the locale is installed */
    json_t *doc = parse("{\"b\":\"\\u00e9\",\"a\":[1,5e-1]}");
    CHECK(pare_json_is(json_object_get(doc, "b"), "\xc3\xa9"));
    CHECK_OK(pare_json_dump(doc, &out, &err), &err);
    assert_string_equal(out.data, want);
    setlocale(LC_ALL, "C");
    pare_buf_close(&out);
    json_decref(doc);
}

static void loads_files_of_a_bounded_size(void **state)
{
    (void)state;
    char path[4200];
    json_t *doc = NULL;
    snprintf(path, sizeof path, "%s/a.json", temp_dir());
    CHECK(pare_json_load(&doc, path, 100, 0, &err) == PARE_ERR_FORMAT);
    check_write_file(path, "", 0);
    CHECK(pare_json_load(&doc, path, 100, 0, &err) == PARE_ERR_FORMAT);
    check_write_file(path, "[1, 2]", 6);
    CHECK(pare_json_load(&doc, path, 5, 0, &err) == PARE_ERR_RANGE && doc == NULL);
    CHECK(strstr(err.text, path) != NULL);
    CHECK_OK(pare_json_load(&doc, path, 6, 0, &err), &err);
    assert_int_equal(json_array_size(doc), 2);
    json_decref(doc);
}

static void writes_reals_with_the_digits_they_need(void **state)
{
    (void)state;
    static const struct {
        double x;
        const char *text;
    } rows[] = {{1e-5, "1e-5\n"},
                {0.5, "0.5\n"},
                {0.1 + 0.2, "0.30000000000000004\n"},
                {999999.4420358813, "999999.4420358813\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_buf out = {0};
        pare_error err = {0};
        json_t *doc = json_real(rows[i].x), *single = pare_json_float((float)rows[i].x);
        CHECK_OK(pare_json_dump(doc, &out, &err), &err);
        CHECK(strcmp(out.data, rows[i].text) == 0);
        CHECK((float)json_real_value(single) == (float)rows[i].x);
        json_decref(doc);
        json_decref(single);
        pare_buf_close(&out);
    }
}

/* What a document may take of memory depends on its text alone; "[],[],[]..." would take fifty times it. */
static void refuses_documents_that_grow(void **state)
{
    (void)state;
    static const struct {
        const char *item;
        size_t n;
        unsigned flags;
        bool grows;
    } rows[] = {{"[],", 100000, 0, false},
                {"[],", 1000000, 0, true},
                {"[],", 1000000, PARE_JSON_DENSE, true},
                {"{},", 1000000, PARE_JSON_DENSE, true},
                {"0,", 3000000, 0, true},
                {"0,", 3000000, PARE_JSON_DENSE, false},
                {"\"\",", 1000000, PARE_JSON_DENSE, true},
                {"123.45,", 3000000, 0, false},
                {"\"a\\\",[[[[[]\",", 1000000, 0, false},
                {"[\"ab\",\"abc\"],", 600000, 0, true},
                {"[\"ab\",\"abc\"],", 600000, PARE_JSON_DENSE, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t k = strlen(rows[i].item), len = 1 + rows[i].n * k;
        char *text = check_malloc(len);
        text[0] = '[';
        for (size_t j = 0; j < rows[i].n; j++)
            memcpy(text + 1 + j * k, rows[i].item, k);
        text[len - 1] = ']';
        json_t *doc = NULL;
        pare_status st = pare_json_parse(&doc, "a.json", text, len, rows[i].flags, &err);
        if (st != (rows[i].grows ? PARE_ERR_RANGE : PARE_OK))
            fail_msg("row %zu: status %d: %s", i, (int)st, err.text);
        CHECK(!rows[i].grows || (doc == NULL && strstr(err.text, "a.json: offset ") != NULL));
        CHECK(rows[i].grows || json_array_size(doc) == rows[i].n);
        json_decref(doc);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_documents_that_grow),
        cmocka_unit_test(says_where),
        cmocka_unit_test(every_truncation_fails),
        cmocka_unit_test(deep_nesting_fails),
        cmocka_unit_test(big_integers_become_reals_on_request),
        cmocka_unit_test(typed_access),
        cmocka_unit_test(dumps_the_same_bytes),
        cmocka_unit_test(loads_files_of_a_bounded_size),
        cmocka_unit_test(writes_reals_with_the_digits_they_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
