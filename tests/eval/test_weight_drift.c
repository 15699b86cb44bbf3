#include "check.h"
#include "toy.h"

#include "core/half.h"
#include "core/threads.h"
#include "eval/weight_drift.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 700, WIDTH = 300 }; /* four slices */

/* blk.0.a (four slices), blk.1.a, blk.1.b, norm, and one more of that name. */
static void make_model(pare_model *m, const char *more)
{
    pare_error err = {0};
    uint64_t state = 5;
    *m = (pare_model){.path = more};
    CHECK_OK(pare_model_reserve(m, 8, &err), &err);
    toy_add(m, &state, "blk.0.a.weight", ROWS, WIDTH, 1, 0);
    toy_add(m, &state, "blk.1.a.weight", 20, WIDTH, 1, 0);
    toy_add(m, &state, "blk.1.b.weight", 20, WIDTH, 1, 0);
    toy_add(m, &state, "norm.weight", 0, WIDTH, 0.5f, 1);
    toy_add(m, &state, more, 3, 4, 1, 0);
    CHECK_OK(pare_meta_set_str(&m->meta, "general.architecture", (pare_str){"llama", 5}, &err), &err);
}

static const pare_weight_row *row_of(const pare_weight_drift *d, const char *name)
{
    for (size_t i = 0; i < d->n_rows; i++)
        if (strcmp(d->rows[i].name, name) == 0)
            return &d->rows[i];
    return NULL;
}

static void figures_are_those_of_a_plain_loop(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_model a, b;
    make_model(&a, "only.first");
    make_model(&b, "only.second");
    float *x = toy_values(&a, "blk.0.a.weight"), *y = toy_values(&b, "blk.0.a.weight");
    double change = 0, size = 0;
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        if (i % 7 == 0)
            y[i] += (i < 1000 ? 0.002f : 0.001f) * (float)(i % 100); /* the largest in the first slice */
        change += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        size += (double)x[i] * x[i];
    }
    toy_values(&b, "blk.1.b.weight")[77] -= 3;
    pare_weight_drift first = {0}, d;
    for (int threads = 1; threads <= 3; threads++) {
        pare_set_threads(threads);
        CHECK_OK(pare_weight_drift_measure(&d, &a, &b, &err), &err);
        const pare_weight_row *row = row_of(&d, "blk.0.a.weight");
        CHECK(d.n_rows == 6 && row->state == PARE_WEIGHT_CHANGED && !row->change.same_bytes);
        CHECK(row->change.n_weights == ROWS * WIDTH && row->change.n_changed == 30000 - 300); /* 0.001 * 0 is none */
        CHECK(fabs(row->change.max_abs - 0.198) < 1e-6);
        CHECK(fabs(pare_weight_relative(&row->change) - sqrt(change / size)) < 1e-12);
        CHECK(row_of(&d, "blk.1.a.weight")->state == PARE_WEIGHT_SAME && row_of(&d, "norm.weight")->change.same_bytes);
        CHECK(row_of(&d, "only.first")->state == PARE_WEIGHT_REMOVED);
        CHECK(row_of(&d, "only.second")->state == PARE_WEIGHT_ADDED && row_of(&d, "only.second")->original == NULL);
        row = row_of(&d, "blk.1.b.weight");
        CHECK(row->change.n_changed == 1 && fabs(row->change.max_abs - 3) < 1e-6);
        CHECK(d.n_most == 2 && d.most[0] == row); /* 3 / sqrt(2000) = 0.067 against 0.02 */
        CHECK(d.n_kinds == 3 && strcmp(d.kinds[0].name, "blk.*.a.weight") == 0);
        CHECK(d.kinds[0].n_tensors == 2 && d.kinds[0].n_changed == 1);
        CHECK(d.kinds[0].change.n_weights == (ROWS + 20) * WIDTH && !d.total.same_bytes);
        if (threads == 1) {
            first = d;
            continue;
        }
        CHECK(first.total.change == d.total.change && first.total.size == d.total.size);
        for (size_t i = 0; i < d.n_rows; i++)
            CHECK(first.rows[i].change.change == d.rows[i].change.change &&
                  first.rows[i].change.size == d.rows[i].change.size);
        pare_weight_drift_close(&d);
    }
    pare_set_threads(0);
    pare_weight_drift_close(&first);
    pare_model_close(&a);
    pare_model_close(&b);
}

