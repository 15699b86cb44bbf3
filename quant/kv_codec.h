/* quant/kv_codec.h - in what form keys and values of the context are kept: a table of codecs
 *
 * What is coded is a unit: the vector of one head and one token, dim elements; or, of codecs by channel, those of one
 * head and `group` tokens in a row. A row of the cache is the units of all heads, one behind the other:
 *
 *     group of tokens 0    | head 0 | head 1 | ...
 *     group of tokens 1    | head 0 | head 1 | ...          each pare_kv_unit_bytes(codec, dim) long
 *
 * which is llama.cpp's layout, where the codec is a block type whose length divides dim. Rotation is not a codec's: who
 * keeps rotated vectors rotates before it encodes (quant/hadamard.h). Formulas and figures: docs/methods/KV_CACHE.md.
 * One unit, for devices: quant/kv_unit.h. */
#ifndef PARE_QUANT_KV_CODEC_H
#define PARE_QUANT_KV_CODEC_H

#include "quant/types.h"

typedef enum pare_kv_side { PARE_KV_KEYS = 1, PARE_KV_VALUES = 2 } pare_kv_side;

typedef enum pare_kv_family {
    PARE_KV_PLAIN,    /* F32, F16, BF16 */
    PARE_KV_BLOCKS,   /* a block type of the registry, as llama.cpp encodes a cache: rounding under plain scales */
    PARE_KV_GAUSS,    /* length, and each element / length by the Lloyd-Max levels of its normal distribution
                         (TurboQuant_mse, arXiv 2504.19874; EDEN, arXiv 2108.08842) */
    PARE_KV_PRODUCT,  /* the same with one bit less, and one bit for the sign of a projection of what is left, so that
                         q.k is estimated without bias (TurboQuant_prod; QJL, arXiv 2406.03482) */
    PARE_KV_MIDRISE,  /* 32 elements, scale max |x|, levels in the middle of equal steps (exllamav3) */
    PARE_KV_CHANNELS, /* each channel of 32 tokens with a least value and a step (KIVI's keys, arXiv 2402.02750) */
    PARE_KV_RANGES,   /* 32 elements of one token with a least value and a step (KIVI's values) */
    PARE_KV_TRANSFORM /* length, and the coordinates in a basis of the head's own, from a text, each by the Lloyd-Max
                         levels of as many bits as its variance is worth (quant/kv_basis.h) */
} pare_kv_family;

enum {
    PARE_KV_RANGE = 32,    /* elements, or tokens, that share a scale in the last three families */
    PARE_KV_MAX_DIM = 1024 /* elements of a head */
};

typedef struct pare_kv_codec {
    const char *name; /* "q4_0", "turbo3.5" */
    const char *what; /* one line */
    const char
        *runtime;   /* programs that keep a cache so: "llama.cpp, ik_llama.cpp"; NULL: none is known, for research */
    unsigned sides; /* pare_kv_side: what it is for; names are unique on each side */
    pare_kv_family family;
    pare_type type;      /* of PLAIN and BLOCKS, else PARE_TYPE_NONE */
    uint8_t half_bits;   /* of a code, times 2: 2.5 bits are 5, the first half of the elements having one bit more */
    uint8_t group;       /* tokens of a unit */
    uint16_t recent;     /* the last tokens, which stay in F16 until so many came behind them; 0: none */
    bool before_rope;    /* keys are kept as they are before RoPE, which the reader applies */
    bool wants_rotation; /* it is for rotated vectors alone */
    bool refit;          /* after rounding, the scale of least square error under weights x^2 for these codes */
    const float *basis;  /* of TRANSFORM: [n_head, pare_kv_basis_floats], where it is coded. NULL in the table: codecs
                            of this family are copied for each layer. Borrowed */
} pare_kv_codec;

/* It can code: it needs no basis, or has one. */
static inline bool pare_kv_is_ready(const pare_kv_codec *c)
{
    return c->family != PARE_KV_TRANSFORM || c->basis != NULL;
}

/* Floats of a basis of one head: quant/kv_basis.h. */
static inline size_t pare_kv_basis_floats(uint32_t dim)
{
    return (size_t)dim * (2 * (size_t)dim + 3);
}

/* All that the bytes of a unit depend on; small, for kernels' arguments. */
typedef struct pare_kv_unit {
    uint8_t family;    /* pare_kv_family */
    uint8_t type;      /* pare_type */
    uint8_t half_bits; /* as above */
    uint8_t refit;     /* 0 or 1 */
    uint32_t dim;
    const float *basis; /* of TRANSFORM: of the unit's head */
} pare_kv_unit;

/* Codecs in the order in which tables print them; NULL behind the last. They live forever. */
const pare_kv_codec *pare_kv_codec_at(size_t i);

/* By name, without case; NULL: there is none for this side. */
const pare_kv_codec *pare_kv_codec_find(const char *name, pare_kv_side side);

/* Bytes of a unit; 0: the codec cannot take vectors of dim elements (no multiple of its block; more than 1024). */
size_t pare_kv_unit_bytes(const pare_kv_codec *c, uint32_t dim);

/* Why it is 0: "a multiple of 32 elements, up to 1024". */
const char *pare_kv_wants(const pare_kv_codec *c);

/* Bits an element, all that is stored counted, recent tokens not. */
double pare_kv_bits(const pare_kv_codec *c, uint32_t dim);

/* dim: one that it can take. The basis is that of head 0. */
pare_kv_unit pare_kv_unit_of(const pare_kv_codec *c, uint32_t dim);

/* c: one that is ready. Encode n rows: n * c->group tokens of x [tokens, n_head, dim], finite, to dst [n, n_head, unit]. Decode the opposite
 * way. Any alignment of bytes; the calling thread only. The same input gives the same bytes on every path and device.
 * Errors: PARE_ERR_NUMBER (a value is not finite, or its scale does not fit: token, head, element). */
pare_status pare_kv_encode(const pare_kv_codec *c, const float *x, size_t n, uint32_t n_head, uint32_t dim, void *dst,
                           pare_error *err);
void pare_kv_decode(const pare_kv_codec *c, const void *src, size_t n, uint32_t n_head, uint32_t dim, float *x);

/* For devices, and threads that have a part of the rows. Encode, but return the first unit that cannot be encoded,
 * counted row by row, or SIZE_MAX; and its error: of head `head` from token `token` on, element i of its token t being
 * x[t * stride + i]. */
size_t pare_kv_encode_until(const pare_kv_codec *c, const float *x, size_t n, uint32_t n_head, uint32_t dim, void *dst);
pare_status pare_kv_refuse(const pare_kv_codec *c, const float *x, size_t stride, size_t token, size_t head,
                           uint32_t dim, pare_error *err);

#endif
