#include "model/view_codes.h"

#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "quant/minifloat.h"
#include "quant/registry.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { TERNARY_ROWS = 4, BF16_BITS = 8, FLOAT_BITS = 24 };

typedef struct codes {
    pare_codes how;
    pare_tensor code, scale;                          /* scale: as a matrix of a column a block */
    uint64_t row_len, matrix_rows, block_cols, bands; /* bands: blocks one above the other in a matrix */
    size_t scratch;                                   /* of a call, bytes */
} codes;

static uint64_t blocks_of(uint64_t n, uint64_t block)
{
    return n / block + (n % block != 0);
}

static pare_status wrong_shape(const pare_tensor *t, const char *what, uint64_t n_rows, uint64_t row_len,
                               const codes *v, pare_error *err)
{
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s' of %" PRIu64 " rows of %" PRIu64 " elements: %s of a matrix of %" PRIu64
                     " rows of %" PRIu64 " weights are %" PRIu64 " rows of %" PRIu64,
                     t->name, t->n_rows, t->row_len, what, v->code.name != NULL ? v->matrix_rows : 0, v->row_len,
                     n_rows, row_len);
}

/* t with dimensions n_rows by row_len, if that many elements it has. Its rows are stored one behind the other. */
static bool reshape(pare_tensor *t, uint64_t n_rows, uint64_t row_len)
{
    uint64_t n = 0, have = 0;
    if (!pare_mul_u64(n_rows, row_len, &n) || !pare_mul_u64(t->n_rows, t->row_len, &have) || n != have)
        return false;
    t->n_dims = 2;
    t->dim[0] = n_rows;
    t->dim[1] = row_len;
    return pare_tensor_set_shape(t, t->name, NULL) == PARE_OK;
}

/* Whether v->code is the codes of n_rows rows. */
static pare_status check_codes(const codes *v, uint64_t n_rows, pare_error *err)
{
    const pare_type_info *info = pare_type_get(v->code.type);
    uint64_t rows = v->how.ternary ? n_rows / TERNARY_ROWS : n_rows;
    if (info->decode == NULL || (v->how.ternary && info->block_bytes != 1))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "tensor '%s' has type %s, which holds no codes", v->code.name,
                         info->name);
    if (v->code.n_rows != rows || v->code.row_len != v->row_len ||
        (v->how.ternary && v->matrix_rows % TERNARY_ROWS != 0))
        return wrong_shape(&v->code, "the codes", rows, v->row_len, v, err);
    return PARE_OK;
}

/* ---- reading ---- */

/* What a call works in: a stored row of codes, and the scales of a band. */
typedef struct work {
    uint8_t *stored;
    float *scale;
    uint64_t band; /* that scale is of; UINT64_MAX: none */
} work;

/* The scales that row r of the tensor needs. */
static pare_status read_scales(const codes *v, uint64_t r, work *w, pare_error *err)
{
    uint64_t in_matrix = r % v->matrix_rows, band = r / v->matrix_rows * v->bands + in_matrix / v->how.block_rows;
    if (band == w->band)
        return PARE_OK;
    w->band = band;
    pare_status st = pare_tensor_read_f32(&v->scale, band, 1, w->scale, err);
    for (uint64_t i = 0; i < v->block_cols && st == PARE_OK; i++) {
        if (v->how.scale_is_exponent)
            w->scale[i] = pare_f8_e8m0_to_f32((uint8_t)w->scale[i]);
        if (!isfinite(w->scale[i]) || (v->how.divide && w->scale[i] == 0))
            return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': scale %" PRIu64 " of row %" PRIu64 " is %g",
                             v->scale.name, i, r, (double)w->scale[i]);
    }
    return st;
}

/* The codes of row r as numbers. */
static pare_status read_code_row(const codes *v, uint64_t r, work *w, float *x, pare_error *err)
{
    uint64_t quarter = v->matrix_rows / TERNARY_ROWS, in_matrix = r % v->matrix_rows;
    if (!v->how.ternary)
        return pare_tensor_read_f32(&v->code, r, 1, x, err);
    pare_status st = pare_tensor_read(&v->code, r / v->matrix_rows * quarter + in_matrix % quarter, 1, w->stored, err);
    for (uint64_t i = 0; i < v->row_len && st == PARE_OK; i++)
        x[i] = (float)(w->stored[i] >> 2 * (in_matrix / quarter) & 3) - 1.0f;
    return st;
}

