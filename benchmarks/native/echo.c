/* The limit: a server that looks at nothing and answers every frame as if it were a getData.
 *
 *   echo PORT DATA_BYTES
 *
 * One thread and epoll, as little work as can be: a frame's xid into a reply of the right size.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 1 << 17, CONNECTED_BYTES = 41, REPLY_BESIDE_DATA = 4 + 16 + 4 + 68 };

typedef struct {
    int fd, is_connected;
    size_t in_bytes;
    unsigned char in[BUFFER];
} Connection;

static unsigned char *out;
static size_t out_bytes, out_room;
static int data_bytes;

static void put_int(size_t at, int32_t value) {
    uint32_t big = htobe32((uint32_t)value);
    memcpy(out + at, &big, 4);
}

static void answer(Connection *c, const unsigned char *frame) {
    size_t size = c->is_connected ? (size_t)(REPLY_BESIDE_DATA + data_bytes) : CONNECTED_BYTES;
    if (out_bytes + size > out_room) out = realloc(out, out_room = (out_bytes + size) * 2);
    memset(out + out_bytes, 0, size);
    put_int(out_bytes, (int32_t)size - 4);
    if (c->is_connected) {
        memcpy(out + out_bytes + 4, frame + 4, 4);
        put_int(out_bytes + 20, data_bytes);
    } else {
        put_int(out_bytes + 8, 30000);
        put_int(out_bytes + 16, 1);
        put_int(out_bytes + 20, 16);
    }
    c->is_connected = 1;
    out_bytes += size;
}

static int serve(Connection *c) {
    ssize_t got = read(c->fd, c->in + c->in_bytes, BUFFER - c->in_bytes);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    c->in_bytes += (size_t)got;
    size_t at = 0;
    out_bytes = 0;
    while (c->in_bytes - at >= 4) {
        uint32_t big;
        memcpy(&big, c->in + at, 4);
        size_t size = (size_t)be32toh(big) + 4;
        if (size > BUFFER) return 0;
        if (c->in_bytes - at < size) break;
        answer(c, c->in + at);
        at += size;
    }
    memmove(c->in, c->in + at, c->in_bytes - at);
    c->in_bytes -= at;
    for (size_t sent = 0; sent < out_bytes;) {
        ssize_t wrote = write(c->fd, out + sent, out_bytes - sent);
        if (wrote < 0 && errno != EAGAIN) return 0;
        if (wrote > 0) sent += (size_t)wrote;
    }
    return 1;
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll_fd = epoll_create1(0);
    if (count != 3) return 2;
    data_bytes = atoi(arguments[2]);
    address.sin_port = htons((uint16_t)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) return 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (!c) {
                c = calloc(1, sizeof *c);
                c->fd = accept(listener, NULL, NULL);
                setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                fcntl(c->fd, F_SETFL, O_NONBLOCK);
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
