/* The emulator behind gpu/emulate/cuda_runtime.h: grids thread by thread, streams that run when they are waited for.
 *
 * Each thread of a block that stops at a barrier has a stack of its own; one that never stops shares one with the next.
 * One lock around everything: calls may come from several threads. */
#include "gpu/emulate/cuda_runtime.h"

#include "core/half.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace
{

std::recursive_mutex lock;
typedef std::lock_guard<std::recursive_mutex> locked;

[[noreturn]] void die(const char *kernel, const std::string &what)
{
    fprintf(stderr, "emulated device: kernel %s, block (%u, %u, %u): %s\n", kernel, blockIdx.x, blockIdx.y, blockIdx.z,
            what.c_str());
    abort();
}

/* ---- stacks and switching between them ---- */

enum : size_t { STACK = 256 << 10 };

struct context {
#ifdef __x86_64__
    void *sp = nullptr;
#else
    ucontext_t u;
#endif
    char *stack = nullptr; /* NULL: the thread that everything started on */
    size_t stack_bytes = 0;
    const void *bottom = nullptr; /* of the caller's stack, for the sanitizer */
    size_t bottom_bytes = 0;
};

context scheduler;

#ifdef __x86_64__
extern "C" void pare_emulate_switch(void **save, void *load);
asm(".text\n"
    ".globl pare_emulate_switch\n"
    ".hidden pare_emulate_switch\n"
    ".type pare_emulate_switch, @function\n"
    "pare_emulate_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size pare_emulate_switch, .-pare_emulate_switch\n"
    ".section .note.GNU-stack,\"\",@progbits\n"
    ".text\n");
#endif

void switch_to(context *from, context *to)
{
#ifdef WITH_ASAN
    void *fake = nullptr;
    bool to_scheduler = to->stack == nullptr;
    __sanitizer_start_switch_fiber(&fake, to_scheduler ? to->bottom : to->stack,
                                   to_scheduler ? to->bottom_bytes : STACK);
#endif
#ifdef __x86_64__
    pare_emulate_switch(&from->sp, to->sp);
#else
    swapcontext(&from->u, &to->u);
#endif
#ifdef WITH_ASAN
    /* A thread of a grid is back: on the stack of whoever runs the grid now, which may be another one than before. */
    const void **bottom = from->stack != nullptr ? &scheduler.bottom : nullptr;
    __sanitizer_finish_switch_fiber(fake, bottom, bottom != nullptr ? &scheduler.bottom_bytes : nullptr);
#endif
}

/* ---- the threads of a block ---- */

enum state { FRESH, READY, AT_BARRIER, AT_WARP, DONE };

struct copy {
    void *to;
    const void *from;
    int n;
};

struct thread {
    state at = FRESH;
    uint3 index;
    context *on = nullptr;
    unsigned n_exchanges = 0;
    std::vector<std::vector<copy>> groups; /* of asynchronous copies; the last one is not committed */
};

struct slot {
    alignas(16) unsigned char bytes[64];
};

struct block {
    const char *kernel;
    const std::function<void()> *code;
    std::vector<thread> threads;
    std::vector<std::vector<slot>> slots; /* [warp] two rounds of 32 */
    std::vector<unsigned> in_warp;        /* [warp] threads that wait there */
    size_t n_done = 0, n_at_barrier = 0;
    size_t current = 0;
    std::vector<unsigned char> *shared;
};

block *now;
struct contexts : std::vector<context *> {
    ~contexts()
    {
        for (context *c : *this) {
            free(c->stack);
            delete c;
        }
    }
} idle; /* that stand at the start of their loop */

size_t warp_size(const block *b, size_t warp)
{
    return std::min<size_t>(32, b->threads.size() - warp * 32);
}

[[noreturn]] void fiber_loop()
{
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.bottom_bytes);
#endif
    for (;;) {
        (*now->code)();
        thread &t = now->threads[now->current];
        t.at = DONE;
        now->n_done++;
        context *me = t.on;
        idle.push_back(me);
        switch_to(me, &scheduler);
    }
}

#ifndef __x86_64__
void fiber_entry()
{
    fiber_loop();
}
#endif

