#include "cmd/console.h"
#include "cmd/metadata.h"
#include "cmd/model_diff.h"
#include "cmd/summary.h"
#include "core/json.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "formats/tokenizer_files.h"

#include <inttypes.h>
#include <string.h>

enum { CONFIG_MAX_BYTES = 16 << 20 };

/* raw: tensors as they lie in the files. known: the same model as the other verbs see it, for the metadata and the
 * tokenizer of a folder; closed when pare cannot read it that way. */
typedef struct job {
    const cmd_args *args;
    pare_model raw, known;
    const pare_meta *meta;
    pare_vocab from_meta;
    const pare_vocab *vocab; /* NULL: none */
    char architecture[64];
    uint64_t n_bytes;
    pare_error damage; /* status PARE_OK: the model is sound */
} job;

static const char *format_name(const pare_model *m)
{
    static const char *const names[] = {
        [PARE_FORMAT_GGUF] = "gguf", [PARE_FORMAT_HF] = "hf", [PARE_FORMAT_SAFETENSORS] = "safetensors"};
    return names[m->format];
}

static void keep_damage(job *j, pare_status st, const pare_error *err)
{
    if (st != PARE_OK && j->damage.status == PARE_OK)
        j->damage = *err;
}

/* A folder of an architecture that pare does not know: what its config.json and its tokenizer files say. */
static void look_at_folder(job *j)
{
    pare_buf path = {0};
    json_t *config = NULL;
    pare_str type = {0};
    uint64_t n_vocab = 0;
    bool found = false;
    pare_status st = pare_buf_printf(&path, NULL, "%s/config.json", j->raw.path);
    if (st == PARE_OK)
        st = pare_json_load(&config, path.data, CONFIG_MAX_BYTES, PARE_JSON_BIG_AS_REAL, NULL);
    if (st == PARE_OK)
        st = pare_json_str(config, path.data, "model_type", &type, NULL, NULL);
    if (st == PARE_OK)
        pare_escape(j->architecture, sizeof j->architecture, type.data, type.len);
    if (st == PARE_OK)
        st = pare_json_u64(config, path.data, "vocab_size", 1, PARE_MAX_VOCAB, &n_vocab, NULL, NULL);
    if (st == PARE_OK)
        st = pare_tokenizer_files_read(&j->from_meta, j->raw.path, config, (uint32_t)n_vocab, &found, NULL);
    if (st == PARE_OK && found)
        j->vocab = &j->from_meta;
    json_decref(config);
    pare_buf_close(&path);
}

/* The same model as the other verbs see it. */
static void look_at_known(job *j)
{
    pare_error err = {0};
    pare_status st = pare_model_open(&j->known, j->raw.path, 0, &err);
    if (st == PARE_OK) {
        j->meta = &j->known.meta;
        j->vocab = j->known.has_vocab ? &j->known.vocab : NULL;
        return;
    }
    if (st == PARE_ERR_UNSUPPORTED)
        cmd_note("%s", err.text);
    else
        keep_damage(j, st, &err);
    look_at_folder(j);
}

/* What the metadata of a GGUF file means. When a hyperparameter is bad, the tokenizer is still shown. */
static void look_at_meaning(job *j)
{
    pare_error err = {0};
    bool found = false;
    pare_status st = pare_gguf_interpret(&j->raw, 0, &err);
    if (st == PARE_ERR_UNSUPPORTED)
        cmd_note("%s", err.text);
    else
        keep_damage(j, st, &err);
    if (j->raw.has_vocab)
        j->vocab = &j->raw.vocab;
    else if (pare_vocab_from_meta(&j->from_meta, &j->raw.meta, j->raw.path, &found, &err) == PARE_OK && found)
        j->vocab = &j->from_meta;
}

/* Statistics (pare imatrix) share the container and describe no model. */
static bool is_imatrix(const pare_model *m)
{
    const pare_meta_value *type = pare_meta_find(&m->meta, "general.type");
    return type != NULL && type->type == PARE_META_STRING && pare_str_equal(type->v.s, "imatrix");
}

/* Metadata, tokenizer and architecture. */
static void look_closer(job *j)
{
    pare_str architecture = {0};
    bool found = false;
    j->meta = &j->raw.meta;
    if (j->raw.format == PARE_FORMAT_GGUF && !is_imatrix(&j->raw))
        look_at_meaning(j);
    else if (j->raw.format == PARE_FORMAT_HF)
        look_at_known(j);
    pare_meta_name(j->meta, j->raw.path, "general.architecture", &architecture, &found, NULL);
    if (found)
        pare_escape(j->architecture, sizeof j->architecture, architecture.data, architecture.len);
}

