/* cmd/pair_file.h - sentence pairs for embeddings, out of a text file
 *
 * A line "first<TAB>second" is a pair, "first<TAB>second<TAB>number" one with a score that somebody gave. In a file
 * without any tab each line is a text, and texts are paired with each other: all of them up to PAIR_MANY texts, else
 * each with the next ones. Empty lines count as nothing. */
#ifndef PARE_CMD_PAIR_FILE_H
#define PARE_CMD_PAIR_FILE_H

#include "core/text.h"
#include "eval/similarity.h"

enum { CMD_PAIR_MANY = 1000 };

/* Zeroed is closed. */
typedef struct cmd_pair_file {
    const char *name; /* as given */
    pare_buf bytes;   /* what texts are views of */
    pare_str *texts;  /* [n_texts] */
    size_t *lines;    /* [n_texts] counted from 1 */
    pare_text_pair *pairs;
    size_t n_texts, n_pairs;
} cmd_pair_file;

/* path as in cmd_read_all. Errors: PARE_ERR_FORMAT (a line of another form, with its number; fewer than two texts; not
 * UTF-8), those of reading */
pare_status cmd_pair_file_open(cmd_pair_file *f, const char *path, pare_error *err);
void cmd_pair_file_close(cmd_pair_file *f);

#endif
