#include "quant/iq1_search.h"

#include "quant/codebooks.h"
#include "quant/half_scale.h"
#include "quant/lanes.h"
#include "quant/shortlist.h"

#include <math.h>
#include <pthread.h>

enum {
    GROUP = 8,
    N_ENTRIES = 2048,
    ROW = 12,           /* 9, for pairs of values -1, 0, 1, and room for whole vectors */
    N_HALVES = 9 * ROW, /* of four values */
    TOP_SCALE = 7,
    MAX_UNIT_LEN = 32,
    LANES = PARE_VECTOR_FLOATS < GROUP ? PARE_VECTOR_FLOATS : GROUP, /* weights of a group, or units, at once */
};

/* What an effort buys. */
typedef struct plan {
    int n_tried;    /* first values of d */
    int reach;      /* how far the scale of a unit moves at a time, at most 2 */
    int max_rounds; /* of refitting d; each must lower the error */
} plan;
static const plan plans[] = {
    [PARE_EFFORT_DEFAULT] = {1, 1, 1},
    [PARE_EFFORT_BEST] = {8, 2, 8},
    [PARE_EFFORT_FAST] = {1, 1, 1},
    [PARE_EFFORT_RTN] = {1, 1, 1},
};

static const float shift_size = 0.125f;

/* The grid by halves: entry e consists of the values 0..3, with number low[e] (half_number), and the values 4..7.
 * Entries of the same upper half h lie side by side: first[h] .. first[h + 1] - 1. */
typedef struct grid {
    bool ready;
    uint8_t low[N_ENTRIES];
    uint16_t first[N_HALVES + 1];
    uint16_t entry[N_HALVES][N_HALVES]; /* of an upper and a lower half, or N_ENTRIES */
} grid;

/* A run of weights with one scale. */
typedef struct unit {
    const float *x, *w;
    int n_groups;
    bool one_shift;
} unit;

/* What a unit comes to with a scale: its error, sums for the least squares scale, and its choices. */
typedef struct choice {
    float error, lx, ll;
    uint16_t entry[4];
    bool minus[4];
} choice;

/* Four values of 2 bits to 0..N_HALVES - 1, rising with them. */
static unsigned half_number(unsigned four)
{
    return (four & 3) + 3 * (four >> 2 & 3) + ROW * ((four >> 4 & 3) + 3 * (four >> 6 & 3));
}

static void grid_init(grid *g)
{
    unsigned next = 0;
    for (unsigned k = 0; k < N_HALVES * N_HALVES; k++)
        g->entry[k / N_HALVES][k % N_HALVES] = N_ENTRIES;
    for (unsigned e = 0; e < N_ENTRIES; e++) {
        unsigned entry = pare_iq1_grid(e);
        g->low[e] = (uint8_t)half_number(entry & 255);
        g->entry[half_number(entry >> 8)][g->low[e]] = (uint16_t)e;
        while (next <= half_number(entry >> 8))
            g->first[next++] = (uint16_t)e;
    }
    while (next <= N_HALVES)
        g->first[next++] = N_ENTRIES;
    g->ready = true;
}

/* The grid, made by whoever needs it first. */
static const grid *shared_grid(void)
{
    static grid shared;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!shared.ready)
        grid_init(&shared);
    pthread_mutex_unlock(&lock);
    return &shared;
}

/* table[v]: cost of the four values with number v; cost[j][q] that of value q - 1 at j. */
static void tabulate(float cost[][3], float *table)
{
    float low[ROW];
    for (int i = 0; i < ROW; i++)
        low[i] = i < 9 ? cost[0][i % 3] + cost[1][i / 3] : HUGE_VALF;
    for (int h = 0; h < 9; h++) {
        float high = cost[2][h % 3] + cost[3][h / 3];
        for (int l = 0; l < ROW; l++)
            table[ROW * h + l] = low[l] + high;
    }
}

/* The four values of least cost, and that cost. */
static int cheapest(float cost[][3], float *least)
{
    unsigned four = 0;
    *least = 0;
    for (int j = 0; j < 4; j++) {
        int q = cost[j][0] < 0 ? 0 : cost[j][2] < 0 ? 2 : 1;
        four |= (unsigned)q << 2 * j;
        *least += cost[j][q];
    }
    return (int)half_number(four);
}

/* Look for a better entry among those of upper half h. Returns its cost, or best when there is none. */
static float scan_half(const grid *g, int h, const float *lower, float upper, float best, uint16_t *entry)
{
    float limit = best - upper, least = limit;
    for (int e = g->first[h]; e < g->first[h + 1]; e++)
        if (lower[g->low[e]] < least) {
            least = lower[g->low[e]];
            *entry = (uint16_t)e;
        }
    return least < limit ? upper + least : best; /* upper + limit may be less than best by a rounding */
}

