/* cmd/input.h - what several verbs read: texts and their vocabularies */
#ifndef PARE_CMD_INPUT_H
#define PARE_CMD_INPUT_H

#include "cmd/options.h"
#include "core/hash.h"
#include "core/text.h"
#include "eval/tokenizer.h"
#include "model/model.h"

/* The whole of a regular file, "-" for standard input, or a descriptor that the caller opened (/dev/stdin, /dev/fd/N),
 * appended to out. Errors: PARE_ERR_FORMAT (absent, a folder, FIFO, socket or device, a Git LFS pointer), PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status cmd_read_all(const char *path, pare_buf *out, pare_error *err);

/* The tokens of a text (path as in cmd_read_all), with BOS where the vocabulary adds one. Bytes that are not UTF-8 are
 * warned of with the offset of the first one, and go through byte tokens.
 *   digest  may be NULL: of the text's bytes */
pare_status cmd_read_tokens(const char *path, const pare_tokenizer *tokenizer, pare_ids *out, pare_digest *digest,
                            pare_error *err);

/* The tokenizer of m, which must outlive it.
 *   bos  may be NULL: what stands at the start of every window, the id of BOS or PARE_TOKEN_NONE when texts have none
 * Errors: PARE_ERR_UNSUPPORTED (none, or not a known one), PARE_ERR_FORMAT (BOS is asked for and has no id) */
pare_status cmd_open_tokenizer(pare_tokenizer **out, const pare_model *m, int64_t *bos, pare_error *err);

/* Whether ids mean the same to both models, as far as both have a tokenizer: the same number of tokens and the same
 * text behind every ordinary one. Other names of special tokens are warned of. Errors: PARE_ERR_USAGE */
pare_status cmd_check_vocabularies(const pare_model *a, const pare_model *b, pare_error *err);

#endif
