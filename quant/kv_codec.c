#include "quant/kv_codec.h"

#include "quant/kv_rows.h"
#include "quant/kv_unit.h"
#include "quant/path_table.h"

#include <strings.h>

static_assert((int)PARE_KV_MAX_DIM <= (int)PARE_ROTATION_MAX_DIM, "what is kept can be rotated");

#define BOTH (PARE_KV_KEYS | PARE_KV_VALUES)
#define LLAMA "llama.cpp"
#define LLAMAS "llama.cpp, ik_llama.cpp"

/* clang-format off */
#define ROW(n, w, r, s, f, ...) {.name = n, .what = w, .runtime = r, .sides = s, .family = PARE_KV_##f, __VA_ARGS__}
#define PLAIN(n, t, r, w) ROW(n, w, r, BOTH, PLAIN, .type = PARE_TYPE_##t, .group = 1)
#define BLOCKS(n, t, r, w) ROW(n, w, r, BOTH, BLOCKS, .type = PARE_TYPE_##t, .group = 1)
#define REFIT(n, t, r) \
    ROW(n, "the same codes, then the scale of least square error under weights x^2", r, BOTH, BLOCKS, \
        .type = PARE_TYPE_##t, .group = 1, .refit = true)
#define CODES(b) .type = PARE_TYPE_NONE, .half_bits = b
#define GAUSS(n, b, w) ROW(n, w, NULL, BOTH, GAUSS, CODES(b), .group = 1, .wants_rotation = true)
#define PRODUCT(n, b, w) ROW(n, w, NULL, PARE_KV_KEYS, PRODUCT, CODES(b), .group = 1, .wants_rotation = true)
#define MIDRISE(n, b, w) ROW(n, w, "exllamav3", BOTH, MIDRISE, CODES(2 * b), .group = 1)
#define CHANNELS(n, b, last, early, w) \
    ROW(n, w, NULL, PARE_KV_KEYS, CHANNELS, CODES(2 * b), .group = PARE_KV_RANGE, .recent = last, .before_rope = early)
#define RANGES(n, b, last, w) ROW(n, w, NULL, PARE_KV_VALUES, RANGES, CODES(2 * b), .group = 1, .recent = last)
#define TRANSFORM(n, b) \
    ROW(n, "calibrated: coordinates before RoPE by their variance, 0 to 10 bits, and a length", NULL, PARE_KV_KEYS, \
        TRANSFORM, CODES(b), .group = 1, .before_rope = true), \
    ROW(n, "calibrated: coordinates by their variance, 0 to 10 bits, and a length", NULL, PARE_KV_VALUES, \
        TRANSFORM, CODES(b), .group = 1)

static const pare_kv_codec codecs[] = {
    PLAIN("f32", F32, LLAMA, "32 bits: nothing is rounded"),
    PLAIN("f16", F16, LLAMAS, "binary16"),
    PLAIN("bf16", BF16, LLAMA, "bfloat16"),
    BLOCKS("q8_0", Q8_0, LLAMAS, "blocks of 32, 8 bits under a scale"),
    BLOCKS("q5_1", Q5_1, LLAMAS, "blocks of 32, 5 bits with a least value and a step"),
    REFIT("q5_1r", Q5_1, NULL),
    BLOCKS("q5_0", Q5_0, LLAMAS, "blocks of 32, 5 bits under a scale"),
    REFIT("q5_0r", Q5_0, NULL),
    BLOCKS("q4_1", Q4_1, LLAMAS, "blocks of 32, 4 bits with a least value and a step"),
    REFIT("q4_1r", Q4_1, NULL),
    BLOCKS("q4_0", Q4_0, LLAMA, "blocks of 32, 4 bits under a scale"),
    REFIT("q4_0r", Q4_0, "ik_llama.cpp"),
    BLOCKS("iq4_nl", IQ4_NL, LLAMAS, "blocks of 32, 16 unequal levels; the scale is refitted under weights x^2"),
    BLOCKS("nvfp4", NVFP4, NULL, "blocks of 16, E2M1 under a scale in UE4M3, none of the whole tensor"),
    BLOCKS("mxfp4", MXFP4, NULL, "blocks of 32, E2M1 under a power of two"),
    MIDRISE("midrise8", 8, "32 elements, scale max |x|, 256 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise7", 7, "32 elements, scale max |x|, 128 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise6", 6, "32 elements, scale max |x|, 64 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise5", 5, "32 elements, scale max |x|, 32 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise4", 4, "32 elements, scale max |x|, 16 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise3", 3, "32 elements, scale max |x|, 8 levels; exllamav3 rotates blocks of 32"),
    MIDRISE("midrise2", 2, "32 elements, scale max |x|, 4 levels; exllamav3 rotates blocks of 32"),
    GAUSS("turbo4", 8, "TurboQuant: length, 16 Lloyd-Max levels"),
    GAUSS("turbo3.5", 7, "TurboQuant: length, 16 Lloyd-Max levels for half of the elements, 8 for the others"),
    GAUSS("turbo3", 6, "TurboQuant: length, 8 Lloyd-Max levels"),
    GAUSS("turbo2.5", 5, "TurboQuant: length, 8 Lloyd-Max levels for half of the elements, 4 for the others"),
    GAUSS("turbo2", 4, "TurboQuant: length, 4 Lloyd-Max levels"),
    GAUSS("turbo1", 2, "TurboQuant: length and signs"),
    PRODUCT("turbo4p", 8, "TurboQuant for products: turbo3 and a projection's signs"),
    PRODUCT("turbo3.5p", 7, "TurboQuant for products: turbo2.5 and a projection's signs"),
    PRODUCT("turbo3p", 6, "TurboQuant for products: turbo2 and a projection's signs"),
    PRODUCT("turbo2.5p", 5, "TurboQuant for products: 4 or 2 levels and a projection's signs"),
    PRODUCT("turbo2p", 4, "TurboQuant for products: turbo1 and a projection's signs"),
    CHANNELS("kivi4", 4, 128, false, "KIVI: channels of 32 tokens, 4 bits; the last 128 tokens exact"),
    CHANNELS("kivi2", 2, 128, false, "KIVI: channels of 32 tokens, 2 bits; the last 128 tokens exact"),
    RANGES("kivi4", 4, 128, "KIVI: ranges of 32 elements, 4 bits; the last 128 tokens exact"),
    RANGES("kivi2", 2, 128, "KIVI: ranges of 32 elements, 2 bits; the last 128 tokens exact"),
    CHANNELS("channel4", 4, 32, true, "channels of 32 tokens before RoPE, 4 bits"),
    CHANNELS("channel3", 3, 32, true, "channels of 32 tokens before RoPE, 3 bits"),
    CHANNELS("channel2", 2, 32, true, "channels of 32 tokens before RoPE, 2 bits"),
    TRANSFORM("klt4", 8),
    TRANSFORM("klt3.5", 7),
    TRANSFORM("klt3", 6),
    TRANSFORM("klt2.5", 5),
    TRANSFORM("klt2", 4),
    TRANSFORM("klt1.5", 3),
};
/* clang-format on */

const pare_kv_codec *pare_kv_codec_at(size_t i)
{
    return i < sizeof codecs / sizeof *codecs ? &codecs[i] : NULL;
}

const pare_kv_codec *pare_kv_codec_find(const char *name, pare_kv_side side)
{
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if ((codecs[i].sides & side) != 0 && strcasecmp(codecs[i].name, name) == 0)
            return &codecs[i];
    return NULL;
}

/* Elements of which the head must have a multiple. */
static uint32_t multiple(const pare_kv_codec *c)
{
    if (c->family == PARE_KV_PLAIN || c->family == PARE_KV_BLOCKS)
        return pare_type_get(c->type)->block_len;
    if (c->family == PARE_KV_GAUSS || c->family == PARE_KV_PRODUCT)
        return c->half_bits % 2 != 0 ? 16 : 8;
    if (c->family == PARE_KV_TRANSFORM)
        return 16;
    return c->family == PARE_KV_CHANNELS ? 1 : PARE_KV_RANGE;
}

size_t pare_kv_unit_bytes(const pare_kv_codec *c, uint32_t dim)
{
    uint64_t n_bytes = 0;
    if (dim == 0 || dim > PARE_KV_MAX_DIM || dim % multiple(c) != 0)
        return 0;
    if (c->type != PARE_TYPE_NONE)
        return pare_row_bytes(c->type, dim, &n_bytes) ? (size_t)n_bytes : 0;
    pare_kv_unit u = pare_kv_unit_of(c, dim);
    return pare_kv_coded_bytes(&u);
}

const char *pare_kv_wants(const pare_kv_codec *c)
{
    static const struct {
        uint32_t multiple;
        const char *text;
    } rows[] = {{1, "1 to 1024 elements"},
                {8, "a multiple of 8 elements, up to 1024"},
                {16, "a multiple of 16 elements, up to 1024"},
                {32, "a multiple of 32 elements, up to 1024"},
                {64, "a multiple of 64 elements, up to 1024"}};
    size_t i = 0;
    while (rows[i].multiple != multiple(c))
        i++;
    return rows[i].text;
}

double pare_kv_bits(const pare_kv_codec *c, uint32_t dim)
{
    return 8.0 * (double)pare_kv_unit_bytes(c, dim) / ((double)dim * c->group);
}

pare_kv_unit pare_kv_unit_of(const pare_kv_codec *c, uint32_t dim)
{
    return (pare_kv_unit){.family = (uint8_t)c->family,
                          .type = (uint8_t)c->type,
                          .half_bits = c->half_bits,
                          .refit = c->refit,
                          .dim = dim,
                          .basis = c->basis};
}

static pare_kv_rows rows_of(const pare_kv_codec *c, size_t n, uint32_t n_head, uint32_t dim)
{
    return (pare_kv_rows){.unit = pare_kv_unit_of(c, dim),
                          .n_head = n_head,
                          .group = c->group,
                          .unit_bytes = pare_kv_unit_bytes(c, dim),
                          .n = n};
}

pare_status pare_kv_refuse(const pare_kv_codec *c, const float *x, size_t stride, size_t token, size_t head,
                           uint32_t dim, pare_error *err)
{
    size_t first = token, element = 0; /* of the first value that is not finite, else of the largest */
    float found = 0;
    for (size_t t = 0; t < c->group; t++)
        for (size_t i = 0; i < dim; i++) {
            float v = x[t * stride + i];
            if (isfinite(found) && !(fabsf(v) <= fabsf(found))) {
                token = first + t;
                element = i;
                found = v;
            }
        }
    if (!isfinite(found))
        return pare_fail(err, PARE_ERR_NUMBER, "token %zu, head %zu, element %zu: %s, which %s cannot hold", token,
                         head, element, isnan(found) ? "NaN" : "an infinity", c->name);
    return pare_fail(err, PARE_ERR_NUMBER, "token %zu, head %zu, element %zu: %.9g is too large for %s", token, head,
                     element, (double)found, c->name);
}

size_t pare_kv_encode_until(const pare_kv_codec *c, const float *x, size_t n, uint32_t n_head, uint32_t dim, void *dst)
{
    pare_kv_rows rows = rows_of(c, n, n_head, dim);
    assert(rows.unit_bytes != 0 && pare_kv_is_ready(c));
    return pare_path_now()->kv_encode(&rows, x, dst);
}

pare_status pare_kv_encode(const pare_kv_codec *c, const float *x, size_t n, uint32_t n_head, uint32_t dim, void *dst,
                           pare_error *err)
{
    const size_t bad = pare_kv_encode_until(c, x, n, n_head, dim, dst);
    if (bad == SIZE_MAX)
        return PARE_OK;
    const size_t token = bad / n_head * c->group, head = bad % n_head, stride = (size_t)n_head * dim;
    return pare_kv_refuse(c, x + token * stride + head * dim, stride, token, head, dim, err);
}

void pare_kv_decode(const pare_kv_codec *c, const void *src, size_t n, uint32_t n_head, uint32_t dim, float *x)
{
    pare_kv_rows rows = rows_of(c, n, n_head, dim);
    assert(rows.unit_bytes != 0 && pare_kv_is_ready(c));
    pare_path_now()->kv_decode(&rows, src, x);
}
