/* What the parts of the load generator share. One thread, one epoll, no library but libc. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *at;
    size_t from, size, room; /* from..size is what has not been consumed yet */
} bytes;

/* One unit of load that has at most one request under way: an HTTP connection, or one of a socket's frames in flight. */
typedef struct {
    struct conn *conn;
    uint32_t id;
    uint32_t group;   /* stream: which of the connection's groups of sessions this request steps */
    uint64_t step;    /* of the first time step of this request */
    uint64_t begun;   /* ns; in an open loop when it was due, not when it left */
    uint64_t count;   /* requests begun */
    uint64_t waiting; /* open loop: due and not begun */
    bool busy;
} lane;

typedef struct conn {
    int fd;
    uint32_t index;
    bytes in, out;
    bool blocked; /* the kernel took only a part of `out` */
    bool greeted, ready;
    lane *lanes;
    uint32_t opened;
    uint32_t next_group;
    uint64_t *steps;    /* stream: [groups] */
    uint32_t *channels; /* stream: [sessions] */
} conn;

typedef struct {
    void (*greet)(conn *);
    void (*request)(lane *);
    bool (*take)(conn *); /* consume one message, if a whole one is there */
} door;

typedef struct {
    const char *door, *host, *path, *open, *model, *prefix, *pool, *samples;
    uint32_t port, connections, sessions, items, window, length, witness;
    uint64_t count; /* requests a lane, 0: until the time is over */
    double warm, seconds, rate;
    bool predict, raw, bare, refusals;
} options;

extern options asked;
extern const door http, stream;

/* pool.c: the rows that are sent, as float32 and as JSON */
typedef struct {
    uint32_t rows, features;
    const float *values;
    const uint32_t *offsets;
    const char *text;
} rows;
extern rows pool;
void read_pool(const char *path);
uint32_t row_of(uint32_t session, uint64_t step);

/* net.c */
void append(bytes *to, const void *from, size_t size);
void appendf(bytes *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
void consume(bytes *of, size_t size);
void reserve(bytes *of, size_t size);
int dial(const char *host, uint32_t port);
bool receive(conn *);
bool flush(conn *); /* false: a part is left, write again when the socket is writable */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* tally.c */
uint64_t now(void);
void tally_between(uint64_t from, uint64_t to);
void tally(uint64_t begun, uint32_t steps, bool refused);
bool sampled(uint32_t session, uint64_t step);
void sample(uint32_t session, uint64_t step, const void *answer, uint32_t size);
void report(double opening);

/* load.c: what the doors tell the loop */
void ready(conn *);
void answered(lane *, uint32_t steps, bool refused);
