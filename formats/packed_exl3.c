/* EXL3: the tensors and what they mean are in exl3.h. A matrix whose sides are no multiples of 128 is filled up to
 * them, and so is its bias: who knows its shape cuts it. */
#include "formats/exl3.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "formats/packed.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

enum { SIDE = PARE_EXL3_SIDE, TILE = PARE_EXL3_TILE, SLABS_BYTES = 64 << 20 };

static const char *const code_names[PARE_EXL3_CODES] = {"3inst", "mcg", "mul1"}; /* settings */
static const char *const code_marks[PARE_EXL3_CODES] = {[PARE_EXL3_MCG] = ".mcg", [PARE_EXL3_MUL1] = ".mul1"};

struct weight;

/* SIDE rows of a weight, which can only be made together but are also asked for one by one. Whoever needs them makes
 * squares of SIDE columns until none is left. */
typedef struct slab {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct weight *weight; /* whose rows these are, */
    uint64_t block;              /* from SIDE * block on */
    uint64_t n_taken, n_made;    /* squares */
    unsigned n_readers;
    float *rows;
} slab;

typedef struct folder {
    int32_t *codebook[PARE_EXL3_CODES]; /* NULL: no weight needs it yet */
    slab *slabs;                        /* all in the arena */
    uint64_t n_slabs;
} folder;

typedef struct weight {
    pare_exl3 layout;
    pare_tensor trellis;
    folder *folder;
} weight;

/* ---- reading ---- */

/* Have a slab hold a block of w's rows, and keep it until let_go. */
static slab *hold(const weight *w, uint64_t block, double *room)
{
    slab *s = &w->folder->slabs[block % w->folder->n_slabs];
    uint64_t n_squares = w->layout.n_in / SIDE;
    pthread_mutex_lock(&s->lock);
    while ((s->weight != w || s->block != block) && s->n_readers > 0)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->weight != w || s->block != block) {
        s->weight = w;
        s->block = block;
        s->n_taken = s->n_made = 0;
    }
    s->n_readers++;
    while (s->n_taken < n_squares) {
        uint64_t at = s->n_taken++;
        pthread_mutex_unlock(&s->lock);
        pare_exl3_square(&w->layout, block, at, room, SIDE, SIDE, s->rows + at * SIDE, w->layout.n_in);
        pthread_mutex_lock(&s->lock);
        if (++s->n_made == n_squares)
            pthread_cond_broadcast(&s->changed);
    }
    while (s->n_made < n_squares)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return s;
}

static void let_go(slab *s)
{
    pthread_mutex_lock(&s->lock);
    if (--s->n_readers == 0)
        pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static pare_status read_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const weight *w = t->ctx;
    float *y = dst;
    double *room = pare_scratch_alloc(t->scratch_bytes);
    if (room == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, t->scratch_bytes);
    for (uint64_t end = row + n_rows, n; row < end; row += n, y += n * t->row_len) {
        uint64_t block = row / SIDE, first = row % SIDE;
        n = SIDE - first < end - row ? SIDE - first : end - row;
        if (n == SIDE) {
            for (uint64_t c = 0; c < t->row_len; c += SIDE)
                pare_exl3_square(&w->layout, block, c / SIDE, room, n, t->row_len - c < SIDE ? t->row_len - c : SIDE,
                                 y + c, t->row_len);
            continue;
        }
        slab *s = hold(w, block, room);
        for (uint64_t i = 0; i < n; i++)
            memcpy(y + i * t->row_len, s->rows + (first + i) * w->layout.n_in, (size_t)t->row_bytes);
        let_go(s);
    }
    pare_scratch_free(room, t->scratch_bytes);
    return PARE_OK;
}

/* The tiles of a row lie across the trellis, so its pages go with the last row. */
static void release_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const weight *w = t->ctx;
    if (row + n_rows == t->n_rows)
        pare_tensor_release(&w->trellis, 0, w->trellis.n_rows);
}

/* ---- opening ---- */

