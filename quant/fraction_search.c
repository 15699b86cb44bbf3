#include "quant/fraction_search.h"

#include "quant/half_scale.h"

#include <math.h>

enum { LEN = PARE_FRACTION_LEN, BLOCKS = PARE_FRACTION_BLOCKS, TOP = PARE_FRACTION_TOP };

/* The levels tried, a group a pass: of small ones, which are seldom best, every other. */
enum { N_GROUPS = 3, GROUP = 7, N_LEVELS = N_GROUPS * GROUP };
static const struct {
    uint16_t first, step;
} groups[N_GROUPS] = {{121, 1}, {114, 1}, {101, 2}};

/* Magnitudes below this cannot make a binary16 scale other than the smallest, and their reciprocals may overflow. */
#define TINY 0x1p-40f

/* One lane a block, as floats in two halves. Unsigned: what does not fit is cut off, as is meant. */
typedef uint16_t words __attribute__((vector_size(2 * BLOCKS)));
typedef uint16_t half_words __attribute__((vector_size(BLOCKS)));
typedef uint32_t wide_words __attribute__((vector_size(2 * BLOCKS)));

/* Weight i of every block is in the vectors [..][i]. */
typedef struct batch {
    pare_vec x[2][LEN], w[2][LEN];
    words fraction[LEN]; /* of x / peak, in 2^-16: what is left of it without its integer part, two's complement */
    words share[LEN];    /* of w in the block's, about 2^15 in all */
    pare_vec peak[2];    /* magnitudes */
} batch;

static void load(pare_vec to[2][LEN], const float *src)
{
    for (size_t h = 0; h < 2; h++, src += PARE_VEC_LANES * LEN)
        for (size_t at = 0; at < LEN; at += PARE_VEC_LANES) {
            pare_vec square[PARE_VEC_LANES];
            for (size_t l = 0; l < PARE_VEC_LANES; l++)
                square[l] = pare_vec_load(src + l * LEN + at);
            pare_vec_transpose(square);
            memcpy(&to[h][at], square, sizeof square);
        }
}

/* The nearest integers to v k, |v k| < 2^22, modulo 2^16. */
static void store_words(words to[LEN], size_t h, const pare_vec v[LEN], pare_vec k)
{
    for (size_t i = 0; i < LEN; i++) {
        wide_words bits = (wide_words)(v[i] * k + 12582912.0f); /* the integer is in the low bits */
        half_words low = __builtin_convertvector(bits, half_words);
        memcpy((char *)&to[i] + h * sizeof low, &low, sizeof low);
    }
}

/* Both halves in turn, here and below, since their sums do not wait for each other. */
PARE_INLINE void prepare(batch *b, const float *src, const float *weight)
{
    pare_mask peak[2] = {{0}};
    pare_vec sum[2] = {{0}};
    load(b->x, src);
    if (weight != NULL)
        load(b->w, weight);
    for (size_t i = 0; i < LEN; i++)
        for (size_t h = 0; h < 2; h++) {
            peak[h] = pare_vec_larger(peak[h], b->x[h][i]);
            if (weight != NULL)
                sum[h] += b->w[h][i];
        }
    for (size_t h = 0; h < 2; h++) {
        pare_vec size = b->peak[h] = (pare_vec)peak[h];
        store_words(b->fraction, h, b->x[h], 0x1p16f * pare_vec_inverse(pare_vec_where(size > TINY, size)));
        if (weight != NULL)
            store_words(b->share, h, b->w[h], 32767 * pare_vec_inverse(sum[h]));
    }
}

/* a b / 2^16, rounded down. A loop over arrays, since compilers know the instruction for that by it. */
PARE_INLINE words high_product(words a, words b)
{
    int16_t x[BLOCKS], y[BLOCKS];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
#pragma omp simd
    for (int l = 0; l < BLOCKS; l++)
        x[l] = (int16_t)(x[l] * y[l] >> 16);
    memcpy(&a, x, sizeof a);
    return a;
}

/* sum w r^2 of a group of levels, where level x / peak = an integer + r: the fraction of that is level times the
 * fraction of x / peak, modulo 1. In units of 2^-13 without weights, of 2^-15 of their sum with them; neither sum
 * leaves 16 bits: 2^-2 2^13 for 31 weights (the peak's r is 0), and 2^-2 2^15. */
