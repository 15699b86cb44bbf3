/* Rows of TRANSFORM (quant/kv_rows.h): several tokens of a head at a time, one in each lane of a vector, so that a row
 * of the basis is read once for all of them. Sums are those of quant/kv_unit.h, in their order. */
#include "core/scratch.h"
#include "quant/kv_rows.h"
#include "quant/kv_unit.h"
#include "quant/vec.h"

enum { TOKENS = PARE_VEC_LANES, FEW_BITS = 5 /* borders are counted one by one */ };

/* Of a stretch of tokens; element i of token t at [i][t]. */
typedef struct stretch {
    float x[PARE_KV_MAX_DIM][TOKENS], y[PARE_KV_MAX_DIM][TOKENS];
    uint16_t codes[PARE_KV_MAX_DIM][TOKENS]; /* of coordinates with bits, one behind the other */
    uint8_t bits[PARE_KV_MAX_DIM];           /* theirs */
    uint16_t coordinate[PARE_KV_MAX_DIM];    /* which they are */
    uint32_t n_coded;
} stretch;

static void find_coded(stretch *s, const pare_kv_unit *u)
{
    s->n_coded = 0;
    for (uint32_t i = 0; i < u->dim; i++) {
        const int bits = pare_kv_basis_bits(u->basis, u->dim, i);
        if (bits == 0)
            continue;
        s->bits[s->n_coded] = (uint8_t)bits;
        s->coordinate[s->n_coded++] = (uint16_t)i;
    }
}

/* Less the mean; lanes without a token are 0. Returns which tokens are finite, a bit each. */
static uint32_t load(stretch *s, const pare_kv_unit *u, const float *x, size_t stride, uint32_t n)
{
    uint32_t finite = 0;
    for (uint32_t t = 0; t < TOKENS; t++) {
        const float *v = x + t * stride;
        if (t < n && pare_kv_finite(v, u->dim))
            finite |= 1u << t;
        for (uint32_t i = 0; i < u->dim; i++)
            s->x[i][t] = finite >> t & 1 ? v[i] - u->basis[i] : 0;
    }
    return finite;
}

static void put(float *out, pare_vec v)
{
    memcpy(out, &v, sizeof v);
}

