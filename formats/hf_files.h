/* formats/hf_files.h - the files of a Hub folder that are not weights, by the names that the Hub's libraries give them
 */
#ifndef PARE_FORMATS_HF_FILES_H
#define PARE_FORMATS_HF_FILES_H

#include "model/model.h"

enum { PARE_HF_CONFIG_BYTES = 4 << 20 }; /* the largest config.json or generation_config.json that is read */

/* Name i, or NULL behind the last: configuration, tokenizer, chat template, model card, licence. */
const char *pare_hf_file_name(size_t i);

/* True for the files that together are the tokenizer. */
bool pare_hf_is_tokenizer_file(const char *name);

/* List the files that lie in dir as m->side_files. Errors: PARE_ERR_FORMAT (one is no regular file), PARE_ERR_MEMORY.
 */
pare_status pare_hf_list_files(pare_model *m, const char *dir, pare_error *err);

/* The side file of this name of m or of the model that m derives from; NULL: there is none. */
const pare_side_file *pare_hf_find_file(const pare_model *m, const char *name);

/* PARE_ERR_UNSUPPORTED for weights that are a Python pickle, with a way to make safetensors of them that runs none of
 * the code that a pickle may carry. dir: of the file, or "". */
pare_status pare_hf_refuse_pickle(const char *dir, const char *name, pare_error *err);

#endif
