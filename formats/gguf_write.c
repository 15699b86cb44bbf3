/* Writing GGUF v3. The layout of every part is planned first, so that sizes are exact before the first byte; then each
 * file is written once, front to back, hashing on the way. */
#include "core/bytes.h"
#include "core/checked.h"
#include "core/look.h"
#include "formats/file_writer.h"
#include "formats/gguf_internal.h"
#include "model/stock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One file to be. */
typedef struct part {
    size_t first, n_tensors;           /* of the model's tensors */
    uint64_t header_bytes, data_bytes; /* without the padding between them; data with the padding behind each tensor */
    uint64_t n_bytes;                  /* of the file */
} part;

typedef struct job {
    const pare_model *m;
    const char *path;
    bool force, split, pending;
    uint64_t split_bytes; /* 0: parts as in the source, when split */
    uint32_t alignment;
    part *parts;
    size_t n_parts;
    uint64_t n_bytes, done; /* of all parts: planned, written */
    pare_pin *pin;
} job;

/* Where header bytes go: to a file, or nowhere when out is NULL and only n counts. */
typedef struct emitter {
    pare_file_writer *out;
    uint64_t n;
    pare_buf scratch;
} emitter;

static pare_status emit(emitter *e, const void *data, size_t n, pare_error *err)
{
    e->n += n;
    return e->out != NULL ? pare_file_writer_put(e->out, data, n, err) : PARE_OK;
}

static pare_status emit_u32(emitter *e, uint32_t v, pare_error *err)
{
    uint8_t bytes[4];
    pare_store_u32le(bytes, v);
    return emit(e, bytes, sizeof bytes, err);
}

static pare_status emit_u64(emitter *e, uint64_t v, pare_error *err)
{
    uint8_t bytes[8];
    pare_store_u64le(bytes, v);
    return emit(e, bytes, sizeof bytes, err);
}

static pare_status emit_string(emitter *e, pare_str s, pare_error *err)
{
    pare_status st = emit_u64(e, s.len, err);
    return st == PARE_OK ? emit(e, s.data, s.len, err) : st;
}

static pare_status emit_pair(emitter *e, const pare_meta_value *value, pare_error *err)
{
    e->scratch.len = 0;
    pare_status st = emit_string(e, value->key, err);
    if (st == PARE_OK && (st = pare_meta_serialize(value, &e->scratch, err)) == PARE_OK)
        st = emit(e, e->scratch.data, e->scratch.len, err);
    return st;
}

static bool is_split_key(pare_str key)
{
    return pare_str_equal(key, GGUF_KEY_SPLIT_NO) || pare_str_equal(key, GGUF_KEY_SPLIT_COUNT) ||
           pare_str_equal(key, GGUF_KEY_SPLIT_TENSORS);
}

/* Does the model's value stand in part i? Part 1 has them all; a later one only how it is laid out. In a split set the
 * split keys are our own. */
static bool is_in_part(const job *j, size_t i, pare_str key)
{
    if (j->split && is_split_key(key))
        return false;
    return i == 0 || pare_str_equal(key, GGUF_KEY_ALIGNMENT);
}

/* The split keys of part i, in the order in which stock's gguf-split leaves them. */
enum { N_SPLIT_KEYS = 3 };
static void split_values(const job *j, size_t i, pare_meta_value v[N_SPLIT_KEYS])
{
    static const char *const keys[] = {GGUF_KEY_SPLIT_NO, GGUF_KEY_SPLIT_TENSORS, GGUF_KEY_SPLIT_COUNT};
    for (size_t k = 0; k < N_SPLIT_KEYS; k++)
        v[k] = (pare_meta_value){.key = {keys[k], strlen(keys[k])}, .type = PARE_META_U16, .n = 1};
    v[0].v.u = i;
    v[1].type = PARE_META_I32;
    v[1].v.i = (int64_t)j->m->n_tensors;
    v[2].v.u = j->n_parts;
}

/* Call fn for every value of part i in order. */
typedef pare_status (*value_fn)(const pare_meta_value *value, void *user, pare_error *err);
static pare_status for_each_value(const job *j, size_t i, value_fn fn, void *user, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < j->m->meta.n && st == PARE_OK; k++)
        if (is_in_part(j, i, j->m->meta.values[k].key))
            st = fn(&j->m->meta.values[k], user, err);
    pare_meta_value own[N_SPLIT_KEYS];
    split_values(j, i, own);
    for (size_t k = 0; k < N_SPLIT_KEYS && j->split && st == PARE_OK; k++)
        st = fn(&own[k], user, err);
    return st;
}

