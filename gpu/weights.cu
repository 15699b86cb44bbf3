#include "gpu/weights.h"

#include "gpu/decode.h"
#include "gpu/feeder.h"

#include <stdlib.h>

enum : uint64_t {
    KIB = 1 << 10,
    MIB = 1 << 20,
    ALIGNMENT = 256,         /* of pieces in the ring */
    SLICE_LEAST = 64 * KIB,  /* pinned buffers: */
    SLICE_MOST = 4 * MIB,    /* large enough for the bus, small enough that readers share a piece */
    SMALL = 256 * KIB,       /* tensors up to this stay, whatever the others do */
    LARGE = 512 * MIB,       /* of a tensor, what the ring's size reckons with at most */
    RESERVE_PART = 64,       /* 1 / 64 of the budget is left to what others will allocate */
    SLICES_IN_BUDGET = 1024, /* of the smallest slice that the budget holds */
    N_BUCKETS = 1024
};

/* Rows of a tensor on the device: all of them in memory of their own, or some of them in the ring. */
typedef struct piece {
    pare_gpu_delivery d;
    struct entry *e;
    uint64_t offset, bytes; /* in the ring, a multiple of ALIGNMENT; resident: of the tensor */
    bool resident;
    bool arrived;         /* the main stream has been told to wait for it */
    bool used;            /* `last_use` is recorded */
    cudaEvent_t last_use; /* in the main stream, behind the kernels that read it */
    struct piece *next;
} piece;

typedef enum place : int { UNDECIDED, RESIDENT, STREAMED } place;

typedef struct entry {
    const pare_tensor *t;
    unsigned holds;
    bool planned; /* its bytes are among those that wait for a decision */
    place where;
    piece *resident;
    float *floats; /* of a vector */
    uint64_t float_bytes;
    uint64_t generation; /* of the last list that expects it */
    uint64_t n_asked;    /* pieces of it that were asked for since then */
    bool ahead;          /* fetch its pieces ahead: all but experts of which few were asked for the last time */
    struct entry *next;
} entry;

