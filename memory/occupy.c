#include "memory/occupy.h"

#include <stdio.h>
#include <string.h>

/* In this order a runtime comes to need them. The reserve is not among them. */
static const pare_memory_kind order[] = {PARE_MEMORY_WEIGHTS, PARE_MEMORY_CACHE,  PARE_MEMORY_OUTPUT,
                                         PARE_MEMORY_COMPUTE, PARE_MEMORY_BESIDE, PARE_MEMORY_DRIVER};

typedef struct holding {
    const pare_memory_plan *plan;
    const pare_memory_driver *driver;
    pare_occupied *out;
    struct {
        void *p;
        int device; /* number of the driver */
    } held[PARE_MEMORY_MAX_PARTS];
    size_t n_held;
    bool started[PARE_MEMORY_MAX_DEVICES];
} holding;

static pare_status check(const pare_memory_plan *plan, const int *number, uint32_t n, pare_error *err)
{
    if (n > PARE_MEMORY_MAX_DEVICES)
        return pare_fail(err, PARE_ERR_USAGE, "%u devices: %d at most", n, PARE_MEMORY_MAX_DEVICES);
    for (uint32_t d = 0; d < n; d++)
        for (uint32_t e = 0; e < d; e++)
            if (number[d] == number[e])
                return pare_fail(err, PARE_ERR_USAGE, "device %d is to be two devices of the plan", number[d]);
    for (size_t i = 0; i < plan->n_parts; i++)
        if (plan->parts[i].place >= (int32_t)n)
            return pare_fail(err, PARE_ERR_USAGE, "the plan has parts on device %d, and %u were given",
                             (int)plan->parts[i].place, n);
    return PARE_OK;
}

/* The first part of a driver that a plan has on a device. */
static bool is_context(const pare_memory_plan *plan, size_t part)
{
    for (size_t i = 0; i < part; i++)
        if (plan->parts[i].kind == PARE_MEMORY_DRIVER && plan->parts[i].place == plan->parts[part].place)
            return false;
    return plan->parts[part].kind == PARE_MEMORY_DRIVER;
}

static pare_status read_free(const holding *h, uint32_t d, uint64_t *bytes, pare_error *err)
{
    return h->driver->info(h->driver->user, h->out->device[d].number, bytes, &h->out->device[d].total, err);
}

static void count(holding *h, size_t part, pare_occupied_how how, int64_t actual)
{
    pare_occupied_device *d = &h->out->device[h->plan->parts[part].place];
    h->out->parts[part] = (pare_occupied_part){how, actual};
    d->predicted += h->plan->parts[part].bytes;
    d->actual += actual;
}

static pare_status start(holding *h, uint32_t d, pare_error *err)
{
    pare_occupied_device *device = &h->out->device[d];
    uint64_t context = UINT64_MAX;
    pare_status st = h->driver->start(h->driver->user, device->number, device->name, &context, err);
    if (st == PARE_OK)
        st = read_free(h, d, &device->free_before, err);
    if (st != PARE_OK)
        return st;
    h->started[d] = true;
    device->free_with = device->free_before;
    for (size_t i = 0; i < h->plan->n_parts && context != UINT64_MAX; i++)
        if (h->plan->parts[i].place == (int32_t)d && is_context(h->plan, i))
            count(h, i, PARE_OCCUPIED_CONTEXT, (int64_t)context);
    return PARE_OK;
}

static pare_status no_room(holding *h, const pare_memory_part *part, const pare_error *why, uint64_t left,
                           pare_error *err)
{
    if (why->status != PARE_ERR_MEMORY) {
        *err = *why;
        return why->status;
    }
    const pare_occupied_device *device = &h->out->device[part->place];
    snprintf(h->out->why, sizeof h->out->why,
             "device %d (%s): no room for %s: %.1f MiB wanted, %.1f MiB free of %.1f MiB (%.1f MiB before anything was "
             "allocated)",
             device->number, device->name, part->name, (double)part->bytes / (1 << 20), (double)left / (1 << 20),
             (double)device->total / (1 << 20), (double)device->free_before / (1 << 20));
    h->out->fits = false;
    return PARE_OK;
}

static pare_status take(holding *h, size_t i, pare_error *err)
{
    const pare_memory_part *part = &h->plan->parts[i];
    pare_occupied_device *device = &h->out->device[part->place];
    uint64_t before = 0;
    void *p = NULL;
    pare_error why = {0};
    pare_status st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = read_free(h, (uint32_t)part->place, &before, err);
    if (st != PARE_OK)
        return st;
    if (h->driver->allocate(h->driver->user, device->number, part->bytes, &p, &why) != PARE_OK)
        return no_room(h, part, &why, before, err);
    h->held[h->n_held].p = p;
    h->held[h->n_held++].device = device->number;
    if ((st = read_free(h, (uint32_t)part->place, &device->free_with, err)) == PARE_OK)
        count(h, i, part->assumed ? PARE_OCCUPIED_ASSUMED : PARE_OCCUPIED_ALLOCATED,
              (int64_t)before - (int64_t)device->free_with);
    return st;
}

static pare_status take_all(holding *h, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < sizeof order / sizeof *order; k++)
        for (size_t i = 0; i < h->plan->n_parts; i++) {
            const pare_memory_part *part = &h->plan->parts[i];
            if (part->kind != order[k] || part->place < 0 || part->bytes == 0 || is_context(h->plan, i))
                continue;
            if ((st = take(h, i, err)) != PARE_OK || !h->out->fits)
                return st;
        }
    return st;
}

/* Backwards; what is free then is read, whatever it is. */
static void give_back(holding *h)
{
    pare_error ignored = {0};
    while (h->n_held-- > 0)
        h->driver->release(h->driver->user, h->held[h->n_held].device, h->held[h->n_held].p);
    for (uint32_t d = 0; d < h->out->n_devices; d++)
        if (h->started[d])
            read_free(h, d, &h->out->device[d].free_after, &ignored);
}

pare_status pare_occupy(pare_occupied *out, const pare_memory_plan *plan, const int *number, uint32_t n,
                        const pare_memory_driver *driver, pare_error *err)
{
    holding h = {.plan = plan, .driver = driver, .out = out};
    *out = (pare_occupied){.fits = true};
    pare_status st = check(plan, number, n, err);
    if (st != PARE_OK)
        return st;
    out->n_devices = n;
    for (uint32_t d = 0; d < n; d++)
        out->device[d].number = number[d];
    for (uint32_t d = 0; d < n && st == PARE_OK; d++)
        st = start(&h, d, err);
    if (st == PARE_OK)
        st = take_all(&h, err);
    give_back(&h);
    return st;
}
