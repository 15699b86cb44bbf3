#include "gpu/feeder.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_READERS = 8, BUFFERS = 2 };

typedef struct buffer {
    void *host;
    size_t bytes, copying; /* copying: bytes whose time has not been taken */
    cudaEvent_t begun, done;
} buffer;

typedef struct reader {
    pare_gpu_feeder *f;
    pthread_t thread;
    bool running;
    buffer buffers[BUFFERS];
    unsigned next;
} reader;

struct pare_gpu_feeder {
    pare_gpu *g;
    size_t slice_bytes;
    cudaStream_t stream;
    pthread_mutex_t lock;
    pthread_cond_t work, progress; /* for the readers; for the owner of deliveries */
    pare_gpu_delivery *queue;      /* with rows that nobody has begun with */
    pare_gpu_feeder_traffic traffic;
    bool quit;
    unsigned n_readers;
    reader readers[MOST_READERS];
};

/* Rows [row, row + n_rows) of a delivery's tensor. */
typedef struct slice {
    pare_gpu_delivery *d;
    uint64_t row, n_rows;
    char *dst;
} slice;

static void unlink_delivery(pare_gpu_feeder *f, pare_gpu_delivery *d)
{
    for (pare_gpu_delivery **at = &f->queue; *at != NULL; at = &(*at)->next)
        if (*at == d) {
            *at = d->next;
            return;
        }
}

/* The next slice of the first delivery; the queue is not empty, the lock held. */
static slice take(pare_gpu_feeder *f)
{
    pare_gpu_delivery *d = f->queue;
    uint64_t most = d->t->row_bytes < f->slice_bytes ? f->slice_bytes / d->t->row_bytes : 1,
             left = d->n_rows - d->n_taken;
    slice s = {d, d->row + d->n_taken, left < most ? left : most, d->dst + d->n_taken * d->t->row_bytes};
    d->n_taken += s.n_rows;
    d->n_reading++;
    if (d->n_taken == d->n_rows)
        f->queue = d->next;
    return s;
}

/* Note how long the last copy out of b took: it is done. */
static void take_time(pare_gpu_feeder *f, buffer *b)
{
    float ms = 0;
    if (b->copying == 0 || cudaEventElapsedTime(&ms, b->begun, b->done) != cudaSuccess)
        return;
    pthread_mutex_lock(&f->lock);
    f->traffic.timed_bytes += b->copying;
    f->traffic.seconds += (double)ms / 1e3;
    pthread_mutex_unlock(&f->lock);
    b->copying = 0;
}

/* A buffer of this reader that nothing is copied out of any more, with room for so many bytes. */
static cudaError_t next_buffer(reader *r, size_t bytes, buffer **out)
{
    buffer *b = &r->buffers[r->next++ % BUFFERS];
    cudaError_t code = cudaSuccess;
    *out = b;
    if (b->begun == NULL)
        code = cudaEventCreate(&b->begun);
    if (code == cudaSuccess && b->done == NULL)
        code = cudaEventCreateWithFlags(&b->done, cudaEventBlockingSync); /* readers sleep, as cores have work */
    if (code == cudaSuccess)
        code = cudaEventSynchronize(b->done);
    if (code != cudaSuccess)
        return code;
    take_time(r->f, b);
    if (bytes <= b->bytes)
        return cudaSuccess;
    if (b->host != NULL)
        cudaFreeHost(b->host);
    b->host = NULL;
    b->bytes = 0;
    size_t want = bytes < r->f->slice_bytes ? r->f->slice_bytes : bytes;
    code = cudaMallocHost(&b->host, want);
    b->bytes = code == cudaSuccess ? want : 0;
    return code;
}

/* Read the slice and put its copy into the stream. */
static pare_status deliver(reader *r, const slice *s, cudaError_t *code, pare_error *err)
{
    const pare_tensor *t = s->d->t;
    size_t bytes = (size_t)(s->n_rows * t->row_bytes);
    buffer *b = NULL;
    if ((*code = next_buffer(r, bytes, &b)) != cudaSuccess)
        return PARE_ERR_DEVICE;
    pare_status st = pare_gpu_calls->tensor_read(t, s->row, s->n_rows, b->host, err);
    if (st != PARE_OK)
        return st;
    if (s->d->release)
        pare_gpu_calls->tensor_release(t, s->row, s->n_rows);
    pthread_mutex_lock(&r->f->lock); /* nothing else comes between: its time would count, too */
    *code = cudaEventRecord(b->begun, r->f->stream);
    if (*code == cudaSuccess)
        *code = cudaMemcpyAsync(s->dst, b->host, bytes, cudaMemcpyHostToDevice, r->f->stream);
    if (*code == cudaSuccess)
        *code = cudaEventRecord(b->done, r->f->stream);
    pthread_mutex_unlock(&r->f->lock);
    b->copying = *code == cudaSuccess ? bytes : 0;
    return *code == cudaSuccess ? PARE_OK : PARE_ERR_DEVICE;
}

/* The slice is in the stream, or failed: then the rest of the delivery is left alone. The lock is held. */
static void settle(pare_gpu_feeder *f, const slice *s, pare_status st, cudaError_t code, const pare_error *err)
{
    pare_gpu_delivery *d = s->d;
    d->n_reading--;
    if (st == PARE_OK)
        f->traffic.bytes += s->n_rows * d->t->row_bytes;
    else if (d->status == PARE_OK) {
        unlink_delivery(f, d);
        d->n_taken = d->n_rows;
        d->status = st;
        d->code = code;
        d->err = *err;
    }
    if (d->n_reading > 0 || d->n_taken < d->n_rows)
        return;
    if (d->status == PARE_OK && (d->code = cudaEventRecord(d->ready, f->stream)) != cudaSuccess)
        d->status = PARE_ERR_DEVICE;
    d->under_way = false;
    pthread_cond_broadcast(&f->progress);
}

