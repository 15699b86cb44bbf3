/* model/hparams_floats.h - what floats among the hyperparameters of a GGUF file are held to, whoever reads them */
#ifndef PARE_MODEL_HPARAMS_FLOATS_H
#define PARE_MODEL_HPARAMS_FLOATS_H

#include "model/meta.h"

/* All floats under "<arch>." and "adapter." are finite, those that scale or divide positive, limits not negative; also
 * those that pare does not read: the file is written on, and other programs read them. arch is the value of
 * general.architecture. Errors: PARE_ERR_RANGE, PARE_ERR_NUMBER with key, offset and value. */
pare_status pare_hparams_check_floats(const pare_meta *meta, pare_str arch, const char *path, pare_error *err);

#endif
