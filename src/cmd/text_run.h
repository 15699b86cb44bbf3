/* cmd/text_run.h - texts through models: what every verb that measures shares */
#ifndef PARE_CMD_TEXT_RUN_H
#define PARE_CMD_TEXT_RUN_H

#include "cmd/device.h"
#include "cmd/resume.h"
#include "core/hash.h"
#include "eval/evaluate.h"
#include "eval/tally.h"
#include "eval/tokenizer.h"

enum { CMD_MAX_LISTENERS = 6 };

/* One text as it is measured. */
typedef struct cmd_corpus {
    size_t index;       /* -f number 0, 1, ... */
    const char *name;   /* as given */
    pare_digest digest; /* of its bytes */
    pare_ids ids;
    pare_windows windows;
} cmd_corpus;

/* Who wants to see what passes by; each function may be NULL. An error ends the run. */
typedef struct cmd_listener {
    pare_status (*begin)(const cmd_corpus *text, void *user, pare_error *err);
    pare_status (*scores)(const pare_scores *scores, size_t model, void *user, pare_error *err);
    pare_status (*logits)(const pare_logit_rows *rows, void *user,
                          pare_error *err); /* the reference's, if there is one */
    pare_status (*end)(const cmd_corpus *text, const pare_eval_result *results, void *user, pare_error *err);
    /* in place of end, when the text failed after begin; results of the windows whose scores were given */
    void (*broken)(const cmd_corpus *text, const pare_eval_result *results, void *user);
    void *user;
} cmd_listener;

/* All borrowed. */
typedef struct cmd_text_run {
    const cmd_args *args; /* --ctx, --stride, --chunks, --sample, --seed, --chunk-range */
    const cmd_devices *devices;
    const pare_tokenizer *tokenizer;
    int64_t bos;
    const pare_model *const *models; /* [n_models] */
    size_t n_models;
    const pare_model *reference; /* or NULL */
    const pare_kv_form *forms;   /* [n_models] of keys and values, not of the reference's; NULL: floats for all */
    /* In place of reference: a source for these windows, owned by the caller of it (pare_source_close). May be NULL. */
    pare_status (*open_reference)(pare_source **out, const pare_windows *w, void *user, pare_error *err);
    void *open_user;
    cmd_listener listeners[CMD_MAX_LISTENERS];
    size_t n_listeners;
    cmd_resume *resume; /* of one model, or NULL */
    bool self_checked;  /* the reference against itself gave exactly 0 on the first window of the first text */
    double seconds;     /* of passes and scoring, all texts */
    uint64_t n_tokens;  /* that went through models and reference */
} cmd_text_run;

void cmd_listen(cmd_text_run *run, const cmd_listener *listener);

/* What the options say of windows. Errors: PARE_ERR_USAGE (--chunk-range is no A:B) */
pare_status cmd_window_plan(const cmd_args *args, pare_window_plan *out, pare_error *err);

/* Measure a text (path as in cmd_read_all): results [n_models]. Errors: those of reading, of pare_evaluate and of the
 * listeners; PARE_ERR_NUMBER (the reference differs from itself: this machine computes something else each time) */
pare_status cmd_run_text(cmd_text_run *run, size_t index, const char *path, pare_eval_result *results, pare_error *err);

/* Warn where n_ctx is more than m was trained for: figures there are those of a model out of its depth, right and not
 * what was meant. what: "windows of" */
void cmd_warn_of_context(const pare_model *m, const char *what, uint32_t n_ctx);

#endif
