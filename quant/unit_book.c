#include "quant/unit_book.h"

#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"

const pare_grid_shape *pare_unit_shape(pare_type type)
{
    static const pare_grid_shape *const table[PARE_TYPE_COUNT] = {
        [PARE_TYPE_IQ1_S] = &pare_iq1_s_shape,     [PARE_TYPE_IQ1_M] = &pare_iq1_m_shape,
        [PARE_TYPE_IQ2_XXS] = &pare_iq2_xxs_shape, [PARE_TYPE_IQ2_XS] = &pare_iq2_xs_shape,
        [PARE_TYPE_IQ2_S] = &pare_iq2_s_shape,     [PARE_TYPE_IQ3_XXS] = &pare_iq3_xxs_shape,
        [PARE_TYPE_IQ3_S] = &pare_iq3_s_shape,
    };
    return type < PARE_TYPE_COUNT ? table[type] : NULL;
}

static int digit_of(const pare_unit_book *b, float level)
{
    int d = 0;
    while (d + 1 < b->n_levels && b->level[d] < level)
        d++;
    return d;
}

/* The number that n levels are written as. */
static int pattern_of(const pare_unit_book *b, const float *levels, int n)
{
    int pattern = 0;
    for (int i = 0; i < n; i++)
        pattern = pattern * b->n_levels + digit_of(b, levels[i]);
    return pattern;
}

static void read_levels(const pare_grid_shape *shape, int entry, float *levels)
{
    for (int i = 0; i < shape->entry_len; i++)
        levels[i] = (float)shape->level(shape->grid((unsigned)entry), i);
}

static void add_level(pare_unit_book *b, float level)
{
    int at = b->n_levels;
    while (at > 0 && b->level[at - 1] > level)
        at--;
    if (at > 0 && b->level[at - 1] == level)
        return;
    memmove(b->level + at + 1, b->level + at, (size_t)(b->n_levels - at) * sizeof *b->level);
    b->level[at] = level;
    b->n_levels++;
}

void pare_unit_book_init(pare_unit_book *b, const pare_grid_shape *shape)
{
    int half = shape->entry_len / 2;
    float levels[PARE_GRID_CELL];
    *b = (pare_unit_book){.entry_len = shape->entry_len,
                          .n_heads = 1,
                          .even = shape->even,
                          .shift = shape->shift,
                          .one_shift = shape->one_shift};
    for (int e = 0; e < shape->n_entries; e++) {
        read_levels(shape, e, levels);
        for (int i = 0; i < shape->entry_len; i++)
            add_level(b, levels[i]);
    }
    for (int i = 0; i < half; i++)
        b->n_heads *= b->n_levels;
    for (int e = 0; e < shape->n_entries; e++) {
        read_levels(shape, e, levels);
        b->first[pattern_of(b, levels, half) + 1]++;
    }
    for (int h = 0; h < b->n_heads; h++)
        b->first[h + 1] = (uint16_t)(b->first[h + 1] + b->first[h]);
    uint16_t next[PARE_UNIT_HEADS];
    memcpy(next, b->first, sizeof next);
    for (int e = 0; e < shape->n_entries; e++) {
        read_levels(shape, e, levels);
        int head = pattern_of(b, levels, half), tail = pattern_of(b, levels + half, half), at = next[head]++;
        b->tail[at] = (uint8_t)tail;
        b->number[head * b->n_heads + tail] = (uint16_t)e;
        memcpy(b->value + at * shape->entry_len, levels, (size_t)shape->entry_len * sizeof *levels);
    }
}

unsigned pare_unit_book_find(const pare_unit_book *b, const float *levels)
{
    return b->number[pattern_of(b, levels, b->entry_len)];
}
