#include "quant/q8_0.h"

#include "quant/fraction_search.h"
#include "quant/lattice.h"
#include "quant/plain_round.h"
#include "quant/whole_search.h"

#include <math.h>

enum { LEN = 32, TOP = 127 };
enum { BLOCK_TOP = 31 }; /* blocks of integers up to this times one step are recognised */

/* How far the sample is from integers times a step, squared, in units of the peak, if that is `level` such steps;
 * infinite where a weight is too far for rounding to explain it. */
static float distance(const float *sample, int n, float peak, int level)
{
    float sum = 0, inverse = (float)level / peak, step = 1 / (float)level;
    for (int k = 0; k < n; k++) {
        pare_vec v = pare_vec_all(sample[k] * inverse);
        if (!pare_lattice_near(v)[0])
            return HUGE_VALF;
        float miss = (v - pare_vec_nearest(v))[0] * step;
        sum += miss * miss;
    }
    return sum;
}

/* The step of a row whose weights are integers up to 127 times one step, as those of int8 checkpoints are; 0 when it is
 * no such row. Judged by its largest value, which is 64 to 127 times the step or a power of two of it, and the first
 * ones that are not 0 and not as the one before. */
static float find_row_step(const float *src, size_t row_len)
{
    float sample[64], peak = 0, least = HUGE_VALF, step = 0, last = 0;
    int n = 0;
    for (size_t i = 0; i < row_len; i++)
        peak = fabsf(src[i]) > peak ? fabsf(src[i]) : peak;
    for (size_t i = 0; i < row_len && n < 64; i++)
        if (src[i] != 0 && fabsf(src[i]) != last)
            sample[n++] = last = fabsf(src[i]);
    for (int level = TOP; level > TOP / 2 && peak > PARE_FAN_TINY; level--) {
        float sum = distance(sample, n, peak, level);
        if (sum < least) {
            least = sum;
            step = peak / (float)level;
        }
    }
    return step;
}

/* Of whole blocks. */
static float row_peak(const float *src, size_t n)
{
    enum { SETS = LEN / PARE_VEC_LANES };
    pare_mask peak[SETS] = {{0}};
    float lane[LEN], all = 0;
    for (size_t i = 0; i < n; i += LEN)
        for (size_t k = 0; k < SETS; k++)
            peak[k] = pare_vec_larger(peak[k], pare_vec_load(src + i + k * PARE_VEC_LANES));
    memcpy(lane, peak, sizeof lane);
    for (int l = 0; l < LEN; l++)
        all = lane[l] > all ? lane[l] : all;
    return all;
}

/* Whether n weights, a multiple of 4, may be integers times a step of which the peak is one of 16 numbers from `first`
 * on. */
static bool may_be_multiples(const float *x, size_t n, float peak, int first)
{
    static const float count[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (size_t p = 0; p < PARE_PARTS; p++) {
        pare_vec per_step = (pare_vec_load(count + p * PARE_VEC_LANES) + (float)first) / peak;
        pare_mask may = per_step == per_step;
        bool any = true;
        for (size_t i = 0; i < n && any; i += 4) {
            for (size_t k = i; k < i + 4; k++)
                may &= pare_lattice_near(x[k] * per_step);
            any = pare_mask_any(may);
        }
        if (any)
            return true;
    }
    return false;
}

/* Whether a row may be integers times one step or a step a block: a look at its first weights and some of its blocks
 * that is cheap where it is not. Peaks are at least half of the largest integers, or some multiple of them is. */
static bool may_be_lattice(const float *src, size_t row_len)
{
    size_t n_blocks = row_len / LEN, stride = (n_blocks + 7) / 8, n_first = row_len < 64 ? row_len : 64;
    float peak = row_peak(src, row_len);
    for (int first = TOP / 2 + 1; first < TOP && peak > PARE_FAN_TINY; first += 16)
        if (may_be_multiples(src, n_first, peak, first))
            return true;
    for (size_t b = 0; b < n_blocks; b += stride) {
        peak = row_peak(src + b * LEN, LEN);
        if (peak > PARE_FAN_TINY && may_be_multiples(src + b * LEN, LEN, peak, BLOCK_TOP / 2 + 1))
            return true;
    }
    return false;
}

static void put(const float *x, float d, pare_q8_0 *out)
{
    pare_vec inverse = pare_vec_all(d != 0 ? 1 / d : 0);
    uint32_t code[LEN];
    pare_store_u16le(out->d, pare_f32_to_f16(d));
    for (size_t i = 0; i < LEN; i += PARE_VEC_LANES) {
        pare_vec sum = pare_vec_code(pare_vec_load(x + i) * inverse, TOP);
        memcpy(code + i, &sum, sizeof sum);
    }
    for (int j = 0; j < LEN; j++)
        out->qs[j] = (uint8_t)code[j];
}

/* Steps of lattices are looked for, and levels tried by exact sums. */
static void encode_thoroughly(const float *src, size_t row_len, const float *weight, pare_effort effort, pare_q8_0 *out)
{
    float d[PARE_VEC_LANES];
    pare_whole_shape shape = {.lattice_top = BLOCK_TOP, .row_step = find_row_step(src, row_len)};
    pare_fan_init(&shape.fan, -TOP, TOP, effort == PARE_EFFORT_BEST ? 4 : 2);
    pare_fan_add(&shape.fan, 106, effort == PARE_EFFORT_BEST ? 0.2f : 1.3f, 150, false);
    for (size_t at = 0, n; at < row_len; at += n * LEN) {
        n = (row_len - at) / LEN < PARE_VEC_LANES ? (row_len - at) / LEN : PARE_VEC_LANES;
        pare_whole_scales(&shape, src + at, weight != NULL ? weight + at : NULL, n, d);
        for (size_t l = 0; l < n; l++)
            put(src + at + LEN * l, fabsf(d[l]), out++);
    }
}

static void encode_quickly(const float *src, size_t row_len, const float *weight, pare_q8_0 *out)
{
    float d[PARE_FRACTION_BLOCKS];
    for (size_t at = 0, n; at < row_len; at += n * LEN) {
        n = (row_len - at) / LEN < PARE_FRACTION_BLOCKS ? (row_len - at) / LEN : PARE_FRACTION_BLOCKS;
        pare_fraction_scales(src + at, weight != NULL ? weight + at : NULL, n, d);
        for (size_t l = 0; l < n; l++)
            put(src + at + LEN * l, d[l], out++);
    }
}

void pare_q8_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    if (effort == PARE_EFFORT_RTN)
        for (size_t i = 0; i < row_len; i += LEN)
            pare_q8_0_round(src + i, (pare_q8_0 *)dst + i / LEN);
    else if (effort == PARE_EFFORT_BEST || may_be_lattice(src, row_len))
        encode_thoroughly(src, row_len, weight, effort, dst);
    else
        encode_quickly(src, row_len, weight, dst);
}
