#include "core/pipeline.h"
#include "core/background.h"
#include "core/scratch.h"
#include "core/threads.h"

#include <pthread.h>
#include <stdlib.h>

/* Pieces between next and done. Enough for every thread to be ahead of a lane that waits for the disk. */
enum { MAX_PIECES = 1024 };

/* Pieces up to this size share buffers that are used again and again: memory fresh from the system is slow. */
enum { BUFFER_BYTES = 256 << 10 };

typedef struct slot {
    pare_piece piece;
    void *buffer;
    bool ready;
} slot;

/* Piece number n is in slot n % MAX_PIECES. All of this is guarded by lock, but for the piece and the buffer of a slot
 * between its next and its done, which belong to who makes it and then to who takes it. */
typedef struct run {
    const pare_pipeline *p;
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* for the threads that do everything */
    pthread_cond_t can_take; /* for those that only take */
    slot *slots;
    uint64_t n_started, n_done;
    struct {
        uint64_t n_taken;
        bool busy;
    } lanes[PARE_PIPELINE_LANES];
    size_t bytes;            /* of pieces between next and done */
    void *spare[MAX_PIECES]; /* [n_spare] buffers of BUFFER_BYTES */
    size_t n_spare;
    bool has_next; /* next_piece is described and not started */
    pare_piece next_piece;
    bool exhausted;       /* next has said so */
    uint64_t failed;      /* number of the first piece that failed; UINT64_MAX: none */
    pare_error first_err; /* its error */
} run;

static slot *slot_of(run *r, uint64_t number)
{
    return &r->slots[number % MAX_PIECES];
}

/* Of the piece's buffer. */
static size_t buffer_bytes(const pare_piece *piece)
{
    return piece->n_bytes > BUFFER_BYTES ? piece->n_bytes : BUFFER_BYTES;
}

static size_t cost_of(const pare_piece *piece)
{
    size_t n = buffer_bytes(piece);
    return n + piece->extra_bytes < n ? SIZE_MAX : n + piece->extra_bytes;
}

static void drop_buffer(run *r, slot *s)
{
    if (s->buffer != NULL && buffer_bytes(&s->piece) == BUFFER_BYTES)
        r->spare[r->n_spare++] = s->buffer;
    else if (s->buffer != NULL)
        pare_scratch_free(s->buffer, buffer_bytes(&s->piece));
    s->buffer = NULL;
}

static void fail(run *r, uint64_t number, pare_status st, const pare_error *err)
{
    if (number >= r->failed)
        return;
    r->failed = number;
    r->first_err = *err;
    r->first_err.status = st;
}

static bool can_take(run *r, size_t i)
{
    return !r->lanes[i].busy && r->lanes[i].n_taken < r->n_started && slot_of(r, r->lanes[i].n_taken)->ready;
}

/* The lane behind the first that can go on, or n_lanes. */
static size_t find_lane(run *r)
{
    size_t i = 1;
    while (i < r->p->n_lanes && !can_take(r, i))
        i++;
    return i;
}

/* A piece is ready, or a lane is free: the threads that only take sleep but for this. */
static void tell_takers(run *r)
{
    if (find_lane(r) < r->p->n_lanes)
        pthread_cond_broadcast(&r->can_take);
}

/* Free what all lanes have taken. */
static void retire(run *r)
{
    uint64_t n_taken = r->n_started;
    for (size_t i = 0; i < r->p->n_lanes; i++)
        if (r->lanes[i].n_taken < n_taken)
            n_taken = r->lanes[i].n_taken;
    for (; r->n_done < n_taken; r->n_done++) {
        slot *s = slot_of(r, r->n_done);
        if (r->p->done != NULL)
            r->p->done(&s->piece, r->p->user);
        drop_buffer(r, s);
        r->bytes -= cost_of(&s->piece);
        *s = (slot){0};
    }
}

/* Let lane i take its next piece. Called with the lock, which is open meanwhile. */
static void run_lane(run *r, size_t i)
{
    uint64_t number = r->lanes[i].n_taken;
    pare_error err = {0};
    r->lanes[i].busy = true;
    pthread_mutex_unlock(&r->lock);
    pare_status st = r->p->take(i, &slot_of(r, number)->piece, r->p->user, &err);
    pthread_mutex_lock(&r->lock);
    r->lanes[i].busy = false;
    if (st != PARE_OK) {
        fail(r, number, st, &err);
        return;
    }
    r->lanes[i].n_taken++;
    retire(r);
    tell_takers(r);
}

/* Is there a further piece, and room for it? */
static bool can_start(run *r)
{
    if (!r->has_next && !r->exhausted) {
        r->next_piece = (pare_piece){0};
        r->has_next = r->p->next(&r->next_piece, r->p->user);
        r->exhausted = !r->has_next;
    }
    if (!r->has_next || r->n_started - r->n_done == MAX_PIECES)
        return false;
    size_t cost = cost_of(&r->next_piece);
    return r->bytes == 0 || (r->bytes < r->p->max_bytes && cost <= r->p->max_bytes - r->bytes);
}

