/* cmd/type_options.h - block types as options name them: TYPE, REGEX=TYPE */
#ifndef PARE_CMD_TYPE_OPTIONS_H
#define PARE_CMD_TYPE_OPTIONS_H

#include "cmd/options.h"
#include "recipe/recipe.h"

/* "quantize: --tensor: unknown block type 'q4'; did you mean 'q4_0'?". preset: it is a preset that is unknown. */
pare_status cmd_unknown_type(const cmd_args *args, const char *option, const char *text, bool preset, pare_error *err);

/* A type that a GGUF file may have. Errors: PARE_ERR_USAGE */
pare_status cmd_parse_type(const cmd_args *args, const char *option, const char *text, pare_type *out, pare_error *err);

/* That of an option; PARE_TYPE_NONE where it is not given. */
pare_status cmd_parse_type_option(const cmd_args *args, cmd_option_id id, const char *option, pare_type *out,
                                  pare_error *err);

/* All of a repeated option REGEX=TYPE; the last '=' divides them, since a type has none. The rules and their patterns
 * are the caller's, at an error too: cmd_type_rules_free. Errors: PARE_ERR_USAGE, PARE_ERR_MEMORY */
pare_status cmd_parse_type_rules(const cmd_args *args, cmd_option_id id, const char *option, pare_type_override **out,
                                 size_t *n, pare_error *err);
void cmd_type_rules_free(pare_type_override *rules, size_t n);

#endif
