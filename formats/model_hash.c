#include "formats/model_hash.h"
#include "formats/lock_derive.h"
#include "formats/pin_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pare_status hash_text(char out[PARE_SHA256_HEX], const void *text, size_t len, pare_error *err)
{
    pare_digest digest;
    pare_status st = pare_hash_bytes(text, len, PARE_HASH_SHA256, &digest, err);
    if (st == PARE_OK)
        pare_hex(out, digest.sha256, sizeof digest.sha256);
    return st;
}

pare_status pare_tokenizer_hash(char out[PARE_SHA256_HEX], const pare_vocab *v, pare_error *err)
{
    pare_pin_file keys = {0};
    pare_meta meta = {0};
    uint8_t sha256[32];
    bool any = false;
    out[0] = '\0';
    pare_status st = (keys.path = strdup("tokenizer")) != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = pare_vocab_to_meta(v, &meta, err);
    for (size_t i = 0; i < meta.n && st == PARE_OK; i++)
        st = pare_pin_add_meta(&keys, &meta.values[i], err);
    if (st == PARE_OK && (st = pare_lock_metadata_hash(&keys, true, sha256, &any, err)) == PARE_OK && any)
        pare_hex(out, sha256, sizeof sha256);
    pare_meta_close(&meta);
    pare_pin_file_close(&keys);
    return st;
}

static pare_status add_file(pare_pin *pin, const char *path, const char *name, pare_error *err)
{
    pare_pin_file *file = NULL;
    bool is_model;
    pare_status st = pare_pin_add_file(pin, path, &file, err);
    if (st == PARE_OK && (file->name = strdup(name)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", path);
    return st == PARE_OK ? pare_pin_read_structure(file, &is_model, err) : st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const pare_pin_file *)a)->name, ((const pare_pin_file *)b)->name);
}

static pare_status hash_files(pare_model_hash *h, pare_error *err)
{
    pare_buf lines = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < h->pin.n_files && st == PARE_OK; i++)
        st = pare_lock_sums_line(&lines, h->pin.files[i].digest.sha256, h->pin.files[i].name, err);
    if (st == PARE_OK && h->pin.n_files == 1)
        pare_hex(h->files_sha256, h->pin.files[0].digest.sha256, 32);
    else if (st == PARE_OK)
        st = hash_text(h->files_sha256, lines.data, lines.len, err);
    pare_buf_close(&lines);
    return st;
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const pare_pin_tensor *const *)a)->name, (*(const pare_pin_tensor *const *)b)->name);
}

static pare_status hash_tensors(pare_model_hash *h, pare_error *err)
{
    size_t n = 0, k = 0;
    pare_buf lines = {0};
    for (size_t i = 0; i < h->pin.n_files; i++)
        n += h->pin.files[i].n_tensors;
    const pare_pin_tensor **sorted = calloc(n > 0 ? n : 1, sizeof *sorted);
    pare_status st = sorted != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < h->pin.n_files && st == PARE_OK; i++)
        for (size_t t = 0; t < h->pin.files[i].n_tensors; t++)
            sorted[k++] = &h->pin.files[i].tensors[t];
    if (st == PARE_OK)
        qsort(sorted, n, sizeof *sorted, by_tensor_name);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_lock_sums_line(&lines, sorted[i]->digest.sha256, sorted[i]->name, err);
    if (st == PARE_OK)
        st = hash_text(h->tensors_sha256, lines.data != NULL ? lines.data : "", lines.len, err);
    pare_buf_close(&lines);
    free(sorted);
    return st;
}

pare_status pare_model_hash_open(pare_model_hash *out, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    *out = (pare_model_hash){0};
    for (size_t i = 0; i < m->n_files && st == PARE_OK; i++) {
        const char *slash = strrchr(m->files[i].path, '/');
        st = add_file(&out->pin, m->files[i].path, slash != NULL ? slash + 1 : m->files[i].path, err);
    }
    for (size_t i = 0; i < m->n_side_files && st == PARE_OK; i++)
        st = add_file(&out->pin, m->side_files[i].path, m->side_files[i].name, err);
    if (st == PARE_OK)
        st = pare_pin_hash(out->pin.files, out->pin.n_files, NULL, PARE_HASH_SHA256, err);
    if (st == PARE_OK) {
        qsort(out->pin.files, out->pin.n_files, sizeof *out->pin.files, by_name);
        st = hash_files(out, err);
    }
    if (st == PARE_OK)
        st = hash_tensors(out, err);
    if (st == PARE_OK && m->has_vocab)
        st = pare_tokenizer_hash(out->tokenizer_sha256, &m->vocab, err);
    if (st == PARE_OK && m->has_vocab && m->vocab.chat_template.data != NULL)
        st = hash_text(out->chat_template_sha256, m->vocab.chat_template.data, m->vocab.chat_template.len, err);
    if (st != PARE_OK)
        pare_model_hash_close(out);
    return st;
}

pare_status pare_file_hash(char out[PARE_SHA256_HEX], const char *path, uint64_t *n_bytes, pare_error *err)
{
    struct stat info;
    pare_pin_file file = {.path = (char *)path}; /* read only */
    if (stat(path, &info) != 0)
        return pare_fail_open(err, path, errno);
    file.digest.n_bytes = (uint64_t)info.st_size;
    pare_status st = pare_pin_hash(&file, 1, NULL, PARE_HASH_SHA256, err);
    if (st != PARE_OK)
        return st;
    pare_hex(out, file.digest.sha256, sizeof file.digest.sha256);
    if (n_bytes != NULL)
        *n_bytes = file.digest.n_bytes;
    return PARE_OK;
}

void pare_model_hash_close(pare_model_hash *h)
{
    pare_pin_close(&h->pin);
    *h = (pare_model_hash){0};
}
