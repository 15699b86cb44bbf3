/* Heat maps: a part of report/svg.h. Cells of one colour are one path, so that 80 layers of 64 heads take 100 KB. */
#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* In units of the picture, as those of plots; a letter of a cell's text is about LETTER wide. */
enum { WIDTH = 560, LEFT = 70, RIGHT = 18, TOP = 6, AXIS = 42, SCALE = 34, SWATCH = 26, MAX_NAME = 34 };
static const double LETTER = 6.4, NAME_LETTER = 7, TEXT_HEIGHT = 13;

typedef struct layout {
    const pare_grid *g;
    double left, cell_w, cell_h, bottom; /* bottom: of the cells */
    bool has_text;                       /* every value fits into its cell */
} layout;

static double value_at(const pare_grid *g, size_t row, size_t column)
{
    return g->values[row * g->n_columns + column];
}

static bool is_marked(const pare_grid *g, size_t row, size_t column)
{
    return g->marked != NULL && g->marked[row * g->n_columns + column];
}

bool pare_svg_has_cells(const pare_grid *g)
{
    for (size_t i = 0; i < g->n_rows * g->n_columns; i++)
        if (isfinite(g->values[i]))
            return true;
    return false;
}

size_t pare_svg_level(const pare_grid *g, double value)
{
    if (value <= g->lo || !(g->hi > g->lo))
        return 0;
    const double t = g->log ? log(value / g->lo) / log(g->hi / g->lo) : (value - g->lo) / (g->hi - g->lo);
    const size_t level = (size_t)(fmin(t, 1) * PARE_SVG_LEVELS);
    return level < PARE_SVG_LEVELS ? level : PARE_SVG_LEVELS - 1;
}

static void cell_text(const pare_grid *g, double value, char out[32])
{
    snprintf(out, 32, "%.*g", g->digits > 0 ? g->digits : 2, value);
}

static double width_of_names(const pare_grid *g)
{
    size_t longest = 0;
    for (size_t r = 0; r < g->n_rows; r++)
        longest = strlen(g->row_names[r]) > longest ? strlen(g->row_names[r]) : longest;
    return fmax(LEFT, 12 + NAME_LETTER * (double)(longest < MAX_NAME ? longest : MAX_NAME));
}

static layout lay_out(const pare_grid *g)
{
    layout l = {.g = g, .left = g->row_names != NULL ? width_of_names(g) : LEFT};
    l.cell_w = fmin((WIDTH - RIGHT - l.left) / (double)g->n_columns, 60);
    l.cell_h = g->row_names != NULL ? 16 : fmax(3, fmin(22, 300 / (double)g->n_rows));
    l.bottom = TOP + l.cell_h * (double)g->n_rows;
    l.has_text = l.cell_h > TEXT_HEIGHT;
    for (size_t i = 0; i < g->n_rows * g->n_columns && l.has_text; i++) {
        char text[32];
        cell_text(g, g->values[i], text);
        l.has_text = !isfinite(g->values[i]) || LETTER * (double)strlen(text) + 4 <= l.cell_w;
    }
    return l;
}

static double column_at(const layout *l, size_t column)
{
    return l->left + l->cell_w * (double)column;
}

static double row_at(const layout *l, size_t row)
{
    return TOP + l->cell_h * (double)row;
}

static pare_status draw_level(pare_buf *out, const layout *l, size_t level, pare_error *err)
{
    bool any = false;
    pare_status st = PARE_OK;
    for (size_t r = 0; r < l->g->n_rows && st == PARE_OK; r++)
        for (size_t c = 0; c < l->g->n_columns && st == PARE_OK; c++) {
            const double v = value_at(l->g, r, c);
            if (!isfinite(v) || pare_svg_level(l->g, v) != level)
                continue;
            if (!any)
                st = pare_buf_printf(out, err, "<path shape-rendering=\"crispEdges\" class=\"h%zu\" d=\"", level);
            any = true;
            if (st == PARE_OK)
                st = pare_buf_printf(out, err, "M%.1f %.1fH%.1fV%.1fH%.1fz", column_at(l, c), row_at(l, r),
                                     column_at(l, c + 1), row_at(l, r + 1), column_at(l, c));
        }
    return st == PARE_OK && any ? pare_buf_puts(out, "\"/>\n", err) : st;
}

/* What stands out on a cell's colour: the text's colour on light ground, or that of the ground on dark one. */
static const char *over(size_t level)
{
    return level < (PARE_SVG_LEVELS + 1) / 2 ? "on" : "off";
}

/* A box in each cell that is marked, and its value where there is room. */
static pare_status draw_cell(pare_buf *out, const layout *l, size_t r, size_t c, pare_error *err)
{
    const double v = value_at(l->g, r, c), x = column_at(l, c), y = row_at(l, r);
    pare_status st = PARE_OK;
    if (!isfinite(v))
        return st;
    const char *class = over(pare_svg_level(l->g, v));
    if (is_marked(l->g, r, c))
        st = pare_buf_printf(out, err, "<path class=\"box %s\" d=\"M%.1f %.1fh%.1fv%.1fh%.1fz\"/>", class, x + 1, y + 1,
                             l->cell_w - 2, l->cell_h - 2, 2 - l->cell_w);
    if (st == PARE_OK && l->has_text) {
        char text[32];
        cell_text(l->g, v, text);
        st = pare_buf_printf(out, err, "<text class=\"cell %s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                             class, x + l->cell_w / 2, y + l->cell_h / 2 + 4, text);
    }
    return st;
}

static pare_status draw_cells(pare_buf *out, const layout *l, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t level = 0; level < PARE_SVG_LEVELS && st == PARE_OK; level++)
        st = draw_level(out, l, level, err);
    for (size_t r = 0; r < l->g->n_rows && st == PARE_OK; r++)
        for (size_t c = 0; c < l->g->n_columns && st == PARE_OK; c++)
            st = draw_cell(out, l, r, c, err);
    return st == PARE_OK
               ? pare_buf_printf(out, err, "\n<path class=\"frame\" d=\"M%.1f %dh%.1fV%.1fh%.1fz\"/>\n", l->left, TOP,
                                 l->cell_w * (double)l->g->n_columns, l->bottom, -l->cell_w * (double)l->g->n_columns)
               : st;
}

