/* Factors of keys (recipe/kv_ready.h). */
#include "core/random.h"
#include "quant/kv_codec.h"
#include "recipe/kv_ready.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Powers 1/8, 2/8 ... of sizes; made of square roots, which every machine rounds alike. */
enum { POWERS = 8, MADE_UP = 256 /* keys a layer */, DRAWS = 12 };
static const double MOST = 1024;              /* factors of a head lie between 1 / MOST and MOST */
static const uint64_t SEED = 0x6b65797366697; /* any */

static double eighth_power(double x, unsigned eighths)
{
    double root = x, out = 1;
    for (unsigned bit = 8; bit > 0 && eighths > 0; bit /= 2, root = sqrt(root))
        if (eighths & bit)
            out *= root;
    return out;
}

/* ---- keys made up from weights ---- */

/* Mean and standard deviation of each element before RoPE; of queries and keys alike. */
typedef struct moments {
    double *mean, *spread; /* [n] */
} moments;

/* What the inputs of attention are about, squared: those of a norm are its gains and biases. g [n_embd] */
static pare_status input_sizes(const pare_model *m, uint32_t layer, double *g, pare_error *err)
{
    const pare_tensor *norm = pare_model_weight(m, PARE_W_ATTN_NORM_2, layer, "weight");
    const uint32_t n = m->hp.n_embd;
    pare_status st = PARE_OK;
    float *x = calloc((size_t)n + 1, sizeof *x);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " columns", m->path, n);
    if (norm == NULL || !m->arch->wiring.parallel_residual)
        norm = pare_model_weight(m, PARE_W_ATTN_NORM, layer, "weight");
    const bool known = norm != NULL && norm->n_dims == 1 && norm->row_len == n;
    if (known)
        st = pare_tensor_read_f32(norm, 0, 1, x, err);
    for (uint32_t i = 0; i < n; i++)
        g[i] = known ? (double)x[i] * (double)x[i] : 1;
    free(x);
    return st;
}

/* Rows [first, first + n) of a matrix, and what is added to their products. */
static pare_status rows_moments(const pare_model *m, const pare_tensor *t, const pare_tensor *bias, uint64_t first,
                                uint32_t n, const double *g, moments out, pare_error *err)
{
    pare_status st = PARE_OK;
    const size_t longest = (size_t)(bias != NULL && bias->row_len > t->row_len ? bias->row_len : t->row_len);
    float *x = malloc((longest + 1) * sizeof *x);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a row of %zu", m->path, longest);
    if (bias != NULL)
        st = pare_tensor_read_f32(bias, 0, 1, x, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        out.mean[i] = bias != NULL ? (double)x[first + i] : 0;
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        double sum = 0;
        st = pare_tensor_read_f32(t, first + i, 1, x, err);
        for (uint64_t c = 0; c < t->row_len && st == PARE_OK; c++)
            sum += (double)x[c] * (double)x[c] * g[c];
        out.spread[i] = sqrt(sum);
    }
    free(x);
    return st;
}

/* What comes out of a norm, of length about one an element: gains and biases of n elements, in turn. */
static pare_status norm_moments(const pare_model *m, const pare_tensor *gain, const pare_tensor *bias, uint32_t n,
                                moments out, pare_error *err)
{
    const size_t len = (size_t)(gain->n_rows * gain->row_len);
    float *x = calloc(2 * len + 1, sizeof *x);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for gains", m->path);
    pare_status st = pare_tensor_read_f32(gain, 0, gain->n_rows, x, err);
    if (st == PARE_OK && bias != NULL && bias->n_rows * bias->row_len == len)
        st = pare_tensor_read_f32(bias, 0, bias->n_rows, x + len, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        out.spread[i] = fabs((double)x[i % len]);
        out.mean[i] = (double)x[len + i % len];
    }
    free(x);
    return st;
}

