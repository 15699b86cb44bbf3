#include "cmd/resume.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first window, so that items.line holds it. */
static pare_status open_items(cmd_resume *r, pare_error *err)
{
    pare_status st = pare_record_items_open(&r->items, r->part.items_path, err);
    return st == PARE_OK ? pare_record_items_next(&r->items, &r->more, err) : st;
}

static const json_t *windows_of(const cmd_resume *r, size_t text)
{
    const json_t *row = json_array_get(json_object_get(r->part.doc, "texts"), text);
    return json_object_get(json_object_get(row, "windows"), "window");
}

static pare_status load(cmd_resume *r, const char *path, pare_error *err)
{
    pare_status st = pare_record_load(&r->part, path, err);
    if (st == PARE_OK && json_object_get(r->part.doc, "unfinished") == NULL)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is no record of an unfinished evaluation", path);
    if (st == PARE_OK)
        st = open_items(r, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < r->part.n_texts; i++)
        r->n_windows += json_array_size(windows_of(r, i));
    r->is_there = true;
    r->self_checked = json_object_get(r->part.doc, "self_check") != NULL;
    cmd_say("%s: goes on behind its %" PRIu64 " window%s", cmd_safe(path, strlen(path)), r->n_windows,
            r->n_windows == 1 ? "" : "s");
    return PARE_OK;
}

pare_status cmd_resume_open(cmd_resume *r, const cmd_args *args, pare_error *err)
{
    const char *record = cmd_text(args, OPT_RECORD);
    const bool resume = cmd_has(args, OPT_RESUME);
    char *path = NULL;
    *r = (cmd_resume){0};
    if (resume && record == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --resume needs --record", args->verb->name);
    if (resume && cmd_has(args, OPT_SAVE_LOGITS))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --resume has no logits of earlier windows for --save-logits",
                         args->verb->name);
    if (record == NULL)
        return PARE_OK;
    pare_status st = pare_record_unfinished_path(&path, record, err);
    const bool exists = st == PARE_OK && access(path, F_OK) == 0;
    if (st == PARE_OK && resume && !exists)
        cmd_say("%s: is not there: nothing to resume, all windows are measured", cmd_safe(path, strlen(path)));
    else if (exists && resume)
        st = load(r, path, err);
    else if (exists && !cmd_has(args, OPT_FORCE))
        st = pare_fail(err, PARE_ERR_USAGE, "%s: an unfinished evaluation: --resume goes on with it, --force drops it",
                       path);
    free(path);
    return st;
}

void cmd_resume_close(cmd_resume *r)
{
    pare_record_items_close(&r->items);
    pare_record_unload(&r->part);
    *r = (cmd_resume){0};
}

uint32_t cmd_resume_count(const cmd_resume *r, size_t text, const pare_windows *w)
{
    size_t n = r->is_there ? json_array_size(windows_of(r, text)) : 0;
    if (n >= w->n_windows)
        return w->n_windows;
    return (uint32_t)(n - n % w->n_seq);
}

/* Window i of the text as the part has it: to fn. */
static pare_status replay_window(cmd_resume *r, size_t text, pare_windows *w, uint32_t i, pare_scores_fn fn, void *user,
                                 pare_error *err)
{
    const pare_record_line *line = &r->items.line;
    if (!r->more || line->is_task || line->index != text || line->number != w->number[i] ||
        line->scores.first != w->first || line->scores.n != w->n_scored)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: line %" PRIu64 ": expected the scores of window %" PRIu32 " of text %zu", r->items.path,
                         r->items.n_lines, w->number[i], text);
    if (i % w->n_seq == 0)
        pare_windows_fill(w, i);
    pare_scores scores = line->scores;
    scores.ids = w->batch + (size_t)(i % w->n_seq) * w->n_ctx;
    pare_status st = fn(&scores, 0, user, err);
    return st == PARE_OK ? pare_record_items_next(&r->items, &r->more, err) : st;
}

pare_status cmd_resume_replay(cmd_resume *r, size_t text, pare_windows *w, uint32_t n, pare_scores_fn fn, void *user,
                              pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = replay_window(r, text, w, i, fn, user, err);
    return st;
}

void cmd_resume_remove(const cmd_args *args)
{
    pare_error ignored = {0};
    char *path = NULL, *items = NULL;
    if (pare_record_unfinished_path(&path, cmd_text(args, OPT_RECORD), &ignored) == PARE_OK &&
        pare_record_items_path(&items, path, &ignored) == PARE_OK) {
        unlink(path);
        unlink(items);
    }
    free(path);
    free(items);
}