struct pare_gpu_weights {
    entry *bucket[N_BUCKETS];
    pare_gpu_feeder *feeder;
    piece *spare;    /* with events, without rows */
    piece *resident; /* the last one first */
    piece *current;  /* that the last pointer given out points into */
    uint64_t all_bytes, resident_bytes, streamed_bytes;
    uint64_t undecided_bytes; /* of planned tensors that have no place yet */
    double credit;            /* bytes that may stay, of those decided so far */
    uint64_t generation;      /* lists expected so far */
    struct {
        char *p;
        uint64_t bytes, head, wanted; /* wanted: when it was made */
        piece *pieces;
    } ring;
    uint64_t widest, largest; /* bytes of a list, and of a tensor in it, for which the ring is made */
    uint64_t widest_list;     /* the same of a list before it is decided what stays */
    entry **pending;          /* [n_pending] expected, in their order, not fetched yet */
    size_t n_pending, cap_pending;
    uint64_t pending_row; /* of the first of them */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- entries ---- */

static entry **bucket_of(pare_gpu *g, const pare_tensor *t)
{
    return &g->weights->bucket[(uintptr_t)t / sizeof *t * 0x9e3779b97f4a7c15u >> 54];
}

static entry *entry_of(pare_gpu *g, const pare_tensor *t, pare_error *err)
{
    entry **at = bucket_of(g, t);
    for (entry *e = *at; e != NULL; e = e->next)
        if (e->t == t)
            return e;
    entry *e = (entry *)calloc(1, sizeof *e);
    if (e == NULL) {
        pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
        return NULL;
    }
    e->t = t;
    e->ahead = pare_gpu_calls->tensor_matrices(t) < 2;
    e->next = *at;
    *at = e;
    g->weights->all_bytes += t->n_bytes;
    return e;
}

/* ---- pieces ---- */

static piece *new_piece(pare_gpu *g, entry *e, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    piece *p = w->spare;
    if (p != NULL)
        w->spare = p->next;
    else if ((p = (piece *)calloc(1, sizeof *p)) == NULL) {
        pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
        return NULL;
    }
    cudaError_t code = cudaSuccess;
    if (p->d.ready == NULL)
        code = cudaEventCreateWithFlags(&p->d.ready, cudaEventDisableTiming);
    if (code == cudaSuccess && p->last_use == NULL)
        code = cudaEventCreateWithFlags(&p->last_use, cudaEventDisableTiming);
    p->e = e;
    p->d.t = e->t;
    p->arrived = p->used = false;
    if (pare_gpu_check(g, code, "events of weights", err) == PARE_OK)
        return p;
    p->next = w->spare;
    w->spare = p;
    return NULL;
}

static void unlink_piece(piece **list, piece *p)
{
    while (*list != p)
        list = &(*list)->next;
    *list = p->next;
}

static void retire(struct pare_gpu_weights *w, piece *p)
{
    if (w->current == p)
        w->current = NULL;
    p->next = w->spare;
    w->spare = p;
}

/* Take p out of the ring. What is copied to its place comes behind the kernels that read it. */
static pare_status evict(pare_gpu *g, piece *p, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    pare_gpu_feeder_withdraw(w->feeder, &p->d);
    unlink_piece(&w->ring.pieces, p);
    cudaError_t code = p->used ? pare_gpu_feeder_behind(w->feeder, p->last_use) : cudaSuccess;
    retire(w, p);
    return pare_gpu_check(g, code, "order of copies", err);
}

/* Wait for both streams: then memory may be given to somebody else. */
static void settle_streams(pare_gpu *g)
{
    cudaStreamSynchronize(g->stream);
    pare_gpu_feeder_drain(g->weights->feeder);
}

/* p is not wanted on the device any more; the streams are settled behind its withdrawal. */
static void free_resident(pare_gpu *g, piece *p)
{
    struct pare_gpu_weights *w = g->weights;
    unlink_piece(&w->resident, p);
    pare_gpu_free(g, p->d.dst, p->bytes);
    w->resident_bytes -= p->bytes;
    p->e->resident = NULL;
    p->e->where = STREAMED;
    retire(w, p);
}

/* ---- the ring ---- */

/* What the ring's size reckons with: experts are wanted all together, of a large tensor a part at a time. */
static uint64_t reckoned(const pare_tensor *t)
{
    return pare_gpu_calls->tensor_matrices(t) > 1 ? t->n_bytes : least(t->n_bytes, LARGE);
}

static void drop_ring(pare_gpu *g)
{
    struct pare_gpu_weights *w = g->weights;
    while (w->ring.pieces != NULL)
        evict(g, w->ring.pieces, NULL);
    settle_streams(g);
    pare_gpu_free(g, w->ring.p, w->ring.bytes);
    memset(&w->ring, 0, sizeof w->ring);
}

void pare_gpu_weights_give_back(pare_gpu *g, uint64_t bytes)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t n = 0;
    piece *end = w->resident, *next;
    for (; end != NULL && n < bytes; end = end->next)
        if (end != w->current) {
            pare_gpu_feeder_withdraw(w->feeder, &end->d);
            n += end->bytes;
        }
    if (n > 0)
        settle_streams(g);
    for (piece *p = w->resident; p != end; p = next) {
        next = p->next;
        if (p != w->current)
            free_resident(g, p);
    }
    if (n < bytes && w->ring.p != NULL && (w->current == NULL || w->current->resident))
        drop_ring(g); /* the next one is smaller */
}

/* A ring for two of the lists that are expected, so that one is filled while the other is used, and for a further piece
 * that the wrap may leave empty. It takes three quarters of the memory that weights have at most, and at least two rows
 * of e. */
static pare_status make_ring(pare_gpu *g, const entry *e, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t single = reckoned(e->t), two_rows = 2 * (e->t->row_bytes + ALIGNMENT);
    uint64_t want = 2 * w->widest + w->largest, bytes;
    want = want < 2 * single + ALIGNMENT ? 2 * single + ALIGNMENT : want;
    if (w->ring.wanted >= want)
        return PARE_OK;
    uint64_t most = (pare_gpu_room(g) + w->resident_bytes + w->ring.bytes) / 4 * 3;
    bytes = least(want, most < two_rows ? two_rows : most) / ALIGNMENT * ALIGNMENT;
    if (bytes <= w->ring.bytes) {
        w->ring.wanted = want;
        return PARE_OK;
    }
    drop_ring(g);
    for (;; bytes = bytes / 2 < two_rows ? two_rows : bytes / 2 / ALIGNMENT * ALIGNMENT) {
        if ((w->ring.p = (char *)pare_gpu_alloc(g, bytes, "weights that are streamed", err)) != NULL)
            break;
        if (bytes <= two_rows)
            return PARE_ERR_MEMORY;
    }
    w->ring.bytes = bytes;
    w->ring.wanted = want;
    return PARE_OK;
}

