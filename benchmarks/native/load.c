/* A load on a ZooKeeper server, over one thread and many connections.
 *
 *   load requests PORT CONNECTIONS OUTSTANDING WARMUP_S SECONDS WORK
 *       keeps so many requests outstanding on each connection, and prints how many were answered and
 *       how long they took. WORK: get, mixed (a tenth are sets), set, create, multi, children,
 *       large (65% get, 33% multi of 5 sets, 2% children; needs PARENTS), exists, none. The znodes it
 *       needs are made first (WORK none does only that). SIGTERM ends it before its time.
 *   load watches PORT CONNECTIONS WATCHES ROUNDS
 *       sets so many watches on each connection, lets one multi change all that is watched, and
 *       prints the time to the last event of each round.
 *   load sessions PORT CONNECTIONS TIMEOUT_MS
 *       opens connections with new sessions, 32 at a time, and prints how many a second.
 *   load idle PORT CONNECTIONS TIMEOUT_MS SECONDS
 *       keeps so many sessions alive with their pings; prints a line once all are there, ends after
 *       SECONDS.
 *
 * One line of JSON on standard output. Times in microseconds. Anything unexpected ends it.
 * In the environment: ZNODES (1000), DATA_BYTES (100), CHILDREN (1000, of those that are listed),
 * WATCH=1 (every read sets a watch), AUTH=user:password (under which the znodes are made and asked
 * for), PARENTS (with 1,000 children each, as benchmarks.restart writes them; nothing is made then),
 * RATE (requests a second on all connections together; without it, each answer is followed by the next
 * request). Compiled with -DTLS it speaks TLS, and trusts whoever answers. Compiled with
 * -DSASL, SASL=user:password logs in with DIGEST-MD5, and ACL=1 makes the znodes for that user only.
 */
#define _GNU_SOURCE
#include <endian.h>

#include "connections.h"

#ifdef SASL
#include <openssl/evp.h>
#endif

enum { CREATE = 1, EXISTS = 3, GET = 4, SET = 5, CHILDREN = 8, PING = 11, MULTI = 14, AUTH = 100, LOG_IN = 102 };
enum { NODE_EXISTS = -110 };
enum { CHILDREN_OF_PARENT = 1000, SETS_IN_LARGE = 5 };

static int children = 1000, watch, parents;
static const char *credentials, *login;
static int has_acl;

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
    put_int(c, begin_xid(c));
    put_int(c, op_code);
    return at;
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
    Connection *c = open_socket(number, ring);
    send_connect(c, timeout_ms);
    return c;
}

/* Read a frame, which is whole; the first one of a connection is the answer to its connect request. */
static void read_frame(Connection *c, const unsigned char *frame, size_t length, OnReply on_reply) {
    if (!c->has_session) {
        if (length < 36) die("no answer to a connect request");
        c->has_session = 1;
        if (login)
            put_login(c, "");
        else
            on_reply(c, 0, 0);
        return;
    }
    if (length < 16) die("a reply without a header");
    int xid = int_at(frame), err = int_at(frame + 12);
    if (xid == LOGIN_XID) {
        if (!log_in(c, frame + 16, length - 16, err)) return;
        c->login_step++;
        on_reply(c, 0, 0);
        return;
    }
    if (xid == -4 && err) die("the credentials are refused");
    if (xid != -4) on_reply(c, xid, err);
}

static size_t read_replies(Connection *c, const unsigned char *in, size_t size, OnReply on_reply) {
    size_t at = 0;
    while (size - at >= 4) {
        int32_t length = int_at(in + at);
        if (length < 0 || (size_t)length + 4 > BUFFER) die("a reply of an impossible length");
        if (size - at < (size_t)length + 4) break;
        read_frame(c, in + at + 4, (size_t)length, on_reply);
        at += (size_t)length + 4;
    }
    return at;
}

/* -- the work ------------------------------------------------------------------------------------- */

static int made_all;

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

static void put_header_in_multi(Connection *c, int op_code, int is_last) {
    put_int(c, op_code);
    put_byte(c, is_last);
    put_int(c, -1);
}

static void put_set(Connection *c, const char *path) {
    put_text(c, path);
    put_buffer(c, data, (size_t)data_bytes);
    put_int(c, -1);
}

static void name_new(Connection *c, char *path, size_t room) {
    snprintf(path, room, "/made/%d-%d-%d", (int)getpid(), c->number, c->made++);
}

static void name_random(Connection *c, char *path, size_t room) {
    unsigned number = (unsigned)rand_r(&c->seed);
    if (parents)
        snprintf(path, room, "/p%05u/c%05u", number / CHILDREN_OF_PARENT % (unsigned)parents,
                 number % CHILDREN_OF_PARENT);
    else
        snprintf(path, room, "/bench/n%07u", number % (unsigned)znodes);
}

/* Ask for what is read, or for what is written, in the mix of the benchmark with many znodes. */
static void ask_large(Connection *c) {
    char path[64];
    int chance = (int)(rand_r(&c->seed) % 100);
    size_t at = begin_request(c, chance < 65 ? GET : chance < 98 ? MULTI : CHILDREN);
    name_random(c, path, sizeof path);
    if (chance >= 98) *strrchr(path, '/') = 0;
    if (chance < 65 || chance >= 98) {
        put_text(c, path);
        put_byte(c, watch);
    } else {
        for (int i = 0; i < SETS_IN_LARGE; i++) {
            put_header_in_multi(c, SET, 0);
            name_random(c, path, sizeof path);
            put_set(c, path);
        }
        put_header_in_multi(c, -1, 1);
    }
    end_frame(c, at);
}