/* pare_kv_add_lanes of each token. */
static pare_vec add_lanes(const pare_vec *lane)
{
    pare_vec v[8];
    for (int k = 0; k < 8; k++)
        v[k] = lane[k] + lane[k + 8];
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* pare_kv_dot of a row and each token. */
static pare_vec product(const float *row, const float x[][TOKENS], uint32_t dim)
{
    enum { TOGETHER = 4 };
    pare_vec lane[16];
    for (uint32_t k = 0; k < 16; k += TOGETHER) {
        pare_vec sum[TOGETHER];
        for (uint32_t l = 0; l < TOGETHER; l++)
            sum[l] = pare_vec_all(0);
        for (uint32_t i = k; i < dim; i += 16)
            for (uint32_t l = 0; l < TOGETHER; l++)
                sum[l] += row[i + l] * pare_vec_load(x[i + l]);
        for (uint32_t l = 0; l < TOGETHER; l++)
            lane[k + l] = sum[l];
    }
    return add_lanes(lane);
}

/* Sum of the squares of all coordinates: those without bits are 0, and add nothing. */
static void squares(const stretch *s, float *out)
{
    pare_vec lane[16];
    for (uint32_t k = 0; k < 16; k++)
        lane[k] = pare_vec_all(0);
    for (uint32_t k = 0; k < s->n_coded; k++)
        lane[s->coordinate[k] % 16] += pare_vec_load(s->y[k]) * pare_vec_load(s->y[k]);
    put(out, add_lanes(lane));
}

/* pare_kv_coordinate_length of each token. */
static void lengths(const stretch *s, const pare_kv_unit *u, float *out)
{
    float r[TOKENS], least[TOKENS] = {0}, sum[TOKENS];
    const float between = pare_kv_between_levels(u->basis, u->dim);
    squares(s, r);
    for (int t = 0; t < TOKENS; t++)
        r[t] = pare_kv_root_mean(r[t], s->n_coded);
    for (uint32_t k = 0; k < PARE_KV_LENGTHS; k++) {
        const pare_vec length = pare_vec_load(r) * pare_kv_length_factor(k);
        pare_vec lane[16];
        for (uint32_t l = 0; l < 16; l++)
            lane[l] = pare_vec_all(0);
        for (uint32_t c = 0; c < s->n_coded; c++) {
            const pare_vec over = pare_vec_abs(pare_vec_load(s->y[c])) - length * pare_kv_top_level(s->bits[c]);
            const pare_vec v = pare_vec_where(over > 0, over);
            lane[s->coordinate[c] % 16] += pare_kv_basis_cost(u->basis, u->dim, s->coordinate[c]) * v * v;
        }
        put(sum, add_lanes(lane) + length * length * between);
        for (int t = 0; t < TOKENS; t++)
            if (k == 0 || sum[t] < least[t]) {
                least[t] = sum[t];
                out[t] = length[t];
            }
    }
}

static float border(int bits, unsigned above)
{
    return (pare_kv_gauss_upper(bits, above) + pare_kv_gauss_upper(bits, above + 1)) * 0.5f;
}

/* pare_kv_gauss_code of y times inverse. */
static void code(const float *y, const float *inverse, int bits, uint16_t *codes)
{
    const int32_t half = 1 << (bits - 1);
    const pare_vec v = pare_vec_load(y) * pare_vec_load(inverse), size = pare_vec_abs(v);
    pare_mask above = {0};
    for (int32_t k = 0; k < half - 1 && bits <= FEW_BITS; k++)
        above -= size > pare_vec_all(border(bits, (unsigned)k));
    for (int32_t step = half / 2; step > 0 && bits > FEW_BITS; step /= 2)
        for (int t = 0; t < TOKENS; t++)
            above[t] += size[t] > border(bits, (unsigned)(above[t] + step - 1)) ? step : 0;
    const pare_mask upper = v > 0, of = (upper & (half + above)) | (~upper & (half - 1 - above));
    for (int t = 0; t < TOKENS; t++)
        codes[t] = (uint16_t)of[t];
}

/* Codes of token t into bytes that are all written. */
static void pack(const stretch *s, uint32_t t, uint32_t n_bytes, uint8_t *dst)
{
    uint64_t word = 0;
    uint32_t at = 0, n = 0;
    for (uint32_t k = 0; k < s->n_coded; k++) {
        word |= (uint64_t)s->codes[k][t] << n;
        n += s->bits[k];
        if (n >= 32) {
            pare_store_u32le(dst + at, (uint32_t)word);
            at += 4;
            n -= 32;
            word >>= 32;
        }
    }
    for (; at < n_bytes; at++, word >>= 8)
        dst[at] = (uint8_t)word;
}

/* n <= TOKENS tokens of one head, units step bytes apart. Returns which are coded, a bit each. */
static uint32_t encode(stretch *s, const pare_kv_unit *u, const float *x, size_t stride, uint32_t n, uint8_t *dst,
                       size_t step)
{
    float length[TOKENS], inverse[TOKENS] = {0};
    uint32_t fits = load(s, u, x, stride, n);
    find_coded(s, u);
    for (uint32_t k = 0; k < s->n_coded; k++)
        put(s->y[k],
            product(pare_kv_basis_row(u->basis, u->dim, s->coordinate[k]), (const float(*)[TOKENS])s->x, u->dim));
    lengths(s, u, length);
    for (uint32_t t = 0; t < n; t++) {
        if (!pare_kv_put_half(length[t], dst + t * step))
            fits &= ~(1u << t);
        inverse[t] = pare_reciprocal(pare_kv_half(dst + t * step));
    }
    for (uint32_t k = 0; k < s->n_coded; k++)
        code(s->y[k], inverse, s->bits[k], s->codes[k]);
    for (uint32_t t = 0; t < n; t++)
        pack(s, t, pare_kv_code_bytes(u->dim, u->half_bits) - 2, dst + t * step + 2);
    return fits;
}

static pare_kv_unit of_head(const pare_kv_rows *rows, uint32_t head)
{
    pare_kv_unit u = rows->unit;
    u.basis += head * pare_kv_basis_floats(u.dim);
    return u;
}

bool pare_kv_transform_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst, size_t *bad)
{
    const uint32_t dim = rows->unit.dim;
    const size_t stride = (size_t)rows->n_head * dim, step = rows->n_head * rows->unit_bytes;
    stretch *s = pare_scratch_alloc(sizeof *s);
    *bad = SIZE_MAX;
    for (size_t at = 0; at < rows->n && *bad == SIZE_MAX && s != NULL; at += TOKENS) {
        const uint32_t n = rows->n - at < TOKENS ? (uint32_t)(rows->n - at) : TOKENS;
        for (uint32_t h = 0; h < rows->n_head; h++) {
            const pare_kv_unit u = of_head(rows, h);
            const uint32_t fits = encode(s, &u, x + at * stride + (size_t)h * dim, stride, n,
                                         dst + at * step + h * rows->unit_bytes, step);
            for (uint32_t t = 0; t < n; t++) {
                const size_t unit = (at + t) * rows->n_head + h;
                if ((fits >> t & 1) == 0 && unit < *bad)
                    *bad = unit;
            }
        }
    }
    const bool done = s != NULL;
    pare_scratch_free(s, sizeof *s);
    return done;
}

