/* formats/file_writer.h - a file of a header and tensors: written, hashed and recorded in one pass */
#ifndef PARE_FORMATS_FILE_WRITER_H
#define PARE_FORMATS_FILE_WRITER_H

#include "core/output.h"
#include "formats/pin.h"

/* The caller sets the first part; zeroed otherwise, and then closed. */
typedef struct pare_file_writer {
    pare_output *out;      /* where to, borrowed */
    pare_pin_file *record; /* what is written there is recorded here, borrowed; NULL: nothing is hashed */
    bool files_only;       /* record the file's digest, not those of its tensors */
    uint64_t alignment;    /* zeros follow each tensor up to a multiple of it; 1: none */
    uint64_t done, total;  /* of the bytes of all files that are written together: for the progress */

    pare_hasher file_hash, rest_hash, tensor_hash;
    uint64_t tensor_offset; /* in the file, of the tensor that is being hashed */
} pare_file_writer;

/* Start hashing. Before anything is put. */
pare_status pare_file_writer_start(pare_file_writer *w, pare_error *err);

/* Header bytes, or zeros. */
pare_status pare_file_writer_put(pare_file_writer *w, const void *data, size_t n, pare_error *err);
pare_status pare_file_writer_zeros(pare_file_writer *w, uint64_t n, pare_error *err);

/* Tensors, one behind the other, with the zeros behind each. They are made ahead, on all threads, while one thread
 * writes and one beside these hashes, the file and the tensor at once: model/stream.h. Errors: those of reading and of writing;
 * PARE_ERR_INTERRUPTED */
pare_status pare_file_writer_tensors(pare_file_writer *w, const pare_tensor *tensors, size_t n_tensors,
                                     pare_error *err);

/* Complete the record. The caller commits the output. */
pare_status pare_file_writer_finish(pare_file_writer *w, pare_error *err);
void pare_file_writer_close(pare_file_writer *w);

#endif
