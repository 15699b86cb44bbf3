/* formats/pack.h - the door through which weights go out packed: formats/packed.h the other way round
 *
 * The writer of folders hands over the matrices of the layers, in the order of rows that the Hub has; a format makes
 * the tensors that stand for each, and says in config.json how they are to be read.
 *
 * To add a format: a file pack_<format>.c with a pare_pack_format, its name below, in the table of pack.c and among the
 * choices of --format (src/cmd/options.c). The formats: docs/formats/PACKED.md. */
#ifndef PARE_FORMATS_PACK_H
#define PARE_FORMATS_PACK_H

#include "core/json.h"
#include "model/model.h"

struct pare_pack_format;

/* What is asked for; 0 leaves it to the format. */
typedef struct pare_pack_options {
    unsigned bits;
    int64_t group; /* columns that share a scale; -1: a whole row */
    int symmetric; /* 1, or -1: with zero points */
} pare_pack_options;

/* Weights on their way into a folder. */
typedef struct pare_pack {
    const struct pare_pack_format *format; /* NULL: nothing is packed */
    pare_pack_options options;             /* completed by the format */
    pare_buf kept;                         /* modules of the layers that stay floats, one a line */
    uint64_t united; /* of the matrix that is being added: a number that it has in common with those that runtimes
                        unite with it into one matrix (Q, K and V; gate and up), 0: it is alone */
} pare_pack;

typedef struct pare_pack_format {
    const char *name; /* of --format */
    pare_type dtype;  /* of what stays unpacked, where nothing else is asked for; PARE_TYPE_NONE: as without packing */

    /* Complete the options. Errors: PARE_ERR_USAGE (what the format does not have). */
    pare_status (*check)(pare_pack_options *options, pare_error *err);

    /* Add to hub the tensors that stand for a matrix of a layer, <module>.weight. They are made while they are read
     * (formats/pack_rows.h). Errors: PARE_ERR_RANGE (a shape that the options do not divide), PARE_ERR_MEMORY. */
    pare_status (*add)(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                       pare_error *err);

    /* Add what stands for the experts of a layer in one tensor, which in floats would be [expert, in, out]: weight is
     * [expert, out, in]. NULL: they stay floats. A format without `add` packs nothing else. */
    pare_status (*add_experts)(pare_model *hub, const pare_tensor *weight, const char *name, pare_error *err);

    /* Everything is added. NULL: nothing is left to do. */
    pare_status (*finish)(pare_model *hub, pare_error *err);

    /* A new object for quantization_config. NULL: no memory. */
    json_t *(*settings)(const pare_pack *pack);
} pare_pack_format;

/* NULL: there is none. */
const pare_pack_format *pare_pack_find(const char *name);

/* A new array of the modules in pack->kept, behind `first` unless that is NULL. NULL: no memory. */
json_t *pare_pack_kept(const pare_pack *pack, const char *first);

/* Columns of a group of this weight. Errors: PARE_ERR_RANGE: the row is no multiple of it, or it is none of `unit`
 * columns. */
pare_status pare_pack_group(const pare_pack *pack, const pare_tensor *weight, uint64_t unit, uint64_t *group,
                            pare_error *err);

/* Add <module><end>, t with this shape and type, to hub. */
pare_status pare_pack_add(pare_model *hub, const pare_tensor *t, const char *module, const char *end, pare_error *err);

extern const pare_pack_format pare_pack_awq, pare_pack_gptq, pare_pack_compressed, pare_pack_fp8, pare_pack_nvfp4,
    pare_pack_mxfp4, pare_pack_mxfp4_experts;

#endif
