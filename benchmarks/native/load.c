/* A load on a ZooKeeper server, over one thread and many connections.
 *
 *   load requests PORT CONNECTIONS OUTSTANDING WARMUP_S SECONDS WORK
 *       keeps so many requests outstanding on each connection, and prints how many were answered and
 *       how long they took. WORK: get, mixed (a tenth are sets), set, create, multi, children,
 *       exists, none. The znodes it needs are made first (WORK none does only that).
 *   load watches PORT CONNECTIONS WATCHES ROUNDS
 *       sets so many watches on each connection, lets one multi change all that is watched, and
 *       prints the time to the last event of each round.
 *   load idle PORT CONNECTIONS TIMEOUT_MS SECONDS
 *       keeps so many sessions alive with their pings; prints a line once all are there, ends after
 *       SECONDS.
 *
 * One line of JSON on standard output. Times in microseconds. Anything unexpected ends it.
 * In the environment: ZNODES (1000), DATA_BYTES (100), CHILDREN (1000, of those that are listed),
 * WATCH=1 (every read sets a watch), AUTH=user:password (under which the znodes are made and asked
 * for), RATE (requests a second on all connections together; without it, each answer is followed by
 * the next request). Compiled with -DTLS it speaks TLS, and trusts whoever answers. Compiled with
 * -DSASL, SASL=user:password logs in with DIGEST-MD5, and ACL=1 makes the znodes for that user only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *tls;
#endif
#ifdef SASL
#include <openssl/evp.h>
#endif

enum { CREATE = 1, EXISTS = 3, GET = 4, SET = 5, CHILDREN = 8, PING = 11, MULTI = 14, AUTH = 100, LOG_IN = 102 };
enum { NODE_EXISTS = -110 };
enum { BUFFER = 1 << 18, SUB = 64, BUCKETS = 64 * SUB, CREATES_IN_MULTI = 10 };

static int znodes = 1000, data_bytes = 100, children = 1000, watch, rate, port;
static const char *credentials, *login;
static int has_acl;
static char *data;

static void die(const char *what) {
    fprintf(stderr, "load: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* -- a histogram of nanoseconds: 64 buckets for each power of two ----------------------------------- */

static uint64_t histogram[BUCKETS], answered, slowest_ns;

static void count(int64_t ns) {
    int power = 63 - __builtin_clzll((uint64_t)ns | SUB);
    histogram[(power - 6) * SUB + (int)((uint64_t)ns >> (power - 6)) - SUB]++;
    answered++;
    if ((uint64_t)ns > slowest_ns) slowest_ns = (uint64_t)ns;
}

static double percentile_us(double part) {
    uint64_t wanted = (uint64_t)(part * (double)answered), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted) return (double)((uint64_t)(i % SUB + SUB) << (i / SUB)) / 1000.0;
    }
    return (double)slowest_ns / 1000.0;
}

/* -- connections ---------------------------------------------------------------------------------- */

typedef struct {
    int fd, number, next_xid, outstanding, has_session, events, login_step;
    int64_t *sent_ns; /* of the requests that are outstanding, a ring by xid */
    int ring;
    unsigned char in[BUFFER];
    size_t in_bytes;
    unsigned char *out;
    size_t out_bytes, out_room, out_sent;
    unsigned seed;
    int made;
#ifdef TLS
    SSL *ssl;
#endif
} Connection;

static ssize_t take(Connection *c, void *into, size_t size) {
#ifdef TLS
    int got = SSL_read(c->ssl, into, (int)size);
    if (got <= 0 && SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ) return errno = EAGAIN, -1;
    return got;
#else
    return read(c->fd, into, size);
#endif
}

static ssize_t give(Connection *c, const void *from, size_t size) {
#ifdef TLS
    int gave = SSL_write(c->ssl, from, (int)size);
    if (gave <= 0 && SSL_get_error(c->ssl, gave) == SSL_ERROR_WANT_WRITE) return errno = EAGAIN, -1;
    return gave;
#else
    return write(c->fd, from, size);
#endif
}

static int epoll_fd;

static unsigned char *grow(Connection *c, size_t bytes) {
    if (c->out_bytes + bytes > c->out_room) {
        c->out_room = (c->out_bytes + bytes) * 2;
        c->out = realloc(c->out, c->out_room);
        if (!c->out) die("no memory");
    }
    unsigned char *at = c->out + c->out_bytes;
    c->out_bytes += bytes;
    return at;
}

