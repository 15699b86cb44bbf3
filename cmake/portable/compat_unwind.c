/* compat_unwind.c - _dl_find_object of glibc 2.35, by which libgcc finds the frames of an exception, over
 * dl_iterate_phdr
 */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

typedef struct search {
    uintptr_t pc;
    struct dl_find_object *out;
} search;

static int look(struct dl_phdr_info *info, size_t size, void *arg)
{
    const search *s = arg;
    uintptr_t first = 0, end = 0, frames = 0;
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && s->pc >= at && s->pc - at < p->p_memsz) {
            first = at;
            end = at + p->p_memsz;
        }
        if (p->p_type == PT_GNU_EH_FRAME)
            frames = at;
    }
    if (end == 0 || frames == 0)
        return 0;
    *s->out = (struct dl_find_object){
        .dlfo_map_start = (void *)first, .dlfo_map_end = (void *)end, .dlfo_eh_frame = (void *)frames};
    return 1;
}

__attribute__((visibility("hidden"))) int _dl_find_object(void *pc, struct dl_find_object *out)
{
    search s = {(uintptr_t)pc, out};
    return dl_iterate_phdr(look, &s) == 1 ? 0 : -1;
}
