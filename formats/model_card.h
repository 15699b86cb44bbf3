/* formats/model_card.h - the front matter of a README.md as the Hub's model cards have it: a plain subset of YAML
 *
 *   ---
 *   license: apache-2.0
 *   tags: [small, english]
 *   base_model:
 *   - org/name
 *   ---
 */
#ifndef PARE_FORMATS_MODEL_CARD_H
#define PARE_FORMATS_MODEL_CARD_H

#include "core/error.h"

#include <jansson.h>

/* Parse len bytes into a new object (json_decref): a member a key at the left margin, its value a text or an array of
 * texts. Numbers and words stay texts. What is outside of the subset (nested maps, block texts, anchors) is passed
 * over, and so is everything when there is no front matter. A repeated key keeps its first value. Errors:
 * PARE_ERR_MEMORY. */
pare_status pare_model_card_parse(json_t **out, const char *text, size_t len, pare_error *err);

#endif