static void put_bytes(Connection *c, const void *bytes, size_t size) { memcpy(grow(c, size), bytes, size); }
static void put_byte(Connection *c, int value) { *grow(c, 1) = (unsigned char)value; }
static void put_int(Connection *c, int32_t value) {
    uint32_t big = htobe32((uint32_t)value);
    put_bytes(c, &big, 4);
}
static void put_long(Connection *c, int64_t value) {
    uint64_t big = htobe64((uint64_t)value);
    put_bytes(c, &big, 8);
}
static void put_buffer(Connection *c, const void *bytes, size_t size) {
    put_int(c, (int32_t)size);
    put_bytes(c, bytes, size);
}
static void put_text(Connection *c, const char *text) { put_buffer(c, text, strlen(text)); }
static void put_acl(Connection *c) {
    put_int(c, 1);
    put_int(c, 31);
    put_text(c, credentials || has_acl ? "auth" : "world");
    put_text(c, credentials || has_acl ? "" : "anyone");
}

static int32_t int_at(const unsigned char *at) {
    uint32_t big;
    memcpy(&big, at, 4);
    return (int32_t)be32toh(big);
}

static size_t begin_frame(Connection *c) {
    size_t at = c->out_bytes;
    put_int(c, 0);
    return at;
}
static void end_frame(Connection *c, size_t at) {
    uint32_t big = htobe32((uint32_t)(c->out_bytes - at - 4));
    memcpy(c->out + at, &big, 4);
}

static size_t begin_request(Connection *c, int op_code) {
    size_t at = begin_frame(c);
    c->sent_ns[c->next_xid % c->ring] = now_ns();
    put_int(c, c->next_xid++);
    put_int(c, op_code);
    c->outstanding++;
    return at;
}

static void flush_out(Connection *c) {
    while (c->out_sent < c->out_bytes) {
        ssize_t sent = give(c, c->out + c->out_sent, c->out_bytes - c->out_sent);
        if (sent < 0) {
            if (errno == EAGAIN) {
                struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
                epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
                return;
            }
            die("the server closed a connection");
        }
        c->out_sent += (size_t)sent;
    }
    c->out_sent = c->out_bytes = 0;
}

/* -- SASL with DIGEST-MD5 (RFC 2831): as a client of ZooKeeper, with the service zookeeper ----------- */

enum { LOGIN_XID = -5, SENT_NOTHING = 1, SENT_PROOF = 2, DIGEST = 16 };

static void put_login(Connection *c, const char *token) {
    size_t at = begin_frame(c);
    put_int(c, LOGIN_XID);
    put_int(c, LOG_IN);
    put_text(c, token);
    end_frame(c, at);
    c->login_step++;
}

#ifdef SASL
static void md5(const void *from, size_t size, unsigned char into[DIGEST]) {
    if (!EVP_Digest(from, size, into, NULL, EVP_md5(), NULL)) die("no MD5");
}

static void md5_hex(const char *text, size_t size, char into[2 * DIGEST + 1]) {
    unsigned char digest[DIGEST];
    md5(text, size, digest);
    for (int i = 0; i < DIGEST; i++) sprintf(into + 2 * i, "%02x", digest[i]);
}

/* Copy the quoted value of a directive of the challenge. */
static void directive(const char *challenge, const char *name, char *into, size_t room) {
    const char *at = strstr(challenge, name), *end;
    if (!at || !(end = strchr(at += strlen(name), '"')) || (size_t)(end - at) >= room) die("a challenge without what it needs");
    memcpy(into, at, (size_t)(end - at));
    into[end - at] = 0;
}

static void prove(Connection *c, const char *challenge) {
    const char *uri = "zookeeper/zk-sasl-md5", *cnonce = "0123456789abcdef", *colon = strchr(login, ':');
    char user[64], realm[64], nonce[256], a1[512], a2[64], text[1024], h1[33], h2[33], response[33];
    if (!colon) die("SASL is not user:password");
    snprintf(user, sizeof user, "%.*s", (int)(colon - login), login);
    directive(challenge, "realm=\"", realm, sizeof realm);
    directive(challenge, "nonce=\"", nonce, sizeof nonce);
    int size = snprintf(text, sizeof text, "%s:%s:%s", user, realm, colon + 1);
    md5(text, (size_t)size, (unsigned char *)a1);
    size = DIGEST + snprintf(a1 + DIGEST, sizeof a1 - DIGEST, ":%s:%s", nonce, cnonce);
    md5_hex(a1, (size_t)size, h1);
    size = snprintf(a2, sizeof a2, "AUTHENTICATE:%s", uri);
    md5_hex(a2, (size_t)size, h2);
    size = snprintf(text, sizeof text, "%s:%s:00000001:%s:auth:%s", h1, nonce, cnonce, h2);
    md5_hex(text, (size_t)size, response);
    snprintf(text, sizeof text,
             "charset=utf-8,username=\"%s\",realm=\"%s\",nonce=\"%s\",nc=00000001,cnonce=\"%s\","
             "digest-uri=\"%s\",response=%s,qop=auth",
             user, realm, nonce, cnonce, uri, response);
    put_login(c, text);
}
#else
static void prove(Connection *c, const char *challenge) { (void)c, (void)challenge, die("compiled without -DSASL"); }
#endif

