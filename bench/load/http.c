/* HTTP/1.1 keep-alive with JSON bodies: steps of one session a connection, or predicts; or raw ones of /v2. */
#define _GNU_SOURCE
#include "load.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bytes body; /* of the request that is being written */
static size_t header; /* bytes of JSON in a raw one */

static void post(conn *c, const char *path, uint32_t session) {
    appendf(&c->out, "POST ");
    const char *number = strchr(path, '#'); /* where the session's name goes */
    if (number)
        appendf(&c->out, "%.*s%s%u%s", (int)(number - path), path, asked.prefix, session, number + 1);
    else
        appendf(&c->out, "%s", path);
    appendf(&c->out, " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n", body.size);
    if (asked.raw) appendf(&c->out, "Inference-Header-Content-Length: %zu\r\n", header);
    append(&c->out, "\r\n", 2);
    append(&c->out, body.at, body.size);
    body.size = 0;
}

static void greet(conn *c) {
    if (!asked.open) {
        ready(c);
        return;
    }
    appendf(&body, "{\"id\":\"%s%u\"}", asked.prefix, c->index);
    post(c, asked.open, c->index);
}

static void infer(lane *l) {
    const size_t row_size = pool.features * sizeof(float);
    appendf(&body, "{\"inputs\":[{\"name\":\"input\",\"shape\":[1,%u,%u],\"datatype\":\"FP32\",\"parameters\":"
                   "{\"binary_data_size\":%zu}}],\"parameters\":{\"binary_data_output\":true}}",
            asked.length, pool.features, asked.length * row_size);
    header = body.size;
    for (uint32_t t = 0; t < asked.length; t++)
        append(&body, pool.values + (size_t)row_of(l->conn->index, l->step + t) * pool.features, row_size);
    post(l->conn, asked.path, l->conn->index);
}

static void request(lane *l) {
    if (asked.raw) {
        infer(l);
        return;
    }
    appendf(&body, asked.predict ? "{\"sequences\":[[" : "{\"inputs\":[");
    for (uint32_t t = 0; t < asked.length; t++) {
        uint32_t row = row_of(l->conn->index, l->step + t);
        if (t) append(&body, ",", 1);
        append(&body, pool.text + pool.offsets[row], pool.offsets[row + 1] - pool.offsets[row]);
    }
    if (asked.predict)
        appendf(&body, "]]}");
    else
        appendf(&body, "],\"step\":%llu}", (unsigned long long)l->step);
    post(l->conn, asked.path, l->conn->index);
}

static size_t content_length(const char *head, const char *end) {
    for (const char *line = head; line && line < end; line = memmem(line, (size_t)(end - line), "\r\n", 2)) {
        if (*line == '\r') line += 2;
        if (!strncasecmp(line, "content-length:", 15)) return strtoull(line + 15, NULL, 10);
    }
    die("an answer without Content-Length:\n%.*s", (int)(end - head), head);
}

static bool take(conn *c) {
    const char *head = c->in.at + c->in.from;
    const size_t there = c->in.size - c->in.from;
    const char *end = memmem(head, there, "\r\n\r\n", 4);
    if (!end) return false;
    const size_t length = content_length(head, end), whole = (size_t)(end + 4 - head) + length;
    if (there < whole) return false;
    const int status = atoi(head + 9);
    lane *l = c->lanes;
    const bool refused = status == 503 && asked.refusals && c->ready;
    if (status / 100 != 2 && !refused) die("%.*s", (int)(whole < 900 ? whole : 900), head);
    if (c->ready && !refused && sampled(c->index, l->step)) sample(c->index, l->step, end + 4, (uint32_t)length);
    consume(&c->in, whole);
    if (c->ready) {
        if (!refused) l->step += asked.length;
        answered(l, asked.length, refused);
    } else {
        ready(c);
    }
    return true;
}

const door http = {greet, request, take};