/* The longest rows of the folder's weights. What is no trellis is refused later. */
static uint64_t longest_row(const pare_packed *p)
{
    uint64_t longest = SIDE;
    for (size_t i = 0; i < p->raw->n_tensors; i++) {
        const pare_tensor *t = &p->raw->tensors[i];
        if (t->type == PARE_TYPE_I16 && t->n_dims == 3 && t->n_bytes / SIDE >= t->dim[0] && t->dim[0] * TILE > longest)
            longest = t->dim[0] * TILE;
    }
    return longest;
}

/* As many slabs as threads, if there is room; they cost memory when they are used. */
static pare_status make_slabs(const pare_packed *p, folder *f, pare_error *err)
{
    size_t bytes = 0;
    if (!pare_mul_size((size_t)longest_row(p), SIDE * sizeof(float), &bytes))
        return pare_fail(err, PARE_ERR_RANGE, "%s: the rows of a trellis overflow", p->path);
    f->n_slabs = SLABS_BYTES / bytes;
    if (f->n_slabs > (uint64_t)pare_threads())
        f->n_slabs = (uint64_t)pare_threads();
    if (f->n_slabs == 0)
        f->n_slabs = 1;
    f->slabs = pare_arena_alloc(p->arena, (size_t)f->n_slabs * sizeof *f->slabs, err);
    for (uint64_t i = 0; i < f->n_slabs && f->slabs != NULL; i++) {
        slab *s = &f->slabs[i];
        if ((s->rows = pare_arena_alloc(p->arena, bytes, err)) == NULL)
            return PARE_ERR_MEMORY;
        pthread_mutex_init(&s->lock, NULL); /* holds nothing that would have to be given back */
        pthread_cond_init(&s->changed, NULL);
    }
    return f->slabs != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status start(pare_packed *p, pare_error *err)
{
    pare_str name = {0};
    bool found = false, known = false;
    pare_status st = pare_json_str(p->settings, p->path, "codebook", &name, &found, err);
    for (size_t i = 0; i < PARE_EXL3_CODES; i++)
        known = known || pare_str_equal(name, code_names[i]);
    if (st == PARE_OK && found && !known)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'codebook' is '%.*s'; EXL3's 3inst, mcg and mul1 are read",
                       p->path, (int)name.len, name.data);
    if (st != PARE_OK)
        return st;
    folder *f = pare_arena_alloc(p->arena, sizeof *f, err);
    p->state = f;
    return f != NULL ? make_slabs(p, f, err) : PARE_ERR_MEMORY;
}

/* Which codebook the marks of the module say. */
static pare_status find_code(const pare_packed *p, const char *module, pare_exl3_code *code, pare_error *err)
{
    *code = PARE_EXL3_3INST;
    for (int i = 0; i < PARE_EXL3_CODES; i++) {
        const pare_tensor *t = code_marks[i] != NULL ? pare_packed_part(p, module, code_marks[i]) : NULL;
        if (t == NULL)
            continue;
        if (t->type != PARE_TYPE_I32 || t->n_rows != 1 || t->row_len != 1)
            return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' is not one i32", p->path, t->name);
        if (pare_load_u32le(t->data) != pare_exl3_multiplier((pare_exl3_code)i))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: tensor '%s' is %" PRIu32 "; the codebook with %" PRIu32 " is read", p->path, t->name,
                             pare_load_u32le(t->data), pare_exl3_multiplier((pare_exl3_code)i));
        if (*code != PARE_EXL3_3INST)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' has the marks of two codebooks, %s and %s", p->path,
                             module, code_marks[*code] + 1, code_marks[i] + 1);
        *code = (pare_exl3_code)i;
    }
    return PARE_OK;
}

static pare_status find_codebook(const pare_packed *p, const char *module, const int32_t **out, pare_error *err)
{
    folder *f = p->state;
    pare_exl3_code code;
    pare_status st = find_code(p, module, &code, err);
    if (st != PARE_OK)
        return st;
    if (f->codebook[code] == NULL) {
        f->codebook[code] = pare_arena_alloc(p->arena, PARE_EXL3_STATES * sizeof *f->codebook[code], err);
        if (f->codebook[code] == NULL)
            return PARE_ERR_MEMORY;
        pare_exl3_codebook(code, f->codebook[code]);
    }
    *out = f->codebook[code];
    return PARE_OK;
}

