/* quant/grid_hull.h - which entries of a grid are worth choosing for 8 weights, for every scale at once
 *
 * Method, sources and measurements: docs/methods/IQ_SEARCH.md. */
#ifndef PARE_QUANT_GRID_HULL_H
#define PARE_QUANT_GRID_HULL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PARE_GRID_CELL = 8,   /* weights that share a byte of signs: one entry, or two of 4 weights */
    PARE_GRID_MAX = 1024, /* entries of the largest grid */
    PARE_GRID_HULL = 64   /* points kept in a hull; some 10 are usual */
};

/* The levels of a grid: level[j][i] is that of weight j in entry i. Entry 0 has the lowest level everywhere. */
typedef struct pare_grid_book {
    int entry_len, n_entries; /* 8 or 4; a multiple of 16, at most PARE_GRID_MAX */
    float rms, top;           /* of all levels; the largest one */
    float level[PARE_GRID_CELL][PARE_GRID_MAX];
} pare_grid_book;

/* grid: entry of an index. level: of weight j in an entry. */
void pare_grid_book_init(pare_grid_book *book, int entry_len, int n_entries, unsigned (*grid)(unsigned index),
                         int (*level)(unsigned entry, int j));

/* A choice of entries and signs. At scale s it lowers the error, from that of all zeros, by s (2 gain - s energy):
 * gain = sum of w |x| level, less what a turned sign costs; energy = sum of w level^2. */
typedef struct pare_grid_point {
    float gain, energy;
    uint32_t entries; /* index, and in the upper half that of the second entry */
} pare_grid_point;

/* Choices by rising energy and gain, the first one entry 0 everywhere: as the scale falls, the best one moves along. */
typedef struct pare_grid_hull {
    int n;
    pare_grid_point at[PARE_GRID_HULL];
} pare_grid_hull;

/* The scales around a first guess for which a hull holds the best choice; beyond, what it holds is a good one. */
#define PARE_GRID_ABOVE 3.2f
#define PARE_GRID_BELOW 0.53f

/* The hull of one cell. x: magnitudes of its weights. w: > 0. odd: one sign has to be turned, the cheapest one. */
void pare_grid_hull_cell(const pare_grid_book *book, const float *x, const float *w, bool odd, float guess,
                         pare_grid_hull *hull);

/* The scale at which point i + 1 becomes as good as point i. Below any scale for the last point. */
float pare_grid_step(const pare_grid_hull *hull, int i);

#endif