/* Of all heads of queries or keys of a layer: n elements, stride rows of the matrix a head of dim. */
static pare_status find_moments(const pare_model *m, pare_weight id, uint32_t layer, moments out, pare_error *err)
{
    const pare_layer_shape of = pare_layer_shape_of(&m->hp, layer);
    const pare_weight norm = id == PARE_W_ATTN_Q ? PARE_W_ATTN_Q_NORM : PARE_W_ATTN_K_NORM;
    const pare_tensor *gain = pare_model_weight(m, norm, layer, "weight");
    const uint32_t n_head = id == PARE_W_ATTN_Q ? m->hp.n_head : of.n_head_kv, dim = of.head_dim_k;
    const bool fused = pare_model_weight(m, PARE_W_ATTN_QKV, layer, "weight") != NULL;
    const pare_weight made = fused ? PARE_W_ATTN_QKV : id;
    const uint64_t stride = id == PARE_W_ATTN_Q && m->arch->wiring.attn_gated ? 2 * (uint64_t)dim : dim;
    const uint64_t first = fused && id == PARE_W_ATTN_K ? m->hp.n_head * (uint64_t)dim : 0;
    if (gain != NULL)
        return norm_moments(m, gain, pare_model_weight(m, norm, layer, "bias"), n_head * dim, out, err);
    double *g = malloc(((size_t)m->hp.n_embd + 1) * sizeof *g);
    if (g == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for columns", m->path);
    pare_status st = input_sizes(m, layer, g, err);
    for (uint32_t h = 0; h < n_head && st == PARE_OK; h++)
        st = rows_moments(m, pare_model_weight(m, made, layer, "weight"), pare_model_weight(m, made, layer, "bias"),
                          first + h * stride, dim, g, (moments){out.mean + h * dim, out.spread + h * dim}, err);
    free(g);
    return st;
}

/* Nearly normal: a sum of twelve that are spread evenly. */
static double draw(uint64_t seed, uint64_t i)
{
    double sum = 0;
    for (uint64_t k = 0; k < DRAWS; k++)
        sum += (double)(pare_random(seed, i * DRAWS + k) >> 11) / (double)(UINT64_C(1) << 53);
    return sum - DRAWS / 2.0;
}

/* Key number t: each element by itself, each pair turned by an angle of its own. */
static void make_key(const pare_kv_ready_layer *l, uint32_t layer, uint32_t t, moments of, float *k)
{
    const uint32_t n = l->n_head_kv * l->dim_k;
    const uint64_t seed = pare_random(SEED + layer, t);
    for (uint32_t i = 0; i < n; i++)
        k[i] = (float)(of.mean[i] + of.spread[i] * draw(seed, i));
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = i % l->dim_k, other = pare_kv_ready_partner(l, at);
        if (other <= at)
            continue;
        const double a = draw(seed, n + 2 * (uint64_t)i), b = draw(seed, n + 2 * (uint64_t)i + 1);
        const double r = sqrt(a * a + b * b), x = (double)k[i], y = (double)k[i - at + other];
        k[i] = (float)(r > 0 ? (a * x - b * y) / r : x);
        k[i - at + other] = (float)(r > 0 ? (b * x + a * y) / r : y);
    }
}

static pare_status make_up(const pare_kv_ready_layer *l, const pare_model *m, uint32_t layer, pare_key_sample *out,
                           pare_error *err)
{
    const uint32_t n_k = l->n_head_kv * l->dim_k, n_q = m->hp.n_head * l->dim_k, group = m->hp.n_head / l->n_head_kv;
    const size_t n = n_q > n_k ? n_q : n_k;
    const moments of = {calloc(n + 1, sizeof(double)), calloc(n + 1, sizeof(double))};
    pare_status st = pare_key_sample_open(out, MADE_UP, n_k, err);
    if (st == PARE_OK && (of.mean == NULL || of.spread == NULL))
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu elements of heads", m->path, n);
    if (st == PARE_OK)
        st = find_moments(m, PARE_W_ATTN_K, layer, of, err);
    for (; st == PARE_OK && out->n < MADE_UP; out->n++)
        make_key(l, layer, out->n, of, out->k + (size_t)out->n * n_k);
    if (st == PARE_OK)
        st = find_moments(m, PARE_W_ATTN_Q, layer, of, err);
    for (uint32_t i = 0; i < n_q && st == PARE_OK; i++)
        out->q2[i / l->dim_k / group * l->dim_k + i % l->dim_k] +=
            of.mean[i] * of.mean[i] + of.spread[i] * of.spread[i];
    free(of.mean);
    free(of.spread);
    return st;
}