/* Continue a login after a reply; return whether it is complete. */
static int log_in(Connection *c, const unsigned char *body, size_t size, int err) {
    char challenge[1024];
    if (err) die("the login is refused");
    if (c->login_step == SENT_PROOF) return 1;
    if (size < 4 || size - 4 >= sizeof challenge) die("a challenge of an impossible length");
    memcpy(challenge, body + 4, size - 4);
    challenge[size - 4] = 0;
    prove(c, challenge);
    return 0;
}

static void send_connect(Connection *c, int timeout_ms) {
    size_t at = begin_frame(c);
    put_int(c, 0);
    put_long(c, 0);
    put_int(c, timeout_ms);
    put_long(c, 0);
    put_int(c, 16);
    put_bytes(c, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    put_byte(c, 0);
    end_frame(c, at);
    if (credentials) {
        at = begin_frame(c);
        put_int(c, -4);
        put_int(c, AUTH);
        put_int(c, 0);
        put_text(c, "digest");
        put_text(c, credentials);
        end_frame(c, at);
    }
    flush_out(c);
}

static Connection *open_connection(int number, int ring, int timeout_ms) {
    Connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!c) die("no memory");
    c->number = number;
    c->ring = ring;
    c->next_xid = 1;
    c->seed = (unsigned)number * 7919u + 17u;
    c->sent_ns = calloc((size_t)ring, sizeof *c->sent_ns);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
#ifdef TLS
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1) die("no TLS");
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#endif
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    send_connect(c, timeout_ms);
    return c;
}

/* What to do with a reply that has come: its xid and error code. */
typedef void (*OnReply)(Connection *c, int xid, int err);

static void read_in(Connection *c, OnReply on_reply) {
    ssize_t got = take(c, c->in + c->in_bytes, BUFFER - c->in_bytes);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) die("the server closed a connection");
    c->in_bytes += (size_t)got;
    size_t at = 0;
    while (c->in_bytes - at >= 4) {
        int32_t length = int_at(c->in + at);
        if (length < 0 || (size_t)length + 4 > BUFFER) die("a reply of an impossible length");
        if (c->in_bytes - at < (size_t)length + 4) break;
        if (!c->has_session) {
            if (length < 36) die("no answer to a connect request");
            c->has_session = 1;
            if (login)
                put_login(c, "");
            else
                on_reply(c, 0, 0);
        } else {
            int xid = int_at(c->in + at + 4), err = int_at(c->in + at + 16);
            if (xid == LOGIN_XID) {
                if (log_in(c, c->in + at + 20, (size_t)length - 16, err)) {
                    c->login_step++;
                    on_reply(c, 0, 0);
                }
                at += (size_t)length + 4;
                continue;
            }
            if (xid == -4 && err) die("the credentials are refused");
            if (xid != -4) on_reply(c, xid, err);
        }
        at += (size_t)length + 4;
    }
    memmove(c->in, c->in + at, c->in_bytes - at);
    c->in_bytes -= at;
}

static void turn(OnReply on_reply, int wait_ms) {
    struct epoll_event events[256];
    int ready = epoll_wait(epoll_fd, events, 256, wait_ms);
    for (int i = 0; i < ready; i++) {
        Connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
            epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_in(c, on_reply);
#ifdef TLS
        while (SSL_pending(c->ssl) > 0) read_in(c, on_reply);
#endif
        flush_out(c);
    }
}

/* -- the work ------------------------------------------------------------------------------------- */

static const char *work;
static int outstanding_each, is_over, made_all;
static int64_t measure_from;

static void put_create(Connection *c, const char *path) {
    put_text(c, path);
    put_buffer(c, data, (size_t)data_bytes);
    put_acl(c);
    put_int(c, 0);
}

static void ask_create(Connection *c, const char *path) {
    size_t at = begin_request(c, CREATE);
    put_create(c, path);
    end_frame(c, at);
}

