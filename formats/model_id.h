/* formats/model_id.h - what a model's name says: "Meta-Llama-3-8B-Instruct" has a base, a version, a size, a finetune
 *
 * The rules are those of stock's gguf-py (metadata.py), so that general.name and its neighbours come out the same. */
#ifndef PARE_FORMATS_MODEL_ID_H
#define PARE_FORMATS_MODEL_ID_H

#include "core/error.h"

#include <stdint.h>

enum { PARE_MODEL_ID_TEXT = 256 };

/* Empty texts are absent. */
typedef struct pare_model_id {
    char name[PARE_MODEL_ID_TEXT]; /* without the organization, as given */
    char organization[PARE_MODEL_ID_TEXT];
    char basename[PARE_MODEL_ID_TEXT];
    char finetune[PARE_MODEL_ID_TEXT];
    char version[PARE_MODEL_ID_TEXT];
    char size_label[PARE_MODEL_ID_TEXT];
} pare_model_id;

/* Take text ("org/name" or a folder's name) apart. n_params: weights of the model, which a size in the name must be
 * near to count as one. Texts of PARE_MODEL_ID_TEXT bytes or more leave *id empty. */
void pare_model_id_parse(pare_model_id *id, const char *text, uint64_t n_params);

/* Words with a capital, hyphens as spaces: "tiny-llama_2b" -> "Tiny Llama_2B". Cut at size. Returns dst. */
char *pare_model_id_title(char *dst, size_t size, const char *text);

/* "27M", "1.4M", "136K": the number of weights in two digits or more. Returns dst. */
char *pare_size_label(char *dst, size_t size, uint64_t n_params);

#endif
