#include "quant/scale_search.h"

#include "quant/half_scale.h"
#include "quant/super_lanes.h"

#include <math.h>
#include <string.h>

enum { MAX_ROUNDS = 8 /* of refitting d and dmin; each must lower the error */ };

float pare_super_half(float v)
{
    return pare_f16_to_f32(pare_f32_to_f16_nonzero(v));
}

enum { N_UNITS = 64 };

/* The places of the n_best smallest losses, which are not negative: so their bits compare as they do, and the last six
 * make room for the place. */
static void smallest(const float *loss, int n_best, int *at)
{
    int32_t key[N_UNITS], last = -1;
    memcpy(key, loss, sizeof key);
    for (int k = 0; k < N_UNITS; k++)
        key[k] = (key[k] & ~(N_UNITS - 1)) | k;
    for (int i = 0; i < n_best; i++) {
        int32_t lane[16], next = INT32_MAX;
        for (int g = 0; g < 16; g++)
            lane[g] = INT32_MAX;
        for (int k = 0; k < N_UNITS; k += 16)
            for (int g = 0; g < 16; g++) {
                int32_t v = key[k + g] > last ? key[k + g] : INT32_MAX;
                lane[g] = v < lane[g] ? v : lane[g];
            }
        for (int g = 0; g < 16; g++)
            next = lane[g] < next ? lane[g] : next;
        at[i] = next & (N_UNITS - 1);
        last = next;
    }
}

void pare_super_units(const pare_super_shape *shape, const pare_vec *ideal, const pare_vec *stiffness, float peak,
                      int n_best, float *best)
{
    float value[16], stiff[16], place[N_UNITS], unit[N_UNITS], loss[N_UNITS];
    float low = (float)shape->scale_low, high = (float)shape->scale_high;
    int at[PARE_SUPER_MAX_FIRST], n = low < 0 ? N_UNITS / 2 : N_UNITS; /* places at an end */
    memcpy(value, ideal, sizeof value);
    memcpy(stiff, stiffness, sizeof stiff);
    for (int k = 0; k < N_UNITS; k++)
        place[k] = (k < n ? high : low) * (0.6f + (n == N_UNITS ? 0.007f : 0.014f) * (float)(k & (n - 1)));
    for (int k = 0; k < N_UNITS; k += PARE_VEC_LANES) {
        pare_vec u = peak / pare_vec_load(place + k), inverse = pare_vec_inverse(u), sum = {0};
        for (int j = 0; j < 16; j += shape->sub_len / 16) {
            pare_vec n_units = pare_vec_clamp(value[j] * inverse, pare_vec_all(low), pare_vec_all(high));
            pare_vec miss = value[j] - u * pare_vec_nearest(n_units);
            sum += stiff[j] * miss * miss;
        }
        memcpy(unit + k, &u, sizeof u);
        memcpy(loss + k, &sum, sizeof sum);
    }
    smallest(loss, n_best, at);
    for (int i = 0; i < n_best; i++)
        best[i] = pare_super_half(unit[at[i]]);
}

static void descend(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_step settle,
                    pare_super_step refit, pare_super_trial *t)
{
    settle(lanes, reach, t);
    for (int round = 0; round < MAX_ROUNDS; round++) {
        pare_super_trial next = *t;
        refit(lanes, reach, &next);
        settle(lanes, reach, &next);
        if (!(next.error < t->error))
            break;
        *t = next;
    }
}

static float error_of(const pare_super_lanes *lanes, const pare_super_trial *t)
{
    pare_vec error[PARE_PARTS];
    for (int p = 0; p < PARE_PARTS; p++)
        error[p] = pare_super_error(lanes->shape, &lanes->part[p], t->min[p] * -t->dmin, t->scale[p] * t->d);
    return pare_vec_sum(error);
}

void pare_super_follow(const pare_super_lanes *lanes, const pare_super_reach *reach, pare_super_step settle,
                       pare_super_step refit, pare_super_trial *first, int n, pare_super_trial *best)
{
    for (int k = 0; k < n && n > reach->n_follow; k++)
        first[k].error = error_of(lanes, &first[k]);
    for (int i = 0; i < reach->n_follow && i < n; i++) {
        int at = 0;
        for (int k = 1; k < n; k++)
            at = first[k].error < first[at].error ? k : at;
        pare_super_trial t = first[at];
        first[at].error = HUGE_VALF;
        descend(lanes, reach, settle, refit, &t);
        if (t.error < best->error)
            *best = t;
    }
}

