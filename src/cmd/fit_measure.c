#include "cmd/fit_measure.h"
#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB 1048576.0
#define COMMAND "fit --measure"

/* ---- the plugin as a driver ------------------------------------------------------------------------------------- */

static pare_status start(void *user, int device, char name[PARE_DRIVER_NAME], uint64_t *context, pare_error *err)
{
    const pare_gpu_plugin *plugin = user;
    char full[PARE_GPU_NAME] = "";
    pare_status st = plugin->memory_start(device, full, context, err);
    snprintf(name, PARE_DRIVER_NAME, "%.*s", PARE_DRIVER_NAME - 1, full);
    return st;
}

static pare_status info(void *user, int device, uint64_t *bytes_free, uint64_t *total, pare_error *err)
{
    return ((const pare_gpu_plugin *)user)->memory_info(device, bytes_free, total, err);
}

static pare_status allocate(void *user, int device, uint64_t bytes, void **out, pare_error *err)
{
    return ((const pare_gpu_plugin *)user)->memory_allocate(device, bytes, out, err);
}

static void release(void *user, int device, void *p)
{
    ((const pare_gpu_plugin *)user)->memory_release(device, p);
}

pare_status cmd_fit_measure(pare_occupied *out, const cmd_args *args, const cmd_fit_plan *p, const cmd_fit_candidate *c,
                            pare_error *err)
{
    const pare_gpu_plugin *plugin = NULL;
    int number[PARE_MEMORY_MAX_DEVICES];
    const uint32_t n = p->request->n_devices;
    pare_status st = cmd_device_numbers(number, n, args, err);
    if (st == PARE_OK)
        st = pare_gpu_load(&plugin, err);
    if (st != PARE_OK)
        return st;
    const pare_memory_driver driver = {start, info, allocate, release, (void *)(uintptr_t)plugin};
    return pare_occupy(out, &c->placement.plan, number, n, &driver, err);
}

/* ---- what is told ----------------------------------------------------------------------------------------------- */

static const char *how_name(pare_occupied_how how)
{
    static const char *const names[] = {"not measured", "allocated", "assumed size", "by the driver"};
    return names[how];
}

static void print_row(int number, const char *name, double predicted, double actual, const char *how)
{
    const double off = actual - predicted;
    printf("  cuda:%-3d %-28s %10.1f %10.1f %+10.1f %+8.2f %%  %s\n", number, name, predicted / MIB, actual / MIB,
           off / MIB, predicted > 0 ? 100 * off / predicted : 0, how);
}

void cmd_fit_print_measured(const cmd_fit_candidate *c, const pare_occupied *o)
{
    const pare_memory_plan *plan = &c->placement.plan;
    printf("\n%s, allocated part by part as planned (no run of a runtime), by what the driver says is free:\n",
           c->name);
    printf("  %-8s %-28s %10s %10s %10s %10s\n", "", "MiB", "predicted", "actual", "more", "");
    for (uint32_t d = 0; d < o->n_devices; d++) {
        const pare_occupied_device *device = &o->device[d];
        for (size_t i = 0; i < plan->n_parts; i++) {
            const pare_memory_part *part = &plan->parts[i];
            if (part->place != (int32_t)d || part->bytes == 0)
                continue;
            if (o->parts[i].how != PARE_OCCUPIED_NOT)
                print_row(device->number, part->name, (double)part->bytes, (double)o->parts[i].actual,
                          how_name(o->parts[i].how));
            else
                printf("  cuda:%-3d %-28s %10.1f %10s\n", device->number, part->name, (double)part->bytes / MIB,
                       part->kind == PARE_MEMORY_RESERVE ? "left free" : "not known");
        }
        print_row(device->number, "together", (double)device->predicted, (double)device->actual,
                  "of what was measured");
        printf("  cuda:%-3d %s: %.1f MiB of %.1f MiB free before, %.1f MiB with all of it, %.1f MiB behind it\n",
               device->number, cmd_safe(device->name, strlen(device->name)), (double)device->free_before / MIB,
               (double)device->total / MIB, (double)device->free_with / MIB, (double)device->free_after / MIB);
    }
    if (!o->fits)
        printf("  does not fit: %s\n", o->why);
}

static json_t *json_part(const pare_memory_part *part, const pare_occupied_part *o)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "kind", json_string(pare_memory_kind_name(part->kind)));
    json_object_set_new(doc, "name", json_string(part->name));
    json_object_set_new(doc, "how", json_string(how_name(o->how)));
    cmd_json_u64(doc, "predicted", part->bytes);
    cmd_json_u64(doc, "low", part->low);
    cmd_json_u64(doc, "high", part->high);
    if (o->how != PARE_OCCUPIED_NOT) {
        json_object_set_new(doc, "actual", json_integer(o->actual));
        json_object_set_new(doc, "difference", json_integer(o->actual - (int64_t)part->bytes));
    }
    return doc;
}

