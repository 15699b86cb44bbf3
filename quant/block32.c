#include "quant/block32.h"

#include "quant/line_search.h"
#include "quant/plain_round.h"
#include "quant/vec.h"
#include "quant/whole_search.h"

static void encode_plain(const pare_block32_format *format, const float *src, size_t row_len, uint8_t *out)
{
    pare_block32 block;
    for (size_t i = 0; i < row_len; i += PARE_BLOCK32, out += format->block_bytes) {
        float min = 0, d = format->is_affine ? pare_round_line(src + i, format->n_codes - 1, block.codes, &min)
                                             : pare_round_whole(src + i, format->n_codes / 2, block.codes);
        block.d = pare_f32_to_f16(d);
        block.m = pare_f32_to_f16(min);
        format->pack(&block, out);
    }
}

/* Levels on which the search puts the largest weight, on either side. */
static pare_whole_shape whole_shape(int half, pare_effort effort)
{
    float range = (float)half;
    pare_whole_shape shape = {.lattice_top = half};
    pare_fan_init(&shape.fan, -range, range - 1, effort == PARE_EFFORT_BEST ? 4 : 2);
    if (effort == PARE_EFFORT_BEST)
        pare_fan_add(&shape.fan, 0.6f * range, 0.015f * range, 2 * range, true);
    else if (half == 8)
        pare_fan_add(&shape.fan, 6.5f, 0.35f, 10.5f, true);
    else
        pare_fan_add(&shape.fan, 14, 0.5f, 20.5f, true);
    return shape;
}

static pare_line_shape line_shape(int n_codes, pare_effort effort)
{
    pare_line_shape shape = {.top = (float)(n_codes - 1), .first = -0.5f, .step = 0.625f, .n_ends = 5, .n_polish = 2};
    if (effort == PARE_EFFORT_BEST)
        shape = (pare_line_shape){.top = (float)(n_codes - 1), .first = -0.5f, .step = 0.5f, .n_polish = 4};
    if (effort == PARE_EFFORT_BEST)
        shape.n_ends = n_codes > 16 ? 18 : 12;
    else if (n_codes > 16) {
        shape.step = 0.5f;
        shape.n_ends = 6;
    }
    return shape;
}

static void take_codes(const pare_block32_format *format, const float *x, float d, float m, pare_block32 *out)
{
    float inverse = pare_reciprocal(d), half = (float)(format->n_codes / 2), top = (float)(format->n_codes - 1);
    out->d = pare_f32_to_f16(d);
    out->m = pare_f32_to_f16(m);
    for (int i = 0; i < PARE_BLOCK32; i++)
        out->codes[i] = (uint8_t)(format->is_affine ? pare_line_code(x[i], m, inverse, top)
                                                    : pare_whole_code(x[i], inverse, -half, half - 1) + half);
}

static void encode_search(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                          pare_effort effort, uint8_t *out)
{
    float d[PARE_VEC_LANES], m[PARE_VEC_LANES] = {0};
    pare_whole_shape whole = whole_shape(format->n_codes / 2, effort);
    pare_line_shape line = line_shape(format->n_codes, effort);
    for (size_t at = 0, n; at < row_len; at += n * PARE_BLOCK32) {
        n = (row_len - at) / PARE_BLOCK32 < PARE_VEC_LANES ? (row_len - at) / PARE_BLOCK32 : PARE_VEC_LANES;
        const float *w = weight != NULL ? weight + at : NULL;
        if (format->is_affine)
            pare_line_scales(&line, src + at, w, n, d, m);
        else
            pare_whole_scales(&whole, src + at, w, n, d);
        for (size_t l = 0; l < n; l++, out += format->block_bytes) {
            pare_block32 block;
            take_codes(format, src + at + l * PARE_BLOCK32, d[l], m[l], &block);
            format->pack(&block, out);
        }
    }
}

void pare_block32_encode(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                         pare_effort effort, void *dst)
{
    if (effort == PARE_EFFORT_RTN)
        encode_plain(format, src, row_len, dst);
    else
        encode_search(format, src, row_len, weight, effort, dst);
}
