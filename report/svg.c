#include "report/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const dashes[] = {"none", "7 4", "2 3", "9 3 2 3"};

/* All lengths in units of the picture, which a page scales to the width it has. */
enum { WIDTH = 560, HEIGHT = 340, LEFT = 70, RIGHT = 18, TOP = 14, BOTTOM = 48, MAX_TICKS = 12 };

pare_status pare_html_text(pare_buf *out, const char *text, pare_error *err)
{
    size_t len = strlen(text), size = 4 * len + 1;
    char *safe = malloc(size);
    if (safe == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a report");
    pare_escape(safe, size, text, len);
    pare_status st = PARE_OK;
    for (const char *c = safe; *c != '\0' && st == PARE_OK; c++)
        switch (*c) {
        case '&':
            st = pare_buf_puts(out, "&amp;", err);
            break;
        case '<':
            st = pare_buf_puts(out, "&lt;", err);
            break;
        case '>':
            st = pare_buf_puts(out, "&gt;", err);
            break;
        case '"':
            st = pare_buf_puts(out, "&quot;", err);
            break;
        case '\'':
            st = pare_buf_puts(out, "&#39;", err);
            break;
        default:
            st = pare_buf_put(out, c, 1, err);
        }
    free(safe);
    return st;
}

/* One axis on its way into the picture: values from lo to hi (logarithms of them on a logarithmic axis) lie between
 * `at` and at + length. */
typedef struct scale {
    const pare_axis *axis;
    double lo, hi, at, length;
    double ticks[MAX_TICKS];
    size_t n_ticks;
} scale;

static bool usable(const pare_axis *axis, double v)
{
    return isfinite(v) && (!axis->log || v > 0);
}

static double place(const scale *s, double v)
{
    double t = s->axis->log ? log10(v) : v;
    return s->at + (t - s->lo) / (s->hi - s->lo) * s->length;
}

static void widen(scale *s, double v, bool *any)
{
    if (!usable(s->axis, v))
        return;
    double t = s->axis->log ? log10(v) : v;
    s->lo = !*any || t < s->lo ? t : s->lo;
    s->hi = !*any || t > s->hi ? t : s->hi;
    *any = true;
}

static bool drawn(const pare_plot *plot, const pare_point *p)
{
    return usable(&plot->x, p->x) && usable(&plot->y, p->y);
}

bool pare_svg_has_points(const pare_plot *plot)
{
    for (size_t i = 0; i < plot->n_series; i++)
        for (size_t k = 0; k < plot->series[i].n; k++)
            if (drawn(plot, &plot->series[i].points[k]))
                return true;
    return false;
}

/* Ends of both axes: all points and their intervals, with some room, and the marks. */
static void find_range(const pare_plot *plot, scale *x, scale *y)
{
    bool any_x = false, any_y = false;
    for (size_t i = 0; i < plot->n_series; i++)
        for (size_t k = 0; k < plot->series[i].n; k++) {
            const pare_point *p = &plot->series[i].points[k];
            if (!drawn(plot, p))
                continue;
            widen(x, p->x, &any_x);
            widen(y, p->y, &any_y);
            widen(y, p->lo, &any_y);
            widen(y, p->hi, &any_y);
        }
    scale *const both[] = {x, y};
    for (int i = 0; i < 2; i++) {
        scale *s = both[i];
        bool any = true;
        if (s->axis->has_mark)
            widen(s, s->axis->mark, &any);
        if (s->axis->from_zero && s->lo > 0)
            s->lo = 0;
        double room = s->hi > s->lo ? 0.06 * (s->hi - s->lo) : s->axis->log ? 0.3 : fmax(fabs(s->hi) * 0.1, 1e-9);
        s->lo -= s->axis->from_zero && s->lo == 0 ? 0 : room;
        s->hi += room;
    }
}

static void add_tick(scale *s, double v)
{
    double t = s->axis->log ? log10(v) : v;
    if (s->n_ticks < MAX_TICKS && t >= s->lo - 1e-9 * (s->hi - s->lo) && t <= s->hi + 1e-9 * (s->hi - s->lo))
        s->ticks[s->n_ticks++] = v;
}

/* Steps of 1, 2 or 5 times a power of ten, about `wanted` of them. */
static void linear_ticks(scale *s, int wanted)
{
    double raw = (s->hi - s->lo) / wanted, power = pow(10, floor(log10(raw))), f = raw / power;
    double step = (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10) * power;
    step = s->axis->whole && step < 1 ? 1 : step;
    for (double k = ceil(s->lo / step); k * step <= s->hi && s->n_ticks < MAX_TICKS; k++)
        add_tick(s, k * step);
}

/* Powers of ten; with fewer than three of them in sight 2 and 5 too; with fewer than two decades' third, plain steps.
 */
static void log_ticks(scale *s, int wanted)
{
    double decades = s->hi - s->lo;
    if (decades < 0.7) {
        scale plain = {.axis = &(pare_axis){0}, .lo = pow(10, s->lo), .hi = pow(10, s->hi)};
        linear_ticks(&plain, wanted);
        for (size_t i = 0; i < plain.n_ticks; i++)
            if (plain.ticks[i] > 0)
                add_tick(s, plain.ticks[i]);
        return;
    }
    int every = decades > 8 ? (int)ceil(decades / 8) : 1;
    for (int power = (int)floor(s->lo); power <= (int)ceil(s->hi); power += every)
        for (int k = 0; k < (decades < 3 ? 3 : 1); k++)
            add_tick(s, (const double[]){1, 2, 5}[k] * pow(10, power));
}

static void find_ticks(scale *s, int wanted)
{
    if (s->axis->names != NULL)
        for (size_t i = 0; i < s->axis->n_names; i++)
            add_tick(s, (double)i);
    else if (s->axis->log)
        log_ticks(s, wanted);
    else
        linear_ticks(s, wanted);
}

static pare_status put_tick_text(pare_buf *out, const scale *s, double v, pare_error *err)
{
    if (s->axis->names != NULL) /* ticks are whole numbers below n_names then */
        return pare_html_text(out, s->axis->names[(size_t)v], err);
    return pare_buf_printf(out, err, "%.6g", fabs(v) < 1e-12 * (s->hi - s->lo) ? 0 : v);
}

static pare_status draw_x_axis(pare_buf *out, const scale *x, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < x->n_ticks && st == PARE_OK; i++) {
        double at = place(x, x->ticks[i]);
        st = pare_buf_printf(out, err,
                             "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                             "text-anchor=\"middle\">",
                             at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 17);
        if (st == PARE_OK)
            st = put_tick_text(out, x, x->ticks[i], err);
        if (st == PARE_OK)
            st = pare_buf_puts(out, "</text>", err);
    }
    if (st == PARE_OK)
        st = pare_buf_printf(out, err, "<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
                             (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    if (st == PARE_OK)
        st = pare_html_text(out, x->axis->label, err);
    return st == PARE_OK ? pare_buf_puts(out, "</text>\n", err) : st;
}

static pare_status draw_y_axis(pare_buf *out, const scale *y, pare_error *err)
{
    int middle = (TOP + HEIGHT - BOTTOM) / 2;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < y->n_ticks && st == PARE_OK; i++) {
        double at = place(y, y->ticks[i]);
        st = pare_buf_printf(out, err,
                             "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                             "text-anchor=\"end\">",
                             LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4);
        if (st == PARE_OK)
            st = put_tick_text(out, y, y->ticks[i], err);
        if (st == PARE_OK)
            st = pare_buf_puts(out, "</text>", err);
    }
    if (st == PARE_OK)
        st = pare_buf_printf(out, err,
                             "<text class=\"axis\" x=\"14\" y=\"%d\" text-anchor=\"middle\" "
                             "transform=\"rotate(-90 14 %d)\">",
                             middle, middle);
    if (st == PARE_OK)
        st = pare_html_text(out, y->axis->label, err);
    return st == PARE_OK ? pare_buf_puts(out, "</text>\n", err) : st;
}

/* Shapes around (x, y), so that colour is never alone. */
static pare_status draw_mark(pare_buf *out, size_t i, double x, double y, pare_error *err)
{
    static const char *const shapes[PARE_SVG_COLOURS] = {"a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
                                                         "m0.5 -4h8v8h-8z",
                                                         "m4.5 -5.5l5 9h-10z",
                                                         "m4.5 -5.8l5.4 5.8l-5.4 5.8l-5.4 -5.8z",
                                                         "m4.5 5.5l5 -9h-10z",
                                                         "m0.8 -3.7l7.4 7.4m0 -7.4l-7.4 7.4",
                                                         "m-0.8 0h10.6m-5.3 -5.3v10.6",
                                                         "m2.5 -4.7h4l3 4.7l-3 4.7h-4l-3 -4.7z"};
    return pare_buf_printf(out, err, "<path class=\"mark s%zu\" d=\"M%.1f %.1f%s\"/>", i % PARE_SVG_COLOURS, x - 4.5, y,
                           shapes[i % PARE_SVG_COLOURS]);
}

static pare_status draw_line(pare_buf *out, const pare_plot *plot, size_t i, const scale *x, const scale *y,
                             pare_error *err)
{
    const pare_series *s = &plot->series[i];
    char step = 'M';
    pare_status st = pare_buf_printf(out, err, "<path class=\"line s%zu\" stroke-dasharray=\"%s\" d=\"",
                                     i % PARE_SVG_COLOURS, dashes[i % 4]);
    for (size_t k = 0; k < s->n && st == PARE_OK; k++) {
        if (!drawn(plot, &s->points[k]))
            continue;
        st = pare_buf_printf(out, err, "%c%.1f %.1f", step, place(x, s->points[k].x), place(y, s->points[k].y));
        step = 'L';
    }
    return st == PARE_OK ? pare_buf_puts(out, "\"/>\n", err) : st;
}

static pare_status draw_point(pare_buf *out, const pare_plot *plot, size_t i, const pare_point *p, const scale *x,
                              const scale *y, pare_error *err)
{
    double at_x = place(x, p->x), at_y = place(y, p->y);
    pare_status st = PARE_OK;
    if (usable(&plot->y, p->lo) && usable(&plot->y, p->hi) && fabs(place(y, p->lo) - place(y, p->hi)) > 1)
        st = pare_buf_printf(out, err, "<path class=\"error s%zu\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh6M%.1f %.1fh6\"/>",
                             i % PARE_SVG_COLOURS, at_x, place(y, p->lo), place(y, p->hi), at_x - 3, place(y, p->lo),
                             at_x - 3, place(y, p->hi));
    if (st == PARE_OK)
        st = draw_mark(out, i, at_x, at_y, err);
    if (st != PARE_OK || p->label == NULL)
        return st;
    bool left = at_x + 8 + 7.5 * (double)strlen(p->label) > WIDTH; /* letters are about so wide */
    st = pare_buf_printf(out, err, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
                         at_x + (left ? -8 : 8), at_y - 6, left ? "end" : "start");
    if (st == PARE_OK)
        st = pare_html_text(out, p->label, err);
    return st == PARE_OK ? pare_buf_puts(out, "</text>", err) : st;
}

static pare_status draw_series(pare_buf *out, const pare_plot *plot, size_t i, const scale *x, const scale *y,
                               pare_error *err)
{
    const pare_series *s = &plot->series[i];
    pare_status st = s->line ? draw_line(out, plot, i, x, y, err) : PARE_OK;
    for (size_t k = 0; k < s->n && st == PARE_OK; k++)
        if (drawn(plot, &s->points[k]))
            st = draw_point(out, plot, i, &s->points[k], x, y, err);
    return st == PARE_OK ? pare_buf_puts(out, "\n", err) : st;
}

static pare_status draw_frame(pare_buf *out, const pare_plot *plot, const scale *x, const scale *y, pare_error *err)
{
    pare_status st = draw_x_axis(out, x, err);
    if (st == PARE_OK)
        st = draw_y_axis(out, y, err);
    if (st == PARE_OK && plot->y.has_mark)
        st = pare_buf_printf(out, err, "<path class=\"rule\" d=\"M%d %.1fH%d\"/>\n", LEFT, place(y, plot->y.mark),
                             WIDTH - RIGHT);
    return st == PARE_OK ? pare_buf_printf(out, err, "<path class=\"frame\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP,
                                           HEIGHT - BOTTOM, WIDTH - RIGHT)
                         : st;
}

pare_status pare_svg_plot(pare_buf *out, const pare_plot *plot, const char *id, pare_error *err)
{
    scale x = {.axis = &plot->x, .at = LEFT, .length = WIDTH - LEFT - RIGHT};
    scale y = {.axis = &plot->y, .at = HEIGHT - BOTTOM, .length = -(HEIGHT - TOP - BOTTOM)};
    if (!pare_svg_has_points(plot))
        return PARE_OK;
    find_range(plot, &x, &y);
    find_ticks(&x, 6);
    find_ticks(&y, 5);
    pare_status st = pare_buf_printf(out, err,
                                     "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s\"><title "
                                     "id=\"%s\">",
                                     WIDTH, HEIGHT, id, id);
    if (st == PARE_OK)
        st = pare_html_text(out, plot->title, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "</title>\n", err);
    if (st == PARE_OK)
        st = draw_frame(out, plot, &x, &y, err);
    for (size_t i = 0; i < plot->n_series && st == PARE_OK; i++)
        st = draw_series(out, plot, i, &x, &y, err);
    return st == PARE_OK ? pare_buf_puts(out, "</svg>\n", err) : st;
}

pare_status pare_svg_mark(pare_buf *out, size_t i, bool line, pare_error *err)
{
    pare_status st = pare_buf_printf(out, err, "<svg class=\"key\" viewBox=\"0 0 28 14\" aria-hidden=\"true\">");
    if (st == PARE_OK && line)
        st = pare_buf_printf(out, err, "<path class=\"line s%zu\" stroke-dasharray=\"%s\" d=\"M0 7H28\"/>",
                             i % PARE_SVG_COLOURS, dashes[i % 4]);
    if (st == PARE_OK)
        st = draw_mark(out, i, 14, 7, err);
    return st == PARE_OK ? pare_buf_puts(out, "</svg>", err) : st;
}
