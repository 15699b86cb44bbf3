/* formats/hf.h - a Hub folder: config.json, weights, tokenizer files */
#ifndef PARE_FORMATS_HF_H
#define PARE_FORMATS_HF_H

#include "formats/gguf.h"

/* Fill m from the folder: safetensors mapped to GGUF names through the architecture's description (rows reordered on
 * the fly), metadata as stock's converter writes it, vocabulary, side files. With PARE_OPEN_RAW the Hub's own names and
 * no more than the weights and side files. Errors: see formats/open.h. */
pare_status pare_hf_open(pare_model *m, const char *path, unsigned flags, pare_error *err);

typedef struct pare_hf_write_options {
    bool force;
    uint64_t shard_bytes; /* 0: 5 GB, the Hub's custom */
} pare_hf_write_options;

/* Write m (known architecture) as a Hub folder: tensors that are plain floats keep their type, quantized ones are
 * decoded to `dtype` (PARE_TYPE_F32, F16 or BF16); names and row order turned back; config.json and
 * generation_config.json from the hyperparameters or carried from a folder source; tokenizer files carried when the
 * source had them, else tokenizer.json and tokenizer_config.json made from the vocabulary. The folder appears whole. */
pare_status pare_hf_write(const pare_model *m, const char *dir, pare_type dtype, const pare_hf_write_options *options,
                          pare_pin *pin, pare_error *err);

#endif
