/* Second-order statistics in files: round trips, what is refused, and files without them as they were before. */
#include "check.h"
#include "gguf_bytes.h"

#include "core/bytes.h"
#include "formats/imatrix_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { F32 = 0, I32 = 26 };

/* What a test changes in an otherwise right file of two matrices a and b of three columns, which share what a has. */
typedef struct recipe {
    uint32_t type;          /* of a.in_gram */
    uint64_t n_values;      /* of a.in_gram; 0: 6 */
    float counts[2];        /* of a and b */
    uint64_t b_columns;     /* 0: 3 */
    const char *gram_of;    /* NULL: a */
    uint64_t n_names;       /* of same_inputs */
    const char *names[4];   /* NULL: ends */
    bool names_are_numbers; /* same_inputs is an array of u32 */
    uint64_t n_experts;     /* of a, and of its triangles when all_experts; 0: 1 */
    bool all_experts;
    bool one_count;              /* for all experts of a */
    uint64_t n_sample;           /* elements of a sample of the model; 0: there is none */
    uint32_t in_sample;          /* the bits of the last one; the others are 1 */
    bool b_has_gram, b_no_count; /* b has its own, too; the tensor of its tokens is absent */
} recipe;

static const recipe right = {.counts = {5, 5}, .n_names = 2, .names = {"b", "a"}};

/* A tensor of n values in n_rows rows, at *offset. */
static void put_info(pare_buf *b, const char *name, uint64_t n_rows, uint64_t n, uint32_t type, uint64_t *offset)
{
    const uint64_t ne[] = {n / n_rows, n_rows};
    gguf_info(b, name, 2, ne, type, *offset);
    *offset += (4 * n + 31) / 32 * 32;
}

static void put_values(pare_buf *b, uint64_t n, float first)
{
    uint8_t v[4];
    for (uint64_t i = 0; i < n; i++) {
        pare_store_f32le(v, first + (float)i);
        gguf_bytes(b, v, 4);
    }
    gguf_pad(b, 32);
}

static void make_file(pare_buf *b, const recipe *r)
{
    uint64_t at = 0, wide = r->b_columns != 0 ? r->b_columns : 3, experts = r->n_experts != 0 ? r->n_experts : 1;
    uint64_t triangles = r->all_experts ? experts : 1, n = r->n_values != 0 ? r->n_values : 6 * triangles;
    char gram[64];
    snprintf(gram, sizeof gram, "%s.in_gram", r->gram_of != NULL ? r->gram_of : "a");
    b->len = 0;
    gguf_header(b, 3, 5 + (uint64_t)r->b_has_gram - r->b_no_count, 3 + (r->n_names != 0) + (r->n_sample != 0));
    gguf_pair_array(b, "imatrix.datasets", 8, 0);
    gguf_pair_u32(b, "imatrix.chunk_count", 1);
    gguf_pair_u32(b, "imatrix.chunk_size", 8);
    if (r->n_sample != 0)
        gguf_pair_array(b, "pare.imatrix.sample", 6, r->n_sample);
    for (uint64_t i = 0; i < r->n_sample; i++)
        gguf_u32(b, i + 1 < r->n_sample ? 0x3f800000 : r->in_sample);
    if (r->n_names != 0)
        gguf_pair_array(b, "pare.imatrix.same_inputs", r->names_are_numbers ? 4 : 8, r->n_names);
    for (uint64_t i = 0; i < r->n_names; i++)
        if (r->names_are_numbers)
            gguf_u32(b, 1);
        else
            gguf_str(b, r->names[i]);
    put_info(b, "a.in_sum2", experts, 3 * experts, F32, &at);
    put_info(b, "a.counts", r->one_count ? 1 : experts, r->one_count ? 1 : experts, F32, &at);
    put_info(b, gram, n % triangles == 0 ? triangles : 1, n, r->type, &at);
    put_info(b, "b.in_sum2", 1, wide, F32, &at);
    if (!r->b_no_count)
        put_info(b, "b.counts", 1, 1, F32, &at);
    if (r->b_has_gram)
        put_info(b, "b.in_gram", 1, 6, F32, &at);
    gguf_pad(b, 32);
    put_values(b, 3 * experts, r->counts[0] > 0 ? 1 : -2); /* an entry without tokens has no sums */
    if (!(r->counts[0] > 0))
        memset(b->data + b->len - 32, 0, 12);
    put_values(b, r->one_count ? 1 : experts, r->counts[0]);
    put_values(b, n, 10);
    put_values(b, wide, 1);
    if (!r->b_no_count)
        put_values(b, 1, r->counts[1]);
    if (r->b_has_gram)
        put_values(b, 6, 30);
}

