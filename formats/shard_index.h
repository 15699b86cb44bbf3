/* formats/shard_index.h - model.safetensors.index.json: which shard holds which tensor
 *
 *     { "metadata": { "total_size": 123 }, "weight_map": { "model.norm.weight": "model-00002-of-00002.safetensors" } }
 *
 * A JSON document takes some ten times the memory of its text, and the map is nearly all of this one: it is read with a
 * cursor, and what is left as a document. */
#ifndef PARE_FORMATS_SHARD_INDEX_H
#define PARE_FORMATS_SHARD_INDEX_H

#include "core/map.h"
#include "core/text.h"

#include <jansson.h>

/* Zeroed is closed. */
typedef struct pare_shard_index {
    const char *path;
    const char **shards; /* [n_shards] what the map names, each once, sorted by bytes; not checked */
    size_t n_shards;
    json_t *rest; /* the document without what is in the map */

    /* of this module */
    pare_index tensors; /* name -> number of its shard as they came */
    const char **names; /* [n_shards] by that number */
    size_t *places;     /* [n_shards] in shards, by that number */
    pare_map file;      /* keys are views into it */
    pare_arena arena;
} pare_shard_index;

/* path must outlive the index. Strict: no name twice, no NUL in one. Of an index that is faulty otherwise, a shard's
 * name that leads elsewhere is told first, if it stands before the fault (*leads_out, may be NULL, is true then).
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE (too large), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_shard_index_open(pare_shard_index *x, const char *path, bool *leads_out, pare_error *err);
void pare_shard_index_close(pare_shard_index *x);

/* Place of the tensor's shard in shards, or PARE_INDEX_NONE. */
int64_t pare_shard_index_find(const pare_shard_index *x, pare_str tensor);

/* Tensor i of x->tensors.n_used, in the order of the text, and the place of its shard. */
pare_str pare_shard_index_at(const pare_shard_index *x, size_t i, size_t *shard);

/* PARE_ERR_FORMAT: a shard's name is no plain path below the folder. */
pare_status pare_shard_index_check(const pare_shard_index *x, pare_error *err);

#endif
