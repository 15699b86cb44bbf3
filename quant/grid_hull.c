#include "quant/grid_hull.h"

#include "quant/lanes.h"

#include <math.h>
#include <string.h>

enum {
    LANES = PARE_VECTOR_FLOATS, /* parts at once; none knows of the others */
    PROBES = 4,                 /* scales whose best entries are known first */
    GAPS = PROBES - 1,
    CHUNK = 2,      /* entries of which only the best one is compared with the best so far */
    TRIALS = 12,    /* scales tried for a guess */
    MAX_BLOCK = 32, /* weights */
    WORD = 32,
    MAX_LISTED = 256 /* entries of a part that may be in the hull; some 10 are usual */
};
static const float first_trial = 0.55f, trial_step = 1.17f; /* in units of the scale if all levels were alike */
static const float probe_step = 0.757f; /* PARE_GRID_ABOVE * probe_step^GAPS is just below PARE_GRID_BELOW */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

/* Gain and energy of an entry are those of its halves added. least: twice the least cost of a turned sign, 0 where none
 * is to be turned. */
typedef struct sums {
    floats gain[2][PARE_GRID_HALVES], energy[2][PARE_GRID_HALVES], least[2][PARE_GRID_HALVES];
} sums;

/* Lines touching what is known to be reached: an entry counts where its gain is above all of bar + at * energy. */
typedef struct tangents {
    floats at[GAPS], bar[GAPS];
} tangents;

/* Entries that may be in the hulls. */
typedef struct lists {
    int n[LANES];
    floats gain[MAX_LISTED], energy[MAX_LISTED];
    ints entry[MAX_LISTED];
} lists;

#if defined(__GNUC__) && !defined(__clang__)
#define KEEP_LOOP _Pragma("GCC unroll 1") /* until it is made a vector */
#else
#define KEEP_LOOP
#endif

/* As loops over copies: compilers turn these into single instructions. */
static inline floats lower(floats a, floats b)
{
    float x[LANES], y[LANES];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    KEEP_LOOP
    for (int l = 0; l < LANES; l++)
        x[l] = y[l] < x[l] ? y[l] : x[l];
    memcpy(&a, x, sizeof x);
    return a;
}

static inline floats higher(floats a, floats b)
{
    float x[LANES], y[LANES];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    KEEP_LOOP
    for (int l = 0; l < LANES; l++)
        x[l] = y[l] > x[l] ? y[l] : x[l];
    memcpy(&a, x, sizeof x);
    return a;
}

static inline floats pick(ints mask, floats yes, floats no)
{
    return (floats)(((ints)yes & mask) | ((ints)no & ~mask));
}

static inline ints pick_int(ints mask, ints yes, ints no)
{
    return (yes & mask) | (no & ~mask);
}

static unsigned digit_of(const pare_grid_book *book, float value)
{
    unsigned d = 0;
    while (book->values[d] != value)
        d++;
    return d;
}

static void take_value(pare_grid_book *book, float value)
{
    int d = book->n_levels;
    for (int i = 0; i < book->n_levels; i++)
        if (book->values[i] == value)
            return;
    for (; d > 0 && book->values[d - 1] > value; d--)
        book->values[d] = book->values[d - 1];
    book->values[d] = value;
    book->n_levels++;
}

void pare_grid_book_init(pare_grid_book *book, int entry_len, int n_entries, unsigned (*grid)(unsigned index),
                         int (*level)(unsigned entry, int j))
{
    double squares = 0;
    int half_len = entry_len / 2;
    book->entry_len = entry_len;
    book->n_entries = n_entries;
    book->n_levels = 0;
    for (int i = 0; i < n_entries; i++)
        for (int j = 0; j < entry_len; j++) {
            float v = (float)level(grid((unsigned)i), j);
            take_value(book, v);
            book->level[j][i] = v;
            squares += v * v;
        }
    for (int i = 0; i < n_entries; i++) {
        unsigned half[2] = {0, 0};
        for (int j = entry_len - 1; j >= 0; j--)
            half[j / half_len] = (unsigned)book->n_levels * half[j / half_len] + digit_of(book, book->level[j][i]);
        book->half[i][0] = (uint8_t)half[0];
        book->half[i][1] = (uint8_t)half[1];
    }
    book->top = book->values[book->n_levels - 1];
    book->rms = sqrtf((float)(squares / (n_entries * entry_len)));
}

