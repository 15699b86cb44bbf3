#include "quant/unit_search.h"

#include "quant/vec.h"

#include <math.h>

enum {
    UNIT = PARE_FORM_UNIT,
    HALF = PARE_FORM_HALF,
    WHOLE_LEVELS = 3, /* of entries of 8 weights */
    WHOLE_PAIRS = WHOLE_LEVELS * WHOLE_LEVELS,
    HALF_LEVELS = PARE_UNIT_LEVELS, /* of entries of 4 weights */
    HALF_PAIRS = HALF_LEVELS * HALF_LEVELS,
    MAX_TURNS = 6,  /* of the halves */
    MAX_FLIPS = 12, /* of signs, one or two each */
    ROUNDS = 2      /* of flips and another search */
};
static const float SLACK = 1e-6f; /* what is gained must be more than the noise of sums */

/* Rows in hand. Levels are magnitudes; a form that is folded has the signs in it, so that it takes magnitudes too:
 * p[i][i] = m_ii, p[i][j] = +-2 m_ij, slope[i] = -+2 (m u)_i. */
typedef struct search {
    const pare_unit_book *book;
    const pare_form_square *square;
    pare_vec u[UNIT], mu[UNIT]; /* target, m times it */
    pare_mask sign[UNIT];       /* INT32_MIN: minus */
    pare_vec level[UNIT], cost; /* the best so far */
    pare_vec p[UNIT][UNIT], slope[UNIT];
} search;

/* Levels chosen so far: what they cost, and the slopes of the others. */
typedef struct partial {
    pare_vec cost, slope[UNIT];
} partial;

PARE_INLINE pare_vec flip(pare_vec v, pare_mask sign)
{
    return (pare_vec)((pare_mask)v ^ sign);
}

PARE_INLINE pare_mask pick_number(pare_mask yes, int a, pare_mask b)
{
    return (yes & a) | (~yes & b);
}

/* Weight i gets this level; the slopes of weights i + 1 .. end - 1 follow. */
PARE_INLINE partial add_level(const partial *from, const pare_vec p[UNIT][UNIT], int i, int end, float level)
{
    partial to = *from;
    to.cost += level * (level * p[i][i] + from->slope[i]);
#pragma GCC unroll 8
    for (int j = i + 1; j < end; j++)
        to.slope[j] = from->slope[j] + level * p[i][j];
    return to;
}

/* The target in steps of the levels, from which a shift is taken away. */
static void take_target(search *s, const float *target, pare_vec shift)
{
    for (int i = 0; i < UNIT; i++)
        s->u[i] = pare_vec_load(target + 16 * i) - shift;
    for (int i = 0; i < UNIT; i++) {
        s->mu[i] = pare_vec_all(0);
        for (int j = 0; j < UNIT; j++)
            s->mu[i] += s->u[j] * s->square->m[i * UNIT + j];
    }
}

static void fold(search *s)
{
    for (int i = 0; i < UNIT; i++) {
        s->slope[i] = flip(-2 * s->mu[i], s->sign[i]);
        for (int j = 0; j < UNIT; j++)
            s->p[i][j] = flip(pare_vec_all(s->square->m[i * UNIT + j] * (i == j ? 1 : 2)), s->sign[i] ^ s->sign[j]);
    }
}

/* What the weights from `first` on cost by themselves, for each pattern of four. */
static void cost_tails(const search *s, pare_vec *cost)
{
    const float *level = s->book->level;
    const partial none = {0};
    for (int a = 0; a < WHOLE_LEVELS; a++) {
        partial one = add_level(&none, s->p, HALF, UNIT, level[a]);
        for (int b = 0; b < WHOLE_LEVELS; b++) {
            partial two = add_level(&one, s->p, HALF + 1, UNIT, level[b]);
            for (int c = 0; c < WHOLE_LEVELS; c++) {
                partial three = add_level(&two, s->p, HALF + 2, UNIT, level[c]);
                for (int d = 0; d < WHOLE_LEVELS; d++)
                    *cost++ = add_level(&three, s->p, HALF + 3, UNIT, level[d]).cost;
            }
        }
    }
}

/* The best so far of a scan: its cost and its place in the book. */
typedef struct found {
    pare_vec cost;
    pare_mask at;
} found;

PARE_INLINE void take_if_less(found *f, pare_vec cost, int at)
{
    pare_mask less = cost < f->cost;
    f->cost = pare_vec_pick(less, cost, f->cost);
    f->at = pick_number(less, at, f->at);
}

