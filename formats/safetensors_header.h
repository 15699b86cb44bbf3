/* formats/safetensors_header.h - the header of one safetensors file, read strictly. Layout: docs/formats/SAFETENSORS.md
 */
#ifndef PARE_FORMATS_SAFETENSORS_HEADER_H
#define PARE_FORMATS_SAFETENSORS_HEADER_H

#include "model/model.h"

enum { PARE_SAFETENSORS_MAX_HEADER = 100000000 }; /* bytes; the reference library's limit */

/* Check the n bytes of a file and fill the zeroed m: tensors in the order of their data, as views into bytes (file 0),
 * and m->meta with the strings of __metadata__. path is for messages and must live as long as m.
 * Memory: 24 bytes a tensor beyond m itself and an index of the names while duplicates are looked for. Time: n log n.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_UNSUPPORTED (dtype), PARE_ERR_MEMORY; m is to be closed by the
 * caller. */
pare_status pare_safetensors_read_header(pare_model *m, const uint8_t *bytes, uint64_t n, const char *path,
                                         pare_error *err);

/* Where the header of a file of n bytes ends by its length, of which the first n_mapped are at `bytes`; 0 when that
 * length is wrong or not there. */
uint64_t pare_safetensors_header_end(const uint8_t *bytes, uint64_t n_mapped, uint64_t n);

#endif
