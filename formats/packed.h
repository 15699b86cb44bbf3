/* formats/packed.h - the door through which checkpoints of packed weights come in
 *
 * Such a folder has, in place of a weight, several tensors: codes, scales, zero points. One of them, the primary,
 * stands for the weight; the others of its module go with it:
 *
 *     model.layers.0.mlp.up_proj.qweight   primary of GPTQ  ->  model.layers.0.mlp.up_proj.weight
 *     model.layers.0.mlp.up_proj.scales    goes with it
 *     model.layers.0.mlp.up_proj.bias      an ordinary tensor: stays as it is
 *
 * Behind the door there are ordinary tensors only, in the storage type that holds exactly what the packed ones stand
 * for: a block type where one does, else F32. The mapping to an architecture knows nothing of packing.
 *
 * To add a format: a file packed_<format>.c with a pare_packed_format, its name below and in the table of packed.c.
 * Integers times scales: packed_grid.h has the tensor. The formats: docs/formats/PACKED.md. */
#ifndef PARE_FORMATS_PACKED_H
#define PARE_FORMATS_PACKED_H

#include "core/json.h"
#include "model/model.h"

struct pare_packed_format;

/* A folder whose tensors are being unpacked. */
typedef struct pare_packed {
    const pare_model *raw;  /* the tensors as the files have them; they lie in mapped files */
    pare_arena *arena;      /* of the model that the folder becomes: for what the new tensors need */
    const json_t *config;   /* config.json */
    const json_t *settings; /* quantization_config of it, or the file that stands in for it */
    const char *path;       /* of the settings, for messages */
    const struct pare_packed_format *format;
    void *state; /* of the format, in the arena; NULL: it needs none */
    struct pare_packed_missing *missing;
} pare_packed;

typedef struct pare_packed_format {
    const char *method; /* quant_method in the settings */
    const char *name;   /* for messages */

    /* Ends of names, NULL behind the last. A tensor whose name ends like a primary stands for the weight; `result`
     * takes the place of that end in the weight's name. Those that end like `parts` go where their primary went. */
    const char *const *primaries;
    const char *const *parts;
    const char *result; /* NULL: the name stays */

    /* Ends of names of what says how a runtime stores activations or its cache: left out. NULL: nothing is. */
    const char *const *runtime;

    /* Check the settings and keep what unpack needs in p->state. NULL: nothing to check. */
    pare_status (*start)(pare_packed *p, pare_error *err);

    /* Make *out, whose name is set already, from the primary and the parts of its module (pare_packed_part). An
     * ordinary tensor whose name only looks like a primary, such as ".weight" without a scale: *out = *primary. */
    pare_status (*unpack)(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err);
} pare_packed_format;

/* Replace what is packed in raw, the tensors of the folder dir, by ordinary tensors. Without a quantization_config in
 * config, and without one of the files that stand in for it, nothing changes. config_path: for messages.
 * Errors: PARE_ERR_UNSUPPORTED (a method that is not decoded: its name is in the message), PARE_ERR_FORMAT,
 * PARE_ERR_RANGE (settings or shapes that contradict one another: both are named), PARE_ERR_MEMORY. */
pare_status pare_packed_open(pare_model *raw, pare_arena *arena, const char *dir, const json_t *config,
                             const char *config_path, pare_error *err);

/* Tensor <module><end>, such as ".scales". NULL: there is none. */
const pare_tensor *pare_packed_part(const pare_packed *p, const char *module, const char *end);

/* Fail for want of <module><end>, which primary needs. Those of all modules stand in one message in the end. */
pare_status pare_packed_lacks(const pare_packed *p, const char *module, const char *end, pare_error *err);

/* The part, which must be there as a matrix of n_rows x row_len in `type` (PARE_TYPE_NONE: any plain float). NULL, with
 * *st the error: it lacks, or is something else. */
const pare_tensor *pare_packed_matrix(const pare_packed *p, const char *module, const char *end, pare_type type,
                                      uint64_t n_rows, uint64_t row_len, pare_status *st, pare_error *err);

/* The member `key` of the settings that is a number of columns; -1 there, a whole row, gives 0. */
pare_status pare_packed_group_size(const pare_packed *p, const char *key, uint64_t *group, pare_error *err);

/* Whether rows of row_len columns are made of groups: PARE_ERR_RANGE if they are not. codes: for the message. */
pare_status pare_packed_check_group(const pare_packed *p, const pare_tensor *codes, uint64_t row_len, uint64_t group,
                                    pare_error *err);

extern const pare_packed_format pare_packed_awq, pare_packed_gptq, pare_packed_mxfp4, pare_packed_compressed,
    pare_packed_fp8, pare_packed_mxfp8, pare_packed_fbgemm, pare_packed_modelopt, pare_packed_bitnet, pare_packed_bnb,
    pare_packed_exl3;

#endif
