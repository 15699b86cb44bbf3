/* cmd/recipe_inputs.h - the files that a recipe was made of, found by name and checked by hash */
#ifndef PARE_CMD_RECIPE_INPUTS_H
#define PARE_CMD_RECIPE_INPUTS_H

#include "cmd/recipe_file.h"

typedef enum cmd_input_state {
    CMD_INPUT_OK,
    CMD_INPUT_STREAM, /* standard input: known when it has been read */
    CMD_INPUT_MISSING,
    CMD_INPUT_DIFFERENT
} cmd_input_state;

typedef struct cmd_input_file {
    const char *name, *role, *sha256; /* borrowed from the recipe, as recorded */
    bool has_size;
    uint64_t size;
    char *path; /* where it was looked at last; NULL: nowhere */
    cmd_input_state state;
    char why[256]; /* of one that is not OK */
} cmd_input_file;

/* Zeroed is closed. */
typedef struct cmd_inputs {
    cmd_input_file *files; /* [n] in the order of the recipe's parents */
    size_t n, n_model;     /* the first n_model are of the model */
    char *model;           /* the operand; NULL when its files are not all there */
} cmd_inputs;

/* Look for every input in the folders [n_folders], in their order: of a model that is a folder there, too, in a folder
 * of its name below. Nothing outside of them is looked at, and no link is followed but those of the Hub's cache. Files
 * of the right size are hashed. What is missing or different is no error: the states say.
 * Errors: PARE_ERR_FORMAT (the recipe's inputs do not go with its command line, or have names that lead elsewhere),
 * PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status cmd_inputs_find(cmd_inputs *in, const cmd_recipe *r, const char *const *folders, size_t n_folders,
                            pare_error *err);
bool cmd_inputs_complete(const cmd_inputs *in);
void cmd_inputs_close(cmd_inputs *in);

#endif