/* What blocks save with a scale: gain^2 / energy, at scale gain / energy. */
static void try_scale(const pare_grid_book *book, const floats *x, const floats *w, int len, floats scale,
                      floats *saved, floats *best)
{
    floats gain = {0}, energy = {0}, borders[PARE_GRID_LEVELS];
    for (int i = 1; i < book->n_levels; i++)
        borders[i] = scale * (0.5f * (book->values[i - 1] + book->values[i]));
    for (int j = 0; j < len; j++) {
        floats level = (floats){0} + book->values[0];
        for (int i = 1; i < book->n_levels; i++) {
            floats step = (floats){0} + (book->values[i] - book->values[i - 1]);
            level += (floats)((ints)step & (x[j] > borders[i]));
        }
        floats wl = w[j] * level;
        gain += wl * x[j];
        energy += wl * level;
    }
    floats now = gain * gain / energy;
    *best = pick(now > *saved, gain / energy, *best);
    *saved = pick(now > *saved, now, *saved);
}

void pare_grid_guess(const pare_grid_book *book, const float *x, const float *w, int n_blocks, int len, float *guess)
{
    for (int first = 0; first < n_blocks; first += LANES) {
        floats lx[MAX_BLOCK], lw[MAX_BLOCK], squares = {0}, sum = {0}, saved = {0}, best = {0};
        for (int j = 0; j < len; j++) {
            for (int l = 0; l < LANES; l++) {
                int at = (first + l < n_blocks ? first + l : first) * len + j;
                lx[j][l] = x[at];
                lw[j][l] = w[at];
            }
            squares += lw[j] * lx[j] * lx[j];
            sum += lw[j];
        }
        floats mean = squares / sum, scale;
        for (int l = 0; l < LANES; l++)
            scale[l] = sqrtf(mean[l]) * (first_trial / book->rms);
        for (int k = 0; k < TRIALS; k++, scale *= trial_step)
            try_scale(book, lx, lw, len, scale, &saved, &best);
        for (int l = 0; l < LANES && first + l < n_blocks; l++)
            guess[first + l] = best[l];
    }
}

/* Extend the sums of all values of the weights before by those of one more weight. */
static int add_weight(const pare_grid_book *book, floats x, floats w, floats turn, int n, int half, sums *s)
{
    floats wx = w * x;
    for (int d = book->n_levels - 1; d >= 0; d--) {
        floats g = wx * book->values[d], e = w * (book->values[d] * book->values[d]), cost = g * turn;
        for (int v = 0; v < n; v++) {
            s->gain[half][d * n + v] = s->gain[half][v] + g;
            s->energy[half][d * n + v] = s->energy[half][v] + e;
            s->least[half][d * n + v] = lower(s->least[half][v], cost);
        }
    }
    return n * book->n_levels;
}

static void take_sums(const pare_grid_book *book, const pare_grid_part *const *parts, sums *s)
{
    floats turn;
    for (int l = 0; l < LANES; l++)
        turn[l] = parts[l]->turn ? 2 : 0;
    for (int half = 0; half < 2; half++) {
        int n = 1, len = book->entry_len / 2;
        s->gain[half][0] = s->energy[half][0] = (floats){0};
        s->least[half][0] = (floats){0} + HUGE_VALF;
        for (int j = half * len; j < (half + 1) * len; j++) {
            floats x, w;
            for (int l = 0; l < LANES; l++) {
                x[l] = parts[l]->x[j];
                w[l] = parts[l]->w[j];
            }
            n = add_weight(book, x, w, turn, n, half, s);
        }
    }
}

/* turn is a constant where this is called. */
static inline __attribute__((always_inline)) floats gain_of(const sums *s, const uint8_t *half, bool turn)
{
    floats gain = s->gain[0][half[0]] + s->gain[1][half[1]];
    return turn ? gain - lower(s->least[0][half[0]], s->least[1][half[1]]) : gain;
}