/* The entries with the head that left `head`. */
PARE_INLINE void scan_tails(const pare_unit_book *book, const partial *head, const pare_vec *tails, int first, int end,
                            found *f)
{
    pare_vec front[WHOLE_PAIRS], back[WHOLE_PAIRS];
#pragma GCC unroll 9
    for (int i = 0; i < WHOLE_PAIRS; i++) {
        float a = book->level[i / WHOLE_LEVELS], b = book->level[i % WHOLE_LEVELS];
        front[i] = head->cost + a * head->slope[HALF] + b * head->slope[HALF + 1];
        back[i] = a * head->slope[HALF + 2] + b * head->slope[HALF + 3];
    }
    for (int e = first; e < end; e++) {
        int tail = book->tail[e];
        take_if_less(f, front[tail / WHOLE_PAIRS] + back[tail % WHOLE_PAIRS] + tails[tail], e);
    }
}

static found scan_whole(const search *s)
{
    const pare_unit_book *book = s->book;
    const float *level = book->level;
    const uint16_t *first = book->first;
    pare_vec tails[PARE_UNIT_HEADS];
    found f = {pare_vec_all(INFINITY), {0}};
    partial none = {0};
    memcpy(none.slope, s->slope, sizeof none.slope);
    cost_tails(s, tails);
    for (int a = 0; a < WHOLE_LEVELS; a++) {
        partial one = add_level(&none, s->p, 0, UNIT, level[a]);
        for (int b = 0; b < WHOLE_LEVELS; b++) {
            partial two = add_level(&one, s->p, 1, UNIT, level[b]);
            for (int c = 0; c < WHOLE_LEVELS; c++) {
                partial three = add_level(&two, s->p, 2, UNIT, level[c]);
                for (int d = 0; d < WHOLE_LEVELS; d++, first++) {
                    if (first[0] == first[1])
                        continue;
                    partial four = add_level(&three, s->p, 3, UNIT, level[d]);
                    scan_tails(book, &four, tails, first[0], first[1], &f);
                }
            }
        }
    }
    return f;
}

/* Entries of 4 weights under p and slope of the first HALF weights. */
static found scan_half(const pare_unit_book *book, const pare_vec p[UNIT][UNIT], const pare_vec *slope)
{
    const float *level = book->level;
    pare_vec tails[HALF_PAIRS];
    found f = {pare_vec_all(INFINITY), {0}};
    partial none = {0};
    memcpy(none.slope, slope, HALF * sizeof *slope);
    for (int c = 0; c < HALF_LEVELS; c++) {
        partial one = add_level(&none, p, 2, HALF, level[c]);
        for (int d = 0; d < HALF_LEVELS; d++)
            tails[HALF_LEVELS * c + d] = add_level(&one, p, 3, HALF, level[d]).cost;
    }
    none.slope[2] = none.slope[3] = pare_vec_all(0);
    for (int a = 0; a < HALF_LEVELS; a++) {
        partial one = add_level(&none, p, 0, HALF, level[a]);
        for (int b = 0; b < HALF_LEVELS; b++) {
            partial two = add_level(&one, p, 1, HALF, level[b]);
            const uint16_t *first = book->first + HALF_LEVELS * a + b;
            for (int e = first[0]; e < first[1]; e++) {
                const float *value = book->value + HALF * e;
                pare_vec cost = two.cost + tails[book->tail[e]] + value[2] * two.slope[2] + value[3] * two.slope[3];
                take_if_less(&f, cost, e);
            }
        }
    }
    return f;
}

/* The levels of entries, one a lane. */
static void read_levels(const pare_unit_book *book, pare_mask at, pare_vec *level)
{
    int32_t entry[PARE_VEC_LANES];
    float value[UNIT][PARE_VEC_LANES];
    memcpy(entry, &at, sizeof entry);
    for (int l = 0; l < PARE_VEC_LANES; l++)
        for (int i = 0; i < book->entry_len; i++)
            value[i][l] = book->value[entry[l] * book->entry_len + i];
    for (int i = 0; i < book->entry_len; i++)
        level[i] = pare_vec_load(value[i]);
}

/* What n levels cost. */
static pare_vec cost_of(const pare_vec p[UNIT][UNIT], const pare_vec *slope, const pare_vec *level, int n)
{
    pare_vec cost = {0};
    for (int i = 0; i < n; i++) {
        pare_vec at = slope[i] + level[i] * p[i][i];
        for (int j = 0; j < i; j++)
            at += level[j] * p[i][j];
        cost += level[i] * at;
    }
    return cost;
}

