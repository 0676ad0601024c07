/* The ceiling of the generator: a server that does nothing. It answers every request, or frame, with the bytes of a
   file; of a frame's answer the first four are the frame's id. It shakes a WebSocket's hand without proof. */
#define _GNU_SOURCE
#include "load.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[1 << 24];
static size_t answer_size;
static int poll_fd;

static size_t whole_request(const char *at, size_t there) { /* 0: not here yet */
    const char *end = memmem(at, there, "\r\n\r\n", 4);
    if (!end) return 0;
    const char *told = memmem(at, (size_t)(end - at), "Content-Length: ", 16);
    const size_t whole = (size_t)(end + 4 - at) + (told ? strtoull(told + 16, NULL, 10) : 0);
    return there < whole ? 0 : whole;
}

static size_t whole_frame(const uint8_t *at, size_t there, size_t *head) {
    if (there < 2) return 0;
    const size_t wide = (at[1] & 127) < 126 ? 0 : (at[1] & 127) == 126 ? 2 : 8;
    size_t size = wide ? 0 : at[1] & 127;
    for (size_t i = 0; i < wide && there >= 2 + wide; i++) size = size << 8 | at[2 + i];
    *head = 2 + wide + 4;
    return there < *head + size ? 0 : *head + size;
}

static bool take(conn *c) {
    const char *at = c->in.at + c->in.from;
    const size_t there = c->in.size - c->in.from;
    size_t head = 0, whole = c->greeted ? whole_frame((const uint8_t *)at, there, &head) : whole_request(at, there);
    if (!whole) return false;
    if (c->greeted) {
        char id[4];
        for (int i = 0; i < 4; i++) id[i] = at[head + (size_t)i] ^ at[head - 4 + (size_t)i];
        append(&c->out, answer, answer_size);
        const size_t frame_head = (answer[1] & 127) < 126 ? 2 : (answer[1] & 127) == 126 ? 4 : 10;
        memcpy(c->out.at + c->out.size - answer_size + frame_head, id, 4);
    } else if (memmem(at, whole, "Upgrade: websocket", 18)) {
        c->greeted = true;
        appendf(&c->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    } else {
        append(&c->out, answer, answer_size);
    }
    consume(&c->in, whole);
    return true;
}

static void serve(conn *c, uint32_t events) {
    if (events & EPOLLIN) {
        reserve(&c->in, 1 << 18);
        ssize_t got = recv(c->fd, c->in.at + c->in.size, c->in.room - c->in.size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            close(c->fd);
            return;
        }
        if (got > 0) c->in.size += (size_t)got;
        while (c->in.from < c->in.size && take(c)) continue;
    }
    const bool blocked = !flush(c);
    if (blocked == c->blocked) return;
    c->blocked = blocked;
    struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static int listen_on(uint16_t port) {
    struct sockaddr_in on = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&on, sizeof on) || listen(fd, 1024)) die("port %u cannot be bound", port);
    return fd;
}

int main(int count, char **given) {
    if (count != 3) die("echo FILE PORT");
    FILE *file = fopen(given[1], "rb");
    if (!file) die("%s: no such file", given[1]);
    answer_size = fread(answer, 1, sizeof answer, file);
    poll_fd = epoll_create1(0);
    int listener = listen_on((uint16_t)atoi(given[2])), yes = 1;
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;)
        for (int n = epoll_wait(poll_fd, events, 256, -1), i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                serve(events[i].data.ptr, events[i].events);
                continue;
            }
            conn *c = calloc(1, sizeof *c);
            c->fd = accept(listener, NULL, NULL);
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            event.data.ptr = c;
            epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event);
            event.data.ptr = NULL;
        }
}
