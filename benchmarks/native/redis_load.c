/* The requests of load.c as commands for Redis, so that both are measured by the same loop.
 *
 *   redis_load requests PORT CONNECTIONS OUTSTANDING WARMUP_S SECONDS WORK
 *       keeps the requests outstanding on each connection (pipelined), and prints what load.c prints.
 *       WORK: get (GET), set (SET), create (SETNX of a new key), multi (MULTI, 10 SETNX of new keys, EXEC:
 *       one request). The keys that get and set use are made first.
 *
 * In the environment: ZNODES (the number of keys, 1000), DATA_BYTES (100), RATE. Anything unexpected ends
 * the program: an error, a value that is missing or has another length, a new key that exists.
 * Replies: https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2).
 */
#define _GNU_SOURCE
#include "connections.h"

enum { REPLIES_OF_MULTI = PARTS_OF_MULTI + 2 };

/* -- commands -------------------------------------------------------------------------------------- */

static void put_command(Connection *c, int parts, const char *const part[], const size_t size[]) {
    char head[32];
    put_bytes(c, head, (size_t)snprintf(head, sizeof head, "*%d\r\n", parts));
    for (int i = 0; i < parts; i++) {
        put_bytes(c, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", size[i]));
        put_bytes(c, part[i], size[i]);
        put_bytes(c, "\r\n", 2);
    }
}

static void put_word(Connection *c, const char *word) {
    put_command(c, 1, &word, (size_t[]){strlen(word)});
}

static void put_key(Connection *c, const char *command, const char *key, int has_value) {
    const char *const part[] = {command, key, data};
    const size_t size[] = {strlen(command), strlen(key), (size_t)data_bytes};
    put_command(c, has_value ? 3 : 2, part, size);
}

static void name_new(Connection *c, char *key, size_t room) {
    snprintf(key, room, "/made/%d-%d-%d", (int)getpid(), c->number, c->made++);
}

static void ask(Connection *c) {
    char key[64];
    begin_xid(c);
    if (!strcmp(work, "multi")) {
        put_word(c, "MULTI");
        for (int i = 0; i < PARTS_OF_MULTI; i++) {
            name_new(c, key, sizeof key);
            put_key(c, "SETNX", key, 1);
        }
        put_word(c, "EXEC");
    } else if (!strcmp(work, "create")) {
        name_new(c, key, sizeof key);
        put_key(c, "SETNX", key, 1);
    } else {
        int is_set = !strcmp(work, "set");
        snprintf(key, sizeof key, "/bench/n%07u", (unsigned)rand_r(&c->seed) % (unsigned)znodes);
        put_key(c, is_set ? "SET" : "GET", key, is_set);
    }
}

/* -- replies --------------------------------------------------------------------------------------- */

static void refuse(const unsigned char *reply, size_t size) {
    fprintf(stderr, "redis_load: unexpected reply: %.*s\n", (int)(size > 200 ? 200 : size), (const char *)reply);
    exit(1);
}

/* Return the bytes of the line with its end, or 0 if it is not all there. */
static size_t line_size(const unsigned char *in, size_t size) {
    const unsigned char *end = memchr(in, '\n', size);
    return end ? (size_t)(end - in) + 1 : 0;
}

/* Return the bytes of one reply, or 0 if it is not all there; look at what it says. */
static size_t reply_size(const unsigned char *in, size_t size) {
    size_t line = line_size(in, size);
    if (!line) return 0;
    if (*in == '+' || (*in == ':' && in[1] == '1')) return line;
    if (*in == '$' && atoi((const char *)in + 1) == data_bytes) {
        size_t whole = line + (size_t)data_bytes + 2;
        return size < whole ? 0 : whole;
    }
    if (*in != '*' || atoi((const char *)in + 1) != PARTS_OF_MULTI) refuse(in, line);
    size_t at = line;
    for (int i = 0; i < PARTS_OF_MULTI; i++) {
        size_t part = at < size ? reply_size(in + at, size - at) : 0;
        if (!part) return 0;
        at += part;
    }
    return at;
}

/* A request has been answered when all its replies are there: those of a transaction are counted down. */
static size_t read_replies(Connection *c, const unsigned char *in, size_t size, OnReply on_reply) {
    size_t at = 0;
    while (at < size) {
        size_t bytes = reply_size(in + at, size - at);
        if (!bytes) break;
        if (!c->replies_left) c->replies_left = strcmp(work, "multi") ? 1 : REPLIES_OF_MULTI;
        if (!--c->replies_left) {
            if (!strcmp(work, "multi") && in[at] != '*') refuse(in + at, bytes);
            on_reply(c, c->answered_xid++, 0);
        }
        at += bytes;
    }
    return at;
}

/* -- the work --------------------------------------------------------------------------------------- */

static void on_made(Connection *c, int xid, int err) {
    (void)xid, (void)err;
    c->outstanding--;
}

/* Set all keys, as load.c makes the znodes. */
static void make_keys(void) {
    const char *wanted = work;
    char key[64];
    Connection *c = open_socket(0, 2000);
    work = "set";
    for (int i = 0; i < znodes; i++) {
        begin_xid(c);
        snprintf(key, sizeof key, "/bench/n%07d", i);
        put_key(c, "SET", key, 1);
        while (c->outstanding >= 1000) turn(on_made, 1000);
        flush_out(c);
    }
    while (c->outstanding) turn(on_made, 1000);
    close(c->fd);
    work = wanted;
}

int main(int count, char **arguments) {
    prepare();
    if (getenv("RATE")) rate = atoi(getenv("RATE"));
    epoll_fd = epoll_create1(0);
    if (count != 8 || strcmp(arguments[1], "requests")) {
        fprintf(stderr, "redis_load: see the head of its source for how it is called\n");
        return 2;
    }
    port = atoi(arguments[2]);
    work = arguments[7];
    if (strcmp(work, "get") && strcmp(work, "set") && strcmp(work, "create") && strcmp(work, "multi")) die("no such work");
    int connections = atoi(arguments[3]), outstanding = atoi(arguments[4]);
    make_keys();
    Connection **all = calloc((size_t)connections, sizeof *all);
    if (!all) die("no memory");
    for (int i = 0; i < connections; i++) all[i] = open_socket(i, outstanding + 1);
    keep_asking(all, connections, outstanding, atof(arguments[5]), atof(arguments[6]));
    return 0;
}
