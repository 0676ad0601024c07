/* What is counted, and what is kept for the checker. */
#include "load.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { FINE = 64, EARLY = 2, ONE_IN = 50 }; /* buckets an octave: 1.6 % wide */

typedef struct {
    uint64_t total, most, buckets[64 * FINE];
} histogram;

static histogram answers, refusals;
static uint64_t steps, all_answers, all_steps, sampled_steps, since, until, first, last;
static double cpu_first;
static FILE *kept;

uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void add(histogram *to, uint64_t ns) {
    int octave = 63 - __builtin_clzll(ns | FINE);
    to->buckets[(octave - 5) * FINE + (int)(ns >> (octave - 6) & (FINE - 1))]++;
    to->total++;
    if (ns > to->most) to->most = ns;
}

static double quantile(const histogram *of, double share) { /* ms, the middle of its bucket */
    uint64_t wanted = (uint64_t)ceil(share * (double)of->total), seen = 0;
    for (int i = 0; i < 64 * FINE && of->total; i++) {
        seen += of->buckets[i];
        if (seen >= wanted && of->buckets[i]) return 1e-6 * ldexp(FINE + i % FINE + 0.5, i / FINE - 1);
    }
    return 0;
}

void tally_between(uint64_t from, uint64_t to) {
    since = from;
    until = to;
}

void tally(uint64_t begun, uint32_t of_steps, bool refused) {
    uint64_t at = now();
    if (!refused) all_answers++, all_steps += of_steps;
    if (begun <= until && at >= since) add(refused ? &refusals : &answers, at - begun); /* a stall over either end too */
    if (at < since || at > until) return;
    if (!first) first = at, cpu_first = cpu();
    last = at;
    if (!refused) steps += of_steps;
}

bool sampled(uint32_t session, uint64_t step) {
    if (!asked.samples) return false;
    uint64_t sessions = (uint64_t)asked.connections * asked.sessions;
    uint32_t one_in = sessions < ONE_IN ? (uint32_t)sessions : ONE_IN;
    return session % one_in == asked.witness % one_in || step < EARLY * (uint64_t)asked.length;
}

void sample(uint32_t session, uint64_t step, const void *answer, uint32_t size) {
    if (!kept && !(kept = fopen(asked.samples, "wb"))) die("%s: cannot be written", asked.samples);
    struct {
        uint64_t step;
        uint32_t session, size;
    } head = {step, session, size};
    fwrite(&head, sizeof head, 1, kept);
    fwrite(answer, size, 1, kept);
    sampled_steps += asked.length;
}

static void quantiles(const char *name, const histogram *of) {
    printf(",\"%s\":%llu", name, (unsigned long long)of->total);
    for (int p = 0; p < 3; p++) {
        static const double shares[] = {0.5, 0.95, 0.99};
        printf(",\"%s_p%.0f\":%.6f", name, 100 * shares[p], quantile(of, shares[p]));
    }
    printf(",\"%s_max\":%.6f", name, 1e-6 * (double)of->most);
}

void report(double opening) {
    if (kept && fclose(kept)) die("%s: cannot be written", asked.samples);
    uint64_t end = until == UINT64_MAX ? last : until;
    printf("{\"opening\":%.6f,\"seconds\":%.6f,\"steps\":%llu", opening, 1e-9 * (double)(end - since),
           (unsigned long long)steps);
    printf(",\"all_answers\":%llu,\"all_steps\":%llu,\"sampled_steps\":%llu,\"busy\":%.6f",
           (unsigned long long)all_answers, (unsigned long long)all_steps, (unsigned long long)sampled_steps,
           1e9 * (cpu() - cpu_first) / (double)(now() - first));
    quantiles("answers", &answers);
    quantiles("refusals", &refusals);
    puts("}");
}
