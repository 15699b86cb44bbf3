#include "eval/evaluate_devices.h"

#include "core/clock.h"
#include "eval/evaluator.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

enum { SLOTS = 2 }; /* batches a device may be ahead: it works on one while another waits to be handed on */

/* A batch that a device works on, or that waits to be handed on. */
typedef struct slot {
    pare_windows windows; /* the job's, with a batch of its own */
    pare_batch batch;
    bool full;       /* it waits */
    uint32_t n_done; /* windows that have been scored; fewer than the batch's: st says why */
    pare_status st;
    pare_error err;
} slot;

struct evaluation;

typedef struct device {
    struct evaluation *e;
    size_t index;
    pare_evaluator *evaluator;
    slot slots[SLOTS];
    pthread_t thread;
    bool started;
} device;

/* Batch k is windows [k * batch_windows, ...) and goes to device k % n_devices, into its slot k / n_devices % SLOTS. */
typedef struct evaluation {
    const pare_eval_job *job;
    bool has_reference;
    size_t n_devices;
    uint32_t batch_windows, n_batches;
    device *devices;

    pthread_mutex_t lock; /* over full, n_taken, stop */
    pthread_cond_t changed;
    uint32_t n_taken; /* batches that have been handed on */
    bool stop;
} evaluation;

static slot *slot_of(const evaluation *e, uint32_t k)
{
    return &e->devices[k % e->n_devices].slots[k / e->n_devices % SLOTS];
}

/* ---- a device's thread ---- */

/* Wait until batch k's slot is free; false: the run has ended. */
static bool wait_for_slot(evaluation *e, uint32_t k)
{
    pthread_mutex_lock(&e->lock);
    while (!e->stop && slot_of(e, k)->full)
        pthread_cond_wait(&e->changed, &e->lock);
    bool go_on = !e->stop;
    pthread_mutex_unlock(&e->lock);
    return go_on;
}

/* Wait until all batches before k have been handed on. */
static bool wait_for_turn(evaluation *e, uint32_t k)
{
    pthread_mutex_lock(&e->lock);
    while (!e->stop && e->n_taken != k)
        pthread_cond_wait(&e->changed, &e->lock);
    bool go_on = !e->stop;
    pthread_mutex_unlock(&e->lock);
    return go_on;
}

static void tell_full(evaluation *e, slot *s)
{
    pthread_mutex_lock(&e->lock);
    s->full = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* Batch k into its slot; false: the run has ended. */
static bool make_batch(device *d, uint32_t k)
{
    evaluation *e = d->e;
    slot *s = slot_of(e, k);
    s->n_done = 0;
    s->err = (pare_error){0};
    pare_batch_fill(&s->batch, k * e->batch_windows);
    s->st = pare_evaluator_run(d->evaluator, &s->batch, &s->err);
    if (s->st == PARE_OK && e->job->logits != NULL && !wait_for_turn(e, k))
        return false;
    while (s->st == PARE_OK && s->n_done < s->batch.n_seq)
        if ((s->st = pare_evaluator_score(d->evaluator, &s->batch, s->n_done, &s->err)) == PARE_OK)
            s->n_done++;
    return true;
}

static void *run_device(void *user)
{
    device *d = user;
    evaluation *e = d->e;
    for (uint64_t k = d->index; k < e->n_batches; k += e->n_devices) {
        slot *s = slot_of(e, (uint32_t)k);
        if (!wait_for_slot(e, (uint32_t)k) || !make_batch(d, (uint32_t)k))
            break;
        pare_status st = s->st;
        tell_full(e, s);
        if (st != PARE_OK)
            break;
    }
    return NULL;
}

/* ---- the calling thread ---- */

static pare_status hand_on(const evaluation *e, const slot *s, pare_error *err)
{
    const pare_eval_job *job = e->job;
    pare_status st = PARE_OK;
    for (uint32_t seq = 0; seq < s->n_done && st == PARE_OK; seq++)
        for (size_t k = 0; k < job->n_models && st == PARE_OK; k++) {
            const pare_scores scores = pare_batch_scores(&s->batch, seq, k, e->has_reference);
            st = job->scores(&scores, k, job->user, err);
        }
    if (st == PARE_OK && s->st != PARE_OK) {
        st = s->st;
        if (err != NULL)
            *err = s->err;
    }
    return st;
}

/* All batches in order. *seconds: of waiting for them. */
static pare_status take_batches(evaluation *e, double *seconds, pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t k = 0; k < e->n_batches && st == PARE_OK; k++) {
        slot *s = slot_of(e, k);
        double start = pare_clock();
        pthread_mutex_lock(&e->lock);
        while (!s->full)
            pthread_cond_wait(&e->changed, &e->lock);
        pthread_mutex_unlock(&e->lock);
        *seconds += pare_clock() - start;
        st = hand_on(e, s, err);
        pthread_mutex_lock(&e->lock);
        s->full = false;
        e->n_taken = k + 1;
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->lock);
    }
    return st;
}