static pare_status count_value(const pare_meta_value *value, void *user, pare_error *err)
{
    (void)value, (void)err;
    *(uint64_t *)user += 1;
    return PARE_OK;
}

static pare_status emit_value(const pare_meta_value *value, void *user, pare_error *err)
{
    return emit_pair(user, value, err);
}

static pare_status pin_value(const pare_meta_value *value, void *user, pare_error *err)
{
    return pare_pin_add_meta(user, value, err);
}

static pare_status emit_info(emitter *e, const pare_tensor *t, uint64_t offset, pare_error *err)
{
    pare_status st = emit_string(e, (pare_str){t->name, strlen(t->name)}, err);
    if (st == PARE_OK)
        st = emit_u32(e, t->n_dims, err);
    for (uint32_t i = t->n_dims; i-- > 0 && st == PARE_OK;)
        st = emit_u64(e, t->dim[i], err);
    if (st == PARE_OK && (st = emit_u32(e, (uint32_t)pare_type_get(t->type)->gguf, err)) == PARE_OK)
        st = emit_u64(e, offset, err);
    return st;
}

/* Bytes of a tensor with the padding behind it. plan() found that none of these sums overflows. */
static uint64_t padded_bytes(const job *j, const pare_tensor *t)
{
    uint64_t n = t->n_bytes;
    pare_align_u64(t->n_bytes, j->alignment, &n);
    return n;
}

static pare_status emit_header(const job *j, size_t i, emitter *e, pare_error *err)
{
    const part *p = &j->parts[i];
    uint64_t n_pairs = 0, offset = 0;
    pare_status st = for_each_value(j, i, count_value, &n_pairs, err);
    if (st != PARE_OK || (st = emit(e, "GGUF", 4, err)) != PARE_OK ||
        (st = emit_u32(e, GGUF_VERSION, err)) != PARE_OK || (st = emit_u64(e, p->n_tensors, err)) != PARE_OK ||
        (st = emit_u64(e, n_pairs, err)) != PARE_OK || (st = for_each_value(j, i, emit_value, e, err)) != PARE_OK)
        return st;
    for (size_t k = 0; k < p->n_tensors && st == PARE_OK; k++) {
        const pare_tensor *t = &j->m->tensors[p->first + k];
        st = emit_info(e, t, offset, err);
        offset += padded_bytes(j, t);
    }
    return st;
}

/* What GGUF can hold, in the limits of its readers. */
static pare_status check_tensor(const job *j, const pare_tensor *t, pare_error *err)
{
    const pare_type_info *info = pare_type_get(t->type);
    uint64_t padded = 0;
    size_t len = strlen(t->name);
    if (info->gguf < 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' is of type %s, which GGUF has no number for",
                         j->path, t->name, info->name);
    if (t->n_dims > GGUF_MAX_DIMS)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' has %" PRIu32 " dimensions, GGUF allows %d",
                         j->path, t->name, t->n_dims, GGUF_MAX_DIMS);
    if (len < 1 || len > GGUF_MAX_NAME)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' has a name of %zu bytes, GGUF allows 1 to %d",
                         j->path, t->name, len, GGUF_MAX_NAME);
    if (!pare_align_u64(t->n_bytes, j->alignment, &padded) || padded > INT64_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' of %" PRIu64 " bytes is too large", j->path, t->name,
                         t->n_bytes);
    return PARE_OK;
}

/* Does the next tensor, of n bytes with padding, start a new part? By size never behind a part without tensors; as in
 * the source also there, since the first part of a set may hold the metadata alone. */
static bool starts_part(const job *j, const pare_tensor *t, uint64_t n)
{
    const part *p = &j->parts[j->n_parts - 1];
    if (!j->split)
        return false;
    if (j->split_bytes == 0)
        return t->file >= j->n_parts;
    return p->n_tensors > 0 && (p->data_bytes > j->split_bytes || n > j->split_bytes - p->data_bytes);
}

