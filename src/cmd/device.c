#include "cmd/device.h"
#include "cmd/console.h"
#include "cmd/mpi.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEEN = 64 }; /* devices of a machine */

/* What the options ask for. */
typedef struct wish {
    const char *text; /* of --device */
    bool is_auto, is_cpu, all;
    size_t n;
    int number[CMD_MAX_DEVICES];
    const char *compute; /* NULL: not given */
    uint64_t max_bytes, batch;
} wish;

static pare_status malformed(const cmd_args *args, const char *text, pare_error *err)
{
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: --device '%s': expected auto, cpu, cuda, cuda:N, cuda:N,M... (all different, at most %d), or "
                     "cuda:all",
                     args->verb->name, text, CMD_MAX_DEVICES);
}

/* "0,2" */
static bool read_numbers(wish *w, const char *at)
{
    for (;;) {
        size_t digits = strspn(at, "0123456789");
        int number = digits > 0 && digits < 4 ? atoi(at) : -1;
        for (size_t i = 0; i < w->n; i++)
            if (w->number[i] == number)
                return false;
        if (number < 0 || w->n == CMD_MAX_DEVICES)
            return false;
        w->number[w->n++] = number;
        at += digits;
        if (*at == '\0')
            return true;
        if (*at++ != ',')
            return false;
    }
}

static pare_status read_wish(wish *w, const cmd_args *args, pare_error *err)
{
    const char *text = cmd_text(args, OPT_DEVICE);
    *w = (wish){.text = text,
                .is_auto = strcmp(text, "auto") == 0,
                .is_cpu = strcmp(text, "cpu") == 0,
                .all = strcmp(text, "cuda:all") == 0,
                .compute = cmd_text(args, OPT_COMPUTE),
                .max_bytes = cmd_number(args, OPT_DEVICE_MEMORY),
                .batch = cmd_number(args, OPT_BATCH)};
    if (strcmp(text, "cuda") == 0)
        w->n = 1;
    else if (!w->is_auto && !w->is_cpu && !w->all && (strncmp(text, "cuda:", 5) != 0 || !read_numbers(w, text + 5)))
        return malformed(args, text, err);
    if (w->is_cpu && w->max_bytes != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --device-memory is for --device cuda; the CPU has no such limit",
                         args->verb->name);
    if (!w->is_auto && !w->is_cpu && w->compute != NULL && strcmp(w->compute, "ggml") == 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: --compute ggml is arithmetic of the CPU: --device %s has f32 and bf16", args->verb->name,
                         text);
    return PARE_OK;
}

/* The name of all devices: "cuda:0,1". */
static void name_devices(cmd_devices *d)
{
    size_t len = (size_t)snprintf(d->name, sizeof d->name, "%s", d->backend[0]->name);
    for (size_t i = 1; i < d->n && len < sizeof d->name; i++)
        len += (size_t)snprintf(d->name + len, sizeof d->name - len, ",%s", strchr(d->backend[i]->name, ':') + 1);
}

static pare_status check_usable(const wish *w, int number, const pare_gpu_device *seen, int n_seen,
                                const pare_gpu_plugin *plugin, pare_error *err)
{
    if (number >= n_seen)
        return pare_fail(
            err, PARE_ERR_DEVICE, "--device %s: there is no device %d: the CUDA driver shows %d, counted from 0%s",
            w->text, number, n_seen, getenv("CUDA_VISIBLE_DEVICES") != NULL ? " (CUDA_VISIBLE_DEVICES is set)" : "");
    const pare_gpu_device *d = &seen[number];
    if (!d->usable)
        return pare_fail(err, PARE_ERR_DEVICE,
                         "device cuda:%d (%s) has compute capability %d.%d; the CUDA plugin has code for %s", number,
                         d->name, d->major, d->minor, plugin->architectures);
    return PARE_OK;
}

/* Which of the devices that are there are meant. */
static pare_status choose(wish *w, const pare_gpu_device *seen, int n_seen, const pare_gpu_plugin *plugin,
                          pare_error *err)
{
    for (int i = 0; w->all && i < n_seen && i < CMD_MAX_DEVICES; i++)
        w->number[w->n++] = i;
    if (w->is_auto) { /* the first one that is of use, else the first one's fault is told */
        w->n = 1;
        for (int i = n_seen - 1; i >= 0; i--)
            if (seen[i].usable)
                w->number[0] = i;
    }
    pare_status st = PARE_OK;
    for (size_t i = 0; i < w->n && st == PARE_OK; i++)
        st = check_usable(w, w->number[i], seen, n_seen, plugin, err);
    if (st == PARE_OK && cmd_mpi_size() > 1) {
        w->number[0] = w->number[cmd_mpi_rank() % w->n];
        w->n = 1;
    }
    return st;
}

static void say_device(const cmd_devices *d, size_t i)
{
    const pare_gpu_device *g = &d->device[i];
    const pare_backend *b = d->backend[i];
    cmd_say("device %s: %s, compute capability %d.%d, %s of %s free; products in %s by %s", b->name,
            cmd_safe(g->name, strlen(g->name)), g->major, g->minor, cmd_bytes(g->bytes_free), cmd_bytes(g->bytes),
            b->compute, d->plugin->products(b));
}

