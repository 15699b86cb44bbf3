/* quant/plain.h - types whose weights stand alone: floats and integers of whole bytes, little endian */
#ifndef PARE_QUANT_PLAIN_H
#define PARE_QUANT_PLAIN_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

/* The struct of a type (one weight in n_bytes bytes) and its decoder. `value` is the weight in the bytes d. */
#define PARE_PLAIN(stem, n_bytes, value)                                                                               \
    typedef struct pare_##stem {                                                                                       \
        uint8_t d[n_bytes];                                                                                            \
    } pare_##stem;                                                                                                     \
    static_assert(sizeof(pare_##stem) == n_bytes, "no padding");                                                       \
    PARE_HD void pare_##stem##_decode(const void *src, float *dst, size_t n_blocks)                                    \
    {                                                                                                                  \
        const uint8_t *d = (const uint8_t *)src;                                                                       \
        for (size_t i = 0; i < n_blocks; i++, d += n_bytes)                                                            \
            dst[i] = value;                                                                                            \
    }

/* binary64; rounds to nearest even, beyond binary32 to infinity */
PARE_HD float pare_load_f64le_as_f32(const uint8_t *src)
{
    uint64_t bits = pare_load_u64le(src);
    double value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

PARE_PLAIN(f32, 4, pare_load_f32le(d))
PARE_PLAIN(f16, 2, pare_f16_to_f32(pare_load_u16le(d)))
PARE_PLAIN(bf16, 2, pare_bf16_to_f32(pare_load_u16le(d)))
PARE_PLAIN(f64, 8, pare_load_f64le_as_f32(d))
PARE_PLAIN(i8, 1, (float)(int8_t)*d)
PARE_PLAIN(i16, 2, (float)(int16_t)pare_load_u16le(d))
PARE_PLAIN(i32, 4, (float)(int32_t)pare_load_u32le(d))
PARE_PLAIN(i64, 8, (float)(int64_t)pare_load_u64le(d))
PARE_PLAIN(bool8, 1, *d != 0 ? 1.0f : 0.0f)
PARE_PLAIN(u8, 1, (float)*d)
PARE_PLAIN(u16, 2, (float)pare_load_u16le(d))
PARE_PLAIN(u32, 4, (float)pare_load_u32le(d))
PARE_PLAIN(u64, 8, (float)pare_load_u64le(d))
#undef PARE_PLAIN

/* Two binary32, real and imaginary part. No float stands for it, so it has no decoder. */
typedef struct pare_c64 {
    uint8_t d[8];
} pare_c64;

/* One row; the contract of pare_encode_fn. Nearest even; weight is ignored. */
void pare_f32_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);
void pare_f16_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);
void pare_bf16_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
