#include "gpu/statistics.h"

#include "gpu/matmul.h"
#include "gpu/weights.h"

#include <float.h>
#include <math.h>

/* The logits of a tile of the vocabulary for a chunk of the positions are held at once: of all positions where the tile
 * is then no narrower than TILE_TOKENS, because each chunk decodes the output matrix again. */
enum : uint64_t {
    MIB = 1 << 20,
    TILE_BYTES = 256 * MIB, /* of logits of one side, at most; and no more than a SHARE-th of the memory */
    SHARE = 32,
    TILE_TOKENS = 16384,
    MIN_CHUNK = 256, /* positions, where memory is scarce */
    STEP = 256,      /* a tile is a multiple of so many tokens, but for the last one */
    ROW_FLOATS = 8   /* and its rows start at multiples of so many */
};
enum { THREADS = 256, N_WARPS = THREADS / PARE_WARP, QUAD = 4 };

/* What is known of one distribution at a position after some tiles. */
typedef struct running {
    double sum;   /* of e^(x - max) */
    double cross; /* of e^(x - max) (x - y), y the logits of the other side */
    float max, target, bad_logit;
    int32_t top, bad; /* bad -1: all logits were finite */
} running;

/* What a tile's logits are read from: rows of `ld` floats, and what is still to be done to them. */
typedef struct shaping {
    const float *logits, *bias; /* bias: [n_vocab] or NULL */
    float scale, softcap;
} shaping;

/* side[0]: the model; side[1]: the reference. */
typedef struct tile {
    shaping side[2];
    const int32_t *targets; /* [positions] of the chunk */
    running *state;         /* [positions, sides] of the chunk */
    uint64_t first;         /* token of the vocabulary */
    uint32_t n, ld;         /* tokens; floats from a row to the next */
} tile;

/* What the warps of a block tell each other. */
typedef struct partials {
    double sum[4][N_WARPS];
    uint64_t peak[2][N_WARPS];
    uint32_t bad[2][N_WARPS];
} partials;

/* e^x for x <= 0, as pare_exp_f64 (core/vector_math.h) with fused products: where doubles are slow this is what scoring
 * costs. Relative error below 3e-16; x below -708 is moved there. NaN stays NaN. */
static __device__ __forceinline__ double exp_negative(double x)
{
    x = x < -708.0 ? -708.0 : x;
    double shifted = fma(x, 1.4426950408889634074, 0x1.8p52), n = shifted - 0x1.8p52;
    double r = fma(-n, 0x1.a39ef35793c76p-33, fma(-n, 0x1.62e42feep-1, x));
    double p = 1.0 / 6227020800;
    p = fma(p, r, 1.0 / 479001600);
    p = fma(p, r, 1.0 / 39916800);
    p = fma(p, r, 1.0 / 3628800);
    p = fma(p, r, 1.0 / 362880);
    p = fma(p, r, 1.0 / 40320);
    p = fma(p, r, 1.0 / 5040);
    p = fma(p, r, 1.0 / 720);
    p = fma(p, r, 1.0 / 120);
    p = fma(p, r, 1.0 / 24);
    p = fma(p, r, 1.0 / 6);
    p = fma(p, r, 0.5);
    double tail = fma(r * r, p, r), two_n;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023u) << 52;
    memcpy(&two_n, &bits, sizeof two_n);
    return (1.0 + tail) * two_n;
}

static __device__ __forceinline__ float shape(const shaping *s, float x, uint64_t token)
{
    x = s->bias != NULL ? x + s->bias[token] : x;
    x *= s->scale;
    return s->softcap != 0 ? s->softcap * tanhf(x / s->softcap) : x;
}

