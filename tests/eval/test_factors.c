/* A model whose matrices are NVFP4 with a factor each (tests/packed/ct_nvfp4): what they stand for is the same in
 * products, in a GGUF file that keeps them, in one of floats, and in a folder. */
#include "check.h"
#include "eval/forward.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "model/view.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TOKENS = 12, N_VOCAB = 16, N_FACTORS = 7 };

static void logits_of(const pare_model *m, float *out)
{
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    int32_t ids[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++)
        ids[i] = i * 5 % N_VOCAB;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, N_TOKENS, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, 1, N_TOKENS, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, N_TOKENS, out, &err), &err);
    pare_forward_close(f);
    b->close(b);
}

static size_t count_factors(const pare_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        n += m->tensors[i].factor != NULL;
        CHECK(pare_model_is_factor(m, &m->tensors[i]) ==
              (strcmp(m->tensors[i].name + strlen(m->tensors[i].name) - 6, ".scale") == 0));
    }
    return n;
}

/* The model as GGUF, in this type, opened again. */
static void through_gguf(const pare_model *in, pare_type type, const char *name, pare_model *out)
{
    char path[4300];
    pare_error err = {0};
    pare_model converted = {0};
    pare_plan plan = {0};
    snprintf(path, sizeof path, "%s/%s.gguf", temp_dir(), name);
    CHECK_OK(pare_convert(&converted, in, type, &plan, &err), &err);
    CHECK_OK(pare_gguf_write(&converted, path, &(pare_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_model_open(out, path, 0, &err), &err);
    pare_model_close(&converted);
}

static void expect_close(const float *a, const float *b, float bound)
{
    for (int i = 0; i < N_TOKENS * N_VOCAB; i++) {
        CHECK(isfinite(a[i]));
        CHECK(fabsf(a[i] - b[i]) <= bound);
    }
}

static void factors_multiply(void **state)
{
    (void)state;
    static float first[N_TOKENS * N_VOCAB], kept[N_TOKENS * N_VOCAB], folded[N_TOKENS * N_VOCAB];
    char dir[4300];
    pare_error err = {0};
    pare_model hub = {0}, file = {0}, floats = {0}, folder = {0};
    CHECK_OK(pare_model_open(&hub, source_path("tests/packed/ct_nvfp4"), 0, &err), &err);
    CHECK(count_factors(&hub) == N_FACTORS);
    logits_of(&hub, first);

    through_gguf(&hub, PARE_TYPE_NONE, "kept", &file);
    CHECK(file.n_tensors == hub.n_tensors && count_factors(&file) == N_FACTORS);
    CHECK(pare_model_find(&file, "blk.0.ffn_up.weight")->type == PARE_TYPE_NVFP4);
    logits_of(&file, kept);
    expect_close(first, kept, 0);

    through_gguf(&file, PARE_TYPE_F32, "floats", &floats);
    CHECK(floats.n_tensors == hub.n_tensors - N_FACTORS && count_factors(&floats) == 0);
    logits_of(&floats, folded);
    expect_close(first, folded, 1e-4f);

    snprintf(dir, sizeof dir, "%s/folder", temp_dir());
    CHECK_OK(pare_hf_write(&file, dir, PARE_TYPE_F32, &(pare_hf_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_model_open(&folder, dir, 0, &err), &err);
    logits_of(&folder, folded);
    expect_close(first, folded, 1e-4f);
    pare_model_close(&hub);
    pare_model_close(&file);
    pare_model_close(&floats);
    pare_model_close(&folder);
}

/* Matrices that become one tensor, and again many, keep the factors that they have, 1 where they have none. */
static void stacks_keep_factors(void **state)
{
    (void)state;
    const float data[4] = {1, 2, 3, 4}, factor = 0.5f;
    pare_arena arena = {0};
    pare_error err = {0};
    pare_tensor parts[2], stack, part, cast;
    float x[8];
    for (int i = 0; i < 2; i++) {
        parts[i] = (pare_tensor){.name = "w", .n_dims = 2, .dim = {2, 2}, .data = (const uint8_t *)data};
        CHECK_OK(pare_tensor_set_shape(&parts[i], "test", &err), &err);
    }
    parts[1].factor = &factor;
    CHECK_OK(pare_view_stack(&arena, &stack, parts, 2, &err), &err);
    CHECK_OK(pare_tensor_read_f32(&stack, 1, 2, x, &err), &err);
    CHECK(x[0] == 3 && x[1] == 4 && x[2] == 0.5f && x[3] == 1);
    CHECK_OK(pare_tensor_read_unscaled(&stack, 1, 2, x, &err), &err);
    CHECK(x[2] == 1 && x[3] == 2);
    CHECK_OK(pare_view_part(&arena, &part, &stack, 1, &err), &err);
    CHECK_OK(pare_view_cast(&arena, &cast, &part, PARE_TYPE_BF16, &err), &err);
    CHECK_OK(pare_tensor_read_f32(&cast, 0, 2, x, &err), &err);
    CHECK(x[0] == 0.5f && x[3] == 2);
    pare_arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_multiply),
        cmocka_unit_test(stacks_keep_factors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
