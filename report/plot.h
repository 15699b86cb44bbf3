/* report/plot.h - a plot as data: what report/svg.c draws and tables repeat */
#ifndef PARE_REPORT_PLOT_H
#define PARE_REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>

/* A point, and where it lies with 95 %: NAN where that is not known. label may be NULL. */
typedef struct pare_point {
    double x, y, lo, hi;
    const char *label;
} pare_point;

typedef struct pare_series {
    const char *name;
    const pare_point *points;
    size_t n;
    bool line; /* joined in their order */
} pare_series;

typedef struct pare_axis {
    const char *label;
    bool log;       /* points at or below 0 are left out */
    bool from_zero; /* of a linear axis */
    bool whole;     /* whole numbers only */
    bool has_mark;  /* a line across the plot at `mark`, e.g. a ratio of 1 */
    double mark;
    const char *const *names; /* [n_names] of the whole numbers from 0, instead of numbers; NULL: none */
    size_t n_names;
} pare_axis;

typedef struct pare_plot {
    const char *title; /* for people who do not see the picture, too */
    pare_axis x, y;
    const pare_series *series;
    size_t n_series;
} pare_plot;

#endif
