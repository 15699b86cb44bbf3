#include "core/progress.h"
#include "core/threads.h"
#include "formats/pin_scan.h"
#include "quant/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that are read at once: two such buffers a thread stay in a second-level cache, and a call costs little beside
 * the copy. Mapping the file instead costs as much a page as the copy does, and a file that is cut meanwhile would be a
 * signal. */
enum { READ_BYTES = 512 << 10 };

/* Tensors of a file by their place in it. */
typedef struct layout {
    pare_pin_file *f;
    size_t *order; /* [f->n_tensors], or NULL: they are listed in order */
    bool overlap;
    uint64_t rest; /* bytes in no tensor */
} layout;

static pare_pin_tensor *tensor_at(const layout *l, size_t i)
{
    return &l->f->tensors[l->order != NULL ? l->order[i] : i];
}

static uint64_t tensor_end(const pare_pin_tensor *t)
{
    return t->offset + t->digest.n_bytes;
}

/* By offset; an empty tensor comes before one that starts where it lies. */
static int compare_places(const void *pa, const void *pb, void *user)
{
    const pare_pin_tensor *tensors = user, *a = &tensors[*(const size_t *)pa], *b = &tensors[*(const size_t *)pb];
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->digest.n_bytes < b->digest.n_bytes ? -1 : a->digest.n_bytes > b->digest.n_bytes;
}

