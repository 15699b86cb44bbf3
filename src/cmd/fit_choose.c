#include "cmd/fit_choose.h"
#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/outputs.h"
#include "cmd/sources.h"
#include "core/look.h"
#include "core/progress.h"
#include "eval/collect.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"
#include "model/stock.h"
#include "recipe/calibration.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    N_CTX = PARE_DEFAULT_CTX,
    HELD_BACK = 10, /* one window in so many is measured on, */
    CHOICE = 5,     /* and one in so many chosen by, */
    MIN_CHOICE = 4, /* but not fewer */
    MAX_CHOICE = 64,
};

/* ---- text ------------------------------------------------------------------------------------------------------- */

static pare_status copy_ids(pare_ids *out, const int32_t *ids, size_t n, pare_error *err)
{
    *out = (pare_ids){.ids = malloc((n + 1) * sizeof *ids), .n = n, .cap = n + 1};
    if (out->ids == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tokens", n);
    memcpy(out->ids, ids, n * sizeof *ids);
    return PARE_OK;
}

/* |--- statistics ---|- choice -|- judgement -|
 *
 * What encodings were fitted to says too little of what they cost elsewhere, and what a choice was made by says too
 * little of the choice: so each has windows of its own. With --imatrix there is no first part, with --test no last one.
 */
static pare_status divide_text(cmd_fit_job *j, pare_error *err)
{
    const bool counts = !cmd_has(j->args, OPT_IMATRIX), judges = !cmd_has(j->args, OPT_TEST);
    const size_t n = j->text.n / N_CTX, n_back = !judges ? 0 : n / HELD_BACK > 2 ? n / HELD_BACK : 2;
    const size_t most = n / CHOICE < MAX_CHOICE ? n / CHOICE : MAX_CHOICE;
    const size_t n_choice = most > MIN_CHOICE ? most : MIN_CHOICE, n_least = n_back + n_choice + (counts ? 2 : 0);
    if (n < n_least)
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: %s has %zu windows of %d tokens: %zu are needed, of which %zu are kept back to "
                         "measure on",
                         cmd_text(j->args, OPT_FILE), n, N_CTX, n_least, n_back);
    const size_t back = (n - n_back) * N_CTX, choice = counts ? back - n_choice * N_CTX : 0;
    pare_ids all = j->text;
    j->text = (pare_ids){0};
    j->held_back = judges;
    pare_status st = judges ? copy_ids(&j->test, all.ids + back, all.n - back, err) : PARE_OK;
    if (st == PARE_OK)
        st = copy_ids(&j->text, all.ids + choice, (judges ? back : all.n) - choice, err);
    if (st == PARE_OK)
        st = copy_ids(&j->calibration, all.ids, choice, err);
    free(all.ids);
    return st;
}

static void note_stream(cmd_fit_job *j, const char *path, const pare_digest *digest)
{
    if (strcmp(path, "-") == 0)
        pare_hex(j->standard_input, digest->sha256, sizeof digest->sha256);
}

/* What the result is judged by must be there, and be no part of the choice. */
static pare_status read_test(cmd_fit_job *j, const pare_digest *text, pare_error *err)
{
    const char *path = cmd_text(j->args, OPT_TEST);
    pare_digest digest;
    pare_status st = cmd_read_tokens(path, j->tokenizer, &j->test, &digest, err);
    if (st == PARE_OK)
        note_stream(j, path, &digest);
    if (st == PARE_OK && j->test.n < N_CTX)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --test: %s has %zu tokens: at least one window of %d is needed",
                         path, j->test.n, N_CTX);
    if (st == PARE_OK && memcmp(digest.sha256, text->sha256, sizeof digest.sha256) == 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: --test: %s is the text that types are chosen by; without --test its end is kept back",
                         path);
    return st;
}

static pare_status read_texts(cmd_fit_job *j, pare_digest *digest, pare_error *err)
{
    pare_status st = cmd_open_tokenizer(&j->tokenizer, &j->model, &j->bos, err);
    if (st == PARE_OK)
        st = cmd_read_tokens(cmd_text(j->args, OPT_FILE), j->tokenizer, &j->text, digest, err);
    if (st == PARE_OK)
        note_stream(j, cmd_text(j->args, OPT_FILE), digest);
    if (st == PARE_OK && cmd_has(j->args, OPT_TEST))
        st = read_test(j, digest, err);
    return st == PARE_OK ? divide_text(j, err) : st;
}

