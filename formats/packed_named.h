/* formats/packed_named.h - ways of packing weights that are known by name, and not decoded */
#ifndef PARE_FORMATS_PACKED_NAMED_H
#define PARE_FORMATS_PACKED_NAMED_H

#include "model/model.h"

/* What a quant_method is called, NULL: not known either. */
const char *pare_packed_known_name(const char *method);

/* For a folder whose config.json says nothing of packing: PARE_ERR_UNSUPPORTED where a tensor's name shows that its
 * weights are packed, with that name and that of the format. */
pare_status pare_packed_refuse_traces(const pare_model *raw, const char *config_path, pare_error *err);

#endif
