/* formats/open.h - open any model: a GGUF file (any part of a split set), a Hub folder, a .safetensors file, an
 * index.json */
#ifndef PARE_FORMATS_OPEN_H
#define PARE_FORMATS_OPEN_H

#include "model/model.h"

typedef enum pare_open_flags {
    PARE_OPEN_RAW = 1,      /* tensors named and laid out as in the file; no architecture, no tokenizer needed */
    PARE_OPEN_NO_VOCAB = 2, /* do not read the tokenizer */
    PARE_OPEN_PARTIAL = 4,  /* a GGUF file that proves bad leaves in *m what was read before the error; to look at,
                             * not to read weights from, and the caller closes it */
    PARE_OPEN_WEIGHTS = 8   /* a model that holds no tensors is PARE_ERR_FORMAT */
} pare_open_flags;

/* Find out what path is from its content (magic, config.json), not from its name, and open it. Without PARE_OPEN_RAW
 * a Hub folder is mapped to GGUF's names; its architecture must be known. A GGUF file of an unknown architecture opens
 * with arch NULL. A single .safetensors file opens raw, unless a config.json lies beside it.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_UNSUPPORTED (old format, big endian, Git-LFS pointer names the
 * cure), PARE_ERR_IO, PARE_ERR_MEMORY. On error *m is closed, except with PARE_OPEN_PARTIAL. */
pare_status pare_model_open(pare_model *m, const char *path, unsigned flags, pare_error *err);

/* The same; a Hub folder is taken to be called name (pare_hf_open_as). NULL: as it is. */
pare_status pare_model_open_as(pare_model *m, const char *path, const char *name, unsigned flags, pare_error *err);

/* For callers that map a file before it is opened as a model: mapping path failed, as st and err say. When path is a
 * model whose header, as far as it can be mapped, is malformed, that is the error instead; otherwise st. */
pare_status pare_model_judge_front(const char *path, pare_status st, pare_error *err);

#endif
