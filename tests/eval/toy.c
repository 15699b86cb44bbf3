#include "toy.h"

#include "check.h"

float toy_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
    return (float)(int32_t)(*state >> 32) / 2147483648.0f;
}

float *toy_array(uint64_t *state, size_t n, float scale)
{
    float *x = check_malloc((n > 0 ? n : 1) * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * toy_random(state);
    return x;
}

pare_tensor toy_tensor(const char *name, const float *values, uint64_t n_rows, uint64_t row_len)
{
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .data = (const uint8_t *)(const void *)values};
    pare_error err = {0};
    if (n_rows != 0)
        t.dim[t.n_dims++] = n_rows;
    t.dim[t.n_dims++] = row_len;
    CHECK_OK(pare_tensor_set_shape(&t, "toy", &err), &err);
    return t;
}

void toy_add(pare_model *m, uint64_t *state, const char *name, uint64_t n_rows, uint64_t row_len, float scale,
             float base)
{
    pare_error err = {0};
    size_t n = (size_t)(n_rows != 0 ? n_rows : 1) * row_len;
    float *values = pare_arena_alloc(&m->arena, n * sizeof *values, &err);
    CHECK(values != NULL);
    for (size_t i = 0; i < n; i++)
        values[i] = base + scale * toy_random(state);
    pare_tensor t = toy_tensor(name, values, n_rows, row_len);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

void toy_add_stack(pare_model *m, uint64_t *state, const char *name, uint64_t n_matrices, uint64_t n_rows,
                   uint64_t row_len, float scale)
{
    pare_error err = {0};
    toy_add(m, state, name, n_matrices * n_rows, row_len, scale, 0);
    pare_tensor *t = (pare_tensor *)(uintptr_t)pare_model_find(m, name);
    t->n_dims = 3;
    t->dim[0] = n_matrices;
    t->dim[1] = n_rows;
    t->dim[2] = row_len;
    CHECK_OK(pare_tensor_set_shape(t, "toy", &err), &err);
}

float *toy_values(const pare_model *m, const char *name)
{
    const pare_tensor *t = pare_model_find(m, name);
    return t != NULL ? (float *)(uintptr_t)t->data : NULL;
}
