#include "eval/backend.h"
#include "eval/cpu.h"

#include "core/checked.h"
#include "core/half.h"
#include "core/threads.h"
#include "quant/types.h"

#include <math.h>
#include <stdlib.h>

/* llama.cpp's CPU kernels multiply integers with integers: before a product the inputs of a weight in blocks are
 * rounded to 8 bits, those of F16 and BF16 weights to that type (ggml-cpu.c, vec_dot_type). What they add up is the
 * product of the decoded weight with the rounded inputs, which is what is computed here in floats.
 *
 *   blocks of 256         Q8_K: a scale for 256 inputs, -127 stands for the one of largest magnitude
 *   other blocks          Q8_0: a scale for 32 inputs, in binary16; 127 for the largest magnitude */

typedef void (*round_fn)(const float *x, size_t n, float *y);

static void round_q8_0(const float *x, size_t n, float *y)
{
    enum { BLOCK = 32 };
    for (size_t i = 0; i < n; i += BLOCK) {
        float largest = 0;
        for (size_t j = i; j < i + BLOCK; j++)
            largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
        float d = pare_f16_to_f32(pare_f32_to_f16(largest / 127)), per_unit = largest > 0 ? 127 / largest : 0;
        for (size_t j = i; j < i + BLOCK; j++)
            y[j] = d * rintf(x[j] * per_unit);
    }
}

static void round_q8_k(const float *x, size_t n, float *y)
{
    enum { BLOCK = 256 };
    for (size_t i = 0; i < n; i += BLOCK) {
        float largest = 0, with_sign = 0;
        for (size_t j = i; j < i + BLOCK; j++)
            if (fabsf(x[j]) > largest) {
                largest = fabsf(x[j]);
                with_sign = x[j];
            }
        float per_unit = largest > 0 ? -127 / with_sign : 0, d = largest > 0 ? 1 / per_unit : 0;
        for (size_t j = i; j < i + BLOCK; j++)
            y[j] = d * rintf(x[j] * per_unit);
    }
}

static void round_f16(const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = pare_f16_to_f32(pare_f32_to_f16(x[i]));
}

static void round_bf16(const float *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = pare_bf16_to_f32(pare_f32_to_bf16(x[i]));
}

/* NULL: as they are */
static round_fn rounding_of(pare_type type)
{
    uint32_t block = pare_type_get(type)->block_len;
    if (block > 1)
        return block == 256 ? round_q8_k : round_q8_0;
    return type == PARE_TYPE_F16 ? round_f16 : type == PARE_TYPE_BF16 ? round_bf16 : NULL;
}

/* The rounded inputs of the product in work; kept for the next one. */
typedef struct rounded {
    float *x;
    size_t room;
    void (*close)(pare_backend *b); /* of the backend that this one extends */
} rounded;

typedef struct job {
    round_fn round;
    const float *x;
    size_t width;
    float *y;
} job;

static pare_status round_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const job *j = ctx;
    (void)thread;
    (void)err;
    j->round(j->x + i * j->width, j->width, j->y + i * j->width);
    return PARE_OK;
}

static pare_status ggml_matmul(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                               uint32_t n, float *y, pare_error *err)
{
    rounded *r = b->state;
    job j = {.round = rounding_of(w->type), .x = x, .width = (size_t)w->row_len};
    size_t bytes;
    if (j.round == NULL)
        return pare_cpu_matmul(b, w, row, n_rows, x, n, y, err);
    if (!pare_mul_size((size_t)n, j.width, &bytes) || !pare_mul_size(bytes, sizeof *x, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for its inputs", w->name);
    if (bytes > r->room) {
        free(r->x);
        r->x = malloc(bytes);
        r->room = r->x != NULL ? bytes : 0;
        if (r->x == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for its inputs", w->name);
    }
    j.y = r->x;
    pare_status st = pare_parallel(n, round_row, &j, err);
    return st == PARE_OK ? pare_cpu_matmul(b, w, row, n_rows, r->x, n, y, err) : st;
}

static void ggml_close(pare_backend *b)
{
    rounded *r = b->state;
    b->close = r->close;
    free(r->x);
    free(r);
    b->close(b);
}

pare_status pare_backend_cpu_ggml(pare_backend **out, pare_error *err)
{
    rounded *r = calloc(1, sizeof *r);
    if (r == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the CPU backend");
    pare_status st = pare_backend_cpu(out, err);
    if (st != PARE_OK) {
        free(r);
        return st;
    }
    r->close = (*out)->close;
    (*out)->compute = "ggml";
    (*out)->state = r;
    (*out)->matmul = ggml_matmul;
    (*out)->close = ggml_close;
    return PARE_OK;
}