/* ---- statistics ------------------------------------------------------------------------------------------------- */

static void after_batch(uint32_t n_done, uint32_t n_all, void *user)
{
    (void)user;
    pare_progress("windows", n_done, n_all, "statistics");
}

static pare_status collect(cmd_fit_job *j, const char *path, pare_error *err)
{
    const pare_collect_options options = {
        .n_ctx = N_CTX, .output_weight = true, .full = true, .full_bytes = UINT64_C(8) << 30};
    const char *name = cmd_base_name(cmd_text(j->args, OPT_FILE));
    pare_imatrix seen = {0};
    pare_status st = pare_collect(&seen, &j->model, j->backend, j->calibration.ids, j->calibration.n, j->bos, &options,
                                  after_batch, NULL, err);
    if (st == PARE_OK)
        st = pare_imatrix_add_dataset(&seen, (pare_str){name, strlen(name)}, err);
    if (st == PARE_OK)
        st = pare_imatrix_write(&seen, path, true, NULL, err);
    pare_imatrix_close(&seen);
    return st;
}

/* Those of --imatrix, or those of the text, which an earlier run may have left in the folder. */
static pare_status open_statistics(cmd_fit_job *j, const pare_digest *text, pare_error *err)
{
    pare_buf path = {0};
    struct stat about;
    bool there = false;
    char hex[2 * sizeof text->sha256 + 1];
    if (cmd_has(j->args, OPT_IMATRIX))
        return pare_imatrix_open(&j->imatrix, cmd_text(j->args, OPT_IMATRIX), err);
    pare_hex(hex, text->sha256, sizeof text->sha256);
    pare_status st = pare_buf_printf(&path, err, "%s/statistics-%.16s-%zu.gguf", j->state, hex, j->calibration.n);
    if (st == PARE_OK)
        st = pare_look(path.data, &about, &there, err);
    if (st == PARE_OK && there) {
        pare_error why = {0};
        if (pare_imatrix_open(&j->imatrix, path.data, &why) == PARE_OK &&
            pare_calibration_check(&j->imatrix, &j->model, &why) == PARE_OK) {
            cmd_note("%s: statistics of an earlier run", cmd_safe(path.data, path.len));
            pare_buf_close(&path);
            return PARE_OK;
        }
        pare_imatrix_close(&j->imatrix); /* of another model, or damaged: collected again */
    }
    if (st == PARE_OK)
        st = collect(j, path.data, err);
    if (st == PARE_OK)
        st = pare_imatrix_open(&j->imatrix, path.data, err);
    pare_buf_close(&path);
    return st;
}

/* ---- budget ----------------------------------------------------------------------------------------------------- */

/* llama.cpp leaves the embedding on the host, unless it is the output as well: where RAM is no part of the budget its
 * bits cost nothing, and it gets eight. A rule of the user's comes first. */
