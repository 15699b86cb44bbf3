#include "quant/iq4_xs.h"

#include "quant/half_scale.h"
#include "quant/iq4_search.h"

#include <math.h>

enum {
    N_SUB = 8,
    N_SUPER = 16 / N_SUB, /* super-blocks that are searched at once, one sub-block a lane */
    SUPER_LEN = N_SUB * PARE_FAN_LEN,
    SCALE_LOW = -32,
    SCALE_HIGH = 31,
    N_TRIALS = 112, /* for the first d of a super-block */
    MAX_STARTS = 4
};

/* How far to search. */
typedef struct limits {
    pare_fan fan;
    int n_starts;        /* first values of d */
    int reach, n_rounds; /* how far scales may move in the first round; rounds of refitting d */
} limits;

/* Sixteen sub-blocks, each by itself: the scale of least error, and what a change of it costs: sum w level^2. */
typedef struct ideals {
    float peak[16], scale[16], stiffness[16];
} ideals;

/* Super-blocks under their d: scale s of sub-block j is d * scale[j]; lx and ll are sums for the least squares d. */
typedef struct fit {
    float d[N_SUPER], error[N_SUPER], lx[N_SUPER], ll[N_SUPER];
    pare_vec scale[PARE_PARTS];
} fit;

PARE_INLINE void fit_alone(const pare_fan_blocks *b, bool weighted, const pare_fan *fan, int part, ideals *out)
{
    pare_fan_best best;
    pare_fan_start(b, weighted, &best);
    for (int k = 0; k < fan->n_levels; k++)
        pare_fan_try(b, weighted, pare_iq4_near, fan, pare_vec_all(fan->level[k]), &best);
    pare_vec scale = best.scale * best.peak;
    memcpy(out->peak + part * PARE_VEC_LANES, &best.peak, sizeof best.peak);
    memcpy(out->scale + part * PARE_VEC_LANES, &scale, sizeof scale);
    memcpy(out->stiffness + part * PARE_VEC_LANES, &best.qq, sizeof best.qq);
}

static pare_vec to_scale(pare_vec v)
{
    return pare_vec_nearest(pare_vec_clamp(v, pare_vec_all(SCALE_LOW), pare_vec_all(SCALE_HIGH)));
}

/* Trial values for d as a binary16 holds them: the largest ideal scale is put on every quarter from 19.25 to 33 of
 * either sign. cost: the ideal scales' distances from the multiples of each, squared, by their stiffness. */
static void try_units(const ideals *in, int super, float *unit, float *cost)
{
    const float *scale = in->scale + super * N_SUB, *stiffness = in->stiffness + super * N_SUB;
    float peak = pare_peak(scale, N_SUB);
    for (int k = 0; k < N_TRIALS; k += PARE_VEC_LANES) {
        float place[PARE_VEC_LANES];
        for (int l = 0; l < PARE_VEC_LANES; l++)
            place[l] =
                peak / ((k + l) % 2 == 0 ? -19.25f - 0.125f * (float)(k + l) : 19.125f + 0.125f * (float)(k + l));
        pare_vec d = pare_vec_half_nonzero(pare_vec_load(place)), inverse = pare_vec_inverse(d), sum = pare_vec_all(0);
        for (int j = 0; j < N_SUB; j++) {
            pare_vec miss = scale[j] - d * to_scale(scale[j] * inverse);
            sum += stiffness[j] * miss * miss;
        }
        memcpy(unit + k, &d, sizeof d);
        memcpy(cost + k, &sum, sizeof sum);
    }
}

/* The n trials of least cost, the best first. */
static void best_units(const ideals *in, int super, int n, float *best)
{
    float unit[N_TRIALS], cost[N_TRIALS];
    try_units(in, super, unit, cost);
    for (int s = 0; s < n; s++) {
        int least = 0;
        for (int k = 1; k < N_TRIALS; k++)
            least = cost[k] < cost[least] ? k : least;
        best[s] = unit[least];
        cost[least] = HUGE_VALF;
    }
}

/* Each lane's d. */
static pare_vec lanes_of(const float *of_super, int part)
{
    float v[PARE_VEC_LANES];
    for (int l = 0; l < PARE_VEC_LANES; l++)
        v[l] = of_super[(part * PARE_VEC_LANES + l) / N_SUB];
    return pare_vec_load(v);
}

