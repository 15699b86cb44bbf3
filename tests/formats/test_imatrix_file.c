/* Calibration statistics: both layouts, what is refused, round trips, merging. */
#include "check.h"
#include "gguf_bytes.h"

#include "formats/imatrix_file.h"
#include "model/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t columns[] = {4, 2}, one_each[] = {1, 2}, one_row[] = {4};

static void put_floats(pare_buf *b, const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        gguf_u32(b, bits);
    }
}

/* What a test changes in an otherwise right file of two experts of four columns. */
typedef struct recipe {
    const char *sum2_name, *counts_name; /* NULL: the right ones; "": the tensor is left out */
    uint32_t n_dims, type;               /* of in_sum2; 0: 2, F32 */
    uint64_t n_counts;                   /* 0: 2 */
    bool no_datasets, no_chunk_size;
    uint32_t chunk_size; /* 0: 512 */
    float sum2[8], counts[2];
} recipe;

static const recipe right = {.sum2 = {1, 2, 3, 4, 50, 60, 70, 80}, .counts = {2, 10}};

static void gguf_file(pare_buf *b, const recipe *r)
{
    bool has_sum2 = r->sum2_name == NULL || r->sum2_name[0] != '\0';
    bool has_counts = r->counts_name == NULL || r->counts_name[0] != '\0';
    uint64_t counts_ne[] = {one_each[0], r->n_counts != 0 ? r->n_counts : one_each[1]};
    b->len = 0;
    gguf_header(b, 3, (uint64_t)has_sum2 + has_counts, 3 - (uint64_t)r->no_datasets - r->no_chunk_size);
    if (!r->no_datasets) {
        gguf_pair_array(b, "imatrix.datasets", 8, 1);
        gguf_str(b, "text.txt");
    }
    gguf_pair_u32(b, "imatrix.chunk_count", 7);
    if (!r->no_chunk_size)
        gguf_pair_u32(b, "imatrix.chunk_size", r->chunk_size != 0 ? r->chunk_size : 512);
    if (has_sum2)
        gguf_info(b, r->sum2_name != NULL ? r->sum2_name : "w.weight.in_sum2", r->n_dims == 1 ? 1 : 2,
                  r->n_dims == 1 ? one_row : columns, r->type, 0);
    if (has_counts)
        gguf_info(b, r->counts_name != NULL ? r->counts_name : "w.weight.counts", 2, counts_ne, 0, has_sum2 ? 32 : 0);
    gguf_pad(b, 32);
    if (has_sum2)
        put_floats(b, r->sum2, 8);
    if (has_counts)
        put_floats(b, r->counts, 2);
    gguf_pad(b, 32);
}

static pare_status parse(const pare_buf *b, pare_imatrix *im, pare_error *err)
{
    uint8_t *exact = check_malloc(b->len); /* so that a sanitizer sees any read past the end */
    memcpy(exact, b->data, b->len);
    pare_status st = pare_imatrix_parse(im, exact, b->len, "test.imatrix", err);
    free(exact);
    return st;
}

static void reads_the_gguf_layout(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_imatrix im;
    pare_error err = {0};
    gguf_file(&b, &right);
    CHECK_OK(parse(&b, &im, &err), &err);
    CHECK(im.n == 1 && im.chunk_count == 7 && im.chunk_size == 512 && im.n_datasets == 1);
    CHECK(pare_str_equal(im.datasets[0], "text.txt"));
    const pare_imatrix_entry *e = pare_imatrix_find(&im, "w.weight");
    CHECK(e != NULL && e->n_experts == 2 && e->n_columns == 4 && e->n_counts == 2 && e->sum == NULL);
    CHECK(e->counts[0] == 2 && e->counts[1] == 10);
    float mean[4];
    CHECK(pare_imatrix_pooled(e, mean) && mean[0] == 4.25f && mean[3] == 7);
    CHECK(pare_imatrix_find(&im, "w") == NULL);
    pare_imatrix_close(&im);
    pare_buf_close(&b);
}

static void refuses(const recipe *r, pare_status status, const char *part)
{
    pare_buf b = {0};
    pare_imatrix im;
    pare_error err = {0};
    gguf_file(&b, r);
    pare_status st = parse(&b, &im, &err);
    if (st != status || strstr(err.text, part) == NULL)
        print_message("expected status %d with '%s', got %d: %s\n", status, part, st, err.text);
    CHECK(st == status && strstr(err.text, part) != NULL && strstr(err.text, "test.imatrix") != NULL);
    CHECK(im.n == 0 && im.entries == NULL);
    pare_buf_close(&b);
}

