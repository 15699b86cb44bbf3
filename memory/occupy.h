/* memory/occupy.h - a plan's parts, taken on real devices for a moment, and what their driver says of it
 *
 * A plan is arithmetic. Here each of its parts that lies on a device is allocated there, one after the other, and the
 * driver's free memory is read before and after each: what allocations of these sizes take, what is left beside them,
 * and whether all of them find room at once. It is no run of the runtime that was planned for. Then all is given back.
 *
 * What a context takes is read where the driver can tell it. Nothing else of a driver can be allocated in its place:
 * of workspaces and graphs the plan's assumption is allocated, so that room for it is seen to be there. The reserve is
 * what stays free. */
#ifndef PARE_MEMORY_OCCUPY_H
#define PARE_MEMORY_OCCUPY_H

#include "memory/memory.h"

enum { PARE_DRIVER_NAME = 128 };

/* A driver, or what stands in for it. Errors: PARE_ERR_DEVICE (no such device, lost) from each of them. */
typedef struct pare_memory_driver {
    /* Begin to use a device. name: of the device. *context: bytes of its memory that this took; UINT64_MAX: the driver
     * does not tell */
    pare_status (*start)(void *user, int device, char name[PARE_DRIVER_NAME], uint64_t *context, pare_error *err);
    pare_status (*info)(void *user, int device, uint64_t *bytes_free, uint64_t *total, pare_error *err);
    /* PARE_ERR_MEMORY: no room; the device is as it was. bytes > 0 */
    pare_status (*allocate)(void *user, int device, uint64_t bytes, void **out, pare_error *err);
    void (*release)(void *user, int device, void *p);
    void *user;
} pare_memory_driver;

typedef enum pare_occupied_how {
    PARE_OCCUPIED_NOT,       /* the reserve; what came behind a part without room; a context that nobody can tell */
    PARE_OCCUPIED_ALLOCATED, /* bytes of the plan, allocated */
    PARE_OCCUPIED_ASSUMED,   /* the same of bytes that the plan assumes: whether they suffice is not known */
    PARE_OCCUPIED_CONTEXT    /* what the driver took itself */
} pare_occupied_how;

/* Of the plan's part of the same number. */
typedef struct pare_occupied_part {
    pare_occupied_how how;
    int64_t actual; /* bytes by which free memory fell; negative where others gave back more */
} pare_occupied_part;

typedef struct pare_occupied_device {
    int number; /* of the driver */
    char name[PARE_DRIVER_NAME];
    uint64_t total, free_before, free_with, free_after; /* before: with the context; with: with all parts */
    uint64_t predicted; /* bytes of what was allocated, and of the context if it was told */
    int64_t actual;
} pare_occupied_device;

typedef struct pare_occupied {
    pare_occupied_part parts[PARE_MEMORY_MAX_PARTS]; /* [plan->n_parts] */
    pare_occupied_device device[PARE_MEMORY_MAX_DEVICES];
    uint32_t n_devices;
    bool fits;
    char why[PARE_ERROR_TEXT]; /* where it does not */
} pare_occupied;

/* Device d of the plan is number[d] of the driver; n as many as the plan has. Weights of all devices first, then
 * caches, outputs and buffers, what runs beside, what the driver needs. No room for a part: fits is false, why says so,
 * the rest is not tried. All is released before this returns, whatever happens.
 * Errors: PARE_ERR_DEVICE, PARE_ERR_INTERRUPTED, PARE_ERR_USAGE (a plan with parts on other devices, or the same number
 * twice) */
pare_status pare_occupy(pare_occupied *out, const pare_memory_plan *plan, const int *number, uint32_t n,
                        const pare_memory_driver *driver, pare_error *err);

#endif