static pare_status add_part(job *j, size_t first, pare_error *err)
{
    if (j->n_parts == GGUF_MAX_PARTS)
        return pare_fail(err, PARE_ERR_USAGE, "%s: parts of %" PRIu64 " bytes make more than %d of them", j->path,
                         j->split_bytes, GGUF_MAX_PARTS);
    part *more = reallocarray(j->parts, j->n_parts + 1, sizeof *more);
    if (more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu parts", j->path, j->n_parts + 1);
    j->parts = more;
    j->parts[j->n_parts++] = (part){.first = first};
    return PARE_OK;
}

/* Deal the tensors out to parts. */
static pare_status deal(job *j, pare_error *err)
{
    pare_status st = add_part(j, 0, err);
    for (size_t i = 0; i < j->m->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &j->m->tensors[i];
        if ((st = check_tensor(j, t, err)) != PARE_OK)
            break;
        uint64_t n = padded_bytes(j, t);
        while (st == PARE_OK && starts_part(j, t, n))
            st = add_part(j, i, err);
        if (st != PARE_OK)
            break;
        part *p = &j->parts[j->n_parts - 1];
        p->n_tensors++;
        if (!pare_add_u64(p->data_bytes, n, &p->data_bytes) || p->data_bytes > INT64_MAX)
            st = pare_fail(err, PARE_ERR_RANGE, "%s: the tensors up to '%s' are too large together", j->path, t->name);
    }
    return st;
}

/* Does the model come from more than one file? */
static bool has_parts(const pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].file > 0)
            return true;
    return false;
}

static pare_status plan(job *j, const pare_write_options *options, pare_error *err)
{
    if (options != NULL) {
        j->force = options->force;
        j->split_bytes = options->split_bytes;
        j->split = options->split_bytes > 0 || (options->keep_split && has_parts(j->m));
    }
    pare_status st = pare_gguf_alignment(&j->m->meta, j->path, &j->alignment, err);
    if (st != PARE_OK || (st = deal(j, err)) != PARE_OK)
        return st;
    if (j->split && j->m->n_tensors > INT32_MAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %zu tensors in a split set, %d are allowed", j->path,
                         j->m->n_tensors, INT32_MAX);
    emitter e = {0};
    for (size_t i = 0; i < j->n_parts && st == PARE_OK; i++) {
        part *p = &j->parts[i];
        e.n = 0;
        if ((st = emit_header(j, i, &e, err)) != PARE_OK)
            break;
        p->header_bytes = p->n_bytes = e.n;
        /* without tensors there is no data to align, and stock's vocabulary files end here */
        bool fits = p->n_tensors == 0 || (pare_align_u64(e.n, j->alignment, &p->n_bytes) &&
                                          pare_add_u64(p->n_bytes, p->data_bytes, &p->n_bytes));
        if (!fits || !pare_add_u64(j->n_bytes, p->n_bytes, &j->n_bytes) || j->n_bytes > INT64_MAX)
            st = pare_fail(err, PARE_ERR_RANGE, "%s: the file would be too large", j->path);
    }
    pare_buf_close(&e.scratch);
    return st;
}

/* The name of part i into out. */
static pare_status target_name(const job *j, size_t i, pare_buf *out, pare_error *err)
{
    size_t len = strlen(j->path);
    out->len = 0;
    if (!j->split)
        return pare_buf_puts(out, j->path, err);
    if (len > 5 && strcmp(j->path + len - 5, ".gguf") == 0)
        len -= 5;
    return pare_gguf_part_name(out, j->path, len, (uint32_t)i + 1, (uint32_t)j->n_parts, err);
}

static pare_status refuse_input(const char *path, pare_error *err)
{
    return pare_fail(err, PARE_ERR_USAGE, "%s: the output is an input as well; give it another name", path);
}

/* path, of which target is, must be no file of the model or of one that it is made of. */
static pare_status check_no_input(const pare_model *m, const char *path, const struct stat *target, pare_error *err)
{
    for (; m != NULL; m = m->source) {
        for (size_t i = 0; i < m->n_files; i++)
            if (m->files[i].device == (uint64_t)target->st_dev && m->files[i].inode == (uint64_t)target->st_ino)
                return refuse_input(path, err);
        for (size_t i = 0; i < m->n_side_files; i++) {
            bool same;
            pare_status st = pare_look_same(m->side_files[i].path, target, &same, err);
            if (st != PARE_OK || same)
                return same ? refuse_input(path, err) : st;
        }
    }
    return PARE_OK;
}