static pare_status read_row(const codes *v, uint64_t r, work *w, float *x, pare_error *err)
{
    pare_status st = read_code_row(v, r, w, x, err);
    if (st == PARE_OK)
        st = read_scales(v, r, w, err);
    if (st != PARE_OK)
        return st;
    for (uint64_t block = 0, i = 0; i < v->row_len; block++) {
        uint64_t rest = v->row_len - i, end = i + (rest < v->how.block_cols ? rest : v->how.block_cols);
        float scale = w->scale[block];
        for (; i < end; i++)
            x[i] = (v->how.divide ? x[i] / scale : x[i] * scale) * v->how.factor;
    }
    return PARE_OK;
}

/* Lay the parts of w, and a row, out in one piece of memory of v->scratch bytes. */
static void place_work(const codes *v, uint8_t *memory, work *w, float **x)
{
    *x = (float *)(void *)memory;
    w->scale = *x + v->row_len;
    w->stored = (uint8_t *)(w->scale + v->block_cols);
    w->band = UINT64_MAX;
}

static pare_status read_codes(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const codes *v = t->ctx;
    uint8_t *memory = pare_scratch_alloc(v->scratch);
    work w;
    float *x;
    pare_status st = PARE_OK;
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " weights", t->name,
                         t->row_len);
    place_work(v, memory, &w, &x);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        uint8_t *to = (uint8_t *)dst + i * t->row_bytes;
        if ((st = read_row(v, row + i, &w, x, err)) != PARE_OK)
            break;
        if (t->type == PARE_TYPE_F32)
            memcpy(to, x, (size_t)t->row_bytes);
        else
            pare_encoder(t->type)(x, (size_t)t->row_len, NULL, PARE_EFFORT_RTN, to);
    }
    pare_scratch_free(memory, v->scratch);
    return st;
}

static void release_codes(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const codes *v = t->ctx;
    if (!v->how.ternary)
        pare_tensor_release(&v->code, row, n_rows);
}

/* ---- opening ---- */

static pare_status check_how(const pare_codes *how, pare_error *err)
{
    bool empty = how->n_dims < 2 || how->n_dims > 3 || how->block_rows == 0 || how->block_cols == 0;
    for (uint32_t i = 0; i < how->n_dims && !empty; i++)
        empty = how->dim[i] == 0;
    if (empty)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s': codes in %" PRIu32 " dimensions, in blocks of %" PRIu64 " by %" PRIu64
                         ", make no matrix",
                         how->code->name, how->n_dims, how->block_rows, how->block_cols);
    if (!isfinite(how->factor))
        return pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': its scale is %g", how->code->name, (double)how->factor);
    return PARE_OK;
}

