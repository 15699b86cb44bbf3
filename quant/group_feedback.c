#include "quant/group_feedback.h"

#include "core/half.h"
#include "quant/feedback_slab.h"
#include "quant/path_table.h"

enum { ROWS = PARE_FEEDBACK_ROWS };

size_t pare_group_feedback_scratch(size_t n)
{
    return pare_feedback_slab_floats(n) * sizeof(float);
}

static void load_row(const pare_form *f, const pare_grouped *g, size_t row, const float *column, pare_feedback_slab *s)
{
    const float *x = g->x + row * g->n;
    const pare_group *groups = g->groups + row * (g->n / g->group);
    const uint8_t *codes = g->codes + row * g->n;
    for (size_t k = 0; k < g->n; k++) {
        size_t c = f->order[k], at = k * ROWS + row;
        const pare_group *group = &groups[c / g->group];
        float factor = column != NULL ? column[c] : 1, d = pare_f16_to_f32(group->d);
        s->x[at] = x[c] * factor;
        s->base[at] = -d * (float)group->zero * factor;
        s->step[at] = d * factor;
        s->level[at] = (float)codes[c];
    }
}

static void take_row(const pare_form *f, const pare_grouped *g, size_t row, const pare_feedback_slab *s)
{
    uint8_t *codes = g->codes + row * g->n;
    for (size_t k = 0; k < g->n; k++)
        codes[f->order[k]] = (uint8_t)s->level[k * ROWS + row];
}

void pare_group_feedback(const pare_form *form, const pare_grouped *rows, size_t n_rows, const float *column,
                         int n_sweeps, void *scratch, double *before, double *after)
{
    pare_feedback_slab s = pare_feedback_slab_in(scratch, rows->n);
    pare_feedback_levels levels = {.high = (float)((1 << rows->shape.bits) - 1)};
    for (size_t i = 0; i < n_rows; i++)
        load_row(form, rows, i, column, &s);
    pare_path_now()->feedback_round(form, &levels, n_sweeps, &s);
    for (size_t i = 0; i < n_rows; i++)
        if (pare_feedback_slab_settle(&s, i, before, after))
            take_row(form, rows, i, &s);
}

void pare_group_decode(const pare_grouped *rows, size_t row, float *y)
{
    const pare_group *groups = rows->groups + row * (rows->n / rows->group);
    const uint8_t *codes = rows->codes + row * rows->n;
    for (size_t i = 0; i < rows->n; i++) {
        const pare_group *g = &groups[i / rows->group];
        y[i] = pare_f16_to_f32(g->d) * (float)((int)codes[i] - g->zero);
    }
}