PARE_INLINE void try_group(const batch *b, bool weighted, uint16_t first, uint16_t step, words error[GROUP])
{
    words sum[GROUP] = {{0}};
    for (int i = 0; i < LEN; i++) {
        words r = b->fraction[i] * first, more = b->fraction[i] * step, w = weighted ? b->share[i] : more;
#pragma GCC unroll 8
        for (int k = 0; k < GROUP; k++, r += more) {
            words square = high_product(r, r); /* in 2^-16 */
            sum[k] += weighted ? high_product(square, w) : square >> 3;
        }
    }
    memcpy(error, sum, sizeof sum);
}

/* The level of least error, in units of the peak, of each block. */
static void best_levels(const words *error, pare_vec best[2])
{
    pare_vec least[2];
    for (size_t h = 0; h < 2; h++) {
        least[h] = pare_vec_all(HUGE_VALF);
        best[h] = pare_vec_all(TOP);
    }
    for (int k = 0; k < N_LEVELS; k++) {
        float level = (float)(groups[k / GROUP].first + k % GROUP * groups[k / GROUP].step);
        half_words sum[2];
        memcpy(sum, &error[k], sizeof sum);
        for (size_t h = 0; h < 2; h++) {
            pare_vec e = __builtin_convertvector(__builtin_convertvector(sum[h], pare_mask), pare_vec);
            e *= 1 / (level * level);
            pare_mask better = e < least[h];
            least[h] = pare_vec_pick(better, e, least[h]);
            best[h] = pare_vec_pick(better, pare_vec_all(level), best[h]);
        }
    }
}

/* With v = x / d, q its nearest code and r = v - q, the scale d (1 + s) leaves d^2 (rr - 2 s rq + s^2 qq) with the same
 * codes: least where s = rq / qq, and if that is less than rr after rounding to binary16, then it is with new codes. */
PARE_INLINE pare_vec refit(const pare_vec *x, const pare_vec *w, bool weighted, pare_vec d)
{
    pare_vec inverse = pare_vec_inverse(d), rq = pare_vec_all(0), qq = rq;
    for (int i = 0; i < LEN; i++) {
        pare_vec v = x[i] * inverse, q = pare_vec_code(v, TOP) - 12582912.0f, wq = weighted ? w[i] * q : q;
        rq += wq * (v - q);
        qq += wq * q;
    }
    pare_vec other = pare_vec_half_nonzero(d * (1 + rq * pare_vec_inverse(qq))), s = other * inverse - 1;
    return pare_vec_pick(s * (s * qq - 2 * rq) < 0, other, d);
}

PARE_INLINE void search(const batch *b, bool weighted, pare_vec d[2])
{
    words error[N_LEVELS];
    pare_vec level[2];
    for (size_t g = 0; g < N_GROUPS; g++)
        try_group(b, weighted, groups[g].first, groups[g].step, error + g * GROUP);
    best_levels(error, level);
    for (size_t h = 0; h < 2; h++) {
        d[h] = refit(b->x[h], b->w[h], weighted, pare_vec_half_nonzero(b->peak[h] / level[h]));
        d[h] = pare_vec_pick(b->peak[h] > PARE_F16_MAX * TOP, pare_vec_all(HUGE_VALF), d[h]);
    }
}

static void find_scales(const float *src, const float *weight, float *d)
{
    batch b;
    pare_vec found[2];
    prepare(&b, src, weight);
    if (weight != NULL)
        search(&b, true, found);
    else
        search(&b, false, found);
    memcpy(d, found, sizeof found);
}

/* Fewer blocks than a batch has: the others are zeros. */
static void find_few(const float *src, const float *weight, size_t n, float *d)
{
    float x[BLOCKS * LEN] = {0}, w[BLOCKS * LEN] = {0}, all[BLOCKS];
    memcpy(x, src, n * LEN * sizeof *x);
    if (weight != NULL)
        memcpy(w, weight, n * LEN * sizeof *w);
    find_scales(x, weight != NULL ? w : NULL, all);
    memcpy(d, all, n * sizeof *d);
}

void pare_fraction_scales(const float *src, const float *weight, size_t n, float *d)
{
    if (n == BLOCKS)
        find_scales(src, weight, d);
    else
        find_few(src, weight, n, d);
}