static void *run_reader(void *arg)
{
    reader *r = (reader *)arg;
    pare_gpu_feeder *f = r->f;
    cudaError_t chosen = cudaSetDevice(f->g->device); /* of this thread */
    pthread_mutex_lock(&f->lock);
    while (!f->quit) {
        if (f->queue == NULL) {
            pthread_cond_wait(&f->work, &f->lock);
            continue;
        }
        slice s = take(f);
        pthread_mutex_unlock(&f->lock);
        pare_error err = {};
        cudaError_t code = chosen;
        pare_status st = chosen == cudaSuccess ? deliver(r, &s, &code, &err) : PARE_ERR_DEVICE;
        pthread_mutex_lock(&f->lock);
        settle(f, &s, st, code, &err);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Half of the machine's cores, 2 to 8: one core copies 8 to 12 GB/s, a bus takes 25 to 55. One is enough to go on. */
static pare_status start_readers(pare_gpu_feeder *f, pare_error *err)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    n = n < 2 ? 2 : n > (long)MOST_READERS ? (long)MOST_READERS : n;
    for (long i = 0; i < n; i++) {
        reader *r = &f->readers[i];
        r->f = f;
        r->running = pthread_create(&r->thread, NULL, run_reader, r) == 0;
        f->n_readers += r->running;
    }
    return f->n_readers > 0 ? PARE_OK : pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no thread to read weights");
}

pare_status pare_gpu_feeder_open(pare_gpu_feeder **out, pare_gpu *g, size_t slice_bytes, pare_error *err)
{
    pare_gpu_feeder *f = (pare_gpu_feeder *)calloc(1, sizeof *f);
    if (f == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a queue of weights");
    f->g = g;
    f->slice_bytes = slice_bytes;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->work, NULL);
    pthread_cond_init(&f->progress, NULL);
    *out = f;
    return pare_gpu_check(g, cudaStreamCreateWithFlags(&f->stream, cudaStreamNonBlocking), "stream of copies", err);
}

void pare_gpu_feeder_close(pare_gpu_feeder *f)
{
    if (f == NULL)
        return;
    pthread_mutex_lock(&f->lock);
    f->quit = true;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    for (reader *r = f->readers; r < f->readers + MOST_READERS; r++)
        if (r->running)
            pthread_join(r->thread, NULL);
    if (f->stream != NULL) {
        cudaStreamSynchronize(f->stream);
        cudaStreamDestroy(f->stream);
    }
    for (reader *r = f->readers; r < f->readers + MOST_READERS; r++)
        for (buffer *b = r->buffers; b < r->buffers + BUFFERS; b++) {
            if (b->host != NULL)
                cudaFreeHost(b->host);
            if (b->begun != NULL)
                cudaEventDestroy(b->begun);
            if (b->done != NULL)
                cudaEventDestroy(b->done);
        }
    pthread_cond_destroy(&f->progress);
    pthread_cond_destroy(&f->work);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

pare_status pare_gpu_feeder_ask(pare_gpu_feeder *f, pare_gpu_delivery *d, bool urgent, pare_error *err)
{
    if (f->n_readers == 0 && start_readers(f, err) != PARE_OK)
        return PARE_ERR_MEMORY;
    d->n_taken = d->n_reading = 0;
    d->under_way = true;
    d->status = PARE_OK;
    d->code = cudaSuccess;
    pthread_mutex_lock(&f->lock);
    pare_gpu_delivery **at = &f->queue;
    while (!urgent && *at != NULL)
        at = &(*at)->next;
    d->next = *at;
    *at = d;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    return PARE_OK;
}

pare_status pare_gpu_feeder_wait(pare_gpu_feeder *f, pare_gpu_delivery *d, pare_error *err)
{
    pthread_mutex_lock(&f->lock);
    while (d->under_way)
        pthread_cond_wait(&f->progress, &f->lock);
    pthread_mutex_unlock(&f->lock);
    if (d->status != PARE_OK && d->code != cudaSuccess)
        return pare_gpu_check(f->g, d->code, "copy of weights", err);
    if (d->status != PARE_OK && err != NULL)
        *err = d->err;
    return d->status;
}

void pare_gpu_feeder_withdraw(pare_gpu_feeder *f, pare_gpu_delivery *d)
{
    pthread_mutex_lock(&f->lock);
    unlink_delivery(f, d);
    if (d->n_taken < d->n_rows)
        d->status = PARE_ERR_INTERRUPTED; /* a part of it never comes */
    d->n_taken = d->n_rows;
    d->under_way = d->n_reading > 0;
    while (d->under_way)
        pthread_cond_wait(&f->progress, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

cudaError_t pare_gpu_feeder_behind(pare_gpu_feeder *f, cudaEvent_t e)
{
    pthread_mutex_lock(&f->lock);
    cudaError_t code = cudaStreamWaitEvent(f->stream, e, 0);
    pthread_mutex_unlock(&f->lock);
    return code;
}

cudaError_t pare_gpu_feeder_drain(pare_gpu_feeder *f)
{
    return cudaStreamSynchronize(f->stream);
}

void pare_gpu_feeder_traffic_of(pare_gpu_feeder *f, pare_gpu_feeder_traffic *out)
{
    pthread_mutex_lock(&f->lock);
    *out = f->traffic;
    pthread_mutex_unlock(&f->lock);
}