static pare_status open_cuda(cmd_devices *d, wish *w, const cmd_args *args, size_t most, pare_error *err)
{
    pare_gpu_device seen[MAX_SEEN];
    int n_seen = 0;
    if (w->is_auto && w->compute != NULL && strcmp(w->compute, "ggml") == 0)
        return pare_fail(err, PARE_ERR_DEVICE, "--compute ggml is arithmetic of the CPU");
    if (w->is_auto && !pare_gpu_present())
        return pare_fail(err, PARE_ERR_DEVICE, "no CUDA plugin is installed");
    pare_status st = pare_gpu_load(&d->plugin, err);
    if (st == PARE_OK)
        st = d->plugin->list(seen, MAX_SEEN, &n_seen, err);
    n_seen = n_seen < MAX_SEEN ? n_seen : MAX_SEEN;
    if (st == PARE_OK)
        st = choose(w, seen, n_seen, d->plugin, err);
    if (st == PARE_OK && w->n > most)
        st = pare_fail(err, PARE_ERR_USAGE, "%s: --device %s: %zu devices, it runs on %zu", args->verb->name, w->text,
                       w->n, most);
    for (size_t i = 0; i < w->n && st == PARE_OK; i++) {
        const pare_gpu_options options = {.device = w->number[i],
                                          .f32 = w->compute != NULL && strcmp(w->compute, "f32") == 0,
                                          .max_bytes = w->max_bytes};
        st = d->plugin->open(&d->backend[i], &options, err);
        d->n += st == PARE_OK;
        d->device[i] = seen[w->number[i]];
    }
    for (size_t i = 0; i < d->n && st == PARE_OK; i++)
        say_device(d, i);
    return st;
}

static pare_status open_cpu(cmd_devices *d, const wish *w, pare_error *err)
{
    pare_status st;
    d->plugin = NULL;
    if (w->compute != NULL && strcmp(w->compute, "bf16") == 0) {
        cmd_note("products in bf16, sums in float32: %s", pare_cpu_bf16_library());
        st = pare_backend_cpu_bf16(&d->backend[0], err);
    } else if (w->compute != NULL && strcmp(w->compute, "ggml") == 0)
        st = pare_backend_cpu_ggml(&d->backend[0], err);
    else
        st = pare_backend_cpu(&d->backend[0], err);
    d->n = st == PARE_OK;
    return st;
}

pare_status cmd_devices_open(cmd_devices *out, const cmd_args *args, size_t most, pare_error *err)
{
    wish w;
    pare_error why = {0};
    *out = (cmd_devices){0};
    pare_status st = read_wish(&w, args, err);
    if (st != PARE_OK)
        return st;
    if (!w.is_cpu && (st = open_cuda(out, &w, args, most, &why)) != PARE_OK)
        cmd_devices_close(out);
    if (st != PARE_OK && !w.is_auto)
        return pare_fail(err, st, "%s", why.text);
    if (w.is_cpu || st != PARE_OK) {
        if (w.is_auto)
            cmd_say("device cpu: %s", why.text);
        else
            cmd_note("device cpu");
        if ((st = open_cpu(out, &w, err)) != PARE_OK)
            return st;
    }
    for (size_t i = 0; i < out->n && w.batch > 0; i++)
        out->backend[i]->batch_tokens = (uint32_t)w.batch;
    name_devices(out);
    return PARE_OK;
}

pare_status cmd_device_numbers(int *number, size_t n, const cmd_args *args, pare_error *err)
{
    wish w;
    pare_status st = read_wish(&w, args, err);
    if (st != PARE_OK)
        return st;
    if (w.is_cpu)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --device cpu: what is measured is memory of CUDA devices",
                         args->verb->name);
    const bool listed = !w.is_auto && !w.all && strcmp(w.text, "cuda") != 0;
    if (listed && w.n != n)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --device %s: %zu devices, and %zu cards were planned for",
                         args->verb->name, w.text, w.n, n);
    for (size_t i = 0; i < n; i++)
        number[i] = listed ? w.number[i] : (int)i;
    return PARE_OK;
}

void cmd_devices_close(cmd_devices *d)
{
    for (size_t i = 0; i < CMD_MAX_DEVICES; i++)
        if (d->backend[i] != NULL)
            d->backend[i]->close(d->backend[i]);
    *d = (cmd_devices){0};
}

void cmd_devices_remark(const cmd_devices *d)
{
    static bool told;
    for (size_t i = 0; i < d->n && !told; i++) {
        const char *text = d->backend[i]->remark != NULL ? d->backend[i]->remark(d->backend[i]) : NULL;
        if (text != NULL)
            cmd_say("device %s: %s", d->backend[i]->name, text);
    }
    told = true;
}

pare_status cmd_devices_json(const cmd_devices *d, json_t *object, pare_error *err)
{
    bool ok = json_object_set_new(object, "device", json_string(d->name)) == 0;
    if (d->plugin != NULL)
        ok = ok &&
             json_object_set_new(object, "device_name", cmd_json_text(d->device[0].name, strlen(d->device[0].name))) ==
                 0 &&
             json_object_set_new(object, "products", json_string(d->plugin->products(d->backend[0]))) == 0 &&
             json_object_set_new(object, "toolkit", json_string(d->plugin->toolkit)) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a document");
}
