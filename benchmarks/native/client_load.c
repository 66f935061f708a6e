/* The requests of load.c, made by Apache's C client (the single-threaded library of its release).
 *
 *   client_load requests PORT CONNECTIONS OUTSTANDING WARMUP_S SECONDS WORK
 *       keeps the requests outstanding on each connection, and prints what load.c prints. WORK: get, set,
 *       create, multi (10 creates). load.c makes the znodes first (its WORK none).
 *
 * In the environment: ZNODES (1000), DATA_BYTES (100). Anything unexpected ends the program. The library
 * writes each request with a system call of its own, and reads each reply with two.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#include "measuring.h"

enum { TIMEOUT_MS = 30000, PATH_BYTES = 64, AT_ONCE = 32, CONNECTING_S = 20 };

struct Handle;

/* One request that is outstanding, with what the library needs until it is answered. */
typedef struct {
    struct Handle *handle;
    int64_t sent_ns;
    zoo_op_t ops[PARTS_OF_MULTI];
    zoo_op_result_t results[PARTS_OF_MULTI];
    char paths[PARTS_OF_MULTI][PATH_BYTES], created[PARTS_OF_MULTI][PATH_BYTES];
} Slot;

typedef struct Handle {
    zhandle_t *zh;
    int number, is_connected, made;
    unsigned seed;
    uint64_t completed;
    Slot *slots;
} Handle;

static const char *work;
static int is_over, outstanding;

static void check(int code, const char *what) {
    if (code == ZOK) return;
    fprintf(stderr, "client_load: %s: %s\n", what, zerror(code));
    exit(1);
}

static void ask(Slot *slot);

static void answer(Slot *slot, int code) {
    if (is_over) return;
    check(code, "a request was refused");
    slot->handle->completed++;
    count_reply(slot->sent_ns, now_ns());
    ask(slot);
}

static void on_data(int code, const char *value, int length, const struct Stat *stat, const void *slot) {
    (void)stat;
    if (!is_over && code == ZOK && (length != data_bytes || !value)) die("a value has another length");
    answer((Slot *)slot, code);
}

static void on_stat(int code, const struct Stat *stat, const void *slot) {
    (void)stat;
    answer((Slot *)slot, code);
}

static void on_text(int code, const char *value, const void *slot) {
    (void)value;
    answer((Slot *)slot, code);
}

static void on_multi(int code, const void *slot) { answer((Slot *)slot, code); }

static void name_new(Handle *handle, char *path) {
    snprintf(path, PATH_BYTES, "/made/%d-%d-%d", (int)getpid(), handle->number, handle->made++);
}

static void ask(Slot *slot) {
    Handle *handle = slot->handle;
    char path[PATH_BYTES];
    slot->sent_ns = now_ns();
    if (!strcmp(work, "multi")) {
        for (int i = 0; i < PARTS_OF_MULTI; i++) {
            name_new(handle, slot->paths[i]);
            zoo_create_op_init(&slot->ops[i], slot->paths[i], data, data_bytes, &ZOO_OPEN_ACL_UNSAFE, 0,
                               slot->created[i], PATH_BYTES);
        }
        check(zoo_amulti(handle->zh, PARTS_OF_MULTI, slot->ops, slot->results, on_multi, slot), "zoo_amulti");
    } else if (!strcmp(work, "create")) {
        name_new(handle, path);
        check(zoo_acreate(handle->zh, path, data, data_bytes, &ZOO_OPEN_ACL_UNSAFE, 0, on_text, slot), "zoo_acreate");
    } else {
        snprintf(path, sizeof path, "/bench/n%07u", (unsigned)rand_r(&handle->seed) % (unsigned)znodes);
        if (!strcmp(work, "set"))
            check(zoo_aset(handle->zh, path, data, data_bytes, -1, on_stat, slot), "zoo_aset");
        else
            check(zoo_aget(handle->zh, path, 0, on_data, slot), "zoo_aget");
    }
}

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh, (void)path;
    if (type != ZOO_SESSION_EVENT || is_over) return;
    if (state == ZOO_CONNECTED_STATE)
        ((Handle *)context)->is_connected = 1;
    else if (state != ZOO_CONNECTING_STATE || ((Handle *)context)->is_connected)
        die("a session was lost");
}

