/* formats/cyclonedx.h - a CycloneDX 1.6 bill of materials (JSON, ECMA-424) of a model: what inventories and scanners
 * read
 *
 *   metadata.component   type machine-learning-model: name, version, licence, authors, ancestors, model card out of the
 *                        metadata general.*; the SHA-256 of the weights when they are one file
 *   components           type file: every file with its SHA-256
 *
 * What becomes of which key: docs/formats/SIGNATURES.md. */
#ifndef PARE_FORMATS_CYCLONEDX_H
#define PARE_FORMATS_CYCLONEDX_H

#include "core/output_set.h"
#include "formats/pin.h"

/* Add the file path to set. p: hashed, with names (pare_lock_set_names). meta: the model's; name: what the model is
 * called without general.name. What the schema has no room for is left out with a warning: addresses that are none,
 * versions of more than 1,024 characters. The same files give the same bytes; a time is in it only when
 * SOURCE_DATE_EPOCH gives one. Errors: PARE_ERR_USAGE (path exists and force is false, SOURCE_DATE_EPOCH is no number),
 * PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_cyclonedx_add(pare_output_set *set, const pare_pin *p, const pare_meta *meta, const char *name,
                               const char *path, bool force, pare_error *err);

#endif