/* Rows of the pieces that t passes through the ring in: an expert, or the whole tensor, where two of them fit. */
static uint64_t piece_rows(const struct pare_gpu_weights *w, const pare_tensor *t)
{
    uint64_t n = t->n_rows / pare_gpu_calls->tensor_matrices(t), most = (w->ring.bytes / 2 - ALIGNMENT) / t->row_bytes;
    if (n <= most)
        return n;
    uint64_t quarter = w->ring.bytes / 4 / t->row_bytes;
    return quarter > 0 ? quarter : 1;
}

/* Is p of a list that is being used, or will be? The newest list is expected, the one before it in use. */
static bool wanted(const struct pare_gpu_weights *w, const piece *p)
{
    return p == w->current || p->e->generation + 1 >= w->generation;
}

/* A place in the ring behind the last one. pressed: even where something wanted stands. False: there is none. */
static bool find_place(pare_gpu *g, uint64_t bytes, bool pressed, uint64_t *offset, pare_status *st, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t from = bytes > w->ring.bytes - w->ring.head ? 0 : w->ring.head;
    piece *next;
    *st = PARE_OK;
    if (bytes > w->ring.bytes)
        return false;
    for (piece *p = w->ring.pieces; p != NULL && !pressed; p = p->next)
        if (p->offset < from + bytes && from < p->offset + p->bytes && wanted(w, p))
            return false;
    for (piece *p = w->ring.pieces; p != NULL && *st == PARE_OK; p = next) {
        next = p->next;
        if (p->offset < from + bytes && from < p->offset + p->bytes)
            *st = evict(g, p, err);
    }
    *offset = from;
    w->ring.head = from + bytes;
    return *st == PARE_OK;
}

/* Rows of e on their way into the ring; *out NULL: no place for them, or an error. */
static pare_status fetch(pare_gpu *g, entry *e, uint64_t row, uint64_t n_rows, bool pressed, piece **out,
                         pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t bytes = n_rows * e->t->row_bytes, rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, offset;
    pare_status st;
    *out = NULL;
    if (!find_place(g, rounded, pressed, &offset, &st, err))
        return st;
    piece *p = new_piece(g, e, err);
    if (p == NULL)
        return PARE_ERR_MEMORY;
    p->resident = false;
    p->offset = offset;
    p->bytes = rounded;
    p->d.row = row;
    p->d.n_rows = n_rows;
    p->d.dst = w->ring.p + offset;
    p->d.release = false; /* read again in the next pass */
    p->next = w->ring.pieces;
    w->ring.pieces = p;
    w->streamed_bytes += bytes;
    if ((st = pare_gpu_feeder_ask(w->feeder, &p->d, pressed, err)) == PARE_OK)
        *out = p;
    else
        evict(g, p, NULL);
    return st;
}

/* ---- what stays ---- */

/* Which tensors stay, when not all of them do: a part of all bytes, spread evenly over the order of their first need,
 * so that copies of the others have the whole pass to hide behind. f T + ring = room, where a ring takes two lists of
 * which f stays: 2 (1 - f) L. */
static void decide(pare_gpu *g, entry *e)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t bytes = e->t->n_bytes, all = e->planned ? w->undecided_bytes : w->undecided_bytes + bytes;
    uint64_t spare = pare_gpu_room(g), reserve = g->max_bytes / RESERVE_PART;
    double room = spare > reserve ? (double)(spare - reserve) : 0, part = 1;
    if (e->planned) {
        w->undecided_bytes -= bytes;
        e->planned = false;
    }
    if ((double)all > room) {
        double ring = w->ring.p == NULL ? 2 * (double)w->widest_list : 0;
        part = (room - ring) / ((double)all - ring);
        part = room <= ring || (double)all <= ring ? 0 : part;
    }
    w->credit += part * (double)bytes;
    e->where = part >= 1 || bytes <= SMALL || w->credit >= (double)bytes ? RESIDENT : STREAMED;
    if (e->where == RESIDENT)
        w->credit = part >= 1 ? 0 : w->credit - (double)bytes;
}