/* Let the library read what has come: it reads one reply in each call. Replies to requests that follow
 * those wait for the next turn, so that no connection keeps the others waiting. */
static void process(Handle *handle, int events) {
    for (int i = 0; i < outstanding; i++) {
        uint64_t completed = handle->completed;
        int code = zookeeper_process(handle->zh, events);
        if (code != ZOK && code != ZNOTHING) check(code, "zookeeper_process");
        if (code == ZNOTHING || handle->completed == completed) return;
    }
}

/* Wait once for what the sockets have, at most this time. */
static void turn(Handle *handles, int connections, struct pollfd *polled, int most_ms) {
    int wait_ms = most_ms;
    for (int i = 0; i < connections; i++) {
        int interest = 0;
        struct timeval most;
        check(zookeeper_interest(handles[i].zh, &polled[i].fd, &interest, &most), "zookeeper_interest");
        polled[i].events = (short)((interest & ZOOKEEPER_READ ? POLLIN : 0) | (interest & ZOOKEEPER_WRITE ? POLLOUT : 0));
        int64_t due_ms = most.tv_sec * 1000 + most.tv_usec / 1000;
        if (due_ms < wait_ms) wait_ms = (int)due_ms;
    }
    if (poll(polled, (nfds_t)connections, wait_ms) < 0) die("poll");
    for (int i = 0; i < connections; i++) {
        int got = polled[i].revents, events = 0;
        if (got & (POLLIN | POLLHUP | POLLERR)) events |= ZOOKEEPER_READ;
        if (got & POLLOUT) events |= ZOOKEEPER_WRITE;
        if (events) process(&handles[i], events);
    }
}

static void open_all(Handle *handles, int connections, const char *host, struct pollfd *polled) {
    int64_t deadline = now_ns() + CONNECTING_S * 1000000000LL;
    for (int i = 0; i < connections; i++) {
        Handle *handle = &handles[i];
        handle->number = i;
        handle->seed = (unsigned)i * 7919u + 17u;
        handle->slots = calloc((size_t)outstanding, sizeof *handle->slots);
        handle->zh = zookeeper_init(host, on_event, TIMEOUT_MS, NULL, handle, 0);
        if (!handle->slots || !handle->zh) die("no handle");
        for (int k = 0; k < outstanding; k++) handle->slots[k].handle = handle;
        if (i % AT_ONCE != AT_ONCE - 1 && i != connections - 1) continue;
        for (int j = i - i % AT_ONCE; j <= i; j++)
            while (!handles[j].is_connected) {
                if (now_ns() > deadline) die("no session");
                turn(handles, i + 1, polled, 1000);
            }
    }
}

int main(int count, char **arguments) {
    char host[32];
    if (count != 8 || strcmp(arguments[1], "requests")) {
        fprintf(stderr, "client_load: see the head of its source for how it is called\n");
        return 2;
    }
    prepare();
    work = arguments[7];
    if (strcmp(work, "get") && strcmp(work, "set") && strcmp(work, "create") && strcmp(work, "multi")) die("no such work");
    int connections = atoi(arguments[3]);
    outstanding = atoi(arguments[4]);
    Handle *handles = calloc((size_t)connections, sizeof *handles);
    struct pollfd *polled = calloc((size_t)connections, sizeof *polled);
    if (!handles || !polled) die("no memory");
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    snprintf(host, sizeof host, "127.0.0.1:%s", arguments[2]);
    open_all(handles, connections, host, polled);
    int64_t begin = now_ns();
    measure_from = begin + (int64_t)(atof(arguments[5]) * 1e9);
    int64_t end = measure_from + (int64_t)(atof(arguments[6]) * 1e9);
    for (int i = 0; i < connections; i++)
        for (int k = 0; k < outstanding; k++) ask(&handles[i].slots[k]);
    while (now_ns() < end) turn(handles, connections, polled, 10);
    is_over = 1;
    print_figures();
    fflush(stdout);
    _exit(0); /* without closing the sessions: what is outstanding would be waited for */
}