/* The grid entry of least sum w (y - g)^2 for a group; *entry stays as it is where none is below `limit`. Exact: only
 * upper halves are passed over whose cost with the best of all lower halves reaches the best so far. */
static float best_entry(const grid *g, const float *y, const float *w, float limit, uint16_t *entry)
{
    float cost[GROUP][3], lower[N_HALVES], upper[N_HALVES], base = 0;
    for (int j = 0; j < GROUP; j++) {
        float wy = w[j] * y[j];
        base += wy * y[j];
        cost[j][0] = w[j] + 2 * wy;
        cost[j][1] = 0;
        cost[j][2] = w[j] - 2 * wy;
    }
    float least_lower, least_upper, best = limit - base;
    int l = cheapest(cost, &least_lower), start = cheapest(cost + 4, &least_upper);
    if (g->entry[start][l] < N_ENTRIES) {
        *entry = g->entry[start][l];
        return base + least_lower + least_upper;
    }
    tabulate(cost, lower);
    tabulate(cost + 4, upper);
    best = scan_half(g, start, lower, upper[start], best, entry);
    for (int h = 0; h < N_HALVES; h++)
        if (upper[h] + least_lower < best)
            best = scan_half(g, h, lower, upper[h], best, entry);
    return base + best;
}

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline floats pick(ints mask, floats yes, floats no)
{
    return (floats)(((ints)yes & mask) | ((ints)no & ~mask));
}

static inline floats lower(floats a, floats b)
{
    return pick(b < a, b, a);
}

static inline floats magnitude(floats v)
{
    return (floats)((ints)v & INT32_MAX);
}

/* What a weight costs with the nearest of -1, 0, 1. */
static inline floats miss(floats w, floats y)
{
    floats away = magnitude(y);
    away = lower(away, magnitude(away - 1));
    return w * (away * away);
}

/* The weights of a unit in steps of the scale less the shift, and for each group and shift the error with any values
 * -1, 0, 1: a lower bound. */
typedef struct steps {
    float y[2][MAX_UNIT_LEN], bound[2][4];
} steps;

static void take_steps(const unit *u, float scale, steps *out)
{
    float inverse = 1 / scale;
    for (int minus = 0; minus < 2; minus++) {
        float shift = minus ? -shift_size : shift_size;
        for (int g = 0; g < u->n_groups; g++) {
            float lost[GROUP];
            for (int j = 0; j < GROUP; j += LANES) {
                int at = GROUP * g + j;
                floats y = *(const floats *)(u->x + at) * inverse - shift;
                *(floats *)(out->y[minus] + at) = y;
                *(floats *)(lost + j) = miss(*(const floats *)(u->w + at), y);
            }
            out->bound[minus][g] = pare_add_lanes(lost);
        }
    }
}

/* Error and least squares sums of the entries of c. */
static void measure(const unit *u, float scale, choice *c)
{
    float error[PARE_LANES] = {0}, lx[PARE_LANES] = {0}, ll[PARE_LANES] = {0};
    for (int g = 0; g < u->n_groups; g++) {
        unsigned entry = pare_iq1_grid(c->entry[g]);
        float shift = c->minus[g] ? -shift_size : shift_size;
        for (int j = 0; j < GROUP; j++) {
            float x = u->x[GROUP * g + j], w = u->w[GROUP * g + j], l = (float)pare_iq1_level(entry, j) + shift;
            error[j] += w * (x - scale * l) * (x - scale * l);
            lx[j] += w * l * x;
            ll[j] += w * l * l;
        }
    }
    c->error = pare_add_lanes(error);
    c->lx = pare_add_lanes(lx);
    c->ll = pare_add_lanes(ll);
}

/* With the shifts from..to open to every group: take the best entries if their error is below that of *best. */
static void try_shifts(const grid *g, const unit *u, float scale, const steps *s, int from, int to, choice *best)
{
    choice next = {0};
    float rest[5] = {0}, sum = 0, budget = best->error / (scale * scale);
    for (int k = u->n_groups - 1; k >= 0; k--) {
        float a = s->bound[from][k], b = s->bound[to][k];
        rest[k] = rest[k + 1] + (a < b ? a : b);
    }
    for (int k = 0; k < u->n_groups; k++) {
        float limit = budget - sum - rest[k + 1], least = limit;
        for (int minus = from; minus <= to; minus++) {
            if (!(s->bound[minus][k] < least))
                continue;
            uint16_t entry = N_ENTRIES;
            float e = best_entry(g, s->y[minus] + GROUP * k, u->w + GROUP * k, least, &entry);
            if (entry < N_ENTRIES && e < least) {
                least = e;
                next.entry[k] = entry;
                next.minus[k] = minus == 1;
            }
        }
        if (!(least < limit))
            return;
        sum += least;
    }
    measure(u, scale, &next);
    if (next.error < best->error)
        *best = next;
}

