/* The rows that are sent. Which one a session sends at a step is a formula, so that a checker knows it too. */
#include "load.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

rows pool;

/* The file: u32 rows (a power of two), u32 features, f32 values [rows, features], u32 offsets [rows + 1], JSON text. */
void read_pool(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat of;
    if (fd < 0 || fstat(fd, &of)) die("%s: no pool of rows", path);
    const char *at = mmap(NULL, (size_t)of.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED) die("%s: cannot be mapped", path);
    close(fd);
    pool.rows = ((const uint32_t *)at)[0];
    pool.features = ((const uint32_t *)at)[1];
    pool.values = (const float *)(at + 8);
    pool.offsets = (const uint32_t *)(pool.values + (size_t)pool.rows * pool.features);
    pool.text = (const char *)(pool.offsets + pool.rows + 1);
}

uint32_t row_of(uint32_t session, uint64_t step) { /* the same as bench/inputs.py */
    uint32_t x = session * 0x9E3779B1u + (uint32_t)step * 0x85EBCA77u;
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return (x ^ x >> 16) & (pool.rows - 1);
}