static void take_levels(search *s, pare_mask yes, pare_vec cost, const pare_vec *level)
{
    s->cost = pare_vec_pick(yes, cost, s->cost);
    for (int i = 0; i < UNIT; i++)
        s->level[i] = pare_vec_pick(yes, level[i], s->level[i]);
}

/* p of either half, where the other one is given. */
static void half_form(const search *s, int h, pare_vec p[UNIT][UNIT])
{
    for (int i = 0; i < HALF; i++)
        memcpy(p[i], s->p[HALF * h + i] + HALF * h, HALF * sizeof p[i][0]);
}

/* Improve the halves in turn, half h first: whatever it is now, where it is `unset`. */
static void alternate(const search *s, pare_mask alive, bool unset, int h, pare_vec *level)
{
    pare_vec p[2][UNIT][UNIT];
    half_form(s, 0, p[0]);
    half_form(s, 1, p[1]);
    for (int turn = 0; turn < MAX_TURNS && pare_mask_any(alive); turn++, h = 1 - h) {
        pare_vec slope[HALF], best[HALF], *mine = level + HALF * h;
        const pare_vec *other = level + HALF * (1 - h);
        for (int i = 0; i < HALF; i++) {
            slope[i] = s->slope[HALF * h + i];
            for (int j = 0; j < HALF; j++)
                slope[i] += other[j] * s->p[HALF * h + i][HALF * (1 - h) + j];
        }
        found f = scan_half(s->book, p[h], slope);
        pare_vec now = cost_of(p[h], slope, mine, HALF);
        if (!unset || turn > 0)
            alive &= f.cost < now - SLACK * pare_vec_abs(now);
        read_levels(s->book, f.at, best);
        for (int i = 0; i < HALF; i++)
            mine[i] = pare_vec_pick(alive, best[i], mine[i]);
    }
}

/* Half h as if the other one could be any real numbers, then both in turn. */
static void start_halves(const search *s, int h, pare_vec *level)
{
    const float *m = s->square->half[h];
    const pare_mask *sign = s->sign + HALF * h;
    pare_vec p[UNIT][UNIT], slope[HALF];
    for (int i = 0; i < HALF; i++) {
        pare_vec sum = {0};
        for (int j = 0; j < HALF; j++) {
            sum += m[i * HALF + j] * s->u[HALF * h + j];
            p[i][j] = flip(pare_vec_all(m[i * HALF + j] * (i == j ? 1 : 2)), sign[i] ^ sign[j]);
        }
        slope[i] = flip(-2 * sum, sign[i]);
    }
    found f = scan_half(s->book, p, slope);
    read_levels(s->book, f.at, level + HALF * h);
    memset(level + HALF * (1 - h), 0, HALF * sizeof *level);
    alternate(s, ~(pare_mask){0}, true, 1 - h, level);
}

/* Search entries under the signs: all that there are, or only what improves the levels of some rows. */
static void search_entries(search *s, bool fresh, pare_mask alive)
{
    pare_vec level[UNIT];
    fold(s);
    if (s->book->entry_len == UNIT) {
        found f = scan_whole(s);
        read_levels(s->book, f.at, level);
        take_levels(s, fresh ? ~(pare_mask){0} : alive & (f.cost < s->cost), f.cost, level);
        return;
    }
    for (int h = 0; h < 2; h++) {
        memcpy(level, s->level, sizeof level);
        if (fresh)
            start_halves(s, h, level);
        else
            alternate(s, alive, false, h, level);
        pare_vec cost = cost_of(s->p, s->slope, level, UNIT);
        take_levels(s, fresh && h == 0 ? ~(pare_mask){0} : alive & (cost < s->cost), cost, level);
    }
}

/* The flip that gains most: of weight i, and of weight j unless that is -1. */
typedef struct turn {
    pare_vec gain;
    pare_mask i, j;
} turn;

static turn best_turn(const search *s, const pare_vec *q, const pare_vec *slope, pare_vec least)
{
    turn best = {least, (pare_mask){0} - 1, (pare_mask){0} - 1};
    pare_vec one[UNIT];
    for (int i = 0; i < UNIT; i++)
        one[i] = 4 * q[i] * (q[i] * s->square->m[i * UNIT + i] - slope[i]);
    for (int i = 0; i < UNIT; i++)
        for (int j = s->book->even ? 0 : -1; j < (s->book->even ? i : 0); j++) {
            pare_vec gain =
                j < 0 ? one[i] : one[i] + one[j] + 8 * q[i] * q[j] * s->square->m[i * UNIT + (j < 0 ? 0 : j)];
            pare_mask less = gain < best.gain;
            best.gain = pare_vec_pick(less, gain, best.gain);
            best.i = pick_number(less, i, best.i);
            best.j = pick_number(less, j, best.j);
        }
    return best;
}

