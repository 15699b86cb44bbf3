#include "quant/grid_hull.h"

#include "core/bytes.h"

#include <math.h>
#include <string.h>

enum {
    LANES = 16,
    PROBES = 7, /* scales whose best entries are known first */
    GAPS = PROBES - 1
};
static const float probe_step = 0.74f; /* PARE_GRID_ABOVE * probe_step^GAPS is just below PARE_GRID_BELOW */

/* Several entries at once; the compiler splits what is wider than the instruction set. */
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

typedef struct scores {
    float gain[PARE_GRID_MAX], energy[PARE_GRID_MAX];
    float turned[PARE_GRID_MAX]; /* gain with the cheapest sign turned */
} scores;

/* Lines touching what is known to be reached, in gain - at * energy: an entry counts in a gap when it is above. */
typedef struct tangents {
    float at[GAPS], bar[GAPS];
} tangents;

void pare_grid_book_init(pare_grid_book *book, int entry_len, int n_entries, unsigned (*grid)(unsigned index),
                         int (*level)(unsigned entry, int j))
{
    double squares = 0;
    book->entry_len = entry_len;
    book->n_entries = n_entries;
    book->top = 0;
    for (int i = 0; i < n_entries; i++) {
        unsigned entry = grid((unsigned)i);
        for (int j = 0; j < entry_len; j++) {
            float v = (float)level(entry, j);
            book->level[j][i] = v;
            book->top = v > book->top ? v : book->top;
            squares += v * v;
        }
    }
    book->rms = sqrtf((float)(squares / (n_entries * entry_len)));
}

/* len and turn are constants where this is called: without branches and loops over few weights it is vector code. */
static inline __attribute__((always_inline)) void score(const pare_grid_book *book, const float *x, const float *w,
                                                        scores *out, int len, bool turn)
{
    float wx[PARE_GRID_CELL];
    for (int j = 0; j < len; j++)
        wx[j] = w[j] * x[j];
    for (int i = 0; i < book->n_entries; i += LANES) {
        floats gain = {0}, energy = {0}, least = {0};
        for (int j = 0; j < len; j++) {
            floats level = *(const floats *)(book->level[j] + i), g = wx[j] * level;
            ints less = g < least;
            gain += g;
            energy += w[j] * (level * level);
            least = j == 0 ? g : (floats)(((ints)g & less) | ((ints)least & ~less));
        }
        *(floats *)(out->gain + i) = gain;
        *(floats *)(out->energy + i) = energy;
        if (turn)
            *(floats *)(out->turned + i) = gain - 2 * least;
    }
}

static void score_entries(const pare_grid_book *book, const float *x, const float *w, bool turn, scores *out)
{
    if (book->entry_len == 8 && turn)
        score(book, x, w, out, 8, true);
    else if (book->entry_len == 8)
        score(book, x, w, out, 8, false);
    else if (turn)
        score(book, x, w, out, 4, true);
    else
        score(book, x, w, out, 4, false);
}

/* best[k]: an entry with the largest gain - at[k] * energy. */
static void best_entries(const float *gain, const float *energy, int n, const float *at, int *best)
{
    floats top[PROBES];
    ints index[PROBES] = {0}, now = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int k = 0; k < PROBES; k++)
        top[k] = (floats){0} - HUGE_VALF;
    for (int i = 0; i < n; i += LANES, now += LANES) {
        floats g = *(const floats *)(gain + i), e = *(const floats *)(energy + i);
        for (int k = 0; k < PROBES; k++) {
            floats v = g - at[k] * e;
            ints more = v > top[k];
            top[k] = (floats)(((ints)v & more) | ((ints)top[k] & ~more));
            index[k] = (now & more) | (index[k] & ~more);
        }
    }
    for (int k = 0; k < PROBES; k++) {
        int lane = 0;
        for (int l = 1; l < LANES; l++)
            lane = top[k][l] > top[k][lane] ? l : lane;
        best[k] = index[k][lane];
    }
}

