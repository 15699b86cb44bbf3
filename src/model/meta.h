/* model/meta.h - metadata of a model: key -> typed value, with GGUF's keys and GGUF's types, whatever the file was */
#ifndef PARE_MODEL_META_H
#define PARE_MODEL_META_H

#include "core/text.h"

/* The numbers are GGUF's (gguf.md, enum gguf_metadata_value_type). */
typedef enum pare_meta_type {
    PARE_META_U8 = 0,
    PARE_META_I8 = 1,
    PARE_META_U16 = 2,
    PARE_META_I16 = 3,
    PARE_META_U32 = 4,
    PARE_META_I32 = 5,
    PARE_META_F32 = 6,
    PARE_META_BOOL = 7,
    PARE_META_STRING = 8,
    PARE_META_ARRAY = 9,
    PARE_META_U64 = 10,
    PARE_META_I64 = 11,
    PARE_META_F64 = 12,
    PARE_META_TYPE_COUNT = 13
} pare_meta_type;

/* Name ("u32", "string", ...) and bytes of a scalar (0 for STRING and ARRAY). type < PARE_META_TYPE_COUNT. */
const char *pare_meta_type_name(pare_meta_type type);
size_t pare_meta_type_size(pare_meta_type type);

typedef struct pare_meta_value {
    pare_str key;
    pare_meta_type type;
    pare_meta_type elem; /* of an ARRAY: any type but ARRAY */
    uint64_t n;          /* elements of an ARRAY, else 1 */
    uint64_t offset;     /* where the value stood in its file, for messages; 0 when it was computed */
    union {
        uint64_t u;              /* U8..U64 and BOOL (0 or 1) */
        int64_t i;               /* I8..I64 */
        double f;                /* F32 (exactly representable) and F64 */
        pare_str s;              /* STRING */
        const void *data;        /* ARRAY of numbers: n little-endian elements, any alignment */
        const pare_str *strings; /* ARRAY of STRING: n views */
    } v;
} pare_meta_value;

/* Values keep the order in which they were added. Zeroed is empty. The arena holds whatever the setters copy; views
 * given with pare_meta_add must outlive the table. */
typedef struct pare_meta {
    pare_meta_value *values;
    size_t n, cap;
    pare_index by_key;
    pare_arena arena;
} pare_meta;

void pare_meta_close(pare_meta *m);

/* Room for n values in all, so that additions up to there need no growth. */
pare_status pare_meta_reserve(pare_meta *m, size_t n, pare_error *err);

/* Append a value whose bytes the caller keeps alive. A duplicate key is PARE_ERR_FORMAT ("key 'k' twice, at offsets
 * a and b"); path is for messages. */
pare_status pare_meta_add(pare_meta *m, const char *path, const pare_meta_value *value, pare_error *err);

/* Set or replace (in place, keeping the position) with a copy of the value. */
pare_status pare_meta_set(pare_meta *m, const pare_meta_value *value, pare_error *err);
pare_status pare_meta_set_u32(pare_meta *m, const char *key, uint32_t v, pare_error *err);
pare_status pare_meta_set_u64(pare_meta *m, const char *key, uint64_t v, pare_error *err);
pare_status pare_meta_set_i32(pare_meta *m, const char *key, int32_t v, pare_error *err);
pare_status pare_meta_set_f32(pare_meta *m, const char *key, float v, pare_error *err);
pare_status pare_meta_set_bool(pare_meta *m, const char *key, bool v, pare_error *err);
pare_status pare_meta_set_str(pare_meta *m, const char *key, pare_str v, pare_error *err);
pare_status pare_meta_set_strs(pare_meta *m, const char *key, const pare_str *v, size_t n, pare_error *err);
/* n elements of a scalar type, little endian as in a file */
pare_status pare_meta_set_array(pare_meta *m, const char *key, pare_meta_type elem, const void *data, size_t n,
                                pare_error *err);
bool pare_meta_remove(pare_meta *m, const char *key); /* true when it was there */

/* A deep copy of all values of src, appended to the empty dst. */
pare_status pare_meta_copy(pare_meta *dst, const pare_meta *src, pare_error *err);

const pare_meta_value *pare_meta_find(const pare_meta *m, const char *key); /* NULL: absent */

/* Typed access. Any integer type serves for u64, any number for f64. Absent: *out stays and *found (may be NULL) is
 * false; when found is NULL the key is required. Errors: PARE_ERR_FORMAT (absent or wrong type), PARE_ERR_RANGE;
 * the message has path, key, offset, value and limits. */
pare_status pare_meta_u64(const pare_meta *m, const char *path, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, bool *found, pare_error *err);
pare_status pare_meta_f64(const pare_meta *m, const char *path, const char *key, double *out, bool *found,
                          pare_error *err);
pare_status pare_meta_bool(const pare_meta *m, const char *path, const char *key, bool *out, bool *found,
                           pare_error *err);
pare_status pare_meta_name(const pare_meta *m, const char *path, const char *key, pare_str *out, bool *found,
                           pare_error *err); /* a string that names something: printable ASCII */

/* The STRING value as a name. Errors: PARE_ERR_FORMAT: a byte of it is no printable ASCII. */
pare_status pare_meta_check_name(const pare_meta_value *value, const char *path, pare_str *out, pare_error *err);

/* The bytes that stand for the value in a GGUF file (type, then content) appended to out: what is written, and what
 * the hash of the metadata is taken over. */
pare_status pare_meta_serialize(const pare_meta_value *value, pare_buf *out, pare_error *err);

#endif
