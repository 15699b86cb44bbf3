/* fit/probe.h - types that need not be looked at: others are smaller and lose less
 *
 * How much more one type loses than another is nearly the same for all matrices of a model, so a few small ones,
 * encoded in every type, tell. */
#ifndef PARE_FIT_PROBE_H
#define PARE_FIT_PROBE_H

#include "fit/encodings.h"

/* A form that is so many times another one is beaten by it. */
#define PARE_PROBE_MARGIN 1.05

/* needless [PARE_TYPE_COUNT]: of types [n_types] those that lose more than PARE_PROBE_MARGIN times what another of them
 * does, in no more bytes, on each of the three smallest matrices of the middle layer; the other one is allowed wherever
 * the type is. None without second-order statistics of these. options: of the encodings; the matrices' own lie in its
 * folder, in probe. Errors: those of pare_encodings_add_all */
pare_status pare_probe_types(const pare_encodings_options *options, const pare_type *types, size_t n_types,
                             bool *needless, pare_error *err);

#endif
