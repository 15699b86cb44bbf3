/* The simulated allocator on graphs whose peak can be told by hand. A vector of n floats takes 4 n bytes. */
#include "check.h"
#include "memory/compute_graph.h"

#include <string.h>

enum { KIB = 256 }; /* floats of a KiB */

static cg_tensor *leaf(cg_graph *g, uint64_t kib)
{
    return cg_input(g, PARE_TYPE_F32, 1, (const uint64_t[]){kib * KIB});
}

static uint64_t peak_at(cg_graph *g, int place)
{
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    CHECK_OK(cg_reserve(g, out, &err), &err);
    cg_close(g);
    return out[place + 1];
}

static uint64_t peak(cg_graph *g)
{
    return peak_at(g, PARE_MEMORY_HOST) / 1024;
}

static cg_graph fresh(void)
{
    return (cg_graph){.place = PARE_MEMORY_HOST};
}

static void test_in_place(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = leaf(&g, 3);
    for (int i = 0; i < 5; i++)
        x = cg_unary(&g, x);
    cg_expand(&g, x);
    assert_int_equal(peak(&g), 3);
}

static void test_chain_that_copies(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = leaf(&g, 3);
    for (int i = 0; i < 5; i++)
        x = cg_contiguous(&g, x); /* two live at a time */
    cg_expand(&g, x);
    assert_int_equal(peak(&g), 6);
}

static void test_second_use_keeps(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = leaf(&g, 3), *y = cg_unary(&g, x), *z = cg_unary(&g, y);
    cg_expand(&g, cg_binary(&g, z, y)); /* y is needed behind z: z gets memory of its own, the sum is z's */
    assert_int_equal(peak(&g), 6);
}

static void test_output_is_kept(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = cg_unary(&g, leaf(&g, 3));
    x->output = true;
    cg_expand(&g, cg_unary(&g, x));
    assert_int_equal(peak(&g), 6);
}

static void test_input_without_use(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_expand(&g, leaf(&g, 5)); /* stays, and nothing takes its place */
    cg_expand(&g, cg_contiguous(&g, cg_contiguous(&g, leaf(&g, 1))));
    assert_int_equal(peak(&g), 7);
}

/* A view keeps what it shows, and nothing is overwritten through one. */
static void test_views(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = leaf(&g, 4), *half = cg_shape(&g, cg_unary(&g, x), KIB, 4, 1, 1);
    cg_expand(&g, cg_unary(&g, half));
    assert_int_equal(peak(&g), 8);
}

/* Blocks: 2 and 4 KiB are free when 2 are asked for; the smaller one serves, so that 4 fit later. */
static void test_best_fit(void **state)
{
    cg_graph g = fresh();
    (void)state;
    const uint64_t two[CG_DIMS] = {2 * KIB, 1, 1, 1}, four[CG_DIMS] = {4 * KIB, 1, 1, 1};
    cg_tensor *a = leaf(&g, 4), *wall = leaf(&g, 1), *b = leaf(&g, 2), *end = leaf(&g, 1);
    cg_expand(&g, a);
    cg_expand(&g, wall);
    cg_expand(&g, b);
    cg_expand(&g, end);
    const uint64_t one[CG_DIMS] = {KIB, 1, 1, 1};
    cg_tensor *last = cg_make(&g, PARE_TYPE_F32, one, false, a, b, NULL); /* 1 behind the end; then a and b are free */
    cg_tensor *x = cg_make(&g, PARE_TYPE_F32, two, false, last, NULL, NULL);
    cg_tensor *y = cg_make(&g, PARE_TYPE_F32, four, false, last, x, NULL);
    cg_expand(&g, cg_make(&g, PARE_TYPE_F32, one, false, y, x, NULL));
    assert_int_equal(peak(&g), 9);
}

static void test_cast_refers_to_itself(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = cg_cast(&g, leaf(&g, 4), PARE_TYPE_F16);
    cg_expand(&g, cg_contiguous(&g, x)); /* 4, 2 beside them, then 2 in the first one's place */
    assert_int_equal(peak(&g), 6);
}

static void test_stored_takes_nothing(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *cache = cg_stored(&g, PARE_TYPE_F16, 2, (const uint64_t[]){64, 1024});
    cg_tensor *x = cg_input(&g, PARE_TYPE_F32, 2, (const uint64_t[]){64, 4});
    cg_expand(&g, cg_write(&g, cache, x, cg_input(&g, PARE_TYPE_I64, 1, (const uint64_t[]){4})));
    assert_int_equal(peak_at(&g, PARE_MEMORY_HOST), 1024 + 32);
}

static void test_places_are_apart(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_tensor *x = cg_contiguous(&g, leaf(&g, 1));
    x->place = 1;
    cg_expand(&g, x);
    assert_int_equal(peak_at(&g, 1), 1024);
}

/* ---- splitting: weights of 256 x 256 halves (128 KiB) times 64 columns of 1 KiB ---- */

