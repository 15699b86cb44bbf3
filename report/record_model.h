/* report/record_model.h - what a record says about a model: its files and tensors by their hashes, tokenizer, size */
#ifndef PARE_REPORT_RECORD_MODEL_H
#define PARE_REPORT_RECORD_MODEL_H

#include "formats/model_hash.h"

#include <jansson.h>

/* A new object for member "model" or "reference" of a record's head. h: NULL leaves the hashes out (nothing is
 * written). Errors: PARE_ERR_MEMORY */
pare_status pare_record_model(json_t **out, const pare_model *m, const pare_model_hash *h, pare_error *err);

#endif
