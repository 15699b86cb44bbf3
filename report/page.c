#include "report/page.h"
#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pare_page_close(pare_page *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->blocks[i].table.cells);
    free(p->blocks);
    pare_arena_close(&p->arena);
    *p = (pare_page){0};
}

static void fail(pare_page *p)
{
    p->status = PARE_ERR_MEMORY;
}

pare_status pare_page_status(const pare_page *p, pare_error *err)
{
    return p->status == PARE_OK ? PARE_OK : pare_fail(err, p->status, "no memory for a report");
}

void *pare_page_alloc(pare_page *p, size_t n)
{
    void *memory = pare_arena_alloc(&p->arena, n > 0 ? n : 1, NULL);
    if (memory == NULL)
        fail(p);
    return memory;
}

const char *pare_page_text(pare_page *p, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    char *text = n >= 0 ? pare_page_alloc(p, (size_t)n + 1) : NULL;
    if (text != NULL)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text != NULL ? text : "";
}

static pare_block *add_block(pare_page *p, pare_block_kind kind)
{
    if (p->n == p->cap) {
        size_t cap = p->cap > 0 ? 2 * p->cap : 32;
        pare_block *more = reallocarray(p->blocks, cap, sizeof *more);
        if (more == NULL) {
            fail(p);
            return NULL;
        }
        p->blocks = more;
        p->cap = cap;
    }
    p->blocks[p->n] = (pare_block){.kind = kind};
    return &p->blocks[p->n++];
}

void pare_page_add(pare_page *p, pare_block_kind kind, const char *text)
{
    pare_block *b = add_block(p, kind);
    if (b != NULL)
        b->text = text;
}

static pare_table *start_table(pare_page *p, pare_block *b, const char *headings)
{
    size_t n = 1;
    for (const char *c = headings; *c != '\0'; c++)
        n += *c == '|';
    pare_table *t = &b->table;
    char *names = pare_page_alloc(p, strlen(headings) + 1);
    t->headings = pare_page_alloc(p, n * sizeof *t->headings);
    t->numeric = pare_page_alloc(p, n * sizeof *t->numeric);
    if (names == NULL || t->headings == NULL || t->numeric == NULL)
        return NULL;
    strcpy(names, headings);
    for (t->n_columns = 0; names != NULL; t->n_columns++) {
        char *end = strchr(names, '|');
        if (end != NULL)
            *end = '\0';
        t->numeric[t->n_columns] = *names == '#';
        t->headings[t->n_columns] = names + (*names == '#');
        names = end != NULL ? end + 1 : NULL;
    }
    return t;
}

pare_table *pare_page_table(pare_page *p, const char *caption, const char *headings)
{
    pare_block *b = add_block(p, PARE_BLOCK_TABLE);
    if (b == NULL)
        return NULL;
    b->table.caption = caption;
    return start_table(p, b, headings);
}

void pare_page_row(pare_page *p, pare_table *t, const char *const *cells)
{
    if (t == NULL)
        return;
    if (t->n_rows == t->cap_rows) {
        size_t cap = t->cap_rows > 0 ? 2 * t->cap_rows : 16;
        const char **more = reallocarray(t->cells, cap, t->n_columns * sizeof *more);
        if (more == NULL) {
            fail(p);
            return;
        }
        t->cells = more;
        t->cap_rows = cap;
    }
    memcpy(t->cells + t->n_rows++ * t->n_columns, cells, t->n_columns * sizeof *cells);
}

pare_table *pare_page_plot(pare_page *p, const pare_plot *plot, const char *caption, const char *headings)
{
    pare_block *b = pare_svg_has_points(plot) ? add_block(p, PARE_BLOCK_PLOT) : NULL;
    if (b == NULL)
        return NULL;
    b->text = caption;
    b->plot = *plot;
    b->table.caption = plot->title;
    return start_table(p, b, headings);
}

/* "Layer|#0|#1", for pare_page_table. */
static const char *grid_headings(pare_page *p, const pare_grid *g)
{
    const char *headings = g->y_label;
    for (size_t c = 0; c < g->n_columns; c++)
        headings = g->column_names != NULL ? pare_page_text(p, "%s|#%s", headings, g->column_names[c])
                                           : pare_page_text(p, "%s|#%zu", headings, c);
    return headings;
}

void pare_page_grid(pare_page *p, const pare_grid *g, const char *caption)
{
    pare_block *b = pare_svg_has_cells(g) ? add_block(p, PARE_BLOCK_GRID) : NULL;
    const char **cells = b != NULL ? pare_page_alloc(p, (g->n_columns + 1) * sizeof *cells) : NULL;
    if (cells == NULL)
        return;
    b->text = caption;
    b->grid = *g;
    b->table.caption = g->title;
    pare_table *t = start_table(p, b, grid_headings(p, g));
    for (size_t r = 0; r < g->n_rows; r++) {
        cells[0] = g->row_names != NULL ? g->row_names[r] : pare_page_text(p, "%zu", r);
        for (size_t c = 0; c < g->n_columns; c++) {
            const size_t i = r * g->n_columns + c;
            cells[c + 1] =
                !isfinite(g->values[i])
                    ? ""
                    : pare_page_text(p, "%.4g%s%s", g->values[i], g->marked != NULL && g->marked[i] ? " " : "",
                                     g->marked != NULL && g->marked[i] ? g->mark_name : "");
        }
        pare_page_row(p, t, cells);
    }
}