static cg_tensor *weight_at(cg_graph *g, int32_t place)
{
    cg_tensor *w = cg_stored(g, PARE_TYPE_F16, 2, (const uint64_t[]){KIB, KIB});
    w->weight = true;
    w->place = place;
    return w;
}

static cg_tensor *columns(cg_graph *g, uint64_t n)
{
    return cg_input(g, PARE_TYPE_F32, 2, (const uint64_t[]){KIB, n});
}

/* The input is copied, and both results lie there. */
static void test_input_is_copied(void **state)
{
    cg_graph g = fresh();
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    (void)state;
    g.n_devices = 1;
    cg_expand(&g, cg_mul_mat(&g, weight_at(&g, 0), cg_mul_mat(&g, weight_at(&g, 0), columns(&g, 64))));
    cg_split(&g);
    CHECK_OK(cg_reserve(&g, out, &err), &err);
    assert_int_equal(out[0], 64 * 1024);
    assert_int_equal(out[1], 2 * 64 * 1024);
    cg_close(&g);
}

/* Weights on the host come to the device for 32 columns and more, one at a time; for fewer nothing goes there. */
static void test_large_products_are_taken_over(void **state)
{
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    (void)state;
    for (uint64_t n = 31; n <= 32; n++) {
        cg_graph g = fresh();
        g.n_devices = 1;
        cg_tensor *x = columns(&g, n);
        for (int i = 0; i < 4; i++)
            x = cg_mul_mat(&g, weight_at(&g, PARE_MEMORY_HOST), x);
        cg_expand(&g, x);
        cg_split(&g);
        CHECK_OK(cg_reserve(&g, out, &err), &err);
        assert_int_equal(out[0], n < 32 ? 2 * n * 1024 : n * 1024);
        assert_int_equal(out[1], n < 32 ? 0 : 128 * 1024 + 2 * n * 1024);
        cg_close(&g);
    }
}

/* What has no weight goes with what is before it, on a device rather than on the host. */
static void test_neighbours(void **state)
{
    cg_graph g = fresh();
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    (void)state;
    g.n_devices = 2;
    cg_tensor *x = cg_contiguous(&g, cg_mul_mat(&g, weight_at(&g, 1), columns(&g, 64)));
    cg_expand(&g, cg_mul_mat(&g, weight_at(&g, 0), x));
    cg_split(&g);
    CHECK_OK(cg_reserve(&g, out, &err), &err);
    assert_int_equal(x->place, 1);
    assert_int_equal(out[2], 2 * 64 * 1024); /* a copy, the product, its copy in place of the first */
    assert_int_equal(out[1], 2 * 64 * 1024);
    cg_close(&g);
}

/* Four copies of what crosses, none of which is ever overwritten. */
static void test_pipeline(void **state)
{
    cg_graph g = fresh();
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    (void)state;
    g.n_devices = 1;
    g.pipeline = true;
    cg_expand(&g, cg_mul_mat(&g, weight_at(&g, 0), cg_mul_mat(&g, weight_at(&g, 0), columns(&g, 64))));
    cg_split(&g);
    CHECK_OK(cg_reserve(&g, out, &err), &err);
    assert_int_equal(out[0], 4 * 64 * 1024);
    assert_int_equal(out[1], (4 + 2) * 64 * 1024);
    cg_close(&g);
}

static void test_alignment(void **state)
{
    cg_graph g = fresh();
    (void)state;
    cg_expand(&g, cg_input(&g, PARE_TYPE_F32, 1, (const uint64_t[]){1}));
    cg_expand(&g, cg_input(&g, PARE_TYPE_F32, 1, (const uint64_t[]){9}));
    assert_int_equal(peak_at(&g, PARE_MEMORY_HOST), 32 + 64);
}

static void test_too_large(void **state)
{
    cg_graph g = fresh();
    uint64_t out[CG_MAX_PLACES];
    pare_error err = {0};
    (void)state;
    cg_expand(&g, cg_input(&g, PARE_TYPE_F32, 3, (const uint64_t[]){1 << 30, 1 << 30, 1 << 30}));
    assert_int_equal(cg_reserve(&g, out, &err), PARE_ERR_RANGE);
    cg_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_place),
                                       cmocka_unit_test(test_chain_that_copies),
                                       cmocka_unit_test(test_second_use_keeps),
                                       cmocka_unit_test(test_output_is_kept),
                                       cmocka_unit_test(test_input_without_use),
                                       cmocka_unit_test(test_views),
                                       cmocka_unit_test(test_best_fit),
                                       cmocka_unit_test(test_cast_refers_to_itself),
                                       cmocka_unit_test(test_stored_takes_nothing),
                                       cmocka_unit_test(test_places_are_apart),
                                       cmocka_unit_test(test_alignment),
                                       cmocka_unit_test(test_too_large),
                                       cmocka_unit_test(test_input_is_copied),
                                       cmocka_unit_test(test_large_products_are_taken_over),
                                       cmocka_unit_test(test_neighbours),
                                       cmocka_unit_test(test_pipeline)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
