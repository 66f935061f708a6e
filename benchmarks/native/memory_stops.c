/* memory_stops BYTES SECONDS: read memory at random, and print how long the reads took, as JSON.
 *
 * The time is that of this thread on the processor (CLOCK_THREAD_CPUTIME_ID). Other programs do not
 * change it, except through the processor's caches. So a burst of reads that takes many times as
 * long as the others shows that the processor waited for memory: for example, because the host of
 * a virtual machine had taken it away.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { BURST = 2000, LONG_NS = 5000000 };

static void die(const char *what) {
    fprintf(stderr, "memory_stops: %s\n", what);
    exit(1);
}

static int64_t ns_on(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 3) die("usage: memory_stops BYTES SECONDS");
    size_t numbers = strtoull(arguments[1], NULL, 10) / sizeof(uint64_t);
    if (numbers == 0) die("BYTES is too small");
    int64_t end_ns = ns_on(CLOCK_MONOTONIC) + (int64_t)(strtod(arguments[2], NULL) * 1e9);
    uint64_t *memory = mmap(NULL, numbers * sizeof *memory, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("no memory");
    for (size_t at = 0; at < numbers; at++) memory[at] = at;
    uint64_t bursts = 0, long_bursts = 0, state = 88172645463325252u, sum = 0;
    int64_t longest_ns = 0, total_ns = 0;
    while (ns_on(CLOCK_MONOTONIC) < end_ns) {
        int64_t began_ns = ns_on(CLOCK_THREAD_CPUTIME_ID);
        for (int read = 0; read < BURST; read++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
            sum += memory[(state + (sum & 1)) % numbers]; /* each read waits for the last one */
        }
        int64_t took_ns = ns_on(CLOCK_THREAD_CPUTIME_ID) - began_ns;
        bursts++;
        total_ns += took_ns;
        if (took_ns > LONG_NS) long_bursts++;
        if (took_ns > longest_ns) longest_ns = took_ns;
    }
    if (bursts == 0) die("SECONDS is too small");
    printf("{\"bursts\": %llu, \"mean_ms\": %.3f, \"longest_ms\": %.3f, \"over_5_ms\": %llu, "
           "\"sum\": %llu}\n",
           (unsigned long long)bursts, (double)total_ns / 1e6 / (double)bursts,
           (double)longest_ns / 1e6, (unsigned long long)long_bursts, (unsigned long long)sum);
}