/* ---- factors ---- */

/* Heads that share factors, [first, first + n). */
typedef struct fitting {
    const pare_kv_ready_layer *l;
    const pare_key_sample *s;
    const pare_kv_codec *codec; /* NULL: it does not take such heads */
    uint32_t first, n_heads;
    double *size, *weight; /* [dim_k] of keys: the largest; of queries: mean squares' roots; the same in a pair */
    float *scale, *best;   /* [dim_k] */
    float *row, *back;     /* [dim_k] */
    uint8_t *unit;
} fitting;

static void find_sizes(const fitting *f)
{
    const uint32_t dim = f->l->dim_k;
    for (uint32_t i = 0; i < dim; i++) {
        f->size[i] = f->weight[i] = 0;
        for (uint32_t h = f->first; h < f->first + f->n_heads; h++) {
            f->weight[i] += f->s->q2[h * dim + i];
            for (size_t t = 0; t < f->s->n; t++)
                f->size[i] = fmax(f->size[i], fabs((double)f->s->k[t * f->s->width + h * dim + i]));
        }
    }
    for (uint32_t i = 0; i < dim; i++) {
        const uint32_t other = pare_kv_ready_partner(f->l, i);
        if (other <= i)
            continue;
        f->size[i] = f->size[other] = fmax(f->size[i], f->size[other]);
        f->weight[i] = f->weight[other] = (f->weight[i] + f->weight[other]) / 2;
    }
    for (uint32_t i = 0; i < dim; i++)
        f->weight[i] = sqrt(f->weight[i]);
}

/* scale = sizes to the power of eighths / 8, over queries' to that of what is left, if these count; their root of most
 * times least is 1. Elements of no size keep 1. */
static void make_scale(const fitting *f, unsigned eighths, bool queries)
{
    double least = INFINITY, most = 0;
    for (uint32_t i = 0; i < f->l->dim_k; i++) {
        double v = f->size[i] > 0 ? eighth_power(f->size[i], eighths) : 0;
        if (queries)
            v = f->weight[i] > 0 ? v / eighth_power(f->weight[i], POWERS - eighths) : 0;
        f->scale[i] = (float)v;
        if (f->scale[i] > 0 && isfinite(f->scale[i])) {
            least = fmin(least, (double)f->scale[i]);
            most = fmax(most, (double)f->scale[i]);
        }
    }
    const double middle = sqrt(most) * sqrt(least);
    for (uint32_t i = 0; i < f->l->dim_k; i++) {
        const double v = (double)f->scale[i] / middle;
        f->scale[i] = v > 0 && isfinite(v) ? (float)fmin(fmax(v, 1 / MOST), MOST) : 1;
    }
}

/* Mean square of q.k's error over keys and queries that do not know each other, when keys are kept so. */
static pare_status error_of(const fitting *f, double *out, pare_error *err)
{
    const uint32_t dim = f->l->dim_k;
    double sum = 0;
    for (size_t t = 0; t < f->s->n; t++)
        for (uint32_t h = f->first; h < f->first + f->n_heads; h++) {
            const float *k = f->s->k + t * f->s->width + h * dim;
            for (uint32_t i = 0; i < dim; i++)
                f->row[i] = k[i] / f->scale[i];
            pare_status st = pare_kv_encode(f->codec, f->row, 1, 1, dim, f->unit, err);
            if (st != PARE_OK)
                return st;
            pare_kv_decode(f->codec, f->unit, 1, 1, dim, f->back);
            for (uint32_t i = 0; i < dim; i++) {
                const double e = ((double)f->back[i] - (double)f->row[i]) * (double)f->scale[i];
                sum += e * e * f->s->q2[h * dim + i];
            }
        }
    *out = sum;
    return PARE_OK;
}

