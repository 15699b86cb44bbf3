#include "cmd/console.h"
#include "cmd/kv_ready_run.h"
#include "cmd/outputs.h"
#include "cmd/pack_method.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "model/stock.h"

#include <math.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    const char *output;
    bool to_gguf;
    pare_type dtype; /* NONE: auto */
    pare_hf_write_options folder;
    cmd_pack_method method;
    cmd_kv_ready kv_ready;
    pare_model in, out;
    pare_plan plan;
    pare_pin pin;
    cmd_pinning pinning;
} job;

static bool ends_in(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* How the weights of a folder are packed, if they are. */
static pare_status choose_packing(job *j, const char *format, pare_error *err)
{
    static const cmd_option_id ids[] = {OPT_BITS, OPT_GROUP_SIZE, OPT_WHOLE_ROWS, OPT_SYMMETRIC};
    const char *symmetric = cmd_text(j->args, OPT_SYMMETRIC);
    j->folder = (pare_hf_write_options){.force = cmd_has(j->args, OPT_FORCE),
                                        .shard_bytes = cmd_number(j->args, OPT_SPLIT_SIZE),
                                        .pack = format != NULL ? pare_pack_find(format) : NULL};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (j->folder.pack == NULL && cmd_has(j->args, ids[i]))
            return pare_fail(err, PARE_ERR_USAGE,
                             "convert: --bits, --group-size, --whole-rows and --symmetric are for formats "
                             "that pack weights, such as --format awq");
    pare_pack_options *o = &j->folder.pack_options;
    o->bits = (unsigned)cmd_number(j->args, OPT_BITS);
    if (symmetric != NULL)
        o->symmetric = strcmp(symmetric, "yes") == 0 ? 1 : -1;
    o->group = cmd_has(j->args, OPT_GROUP_SIZE) ? (int64_t)cmd_number(j->args, OPT_GROUP_SIZE) : 0;
    if (cmd_has(j->args, OPT_WHOLE_ROWS))
        o->group = -1;
    return PARE_OK;
}

static pare_status choose_format(job *j, pare_error *err)
{
    const char *format = cmd_text(j->args, OPT_FORMAT), *dtype = cmd_text(j->args, OPT_DTYPE);
    j->to_gguf = !cmd_output_is_folder(j->args);
    j->dtype = pare_type_from_name(dtype); /* "auto" is no type: NONE */
    if (j->to_gguf && !ends_in(j->output, ".gguf"))
        return pare_fail(err, PARE_ERR_USAGE, "%s: the name of a GGUF file must end in .gguf", j->output);
    if (!j->to_gguf && j->dtype != PARE_TYPE_NONE && !(pare_type_get(j->dtype)->traits & PARE_TRAIT_FLOAT))
        return pare_fail(err, PARE_ERR_USAGE,
                         "convert: --dtype %s needs a GGUF output; a folder holds f32, f16 or bf16", dtype);
    pare_status st = choose_packing(j, format, err);
    if (st == PARE_OK)
        st = cmd_pack_method_open(&j->method, j->args, j->folder.pack, &j->folder.pack_options, err);
    return st;
}

static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *imatrix = cmd_text(j->args, OPT_IMATRIX);
    cmd_outputs outputs = {.inputs = &imatrix, .n_inputs = imatrix != NULL};
    bool force = cmd_has(j->args, OPT_FORCE) || cmd_has(j->args, OPT_DRY_RUN);
    cmd_outputs_add(&outputs, "--output", j->output);
    cmd_pinning_outputs(&j->pinning, &outputs);
    return cmd_outputs_check(&outputs, &j->in, force, err);
}

/* What blocks are decoded to in a folder of plain floats; what is not packed in one of packed weights. Beside packed
 * weights a folder has matrices that are floats, such as the embedding, in the type that its weights were packed from.
 */
