#include "cmd/unfinished.h"

#include "cmd/console.h"
#include "core/text.h"
#include "eval/collect_state.h"
#include "formats/imatrix_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* OUT.unfinished-3.gguf of "OUT.gguf", "unfinished" and 2. */
static pare_status name_of(char **name, const char *output, const char *what, size_t text, pare_error *err)
{
    static const char end[] = ".gguf";
    size_t len = strlen(output), k = sizeof end - 1;
    pare_buf buf = {0};
    if (len > k && strcmp(output + len - k, end) == 0)
        len -= k;
    pare_status st = pare_buf_printf(&buf, err, "%.*s.%s-%zu%s", (int)len, output, what, text + 1, end);
    *name = buf.data;
    return st;
}

static pare_status make_names(cmd_unfinished *u, pare_error *err)
{
    const char *output = cmd_text(u->args, OPT_OUTPUT);
    pare_status st = PARE_OK;
    u->state = calloc(u->n_texts + 1, sizeof *u->state);
    u->texts = calloc(u->n_texts + 1, sizeof *u->texts);
    if (u->state == NULL || u->texts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu names", u->n_texts);
    for (size_t i = 0; i < u->n_texts && st == PARE_OK; i++) {
        st = name_of(&u->state[i], output, "unfinished", i, err);
        if (st == PARE_OK)
            st = name_of(&u->texts[i], output, "texts", i, err);
    }
    return st;
}

/* What there is, or NULL. */
static const char *find(const cmd_unfinished *u)
{
    for (size_t i = u->n_texts; i-- > 0;) {
        if (exists(u->state[i]))
            return u->state[i];
        if (exists(u->texts[i]))
            return u->texts[i];
    }
    return NULL;
}

/* What may be removed or replaced is no input. */
static pare_status check_inputs(const cmd_unfinished *u, const cmd_outputs *outputs, const pare_model *model,
                                pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < u->n_texts && st == PARE_OK; i++) {
        char *triangles = pare_collect_state_triangles(u->state[i], err);
        cmd_outputs files = {.inputs = outputs->inputs, .n_inputs = outputs->n_inputs};
        cmd_outputs_add(&files, "the unfinished --output", u->state[i]);
        cmd_outputs_add(&files, "its triangles", triangles);
        cmd_outputs_add(&files, "the sum of texts", u->texts[i]);
        st = triangles != NULL ? cmd_outputs_check(&files, model, true, err) : PARE_ERR_MEMORY;
        free(triangles);
    }
    return st;
}

pare_status cmd_unfinished_open(cmd_unfinished *u, const cmd_args *args, const cmd_outputs *outputs,
                                const pare_model *model, pare_error *err)
{
    const bool resume = cmd_has(args, OPT_RESUME);
    *u = (cmd_unfinished){.args = args, .resume = resume};
    if (!cmd_has(args, OPT_FULL))
        return resume ? pare_fail(err, PARE_ERR_USAGE, "%s: --resume needs --full", args->verb->name) : PARE_OK;
    u->n_texts = cmd_count(args, OPT_FILE);
    pare_status st = make_names(u, err);
    if (st == PARE_OK)
        st = check_inputs(u, outputs, model, err);
    if (st != PARE_OK)
        return st;
    const char *found = find(u);
    if (resume && found == NULL)
        cmd_say("%s: is not there: nothing to resume, all of the text is run",
                cmd_safe(u->state[0], strlen(u->state[0])));
    if (!resume && found != NULL && !cmd_has(args, OPT_FORCE))
        return pare_fail(err, PARE_ERR_USAGE, "%s: of an unfinished run: --resume goes on with it, --force drops it",
                         found);
    if (!resume)
        cmd_unfinished_remove(u);
    for (size_t i = 0; i + 1 < u->n_texts; i++)
        if (exists(u->texts[i]))
            u->n_done = i + 1;
    return PARE_OK;
}

void cmd_unfinished_close(cmd_unfinished *u)
{
    for (size_t i = 0; i < u->n_texts; i++) {
        if (u->state != NULL)
            free(u->state[i]);
        if (u->texts != NULL)
            free(u->texts[i]);
    }
    free(u->state);
    free(u->texts);
    *u = (cmd_unfinished){0};
}

const char *cmd_unfinished_state(const cmd_unfinished *u, size_t text)
{
    return u->state[text];
}

bool cmd_unfinished_is_there(const cmd_unfinished *u, size_t text)
{
    return u->resume && u->n_texts > 0 && exists(u->state[text]);
}

const char *cmd_unfinished_texts(const cmd_unfinished *u)
{
    return u->n_done > 0 ? u->texts[u->n_done - 1] : NULL;
}

pare_status cmd_unfinished_end_text(const cmd_unfinished *u, size_t text, const pare_imatrix *all, pare_error *err)
{
    pare_status st = PARE_OK;
    if (u->n_texts == 0)
        return PARE_OK;
    if (text + 1 < u->n_texts)
        st = pare_imatrix_write(all, u->texts[text], true, NULL, err);
    if (st != PARE_OK || text + 1 == u->n_texts) /* the state of the last text goes when the output is there */
        return st;
    pare_collect_state_remove(u->state[text]);
    if (text > 0)
        unlink(u->texts[text - 1]);
    return PARE_OK;
}

void cmd_unfinished_remove(const cmd_unfinished *u)
{
    for (size_t i = 0; i < u->n_texts; i++) {
        pare_collect_state_remove(u->state[i]);
        unlink(u->texts[i]);
    }
}

void cmd_unfinished_tell(const cmd_unfinished *u, pare_error *err)
{
    char text[PARE_ERROR_TEXT], sentence[PARE_ERROR_TEXT / 2];
    const char *found = u->n_texts > 0 && u->texts != NULL && u->texts[u->n_texts - 1] != NULL ? find(u) : NULL;
    if (found == NULL || err->status == PARE_ERR_USAGE)
        return;
    snprintf(sentence, sizeof sentence, "; what was summed is kept in %.300s: --resume goes on from there", found);
    snprintf(text, sizeof text, "%s", err->status == PARE_ERR_INTERRUPTED ? "interrupted" : err->text);
    pare_fail(err, err->status, "%.*s%s", (int)(sizeof text - strlen(sentence) - 1), text, sentence);
}
