/* tasks/python_text.h - what Python's str methods do to a text: benchmark prompts are defined by programs in Python,
 * and a byte of difference is a token of difference */
#ifndef PARE_TASKS_PYTHON_TEXT_H
#define PARE_TASKS_PYTHON_TEXT_H

#include "core/text.h"

/* str.strip() and str.rstrip(): white space of Unicode and the separators U+001C to U+001F. s is UTF-8. */
pare_str pare_strip(pare_str s);
pare_str pare_strip_end(pare_str s);

/* str.capitalize(), appended to out: the first character in title case, the others in lower case, by the simple
 * mappings of Unicode (a character stays one character). */
pare_status pare_capitalize(pare_buf *out, pare_str s, pare_error *err);

/* len(s) of a str: code points. */
size_t pare_count_chars(pare_str s);

#endif
