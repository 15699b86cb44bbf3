/* whole.h - a small whole model as GGUF, in parts that can be written wrongly on purpose
 *
 * Two layers of a llama-like model with 32 columns, two heads, one of keys, and a byte-level BPE vocabulary. */
#ifndef PARE_TESTS_HOSTILE_WHOLE_H
#define PARE_TESTS_HOSTILE_WHOLE_H

#include "core/text.h"

enum {
    WHOLE_PAIRS = 64,
    WHOLE_TENSORS = 40,
    WHOLE_COLUMNS = 32,
    WHOLE_BYTES = 256, /* tokens for bytes, the first ones */
    WHOLE_MERGED = 8,  /* behind them, each of two bytes */
    WHOLE_SPECIAL = 2, /* BOS and EOS */
    WHOLE_TOKENS = WHOLE_BYTES + WHOLE_MERGED + WHOLE_SPECIAL
};

typedef struct whole_pair {
    pare_str key;   /* in `keep` */
    pare_buf value; /* type number and content, as in the file */
} whole_pair;

typedef struct whole_tensor {
    char name[80];
    size_t name_len;
    uint32_t n_dims; /* as the file says; dim has four */
    uint64_t dim[5]; /* GGUF's order, fastest first */
    uint32_t type;
    uint64_t offset; /* used when placed is set, else the running sum */
    bool placed;
    pare_buf data;
} whole_tensor;

typedef struct whole {
    whole_pair pairs[WHOLE_PAIRS];
    size_t n_pairs;
    whole_tensor tensors[WHOLE_TENSORS];
    size_t n_tensors;
    uint32_t version;
    uint64_t said_pairs, said_tensors; /* the header's counts when not 0 */
    uint32_t alignment;
    pare_arena keep;
} whole;

void whole_llama(whole *w); /* the sound model */
void whole_close(whole *w);
void whole_bytes(const whole *w, pare_buf *out);  /* appended */
void whole_put(const whole *w, const char *name); /* into the trial's folder */

/* Pairs: set replaces the value or adds a pair. */
pare_buf *whole_value(whole *w, const char *key); /* emptied, for raw content */
void whole_drop(whole *w, const char *key);
void whole_u32(whole *w, const char *key, uint32_t v);
void whole_i32(whole *w, const char *key, int32_t v);
void whole_u16(whole *w, const char *key, uint16_t v);
void whole_u64(whole *w, const char *key, uint64_t v);
void whole_f32(whole *w, const char *key, float v);
void whole_bool(whole *w, const char *key, uint8_t v);
void whole_str(whole *w, const char *key, const char *text);
void whole_text(whole *w, const char *key, const void *text, size_t len);
pare_buf *whole_array(whole *w, const char *key, uint32_t elem, uint64_t n); /* the elements are to follow */
void whole_strs(whole *w, const char *key, const char *const *texts, size_t n);
void whole_u32s(whole *w, const char *key, uint32_t elem, const uint32_t *values, size_t n);

whole_tensor *whole_tensor_of(whole *w, const char *name);
whole_tensor *whole_add(whole *w, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, size_t n_bytes);
void whole_remove(whole *w, const char *name);

/* In the place of the byte-level vocabulary one of SentencePiece: <unk>, <s>, </s>, 256 byte tokens and 7 pieces, as
 * many tokens as before, with scores and types. */
void whole_spm(whole *w);

/* Write w as m.gguf, close it, and expect that a model is refused with this code and these parts (trial_model_refused).
 */
void whole_refused(int code, whole *w, const char *says, ...) PARE_PRINTF(3, 4);

#endif
