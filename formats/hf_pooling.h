/* formats/hf_pooling.h - how a Hub folder's embeddings are pooled, as sentence-transformers keeps it */
#ifndef PARE_FORMATS_HF_POOLING_H
#define PARE_FORMATS_HF_POOLING_H

#include "model/hparams.h"

/* modules.json of dir lists what text goes through; the config.json of its pooling module says how token states become
 * one vector. Without modules.json hp stays as it is. Modes that GGUF has no number for are left out with a warning,
 * and so are modules behind the pooling that change the direction of the vector (Dense).
 * Errors: PARE_ERR_FORMAT with the file. */
pare_status pare_hf_read_pooling(pare_hparams *hp, const char *dir, pare_error *err);

#endif
