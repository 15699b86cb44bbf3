#include "quant/group_clip.h"

#include "core/half.h"
#include "quant/output_error.h"
#include "quant/path_table.h"

#include <math.h>

enum { TRIALS = 10, STEPS = 20 }; /* AutoAWQ: a grid of 20, of which the half that shrinks by less than a half */

/* A group in hand, and the steps by which either end of it gives way. */
typedef struct clipping {
    const pare_group_shape *shape;
    const float *x, *panels;
    size_t n;
    float most; /* the largest magnitude */
    float *y, *e;
    pare_group *group;
    uint8_t *codes;
    int low, high;
} clipping;

size_t pare_group_clip_scratch(size_t n)
{
    return (TRIALS + 1) * n * sizeof(float);
}

static bool round_clipped(const clipping *c, int low, int high)
{
    float least = -c->most * (1 - (float)low / STEPS), most = c->most * (1 - (float)high / STEPS);
    for (size_t i = 0; i < c->n; i++)
        c->y[i] = c->x[i] > most ? most : c->x[i] < least ? least : c->x[i];
    return pare_path_now()->group_round(c->shape, c->y, c->n, c->group, c->codes);
}

/* The steps, of all those of the ends that move, that cost least. */
static bool search(clipping *c, bool low, bool high)
{
    float cost[TRIALS];
    int best = low ? c->low : c->high;
    for (int t = 0; t < TRIALS; t++) {
        if (!round_clipped(c, low ? t : c->low, high ? t : c->high))
            return false;
        float d = pare_f16_to_f32(c->group->d), *e = c->e + (size_t)t * c->n;
        for (size_t i = 0; i < c->n; i++)
            e[i] = d * (float)((int)c->codes[i] - c->group->zero) - c->x[i];
    }
    pare_path_now()->output_error(c->panels, c->n, c->e, TRIALS, cost);
    for (int t = 0; t < TRIALS; t++)
        best = cost[t] < cost[best] ? t : best;
    c->low = low ? best : c->low;
    c->high = high ? best : c->high;
    return true;
}

bool pare_group_clip(const pare_group_shape *shape, const float *x, const float *panels, size_t n, void *scratch,
                     pare_group *group, uint8_t *codes)
{
    float *y = scratch;
    clipping c = {.shape = shape, .x = x, .panels = panels, .n = n, .y = y, .e = y + n, .group = group, .codes = codes};
    for (size_t i = 0; i < n; i++)
        c.most = fmaxf(c.most, fabsf(x[i]));
    if (!search(&c, true, true))
        return false;
    if (shape->zero_low < shape->zero_high && !(search(&c, true, false) && search(&c, false, true)))
        return false;
    return round_clipped(&c, c.low, c.high);
}