/* The best of the scales up to reach from where f's are, under f's d: their error and sums, a sub-block a lane. */
PARE_INLINE void settle_part(const pare_fan_blocks *b, bool weighted, int reach, int part, fit *f, float *error,
                             float *lx, float *ll)
{
    pare_vec zero = pare_vec_all(0), d = lanes_of(f->d, part), middle = f->scale[part];
    pare_vec least = pare_vec_all(HUGE_VALF), best_lx = zero, best_ll = zero;
    for (int step = -reach; step <= reach; step++) {
        pare_vec s = pare_vec_clamp(middle + (float)step, pare_vec_all(SCALE_LOW), pare_vec_all(SCALE_HIGH));
        pare_vec scale = d * s, inverse = pare_vec_inverse(scale), e = zero, x1 = zero, l2 = zero;
        for (int i = 0; i < PARE_FAN_LEN; i++) {
            pare_vec x = b->x[i], q = pare_iq4_near(x * inverse, zero, zero), r = x - scale * q;
            pare_vec wq = weighted ? b->w[i] * q : q;
            e += (weighted ? b->w[i] * r : r) * r;
            x1 += wq * x;
            l2 += wq * q;
        }
        pare_mask better = e < least;
        least = pare_vec_pick(better, e, least);
        best_lx = pare_vec_pick(better, s * x1, best_lx);
        best_ll = pare_vec_pick(better, s * s * l2, best_ll);
        f->scale[part] = pare_vec_pick(better, s, f->scale[part]);
    }
    memcpy(error + part * PARE_VEC_LANES, &least, sizeof least);
    memcpy(lx + part * PARE_VEC_LANES, &best_lx, sizeof best_lx);
    memcpy(ll + part * PARE_VEC_LANES, &best_ll, sizeof best_ll);
}

static void settle(const pare_fan_blocks *parts, int reach, fit *f)
{
    float error[16], lx[16], ll[16];
    for (int part = 0; part < PARE_PARTS; part++)
        if (parts->has_weights)
            settle_part(&parts[part], true, reach, part, f, error, lx, ll);
        else
            settle_part(&parts[part], false, reach, part, f, error, lx, ll);
    for (int s = 0; s < N_SUPER; s++) {
        f->error[s] = pare_add_lanes(error + s * N_SUB);
        f->lx[s] = pare_add_lanes(lx + s * N_SUB);
        f->ll[s] = pare_add_lanes(ll + s * N_SUB);
    }
}

/* Take super-block s of another fit. */
static void take(fit *to, const fit *from, int s)
{
    float a[16], b[16];
    memcpy(a, to->scale, sizeof a);
    memcpy(b, from->scale, sizeof b);
    memcpy(a + s * N_SUB, b + s * N_SUB, N_SUB * sizeof *a);
    memcpy(to->scale, a, sizeof a);
    to->d[s] = from->d[s];
    to->error[s] = from->error[s];
    to->lx[s] = from->lx[s];
    to->ll[s] = from->ll[s];
}

/* From the first values of d on: settle the scales, refit d to them, as long as a super-block's error falls. What one
 * gets does not depend on its neighbour. */
static void descend(const pare_fan_blocks *parts, const limits *to, const ideals *in, const float *d, fit *best)
{
    fit now = {0};
    bool falls[N_SUPER];
    memcpy(now.d, d, sizeof now.d);
    for (int part = 0; part < PARE_PARTS; part++) {
        pare_vec scale = pare_vec_load(in->scale + part * PARE_VEC_LANES);
        now.scale[part] = to_scale(scale * pare_vec_inverse(lanes_of(d, part)));
    }
    settle(parts, to->reach, &now);
    for (int s = 0; s < N_SUPER; s++)
        falls[s] = true;
    fit here = now;
    for (int round = 0; round < to->n_rounds && (falls[0] || falls[1]); round++) {
        for (int s = 0; s < N_SUPER; s++) {
            falls[s] = falls[s] && here.ll[s] > 0;
            pare_vec refit = pare_vec_half_nonzero(pare_vec_all(falls[s] ? here.lx[s] / here.ll[s] : here.d[s]));
            now.d[s] = refit[0];
            falls[s] = falls[s] && now.d[s] != here.d[s];
        }
        memcpy(now.scale, here.scale, sizeof now.scale);
        settle(parts, 1, &now);
        for (int s = 0; s < N_SUPER; s++) {
            falls[s] = falls[s] && now.error[s] < here.error[s];
            if (falls[s])
                take(&here, &now, s);
        }
    }
    for (int s = 0; s < N_SUPER; s++)
        if (here.error[s] < best->error[s])
            take(best, &here, s);
}

