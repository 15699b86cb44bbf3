/* cmd/unfinished.h - imatrix --full --resume: the files that an interrupted run leaves beside its output
 *
 *     OUT.unfinished-2.gguf, .gguf.gram   what was summed of the second text (eval/collect_state.h)
 *     OUT.texts-1.gguf                    the sum of --in and the first text, an ordinary file of statistics
 *
 * OUT without its .gguf. They are removed when OUT is there. */
#ifndef PARE_CMD_UNFINISHED_H
#define PARE_CMD_UNFINISHED_H

#include "cmd/options.h"
#include "cmd/outputs.h"
#include "model/imatrix.h"

/* Zeroed is closed. */
typedef struct cmd_unfinished {
    const cmd_args *args;
    size_t n_texts;
    size_t n_done;         /* texts that are in OUT.texts-N.gguf */
    char **state, **texts; /* [n_texts] names; texts[i]: after text i. Owned */
    bool resume;
} cmd_unfinished;

/* Look for what lies beside --output. Without --resume it must not be there, or is removed by --force; nothing there
 * with --resume is said on stderr and no error. None of these files may be one of the model or of outputs' inputs.
 * Errors: PARE_ERR_USAGE, PARE_ERR_MEMORY */
pare_status cmd_unfinished_open(cmd_unfinished *u, const cmd_args *args, const cmd_outputs *outputs,
                                const pare_model *model, pare_error *err);
void cmd_unfinished_close(cmd_unfinished *u);

const char *cmd_unfinished_state(const cmd_unfinished *u, size_t text);
bool cmd_unfinished_is_there(const cmd_unfinished *u, size_t text); /* something to resume this text from */
const char *cmd_unfinished_texts(const cmd_unfinished *u);          /* the sum of the first n_done; NULL: none */

/* A text is in all: keep that, where further texts follow, and drop its state. Errors: those of pare_imatrix_write */
pare_status cmd_unfinished_end_text(const cmd_unfinished *u, size_t text, const pare_imatrix *all, pare_error *err);

/* The output is there. */
void cmd_unfinished_remove(const cmd_unfinished *u);

/* The run failed: say so in err if something can be resumed. */
void cmd_unfinished_tell(const cmd_unfinished *u, pare_error *err);

#endif
