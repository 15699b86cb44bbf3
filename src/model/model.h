/* model/model.h - one model in memory: a directory of tensors, metadata, hyperparameters
 *
 * Readers fill it, transformations derive one from another, writers and the evaluator consume it. Tensors carry GGUF's
 * names and GGUF's layout of rows (llama-family q and k rows are stored in the order that interleaved RoPE wants), so
 * consumers need to know one layout only; formats/hf maps from and to the Hub's. Weights are never loaded as a whole:
 * a tensor is a function that delivers rows. */
#ifndef PARE_MODEL_MODEL_H
#define PARE_MODEL_MODEL_H

#include "core/map.h"
#include "model/arch.h"
#include "model/meta.h"
#include "model/vocab.h"
#include "quant/types.h"

enum { PARE_MAX_DIMS = 5 }; /* convolutions over time and space have five; more have no weights of models */

typedef struct pare_tensor pare_tensor;

/* Deliver rows [row, row + n_rows) in the tensor's own type to dst (n_rows * row_bytes bytes). Reentrant: called from
 * several threads at once for different rows. */
typedef pare_status (*pare_read_fn)(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err);

/* Tell the system that the pages behind these rows will not be read again soon; the rows are in range. */
typedef void (*pare_release_fn)(const pare_tensor *t, uint64_t row, uint64_t n_rows);

struct pare_tensor {
    const char *name; /* in the model's arena */
    pare_type type;
    uint32_t n_dims;             /* 0: a scalar, one row of one element */
    uint64_t dim[PARE_MAX_DIMS]; /* slowest first; the last one is the row length */
    uint64_t row_len, n_rows;    /* row_len = last dim (1 for a scalar), n_rows = product of the others */
    uint64_t row_bytes, n_bytes; /* stored bytes of a row and of the tensor, without padding */

    const uint8_t *data; /* the stored bytes when they lie in a mapped file in this very order, else NULL */
    uint32_t file;       /* index into model->files, when data is not NULL */
    uint32_t padded;     /* rows and columns may be filled up to multiples of this; 0: they are not */
    uint64_t offset;     /* from the start of that file */

    const float *factor; /* [matrices] of what is stored, NULL: 1. The GGUF tensor NAME.scale; lives in the arena */

    pare_read_fn read;              /* NULL: copy from data */
    pare_release_fn release;        /* NULL: the pages of data, if any */
    const void *ctx;                /* for read; lives in the model's arena */
    const struct pare_tensor *base; /* the tensor that read reads, NULL: none */
    const uint8_t *shared;          /* read reads every page behind it, as do tensors with the same; NULL: unknown */
    size_t scratch_bytes;           /* about how much memory read needs while it runs */
    bool packed;                    /* stands for weights that were packed: quantized already, whatever its type */
};

/* What is wrong with a tensor's name out of a file, whatever its format ("is empty", "begins with '/'", ...), or NULL.
 * Slashes may divide it. It must do no harm as a part of a path or on a terminal: UTF-8, no control, no mark of
 * direction, no invisible character, no backslash, no slash in front, no component "..". */
const char *pare_tensor_name_fault(pare_str name);

/* Fill row_len, n_rows, row_bytes and n_bytes from type and dims. path is for messages.
 * Errors: PARE_ERR_RANGE  overflow, too many dims, or row length no multiple of the block length */
pare_status pare_tensor_set_shape(pare_tensor *t, const char *path, pare_error *err);

pare_status pare_tensor_read(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err);

/* The same decoded: n_rows * row_len floats, times the factor. Errors as the source's, or PARE_ERR_UNSUPPORTED: no
 * decoder. */
pare_status pare_tensor_read_f32(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *dst, pare_error *err);

/* Without the factor, for a product that is multiplied by it afterwards. */
pare_status pare_tensor_read_unscaled(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *dst, pare_error *err);

/* Multiply decoded rows by the factor. */
void pare_tensor_apply_factor(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *x);

/* Let t, which keeps name and dims, be of another type, its rows being those in bytes, which must outlive it. factor:
 * [matrices] or NULL. Errors: those of pare_tensor_set_shape; t is unchanged then. */