static pare_status open_model(job *j, const char *path, pare_error *err)
{
    pare_status st = pare_model_open(&j->raw, path, PARE_OPEN_RAW | PARE_OPEN_PARTIAL, &j->damage);
    j->damage.status = st;
    if (st != PARE_OK && j->raw.meta.n == 0 && j->raw.n_tensors == 0) {
        *err = j->damage; /* nothing could be read */
        return st;
    }
    look_closer(j);
    for (size_t i = 0; i < j->raw.n_files; i++)
        j->n_bytes += j->raw.files[i].size;
    return PARE_OK;
}

static json_t *tokenizer_json(const pare_vocab *v)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "model", cmd_json_text(v->model.data, v->model.len));
    if (v->pre.len > 0)
        json_object_set_new(doc, "pre", cmd_json_text(v->pre.data, v->pre.len));
    cmd_json_u64(doc, "n_tokens", v->n_tokens);
    cmd_json_u64(doc, "n_merges", v->n_merges);
    if (v->bos != PARE_TOKEN_NONE)
        json_object_set_new(doc, "bos", json_integer(v->bos));
    if (v->eos != PARE_TOKEN_NONE)
        json_object_set_new(doc, "eos", json_integer(v->eos));
    cmd_json_u64(doc, "chat_template_bytes", v->chat_template.len);
    return doc;
}

static json_t *tensors_json(const pare_model *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        json_t *row = json_object();
        json_object_set_new(row, "name", cmd_json_text(t->name, strlen(t->name)));
        json_object_set_new(row, "type", json_string(pare_type_get(t->type)->name));
        json_object_set_new(row, "shape", cmd_json_shape(t));
        cmd_json_u64(row, "offset", t->offset);
        cmd_json_u64(row, "bytes", t->n_bytes);
        if (m->n_files > 1)
            cmd_json_u64(row, "file", t->file);
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *model_json(const job *j)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "format", json_string(format_name(&j->raw)));
    if (j->raw.format == PARE_FORMAT_GGUF) {
        cmd_json_u64(doc, "version", j->raw.version);
        cmd_json_u64(doc, "alignment", j->raw.alignment);
    }
    json_object_set_new(doc, "architecture", j->architecture[0] != '\0' ? json_string(j->architecture) : json_null());
    json_object_set_new(doc, "supported", json_boolean(pare_arch_find(j->architecture) != NULL));
    cmd_json_u64(doc, "n_files", j->raw.n_files);
    cmd_json_u64(doc, "n_tensors", j->raw.n_tensors);
    cmd_json_u64(doc, "n_params", pare_model_n_params(&j->raw));
    cmd_json_u64(doc, "bytes", j->n_bytes);
    cmd_json_u64(doc, "tensor_bytes", pare_model_n_bytes(&j->raw));
    cmd_json_real(doc, "bits_per_weight", cmd_bits_per_weight(&j->raw));
    json_object_set_new(doc, "types", cmd_json_types(&j->raw));
    if (j->vocab != NULL)
        json_object_set_new(doc, "tokenizer", tokenizer_json(j->vocab));
    json_object_set_new(doc, "metadata", cmd_json_metadata(j->meta, cmd_has(j->args, OPT_METADATA)));
    json_object_set_new(doc, "tensors", tensors_json(&j->raw));
    if (j->damage.status != PARE_OK)
        json_object_set_new(doc, "error", cmd_json_error(&j->damage));
    return doc;
}

static void print_number(const job *j, const char *label, const char *suffix)
{
    char key[128];
    uint64_t value = 0;
    bool found = false;
    snprintf(key, sizeof key, "%s.%s", j->architecture, suffix);
    pare_meta_u64(j->meta, j->raw.path, key, 0, UINT64_MAX, &value, &found, NULL);
    if (found)
        printf("%-14s%" PRIu64 "\n", label, value);
}

static void print_tokenizer(const pare_vocab *v)
{
    printf("%-14s%s", "tokenizer", cmd_safe(v->model.data, v->model.len));
    if (v->pre.len > 0)
        printf(" (%s)", cmd_safe(v->pre.data, v->pre.len));
    printf(", %" PRIu32 " tokens", v->n_tokens);
    if (v->n_merges > 0)
        printf(", %" PRIu32 " merges", v->n_merges);
    if (v->bos != PARE_TOKEN_NONE)
        printf(", BOS %" PRId64, v->bos);
    if (v->eos != PARE_TOKEN_NONE)
        printf(", EOS %" PRId64, v->eos);
    puts(v->chat_template.data != NULL ? ", chat template" : "");
}

