/* tasks/extract: expected answers are those of Python's re with lm-eval's patterns. */
#include "check.h"

#include "tasks/extract.h"

#include <string.h>

static const struct {
    const char *text, *strict, *flexible, *normal;
} cases[] = {
    {"", NULL, NULL, ""},
    {"so 5 + 3 = 8\n#### 8", "8", "8", "8"},
    {"#### 1,234.50 and #### 9", "1,234.50", "9", "9"},
    {"it is $18.", NULL, "$18.", "it is 18"},
    {"#### -7 or 6-5", "-7", "-5", "-7 or 6-5"},
    {"#### x #### 2", "2", "2", "2"},
    {"####  2", NULL, "2", " 2"},
    {"#### ", NULL, NULL, ""},
    {"none. Really.", NULL, NULL, "none. really"},
    {"-", NULL, NULL, "-"},
    {"a -$ b", NULL, NULL, "a - b"},
    {"- 5 .. x", NULL, "..", "- 5 .. x"},
    {"--12", NULL, "-12", "--12"},
    {"1.\n", NULL, "1.", "1\n"},
    {"#,### 4", NULL, "4", "4"}, /* commas go first */
    {"##### 4", "4", "4", "4"},
};

static bool is(pare_str s, const char *want)
{
    return want == NULL ? s.data == NULL && s.len == 0 : pare_str_equal(s, want);
}

static void answers_are_those_of_the_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const pare_str text = {cases[i].text, strlen(cases[i].text)};
        pare_buf normal = {0};
        pare_error err = {0};
        CHECK_OK(pare_buf_puts(&normal, "kept", &err), &err);
        CHECK_OK(pare_normalize_answer(&normal, text, &err), &err);
        bool fine = is(pare_extract(PARE_EXTRACT_STRICT, text), cases[i].strict) &&
                    is(pare_extract(PARE_EXTRACT_FLEXIBLE, text), cases[i].flexible) &&
                    strncmp(normal.data, "kept", 4) == 0 && strcmp(normal.data + 4, cases[i].normal) == 0;
        if (!fine)
            print_error("'%s': '%s'\n", cases[i].text, normal.data);
        CHECK(fine);
        pare_buf_close(&normal);
    }
}

static void zero_bytes_are_no_digits(void **state)
{
    (void)state;
    static const char text[] = "#### 4\0005";
    const pare_str s = {text, sizeof text - 1};
    CHECK(pare_str_equal(pare_extract(PARE_EXTRACT_STRICT, s), "4"));
    CHECK(pare_str_equal(pare_extract(PARE_EXTRACT_FLEXIBLE, s), "5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_the_patterns),
        cmocka_unit_test(zero_bytes_are_no_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
