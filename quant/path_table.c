#include "quant/path_table.h"
#include "quant/blocks.h"
#include "quant/output_error.h"

#define pare_c64_decode NULL /* a complex number is no float */
#define ENCODE_ROW(id, gguf, len, stem, name, st, traits, encode, format, field, n) [PARE_TYPE_##id] = encode,
#define DECODE_ROW(id, gguf, len, stem, ...) [PARE_TYPE_##id] = pare_##stem##_decode,

extern const pare_path_table pare_table;
const pare_path_table pare_table = {.encode = {PARE_TYPES(ENCODE_ROW)},
                                    .decode = {PARE_TYPES(DECODE_ROW)},
                                    .find_above = pare_row_find_above,
                                    .weight_range = pare_row_weight_range,
                                    .compare = pare_row_compare,
                                    .compare_means = pare_row_compare_means,
                                    .form_update = pare_form_update,
                                    .feedback_round = pare_feedback_round,
                                    .feedback_units = pare_feedback_units,
                                    .unit_search = pare_unit_search,
                                    .output_error = pare_output_error,
                                    .importance = pare_row_importance,
                                    .group_fit = pare_group_fit,
                                    .group_round = pare_group_round,
                                    .hadamard = pare_hadamard_steps,
                                    .kv_encode = pare_kv_encode_rows,
                                    .kv_decode = pare_kv_decode_rows};