/* Before a byte is written: no part exists or may be replaced, none is an input, and the disk has room for all. */
static pare_status check_targets(const job *j, pare_error *err)
{
    pare_buf name = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < j->n_parts && st == PARE_OK; i++) {
        struct stat target;
        bool there = false;
        if ((st = target_name(j, i, &name, err)) == PARE_OK)
            st = pare_look(name.data, &target, &there, err);
        if (there)
            st = check_no_input(j->m, name.data, &target, err);
        if (there && st == PARE_OK && !j->force)
            st = pare_fail(err, PARE_ERR_USAGE, "%s: exists already; give --force to replace it", name.data);
    }
    if (st == PARE_OK && (st = target_name(j, 0, &name, err)) == PARE_OK)
        st = pare_output_check_room(name.data, j->n_bytes, err);
    pare_buf_close(&name);
    return st;
}

/* The content of part i, up to its digest. */
static pare_status fill_part(job *j, size_t i, pare_file_writer *w, const char *path, pare_error *err)
{
    const part *p = &j->parts[i];
    emitter e = {.out = w};
    pare_status st = PARE_OK;
    if (j->pin != NULL &&
        ((st = pare_pin_add_file(j->pin, path, &w->record, err)) != PARE_OK ||
         (j->pending && (st = pare_pin_store_at(w->record, pare_output_temporary(w->out), err)) != PARE_OK) ||
         (st = for_each_value(j, i, pin_value, w->record, err)) != PARE_OK))
        return st;
    if ((st = pare_file_writer_start(w, err)) == PARE_OK)
        st = emit_header(j, i, &e, err);
    pare_buf_close(&e.scratch);
    if (st == PARE_OK && p->n_tensors > 0)
        st = pare_file_writer_zeros(w, p->n_bytes - p->data_bytes - p->header_bytes, err);
    if (st == PARE_OK && (st = pare_file_writer_tensors(w, &j->m->tensors[p->first], p->n_tensors, err)) == PARE_OK)
        st = pare_file_writer_finish(w, err);
    return st;
}

/* Write part i whole, and leave it under its temporary name in the set. */
static pare_status write_part(job *j, size_t i, const char *path, pare_output_set *set, pare_error *err)
{
    pare_file_writer w = {.files_only = j->pin != NULL && j->pin->files_only,
                          .alignment = j->alignment,
                          .done = j->done,
                          .total = j->n_bytes};
    pare_status st = pare_output_open(&w.out, path, j->parts[i].n_bytes, j->force ? PARE_OUTPUT_FORCE : 0, err);
    if (st == PARE_OK && (st = fill_part(j, i, &w, path, err)) == PARE_OK)
        st = pare_output_finish(w.out, err);
    pare_file_writer_close(&w);
    j->done = w.done;
    if (st != PARE_OK) {
        pare_output_close(w.out);
        return st;
    }
    return pare_output_set_add(set, w.out, err);
}

/* Of YaRN stock's runtime takes the paper's betas, and whole pairs. */
static pare_status warn_of_yarn(const pare_hparams *hp, const char *path, pare_error *err)
{
    float fast = hp->yarn_beta_fast != 0 ? hp->yarn_beta_fast : 32,
          slow = hp->yarn_beta_slow != 0 ? hp->yarn_beta_slow : 1;
    pare_status st = PARE_OK;
    if (hp->rope_scaling != PARE_ROPE_YARN)
        return PARE_OK;
    if (hp->yarn_exact)
        st = pare_warn(err,
                       "%s: YaRN ends its band at fractions of a pair ('truncate' is false), for which GGUF has no "
                       "key; programs that run the file will round them",
                       path);
    if (st == PARE_OK && (fast != 32 || slow != 1))
        st = pare_warn(err, "%s: YaRN's betas are %g and %g; most programs that run the file will take 32 and 1", path,
                       (double)fast, (double)slow);
    return st;
}