context *new_context()
{
    context *c = new context;
    c->stack = (char *)aligned_alloc(64, STACK);
    c->stack_bytes = STACK;
#ifdef __x86_64__
    void **top = (void **)(c->stack + STACK);
    *--top = nullptr; /* so that the stack is aligned as behind a call */
    *--top = (void *)&fiber_loop;
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    c->sp = top;
#else
    getcontext(&c->u);
    c->u.uc_stack.ss_sp = c->stack;
    c->u.uc_stack.ss_size = STACK;
    c->u.uc_link = nullptr;
    makecontext(&c->u, fiber_entry, 0);
#endif
    return c;
}

void resume(size_t i)
{
    thread &t = now->threads[i];
    if (t.at == FRESH) {
        if (idle.empty())
            idle.push_back(new_context());
        t.on = idle.back();
        idle.pop_back();
        t.at = READY;
    }
    now->current = i;
    threadIdx = t.index;
    switch_to(&scheduler, t.on);
}

void yield()
{
    size_t me = now->current;
    switch_to(now->threads[me].on, &scheduler);
}

void warp_barrier()
{
    size_t me = now->current, warp = me / 32;
    thread &t = now->threads[me];
    if (++now->in_warp[warp] < warp_size(now, warp)) {
        t.at = AT_WARP;
        yield();
        return;
    }
    now->in_warp[warp] = 0;
    for (size_t i = warp * 32; i < warp * 32 + warp_size(now, warp); i++)
        if (now->threads[i].at == AT_WARP)
            now->threads[i].at = READY;
}

/* Everybody's slots, when all lanes have given theirs. Two rounds in turn: a lane that is one exchange ahead does not
 * overwrite what others still read. */
const slot *collect(const void *give, size_t bytes)
{
    size_t me = now->current, warp = me / 32;
    if (bytes > sizeof(slot))
        die(now->kernel, "an exchange of more than 64 bytes a lane");
    unsigned round = now->threads[me].n_exchanges++ % 2;
    slot *all = &now->slots[warp][round * 32];
    memcpy(all[me % 32].bytes, give, bytes);
    warp_barrier();
    return all;
}

int order_of()
{
    const char *text = getenv("PARE_EMULATE_ORDER");
    return text == nullptr || strcmp(text, "up") == 0 ? 0 : strcmp(text, "down") == 0 ? 1 : 2;
}

[[noreturn]] void report_stuck(const block *b)
{
    for (size_t i = 0; i < b->threads.size(); i++)
        if (b->threads[i].at == AT_WARP)
            die(b->kernel, "thread " + std::to_string(i) + " waits for its warp, which does not come");
    die(b->kernel, std::to_string(b->n_at_barrier) + " threads of " + std::to_string(b->threads.size()) +
                       " are at a barrier, " + std::to_string(b->n_done) + " have ended");
}

void run_block(block *b)
{
    size_t n = b->threads.size();
    std::vector<size_t> order(n);
    int kind = order_of();
    for (size_t i = 0; i < n; i++)
        order[i] = kind == 1 ? n - 1 - i : i;
    uint32_t seed = 12345 + blockIdx.x;
    now = b;
    while (b->n_done < n) {
        if (kind == 2)
            for (size_t i = n; i > 1; i--) {
                seed = seed * 1664525u + 1013904223u;
                std::swap(order[i - 1], order[(seed >> 8) % i]);
            }
        bool any = false;
        seed = seed * 1664525u + 1013904223u;
        uint32_t still = kind == 2 ? seed ^ seed >> 15 : 0; /* warps that others run ahead of in this round */
        for (size_t k = 0; k < n; k++)
            if (b->threads[order[k]].at <= READY) {
                any = true;
                if ((still >> order[k] / 32 & 1) == 0)
                    resume(order[k]);
            }
        if (!any)
            report_stuck(b);
    }
    now = nullptr;
}

struct launch {
    dim3 grid, block;
    size_t shared_bytes;
    const char *name;
    std::function<void()> thread;
};

