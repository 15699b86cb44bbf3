/* formats/packed_scaled.h - an ordinary tensor of weights that are stored as small floats or integers times scales
 *
 * The scale tensor says by its shape what shares a scale: everything, a row, a group of a row, a tile. */
#ifndef PARE_FORMATS_PACKED_SCALED_H
#define PARE_FORMATS_PACKED_SCALED_H

#include "formats/packed.h"
#include "model/view_codes.h"

/* Complete *out, whose name, file and offset are set, from codes with how->code and how->scale and the rest of how but
 * its shape and its blocks. FP4 becomes blocks of MXFP4 or NVFP4 where these hold it.
 *   tile   rows and columns of a tile, where the settings say so; {0, 0}: they do not
 * Errors: PARE_ERR_RANGE (scales of a shape that is none of these; both shapes are named), pare_view_codes. */
pare_status pare_packed_scaled(const pare_packed *p, const pare_codes *how, const uint64_t tile[2], pare_tensor *out,
                               pare_error *err);

/* The only number in tensor <module><end>; absent where there is none. Errors: PARE_ERR_RANGE (several),
 * PARE_ERR_NUMBER (not finite, or 0). */
pare_status pare_packed_scalar(const pare_packed *p, const char *module, const char *end, float absent, float *out,
                               pare_error *err);

/* A list of two positive numbers, as rows and columns of a tile; left as it is where the key lacks or is null. */
pare_status pare_packed_tile(const json_t *settings, const char *path, const char *key, uint64_t tile[2],
                             pare_error *err);

#endif