/* Copy all of e to memory of its own, if there is room; else it is streamed. */
static pare_status make_resident(pare_gpu *g, entry *e, bool urgent, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t reserve = g->max_bytes / RESERVE_PART;
    char *dst = pare_gpu_room(g) >= e->t->n_bytes + reserve ? (char *)pare_gpu_alloc_spare(g, e->t->n_bytes) : NULL;
    if (dst == NULL) {
        e->where = STREAMED;
        return PARE_OK;
    }
    piece *p = new_piece(g, e, err);
    if (p == NULL) {
        pare_gpu_free(g, dst, e->t->n_bytes);
        return PARE_ERR_MEMORY;
    }
    p->resident = true;
    p->bytes = e->t->n_bytes;
    p->d.row = 0;
    p->d.n_rows = e->t->n_rows;
    p->d.dst = dst;
    p->d.release = true;
    p->next = w->resident;
    w->resident = p;
    w->resident_bytes += p->bytes;
    e->resident = p;
    pare_status st = pare_gpu_feeder_ask(w->feeder, &p->d, urgent, err);
    if (st != PARE_OK)
        free_resident(g, p);
    return st;
}

static pare_status place_entry(pare_gpu *g, entry *e, bool urgent, pare_error *err)
{
    if (e->where == UNDECIDED)
        decide(g, e);
    return e->where == RESIDENT && e->resident == NULL ? make_resident(g, e, urgent, err) : PARE_OK;
}

/* The pointer that was given out last is not valid any more. */
static pare_status end_use(pare_gpu *g, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    piece *p = w->current;
    w->current = NULL;
    if (p == NULL || p->resident)
        return PARE_OK;
    p->used = true;
    return pare_gpu_check(g, cudaEventRecord(p->last_use, g->stream), "order of copies", err);
}

/* ---- fetching ahead ---- */

static piece *find_piece(const struct pare_gpu_weights *w, const entry *e, uint64_t row, uint64_t n_rows)
{
    if (e->resident != NULL)
        return e->resident;
    for (piece *p = w->ring.pieces; p != NULL; p = p->next)
        if (p->e == e && p->d.row <= row && row + n_rows <= p->d.row + p->d.n_rows)
            return p;
    return NULL;
}

/* Fetch of the first pending tensor what the ring has place for; *all: it is done with. */
static pare_status fetch_pending(pare_gpu *g, bool *all, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    entry *e = w->pending[0];
    uint64_t rows = e->where == STREAMED && e->ahead ? piece_rows(w, e->t) : e->t->n_rows;
    *all = e->where != STREAMED || !e->ahead || e->generation + 1 < w->generation;
    while (!*all) {
        uint64_t n = least(rows - w->pending_row % rows, e->t->n_rows - w->pending_row);
        if (find_piece(w, e, w->pending_row, n) == NULL) {
            piece *p;
            pare_status st = fetch(g, e, w->pending_row, n, false, &p, err);
            if (st != PARE_OK || p == NULL)
                return st;
        }
        w->pending_row += n;
        *all = w->pending_row == e->t->n_rows;
    }
    return PARE_OK;
}

static pare_status fetch_ahead(pare_gpu *g, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    pare_status st = PARE_OK;
    bool all = true;
    while (w->n_pending > 0 && w->ring.p != NULL && all && st == PARE_OK)
        if ((st = fetch_pending(g, &all, err)) == PARE_OK && all) {
            memmove(w->pending, w->pending + 1, --w->n_pending * sizeof *w->pending);
            w->pending_row = 0;
        }
    return st;
}

static pare_status add_pending(struct pare_gpu_weights *w, entry *e, pare_error *err)
{
    if (w->n_pending == w->cap_pending) {
        size_t cap = 2 * w->cap_pending + 16;
        entry **grown = (entry **)realloc(w->pending, cap * sizeof *grown);
        if (grown == NULL)
            return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
        w->pending = grown;
        w->cap_pending = cap;
    }
    w->pending[w->n_pending++] = e;
    return PARE_OK;
}