static inline floats energy_of(const sums *s, const uint8_t *half)
{
    return s->energy[0][half[0]] + s->energy[1][half[1]];
}

static float gain_at(const pare_grid_book *book, const sums *s, bool turn, int l, int entry)
{
    const uint8_t *half = book->half[entry];
    float gain = s->gain[0][half[0]][l] + s->gain[1][half[1]][l];
    float a = s->least[0][half[0]][l], b = s->least[1][half[1]][l];
    return turn ? gain - (b < a ? b : a) : gain;
}

static float energy_at(const pare_grid_book *book, const sums *s, int l, int entry)
{
    const uint8_t *half = book->half[entry];
    return s->energy[0][half[0]][l] + s->energy[1][half[1]][l];
}

/* best[k]: the first entry with the largest gain - at[k] * energy. */
static inline __attribute__((always_inline)) void best_entries(const pare_grid_book *book, const sums *s, bool turn,
                                                               const floats *at, ints *best)
{
    floats top[PROBES];
    ints chunk[PROBES] = {{0}};
    for (int k = 0; k < PROBES; k++)
        top[k] = (floats){0} - HUGE_VALF;
    for (int i = 0; i < book->n_entries; i += CHUNK) {
        floats g[CHUNK], e[CHUNK];
        for (int c = 0; c < CHUNK; c++) {
            g[c] = gain_of(s, book->half[i + c], turn);
            e[c] = energy_of(s, book->half[i + c]);
        }
        for (int k = 0; k < PROBES; k++) {
            floats most = g[0] - at[k] * e[0];
            for (int c = 1; c < CHUNK; c++)
                most = higher(most, g[c] - at[k] * e[c]);
            chunk[k] = pick_int(most > top[k], (ints){0} + i, chunk[k]);
            top[k] = higher(top[k], most);
        }
    }
    for (int k = 0; k < PROBES; k++)
        for (int l = 0; l < LANES; l++) {
            int first = chunk[k][l], i = first;
            for (int c = CHUNK - 1; c >= 0; c--) {
                float v = gain_at(book, s, turn, l, first + c) - at[k][l] * energy_at(book, s, l, first + c);
                i = v == top[k][l] ? first + c : i;
            }
            best[k][l] = i;
        }
}

/* flags[i / WORD], bit i % WORD: the entry counts. */
static inline __attribute__((always_inline)) void flag_entries(const pare_grid_book *book, const sums *s, bool turn,
                                                               const tangents *t, ints *flags)
{
    for (int i = 0; i < book->n_entries; i += WORD) {
        ints word = {0};
        for (int b = 0; b < WORD; b++) {
            floats e = energy_of(s, book->half[i + b]), bar = t->bar[0] + t->at[0] * e;
            for (int k = 1; k < GAPS; k++)
                bar = lower(bar, t->bar[k] + t->at[k] * e);
            word |= (gain_of(s, book->half[i + b], turn) > bar) & (int32_t)(1u << b);
        }
        flags[i / WORD] = word;
    }
}

/* List an entry for lane l. */
static void list_entry(const pare_grid_book *book, const sums *s, bool turn, int l, int entry, lists *list)
{
    int n = list->n[l];
    if (n == MAX_LISTED)
        return;
    list->gain[n][l] = gain_at(book, s, turn, l, entry);
    list->energy[n][l] = energy_at(book, s, l, entry);
    list->entry[n][l] = entry;
    list->n[l] = n + 1;
}

/* The entries that may be in the hull: entry 0, the best ones of the probes, and what can be better between these.
 *
 * The best entries of two scales bound from below what is reached between them, by the larger of their two lines. An
 * entry that is better anywhere between is better where the two lines cross: few pass this test. */
