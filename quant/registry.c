#include "quant/registry.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "quant/blocks.h"
#include "quant/path_table.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define pare_c64_decode NULL /* a complex number is no float */

#define INFO_ROW(id, gguf, len, stem, name, st, traits, ...)                                                           \
    [PARE_TYPE_##id] = {name, st, gguf, traits, len, sizeof(pare_##stem), pare_##stem##_decode},

static const pare_type_info infos[PARE_TYPE_COUNT] = {PARE_TYPES(INFO_ROW)};

/* Above this no scale of any block type with a binary16 scale can reach (6.5e4 times at most 2^13), and far below it
 * the sums of squares in the encoders would overflow. */
#define F16_LIMIT 1e9f

/* A format of scale: a little-endian number of n_bytes is not finite when its bits under mask equal value. No encoder
 * is given larger magnitudes than limit. */
typedef struct scale_format {
    uint8_t n_bytes;
    uint64_t mask, value;
    float limit;
    void (*multiply)(uint8_t *number, float factor); /* NULL: such scales are too coarse for a small factor */
} scale_format;

static uint16_t multiply_half(uint16_t d, float factor)
{
    uint16_t product = pare_f32_to_f16(pare_f16_to_f32(d) * factor);
    return (product & 0x7fff) < 0x7c00 ? product : d;
}

static void multiply_f16(uint8_t *number, float factor)
{
    pare_store_u16le(number, multiply_half(pare_load_u16le(number), factor));
}

/* The four top nibbles of four words (quant/iq1_m.h). */
static void multiply_iq1_m(uint8_t *number, float factor)
{
    unsigned d = 0;
    for (int w = 0; w < 4; w++)
        d |= (unsigned)(number[2 * w + 1] >> 4) << 4 * w;
    d = multiply_half((uint16_t)d, factor);
    for (int w = 0; w < 4; w++)
        number[2 * w + 1] = (uint8_t)((number[2 * w + 1] & 15) | (d >> 4 * w & 15) << 4);
}

static const scale_format scale_FINITE = {1, 0, 1, FLT_MAX, NULL}; /* never */
static const scale_format scale_F64 = {8, 0x7ff0000000000000u, 0x7ff0000000000000u, FLT_MAX, NULL};
static const scale_format scale_F32 = {4, 0x7f800000u, 0x7f800000u, FLT_MAX, NULL};
static const scale_format scale_F16 = {2, 0x7c00u, 0x7c00u, F16_LIMIT, multiply_f16};
static const scale_format scale_BF16 = {2, 0x7f80u, 0x7f80u, FLT_MAX, NULL};
static const scale_format scale_E5M2 = {1, 0x7cu, 0x7cu, FLT_MAX, NULL};
static const scale_format scale_E4M3 = {1, 0x7fu, 0x7fu, FLT_MAX, NULL};
static const scale_format scale_FNUZ = {1, 0xffu, 0x80u, FLT_MAX, NULL};
/* 6 * 2^125: the largest E2M1 value below 2^128 */
static const scale_format scale_E8M0 = {1, 0xffu, 0xffu, 2.5521178e38f, NULL};
/* Every byte is a number. The largest weight is 448 * 6 = 2688: what is above is cut, up to half of it. */
static const scale_format scale_UE4M3 = {1, 0, 1, 5376, NULL};
/* The exponent of the binary16 that IQ1_M keeps in the top nibbles of four words: bits 14..12 and 11..10. */
static const scale_format scale_IQ1_M = {8, 0x7000c00000000000u, 0x7000c00000000000u, F16_LIMIT, multiply_iq1_m};

/* Where the scales of a block are: n of them, side by side from offset on. */
typedef struct scale_fields {
    const scale_format *format;
    uint32_t offset, n;
} scale_fields;

#define SCALES_ROW(id, gguf, len, stem, name, st, traits, encode, format, field, n)                                    \
    [PARE_TYPE_##id] = {&scale_##format, offsetof(pare_##stem, field), n},

static const scale_fields scales[PARE_TYPE_COUNT] = {PARE_TYPES(SCALES_ROW)};

const pare_type_info *pare_type_get(pare_type type)
{
    return &infos[type];
}

pare_type pare_type_from_name(const char *name)
{
    int type = 0;
    while (type < PARE_TYPE_COUNT && strcasecmp(name, infos[type].name) != 0)
        type++;
    return (pare_type)type;
}

pare_type pare_type_from_gguf(uint32_t number)
{
    int type = 0;
    while (type < PARE_TYPE_COUNT && (infos[type].gguf < 0 || (uint32_t)infos[type].gguf != number))
        type++;
    return (pare_type)type;
}

pare_type pare_type_from_safetensors(const char *dtype, size_t len)
{
    int type = 0;
    while (type < PARE_TYPE_COUNT &&
           (len == 0 || strlen(infos[type].safetensors) != len || memcmp(dtype, infos[type].safetensors, len) != 0))
        type++;
    return (pare_type)type;
}

/* Numbers that GGUF files in the wild carry. Removed types: ggml.h. The rest: ik_llama.cpp, ggml.h, enum ggml_type. */
static const struct {
    uint32_t number;
    const char *name;
} foreign[] = {
    {4, "removed type Q4_2"},
    {5, "removed type Q4_3"},
    {31, "removed type Q4_0_4_4"},
    {32, "removed type Q4_0_4_8"},
    {33, "removed type Q4_0_8_8"},
    {36, "removed type IQ4_NL_4_4 (I2_S in BitNet files)"},
    {37, "removed type IQ4_NL_4_8"},
    {38, "removed type IQ4_NL_8_8"},
    {97, "ik_llama.cpp type Q8_0_X4"},
    {98, "ik_llama.cpp type Q8_1_X4"},
    {99, "ik_llama.cpp type Q8_2_X4"},
    {133, "ik_llama.cpp type Q6_0"},
    {134, "ik_llama.cpp type IQ1_BN"},
    {135, "ik_llama.cpp type IQ2_BN"},
    {136, "ik_llama.cpp type Q8_K64"},
    {137, "ik_llama.cpp type IQ2_K"},
    {138, "ik_llama.cpp type IQ3_K"},
    {139, "ik_llama.cpp type IQ4_K"},
    {140, "ik_llama.cpp type IQ5_K"},
    {141, "ik_llama.cpp type IQ6_K"},
    {144, "ik_llama.cpp type IQ4_KS"},
    {145, "ik_llama.cpp type IQ2_KS"},
    {146, "ik_llama.cpp type IQ4_KSS"},
    {147, "ik_llama.cpp type Q8_K16"},
    {148, "ik_llama.cpp type Q8_K32"},
    {149, "ik_llama.cpp type Q8_KR8"},
    {150, "ik_llama.cpp type Q8_K128"},
    {151, "ik_llama.cpp type Q8_KV"},
    {152, "ik_llama.cpp type IQ5_KS"},
    {153, "ik_llama.cpp type IQ2_KT"},
    {154, "ik_llama.cpp type IQ3_KT"},
    {155, "ik_llama.cpp type IQ4_KT"},
    {156, "ik_llama.cpp type IQ3_KS"},
    {157, "ik_llama.cpp type IQ2_KL"},
    {158, "ik_llama.cpp type IQ1_KT"},
    {202, "ik_llama.cpp type Q4_0_R8"},
    {206, "ik_llama.cpp type Q5_0_R4"},
    {208, "ik_llama.cpp type Q8_0_R8"},
    {210, "ik_llama.cpp type Q2_K_R4"},
    {211, "ik_llama.cpp type Q3_K_R4"},
    {212, "ik_llama.cpp type Q4_K_R4"},
    {213, "ik_llama.cpp type Q5_K_R4"},
    {214, "ik_llama.cpp type Q6_K_R4"},
    {216, "ik_llama.cpp type IQ2_XXS_R4"},
    {217, "ik_llama.cpp type IQ2_XS_R4"},
    {218, "ik_llama.cpp type IQ3_XXS_R4"},
    {219, "ik_llama.cpp type IQ1_S_R4"},
    {220, "ik_llama.cpp type IQ4_NL_R4"},
    {221, "ik_llama.cpp type IQ3_S_R4"},
    {222, "ik_llama.cpp type IQ2_S_R4"},
    {223, "ik_llama.cpp type IQ4_XS_R8"},
    {229, "ik_llama.cpp type IQ1_M_R4"},
    {230, "ik_llama.cpp type BF16_R16"},
    {233, "ik_llama.cpp type Q6_0_R4"},
    {335, "ik_llama.cpp type IQ2_BN_R4"},
    {337, "ik_llama.cpp type IQ2_K_R4"},
    {338, "ik_llama.cpp type IQ3_K_R4"},
    {339, "ik_llama.cpp type IQ4_K_R4"},
    {340, "ik_llama.cpp type IQ5_K_R4"},
    {344, "ik_llama.cpp type IQ4_KS_R4"},
    {352, "ik_llama.cpp type IQ5_KS_R4"},
    {353, "ik_llama.cpp type MXFP4_R8"},
    {397, "ik_llama.cpp type Q8_K_R16"},
    {398, "ik_llama.cpp type Q8_KV_R8"},
    {399, "ik_llama.cpp type Q8_K_R8"},
};

const char *pare_type_foreign_name(uint32_t number)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (foreign[i].number == number)
            return foreign[i].name;
    return NULL;
}

bool pare_row_bytes(pare_type type, uint64_t row_len, uint64_t *out)
{
    const pare_type_info *info = &infos[type];
    return row_len % info->block_len == 0 && pare_mul_u64(row_len / info->block_len, info->block_bytes, out);
}

static pare_status row_bytes(pare_type type, size_t row_len, size_t *out, pare_error *err)
{
    uint64_t n_bytes;
    if (!pare_row_bytes(type, row_len, &n_bytes) || n_bytes > SIZE_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "type %s: a row of %zu weights is not whole blocks of %" PRIu32,
                         infos[type].name, row_len, infos[type].block_len);
    *out = (size_t)n_bytes;
    return PARE_OK;
}

static size_t largest_column(const float *row, size_t first, size_t n)
{
    size_t best = first;
    for (size_t i = first; i < first + n; i++)
        if (fabsf(row[i]) > fabsf(row[best]))
            best = i;
    return best;
}

/* A caller that encodes single rows knows which one it is, so the message names the row only among several. */
static pare_status bad_value(const pare_type_info *info, size_t n_rows, size_t row, size_t column, float value,
                             pare_error *err)
{
    char where[64];
    if (n_rows > 1)
        snprintf(where, sizeof where, "row %zu, column %zu", row, column);
    else
        snprintf(where, sizeof where, "column %zu", column);
    if (!isfinite(value))
        return pare_fail(err, PARE_ERR_NUMBER, "%s: %s, which %s cannot hold", where,
                         isnan(value) ? "NaN" : "an infinity", info->name);
    return pare_fail(err, PARE_ERR_NUMBER, "%s: %.9g is too large for the scale of type %s", where, (double)value,
                     info->name);
}

static pare_status bad_weight(const float *weight, size_t row_len, pare_error *err)
{
    size_t i = 0;
    while (i + 1 < row_len && isfinite(weight[i]) && weight[i] >= 0)
        i++;
    return pare_fail(err, PARE_ERR_NUMBER, "the importance of column %zu is %.9g; it must be finite and >= 0", i,
                     (double)weight[i]);
}

/* Weights of errors as encoders take them. *weight becomes NULL when all are zero. Zeros among others, and weights so
 * large or small that sums could leave the range of floats, are brought into a copy, which the caller frees (*safe):
 * relative to the mean, and lifted far below what matters, so that no block is without weight.
 * A weight that is negative or not finite is an error. */
static pare_status take_weight(const float **weight, float **safe, size_t row_len, pare_error *err)
{
    *safe = NULL;
    if (*weight == NULL)
        return PARE_OK;
    pare_weight_range range = pare_path_now()->weight_range(*weight, row_len);
    if (range.bad)
        return bad_weight(*weight, row_len, err);
    if (range.high == 0)
        *weight = NULL;
    if (range.high == 0 || (range.low > 0x1p-40f && range.high < 0x1p40f))
        return PARE_OK;
    double sum = 0;
    for (size_t i = 0; i < row_len; i++)
        sum += (double)(*weight)[i];
    if ((*safe = pare_scratch_alloc(row_len * sizeof **safe)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu importances", row_len);
    for (size_t i = 0; i < row_len; i++)
        (*safe)[i] = (float)((double)(*weight)[i] * (double)row_len / sum + 0x1p-20);
    *weight = *safe;
    return PARE_OK;
}

static pare_status encode_rows(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight,
                               pare_effort effort, void *dst, pare_error *err)
{
    const pare_type_info *info = &infos[type];
    const pare_path_table *path = pare_path_now();
    size_t n_bytes = row_len / info->block_len * info->block_bytes;
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = src + r * row_len;
        uint8_t *out = (uint8_t *)dst + r * n_bytes;
        size_t column = path->find_above(row, row_len, scales[type].format->limit);
        if (column < row_len)
            return bad_value(info, n_rows, r, column, row[column], err);
        path->encode[type](row, row_len, weight, effort, out);
        size_t block = pare_find_nonfinite_block(type, out, row_len / info->block_len);
        if (block != SIZE_MAX) {
            column = largest_column(row, block * info->block_len, info->block_len);
            return bad_value(info, n_rows, r, column, row[column], err);
        }
    }
    return PARE_OK;
}

pare_status pare_encode_rows(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight,
                             pare_effort effort, void *dst, pare_error *err)
{
    const pare_type_info *info = &infos[type];
    size_t n_bytes = 0;
    float *safe = NULL;
    pare_status st;
    if (pare_encoder(type) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "type %s: there is no encoder", info->name);
    if ((st = row_bytes(type, row_len, &n_bytes, err)) != PARE_OK ||
        (st = take_weight(&weight, &safe, row_len, err)) != PARE_OK)
        return st;
    st = encode_rows(type, src, n_rows, row_len, weight, effort, dst, err);
    pare_scratch_free(safe, row_len * sizeof *safe);
    return st;
}

pare_status pare_decode_rows(pare_type type, const void *src, size_t n_rows, size_t row_len, float *dst,
                             pare_error *err)
{
    const pare_type_info *info = &infos[type];
    size_t n_bytes = 0;
    pare_status st;
    if (info->decode == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "type %s: there is no decoder", info->name);
    if ((st = row_bytes(type, row_len, &n_bytes, err)) != PARE_OK)
        return st;
    pare_path_now()->decode[type](src, dst, n_rows * (row_len / info->block_len));
    return PARE_OK;
}

static inline uint64_t load_le(const uint8_t *src, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)src[i] << 8 * i;
    return value;
}

/* Inlined with n_bytes known, so that a load is one instruction. */
static inline size_t find_scale(const scale_fields *where, size_t n_bytes, const uint8_t *field, size_t stride,
                                size_t n_blocks)
{
    uint64_t mask = where->format->mask, value = where->format->value;
    for (size_t i = 0; i < n_blocks; i++, field += stride)
        for (size_t k = 0; k < where->n; k++)
            if ((load_le(field + k * n_bytes, n_bytes) & mask) == value)
                return i;
    return SIZE_MAX;
}

/* Whether one of n plain numbers of 2 or 4 bytes is not finite: without an end in the middle, it becomes vectors. */
static bool any_2(const uint8_t *src, size_t n, const uint8_t *mask, const uint8_t *value)
{
    uint16_t m, v, x, bad = 0;
    memcpy(&m, mask, sizeof m);
    memcpy(&v, value, sizeof v);
    for (size_t i = 0; i < n; i++) {
        memcpy(&x, src + i * sizeof x, sizeof x);
        bad = (uint16_t)(bad | ((x & m) == v));
    }
    return bad != 0;
}

static bool any_4(const uint8_t *src, size_t n, const uint8_t *mask, const uint8_t *value)
{
    uint32_t m, v, x, bad = 0;
    memcpy(&m, mask, sizeof m);
    memcpy(&v, value, sizeof v);
    for (size_t i = 0; i < n; i++) {
        memcpy(&x, src + i * sizeof x, sizeof x);
        bad |= (x & m) == v;
    }
    return bad != 0;
}

/* The first of n plain numbers that is not finite, or n; it is looked for in the piece that has one. */
static size_t skip_finite(const scale_fields *where, const uint8_t *src, size_t n_bytes, size_t n)
{
    enum { PIECE = 4096 };
    bool (*any)(const uint8_t *, size_t, const uint8_t *, const uint8_t *) = n_bytes == 2 ? any_2 : any_4;
    uint8_t mask[8], value[8]; /* in the order of the bytes in memory, which are what is compared */
    pare_store_u64le(mask, where->format->mask);
    pare_store_u64le(value, where->format->value);
    for (size_t i = 0; i < n; i += PIECE)
        if (any(src + i * n_bytes, n - i < PIECE ? n - i : PIECE, mask, value))
            return i;
    return n;
}

bool pare_scale_blocks(pare_type type, void *blocks, size_t n_blocks, float factor)
{
    const scale_fields *where = &scales[type];
    uint8_t *block = blocks;
    if (infos[type].block_len == 1 || where->format->multiply == NULL)
        return false;
    for (size_t i = 0; i < n_blocks; i++, block += infos[type].block_bytes)
        for (size_t k = 0; k < where->n; k++)
            where->format->multiply(block + where->offset + k * where->format->n_bytes, factor);
    return true;
}

size_t pare_find_nonfinite_block(pare_type type, const void *src, size_t n_blocks)
{
    const scale_fields *where = &scales[type];
    const uint8_t *field = (const uint8_t *)src + where->offset;
    size_t n_bytes = where->format->n_bytes, stride = infos[type].block_bytes;
    if (where->n == 0)
        return SIZE_MAX;
    if (stride == n_bytes && (n_bytes == 2 || n_bytes == 4)) {
        size_t skip = skip_finite(where, field, n_bytes, n_blocks);
        size_t bad = find_scale(where, n_bytes, field + skip * stride, stride, n_blocks - skip);
        return bad == SIZE_MAX ? bad : skip + bad;
    }
    if (n_bytes == 2)
        return find_scale(where, 2, field, stride, n_blocks);
    if (n_bytes == 4)
        return find_scale(where, 4, field, stride, n_blocks);
    return find_scale(where, n_bytes, field, stride, n_blocks);
}