/* A copy of t whose name lives as long as the arena. */
static pare_status borrow(pare_arena *arena, pare_tensor *out, const pare_tensor *t, pare_error *err)
{
    *out = *t;
    out->name = pare_arena_copy(arena, t->name, strlen(t->name), err);
    return out->name != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

/* The view without its type; NULL on error. */
static codes *start(pare_arena *arena, pare_tensor *out, const pare_codes *how, pare_status *st, pare_error *err)
{
    codes *v = NULL;
    if ((*st = check_how(how, err)) != PARE_OK)
        return NULL;
    if ((v = pare_arena_alloc(arena, sizeof *v, err)) == NULL) {
        *st = PARE_ERR_MEMORY;
        return NULL;
    }
    *v = (codes){.how = *how};
    if ((*st = borrow(arena, &v->code, how->code, err)) != PARE_OK ||
        (*st = borrow(arena, &v->scale, how->scale, err)) != PARE_OK)
        return NULL;
    v->row_len = how->dim[how->n_dims - 1];
    v->matrix_rows = how->dim[how->n_dims - 2];
    v->block_cols = blocks_of(v->row_len, how->block_cols);
    v->bands = blocks_of(v->matrix_rows, how->block_rows);
    *out = v->code;
    out->type = PARE_TYPE_F32;
    out->data = NULL;
    out->read = read_codes;
    out->release = release_codes;
    out->ctx = v;
    out->base = NULL;
    out->n_dims = how->n_dims;
    memcpy(out->dim, how->dim, sizeof how->dim);
    uint64_t matrices = how->n_dims == 3 ? how->dim[0] : 1, n_bands = 0;
    if ((*st = pare_tensor_set_shape(out, how->code->name, err)) == PARE_OK)
        *st = check_codes(v, out->n_rows, err);
    if (*st == PARE_OK && (!pare_mul_u64(matrices, v->bands, &n_bands) || !reshape(&v->scale, n_bands, v->block_cols)))
        *st = wrong_shape(&v->scale, "the scales", n_bands, v->block_cols, v, err);
    v->scratch = (size_t)((v->row_len + v->block_cols) * sizeof(float) + v->code.row_bytes);
    out->scratch_bytes = v->code.scratch_bytes + v->scratch;
    return *st == PARE_OK ? v : NULL;
}

/* Bits of the significand of a scale: 24 less its trailing zeros. 0 for 0. */
static int significant_bits(float x)
{
    uint32_t fraction = (pare_f32_to_bits(x) & 0x7fffffu) | 0x800000u;
    int n = 24;
    for (; (fraction & 1) == 0; fraction >>= 1)
        n--;
    return x == 0 ? 0 : n;
}

/* Bits of the significand of a product. A power of two, which has one, adds none. */
static int product_bits(int a, int b)
{
    return a <= 1 ? b : b <= 1 ? a : a + b;
}

/* Whether the codes of block `column` of a band are all 0, so that its scale says nothing. */
static pare_status is_zero_block(const codes *v, uint64_t band, uint64_t column, bool *zero, pare_error *err)
{
    uint64_t first = band / v->bands * v->matrix_rows + band % v->bands * v->how.block_rows, from, to;
    uint64_t rest = v->matrix_rows - first % v->matrix_rows, n = rest < v->how.block_rows ? rest : v->how.block_rows;
    size_t bytes = (size_t)v->row_len * sizeof(float);
    float *x = v->how.ternary ? NULL : pare_scratch_alloc(bytes);
    pare_status st = PARE_OK;
    *zero = x != NULL;
    if (x == NULL)
        return v->how.ternary ? PARE_OK
                              : pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row", v->code.name);
    from = column * v->how.block_cols;
    to = v->row_len - from < v->how.block_cols ? v->row_len : from + v->how.block_cols;
    for (uint64_t r = first; r < first + n && *zero && st == PARE_OK; r++) {
        st = pare_tensor_read_f32(&v->code, r, 1, x, err);
        for (uint64_t c = from; c < to && st == PARE_OK; c++)
            *zero = *zero && x[c] == 0;
    }
    pare_scratch_free(x, bytes);
    return st;
}

/* Whether 8 bits of significand are enough for codes of code_bits times these scales of a band, and no product is
 * subnormal. */
static pare_status band_fits(const codes *v, int code_bits, uint64_t band, const float *scales, bool *fits,
                             pare_error *err)
{
    pare_status st = PARE_OK;
    *fits = true;
    for (uint64_t i = 0; i < v->block_cols && *fits && st == PARE_OK; i++) {
        float scale = v->how.scale_is_exponent ? pare_f8_e8m0_to_f32((uint8_t)scales[i]) : scales[i];
        *fits = isfinite(scale) && product_bits(significant_bits(scale), code_bits) <= BF16_BITS;
        if (*fits && scale != 0 && fabsf(scale) < 0x1p-100f)
            st = is_zero_block(v, band, i, fits, err);
    }
    return st;
}

static pare_status fits_bf16(const codes *v, int code_bits, bool *fits, pare_error *err)
{
    pare_type type = v->scale.type;
    size_t bytes = (size_t)v->block_cols * sizeof(float);
    pare_status st = PARE_OK;
    *fits = code_bits == 1 || v->how.scale_is_exponent || type == PARE_TYPE_F8_E8M0 ||
            (type == PARE_TYPE_F8_E4M3 && code_bits <= 4) || type == PARE_TYPE_F32; /* others have too many bits */
    *fits = *fits && v->how.factor == 1 && !v->how.divide;
    if (!*fits)
        return PARE_OK;
    float *scales = pare_scratch_alloc(bytes);
    if (scales == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " scales", v->scale.name,
                         v->block_cols);
    for (uint64_t band = 0; band < v->scale.n_rows && *fits && st == PARE_OK; band++)
        if ((st = pare_tensor_read_f32(&v->scale, band, 1, scales, err)) == PARE_OK)
            st = band_fits(v, code_bits, band, scales, fits, err);
    pare_scratch_free(scales, bytes);
    return st;
}

/* Bits of the largest significand of a code. */
static int code_bits(const codes *v)
{
    static const struct {
        pare_type type;
        int bits;
    } narrow[] = {{PARE_TYPE_F4, 2}, {PARE_TYPE_F8_E5M2, 3}, {PARE_TYPE_F8_E4M3, 4}, {PARE_TYPE_F6_E2M3, 4}};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        if (narrow[i].type == v->code.type)
            return narrow[i].bits;
    return v->how.ternary ? 1 : pare_type_get(v->code.type)->block_bytes == 1 ? BF16_BITS : FLOAT_BITS;
}

pare_status pare_view_retype(pare_tensor *out, const pare_tensor *t, pare_type type, pare_error *err)
{
    const pare_type_info *from = pare_type_get(t->type), *to = pare_type_get(type);
    *out = *t;
    out->type = type;
    if (t->n_dims == 0 || from->block_len != 1 || t->row_bytes % to->block_bytes != 0)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': rows of %" PRIu64 " bytes hold no numbers of type %s",
                         t->name, t->row_bytes, to->name);
    out->dim[t->n_dims - 1] = t->row_bytes / to->block_bytes * to->block_len;
    return pare_tensor_set_shape(out, t->name, err);
}

