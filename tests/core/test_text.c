#include "check.h"

#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_error err;

static pare_str view(const char *text)
{
    return (pare_str){text, strlen(text)};
}

/* Every scalar value has one form; every other code point has none. */
static void utf8_round_trips(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < 0x110010; cp++) {
        char form[4];
        uint32_t back = 0;
        size_t n = pare_utf8_put(form, cp);
        bool scalar = cp < 0x110000 && !(cp >= 0xd800 && cp < 0xe000);
        CHECK((n > 0) == scalar);
        if (!scalar)
            continue;
        CHECK(pare_utf8_next(form, n, &back) == n && back == cp);
        CHECK(pare_utf8_next(form, n - 1 + (n == 1), NULL) == (n == 1 ? 1u : 0u)); /* cut short */
    }
}

/* Every sequence of up to 3 bytes: well-formed exactly when it is what some code point encodes to. */
static void utf8_has_one_form_each(void **state)
{
    (void)state;
    for (uint32_t bytes = 0; bytes < 1u << 24; bytes++) {
        char s[3] = {(char)(bytes >> 16), (char)(bytes >> 8), (char)bytes}, form[4];
        uint32_t cp = 0;
        size_t n = pare_utf8_next(s, 3, &cp);
        if (n > 0 && !(pare_utf8_put(form, cp) == n && memcmp(form, s, n) == 0))
            fail_msg("%06x: %zu bytes, U+%04X", (unsigned)bytes, n, (unsigned)cp);
    }
}

