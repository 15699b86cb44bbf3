#include "check.h"
#include "formats/shard_index.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static const char *index_path(void)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", temp_dir());
    return path;
}

static pare_status open_text(pare_shard_index *x, const char *text, size_t len, pare_error *err)
{
    check_write_file(index_path(), text, len);
    return pare_shard_index_open(x, index_path(), NULL, err);
}

static bool is_at(const pare_shard_index *x, const char *tensor, const char *shard)
{
    int64_t place = pare_shard_index_find(x, (pare_str){tensor, strlen(tensor)});
    return place != PARE_INDEX_NONE && strcmp(x->shards[place], shard) == 0;
}

static void reads_what_is_in_the_map(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"metadata\":{\"total_size\":7},\"weight_map\":{\"x\":\"c\",\"y\":\"a\",\"\\u007a\\\"\":\"\\u0062\",\"w\":"
        "\"c\"}}",
        " {\"weight\\u005fmap\" : {\"x\": \"c\",\n \"y\":\"a\" , \"z\\\"\":\"b\",\"w\":\"c\" } ,\n\"metadata\": "
        "{\"total_size\":7, "
        "\"a}\\\"]\":[{\"{\":[]}, -1.5e3, true, null]}}\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pare_shard_index x;
        pare_error err = {0};
        size_t shard = 9;
        CHECK_OK(open_text(&x, texts[i], strlen(texts[i]), &err), &err);
        CHECK(x.n_shards == 3 && strcmp(x.shards[0], "a") == 0 && strcmp(x.shards[1], "b") == 0 &&
              strcmp(x.shards[2], "c") == 0);
        CHECK(x.tensors.n_used == 4 && is_at(&x, "x", "c") && is_at(&x, "y", "a") && is_at(&x, "z\"", "b") &&
              is_at(&x, "w", "c"));
        CHECK(pare_shard_index_find(&x, (pare_str){"c", 1}) == PARE_INDEX_NONE);
        CHECK(pare_str_equal(pare_shard_index_at(&x, 1, &shard), "y") && shard == 0);
        CHECK(pare_str_equal(pare_shard_index_at(&x, 3, &shard), "w") && shard == 2);
        CHECK(json_integer_value(json_object_get(json_object_get(x.rest, "metadata"), "total_size")) == 7);
        CHECK(json_object_size(json_object_get(x.rest, "weight_map")) == 0);
        CHECK_OK(pare_shard_index_check(&x, &err), &err);
        pare_shard_index_close(&x);
    }
}

static void says_where_it_is_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "offset 0"},
        {"[]", "no object"},
        {"7", "no object"},
        {"{\"weight_map\":7}", "'weight_map' is missing or no object"},
        {"{\"a\":{}}", "'weight_map' is missing or no object"},
        {"{\"weight_map\":{\"x\":\"a\"", "offset 22: weight_map: found the end"},
        {"{\"weight_map\":{\"x\":\"a\",}}", "weight_map: found '}', expected another item"},
        {"{\"weight_map\":{\"x\":\"a\" \"y\":\"a\"}}", "offset 23: weight_map: found '\"'"},
        {"{\"weight_map\":{\"x\":7}}", "offset 19: weight_map: 'x' is no string"},
        {"{\"weight_map\":{x:\"a\"}}", "offset 15: weight_map: found 'x', expected a string"},
        {"{\"weight_map\":{\"x\":\"a\",\"y\":\"a\",\"\\u0078\":\"b\"}}", "offset 31: weight_map: duplicate name 'x'"},
        {"{\"weight_map\":{\"x\":\"a\\u0000\"}}", "NUL"},
        {"{\"weight_map\":{\"x\":\"\xff\"}}", "offset 20: not UTF-8"},
        {"{\"weight_map\":{\"x\":\"a\"},\"weight_map\":{\"y\":\"a\"}}", "offset 36"},
        {"{\"weight_map\":1,\"weight_map\":{\"y\":\"a\"}}", "duplicate"},
        {"{\"weight_map\":{\"x\":\"a\"},\n\"b\":nul}", "offset 32 (line 2)"},
        {"{\"weight_map\":{\"x\":\"a\"}}}", "offset 25"},
        {"{\"b\":{]},\"weight_map\":{\"x\":\"a\"}}", "offset 7"},
        {"{\"b\":\"c,\"weight_map\":{\"x\":\"a\"}}", "offset "},
        {"{\"b\":,\"weight_map\":{\"x\":\"a\"}}", "offset "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_shard_index x;
        pare_error err = {0};
        pare_status st = open_text(&x, rows[i].text, strlen(rows[i].text), &err);
        if (st != PARE_ERR_FORMAT || strstr(err.text, rows[i].says) == NULL)
            fail_msg("%s: status %d, '%s', expected '%s'", rows[i].text, (int)st, err.text, rows[i].says);
        CHECK(x.shards == NULL && x.rest == NULL);
    }
}

