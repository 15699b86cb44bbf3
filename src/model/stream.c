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
    size_t tensor;   /* the next slice is of this one, */
    uint64_t offset; /* and begins at this byte of it */
} stream;

/* What the numbers of a piece are. */
enum { ID_TENSOR, ID_OFFSET };

/* Bytes of the slice that begins at offset: whole rows of a tensor that is made, whole blocks of one that is mapped. */
static uint64_t slice_bytes(const pare_tensor *t, uint64_t offset)
{
    const pare_type_info *info = pare_type_get(t->type);
    uint64_t unit = t->read != NULL ? t->row_bytes : info->block_bytes;
    uint64_t weights = t->read != NULL ? t->row_len : info->block_len;
    uint64_t left = t->n_bytes - offset, n = SLICE_BYTES / unit;
    if (n > SLICE_WEIGHTS / weights)
        n = SLICE_WEIGHTS / weights;
    n = n > 0 ? n * unit : unit;
    return n < left ? n : left;
}

static bool next_slice(pare_piece *piece, void *user)
{
    stream *s = user;
    if (s->tensor == s->n_tensors)
        return false;
    const pare_tensor *t = &s->tensors[s->tensor];
    uint64_t n = t->n_bytes > 0 ? slice_bytes(t, s->offset) : 0;
    *piece = (pare_piece){.id = {s->tensor, s->offset},
                          .n_bytes = (size_t)n,
                          .extra_bytes = t->read != NULL ? t->scratch_bytes : 0,
                          .data = t->read == NULL && n > 0 ? t->data + s->offset : NULL};
    s->offset += n;
    if (s->offset == t->n_bytes) {
        s->tensor++;
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

static pare_status make_slice(const pare_piece *piece, void *buffer, void *user, pare_error *err)
{
    const stream *s = user;
    const pare_tensor *t = &s->tensors[piece->id[ID_TENSOR]];
    if (piece->n_bytes == 0)
        return PARE_OK;
    if (t->read != NULL)
        return pare_tensor_read(t, piece->id[ID_OFFSET] / t->row_bytes, piece->n_bytes / t->row_bytes, buffer, err);
    touch(piece->data, piece->n_bytes);
    return PARE_OK;
}

static bool is_last(const stream *s, const pare_piece *piece)
{
    return piece->id[ID_OFFSET] + piece->n_bytes == s->tensors[piece->id[ID_TENSOR]].n_bytes;
}

static pare_status take_slice(size_t taker, const pare_piece *piece, void *user, pare_error *err)
{
    const stream *s = user;
    const pare_slice slice = {&s->tensors[piece->id[ID_TENSOR]], piece->data, piece->n_bytes, is_last(s, piece)};
    return s->takers[taker](&slice, s->user, err);
}

/* Mapped pages go as soon as they are used; of a tensor that is complete, also those that slices share, and those that
 * only its read function knows. */
static void release_slice(const pare_piece *piece, void *user)
{
    const stream *s = user;
    const pare_tensor *t = &s->tensors[piece->id[ID_TENSOR]];
    if (t->read == NULL)
        pare_map_release(piece->data, piece->n_bytes);
    for (bool last = is_last(s, piece); last && t != NULL; t = t->base)
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

pare_status pare_stream(const pare_tensor *tensors, size_t n_tensors, const pare_take_fn *takers, size_t n_takers,
                        void *user, pare_error *err)
{
    stream s = {.tensors = tensors, .n_tensors = n_tensors, .takers = takers, .user = user};
    const pare_pipeline pipeline = {.next = next_slice,
                                    .make = make_slice,
                                    .take = take_slice,
                                    .n_lanes = n_takers,
                                    .done = release_slice,
                                    .user = &s,
                                    .max_bytes = window_bytes(tensors, n_tensors)};
    return pare_pipeline_run(&pipeline, err);
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
