#include "quant/scale_search.h"

#include "core/half.h"

#include <math.h>

/* Nearest integer to v, ties to even, inside lo..hi. */
static int round_to(float v, int lo, int hi)
{
    if (!(v > (float)lo))
        return lo;
    return v >= (float)hi ? hi : (int)rintf(v);
}

static float inverse(float v)
{
    return v != 0 ? 1 / v : 0;
}

void pare_search_offset(const pare_super_shape *shape, const float *x, const float *weight, pare_super_fit *fit)
{
    float scale[PARE_MAX_SUBS], min[PARE_MAX_SUBS], max_scale = 0, max_min = 0;
    (void)weight;
    for (int j = 0; j < shape->n_sub; j++) {
        const float *v = x + j * shape->sub_len;
        float low = 0, high = v[0];
        for (int l = 0; l < shape->sub_len; l++) {
            low = v[l] < low ? v[l] : low;
            high = v[l] > high ? v[l] : high;
        }
        scale[j] = high > low ? (high - low) / (float)shape->code_max : 0;
        min[j] = -low;
        max_scale = scale[j] > max_scale ? scale[j] : max_scale;
        max_min = min[j] > max_min ? min[j] : max_min;
    }
    fit->d = pare_f32_to_f16(max_scale / (float)shape->scale_max);
    fit->dmin = pare_f32_to_f16(max_min / (float)shape->scale_max);
    float d = pare_f16_to_f32(fit->d), dmin = pare_f16_to_f32(fit->dmin);
    float inv_d = inverse(d), inv_dmin = inverse(dmin);
    for (int j = 0; j < shape->n_sub; j++) {
        fit->scale[j] = (int16_t)round_to(scale[j] * inv_d, 0, shape->scale_max);
        fit->min[j] = (int16_t)round_to(min[j] * inv_dmin, 0, shape->scale_max);
        float inv = inverse(d * (float)fit->scale[j]), offset = dmin * (float)fit->min[j];
        for (int l = j * shape->sub_len; l < (j + 1) * shape->sub_len; l++)
            fit->code[l] = (int8_t)round_to((x[l] + offset) * inv, 0, shape->code_max);
    }
}

void pare_search_symmetric(const pare_super_shape *shape, const float *x, const float *weight, pare_super_fit *fit)
{
    float scale[PARE_MAX_SUBS], max_scale = 0;
    (void)weight;
    for (int j = 0; j < shape->n_sub; j++) {
        const float *v = x + j * shape->sub_len;
        float peak = 0; /* the weight of largest magnitude, at the code of largest magnitude */
        for (int l = 0; l < shape->sub_len; l++)
            peak = fabsf(v[l]) > fabsf(peak) ? v[l] : peak;
        scale[j] = peak / (float)(-shape->code_max - 1);
        max_scale = fabsf(scale[j]) > fabsf(max_scale) ? scale[j] : max_scale;
    }
    fit->d = pare_f32_to_f16(max_scale / (float)(-shape->scale_max - 1));
    float d = pare_f16_to_f32(fit->d), inv_d = inverse(d);
    for (int j = 0; j < shape->n_sub; j++) {
        fit->scale[j] = (int16_t)round_to(scale[j] * inv_d, -shape->scale_max - 1, shape->scale_max);
        float inv = inverse(d * (float)fit->scale[j]);
        for (int l = j * shape->sub_len; l < (j + 1) * shape->sub_len; l++)
            fit->code[l] = (int8_t)round_to(x[l] * inv, -shape->code_max - 1, shape->code_max);
    }
}