static inline __attribute__((always_inline)) void list_entries(const pare_grid_book *book, const sums *s, floats guess,
                                                               bool turn, lists *list)
{
    floats probe[PROBES];
    ints best[PROBES] = {{0}}, flags[PARE_GRID_MAX / WORD];
    tangents t;
    for (int k = 0; k < PROBES; k++)
        probe[k] = k == 0 ? guess * (PARE_GRID_ABOVE / 2) : probe[k - 1] * probe_step;
    best_entries(book, s, turn, probe, best);
    memset(list->n, 0, sizeof list->n);
    for (int l = 0; l < LANES; l++) {
        list_entry(book, s, turn, l, 0, list);
        for (int k = 0; k < PROBES; k++)
            list_entry(book, s, turn, l, best[k][l], list);
    }
    for (int k = 0; k < GAPS; k++) {
        const floats *g = list->gain + 1 + k, *e = list->energy + 1 + k;
        ints apart = e[1] > e[0];
        t.at[k] = pick(apart, (g[1] - g[0]) / (e[1] - e[0]), (floats){0});
        t.bar[k] = pick(apart, g[0] - t.at[k] * e[0], (floats){0} + HUGE_VALF);
    }
    flag_entries(book, s, turn, &t, flags);
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < book->n_entries; i += WORD)
            for (uint32_t word = (uint32_t)flags[i / WORD][l]; word != 0; word &= word - 1)
                list_entry(book, s, turn, l, i + __builtin_ctz(word), list);
}

/* Fill the lists up to one length, an even one, with what is in them. Returns it. */
static int fill_lists(lists *list)
{
    int n = 0;
    for (int l = 0; l < LANES; l++)
        n = list->n[l] > n ? list->n[l] : n;
    n += n % 2;
    for (int l = 0; l < LANES; l++)
        for (int i = list->n[l]; i < n; i++) {
            list->gain[i][l] = list->gain[0][l];
            list->energy[i][l] = list->energy[0][l];
            list->entry[i][l] = list->entry[0][l];
        }
    return n;
}

/* Points of the hulls, and their rows in the lists. */
typedef struct points {
    floats gain, energy;
    ints row;
} points;

/* Move *to to a row where that is steeper, seen from `from`, and not to the left. */
static inline void turn_to(const lists *list, int row, const points *from, points *to)
{
    floats gain = list->gain[row], energy = list->energy[row];
    floats up = gain - from->gain, right = energy - from->energy;
    ints more = (up * (to->energy - from->energy) > (to->gain - from->gain) * right) & (right >= 0);
    to->gain = pick(more, gain, to->gain);
    to->energy = pick(more, energy, to->energy);
    to->row = pick_int(more, (ints){0} + row, to->row);
}

/* The points in the steepest direction; up, right: that direction, which does not rise where the hull ends. Even and
 * odd rows apart: two at once. */
static points next_points(const lists *list, int n, const points *from, floats *up, floats *right)
{
    const floats far = (floats){0} + HUGE_VALF;
    points to[2] = {{from->gain, far, {0}}, {from->gain, far, {0}}};
    for (int i = 0; i < n; i += 2) {
        turn_to(list, i, from, &to[0]);
        turn_to(list, i + 1, from, &to[1]);
    }
    floats u[2] = {to[0].gain - from->gain, to[1].gain - from->gain};
    floats r[2] = {to[0].energy - from->energy, to[1].energy - from->energy};
    ints second = u[1] * r[0] > u[0] * r[1];
    *up = pick(second, u[1], u[0]);
    *right = pick(second, r[1], r[0]);
    return (points){pick(second, to[1].gain, to[0].gain), pick(second, to[1].energy, to[0].energy),
                    pick_int(second, to[1].row, to[0].row)};
}

static bool any(ints mask)
{
    int32_t all = 0;
    for (int l = 0; l < LANES; l++)
        all |= mask[l];
    return all != 0;
}