/* Tokens [at, at + QUAD) of the tile in row `row`; what is behind the tile's end is there, and means nothing. */
static __device__ __forceinline__ void read_quad(const tile *t, int side, uint64_t row, uint32_t at, float x[QUAD])
{
    const shaping *s = &t->side[side];
    float4 q = *(const float4 *)(s->logits + row * t->ld + at);
    x[0] = q.x, x[1] = q.y, x[2] = q.z, x[3] = q.w;
    for (int i = 0; i < QUAD; i++)
        if (at + i < t->n)
            x[i] = shape(s, x[i], t->first + at + i);
}

/* A logit and its token as one number: the largest one belongs to the largest logit, of equals the first. */
static __device__ __forceinline__ uint64_t peak_key(float x, uint32_t at)
{
    uint32_t bits = __float_as_uint(x + 0.0f); /* -0 becomes 0 */
    bits = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (0xffffffffu - at);
}

static __device__ __forceinline__ float peak_logit(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    return __uint_as_float((bits >> 31) != 0 ? bits & 0x7fffffffu : ~bits);
}

static __device__ __forceinline__ uint32_t peak_token(uint64_t key)
{
    return 0xffffffffu - (uint32_t)key;
}

/* The warp's largest finite logit of a row, and the first one that is not finite, into the block's partials. */
static __device__ void find_peak(const tile *t, int side, uint64_t row, partials *out)
{
    float max = -INFINITY;
    uint32_t at_max = 0, bad = UINT32_MAX;
    for (uint32_t at = threadIdx.x * QUAD; at < t->n; at += THREADS * QUAD) {
        float x[QUAD];
        read_quad(t, side, row, at, x);
        for (int i = 0; i < QUAD; i++)
            if (at + i < t->n) {
                if (!(fabsf(x[i]) <= FLT_MAX))
                    bad = at + i < bad ? at + i : bad;
                else if (x[i] > max)
                    max = x[i], at_max = at + i;
            }
    }
    uint64_t key = peak_key(max, at_max);
    for (int lanes = PARE_WARP / 2; lanes > 0; lanes /= 2) {
        uint64_t other = __shfl_xor_sync(0xffffffffu, key, lanes);
        uint32_t other_bad = __shfl_xor_sync(0xffffffffu, bad, lanes);
        key = other > key ? other : key;
        bad = other_bad < bad ? other_bad : bad;
    }
    if (threadIdx.x % PARE_WARP == 0) {
        out->peak[side][threadIdx.x / PARE_WARP] = key;
        out->bad[side][threadIdx.x / PARE_WARP] = bad;
    }
}

/* s with the tile's peak: the same in every thread. The first logit that is not finite stays. */
static __device__ void take_peak(const tile *t, int side, uint64_t row, const partials *p, running *s)
{
    uint64_t key = p->peak[side][0];
    uint32_t bad = p->bad[side][0];
    for (int w = 1; w < N_WARPS; w++) {
        key = p->peak[side][w] > key ? p->peak[side][w] : key;
        bad = p->bad[side][w] < bad ? p->bad[side][w] : bad;
    }
    if (bad != UINT32_MAX && s->bad < 0) {
        s->bad = (int32_t)(t->first + bad);
        s->bad_logit = shape(&t->side[side], t->side[side].logits[row * t->ld + bad], t->first + bad);
    }
    if (peak_logit(key) > s->max) {
        s->max = peak_logit(key);
        s->top = (int32_t)(t->first + peak_token(key));
    }
}

/* This thread's part of the tile's sums: of e^(x - max), times x - y with a pair; then of the other side. */
template <bool pair>
static __device__ void add_up(const tile *t, uint64_t row, double x_max, double y_max, double sum[4])
{
    for (uint32_t at = threadIdx.x * QUAD; at < t->n; at += THREADS * QUAD) {
        float x[QUAD], y[QUAD];
        read_quad(t, 0, row, at, x);
        if (pair)
            read_quad(t, 1, row, at, y);
        for (int i = 0; i < QUAD; i++)
            if (at + i < t->n) {
                double e = exp_negative((double)x[i] - x_max);
                sum[0] += e;
                if (!pair)
                    continue;
                double f = exp_negative((double)y[i] - y_max), difference = (double)x[i] - (double)y[i];
                sum[1] = fma(e, difference, sum[1]);
                sum[2] += f;
                sum[3] = fma(-f, difference, sum[3]);
            }
    }
}