/* *ratio: what is left of the error; NAN: it is not known */
static pare_status fit_heads(const fitting *f, double *ratio, pare_error *err)
{
    const size_t bytes = f->l->dim_k * sizeof *f->scale;
    double least = 0, plain = 0, error = 0;
    find_sizes(f);
    *ratio = NAN;
    if (f->codec == NULL) {
        make_scale(f, POWERS / 2, false);
        memcpy(f->best, f->scale, bytes);
        return PARE_OK;
    }
    for (uint32_t i = 0; i < f->l->dim_k; i++)
        f->scale[i] = f->best[i] = 1;
    pare_status st = error_of(f, &plain, err);
    least = plain;
    for (unsigned trial = 0; trial < 2 * POWERS && st == PARE_OK && (st = pare_check_interrupt(err)) == PARE_OK;
         trial++) {
        make_scale(f, trial % POWERS + 1, trial >= POWERS);
        st = error_of(f, &error, err);
        if (st == PARE_OK && error < least) {
            least = error;
            memcpy(f->best, f->scale, bytes);
        }
    }
    if (plain > 0 && least > 0)
        *ratio = least / plain;
    return st;
}

/* Sum of logarithms of what is left, and of how many. */
typedef struct outcome {
    double log_sum;
    uint32_t n;
} outcome;

static pare_status fit_layer(pare_kv_ready_layer *l, const pare_key_sample *s, outcome *told, pare_error *err)
{
    const uint32_t dim = l->dim_k, n = l->alike ? l->n_head_kv : 1;
    const pare_kv_codec *codec = pare_kv_codec_find("q4_0", PARE_KV_KEYS);
    const size_t unit_bytes = pare_kv_unit_bytes(codec, dim);
    pare_status st = PARE_OK;
    double ratio;
    fitting f = {.l = l, .s = s, .codec = unit_bytes > 0 ? codec : NULL, .n_heads = n};
    f.size = malloc(2 * (size_t)dim * sizeof *f.size);
    f.scale = malloc(4 * (size_t)dim * sizeof *f.scale);
    f.unit = malloc(unit_bytes + 1);
    if (f.size == NULL || f.scale == NULL || f.unit == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for factors of %" PRIu32 " elements", dim);
    for (; st == PARE_OK && f.first < l->n_head_kv; f.first += n) {
        f.weight = f.size + dim;
        f.best = f.scale + dim;
        f.row = f.best + dim;
        f.back = f.row + dim;
        st = fit_heads(&f, &ratio, err);
        if (st == PARE_OK && ratio > 0) {
            told->log_sum += log(ratio);
            told->n++;
        }
        for (uint32_t h = f.first; h < f.first + n && st == PARE_OK; h++)
            memcpy(l->scale + (size_t)h * dim, f.best, dim * sizeof *l->scale);
    }
    free(f.size);
    free(f.scale);
    free(f.unit);
    return st;
}

pare_status pare_kv_ready_fit(pare_kv_ready *r, const pare_model *m, const pare_key_sample *samples, pare_error *err)
{
    outcome told = {0};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < r->n_layer && st == PARE_OK; i++) {
        pare_kv_ready_layer *l = &r->layers[i];
        pare_key_sample made = {0};
        if (!l->keys)
            continue;
        if (samples == NULL)
            st = make_up(l, m, i, &made, err);
        const pare_key_sample *s = samples != NULL ? &samples[i] : &made;
        if (st == PARE_OK && s->n > 0 && s->width == l->n_head_kv * l->dim_k)
            st = fit_layer(l, s, &told, err);
        if (st != PARE_OK && st != PARE_ERR_MEMORY && st != PARE_ERR_INTERRUPTED && err != NULL) {
            pare_error inner = *err;
            pare_fail(err, st, "%s: keys of layer %" PRIu32 ": %s", m->path, i, inner.text);
        }
        pare_key_sample_close(&made);
    }
    r->mean_ratio = told.n > 0 ? exp(told.log_sum / told.n) : NAN;
    return st;
}
