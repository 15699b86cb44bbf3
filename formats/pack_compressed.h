/* formats/pack_compressed.h - what the formats of compressed-tensors share on their way out */
#ifndef PARE_FORMATS_PACK_COMPRESSED_H
#define PARE_FORMATS_PACK_COMPRESSED_H

#include "formats/pack.h"

/* quantization_config of compressed-tensors. format: its name for what is stored; weights: a new object that says how,
 * which is taken over, may be NULL for lack of memory. NULL: no memory. */
json_t *pare_compressed_settings(const pare_pack *pack, const char *format, json_t *weights);

#endif