void run_grid(const launch &l)
{
    size_t n = (size_t)l.block.x * l.block.y * l.block.z, n_warps = (n + 31) / 32;
    std::vector<unsigned char> shared(l.shared_bytes);
    gridDim = l.grid;
    blockDim = l.block;
    for (unsigned z = 0; z < l.grid.z; z++)
        for (unsigned y = 0; y < l.grid.y; y++)
            for (unsigned x = 0; x < l.grid.x; x++) {
                block b;
                b.kernel = l.name;
                b.code = &l.thread;
                b.shared = &shared;
                b.threads.resize(n);
                b.slots.assign(n_warps, std::vector<slot>(64));
                b.in_warp.assign(n_warps, 0);
                std::fill(shared.begin(), shared.end(), (unsigned char)0xff);
                for (size_t i = 0; i < n; i++)
                    b.threads[i].index = uint3{(unsigned)(i % l.block.x), (unsigned)(i / l.block.x % l.block.y),
                                               (unsigned)(i / l.block.x / l.block.y)};
                blockIdx = uint3{x, y, z};
                run_block(&b);
            }
}

float from_bf16(uint32_t bits)
{
    uint32_t u = bits << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

} /* namespace */

void *pare_emulate_shared(void)
{
    return now->shared->data();
}

void __syncthreads(void)
{
    thread &t = now->threads[now->current];
    if (++now->n_at_barrier + now->n_done < now->threads.size()) {
        t.at = AT_BARRIER;
        yield();
        return;
    }
    if (now->n_done > 0)
        die(now->kernel, "a barrier behind which threads have ended");
    now->n_at_barrier = 0;
    for (thread &other : now->threads)
        if (other.at == AT_BARRIER)
            other.at = READY;
}

void __syncwarp(unsigned)
{
    warp_barrier();
}

void pare_emulate_exchange(const void *give, size_t bytes, int from, void *take)
{
    size_t warp = now->current / 32;
    const slot *all = collect(give, bytes);
    if (from < 0 || (size_t)from >= warp_size(now, warp))
        die(now->kernel, "a shuffle from lane " + std::to_string(from));
    memcpy(take, all[from].bytes, bytes);
}

unsigned __ballot_sync(unsigned, int predicate)
{
    unsigned char mine = predicate != 0;
    size_t n = warp_size(now, now->current / 32);
    const slot *all = collect(&mine, 1);
    unsigned r = 0;
    for (size_t i = 0; i < n; i++)
        r |= (unsigned)(all[i].bytes[0] != 0) << i;
    return r;
}

void pare_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    unsigned lane = (unsigned)(now->current % 32), g = lane / 4, t = lane % 4;
    if (warp_size(now, now->current / 32) != 32)
        die(now->kernel, "a product of matrices in a warp of less than 32 threads");
    const slot *all = collect(mine, sizeof mine);
    for (int i = 0; i < 4; i++) {
        unsigned row = g + (i / 2) * 8, column = 2 * t + i % 2;
        double sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            uint32_t ra[6], rb[6];
            memcpy(ra, all[row % 8 * 4 + k % 8 / 2].bytes, sizeof ra);
            memcpy(rb, all[column * 4 + k % 8 / 2].bytes, sizeof rb);
            uint32_t x = ra[row / 8 + k / 8 * 2] >> (k % 2 * 16) & 0xffff, y = rb[4 + k / 8] >> (k % 2 * 16) & 0xffff;
            sum += (double)from_bf16(x) * (double)from_bf16(y);
        }
        d[i] = (float)((double)d[i] + sum);
    }
}

uint32_t pare_round_bf16_pair(float low, float high)
{
    return pare_f32_to_bf16(low) | (uint32_t)pare_f32_to_bf16(high) << 16;
}

static void load_matrices(uint32_t r[4], const void *row, bool transposed)
{
    unsigned lane = (unsigned)(now->current % 32), g = lane / 4, t = lane % 4;
    const unsigned char *start = now->shared->data(), *end = start + now->shared->size();
    if ((uintptr_t)row % 16 != 0 || row < start || (const unsigned char *)row + 16 > end)
        die(now->kernel, "a row of a matrix that is not aligned to 16 bytes, or not in shared memory");
    if (warp_size(now, now->current / 32) != 32)
        die(now->kernel, "a load of matrices in a warp of less than 32 threads");
    slot mine;
    memcpy(mine.bytes, row, 16);
    const slot *all = collect(mine.bytes, 16);
    for (unsigned i = 0; i < 4; i++) {
        uint16_t pair[2];
        for (unsigned k = 0; k < 2; k++)
            memcpy(&pair[k], all[8 * i + (transposed ? 2 * t + k : g)].bytes + 2 * (transposed ? g : 2 * t + k), 2);
        r[i] = pair[0] | (uint32_t)pair[1] << 16;
    }
}