static pare_status put_name(pare_buf *out, const char *const *names, size_t i, pare_error *err)
{
    char name[MAX_NAME + 1];
    pare_status st = PARE_OK;
    if (names != NULL)
        snprintf(name, sizeof name, "%s", names[i]);
    else
        snprintf(name, sizeof name, "%zu", i);
    st = pare_html_text(out, name, err);
    if (st == PARE_OK && names != NULL && strlen(names[i]) > MAX_NAME)
        st = pare_buf_puts(out, "&#8230;", err);
    return st == PARE_OK ? pare_buf_puts(out, "</text>", err) : st;
}

/* The middle of an axis, with its label. */
static pare_status put_label(pare_buf *out, double x, double y, bool upright, const char *label, pare_error *err)
{
    pare_status st =
        pare_buf_printf(out, err, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\"", x, y);
    if (st == PARE_OK && upright)
        st = pare_buf_printf(out, err, " transform=\"rotate(-90 %.1f %.1f)\"", x, y);
    if (st == PARE_OK)
        st = pare_buf_puts(out, ">", err);
    if (st == PARE_OK)
        st = pare_html_text(out, label, err);
    return st == PARE_OK ? pare_buf_puts(out, "</text>\n", err) : st;
}

static pare_status draw_names(pare_buf *out, const layout *l, pare_error *err)
{
    const pare_grid *g = l->g;
    const size_t every_row = (size_t)ceil(14 / l->cell_h), every_column = (size_t)ceil(34 / l->cell_w);
    pare_status st = PARE_OK;
    for (size_t r = 0; r < g->n_rows && st == PARE_OK; r += every_row) {
        st = pare_buf_printf(out, err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", l->left - 6,
                             TOP + l->cell_h * ((double)r + 0.5) + 4);
        if (st == PARE_OK)
            st = put_name(out, g->row_names, r, err);
    }
    for (size_t c = 0; c < g->n_columns && st == PARE_OK; c += every_column) {
        st = pare_buf_printf(out, err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                             l->left + l->cell_w * ((double)c + 0.5), l->bottom + 16);
        if (st == PARE_OK)
            st = put_name(out, g->column_names, c, err);
    }
    if (st == PARE_OK)
        st = put_label(out, l->left + l->cell_w * (double)g->n_columns / 2, l->bottom + 34, false, g->x_label, err);
    return st == PARE_OK && g->row_names == NULL ? put_label(out, 14, (TOP + l->bottom) / 2, true, g->y_label, err)
                                                 : st;
}

/* The colours from lo to hi, and what a box means. */
static pare_status draw_scale(pare_buf *out, const layout *l, pare_error *err)
{
    const pare_grid *g = l->g;
    const double y = l->bottom + AXIS + 8, x = LEFT + 60, end = x + SWATCH * PARE_SVG_LEVELS;
    pare_status st =
        pare_buf_printf(out, err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>", x - 6, y + 11, g->lo);
    for (int i = 0; i < PARE_SVG_LEVELS && st == PARE_OK; i++)
        st = pare_buf_printf(out, err, "<path class=\"h%d\" d=\"M%.1f %.1fh%dv14h-%dz\"/>", i, x + SWATCH * i, y,
                             SWATCH, SWATCH);
    if (st == PARE_OK)
        st = pare_buf_printf(out, err,
                             "<path class=\"frame\" d=\"M%.1f %.1fH%.1fv14H%.1fz\"/><text x=\"%.1f\" y=\"%.1f\">"
                             "%.3g ",
                             x, y, end, x, end + 6, y + 11, g->hi);
    if (st == PARE_OK)
        st = pare_html_text(out, g->unit, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "</text>", err);
    if (st == PARE_OK && g->marked != NULL) {
        st = pare_buf_printf(out, err, "<path class=\"box on\" d=\"M%d %.1fh18v12h-18z\"/><text x=\"%d\" y=\"%.1f\">",
                             WIDTH - RIGHT - 90, y + 1, WIDTH - RIGHT - 66, y + 11);
        if (st == PARE_OK)
            st = pare_html_text(out, g->mark_name, err);
        if (st == PARE_OK)
            st = pare_buf_puts(out, "</text>", err);
    }
    return st == PARE_OK ? pare_buf_puts(out, "\n", err) : st;
}

pare_status pare_svg_grid(pare_buf *out, const pare_grid *g, const char *id, pare_error *err)
{
    if (!pare_svg_has_cells(g))
        return PARE_OK;
    const layout l = lay_out(g);
    pare_status st = pare_buf_printf(out, err,
                                     "<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-labelledby=\"%s\"><title "
                                     "id=\"%s\">",
                                     WIDTH, l.bottom + AXIS + SCALE, id, id);
    if (st == PARE_OK)
        st = pare_html_text(out, g->title, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "</title>\n", err);
    if (st == PARE_OK)
        st = draw_cells(out, &l, err);
    if (st == PARE_OK)
        st = draw_names(out, &l, err);
    if (st == PARE_OK)
        st = draw_scale(out, &l, err);
    return st == PARE_OK ? pare_buf_puts(out, "</svg>\n", err) : st;
}
