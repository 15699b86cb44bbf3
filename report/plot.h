/* report/plot.h - plots and heat maps as data: what report/svg.h draws and tables repeat */
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

/* A heat map: a coloured cell for each value. */
typedef struct pare_grid {
    const char *title; /* for people who do not see the picture, too */
    const char *x_label, *y_label, *unit;
    size_t n_rows, n_columns;
    const double *values;         /* [n_rows, n_columns]; NAN: nothing is there */
    const bool *marked;           /* [n_rows, n_columns] cells in a box, or NULL */
    const char *mark_name;        /* what the box means */
    const char *const *row_names; /* [n_rows], NULL: numbers from 0 */
    const char *const *column_names;
    double lo, hi; /* of the colours; values outside have that of the end */
    bool log;      /* lo > 0 then */
    int digits;    /* of a value in its cell; 0: two */
} pare_grid;

#endif