static pare_status make_rules(cmd_fit_job *j, pare_error *err)
{
    static const pare_type_override embedding = {.pattern = "^token_embd\\.weight$", .type = PARE_TYPE_Q8_0};
    const pare_tensor *table = pare_model_find(&j->model, "token_embd.weight"),
                      *output = pare_model_find(&j->model, "output.weight");
    const bool free_of_charge = j->request->n_devices > 0 && j->request->ram == 0 &&
                                j->request->runtime == pare_memory_runtime_at(0) && table != NULL && output != NULL &&
                                table->row_len % 32 == 0;
    j->keep = calloc(j->request->n_keep + 1, sizeof *j->keep);
    if (j->keep == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for rules");
    if (j->request->n_keep > 0)
        memcpy(j->keep, j->request->keep, j->request->n_keep * sizeof *j->keep);
    j->n_keep = j->request->n_keep;
    if (free_of_charge)
        j->keep[j->n_keep++] = embedding;
    return PARE_OK;
}

/* Memory is no number of bytes that a file may have: each plan that is thought of is placed. */
static pare_status accept_types(const pare_type *types, bool *yes, void *user, pare_error *err)
{
    cmd_fit_job *j = user;
    return cmd_fit_room_has(&j->room, types, yes, err);
}

/* Before there are statistics the file lacks what it says of them. */
static const char *at_least(const cmd_fit_job *j)
{
    return j->is_early ? "at least " : "";
}

/* If not even the smallest file finds room, why. */
static pare_status check_smallest(cmd_fit_job *j, pare_error *err)
{
    uint64_t least, most;
    pare_error why = {0};
    pare_type *types = calloc(j->model.n_tensors + 1, sizeof *types);
    if (types == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu types", j->model.n_tensors);
    pare_fit_range(j->fit, &least, &most);
    pare_fit_smallest(j->fit, types);
    pare_status st = cmd_fit_room_check(&j->room, types, &why);
    free(types);
    if (st == PARE_ERR_DIFFERENCE)
        return pare_fail(err, st, "%s: the smallest file takes %s%" PRIu64 " bytes: %s", j->model.path, at_least(j),
                         least, why.text);
    if (st != PARE_OK)
        *err = why;
    return st;
}

/* What the file may have for the budget of that number; of memory what the types allow. */
static pare_status find_budget(cmd_fit_job *j, size_t i, uint64_t *bytes, pare_error *err)
{
    uint64_t least, most;
    cmd_fit_ask(j, i);
    pare_fit_range(j->fit, &least, &most);
    if (j->request->n_sizes == 0) {
        pare_status st = check_smallest(j, err);
        *bytes = st == PARE_OK ? most : 0;
        return st;
    }
    *bytes = j->request->sizes[i];
    return *bytes >= least
               ? PARE_OK
               : pare_fail(err, PARE_ERR_DIFFERENCE,
                           "%s: the smallest file takes %s%" PRIu64 " bytes, the budget leaves %" PRIu64 " for it",
                           j->model.path, at_least(j), least, *bytes);
}

/* Which budgets can be met at all: known before anything is encoded. */
static pare_status find_budgets(cmd_fit_job *j, pare_error *err)
{
    pare_status st = cmd_fit_front_open(j, err);
    for (size_t i = 0; i < j->n_outcomes && st == PARE_OK; i++) {
        pare_error why = {0};
        cmd_fit_outcome *o = &j->outcomes[i];
        st = find_budget(j, i, &o->budget, &why);
        st = cmd_fit_note(o, st, &why, err);
    }
    return st == PARE_OK ? cmd_fit_front_check(j, err) : st;
}

/* ---- search ----------------------------------------------------------------------------------------------------- */

static void show_progress(const pare_fit_progress *p, void *job)
{
    enum { STEPS = 10000 };
    static const char *const stages[] = {"encoding", "single swaps", "search"};
    char line[320];
    (void)job;
    if (isfinite(p->kld))
        snprintf(line, sizeof line, "%s: divergence %.6f", stages[p->stage], p->kld);
    else
        snprintf(line, sizeof line, "%s: %s", stages[p->stage], cmd_safe(p->what, strlen(p->what)));
    pare_progress("", (uint64_t)(p->part * STEPS), STEPS, line);
}

/* The search as far as it says which types there are, with statistics or, early, before there are. */
static pare_status open_fit(cmd_fit_job *j, pare_error *err)
{
    const cmd_fit_request *r = j->request;
    const bool of_memory = r->n_sizes == 0 && !r->pareto;
    const pare_fit_options options = {.model = &j->model,
                                      .imatrix = j->is_early ? NULL : &j->imatrix,
                                      .imatrix_later = j->is_early,
                                      .backend = j->backend,
                                      .ids = j->text.ids,
                                      .n_ids = j->text.n,
                                      .bos = j->bos,
                                      .n_ctx = N_CTX,
                                      .folder = j->state,
                                      .version = CMD_BUILD_VERSION " (" CMD_BUILD_COMMIT ")",
                                      .types = r->n_types > 0 ? r->types : NULL,
                                      .n_types = r->n_types,
                                      .min_bits = r->min_bits,
                                      .prefer_fast = r->prefer_fast,
                                      .keep = j->keep,
                                      .n_keep = j->n_keep,
                                      .effort = r->effort,
                                      .allow_requantize = r->allow_requantize,
                                      .n_rounds = r->effort == PARE_EFFORT_BEST ? 2 : 0,
                                      .accept = of_memory ? accept_types : NULL,
                                      .each = show_progress,
                                      .user = j};
    pare_status st = of_memory ? cmd_fit_room_open(&j->room, &j->own, &j->model, err) : PARE_OK;
    if (st == PARE_OK)
        st = pare_fit_open(&j->fit, &options, err);
    return st == PARE_OK ? find_budgets(j, err) : st;
}

static void close_fit(cmd_fit_job *j)
{
    pare_fit_close(j->fit);
    cmd_fit_room_close(&j->room);
    free(j->outcomes);
    j->fit = NULL;
    j->outcomes = NULL;
    j->n_outcomes = 0;
}

/* What cannot be met with any statistics is told before they are collected, which may take hours. */
static pare_status check_early(cmd_fit_job *j, pare_error *err)
{
    const cmd_fit_request *request = j->request;
    j->is_early = true;
    pare_status st = open_fit(j, err);
    close_fit(j);
    j->request = request;
    j->is_early = false;
    return st;
}

static pare_status open_search(cmd_fit_job *j, pare_error *err)
{
    pare_status st = open_fit(j, err);
    return st == PARE_OK ? pare_fit_measure(j->fit, err) : st;
}

/* ---- what it came to -------------------------------------------------------------------------------------------- */

static pare_status measure(cmd_fit_job *j, const pare_model *m, pare_eval_result *out, pare_error *err)
{
    const pare_measure_options options = {.windows = {.n_ctx = N_CTX}, .seed = 1};
    return pare_measure(m, &j->model, j->backend, j->test.ids, j->test.n, j->bos, &options, out, err);
}

/* Bytes of the text whose tokens are scored. */
static pare_status scored_bytes(const cmd_fit_job *j, uint64_t *n, pare_error *err)
{
    const pare_window_plan plan = {.n_ctx = N_CTX};
    pare_windows w = {0};
    pare_buf text = {0};
    pare_status st = pare_windows_open(&w, j->test.ids, j->test.n, j->bos, &plan, err);
    *n = 0;
    for (uint32_t i = 0; i < w.n_windows && st == PARE_OK; i++) {
        const int32_t *scored = j->test.ids + (size_t)w.number[i] * w.step + w.first + 1;
        text.len = 0;
        for (uint32_t k = 0; k < w.n_scored && st == PARE_OK; k++)
            st = pare_detokenize(j->tokenizer, scored[k], false, &text, err);
        *n += text.len;
    }
    pare_windows_close(&w);
    pare_buf_close(&text);
    return st;
}

/* The tokens differ between vocabularies, the bytes do not. */
static pare_status add_bits_per_byte(const cmd_fit_job *j, cmd_fit_outcome *o, pare_error *err)
{
    uint64_t n = 0;
    pare_status st = scored_bytes(j, &n, err);
    const double per_nat = n > 0 ? (double)o->result.n_tokens_scored / (double)n / log(2) : NAN;
    o->bits_per_byte = log(o->result.perplexity.value) * per_nat;
    o->reference_bits_per_byte = log(o->result.reference_perplexity.value) * per_nat;
    return st;
}

/* The plan of a budget; where memory is the budget, how it is run there. */
static pare_status solve(cmd_fit_job *j, uint64_t budget, cmd_fit_outcome *o, pare_model *out, pare_plan *plan,
                         pare_error *err)
{
    o->candidate = (cmd_fit_candidate){.name = "chosen"};
    pare_status st = pare_fit_solve(j->fit, budget, &o->fit, err);
    o->budget = o->fit.budget; /* of memory: as much as finds room */
    if (st == PARE_OK)
        st = pare_fit_make(j->fit, &o->fit, out, plan, err);
    if (st == PARE_OK && j->request->n_sizes == 0)
        st = cmd_fit_candidate_make(&o->candidate, j->request, out, err);
    return st == PARE_OK && o->candidate.status != PARE_OK
               ? pare_fail(err, PARE_ERR_DIFFERENCE, "%s: %s", j->model.path, o->candidate.why)
               : st;
}

/* What was chosen: SHA-256 of a line "name type" for each tensor. */
static pare_status hash_plan(const pare_fit_result *r, char hex[PARE_SHA256_HEX], pare_error *err)
{
    pare_hasher h = {0};
    pare_digest digest;
    pare_buf line = {0};
    pare_status st = pare_hasher_open(&h, PARE_HASH_SHA256, err);
    for (size_t i = 0; i < r->n_rows && st == PARE_OK; i++) {
        line.len = 0;
        st = pare_buf_printf(&line, err, "%s %s\n", r->rows[i].name, pare_type_get(r->rows[i].type)->name);
        if (st == PARE_OK)
            st = pare_hasher_add(&h, line.data, line.len, err);
    }
    if (st == PARE_OK && (st = pare_hasher_finish(&h, &digest, err)) == PARE_OK)
        pare_hex(hex, digest.sha256, sizeof digest.sha256);
    pare_hasher_close(&h);
    pare_buf_close(&line);
    return st;
}

static pare_status write_file(cmd_fit_job *j, const pare_model *out, const pare_fit_result *chosen, pare_error *err)
{
    pare_output_set set = {0};
    cmd_pinning *pinning = &j->pinning;
    const pare_write_options options = {.force = cmd_has(j->args, OPT_FORCE), .pending = &set};
    pare_status st = cmd_pinning_open(pinning, j->args, j->output, false, err);
    pare_pin *pin = pinning->wanted || cmd_has(j->args, OPT_JSON) ? &j->pin : NULL;
    j->pin.files_only = !pinning->wanted;
    pinning->devices = j->devices;
    memcpy(pinning->standard_input, j->standard_input, sizeof pinning->standard_input);
    if (st == PARE_OK && pinning->wanted)
        st = hash_plan(chosen, pinning->plan, err);
    if (st == PARE_OK)
        st = cmd_pinning_hash_inputs(pinning, j->args, &j->model, err);
    if (st == PARE_OK)
        st = pare_gguf_write(out, j->output, &options, pin, err);
    if (st == PARE_OK)
        st = cmd_pinning_add(pinning, j->args, pin, &set, err);
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->model, err)) == PARE_OK &&
        (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

/* What is measured is the file, where there is one. */
static pare_status measure_outcome(cmd_fit_job *j, const pare_model *made, cmd_fit_outcome *o, pare_error *err)
{
    pare_model file = {0};
    pare_status st = j->output != NULL ? pare_model_open(&file, j->output, 0, err) : PARE_OK;
    if (st == PARE_OK)
        st = measure(j, j->output != NULL ? &file : made, &o->result, err);
    if (st == PARE_OK)
        st = cmd_fit_answer(j, j->output != NULL ? &file : made, &o->drift, err);
    pare_model_close(&file);
    return st == PARE_OK ? add_bits_per_byte(j, o, err) : st;
}

static pare_status make_outcome(cmd_fit_job *j, uint64_t budget, cmd_fit_outcome *o, pare_error *err)
{
    pare_model out = {0};
    pare_plan plan = {0};
    pare_status st = solve(j, budget, o, &out, &plan, err);
    if (st == PARE_OK && cmd_has(j->args, OPT_SEQUENTIAL)) /* what it gains, or not, is measured, too */
        st = measure(j, &out, &o->plain, err);
    if (st == PARE_OK && cmd_has(j->args, OPT_SEQUENTIAL))
        st = cmd_fit_sequential_make(j, &o->fit, "sequential", &out, &plan, err);
    o->n_sequential = j->sequential.n;
    if (st == PARE_OK && j->output != NULL)
        st = write_file(j, &out, &o->fit, err);
    if (st == PARE_OK)
        st = measure_outcome(j, &out, o, err);
    pare_model_close(&out);
    return st;
}

/* ---- presets beside it ------------------------------------------------------------------------------------------ */

/* The preset's types, in the place of those of a result. */
static pare_status preset_types(const cmd_fit_job *j, const pare_preset *preset, pare_fit_result *r, pare_error *err)
{
    const pare_quantize_options options = {.preset = preset,
                                           .pure_type = PARE_TYPE_NONE,
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .imatrix = &j->imatrix,
                                           .effort = PARE_EFFORT_DEFAULT,
                                           .allow_requantize = true,
                                           .plan_only = true};
    pare_model typed = {0};
    pare_plan plan = {0};
    pare_status st = pare_quantize(&typed, &j->model, &options, &plan, err);
    if (st == PARE_OK)
        st = pare_gguf_size(&typed, &(pare_write_options){0}, &r->bytes, err);
    for (size_t i = 0; st == PARE_OK && i < r->n_rows; i++) {
        const pare_tensor *t = pare_model_find(&typed, r->rows[i].name);
        if (t != NULL && r->rows[i].chosen)
            r->rows[i].type = t->type;
    }
    pare_model_close(&typed);
    return st;
}

typedef struct preset_size {
    const pare_preset *preset;
    uint64_t bytes, distance; /* of its file; from the chosen one's */
} preset_size;

static int compare_distances(const void *a, const void *b)
{
    const preset_size *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return (x->preset->ftype > y->preset->ftype) - (x->preset->ftype < y->preset->ftype); /* q8_0, not mxfp4_moe */
}

/* The presets that this model can have, by how near their files are in size; returns how many of list [n] there are. */
static size_t list_presets(const cmd_fit_job *j, pare_fit_result *r, preset_size *list, size_t n)
{
    const uint64_t chosen = r->bytes;
    const pare_preset *preset;
    size_t n_listed = 0;
    for (size_t i = 0; n_listed < n && (preset = pare_preset_at(i)) != NULL; i++) {
        pare_error why = {0};
        if (preset->trained || preset_types(j, preset, r, &why) != PARE_OK)
            continue;
        list[n_listed++] = (preset_size){preset, r->bytes, r->bytes > chosen ? r->bytes - chosen : chosen - r->bytes};
    }
    r->bytes = chosen;
    qsort(list, n_listed, sizeof *list, compare_distances);
    return n_listed;
}

/* A preset that has types which were no choice is passed over. */
static pare_status measure_rival(cmd_fit_job *j, const preset_size *preset, pare_fit_result *r, pare_error *err)
{
    pare_model out = {0};
    pare_plan plan = {0};
    pare_error why = {0};
    pare_status st = preset_types(j, preset->preset, r, err);
    if (st == PARE_OK && pare_fit_make(j->fit, r, &out, &plan, &why) != PARE_OK) {
        j->n_passed_over += why.status == PARE_ERR_USAGE;
        if (why.status != PARE_ERR_USAGE) {
            *err = why;
            st = why.status;
        }
    } else if (st == PARE_OK) {
        cmd_fit_rival *rival = &j->rivals[j->n_rivals];
        *rival = (cmd_fit_rival){.name = preset->preset->name, .bytes = preset->bytes};
        j->n_rivals++;
        if (cmd_has(j->args, OPT_SEQUENTIAL)) /* as what they are beside */
            st = cmd_fit_sequential_make(j, r, "sequential-preset", &out, &plan, err);
        if (st == PARE_OK)
            st = measure(j, &out, &rival->result, err);
        if (st == PARE_OK)
            st = cmd_fit_answer(j, &out, &rival->drift, err);
        pare_model_close(&out);
        if (cmd_has(j->args, OPT_SEQUENTIAL)) /* of use to nobody else */
            pare_state_drop(&j->sequential.state);
    }
    pare_model_close(&out);
    return st;
}

/* The presets whose files are nearest in size, made of what was encoded for the choice. */
static pare_status measure_rivals(cmd_fit_job *j, pare_error *err)
{
    enum { MAX_PRESETS = 64 };
    preset_size list[MAX_PRESETS];
    pare_fit_result r = j->outcomes[0].fit;
    pare_status st = PARE_OK;
    r.rows = malloc(r.n_rows * sizeof *r.rows);
    if (r.rows == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    memcpy(r.rows, j->outcomes[0].fit.rows, r.n_rows * sizeof *r.rows);
    const size_t n = list_presets(j, &r, list, MAX_PRESETS);
    for (size_t i = 0; i < n && j->n_rivals < CMD_FIT_PRESETS && st == PARE_OK; i++) {
        if (j->n_rivals > 0 && list[i].bytes == j->rivals[j->n_rivals - 1].bytes)
            continue; /* mxfp4_moe of a model without experts is q8_0 */
        memcpy(r.rows, j->outcomes[0].fit.rows, r.n_rows * sizeof *r.rows);
        st = measure_rival(j, &list[i], &r, err);
    }
    free(r.rows);
    return st;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* From before the statistics: two runs would collect them twice, and one of them in vain. */
static pare_status lock_folder(cmd_fit_job *j, pare_error *err)
{
    pare_buf path = {0};
    bool reused;
    pare_status st = pare_buf_printf(&path, err, "%s/in-use", j->state);
    if (st == PARE_OK)
        st = pare_spool_open_named(&j->lock, path.data, 1, false, &reused, err);
    pare_buf_close(&path);
    return st;
}

static pare_status make_folder(cmd_fit_job *j, const char *state, pare_error *err)
{
    j->state = strdup(state);
    if (j->state == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    struct stat about;
    if (mkdir(state, 0777) != 0 && errno != EEXIST)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot make the folder: %s", state, strerror(errno));
    bool there;
    pare_status st = pare_look(state, &about, &there, err);
    if (st != PARE_OK)
        return st;
    if (!there || !S_ISDIR(about.st_mode))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --state: is no folder", state);
    return lock_folder(j, err);
}

static pare_status solve_all(cmd_fit_job *j, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < j->n_outcomes && st == PARE_OK; i++) {
        pare_error why = {0};
        cmd_fit_outcome *o = &j->outcomes[i];
        if (o->status != PARE_OK)
            continue;
        cmd_fit_ask(j, i);
        st = make_outcome(j, o->budget, o, &why);
        st = cmd_fit_note(o, st, &why, err);
    }
    if (st == PARE_OK)
        st = cmd_fit_front_check(j, err);
    return st == PARE_OK && j->n_outcomes == 1 ? measure_rivals(j, err) : st;
}

pare_status cmd_fit_choose(cmd_fit_job *j, const cmd_args *args, const cmd_fit_request *request,
                           const cmd_devices *devices, const char *path, const char *state, const char *output,
                           pare_error *err)
{
    *j = (cmd_fit_job){.args = args,
                       .request = request,
                       .backend = devices->backend[0],
                       .devices = devices,
                       .path = path,
                       .output = output};
    pare_digest digest;
    pare_status st = cmd_drift_open(&j->tasks, args, err); /* a wrong file is told at once */
    if (st == PARE_OK)
        st = pare_model_open_as(&j->model, path, args->folder_name, 0, err);
    if (st == PARE_OK)
        st = pare_stock_complete(&j->model, err);
    if (st == PARE_OK && !request->allow_requantize && pare_model_claims(&j->model) != NULL)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'quantization_config' says that the weights were quantized already (%s), though they lie "
                       "there as floats: give --requantize to do it again",
                       path, pare_model_claims(&j->model));
    if (st == PARE_OK && request->n_sizes == 0)
        cmd_fit_warn_of_context(request, &j->model);
    if (st == PARE_OK)
        st = read_texts(j, &digest, err);
    if (st == PARE_OK)
        st = make_folder(j, state, err);
    if (st == PARE_OK)
        st = make_rules(j, err);
    if (st == PARE_OK && !cmd_has(args, OPT_IMATRIX))
        st = check_early(j, err);
    if (st == PARE_OK)
        st = open_statistics(j, &digest, err);
    if (st == PARE_OK)
        st = cmd_fit_sequential_check(j, err);
    if (st == PARE_OK)
        st = open_search(j, err);
    return st == PARE_OK ? solve_all(j, err) : st;
}

void cmd_fit_job_close(cmd_fit_job *j)
{
    for (size_t i = 0; i < j->n_outcomes && j->outcomes != NULL; i++) {
        pare_fit_result_close(&j->outcomes[i].fit);
        cmd_drift_close(&j->outcomes[i].drift);
    }
    for (size_t i = 0; i < j->n_rivals; i++)
        cmd_drift_close(&j->rivals[i].drift);
    free(j->outcomes);
    cmd_tasks_free_scores(&j->tasks, j->answers);
    cmd_tasks_close(&j->tasks);
    cmd_fit_sequential_close(j);
    pare_fit_close(j->fit);
    cmd_fit_room_close(&j->room);
    pare_imatrix_close(&j->imatrix);
    pare_pin_close(&j->pin);
    cmd_pinning_close(&j->pinning);
    pare_tokenizer_close(j->tokenizer);
    free(j->calibration.ids);
    free(j->text.ids);
    free(j->test.ids);
    free(j->keep);
    pare_spool_close(&j->lock);
    free(j->state);
    pare_model_close(&j->model);
    *j = (cmd_fit_job){0};
}