static void utf8_rejects_wrong_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bad; /* offset of the first wrong byte */
    } cases[] = {
        {"\x80", 0},                 /* a lone continuation */
        {"ab\xc0\xaf", 2},           /* overlong '/' */
        {"\xc1\xbf", 0},             /* overlong */
        {"\xe0\x80\xaf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},         /* the largest overlong form of 3 bytes */
        {"\xed\xa0\x80", 0},         /* surrogate U+D800 */
        {"x\xed\xbf\xbf", 1},        /* surrogate U+DFFF */
        {"\xf0\x8f\xbf\xbf", 0},     /* overlong */
        {"\xf4\x90\x80\x80", 0},     /* U+110000 */
        {"\xf5\x80\x80\x80", 0},     /* above */
        {"\xf8\x88\x80\x80\x80", 0}, /* five bytes */
        {"\xfe", 0},
        {"\xff", 0},
        {"good \xe2\x82", 5}, /* cut */
        {"\xe2\x28\xa1", 0},  /* no continuation */
        {"\xc3\xa9\xc3", 2},  /* cut after a good one */
        {"\xf0\x9f\x92\xa9z\x9f", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bad = 99;
        CHECK(!pare_utf8_valid(cases[i].text, strlen(cases[i].text), &bad));
        assert_int_equal(bad, cases[i].bad);
    }
    CHECK(pare_utf8_valid(NULL, 0, NULL));
    CHECK(pare_utf8_valid("a\0b", 3, NULL));
    CHECK(pare_utf8_valid("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 10, NULL));
}

static void escape_hides_what_a_terminal_obeys(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"a\nb\tc", "a\\x0ab\\x09c"},
        {"\x1b[2J", "\\x1b[2J"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b", "\\xc2\\x9b"},                   /* C1 control */
        {"\xe2\x80\x8e", "\\xe2\\x80\\x8e"},          /* left-to-right mark */
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"},          /* right-to-left override */
        {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"},          /* isolate */
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},          /* line separator */
        {"a\xe2\x80\x8d", "a\\xe2\\x80\\x8d"},        /* zero-width joiner */
        {"\xf3\xa0\x81\x81", "\\xf3\\xa0\\x81\\x81"}, /* tag */
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xe2\x82", "\\xe2\\x82"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(pare_escape(out, sizeof out, cases[i].in, strlen(cases[i].in)), cases[i].out);
    assert_string_equal(pare_escape(out, sizeof out, "a\0b", 3), "a\\x00b");
    assert_string_equal(pare_escape(out, sizeof out, NULL, 0), "");
    assert_string_equal(pare_escape_text(out, sizeof out, "a\xe2\x80\x8d\x1b\xe2\x80\xae", 8),
                        "a\xe2\x80\x8d\\x1b\\xe2\\x80\\xae");
}

static void invisible_characters_are_those_of_unicode(void **state)
{
    (void)state;
    /* Default_Ignorable_Code_Point: the ends of each range, and what lies beside them */
    static const uint32_t hidden[] = {0xad,   0x34f,   0x61c,   0x115f,  0x1160,  0x17b4,  0x17b5,
                                      0x180b, 0x180f,  0x200b,  0x200f,  0x202a,  0x202e,  0x2060,
                                      0x206f, 0x3164,  0xfe00,  0xfe0f,  0xfeff,  0xffa0,  0xfff0,
                                      0xfffb, 0x1bca0, 0x1bca3, 0x1d173, 0x1d17a, 0xe0000, 0xe0fff};
    static const uint32_t shown[] = {0xac,   0xae,    0x34e,   0x350,   0x115e,  0x1161,  0x17b3,
                                     0x17b6, 0x180a,  0x1810,  0x2010,  0x2070,  0x3163,  0x3165,
                                     0xfdff, 0xfe10,  0xfefe,  0xff00,  0xff9f,  0xffa1,  0xffef,
                                     0xfffc, 0x1bc9f, 0x1bca4, 0x1d172, 0x1d17b, 0xdffff, 0xe1000};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        CHECK(pare_char_invisible(hidden[i]));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        CHECK(!pare_char_invisible(shown[i]));
}

/* Whatever the room is, the result is whole characters and whole escapes, terminated inside of the room. */
static void escape_cuts_cleanly(void **state)
{
    (void)state;
    static const char in[] = "ab\x01\xc3\xa9\xe2\x82\xac\xff"
                             "z";
    char whole[64];
    pare_escape(whole, sizeof whole, in, sizeof in - 1);
    for (size_t size = 1; size < 40; size++) {
        char *out = check_malloc(size); /* exact size, for the sanitizer */
        pare_escape(out, size, in, sizeof in - 1);
        CHECK(strlen(out) < size);
        CHECK(strncmp(out, whole, strlen(out)) == 0);
        CHECK(pare_utf8_valid(out, strlen(out), NULL));
        const char *slash = strrchr(out, '\\');
        CHECK(slash == NULL || strlen(slash) >= 4);
        free(out);
    }
}

static void buffer_grows(void **state)
{
    (void)state;
    pare_buf b = {0};
    for (int i = 0; i < 100000; i++)
        CHECK_OK(pare_buf_printf(&b, &err, "%d,", i % 10), &err);
    assert_int_equal(b.len, 200000);
    CHECK(b.data[b.len] == '\0' && memcmp(b.data + 199996, "8,9,", 4) == 0);
    CHECK_OK(pare_buf_put(&b, "\0x", 2, &err), &err);
    CHECK_OK(pare_buf_puts(&b, "end", &err), &err);
    CHECK(b.len == 200005 && memcmp(b.data + 200000, "\0xend", 6) == 0);
    pare_buf_close(&b);
    CHECK(b.data == NULL && b.len == 0);
    pare_buf_close(&b);

    CHECK_OK(pare_buf_put(&b, NULL, 0, &err), &err);
    CHECK(b.data != NULL && b.data[0] == '\0');
    size_t len = b.len;
    CHECK(pare_buf_reserve(&b, SIZE_MAX, &err) == PARE_ERR_MEMORY);
    CHECK(pare_buf_reserve(&b, SIZE_MAX - 1, &err) == PARE_ERR_MEMORY);
    CHECK(b.len == len);
    pare_buf_close(&b);
}

static void index_holds_a_million_names(void **state)
{
    (void)state;
    enum { N = 1000000, LEN = 24 };
    char *names = check_malloc((size_t)N * LEN);
    pare_index map = {0};
    int64_t old = 0;
    CHECK(pare_index_find(&map, view("absent")) == PARE_INDEX_NONE);
    for (int64_t i = 0; i < N; i++) {
        snprintf(names + i * LEN, LEN, "blk.%d.weight", (int)i);
        CHECK_OK(pare_index_add(&map, view(names + i * LEN), i, &old, &err), &err);
        CHECK(old == PARE_INDEX_NONE);
    }
    for (int64_t i = 0; i < N; i++)
        CHECK(pare_index_find(&map, view(names + i * LEN)) == i);
    CHECK(pare_index_find(&map, view("blk.1000000.weight")) == PARE_INDEX_NONE);
    CHECK_OK(pare_index_add(&map, view("blk.7.weight"), 12, &old, &err), &err);
    CHECK(old == 7 && pare_index_find(&map, view("blk.7.weight")) == 7);
    pare_index_close(&map);
    CHECK(pare_index_find(&map, view("blk.7.weight")) == PARE_INDEX_NONE);
    free(names);
}

static void index_takes_any_bytes(void **state)
{
    (void)state;
    pare_index map = {0};
    int64_t old = 0;
    const pare_str keys[] = {{NULL, 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}, {"\xff", 1}};
    for (int64_t i = 0; i < 6; i++) {
        CHECK_OK(pare_index_add(&map, keys[i], i, &old, &err), &err);
        CHECK(old == PARE_INDEX_NONE);
    }
    for (int64_t i = 0; i < 6; i++)
        CHECK(pare_index_find(&map, keys[i]) == i);
    CHECK(pare_index_find(&map, view("")) == 0); /* empty is empty, wherever it points */
    CHECK(pare_index_find(&map, view("b")) == PARE_INDEX_NONE);
    pare_index_close(&map);
}

static void compares_views(void **state)
{
    (void)state;
    CHECK(pare_str_equal((pare_str){NULL, 0}, ""));
    CHECK(pare_str_equal((pare_str){"abc", 2}, "ab"));
    CHECK(!pare_str_equal((pare_str){"abc", 3}, "ab"));
    CHECK(!pare_str_equal((pare_str){"a\0", 2}, "a"));
}

static void arena_gives_aligned_zeros(void **state)
{
    (void)state;
    pare_arena a = {0};
    uint8_t *last = NULL;
    for (size_t n = 1; n < 3000; n += 7) {
        uint8_t *p = pare_arena_alloc(&a, n, &err);
        CHECK(p != NULL && (uintptr_t)p % 16 == 0 && p != last);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == 0);
        memset(p, 0xff, n);
        last = p;
    }
    CHECK(pare_arena_alloc(&a, 0, &err) != NULL);
    uint8_t *big = pare_arena_alloc(&a, 1 << 20, &err);
    CHECK(big != NULL && big[0] == 0 && big[(1 << 20) - 1] == 0);
    char *copy = pare_arena_copy(&a, "a\0b", 3, &err);
    CHECK(copy != NULL && memcmp(copy, "a\0b", 4) == 0);
    CHECK(pare_arena_copy(&a, NULL, 0, &err)[0] == '\0');
    CHECK(pare_arena_alloc(&a, SIZE_MAX, &err) == NULL && err.status == PARE_ERR_MEMORY);
    CHECK(pare_arena_alloc(&a, SIZE_MAX - 20, &err) == NULL);
    pare_arena_close(&a);
    pare_arena_close(&a);
}

static void utf8_is_mended_as_python_does(void **state)
{
    (void)state;
    /* bytes.decode(errors='replace') of Python 3.11, ? for U+FFFD */
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"a\xc3\xa9", "a\xc3\xa9"},
        {"\xc3", "?"},
        {"\xa9\xa9", "??"},
        {"\xe2\x82\xac\xe2\x82", "\xe2\x82\xac?"},
        {"\xe2\x82x", "?x"},
        {"\xe0\x80\x80", "???"},
        {"\xed\xa0\x80", "???"},
        {"\xf0\x9f\x98", "?"},
        {"\xf0\x9f\xc3\xa9", "?\xc3\xa9"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xc0\xaf\xf5\xff", "????"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pare_buf got = {0}, want = {0};
        pare_error err = {0};
        CHECK_OK(pare_buf_put_utf8(&got, cases[i].text, strlen(cases[i].text), &err), &err);
        CHECK_OK(pare_buf_reserve(&want, 1, &err), &err);
        for (const char *c = cases[i].want; *c != '\0'; c++)
            CHECK_OK(*c == '?' ? pare_buf_puts(&want, "\xef\xbf\xbd", &err) : pare_buf_put(&want, c, 1, &err), &err);
        CHECK(got.len == want.len && (got.len == 0 || memcmp(got.data, want.data, got.len) == 0));
        pare_buf_close(&got);
        pare_buf_close(&want);
    }
    /* The start of a character agrees with whole ones, for all of three bytes. */
    for (uint32_t v = 0; v < 1 << 24; v += v < 0xe00000 ? 251 : 1) {
        const char s[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        bool whole;
        size_t n = pare_utf8_start(s, 3, &whole), next = pare_utf8_next(s, 3, NULL);
        CHECK(whole ? n == next : next == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_round_trips),
        cmocka_unit_test(utf8_has_one_form_each),
        cmocka_unit_test(utf8_is_mended_as_python_does),
        cmocka_unit_test(utf8_rejects_wrong_forms),
        cmocka_unit_test(escape_hides_what_a_terminal_obeys),
        cmocka_unit_test(invisible_characters_are_those_of_unicode),
        cmocka_unit_test(escape_cuts_cleanly),
        cmocka_unit_test(buffer_grows),
        cmocka_unit_test(index_holds_a_million_names),
        cmocka_unit_test(index_takes_any_bytes),
        cmocka_unit_test(compares_views),
        cmocka_unit_test(arena_gives_aligned_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
