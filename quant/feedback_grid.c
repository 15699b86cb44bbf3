#include "quant/feedback_grid.h"

#include "core/half.h"
#include "quant/feedback_slab.h"
#include "quant/path_table.h"

#include <math.h>

enum { ROWS = PARE_FEEDBACK_ROWS, UNIT = PARE_FORM_UNIT };

/* What scratch holds: the slab, then this. */
typedef struct grid_rows {
    const pare_form *form;
    const pare_grid_shape *shape;
    pare_feedback_slab slab;
    float *factor;   /* [n] of columns by positions */
    uint32_t *place; /* [n / UNIT] the position of each unit, in units */
    pare_unit_book *book;
} grid_rows;

size_t pare_feedback_grid_scratch(size_t n)
{
    return (pare_feedback_slab_floats(n) + n) * sizeof(float) + n / UNIT * sizeof(uint32_t) + sizeof(pare_unit_book);
}

static grid_rows lay_out(const pare_form *form, const pare_grid_shape *shape, void *scratch)
{
    grid_rows g = {.form = form,
                   .shape = shape,
                   .slab = pare_feedback_slab_in(scratch, form->n),
                   .factor = (float *)scratch + pare_feedback_slab_floats(form->n)};
    g.place = (uint32_t *)(g.factor + form->n);
    g.book = (pare_unit_book *)(g.place + form->n / UNIT);
    return g;
}

/* The unit at position k of a row, as it is coded: steps and levels become those of a lane. */
static void load_unit(const grid_rows *g, const pare_grid_fit *fit, int cell, size_t k, size_t lane)
{
    const pare_grid_shape *shape = g->shape;
    int scale = fit->scale[cell / (PARE_GRID_CELLS / shape->n_blocks)];
    float step = pare_f16_to_f32(fit->d) * (float)(2 * scale + 1) * shape->unit;
    for (int i = 0; i < UNIT; i++) {
        size_t at = (k + (size_t)i) * ROWS + lane;
        unsigned entry = shape->grid(fit->entry[cell][i / shape->entry_len]);
        float level = (float)shape->level(entry, i % shape->entry_len);
        bool minus = fit->signs[cell] >> i & 1;
        g->slab.level[at] = shape->shift != 0 ? level + (minus ? -shape->shift : shape->shift) : minus ? -level : level;
        g->slab.step[at] = step * g->factor[k + (size_t)i];
    }
}

static void load_row(const grid_rows *g, const float *x, const uint8_t *bytes, size_t lane)
{
    size_t n = g->form->n;
    pare_grid_fit fit;
    for (size_t k = 0; k < n; k++)
        g->slab.x[k * ROWS + lane] = x[g->form->order[k]] * g->factor[k];
    for (size_t u = 0; u < n / UNIT; u++) {
        int cell = (int)(u % PARE_GRID_CELLS);
        if (cell == 0)
            g->shape->unpack(bytes + u / PARE_GRID_CELLS * g->shape->block_bytes, &fit);
        load_unit(g, &fit, cell, g->place[u] * UNIT, lane);
    }
}

/* The entries and signs of a lane into a cell. */
static void take_unit(const grid_rows *g, size_t k, size_t lane, pare_grid_fit *fit, int cell)
{
    float levels[UNIT];
    fit->signs[cell] = 0;
    for (int i = 0; i < UNIT; i++) {
        float level = g->slab.level[(k + (size_t)i) * ROWS + lane], whole = nearbyintf(level);
        bool shifted = g->shape->shift != 0;
        fit->signs[cell] |= (uint8_t)((shifted ? level < whole : level < 0) << i);
        levels[i] = shifted ? whole : fabsf(level);
    }
    for (int i = 0; i < UNIT; i += g->shape->entry_len)
        fit->entry[cell][i / g->shape->entry_len] = (uint16_t)pare_unit_book_find(g->book, levels + i);
}

static void take_row(const grid_rows *g, size_t lane, uint8_t *bytes)
{
    pare_grid_fit fit;
    for (size_t at = 0; at < g->form->n; at += PARE_GRID_LEN, bytes += g->shape->block_bytes) {
        g->shape->unpack(bytes, &fit);
        for (int cell = 0; cell < PARE_GRID_CELLS; cell++)
            take_unit(g, g->place[at / UNIT + (size_t)cell] * UNIT, lane, &fit, cell);
        g->shape->pack(&fit, bytes);
    }
}

void pare_feedback_grid_rows(const pare_form *form, pare_type type, const float *x, size_t n_rows, const float *column,
                             int n_sweeps, void *dst, void *scratch, double *before, double *after)
{
    size_t n = form->n;
    grid_rows g = lay_out(form, pare_unit_shape(type), scratch);
    size_t bytes = n / PARE_GRID_LEN * g.shape->block_bytes;
    pare_unit_book_init(g.book, g.shape);
    for (size_t k = 0; k < n; k++)
        g.factor[k] = column != NULL ? column[form->order[k]] : 1;
    for (size_t k = 0; k < n; k += UNIT)
        g.place[form->order[k] / UNIT] = (uint32_t)(k / UNIT);
    for (size_t i = 0; i < n_rows; i++)
        load_row(&g, x + i * n, (uint8_t *)dst + i * bytes, i);
    pare_path_now()->feedback_units(form, g.book, column != NULL ? g.factor : NULL, n_sweeps, &g.slab);
    for (size_t i = 0; i < n_rows; i++)
        if (pare_feedback_slab_settle(&g.slab, i, before, after))
            take_row(&g, i, (uint8_t *)dst + i * bytes);
}