static pare_status parse(const recipe *r, pare_imatrix *im, uint8_t **bytes, pare_error *err)
{
    pare_buf b = {0};
    make_file(&b, r);
    *bytes = check_malloc(b.len); /* so that a sanitizer sees any read past the end */
    memcpy(*bytes, b.data, b.len);
    pare_status st = pare_imatrix_parse(im, *bytes, b.len, "test.imatrix", err);
    pare_buf_close(&b);
    return st;
}

static void reads_triangles_and_who_shares_them(void **state)
{
    (void)state;
    pare_imatrix im;
    pare_error err = {0};
    uint8_t *bytes;
    CHECK_OK(parse(&right, &im, &bytes, &err), &err);
    const pare_gram *g = pare_grams_find(&im.grams, "a");
    CHECK(im.n == 2 && im.grams.n == 1 && g != NULL && g == pare_grams_find(&im.grams, "b"));
    CHECK(strcmp(g->name, "a") == 0 && g->n_columns == 3 && g->count == 5);
    for (uint32_t i = 0; i < 6; i++)
        CHECK(pare_load_f32le(g->lower + 4 * i) == 10 + (float)i);
    pare_imatrix_close(&im);
    free(bytes);
    recipe r = right;
    r.n_names = 0;
    r.b_has_gram = true;
    CHECK_OK(parse(&r, &im, &bytes, &err), &err);
    CHECK(im.grams.n == 2 && pare_load_f32le(pare_grams_find(&im.grams, "b")->lower + 20) == 35);
    pare_imatrix_close(&im);
    free(bytes);
}

/* Three experts of 5, 6 and 7 tokens, with a triangle each or one for all. */
static void reads_triangles_of_experts(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        pare_imatrix im, sum = {.chunk_size = 8};
        pare_error err = {0};
        uint8_t *bytes;
        recipe r = {.counts = {5, 5}, .n_experts = 3, .all_experts = all > 0};
        CHECK_OK(parse(&r, &im, &bytes, &err), &err);
        const pare_gram *g = pare_grams_find(&im.grams, "a");
        CHECK(g != NULL && g->n_experts == (all > 0 ? 3 : 1) && g->n_columns == 3 && g->count == 18);
        CHECK(all == 0 || pare_load_f32le(g->lower + 4 * 17) == 27);
        for (int i = 0; i < 2; i++)
            CHECK_OK(pare_imatrix_merge(&sum, &im, &err), &err);
        g = pare_grams_find(&sum.grams, "a");
        CHECK(g->n_experts == (all > 0 ? 3 : 1) && g->count == 36);
        CHECK(pare_load_f32le(g->lower) == 20 && (all == 0 || pare_load_f32le(g->lower + 4 * 17) == 54));
        pare_imatrix_close(&sum);
        pare_imatrix_close(&im);
        free(bytes);
    }
}

static void refuses(const recipe *r, pare_status status, const char *part)
{
    pare_imatrix im;
    pare_error err = {0};
    uint8_t *bytes;
    pare_status st = parse(r, &im, &bytes, &err);
    if (st != status || strstr(err.text, part) == NULL)
        print_message("expected status %d with '%s', got %d: %s\n", status, part, st, err.text);
    CHECK(st == status && strstr(err.text, part) != NULL && strstr(err.text, "test.imatrix") != NULL);
    CHECK(im.n == 0 && im.entries == NULL && im.grams.n == 0);
    free(bytes);
}

