/* device_env.c - what there is to compute on, for `pare env` and `pare --version` */
#include "cmd/console.h"
#include "cmd/device.h"

#include <string.h>

enum { MAX_SEEN = 64 };

/* Everything that can be known. */
typedef struct seen {
    const pare_gpu_plugin *plugin; /* NULL: none */
    int n;
    pare_gpu_device device[MAX_SEEN];
    char products[64]; /* of the first one that is of use, or "" */
    pare_error why;    /* there is no plugin, or no device */
} seen;

static void look(seen *s)
{
    *s = (seen){0};
    if (pare_gpu_load(&s->plugin, &s->why) != PARE_OK ||
        s->plugin->list(s->device, MAX_SEEN, &s->n, &s->why) != PARE_OK)
        s->n = 0;
    s->n = s->n < MAX_SEEN ? s->n : MAX_SEEN;
    for (int i = 0; i < s->n && s->products[0] == '\0'; i++) {
        pare_backend *b = NULL;
        const pare_gpu_options options = {.device = i};
        pare_error ignored = {0};
        if (!s->device[i].usable || s->plugin->open(&b, &options, &ignored) != PARE_OK)
            continue;
        snprintf(s->products, sizeof s->products, "%s", s->plugin->products(b));
        b->close(b);
    }
}

void cmd_devices_print_plugin(FILE *out)
{
    const pare_gpu_plugin *plugin;
    pare_error why = {0};
    if (pare_gpu_load(&plugin, &why) == PARE_OK)
        fprintf(out, "cuda arch %s (%s, %s)\n", plugin->architectures, plugin->toolkit,
                cmd_safe(pare_gpu_path(), strlen(pare_gpu_path())));
    else
        fprintf(out, "cuda arch none: %s\n", why.text);
}

void cmd_devices_print(FILE *out)
{
    seen s;
    look(&s);
    fputs("devices cpu\n", out);
    for (int i = 0; i < s.n; i++) {
        const pare_gpu_device *d = &s.device[i];
        fprintf(out, "  cuda:%d %s, %s, compute capability %d.%d%s, %d multiprocessors, %s of %s free\n", i,
                cmd_safe(d->name, strlen(d->name)), cmd_safe(d->pci, strlen(d->pci)), d->major, d->minor,
                d->usable ? "" : " (the plugin has no code for it)", d->n_multiprocessors, cmd_bytes(d->bytes_free),
                cmd_bytes(d->bytes));
    }
    if (s.products[0] != '\0')
        fprintf(out, "  products by %s\n", s.products);
    if (s.why.text[0] != '\0')
        fprintf(out, "  no cuda: %s\n", s.why.text);
}

static json_t *device_json(int number, const pare_gpu_device *d)
{
    char capability[16];
    json_t *row = json_object();
    snprintf(capability, sizeof capability, "%d.%d", d->major, d->minor);
    json_object_set_new(row, "number", json_integer(number));
    json_object_set_new(row, "name", cmd_json_text(d->name, strlen(d->name)));
    json_object_set_new(row, "pci", cmd_json_text(d->pci, strlen(d->pci)));
    json_object_set_new(row, "capability", json_string(capability));
    json_object_set_new(row, "usable", json_boolean(d->usable));
    json_object_set_new(row, "multiprocessors", json_integer(d->n_multiprocessors));
    cmd_json_u64(row, "bytes", d->bytes);
    cmd_json_u64(row, "bytes_free", d->bytes_free);
    return row;
}

json_t *cmd_devices_env(json_t *names)
{
    seen s;
    look(&s);
    json_t *doc = json_object(), *devices = json_array();
    char name[16];
    for (int i = 0; i < s.n; i++) {
        snprintf(name, sizeof name, "cuda:%d", i);
        json_array_append_new(names, json_string(name));
        json_array_append_new(devices, device_json(i, &s.device[i]));
    }
    json_object_set_new(doc, "devices", devices);
    if (s.plugin != NULL) {
        json_object_set_new(doc, "plugin", cmd_json_text(pare_gpu_path(), strlen(pare_gpu_path())));
        json_object_set_new(doc, "toolkit", json_string(s.plugin->toolkit));
        json_object_set_new(doc, "architectures", json_string(s.plugin->architectures));
    }
    if (s.products[0] != '\0')
        json_object_set_new(doc, "products", json_string(s.products));
    if (s.why.text[0] != '\0')
        json_object_set_new(doc, "why", cmd_json_text(s.why.text, strlen(s.why.text)));
    return doc;
}
