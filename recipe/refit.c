#include "recipe/refit.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "model/model.h"
#include "recipe/derive.h"

#include <math.h>
#include <string.h>

enum { PANEL = 32, TOKENS_A_COLUMN = 16, MAX_STEPS = 300, MAX_READERS = 4 };
static const double SHRINKAGE = 0.03, ENOUGH = 1e-20; /* of the squared residual, in parts of what it was */

typedef struct fit {
    const pare_tensor *source, *table; /* token embedding, as it was and as it is */
    const pare_tensor *was[MAX_READERS], *is[MAX_READERS];
    size_t n, n_readers;
    double eps;
    float *gain, *row;         /* [n] */
    double *vv, *vw, *yy, *yx; /* [n, n] sums of products: of readers as they are with themselves, with what they were;
                                  of their inputs as they are with themselves, with what they were */
    double *own, *old;         /* [PANEL, n] */
    double *d, *r, *p, *s, *z; /* [n] factors of the gains; residual, direction, A p, scaled residual */
    const double *other;       /* own or old: sum gets own^T other of n_panel rows */
    double *sum;
    size_t n_panel;
} fit;

static pare_status add_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const fit *f = ctx;
    double *to = f->sum + i * f->n;
    (void)thread;
    (void)err;
    for (size_t k = 0; k < f->n_panel; k++) {
        const double factor = f->own[k * f->n + i], *other = f->other + k * f->n;
        for (size_t j = 0; j < f->n; j++)
            to[j] += factor * other[j];
    }
    return PARE_OK;
}

static pare_status add_panel(fit *f, double *to, const double *other, size_t n_panel, pare_error *err)
{
    f->sum = to;
    f->other = other;
    f->n_panel = n_panel;
    return pare_parallel(f->n, add_row, f, err);
}

/* A row of t, and what a norm makes of it when it is a token's. */
static pare_status read_row(fit *f, const pare_tensor *t, uint64_t row, bool norm, double *to, pare_error *err)
{
    double square = 0;
    pare_status st = pare_tensor_read_f32(t, row, 1, f->row, err);
    for (size_t i = 0; i < f->n && st == PARE_OK; i++)
        square += (double)f->row[i] * (double)f->row[i];
    double scale = norm ? 1 / sqrt(square / (double)f->n + f->eps) : 1;
    for (size_t i = 0; i < f->n && st == PARE_OK; i++)
        to[i] = (double)f->row[i] * scale * (norm ? (double)f->gain[i] : 1);
    return st;
}

/* Add the products over rows 0, step, 2 step, ... of `now` with themselves and with those of `then`. */
static pare_status add_products(fit *f, const pare_tensor *now, const pare_tensor *then, uint64_t step, bool norm,
                                double *with_own, double *with_old, pare_error *err)
{
    size_t k = 0;
    pare_status st = PARE_OK;
    for (uint64_t row = 0; row < now->n_rows && st == PARE_OK; row += step) {
        if ((st = read_row(f, now, row, norm, f->own + k * f->n, err)) == PARE_OK)
            st = read_row(f, then, row, norm, f->old + k * f->n, err);
        if (++k < PANEL && row + step < now->n_rows)
            continue;
        if (st == PARE_OK && (st = pare_check_interrupt(err)) == PARE_OK)
            st = add_panel(f, with_own, f->own, k, err);
        if (st == PARE_OK)
            st = add_panel(f, with_old, f->old, k, err);
        k = 0;
    }
    pare_tensor_release(then, 0, then->n_rows);
    return st;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* s = A p */
static pare_status multiply_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const fit *f = ctx;
    (void)thread;
    (void)err;
    f->s[i] = dot(f->vv + i * f->n, f->p, f->n);
    return PARE_OK;
}

/* Add the solution x of A x = r to d by conjugate gradients, scaled by the diagonal: no step makes the fit worse. */
static pare_status solve(fit *f, pare_error *err)
{
    size_t n = f->n;
    double rho = 0, first = 0;
    pare_status st = PARE_OK;
    memset(f->p, 0, n * sizeof *f->p);
    for (int step = 0; step < MAX_STEPS && st == PARE_OK; step++) {
        for (size_t i = 0; i < n; i++)
            f->z[i] = f->vv[i * n + i] > 0 ? f->r[i] / f->vv[i * n + i] : 0;
        double next = dot(f->z, f->r, n), beta = step > 0 ? next / rho : 0;
        rho = next;
        first = step == 0 ? rho : first;
        if (!(rho > ENOUGH * first))
            break;
        for (size_t i = 0; i < n; i++)
            f->p[i] = f->z[i] + beta * f->p[i];
        st = pare_parallel(n, multiply_row, f, err);
        double bent = dot(f->p, f->s, n), alpha = rho / bent;
        if (!(bent > 0) || !isfinite(alpha))
            break;
        for (size_t i = 0; i < n; i++) {
            f->d[i] += alpha * f->p[i];
            f->r[i] -= alpha * f->s[i];
        }
    }
    return st;
}

/* A_ij = vv_ij yy_ij, b_i = sum over j of vw_ij yx_ij; what b leaves of A 1 is what the factors, from 1 on, take up.
 * Shrinkage holds them near 1. */
static pare_status find_factors(fit *f, pare_error *err)
{
    size_t n = f->n;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++)
            sum += f->vv[i * n + j] *= f->yy[i * n + j];
        f->r[i] = dot(f->vw + i * n, f->yx + i * n, n) - sum;
        f->vv[i * n + i] *= 1 + SHRINKAGE;
        f->d[i] = 1;
    }
    return solve(f, err);
}