static void search(const pare_fan_blocks *parts, const limits *to, fit *best)
{
    ideals in;
    float start[N_SUPER][MAX_STARTS];
    for (int part = 0; part < PARE_PARTS; part++)
        if (parts->has_weights)
            fit_alone(&parts[part], true, &to->fan, part, &in);
        else
            fit_alone(&parts[part], false, &to->fan, part, &in);
    memset(best, 0, sizeof *best);
    for (int s = 0; s < N_SUPER; s++) {
        best->error[s] = HUGE_VALF;
        best_units(&in, s, to->n_starts, start[s]);
    }
    for (int k = 0; k < to->n_starts; k++) {
        float d[N_SUPER];
        for (int s = 0; s < N_SUPER; s++)
            d[s] = start[s][k];
        descend(parts, to, &in, d, best);
    }
    for (int s = 0; s < N_SUPER; s++)
        if (fabsf(pare_peak(in.peak + s * N_SUB, N_SUB)) > PARE_F16_MAX * SCALE_LOW * PARE_IQ4_LOW)
            best->d[s] = HUGE_VALF;
}

static void pack(const float *x, float d, const float *scales, pare_iq4_xs *out)
{
    unsigned high = 0;
    memset(out, 0, sizeof *out);
    pare_store_u16le(out->d, pare_f32_to_f16(d));
    for (int j = 0; j < N_SUB; j++) {
        unsigned scale = (unsigned)((int)scales[j] - SCALE_LOW);
        high |= (scale >> 4) << 2 * j;
        out->scales_l[j / 2] |= (uint8_t)((scale & 15) << j % 2 * 4);
        pare_iq4_pack(x + j * PARE_FAN_LEN, d * scales[j], out->qs + 16 * j);
    }
    pare_store_u16le(out->scales_h, (uint16_t)high);
}

/* Each sub-block's largest weight on the outermost level, the largest scale on the outermost integer. */
static void encode_plain(const float *x, pare_iq4_xs *out)
{
    float scales[N_SUB];
    for (int j = 0; j < N_SUB; j++)
        scales[j] = pare_peak(x + j * PARE_FAN_LEN, PARE_FAN_LEN) / PARE_IQ4_LOW;
    float d = pare_f16_to_f32(pare_f32_to_f16(pare_peak(scales, N_SUB) / SCALE_LOW)), inverse = d != 0 ? 1 / d : 0;
    for (int j = 0; j < N_SUB; j++)
        scales[j] = to_scale(pare_vec_all(scales[j] * inverse))[0];
    pack(x, d, scales, out);
}

/* Up to N_SUPER super-blocks; of one, the second half of the lanes repeats its last sub-block. */
static void load(const float *src, const float *weight, size_t n, pare_fan_blocks *parts)
{
    for (size_t part = 0; part < PARE_PARTS; part++) {
        size_t last = n * N_SUB - 1, first = part * PARE_VEC_LANES < last ? part * PARE_VEC_LANES : last;
        size_t left = n * N_SUB - first < PARE_VEC_LANES ? n * N_SUB - first : PARE_VEC_LANES;
        size_t at = first * PARE_FAN_LEN;
        pare_fan_load(&parts[part], src + at, weight != NULL ? weight + at : NULL, left);
    }
}

void pare_iq4_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq4_xs *out = dst;
    bool best_effort = effort == PARE_EFFORT_BEST;
    limits to = {.n_starts = best_effort ? 4 : 1, .reach = best_effort ? 3 : 2, .n_rounds = best_effort ? 8 : 4};
    for (size_t at = 0; effort == PARE_EFFORT_RTN && at < row_len; at += SUPER_LEN)
        encode_plain(src + at, out++);
    if (effort == PARE_EFFORT_RTN)
        return;
    pare_iq4_fan(effort, &to.fan);
    for (size_t at = 0, n; at < row_len; at += n * SUPER_LEN) {
        pare_fan_blocks parts[PARE_PARTS];
        fit best;
        float scales[16];
        n = (row_len - at) / SUPER_LEN < N_SUPER ? (row_len - at) / SUPER_LEN : N_SUPER;
        load(src + at, weight != NULL ? weight + at : NULL, n, parts);
        search(parts, &to, &best);
        memcpy(scales, best.scale, sizeof scales);
        for (size_t s = 0; s < n; s++)
            pack(src + at + s * SUPER_LEN, best.d[s], scales + s * N_SUB, out++);
    }
}
