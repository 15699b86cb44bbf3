/* formats/hf_meta.h - the general.* metadata that stock's converter derives from a Hub folder */
#ifndef PARE_FORMATS_HF_META_H
#define PARE_FORMATS_HF_META_H

#include "model/model.h"

/* Append general.architecture, type, sampling.* (from generation_config.json), name, organization, version, finetune,
 * basename and size_label (from config's _name_or_path and the folder's name) and what the front matter of README.md
 * says, in stock's order, to m->meta. m: tensors and arch are set. name: what the folder is taken to be called, or
 * NULL: what pare_hf_folder_name says. */
pare_status pare_hf_meta_general(pare_model *m, const char *dir, const char *name, const json_t *config,
                                 pare_error *err);

/* The name of the model that the folder dir gives: its own, also when dir is ".", and of a snapshot in the Hub's cache
 * the repository's. Owned by the caller; NULL: an error. */
char *pare_hf_folder_name(const char *dir, pare_error *err);

#endif