/* The sums of a block's threads in the block's first thread: lanes by halves, then warps in turn. */
template <int n> static __device__ void add_threads(partials *p, double sum[4])
{
    for (int k = 0; k < n; k++) {
        for (int lanes = PARE_WARP / 2; lanes > 0; lanes /= 2)
            sum[k] += __shfl_xor_sync(0xffffffffu, sum[k], lanes);
        if (threadIdx.x % PARE_WARP == 0)
            p->sum[k][threadIdx.x / PARE_WARP] = sum[k];
    }
    __syncthreads();
    for (int k = 0; k < n && threadIdx.x == 0; k++) {
        sum[k] = p->sum[k][0];
        for (int w = 1; w < N_WARPS; w++)
            sum[k] += p->sum[k][w];
    }
}

/* One tile into the running statistics; a block a position. */
template <bool pair> static __global__ void __launch_bounds__(THREADS) tile_kernel(tile t)
{
    enum { SIDES = pair ? 2 : 1 };
    PARE_SHARED(partials, p);
    uint64_t row = blockIdx.x;
    running before[SIDES], s[SIDES];
    for (int k = 0; k < SIDES; k++) {
        const running none = {0, 0, -INFINITY, 0, 0, -1, -1};
        s[k] = before[k] = t.first == 0 ? none : t.state[row * SIDES + k];
        find_peak(&t, k, row, p);
    }
    __syncthreads(); /* behind it the state may be written, too */
    bool finite = true;
    for (int k = 0; k < SIDES; k++) {
        take_peak(&t, k, row, p, &s[k]);
        finite = finite && s[k].bad < 0;
    }
    double sum[4] = {0, 0, 0, 0};
    if (finite) { /* in all threads or in none */
        add_up<pair>(&t, row, s[0].max, s[SIDES - 1].max, sum);
        add_threads<pair ? 4 : 1>(p, sum);
    }
    if (threadIdx.x != 0)
        return;
    int64_t target = t.targets[row] - (int64_t)t.first;
    for (int k = 0; k < SIDES; k++) {
        double shrink = exp_negative((double)before[k].max - (double)s[k].max);
        s[k].sum = fma(before[k].sum, shrink, sum[2 * k]);
        s[k].cross = fma(before[k].cross, shrink, sum[2 * k + 1]);
        if (target >= 0 && target < t.n)
            s[k].target = shape(&t.side[k], t.side[k].logits[row * t.ld + target], (uint64_t)t.targets[row]);
        t.state[row * SIDES + k] = s[k];
    }
}

/* -ln of the target's probability, and lse; where a logit was not finite: that logit. */
static __device__ double log_likelihood(const running *s, double *lse)
{
    *lse = (double)s->max + log(s->sum);
    return s->bad < 0 ? *lse - (double)s->target : (double)s->bad_logit;
}

static __global__ void finish_kernel(const running *state, bool pair, uint64_t n, pare_position_score *out)
{
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    const running *s = state + i * (pair ? 2 : 1);
    double lse, ref_lse;
    pare_position_score score = {};
    score.nll = log_likelihood(s, &lse);
    score.top = s->top;
    score.bad = s->bad;
    score.ref_bad = -1;
    if (pair) {
        score.ref_nll = log_likelihood(s + 1, &ref_lse);
        score.ref_top = s[1].top;
        score.ref_bad = s[1].bad;
        score.kld = s[1].cross / s[1].sum - (ref_lse - lse);
        score.kld_reverse = s->cross / s->sum - (lse - ref_lse);
    }
    out[i] = score;
}

