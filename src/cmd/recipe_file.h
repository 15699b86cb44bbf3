/* cmd/recipe_file.h - the recipe that a lock records, as a command line of this program
 *
 * A lock may come from anybody. Of its command line only options that shape the bytes are ever used, parsed as if they
 * had been typed; where to write, what to read and what to run is the caller's to say. */
#ifndef PARE_CMD_RECIPE_FILE_H
#define PARE_CMD_RECIPE_FILE_H

#include "cmd/options.h"
#include "core/text.h"
#include "formats/lock_read.h"

#include <jansson.h>

/* Zeroed is closed. */
typedef struct cmd_recipe {
    pare_buf text;  /* the lock's bytes */
    pare_lock lock; /* what it expects of the files */
    json_t *doc;
    const json_t *recipe;             /* borrowed from doc, as the rest: "recipe", */
    const json_t *parents;            /* "parents", */
    const json_t *outputs;            /* names that stand in the lock, plain; at least one */
    const char *version;              /* of the program that made the files */
    const char *folder;               /* the name that the model's folder had, or NULL */
    const char *model;                /* the operand, without folders */
    const char *name;                 /* what --output said, without folders */
    bool bytes_by_cpu, model_is_file; /* the operand is one of the model's files, not their folder */
    cmd_args args;                    /* of the verb that made them */
    char **words, **moved;            /* [args.n_words] owned; the same in the order that args points into */
} cmd_recipe;

/* Read the lock at path. Errors: those of reading a lock; PARE_ERR_FORMAT (a recipe that contradicts itself);
 * PARE_ERR_UNSUPPORTED (no recipe, one without a command line as older versions wrote it, a verb or option that this
 * version does not know) */
pare_status cmd_recipe_read(cmd_recipe *r, const char *path, pare_error *err);
void cmd_recipe_close(cmd_recipe *r);

#endif