/* Turn signs as long as that costs less. Which rows have others now. */
static pare_mask turn_signs(search *s)
{
    pare_vec q[UNIT], slope[UNIT], size = {0}, cost = {0}; /* slope: half of the cost's */
    pare_mask turned = {0}, alive = ~turned;
    for (int i = 0; i < UNIT; i++) {
        q[i] = flip(s->level[i], s->sign[i]);
        size += q[i] * q[i] * s->square->m[i * UNIT + i];
    }
    for (int i = 0; i < UNIT; i++) {
        slope[i] = -s->mu[i];
        for (int j = 0; j < UNIT; j++)
            slope[i] += q[j] * s->square->m[i * UNIT + j];
    }
    for (int n = 0; n < MAX_FLIPS; n++) {
        turn best = best_turn(s, q, slope, -SLACK * size);
        alive &= best.i >= 0;
        if (!pare_mask_any(alive))
            break;
        for (int i = 0; i < UNIT; i++) {
            pare_mask yes = alive & ((best.i == i) | (best.j == i));
            pare_vec change = pare_vec_where(yes, -2 * q[i]);
            q[i] += change;
            s->sign[i] ^= yes & INT32_MIN;
            for (int j = 0; j < UNIT; j++)
                slope[j] += change * s->square->m[i * UNIT + j];
        }
        turned |= alive;
    }
    for (int i = 0; i < UNIT; i++)
        cost += q[i] * (slope[i] - s->mu[i]);
    s->cost = pare_vec_pick(turned, cost, s->cost);
    return turned;
}

/* The signs of the target; where their number is odd and must not be, the one that costs least turns. */
static void start_signs(search *s)
{
    pare_mask odd = {0}, at = {0};
    pare_vec least = pare_vec_all(INFINITY);
    for (int i = 0; i < UNIT; i++) {
        s->sign[i] = (s->u[i] < 0) & INT32_MIN;
        odd ^= s->u[i] < 0;
        pare_vec key = s->u[i] * s->u[i] * (1 / s->square->inverse[i * UNIT + i]);
        pare_mask less = key < least;
        least = pare_vec_pick(less, key, least);
        at = pick_number(less, i, at);
    }
    for (int i = 0; s->book->even && i < UNIT; i++)
        s->sign[i] ^= odd & (at == i) & INT32_MIN;
}

/* The entry that is best with this shift, if it is better than the best so far. */
static void try_shift(search *s, const float *target, pare_vec shift)
{
    pare_vec level[UNIT], cost = {0};
    take_target(s, target, shift);
    fold(s);
    found f = scan_whole(s);
    read_levels(s->book, f.at, level);
    for (int i = 0; i < UNIT; i++) {
        cost += s->u[i] * s->mu[i];
        level[i] += shift;
    }
    cost += f.cost;
    take_levels(s, cost < s->cost, cost, level);
}

static void search_shifts(search *s, const float *target, const float *level)
{
    pare_vec shift = pare_vec_all(s->book->shift);
    s->cost = pare_vec_all(INFINITY);
    if (s->book->one_shift) {
        pare_vec now = pare_vec_load(level);
        try_shift(s, target, now - pare_vec_nearest(now));
        return;
    }
    try_shift(s, target, shift);
    try_shift(s, target, -shift);
}

static void search_signs(search *s)
{
    start_signs(s);
    pare_mask alive = ~(pare_mask){0};
    for (int round = 0;; round++) {
        search_entries(s, round == 0, alive);
        if (round == ROUNDS)
            break;
        alive &= turn_signs(s);
        if (!pare_mask_any(alive))
            break;
    }
    for (int i = 0; i < UNIT; i++)
        s->level[i] = flip(s->level[i], s->sign[i]);
}

static void search_part(const pare_unit_book *book, const pare_form_square *square, const float *target, float *level)
{
    search s = {.book = book, .square = square};
    if (book->shift != 0) {
        search_shifts(&s, target, level);
    } else {
        take_target(&s, target, (pare_vec){0});
        search_signs(&s);
    }
    for (int i = 0; i < UNIT; i++)
        memcpy(level + 16 * i, &s.level[i], sizeof s.level[i]);
}

void pare_unit_search(const pare_unit_book *book, const pare_form_square *square, const float *target, float *level)
{
    for (int p = 0; p < PARE_PARTS; p++)
        search_part(book, square, target + p * PARE_VEC_LANES, level + p * PARE_VEC_LANES);
}