static pare_type decoded_type(const job *j)
{
    pare_type type = PARE_TYPE_BF16;
    bool packed = false;
    if (j->dtype != PARE_TYPE_NONE || j->folder.pack != NULL)
        return j->dtype;
    for (size_t i = j->in.n_tensors; i-- > 0;) {
        const pare_tensor *t = &j->in.tensors[i];
        packed = packed || t->packed;
        if (t->n_dims > 1 && !t->packed && (t->type == PARE_TYPE_F16 || t->type == PARE_TYPE_F32))
            type = t->type;
    }
    return packed ? type : PARE_TYPE_BF16;
}

/* The folder's lock, checksums and signature, where they lie in it. */
static pare_status complete_folder(void *ctx, pare_pin *pin, const char *stored_at, pare_error *err)
{
    job *j = ctx;
    pare_status st = PARE_OK;
    if (cmd_pinning_lies_in(&j->pinning, j->output))
        st = cmd_pinning_write_into(&j->pinning, j->args, pin, j->output, stored_at, err);
    return st == PARE_OK ? cmd_sources_check(j->args, &j->in, err) : st;
}

/* The model, with its lock and checksums, which appear together; those that lie outside of a folder just behind it. */
static pare_status write_model(job *j, pare_error *err)
{
    pare_pin *pin = j->pinning.wanted || cmd_has(j->args, OPT_JSON) ? &j->pin : NULL;
    const bool lies_inside = !j->to_gguf && cmd_pinning_lies_in(&j->pinning, j->output);
    pare_output_set set = {0};
    const pare_write_options options = {
        .force = j->folder.force, .split_bytes = j->folder.shard_bytes, .pending = &set};
    j->pin.files_only = !j->pinning.wanted;
    j->folder.complete = complete_folder;
    j->folder.complete_ctx = j;
    pare_status st = cmd_pinning_hash_inputs(&j->pinning, j->args, &j->in, err);
    if (st == PARE_OK && j->to_gguf)
        st = pare_gguf_write(&j->out, j->output, &options, pin, err);
    else if (st == PARE_OK)
        st = pare_hf_write(&j->out, j->output, decoded_type(j), &j->folder, pin, err);
    if (st == PARE_OK && !lies_inside)
        st = cmd_pinning_add(&j->pinning, j->args, pin, &set, err);
    if (st == PARE_OK && j->to_gguf) /* a folder is there already, and its lock must follow */
        st = cmd_sources_check(j->args, &j->in, err);
    if (st == PARE_OK && j->to_gguf)
        st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

/* Bytes of the output: of a GGUF file exactly, of a folder those of its weights. *weights: those of the weights. */
static pare_status planned_bytes(const job *j, bool dry, uint64_t *n, uint64_t *weights, pare_error *err)
{
    const pare_write_options options = {.split_bytes = j->folder.shard_bytes};
    *weights = pare_model_n_bytes(&j->out);
    if (j->to_gguf)
        return pare_gguf_size(&j->out, &options, n, err);
    pare_hf_write_options folder = j->folder;
    folder.quiet = !dry; /* the writer has warned */
    pare_status st = pare_hf_size(&j->out, decoded_type(j), &folder, n, err);
    *weights = *n;
    return st;
}

static pare_status report(const job *j, bool dry, pare_error *err)
{
    uint64_t planned = 0, weights = 0, n_params = pare_model_n_params(&j->out);
    pare_status st = planned_bytes(j, dry, &planned, &weights, err);
    if (st != PARE_OK)
        return st;
    double bits = n_params > 0 ? 8.0 * (double)weights / (double)n_params : 0;
    if (cmd_has(j->args, OPT_JSON)) {
        json_t *doc = json_object();
        json_object_set_new(doc, "output", cmd_json_text(j->output, strlen(j->output)));
        cmd_json_u64(doc, "bytes", dry ? planned : cmd_pin_bytes(&j->pin));
        cmd_json_real(doc, "bits_per_weight", bits);
        json_object_set_new(doc, "dry_run", json_boolean(dry));
        if (j->method.pack.format != NULL) {
            json_object_set_new(doc, "method", json_string(cmd_text(j->args, OPT_METHOD)));
            cmd_json_u64(doc, "n_scaled", j->method.awq.n_scaled);
            cmd_json_real(doc, "scaled_ratio", j->method.awq.n_pairs > 0 ? j->method.awq.mean_ratio : NAN);
            cmd_json_u64(doc, "n_feedback", j->method.report.n_feedback);
            cmd_json_u64(doc, "n_without_feedback", j->method.report.n_without);
            cmd_json_real(doc, "feedback_ratio", j->method.report.mean_ratio);
        }
        cmd_kv_ready_json(doc, &j->kv_ready);
        json_object_set_new(doc, "tensors", cmd_json_plan(&j->plan));
        if (dry)
            cmd_json_u64(doc, "free_bytes", cmd_free_bytes(j->output));
        else
            cmd_json_files(doc, &j->pin);
        cmd_signing_json(doc, &j->pinning.signing);
        cmd_json_resources(doc);
        return cmd_print_json(j->args, doc, err);
    }
    cmd_progress_clear();
    if (dry || cmd_has(j->args, OPT_VERBOSE))
        cmd_print_plan(&j->plan);
    cmd_kv_ready_print(&j->kv_ready);
    if (j->method.awq.n_pairs > 0)
        printf("inputs of matrices were scaled at %u of %u places, which left %.3f of the error of their products\n",
               (unsigned)j->method.awq.n_scaled, (unsigned)j->method.awq.n_pairs, j->method.awq.mean_ratio);
    if (j->method.report.n_feedback > 0)
        printf("%u matrices were packed with feedback, which left %.3f of the error of their products\n",
               (unsigned)j->method.report.n_feedback, j->method.report.mean_ratio);
    printf("%s: %zu tensors, %s, %.2f bits per weight\n", cmd_safe(j->output, strlen(j->output)), j->out.n_tensors,
           cmd_bytes(planned), bits);
    if (dry)
        printf("free disk: %s; nothing was written (--dry-run)\n", cmd_bytes(cmd_free_bytes(j->output)));
    else {
        cmd_signing_print(&j->pinning.signing);
        printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
    }
    return PARE_OK;
}

pare_status cmd_convert(const cmd_args *args, pare_error *err)
{
    job j = {.args = args, .output = cmd_text(args, OPT_OUTPUT)};
    bool dry = cmd_has(args, OPT_DRY_RUN);
    pare_status st = choose_format(&j, err);
    if (st == PARE_OK)
        st = cmd_pinning_open(&j.pinning, args, j.output, !j.to_gguf, err);
    if (st == PARE_OK)
        st = pare_model_open_as(&j.in, args->operands[0], args->folder_name, PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = check_outputs(&j, err);
    if (st == PARE_OK && j.to_gguf)
        st = pare_stock_complete(&j.in, err);
    if (st == PARE_OK)
        st = cmd_kv_ready_apply(&j.kv_ready, args, &j.in, j.method.settings.imatrix != NULL ? &j.method.imatrix : NULL,
                                j.output, &j.pinning, err);
    if (st == PARE_OK && !dry)
        st = cmd_pack_method_scale(&j.method, &j.in, err);
    if (st == PARE_OK)
        st = pare_convert(&j.out, &j.in, j.folder.pack == NULL ? j.dtype : PARE_TYPE_NONE, &j.plan, err);
    if (st == PARE_OK && !dry)
        st = cmd_pack_method_choose(&j.method, &j.out, &j.plan, j.output, err);
    if (st == PARE_OK && !dry)
        st = write_model(&j, err);
    if (st == PARE_OK)
        st = report(&j, dry, err);
    pare_pin_close(&j.pin);
    pare_model_close(&j.out);
    cmd_pack_method_close(&j.method);
    pare_model_close(&j.in);
    cmd_pinning_close(&j.pinning);
    return st;
}
