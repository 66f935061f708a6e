/* Counts the syncs of the process that loads it (LD_PRELOAD), in the 8 bytes of the file SYNCS_FILE. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t nowhere, *syncs = &nowhere;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("SYNCS_FILE");
    int file = name ? open(name, O_RDWR) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof *syncs, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared != MAP_FAILED) syncs = shared;
    close(file);
}

static int sync_with(const char *name, int file) {
    int (*own)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = own(file);
    if (!result) __atomic_add_fetch(syncs, 1, __ATOMIC_RELAXED);
    return result;
}

int fsync(int file) { return sync_with("fsync", file); }
int fdatasync(int file) { return sync_with("fdatasync", file); }
