#include "make_record.h"
#include "core/random.h"

#include <math.h>
#include <string.h>

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

json_t *made_head(bool has_reference)
{
    json_t *head = json_pack("{s:{s:s, s:s, s:f}, s:{s:i, s:i, s:s}, s:{s:[s, s], s:s}, s:{s:s, s:s}}", "model", "path",
                             "absent/model-q4.gguf", "sha256", ZEROS, "bits_per_weight", 4.5, "settings", "n_ctx",
                             MADE_CTX, "seed", MADE_SEED, "compute", "f32", "tool", "argv", "pare", "eval", "version",
                             "0.1.0", "time", "start", "2026-01-31T00:00:00Z", "end", "2026-01-31T00:00:10Z");
    if (has_reference)
        json_object_set_new(head, "reference", json_pack("{s:s, s:s}", "path", "absent/model", "sha256", ZEROS));
    return head;
}

/* In (0, 1): the same for the same arguments. */
static double made_value(uint32_t text, uint32_t window, uint32_t i, uint32_t which)
{
    uint64_t bits = pare_random(1 + text, ((uint64_t)window * 64 + i) * 8 + which);
    return ((double)(bits >> 11) + 0.5) / 9007199254740992.0;
}

static void fill_scores(pare_scores *s, double values[4][MADE_POSITIONS], uint8_t *flags, uint32_t text,
                        uint32_t window, bool has_reference)
{
    for (uint32_t i = 0; i < MADE_POSITIONS; i++) {
        values[0][i] = 3 * made_value(text, window, i, 0);
        values[1][i] = values[0][i] + 0.01 * made_value(text, window, i, 1);
        values[2][i] = exp(-6 * made_value(text, window, i, 2));
        values[3][i] = values[2][i] * 1.1;
        flags[i] = made_value(text, window, i, 3) < 0.8;
    }
    *s = (pare_scores){.window = window, .first = MADE_FIRST, .n = MADE_POSITIONS, .nll = values[0]};
    if (!has_reference)
        return;
    s->has_reference = true;
    s->ref_nll = values[1];
    s->kld = values[2];
    s->kld_reverse = values[3];
    s->same_top1 = flags;
}

static void add_text(pare_record_writer *w, uint32_t text, bool has_reference, uint32_t first, uint32_t end)
{
    pare_error err = {0};
    pare_tally *tally = NULL;
    pare_eval_result result;
    const pare_record_text header = {.name = text == 0 ? "absent/a.txt" : "absent/b.txt",
                                     .sha256 = ZEROS,
                                     .n_bytes = 1000 + text,
                                     .n_tokens = 100,
                                     .ids_sha256 = ZEROS,
                                     .n_windows = MADE_WINDOWS};
    CHECK_OK(pare_record_begin_text(w, &header, &err), &err);
    CHECK_OK(pare_tally_open(&tally, MADE_CTX, has_reference, &err), &err);
    for (uint32_t window = first; window < end; window++) {
        pare_scores s;
        double values[4][MADE_POSITIONS];
        uint8_t flags[MADE_POSITIONS];
        fill_scores(&s, values, flags, text, window, has_reference);
        CHECK_OK(pare_tally_add(tally, &s, &err), &err);
        CHECK_OK(pare_record_scores(w, &s, &err), &err);
    }
    if (end > first)
        CHECK_OK(pare_tally_finish(tally, MADE_SEED, &result, &err), &err);
    CHECK_OK(pare_record_end_text(w, end > first ? &result : NULL, &err), &err);
    pare_tally_close(tally);
}

void make_record(const char *path, bool has_reference, uint32_t first, uint32_t end, void (*change)(json_t *head))
{
    pare_error err = {0};
    pare_output_set set = {0};
    pare_record_writer *w = NULL;
    json_t *head = made_head(has_reference);
    if (change != NULL)
        change(head);
    CHECK_OK(pare_record_open(&w, path, true, &err), &err);
    for (uint32_t text = 0; text < MADE_TEXTS; text++)
        add_text(w, text, has_reference, first, end);
    CHECK_OK(pare_record_finish(w, head, &set, &err), &err);
    CHECK_OK(pare_output_set_publish(&set, &err), &err);
    pare_output_set_close(&set);
    pare_record_close(w);
    json_decref(head);
}
