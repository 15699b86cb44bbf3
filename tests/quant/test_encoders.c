/* Every encoder: bytes that no path, compiler or thread may change, and errors against the published figures. */
#include "quant/rows.h"

#include "core/hash.h"
#include "quant/path.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const effort_names[] = {"default", "best", "fast", "rtn"};

static bool is_block_type(pare_type type)
{
    return pare_encoder(type) != NULL && pare_type_get(type)->block_len > 1;
}

static char *load_text(const char *path)
{
    size_t n = 0;
    char *text = (char *)check_read_file(path, &n);
    text = realloc(text, n + 1);
    CHECK(text != NULL);
    text[n] = '\0';
    return text;
}

/* ---- bytes ---- */

enum { ROWS = 12, LEN = 512 };

/* Normal rows of many sizes, with outliers in some, an offset in others, blocks of zeros and of one value. */
static void fixed_rows(float *x)
{
    for (size_t r = 0; r < ROWS; r++) {
        fill_row(x + r * LEN, LEN, 7 + (uint32_t)r);
        for (size_t i = 0; i < LEN; i++) {
            float *v = &x[r * LEN + i];
            *v = (*v + (r % 4 == 3 ? 2.0f : 0.0f)) * (r % 2 == 0 ? 0.02f : 0.7f);
            if (r % 3 == 1 && i % 100 == 50)
                *v *= 10;
            if (r % 5 == 2)
                *v *= 1.0f / (float)(1u << i / 32 % 8);
            if (r == 6 && i / 64 == 3)
                *v = i / 32 % 2 == 0 ? 0 : 0.25f;
        }
    }
}

/* Line of the table for a type: name, weighted, effort, SHA-256. */
static void digest_line(pare_type type, bool weighted, pare_effort effort, char line[128])
{
    static float rows[ROWS * LEN], weight[LEN];
    char hex[PARE_SHA256_HEX];
    pare_digest digest = {0};
    pare_error err = {0};
    size_t n_bytes = 0;
    fixed_rows(rows);
    fill_importances(weight, LEN);
    uint8_t *bytes = encode_rows(type, rows, ROWS, LEN, weighted ? weight : NULL, effort, &n_bytes);
    CHECK_OK(pare_hash_bytes(bytes, n_bytes, PARE_HASH_SHA256, &digest, &err), &err);
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    snprintf(line, 128, "%s\t%s\t%s\t%s\n", pare_type_get(type)->name, weighted ? "yes" : "no", effort_names[effort],
             hex);
    free(bytes);
}

/* All lines, of the path in use. */
static void digest_lines(void (*visit)(const char *line, void *ctx), void *ctx)
{
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int k = 0; k < 8 && is_block_type((pare_type)t); k++) {
            char line[128];
            digest_line((pare_type)t, k % 2 == 1, (pare_effort)(k / 2), line);
            visit(line, ctx);
        }
}

typedef struct comparison {
    const char *table;
    int n_lines, n_changed;
} comparison;

static void compare_line(const char *line, void *ctx)
{
    comparison *c = ctx;
    c->n_lines++;
    if (strstr(c->table, line) != NULL)
        return;
    print_error("%s: not in the table: %s", pare_path_name(pare_path_current()), line);
    c->n_changed++;
}

/* A change moves every pin made with the type: say so in the change log. `test_encoders digests` prints the table. */
static void bytes_do_not_change(void **state)
{
    (void)state;
    char *table = load_text(source_path("tests/quant/digests.tsv"));
    pare_path before = pare_path_current();
    for (int p = before + 1; p < PARE_PATH_COUNT; p++)
        CHECK(!pare_path_available((pare_path)p)); /* the fastest is in use */
    int n_paths = 0, n_changed = 0;
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        if (!pare_path_available((pare_path)p))
            continue;
        comparison c = {.table = table};
        pare_path_use((pare_path)p);
        digest_lines(compare_line, &c);
        assert_int_equal(c.n_lines, 25 * 8);
        n_changed += c.n_changed;
        n_paths++;
    }
    pare_path_use(before);
    free(table);
    CHECK(n_paths > 0);
    assert_int_equal(n_changed, 0);
}

/* ---- errors ---- */

enum { N_ROWS = 64, ROW_LEN = 1024, N_COUNTED = 57 };

typedef struct reference {
    float *rows, *weight;
    bool counts[N_ROWS];
    char *stock, *headroom;
} reference;

