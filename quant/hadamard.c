#include "quant/hadamard.h"

#include "quant/path_table.h"

#include <assert.h>

static void rotate(const pare_rotation *r, float *x, size_t n, bool back)
{
    assert(r->dim >= 1 && r->dim <= PARE_ROTATION_MAX_DIM);
    assert(r->largest >= 1 && (r->largest & (r->largest - 1)) == 0);
    uint32_t flips[PARE_ROTATION_MAX_DIM]; /* the sign bit where it changes */
    for (uint32_t i = 0; i < r->dim; i++)
        flips[i] = pare_rotation_sign(r, i) < 0 ? 0x80000000u : 0;
    pare_path_now()->hadamard(r, flips, x, n, back);
}

void pare_rotate(const pare_rotation *r, float *x, size_t n)
{
    rotate(r, x, n, false);
}

void pare_rotate_back(const pare_rotation *r, float *x, size_t n)
{
    rotate(r, x, n, true);
}