void pare_load_matrices(uint32_t r[4], const void *row)
{
    load_matrices(r, row, false);
}

void pare_load_matrices_transposed(uint32_t r[4], const void *row)
{
    load_matrices(r, row, true);
}

void pare_copy_async(void *shared, const void *global, int n)
{
    thread &t = now->threads[now->current];
    if ((uintptr_t)shared % 16 != 0 || (uintptr_t)global % 16 != 0 || n < 0 || n > 16)
        die(now->kernel, "an asynchronous copy that is not aligned to 16 bytes, or not of 0 to 16");
    if (t.groups.empty())
        t.groups.emplace_back();
    t.groups.back().push_back(copy{shared, global, n});
}

void pare_copy_async_commit(void)
{
    thread &t = now->threads[now->current];
    if (t.groups.empty())
        t.groups.emplace_back();
    t.groups.emplace_back();
}

void pare_emulate_copy_async_wait(int pending)
{
    thread &t = now->threads[now->current];
    while (t.groups.size() > (size_t)pending + 1) {
        for (const copy &c : t.groups.front()) {
            memset(c.to, 0, 16);
            memcpy(c.to, c.from, (size_t)c.n);
        }
        t.groups.erase(t.groups.begin());
    }
}

/* ---- devices ---- */

struct pare_emulate_stream {
    std::deque<std::function<void()>> work;
    bool running = false;
};

struct pare_emulate_event {
    cudaStream_t stream = nullptr;
    uint64_t recorded = 0, done = 0;
    std::chrono::steady_clock::time_point time;
};

namespace
{

struct area {
    size_t bytes;
    int device; /* -1: pinned host memory */
};
std::map<uintptr_t, area> areas;
std::vector<pare_emulate_stream *> streams;
size_t used[16];
thread_local int device;
thread_local cudaError_t last_error;
long n_launches;
cudaError_t sticky;
std::map<const void *, int> shared_limits;
pare_emulate_stream default_stream;

const char *setting(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text != nullptr ? text : otherwise;
}

int n_devices()
{
    return std::min(16, std::max(0, atoi(setting("PARE_EMULATE_DEVICES", "1"))));
}

size_t memory_of_device()
{
    char *end;
    double n = strtod(setting("PARE_EMULATE_MEMORY", "2G"), &end);
    return (size_t)(n * (*end == 'G' ? 1 << 30 : *end == 'M' ? 1 << 20 : *end == 'K' ? 1 << 10 : 1));
}

cudaError_t failed(cudaError_t code)
{
    if (code != cudaSuccess)
        last_error = code;
    return code;
}

cudaError_t driver_state()
{
    const char *text = setting("PARE_EMULATE_DRIVER", "");
    if (strcmp(text, "none") == 0 || strcmp(text, "old") == 0)
        return cudaErrorInsufficientDriver;
    return n_devices() == 0 ? cudaErrorNoDevice : cudaSuccess;
}

pare_emulate_stream *stream_of(cudaStream_t s)
{
    return s != nullptr ? s : &default_stream;
}

void step(pare_emulate_stream *s)
{
    std::function<void()> next = std::move(s->work.front());
    s->work.pop_front();
    next();
}

void drain(pare_emulate_stream *s)
{
    while (!s->work.empty())
        step(s);
}

void reach(pare_emulate_event *e, uint64_t record)
{
    pare_emulate_stream *s = stream_of(e->stream);
    while (e->done < record && !s->work.empty())
        step(s);
}

void drain_all()
{
    drain(&default_stream);
    for (pare_emulate_stream *s : streams)
        drain(s);
}

/* The area that holds all of [p, p + bytes), NULL: none does. Fails the program where it holds a part only. */
const area *area_of(const void *p, size_t bytes)
{
    std::map<uintptr_t, area>::iterator next = areas.upper_bound((uintptr_t)p);
    if (next == areas.begin())
        return nullptr;
    --next;
    uintptr_t end = next->first + next->second.bytes;
    if ((uintptr_t)p >= end)
        return nullptr;
    if ((uintptr_t)p + bytes > end) {
        fprintf(stderr, "emulated device: a copy of %zu bytes leaves its allocation by %zu\n", bytes,
                (size_t)((uintptr_t)p + bytes - end));
        abort();
    }
    return &next->second;
}

bool on_device(const area *a)
{
    return a != nullptr && a->device >= 0;
}

/* Does what the copy is said to be fit what the addresses are? */
bool fits(const area *dst, const area *src, cudaMemcpyKind kind)
{
    switch (kind) {
    case cudaMemcpyHostToDevice:
        return on_device(dst) && !on_device(src);
    case cudaMemcpyDeviceToHost:
        return !on_device(dst) && on_device(src);
    case cudaMemcpyDeviceToDevice:
        return on_device(dst) && on_device(src);
    case cudaMemcpyHostToHost:
        return !on_device(dst) && !on_device(src);
    default:
        return true;
    }
}

cudaError_t allocate(void **p, size_t bytes, int owner)
{
    size_t rounded = (bytes + 511) / 512 * 512;
    if (owner >= 0 && (bytes > memory_of_device() || used[owner] + rounded > memory_of_device()))
        return failed(cudaErrorMemoryAllocation);
    size_t exact = bytes > 0 ? bytes : 1;
    if (posix_memalign(p, 512, exact) != 0)
        return failed(cudaErrorMemoryAllocation);
    memset(*p, 0xff, exact);
    areas[(uintptr_t)*p] = area{exact, owner};
    if (owner >= 0)
        used[owner] += rounded;
    return cudaSuccess;
}

cudaError_t release(void *p, bool host)
{
    if (p == nullptr)
        return cudaSuccess;
    drain_all();
    std::map<uintptr_t, area>::iterator it = areas.find((uintptr_t)p);
    if (it == areas.end() || (it->second.device < 0) != host)
        return failed(cudaErrorInvalidValue);
    if (it->second.device >= 0)
        used[it->second.device] -= (it->second.bytes + 511) / 512 * 512;
    areas.erase(it);
    free(p);
    return failed(sticky);
}

} /* namespace */