/* ---- host ---- */

typedef struct scoring {
    pare_gpu *g;
    const pare_score_side *models, *reference;
    size_t n_models;
    uint32_t n;       /* positions */
    uint32_t n_sides; /* of a state */
    uint64_t n_vocab, tile_tokens, ld;
    uint32_t chunk;              /* positions at once */
    int32_t *targets;            /* [n] */
    running *state;              /* [n_models, n, n_sides] */
    pare_position_score *scores; /* [n_models, n] */
    float *logits, *reference_logits;
} scoring;

static uint64_t in_pieces(uint64_t n, uint64_t most)
{
    uint64_t n_pieces = (n + most - 1) / most;
    return (n + n_pieces - 1) / n_pieces;
}

/* Tiles and chunks of about the same size. */
static void cut(scoring *s)
{
    uint64_t bytes = s->g->max_bytes / SHARE < TILE_BYTES ? s->g->max_bytes / SHARE : TILE_BYTES;
    uint64_t floats = bytes / sizeof(float),
             least = floats / MIN_CHUNK < TILE_TOKENS ? floats / MIN_CHUNK : TILE_TOKENS;
    uint64_t most = floats / s->n > least ? floats / s->n : least;
    most = most < STEP ? STEP : most / STEP * STEP;
    s->tile_tokens = (in_pieces(s->n_vocab, most) + STEP - 1) / STEP * STEP;
    s->tile_tokens = s->tile_tokens < s->n_vocab ? s->tile_tokens : s->n_vocab;
    s->ld = (s->tile_tokens + ROW_FLOATS - 1) / ROW_FLOATS * ROW_FLOATS;
    uint64_t chunk = floats / s->ld;
    s->chunk = (uint32_t)in_pieces(s->n, chunk > 0 ? chunk : 1);
}