pare_status pare_view_codes(pare_arena *arena, pare_tensor *out, const pare_codes *how, pare_error *err)
{
    pare_status st = PARE_OK;
    bool fits = false;
    codes *v = start(arena, out, how, &st, err);
    if (v == NULL)
        return st;
    if ((st = fits_bf16(v, code_bits(v), &fits, err)) != PARE_OK || !fits)
        return st;
    out->type = PARE_TYPE_BF16;
    return pare_tensor_set_shape(out, how->code->name, err);
}

/* ---- FP4 ---- */

/* Nibbles 0..2k-1 of k bytes, the first in the low half, into bytes that hold nibble j below and j + k above. */
static inline void regroup(const uint8_t *restrict from, uint8_t *restrict to, size_t k)
{
    const uint8_t *low = from, *high = from + k / 2; /* k is even */
    for (size_t j = 0; j < k / 2; j++) {
        to[2 * j] = (uint8_t)((low[j] & 15) | high[j] << 4);
        to[2 * j + 1] = (uint8_t)(low[j] >> 4 | (high[j] & 0xf0));
    }
}

/* The same for a block of MXFP4, which is a third of what reading one costs otherwise. */
static inline void regroup_mxfp4(const uint8_t *restrict from, uint8_t *restrict to)
{
#ifdef __SSE2__
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)from), high = _mm_srli_si128(low, 8);
    const __m128i nibble = _mm_set1_epi8(15);
    __m128i even = _mm_or_si128(_mm_and_si128(low, nibble), _mm_slli_epi16(_mm_and_si128(high, nibble), 4));
    __m128i odd = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), nibble), _mm_andnot_si128(nibble, high));
    _mm_storeu_si128((__m128i *)(void *)to, _mm_unpacklo_epi8(even, odd));
#else
    regroup(from, to, 16);
#endif
}

static pare_status refuse_scale(const codes *v, uint64_t row, uint64_t i, unsigned byte, pare_error *err)
{
    return pare_fail(err, PARE_ERR_NUMBER,
                     "tensor '%s': row %" PRIu64 ", scale %" PRIu64 " has byte 0x%02x, expected a finite positive one",
                     v->scale.name, row, i, byte);
}