static pare_status collect(fit *f, pare_error *err)
{
    uint64_t most = TOKENS_A_COLUMN * (uint64_t)f->n, step = (f->table->n_rows + most - 1) / most;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < f->n_readers && st == PARE_OK; i++)
        st = add_products(f, f->is[i], f->was[i], 1, false, f->vv, f->vw, err);
    return st == PARE_OK ? add_products(f, f->table, f->source, step, true, f->yy, f->yx, err) : st;
}

/* The readers of layer 0's attention norm; NULL, or why they are not fitted. */
static const char *find_readers(fit *f, const pare_model *out)
{
    static const char *const known[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight",
                                        "blk.0.attn_qkv.weight"};
    for (size_t i = 0; i < out->n_tensors; i++) {
        const pare_tensor *t = &out->tensors[i];
        bool reads = false;
        if (strncmp(t->name, "blk.0.", 6) != 0 || t->n_dims < 2 || t->row_len != f->n)
            continue;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            reads = reads || strcmp(t->name, known[k]) == 0;
        if (reads) {
            f->was[f->n_readers] = t->base;
            f->is[f->n_readers++] = t;
            if (!pare_derive_is_stored(t)) /* it would be encoded twice */
                return "a matrix behind it is not encoded with feedback";
        } else if (strncmp(t->name + 6, "ffn_", 4) != 0 && strcmp(t->name, "blk.0.attn_output.weight") != 0)
            return "layer 0 has matrices beside q, k, v and output that may read it";
    }
    return f->n_readers > 0 ? NULL : "layer 0 has no q, k and v behind it";
}

/* Is there nothing but the norm, which has no offset, between the embedding and its readers, and has the feed-forward
 * another? NULL, or why not. */
static const char *is_plain(const pare_model *out, const pare_tensor *norm)
{
    static const char *const others[] = {"token_embd_norm.weight", "position_embd.weight", "token_types.weight",
                                         "blk.0.attn_norm.bias"};
    const pare_tensor *t = pare_model_find(out, "token_embd.weight");
    if (out->arch == NULL || t == NULL || norm == NULL || norm->row_len != t->row_len || norm->n_rows != 1)
        return "this architecture has no such norm behind the embedding";
    if (out->arch->wiring.norm != PARE_NORM_RMS)
        return "it is no RMS norm";
    if (out->hp.n_stream > 0)
        return "the residual stream is several";
    if (norm->type != PARE_TYPE_F32)
        return "they are not stored as F32";
    if (pare_model_find(out, "blk.0.ffn_norm.weight") == NULL)
        return "the feed-forward may read them, too";
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (pare_model_find(out, others[i]) != NULL)
            return "something else than the norm lies between the embedding and q, k and v";
    return pare_derive_is_stored(t) ? NULL : "the embedding is not encoded with feedback";
}

/* The new gains, and by how much they moved. */
static pare_status deliver(const fit *f, pare_model *out, const pare_tensor *norm, pare_plan *plan, pare_error *err)
{
    double moved = 0, whole = 0;
    uint8_t *to = pare_arena_alloc(&out->arena, f->n * sizeof(float), err);
    if (to == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < f->n; i++) {
        float gain = (float)((double)f->gain[i] * f->d[i]);
        double change = (double)gain - (double)f->gain[i];
        pare_store_f32le(to + 4 * i, gain);
        moved += change * change;
        whole += (double)f->gain[i] * (double)f->gain[i];
    }
    pare_derive_restore(norm, to);
    for (size_t i = 0; i < plan->n; i++)
        if (strcmp(plan->rows[i].name, norm->name) == 0)
            plan->rows[i].error = whole > 0 ? moved / whole : 0;
    return PARE_OK;
}

static void lay_out(fit *f, double *memory)
{
    size_t n = f->n, square = n * n;
    f->vv = memory;
    f->vw = f->vv + square;
    f->yy = f->vw + square;
    f->yx = f->yy + square;
    f->own = f->yx + square;
    f->old = f->own + PANEL * n;
    f->d = f->old + PANEL * n;
    f->r = f->d + n;
    f->p = f->r + n;
    f->s = f->p + n;
    f->z = f->s + n;
    f->gain = (float *)(f->z + n);
    f->row = f->gain + n;
    memset(memory, 0, 4 * square * sizeof *memory);
}

pare_status pare_refit(pare_model *out, pare_plan *plan, const char **why, pare_error *err)
{
    const pare_tensor *norm = pare_model_find(out, "blk.0.attn_norm.weight");
    size_t count = 0, bytes = 0;
    double *memory = NULL;
    if ((*why = is_plain(out, norm)) != NULL)
        return PARE_OK;
    fit f = {.table = pare_model_find(out, "token_embd.weight"), .n = (size_t)norm->row_len};
    const double scale = out->hp.embd_scale != 0 ? (double)out->hp.embd_scale : 1;
    f.source = f.table->base;
    f.eps = (double)out->hp.norm_eps / (scale * scale);
    if ((*why = find_readers(&f, out)) != NULL)
        return PARE_OK;
    if (pare_mul_size(f.n, 4 * f.n + 2 * PANEL + 6, &count) && pare_mul_size(count, sizeof *memory, &bytes))
        memory = pare_scratch_alloc(bytes);
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for products of %zu columns", norm->name, f.n);
    lay_out(&f, memory);
    pare_status st = pare_tensor_read_f32(norm, 0, 1, f.gain, err);
    if (st == PARE_OK)
        st = collect(&f, err);
    if (st == PARE_OK)
        st = find_factors(&f, err);
    if (st == PARE_OK)
        st = deliver(&f, out, norm, plan, err);
    pare_scratch_free(memory, bytes);
    return st;
}
