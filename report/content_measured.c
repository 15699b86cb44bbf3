/* What plans took on real devices: lines of pare fit --measure-log. */
#include "report/content.h"

#include <math.h>

static const double MIB = 1 << 20;

static const char *in_mib(const pare_content *c, double bytes)
{
    return isfinite(bytes) ? pare_page_text(c->page, "%.1f", bytes / MIB) : "";
}

static const char *text_or(const char *text, const char *other)
{
    return text != NULL ? text : other;
}

static void add_row(const pare_content *c, pare_table *t, const char *run, const char *device, const char *part,
                    const json_t *from, const char *how)
{
    const double predicted = pare_content_number(from, "predicted"), actual = pare_content_number(from, "actual"),
                 more = actual - predicted;
    const char *share = isfinite(more) && predicted > 0
                            ? pare_page_text(c->page, "%+.1f (%+.2f %%)", more / MIB, 100 * more / predicted)
                            : "";
    const char *cells[] = {run, device, part, in_mib(c, predicted), in_mib(c, actual), share, how};
    pare_page_row(c->page, t, cells);
}

static void add_run(const pare_content *c, pare_table *t, const json_t *run)
{
    const json_t *devices = json_object_get(run, "devices");
    const char *name =
        pare_page_text(c->page, "%s, %s, %.0f tokens%s", text_or(pare_content_string(run, "model"), "a model"),
                       text_or(pare_content_string(run, "type"), ""), pare_content_number(run, "n_ctx"),
                       json_is_false(json_object_get(run, "fits")) ? ": does not fit" : "");
    for (size_t d = 0; d < json_array_size(devices); d++) {
        const json_t *device = json_array_get(devices, d), *parts = json_object_get(device, "parts");
        const char *where = pare_page_text(c->page, "%.0f, %s", pare_content_number(device, "number"),
                                           text_or(pare_content_string(device, "name"), ""));
        for (size_t i = 0; i < json_array_size(parts); i++) {
            const json_t *part = json_array_get(parts, i);
            add_row(c, t, name, where, text_or(pare_content_string(part, "name"), ""), part,
                    text_or(pare_content_string(part, "how"), ""));
        }
        add_row(c, t, name, where, "what was measured, together", device, "");
    }
}

void pare_content_measured(const pare_content *c)
{
    if (json_array_size(c->in->measured) == 0)
        return;
    pare_table *t = pare_page_table(c->page, "Device memory, predicted and measured",
                                    "Run|Device|Part|#Predicted, MiB|#Measured, MiB|#More|How");
    for (size_t i = 0; i < json_array_size(c->in->measured); i++)
        add_run(c, t, json_array_get(c->in->measured, i));
    pare_page_add(
        c->page, PARE_BLOCK_TEXT,
        "Each part of a plan was allocated in its predicted size and the fall of the driver's free memory read. "
        "That is what these allocations take, not what a runtime asks for: of parts of assumed size it "
        "says only that there is room for them.");
}
