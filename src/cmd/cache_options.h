/* cmd/cache_options.h - --cache-k, --cache-v and how they are used: the form of keys and values (eval/kv.h) */
#ifndef PARE_CMD_CACHE_OPTIONS_H
#define PARE_CMD_CACHE_OPTIONS_H

#include "cmd/options.h"
#include "eval/kv.h"

#include <jansson.h>

/* One of the two is given. check: without one, none of the options that say how. Errors: PARE_ERR_USAGE */
bool cmd_has_cache(const cmd_args *args);
pare_status cmd_cache_check(const cmd_args *args, pare_error *err);

/* A codec as an option names it. Errors: PARE_ERR_USAGE (unknown; the nearest name is told) */
pare_status cmd_parse_codec(const cmd_args *args, const char *option, const char *name, pare_kv_side side,
                            const pare_kv_codec **out, pare_error *err);

/* How heads of keys or values of m are rotated for a codec by --cache-rotate, as its value says: on is llama.cpp's way
 * where that program rotates such a cache, else the full one. */
pare_kv_turn cmd_cache_turn(const char *how, const pare_kv_codec *c, pare_kv_side side, const pare_model *m);

/* What a form makes of a layer of m that is no end; where all are ends, of such. */
pare_kv_layer cmd_cache_layer(const pare_kv_form *form, const pare_model *m);

/* How it is turned there: "off", "llama", "full"; of two sides the one that is turned. */
const char *cmd_cache_turned(const pare_kv_form *form, const pare_model *m);

/* Bytes for CMD_CACHE_TOKENS tokens as llama.cpp keeps them: in layers with a window what it keeps there. Errors: those
 * of pare_kv_bytes */
enum { CMD_CACHE_TOKENS = 1024 };
pare_status cmd_cache_bytes(const pare_kv_form *form, const pare_model *m, uint64_t *out, pare_error *err);

/* The programs that keep such a cache of m, divided by ", ", into out [64]: those of both codecs that rotate so too.
 * "": none is known, as where layers or tokens are kept apart, or keys without their mean. */
void cmd_cache_programs(const pare_kv_form *form, const pare_model *m, char *out);

/* The last tokens that stay in F16, on the side that keeps more: windows of no more say nothing about the form. */
uint32_t cmd_cache_recent(const pare_kv_form *form);

/* What the options say, for m. Errors: PARE_ERR_USAGE, those of pare_kv_check */
pare_status cmd_cache_form(const cmd_args *args, const pare_model *m, pare_kv_form *out, pare_error *err);

/* "keys q4_0 (rotation llama), values q8_0 (rotation llama)" of cmd_cache_layer, and bytes for 1,024 tokens: as a line,
 * and into doc.cache. */
pare_status cmd_cache_print(const pare_kv_form *form, const pare_model *m, pare_error *err);
/* {keys, values, rotation_keys, ...} as in doc.cache; NULL: no memory, or the error. */
json_t *cmd_cache_members(const pare_kv_form *form, const pare_model *m, pare_error *err);
pare_status cmd_cache_json(json_t *doc, const pare_kv_form *form, const pare_model *m, pare_error *err);

/* The options as they are given, into settings.cache of a record; nothing without. */
void cmd_cache_settings(json_t *settings, const cmd_args *args);

#endif
