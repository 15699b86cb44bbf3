/* cmd/metadata.h - metadata values as text and as JSON */
#ifndef PARE_CMD_METADATA_H
#define PARE_CMD_METADATA_H

#include "model/meta.h"

#include <jansson.h>

/* The value as JSON. An array longer than CMD_SHORT_ARRAY becomes {"elem", "n"} unless whole is set. A float that JSON
 * has no number for becomes a string. */
enum { CMD_SHORT_ARRAY = 16 };
json_t *cmd_json_meta(const pare_meta_value *value, bool whole);
json_t *cmd_json_metadata(const pare_meta *meta, bool whole); /* key -> value */

void cmd_print_meta(const pare_meta_value *value);       /* "key = value" on one line, cut */
void cmd_print_meta_whole(const pare_meta_value *value); /* the value alone; a string keeps its lines */

#endif