static void print_summary(const job *j)
{
    const pare_model *m = &j->raw;
    printf("%-14s%s\n%-14s%s", "model", cmd_safe(m->path, strlen(m->path)), "format", format_name(m));
    if (m->format == PARE_FORMAT_GGUF)
        printf(" version %" PRIu32 ", alignment %" PRIu32, m->version, m->alignment);
    printf("\n%-14s%s", "architecture", j->architecture[0] != '\0' ? j->architecture : "unknown");
    puts(pare_arch_find(j->architecture) != NULL ? "" : " (pare cannot run it)");
    print_number(j, "layers", "block_count");
    print_number(j, "context", "context_length");
    print_number(j, "width", "embedding_length");
    printf("%-14s%zu, %s\n", "files", m->n_files, cmd_bytes(j->n_bytes));
    printf("%-14s%" PRIu64 "\n", "weights", pare_model_n_params(m));
    printf("%-14s%.2f\n", "bits a weight", cmd_bits_per_weight(m));
    if (j->vocab != NULL)
        print_tokenizer(j->vocab);
    printf("%-14s%zu keys\n\n", "metadata", j->meta->n);
    cmd_print_types(m);
}

static void print_tensors(const pare_model *m)
{
    char shape[200];
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        cmd_shape_text(shape, sizeof shape, t);
        printf("%-44s %-8s %-20s offset %-12" PRIu64 " %" PRIu64 " bytes", cmd_safe(t->name, strlen(t->name)),
               pare_type_get(t->type)->name, shape, t->offset, t->n_bytes);
        if (m->n_files > 1)
            printf("  file %" PRIu32, t->file + 1);
        putchar('\n');
    }
}

static pare_status print_one_key(const job *j, const char *key, pare_error *err)
{
    const pare_meta_value *value = pare_meta_find(j->meta, key);
    if (value == NULL && j->damage.status != PARE_OK)
        return PARE_OK; /* the damage is told, and may be why */
    if (value == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: has no metadata key '%s'", j->raw.path, key);
    if (!cmd_has(j->args, OPT_JSON)) {
        cmd_print_meta_whole(value);
        return PARE_OK;
    }
    json_t *doc = json_object(), *metadata = json_object();
    json_object_set_new(metadata, key, cmd_json_meta(value, true));
    json_object_set_new(doc, "metadata", metadata);
    return cmd_print_json(j->args, doc, err);
}

static pare_status show(const job *j, pare_error *err)
{
    const cmd_args *args = j->args;
    if (cmd_text(args, OPT_METADATA) != NULL)
        return print_one_key(j, cmd_text(args, OPT_METADATA), err);
    if (cmd_has(args, OPT_JSON))
        return cmd_print_json(args, model_json(j), err);
    print_summary(j);
    if (cmd_has(args, OPT_METADATA))
        putchar('\n');
    for (size_t i = 0; cmd_has(args, OPT_METADATA) && i < j->meta->n; i++)
        cmd_print_meta(&j->meta->values[i]);
    if (cmd_has(args, OPT_TENSORS)) {
        putchar('\n');
        print_tensors(&j->raw);
    }
    return PARE_OK;
}

static pare_status print_differences(const cmd_args *args, json_t *list, pare_error *err)
{
    size_t n = json_array_size(list), i;
    json_t *item;
    if (cmd_has(args, OPT_JSON))
        return cmd_print_json(args, json_pack("{s:O, s:b}", "differences", list, "same", n == 0), err);
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        printf("%s %s: %s\n", json_string_value(json_object_get(item, "kind")), cmd_safe(name, strlen(name)),
               json_string_value(json_object_get(item, "text")));
    }
    printf("%zu differences\n", n);
    return PARE_OK;
}

static pare_status compare(const job *j, pare_error *err)
{
    pare_model other = {0};
    json_t *list = json_array();
    pare_status st = pare_model_open(&other, cmd_text(j->args, OPT_DIFF), PARE_OPEN_RAW, err);
    if (st == PARE_OK)
        st = cmd_model_diff(&j->raw, &other, list, err);
    if (st == PARE_OK)
        st = print_differences(j->args, list, err);
    if (st == PARE_OK && json_array_size(list) > 0)
        st = PARE_ERR_DIFFERENCE;
    json_decref(list);
    pare_model_close(&other);
    return st;
}

pare_status cmd_inspect(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_status st = open_model(&j, args->operands[0], err);
    if (st == PARE_OK && cmd_has(args, OPT_DIFF) && j.damage.status == PARE_OK)
        st = compare(&j, err);
    else if (st == PARE_OK)
        st = show(&j, err);
    if (st == PARE_OK && j.damage.status != PARE_OK) {
        *err = j.damage;
        st = err->status;
    }
    pare_vocab_close(&j.from_meta);
    pare_model_close(&j.known);
    pare_model_close(&j.raw);
    return st;
}
