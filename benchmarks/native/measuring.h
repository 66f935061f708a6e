/* What all load programs share: the clock, a histogram of latencies, and what is printed. */
#ifndef MEASURING_H
#define MEASURING_H
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { SUB = 64, BUCKETS = 64 * SUB, PARTS_OF_MULTI = 10 };

static int znodes = 1000, data_bytes = 100;
static char *data;

static void die(const char *what) {
    fprintf(stderr, "%s: %s (%s)\n", program_invocation_short_name, what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Read what the environment sets for every program, and permit as many connections as there may be. */
static void prepare(void) {
    struct rlimit files;
    if (getenv("ZNODES")) znodes = atoi(getenv("ZNODES"));
    if (getenv("DATA_BYTES")) data_bytes = atoi(getenv("DATA_BYTES"));
    data = malloc((size_t)data_bytes + 1);
    if (!data) die("no memory");
    memset(data, 'x', (size_t)data_bytes);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* A histogram of nanoseconds, with 64 buckets for each power of two; and the longest time without a reply. */

static uint64_t histogram[BUCKETS], answered, slowest_ns;
static int64_t measure_from, last_reply_ns, silence_ns;

static void count(int64_t ns) {
    int power = 63 - __builtin_clzll((uint64_t)ns | SUB);
    histogram[(power - 6) * SUB + (int)((uint64_t)ns >> (power - 6)) - SUB]++;
    answered++;
    if ((uint64_t)ns > slowest_ns) slowest_ns = (uint64_t)ns;
}

/* Note that there is no reply until now: after each wait, and with each reply. */
static void note_silence(int64_t now) {
    if (now - last_reply_ns > silence_ns) silence_ns = now - last_reply_ns;
}

/* Count a reply to what was sent at this time, unless it came during the warm-up. */
static void count_reply(int64_t sent_ns, int64_t now) {
    if (now >= measure_from) {
        count(now - sent_ns);
        if (last_reply_ns) note_silence(now);
    }
    last_reply_ns = now;
}

static double percentile_us(double part) {
    uint64_t wanted = (uint64_t)(part * (double)answered), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) return (double)((uint64_t)(i % SUB + SUB) << (i / SUB)) / 1000.0;
    }
    return (double)slowest_ns / 1000.0;
}

/* Print what was measured, up to now: one line of JSON. */
static void print_figures(void) {
    int64_t now = now_ns();
    if (!answered) die("nothing was answered while it was measured");
    note_silence(now);
    printf("{\"per_s\": %.1f, \"answered\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, \"silence_us\": %.1f}\n",
           (double)answered / ((double)(now - measure_from) / 1e9), (unsigned long long)answered,
           percentile_us(0.5), percentile_us(0.99), percentile_us(0.999), (double)slowest_ns / 1000.0,
           (double)silence_ns / 1000.0);
}
#endif
