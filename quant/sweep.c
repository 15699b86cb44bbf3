#include "quant/sweep.h"

#include "quant/half_scale.h"
#include "quant/lanes.h"

#include <math.h>
#include <string.h>

enum { MAX_ROUNDS = 8 }; /* of refitting d; each must lower the error */

/* Indices of x by falling magnitude, equal ones in their order: radix sort over the bytes of the bits. */
static void sort_by_magnitude(const float *x, int n, uint8_t *order)
{
    uint32_t key[PARE_MAX_SWEEP];
    uint16_t start[4][256] = {{0}};
    uint8_t other[PARE_MAX_SWEEP], *from = order, *to = other;
    for (int i = 0; i < n; i++) {
        key[i] = ~pare_f32_to_bits(x[i]) & 0x7fffffffu;
        order[i] = (uint8_t)i;
        for (int b = 0; b < 4; b++)
            start[b][key[i] >> 8 * b & 255]++;
    }
    for (int b = 0; b < 4; b++) {
        uint16_t sum = 0;
        for (int v = 0; v < 256; v++) {
            uint16_t count = start[b][v];
            start[b][v] = sum;
            sum = (uint16_t)(sum + count);
        }
        for (int i = 0; i < n; i++)
            to[start[b][key[from[i]] >> 8 * b & 255]++] = from[i];
        uint8_t *swap = from;
        from = to;
        to = swap;
    }
}

/* Sums over the block for levels l: lx = sum w l x, ll = sum w l^2. Their least squares scale is lx / ll, which takes
 * lx^2 / ll off the error. */
typedef struct sums {
    double lx, ll;
} sums;

/* All codes that any scale of the given sign gives, as the scale falls from infinity: a weight of magnitude a leaves
 * level 0 at d = 2 a and, if it goes that way, level 1 for 2 at d = 2/3 a. Takes the sums of the best codes. */
static void sweep(const float *x, const float *w, int n, const uint8_t *order, bool has_two, bool negative, sums *best)
{
    sums s = {0, 0};
    int first = 0, second = 0; /* in order: how far the two moves have come */
    while (first < n || second < n) {
        while (second < n && (!has_two || (x[order[second]] < 0) != negative))
            second++;
        if (first == n && second == n)
            return;
        bool is_first = second == n || (first < n && 3 * fabsf(x[order[first]]) >= fabsf(x[order[second]]));
        int i = order[is_first ? first++ : second++];
        s.lx += (double)(w[i] * fabsf(x[i]));
        s.ll += (double)w[i] * (is_first ? 1 : 3);
        if (s.lx * s.lx * best->ll > best->lx * best->lx * s.ll) {
            best->lx = negative ? -s.lx : s.lx;
            best->ll = s.ll;
        }
    }
}

/* Codes of the nearest levels at the scale, their error and sums. */
static float measure(const float *x, const float *w, int n, bool has_two, float d, uint8_t *code, sums *out)
{
    float error[PARE_LANES] = {0}, lx[PARE_LANES] = {0}, ll[PARE_LANES] = {0};
    float inverse = d != 0 ? 1 / d : 0, top = has_two ? 3 : 2;
    for (int i = 0; i < n; i += PARE_LANES)
        for (int k = 0; k < PARE_LANES; k++) {
            float steps = x[i + k] * inverse + 1.5f;
            steps = steps > 0 ? steps : 0;
            steps = steps < top ? steps : top;
            code[i + k] = (uint8_t)steps;
            float l = (float)(int)steps - 1, wl = w[i + k] * l, miss = x[i + k] - d * l;
            error[k] += w[i + k] * miss * miss;
            lx[k] += wl * x[i + k];
            ll[k] += wl * l;
        }
    *out = (sums){(double)pare_add_lanes(lx), (double)pare_add_lanes(ll)};
    return pare_add_lanes(error);
}

void pare_sweep_plain(const float *x, int n, pare_sweep_fit *fit)
{
    float peak = fabsf(pare_peak(x, n)), inverse = peak != 0 ? 1 / peak : 0;
    if (!isfinite(inverse)) /* the scale is stored as 0 */
        inverse = 0;
    fit->d = pare_f32_to_f16(peak);
    for (int i = 0; i < n; i++) {
        float v = x[i] * inverse;
        fit->code[i] = (uint8_t)(1 + (v >= 0.5f) - (v <= -0.5f));
    }
}

void pare_sweep(const float *x, const float *w, int n, bool has_two, pare_sweep_fit *fit)
{
    uint8_t order[PARE_MAX_SWEEP], code[PARE_MAX_SWEEP];
    sums best = {0, 1}, next;
    float least = measure(x, w, n, has_two, 0, fit->code, &next);
    fit->d = 0;
    sort_by_magnitude(x, n, order);
    sweep(x, w, n, order, has_two, false, &best);
    if (has_two)
        sweep(x, w, n, order, has_two, true, &best);
    for (int round = 0; round < MAX_ROUNDS && best.ll > 0; round++) {
        uint16_t d = pare_f32_to_f16_nonzero((float)(best.lx / best.ll));
        if ((d & 0x7fff) == PARE_F16_INFINITY) {
            fit->d = d;
            return;
        }
        float error = measure(x, w, n, has_two, pare_f16_to_f32(d), code, &next);
        if (!(error < least))
            return;
        least = error;
        fit->d = d;
        memcpy(fit->code, code, (size_t)n);
        best = next;
    }
}
