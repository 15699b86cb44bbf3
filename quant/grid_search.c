#include "quant/grid_search.h"

#include "quant/half_scale.h"
#include "quant/lanes.h"
#include "quant/shortlist.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum {
    N_SCALES = 16,
    TOP_SCALE = 2 * N_SCALES - 1, /* the largest 2 scale + 1 */
    MAX_CELLS = 4,                /* of a block */
    MAX_STEPS = MAX_CELLS * (PARE_GRID_HULL - 1),
    MAX_ROUNDS = 8, /* of refitting d; each must lower the error */
    MAX_REBUILDS = 3,
    MAX_PARTS = 4 * PARE_GRID_CELLS /* hulls: two halves a cell, without and with a turned sign */
};

/* What an effort buys. A start is a trial value of d: the widest block gets its own best scale at TOP_SCALE times a
 * number from first to last. */
typedef struct plan {
    int n_starts, n_tried; /* starts, and how many of them go on */
    float first, last;
    int reach;     /* how far from a block's own best scale these look */
    int n_guesses; /* times that hulls are built, each around other scales */
} plan;
static const plan plans[] = {
    [PARE_EFFORT_DEFAULT] = {32, 4, 0.9f, 1.3f, 1, 1},
    [PARE_EFFORT_BEST] = {96, 24, 0.8f, 1.4f, N_SCALES, 3},
    [PARE_EFFORT_FAST] = {12, 2, 0.9f, 1.3f, 1, 1},
    [PARE_EFFORT_RTN] = {32, 4, 0.9f, 1.3f, 1, 1},
};
static const float guesses[] = {1, 1.25f, 0.8f}; /* times the guessed scales */

/* A block's best choices as its scale falls: step i, at scale at[i], moves cell[i] to entries[i]. Before step i the
 * block's sums are gain[i] and energy[i]. */
typedef struct profile {
    float guess, best; /* the scale that the hulls are built around; the best scale of this block by itself */
    float stiffness;   /* energy there: (a change of the scale)^2 times it is about what the change costs */
    int n;
    uint32_t first[MAX_CELLS];
    float at[MAX_STEPS], gain[MAX_STEPS + 1], energy[MAX_STEPS + 1];
    uint32_t entries[MAX_STEPS];
    uint8_t cell[MAX_STEPS];
} profile;

/* Weights and their importances come scaled by powers of two, so that no product under- or overflows: true scale = up *
 * scale, true error = up^2 * w_up * error. */
typedef struct super {
    const pare_grid_shape *shape;
    const pare_grid_book *book;
    const plan *plan;
    int block_cells;
    float up, down, w_up;
    float x[PARE_GRID_LEN], w[PARE_GRID_LEN]; /* magnitudes */
    uint8_t signs[PARE_GRID_CELLS];
    profile blocks[PARE_GRID_BLOCKS];
} super;

/* A super-block under d. */
typedef struct trial {
    uint16_t d;
    uint8_t scale[PARE_GRID_BLOCKS];
    int steps[PARE_GRID_BLOCKS];
    double saved;        /* of the error of all zeros */
    double gain, energy; /* the best d for these codes is gain / energy */
} trial;

static bool is_odd(unsigned byte)
{
    byte ^= byte >> 4;
    return (0x6996u >> (byte & 15) & 1) != 0;
}

/* Merge the hulls of a block's cells. */
static void merge_hulls(const pare_grid_hull *cells, int n_cells, profile *p)
{
    const pare_grid_point *now[MAX_CELLS];
    int32_t next[MAX_CELLS] = {-1, -1, -1, -1}; /* the bits of scales, which are ordered as these are */
    float gain = 0, energy = 0;
    for (int c = 0; c < n_cells; c++) {
        now[c] = cells[c].at;
        next[c] = (int32_t)pare_f32_to_bits(now[c][1].from);
        p->first[c] = now[c]->entries;
        gain += now[c]->gain;
        energy += now[c]->energy;
    }
    for (p->n = 0;; p->n++) {
        int one = next[1] > next[0], two = 2 + (next[3] > next[2]);
        int c = one + (two - one) * (next[two] > next[one]); /* no branch: none could be foretold */
        const pare_grid_point *to = now[c] + 1;
        p->gain[p->n] = gain;
        p->energy[p->n] = energy;
        if (next[c] < 0)
            return;
        p->at[p->n] = to->from;
        p->cell[p->n] = (uint8_t)c;
        p->entries[p->n] = to->entries;
        gain += to->gain - to[-1].gain;
        energy += to->energy - to[-1].energy;
        now[c] = to;
        next[c] = (int32_t)pare_f32_to_bits(to[1].from);
    }
}