/* Give a tensor of the model new bytes of another type or shape. */
static pare_tensor *replace(pare_model *m, const char *name, pare_type type, const void *data)
{
    pare_error err = {0};
    pare_tensor *t = (pare_tensor *)(uintptr_t)pare_model_find(m, name);
    t->type = type;
    t->data = data;
    CHECK_OK(pare_tensor_set_shape(t, "toy", &err), &err);
    return t;
}

static pare_status read_from_ctx(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)err;
    memcpy(dst, (const uint8_t *)t->ctx + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
    return PARE_OK;
}

/* The same values in another type are the same values and other bytes; rows that are made on the way are compared as
 * they come. */
static void types_and_readers(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_model a, b;
    pare_weight_drift d;
    make_model(&a, "more");
    make_model(&b, "more");
    float *x = toy_values(&a, "blk.1.a.weight");
    uint16_t *half = check_malloc(20 * WIDTH * sizeof *half);
    for (size_t i = 0; i < 20 * WIDTH; i++) {
        x[i] = roundf(x[i] * 64) / 64;
        half[i] = pare_f32_to_f16(x[i]);
    }
    replace(&b, "blk.1.a.weight", PARE_TYPE_F16, (const uint8_t *)half);
    pare_tensor *made = (pare_tensor *)(uintptr_t)pare_model_find(&b, "blk.0.a.weight");
    made->ctx = made->data;
    made->data = NULL;
    made->read = read_from_ctx;
    CHECK_OK(pare_weight_drift_measure(&d, &a, &b, &err), &err);
    CHECK(row_of(&d, "blk.1.a.weight")->state == PARE_WEIGHT_SAME && !row_of(&d, "blk.1.a.weight")->change.same_bytes);
    CHECK(row_of(&d, "blk.0.a.weight")->state == PARE_WEIGHT_SAME && row_of(&d, "blk.0.a.weight")->change.same_bytes);
    CHECK(d.n_most == 0 && pare_weight_relative(&d.total) == 0 && d.total.size > 0);
    pare_weight_drift_close(&d);
    half[5] ^= 1;
    CHECK_OK(pare_weight_drift_measure(&d, &a, &b, &err), &err);
    CHECK(d.n_most == 1 && d.most[0]->change.n_changed == 1);
    pare_weight_drift_close(&d);
    pare_model_close(&a);
    pare_model_close(&b);
    free(half);
}

static void shapes_zeros_and_numbers_that_are_none(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_model a, b;
    pare_weight_drift d;
    make_model(&a, "more");
    make_model(&b, "more");
    pare_tensor *t = (pare_tensor *)(uintptr_t)pare_model_find(&b, "blk.1.a.weight");
    t->dim[0] = 10;
    CHECK_OK(pare_tensor_set_shape(t, "toy", &err), &err);
    t = (pare_tensor *)(uintptr_t)pare_model_find(&b, "norm.weight"); /* [1, n] instead of [n] */
    t->n_dims = 2;
    t->dim[1] = t->dim[0];
    t->dim[0] = 1;
    CHECK_OK(pare_tensor_set_shape(t, "toy", &err), &err);
    memset(toy_values(&a, "more"), 0, 12 * sizeof(float));
    toy_values(&a, "blk.1.b.weight")[0] = toy_values(&b, "blk.1.b.weight")[0] = NAN;
    toy_values(&b, "blk.1.b.weight")[1] = INFINITY;
    CHECK_OK(pare_weight_drift_measure(&d, &a, &b, &err), &err);
    CHECK(row_of(&d, "blk.1.a.weight")->state == PARE_WEIGHT_SHAPE);
    CHECK(row_of(&d, "norm.weight")->state == PARE_WEIGHT_SAME);
    CHECK(isinf(pare_weight_relative(&row_of(&d, "more")->change)) && d.most[0] == row_of(&d, "more"));
    const pare_weight_change *c = &row_of(&d, "blk.1.b.weight")->change;
    CHECK(c->n_nonfinite == 2 && c->n_changed == 1 && isfinite(c->size) && c->change == 0);
    CHECK(d.n_most == 2);
    pare_weight_drift_close(&d);
    CHECK_OK(pare_weights_comparable(&a, &b, &err), &err);
    CHECK_OK(pare_meta_set_str(&b.meta, "general.architecture", (pare_str){"qwen2", 5}, &err), &err);
    CHECK(pare_weights_comparable(&a, &b, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "'qwen2'") != NULL);
    pare_model_close(&a);
    pare_model_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_are_those_of_a_plain_loop),
                                       cmocka_unit_test(types_and_readers),
                                       cmocka_unit_test(shapes_zeros_and_numbers_that_are_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