/* The hulls of what is listed: from entry 0 on, the next point is the one in the steepest direction. */
static void wrap(lists *list, int n_parts, pare_grid_hull *hulls)
{
    points at[PARE_GRID_HULL];
    floats from[PARE_GRID_HULL + 1];
    int n = fill_lists(list), n_points = 0;
    at[0] = (points){list->gain[0], list->energy[0], {0}};
    from[0] = (floats){0} + HUGE_VALF;
    while (any(from[n_points] > 0) && ++n_points < PARE_GRID_HULL) {
        floats up, right;
        at[n_points] = next_points(list, n, &at[n_points - 1], &up, &right);
        from[n_points] = pick(up > 0, lower(2 * up / right, from[n_points - 1]), (floats){0} - 1);
    }
    for (int l = 0; l < n_parts; l++) {
        pare_grid_hull *h = &hulls[l];
        for (h->n = 0; h->n < n_points && from[h->n][l] > 0; h->n++) {
            const points *p = &at[h->n];
            h->at[h->n] =
                (pare_grid_point){p->gain[l], p->energy[l], from[h->n][l], (uint32_t)list->entry[p->row[l]][l]};
        }
        h->at[h->n].from = -1;
    }
}

void pare_grid_hulls(const pare_grid_book *book, const pare_grid_part *parts, int n, pare_grid_hull *hulls)
{
    for (int i = 0; i < n; i += LANES) {
        const pare_grid_part *lane[LANES];
        sums s;
        lists list;
        floats guess;
        bool turn = false;
        for (int l = 0; l < LANES; l++) {
            lane[l] = &parts[i + l < n ? i + l : i];
            guess[l] = lane[l]->guess;
            turn |= lane[l]->turn;
        }
        take_sums(book, lane, &s);
        if (turn)
            list_entries(book, &s, guess, true, &list);
        else
            list_entries(book, &s, guess, false, &list);
        wrap(&list, n - i < LANES ? n - i : LANES, hulls + i);
    }
}

/* The points that are best for two entries together. */
static void join(const pare_grid_hull *one, const pare_grid_hull *two, pare_grid_hull *h)
{
    float from = HUGE_VALF;
    h->n = 0;
    for (const pare_grid_point *a = one->at, *b = two->at; from >= 0 && h->n < PARE_GRID_HULL;) {
        h->at[h->n++] =
            (pare_grid_point){a->gain + b->gain, a->energy + b->energy, from, a->entries | b->entries << 16};
        bool first = a[1].from >= b[1].from;
        from = first ? a[1].from : b[1].from;
        a += first;
        b += !first;
    }
    h->at[h->n].from = -1;
}

/* Add a point of no less energy than those in the hull. */
static void hull_add(pare_grid_hull *h, pare_grid_point p)
{
    if (h->n > 0 && !(p.gain > h->at[h->n - 1].gain))
        return;
    for (; h->n > 1; h->n--) {
        pare_grid_point last = h->at[h->n - 1], before = h->at[h->n - 2];
        if ((last.gain - before.gain) * (p.energy - before.energy) >
            (p.gain - before.gain) * (last.energy - before.energy))
            break;
    }
    if (h->n == 1 && h->at[0].energy >= p.energy)
        h->n = 0;
    if (h->n < PARE_GRID_HULL)
        h->at[h->n++] = p;
}

/* The scales from which on the points are the best. They fall, also where rounding says otherwise. */
static void set_steps(pare_grid_hull *h)
{
    h->at[0].from = HUGE_VALF;
    for (int i = 1; i < h->n; i++) {
        const pare_grid_point *p = h->at + i;
        float from = 2 * (p->gain - p[-1].gain) / (p->energy - p[-1].energy);
        h->at[i].from = from < p[-1].from ? from : p[-1].from;
    }
    h->at[h->n].from = -1;
}

void pare_grid_join(const pare_grid_hull half[2], pare_grid_hull *cell)
{
    join(&half[0], &half[1], cell);
}

void pare_grid_join_turned(const pare_grid_hull half[2], const pare_grid_hull turned[2], pare_grid_hull *cell)
{
    pare_grid_hull one, two;
    join(&turned[0], &half[1], &one);
    join(&half[0], &turned[1], &two);
    cell->n = 0;
    for (int i = 0, k = 0; i < one.n || k < two.n;) {
        bool first = k == two.n || (i < one.n && one.at[i].energy <= two.at[k].energy);
        hull_add(cell, first ? one.at[i++] : two.at[k++]);
    }
    set_steps(cell);
}
