/* model/projector.h - the metadata of a multimodal projector ("mmproj"): GGUF files of architecture "clip", which hold
 * the encoder of images or sound that goes beside a language model. pare does not run them; it carries them, and does
 * not pass on what makes the runtime read behind its arrays. Keys: llama.cpp, tools/mtmd/clip-impl.h */
#ifndef PARE_MODEL_PROJECTOR_H
#define PARE_MODEL_PROJECTOR_H

#include "model/meta.h"

/* True when the metadata is that of a projector. */
bool pare_projector_is_one(const pare_meta *meta);

/* Check the keys clip.*: types, ranges, numbers of elements, and what they make together (patches of an image, heads of
 * a layer). Keys that are absent or not known are not looked at. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE and
 * PARE_ERR_NUMBER with key, offset, value and limit. */
pare_status pare_projector_check(const pare_meta *meta, const char *path, pare_error *err);

#endif