/* With the codes of one stretch a block saves gain^2 / energy, at scale gain / energy; the stretch that could save most
 * contains this scale. */
static void take_best(profile *p)
{
    int best = 0;
    for (int i = 1; i <= p->n; i++)
        if (p->gain[i] * p->gain[i] * p->energy[best] > p->gain[best] * p->gain[best] * p->energy[i])
            best = i;
    p->best = p->gain[best] / p->energy[best];
    p->stiffness = p->energy[best];
}

/* List the parts of a block's cells: of a cell whose sign is turned, its halves without and then with a turned sign. */
static int list_parts(const super *s, int b, float guess, pare_grid_part *parts)
{
    int n = 0, halves = PARE_GRID_CELL / s->book->entry_len;
    for (int c = b * s->block_cells; c < (b + 1) * s->block_cells; c++) {
        bool odd = s->shape->even && is_odd(s->signs[c]);
        for (int turn = odd && halves == 1; turn <= odd; turn++)
            for (int h = 0; h < halves; h++) {
                int at = c * PARE_GRID_CELL + h * s->book->entry_len;
                parts[n++] = (pare_grid_part){s->x + at, s->w + at, guess, turn == 1};
            }
    }
    return n;
}

/* Take a block's hulls, in the order of its parts. Returns their number. */
static int take_hulls(super *s, int b, float guess, const pare_grid_hull *hulls)
{
    const pare_grid_hull *h = hulls;
    pare_grid_hull cells[MAX_CELLS];
    if (s->book->entry_len == PARE_GRID_CELL) {
        merge_hulls(h, s->block_cells, &s->blocks[b]);
        h += s->block_cells;
    } else {
        for (int c = 0; c < s->block_cells; c++) {
            bool odd = s->shape->even && is_odd(s->signs[b * s->block_cells + c]);
            if (odd)
                pare_grid_join_turned(h, h + 2, &cells[c]);
            else
                pare_grid_join(h, &cells[c]);
            h += odd ? 4 : 2;
        }
        merge_hulls(cells, s->block_cells, &s->blocks[b]);
    }
    s->blocks[b].guess = guess;
    take_best(&s->blocks[b]);
    return (int)(h - hulls);
}

/* Build the blocks that have a guess, which is not below 0. */
static void build(super *s, const float *guess)
{
    pare_grid_part parts[MAX_PARTS];
    pare_grid_hull hulls[MAX_PARTS];
    int n = 0;
    for (int b = 0; b < s->shape->n_blocks; b++)
        if (guess[b] >= 0)
            n += list_parts(s, b, guess[b], parts + n);
    pare_grid_hulls(s->book, parts, n, hulls);
    n = 0;
    for (int b = 0; b < s->shape->n_blocks; b++)
        if (guess[b] >= 0)
            n += take_hulls(s, b, guess[b], hulls + n);
}

/* How many steps a block has made at a scale. */
static int steps_at(const profile *p, float scale)
{
    int low = 0, count = p->n;
    while (count > 0) {
        int half = count / 2;
        bool passed = p->at[low + half] > scale;
        low = passed ? low + half + 1 : low;
        count = passed ? count - half - 1 : half;
    }
    return low;
}

/* The factor on levels for d and scale 0, as weights are scaled here. */
static float step_of(const super *s, uint16_t d)
{
    return pare_f16_to_f32(d) * s->down * s->shape->unit;
}

/* Every block's best scale under t->d, within reach of the one it would have by itself, and the codes. */
static void settle(const super *s, int reach, trial *t)
{
    float step = step_of(s, t->d);
    t->saved = t->gain = t->energy = 0;
    for (int b = 0; b < s->shape->n_blocks; b++) {
        const profile *p = &s->blocks[b];
        float most = -HUGE_VALF, own = step > 0 ? p->best / (2 * step) : 0;
        int middle = own < N_SCALES ? (int)own : N_SCALES - 1;
        int low = middle > reach ? middle - reach : 0;
        int high = middle + reach < N_SCALES ? middle + reach : N_SCALES - 1;
        int steps = steps_at(p, step * (float)(2 * low + 1));
        for (int c = low; c <= high; c++) {
            float scale = step * (float)(2 * c + 1);
            while (steps > 0 && !(p->at[steps - 1] > scale))
                steps--;
            float saved = scale * (2 * p->gain[steps] - scale * p->energy[steps]);
            if (saved > most) {
                most = saved;
                t->scale[b] = (uint8_t)c;
                t->steps[b] = steps;
            }
        }
        double m = s->shape->unit * (float)(2 * t->scale[b] + 1);
        t->saved += most;
        t->gain += m * p->gain[t->steps[b]];
        t->energy += m * m * p->energy[t->steps[b]];
    }
}

