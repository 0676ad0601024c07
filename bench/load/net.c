/* Buffers and sockets. */
#define _GNU_SOURCE
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_AT_ONCE = 1 << 18 };

void die(const char *format, ...) {
    va_list given;
    va_start(given, format);
    vfprintf(stderr, format, given);
    fputc('\n', stderr);
    exit(1);
}

void reserve(bytes *of, size_t size) {
    if (of->size + size <= of->room) return;
    if (of->from) {
        memmove(of->at, of->at + of->from, of->size - of->from);
        of->size -= of->from;
        of->from = 0;
    }
    if (of->size + size <= of->room) return;
    of->room = 2 * (of->size + size);
    of->at = realloc(of->at, of->room);
    if (!of->at) die("out of memory");
}

void append(bytes *to, const void *from, size_t size) {
    reserve(to, size);
    memcpy(to->at + to->size, from, size);
    to->size += size;
}

void appendf(bytes *to, const char *format, ...) {
    va_list given;
    reserve(to, 1024);
    va_start(given, format);
    to->size += (size_t)vsnprintf(to->at + to->size, 1024, format, given);
    va_end(given);
}

void consume(bytes *of, size_t size) {
    of->from += size;
    if (of->from == of->size) of->from = of->size = 0;
}

int dial(const char *host, uint32_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) die("%s: not an IPv4 address", host);
    for (int attempt = 0; connect(fd, (struct sockaddr *)&to, sizeof to); attempt++) {
        if (attempt == 100) die("%s:%u: %s", host, port, strerror(errno));
        usleep(10000); /* its backlog is full */
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

bool receive(conn *c) {
    reserve(&c->in, READ_AT_ONCE);
    ssize_t got = recv(c->fd, c->in.at + c->in.size, c->in.room - c->in.size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) die("connection %u: %s", c->index, got ? strerror(errno) : "closed by the server");
    c->in.size += (size_t)got;
    return true;
}

bool flush(conn *c) {
    while (c->out.from < c->out.size) {
        ssize_t sent = send(c->fd, c->out.at + c->out.from, c->out.size - c->out.from, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return false;
        if (sent < 0) die("connection %u: %s", c->index, strerror(errno));
        consume(&c->out, (size_t)sent);
    }
    return true;
}