static pare_status lay_out(layout *l, pare_pin_file *f, pare_error *err)
{
    uint64_t end = 0;
    bool in_order = true;
    *l = (layout){.f = f};
    for (size_t i = 1; i < f->n_tensors && in_order; i++)
        in_order = f->tensors[i - 1].offset < f->tensors[i].offset;
    if (!in_order) {
        if ((l->order = calloc(f->n_tensors, sizeof *l->order)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", f->path, f->n_tensors);
        for (size_t i = 0; i < f->n_tensors; i++)
            l->order[i] = i;
        qsort_r(l->order, f->n_tensors, sizeof *l->order, compare_places, f->tensors);
    }
    for (size_t i = 0; i < f->n_tensors; i++) {
        const pare_pin_tensor *t = tensor_at(l, i);
        l->overlap |= t->offset < end;
        l->rest += t->offset > end ? t->offset - end : 0;
        end = tensor_end(t) > end ? tensor_end(t) : end;
    }
    l->rest += f->digest.n_bytes > end ? f->digest.n_bytes - end : 0;
    return PARE_OK;
}

typedef enum job_kind {
    JOB_BOTH,  /* the whole file and its parts, in one pass */
    JOB_WHOLE, /* the file */
    JOB_REST,  /* what lies in no tensor */
    JOB_TENSOR
} job_kind;

typedef struct job {
    const layout *l;
    uint64_t len;
    size_t tensor;
    uint8_t kind;
    bool numbers; /* look at them, too */
} job;

typedef struct job_list {
    layout *layouts;
    job *jobs;
    size_t n_layouts, n;
    pare_hash_kind kind;
    size_t next; /* job that nobody has taken */
    uint64_t done, total;
} job_list;

/* Those that need a thread alone first, then the longest, so that no thread starts a long one when the others are done;
 * equal ones as they lie in the file. */
static int compare_jobs(const void *pa, const void *pb)
{
    const job *a = pa, *b = pb;
    if ((a->kind == JOB_BOTH) != (b->kind == JOB_BOTH))
        return a->kind == JOB_BOTH ? -1 : 1;
    if (a->len != b->len)
        return a->len > b->len ? -1 : 1;
    if (a->l != b->l)
        return a->l < b->l ? -1 : 1;
    return a->tensor < b->tensor ? -1 : a->tensor > b->tensor;
}

static void add_job(job_list *list, const layout *l, job_kind kind, size_t tensor, uint64_t len, bool numbers)
{
    list->jobs[list->n++] = (job){l, len, tensor, (uint8_t)kind, numbers};
    list->total += len;
}

static void add_jobs(job_list *list, const layout *l, unsigned what)
{
    pare_pin_file *f = l->f;
    bool parts = (what & PARE_PIN_PARTS) && f->n_tensors > 0, numbers = what & PARE_PIN_NUMBERS;
    if ((what & PARE_PIN_WHOLE) && parts && !l->overlap) {
        add_job(list, l, JOB_BOTH, 0, f->digest.n_bytes, numbers);
        return;
    }
    if (what & PARE_PIN_WHOLE)
        add_job(list, l, JOB_WHOLE, 0, f->digest.n_bytes, numbers && !parts && !l->overlap);
    if (!parts)
        return;
    add_job(list, l, JOB_REST, 0, l->rest, false);
    for (size_t i = 0; i < f->n_tensors; i++)
        add_job(list, l, JOB_TENSOR, i, tensor_at(l, i)->digest.n_bytes, numbers);
}

static pare_status list_jobs(job_list *list, pare_pin_file *files, size_t n, const uint8_t *what, pare_error *err)
{
    size_t count = 0;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n; i++)
        count += 2 + files[i].n_tensors;
    list->jobs = calloc(count > 0 ? count : 1, sizeof *list->jobs);
    list->layouts = calloc(n > 0 ? n : 1, sizeof *list->layouts);
    if (list->jobs == NULL || list->layouts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu hashes", count);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        unsigned parts = what != NULL ? what[i] : PARE_PIN_WHOLE | PARE_PIN_PARTS;
        if (parts != 0 && (st = lay_out(&list->layouts[list->n_layouts++], &files[i], err)) == PARE_OK)
            add_jobs(list, &list->layouts[list->n_layouts - 1], parts);
    }
    qsort(list->jobs, list->n, sizeof *list->jobs, compare_jobs);
    return st;
}

static void close_jobs(job_list *list)
{
    for (size_t i = 0; i < list->n_layouts; i++)
        free(list->layouts[i].order);
    free(list->layouts);
    free(list->jobs);
}

static bool take_job(job_list *list, const job **out)
{
    size_t i;
#pragma omp atomic capture
    i = list->next++;
    *out = i < list->n ? &list->jobs[i] : NULL;
    return *out != NULL;
}

static pare_status open_regular(const char *path, uint64_t size, int *fd, pare_error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return pare_fail_open(err, path, errno);
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no regular file", path);
    if ((uint64_t)info.st_size != size)
        return pare_fail(err, PARE_ERR_IO,
                         "%s: had %" PRIu64 " bytes and now has %" PRIu64 ": it changes while it is read", path, size,
                         (uint64_t)info.st_size);
    return PARE_OK;
}

/* The bytes of a job, piece by piece. Zeroed is closed; from job to job the file stays open as long as it is the same.
 */
typedef struct reader {
    const job *j;
    const pare_pin_file *file; /* what fd is open on */
    int fd;
    uint64_t at, end; /* of the file: what the job has not read yet */
    size_t next;      /* the first tensor, by place, that ends behind `at` or lies there */
    uint8_t *buffer;  /* [READ_BYTES] */
    uint64_t offset;  /* of the piece in the buffer, */
    size_t n;         /* and its bytes; 0: the job has no more */
} reader;

/* What was read is what was opened: nobody wrote into it meanwhile. */
static pare_status close_file(reader *r, pare_error *err)
{
    if (r->file == NULL)
        return PARE_OK;
    pare_status st = pare_identity_check_open(&r->file->source, r->fd, r->file->path, err);
    close(r->fd);
    r->file = NULL;
    return st;
}

static pare_status start_job(reader *r, const job *j, pare_error *err)
{
    pare_pin_file *f = j->l->f;
    const pare_pin_tensor *t = j->kind == JOB_TENSOR ? tensor_at(j->l, j->tensor) : NULL;
    pare_status st = PARE_OK;
    if (r->buffer == NULL && (r->buffer = malloc(READ_BYTES)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to read", f->path);
    r->j = j;
    r->at = t != NULL ? t->offset : 0;
    r->end = t != NULL ? tensor_end(t) : f->digest.n_bytes;
    r->next = t != NULL ? j->tensor : 0;
    if (r->file == f)
        return PARE_OK;
    if ((st = close_file(r, err)) != PARE_OK)
        return st;
    st = open_regular(f->path, f->digest.n_bytes, &r->fd, err);
    if (st == PARE_OK)
        r->file = f;
    else if (r->fd >= 0)
        close(r->fd);
    return st;
}

/* Step over the tensors that lie before r->at, and, of the rest, over those that lie there. */
static void skip_tensors(reader *r)
{
    const layout *l = r->j->l;
    while (r->next < l->f->n_tensors) {
        const pare_pin_tensor *t = tensor_at(l, r->next);
        bool here = r->j->kind == JOB_REST && t->offset <= r->at;
        if (here && tensor_end(t) > r->at)
            r->at = tensor_end(t);
        if (tensor_end(t) > r->at)
            break;
        r->next++;
    }
}

/* How much to read at r->at: for the rest, up to the next tensor; when numbers are looked at, whole blocks of the
 * tensor that the piece ends in. */
static size_t piece_bytes(const reader *r)
{
    const layout *l = r->j->l;
    size_t n = r->end - r->at < READ_BYTES ? (size_t)(r->end - r->at) : READ_BYTES;
    const pare_pin_tensor *t = r->next < l->f->n_tensors ? tensor_at(l, r->next) : NULL;
    if (r->j->kind == JOB_REST)
        return t != NULL && t->offset - r->at < n ? (size_t)(t->offset - r->at) : n;
    for (size_t i = r->next; r->j->numbers && t != NULL && t->offset < r->at + n;) {
        if (tensor_end(t) > r->at + n) {
            size_t part = (size_t)((r->at + n - t->offset) % pare_type_get(t->type)->block_bytes);
            return part < n ? n - part : n;
        }
        t = ++i < l->f->n_tensors ? tensor_at(l, i) : NULL;
    }
    return n;
}

static pare_status read_piece(reader *r, pare_error *err)
{
    const char *path = r->j->l->f->path;
    pare_status st = pare_check_interrupt(err);
    if (st != PARE_OK)
        return st;
    skip_tensors(r);
    size_t want = r->at < r->end ? piece_bytes(r) : 0;
    r->offset = r->at;
    r->n = 0;
    while (r->n < want) {
        ssize_t n = pread(r->fd, r->buffer + r->n, want - r->n, (off_t)r->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot read at offset %" PRIu64 ": %s", path, r->at,
                             n < 0 ? strerror(errno) : "the file became shorter");
        r->n += (size_t)n;
        r->at += (uint64_t)n;
    }
    return PARE_OK;
}

/* Those n bytes of tensor t that lie at data. */
static void look_at_numbers(pare_pin_tensor *t, uint64_t offset, const uint8_t *data, size_t n)
{
    size_t block_bytes = pare_type_get(t->type)->block_bytes;
    if (t->bad_block == PARE_PIN_NOT_LOOKED_AT)
        t->bad_block = PARE_PIN_ALL_FINITE;
    if (t->bad_block != PARE_PIN_ALL_FINITE)
        return;
    size_t bad = pare_find_nonfinite_block(t->type, data, n / block_bytes);
    if (bad != SIZE_MAX)
        t->bad_block = (offset - t->offset) / block_bytes + bad;
}

/* The numbers of all tensors that the piece has bytes of. */
static void look_at_piece(const reader *r)
{
    const layout *l = r->j->l;
    uint64_t end = r->offset + r->n;
    for (size_t i = r->next; i < l->f->n_tensors && tensor_at(l, i)->offset < end; i++) {
        pare_pin_tensor *t = tensor_at(l, i);
        uint64_t from = t->offset > r->offset ? t->offset : r->offset, to = tensor_end(t) < end ? tensor_end(t) : end;
        if (from < to)
            look_at_numbers(t, from, r->buffer + (from - r->offset), (size_t)(to - from));
        if (r->j->kind == JOB_TENSOR)
            break;
    }
}

static void tell(job_list *list, const job *j, size_t n)
{
#pragma omp critical(pare_pin_hash_progress)
    {
        list->done += n;
        pare_progress("bytes", list->done, list->total, j->l->f->path);
    }
}

/* Finish one of two hashers into out and start it anew. */
static pare_status next_digest(pare_hasher *h, pare_hash_kind kind, pare_digest *out, pare_error *err)
{
    pare_status st = pare_hasher_finish(h, out, err);
    pare_hasher_close(h);
    return st == PARE_OK ? pare_hasher_open(h, kind, err) : st;
}

typedef struct both {
    pare_hasher whole, rest, tensor;
    size_t next; /* tensor, by place, that is being hashed or comes next */
} both;

/* A piece of the file: into the hash of the whole, and into that of each part that it has bytes of. */
static pare_status add_piece(both *b, const reader *r, pare_hash_kind kind, pare_error *err)
{
    const layout *l = r->j->l;
    pare_status st = PARE_OK;
    for (uint64_t at = r->offset, end = r->offset + r->n; at < end && st == PARE_OK;) {
        pare_pin_tensor *t = b->next < l->f->n_tensors ? tensor_at(l, b->next) : NULL;
        bool inside = t != NULL && t->offset <= at;
        uint64_t to = t == NULL ? end : inside ? tensor_end(t) : t->offset;
        size_t n = (size_t)((to < end ? to : end) - at);
        const uint8_t *data = r->buffer + (at - r->offset);
        st = pare_hasher_add_two(&b->whole, data, inside ? &b->tensor : &b->rest, data, n, err);
        at += n;
        if (st == PARE_OK && inside && at == to) {
            st = next_digest(&b->tensor, kind, &t->digest, err);
            b->next++;
        }
    }
    return st;
}

static pare_status hash_both(job_list *list, const job *j, reader *r, pare_error *err)
{
    both b = {0};
    pare_pin_file *f = j->l->f;
    pare_status st = start_job(r, j, err);
    if (st == PARE_OK && (st = pare_hasher_open(&b.whole, list->kind, err)) == PARE_OK &&
        (st = pare_hasher_open(&b.rest, list->kind, err)) == PARE_OK)
        st = pare_hasher_open(&b.tensor, list->kind, err);
    while (st == PARE_OK && (st = read_piece(r, err)) == PARE_OK && r->n > 0) {
        if (j->numbers)
            look_at_piece(r);
        st = add_piece(&b, r, list->kind, err);
        tell(list, j, r->n);
    }
    for (; st == PARE_OK && b.next < f->n_tensors; b.next++) /* empty ones at the end */
        st = next_digest(&b.tensor, list->kind, &tensor_at(j->l, b.next)->digest, err);
    if (st == PARE_OK && (st = pare_hasher_finish(&b.rest, &f->rest, err)) == PARE_OK)
        st = pare_hasher_finish(&b.whole, &f->digest, err);
    f->has_rest = st == PARE_OK;
    pare_hasher_close(&b.whole);
    pare_hasher_close(&b.rest);
    pare_hasher_close(&b.tensor);
    return st;
}

/* A job that is under way beside another one. */
typedef struct slot {
    reader r;
    pare_hasher h; /* open: there is a job */
    size_t used;   /* of the piece */
} slot;

/* Sizes, which other jobs of the file look at, stay as they are: only hashes are written, each by one job. */
static pare_status finish_job(slot *s, pare_error *err)
{
    const job *j = s->r.j;
    pare_pin_file *f = j->l->f;
    pare_digest d, *out = j->kind == JOB_TENSOR ? &tensor_at(j->l, j->tensor)->digest : &f->digest;
    pare_status st = pare_hasher_finish(&s->h, &d, err);
    pare_hasher_close(&s->h);
    if (st != PARE_OK)
        return st;
    if (j->kind == JOB_REST) {
        f->rest = d;
        f->has_rest = true;
        return PARE_OK;
    }
    memcpy(out->sha256, d.sha256, sizeof d.sha256);
    memcpy(out->xxh3_128, d.xxh3_128, sizeof d.xxh3_128);
    return PARE_OK;
}

/* See to it that the slot has bytes: of the job that it has, or of the next one (first, when it is not NULL). The slot
 * stays without a job when there is none. */
static pare_status fill(slot *s, job_list *list, const job *first, pare_error *err)
{
    pare_status st = PARE_OK;
    const job *j = first;
    while (st == PARE_OK && (s->h.kind != 0 || j != NULL || take_job(list, &j))) {
        if (s->h.kind == 0 && (st = start_job(&s->r, j, err)) == PARE_OK)
            st = pare_hasher_open(&s->h, list->kind, err);
        j = NULL;
        if (st != PARE_OK || (st = read_piece(&s->r, err)) != PARE_OK)
            break;
        s->used = 0;
        if (s->r.n > 0) {
            if (s->r.j->numbers)
                look_at_piece(&s->r);
            tell(list, s->r.j, s->r.n);
            break;
        }
        st = finish_job(s, err);
    }
    return st;
}

static size_t left(const slot *s)
{
    return s->h.kind != 0 ? s->r.n - s->used : 0;
}

/* Jobs, two at a time where that is faster (core/sha256.h), until there are no more. */
static pare_status hash_in_slots(job_list *list, slot slots[2], const job *first, pare_error *err)
{
    size_t n_slots = list->kind & PARE_HASH_SHA256 ? 2 : 1;
    pare_status st = PARE_OK;
    for (;;) {
        for (size_t i = 0; i < n_slots && st == PARE_OK; i++)
            if (left(&slots[i]) == 0) {
                st = fill(&slots[i], list, first, err);
                first = NULL;
            }
        size_t a = left(&slots[0]), b = left(&slots[1]), n = a < b ? a : b;
        if (st != PARE_OK || (a == 0 && b == 0))
            return st;
        if (n > 0)
            st = pare_hasher_add_two(&slots[0].h, slots[0].r.buffer + slots[0].used, &slots[1].h,
                                     slots[1].r.buffer + slots[1].used, n, err);
        for (size_t i = 0; i < n_slots && st == PARE_OK; i++) {
            size_t alone = n == 0 ? left(&slots[i]) : 0;
            if (alone > 0) /* a slot without a job has no buffer */
                st = pare_hasher_add(&slots[i].h, slots[i].r.buffer + slots[i].used, alone, err);
            slots[i].used += n + alone;
        }
    }
}

/* What each thread does. */
static pare_status run_jobs(size_t i, int thread, void *ctx, pare_error *err)
{
    job_list *list = ctx;
    slot slots[2] = {0};
    const job *j = NULL;
    pare_status st = PARE_OK;
    (void)i, (void)thread;
    while (st == PARE_OK && take_job(list, &j))
        st = j->kind == JOB_BOTH ? hash_both(list, j, &slots[0].r, err) : hash_in_slots(list, slots, j, err);
    for (int k = 0; k < 2; k++) {
        pare_status closed = close_file(&slots[k].r, st == PARE_OK ? err : NULL);
        st = st == PARE_OK ? closed : st;
        pare_hasher_close(&slots[k].h);
        free(slots[k].r.buffer);
    }
    return st;
}

pare_status pare_pin_hash(pare_pin_file *files, size_t n, const uint8_t *what, pare_hash_kind kind, pare_error *err)
{
    job_list list = {.kind = kind};
    pare_status st = list_jobs(&list, files, n, what, err);
    size_t n_threads = (size_t)pare_threads();
    if (st == PARE_OK)
        st = pare_parallel(n_threads < list.n ? n_threads : list.n, run_jobs, &list, err);
    close_jobs(&list);
    return st;
}