static void checks_the_names_of_shards(void **state)
{
    (void)state;
    static const char text[] = "{\"weight_map\":{\"x\":\"a\",\"y\":\"../b\",\"z\":\"/c\"}}";
    pare_shard_index x;
    pare_error err = {0};
    CHECK_OK(open_text(&x, text, sizeof text - 1, &err), &err);
    CHECK(pare_shard_index_check(&x, &err) == PARE_ERR_FORMAT && strstr(err.text, "'y' is in '../b'") != NULL);
    pare_shard_index_close(&x);
    static const char faulty[] = "{\"weight_map\":{\"x\":\"a\",\"y\":\"../b\",\"z\":7}}";
    bool leads_out = false;
    check_write_file(index_path(), faulty, sizeof faulty - 1);
    CHECK(pare_shard_index_open(&x, index_path(), &leads_out, &err) == PARE_ERR_FORMAT && leads_out);
    CHECK(strstr(err.text, "'y' is in '../b'") != NULL);
}

/* n different names of four characters, each in the shard `name`, or (NULL) in one of its own. */
static void put_names(pare_buf *b, uint32_t n, const char *name)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    CHECK(pare_buf_puts(b, "{\"weight_map\":{", NULL) == PARE_OK);
    for (uint32_t i = 0; i < n; i++) {
        char own[5] = {digits[i % 36], digits[i / 36 % 36], digits[i / 1296 % 36], digits[i / 46656 % 36], '\0'};
        CHECK(pare_buf_printf(b, NULL, "%s\"%s\":\"%s\"", i > 0 ? "," : "", own, name != NULL ? name : own) == PARE_OK);
    }
    CHECK(pare_buf_puts(b, "}}", NULL) == PARE_OK);
}

static void takes_little_memory(void **state)
{
    (void)state;
    enum { N = 1000000 };
    pare_shard_index x;
    pare_error err = {0};
    pare_buf b = {0};
    put_names(&b, N, "m");
    size_t len = b.len;
    check_write_file(index_path(), b.data, len);
    b.len = 0;
    struct mallinfo2 before = mallinfo2();
    CHECK_OK(pare_shard_index_open(&x, index_path(), NULL, &err), &err);
    struct mallinfo2 after = mallinfo2();
    CHECK(x.tensors.n_used == N && x.n_shards == 1);
    CHECK(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd <= (16 << 20) + 4 * len);
    pare_shard_index_close(&x);
    put_names(&b, 100000, NULL);
    CHECK_OK(open_text(&x, b.data, b.len, &err), &err);
    CHECK(x.n_shards == 100000);
    pare_shard_index_close(&x);
    b.len = 0;
    put_names(&b, 100001, NULL);
    CHECK(open_text(&x, b.data, b.len, &err) == PARE_ERR_RANGE && strstr(err.text, "more than 100000 shards") != NULL);
    pare_buf_close(&b);
    char *text = check_malloc(2 << 20); /* what is not in the map is not to be large */
    memset(text, ' ', 2 << 20);
    memcpy(text, "{\"weight_map\":{\"x\":\"a\"}}", 24);
    CHECK_OK(open_text(&x, text, 2 << 20, &err), &err); /* spaces are none */
    pare_shard_index_close(&x);
    memset(text + 24, 'x', (2 << 20) - 24);
    CHECK(open_text(&x, text, 2 << 20, &err) == PARE_ERR_RANGE && strstr(err.text, "limit 1048576") != NULL);
    memcpy(text, "{\"weight_map\":[          ", 24);
    CHECK(open_text(&x, text, 2 << 20, &err) == PARE_ERR_FORMAT && strstr(err.text, "no 'weight_map'") != NULL);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_in_the_map),
        cmocka_unit_test(says_where_it_is_malformed),
        cmocka_unit_test(checks_the_names_of_shards),
        cmocka_unit_test(takes_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
