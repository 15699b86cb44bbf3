/* quant/types.h - one row a storage type; the enumeration, names, sizes, decoders and encoders grow from it
 *
 * To add a type: one row here, quant/<stem>.h (block struct and PARE_HD decoder), listed in quant/blocks.h, and
 * quant/<stem>.c (encoder). Plain numbers share quant/plain.h and quant/minifloat.h. Nothing else switches over types.
 * This header needs only core. */
#ifndef PARE_QUANT_TYPES_H
#define PARE_QUANT_TYPES_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

/* Columns: id; number in GGUF (-1: has none; ggml.h, enum ggml_type, where 4, 5, 31-33 and 36-38 are removed types);
 * weights per block; stem; name as stock llama.cpp prints it; dtype in safetensors ("": has none); traits; encoder
 * (NULL: none); and what can be not finite in a block: format (registry.c), first field and number of such values. */
/* clang-format off */
#define PARE_TYPES(X) \
    X(F32, 0, 1, f32, "f32", "F32", PARE_TRAIT_FLOAT, pare_f32_encode, F32, d, 1) \
    X(F16, 1, 1, f16, "f16", "F16", PARE_TRAIT_FLOAT, pare_f16_encode, F16, d, 1) \
    X(Q4_0, 2, 32, q4_0, "q4_0", "", 0, pare_q4_0_encode, F16, d, 1) \
    X(Q4_1, 3, 32, q4_1, "q4_1", "", 0, pare_q4_1_encode, F16, d, 2) \
    X(Q5_0, 6, 32, q5_0, "q5_0", "", 0, pare_q5_0_encode, F16, d, 1) \
    X(Q5_1, 7, 32, q5_1, "q5_1", "", 0, pare_q5_1_encode, F16, d, 2) \
    X(Q8_0, 8, 32, q8_0, "q8_0", "", 0, pare_q8_0_encode, F16, d, 1) \
    X(Q8_1, 9, 32, q8_1, "q8_1", "", PARE_TRAIT_ACTIVATION, NULL, F16, d, 2) \
    X(Q2_K, 10, 256, q2_k, "q2_K", "", 0, pare_q2_k_encode, F16, d, 2) \
    X(Q3_K, 11, 256, q3_k, "q3_K", "", 0, pare_q3_k_encode, F16, d, 1) \
    X(Q4_K, 12, 256, q4_k, "q4_K", "", 0, pare_q4_k_encode, F16, d, 2) \
    X(Q5_K, 13, 256, q5_k, "q5_K", "", 0, pare_q5_k_encode, F16, d, 2) \
    X(Q6_K, 14, 256, q6_k, "q6_K", "", 0, pare_q6_k_encode, F16, d, 1) \
    X(Q8_K, 15, 256, q8_k, "q8_K", "", PARE_TRAIT_ACTIVATION, NULL, F32, d, 1) \
    X(IQ2_XXS, 16, 256, iq2_xxs, "iq2_xxs", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq2_xxs_encode, F16, d, 1) \
    X(IQ2_XS, 17, 256, iq2_xs, "iq2_xs", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq2_xs_encode, F16, d, 1) \
    X(IQ3_XXS, 18, 256, iq3_xxs, "iq3_xxs", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq3_xxs_encode, F16, d, 1) \
    X(IQ1_S, 19, 256, iq1_s, "iq1_s", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq1_s_encode, F16, d, 1) \
    X(IQ4_NL, 20, 32, iq4_nl, "iq4_nl", "", 0, pare_iq4_nl_encode, F16, d, 1) \
    X(IQ3_S, 21, 256, iq3_s, "iq3_s", "", PARE_TRAIT_CODEBOOK, pare_iq3_s_encode, F16, d, 1) \
    X(IQ2_S, 22, 256, iq2_s, "iq2_s", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq2_s_encode, F16, d, 1) \
    X(IQ4_XS, 23, 256, iq4_xs, "iq4_xs", "", 0, pare_iq4_xs_encode, F16, d, 1) \
    X(I8, 24, 1, i8, "i8", "I8", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(I16, 25, 1, i16, "i16", "I16", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(I32, 26, 1, i32, "i32", "I32", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(I64, 27, 1, i64, "i64", "I64", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(F64, 28, 1, f64, "f64", "F64", PARE_TRAIT_FLOAT, NULL, F64, d, 1) \
    X(IQ1_M, 29, 256, iq1_m, "iq1_m", "", PARE_TRAIT_CODEBOOK | PARE_TRAIT_NEEDS_WEIGHT, pare_iq1_m_encode, IQ1_M, scales, 1) \
    X(BF16, 30, 1, bf16, "bf16", "BF16", PARE_TRAIT_FLOAT, pare_bf16_encode, BF16, d, 1) \
    X(TQ1_0, 34, 256, tq1_0, "tq1_0", "", 0, pare_tq1_0_encode, F16, d, 1) \
    X(TQ2_0, 35, 256, tq2_0, "tq2_0", "", 0, pare_tq2_0_encode, F16, d, 1) \
    X(MXFP4, 39, 32, mxfp4, "mxfp4", "", 0, pare_mxfp4_encode, E8M0, e, 1) \
    X(NVFP4, 40, 64, nvfp4, "nvfp4", "", 0, pare_nvfp4_encode, UE4M3, d, 0) \
    X(Q1_0, 41, 128, q1_0, "q1_0", "", 0, pare_q1_0_encode, F16, d, 1) \
    X(Q2_0, 42, 64, q2_0, "q2_0", "", 0, pare_q2_0_encode, F16, d, 1) \
    X(BOOL, -1, 1, bool8, "bool", "BOOL", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(U8, -1, 1, u8, "u8", "U8", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(U16, -1, 1, u16, "u16", "U16", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(U32, -1, 1, u32, "u32", "U32", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(U64, -1, 1, u64, "u64", "U64", PARE_TRAIT_INTEGER, NULL, FINITE, d, 0) \
    X(C64, -1, 1, c64, "c64", "C64", 0, NULL, F32, d, 2) \
    X(F8_E4M3, -1, 1, f8_e4m3, "f8_e4m3", "F8_E4M3", PARE_TRAIT_FLOAT, NULL, E4M3, d, 1) \
    X(F8_E5M2, -1, 1, f8_e5m2, "f8_e5m2", "F8_E5M2", PARE_TRAIT_FLOAT, NULL, E5M2, d, 1) \
    X(F8_E8M0, -1, 1, f8_e8m0, "f8_e8m0", "F8_E8M0", PARE_TRAIT_FLOAT, NULL, E8M0, d, 1) \
    X(F8_E4M3FNUZ, -1, 1, f8_e4m3fnuz, "f8_e4m3fnuz", "F8_E4M3FNUZ", PARE_TRAIT_FLOAT, NULL, FNUZ, d, 1) \
    X(F8_E5M2FNUZ, -1, 1, f8_e5m2fnuz, "f8_e5m2fnuz", "F8_E5M2FNUZ", PARE_TRAIT_FLOAT, NULL, FNUZ, d, 1) \
    X(F4, -1, 2, f4, "f4", "F4", PARE_TRAIT_FLOAT, NULL, FINITE, d, 0) \
    X(F6_E2M3, -1, 4, f6_e2m3, "f6_e2m3", "F6_E2M3", PARE_TRAIT_FLOAT, NULL, FINITE, d, 0) \
    X(F6_E3M2, -1, 4, f6_e3m2, "f6_e3m2", "F6_E3M2", PARE_TRAIT_FLOAT, NULL, FINITE, d, 0)
/* clang-format on */

typedef enum pare_type_trait {
    PARE_TRAIT_FLOAT = 1,        /* a plain float format: each weight stands alone */
    PARE_TRAIT_INTEGER = 2,      /* integers: indices, masks; never quantized */
    PARE_TRAIT_ACTIVATION = 4,   /* a format of activations, no weight is stored in it */
    PARE_TRAIT_NEEDS_WEIGHT = 8, /* of little use without importances: quant/preset.h */
    PARE_TRAIT_CODEBOOK = 16     /* groups of weights are entries of a grid: no rounding of one by one */
} pare_type_trait;

typedef enum pare_type {
#define PARE_TYPE_ENUM(id, ...) PARE_TYPE_##id,
    PARE_TYPES(PARE_TYPE_ENUM)
#undef PARE_TYPE_ENUM
        PARE_TYPE_COUNT,
    PARE_TYPE_NONE = PARE_TYPE_COUNT
} pare_type;

/* How hard an encoder looks for codes of small error. */
typedef enum pare_effort {
    PARE_EFFORT_DEFAULT, /* searches */
    PARE_EFFORT_BEST,    /* searches longer */
    PARE_EFFORT_FAST,    /* shorter, where that is worth the error: a type may search as by default */
    PARE_EFFORT_RTN      /* rounds to nearest under scales that cover the largest weights: the published plain rule of a
                            type that has one; weights are ignored. Types of codebooks have none and search */
} pare_effort;

/* Encode one row with the smallest sum of weight * (source - decoded)^2 that the effort finds.
 *   src      row_len finite weights, a multiple of the block length
 *   weight   row_len weights of the squared errors, finite and above 0, or NULL when all are equal
 *   dst      row_len / block_len * block_bytes bytes
 * Reentrant; the same input gives the same bytes on every path (quant/path.h). */
typedef void (*pare_encode_fn)(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

typedef struct pare_type_info {
    const char *name;        /* "q4_K": lower case with stock's capital K; compare without case */
    const char *safetensors; /* dtype string or "" */
    int gguf;                /* type number in GGUF or -1 */
    unsigned traits;
    uint32_t block_len;   /* weights per block */
    uint32_t block_bytes; /* bytes per block */

    /* Decode n_blocks blocks at src (any alignment) to n_blocks * block_len floats. Exact against the published
     * format; never fails, whatever the bytes are. NULL: there is none (C64). */
    void (*decode)(const void *src, float *dst, size_t n_blocks);
} pare_type_info;

/* Properties of a type; type < PARE_TYPE_COUNT. The result lives forever. */
const pare_type_info *pare_type_get(pare_type type);

/* The encoder of a type, of the path in use (quant/path.h), or NULL when pare has none. */
pare_encode_fn pare_encoder(pare_type type);

/* PARE_TYPE_NONE when there is no such type. Names compare without case. */
pare_type pare_type_from_name(const char *name);
pare_type pare_type_from_gguf(uint32_t number);
pare_type pare_type_from_safetensors(const char *dtype, size_t len); /* exact, upper case */

/* What is known of a GGUF type number that pare does not hold: "removed type Q4_2", "ik_llama.cpp type IQ4_KS", or
 * NULL. For messages. */
const char *pare_type_foreign_name(uint32_t number);

/* Bytes of a row of row_len weights; false when row_len is no multiple of the block length or on overflow. */
bool pare_row_bytes(pare_type type, uint64_t row_len, uint64_t *out);

#endif
