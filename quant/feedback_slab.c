#include "quant/feedback_slab.h"

#include <math.h>
#include <string.h>

pare_feedback_slab pare_feedback_slab_in(float *scratch, size_t n)
{
    size_t array = n * PARE_FEEDBACK_ROWS;
    pare_feedback_slab s = {.x = scratch,
                            .base = scratch + array,
                            .step = scratch + 2 * array,
                            .level = scratch + 3 * array,
                            .work = scratch + 4 * array};
    memset(s.x, 0, 4 * array * sizeof *s.x);
    return s;
}

bool pare_feedback_slab_settle(const pare_feedback_slab *slab, size_t lane, double *before, double *after)
{
    float was = slab->before[lane], is = slab->after[lane];
    if (!isfinite(was)) /* nobody knows what would be better */
        return false;
    *before += (double)was;
    *after += (double)(is < was ? is : was);
    return is < was;
}
