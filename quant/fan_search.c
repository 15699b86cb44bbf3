#include "quant/fan_search.h"

void pare_fan_init(pare_fan *fan, float low, float high, int n_polish)
{
    *fan = (pare_fan){.low = low, .high = high, .n_polish = n_polish};
}

void pare_fan_add(pare_fan *fan, float first, float step, float last, bool both_sides)
{
    for (int k = 0; first + step * (float)k <= last; k++)
        for (int side = 0; side < (both_sides ? 2 : 1) && fan->n_levels < PARE_MAX_FAN; side++)
            fan->level[fan->n_levels++] = (side == 0 ? 1.0f : -1.0f) * (first + step * (float)k);
}
