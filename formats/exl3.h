/* formats/exl3.h - squares of weights in EXL3, the format of ExLlamaV3: a trellis code as in QTIP (arXiv 2406.11235)
 * between two Hadamard transforms
 *
 *     trellis    I16 [in / 16, out / 16, 16 K]   tiles of 16 x 16 weights in 256 K bits, K from 1 to 8
 *     suh, svh   F16 [in], [out]                 scale and sign of each input and output, or
 *     su, sv     I16 [in / 16], [out / 16]       signs alone, of older programs: bit i of number j, 1 for -1, is 16 j +
 * i mcg, mul1  I32, one number                 which codebook: its multiplier; without both it is 3INST
 *
 * A tile's bits are those of its little-endian 32-bit words, from the highest bit of the first word on. Each weight
 * takes K of them. Its state is the 16 bits that end with these; before the tile's first bit stand its last ones
 * (tail-biting):
 *
 *     ... b b b b b b b b b b b b b b b b b b b b b b b b b b ...        K = 4
 *             '------- state of t ----------'
 *                     '------- state of t + 1 ------'
 *
 * Weights come in the order of tensor cores: t = 8 l + j is input 2 (l % 4) + j % 2 + 8 (j / 2 % 2) and output
 * l / 4 + 8 (j / 4) of the tile. A codebook makes a binary16 number of a state s. With products of 32 bits, and
 * halves(x) for the binary16 sum of the two numbers whose bits are (x & 0x8fff8fff) ^ 0x3b603b60:
 *
 *     3INST   halves(89226354 s + 64248484)
 *     mcg     halves(0xcbac1fed s)
 *     mul1    (1024 + sum of the four bytes of 0x83dcd12d s) * 1774 / 2^18 - 10.3828125, rounded once, to binary16
 *
 * With W [in, out] of these numbers and H, the 128 x 128 Hadamard matrix of Sylvester, block by block along both sides:
 *
 *     weight[o][i] = suh[i] * svh[o] * (H W H)[i][o] / 128
 *
 * Arithmetic: codebooks hold integers times 2^-18, so H W H does, below 2^34: its sums are exact in any order. The
 * product of the scales is exact in a double. Their product with H W H is rounded to a double, and that to a float.
 * (ExLlamaV3 rounds to binary16 on the way, and elsewhere in each of its kernels.)
 *
 * Source: exllamav3 at 4f8ad01, exllamav3_ext/quant (codebook.cuh, exl3_dq.cuh, reconstruct.cu, pack.cu),
 * modules/quant/exl3.py and exl3_lib/quantize.py. */
#ifndef PARE_FORMATS_EXL3_H
#define PARE_FORMATS_EXL3_H

#include <stdbool.h>
#include <stdint.h>

enum { PARE_EXL3_TILE = 16, PARE_EXL3_SIDE = 128, PARE_EXL3_STATES = 1 << 16, PARE_EXL3_BITS = 8 };

typedef enum pare_exl3_code { PARE_EXL3_3INST, PARE_EXL3_MCG, PARE_EXL3_MUL1, PARE_EXL3_CODES } pare_exl3_code;

/* Scales of one side of a matrix: binary16 numbers, or signs. */
typedef struct pare_exl3_scales {
    const uint8_t *data;
    bool signs;
} pare_exl3_scales;

typedef struct pare_exl3 {
    const uint8_t *trellis;
    uint64_t n_in, n_out; /* multiples of PARE_EXL3_SIDE */
    unsigned bits;
    const int32_t *codebook; /* [PARE_EXL3_STATES] */
    pare_exl3_scales in, out;
} pare_exl3;

uint32_t pare_exl3_multiplier(pare_exl3_code code);

/* The numbers of all states, times 2^18. */
void pare_exl3_codebook(pare_exl3_code code, int32_t values[PARE_EXL3_STATES]);

/* weight[o][i] for the first n_rows outputs o from 128 * block on and the first n_columns inputs i from 128 * at on,
 * both 128 at most, to dst[(o - 128 * block) * stride + i - 128 * at]. room: 128 * 128 numbers. */
void pare_exl3_square(const pare_exl3 *w, uint64_t block, uint64_t at, double *room, uint64_t n_rows,
                      uint64_t n_columns, float *dst, uint64_t stride);

#endif
