#include "formats/exl3.h"
#include "core/half.h"

#include <stddef.h>

enum { TILE = PARE_EXL3_TILE, SIDE = PARE_EXL3_SIDE, STRIP = 16, UNIT = 1 << 18 };

uint32_t pare_exl3_multiplier(pare_exl3_code code)
{
    static const uint32_t multipliers[PARE_EXL3_CODES] = {89226354, 0xcbac1fed, 0x83dcd12d};
    return multipliers[code];
}

/* The number of a state before it is rounded to binary16. Exact: 22 bits are enough for it. */
static float value_of(pare_exl3_code code, uint32_t state)
{
    uint32_t x = state * pare_exl3_multiplier(code);
    if (code == PARE_EXL3_MUL1) {
        uint32_t sum = 1024 + (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24);
        return (float)(sum * 1774) / UNIT - 10.3828125f;
    }
    if (code == PARE_EXL3_3INST)
        x += 64248484;
    x = (x & 0x8fff8fffu) ^ 0x3b603b60u;
    return pare_f16_to_f32((uint16_t)x) + pare_f16_to_f32((uint16_t)(x >> 16));
}

void pare_exl3_codebook(pare_exl3_code code, int32_t values[PARE_EXL3_STATES])
{
    for (uint32_t s = 0; s < PARE_EXL3_STATES; s++)
        values[s] = (int32_t)(pare_f16_to_f32(pare_f32_to_f16(value_of(code, s))) * UNIT);
}

/* The tile at src: its output c of input r to dst[r * SIDE + c]. */
static void read_tile(const uint8_t *src, unsigned bits, const int32_t *codebook, double *dst)
{
    uint64_t window = pare_load_u32le(src + TILE * TILE / 8 * bits - 4);
    unsigned n_ahead = 0; /* the lowest bits of the window, of weights to come */
    for (unsigned t = 0; t < TILE * TILE; t++) {
        unsigned lane = t / 8, r = lane % 4 * 2 + (t & 1) + (t & 2) * 4, c = lane / 4 + (t & 4) * 2;
        if (n_ahead < bits) {
            window = window << 32 | pare_load_u32le(src);
            src += 4;
            n_ahead += 32;
        }
        n_ahead -= bits;
        dst[r * SIDE + c] = codebook[window >> n_ahead & (PARE_EXL3_STATES - 1)];
    }
}

/* The columns of a matrix [SIDE][width] times H. */
static void transform(double *x, size_t width)
{
    for (size_t h = 1; h < SIDE; h *= 2)
        for (size_t r = 0; r < SIDE; r += (r + 1) % h == 0 ? h + 1 : 1) {
            double *a = x + r * width, *b = a + h * width;
            for (size_t c = 0; c < width; c++) {
                double sum = a[c] + b[c], difference = a[c] - b[c];
                a[c] = sum;
                b[c] = difference;
            }
        }
}

/* SIDE scales from `first` on. */
static void read_scales(const pare_exl3_scales *s, uint64_t first, double *dst)
{
    for (uint64_t i = 0; i < SIDE; i++) {
        uint64_t at = first + i;
        if (s->signs)
            dst[i] = s->data[at / 8] >> at % 8 & 1 ? -1 : 1;
        else
            dst[i] = (double)pare_f16_to_f32(pare_load_u16le(s->data + 2 * at));
    }
}

void pare_exl3_square(const pare_exl3 *w, uint64_t block, uint64_t at, double *room, uint64_t n_rows,
                      uint64_t n_columns, float *dst, uint64_t stride)
{
    const uint64_t tiles = SIDE / TILE, tile_bytes = TILE * TILE / 8 * w->bits;
    double in[SIDE], out[SIDE], strip[SIDE * STRIP];
    read_scales(&w->in, at * SIDE, in);
    read_scales(&w->out, block * SIDE, out);
    for (uint64_t i = 0; i < tiles * tiles; i++) {
        uint64_t r = i / tiles, c = i % tiles, tile = (at * tiles + r) * (w->n_out / TILE) + block * tiles + c;
        read_tile(w->trellis + tile * tile_bytes, w->bits, w->codebook, room + r * TILE * SIDE + c * TILE);
    }
    transform(room, SIDE); /* over the inputs: the square is [inputs][outputs] */
    for (uint64_t first = 0; first < n_columns; first += STRIP) {
        uint64_t n = n_columns - first < STRIP ? n_columns - first : STRIP;
        for (uint64_t o = 0; o < SIDE; o++)
            for (uint64_t i = 0; i < STRIP; i++)
                strip[o * STRIP + i] = room[(first + i) * SIDE + o];
        transform(strip, STRIP); /* and the outputs */
        for (uint64_t o = 0; o < n_rows; o++)
            for (uint64_t i = 0; i < n; i++)
                dst[o * stride + first + i] =
                    (float)(strip[o * STRIP + i] * (in[first + i] * out[o] * (1.0 / SIDE / UNIT)));
    }
}
