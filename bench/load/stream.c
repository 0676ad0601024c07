/* The binary frames of WS /v1/stream (docs/wire.md): many sessions in a frame, many frames under way. */
#define _GNU_SOURCE
#include "load.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* Append the head of a frame of `size` bytes; its payload is appended next and then masked. */
static void begin_frame(bytes *to, int kind, uint64_t size) {
    uint8_t head[10] = {(uint8_t)(0x80 | kind)};
    int wide = size < 126 ? 0 : size < 65536 ? 2 : 8;
    head[1] = (uint8_t)(0x80 | (wide == 0 ? size : wide == 2 ? 126 : 127));
    for (int i = 0; i < wide; i++) head[2 + i] = (uint8_t)(size >> 8 * (wide - 1 - i));
    append(to, head, (size_t)(2 + wide));
}

static void end_frame(bytes *to, size_t size) { /* the last `size` bytes are its payload, four before it the key */
    static uint32_t key;
    key = key * 1664525u + 1013904223u;
    char *at = to->at + to->size - size;
    memcpy(at - 4, &key, 4);
    const uint64_t twice = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (uint64_t word; i + 8 <= size; i += 8) {
        memcpy(&word, at + i, 8);
        word ^= twice;
        memcpy(at + i, &word, 8);
    }
    for (; i < size; i++) at[i] ^= (char)(key >> 8 * (i & 3));
}

static void send_frame(conn *c, int kind, const void *payload, size_t size) {
    begin_frame(&c->out, kind, size);
    append(&c->out, "key!", 4);
    append(&c->out, payload, size);
    end_frame(&c->out, size);
}

static uint32_t session_of(const conn *c, uint32_t index) { return c->index * asked.sessions + index; }

static void greet(conn *c) {
    c->steps = calloc(asked.sessions / asked.items, sizeof *c->steps);
    c->channels = calloc(asked.sessions, sizeof *c->channels);
    appendf(&c->out,
            "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            asked.path);
}

static void request(lane *l) {
    conn *c = l->conn;
    const uint32_t n = asked.items, T = asked.length, F = pool.features;
    l->group = c->next_group++ % (asked.sessions / n);
    l->step = c->steps[l->group];
    c->steps[l->group] += T;
    const size_t size = 8 + 16 * (size_t)n + 4 * (size_t)F * T * n;
    begin_frame(&c->out, BINARY, size);
    append(&c->out, "key!", 4);
    append(&c->out, &l->id, 4);
    append(&c->out, &n, 4);
    append(&c->out, c->channels + l->group * n, 4 * n);
    for (uint32_t i = 0; i < n; i++) append(&c->out, &T, 4);
    for (uint32_t i = 0; i < n; i++) append(&c->out, &l->step, 8);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t t = 0; t < T; t++) {
            const uint32_t row = row_of(session_of(c, l->group * n + i), l->step + t);
            append(&c->out, pool.values + (size_t)row * F, 4 * F);
        }
    end_frame(&c->out, size);
}

static void opened(conn *c, const char *text, size_t size) {
    const char *id = memmem(text, size, "\"id\":", 5), *channel = memmem(text, size, "\"channel\":", 10);
    const char *created = memmem(text, size, "\"created\":true", 14);
    if (!id || !channel || !created) die("not a session of its own: %.*s", (int)size, text);
    c->channels[strtoul(id + 5, NULL, 10) % asked.sessions] = (uint32_t)strtoul(channel + 10, NULL, 10);
    if (++c->opened == asked.sessions) ready(c);
}

static void take_handshake(conn *c) {
    c->greeted = true;
    for (uint32_t i = 0; i < asked.sessions; i++) {
        c->channels[i] = i + 1;
        char text[512];
        if (asked.bare) continue;
        int size = snprintf(text, sizeof text, "{\"id\":%u,\"open\":{\"model\":\"%s\",\"session\":\"%s%u\"}}", i,
                            asked.model, asked.prefix, session_of(c, i));
        send_frame(c, TEXT, text, (size_t)size);
    }
    if (asked.bare) ready(c);
}

static void take_answer(conn *c, const char *payload, size_t size) {
    uint32_t head[2];
    memcpy(head, payload, 8);
    lane *l = c->lanes + head[0];
    const uint32_t n = asked.items, T = asked.length;
    if (head[0] >= asked.window || !l->busy) die("an answer to no frame: id %u", head[0]);
    const size_t outputs = 8 + 16 * (size_t)n;
    bool right = head[1] == n && size > outputs && (size - outputs) % (4 * (size_t)n * T) == 0 &&
                 !memcmp(payload + 8, c->channels + l->group * n, 4 * n);
    const uint32_t each = (uint32_t)((size - outputs) / n);
    for (uint32_t i = 0; i < n && right && !asked.bare; i++) {
        uint32_t length;
        uint64_t step;
        memcpy(&length, payload + 8 + 4 * n + 4 * i, 4);
        memcpy(&step, payload + 8 + 8 * n + 8 * i, 8);
        right = length == T && step == l->step + T;
        const uint32_t session = session_of(c, l->group * n + i);
        if (sampled(session, l->step)) sample(session, l->step, payload + outputs + (size_t)i * each, each);
    }
    if (!right && !asked.bare) die("an answer that does not fit its frame, connection %u, frame %u", c->index, head[0]);
    answered(l, n * T, false);
}

static bool take(conn *c) {
    const uint8_t *at = (const uint8_t *)c->in.at + c->in.from;
    const size_t there = c->in.size - c->in.from;
    if (!c->greeted) {
        const char *end = memmem(at, there, "\r\n\r\n", 4);
        if (!end) return false;
        if (memcmp(at, "HTTP/1.1 101", 12)) die("no WebSocket: %.*s", (int)(there < 900 ? there : 900), (char *)at);
        consume(&c->in, (size_t)(end + 4 - (const char *)at));
        take_handshake(c);
        return true;
    }
    if (there < 2) return false;
    const size_t wide = (at[1] & 127) < 126 ? 0 : (at[1] & 127) == 126 ? 2 : 8;
    size_t size = wide ? 0 : at[1] & 127;
    if (there < 2 + wide) return false;
    for (size_t i = 0; i < wide; i++) size = size << 8 | at[2 + i];
    if (there < 2 + wide + size) {
        reserve(&c->in, 2 + wide + size - there);
        return false;
    }
    const char *payload = (const char *)at + 2 + wide;
    switch (at[0] & 15) {
    case BINARY: take_answer(c, payload, size); break;
    case PING: send_frame(c, PONG, payload, size); break;
    case TEXT:
        if (c->opened < asked.sessions && !memmem(payload, size, "\"error\"", 7)) {
            opened(c, payload, size);
            break;
        } /* fall through */
    default: die("the server says: %.*s", (int)(size < 900 ? size : 900), payload);
    }
    consume(&c->in, 2 + wide + size);
    return true;
}

const door stream = {greet, request, take};
