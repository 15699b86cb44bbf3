#include "quant/blocks.h"
#include "quant/path.h"

#define ENCODER_ROW(id, gguf, len, stem, name, st, traits, encode, format, field, n) [PARE_TYPE_##id] = encode,

extern const pare_encode_fn pare_encoders[PARE_TYPE_COUNT];
const pare_encode_fn pare_encoders[PARE_TYPE_COUNT] = {PARE_TYPES(ENCODER_ROW)};