json_t *cmd_fit_json_measured(const cmd_fit_candidate *c, const pare_occupied *o)
{
    const pare_memory_plan *plan = &c->placement.plan;
    json_t *doc = json_object(), *devices = json_array();
    json_object_set_new(doc, "fits", json_boolean(o->fits));
    if (!o->fits)
        json_object_set_new(doc, "why", cmd_json_text(o->why, strlen(o->why)));
    for (uint32_t d = 0; d < o->n_devices; d++) {
        const pare_occupied_device *from = &o->device[d];
        json_t *device = json_object(), *parts = json_array();
        json_object_set_new(device, "number", json_integer(from->number));
        json_object_set_new(device, "name", cmd_json_text(from->name, strlen(from->name)));
        cmd_json_u64(device, "total", from->total);
        cmd_json_u64(device, "free_before", from->free_before);
        cmd_json_u64(device, "free_with", from->free_with);
        cmd_json_u64(device, "free_after", from->free_after);
        cmd_json_u64(device, "predicted", from->predicted);
        json_object_set_new(device, "actual", json_integer(from->actual));
        for (size_t i = 0; i < plan->n_parts; i++)
            if (plan->parts[i].place == (int32_t)d && plan->parts[i].bytes > 0)
                json_array_append_new(parts, json_part(&plan->parts[i], &o->parts[i]));
        json_object_set_new(device, "parts", parts);
        json_array_append_new(devices, device);
    }
    json_object_set_new(doc, "devices", devices);
    return doc;
}

/* ---- log -------------------------------------------------------------------------------------------------------- */

static pare_status no_log(const char *path, pare_error *err)
{
    return pare_fail(err, PARE_ERR_USAGE, "%s: --measure-log: is there and no log of fit --measure", path);
}

pare_status cmd_fit_check_log(const cmd_args *args, pare_error *err)
{
    enum { LINE = 1 << 20 };
    const char *path = cmd_text(args, OPT_MEASURE_LOG);
    struct stat about;
    if (path == NULL)
        return PARE_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return PARE_OK;
    if (fd < 0)
        return pare_fail(err, PARE_ERR_IO, "%s: --measure-log: cannot be read: %s", path, strerror(errno));
    char *line = malloc(LINE), last = '\n';
    pare_status st = line != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a line");
    if (st == PARE_OK && (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)))
        st = no_log(path, err);
    if (st == PARE_OK && about.st_size > 0) {
        const ssize_t n = pread(fd, line, LINE, 0);
        json_t *first = n > 0 ? json_loadb(line, (size_t)n, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
        const char *command = json_string_value(json_object_get(first, "command"));
        if (command == NULL || strcmp(command, COMMAND) != 0 || pread(fd, &last, 1, about.st_size - 1) != 1 ||
            last != '\n')
            st = no_log(path, err);
        json_decref(first);
    }
    free(line);
    close(fd);
    return st;
}

static pare_status append(const char *path, const char *text, size_t n, pare_error *err)
{
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    const bool written = fd >= 0 && write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    const int why = errno;
    if ((fd >= 0 && close(fd) != 0) || !written)
        return pare_fail(err, PARE_ERR_IO, "%s: --measure-log: cannot be written: %s", path, strerror(why));
    return PARE_OK;
}

pare_status cmd_fit_log(const cmd_args *args, const cmd_fit_plan *p, const cmd_fit_candidate *c, const pare_occupied *o,
                        pare_error *err)
{
    const char *path = cmd_text(args, OPT_MEASURE_LOG), *model = cmd_base_name(p->model->path);
    if (path == NULL)
        return PARE_OK;
    json_t *doc = cmd_fit_json_measured(c, o);
    json_object_set_new(doc, "schema", json_integer(1));
    json_object_set_new(doc, "command", json_string(COMMAND));
    json_object_set_new(doc, "version", json_string(CMD_BUILD_VERSION " (" CMD_BUILD_COMMIT ")"));
    json_object_set_new(doc, "model", cmd_json_text(model, strlen(model)));
    json_object_set_new(doc, "type", json_string(c->name));
    cmd_json_u64(doc, "file_bytes", c->file_bytes);
    json_object_set_new(doc, "runtime", json_string(p->request->runtime->name));
    cmd_json_u64(doc, "n_ctx", p->n_ctx);
    json_object_set_new(doc, "cache_k", json_string(pare_type_get(p->request->run.cache_k)->name));
    json_object_set_new(doc, "cache_v", json_string(pare_type_get(p->request->run.cache_v)->name));
    char *line = json_dumps(doc, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(doc);
    pare_buf text = {0};
    pare_status st = line != NULL ? pare_buf_printf(&text, err, "%s\n", line)
                                  : pare_fail(err, PARE_ERR_MEMORY, "no memory for a document");
    if (st == PARE_OK)
        st = append(path, text.data, text.len, err);
    free(line);
    pare_buf_close(&text);
    return st;
}