const char *cudaGetErrorName(cudaError_t code)
{
    switch (code) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
        return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
        return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorLaunchFailure:
        return "cudaErrorLaunchFailure";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    default:
        return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(cudaError_t code)
{
    switch (code) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorNotReady:
        return "device not ready";
    default:
        return "unknown error";
    }
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = sticky != cudaSuccess ? sticky : last_error;
    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void)
{
    return sticky != cudaSuccess ? sticky : last_error;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    if (driver_state() != cudaSuccess)
        return failed(driver_state());
    *n = n_devices();
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int i)
{
    if (i < 0 || i >= n_devices())
        return failed(cudaErrorInvalidDevice);
    *p = cudaDeviceProp();
    snprintf(p->name, sizeof p->name, "emulated device %d", i);
    p->totalGlobalMem = memory_of_device();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = 99 << 10; /* the least of the architectures that there is code for */
    sscanf(setting("PARE_EMULATE_CAPABILITY", "8.0"), "%d.%d", &p->major, &p->minor);
    p->multiProcessorCount = 2;
    p->pciBusID = i;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int i)
{
    if (i < 0 || i >= n_devices())
        return failed(cudaErrorInvalidDevice);
    device = i;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *i)
{
    *i = device;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *v)
{
    *v = strcmp(setting("PARE_EMULATE_DRIVER", ""), "none") == 0  ? 0
         : strcmp(setting("PARE_EMULATE_DRIVER", ""), "old") == 0 ? 11040
                                                                  : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *v)
{
    *v = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    locked l(lock);
    *total = memory_of_device();
    *free_bytes = *total > used[device] ? *total - used[device] : 0;
    return failed(sticky);
}

cudaError_t pare_emulate_malloc(void **p, size_t bytes)
{
    locked l(lock);
    return sticky != cudaSuccess ? failed(sticky) : allocate(p, bytes, device);
}

cudaError_t pare_emulate_malloc_host(void **p, size_t bytes)
{
    locked l(lock);
    return allocate(p, bytes, -1);
}

cudaError_t cudaFree(void *p)
{
    locked l(lock);
    return release(p, false);
}