static pare_status start_devices(evaluation *e, pare_error *err)
{
    for (size_t i = 0; i < e->n_devices; i++) {
        device *d = &e->devices[i];
        int failure = pthread_create(&d->thread, NULL, run_device, d);
        if (failure != 0)
            return pare_fail(err, PARE_ERR_MEMORY, "no thread for device %zu of %zu (error %d)", i, e->n_devices,
                             failure);
        d->started = true;
    }
    return PARE_OK;
}

static void stop_devices(evaluation *e)
{
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < e->n_devices; i++)
        if (e->devices[i].started)
            pthread_join(e->devices[i].thread, NULL);
}

/* As large as the windows' own batches, or smaller, so that all devices have about as much to do. */
static void cut(evaluation *e)
{
    const pare_windows *w = e->job->windows;
    uint64_t n = w->n_windows, most = w->n_seq != 0 ? w->n_seq : 1;
    uint64_t rounds = (n + e->n_devices * most - 1) / (e->n_devices * most), n_batches = rounds * e->n_devices;
    e->batch_windows = n > 0 ? (uint32_t)((n + n_batches - 1) / n_batches) : 1;
    e->n_batches = (uint32_t)((n + e->batch_windows - 1) / e->batch_windows);
}

static pare_status open_slot(const evaluation *e, slot *s, pare_error *err)
{
    s->windows = *e->job->windows;
    s->windows.n_seq = e->batch_windows;
    s->windows.batch = malloc(((size_t)e->batch_windows * s->windows.n_ctx + 1) * sizeof *s->windows.batch);
    if (s->windows.batch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for windows of %" PRIu32 " tokens", s->windows.n_ctx);
    return pare_batch_open(&s->batch, &s->windows, e->job->n_models, err);
}

static pare_status open_device(evaluation *e, size_t index, const pare_eval_device *sources, pare_error *err)
{
    device *d = &e->devices[index];
    pare_eval_job job = *e->job;
    pare_status st = PARE_OK;
    d->e = e;
    d->index = index;
    for (int i = 0; i < SLOTS && st == PARE_OK; i++)
        st = open_slot(e, &d->slots[i], err);
    job.models = sources->models;
    job.reference = sources->reference;
    return st == PARE_OK ? pare_evaluator_open(&d->evaluator, &job, err) : st;
}

static void close_devices(evaluation *e)
{
    for (size_t i = 0; e->devices != NULL && i < e->n_devices; i++) {
        device *d = &e->devices[i];
        pare_evaluator_close(d->evaluator);
        for (int k = 0; k < SLOTS; k++) {
            pare_batch_close(&d->slots[k].batch);
            free(d->slots[k].windows.batch);
        }
    }
    free(e->devices);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
}

pare_status pare_evaluate_devices(const pare_eval_job *job, const pare_eval_device *devices, size_t n_devices,
                                  pare_error *err)
{
    double seconds = 0;
    evaluation e = {.job = job,
                    .has_reference = devices[0].reference != NULL,
                    .n_devices = n_devices,
                    .devices = calloc(n_devices, sizeof *e.devices),
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .changed = PTHREAD_COND_INITIALIZER};
    pare_status st = PARE_OK;
    if (e.devices == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu devices", n_devices);
    cut(&e);
    for (size_t i = 0; i < n_devices && st == PARE_OK; i++)
        st = open_device(&e, i, &devices[i], err);
    if (st == PARE_OK)
        st = start_devices(&e, err);
    if (st == PARE_OK)
        st = take_batches(&e, &seconds, err);
    if (e.devices != NULL)
        stop_devices(&e);
    if (job->seconds != NULL)
        *job->seconds += seconds;
    close_devices(&e);
    return st;
}
