/* scripts/stand_in_device.h - devices without memory or arithmetic, which stock's loader and scheduler take for GPUs
 *
 * Every operation is supported; buffers are addresses that nothing lies at. Alignment, padding of rows, what an operation
 * of attention gets beside its result, and which operations are taken over from the host are those of ggml-cuda (128,
 * 512 weights, keys and values in F16, 32 rows). So the sizes are what stock would ask of a GPU for a graph of a prompt,
 * as far as ggml-cuda does not change the graph. */
#pragma once
#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <cstdio>

namespace stand_in {
enum { MOST = 4 };
static ggml_backend_device devices[MOST];
static ggml_backend_buffer_type types[MOST], host_type;
static ggml_backend_reg reg;
static char names[MOST][16];
static size_t n_devices;

static size_t index_of(ggml_backend_dev_t dev) { return (size_t)(dev - devices); }
static const char *type_name(ggml_backend_buffer_type_t t) { return names[t - types]; }
static const char *host_name(ggml_backend_buffer_type_t) { return "STAND_IN_Host"; }
static void *base(ggml_backend_buffer_t) { return (void *)0x100000; }
static void nothing(ggml_backend_buffer_t) {}
static void clear(ggml_backend_buffer_t, uint8_t) {}
static void set(ggml_backend_buffer_t, ggml_tensor *, const void *, size_t, size_t) {}
static const ggml_backend_buffer_i buffer = {nothing, base, nullptr, nullptr, set, nullptr,
                                             nullptr, nullptr, nullptr, clear, nullptr};
static ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t t, size_t n)
{
    return ggml_backend_buffer_init(t, buffer, nullptr, n);
}
static size_t alignment(ggml_backend_buffer_type_t) { return 128; }
static size_t half_of(const ggml_tensor *t) { return t->type == GGML_TYPE_F16 ? 0 : ggml_nelements(t) * 2; }
static size_t alloc_size(ggml_backend_buffer_type_t, const ggml_tensor *t)
{
    size_t n = ggml_nbytes(t);
    if (t->op == GGML_OP_FLASH_ATTN_EXT) {
        const ggml_tensor *k = t->src[1], *v = t->src[2];
        bool same = v->view_src != nullptr &&
                    (v->view_src == k || (v->view_src == k->view_src && v->view_offs == k->view_offs));
        if (half_of(k) > 0)
            n = GGML_PAD(n, 128) + half_of(k);
        if (half_of(v) > 0 && !same)
            n = GGML_PAD(n, 128) + half_of(v);
    }
    if (ggml_is_quantized(t->type) && t->ne[0] % 512 != 0)
        n += ggml_row_size(t->type, 512 - t->ne[0] % 512);
    return n;
}
static const char *backend_name(ggml_backend_t b) { return names[index_of(b->device)]; }
static void backend_free(ggml_backend_t b) { delete b; }
static void backend_wait(ggml_backend_t) {}
static ggml_backend_t backend_init(ggml_backend_dev_t dev, const char *)
{
    static ggml_guid guid = {1};
    ggml_backend_i f = {};
    f.get_name = backend_name;
    f.free = backend_free;
    f.synchronize = backend_wait;
    return new ggml_backend{&guid, f, dev, nullptr};
}
static const char *device_name(ggml_backend_dev_t dev) { return names[index_of(dev)]; }
static void memory(ggml_backend_dev_t, size_t *free, size_t *total) { *free = *total = (size_t)1 << 40; }
static enum ggml_backend_dev_type type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; }
static void props(ggml_backend_dev_t dev, ggml_backend_dev_props *p)
{
    *p = {};
    p->name = p->description = device_name(dev);
    p->memory_free = p->memory_total = (size_t)1 << 40;
    p->type = GGML_BACKEND_DEVICE_TYPE_GPU;
    p->caps.async = p->caps.host_buffer = p->caps.events = true;
}
static ggml_backend_buffer_type_t device_type(ggml_backend_dev_t dev) { return &types[index_of(dev)]; }
static ggml_backend_buffer_type_t device_host_type(ggml_backend_dev_t) { return &host_type; }
static bool is_own(ggml_backend_buffer_type_t t) { return t >= types && t < types + MOST; }
static bool supports_op(ggml_backend_dev_t dev, const ggml_tensor *op)
{
    for (const ggml_tensor *src : op->src)
        if (src != nullptr && src->buffer != nullptr && is_own(src->buffer->buft) && src->buffer->buft->device != dev)
            return false;
    return true;
}
static bool supports_type(ggml_backend_dev_t dev, ggml_backend_buffer_type_t t) { return is_own(t) && t->device == dev; }
static bool offload(ggml_backend_dev_t, const ggml_tensor *op)
{
    switch (op->op) {
        case GGML_OP_GET_ROWS: return false;
        case GGML_OP_MUL_MAT: return op->ne[1] >= 32;
        case GGML_OP_MUL_MAT_ID:
        case GGML_OP_ROPE: return op->ne[2] >= 32;
        default: return ggml_nrows(op) >= 32;
    }
}
static const char *reg_name(ggml_backend_reg_t) { return "STAND_IN"; }
static size_t count(ggml_backend_reg_t) { return n_devices; }
static ggml_backend_dev_t get(ggml_backend_reg_t, size_t i) { return &devices[i]; }

static void add(size_t n)
{
    n_devices = n;
    reg.api_version = GGML_BACKEND_API_VERSION;
    reg.iface = {reg_name, count, get, nullptr};
    ggml_backend_buffer_type_t cpu = ggml_backend_cpu_buffer_type();
    host_type.iface = cpu->iface;
    host_type.iface.get_name = host_name;
    host_type.device = &devices[0];
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "STAND_IN%zu", i);
        types[i].iface = {type_name, allocate, alignment, nullptr, alloc_size, nullptr};
        types[i].device = &devices[i];
        ggml_backend_device_i f = {};
        f.get_name = f.get_description = device_name;
        f.get_memory = memory;
        f.get_type = type;
        f.get_props = props;
        f.init_backend = backend_init;
        f.get_buffer_type = device_type;
        f.get_host_buffer_type = device_host_type;
        f.supports_op = supports_op;
        f.supports_buft = supports_type;
        f.offload_op = offload;
        devices[i] = {f, &reg, nullptr};
    }
    ggml_backend_register(&reg);
}
} // namespace stand_in