/* The largest magnitude of 256. */
static float magnitude(const float *v)
{
    float lane[16] = {0}, most = 0;
    for (int i = 0; i < PARE_SUPER_LEN; i += 16)
        for (int k = 0; k < 16; k++)
            lane[k] = fabsf(v[i + k]) > lane[k] ? fabsf(v[i + k]) : lane[k];
    for (int k = 0; k < 16; k++)
        most = lane[k] > most ? lane[k] : most;
    return most;
}

/* Lane g of out[l] gets v[16 g + l]. */
static void transpose(const float *v, float out[16][16])
{
    for (int l = 0; l < 16; l++)
        for (int g = 0; g < 16; g++)
            out[l][g] = v[16 * g + l];
}

/* Weights of the errors are taken relative to the largest one; all are 1 where none is above zero. */
static void load(pare_super_lanes *lanes, const float *x, const float *weight)
{
    float xs[16][16], ws[16][16], most = weight != NULL ? magnitude(weight) : 0, inverse = 1 / fmaxf(most, 1e-30f);
    transpose(x, xs);
    if (most > 0)
        transpose(weight, ws);
    for (int p = 0; p < PARE_PARTS; p++) {
        pare_super_part *part = &lanes->part[p];
        pare_vec w1 = pare_vec_all(0), wx = w1, wxx = w1;
        for (int l = 0; l < 16; l++) {
            part->x[l] = pare_vec_load(&xs[l][p * PARE_VEC_LANES]);
            part->w[l] = most > 0 ? pare_vec_load(&ws[l][p * PARE_VEC_LANES]) * inverse : pare_vec_all(1);
            w1 += part->w[l];
            wx += part->w[l] * part->x[l];
            wxx += part->w[l] * part->x[l] * part->x[l];
        }
        part->w1 = pare_super_join(lanes->shape, w1);
        part->wx = pare_super_join(lanes->shape, wx);
        part->wxx = pare_super_join(lanes->shape, wxx);
    }
}

static void store(const pare_super_lanes *lanes, const pare_super_trial *t, pare_super_fit *fit)
{
    const pare_super_shape *shape = lanes->shape;
    int32_t code[16][16];
    float scale[16], min[16];
    memcpy(scale, t->scale, sizeof scale);
    memcpy(min, t->min, sizeof min);
    fit->d = pare_f32_to_f16(t->d);
    fit->dmin = pare_f32_to_f16(t->dmin);
    for (int j = 0; j < shape->n_sub; j++) {
        fit->scale[j] = (int16_t)scale[j * shape->sub_len / 16];
        fit->min[j] = (int16_t)min[j * shape->sub_len / 16];
    }
    for (int p = 0; p < PARE_PARTS; p++) {
        pare_vec offset = t->min[p] * t->dmin, inverse = pare_vec_inverse(t->scale[p] * t->d);
        for (int l = 0; l < 16; l++) {
            pare_vec q = pare_super_code(shape, (lanes->part[p].x[l] + offset) * inverse);
            pare_mask n = __builtin_convertvector(q, pare_mask);
            memcpy(&code[l][p * PARE_VEC_LANES], &n, sizeof n);
        }
    }
    for (int g = 0; g < 16; g++)
        for (int l = 0; l < 16; l++)
            fit->code[16 * g + l] = (int8_t)code[l][g];
}

void pare_super_encode(const pare_super_shape *shape, const float *src, size_t row_len, const float *weight,
                       pare_effort effort, void *dst)
{
    float limit = PARE_F16_MAX * (float)(shape->code_high * shape->scale_high);
    pare_super_lanes lanes = {.shape = shape};
    uint8_t *block = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN, block += shape->block_bytes) {
        pare_super_fit fit = {0};
        float most = magnitude(src + at);
        if (most > limit) {
            fit.d = PARE_F16_INFINITY;
        } else if (most > 0) {
            load(&lanes, src + at, weight != NULL ? weight + at : NULL);
            pare_super_trial t =
                shape->cuts != NULL ? pare_affine_search(&lanes, effort) : pare_signed_search(&lanes, effort);
            store(&lanes, &t, &fit);
        }
        shape->pack(&fit, block);
    }
}