pare_status pare_tensor_replace(pare_tensor *t, pare_type type, const float *factor, const void *bytes,
                                const char *path, pare_error *err);

/* The matrices that lie behind one another in t: its experts; 1 for a tensor of two dimensions or less. Row r belongs
 * to matrix r / (t->n_rows / pare_tensor_matrices(t)). */
uint64_t pare_tensor_matrices(const pare_tensor *t);

/* Tell the system that the pages behind these rows will not be read again soon. Nothing for rows that are not mapped.
 */
void pare_tensor_release(const pare_tensor *t, uint64_t row, uint64_t n_rows);

typedef enum pare_format { PARE_FORMAT_GGUF, PARE_FORMAT_HF, PARE_FORMAT_SAFETENSORS } pare_format;

/* A file of a Hub folder that is not weights: carried by the writer of a folder, covered by a pin. */
typedef struct pare_side_file {
    const char *name; /* relative to the folder, no subfolder */
    const char *path; /* to open it */
} pare_side_file;

/* Zeroed is closed. Everything that is reachable lives until pare_model_close, except what `source` owns: a derived
 * model borrows from its source, which must be closed after it. */
typedef struct pare_model {
    pare_format format;
    const char *path; /* as given by the user */
    pare_meta meta;
    pare_tensor *tensors;
    size_t n_tensors, cap_tensors;
    pare_index by_name;

    pare_map *files; /* [n_files] weight files in part order */
    size_t n_files;
    pare_side_file *side_files; /* [n_side_files] */
    size_t n_side_files;
    uint32_t alignment; /* of a GGUF source, else 32 */
    uint32_t version;   /* of a GGUF source, else 0 */

    const pare_arch *arch; /* NULL: raw, or an architecture that pare does not know */
    pare_hparams hp;       /* valid when arch is not NULL */
    pare_vocab vocab;      /* valid when has_vocab */
    bool has_vocab;

    pare_arena arena;
    const struct pare_model *source;
    const char
        *claims; /* how config.json says that the weights were packed, where none is: "GPTQ"; else NULL. Static */
    void (*closing)(struct pare_model *m); /* called first by pare_model_close; NULL: nothing to do */
} pare_model;

void pare_model_close(pare_model *m);

/* Are the weight files of m, and of what it was derived from, still those that were opened? m may be NULL.
 * Errors: PARE_ERR_IO (core/guard.h) */
pare_status pare_model_check_files(const pare_model *m, pare_error *err);

/* The claims of m, or of what it was derived from; NULL: none. */
const char *pare_model_claims(const pare_model *m);

/* Reserve the tensor array, then add: pointers into it stay valid. A duplicate name is PARE_ERR_FORMAT with both
 * offsets. The name is copied; *out, if not NULL, receives the new entry. */
pare_status pare_model_reserve(pare_model *m, size_t n_tensors, pare_error *err);
pare_status pare_model_add(pare_model *m, const pare_tensor *t, pare_tensor **out, pare_error *err);

/* Room for n_more tensors behind those that are there: pointers into the array are valid no more, if it had not. */
pare_status pare_model_reserve_more(pare_model *m, size_t n_more, pare_error *err);

const pare_tensor *pare_model_find(const pare_model *m, const char *name); /* NULL: absent */

/* A weight by what it is: pare_model_weight(m, PARE_W_ATTN_Q, 3, "weight"); layer is ignored for weights that are not
 * per layer. NULL: absent. */
const pare_tensor *pare_model_weight(const pare_model *m, pare_weight id, uint32_t layer, const char *suffix);

/* True for the tensor that holds the factor of another one. */
bool pare_model_is_factor(const pare_model *m, const pare_tensor *t);

/* Errors: PARE_ERR_FORMAT when m holds no tensors, for those who need weights. */
pare_status pare_model_want_tensors(const pare_model *m, pare_error *err);

/* Sums over all tensors. */
uint64_t pare_model_n_params(const pare_model *m);
uint64_t pare_model_n_bytes(const pare_model *m);

#endif
