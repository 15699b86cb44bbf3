/* core/text.h - strings with a length, a growing buffer, UTF-8, escaping, a name index */
#ifndef PARE_CORE_TEXT_H
#define PARE_CORE_TEXT_H

#include "core/error.h"

#include <stdint.h>

/* len bytes at data, not necessarily terminated, may hold NUL. A view: whoever made it says who owns the bytes. */
typedef struct pare_str {
    const char *data;
    size_t len;
} pare_str;

bool pare_str_equal(pare_str s, const char *text);

/* Write src to dst (size bytes with the terminator) with control bytes, DEL, C1 controls, bidirectional overrides,
 * invisible characters and bytes that are not UTF-8 as \xNN. Cuts at whole escapes and whole characters. Returns dst.
 */
char *pare_escape(char *dst, size_t size, const char *src, size_t len);

/* The same for running text, in which invisible characters that are not unsafe (pare_char_unsafe) stay: emoji and many
 * scripts are written with joiners and variation selectors. */
char *pare_escape_text(char *dst, size_t size, const char *src, size_t len);

/* True for characters that a terminal acts on or that hide or reorder what is around them: controls (C0, DEL, C1), line
 * separators, marks and overrides of direction. */
bool pare_char_unsafe(uint32_t cp);

/* True for characters that show nothing, so that two names with and without them look the same: Unicode's
 * Default_Ignorable_Code_Point (DerivedCoreProperties.txt of Unicode 16) and the marks of annotations U+FFF9 to U+FFFB.
 * Texts have uses for some of them (joiners, variation selectors); names have none. */
bool pare_char_invisible(uint32_t cp);

/* True when some of it is an unsafe character or not well-formed UTF-8. */
bool pare_text_unsafe(const char *s, size_t len);

/* Length in bytes of the well-formed UTF-8 character at s (len bytes left, len > 0), or 0: overlong forms, surrogates
 * and values above U+10FFFF are not well-formed. *cp, if not NULL, receives the code point. */
size_t pare_utf8_next(const char *s, size_t len, uint32_t *cp);

/* Append the UTF-8 form of cp to dst (4 bytes of room); returns the number of bytes, 0 when cp is no scalar value. */
size_t pare_utf8_put(char *dst, uint32_t cp);

/* True when all of it is well-formed; otherwise *bad, if not NULL, is the offset of the first wrong byte. */
bool pare_utf8_valid(const char *s, size_t len, size_t *bad);

/* How many bytes at s (len > 0) are the start of a well-formed character, as many as there are; 0: none starts so.
 * *whole: that character is complete; false: more bytes could complete it, if they are the last ones. */
size_t pare_utf8_start(const char *s, size_t len, bool *whole);

/* A growing byte buffer. Zeroed is empty. After a failed append it is unchanged and the call returned
 * PARE_ERR_MEMORY. data is NUL-terminated behind len whenever it is not NULL. */
typedef struct pare_buf {
    char *data;
    size_t len, cap;
} pare_buf;

pare_status pare_buf_put(pare_buf *b, const void *src, size_t n, pare_error *err);
pare_status pare_buf_puts(pare_buf *b, const char *text, pare_error *err);
pare_status pare_buf_printf(pare_buf *b, pare_error *err, const char *fmt, ...) PARE_PRINTF(3, 4);
pare_status pare_buf_reserve(pare_buf *b, size_t n, pare_error *err); /* room for n more bytes */
void pare_buf_close(pare_buf *b);

/* Append bytes with U+FFFD in place of what is not UTF-8, one for the longest start of a character or a single byte
 * (Unicode 15, section 3.9, as Python's errors='replace'). */
pare_status pare_buf_put_utf8(pare_buf *b, const char *s, size_t len, pare_error *err);

/* Name -> index, with room for any bytes in the name. Keys are views: their bytes must outlive the map. Expected
 * constant time whatever the names are (seeded hash). About 25 bytes a name. Zeroed is empty. */
typedef struct pare_index {
    struct pare_index_entry *entries; /* [cap], the first n_used */
    uint32_t *slots;                  /* [n_slots] number of an entry + 1; 0: free */
    size_t n_slots, n_used, cap;
    uint64_t seed;
} pare_index;

enum { PARE_INDEX_NONE = -1 };

/* Add key -> value (0 to 2^32 - 1). When the key is there already nothing changes, and *old receives its value; else
 * *old is PARE_INDEX_NONE. Errors: PARE_ERR_MEMORY. */
pare_status pare_index_add(pare_index *map, pare_str key, int64_t value, int64_t *old, pare_error *err);
/* Room for n_keys keys in all, so that no growth is needed on the way there. */
pare_status pare_index_reserve(pare_index *map, size_t n_keys, pare_error *err);
int64_t pare_index_find(const pare_index *map, pare_str key); /* value or PARE_INDEX_NONE */
/* Key i of map->n_used, in the order in which they were added. */
pare_str pare_index_key(const pare_index *map, size_t i, int64_t *value);
void pare_index_close(pare_index *map);

/* Memory that is freed all at once: names, strings, small arrays of a model. Zeroed is empty. */
typedef struct pare_arena {
    struct pare_arena_block *head;
} pare_arena;

void *pare_arena_alloc(pare_arena *a, size_t n, pare_error *err); /* zeroed, aligned to 16; NULL on failure */
char *pare_arena_copy(pare_arena *a, const char *src, size_t len, pare_error *err); /* adds a NUL */
void pare_arena_close(pare_arena *a);

#endif
