#include "formats/file_writer.h"
#include "core/progress.h"
#include "model/stream.h"

#include <stdlib.h>

pare_status pare_file_writer_start(pare_file_writer *w, pare_error *err)
{
    pare_status st = w->record != NULL ? pare_hasher_open(&w->file_hash, PARE_HASH_BOTH, err) : PARE_OK;
    return st == PARE_OK && w->record != NULL && !w->files_only ? pare_hasher_open(&w->rest_hash, PARE_HASH_BOTH, err)
                                                                : st;
}

/* Bytes of the file that are of this part of it: rest_hash or tensor_hash. */
static pare_status hash_part(pare_file_writer *w, pare_hasher *part, const void *data, size_t n, pare_error *err)
{
    return w->files_only ? pare_hasher_add(&w->file_hash, data, n, err)
                         : pare_hasher_add_two(&w->file_hash, data, part, data, n, err);
}

static pare_status hash_zeros(pare_file_writer *w, uint64_t n, pare_error *err)
{
    static const uint8_t zeros[4096];
    pare_status st = PARE_OK;
    for (; n > 0 && st == PARE_OK; n -= n < sizeof zeros ? n : sizeof zeros)
        st = hash_part(w, &w->rest_hash, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros, err);
    return st;
}

pare_status pare_file_writer_put(pare_file_writer *w, const void *data, size_t n, pare_error *err)
{
    pare_status st = w->record != NULL ? hash_part(w, &w->rest_hash, data, n, err) : PARE_OK;
    w->done += n;
    return st == PARE_OK ? pare_output_write(w->out, data, n, err) : st;
}

pare_status pare_file_writer_zeros(pare_file_writer *w, uint64_t n, pare_error *err)
{
    pare_status st = w->record != NULL ? hash_zeros(w, n, err) : PARE_OK;
    w->done += n;
    return st == PARE_OK ? pare_output_zeros(w->out, n, err) : st;
}

/* Zeros behind a tensor. */
static uint64_t padding_of(const pare_file_writer *w, const pare_tensor *t)
{
    uint64_t beyond = t->n_bytes % w->alignment;
    return beyond > 0 ? w->alignment - beyond : 0;
}

/* Zeros behind a slice: none but for the last of a tensor. */
static uint64_t padding(const pare_file_writer *w, const pare_slice *slice)
{
    return slice->last ? padding_of(w, slice->t) : 0;
}

static pare_status write_slice(const pare_slice *slice, void *user, pare_error *err)
{
    pare_file_writer *w = user;
    pare_status st = pare_output_write(w->out, slice->data, slice->n, err);
    if (st == PARE_OK)
        st = pare_output_zeros(w->out, padding(w, slice), err);
    w->done += slice->n + padding(w, slice);
    pare_progress("bytes", w->done, w->total, slice->t->name);
    return st;
}

static pare_status hash_slice(const pare_slice *slice, void *user, pare_error *err)
{
    pare_file_writer *w = user;
    pare_digest digest;
    pare_status st = PARE_OK;
    if (!w->files_only && w->tensor_hash.kind == 0)
        st = pare_hasher_open(&w->tensor_hash, PARE_HASH_BOTH, err);
    if (st == PARE_OK && (st = hash_part(w, &w->tensor_hash, slice->data, slice->n, err)) == PARE_OK)
        st = hash_zeros(w, padding(w, slice), err);
    if (st != PARE_OK || !slice->last || w->files_only)
        return st;
    if ((st = pare_hasher_finish(&w->tensor_hash, &digest, err)) == PARE_OK)
        st = pare_pin_add_tensor(w->record, slice->t, w->tensor_offset, &digest, err);
    pare_hasher_close(&w->tensor_hash);
    w->tensor_offset += slice->t->n_bytes + padding(w, slice);
    return st;
}

/* What is to be hashed goes in the file's order; without that, each slice to its place. */
typedef struct placing {
    pare_file_writer *w;
    const pare_tensor *tensors;
    uint64_t *offsets; /* of each tensor in the file, and of the end */
} placing;

static pare_status place_slice(const pare_slice *slice, void *user, pare_error *err)
{
    const placing *p = user;
    pare_status st = pare_output_seek(p->w->out, p->offsets[slice->t - p->tensors] + slice->offset, err);
    return st == PARE_OK ? write_slice(slice, p->w, err) : st;
}

static pare_status place_tensors(pare_file_writer *w, const pare_tensor *tensors, size_t n_tensors, pare_error *err)
{
    placing p = {.w = w, .tensors = tensors, .offsets = calloc(n_tensors + 1, sizeof *p.offsets)};
    if (p.offsets == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the places of %zu tensors", n_tensors);
    p.offsets[0] = pare_output_offset(w->out);
    for (size_t i = 0; i < n_tensors; i++)
        p.offsets[i + 1] = p.offsets[i] + tensors[i].n_bytes + padding_of(w, &tensors[i]);
    pare_status st = pare_stream_in_turn(tensors, n_tensors, place_slice, &p, err);
    if (st == PARE_OK)
        st = pare_output_seek(w->out, p.offsets[n_tensors], err);
    free(p.offsets);
    return st;
}

pare_status pare_file_writer_tensors(pare_file_writer *w, const pare_tensor *tensors, size_t n_tensors, pare_error *err)
{
    static const pare_take_fn takers[] = {write_slice, hash_slice};
    if (w->record == NULL)
        return place_tensors(w, tensors, n_tensors, err);
    w->tensor_offset = pare_output_offset(w->out);
    return pare_stream(tensors, n_tensors, takers, 2, w, err);
}

pare_status pare_file_writer_finish(pare_file_writer *w, pare_error *err)
{
    if (w->record == NULL)
        return PARE_OK;
    w->record->has_rest = !w->files_only && w->record->n_tensors > 0;
    pare_status st = pare_hasher_finish(&w->file_hash, &w->record->digest, err);
    return st == PARE_OK && w->record->has_rest ? pare_hasher_finish(&w->rest_hash, &w->record->rest, err) : st;
}

void pare_file_writer_close(pare_file_writer *w)
{
    pare_hasher_close(&w->file_hash);
    pare_hasher_close(&w->rest_hash);
    pare_hasher_close(&w->tensor_hash);
}