static bool try_scale(const grid *g, const unit *u, float scale, choice *best)
{
    steps s;
    float before = best->error;
    take_steps(u, scale, &s);
    if (u->one_shift) {
        try_shifts(g, u, scale, &s, 0, 0, best);
        try_shifts(g, u, scale, &s, 1, 1, best);
    } else {
        try_shifts(g, u, scale, &s, 0, 1, best);
    }
    return best->error < before;
}

/* Trial scales of a unit by itself, in units of its root mean square. */
static const float trials[] = {0.6f, 0.75f, 0.9f, 1.05f, 1.2f, 1.35f, 1.5f, 1.7f, 1.9f, 2.2f, 2.6f};
enum { N_TRIALS = sizeof trials / sizeof *trials };

/* Lower bounds of the units' errors with the scales. */
static floats bounds_at(const floats *x, const floats *w, int n_groups, bool one_shift, floats scale)
{
    floats each = {0}, all[2] = {{0}, {0}}, inverse = 1 / scale;
    for (int g = 0; g < n_groups; g++) {
        floats sum[2] = {{0}, {0}};
        for (int j = g * GROUP; j < (g + 1) * GROUP; j++) {
            floats y = x[j] * inverse;
            sum[0] += miss(w[j], y - shift_size);
            sum[1] += miss(w[j], y + shift_size);
        }
        each += lower(sum[0], sum[1]);
        all[0] += sum[0];
        all[1] += sum[1];
    }
    return scale * scale * (one_shift ? lower(all[0], all[1]) : each);
}

/* For LANES units, which all have as many weights: the trial scales of least bound; 0 in units of zeros. */
static void first_scales(const unit *const *units, float *scales)
{
    floats x[MAX_UNIT_LEN], w[MAX_UNIT_LEN], wxx = {0}, w1 = {0}, rms = {0}, least = (floats){0} + HUGE_VALF,
                                             best = {0};
    int n_groups = units[0]->n_groups;
    for (int i = 0; i < GROUP * n_groups; i++) {
        for (int l = 0; l < LANES; l++) {
            x[i][l] = units[l]->x[i];
            w[i][l] = units[l]->w[i];
        }
        wxx += w[i] * x[i] * x[i];
        w1 += w[i];
    }
    wxx /= w1;
    for (int l = 0; l < LANES; l++)
        rms[l] = sqrtf(wxx[l]);
    for (int k = 0; k < N_TRIALS; k++) {
        floats bound = bounds_at(x, w, n_groups, units[0]->one_shift, rms * trials[k]);
        best = pick(bound < least, rms * trials[k], best);
        least = lower(least, bound);
    }
    for (int l = 0; l < LANES; l++)
        scales[l] = best[l];
}

/* The entries of each unit by itself at its best trial scale; ll is 0 in a unit of zeros. */
static void fit_alone(const grid *g, const unit *units, int n, choice *best)
{
    for (int first = 0; first < n; first += LANES) {
        const unit *lane[LANES];
        float scales[LANES];
        for (int l = 0; l < LANES; l++)
            lane[l] = &units[first + l < n ? first + l : first];
        first_scales(lane, scales);
        for (int l = 0; l < LANES && first + l < n; l++) {
            best[first + l] = (choice){.error = HUGE_VALF};
            if (scales[l] > 0)
                try_scale(g, lane[l], scales[l], &best[first + l]);
        }
    }
}

/* The least squares scale of a choice; 0 where none above 0 serves. */
static float ideal_scale(const choice *c)
{
    return c->lx > 0 ? c->lx / c->ll : 0;
}

/* The number whose odd multiple is nearest. */
static int to_scale(float multiple)
{
    float v = (multiple - 1) / 2 + 0.5f;
    v = v > 0 ? v : 0;
    return v < TOP_SCALE ? (int)v : TOP_SCALE;
}

/* Values of d whose odd multiples come closest to the ideal scales, counting a change of one by its sum w l^2: the
 * largest is put on every quarter from 8 to 17. Returns the largest scale: none are listed where it is 0 or too large.
 */
static float first_ds(const choice *units, int n, pare_shortlist *list)
{
    float scales[PARE_GRID_BLOCKS];
    for (int j = 0; j < n; j++)
        scales[j] = ideal_scale(&units[j]);
    float peak = pare_peak(scales, n);
    for (int k = 32; peak > 0 && k <= 68; k++) {
        float d = pare_f16_to_f32(pare_f32_to_f16_nonzero(peak / (0.25f * (float)k))), error[PARE_LANES] = {0};
        for (int j = 0; j < n; j++) {
            float miss = scales[j] - d * (float)(2 * to_scale(scales[j] / d) + 1);
            error[j % PARE_LANES] += units[j].ll * miss * miss;
        }
        if (d <= PARE_F16_MAX)
            pare_shortlist_add(list, pare_add_lanes(error), d);
    }
    return peak;
}