/* e is in the newest list. Of experts, those are fetched ahead of which half were asked for the last time. */
static void renew(struct pare_gpu_weights *w, entry *e)
{
    uint64_t matrices = pare_gpu_calls->tensor_matrices(e->t);
    if (matrices > 1 && e->generation > 0)
        e->ahead = 2 * e->n_asked >= matrices;
    e->n_asked = 0;
    e->generation = w->generation;
}

pare_status pare_gpu_weights_expect(pare_gpu *g, const pare_tensor *const *t, size_t n, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    uint64_t list = 0, streamed = 0, largest = 0;
    const entry *last = NULL;
    pare_status st = end_use(g, err);
    w->generation++;
    for (size_t i = 0; i < n; i++)
        list += reckoned(t[i]);
    w->widest_list = list > w->widest_list ? list : w->widest_list;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        entry *e = t[i]->n_bytes > 0 ? entry_of(g, t[i], err) : NULL;
        if (e == NULL && t[i]->n_bytes > 0)
            return PARE_ERR_MEMORY;
        if (e == NULL || e->generation == w->generation)
            continue;
        renew(w, e);
        if ((st = place_entry(g, e, false, err)) != PARE_OK || e->where != STREAMED)
            continue;
        uint64_t bytes = reckoned(e->t);
        streamed += bytes;
        largest = bytes > largest ? bytes : largest;
        last = e;
        st = add_pending(w, e, err);
    }
    w->widest = streamed > w->widest ? streamed : w->widest;
    w->largest = largest > w->largest ? largest : w->largest;
    if (st == PARE_OK && last != NULL && make_ring(g, last, NULL) == PARE_OK)
        st = fetch_ahead(g, err);
    return st;
}

/* ---- what others ask for ---- */

/* Rows of e, which nobody has fetched: by itself, or with the piece that they are a part of. */
static pare_status fetch_now(pare_gpu *g, entry *e, uint64_t row, uint64_t n_rows, piece **out, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    pare_status st = place_entry(g, e, true, err);
    *out = e->resident;
    if (st != PARE_OK || e->resident != NULL)
        return st;
    if ((st = make_ring(g, e, err)) != PARE_OK)
        return st;
    if (e->generation + 1 < w->generation)
        e->generation = w->generation - 1;
    uint64_t rows = piece_rows(w, e->t), first = row / rows * rows, most = least(rows, e->t->n_rows - first);
    bool apart = row + n_rows > first + most;
    st = apart ? fetch(g, e, row, n_rows, true, out, err) : fetch(g, e, first, most, true, out, err);
    if (st == PARE_OK && *out == NULL)
        st = pare_gpu_calls->fail(err, PARE_ERR_MEMORY,
                                  "device %d: tensor '%s': %.1f MiB of it are needed at once, and %.1f MiB of device "
                                  "memory are free to stream weights; a smaller --ctx or --batch, or a larger "
                                  "--device-memory, leaves more",
                                  g->device, e->t->name, (double)(n_rows * e->t->row_bytes) / (double)MIB,
                                  (double)w->ring.bytes / (double)MIB);
    return st;
}

/* Kernels that are launched from now on find p there. */
static pare_status arrive(pare_gpu *g, piece *p, pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    if (p->arrived)
        return PARE_OK;
    pare_status st = pare_gpu_feeder_wait(w->feeder, &p->d, err);
    if (st != PARE_OK && p->resident) {
        settle_streams(g);
        free_resident(g, p);
    } else if (st != PARE_OK)
        evict(g, p, NULL);
    if (st != PARE_OK)
        return st;
    p->arrived = true;
    p->e->n_asked++;
    return pare_gpu_check(g, cudaStreamWaitEvent(g->stream, p->d.ready, 0), "order of copies", err);
}

pare_status pare_gpu_weight(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows, const void **out,
                            pare_error *err)
{
    struct pare_gpu_weights *w = g->weights;
    *out = NULL;
    if (row > t->n_rows || n_rows > t->n_rows - row)
        return pare_gpu_calls->fail(err, PARE_ERR_RANGE, "tensor '%s': %llu rows from %llu on asked for, it has %llu",
                                    t->name, (unsigned long long)n_rows, (unsigned long long)row,
                                    (unsigned long long)t->n_rows);
    if (n_rows == 0 || t->row_bytes == 0)
        return PARE_OK;
    entry *e = entry_of(g, t, err);
    if (e == NULL)
        return PARE_ERR_MEMORY;
    piece *p = find_piece(w, e, row, n_rows);
    pare_status st = p == NULL || p != w->current ? end_use(g, err) : PARE_OK;
    if (st == PARE_OK && p == NULL)
        st = fetch_now(g, e, row, n_rows, &p, err);
    if (st == PARE_OK)
        st = arrive(g, p, err);
    if (st != PARE_OK)
        return st;
    w->current = p;
    *out = p->d.dst + (row - p->d.row) * t->row_bytes;
    return fetch_ahead(g, err);
}

