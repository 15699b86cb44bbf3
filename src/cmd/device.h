/* cmd/device.h - --device, --compute, --device-memory, --batch: the backends that they ask for, and words about why */
#ifndef PARE_CMD_DEVICE_H
#define PARE_CMD_DEVICE_H

#include "cmd/options.h"
#include "eval/backend.h"
#include "gpu/plugin.h"

#include <jansson.h>
#include <stdio.h>

enum { CMD_MAX_DEVICES = 16 };

/* What a command computes on. Zeroed is closed. */
typedef struct cmd_devices {
    pare_backend *backend[CMD_MAX_DEVICES]; /* [n], owned, the order of --device */
    size_t n;
    char name[64];                           /* of all of them: "cpu", "cuda:0", "cuda:0,1" */
    pare_gpu_device device[CMD_MAX_DEVICES]; /* what CUDA ones are */
    const pare_gpu_plugin *plugin;           /* NULL: the CPU */
} cmd_devices;

/* Open what the options name, and say on stderr what it is and, with --device auto, why it is the CPU. Of several ranks
 * of MPI each takes one device of the list in turn. With --device cuda there is no other way out than the device.
 *   most  devices that the command can use at once
 * Errors: PARE_ERR_USAGE (--device is malformed, or names more than `most`; a --compute or --device-memory that the
 * device does not have), PARE_ERR_DEVICE (those of gpu/plugin.h; a number out of range), PARE_ERR_MEMORY,
 * PARE_ERR_UNSUPPORTED (--compute bf16 on this CPU) */
pare_status cmd_devices_open(cmd_devices *out, const cmd_args *args, size_t most, pare_error *err);
void cmd_devices_close(cmd_devices *d);

/* The CUDA devices that --device names, for a command that computes nothing there: number [n]; auto, cuda and cuda:all
 * are the first n. No driver is asked. Errors: PARE_ERR_USAGE (the CPU; another number of devices; malformed) */
pare_status cmd_device_numbers(int *number, size_t n, const cmd_args *args, pare_error *err);

/* Say, once, what the backends remark about how the models are held on them. */
void cmd_devices_remark(const cmd_devices *d);

/* "device", of CUDA ones also "device_name", "products" and "toolkit". Errors: PARE_ERR_MEMORY */
pare_status cmd_devices_json(const cmd_devices *d, json_t *object, pare_error *err);

/* For `pare env` and `pare --version`. */
void cmd_devices_print_plugin(FILE *out); /* a line of the plugin, or why there is none */
void cmd_devices_print(FILE *out);        /* a line each device, or why there is none */
/* {plugin, toolkit, architectures, products, devices[], why}; names of the devices are appended to names. */
json_t *cmd_devices_env(json_t *names);

#endif
