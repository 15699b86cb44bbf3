/* Expected values: CPython 3.11. */
#include "check.h"
#include "tasks/python_text.h"

#include <string.h>

static pare_str text(const char *s)
{
    return (pare_str){s, strlen(s)};
}

static void strips(void **state)
{
    (void)state;
    CHECK(pare_str_equal(pare_strip(text(" \t\na b\r\n ")), "a b"));
    CHECK(pare_str_equal(pare_strip_end(text(" a\xc2\xa0\xe3\x80\x80")), " a")); /* no-break and ideographic space */
    CHECK(pare_str_equal(pare_strip(text("\x1c"
                                         "a\x1f")),
                         "a"));
    CHECK(pare_str_equal(pare_strip(text("\xc2\x85z\xe2\x80\xa8")), "z"));   /* next line, line separator */
    CHECK(pare_str_equal(pare_strip(text("\xe2\x80\x8b")), "\xe2\x80\x8b")); /* U+200B is no white space */
    CHECK(pare_str_equal(pare_strip(text("")), ""));
    CHECK(pare_str_equal(pare_strip(text(" \n")), ""));
    CHECK(pare_str_equal(pare_strip(text(" \xff ")), "\xff"));
}

static void check_capitalized(const char *s, const char *expected)
{
    pare_buf out = {0};
    pare_error err = {0};
    CHECK_OK(pare_capitalize(&out, text(s), &err), &err);
    CHECK(strcmp(out.data != NULL ? out.data : "", expected) == 0);
    pare_buf_close(&out);
}

static void capitalizes(void **state)
{
    (void)state;
    check_capitalized("then He STOPS", "Then he stops");
    check_capitalized("", "");
    check_capitalized("\xc3\xa9TUDE", "\xc3\x89tude");
    check_capitalized("\xc7\x86x", "\xc7\x85x"); /* U+01C6 has a title case of its own */
    check_capitalized(" A", " a");
    check_capitalized("a\xff"
                      "B",
                      "A\xff"
                      "b");
}

static void counts(void **state)
{
    (void)state;
    CHECK(pare_count_chars(text("")) == 0);
    CHECK(pare_count_chars(text("a\xc3\xa9\xf0\x9f\x98\x80")) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strips), cmocka_unit_test(capitalizes),
                                       cmocka_unit_test(counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
