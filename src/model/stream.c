#include "model/stream.h"
#include "core/pipeline.h"
#include "core/threads.h"
#include "quant/registry.h"

#include <sys/mman.h>
#include <unistd.h>

/* A slice has at most so many bytes and weights, unless a row that has to be made is longer: it fits the second-level
 * cache, and is worth handing out. Each thread may be so many slices ahead of those who take them, as long as all of
 * these, with the scratch memory of the threads that make them, stay within WINDOW_BYTES. */
enum { SLICE_BYTES = 256 << 10, SLICE_WEIGHTS = 256 << 10, SLICES_AHEAD = 8, WINDOW_BYTES = 192 << 20 };

typedef struct stream {
    const pare_tensor *tensors;
    size_t n_tensors;
    const pare_take_fn *takers;
    void *user;
    bool in_turn;
    size_t tensor;   /* the next slice is of this one, */
    uint64_t offset; /* and begins at this byte of it */
} stream;

/* What the numbers of a piece are: a slice of each of some neighbours, one behind the other. */
enum { ID_TENSOR, ID_OFFSET, ID_TENSORS };

/* How many tensors, from this one on, are read together: those of one shape that share what they are read from, when a
 * slice has room for a row of each. */
static size_t count_together(const stream *s, size_t first)
{
    const pare_tensor *t = &s->tensors[first];
    size_t n = 1;
    while (s->in_turn && t->read != NULL && t->shared != NULL && first + n < s->n_tensors && t->n_bytes > 0 &&
           t[n].read != NULL && t[n].shared == t->shared && t[n].row_len == t->row_len &&
           t[n].row_bytes == t->row_bytes && t[n].n_bytes == t->n_bytes && t->row_bytes <= SLICE_BYTES / (n + 1) &&
           t->row_len <= SLICE_WEIGHTS / (n + 1))
        n++;
    return n;
}

/* Bytes of the slice that begins at offset, of one of some tensors that are read together: whole rows of a tensor that
 * is made, whole blocks of one that is mapped. */
static uint64_t slice_bytes(const pare_tensor *t, uint64_t offset, size_t n_together)
{
    const pare_type_info *info = pare_type_get(t->type);
    uint64_t unit = t->read != NULL ? t->row_bytes : info->block_bytes;
    uint64_t weights = t->read != NULL ? t->row_len : info->block_len;
    uint64_t left = t->n_bytes - offset, n = SLICE_BYTES / n_together / unit;
    if (n > SLICE_WEIGHTS / n_together / weights)
        n = SLICE_WEIGHTS / n_together / weights;
    n = n > 0 ? n * unit : unit;
    return n < left ? n : left;
}

static bool next_piece(pare_piece *piece, void *user)
{
    stream *s = user;
    if (s->tensor == s->n_tensors)
        return false;
    const pare_tensor *t = &s->tensors[s->tensor];
    size_t n_together = count_together(s, s->tensor);
    uint64_t n = t->n_bytes > 0 ? slice_bytes(t, s->offset, n_together) : 0;
    *piece = (pare_piece){.id = {s->tensor, s->offset, n_together},
                          .n_bytes = (size_t)n * n_together,
                          .extra_bytes = t->read != NULL ? t->scratch_bytes : 0,
                          .data = t->read == NULL && n > 0 ? t->data + s->offset : NULL};
    s->offset += n;
    if (s->offset == t->n_bytes) {
        s->tensor += n_together;
        s->offset = 0;
    }
    return true;
}

/* Have the pages of mapped bytes read here, and not by the one thread that writes them. */
static void touch(const uint8_t *data, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)data / page * page;
    madvise((void *)start, (uintptr_t)data + n - start, MADV_WILLNEED);
    for (size_t i = 0; i < n; i += page)
        (void)*(const volatile uint8_t *)(data + i);
}

/* Of each tensor of the piece. */
static size_t part_bytes(const pare_piece *piece)
{
    return piece->n_bytes / (size_t)piece->id[ID_TENSORS];
}