void pare_gpu_weight_done(pare_gpu *g)
{
    end_use(g, NULL); /* an error of the device comes up again */
}

uint64_t pare_gpu_weight_piece(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    entry *e = t->n_bytes > 0 ? entry_of(g, t, NULL) : NULL;
    if (e == NULL || end_use(g, NULL) != PARE_OK || place_entry(g, e, true, NULL) != PARE_OK || e->resident != NULL ||
        make_ring(g, e, NULL) != PARE_OK) /* what is wrong will come up in pare_gpu_weight */
        return n_rows;
    uint64_t rows = piece_rows(g->weights, t);
    return least(n_rows, rows - row % rows);
}

bool pare_gpu_weight_stays(pare_gpu *g, const pare_tensor *t)
{
    struct pare_gpu_weights *w = g->weights;
    entry *e = entry_of(g, t, NULL);
    if (e == NULL || t->n_bytes == 0)
        return false;
    uint64_t all = e->planned ? w->undecided_bytes : w->undecided_bytes + t->n_bytes;
    if (e->where == UNDECIDED && all + g->max_bytes / RESERVE_PART <= pare_gpu_room(g))
        place_entry(g, e, true, NULL);
    if (e->where == UNDECIDED && e->planned) { /* the room is for others, unless it is a matrix too */
        w->undecided_bytes -= t->n_bytes;
        e->planned = false;
    }
    return e->resident != NULL;
}