static void refuses_wrong_files(void **state)
{
    (void)state;
    recipe r = right;
    for (r.n_values = 5; r.n_values <= 9; r.n_values += r.n_values == 5 ? 2 : 1)
        refuses(&r, PARE_ERR_RANGE, "values; a triangle of 3 columns has n (n + 1) / 2");
    r = right;
    r.type = I32;
    refuses(&r, PARE_ERR_FORMAT, "'a.in_gram' at offset 512 is of type i32, expected f32");
    r = right;
    r.counts[0] = 0;
    refuses(&r, PARE_ERR_RANGE, "tensor 'a.in_gram' stands beside a count of 0");
    r = right;
    r.gram_of = "c";
    refuses(&r, PARE_ERR_FORMAT, "tensor 'c.in_gram' has no 'c.in_sum2' beside it");
    r = right;
    r.gram_of = "b"; /* and says that b shares what a has */
    refuses(&r, PARE_ERR_FORMAT, "second-order statistics of 'a', which has none");
    r = right;
    r.b_no_count = true;
    refuses(&r, PARE_ERR_FORMAT, "tensor 'b.in_sum2' has no 'b.counts' beside it");
    r = right;
    r.b_has_gram = true;
    refuses(&r, PARE_ERR_FORMAT, "two second-order statistics for tensor 'b'");
    r = right;
    r.n_names = 4;
    r.names[2] = "b";
    r.names[3] = "a";
    refuses(&r, PARE_ERR_FORMAT, "two second-order statistics for tensor 'b'");
    r.n_names = 3;
    refuses(&r, PARE_ERR_FORMAT, "key 'pare.imatrix.same_inputs' is no array of pairs of names");
    r = right;
    r.names_are_numbers = true;
    refuses(&r, PARE_ERR_FORMAT, "key 'pare.imatrix.same_inputs' is no array of pairs of names");
    r = right;
    r.n_sample = 255;
    refuses(&r, PARE_ERR_FORMAT, "key 'pare.imatrix.sample' is no array of 256 F32");
    r.n_sample = 256;
    r.in_sample = 0x7fc00000;
    refuses(&r, PARE_ERR_NUMBER, "key 'pare.imatrix.sample': element 255 is nan");
    r = right;
    r.names[0] = "elsewhere";
    refuses(&r, PARE_ERR_FORMAT, "key 'pare.imatrix.same_inputs' names 'elsewhere', which has no statistics");
    r = right;
    r.names[1] = "elsewhere";
    refuses(&r, PARE_ERR_FORMAT, "key 'pare.imatrix.same_inputs' names 'elsewhere', which has no statistics");
    r.names[1] = "a_name_of_more_than_sixty_three_bytes_that_no_tensor_in_a_file_can_have";
    refuses(&r, PARE_ERR_FORMAT, "which has no statistics");
    r = right;
    r.names[0] = "a"; /* with itself */
    refuses(&r, PARE_ERR_FORMAT, "two second-order statistics for tensor 'a'");
    r = right;
    r.b_columns = 4;
    refuses(&r, PARE_ERR_RANGE, "says that 'b' (4 columns) and 'a' (3) have the same inputs");
    r = right;
    r.counts[1] = 6;
    refuses(&r, PARE_ERR_RANGE, "says that 'b' (6 tokens) and 'a' (5) have the same inputs");
    r = (recipe){.counts = {5, 18}, .n_names = 2, .names = {"b", "a"}, .n_experts = 3, .all_experts = true};
    refuses(&r, PARE_ERR_RANGE, "says that 'b' (1 experts) and 'a' (3) have the same inputs");
    r = (recipe){.counts = {5, 5}, .n_experts = 3, .all_experts = true, .one_count = true};
    refuses(&r, PARE_ERR_RANGE, "and there is one, or one for each of 3 experts");
}

static void rejects_every_truncation(void **state)
{
    (void)state;
    pare_buf b = {0};
    make_file(&b, &right);
    for (size_t len = 4; len < b.len - 28; len++) { /* the last 28 bytes are padding */
        pare_imatrix im;
        uint8_t *cut = check_malloc(len);
        memcpy(cut, b.data, len);
        CHECK(pare_imatrix_parse(&im, cut, len, "test.imatrix", NULL) != PARE_OK);
        free(cut);
    }
    pare_buf_close(&b);
}

static void add_entry(pare_imatrix *im, const char *name, uint64_t n_experts, uint64_t n_columns, double count)
{
    pare_imatrix_entry *e = NULL;
    pare_error err = {0};
    CHECK_OK(pare_imatrix_add(im, name, n_experts, n_columns, n_experts, true, &e, &err), &err);
    for (uint64_t i = 0; i < n_experts; i++)
        e->counts[i] = count;
}

static void add_gram(pare_imatrix *im, const char *name, uint64_t n, double count, float first)
{
    pare_error err = {0};
    uint8_t *to = NULL;
    CHECK_OK(pare_grams_add(&im->grams, name, n, count, NULL, &to, &err), &err);
    for (uint64_t i = 0; i < n * (n + 1) / 2; i++)
        pare_store_f32le(to + 4 * i, first + (float)i);
}

