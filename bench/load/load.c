/* A load generator: key=value arguments in, one JSON object out, sampled answers into a file.

   Closed loop: every lane sends again as soon as it is answered. Open loop (rate=): requests are due at a constant
   rate, whatever is answered, and their latency counts from when they were due. */
#include "load.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { EVENTS = 256, PATIENCE = 60 };

options asked = {.door = "http", .host = "127.0.0.1", .prefix = "", .connections = 1, .sessions = 1, .items = 1,
                 .window = 1, .length = 1, .warm = 0.3, .seconds = 3};

static const door *the;
static conn *conns;
static lane *lanes;
static uint32_t lane_count, readies, busy;
static int poll_fd;
static bool sending;
static uint64_t loop_began, due_count;

void ready(conn *c) {
    c->ready = true;
    readies++;
}

static void watch(conn *c, int how) {
    struct epoll_event event = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poll_fd, how, c->fd, &event)) die("epoll_ctl");
}

static void push(conn *c) {
    const bool blocked = !flush(c);
    if (blocked == c->blocked) return;
    c->blocked = blocked;
    watch(c, EPOLL_CTL_MOD);
}

static uint64_t due(uint64_t k) { return loop_began + (uint64_t)(1e9 * (double)k / asked.rate); }

static void begin(lane *l) {
    if (asked.rate) l->waiting--;
    l->begun = asked.rate ? due((uint64_t)(l - lanes) + l->count * lane_count) : now();
    l->count++;
    l->busy = true;
    busy++;
    the->request(l);
}

static bool wants(const lane *l) {
    if (!sending || (asked.count && l->count >= asked.count)) return false;
    return !asked.rate || l->waiting;
}

void answered(lane *l, uint32_t steps, bool refused) {
    tally(l->begun, steps, refused);
    l->busy = false;
    busy--;
    if (wants(l)) begin(l);
}

static void begin_what_is_due(void) {
    for (const uint64_t at = now(); due(due_count) <= at; due_count++) {
        lane *l = lanes + due_count % lane_count;
        l->waiting++;
        if (l->busy || !wants(l)) continue;
        begin(l);
        push(l->conn);
    }
}

static void turn(int timeout) {
    struct epoll_event events[EVENTS];
    const int count = epoll_wait(poll_fd, events, EVENTS, timeout);
    for (int i = 0; i < count; i++) {
        conn *c = events[i].data.ptr;
        if (events[i].events & ~(uint32_t)EPOLLOUT && receive(c))
            while (c->in.from < c->in.size && the->take(c)) continue;
        if (c->out.from < c->out.size || c->blocked) push(c);
    }
}

static void until(bool (*done)(void), const char *what) {
    const uint64_t deadline = now() + PATIENCE * 1000000000ull;
    while (!done()) {
        turn(100);
        if (now() > deadline) die("%s: not within %d s; %u requests are not answered", what, PATIENCE, busy);
    }
}

static bool all_ready(void) { return readies == asked.connections; }
static bool none_busy(void) { return busy == 0; }

static void connect_all(void) {
    conns = calloc(asked.connections, sizeof *conns);
    lanes = calloc(lane_count, sizeof *lanes);
    for (uint32_t i = 0; i < asked.connections; i++) {
        conn *c = conns + i;
        c->index = i;
        c->lanes = lanes + i * asked.window;
        for (uint32_t w = 0; w < asked.window; w++) c->lanes[w] = (lane){.conn = c, .id = w};
        c->fd = dial(asked.host, asked.port);
        watch(c, EPOLL_CTL_ADD);
        the->greet(c);
        push(c);
    }
}

static void run(void) {
    loop_began = now();
    const uint64_t from = loop_began + (uint64_t)(1e9 * asked.warm);
    const uint64_t to = asked.count ? UINT64_MAX : from + (uint64_t)(1e9 * asked.seconds);
    tally_between(from, to);
    sending = true;
    for (uint32_t i = 0; i < lane_count && !asked.rate; i++) begin(lanes + i);
    for (uint32_t i = 0; i < asked.connections && !asked.rate; i++) push(conns + i);
    while (now() < to && (busy || asked.rate)) {
        if (asked.rate) begin_what_is_due();
        turn(asked.rate ? 0 : 100);
    }
    sending = false;
    until(none_busy, "the last answers");
}

static void set(const char *key, const char *value) {
    const struct { const char *key; const char **to; } texts[] = {
        {"door", &asked.door}, {"host", &asked.host}, {"path", &asked.path}, {"open", &asked.open},
        {"model", &asked.model}, {"prefix", &asked.prefix}, {"pool", &asked.pool}, {"samples", &asked.samples}};
    const struct { const char *key; uint32_t *to; } numbers[] = {
        {"port", &asked.port}, {"connections", &asked.connections}, {"sessions", &asked.sessions},
        {"items", &asked.items}, {"window", &asked.window}, {"length", &asked.length}, {"witness", &asked.witness}};
    const struct { const char *key; double *to; } reals[] = {
        {"warm", &asked.warm}, {"seconds", &asked.seconds}, {"rate", &asked.rate}};
    const struct { const char *key; bool *to; } flags[] = {
        {"predict", &asked.predict}, {"raw", &asked.raw}, {"bare", &asked.bare}, {"refusals", &asked.refusals}};
#define LOOK(in, value_of) \
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) \
        if (!strcmp(key, in[i].key)) { *in[i].to = value_of; return; }
    LOOK(texts, value)
    LOOK(numbers, (uint32_t)strtoul(value, NULL, 10))
    LOOK(reals, strtod(value, NULL))
    LOOK(flags, value[0] == '1')
    if (strcmp(key, "count")) die("unknown argument %s", key);
    asked.count = strtoull(value, NULL, 10);
}

int main(int count, char **given) {
    for (int i = 1; i < count; i++) {
        char *value = strchr(given[i], '=');
        if (!value) die("%s: not key=value", given[i]);
        *value = 0;
        set(given[i], value + 1);
    }
    if (!asked.pool || !asked.path || !asked.port) die("pool=, path= and port= are needed");
    if (asked.sessions % asked.items) die("sessions=%u is no multiple of items=%u", asked.sessions, asked.items);
    the = strcmp(asked.door, "stream") ? &http : &stream;
    lane_count = asked.connections * asked.window;
    read_pool(asked.pool);
    if ((poll_fd = epoll_create1(0)) < 0) die("epoll_create1");
    const uint64_t start = now();
    connect_all();
    until(all_ready, "opening");
    const double opening = 1e-9 * (double)(now() - start);
    run();
    report(opening);
    return 0;
}
