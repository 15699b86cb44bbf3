/* Second-order statistics in memory: names that share them, sums of several texts. */
#include "check.h"

#include "core/bytes.h"
#include "quant/gram.h"
#include "model/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void sizes_of_triangles(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    CHECK(pare_gram_bytes(0, &bytes) && bytes == 0);
    CHECK(pare_gram_bytes(1, &bytes) && bytes == 4);
    CHECK(pare_gram_bytes(5, &bytes) && bytes == 60);
    CHECK(pare_gram_bytes((uint64_t)1 << 31, &bytes) && bytes == ((uint64_t)1 << 63) + ((uint64_t)1 << 32));
    CHECK(!pare_gram_bytes((uint64_t)3 << 30, &bytes)); /* the numbers can be counted, their bytes not */
    CHECK(!pare_gram_bytes((uint64_t)1 << 32, &bytes) && !pare_gram_bytes(UINT64_MAX, &bytes));
}

/* Statistics of n columns: value * 1, value * 2, ... */
static void add(pare_grams *g, const char *name, uint64_t n, double count, float value)
{
    pare_error err = {0};
    uint8_t *to = NULL;
    CHECK_OK(pare_grams_add(g, name, n, count, NULL, &to, &err), &err);
    CHECK(to != NULL && g->list[g->n - 1].lower == to);
    for (uint64_t i = 0; i < n * (n + 1) / 2; i++) {
        CHECK(pare_load_f32le(to + 4 * i) == 0);
        pare_store_f32le(to + 4 * i, value * (float)(i + 1));
    }
}

static void share(pare_grams *g, const char *matrix, const char *like)
{
    pare_error err = {0};
    CHECK_OK(pare_grams_link(g, matrix, like, &err), &err);
}

/* q, k and v share; gate and up share; down has its own. */
static void fill(pare_grams *g, double count, float value)
{
    add(g, "q", 3, count, value);
    share(g, "k", "q");
    share(g, "v", "k"); /* what another shares can be named as well */
    add(g, "down", 2, count + 1, 10 * value);
    add(g, "gate", 4, count + 2, -value);
    share(g, "up", "gate");
}

static void check_filled(const pare_grams *g, double count, float value)
{
    CHECK(g->n == 3 && g->n_matrices == 6);
    const pare_gram *q = pare_grams_find(g, "q"), *down = pare_grams_find(g, "down"), *up = pare_grams_find(g, "up");
    CHECK(q != NULL && q == pare_grams_find(g, "k") && q == pare_grams_find(g, "v") && strcmp(q->name, "q") == 0);
    CHECK(up != NULL && up == pare_grams_find(g, "gate") && strcmp(up->name, "gate") == 0);
    CHECK(down != NULL && down != q && down != up);
    CHECK(q->n_columns == 3 && down->n_columns == 2 && up->n_columns == 4);
    CHECK(q->count == count && down->count == count + 1 && up->count == count + 2);
    for (uint32_t i = 0; i < 6; i++)
        CHECK(pare_load_f32le(q->lower + 4 * i) == value * (float)(i + 1));
    CHECK(pare_load_f32le(down->lower + 8) == 30 * value && pare_load_f32le(up->lower + 36) == -10 * value);
}

static void names_find_what_they_share(void **state)
{
    (void)state;
    static const uint8_t mine[4] = {0};
    pare_grams g = {0};
    pare_error err = {0};
    uint8_t *to = NULL;
    CHECK(pare_grams_find(&g, "q") == NULL);
    fill(&g, 7, 1);
    check_filled(&g, 7, 1);
    CHECK(pare_grams_find(&g, "Q") == NULL && pare_grams_find(&g, "") == NULL && pare_grams_find(&g, "ups") == NULL);
    CHECK(strcmp(g.matrix[0], "q") == 0 && strcmp(g.matrix[2], "v") == 0 && strcmp(g.matrix[5], "up") == 0);
    CHECK(pare_grams_add(&g, "up", 4, 1, mine, NULL, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "two second-order statistics for tensor 'up'") != NULL);
    CHECK(pare_grams_link(&g, "down", "q", &err) == PARE_ERR_FORMAT && strstr(err.text, "'down'") != NULL);
    CHECK(pare_grams_link(&g, "o", "none", &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "'o' is said to have the second-order statistics of 'none', which has none") != NULL);
    CHECK(pare_grams_add(&g, "huge", (uint64_t)1 << 40, 1, NULL, &to, &err) == PARE_ERR_MEMORY);
    CHECK(pare_grams_find(&g, "huge") == NULL && g.n == 3);
    pare_grams_close(&g);
    CHECK(g.list == NULL && pare_grams_find(&g, "q") == NULL);
    pare_grams_close(&g);
}

