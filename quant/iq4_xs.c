#include "quant/iq4_xs.h"

#include "quant/half_scale.h"
#include "quant/iq4_search.h"
#include "quant/lanes.h"

#include <math.h>

enum {
    N_SUB = 8,
    SUPER_LEN = N_SUB * PARE_IQ4_LEN,
    SCALE_LOW = -32,
    SCALE_HIGH = 31,
    REACH = 2,     /* how far from its present scale a sub-block looks for a better one */
    MAX_ROUNDS = 6 /* of refitting d; each must lower the error */
};

/* A super-block: scale s of sub-block j is d * scale[j]; lx and ll are sums for the least squares d. */
typedef struct fit {
    uint16_t d;
    int scale[N_SUB];
    float error, lx, ll;
} fit;

/* A sub-block by itself: the scale of least error, and the weight of a change of it: sum w l^2. */
typedef struct ideal {
    float scale, stiffness;
} ideal;

static ideal fit_alone(const pare_levels *levels, const float *x, const float *w)
{
    float starts[PARE_IQ4_MAX_STARTS], least = HUGE_VALF;
    ideal best = {0, 0};
    int n = pare_iq4_starts(levels, x, w, starts);
    for (int k = 0; k < n; k++) {
        pare_level_sums s = pare_levels_measure(levels, x, w, PARE_IQ4_LEN, starts[k]);
        if (s.error < least) {
            least = s.error;
            best = (ideal){s.lx / s.ll, s.ll};
        }
    }
    return best;
}

static int to_scale(float v)
{
    v = v > SCALE_LOW ? v : SCALE_LOW;
    v = v < SCALE_HIGH ? v : SCALE_HIGH;
    return (int)(v + (v < 0 ? -0.5f : 0.5f));
}

/* The d, as it is stored, whose multiples come closest to the ideal scales, counting changes by their stiffness: the
 * largest scale is put on every quarter from 20 to 33 of either sign.
 * Infinite where all these are. */
static uint16_t first_d(const ideal *ideals)
{
    float scales[N_SUB], least = HUGE_VALF;
    for (int j = 0; j < N_SUB; j++)
        scales[j] = ideals[j].scale;
    float peak = pare_peak(scales, N_SUB);
    uint16_t best = peak != 0 ? PARE_F16_INFINITY : 0;
    for (int k = 80; peak != 0 && k <= 132; k++)
        for (int sign = -1; sign <= 1; sign += 2) {
            uint16_t half = pare_f32_to_f16_nonzero(peak / (0.25f * (float)(sign * k)));
            float d = pare_f16_to_f32(half), inverse = 1 / d, error[N_SUB];
            for (int j = 0; j < N_SUB; j++) {
                float miss = scales[j] - d * (float)to_scale(scales[j] * inverse);
                error[j] = ideals[j].stiffness * miss * miss;
            }
            float sum = pare_add_lanes(error);
            if (sum < least) {
                least = sum;
                best = half;
            }
        }
    return best;
}

/* Under f's d: the best scale of every sub-block, near the one it has. */
static void settle(const pare_levels *levels, const float *x, const float *w, fit *f)
{
    float d = pare_f16_to_f32(f->d);
    f->error = f->lx = f->ll = 0;
    for (int j = 0; j < N_SUB; j++, x += PARE_IQ4_LEN, w += PARE_IQ4_LEN) {
        pare_level_sums best = {HUGE_VALF, 0, 0};
        int middle = f->scale[j];
        for (int s = middle - REACH; s <= middle + REACH; s++) {
            if (s < SCALE_LOW || s > SCALE_HIGH)
                continue;
            pare_level_sums m = pare_levels_measure(levels, x, w, PARE_IQ4_LEN, d * (float)s);
            if (m.error < best.error) {
                best = m;
                f->scale[j] = s;
            }
        }
        float s = (float)f->scale[j];
        f->error += best.error;
        f->lx += s * best.lx;
        f->ll += s * s * best.ll;
    }
}

static fit search(const pare_levels *levels, const float *x, const float *w)
{
    ideal ideals[N_SUB];
    fit best = {0};
    if (fabsf(pare_peak(x, SUPER_LEN)) > PARE_F16_MAX * SCALE_LOW * levels->low)
        return (fit){.d = PARE_F16_INFINITY};
    for (int j = 0; j < N_SUB; j++)
        ideals[j] = fit_alone(levels, x + j * PARE_IQ4_LEN, w + j * PARE_IQ4_LEN);
    best.d = first_d(ideals);
    if (best.d == PARE_F16_INFINITY)
        return best;
    float d = pare_f16_to_f32(best.d);
    for (int j = 0; j < N_SUB && d != 0; j++)
        best.scale[j] = to_scale(ideals[j].scale / d);
    settle(levels, x, w, &best);
    for (int round = 0; round < MAX_ROUNDS && best.ll > 0; round++) {
        fit next = best;
        next.d = pare_f32_to_f16_nonzero(best.lx / best.ll);
        settle(levels, x, w, &next);
        if (!(next.error < best.error))
            break;
        best = next;
    }
    return best;
}

static void pack(const pare_levels *levels, const float *x, const fit *f, pare_iq4_xs *out)
{
    unsigned high = 0;
    memset(out, 0, sizeof *out);
    pare_store_u16le(out->d, f->d);
    for (int j = 0; j < N_SUB; j++) {
        unsigned scale = (unsigned)(f->scale[j] - SCALE_LOW);
        uint8_t codes[PARE_IQ4_LEN];
        high |= (scale >> 4) << 2 * j;
        out->scales_l[j / 2] |= (uint8_t)((scale & 15) << j % 2 * 4);
        pare_levels_codes(levels, x + j * PARE_IQ4_LEN, PARE_IQ4_LEN, pare_f16_to_f32(f->d) * (float)f->scale[j],
                          codes);
        pare_levels_pack(codes, out->qs + 16 * j);
    }
    pare_store_u16le(out->scales_h, (uint16_t)high);
}

void pare_iq4_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    pare_iq4_xs *out = dst;
    pare_levels levels;
    pare_iq4_levels(&levels);
    for (size_t i = 0; i < row_len; i += SUPER_LEN, out++) {
        float w[SUPER_LEN];
        pare_take_weights(weight, i, SUPER_LEN, w);
        fit f = search(&levels, src + i, w);
        pack(&levels, src + i, &f, out);
    }
}