pare_status pare_gpu_weight_gather(pare_gpu *g, const pare_tensor *t, const int32_t *ids, uint32_t n, const void **out,
                                   pare_error *err)
{
    uint64_t bytes = n * t->row_bytes;
    char *rows = (char *)malloc(bytes > 0 ? bytes : 1);
    if (rows == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %u rows", t->name, n);
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_gpu_calls->tensor_read(t, (uint64_t)ids[i], 1, rows + i * t->row_bytes, err);
    if (st == PARE_OK && (*out = pare_gpu_push(g, rows, bytes, err)) == NULL)
        st = PARE_ERR_DEVICE;
    free(rows);
    return st;
}

pare_status pare_gpu_vector(pare_gpu *g, const pare_tensor *t, const float **out, pare_error *err)
{
    entry *e = entry_of(g, t, err);
    uint64_t n = t->n_rows * t->row_len;
    const void *stored = NULL;
    if (e == NULL)
        return PARE_ERR_MEMORY;
    if (e->floats == NULL) {
        void *host = malloc(t->n_bytes > 0 ? t->n_bytes : 1);
        float *p = host != NULL ? (float *)pare_gpu_alloc(g, n * sizeof *p, t->name, err) : NULL;
        if (host == NULL)
            pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory to read it", t->name);
        pare_status st = p != NULL ? pare_gpu_calls->tensor_read(t, 0, t->n_rows, host, err) : PARE_ERR_MEMORY;
        if (st == PARE_OK && (stored = pare_gpu_push(g, host, t->n_bytes, err)) == NULL)
            st = PARE_ERR_DEVICE;
        free(host);
        if (st == PARE_OK)
            st = pare_gpu_decode(g, t->type, stored, n, p, false, err);
        if (st != PARE_OK) {
            pare_gpu_free(g, p, n * sizeof *p);
            return st;
        }
        e->floats = p;
        e->float_bytes = n * sizeof *p;
    }
    *out = e->floats;
    return PARE_OK;
}

/* ---- from opening to closing ---- */

pare_status pare_gpu_weights_hold(pare_gpu *g, const pare_tensor *const *t, size_t n, pare_error *err)
{
    for (size_t i = 0; i < n; i++) {
        entry *e = entry_of(g, t[i], err);
        if (e == NULL) {
            pare_gpu_weights_drop(g, t, i);
            return PARE_ERR_MEMORY;
        }
        if (e->where == UNDECIDED && !e->planned) {
            e->planned = true;
            g->weights->undecided_bytes += t[i]->n_bytes;
        }
        e->holds++;
    }
    return PARE_OK;
}

/* Forget e; the streams are settled, and nothing of it is under way. */
static void free_entry(pare_gpu *g, entry *e)
{
    struct pare_gpu_weights *w = g->weights;
    entry **at = bucket_of(g, e->t);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    for (size_t i = 0; i < w->n_pending; i++)
        if (w->pending[i] == e) {
            memmove(w->pending + i, w->pending + i + 1, (--w->n_pending - i) * sizeof *w->pending);
            w->pending_row = i == 0 ? 0 : w->pending_row;
            i--;
        }
    if (e->resident != NULL)
        free_resident(g, e->resident);
    pare_gpu_free(g, e->floats, e->float_bytes);
    w->undecided_bytes -= e->planned ? e->t->n_bytes : 0;
    w->all_bytes -= e->t->n_bytes;
    free(e);
}

void pare_gpu_weights_drop(pare_gpu *g, const pare_tensor *const *t, size_t n)
{
    struct pare_gpu_weights *w = g->weights;
    piece *next;
    size_t n_last = 0;
    for (size_t i = 0; i < n; i++) {
        entry *e = *bucket_of(g, t[i]);
        while (e != NULL && e->t != t[i])
            e = e->next;
        if (e == NULL || e->holds == 0 || --e->holds > 0)
            continue;
        n_last++;
        if (e->resident != NULL)
            pare_gpu_feeder_withdraw(w->feeder, &e->resident->d);
        for (piece *p = w->ring.pieces; p != NULL; p = next) {
            next = p->next;
            if (p->e == e)
                evict(g, p, NULL);
        }
    }
    if (n_last > 0)
        settle_streams(g);
    for (size_t i = 0; i < n && n_last > 0; i++)
        for (entry *e = *bucket_of(g, t[i]); e != NULL; e = e->next)
            if (e->t == t[i] && e->holds == 0) {
                free_entry(g, e);
                break;
            }
}

pare_status pare_gpu_weights_open(pare_gpu *g, pare_error *err)
{
    uint64_t slice = g->max_bytes / SLICES_IN_BUDGET;
    slice = slice < SLICE_LEAST ? SLICE_LEAST : least(slice, SLICE_MOST);
    g->weights = (struct pare_gpu_weights *)calloc(1, sizeof *g->weights);
    if (g->weights == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
    return pare_gpu_feeder_open(&g->weights->feeder, g, slice, err);
}

void pare_gpu_weights_close(pare_gpu *g)
{
    struct pare_gpu_weights *w = g->weights;
    if (w == NULL)
        return;
    pare_gpu_feeder_close(w->feeder); /* the main stream is done: pare_gpu_close waits for it */
    w->feeder = NULL;
    pare_gpu_free(g, w->ring.p, w->ring.bytes);
    for (piece *p = w->resident; p != NULL; p = p->next)
        pare_gpu_free(g, p->d.dst, p->bytes);
    piece *lists[] = {w->resident, w->ring.pieces, w->spare}, *next;
    for (piece *list : lists)
        for (piece *p = list; p != NULL; p = next) {
            next = p->next;
            if (p->d.ready != NULL)
                cudaEventDestroy(p->d.ready);
            if (p->last_use != NULL)
                cudaEventDestroy(p->last_use);
            free(p);
        }
    for (entry *e : w->bucket)
        for (entry *after; e != NULL; e = after) {
            after = e->next;
            pare_gpu_free(g, e->floats, e->float_bytes); /* e->t may be gone */
            free(e);
        }
    free(w->pending);
    free(w);
    g->weights = NULL;
}

void pare_gpu_weights_traffic(const pare_gpu *g, pare_gpu_traffic *out)
{
    const struct pare_gpu_weights *w = g->weights;
    pare_gpu_feeder_traffic t;
    pare_gpu_feeder_traffic_of(w->feeder, &t);
    out->all_bytes = w->all_bytes;
    out->resident_bytes = w->resident_bytes;
    out->streamed_bytes = w->streamed_bytes;
    out->stream_seconds = t.timed_bytes > 0 ? t.seconds * (double)w->streamed_bytes / (double)t.timed_bytes : 0;
}
