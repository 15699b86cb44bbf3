/* quant/line_search.h - blocks of 32 weights d * code + m, codes 0 .. top: Q4_1, Q5_1
 *
 * Method and measurements: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_LINE_SEARCH_H
#define PARE_QUANT_LINE_SEARCH_H

#include <stddef.h>

enum { PARE_LINE_LEN = 32 };

/* Trial lines put the lowest weight on code -a and the highest on top + b, for all pairs of the n_ends values first,
 * first + step, ... for a and b. */
typedef struct pare_line_shape {
    float top, first, step;
    int n_ends, n_polish; /* n_polish: rounds of refitting the rounded line, at least 1 */
} pare_line_shape;

/* d and m of each of n blocks from src on, 1 <= n <= PARE_VEC_LANES, as binary16 hold them; too large for a binary16
 * where none can. weight: of src[0] on, or NULL. */
void pare_line_scales(const pare_line_shape *shape, const float *src, const float *weight, size_t n, float *d,
                      float *m);

/* The code nearest to (x - m) / d in 0..top. */
static inline float pare_line_code(float x, float m, float inverse, float top)
{
    float v = (x - m) * inverse;
    v = v > 0 ? v : 0;
    v = v < top ? v : top;
    return (v + 12582912.0f) - 12582912.0f;
}

#endif