/* The n scales of a side: <module><end>, or signs <module><signs>. */
static pare_status find_scales(const pare_packed *p, const char *module, const char *end, const char *signs, uint64_t n,
                               pare_exl3_scales *out, pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, end);
    out->signs = t == NULL && (t = pare_packed_part(p, module, signs)) != NULL;
    if (t == NULL)
        return pare_packed_lacks(p, module, end, err);
    pare_type type = out->signs ? PARE_TYPE_I16 : PARE_TYPE_F16;
    uint64_t wanted = out->signs ? n / 16 : n;
    if (t->type != type || t->n_bytes != wanted * pare_type_get(type)->block_bytes)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " %s, where '%s.trellis' asks for %" PRIu64 " %s", p->path,
                         t->name, t->n_rows * t->row_len, pare_type_get(t->type)->name, module, wanted,
                         pare_type_get(type)->name);
    for (uint64_t i = 0; i < n && !out->signs; i++)
        if ((pare_load_u16le(t->data + 2 * i) & 0x7c00) == 0x7c00)
            return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s' holds %g at %" PRIu64 ", which is no scale",
                             p->path, t->name, (double)pare_f16_to_f32(pare_load_u16le(t->data + 2 * i)), i);
    out->data = t->data;
    return PARE_OK;
}

static pare_status find_shape(const pare_packed *p, const pare_tensor *t, pare_exl3 *w, pare_error *err)
{
    if (t->type != PARE_TYPE_I16 || t->n_dims != 3 || t->n_bytes == 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu32 " dimensions of type %s is no trellis: three of i16", p->path,
                         t->name, t->n_dims, pare_type_get(t->type)->name);
    w->n_in = t->dim[0] * TILE; /* the file has more bytes than these */
    w->n_out = t->dim[1] * TILE;
    w->bits = (unsigned)(t->row_len / TILE);
    if (t->row_len % TILE != 0 || t->row_len > PARE_EXL3_BITS * TILE)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has tiles of %" PRIu64 " words, expected 16 for each of 1 to %d bits",
                         p->path, t->name, t->row_len, PARE_EXL3_BITS);
    if (w->n_in % SIDE != 0 || w->n_out % SIDE != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' is of %" PRIu64 " inputs and %" PRIu64 " outputs, expected multiples of %d",
                         p->path, t->name, w->n_in, w->n_out, SIDE);
    w->trellis = t->data;
    return PARE_OK;
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    weight *w = pare_arena_alloc(p->arena, sizeof *w, err);
    if (w == NULL)
        return PARE_ERR_MEMORY;
    if (pare_packed_part(p, module, ".scale") != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s.scale' is of a draft of EXL3", p->path, module);
    w->trellis = *primary;
    w->folder = p->state;
    pare_status st = find_shape(p, primary, &w->layout, err), in = PARE_OK;
    if (st == PARE_OK)
        st = find_codebook(p, module, &w->layout.codebook, err);
    if (st == PARE_OK)
        in = find_scales(p, module, ".suh", ".su", w->layout.n_in, &w->layout.in, err);
    if (st == PARE_OK && (in == PARE_OK || in == PARE_ERR_FORMAT)) /* all that is missing is listed */
        st = find_scales(p, module, ".svh", ".sv", w->layout.n_out, &w->layout.out, err);
    if (st != PARE_OK || in != PARE_OK)
        return st != PARE_OK ? st : in;
    out->type = PARE_TYPE_F32;
    out->n_dims = 2;
    out->dim[0] = w->layout.n_out;
    out->dim[1] = w->layout.n_in;
    out->padded = SIDE;
    out->read = read_rows;
    out->release = release_rows;
    out->ctx = w;
    out->scratch_bytes = SIDE * SIDE * sizeof(double);
    return pare_tensor_set_shape(out, out->name, err);
}

const pare_packed_format pare_packed_exl3 = {
    .method = "exl3",
    .name = "EXL3",
    .primaries = (const char *const[]){".trellis", NULL},
    .parts = (const char *const[]){".suh", ".svh", ".su", ".sv", ".mcg", ".mul1", ".scale", NULL},
    .result = ".weight",
    .start = start,
    .unpack = unpack,
};