static pare_status reserve(scoring *s, pare_error *err)
{
    uint64_t n_scores = s->n_models * s->n, tile_bytes = s->chunk * s->ld * sizeof(float);
    uint64_t state_bytes = n_scores * s->n_sides * sizeof(running), score_bytes = n_scores * sizeof *s->scores;
    uint8_t *at = (uint8_t *)pare_gpu_scratch_of(s->g, PARE_GPU_SCORES,
                                                 state_bytes + score_bytes + s->n * sizeof *s->targets, err);
    if (at == NULL || (s->logits = (float *)pare_gpu_scratch_of(s->g, PARE_GPU_LOGITS, tile_bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    s->state = (running *)at;
    s->scores = (pare_position_score *)(at + state_bytes);
    s->targets = (int32_t *)(at + state_bytes + score_bytes);
    if (s->reference == NULL)
        return PARE_OK;
    s->reference_logits = (float *)pare_gpu_scratch_of(s->g, PARE_GPU_LOGITS_REFERENCE, tile_bytes, err);
    return s->reference_logits != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

/* The products of one side for tokens [t->first, t->first + t->n) and positions [pos, pos + n) into `logits`. */
static pare_status make_logits(const scoring *s, const pare_score_side *side, const tile *t, uint32_t pos, uint32_t n,
                               float *logits, shaping *out, pare_error *err)
{
    *out = {logits, NULL, side->scale, side->softcap};
    pare_status st = PARE_OK;
    if (side->bias != NULL)
        st = pare_gpu_vector(s->g, side->bias, &out->bias, err);
    if (st != PARE_OK)
        return st;
    return pare_gpu_matmul(s->g, side->w, t->first, t->n, side->x + pos * side->w->row_len, n, logits, s->ld, false,
                           err);
}

/* A tile of all models for n positions from `pos` on. */
static pare_status score_tile(const scoring *s, tile *t, uint32_t pos, uint32_t n, pare_error *err)
{
    pare_status st = pare_gpu_calls->check_interrupt(err);
    t->targets = s->targets + pos;
    if (st == PARE_OK && s->reference != NULL)
        st = make_logits(s, s->reference, t, pos, n, s->reference_logits, &t->side[1], err);
    for (size_t k = 0; k < s->n_models && st == PARE_OK; k++) {
        st = make_logits(s, &s->models[k], t, pos, n, s->logits, &t->side[0], err);
        if (st != PARE_OK)
            return st;
        t->state = s->state + (k * s->n + pos) * s->n_sides;
        if (s->reference != NULL)
            PARE_LAUNCH(tile_kernel<true>, n, THREADS, sizeof(partials), s->g->stream, *t);
        else
            PARE_LAUNCH(tile_kernel<false>, n, THREADS, sizeof(partials), s->g->stream, *t);
        st = pare_gpu_launched(s->g, "statistics of logits", err);
    }
    return st;
}

/* Tokens of the tile that starts at `first`: no more of a streamed output matrix than what comes in one piece. */
static uint32_t next_tile(const scoring *s, uint64_t first)
{
    uint64_t n = s->n_vocab - first < s->tile_tokens ? s->n_vocab - first : s->tile_tokens;
    if (s->reference != NULL)
        n = pare_gpu_weight_piece(s->g, s->reference->w, first, n);
    for (size_t k = 0; k < s->n_models; k++)
        n = pare_gpu_weight_piece(s->g, s->models[k].w, first, n);
    return (uint32_t)n;
}

static pare_status finish(const scoring *s, pare_position_score *out, pare_error *err)
{
    uint64_t n = s->n_models * s->n;
    PARE_LAUNCH(finish_kernel, (unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, s->g->stream, s->state,
                s->reference != NULL, n, s->scores);
    pare_status st = pare_gpu_launched(s->g, "scores of positions", err);
    return st == PARE_OK ? pare_gpu_download(s->g, out, s->scores, n * sizeof *out, err) : st;
}

/* All models tile by tile, so that the reference's logits are made once. */
static pare_status score_together(pare_gpu *g, const pare_score_side *models, size_t n_models,
                                  const pare_score_side *reference, const int32_t *targets, uint32_t n,
                                  pare_position_score *out, pare_error *err)
{
    scoring s = {};
    s.g = g;
    s.models = models;
    s.reference = reference;
    s.n_models = n_models;
    s.n = n;
    s.n_sides = reference != NULL ? 2 : 1;
    s.n_vocab = models[0].w->n_rows;
    cut(&s);
    pare_status st = reserve(&s, err);
    if (st == PARE_OK)
        st = pare_gpu_upload(g, s.targets, targets, n * sizeof *targets, err);
    tile t = {};
    t.ld = (uint32_t)s.ld;
    for (; t.first < s.n_vocab && st == PARE_OK; t.first += t.n) {
        t.n = next_tile(&s, t.first);
        for (uint32_t pos = 0; pos < n && st == PARE_OK; pos += s.chunk)
            st = score_tile(&s, &t, pos, n - pos < s.chunk ? n - pos : s.chunk, err);
    }
    return st == PARE_OK ? finish(&s, out, err) : st;
}

pare_status pare_gpu_score(pare_gpu *g, const pare_score_side *models, size_t n_models,
                           const pare_score_side *reference, const int32_t *targets, uint32_t n,
                           pare_position_score *out, pare_error *err)
{
    size_t together = n_models;
    pare_status st = PARE_OK;
    if (n == 0)
        return PARE_OK;
    /* Of output matrices that are streamed, the ring has room for two at a time. */
    for (size_t k = 0; k < n_models && together > 1; k++)
        if (!pare_gpu_weight_stays(g, models[k].w) || (reference != NULL && !pare_gpu_weight_stays(g, reference->w)))
            together = 1;
    for (size_t k = 0; k < n_models && st == PARE_OK; k += together)
        st = score_together(g, models + k, together, reference, targets, n, out + k * n, err);
    return st;
}
