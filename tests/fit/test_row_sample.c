/* Some rows of large matrices: which, and that they are the matrix's own. */
#include "check.h"

#include "fit/row_sample.h"
#include "formats/open.h"

#include <stdlib.h>
#include <string.h>

static void open_demo(pare_model *m)
{
    pare_error err = {0};
    CHECK_OK(pare_model_open(m, source_path("tests/data/demo"), 0, &err), &err);
}

/* The row of t that these bytes are, from row lo on. */
static uint64_t row_of(const pare_tensor *t, const uint8_t *bytes, uint64_t lo)
{
    uint8_t *row = check_malloc((size_t)t->row_bytes);
    pare_error err = {0};
    for (; lo < t->n_rows; lo++) {
        CHECK_OK(pare_tensor_read(t, lo, 1, row, &err), &err);
        if (memcmp(row, bytes, (size_t)t->row_bytes) == 0)
            break;
    }
    free(row);
    return lo;
}

/* As many rows as were asked for, one out of each stretch, of matrices that are marked and large. */
static void rows_come_from_all_of_it(void **state)
{
    pare_model m;
    pare_row_sample s;
    pare_error err = {0};
    (void)state;
    open_demo(&m);
    const pare_tensor *up = pare_model_find(&m, "blk.1.ffn_up.weight"), *k = pare_model_find(&m, "blk.1.attn_k.weight");
    CHECK(up != NULL && k != NULL && up->n_rows * up->row_len > 2 * k->n_rows * k->row_len);
    bool *wanted = check_malloc(m.n_tensors * sizeof *wanted);
    memset(wanted, 0, m.n_tensors * sizeof *wanted);
    wanted[up - m.tensors] = wanted[k - m.tensors] = true;
    const uint64_t n = k->n_rows * k->row_len / PARE_ROW_SAMPLE_LEAST; /* k is not above the limit */
    CHECK_OK(pare_row_sample_open(&s, &m, wanted, n, &err), &err);
    CHECK(s.model.n_tensors == 1 && pare_row_sample_find(&s, (size_t)(up - m.tensors)) == 0);
    CHECK(pare_row_sample_find(&s, (size_t)(k - m.tensors)) == SIZE_MAX && pare_row_sample_find(&s, 0) == SIZE_MAX);
    const pare_tensor *few = &s.model.tensors[0];
    const uint64_t n_rows = n / up->row_len;
    CHECK(strcmp(few->name, up->name) == 0 && few->n_rows == n_rows && few->row_len == up->row_len);
    CHECK(few->n_bytes == n_rows * up->row_bytes && few->type == up->type);
    uint8_t *row = check_malloc((size_t)up->row_bytes);
    for (uint64_t i = 0; i < n_rows; i++) {
        CHECK_OK(pare_tensor_read(few, i, 1, row, &err), &err);
        const uint64_t at = row_of(up, row, up->n_rows * i / n_rows);
        CHECK(at < up->n_rows * (i + 1) / n_rows);
    }
    free(row);
    pare_row_sample_close(&s);
    /* A sample of less than a row has one; without a number there is none. */
    CHECK_OK(pare_row_sample_open(&s, &m, wanted, 1, &err), &err);
    CHECK(s.model.n_tensors == 2 && s.model.tensors[0].n_rows == 1);
    pare_row_sample_close(&s);
    CHECK_OK(pare_row_sample_open(&s, &m, wanted, UINT64_MAX, &err), &err);
    CHECK(s.model.n_tensors == 0);
    pare_row_sample_close(&s);
    free(wanted);
    pare_model_close(&m);
}

/* Each expert gives as many. */
static void experts_are_matrices(void **state)
{
    enum { EXPERTS = 4, ROWS = 32, COLUMNS = 8, EACH = 2 };
    float values[EXPERTS * ROWS * COLUMNS];
    pare_model m = {.path = "toy"};
    pare_tensor t = {.name = "blk.0.ffn_up_exps.weight",
                     .n_dims = 3,
                     .dim = {EXPERTS, ROWS, COLUMNS},
                     .row_len = COLUMNS,
                     .n_rows = EXPERTS * ROWS};
    pare_row_sample s;
    pare_error err = {0};
    const bool wanted[] = {true};
    (void)state;
    for (size_t i = 0; i < EXPERTS * ROWS * COLUMNS; i++)
        values[i] = (float)(i / COLUMNS);
    CHECK_OK(pare_tensor_replace(&t, PARE_TYPE_F32, NULL, values, "toy", &err), &err);
    CHECK_OK(pare_model_reserve(&m, 1, &err), &err);
    CHECK_OK(pare_model_add(&m, &t, NULL, &err), &err);
    CHECK_OK(pare_row_sample_open(&s, &m, wanted, EXPERTS * EACH * COLUMNS, &err), &err);
    CHECK(s.model.n_tensors == 1 && s.model.tensors[0].n_rows == EXPERTS * EACH);
    CHECK(pare_tensor_matrices(&s.model.tensors[0]) == EXPERTS);
    for (uint64_t i = 0; i < EXPERTS * EACH; i++) {
        float row[COLUMNS];
        CHECK_OK(pare_tensor_read(&s.model.tensors[0], i, 1, row, &err), &err);
        CHECK((uint64_t)row[0] / ROWS == i / EACH);                 /* of its expert, */
        CHECK((uint64_t)row[0] % ROWS / (ROWS / EACH) == i % EACH); /* and its stretch */
    }
    pare_row_sample_close(&s);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_come_from_all_of_it),
                                       cmocka_unit_test(experts_are_matrices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