static void refuses_wrong_gguf_files(void **state)
{
    (void)state;
    recipe r = right;
    r.sum2[5] = NAN;
    refuses(&r, PARE_ERR_NUMBER, "sum of squares 5 is nan");
    r.sum2[5] = INFINITY;
    refuses(&r, PARE_ERR_NUMBER, "sum of squares 5 is inf");
    r.sum2[5] = -1;
    refuses(&r, PARE_ERR_NUMBER, "sum of squares 5 is -1");
    r = right;
    r.counts[1] = -2;
    refuses(&r, PARE_ERR_NUMBER, "count 1 is -2");
    r.counts[1] = NAN;
    refuses(&r, PARE_ERR_NUMBER, "count 1 is nan");
    r.counts[1] = 1e30f;
    refuses(&r, PARE_ERR_RANGE, "count 1 is 1.00000002e+30");
    r.counts[1] = 0.5f;
    refuses(&r, PARE_ERR_RANGE, "whole number");
    r.counts[1] = 0;
    refuses(&r, PARE_ERR_RANGE, "is 0 although column 0");
    r = right;
    r.counts_name = "";
    refuses(&r, PARE_ERR_FORMAT, "has no 'w.weight.counts'");
    r = right;
    r.sum2_name = "";
    refuses(&r, PARE_ERR_FORMAT, "has no 'w.weight.in_sum2'");
    r = right;
    r.sum2_name = "w.weight";
    r.counts_name = "v.weight";
    refuses(&r, PARE_ERR_FORMAT, "no imatrix");
    r = right;
    r.n_dims = 1; /* four columns of one matrix, two counts */
    refuses(&r, PARE_ERR_RANGE, "has 2 counts for the 1 rows");
    r = right;
    r.type = 26; /* I32 */
    refuses(&r, PARE_ERR_FORMAT, "is of type i32, expected f32");
    r = right;
    r.no_datasets = true;
    refuses(&r, PARE_ERR_FORMAT, "imatrix.datasets");
    r = right;
    r.no_chunk_size = true;
    refuses(&r, PARE_ERR_FORMAT, "imatrix.chunk_size");
    r = right;
    r.chunk_size = UINT32_MAX;
    refuses(&r, PARE_ERR_RANGE, "imatrix.chunk_size");
}

static void legacy_entry(pare_buf *b, const char *name, uint32_t n_calls, uint32_t n, const float *v)
{
    gguf_u32(b, (uint32_t)strlen(name));
    gguf_bytes(b, name, strlen(name));
    gguf_u32(b, n_calls);
    gguf_u32(b, n);
    put_floats(b, v, n);
}

static void legacy_file(pare_buf *b)
{
    b->len = 0;
    gguf_u32(b, 2);
    legacy_entry(b, "w.weight", 3, 8, (float[]){3, 6, 9, 12, 15, 18, 21, 24}); /* 3 windows, means 1 to 8 */
    legacy_entry(b, "v.weight", 3, 1, (float[]){6});
    gguf_u32(b, 3);
    gguf_u32(b, 4);
    gguf_bytes(b, "text", 4);
}

static void reads_the_legacy_layout(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_imatrix im;
    pare_error err = {0};
    float mean[8], own[8];
    legacy_file(&b);
    CHECK_OK(parse(&b, &im, &err), &err);
    CHECK(im.n == 2 && im.chunk_count == 3 && im.chunk_size == 0);
    CHECK(im.n_datasets == 1 && pare_str_equal(im.datasets[0], "text"));
    pare_imatrix_entry e = *pare_imatrix_find(&im, "w.weight");
    CHECK(pare_imatrix_pooled(&e, mean));
    pare_imatrix_importance(&e, 0, mean, own);
    CHECK(own[0] == 1 && own[7] == 8);
    CHECK(!pare_imatrix_reshape(&e, 3, 4) && pare_imatrix_reshape(&e, 2, 4));
    CHECK(pare_imatrix_pooled(&e, mean)); /* nobody knows how many tokens an expert saw: its own mean alone */
    pare_imatrix_importance(&e, 1, mean, own);
    CHECK(own[0] == 5 && own[3] == 8);
    pare_imatrix_close(&im);
    /* the first versions end behind the entries */
    b.len -= 12;
    CHECK_OK(parse(&b, &im, &err), &err);
    CHECK(im.n == 2 && im.chunk_count == 0 && im.n_datasets == 0);
    pare_imatrix_close(&im);
    pare_buf_close(&b);
}

