#include "cmd/console.h"
#include "cmd/outputs.h"
#include "cmd/summary.h"
#include "formats/gguf.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"

#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    const char *output;
    pare_quantize_options options;
    pare_type_override *overrides; /* owned, as the patterns in it */
    pare_imatrix imatrix;
    pare_model in, out;
    pare_plan plan;
    pare_pin pin;
    cmd_pinning pinning;
} job;

static const char *next_type_name(size_t i, const void *ctx)
{
    const pare_preset *preset = ctx != NULL ? cmd_preset_at(i) : NULL;
    if (ctx != NULL)
        return preset != NULL ? preset->name : NULL;
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        if (pare_encoder(type) != NULL && pare_type_get(type)->gguf >= 0 && i-- == 0)
            return pare_type_get(type)->name;
    return NULL;
}

static pare_status unknown_type(const char *option, const char *text, bool preset, pare_error *err)
{
    const char *near = cmd_nearest(text, next_type_name, preset ? "" : NULL);
    const char *kind = preset ? "preset" : "block type";
    if (near == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --%s: unknown %s '%s'", option, kind, text);
    return pare_fail(err, PARE_ERR_USAGE, "quantize: --%s: unknown %s '%s'; did you mean '%s'?", option, kind, text,
                     near);
}

static pare_status parse_block_type(const char *option, const char *text, pare_type *out, pare_error *err)
{
    *out = pare_type_from_name(text);
    if (*out == PARE_TYPE_NONE || pare_type_get(*out)->gguf < 0)
        return unknown_type(option, text, false, err);
    return PARE_OK;
}

static pare_status parse_optional(const cmd_args *args, cmd_option_id id, const char *option, pare_type *out,
                                  pare_error *err)
{
    *out = PARE_TYPE_NONE;
    return cmd_has(args, id) ? parse_block_type(option, cmd_text(args, id), out, err) : PARE_OK;
}

/* TYPE: a preset; with --pure a block type, or a preset for its base type. */
static pare_status parse_type(job *j, pare_error *err)
{
    const char *text = cmd_text(j->args, OPT_TYPE);
    const pare_preset *preset = pare_preset_find(text);
    j->options.pure_type = PARE_TYPE_NONE;
    if (!cmd_has(j->args, OPT_PURE)) {
        j->options.preset = preset;
        if (preset != NULL)
            return PARE_OK;
        if (pare_type_from_name(text) != PARE_TYPE_NONE)
            return pare_fail(err, PARE_ERR_USAGE, "quantize: '%s' is a block type and no preset; give --pure with it",
                             text);
        return unknown_type("type", text, true, err);
    }
    if (preset != NULL) {
        j->options.pure_type = preset->base;
        return PARE_OK;
    }
    return parse_block_type("type", text, &j->options.pure_type, err);
}

/* REGEX=TYPE; the last '=' divides them, since a type has none. */
static pare_status parse_overrides(job *j, pare_error *err)
{
    size_t n = cmd_count(j->args, OPT_TENSOR);
    if (n > 0 && (j->overrides = calloc(n, sizeof *j->overrides)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu patterns", n);
    for (size_t i = 0; i < n; i++) {
        const char *text = cmd_nth(j->args, OPT_TENSOR, i), *equals = strrchr(text, '=');
        if (equals == NULL || equals == text || equals[1] == '\0')
            return pare_fail(err, PARE_ERR_USAGE, "quantize: --tensor '%s': expected REGEX=TYPE", text);
        pare_status st = parse_block_type("tensor", equals + 1, &j->overrides[i].type, err);
        if (st != PARE_OK)
            return st;
        if ((j->overrides[i].pattern = strndup(text, (size_t)(equals - text))) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for a pattern");
    }
    j->options.overrides = j->overrides;
    j->options.n_overrides = n;
    return PARE_OK;
}

static pare_status parse_options(job *j, pare_error *err)
{
    pare_status st = parse_type(j, err);
    if (st == PARE_OK)
        st = parse_optional(j->args, OPT_OUTPUT_TYPE, "output-type", &j->options.output_type, err);
    if (st == PARE_OK)
        st = parse_optional(j->args, OPT_EMBEDDING_TYPE, "embedding-type", &j->options.embedding_type, err);
    if (st == PARE_OK)
        st = parse_overrides(j, err);
    j->options.allow_requantize = cmd_has(j->args, OPT_ALLOW_REQUANTIZE);
    j->options.allow_nonfinite = cmd_has(j->args, OPT_ALLOW_NONFINITE);
    return st;
}

static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *imatrix = cmd_text(j->args, OPT_IMATRIX);
    cmd_outputs outputs = {.inputs = &imatrix, .n_inputs = imatrix != NULL};
    bool force = cmd_has(j->args, OPT_FORCE) || cmd_has(j->args, OPT_DRY_RUN);
    cmd_outputs_add(&outputs, "--output", j->output);
    cmd_outputs_add(&outputs, "--lock", j->pinning.lock);
    cmd_outputs_add(&outputs, "--sums", j->pinning.sums);
    return cmd_outputs_check(&outputs, &j->in, force, err);
}

static json_t *report_json(const job *j, bool dry, uint64_t planned)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "output", cmd_json_text(j->output, strlen(j->output)));
    cmd_json_u64(doc, "bytes", planned);
    cmd_json_real(doc, "bits_per_weight", cmd_bits_per_weight(&j->out));
    json_object_set_new(doc, "dry_run", json_boolean(dry));
    cmd_json_u64(doc, "n_fallback", j->plan.n_fallback);
    json_object_set_new(doc, "tensors", cmd_json_plan(&j->plan));
    if (dry)
        cmd_json_u64(doc, "free_bytes", cmd_free_bytes(j->output));
    else
        cmd_json_files(doc, &j->pin);
    cmd_json_resources(doc);
    return doc;
}

static void report_text(const job *j, bool dry, uint64_t planned)
{
    cmd_progress_clear();
    if (dry || cmd_has(j->args, OPT_VERBOSE)) {
        cmd_print_plan(&j->plan);
        putchar('\n');
    }
    cmd_print_types(&j->out);
    cmd_print_fallbacks(&j->plan);
    printf("\n%s: %s (%llu bytes), %.2f bits per weight\n", cmd_safe(j->output, strlen(j->output)), cmd_bytes(planned),
           (unsigned long long)planned, cmd_bits_per_weight(&j->out));
    if (dry) {
        printf("free disk: %s; nothing was written (--dry-run)\n", cmd_bytes(cmd_free_bytes(j->output)));
        return;
    }
    for (size_t i = 0; j->pinning.wanted && i < j->pin.n_files; i++) {
        char hex[PARE_SHA256_HEX];
        pare_hex(hex, j->pin.files[i].digest.sha256, sizeof j->pin.files[i].digest.sha256);
        printf("sha256 %s  %s\n", hex, cmd_safe(j->pin.files[i].path, strlen(j->pin.files[i].path)));
    }
    if (j->pinning.wanted)
        printf("pinned in %s and %s\n", j->pinning.lock, j->pinning.sums);
    printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
}

/* The model, its lock and its checksums appear together. */
static pare_status write_files(job *j, pare_write_options options, pare_error *err)
{
    pare_output_set set = {0};
    pare_pin *pin = j->pinning.wanted || cmd_has(j->args, OPT_JSON) ? &j->pin : NULL;
    pare_status st = cmd_pinning_hash_inputs(&j->pinning, j->args, &j->in, err);
    options.pending = &set;
    if (st == PARE_OK)
        st = pare_gguf_write(&j->out, j->output, &options, pin, err);
    if (st == PARE_OK)
        st = cmd_pinning_add(&j->pinning, j->args, pin, &set, err);
    if (st == PARE_OK && (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

static pare_status write_and_report(job *j, pare_error *err)
{
    const pare_write_options options = {.force = cmd_has(j->args, OPT_FORCE),
                                        .split_bytes = cmd_number(j->args, OPT_SPLIT_SIZE)};
    bool dry = cmd_has(j->args, OPT_DRY_RUN);
    uint64_t planned = 0;
    pare_status st = pare_gguf_size(&j->out, &options, &planned, err);
    if (st == PARE_OK && !dry)
        st = write_files(j, options, err);
    if (st != PARE_OK)
        return st;
    if (cmd_has(j->args, OPT_JSON))
        return cmd_print_json(j->args, report_json(j, dry, planned), err);
    report_text(j, dry, planned);
    return PARE_OK;
}

pare_status cmd_quantize(const cmd_args *args, pare_error *err)
{
    job j = {.args = args, .output = cmd_text(args, OPT_OUTPUT)};
    unsigned flags = cmd_has(args, OPT_ALLOW_REQUANTIZE) ? PARE_OPEN_REQUANTIZE : 0;
    pare_status st = parse_options(&j, err);
    if (st == PARE_OK)
        st = cmd_pinning_open(&j.pinning, args, j.output, false, err);
    if (st == PARE_OK)
        st = pare_model_open(&j.in, args->operands[0], flags, err);
    if (st == PARE_OK)
        st = check_outputs(&j, err);
    if (st == PARE_OK && cmd_has(args, OPT_IMATRIX)) {
        st = pare_imatrix_open(&j.imatrix, cmd_text(args, OPT_IMATRIX), err);
        j.options.imatrix = &j.imatrix;
    }
    if (st == PARE_OK)
        st = pare_quantize(&j.out, &j.in, &j.options, &j.plan, err);
    if (st == PARE_OK)
        st = write_and_report(&j, err);
    pare_pin_close(&j.pin);
    pare_model_close(&j.out);
    pare_model_close(&j.in);
    pare_imatrix_close(&j.imatrix);
    cmd_pinning_close(&j.pinning);
    for (size_t i = 0; j.overrides != NULL && i < cmd_count(args, OPT_TENSOR); i++)
        free((char *)j.overrides[i].pattern);
    free(j.overrides);
    return st;
}