/* What the source says and stock's keys do not: its runtime then computes something else. */
static pare_status warn_of_losses(const pare_model *m, const char *path, pare_error *err)
{
    pare_status st = m->arch != NULL ? pare_stock_warn(m, path, err) : PARE_OK;
    if (m->arch != NULL && m->hp.window_not_in_gguf)
        st = pare_warn(
            err,
            "%s: attention windows of %" PRIu32
            " tokens have no key in GGUF for architecture '%s'; programs that run the file will see all tokens "
            "before, which differs from the source in contexts longer than that",
            path, m->hp.window, m->arch->name);
    if (st == PARE_OK && m->arch != NULL && m->hp.no_rope_not_in_gguf)
        st = pare_warn(err,
                       "%s: no key that other programs read says which layers of this model are without RoPE; stock "
                       "llama.cpp takes other layers",
                       path);
    if (st == PARE_OK && m->arch != NULL && m->hp.attn_scale_not_in_gguf)
        st = pare_warn(err,
                       "%s: attention scores are scaled by %g, for which other programs read no key for architecture "
                       "'%s'; they will scale by the size of a head",
                       path, (double)m->hp.attn_scale, m->arch->name);
    if (st == PARE_OK && m->arch != NULL && m->hp.glu_not_in_gguf)
        st = pare_warn(err,
                       "%s: the gated unit has the factor %g and the limit %g, for which other programs read no key "
                       "for architecture '%s'; they will take their own",
                       path, (double)m->hp.glu_alpha, (double)m->hp.glu_limit, m->arch->name);
    if (st == PARE_OK && m->arch != NULL && m->hp.act_not_in_gguf)
        st = pare_warn(err,
                       "%s: the activation is '%s', for which other programs read no key for architecture '%s'; they "
                       "will take '%s'",
                       path, pare_activation_name(pare_arch_act(m->arch, &m->hp)), m->arch->name,
                       pare_activation_name(m->arch->wiring.act));
    if (st == PARE_OK && m->arch != NULL && m->hp.expert_norm_not_in_gguf)
        st =
            pare_warn(err,
                      "%s: the weights of the experts are %s to a sum of one, for which other programs read no key for "
                      "architecture '%s'; they will do the opposite",
                      path, m->hp.expert_norm ? "scaled" : "not scaled", m->arch->name);
    if (st == PARE_OK && m->arch != NULL)
        st = warn_of_yarn(&m->hp, path, err);
    if (st == PARE_OK && m->arch != NULL && m->hp.latent_norm_eps != 0 && m->hp.latent_norm_eps != m->hp.norm_eps)
        st = pare_warn(err,
                       "%s: norms inside of latent attention add %g, others %g; GGUF has one key for both, so programs "
                       "that run the file will add the second",
                       path, (double)m->hp.latent_norm_eps, (double)m->hp.norm_eps);
    if (st == PARE_OK && m->arch != NULL && m->hp.expert_group_not_in_gguf)
        st = pare_warn(err,
                       "%s: groups of experts are chosen by the best %" PRIu32 " of each, for which GGUF has no key; "
                       "programs that run the file will take the best two",
                       path, m->hp.expert_group_best);
    return st;
}

pare_status pare_gguf_write(const pare_model *m, const char *path, const pare_write_options *options, pare_pin *pin,
                            pare_error *err)
{
    job j = {.m = m, .path = path, .pin = pin, .pending = options != NULL && options->pending != NULL};
    pare_output_set own = {0}, *set = j.pending ? options->pending : &own;
    pare_buf name = {0};
    pare_status st = plan(&j, options, err);
    if (st == PARE_OK && (st = check_targets(&j, err)) == PARE_OK)
        st = warn_of_losses(m, path, err);
    for (size_t i = 0; i < j.n_parts && st == PARE_OK; i++)
        if ((st = target_name(&j, i, &name, err)) == PARE_OK)
            st = write_part(&j, i, name.data, set, err);
    for (const pare_model *from = m; from != NULL && st == PARE_OK; from = from->source)
        for (size_t i = 0; i < from->n_files && st == PARE_OK; i++)
            st = pare_output_set_source(set, from->files[i].path, &from->files[i].id, err);
    if (st == PARE_OK && !j.pending && (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(set, err);
    pare_output_set_close(&own);
    free(j.parts);
    pare_buf_close(&name);
    return st;
}

pare_status pare_gguf_size(const pare_model *m, const pare_write_options *options, uint64_t *n_bytes, pare_error *err)
{
    job j = {.m = m, .path = m->path != NULL ? m->path : "output"};
    pare_status st = plan(&j, options, err);
    *n_bytes = j.n_bytes;
    free(j.parts);
    return st;
}