static pare_status make_slices(const pare_piece *piece, void *buffer, void *user, pare_error *err)
{
    const stream *s = user;
    const pare_tensor *t = &s->tensors[piece->id[ID_TENSOR]];
    size_t n = part_bytes(piece);
    pare_status st = PARE_OK;
    if (n > 0 && t->read == NULL)
        touch(piece->data, n);
    for (uint64_t i = 0; i < piece->id[ID_TENSORS] && n > 0 && t->read != NULL && st == PARE_OK; i++)
        st = pare_tensor_read(&t[i], piece->id[ID_OFFSET] / t->row_bytes, n / t->row_bytes, (uint8_t *)buffer + i * n,
                              err);
    return st;
}

static bool is_last(const stream *s, const pare_piece *piece)
{
    return piece->id[ID_OFFSET] + part_bytes(piece) == s->tensors[piece->id[ID_TENSOR]].n_bytes;
}

static pare_status take_slices(size_t taker, const pare_piece *piece, void *user, pare_error *err)
{
    const stream *s = user;
    size_t n = part_bytes(piece);
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < piece->id[ID_TENSORS] && st == PARE_OK; i++) {
        const pare_slice slice = {.t = &s->tensors[piece->id[ID_TENSOR] + i],
                                  .offset = piece->id[ID_OFFSET],
                                  .data = n > 0 ? (const uint8_t *)piece->data + i * n : piece->data,
                                  .n = n,
                                  .last = is_last(s, piece)};
        st = s->takers[taker](&slice, s->user, err);
    }
    return st;
}

/* Mapped pages go as soon as they are used; of a tensor that is complete, also those that slices share, and those that
 * only its read function knows. */
static void release_slices(const pare_piece *piece, void *user)
{
    const stream *s = user;
    const pare_tensor *first = &s->tensors[piece->id[ID_TENSOR]];
    if (first->read == NULL)
        pare_map_release(piece->data, piece->n_bytes);
    for (uint64_t i = 0; i < piece->id[ID_TENSORS] && is_last(s, piece); i++)
        for (const pare_tensor *t = &first[i]; t != NULL; t = t->base)
            pare_tensor_release(t, 0, t->n_rows);
}

/* What is made ahead and waits should still be in a cache when it is taken. */
static size_t window_bytes(const pare_tensor *tensors, size_t n_tensors)
{
    size_t largest = SLICE_BYTES, n_ahead = (size_t)pare_threads() * SLICES_AHEAD;
    for (size_t i = 0; i < n_tensors && largest < WINDOW_BYTES; i++) {
        size_t row = tensors[i].read != NULL ? (size_t)tensors[i].row_bytes : 0;
        size_t cost = (row > SLICE_BYTES ? row : SLICE_BYTES) + (row > 0 ? tensors[i].scratch_bytes : 0);
        largest = cost > largest ? cost : largest;
    }
    return largest < WINDOW_BYTES / n_ahead ? largest * n_ahead : WINDOW_BYTES;
}

static pare_status run(stream *s, size_t n_takers, pare_error *err)
{
    const pare_pipeline pipeline = {.next = next_piece,
                                    .make = make_slices,
                                    .take = take_slices,
                                    .n_lanes = n_takers,
                                    .done = release_slices,
                                    .user = s,
                                    .max_bytes = window_bytes(s->tensors, s->n_tensors)};
    return pare_pipeline_run(&pipeline, err);
}

pare_status pare_stream(const pare_tensor *tensors, size_t n_tensors, const pare_take_fn *takers, size_t n_takers,
                        void *user, pare_error *err)
{
    stream s = {.tensors = tensors, .n_tensors = n_tensors, .takers = takers, .user = user};
    return run(&s, n_takers, err);
}

pare_status pare_stream_in_turn(const pare_tensor *tensors, size_t n_tensors, pare_take_fn taker, void *user,
                                pare_error *err)
{
    stream s = {.tensors = tensors, .n_tensors = n_tensors, .takers = &taker, .user = user, .in_turn = true};
    return run(&s, 1, err);
}

typedef struct single {
    pare_sink_fn sink;
    void *user;
} single;

static pare_status pass_on(const pare_slice *slice, void *user, pare_error *err)
{
    const single *to = user;
    return slice->n > 0 ? to->sink(slice->data, slice->n, to->user, err) : PARE_OK;
}

pare_status pare_tensor_stream(const pare_tensor *t, pare_sink_fn sink, void *user, pare_error *err)
{
    single to = {sink, user};
    return pare_stream(t, 1, &(const pare_take_fn){pass_on}, 1, &to, err);
}