/* Settle under d as it is stored; true and kept in *best when that saves more. */
static bool try_d(const super *s, float d, int reach, trial *best)
{
    float stored = d * s->up;
    trial t = {.d = pare_f32_to_f16_nonzero(stored < PARE_F16_MAX ? stored : PARE_F16_MAX)};
    settle(s, reach, &t);
    if (!(t.saved > best->saved))
        return false;
    *best = t;
    return true;
}

static void refine(const super *s, trial *best)
{
    for (int round = 0; round < MAX_ROUNDS; round++)
        if (!try_d(s, (float)(best->gain / best->energy), N_SCALES, best))
            return;
}

/* About how much a block loses by leaving its own best scale for the nearest one under d, which is 2 step per code. */
static float loss_of(const super *s, float step)
{
    float loss[PARE_GRID_BLOCKS] = {0};
    for (int b = 0; b < s->shape->n_blocks; b++) {
        const profile *p = &s->blocks[b];
        float own = p->best / (2 * step);
        int c = own < N_SCALES ? (int)own : N_SCALES - 1;
        float miss = p->best - step * (float)(2 * c + 1);
        loss[b] = p->stiffness * miss * miss;
    }
    return pare_add_lanes(loss) + pare_add_lanes(loss + PARE_LANES);
}

static trial search_d(const super *s)
{
    const plan *plan = s->plan;
    trial best = {0};
    pare_shortlist starts = {.room = plan->n_tried};
    float widest = 0;
    for (int b = 0; b < s->shape->n_blocks; b++)
        widest = s->blocks[b].best > widest ? s->blocks[b].best : widest;
    settle(s, 0, &best);
    for (int k = 0; k < plan->n_starts && widest > 0; k++) {
        float multiple = plan->first + (plan->last - plan->first) * (float)k / (float)(plan->n_starts - 1);
        float step = multiple * widest / TOP_SCALE;
        pare_shortlist_add(&starts, loss_of(s, step), step);
    }
    for (int i = 0; i < starts.n; i++)
        if (try_d(s, starts.value[i] / s->shape->unit, plan->reach, &best))
            try_d(s, (float)(best.gain / best.energy), plan->reach, &best);
    refine(s, &best);
    return best;
}

/* Build the blocks anew whose scale came to lie outside of what their hulls cover. Returns whether there were any. */
static bool rebuild(super *s, const trial *t)
{
    bool any = false;
    float guess[PARE_GRID_BLOCKS];
    for (int b = 0; b < s->shape->n_blocks; b++) {
        float scale = step_of(s, t->d) * (float)(2 * t->scale[b] + 1), old = s->blocks[b].guess;
        bool outside = scale > old * PARE_GRID_ABOVE || scale < old * PARE_GRID_BELOW;
        guess[b] = outside ? scale : -1;
        any |= outside;
    }
    if (any)
        build(s, guess);
    return any;
}

/* The sign of a cell that costs least to turn. */
static unsigned cheapest_sign(const super *s, int cell, const uint16_t *entry)
{
    int len = s->book->entry_len, best = 0;
    float least = HUGE_VALF;
    for (int j = 0; j < PARE_GRID_CELL; j++) {
        int l = cell * PARE_GRID_CELL + j;
        float cost = s->w[l] * s->x[l] * s->book->level[j % len][entry[j / len]];
        if (cost < least) {
            least = cost;
            best = j;
        }
    }
    return 1u << best;
}

static void write_codes(const super *s, const trial *t, pare_grid_fit *fit)
{
    for (int b = 0; b < s->shape->n_blocks; b++) {
        const profile *p = &s->blocks[b];
        uint32_t entries[MAX_CELLS];
        memcpy(entries, p->first, sizeof entries);
        for (int i = 0; i < t->steps[b]; i++)
            entries[p->cell[i]] = p->entries[i];
        fit->scale[b] = t->scale[b];
        for (int c = 0; c < s->block_cells; c++) {
            int cell = b * s->block_cells + c;
            unsigned signs = s->signs[cell];
            fit->entry[cell][0] = (uint16_t)entries[c];
            fit->entry[cell][1] = (uint16_t)(entries[c] >> 16);
            if (s->shape->even && is_odd(signs))
                signs ^= cheapest_sign(s, cell, fit->entry[cell]);
            fit->signs[cell] = (uint8_t)signs;
        }
    }
}

