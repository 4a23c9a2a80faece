/* Time, latencies, and what the server's processes use. */
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint64_t u64;

static u64 now(void) { /* nanoseconds */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* A histogram with 64 buckets for each power of two: quantiles are right to 2 %. */

enum { FINE = 64 };
static u64 histogram[64 * FINE];
static u64 recorded;

static void record(u64 value) {
    int power = 63 - __builtin_clzll(value | 1);
    u64 bucket = power < 6 ? value : (u64)(power - 5) * FINE + ((value >> (power - 6)) & (FINE - 1));
    histogram[bucket]++;
    recorded++;
}

static void forget_latencies(void) {
    memset(histogram, 0, sizeof histogram);
    recorded = 0;
}

static double quantile(double q) {
    u64 wanted = (u64)(q * (double)recorded), seen = 0;
    for (u64 bucket = 0; bucket < 64 * FINE; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted)
            return bucket < FINE ? (double)bucket : (double)(FINE | (bucket % FINE)) * (double)(1ull << (bucket / FINE - 1));
    }
    return 0;
}

/* The server. */

static int pids[64], pid_count;

static void read_pids(char *list) {
    for (char *pid = strtok(list, ","); pid && pid_count < 64; pid = strtok(NULL, ","))
        pids[pid_count++] = atoi(pid);
}

static u64 cpu_time_of(int count) { /* nanoseconds, of all threads of so many processes */
    u64 total = 0;
    for (int i = 0; i < count; i++) {
        clockid_t clock;
        struct timespec t;
        if (clock_getcpuclockid(pids[i], &clock) == 0 && clock_gettime(clock, &t) == 0)
            total += (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
    }
    return total;
}

static u64 cpu_time(void) { return cpu_time_of(pid_count); }

/* That of the first, where it has others that do the work. */
static u64 parent_cpu_time(void) { return pid_count > 1 ? cpu_time_of(1) : 0; }

static double resident(void) { /* KiB */
    double total = 0;
    for (int i = 0; i < pid_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "/proc/%d/statm", pids[i]);
        FILE *file = fopen(name, "r");
        long size, pages = 0;
        if (file && fscanf(file, "%ld %ld", &size, &pages) == 2)
            total += (double)pages * 4096 / 1024;
        if (file)
            fclose(file);
    }
    return total;
}
