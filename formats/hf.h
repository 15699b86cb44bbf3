/* formats/hf.h - a Hub folder: config.json, weights, tokenizer files */
#ifndef PARE_FORMATS_HF_H
#define PARE_FORMATS_HF_H

#include "formats/gguf.h"
#include "formats/pack.h"

/* Fill m from the folder: safetensors mapped to GGUF names through the architecture's description (rows reordered on
 * the fly), metadata as stock's converter writes it, vocabulary, side files. With PARE_OPEN_RAW the Hub's own names and
 * no more than the weights and side files. Errors: see formats/open.h. */
pare_status pare_hf_open(pare_model *m, const char *path, unsigned flags, pare_error *err);

/* The same of files that lay in a folder of this name, which general.name may come from, when something was made of
 * them. name: NULL for the folder's own. */
pare_status pare_hf_open_as(pare_model *m, const char *path, const char *name, unsigned flags, pare_error *err);

typedef struct pare_hf_write_options {
    bool force;
    uint64_t shard_bytes;         /* 0: 5 GB, the Hub's custom */
    const pare_pack_format *pack; /* how matrices of the layers are packed; NULL: they are not */
    pare_pack_options pack_options;
    bool quiet; /* do not warn of matrices that stay floats since the format cannot hold them: it was done */
    /* Called when all files are in the folder, before it gets its name. It lies at stored_at, and so do the files of
     * pin, if there is one, for now. May add files; what fails here leaves no folder. NULL: nothing to do. */
    pare_status (*complete)(void *ctx, pare_pin *pin, const char *stored_at, pare_error *err);
    void *complete_ctx;
} pare_hf_write_options;

/* Write m (known architecture) as a Hub folder: tensors that are plain floats keep their type, quantized ones are
 * decoded to `dtype` (PARE_TYPE_F32, F16 or BF16; PARE_TYPE_NONE: that of the first matrix, BF16 when it is quantized),
 * and F32 vectors become `dtype` where that changes no value; names and row order turned back. config.json is carried
 * from a folder source with its dtype adjusted, or made from the hyperparameters, generation_config.json likewise;
 * tokenizer files, model card and licence are carried when the source had them, else tokenizer.json and
 * tokenizer_config.json made from the vocabulary. The folder appears whole. With pin, all of its files are recorded.
 * Errors: PARE_ERR_UNSUPPORTED (unknown architecture; tensors or a RoPE scaling that the Hub has no words for),
 * PARE_ERR_USAGE (exists, is the folder of the input), PARE_ERR_IO, PARE_ERR_MEMORY. */
pare_status pare_hf_write(const pare_model *m, const char *dir, pare_type dtype, const pare_hf_write_options *options,
                          pare_pin *pin, pare_error *err);

/* Bytes of the weights of that folder. Errors: the same, but nothing is written. */
pare_status pare_hf_size(const pare_model *m, pare_type dtype, const pare_hf_write_options *options, uint64_t *n_bytes,
                         pare_error *err);

#endif
