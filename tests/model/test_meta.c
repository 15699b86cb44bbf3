#include "check.h"
#include "model/meta.h"

#include <string.h>

static void keeps_order_and_finds_keys(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_error err = {0};
    CHECK_OK(pare_meta_set_u32(&m, "b", 7, &err), &err);
    CHECK_OK(pare_meta_set_str(&m, "a", (pare_str){"x\0y", 3}, &err), &err);
    CHECK_OK(pare_meta_set_f32(&m, "c", 0.5f, &err), &err);
    CHECK_OK(pare_meta_set_u32(&m, "b", 8, &err), &err); /* replaced in place */
    CHECK(m.n == 3 && pare_str_equal(m.values[0].key, "b") && pare_str_equal(m.values[1].key, "a"));
    uint64_t u = 0;
    CHECK_OK(pare_meta_u64(&m, "f", "b", 0, 10, &u, NULL, &err), &err);
    CHECK(u == 8);
    pare_str s = pare_meta_find(&m, "a")->v.s;
    CHECK(s.len == 3 && memcmp(s.data, "x\0y", 3) == 0);
    CHECK(pare_meta_name(&m, "f", "a", &s, NULL, &err) == PARE_ERR_FORMAT && strstr(err.text, "'x\\x00y'") != NULL);
    CHECK(pare_meta_remove(&m, "b") && !pare_meta_remove(&m, "b"));
    CHECK(m.n == 2 && pare_meta_find(&m, "b") == NULL && pare_meta_find(&m, "c") == &m.values[1]);
    pare_meta_close(&m);
}

static void refuses_duplicates_with_both_offsets(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_error err = {0};
    pare_meta_value v = {.key = {"k", 1}, .type = PARE_META_BOOL, .n = 1, .offset = 24};
    CHECK_OK(pare_meta_add(&m, "f.gguf", &v, &err), &err);
    v.offset = 77;
    CHECK(pare_meta_add(&m, "f.gguf", &v, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "24") != NULL && strstr(err.text, "77") != NULL && strstr(err.text, "'k'") != NULL);
    pare_meta_close(&m);
}

static void typed_access_checks_type_and_range(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_error err = {0};
    uint64_t u = 5;
    double f = 0;
    bool found = true, b = false;
    CHECK_OK(pare_meta_set_i32(&m, "i", -3, &err), &err);
    CHECK_OK(pare_meta_set_u64(&m, "u", UINT64_MAX, &err), &err);
    CHECK_OK(pare_meta_set_bool(&m, "b", true, &err), &err);
    CHECK(pare_meta_u64(&m, "f", "i", 0, 10, &u, NULL, &err) == PARE_ERR_RANGE && strstr(err.text, "-3") != NULL);
    CHECK(pare_meta_u64(&m, "f", "u", 0, 10, &u, NULL, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "18446744073709551615") != NULL && u == 5);
    CHECK(pare_meta_u64(&m, "f", "b", 0, 10, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(pare_meta_u64(&m, "f", "absent", 0, 10, &u, NULL, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_meta_u64(&m, "f", "absent", 0, 10, &u, &found, &err), &err);
    CHECK(!found && u == 5);
    CHECK_OK(pare_meta_f64(&m, "f", "i", &f, NULL, &err), &err);
    CHECK(f == -3.0);
    CHECK_OK(pare_meta_bool(&m, "f", "b", &b, NULL, &err), &err);
    CHECK(b);
    pare_meta_close(&m);
}

static void serializes_as_a_file_does(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_error err = {0};
    pare_buf out = {0};
    const uint8_t numbers[] = {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    const pare_str words[] = {{"ab", 2}, {"", 0}};
    CHECK_OK(pare_meta_set_i32(&m, "i", -2, &err), &err);
    CHECK_OK(pare_meta_set_array(&m, "n", PARE_META_I32, numbers, 2, &err), &err);
    CHECK_OK(pare_meta_set_strs(&m, "s", words, 2, &err), &err);
    for (size_t i = 0; i < m.n; i++)
        CHECK_OK(pare_meta_serialize(&m.values[i], &out, &err), &err);
    static const uint8_t expected[] = {5, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff,                                   /* i32 -2 */
                                       9, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,                       /* i32[2] */
                                       1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,                                   /* 1, -1 */
                                       9, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,                       /* string[2] */
                                       2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 0};
    CHECK(out.len == sizeof expected && memcmp(out.data, expected, sizeof expected) == 0);

    pare_meta copy = {0};
    CHECK_OK(pare_meta_copy(&copy, &m, &err), &err);
    pare_meta_close(&m);
    pare_buf again = {0};
    for (size_t i = 0; i < copy.n; i++)
        CHECK_OK(pare_meta_serialize(&copy.values[i], &again, &err), &err);
    CHECK(again.len == sizeof expected && memcmp(again.data, expected, sizeof expected) == 0);
    pare_buf_close(&again);
    pare_buf_close(&out);
    pare_meta_close(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_finds_keys),
        cmocka_unit_test(refuses_duplicates_with_both_offsets),
        cmocka_unit_test(typed_access_checks_type_and_range),
        cmocka_unit_test(serializes_as_a_file_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
