#include "report/record_model.h"
#include "core/json.h"

#include <string.h>

static const char *const format_names[] = {
    [PARE_FORMAT_GGUF] = "gguf", [PARE_FORMAT_HF] = "hf", [PARE_FORMAT_SAFETENSORS] = "safetensors"};

static bool put_text(json_t *object, const char *key, const char *text)
{
    return json_object_set_new(object, key, pare_json_text(text, strlen(text))) == 0;
}

static bool put_known(json_t *object, const char *key, const char *text)
{
    return text[0] == '\0' || put_text(object, key, text);
}

static bool put_count(json_t *object, const char *key, uint64_t n)
{
    return json_object_set_new(object, key, json_integer((json_int_t)n)) == 0;
}

/* "types": how many tensors are of which. */
static bool put_types(json_t *object, const pare_model *m)
{
    uint64_t n[PARE_TYPE_COUNT] = {0};
    json_t *types = json_object();
    bool ok = json_object_set_new(object, "types", types) == 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n[m->tensors[i].type]++;
    for (int t = 0; t < PARE_TYPE_COUNT && ok; t++)
        ok = n[t] == 0 || put_count(types, pare_type_get((pare_type)t)->name, n[t]);
    return ok;
}

static bool put_hashes(json_t *object, const pare_model_hash *h)
{
    char hex[PARE_SHA256_HEX];
    json_t *files = json_array();
    uint64_t n_bytes = 0;
    bool ok = json_object_set_new(object, "files", files) == 0;
    for (size_t i = 0; i < h->pin.n_files && ok; i++) {
        const pare_pin_file *f = &h->pin.files[i];
        json_t *row = json_object();
        pare_hex(hex, f->digest.sha256, sizeof f->digest.sha256);
        n_bytes += f->digest.n_bytes;
        ok = put_text(row, "name", f->name) && put_count(row, "bytes", f->digest.n_bytes) &&
             put_text(row, "sha256", hex);
        ok = json_array_append_new(files, row) == 0 && ok;
    }
    return ok && put_count(object, "bytes", n_bytes) && put_text(object, "sha256", h->files_sha256) &&
           put_text(object, "tensors_sha256", h->tensors_sha256) &&
           put_known(object, "tokenizer_sha256", h->tokenizer_sha256) &&
           put_known(object, "chat_template_sha256", h->chat_template_sha256);
}

pare_status pare_record_model(json_t **out, const pare_model *m, const pare_model_hash *h, pare_error *err)
{
    json_t *object = json_object();
    uint64_t n_params = pare_model_n_params(m), tensor_bytes = pare_model_n_bytes(m);
    bool ok = put_text(object, "path", m->path) && put_text(object, "format", format_names[m->format]) &&
              (m->arch == NULL || put_text(object, "architecture", m->arch->name)) &&
              put_count(object, "n_tensors", m->n_tensors) && put_count(object, "n_params", n_params) &&
              put_count(object, "tensor_bytes", tensor_bytes) && put_types(object, m);
    if (ok && n_params > 0)
        ok = json_object_set_new(object, "bits_per_weight", json_real(8.0 * (double)tensor_bytes / (double)n_params)) ==
             0;
    if (ok && h != NULL)
        ok = put_hashes(object, h);
    *out = ok ? object : NULL;
    if (ok)
        return PARE_OK;
    json_decref(object);
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
}