/* Levels of token t's codes times its length into y. */
static void unpack(stretch *s, const uint8_t *src, uint32_t t)
{
    const float length = pare_kv_half(src);
    uint32_t word = 0;
    int n = 0;
    src += 2;
    for (uint32_t k = 0; k < s->n_coded; k++) {
        const int bits = s->bits[k];
        for (; n < bits; n += 8)
            word |= (uint32_t)*src++ << n;
        s->y[k][t] = pare_kv_gauss_level(bits, word & ((1u << bits) - 1)) * length;
        word >>= bits;
        n -= bits;
    }
}

/* x = the mean, then what each coordinate adds: TOGETHER elements at a time. */
static void sum_columns(stretch *s, const pare_kv_unit *u)
{
    enum { TOGETHER = 8 };
    for (uint32_t at = 0; at < u->dim; at += TOGETHER) {
        pare_vec sum[TOGETHER];
        for (uint32_t e = 0; e < TOGETHER; e++)
            sum[e] = pare_vec_all(u->basis[at + e]);
        for (uint32_t k = 0; k < s->n_coded; k++) {
            const float *column = pare_kv_basis_column(u->basis, u->dim, s->coordinate[k]) + at;
            const pare_vec y = pare_vec_load(s->y[k]);
            for (uint32_t e = 0; e < TOGETHER; e++)
                sum[e] += y * column[e];
        }
        for (uint32_t e = 0; e < TOGETHER; e++)
            put(s->x[at + e], sum[e]);
    }
}

bool pare_kv_transform_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x)
{
    const uint32_t dim = rows->unit.dim;
    const size_t stride = (size_t)rows->n_head * dim, step = rows->n_head * rows->unit_bytes;
    stretch *s = pare_scratch_alloc(sizeof *s);
    for (size_t at = 0; at < rows->n && s != NULL; at += TOKENS)
        for (uint32_t h = 0; h < rows->n_head; h++) {
            const pare_kv_unit u = of_head(rows, h);
            const size_t n = rows->n - at < TOKENS ? rows->n - at : TOKENS;
            find_coded(s, &u);
            for (uint32_t k = 0; k < s->n_coded; k++)
                memset(s->y[k], 0, sizeof s->y[k]);
            for (uint32_t t = 0; t < n; t++)
                unpack(s, src + (at + t) * step + h * rows->unit_bytes, t);
            sum_columns(s, &u);
            for (uint32_t t = 0; t < n; t++)
                for (uint32_t i = 0; i < dim; i++)
                    x[(at + t) * stride + (size_t)h * dim + i] = s->x[i][t];
        }
    const bool done = s != NULL;
    pare_scratch_free(s, sizeof *s);
    return done;
}