/* flag[i] = k + 1: the entry counts in gap k. */
static void flag_entries(const float *gain, const float *energy, int n, const tangents *t, uint8_t *flag)
{
    for (int i = 0; i < n; i += LANES) {
        floats g = *(const floats *)(gain + i), e = *(const floats *)(energy + i);
        ints gap = {0};
        for (int k = 0; k < GAPS; k++) {
            ints above = g - t->at[k] * e > t->bar[k];
            gap = (above & (k + 1)) | (gap & ~above);
        }
        *(bytes *)(flag + i) = __builtin_convertvector(gap, bytes);
    }
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

/* Add the n entries of a gap, by rising energy. */
static void add_gap(const float *gain, const float *energy, uint16_t *list, int n, pare_grid_hull *h)
{
    for (int i = 1; i < n; i++) {
        uint16_t entry = list[i];
        int k = i;
        for (; k > 0 && energy[list[k - 1]] > energy[entry]; k--)
            list[k] = list[k - 1];
        list[k] = entry;
    }
    for (int i = 0; i < n; i++)
        hull_add(h, (pare_grid_point){gain[list[i]], energy[list[i]], list[i]});
}

/* List the flagged entries, gap by gap. */
static void list_flagged(const uint8_t *flag, int n, uint16_t (*list)[PARE_GRID_MAX], int *count)
{
    for (int i = 0; i < n; i += 8) {
        uint64_t eight = pare_load_u64le(flag + i);
        while (eight != 0) {
            int k = __builtin_ctzll(eight) / 8, gap = (int)(eight >> 8 * k & 255) - 1;
            list[gap][count[gap]++] = (uint16_t)(i + k);
            eight &= ~(UINT64_C(255) << 8 * k);
        }
    }
}

/* The hull of single entries.
 *
 * The best entries of two scales, the probes, bound from below what is reached between them, by the larger of their two
 * lines. An entry that is better anywhere between is better where the two lines cross, and its energy is between
 * theirs: few pass this test. */
static void hull_of_entries(const float *gain, const float *energy, int n, float guess, pare_grid_hull *h)
{
    float probe[PROBES];
    tangents t;
    uint8_t flag[PARE_GRID_MAX];
    uint16_t list[GAPS][PARE_GRID_MAX];
    int best[PROBES], count[GAPS] = {0};
    for (int k = 0; k < PROBES; k++)
        probe[k] = k == 0 ? guess * (PARE_GRID_ABOVE / 2) : probe[k - 1] * probe_step;
    best_entries(gain, energy, n, probe, best);
    for (int k = 0; k < GAPS; k++) {
        int p = best[k], q = best[k + 1];
        bool apart = energy[q] > energy[p];
        t.at[k] = apart ? (gain[q] - gain[p]) / (energy[q] - energy[p]) : 0;
        t.bar[k] = apart ? gain[p] - t.at[k] * energy[p] : HUGE_VALF;
    }
    flag_entries(gain, energy, n, &t, flag);
    list_flagged(flag, n, list, count);
    h->n = 0;
    hull_add(h, (pare_grid_point){gain[0], energy[0], 0});
    for (int k = 0; k < PROBES; k++) {
        hull_add(h, (pare_grid_point){gain[best[k]], energy[best[k]], (uint32_t)best[k]});
        if (k < GAPS)
            add_gap(gain, energy, list[k], count[k], h);
    }
}

float pare_grid_step(const pare_grid_hull *hull, int i)
{
    const pare_grid_point *p = hull->at + i;
    return i + 1 < hull->n ? 2 * (p[1].gain - p[0].gain) / (p[1].energy - p[0].energy) : -1;
}

/* The points that are best for two entries together. Returns their number. */
static int join(const pare_grid_hull *one, const pare_grid_hull *two, pare_grid_point *out)
{
    for (int i = 0, k = 0, n = 0;;) {
        const pare_grid_point *a = &one->at[i], *b = &two->at[k];
        out[n++] = (pare_grid_point){a->gain + b->gain, a->energy + b->energy, a->entries | b->entries << 16};
        if (i + 1 == one->n && k + 1 == two->n)
            return n;
        if (pare_grid_step(one, i) >= pare_grid_step(two, k))
            i++;
        else
            k++;
    }
}

/* The hull of two sets of points, each by rising energy. */
static void hull_of_either(const pare_grid_point *one, int n_one, const pare_grid_point *two, int n_two,
                           pare_grid_hull *h)
{
    h->n = 0;
    for (int i = 0, k = 0; i < n_one || k < n_two;)
        hull_add(h, k == n_two || (i < n_one && one[i].energy <= two[k].energy) ? one[i++] : two[k++]);
}

void pare_grid_hull_cell(const pare_grid_book *book, const float *x, const float *w, bool odd, float guess,
                         pare_grid_hull *hull)
{
    scores s;
    if (book->entry_len == PARE_GRID_CELL) {
        score_entries(book, x, w, odd, &s);
        hull_of_entries(odd ? s.turned : s.gain, s.energy, book->n_entries, guess, hull);
        return;
    }
    pare_grid_hull half[2], turned[2];
    for (int k = 0; k < 2; k++) {
        score_entries(book, x + 4 * k, w + 4 * k, odd, &s);
        hull_of_entries(s.gain, s.energy, book->n_entries, guess, &half[k]);
        if (odd)
            hull_of_entries(s.turned, s.energy, book->n_entries, guess, &turned[k]);
    }
    /* the sign that is turned is in the first half or in the second */
    pare_grid_point one[2 * PARE_GRID_HULL], two[2 * PARE_GRID_HULL];
    int n_one = join(odd ? &turned[0] : &half[0], &half[1], one);
    int n_two = odd ? join(&half[0], &turned[1], two) : 0;
    hull_of_either(one, n_one, two, n_two, hull);
}
