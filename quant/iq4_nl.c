#include "quant/iq4_nl.h"

#include "core/half.h"
#include "quant/iq4_search.h"
#include "quant/lattice.h"

enum { LEN = PARE_FAN_LEN };

/* The level nearest to v. */
static float nearest(float v)
{
    int level = PARE_IQ4_LOW;
    for (unsigned k = 1; k < 16; k++)
        if (v >= (float)(pare_iq4_level(k - 1) + pare_iq4_level(k)) * 0.5f)
            level = pare_iq4_level(k);
    return (float)level;
}

static pare_mask are_levels(const pare_fan_blocks *b, pare_vec inverse, int every)
{
    pare_mask yes = inverse != 0;
    for (int i = 0; i < LEN; i += every) {
        pare_vec v = b->x[i] * inverse, miss = v - pare_iq4_near(v, v, v);
        yes &= pare_vec_abs(miss) <= PARE_LATTICE_SLACK * pare_vec_abs(v);
    }
    return yes;
}

/* Blocks that may be levels times a scale already, as those of decoded IQ4_NL: with the peak on some level. */
static pare_mask find_lattices(const pare_fan_blocks *b)
{
    pare_mask found = {0};
    pare_vec peak = pare_vec_all(0);
    for (int i = 0; i < LEN; i++)
        peak = pare_vec_pick(pare_vec_abs(b->x[i]) > pare_vec_abs(peak), b->x[i], peak);
    pare_vec inverse = pare_vec_inverse(pare_vec_where(pare_vec_abs(peak) > PARE_FAN_TINY, peak));
    for (unsigned k = 0; k < 16; k++) {
        pare_vec trial = inverse * (float)pare_iq4_level(k);
        if (pare_mask_any(are_levels(b, trial, 8)))
            found |= are_levels(b, trial, 1);
    }
    return found;
}

/* The scale that gives the very weights of a block, or 0. */
static float exact_scale(const float *x)
{
    float d = 0, peak = pare_peak(x, LEN);
    for (unsigned k = 0; k < 16 && d == 0; k++)
        d = pare_lattice_scale(x, LEN, peak / (float)pare_iq4_level(k), nearest, PARE_IQ4_LOW, PARE_IQ4_HIGH);
    return d;
}

static pare_vec search(const pare_fan_blocks *b, const pare_fan *fan)
{
    return b->has_weights ? pare_fan_search(b, true, pare_iq4_near, fan)
                          : pare_fan_search(b, false, pare_iq4_near, fan);
}

/* The largest weight on the outermost level. */
static float plain_scale(const float *x)
{
    return pare_f16_to_f32(pare_f32_to_f16(pare_peak(x, LEN) / PARE_IQ4_LOW));
}

static void put(const float *x, float d, pare_iq4_nl *out)
{
    pare_store_u16le(out->d, pare_f32_to_f16(d));
    pare_iq4_pack(x, d, out->qs);
}

void pare_iq4_nl_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq4_nl *out = dst;
    pare_fan_blocks blocks;
    pare_fan fan;
    for (size_t at = 0; effort == PARE_EFFORT_RTN && at < row_len; at += LEN)
        put(src + at, plain_scale(src + at), out++);
    if (effort == PARE_EFFORT_RTN)
        return;
    pare_iq4_fan(effort, &fan);
    for (size_t at = 0, n; at < row_len; at += n * LEN) {
        n = (row_len - at) / LEN < PARE_VEC_LANES ? (row_len - at) / LEN : PARE_VEC_LANES;
        pare_fan_load(&blocks, src + at, weight != NULL ? weight + at : NULL, n);
        pare_vec found = search(&blocks, &fan);
        pare_mask lattices = find_lattices(&blocks);
        for (size_t l = 0; l < n; l++, out++) {
            const float *x = src + at + l * LEN;
            float exact = lattices[l] ? exact_scale(x) : 0, d = exact != 0 ? exact : found[l];
            put(x, d, out);
        }
    }
}