static void ask(Connection *c) {
    char path[64];
    size_t at;
    if (!strcmp(work, "large")) {
        ask_large(c);
        return;
    }
    int is_set = !strcmp(work, "set") || (!strcmp(work, "mixed") && rand_r(&c->seed) % 10 == 0);
    name_random(c, path, sizeof path);
    if (is_set) {
        at = begin_request(c, SET);
        put_set(c, path);
    } else if (!strcmp(work, "create")) {
        name_new(c, path, sizeof path);
        at = begin_request(c, CREATE);
        put_create(c, path);
    } else if (!strcmp(work, "multi")) {
        at = begin_request(c, MULTI);
        for (int i = 0; i < PARTS_OF_MULTI; i++) {
            put_header_in_multi(c, CREATE, 0);
            name_new(c, path, sizeof path);
            put_create(c, path);
        }
        put_header_in_multi(c, -1, 1);
    } else {
        int listing = !strcmp(work, "children");
        at = begin_request(c, listing ? CHILDREN : !strcmp(work, "exists") ? EXISTS : GET);
        put_text(c, listing ? "/listed" : path);
        put_byte(c, watch);
    }
    end_frame(c, at);
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

static void requests(int connections, int outstanding, double warmup_s, double seconds) {
    if (!strcmp(work, "large") && !parents) die("the work large needs PARENTS");
    if (!parents && strcmp(work, "echo")) make_znodes();
    if (!strcmp(work, "none")) return;
    Connection **all = open_many(connections, outstanding + 1, 30000);
    keep_asking(all, connections, outstanding, warmup_s, seconds);
}

/* -- watches -------------------------------------------------------------------------------------- */

static int set_watches, told;

static Connection *changer;
static int has_changed;

static void on_watch(Connection *c, int xid, int err) {
    if (xid == -1) {
        told++;
        return;
    }
    if (err) die("a watch could not be set, or its znode could not be changed");
    c->outstanding--;
    if (c == changer) {
        has_changed = 1; /* this reply may come before or after the events */
    } else {
        set_watches++;
    }
}

static void watches(int connections, int each, int rounds) {
    char path[64];
    znodes = each;
    work = "none";
    make_znodes();
    changer = open_connection(0, 8, 30000);
    wait_for_session(changer);
    Connection **all = open_many(connections, each + 1, 30000);
    printf("{\"last_us\": [");
    for (int round = 0; round < rounds; round++) {
        set_watches = told = has_changed = 0;
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
            put_header_in_multi(changer, SET, 0);
            snprintf(path, sizeof path, "/bench/n%07d", k);
            put_set(changer, path);
        }
        put_header_in_multi(changer, -1, 1);
        end_frame(changer, at);
        int64_t begin = now_ns();
        flush_out(changer);
        while (told < connections * each) turn(on_watch, 10000);
        printf("%s%.1f", round ? ", " : "", (double)(now_ns() - begin) / 1000.0);
        while (!has_changed) turn(on_watch, 1000);
    }
    printf("]}\n");
}

/* -- new sessions --------------------------------------------------------------------------------- */

static int have_session;

static void on_session(Connection *c, int xid, int err) {
    (void)c, (void)err;
    if (!xid) have_session++;
}

static void sessions(int connections, int timeout_ms) {
    int opened = 0;
    int64_t begin = now_ns();
    while (have_session < connections) {
        for (; opened < connections && opened - have_session < AT_ONCE; opened++) open_connection(opened, 2, timeout_ms);
        turn(on_session, 1000);
    }
    printf("{\"per_s\": %.1f}\n", connections / ((double)(now_ns() - begin) / 1e9));
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
    prepare();
    if (getenv("CHILDREN")) children = atoi(getenv("CHILDREN"));
    if (getenv("PARENTS")) parents = atoi(getenv("PARENTS"));
    if (getenv("WATCH")) watch = atoi(getenv("WATCH"));
    if (getenv("RATE")) rate = atoi(getenv("RATE"));
    credentials = getenv("AUTH");
    login = getenv("SASL");
    has_acl = getenv("ACL") != NULL;
#ifdef TLS
    tls = SSL_CTX_new(TLS_client_method());
#endif
    epoll_fd = epoll_create1(0);
    port = count > 2 ? atoi(arguments[2]) : 0;
    if (count == 8 && !strcmp(arguments[1], "requests")) {
        work = arguments[7];
        requests(atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]), atof(arguments[6]));
    } else if (count == 6 && !strcmp(arguments[1], "watches")) {
        watches(atoi(arguments[3]), atoi(arguments[4]), atoi(arguments[5]));
    } else if (count == 5 && !strcmp(arguments[1], "sessions")) {
        sessions(atoi(arguments[3]), atoi(arguments[4]));
    } else if (count == 6 && !strcmp(arguments[1], "idle")) {
        idle(atoi(arguments[3]), atoi(arguments[4]), atof(arguments[5]));
    } else {
        fprintf(stderr, "load: see the head of its source for how it is called\n");
        return 2;
    }
    return 0;
}

