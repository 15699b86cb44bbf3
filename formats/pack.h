/* formats/pack.h - the door through which weights go out packed: formats/packed.h the other way round
 *
 * The writer of folders notes all tensors, in the order of rows that the Hub has; a format makes those that stand for
 * each matrix of a layer that it can hold, and says in config.json how they are to be read.
 *
 * To add a format: a file pack_<format>.c with a pare_pack_format, its name below, in the table of pack.c and among the
 * choices of --format (src/cmd/options.c). The formats: docs/formats/PACKED.md. */
#ifndef PARE_FORMATS_PACK_H
#define PARE_FORMATS_PACK_H

#include "core/json.h"
#include "model/model.h"
#include "quant/group_fit.h"

struct pare_pack_format;

/* What is asked for; 0 leaves it to the format. */
typedef struct pare_pack_options {
    unsigned bits;
    int64_t group; /* columns that share a scale; -1: a whole row */
    int symmetric; /* 1, or -1: with zero points */
} pare_pack_options;

typedef enum pare_pack_kind {
    PARE_PACK_FLOATS,  /* stays so */
    PARE_PACK_MATRIX,  /* of a linear layer: for pare_pack_format.add */
    PARE_PACK_EXPERTS, /* of a layer in one tensor: for add_experts */
} pare_pack_kind;

/* A tensor of the folder, complete but for packing. */
typedef struct pare_pack_entry {
    pare_tensor tensor; /* name and rows are the Hub's; the name outlives the folder */
    pare_pack_kind kind;
    uint64_t united; /* the same for matrices that runtimes unite into one (Q, K and V; gate and up), 0: it is alone */
    bool of_experts; /* one of several experts' */
    bool listed;     /* matrix of a layer: readers are told that it stays floats */
    bool unfit;      /* a matrix that the options do not divide, or that is united with one */
} pare_pack_entry;

/* Weights on their way into a folder. */
typedef struct pare_pack {
    const struct pare_pack_format *format; /* NULL: nothing is packed */
    pare_pack_options options;             /* completed by the format */
    pare_buf kept, packed;                 /* modules of the layers that stay floats, and the others: one a line */
    size_t n_packed, n_unfit;
    uint64_t united; /* of the matrix that is being added */
    pare_type type;  /* of what stays floats */
    pare_pack_entry *entries;
    size_t n_entries, cap_entries;
} pare_pack;

typedef struct pare_pack_format {
    const char *name; /* of --format */
    pare_type dtype;  /* of what stays unpacked, where nothing else is asked for; PARE_TYPE_NONE: as without packing */

    /* Complete the options. Errors: PARE_ERR_USAGE (what the format does not have). */
    pare_status (*check)(pare_pack_options *options, pare_error *err);

    /* The integers that its groups are made of, with complete options. NULL: it has other numbers. */
    pare_group_shape (*shape)(const pare_pack_options *options);

    /* Whether the options divide the shape of a matrix: PARE_ERR_RANGE if not. NULL: all can be packed. */
    pare_status (*fits)(const pare_pack *pack, const pare_tensor *weight, pare_error *err);

    /* Add to hub the tensors that stand for a matrix of a layer that fits, <module>.weight. They are made while they
     * are read (formats/pack_rows.h). Errors: PARE_ERR_MEMORY. */
    pare_status (*add)(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                       pare_error *err);

    /* Add what stands for the experts of a layer in one tensor, which in floats would be [expert, in, out]: weight is
     * [expert, out, in]. NULL: they stay floats. A format without `add` packs nothing else. */
    pare_status (*add_experts)(pare_model *hub, const pare_tensor *weight, const char *name, pare_error *err);

    /* Everything is added. NULL: nothing is left to do. */
    pare_status (*finish)(pare_model *hub, pare_error *err);

    /* What transformers makes otherwise of a packed matrix of an expert, for a warning: the rest of a sentence. The
     * hook may be NULL, as what it returns: nothing. */
    const char *(*experts_differ)(const pare_pack *pack, const pare_tensor *weight);

    /* A new object for quantization_config. NULL: no memory. */
    json_t *(*settings)(const pare_pack *pack);
} pare_pack_format;

/* NULL: there is none. */
const pare_pack_format *pare_pack_find(const char *name);

/* Note a tensor of the folder, in their order there. Errors: PARE_ERR_MEMORY. */
pare_status pare_pack_note(pare_pack *pack, const pare_pack_entry *entry, pare_error *err);

/* Add to hub what the noted tensors are. Matrices that the options do not divide stay floats, together with those that
 * are united with them. Floats are cast to type.
 * Errors: PARE_ERR_RANGE: one of several experts, which readers take all or none of, or all matrices would have to stay
 * floats; PARE_ERR_MEMORY. */
pare_status pare_pack_all(pare_pack *pack, pare_model *hub, pare_type type, pare_error *err);

/* Warn of the matrices that stay floats since the options do not divide them, and of experts_differ. */
pare_status pare_pack_tell(const pare_pack *pack, const char *path, pare_error *err);

void pare_pack_close(pare_pack *pack);

/* A new array of the modules in `lines`, behind `first` unless that is NULL. NULL: no memory. */
json_t *pare_pack_modules(const pare_buf *lines, const char *first);

/* Columns of a group of this weight. */
uint64_t pare_pack_group(const pare_pack *pack, const pare_tensor *weight);

/* Whether rows are made of groups, and these of `unit` columns: PARE_ERR_RANGE if not. */
pare_status pare_pack_check_group(const pare_pack *pack, const pare_tensor *weight, uint64_t unit, pare_error *err);

/* Add <module><end>, t with this shape and type, to hub. */
pare_status pare_pack_add(pare_model *hub, const pare_tensor *t, const char *module, const char *end, pare_error *err);

extern const pare_pack_format pare_pack_awq, pare_pack_gptq, pare_pack_compressed, pare_pack_fp8, pare_pack_nvfp4,
    pare_pack_mxfp4, pare_pack_mxfp4_experts;

#endif
