/* formats/json_cursor.h - a strict, forward-only reader of JSON text, for headers whose grammar is fixed and whose size
 * is hostile: nothing is allocated but decoded escapes, integers are exact to 64 bits, and since the caller asks for
 * what must come next, nesting is as deep as the caller's grammar and no deeper.
 *
 * JSON documents of a free form go through core/json.h. */
#ifndef PARE_FORMATS_JSON_CURSOR_H
#define PARE_FORMATS_JSON_CURSOR_H

#include "core/text.h"

typedef struct pare_json_cursor {
    const char *text; /* UTF-8, checked by the caller */
    size_t len, at;
    uint64_t base;     /* offset of text in its file */
    const char *path;  /* of the file; both for messages */
    pare_arena *arena; /* owns strings that had escapes */
} pare_json_cursor;

/* Offset in the file of the next byte. */
uint64_t pare_cursor_offset(const pare_json_cursor *c);

/* Skip white space, and say whether ch comes next. */
bool pare_cursor_at(pare_json_cursor *c, char ch);

/* Consume ch. PARE_ERR_FORMAT: something else is there; the message has the offset, what was found and where. */
pare_status pare_cursor_expect(pare_json_cursor *c, char ch, const char *where, pare_error *err);

/* Step to item number n (from 0) of the list that close ends: at the first item nothing is consumed, later a comma is.
 * *more is false when the list ended, and close is consumed then. A trailing comma is an error. */
pare_status pare_cursor_item(pare_json_cursor *c, size_t n, char close, const char *where, bool *more, pare_error *err);

/* A string: a view into the text, or, when it has escapes, decoded into the arena. Control bytes, lone surrogates and
 * NUL (which no name may hold) are PARE_ERR_FORMAT. */
pare_status pare_cursor_string(pare_json_cursor *c, const char *where, pare_str *out, pare_error *err);

/* A non-negative integer written with digits alone. PARE_ERR_FORMAT: sign, fraction, exponent, leading zero or another
 * kind of value; PARE_ERR_RANGE: above 2^64 - 1. */
pare_status pare_cursor_u64(pare_json_cursor *c, const char *where, uint64_t *out, pare_error *err);

/* Step over a value of any kind, which is not checked: strings and brackets are followed, no more. false: there is none,
 * or it has no end. */
bool pare_cursor_skip(pare_json_cursor *c);

/* PARE_ERR_FORMAT when anything but white space is left. */
pare_status pare_cursor_end(pare_json_cursor *c, const char *where, pare_error *err);

#endif