/* Returns the error of all zeros. */
static double take_weights(super *s, const float *x, const float *w)
{
    double total = 0;
    uint32_t exponent = pare_f32_to_bits(fabsf(pare_peak(x, PARE_GRID_LEN))) >> 23;
    exponent = exponent > 95 ? exponent : 95; /* 2^-32; what is smaller rounds to zero under any binary16 d */
    s->up = pare_bits_to_f32(exponent << 23);
    s->down = pare_bits_to_f32((254 - exponent) << 23);
    uint32_t w_exponent = pare_f32_to_bits(pare_peak(w, PARE_GRID_LEN)) >> 23;
    w_exponent = w_exponent < 1 ? 1 : w_exponent > 253 ? 253 : w_exponent;
    s->w_up = pare_bits_to_f32(w_exponent << 23);
    float w_down = pare_bits_to_f32((254 - w_exponent) << 23);
    memset(s->signs, 0, sizeof s->signs);
    for (int l = 0; l < PARE_GRID_LEN; l++) {
        s->x[l] = fabsf(x[l]) * s->down;
        s->w[l] = w[l] * w_down;
        s->signs[l / PARE_GRID_CELL] |= (uint8_t)((x[l] < 0) << l % PARE_GRID_CELL);
        total += (double)s->w[l] * s->x[l] * s->x[l];
    }
    return total;
}

/* A first guess of the blocks' scales. No scale can be below the widest one's share for the lowest code. */
static void guess_scales(const super *s, float *guess)
{
    float widest = 0;
    pare_grid_guess(s->book, s->x, s->w, s->shape->n_blocks, s->block_cells * PARE_GRID_CELL, guess);
    for (int b = 0; b < s->shape->n_blocks; b++)
        widest = guess[b] > widest ? guess[b] : widest;
    for (int b = 0; b < s->shape->n_blocks; b++)
        guess[b] = guess[b] > widest / TOP_SCALE ? guess[b] : widest / TOP_SCALE;
}

/* Search with hulls around `guess`. */
static trial search_around(super *s, const float *guess)
{
    build(s, guess);
    trial t = search_d(s);
    for (int k = 0; k < MAX_REBUILDS && t.d != 0 && rebuild(s, &t); k++) {
        settle(s, N_SCALES, &t);
        refine(s, &t);
    }
    return t;
}

void pare_grid_search(const pare_grid_shape *shape, const pare_grid_book *book, const float *x, const float *w,
                      pare_effort effort, pare_grid_fit *fit)
{
    super s; /* large: what is used is set */
    s.shape = shape;
    s.book = book;
    s.plan = &plans[effort];
    s.block_cells = PARE_GRID_CELLS / shape->n_blocks;
    double total = take_weights(&s, x, w);
    float guess[PARE_GRID_BLOCKS], around[PARE_GRID_BLOCKS];
    trial best = {0};
    guess_scales(&s, guess);
    for (int k = 0; k < s.plan->n_guesses; k++) {
        for (int b = 0; b < shape->n_blocks; b++)
            around[b] = guess[b] * guesses[k];
        trial t = search_around(&s, around);
        if (k == 0 || t.saved > best.saved) {
            best = t;
            write_codes(&s, &best, fit);
        }
    }
    fit->d = best.d;
    fit->error = (total - best.saved) * (double)s.up * (double)s.up * (double)s.w_up;
}

/* The book of a shape, made by whoever needs it first. */
static const pare_grid_book *book_of(const pare_grid_shape *shape)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (shape->book->n_entries == 0)
        pare_grid_book_init(shape->book, shape->entry_len, shape->n_entries, shape->grid, shape->level);
    pthread_mutex_unlock(&lock);
    return shape->book;
}

void pare_grid_encode(const pare_grid_shape *shape, const float *src, size_t row_len, const float *weight,
                      pare_effort effort, void *dst)
{
    const pare_grid_book *book = book_of(shape);
    float w[PARE_GRID_LEN], limit = PARE_F16_MAX * TOP_SCALE * shape->unit * book->top;
    uint8_t *block = dst;
    for (size_t at = 0; at < row_len; at += PARE_GRID_LEN, block += shape->block_bytes) {
        pare_grid_fit fit = {0};
        float peak = fabsf(pare_peak(src + at, PARE_GRID_LEN));
        if (peak > limit) {
            fit.d = PARE_F16_INFINITY;
        } else if (peak > 0) {
            pare_take_weights(weight, at, PARE_GRID_LEN, w);
            pare_grid_search(shape, book, src + at, w, effort, &fit);
        }
        shape->pack(&fit, block);
    }
}
