#include "quant/levels.h"

#include "quant/codebooks.h"

/* The codes by rising level, without those that repeat a level; returns their number. */
static int sort_codes(int (*value)(unsigned code), uint8_t *sorted)
{
    int n = 0;
    for (unsigned code = 0; code < 16; code++) {
        int at = n;
        while (at > 0 && value(sorted[at - 1]) > value(code))
            at--;
        if (at > 0 && value(sorted[at - 1]) == value(code))
            continue;
        for (int i = n++; i > at; i--)
            sorted[i] = sorted[i - 1];
        sorted[at] = (uint8_t)code;
    }
    return n;
}

void pare_levels_init(pare_levels *levels, int (*value)(unsigned code))
{
    uint8_t sorted[16];
    int n = sort_codes(value, sorted), low = value(sorted[0]), high = value(sorted[n - 1]), k = 0;
    levels->low = (float)low;
    levels->high = (float)high;
    for (int i = 0; i <= 2 * (high - low); i++) {
        /* from 2 low + i to the next multiple of 1/2, in halves */
        while (k + 1 < n && value(sorted[k]) + value(sorted[k + 1]) <= 2 * low + i)
            k++;
        levels->code[i] = sorted[k];
        levels->level[i] = (float)value(sorted[k]);
    }
}

void pare_levels_codes(const pare_levels *levels, const float *x, int n, float scale, uint8_t *codes)
{
    int at[PARE_MAX_LEVEL_BLOCK];
    pare_levels_find(levels, x, n, scale, at);
    for (int i = 0; i < n; i++)
        codes[i] = levels->code[at[i]];
}