static void ask(Connection *c) {
    char path[64];
    size_t at;
    int is_set = !strcmp(work, "set") || (!strcmp(work, "mixed") && rand_r(&c->seed) % 10 == 0);
    snprintf(path, sizeof path, "/bench/n%07d", (int)(rand_r(&c->seed) % (unsigned)znodes));
    if (is_set) {
        at = begin_request(c, SET);
        put_text(c, path);
        put_buffer(c, data, (size_t)data_bytes);
        put_int(c, -1);
    } else if (!strcmp(work, "create")) {
        snprintf(path, sizeof path, "/made/%d-%d-%d", (int)getpid(), c->number, c->made++);
        at = begin_request(c, CREATE);
        put_create(c, path);
    } else if (!strcmp(work, "multi")) {
        at = begin_request(c, MULTI);
        for (int i = 0; i < CREATES_IN_MULTI; i++) {
            put_int(c, CREATE);
            put_byte(c, 0);
            put_int(c, -1);
            snprintf(path, sizeof path, "/made/%d-%d-%d", (int)getpid(), c->number, c->made++);
            put_create(c, path);
        }
        put_int(c, -1);
        put_byte(c, 1);
        put_int(c, -1);
    } else {
        int listing = !strcmp(work, "children");
        at = begin_request(c, listing ? CHILDREN : !strcmp(work, "exists") ? EXISTS : GET);
        put_text(c, listing ? "/listed" : path);
        put_byte(c, watch);
    }
    end_frame(c, at);
}

static void on_answer(Connection *c, int xid, int err) {
    if (xid == -1) return; /* a watch event */
    if (err) {
        fprintf(stderr, "load: request %d was refused with %d\n", xid, err);
        exit(1);
    }
    int64_t now = now_ns();
    c->outstanding--;
    if (now >= measure_from && !is_over) count(now - c->sent_ns[xid % c->ring]);
    if (!is_over && !rate) ask(c);
}

static void on_made(Connection *c, int xid, int err) {
    if (!xid) return;
    if (err && err != NODE_EXISTS) die("a znode could not be made");
    c->outstanding--;
    made_all++;
}

static void on_nothing(Connection *c, int xid, int err) { (void)c, (void)xid, (void)err; }

static void wait_for_session(Connection *c) {
    while (!c->has_session || (login && c->login_step <= SENT_PROOF)) turn(on_nothing, 1000);
}

static void make(Connection *c, const char *format, int first, int last) {
    char path[64];
    int wanted = made_all + last - first;
    for (int i = first; i < last; i++) {
        snprintf(path, sizeof path, format, i);
        ask_create(c, path);
        while (c->outstanding >= 1000) turn(on_made, 1000);
        flush_out(c);
    }
    while (made_all < wanted) turn(on_made, 1000);
}

static void make_znodes(void) {
    Connection *c = open_connection(0, 2000, 30000);
    wait_for_session(c);
    make(c, "/bench", 0, 1);
    make(c, "/made", 0, 1);
    make(c, "/listed", 0, 1);
    make(c, "/bench/n%07d", 0, znodes);
    if (!strcmp(work, "children")) make(c, "/listed/child-%05d", 0, children);
    close(c->fd);
}

/* How many connect at once: fewer than the queue of 50 that Apache ZooKeeper has for them, since what
 * that drops comes again only after a second. */
enum { AT_ONCE = 32 };

static Connection **open_many(int connections, int outstanding, int timeout_ms) {
    Connection **all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i] = open_connection(i, outstanding, timeout_ms);
        if (i % AT_ONCE == AT_ONCE - 1 || i == connections - 1)
            for (int j = i - i % AT_ONCE; j <= i; j++) wait_for_session(all[j]);
    }
    return all;
}

/* Send what is due by now, on one connection after the other. One that waits for too much is left out. */
static int64_t ask_due(Connection **all, int connections, int outstanding, int64_t begin, int64_t sent) {
    int64_t due = (now_ns() - begin) / 1000 * rate / 1000000;
    for (; sent < due; sent++) {
        Connection *c = all[sent % connections];
        if (c->outstanding >= outstanding) continue;
        ask(c);
        flush_out(c);
    }
    return sent;
}

static void requests(int connections, int outstanding, double warmup_s, double seconds) {
    if (strcmp(work, "echo")) make_znodes();
    if (!strcmp(work, "none")) return;
    outstanding_each = outstanding;
    Connection **all = open_many(connections, outstanding + 1, 30000);
    int64_t begin = now_ns(), sent = 0;
    measure_from = begin + (int64_t)(warmup_s * 1e9);
    for (int i = 0; i < connections && !rate; i++) {
        for (int k = 0; k < outstanding; k++) ask(all[i]);
        flush_out(all[i]);
    }
    int64_t end = measure_from + (int64_t)(seconds * 1e9);
    while (now_ns() < end) {
        if (rate) sent = ask_due(all, connections, outstanding, begin, sent);
        turn(on_answer, rate ? 1 : 10);
    }
    double taken_s = (double)(now_ns() - measure_from) / 1e9;
    is_over = 1;
    printf("{\"per_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
           (double)answered / taken_s, percentile_us(0.5), percentile_us(0.99), percentile_us(0.999),
           (double)slowest_ns / 1000.0);
}

