/* recipe/meta_edit.h - metadata that the user sets: --metadata KEY=TYPE:VALUE */
#ifndef PARE_RECIPE_META_EDIT_H
#define PARE_RECIPE_META_EDIT_H

#include "model/model.h"

/* One value to set. With `adapts` (int, float) it gets the type of the value that it replaces, when that is a number of
 * the same kind. */
struct pare_meta_edit {
    pare_meta_value value; /* key and string are views into the text */
    bool adapts;
};
typedef struct pare_meta_edit pare_meta_edit;

/* Read text, which must outlive the edit. TYPE is one of int, float, bool, str (llama-quantize's --override-kv) or of
 * GGUF's u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 string. KEY is lower case: words of a-z, 0-9, _ and - divided by dots.
 * Errors: PARE_ERR_USAGE, also for keys that are pare's own (general.file_type, general.quantization_version,
 * quantize.imatrix.*) or say how the file is laid out (general.architecture, general.alignment, split.*,
 * *.block_count).
 */
pare_status pare_meta_edit_parse(pare_meta_edit *edit, const char *text, pare_error *err);

/* Set the values in m->meta. What is there keeps its place; a new int is u32 where it fits, as in stock, else i32, u64
 * or i64. Arrays are not replaced. A changed type is a warning. Afterwards the metadata must still describe the
 * tensors and the tokenizer: hyperparameters of a known architecture and the vocabulary are read and checked again.
 * Errors: PARE_ERR_USAGE, PARE_ERR_MEMORY */
pare_status pare_meta_edits_apply(pare_model *m, const pare_meta_edit *edits, size_t n, pare_error *err);

#endif