static void refuses_legacy(size_t at, uint32_t value, const char *part)
{
    pare_buf b = {0};
    pare_imatrix im;
    pare_error err = {0};
    legacy_file(&b);
    memcpy(b.data + at, &value, sizeof value);
    pare_status st = parse(&b, &im, &err);
    if (st == PARE_OK || strstr(err.text, part) == NULL)
        print_message("offset %zu: expected '%s', got %s\n", at, part, err.text);
    CHECK(st != PARE_OK && strstr(err.text, part) != NULL);
    pare_buf_close(&b);
}

static void refuses_wrong_legacy_files(void **state)
{
    (void)state;
    refuses_legacy(0, UINT32_MAX, "(.dat, it has no GGUF magic): entry 0 of 0: the number of entries");
    refuses_legacy(0, 0, "the number of entries");
    refuses_legacy(0, INT32_MAX, "the number of entries");
    refuses_legacy(4, UINT32_MAX, "the length of the name");
    refuses_legacy(4, 64, "the length of the name");
    refuses_legacy(16, 0, "the number of windows");
    refuses_legacy(16, UINT32_MAX, "the number of windows");
    refuses_legacy(20, 0, "the number of columns");
    refuses_legacy(20, UINT32_MAX, "the number of columns");
    refuses_legacy(20, INT32_MAX, "the number of columns");
    refuses_legacy(24, 0x7fc00000, "sum of squares 0 is nan");
    refuses_legacy(28, 0xbf800000, "sum of squares 1 is -1");
    refuses_legacy(8, 0, "is no text");
}

