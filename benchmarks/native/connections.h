/* What the load programs with their own protocol share: many connections in one thread, and requests that
 * follow their replies. The program defines how a request is written, and how replies are read. */
#ifndef CONNECTIONS_H
#define CONNECTIONS_H
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measuring.h"

#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *tls;
#endif

enum { BUFFER = 1 << 18 };

typedef struct {
    int fd, number, next_xid, outstanding, has_session, events, login_step;
    int64_t *sent_ns; /* of the requests that are outstanding, a ring by xid */
    int ring;
    unsigned char in[BUFFER];
    size_t in_bytes;
    unsigned char *out;
    size_t out_bytes, out_room, out_sent;
    unsigned seed;
    int made, answered_xid, replies_left;
#ifdef TLS
    SSL *ssl;
#endif
} Connection;

/* What to do with a reply that has come: its xid and error code. */
typedef void (*OnReply)(Connection *c, int xid, int err);

static int epoll_fd, port, rate, is_over;
static const char *work;

/* Write one request of the work into the buffer of a connection. */
static void ask(Connection *c);

/* Read the whole replies in these bytes, and return how many bytes they have. */
static size_t read_replies(Connection *c, const unsigned char *in, size_t size, OnReply on_reply);

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

static Connection *open_socket(int number, int ring) {
    Connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!c) die("no memory");
    c->number = number;
    c->ring = ring;
    c->next_xid = c->answered_xid = 1;
    c->seed = (unsigned)number * 7919u + 17u;
    c->sent_ns = calloc((size_t)ring, sizeof *c->sent_ns);
    if (!c->sent_ns) die("no memory");
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
#ifdef TLS
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_read_ahead(c->ssl, 1); /* otherwise it reads the 5 bytes before each record alone */
    if (SSL_connect(c->ssl) != 1) die("no TLS");
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#endif
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    return c;
}

/* Read once, and return whether there was something. */
static int read_in(Connection *c, OnReply on_reply) {
    ssize_t got = take(c, c->in + c->in_bytes, BUFFER - c->in_bytes);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) die("the server closed a connection");
    c->in_bytes += (size_t)got;
    size_t done = read_replies(c, c->in, c->in_bytes, on_reply);
    if (!done && c->in_bytes == BUFFER) die("a reply of an impossible length");
    memmove(c->in, c->in + done, c->in_bytes - done);
    c->in_bytes -= done;
    return 1;
}

/* Read what has arrived. OpenSSL takes more from the socket than it returns at once. */
static void read_all(Connection *c, OnReply on_reply) {
#ifdef TLS
    while (read_in(c, on_reply) && SSL_has_pending(c->ssl)) continue;
#else
    read_in(c, on_reply);
#endif
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
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_all(c, on_reply);
        flush_out(c);
    }
}

/* -- requests that follow their replies, or come at a rate ------------------------------------------- */

/* Begin a request, whose xid is returned. */
static int begin_xid(Connection *c) {
    c->sent_ns[c->next_xid % c->ring] = now_ns();
    c->outstanding++;
    return c->next_xid++;
}

static void on_answer(Connection *c, int xid, int err) {
    if (xid == -1) return; /* a watch event */
    if (err) {
        fprintf(stderr, "%s: request %d was refused with %d\n", program_invocation_short_name, xid, err);
        exit(1);
    }
    c->outstanding--;
    if (is_over) return;
    count_reply(c->sent_ns[xid % c->ring], now_ns());
    if (!rate) ask(c);
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

static volatile sig_atomic_t is_stopped;

static void stop(int number) { (void)number, is_stopped = 1; }

/* Keep the requests outstanding on connections that are ready, and print what was measured. SIGTERM ends
 * it before its time. */
static void keep_asking(Connection **all, int connections, int outstanding, double warmup_s, double seconds) {
    struct sigaction stopping = {.sa_handler = stop};
    sigaction(SIGTERM, &stopping, NULL);
    int64_t begin = now_ns(), sent = 0;
    measure_from = begin + (int64_t)(warmup_s * 1e9);
    for (int i = 0; i < connections && !rate; i++) {
        for (int k = 0; k < outstanding; k++) ask(all[i]);
        flush_out(all[i]);
    }
    int64_t end = measure_from + (int64_t)(seconds * 1e9);
    while (now_ns() < end && !is_stopped) {
        if (rate) sent = ask_due(all, connections, outstanding, begin, sent);
        turn(on_answer, rate ? 1 : 10);
    }
    is_over = 1;
    print_figures();
}
#endif