/* A super-block under d, with sums for the least squares d. */
typedef struct state {
    uint16_t d;
    int scale[PARE_GRID_BLOCKS];
    choice units[PARE_GRID_BLOCKS];
    float error, lx, ll;
} state;

/* Under d: the best scale of each unit, near the one it has, with its shifts and entries. */
static void settle(const grid *g, const unit *units, int n, int reach, state *t)
{
    static const int moves[] = {0, 1, -1, 2, -2};
    float d = pare_f16_to_f32(t->d);
    t->error = t->lx = t->ll = 0;
    for (int j = 0; j < n; j++) {
        int middle = t->scale[j];
        choice *best = &t->units[j];
        measure(&units[j], d * (float)(2 * middle + 1), best);
        for (int k = 0; k <= 2 * reach; k++) {
            int s = middle + moves[k];
            if (s >= 0 && s <= TOP_SCALE && try_scale(g, &units[j], d * (float)(2 * s + 1), best))
                t->scale[j] = s;
        }
        float m = (float)(2 * t->scale[j] + 1);
        t->error += best->error;
        t->lx += m * best->lx;
        t->ll += m * m * best->ll;
    }
}

/* From a first d on. */
static state search_from(const pare_grid_shape *shape, const grid *g, const unit *units, const plan *plan,
                         const state *alone, float d)
{
    state best = *alone;
    best.d = pare_f32_to_f16_nonzero(d);
    for (int j = 0; j < shape->n_blocks; j++)
        best.scale[j] = to_scale(ideal_scale(&best.units[j]) / d);
    settle(g, units, shape->n_blocks, plan->reach, &best);
    for (int round = 0; round < plan->max_rounds && best.lx > 0; round++) {
        state next = best;
        next.d = pare_f32_to_f16_nonzero(best.lx / best.ll);
        settle(g, units, shape->n_blocks, plan->reach, &next);
        if (!(next.error < best.error))
            break;
        best = next;
    }
    return best;
}

static state search(const pare_grid_shape *shape, const grid *g, const unit *units, const plan *plan)
{
    state alone = {0}, best = {0};
    pare_shortlist list = {.room = plan->n_tried};
    fit_alone(g, units, shape->n_blocks, alone.units);
    float peak = first_ds(alone.units, shape->n_blocks, &list);
    alone.d = peak > 0 ? PARE_F16_INFINITY : 0;
    for (int i = 0; i < list.n; i++) {
        state t = search_from(shape, g, units, plan, &alone, list.value[i]);
        if (i == 0 || t.error < best.error)
            best = t;
    }
    return list.n > 0 ? best : alone;
}

static void encode_block(const pare_grid_shape *shape, const grid *g, const plan *plan, const float *x, const float *w,
                         pare_grid_fit *fit)
{
    unit units[PARE_GRID_BLOCKS];
    int n_groups = PARE_GRID_CELLS / shape->n_blocks;
    if (fabsf(pare_peak(x, PARE_GRID_LEN)) > PARE_F16_MAX * (2 * TOP_SCALE + 1)) {
        fit->d = PARE_F16_INFINITY;
        return;
    }
    for (int j = 0; j < shape->n_blocks; j++)
        units[j] = (unit){x + GROUP * n_groups * j, w + GROUP * n_groups * j, n_groups, shape->one_shift};
    state best = search(shape, g, units, plan);
    fit->d = best.d;
    for (int j = 0; j < shape->n_blocks; j++) {
        fit->scale[j] = (uint8_t)best.scale[j];
        for (int k = 0; k < n_groups; k++) {
            fit->entry[j * n_groups + k][0] = best.units[j].entry[k];
            fit->signs[j * n_groups + k] = best.units[j].minus[k] ? 255 : 0;
        }
    }
}

void pare_iq1_encode(const pare_grid_shape *shape, const float *src, size_t row_len, const float *weight,
                     pare_effort effort, void *dst)
{
    const grid *g = shared_grid();
    uint8_t *block = dst;
    for (size_t at = 0; at < row_len; at += PARE_GRID_LEN, block += shape->block_bytes) {
        float w[PARE_GRID_LEN];
        pare_grid_fit fit = {0};
        pare_take_weights(weight, at, PARE_GRID_LEN, w);
        encode_block(shape, g, &plans[effort], src + at, w, &fit);
        shape->pack(&fit, block);
    }
}