/* One row; stored: its codes, then its scales. */
static pare_status regroup_row(const pare_tensor *t, uint64_t row, const uint8_t *code, const uint8_t *scale, void *dst,
                               pare_error *err)
{
    const codes *v = t->ctx;
    uint64_t n = v->block_cols;
    if (t->type == PARE_TYPE_MXFP4) {
        pare_mxfp4 *block = dst;
        for (uint64_t i = 0; i < n; i++, block++) {
            if (scale[i] == 0xff)
                return refuse_scale(v, row, i, scale[i], err);
            block->e = scale[i];
            regroup_mxfp4(code + i * sizeof block->qs, block->qs);
        }
        return PARE_OK;
    }
    pare_nvfp4 *block = dst;
    for (uint64_t i = 0; i < n; i++) {
        size_t part = i % sizeof block->d, bytes = sizeof block->qs / sizeof block->d;
        if (scale[i] > 0x7e && scale[i] != 0x80)
            return refuse_scale(v, row, i, scale[i], err);
        block[i / sizeof block->d].d[part] = scale[i] & 0x7f;
        regroup(code + i * bytes, block[i / sizeof block->d].qs + part * bytes, bytes);
    }
    return PARE_OK;
}

/* A stored row where it is mapped, else read to room. */
static pare_status stored_row(const pare_tensor *t, uint64_t row, uint8_t *room, const uint8_t **out, pare_error *err)
{
    *out = t->data != NULL ? t->data + row * t->row_bytes : room;
    return t->data != NULL ? PARE_OK : pare_tensor_read(t, row, 1, room, err);
}

static pare_status read_fp4(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const codes *v = t->ctx;
    size_t code_bytes = (size_t)v->code.row_bytes, bytes = code_bytes + (size_t)v->scale.row_bytes;
    uint8_t *stored = pare_scratch_alloc(bytes);
    if (stored == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, bytes);
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        const uint8_t *code, *scale;
        if ((st = stored_row(&v->code, row + i, stored, &code, err)) == PARE_OK &&
            (st = stored_row(&v->scale, row + i, stored + code_bytes, &scale, err)) == PARE_OK)
            st = regroup_row(t, row + i, code, scale, (uint8_t *)dst + i * t->row_bytes, err);
    }
    pare_scratch_free(stored, bytes);
    return st;
}

/* The factor of all matrices that out has. */
static pare_status keep_factor(pare_arena *arena, pare_tensor *out, float factor, pare_error *err)
{
    uint64_t n = pare_tensor_matrices(out);
    if (factor == 1)
        return PARE_OK;
    float *all = pare_arena_alloc(arena, (size_t)n * sizeof *all, err); /* less than the weights */
    for (uint64_t i = 0; i < n && all != NULL; i++)
        all[i] = factor;
    out->factor = all;
    return all != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

bool pare_view_fp4(pare_arena *arena, pare_tensor *out, const pare_codes *how, pare_status *st, pare_error *err)
{
    uint64_t row_len = how->n_dims > 0 ? how->dim[how->n_dims - 1] : 0;
    bool byte = how->scale->type == PARE_TYPE_U8 || how->scale->type == PARE_TYPE_F8_E8M0;
    bool mx = how->block_cols == 32 && byte && (how->scale_is_exponent || how->scale->type == PARE_TYPE_F8_E8M0) &&
              how->factor == 1;
    bool nv = how->block_cols == 16 && how->scale->type == PARE_TYPE_F8_E4M3;
    uint32_t block = pare_type_get(mx ? PARE_TYPE_MXFP4 : PARE_TYPE_NVFP4)->block_len;
    if (how->code->type != PARE_TYPE_F4 || how->block_rows != 1 || how->divide || (!mx && !nv) || row_len % block != 0)
        return false;
    codes *v = start(arena, out, how, st, err);
    if (v == NULL)
        return true;
    out->type = mx ? PARE_TYPE_MXFP4 : PARE_TYPE_NVFP4;
    out->read = read_fp4;
    out->scratch_bytes = v->code.scratch_bytes + (size_t)(v->code.row_bytes + v->scale.row_bytes);
    *st = pare_tensor_set_shape(out, how->code->name, err);
    if (*st == PARE_OK)
        *st = keep_factor(arena, out, how->factor, err);
    return true;
}