/* Two experts of three columns whose gate and up share, a matrix on its own, one without any. */
static void fill(pare_imatrix *im)
{
    pare_error err = {0};
    *im = (pare_imatrix){.chunk_count = 2, .chunk_size = 8};
    add_entry(im, "up", 2, 3, 7);
    add_entry(im, "gate", 2, 3, 7);
    add_entry(im, "down", 1, 5, 9);
    add_entry(im, "plain", 1, 2, 9);
    add_entry(im, "unseen", 1, 2, 0);
    add_gram(im, "up", 3, 14, 0.5f);
    add_gram(im, "down", 5, 9, -4);
    CHECK_OK(pare_grams_link(&im->grams, "gate", "up", &err), &err);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    char path[2][512];
    pare_imatrix im, back;
    pare_error err = {0};
    fill(&im);
    for (int i = 0; i < 2; i++)
        snprintf(path[i], sizeof path[i], "%s/%d.gguf", temp_dir(), i);
    CHECK_OK(pare_imatrix_write(&im, path[0], false, NULL, &err), &err);
    CHECK_OK(pare_imatrix_open(&back, path[0], &err), &err);
    const pare_gram *up = pare_grams_find(&back.grams, "up"), *down = pare_grams_find(&back.grams, "down");
    CHECK(back.n == 4 && back.grams.n == 2 && back.grams.n_matrices == 3);
    CHECK(up != NULL && up == pare_grams_find(&back.grams, "gate") && up->n_columns == 3 && up->count == 14);
    CHECK(down != NULL && down->n_columns == 5 && down->count == 9 && pare_grams_find(&back.grams, "plain") == NULL);
    CHECK(memcmp(up->lower, pare_grams_find(&im.grams, "up")->lower, 24) == 0);
    CHECK(memcmp(down->lower, pare_grams_find(&im.grams, "down")->lower, 60) == 0);
    /* what was read is written alike, and can be added to */
    size_t n[2];
    CHECK_OK(pare_imatrix_write(&back, path[1], false, NULL, &err), &err);
    uint8_t *first = check_read_file(path[0], &n[0]), *second = check_read_file(path[1], &n[1]);
    CHECK(n[0] == n[1] && memcmp(first, second, n[0]) == 0);
    add_entry(&im, "later", 1, 1, 1);
    CHECK_OK(pare_imatrix_merge(&back, &im, &err), &err);
    CHECK(pare_grams_find(&back.grams, "gate")->count == 28);
    CHECK(pare_load_f32le(pare_grams_find(&back.grams, "down")->lower + 56) == 20);
    free(first);
    free(second);
    pare_imatrix_close(&back);
    pare_imatrix_close(&im);
}

/* Without second-order statistics there is nothing in the file that stock's layout does not have. */
static void files_without_them_are_stock(void **state)
{
    (void)state;
    char path[2][512];
    size_t n[2];
    pare_imatrix im, back;
    pare_error err = {0};
    fill(&im);
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/stock%d.gguf", temp_dir(), i);
        CHECK_OK(pare_imatrix_write(&im, path[i], false, NULL, &err), &err);
        pare_grams_close(&im.grams);
    }
    uint8_t *full = check_read_file(path[0], &n[0]), *stock = check_read_file(path[1], &n[1]);
    CHECK(memmem(full, n[0], "in_gram", 7) != NULL && memmem(full, n[0], "pare.", 5) != NULL);
    CHECK(memmem(stock, n[1], "in_gram", 7) == NULL && memmem(stock, n[1], "pare.", 5) == NULL);
    pare_model m;
    CHECK_OK(pare_gguf_parse(&m, stock, n[1], "stock", &err), &err);
    CHECK(m.n_tensors == 4 * 3 && m.meta.n == 4);
    pare_model_close(&m);
    CHECK_OK(pare_imatrix_open(&back, path[1], &err), &err);
    CHECK(back.n == 4 && back.grams.n == 0 && back.grams.n_matrices == 0);
    free(full);
    free(stock);
    pare_imatrix_close(&back);
    pare_imatrix_close(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_triangles_and_who_shares_them),
        cmocka_unit_test(reads_triangles_of_experts),
        cmocka_unit_test(refuses_wrong_files),
        cmocka_unit_test(rejects_every_truncation),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(files_without_them_are_stock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
