/* quant/grid_hull.h - which entries of a grid are worth choosing for 8 weights, for every scale at once
 *
 * Method, sources and measurements: docs/methods/IQ_SEARCH.md. */
#ifndef PARE_QUANT_GRID_HULL_H
#define PARE_QUANT_GRID_HULL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PARE_GRID_CELL = 8,    /* weights that share a byte of signs: one entry, or two of 4 weights */
    PARE_GRID_MAX = 1024,  /* entries of the largest grid */
    PARE_GRID_HALVES = 81, /* values of half an entry: 3 levels, 4 times, or 8 levels twice */
    PARE_GRID_LEVELS = 8,
    PARE_GRID_HULL = 64 /* points kept in a hull; some 10 are usual, 20 for two entries */
};

/* The levels of a grid: level[j][i] is that of weight j in entry i. Entry 0 has the lowest level everywhere. */
typedef struct pare_grid_book {
    int entry_len, n_entries; /* 8 or 4; a multiple of 32, at most PARE_GRID_MAX */
    float rms, top;           /* of all levels; the largest one */
    float level[PARE_GRID_CELL][PARE_GRID_MAX];
    int n_levels; /* levels there are, and their values, rising */
    float values[PARE_GRID_LEVELS];
    uint8_t half[PARE_GRID_MAX][2]; /* lower and upper half of an entry: numbers whose digits are levels */
} pare_grid_book;

/* grid: entry of an index. level: of weight j in an entry. */
void pare_grid_book_init(pare_grid_book *book, int entry_len, int n_entries, unsigned (*grid)(unsigned index),
                         int (*level)(unsigned entry, int j));

/* A choice of entries and signs. At scale s it lowers the error, from that of all zeros, by s (2 gain - s energy):
 * gain = sum of w |x| level, less what a turned sign costs; energy = sum of w level^2. */
typedef struct pare_grid_point {
    float gain, energy;
    float from;       /* the scale at which it becomes as good as the point before; infinite for the first one */
    uint32_t entries; /* index, and in the upper half that of the second entry */
} pare_grid_point;

/* Choices by rising energy and gain, the first one entry 0 everywhere: as the scale falls, the best one moves along. */
typedef struct pare_grid_hull {
    int n;
    pare_grid_point at[PARE_GRID_HULL + 1]; /* at[n].from is below any scale */
} pare_grid_hull;

/* The scales, to which levels are rounded, that would fit n_blocks blocks of len weights best if each weight were free
 * to have any level and sign. */
void pare_grid_guess(const pare_grid_book *book, const float *x, const float *w, int n_blocks, int len, float *guess);

/* The scales around a guess for which a hull holds the best choice; beyond, what it holds is a good one. */
#define PARE_GRID_ABOVE 1.7f
#define PARE_GRID_BELOW 0.75f

/* The weights of one entry. */
typedef struct pare_grid_part {
    const float *x; /* magnitudes */
    const float *w; /* > 0 */
    float guess;    /* of the scale */
    bool turn;      /* one sign has to be turned, the cheapest one */
} pare_grid_part;

/* The hulls of n parts. */
void pare_grid_hulls(const pare_grid_book *book, const pare_grid_part *parts, int n, pare_grid_hull *hulls);

/* The hull of a cell of two entries, by those of its halves. */
void pare_grid_join(const pare_grid_hull half[2], pare_grid_hull *cell);

/* The same where one sign has to be turned, in one half or in the other. */
void pare_grid_join_turned(const pare_grid_hull half[2], const pare_grid_hull turned[2], pare_grid_hull *cell);

#endif
