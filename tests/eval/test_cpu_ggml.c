/* Products with inputs rounded as llama.cpp's kernels round them: against integers written out. */
#include "check.h"
#include "toy.h"

#include "core/half.h"
#include "core/threads.h"
#include "eval/backend.h"
#include "quant/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 512, ROWS = 3, N = 5 };

/* What the inputs [i, i + block) are taken for. A scale in binary16 (Q8_0), or -1 / 127 of the largest in float (Q8_K).
 */
static void round_block(const float *x, int block, bool half_scale, double *out)
{
    int at = 0;
    for (int j = 1; j < block; j++)
        at = fabsf(x[j]) > fabsf(x[at]) ? j : at;
    float largest = fabsf(x[at]);
    for (int j = 0; j < block; j++) {
        int code = largest > 0 ? (int)lrintf((half_scale ? 127 / largest : -127 / x[at]) * x[j]) : 0;
        CHECK(code >= -127 && code <= 127);
        float d = half_scale ? pare_f16_to_f32(pare_f32_to_f16(largest / 127)) : largest > 0 ? 1 / (-127 / x[at]) : 0;
        out[j] = (double)d * code;
    }
}

static void check_type(pare_type type, int block, bool half_scale)
{
    uint64_t seed = 3 + type;
    float *w = toy_array(&seed, ROWS * WIDTH, 1), *x = toy_array(&seed, N * WIDTH, 1), decoded[ROWS * WIDTH];
    float y[N * ROWS];
    pare_error err = {0};
    for (int j = 0; j < WIDTH; j++)
        x[2 * WIDTH + j] = j < 256 ? 0 : x[2 * WIDTH + j] * 1e-3f; /* a block of zeros, and small ones */
    pare_tensor t = toy_tensor("w", w, ROWS, WIDTH);
    t.type = type;
    CHECK_OK(pare_tensor_set_shape(&t, "toy", &err), &err);
    uint8_t *bytes = check_malloc(t.n_bytes);
    float ones[WIDTH];
    for (int j = 0; j < WIDTH; j++)
        ones[j] = 1;
    CHECK_OK(pare_encode_rows(type, w, ROWS, WIDTH, ones, PARE_EFFORT_DEFAULT, bytes, &err), &err);
    CHECK_OK(pare_decode_rows(type, bytes, ROWS, WIDTH, decoded, &err), &err);
    t.data = bytes;
    pare_backend *b = NULL;
    CHECK_OK(pare_backend_cpu_ggml(&b, &err), &err);
    CHECK(strcmp(b->compute, "ggml") == 0);
    CHECK_OK(b->matmul(b, &t, 0, ROWS, x, N, y, &err), &err);
    for (int i = 0; i < N; i++)
        for (int r = 0; r < ROWS; r++) {
            double rounded[WIDTH], sum = 0, size = 0;
            for (int j = 0; j < WIDTH; j += block)
                round_block(x + i * WIDTH + j, block, half_scale, rounded + j);
            for (int j = 0; j < WIDTH; j++) {
                sum += rounded[j] * (double)decoded[r * WIDTH + j];
                size += fabs(rounded[j] * (double)decoded[r * WIDTH + j]);
            }
            CHECK(fabs((double)y[i * ROWS + r] - sum) <= 1e-6 * size);
        }
    b->close(b);
    free(bytes);
    free(w);
    free(x);
}

static void inputs_of_blocks_become_8_bits(void **state)
{
    (void)state;
    const pare_type small[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q8_0, PARE_TYPE_IQ4_NL, PARE_TYPE_MXFP4, PARE_TYPE_NVFP4};
    const pare_type large[] = {PARE_TYPE_Q4_K, PARE_TYPE_Q6_K, PARE_TYPE_IQ2_XXS, PARE_TYPE_TQ2_0};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
        check_type(small[i], 32, true);
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        check_type(large[i], 256, false);
}

static void inputs_of_floats_take_their_type(void **state)
{
    (void)state;
    enum { F32_ROW = 0, F16_ROW = 1, BF16_ROW = 2 };
    uint64_t seed = 9;
    float *w = toy_array(&seed, WIDTH, 1), *x = toy_array(&seed, WIDTH, 1), y[3];
    const pare_type types[] = {PARE_TYPE_F32, PARE_TYPE_F16, PARE_TYPE_BF16};
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu_ggml(&b, &err), &err);
    for (int k = 0; k < 3; k++) {
        float bytes[WIDTH], decoded[WIDTH];
        double sum = 0;
        CHECK_OK(pare_encode_rows(types[k], w, 1, WIDTH, NULL, PARE_EFFORT_DEFAULT, bytes, &err), &err);
        CHECK_OK(pare_decode_rows(types[k], bytes, 1, WIDTH, decoded, &err), &err);
        pare_tensor t = toy_tensor("w", w, 1, WIDTH);
        t.type = types[k];
        CHECK_OK(pare_tensor_set_shape(&t, "toy", &err), &err);
        t.data = (const uint8_t *)bytes;
        CHECK_OK(b->matmul(b, &t, 0, 1, x, 1, &y[k], &err), &err);
        for (int j = 0; j < WIDTH; j++) {
            float in = k == F16_ROW    ? pare_f16_to_f32(pare_f32_to_f16(x[j]))
                       : k == BF16_ROW ? pare_bf16_to_f32(pare_f32_to_bf16(x[j]))
                                       : x[j];
            sum += (double)in * (double)decoded[j];
        }
        CHECK(fabs((double)y[k] - sum) < 2e-5);
    }
    CHECK(y[F32_ROW] != y[F16_ROW] && y[F16_ROW] != y[BF16_ROW]);
    b->close(b);
    free(w);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(inputs_of_blocks_become_8_bits),
                                       cmocka_unit_test(inputs_of_floats_take_their_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
