/* Rows of PRODUCT (quant/kv_rows.h). Both ways read the same signs for every unit, so that they are made once a call,
 * and a few units go through them together. Each sum is that of quant/kv_unit.h, one element after the other. */
#include "core/scratch.h"
#include "quant/hadamard_steps.h"
#include "quant/kv_rows.h"
#include "quant/kv_unit.h"
#include "quant/vec.h"

enum { UNITS = 4 };

static uint32_t words_of(uint32_t dim)
{
    return (dim + 63) / 64;
}

static size_t signs_bytes(uint32_t dim)
{
    return (size_t)words_of(dim) * dim * sizeof(uint64_t);
}

/* What does not depend on the units. */
typedef struct shared {
    pare_rotation mix;
    uint32_t flips[PARE_KV_MAX_DIM]; /* of the mix: the sign bit where it changes */
    uint64_t *signs; /* [words, dim] owned: bit k of [w, i] is that of element i in row 64 w + k of S, set: -1 */
} shared;

/* False: no memory. */
static bool open_shared(shared *s, uint32_t dim)
{
    s->mix = (pare_rotation){dim, PARE_ROTATION_MAX_DIM, PARE_KV_MIX_SEED};
    s->signs = pare_scratch_alloc(signs_bytes(dim));
    for (uint32_t i = 0; i < dim && s->signs != NULL; i++) {
        s->flips[i] = pare_rotation_sign(&s->mix, i) < 0 ? 0x80000000u : 0;
        for (uint32_t w = 0; w < words_of(dim); w++)
            s->signs[(size_t)w * dim + i] = pare_kv_signs(i, w);
    }
    return s->signs != NULL;
}

static void close_shared(shared *s, uint32_t dim)
{
    pare_scratch_free(s->signs, signs_bytes(dim));
}

/* p = S r of UNITS vectors [UNITS, dim], a vector of rows of S at a time; rows of p are PARE_KV_MAX_DIM apart. */
static void project(const shared *s, uint32_t dim, const float *r, float *p)
{
    pare_mask bit;
    for (int l = 0; l < PARE_VEC_LANES; l++)
        bit[l] = 1 << l;
    for (uint32_t at = 0; at < dim; at += PARE_VEC_LANES) {
        const uint64_t *of = s->signs + (size_t)(at / 64) * dim;
        pare_vec sum[UNITS];
        for (int u = 0; u < UNITS; u++)
            sum[u] = pare_vec_all(0);
        for (uint32_t i = 0; i < dim; i++) {
            const int32_t word = (int32_t)(of[i] >> at % 64 & 0xffff);
            const pare_mask minus = ((((pare_mask){0} + word) & bit) != 0) & INT32_MIN;
            for (uint32_t u = 0; u < UNITS; u++)
                sum[u] += (pare_vec)((pare_mask)pare_vec_all(r[u * dim + i]) ^ minus);
        }
        for (int u = 0; u < UNITS; u++)
            memcpy(p + u * PARE_KV_MAX_DIM + at, &sum[u], sizeof sum[u]);
    }
}

bool pare_kv_product_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst, size_t *bad)
{
    const pare_kv_unit *u = &rows->unit;
    const size_t n = rows->n * rows->n_head, dim = u->dim;
    float r[UNITS * PARE_KV_MAX_DIM] = {0}, p[UNITS * PARE_KV_MAX_DIM];
    shared s;
    *bad = SIZE_MAX;
    if (!open_shared(&s, u->dim))
        return false;
    for (size_t at = 0; at < n && *bad == SIZE_MAX; at += UNITS) {
        const size_t count = n - at < UNITS ? n - at : UNITS;
        for (size_t k = 0; k < count && *bad == SIZE_MAX; k++) {
            const float *v = x + (at + k) * dim;
            if (!pare_kv_finite(v, u->dim) ||
                !pare_kv_product_rest(u, v, dst + (at + k) * rows->unit_bytes, r + k * dim))
                *bad = at + k;
        }
        if (*bad != SIZE_MAX)
            break;
        pare_hadamard_steps(&s.mix, s.flips, r, count, false);
        project(&s, u->dim, r, p);
        for (size_t k = 0; k < count; k++)
            pare_kv_product_signs(u, p + k * PARE_KV_MAX_DIM, dst + (at + k) * rows->unit_bytes);
    }
    close_shared(&s, u->dim);
    return true;
}

/* How many bits of v are set; without a product of 64 bits, which vectors may lack. */
static uint64_t count_bits(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    v += v >> 8;
    v += v >> 16;
    return (v + (v >> 32)) & 127;
}

/* S^T sign(S r) times factor, of the signs at src. */
static void add_signs(const shared *s, const uint8_t *src, uint32_t dim, float factor, float *r)
{
    uint64_t minus[PARE_KV_MAX_DIM]; /* products of two signs that are -1 */
    for (uint32_t i = 0; i < dim; i++)
        minus[i] = 0;
    for (uint32_t w = 0; w < words_of(dim); w++) {
        const uint64_t word = pare_kv_load_signs(src + w * 8, dim / 8 - w * 8), *of = s->signs + (size_t)w * dim;
        const uint64_t mask = dim - w * 64 < 64 ? ((uint64_t)1 << (dim - w * 64)) - 1 : ~(uint64_t)0;
        for (uint32_t i = 0; i < dim; i++)
            minus[i] += count_bits((word ^ of[i]) & mask);
    }
    for (uint32_t i = 0; i < dim; i++)
        r[i] = factor * (float)((int32_t)dim - 2 * (int32_t)minus[i]);
}

bool pare_kv_product_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x)
{
    const pare_kv_unit *u = &rows->unit;
    const size_t n = rows->n * rows->n_head;
    float r[PARE_KV_MAX_DIM];
    shared s;
    if (!open_shared(&s, u->dim))
        return false;
    for (size_t k = 0; k < n; k++, src += rows->unit_bytes, x += u->dim) {
        const float factor = pare_kv_product_values(u, src, x);
        add_signs(&s, src + pare_kv_product_offset(u), u->dim, factor, r);
        pare_hadamard_steps(&s.mix, s.flips, r, 1, true);
        for (uint32_t i = 0; i < u->dim; i++)
            x[i] += r[i];
    }
    close_shared(&s, u->dim);
    return true;
}
