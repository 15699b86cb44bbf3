/* Measurements that are found again. */
#include "check.h"

#include "fit/memo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_memo_key key_of(int i)
{
    pare_memo_key k;
    for (size_t b = 0; b < sizeof k.xxh3_128; b++)
        k.xxh3_128[b] = (uint8_t)(i * 31 + (int)b * 7);
    return k;
}

static void open_memo(pare_memo *m, const char *path, int key)
{
    const pare_memo_key k = key_of(key);
    pare_error err = {0};
    CHECK_OK(pare_memo_open(m, path, &k, &err), &err);
}

static void add(pare_memo *m, int i)
{
    const pare_memo_key k = key_of(i);
    const pare_trial_score score = {1.0 / (i + 3), 0.1 * i, 1.0 / (i + 7)};
    pare_error err = {0};
    CHECK_OK(pare_memo_add(m, &k, &score, &err), &err);
}

static bool has(pare_memo *m, int i)
{
    const pare_memo_key k = key_of(i);
    const pare_trial_score want = {1.0 / (i + 3), 0.1 * i, 1.0 / (i + 7)};
    pare_trial_score got;
    return pare_memo_find(m, &k, &got) && memcmp(&got, &want, sizeof got) == 0;
}

static const char *path(void)
{
    static char text[512];
    snprintf(text, sizeof text, "%s/divergences", temp_dir());
    return text;
}

/* To the last bit, in this run and the next; more than fit at first. */
static void what_was_added_is_found(void **state)
{
    enum { N = 150 };
    pare_memo m;
    const char *file = path();
    (void)state;
    open_memo(&m, file, 1000);
    for (int i = 0; i < N; i++)
        add(&m, i);
    CHECK(has(&m, 0) && has(&m, N - 1) && !has(&m, N) && m.n_found == 2);
    pare_memo_close(&m);
    open_memo(&m, file, 1000);
    CHECK(m.n == N);
    for (int i = 0; i < N; i++)
        CHECK(has(&m, i));
    add(&m, N);
    pare_memo_close(&m);
    open_memo(&m, file, 1000);
    CHECK(m.n == N + 1 && has(&m, N));
    pare_memo_close(&m);
}

/* Of other windows, another model. */
static void another_key_starts_anew(void **state)
{
    pare_memo m;
    const char *file = path();
    (void)state;
    open_memo(&m, file, 1);
    add(&m, 5);
    pare_memo_close(&m);
    open_memo(&m, file, 2);
    CHECK(m.n == 0 && !has(&m, 5));
    pare_memo_close(&m);
    open_memo(&m, file, 1);
    CHECK(m.n == 0);
    pare_memo_close(&m);
}

/* Whatever byte of a line is changed: it and what follows is measured again, what stands before it stays. */
static void a_changed_line_is_dropped(void **state)
{
    enum { N = 3 };
    pare_memo m;
    const char *file = path();
    (void)state;
    open_memo(&m, file, 7);
    for (int i = 0; i < N; i++)
        add(&m, i);
    pare_memo_close(&m);
    FILE *f = fopen(file, "r+");
    char text[1024] = "";
    CHECK(f != NULL && fread(text, 1, sizeof text - 1, f) > 0);
    char *second = strchr(strchr(text, '\n') + 1, '\n') + 1, *digit = strpbrk(second + 40, "123456789");
    CHECK(digit != NULL && digit < strchr(second, '\n'));
    CHECK(fseek(f, digit - text, SEEK_SET) == 0 && fputc(*digit == '5' ? '6' : '5', f) != EOF && fclose(f) == 0);
    open_memo(&m, file, 7);
    CHECK(m.n == 1 && has(&m, 0) && !has(&m, 1) && !has(&m, 2));
    pare_memo_close(&m);
}

/* Killed while it wrote, wherever that was: the lines before stay, and the next one is whole. */
static void a_cut_line_is_dropped(void **state)
{
    pare_memo m;
    size_t n;
    const char *file = path();
    (void)state;
    open_memo(&m, file, 3);
    add(&m, 1);
    add(&m, 2);
    pare_memo_close(&m);
    uint8_t *bytes = check_read_file(file, &n);
    for (size_t len = 0; len < n; len++) {
        check_write_file(file, bytes, len);
        open_memo(&m, file, 3);
        CHECK(m.n <= 1 && !has(&m, 2) && has(&m, 1) == (m.n == 1));
        add(&m, 4);
        pare_memo_close(&m);
        open_memo(&m, file, 3);
        CHECK(has(&m, 4));
        pare_memo_close(&m);
    }
    bytes[n - 3] = 'z'; /* no number any more */
    check_write_file(file, bytes, n);
    open_memo(&m, file, 3);
    CHECK(m.n == 1 && has(&m, 1));
    pare_memo_close(&m);
    free(bytes);
}

static void no_folder_is_told(void **state)
{
    const pare_memo_key k = key_of(0);
    pare_memo m;
    pare_error err = {0};
    (void)state;
    CHECK(pare_memo_open(&m, "/nowhere/at/all", &k, &err) == PARE_ERR_IO);
    CHECK(strstr(err.text, "/nowhere/at/all") != NULL);
    pare_memo_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_added_is_found),
                                       cmocka_unit_test(another_key_starts_anew),
                                       cmocka_unit_test(a_changed_line_is_dropped),
                                       cmocka_unit_test(a_cut_line_is_dropped), cmocka_unit_test(no_folder_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
