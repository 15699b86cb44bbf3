/* formats/imatrix_file.h - calibration statistics in files: stock's GGUF layout in and out, the legacy .dat layout in
 *
 * Layouts, limits and what stock reads: docs/formats/IMATRIX.md. */
#ifndef PARE_FORMATS_IMATRIX_FILE_H
#define PARE_FORMATS_IMATRIX_FILE_H

#include "formats/gguf.h"
#include "model/imatrix.h"

/* Fill the zeroed im from the file at path, whichever of the two layouts it has.
 * Errors: PARE_ERR_FORMAT  neither layout, sums without counts, a tensor that is no F32, a name twice
 *         PARE_ERR_RANGE   a count or length that the file cannot hold or that does not fit its entry
 *         PARE_ERR_NUMBER  a sum or count that is NaN, infinite or negative; the message has tensor and column
 *         PARE_ERR_IO, PARE_ERR_MEMORY. On error im is closed. */
pare_status pare_imatrix_open(pare_imatrix *im, const char *path, pare_error *err);

/* The same from n bytes in memory; im->grams may point into them, nothing else does. */
pare_status pare_imatrix_parse(pare_imatrix *im, const void *bytes, size_t n, const char *path, pare_error *err);

/* Write im in the GGUF layout, entries sorted by name. Entries that saw no token are left out, as in stock. counts
 * above 2^24 are rounded to a 32-bit float. The file appears whole or not at all; pin may be NULL.
 * Errors: those of pare_gguf_write; PARE_ERR_RANGE (a name too long for GGUF). */
pare_status pare_imatrix_write(const pare_imatrix *im, const char *path, bool force, pare_pin *pin, pare_error *err);

/* The same as a finished file of a set, which the caller publishes: with the lock that describes it. */
pare_status pare_imatrix_write_in(pare_output_set *set, const pare_imatrix *im, const char *path, bool force, pare_pin *pin,
                                  pare_error *err);

#endif