static void load_reference(reference *r)
{
    size_t n = 0, counted = 0;
    r->rows = (float *)check_read_file(shared_path("oracle/blocks/encode/input.f32"), &n);
    assert_int_equal(n, N_ROWS * ROW_LEN * sizeof(float));
    r->weight = (float *)check_read_file(shared_path("oracle/blocks/encode/importance.f32"), &n);
    assert_int_equal(n, ROW_LEN * sizeof(float));
    r->stock = load_text(shared_path("oracle/blocks/encode/ggml.tsv"));
    r->headroom = load_text(shared_path("oracle/blocks/encode/headroom.tsv"));
    char *rows = load_text(shared_path("oracle/blocks/encode/rows.tsv"));
    for (const char *line = strchr(rows, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        unsigned row, counts;
        if (sscanf(line, "%u %*s %u", &row, &counts) == 2 && row < N_ROWS) {
            r->counts[row] = counts == 1;
            counted += counts == 1;
        }
    }
    free(rows);
    assert_int_equal(counted, N_COUNTED);
}

static void free_reference(reference *r)
{
    free(r->rows);
    free(r->weight);
    free(r->stock);
    free(r->headroom);
}

/* Mean over the counted rows of the (weighted) mean squared error. */
static double measure(const reference *r, pare_type type, bool weighted, pare_effort effort)
{
    size_t n_bytes = 0;
    double sum = 0;
    const float *weight = weighted ? r->weight : NULL;
    float *back = check_malloc(N_ROWS * ROW_LEN * sizeof *back);
    uint8_t *bytes = encode_rows(type, r->rows, N_ROWS, ROW_LEN, weight, effort, &n_bytes);
    pare_type_get(type)->decode(bytes, back, N_ROWS * ROW_LEN / pare_type_get(type)->block_len);
    for (size_t i = 0; i < N_ROWS; i++)
        if (r->counts[i])
            sum += error_of_row(r->rows + i * ROW_LEN, back + i * ROW_LEN, weight, ROW_LEN);
    free(bytes);
    free(back);
    return sum / N_COUNTED;
}

/* The figure of ggml's own encoder; infinite where it has none. */
static double stock_error(const reference *r, pare_type type, bool weighted)
{
    char name[32], yes[8];
    double mse, wmse;
    for (const char *line = r->stock; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %*u %7s %lf %lf", name, yes, &mse, &wmse) == 4 &&
            strcasecmp(name, pare_type_get(type)->name) == 0 && (strcmp(yes, "yes") == 0) == weighted)
            return weighted ? wmse : mse;
    }
    return HUGE_VAL;
}

/* The figure that a plain search found at the same bytes; infinite where there is none. */
static double found_error(const reference *r, pare_type type, bool weighted)
{
    char name[32], yes[8];
    double found;
    for (const char *line = r->headroom; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %7s %*s %*s %*s %lf", name, yes, &found) == 3 &&
            strcasecmp(name, pare_type_get(type)->name) == 0 && (strcmp(yes, "yes") == 0) == weighted)
            return found;
    }
    return HUGE_VAL;
}

/* Not above stock's, and within `slack` of what a search found. Prints every figure that is. */
static int count_misses(pare_effort effort, double slack)
{
    reference r = {0};
    load_reference(&r);
    int n_missed = 0;
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int weighted = 0; weighted < 2 && is_block_type((pare_type)t); weighted++) {
            double stock = stock_error(&r, (pare_type)t, weighted), found = found_error(&r, (pare_type)t, weighted);
            double error = measure(&r, (pare_type)t, weighted, effort);
            bool missed = error > stock * (1 + 1e-8) || error > found * slack; /* the figures have 9 digits */
            n_missed += missed;
            if (missed)
                print_error("%s, %s importances, %s: %.6g is %.3f of stock's, %.3f of what a search found\n",
                            pare_type_get((pare_type)t)->name, weighted ? "with" : "without", effort_names[effort],
                            error, error / stock, error / found);
        }
    free_reference(&r);
    return n_missed;
}

static void default_errors_are_near_the_best_known(void **state)
{
    (void)state;
    assert_int_equal(count_misses(PARE_EFFORT_DEFAULT, 1.06), 0);
}

static void best_errors_are_nearer(void **state)
{
    (void)state;
    assert_int_equal(count_misses(PARE_EFFORT_BEST, 1.02), 0);
}

/* All figures as a table for the docs: `test_encoders errors`. */
static void print_errors(void)
{
    reference r = {0};
    load_reference(&r);
    printf("type\tweighted\tstock\tfound/stock\tdefault/stock\tbest/stock\n");
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int weighted = 0; weighted < 2 && is_block_type((pare_type)t); weighted++) {
            double stock = stock_error(&r, (pare_type)t, weighted);
            printf("%s\t%s\t%.6g\t%.3f\t%.3f\t%.3f\n", pare_type_get((pare_type)t)->name, weighted ? "yes" : "no",
                   stock, found_error(&r, (pare_type)t, weighted) / stock,
                   measure(&r, (pare_type)t, weighted, PARE_EFFORT_DEFAULT) / stock,
                   measure(&r, (pare_type)t, weighted, PARE_EFFORT_BEST) / stock);
        }
    free_reference(&r);
}

static void print_line(const char *line, void *ctx)
{
    (void)ctx;
    fputs(line, stdout);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_do_not_change),
        cmocka_unit_test(default_errors_are_near_the_best_known),
        cmocka_unit_test(best_errors_are_nearer),
    };
    if (argc > 1 && strcmp(argv[1], "digests") == 0)
        digest_lines(print_line, NULL);
    else if (argc > 1 && strcmp(argv[1], "errors") == 0)
        print_errors();
    else
        return cmocka_run_group_tests(tests, NULL, NULL);
    return 0;
}
