#include "model/transpose.h"

#include <string.h>

/* Eight rows of eight elements of two bytes, which are turned in registers. */
enum { LANES = 8 };
typedef uint16_t lanes __attribute__((vector_size(2 * LANES)));

/* Rows of the source that are read together, all columns of them: what is written of a row is then a line of a cache,
 * and no page of the source is left and come back to. */
enum { BLOCK = 32 };

#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* One tile: of eight columns from src on those at phase, phase + step, ... become rows of dst. step and phase are
 * constants, so what is not wanted is not made. Zipping the upper half of the vectors with the lower one moves a bit of
 * the vectors' numbers to the lanes', so three times exchanges the two. */
static inline __attribute__((always_inline)) void turn_tile(const uint8_t *src, size_t src_bytes, uint8_t *dst,
                                                            size_t dst_bytes, int step, int phase)
{
    lanes v[LANES];
#pragma GCC unroll 8
    for (int r = 0; r < LANES; r++)
        memcpy(&v[r], src + (size_t)r * src_bytes, sizeof v[r]);
#pragma GCC unroll 3
    for (int bit = 1; bit < LANES; bit *= 2) {
        lanes zipped[LANES];
#pragma GCC unroll 4
        for (int r = 0; r < LANES / 2; r++) {
            zipped[2 * r] = ZIP_LOW(v[r], v[r + LANES / 2]);
            zipped[2 * r + 1] = ZIP_HIGH(v[r], v[r + LANES / 2]);
        }
        memcpy(v, zipped, sizeof zipped);
    }
    for (int r = 0; r < LANES / step; r++)
        memcpy(dst + (size_t)r * dst_bytes, &v[r * step + phase], sizeof v[0]);
}

/* Where a tile begins: the last ones overlap those before them, so that all are whole. */
static uint64_t tile_start(uint64_t at, uint64_t tile, uint64_t n)
{
    return at + tile <= n ? at : n - tile;
}

static inline __attribute__((always_inline)) void turn_tiles(const pare_turned *m, uint8_t *dst, int step, int phase)
{
    size_t src_bytes = (size_t)m->row_len * 2, dst_bytes = (size_t)m->n_rows * 2;
    uint64_t tile = (uint64_t)(LANES / step);
    const uint8_t *src = m->src + (m->first - (uint64_t)phase) * 2;
    for (uint64_t j0 = 0; j0 < m->n_rows; j0 += BLOCK)
        for (uint64_t i0 = 0; i0 < m->n_columns; i0 += tile) {
            uint64_t i = tile_start(i0, tile, m->n_columns);
            for (uint64_t j1 = j0; j1 < j0 + BLOCK && j1 < m->n_rows; j1 += LANES) {
                uint64_t j = tile_start(j1, LANES, m->n_rows);
                turn_tile(src + j * src_bytes + i * (uint64_t)step * 2, src_bytes, dst + i * dst_bytes + j * 2,
                          dst_bytes, step, phase);
            }
        }
}

/* Any size and step, element by element. */
static void turn_elements(const pare_turned *m, uint8_t *dst)
{
    for (uint64_t j0 = 0; j0 < m->n_rows; j0 += BLOCK) {
        uint64_t j1 = j0 + BLOCK < m->n_rows ? j0 + BLOCK : m->n_rows;
        for (uint64_t i = 0; i < m->n_columns; i++) {
            const uint8_t *from = m->src + (m->first + i * m->step) * m->size;
            uint8_t *to = dst + i * m->n_rows * m->size;
            if (m->size == 4)
                for (uint64_t j = j0; j < j1; j++)
                    memcpy(to + j * 4, from + j * m->row_len * 4, 4);
            else
                for (uint64_t j = j0; j < j1; j++)
                    memcpy(to + j * m->size, from + j * m->row_len * m->size, m->size);
        }
    }
}

void pare_transpose(const pare_turned *m, uint8_t *dst)
{
    bool tiles = m->size == 2 && m->n_rows >= LANES && m->row_len % m->step == 0;
    if (tiles && m->step == 1 && m->n_columns >= LANES)
        turn_tiles(m, dst, 1, 0);
    else if (tiles && m->step == 2 && m->n_columns >= LANES / 2 && m->first % 2 == 0)
        turn_tiles(m, dst, 2, 0);
    else if (tiles && m->step == 2 && m->n_columns >= LANES / 2)
        turn_tiles(m, dst, 2, 1);
    else
        turn_elements(m, dst);
}