/* Make the next piece. Called with the lock, which is open meanwhile. */
static void start_piece(run *r)
{
    uint64_t number = r->n_started++;
    slot *s = slot_of(r, number);
    pare_error err = {0};
    pare_status st = pare_check_interrupt(&err);
    *s = (slot){.piece = r->next_piece};
    r->has_next = false;
    r->bytes += cost_of(&s->piece);
    if (s->piece.data == NULL && r->n_spare > 0 && buffer_bytes(&s->piece) == BUFFER_BYTES)
        s->buffer = r->spare[--r->n_spare];
    pthread_mutex_unlock(&r->lock);
    if (s->piece.data == NULL && s->buffer == NULL)
        s->buffer = pare_scratch_alloc(buffer_bytes(&s->piece));
    if (st == PARE_OK && s->piece.data == NULL && s->buffer == NULL)
        st = pare_fail(&err, PARE_ERR_MEMORY, "no memory for %zu bytes", s->piece.n_bytes);
    if (st == PARE_OK)
        st = r->p->make(&s->piece, s->buffer, r->p->user, &err);
    pthread_mutex_lock(&r->lock);
    if (st != PARE_OK) {
        fail(r, number, st, &err);
        return;
    }
    if (s->buffer != NULL)
        s->piece.data = s->buffer;
    s->ready = true;
    tell_takers(r);
}

static bool is_over(const run *r)
{
    return r->failed != UINT64_MAX || (r->exhausted && !r->has_next && r->n_done == r->n_started);
}

static void tell_all(run *r)
{
    pthread_cond_broadcast(&r->changed);
    pthread_cond_broadcast(&r->can_take);
}

/* One step of a thread that does everything; false: there is nothing to do now. A signal before each step wakes one
 * more thread, which finds work or sleeps again. */
static bool do_something(run *r)
{
    size_t lane = can_take(r, 0) ? 0 : r->p->n_lanes;
    const bool start = lane != 0 && can_start(r);
    if (lane != 0 && !start && (lane = find_lane(r)) == r->p->n_lanes)
        return false;
    pthread_cond_signal(&r->changed);
    if (start)
        start_piece(r);
    else
        run_lane(r, lane);
    return true;
}

/* What each thread does until all is over. */
static pare_status work(size_t i, int thread, void *ctx, pare_error *err)
{
    run *r = ctx;
    (void)i, (void)thread, (void)err; /* the error is told by pare_pipeline_run */
    pthread_mutex_lock(&r->lock);
    while (!is_over(r))
        if (!do_something(r) && !is_over(r))
            pthread_cond_wait(&r->changed, &r->lock);
    tell_all(r);
    pthread_mutex_unlock(&r->lock);
    return PARE_OK;
}

/* What a thread that only takes does: what it takes may leave room for a further piece. */
static pare_status take_only(void *ctx, pare_error *err)
{
    run *r = ctx;
    (void)err;
    pthread_mutex_lock(&r->lock);
    while (!is_over(r)) {
        size_t lane = find_lane(r);
        if (lane == r->p->n_lanes) {
            pthread_cond_wait(&r->can_take, &r->lock);
            continue;
        }
        run_lane(r, lane);
        pthread_cond_signal(&r->changed);
    }
    tell_all(r);
    pthread_mutex_unlock(&r->lock);
    return PARE_OK;
}

/* All threads. One that only takes and cannot be started is not needed: the others take, too. */
static pare_status run_threads(run *r, pare_error *err)
{
    pare_background takers[PARE_PIPELINE_LANES] = {0};
    for (size_t i = 1; i < r->p->n_lanes; i++)
        (void)pare_background_start(&takers[i], take_only, r, NULL);
    pare_status st = pare_parallel((size_t)pare_threads(), work, r, err);
    for (size_t i = 1; i < r->p->n_lanes; i++)
        (void)pare_background_join(&takers[i], NULL);
    return st;
}

pare_status pare_pipeline_run(const pare_pipeline *pipeline, pare_error *err)
{
    run r = {.p = pipeline,
             .lock = PTHREAD_MUTEX_INITIALIZER,
             .changed = PTHREAD_COND_INITIALIZER,
             .can_take = PTHREAD_COND_INITIALIZER,
             .failed = UINT64_MAX};
    r.slots = calloc(MAX_PIECES, sizeof *r.slots);
    if (r.slots == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d pieces of work", MAX_PIECES);
    pare_status st = run_threads(&r, err);
    for (uint64_t i = r.n_done; i < r.n_started; i++)
        drop_buffer(&r, slot_of(&r, i));
    while (r.n_spare > 0)
        pare_scratch_free(r.spare[--r.n_spare], BUFFER_BYTES);
    free(r.slots);
    pthread_cond_destroy(&r.changed);
    pthread_cond_destroy(&r.can_take);
    pthread_mutex_destroy(&r.lock);
    if (st == PARE_OK && r.failed != UINT64_MAX) {
        st = r.first_err.status;
        if (err != NULL)
            *err = r.first_err;
    }
    return st;
}