/* More than the first rooms for names and statistics hold. */
static void many_names(void **state)
{
    (void)state;
    pare_grams g = {0};
    char name[32], other[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "m%d", i);
        snprintf(other, sizeof other, "n%d", i);
        add(&g, name, 1, 1, (float)i);
        share(&g, other, name);
    }
    for (int i = 0; i < 300; i++) {
        snprintf(other, sizeof other, "n%d", i);
        CHECK(pare_load_f32le(pare_grams_find(&g, other)->lower) == (float)i);
    }
    pare_grams_close(&g);
}

static void sums_of_texts_add_up(void **state)
{
    (void)state;
    pare_grams all = {0}, part = {0};
    pare_error err = {0};
    bool kept = false;
    fill(&part, 5, 2);
    CHECK_OK(pare_grams_merge(&all, &part, &kept, &err), &err); /* an empty one takes all over */
    CHECK(kept);
    check_filled(&all, 5, 2);
    CHECK_OK(pare_grams_merge(&all, &part, &kept, &err), &err);
    CHECK(kept && pare_grams_find(&all, "q")->count == 10 && pare_grams_find(&all, "down")->count == 12);
    CHECK(pare_load_f32le(pare_grams_find(&all, "v")->lower + 20) == 24);
    check_filled(&part, 5, 2);
    pare_grams_close(&part);
    CHECK(pare_load_f32le(pare_grams_find(&all, "up")->lower + 36) == -40); /* nothing was borrowed */
    /* the same sets in another order */
    add(&part, "gate", 4, 1, 1);
    add(&part, "down", 2, 1, 1);
    share(&part, "up", "gate");
    add(&part, "v", 3, 1, 1);
    share(&part, "q", "v");
    share(&part, "k", "v");
    CHECK_OK(pare_grams_merge(&all, &part, &kept, &err), &err);
    CHECK(kept && pare_grams_find(&all, "q")->count == 11);
    CHECK(pare_load_f32le(pare_grams_find(&all, "q")->lower + 20) == 30);
    pare_grams_close(&part);
    pare_grams_close(&all);
}

/* Those that lie in a file can be added to as well. */
static void sums_of_others_are_left_alone(void **state)
{
    (void)state;
    static const uint8_t foreign[12] = {0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64}; /* 1, 2, 3 */
    pare_grams all = {0}, part = {0};
    pare_error err = {0};
    bool kept = false;
    CHECK_OK(pare_grams_add(&all, "w", 2, 3, foreign, NULL, &err), &err);
    add(&part, "w", 2, 4, 10);
    for (int i = 1; i <= 2; i++) {
        CHECK_OK(pare_grams_merge(&all, &part, &kept, &err), &err);
        CHECK(kept && pare_grams_find(&all, "w")->count == 3 + 4 * i);
        CHECK(pare_load_f32le(pare_grams_find(&all, "w")->lower + 8) == (float)(3 + 30 * i));
    }
    CHECK(pare_load_f32le(foreign + 8) == 3);
    pare_grams_close(&part);
    pare_grams_close(&all);
}

