/* formats/safetensors.h - the safetensors container: single files and sharded sets with an index. Layout:
 * docs/formats/SAFETENSORS.md */
#ifndef PARE_FORMATS_SAFETENSORS_H
#define PARE_FORMATS_SAFETENSORS_H

#include "formats/pin.h"
#include "model/model.h"

/* The file at path could not be mapped as a whole, which st and err say: when what can be mapped of it shows that its
 * header is malformed, that is the error, otherwise st. */
pare_status pare_safetensors_judge_front(const char *path, pare_status st, pare_error *err);

/* Fill m->tensors (Hub names, file order by offset), m->files and, from __metadata__, m->meta (string values under
 * their own keys) from a single file, or from an index.json and its shards. Strict: no hole, no overlap, no trailing
 * byte, no duplicate, exact integers. Errors: see formats/open.h. */
pare_status pare_safetensors_open(pare_model *m, const char *path, pare_error *err);
pare_status pare_safetensors_open_index(pare_model *m, const char *index_path, pare_error *err);

/* Parse one file in memory, for tests and fuzzing. */
pare_status pare_safetensors_parse(pare_model *m, const void *bytes, size_t n, const char *path, pare_error *err);

/* Write the tensors of m under names[i] (Hub names, one a tensor) into the existing folder dir as model.safetensors,
 * or as model-0000i-of-0000n.safetensors with model.safetensors.index.json when the data exceeds shard_bytes (0:
 * never). Tensors within a file are ordered as the reference library does (by dtype, descending alignment, then name),
 * header padded with spaces to 8 bytes, __metadata__ {"format": "pt"}: the same bytes that its save_file writes. Each
 * file appears whole, the index last; for a folder that appears whole, dir is a pare_outdir's. pin may be NULL. Errors:
 * PARE_ERR_FORMAT       a name twice, not UTF-8, or "__metadata__" PARE_ERR_UNSUPPORTED  a type without a dtype
 *         PARE_ERR_RANGE        a header above the format's limit; PARE_ERR_USAGE a file exists, or too many shards
 *         PARE_ERR_IO, PARE_ERR_MEMORY, and whatever reading the tensors gives */
pare_status pare_safetensors_write(const pare_model *m, const char *const *names, const char *dir, uint64_t shard_bytes,
                                   pare_pin *pin, pare_error *err);

#endif