cudaError_t cudaFreeHost(void *p)
{
    locked l(lock);
    return release(p, true);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return cudaMemcpy2DAsync(dst, bytes, src, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    locked l(lock);
    if (sticky != cudaSuccess || width == 0 || height == 0)
        return failed(sticky);
    const area *to = area_of(dst, (height - 1) * dst_pitch + width),
               *from = area_of(src, (height - 1) * src_pitch + width);
    if (!fits(to, from, kind) || width > dst_pitch || width > src_pitch)
        return failed(cudaErrorInvalidValue);
    pare_emulate_stream *s = stream_of(stream);
    std::vector<char> taken;
    if (from == nullptr) /* ordinary memory: read now */
        taken.assign((const char *)src, (const char *)src + (height - 1) * src_pitch + width);
    bool ordinary = from == nullptr;
    s->work.push_back([=]() {
        const char *p = ordinary ? taken.data() : (const char *)src;
        for (size_t i = 0; i < height; i++)
            memcpy((char *)dst + i * dst_pitch, p + i * src_pitch, width);
    });
    if (to == nullptr) /* ordinary memory: there on return */
        drain(s);
    return failed(sticky);
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    locked l(lock);
    cudaError_t code = cudaMemcpyAsync(dst, src, bytes, kind, nullptr);
    drain(&default_stream);
    return code != cudaSuccess ? code : failed(sticky);
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream)
{
    locked l(lock);
    if (sticky != cudaSuccess || (bytes > 0 && !on_device(area_of(dst, bytes))))
        return failed(sticky != cudaSuccess ? sticky : cudaErrorInvalidValue);
    stream_of(stream)->work.push_back([=]() { memset(dst, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    locked l(lock);
    streams.push_back(*s = new pare_emulate_stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    locked l(lock);
    drain(s);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    locked l(lock);
    drain(stream_of(s));
    return failed(sticky);
}

cudaError_t cudaDeviceSynchronize(void)
{
    locked l(lock);
    drain_all();
    return failed(sticky);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    locked l(lock);
    uint64_t record = e->recorded;
    stream_of(s)->work.push_back([=]() { reach(e, record); });
    return failed(sticky);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new pare_emulate_event;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *e)
{
    return cudaEventCreateWithFlags(e, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    locked l(lock);
    reach(e, e->recorded);
    drain_all(); /* nobody waits for it any more */
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    locked l(lock);
    uint64_t record = ++e->recorded;
    e->stream = s;
    stream_of(s)->work.push_back([=]() {
        e->done = std::max(e->done, record);
        e->time = std::chrono::steady_clock::now();
    });
    return failed(sticky);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    locked l(lock);
    reach(e, e->recorded);
    return failed(sticky);
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    locked l(lock);
    return sticky != cudaSuccess ? failed(sticky) : e->done >= e->recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    locked l(lock);
    if (start->done < start->recorded || end->done < end->recorded)
        return failed(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return cudaSuccess;
}

cudaError_t pare_emulate_set_shared(const void *kernel, int bytes)
{
    locked l(lock);
    if (bytes > 99 << 10)
        return failed(cudaErrorInvalidValue);
    shared_limits[kernel] = bytes;
    return cudaSuccess;
}

void pare_emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const void *kernel,
                         const char *name, std::function<void()> thread)
{
    locked l(lock);
    size_t n = (size_t)block.x * block.y * block.z;
    std::map<const void *, int>::const_iterator limit = shared_limits.find(kernel);
    size_t allowed = std::max<size_t>(48 << 10, limit != shared_limits.end() ? (size_t)limit->second : 0);
    if (n == 0 || n > 1024 || block.z > 64 || grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 || grid.y > 65535 ||
        grid.z == 0 || grid.z > 65535) {
        failed(cudaErrorInvalidConfiguration);
        return;
    }
    if (shared_bytes > allowed) {
        failed(cudaErrorInvalidValue);
        return;
    }
    long most = atol(setting("PARE_EMULATE_LOST", "0"));
    if (sticky == cudaSuccess && most > 0 && ++n_launches > most)
        sticky = cudaErrorLaunchFailure;
    if (sticky != cudaSuccess)
        return;
    stream_of(stream)->work.push_back([=]() { run_grid(launch{grid, block, shared_bytes, name, thread}); });
}