static void unlike_sets_leave_nothing(void **state)
{
    (void)state;
    for (int unlike = 0; unlike < 4; unlike++) {
        pare_grams all = {0}, part = {0};
        pare_error err = {0};
        bool kept = true;
        add(&all, "a", 2, 1, 1);
        add(&all, "b", 2, 1, 1);
        share(&all, "c", "a");
        if (unlike != 0)
            add(&part, "a", 2, 1, 1);
        if (unlike == 1) /* c shares with another one */
            add(&part, "b", 2, 1, 1), share(&part, "c", "b");
        if (unlike == 2) /* there is one more */
            add(&part, "b", 2, 1, 1), share(&part, "c", "a"), share(&part, "d", "a");
        if (unlike == 3) /* one has another name */
            add(&part, "b", 2, 1, 1), share(&part, "d", "a");
        CHECK_OK(pare_grams_merge(&all, &part, &kept, &err), &err);
        CHECK(!kept && all.n == 0 && pare_grams_find(&all, "a") == NULL);
        pare_grams_close(&part);
        pare_grams_close(&all);
    }
}

static void what_cannot_be_added_is_named(void **state)
{
    (void)state;
    pare_grams all = {0}, part = {0};
    pare_error err = {0};
    bool kept;
    add(&all, "blk.0.w", 3, 1, 3e38f);
    add(&part, "blk.0.w", 2, 1, 1);
    CHECK(pare_grams_merge(&all, &part, &kept, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "'blk.0.w': 2 columns cannot be added to 3: they are of different models") != NULL);
    pare_grams_close(&part);
    add(&part, "blk.0.w", 3, 1, 3e38f);
    CHECK(pare_grams_merge(&all, &part, &kept, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "'blk.0.w': a sum is too large") != NULL);
    pare_grams_close(&part);
    pare_grams_close(&all);
}

static pare_error warned;

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(warned.text, sizeof warned.text, "%s", text);
}

static void add_entry(pare_imatrix *im, const char *name, bool with_gram)
{
    pare_imatrix_entry *e = NULL;
    pare_error err = {0};
    im->chunk_size = 8;
    CHECK_OK(pare_imatrix_add(im, name, 1, 2, 1, true, &e, &err), &err);
    e->counts[0] = 1;
    if (with_gram)
        add(&im->grams, name, 2, 1, 1);
}

/* Texts one after the other, each with (1) or without (0) second-order statistics: the sum has them if all had. */
static void only_what_all_texts_have_stays(void **state)
{
    (void)state;
    static const struct {
        const char *texts;
        bool kept;
        int warnings;
    } cases[] = {{"1", true, 0},   {"11", true, 0},   {"10", false, 1},
                 {"01", false, 1}, {"101", false, 2}, {"00", false, 0}};
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_imatrix all = {.chunk_size = 8};
        pare_error err = {0};
        int n_warnings = 0;
        for (const char *text = cases[i].texts; *text != '\0'; text++) {
            pare_imatrix part = {.path = "part.gguf"};
            add_entry(&part, "w", *text == '1');
            warned.text[0] = '\0';
            CHECK_OK(pare_imatrix_merge(&all, &part, &err), &err);
            if (warned.text[0] != '\0') {
                n_warnings++;
                CHECK(strstr(warned.text, "part.gguf: only some of the statistics") != NULL);
            }
            pare_imatrix_close(&part);
        }
        const pare_gram *g = pare_grams_find(&all.grams, "w");
        CHECK((g != NULL) == cases[i].kept && n_warnings == cases[i].warnings);
        CHECK(g == NULL || g->count == (double)strlen(cases[i].texts));
        pare_imatrix_close(&all);
    }
    pare_set_warn_sink(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_triangles),
        cmocka_unit_test(names_find_what_they_share),
        cmocka_unit_test(many_names),
        cmocka_unit_test(sums_of_texts_add_up),
        cmocka_unit_test(sums_of_others_are_left_alone),
        cmocka_unit_test(unlike_sets_leave_nothing),
        cmocka_unit_test(what_cannot_be_added_is_named),
        cmocka_unit_test(only_what_all_texts_have_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