static void rejects_every_truncation(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_imatrix im;
    pare_error err = {0};
    legacy_file(&b);
    size_t whole = b.len, without_tail = whole - 12;
    for (b.len = 0; b.len < whole; b.len++) {
        bool fine = b.len == without_tail || b.len == without_tail + 4; /* both count windows, or do not */
        CHECK((parse(&b, &im, &err) == PARE_OK) == fine);
        pare_imatrix_close(&im);
    }
    gguf_file(&b, &right);
    for (whole = b.len - 24, b.len = 0; b.len < whole; b.len++) /* the last 24 bytes are padding */
        CHECK(parse(&b, &im, &err) != PARE_OK);
    pare_buf_close(&b);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    char path[512];
    pare_imatrix im = {.chunk_count = 5, .chunk_size = 512}, back;
    pare_imatrix_entry *e = NULL;
    pare_error err = {0};
    snprintf(path, sizeof path, "%s/out.gguf", temp_dir());
    CHECK_OK(pare_imatrix_add(&im, "blk.1.x.weight", 2, 3, 2, true, &e, &err), &err);
    for (int i = 0; i < 6; i++) {
        e->sum2[i] = (float)i + 0.5f;
        e->sum[i] = -(float)i;
    }
    e->counts[0] = 512;
    CHECK_OK(pare_imatrix_add(&im, "blk.0.x.weight", 1, 1, 1, false, &e, &err), &err);
    e->counts[0] = 3;
    CHECK_OK(pare_imatrix_add(&im, "unseen", 1, 1, 1, false, &e, &err), &err);
    CHECK(pare_imatrix_add(&im, "unseen", 1, 1, 1, false, &e, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_imatrix_add_dataset(&im, (pare_str){"a", 1}, &err), &err);
    e = (pare_imatrix_entry *)(uintptr_t)pare_imatrix_find(&im, "blk.1.x.weight");
    memset(e->sum2 + 3, 0, 3 * sizeof *e->sum2); /* expert 1 saw nothing */
    float sample[PARE_SAMPLE_SIZE];
    for (int i = 0; i < PARE_SAMPLE_SIZE; i++)
        sample[i] = 0.25f - (float)i;
    CHECK_OK(pare_imatrix_set_sample(&im, sample, &err), &err);
    CHECK_OK(pare_imatrix_write(&im, path, false, NULL, &err), &err);
    CHECK(pare_imatrix_write(&im, path, false, NULL, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_imatrix_open(&back, path, &err), &err);
    CHECK(back.n == 2 && back.chunk_count == 5 && back.chunk_size == 512 && back.n_datasets == 1);
    CHECK(strcmp(back.entries[0].name, "blk.0.x.weight") == 0);
    CHECK(back.sample != NULL && memcmp(back.sample, sample, sizeof sample) == 0);
    const pare_imatrix_entry *x = pare_imatrix_find(&back, "blk.1.x.weight");
    CHECK(x != NULL && x->n_experts == 2 && x->n_columns == 3 && x->counts[0] == 512 && x->counts[1] == 0);
    CHECK(memcmp(x->sum2, e->sum2, 6 * sizeof *e->sum2) == 0 && memcmp(x->sum, e->sum, 6 * sizeof *e->sum) == 0);
    pare_imatrix_close(&back);
    pare_imatrix_close(&im);
}

static void merging_adds(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_imatrix all = {.chunk_size = 512}, part;
    pare_error err = {0};
    legacy_file(&b);
    CHECK_OK(parse(&b, &part, &err), &err);
    CHECK_OK(pare_imatrix_merge(&all, &part, &err), &err); /* counts in windows become tokens */
    pare_imatrix_close(&part);
    gguf_file(&b, &right);
    CHECK_OK(parse(&b, &part, &err), &err);
    CHECK_OK(pare_imatrix_merge(&all, &part, &err), &err);
    const pare_imatrix_entry *e = pare_imatrix_find(&all, "w.weight");
    CHECK(all.n == 2 && all.chunk_count == 10 && all.n_datasets == 2);
    CHECK(e->n_experts == 2 && e->n_counts == 2 && e->counts[0] == 3 * 512 + 2 && e->counts[1] == 3 * 512 + 10);
    CHECK(e->sum2[0] == 3 * 512 + 1 && e->sum2[7] == 24 * 512 + 80);
    pare_imatrix_entry *other = NULL;
    pare_imatrix wrong = {.chunk_size = 512};
    CHECK_OK(pare_imatrix_add(&wrong, "w.weight", 1, 5, 1, false, &other, &err), &err);
    CHECK(pare_imatrix_merge(&all, &wrong, &err) == PARE_ERR_RANGE && strstr(err.text, "different models") != NULL);
    pare_imatrix_close(&wrong);
    pare_imatrix_close(&part);
    pare_imatrix_close(&all);
    pare_buf_close(&b);
}

/* Sums of values without those of every part would be no means. */
static void means_of_a_part_are_dropped(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_imatrix all = {.chunk_size = 512}, part = {.chunk_size = 512};
    pare_imatrix_entry *e = NULL, *other = NULL;
    CHECK_OK(pare_imatrix_add(&all, "w.weight", 1, 4, 1, true, &e, &err), &err);
    CHECK_OK(pare_imatrix_add(&part, "w.weight", 1, 4, 1, false, &other, &err), &err);
    e->counts[0] = other->counts[0] = 2;
    other->sum2[3] = e->sum[3] = 5;
    CHECK_OK(pare_imatrix_merge(&all, &part, &err), &err);
    CHECK(all.entries[0].sum == NULL && all.entries[0].sum2[3] == 5 && all.entries[0].counts[0] == 4);
    pare_imatrix_close(&part);
    pare_imatrix_close(&all);
}

static void an_expert_with_few_tokens_is_near_the_mean(void **state)
{
    (void)state;
    float sum2[] = {20, 40, 0, 0, 40, 10, 3200, 800, 0, 0}, mean[2], out[2];
    double counts[] = {2, 0, 10, 188, 5};
    pare_imatrix_entry e = {.name = "w", .n_experts = 5, .n_columns = 2, .n_counts = 5, .sum2 = sum2, .counts = counts};
    CHECK(pare_imatrix_pooled(&e, mean));
    CHECK(fabsf(mean[0] - 3260.0f / 205) < 1e-5f && fabsf(mean[1] - 850.0f / 205) < 1e-5f);
    for (int i = 1; i < 5; i += 3) { /* no token; zeros alone */
        pare_imatrix_importance(&e, (uint64_t)i, mean, out);
        CHECK(out[0] == mean[0] && out[1] == mean[1]);
    }
    for (int i = 0; i < 4; i += 2) {
        double size = (double)(sum2[2 * i] + sum2[2 * i + 1]) / counts[i]; /* stays the expert's */
        double share = counts[i] / (counts[i] + 32), first = 3260.0 / 4110;
        pare_imatrix_importance(&e, (uint64_t)i, mean, out);
        CHECK(fabs((double)out[0] + (double)out[1] - size) < 1e-5 * size);
        CHECK(fabs((double)out[0] - (share * (double)sum2[2 * i] / counts[i] + (1 - share) * first * size)) <
              1e-5 * size);
    }
    memset(counts, 0, sizeof counts);
    CHECK(!pare_imatrix_pooled(&e, mean));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_gguf_layout),
        cmocka_unit_test(refuses_wrong_gguf_files),
        cmocka_unit_test(reads_the_legacy_layout),
        cmocka_unit_test(refuses_wrong_legacy_files),
        cmocka_unit_test(rejects_every_truncation),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(merging_adds),
        cmocka_unit_test(means_of_a_part_are_dropped),
        cmocka_unit_test(an_expert_with_few_tokens_is_near_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
