/* eval/evaluate_devices.h - the windows of a text shared among several devices
 *
 * Each device has a backend of its own, and passes over it of its own. Batches of windows go to the devices in turn, so
 * the same devices give the same bits in every run; scores come back in host memory and are handed on in the order of
 * the windows: nothing has to travel from device to device. */
#ifndef PARE_EVAL_EVALUATE_DEVICES_H
#define PARE_EVAL_EVALUATE_DEVICES_H

#include "eval/evaluate.h"

/* What a job's models and reference are on one device: sources over its backend, in the job's order, made for the job's
 * windows. */
typedef struct pare_eval_device {
    pare_source *const *models; /* [job->n_models] */
    pare_source *reference;     /* NULL: none, on all devices */
} pare_eval_device;

/* pare_evaluate on n_devices devices, a thread each; job->models and job->reference are not looked at. job->scores is
 * called by the calling thread alone; job->logits by other threads, one at a time, in the order of the windows, while
 * scores is not: a device then waits for its turn before it makes logits. seconds: of the whole less what scores took.
 *
 * An error ends the run on all devices at their next batch; the one that is told is that of the first window in order,
 * and the windows before it have been handed on. Memory: the sources', and twice the scores of a batch a device. */
pare_status pare_evaluate_devices(const pare_eval_job *job, const pare_eval_device *devices, size_t n_devices,
                                  pare_error *err);

#endif