/* -- watches -------------------------------------------------------------------------------------- */

static int set_watches, told;

static void on_watch(Connection *c, int xid, int err) {
    if (xid == -1) {
        told++;
        return;
    }
    if (err) die("a watch could not be set");
    c->outstanding--;
    set_watches++;
}

static void watches(int connections, int each, int rounds) {
    char path[64];
    znodes = each;
    work = "none";
    make_znodes();
    Connection *changer = open_connection(0, 8, 30000);
    wait_for_session(changer);
    Connection **all = open_many(connections, each + 1, 30000);
    printf("{\"last_us\": [");
    for (int round = 0; round < rounds; round++) {
        set_watches = told = 0;
        for (int i = 0; i < connections; i++) {
            for (int k = 0; k < each; k++) {
                size_t at = begin_request(all[i], GET);
                snprintf(path, sizeof path, "/bench/n%07d", k);
                put_text(all[i], path);
                put_byte(all[i], 1);
                end_frame(all[i], at);
            }
            flush_out(all[i]);
        }
        while (set_watches < connections * each) turn(on_watch, 1000);
        size_t at = begin_request(changer, MULTI);
        for (int k = 0; k < each; k++) {
            put_int(changer, SET);
            put_byte(changer, 0);
            put_int(changer, -1);
            snprintf(path, sizeof path, "/bench/n%07d", k);
            put_text(changer, path);
            put_buffer(changer, data, (size_t)data_bytes);
            put_int(changer, -1);
        }
        put_int(changer, -1);
        put_byte(changer, 1);
        put_int(changer, -1);
        end_frame(changer, at);
        int64_t begin = now_ns();
        flush_out(changer);
        while (told < connections * each) turn(on_watch, 10000);
        printf("%s%.1f", round ? ", " : "", (double)(now_ns() - begin) / 1000.0);
    }
    printf("]}\n");
}

/* -- idle sessions -------------------------------------------------------------------------------- */

static void idle(int connections, int timeout_ms, double seconds) {
    Connection **all = open_many(connections, 2, timeout_ms);
    printf("{\"sessions\": %d}\n", connections);
    fflush(stdout);
    int64_t begin = now_ns(), end = begin + (int64_t)(seconds * 1e9);
    int64_t interval = (int64_t)timeout_ms * 1000000 / 3;
    int64_t sent = 0; /* of the pings, which are spread evenly over the interval */
    while (now_ns() < end) {
        int64_t due = (now_ns() - begin) * connections / interval;
        for (; sent < due; sent++) {
            Connection *c = all[sent % connections];
            size_t at = begin_frame(c);
            put_int(c, -2);
            put_int(c, PING);
            end_frame(c, at);
            flush_out(c);
        }
        turn(on_nothing, 5);
    }
}

int main(int count, char **arguments) {
    struct rlimit files;
    if (getenv("ZNODES")) znodes = atoi(getenv("ZNODES"));
    if (getenv("CHILDREN")) children = atoi(getenv("CHILDREN"));
    if (getenv("WATCH")) watch = atoi(getenv("WATCH"));
    if (getenv("RATE")) rate = atoi(getenv("RATE"));
    credentials = getenv("AUTH");
    login = getenv("SASL");
    has_acl = getenv("ACL") != NULL;
#ifdef TLS
    tls = SSL_CTX_new(TLS_client_method());
#endif
    if (getenv("DATA_BYTES")) data_bytes = atoi(getenv("DATA_BYTES"));
    data = malloc((size_t)data_bytes + 1);
    memset(data, 'x', (size_t)data_bytes);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    port = count > 2 ? atoi(arguments[2]) : 0;
    if (count == 8 && !strcmp(arguments[1], "requests")) {
        work = arguments[7];
        requests(atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]), atof(arguments[6]));
    } else if (count == 6 && !strcmp(arguments[1], "watches")) {
        watches(atoi(arguments[3]), atoi(arguments[4]), atoi(arguments[5]));
    } else if (count == 6 && !strcmp(arguments[1], "idle")) {
        idle(atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]));
    } else {
        fprintf(stderr, "load: see the head of its source for how it is called\n");
        return 2;
    }
    return 0;
}
