/* A WebSocket load generator: one thread, one epoll set, against a server on 127.0.0.1.

       load MODE PORT [name=value ...]

   storm    n clients connect to /echo, `burst` at a time
   idle     n clients of `role` 0 (/echo) or 1 (/sub) stay for `time`, and answer pings
   echo     n clients send `size` bytes to /echo and wait for them, again and again
   fanout   n clients of /sub, and one of /pub that keeps `window` messages of `size` bytes on their way to all;
            with stalled=k, k clients stop reading after `time`, and the others are watched for `stall` more

   Times are milliseconds; `warm` passes before anything is measured. `pids` are the server's processes,
   the parent of the others first.
   What was seen goes to standard output, as one JSON object. */

#define _GNU_SOURCE
#include <signal.h>

#include "client.h"
#include "measure.h"

enum { SCRATCH = 1 << 18, RING = 1 << 14, FIRST_NUMBER = 10000000 };
static int n = 1, size = 64, window = 1, stalled, burst = 64, role, spin = 1, warm, duration, stall;
static struct client *clients, *publisher;
static int total, opened, started;
static u64 messages, wrong, published, measured_from, stalled_at;
static u64 sent_at[RING];
static int missing[RING], in_flight, readers; /* deliveries of each message that are still to come */
static int is_running, is_measuring;
static unsigned char scratch[SCRATCH];
static char echoed[MAX_SIZE];

static void publish(void) {
    char text[MAX_SIZE + 128];
    int head = sprintf(text, "{\"type\":\"chat.message\",\"seq\":%llu,\"user\":\"alice\",\"text\":\"",
                       (unsigned long long)(FIRST_NUMBER + published));
    int fill = size - head - 2 > 0 ? size - head - 2 : 1;
    memset(text + head, 'x', (size_t)fill);
    memcpy(text + head + fill, "\"}", 2);
    sent_at[published % RING] = now();
    missing[published % RING] = readers;
    published++;
    in_flight++;
    write_frame(publisher, 1, text, (size_t)(head + fill + 2));
}

static void received_echo(struct client *client, const unsigned char *payload, size_t length, u64 time) {
    if (length != (size_t)size || memcmp(payload, echoed, length))
        wrong++;
    if (is_measuring) {
        messages++;
        record(time - client->began);
    }
    if (is_running) {
        client->began = now();
        write_frame(client, 1, echoed, (size_t)size);
    }
}

static void received_delivery(struct client *client, const unsigned char *payload, size_t length, u64 time) {
    const char *found = memmem(payload, length, "\"seq\":", 6);
    if (!found) {
        wrong++;
        return;
    }
    u64 number = strtoull(found + 6, NULL, 10) - FIRST_NUMBER; /* the text goes on behind it */
    if (number != client->expected)
        wrong++;
    client->expected = number + 1;
    if (client < clients + stalled)
        return; /* one of those that are going to stop */
    if (is_measuring) {
        messages++;
        if (number >= measured_from)
            record(time - sent_at[number % RING]);
    }
    if (--missing[number % RING] == 0)
        in_flight--;
}

static void received(struct client *client, int opcode, unsigned char *payload, size_t length, u64 time) {
    if (opcode == 8)
        end(client);
    else if (opcode == 9)
        write_frame(client, 10, payload, length);
    else if (opcode == 1 || opcode == 2)
        (client->role == ECHO ? received_echo : received_delivery)(client, payload, length, time);
}

static size_t answered(struct client *client, unsigned char *data, size_t length, u64 time) {
    unsigned char *head = memmem(data, length, "\r\n\r\n", 4);
    if (!head)
        return 0;
    if (memcmp(data, "HTTP/1.1 101", 12))
        fail("the handshake was answered with: %.200s", data);
    client->state = OPEN;
    opened++;
    record(time - client->began);
    return (size_t)(head + 4 - data);
}

static void readable(struct client *client, u64 time) {
    size_t length = client->left, done = 0, frame, header;
    memcpy(scratch, client->rest, length);
    ssize_t got = recv(client->fd, scratch + length, SCRATCH - length - 1, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            end(client);
        return;
    }
    length += (size_t)got;
    scratch[length] = 0;
    if (client->state == HANDSHAKE)
        done = answered(client, scratch, length, time);
    while (client->state == OPEN && (frame = whole_frame(scratch + done, length - done, &header))) {
        received(client, scratch[done] & 15, scratch + done + header, frame - header, time);
        done += frame;
    }
    client->left = length - done;
    if (client->left) {
        client->rest = realloc(client->rest, client->left);
        memcpy(client->rest, scratch + done, client->left);
    }
}

static void look(int timeout) {
    struct epoll_event events[512];
    int count = epoll_wait(epoll, events, 512, timeout);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if (client->state == CONNECTING)
            connected(client);
        else if (client->stalled)
            end(client); /* only errors are told of it */
        else if (client->state != OVER)
            readable(client, now());
    }
}

static void connect_all(int is_fanout) {
    u64 deadline = now() + 60000000000u;
    while (opened < total) {
        while (started < total && started - opened < burst) {
            struct client *client = &clients[started];
            start(client, client == publisher ? PUB : is_fanout ? SUB : (enum role)role, started < stalled);
            started++;
        }
        look(100);
        if (ended)
            fail("a connection ended while others connected, %d of %d were open", opened, total);
        if (now() > deadline)
            fail("only %d of %d connections within a minute", opened, total);
    }
}

static void run_for(int milliseconds) {
    u64 until = now() + (u64)milliseconds * 1000000u;
    while (now() < until) {
        while (publisher && is_running && in_flight < window && publisher->state == OPEN)
            publish();
        look(spin && is_running ? 0 : 10);
    }
}

static double per(double value, u64 count) { return count ? value / (double)count : 0; }

static void measure(void) {
    is_measuring = 1;
    measured_from = published;
    messages = 0;
    forget_latencies();
    u64 began = now(), cpu = cpu_time(), parent = parent_cpu_time();
    run_for(duration);
    double seconds = (double)(now() - began) / 1e9, used = (double)(cpu_time() - cpu);
    printf(",\"parent_us\":%.3f", per((double)(parent_cpu_time() - parent) / 1e3, messages));
    printf(",\"messages\":%llu,\"rate\":%.1f,\"cpu_us\":%.3f,\"cpu_share\":%.5f", (unsigned long long)messages,
           (double)messages / seconds, per(used / 1e3, messages), used / 1e9 / seconds);
    if (recorded)
        printf(",\"p50_us\":%.1f,\"p99_us\":%.1f", quantile(0.5) / 1e3, quantile(0.99) / 1e3);
}

static void stop_reading(void) {
    double rate = (double)messages / duration, memory = resident(), most = memory;
    for (int i = 0; i < stalled; i++) {
        clients[i].stalled = 1;
        watch(&clients[i], EPOLL_CTL_MOD, 0);
    }
    stalled_at = now();
    messages = 0;
    for (int passed = 0; passed < stall; passed += 500) {
        run_for(500);
        most = resident() > most ? resident() : most;
    }
    double then = (double)messages / ((double)(now() - stalled_at) / 1e6);
    printf(",\"kept\":%.4f,\"resets\":%d,\"reset_after_s\":%.2f,\"grown_kib\":%.0f", rate ? then / rate : 0, resets,
           resets ? (double)(last_reset - stalled_at) / 1e9 : 0, most - memory);
}

static void read_options(int count, char **options) {
    const struct { const char *name; int *value; } known[] = {
        {"n", &n}, {"size", &size}, {"window", &window}, {"stalled", &stalled}, {"burst", &burst}, {"role", &role},
        {"spin", &spin}, {"warm", &warm}, {"time", &duration}, {"stall", &stall}};
    for (int i = 0; i < count; i++) {
        char *value = strchr(options[i], '=');
        size_t found = 0;
        if (!value)
            fail("options are name=value, not %s", options[i]);
        *value++ = 0;
        if (!strcmp(options[i], "pids")) {
            read_pids(value);
            continue;
        }
        while (found < sizeof known / sizeof *known && strcmp(known[found].name, options[i]))
            found++;
        if (found == sizeof known / sizeof *known)
            fail("there is no option %s", options[i]);
        *known[found].value = atoi(value);
    }
    if (n < 1 || size < 1 || size > MAX_SIZE || window < 1 || window > RING || stalled < 0 || stalled >= n || burst < 1 ||
        role < ECHO || role > SUB)
        fail("accepted are n, burst >= 1, size 1 to %d, window 1 to %d, stalled below n, role 0 or 1", MAX_SIZE, RING);
}

int main(int count, char **arguments) {
    if (count < 3)
        fail("usage: load MODE PORT [name=value ...]");
    const char *mode = arguments[1];
    int is_fanout = !strcmp(mode, "fanout"), is_echo = !strcmp(mode, "echo");
    port = atoi(arguments[2]);
    read_options(count - 3, arguments + 3);
    signal(SIGPIPE, SIG_IGN);
    alarm((unsigned)(warm + duration + stall) / 1000 + 90);
    total = n + is_fanout;
    readers = n - stalled;
    clients = calloc((size_t)total, sizeof *clients);
    publisher = is_fanout ? &clients[n] : NULL;
    epoll = epoll_create1(0);
    for (int i = 0; i < size; i++)
        echoed[i] = (char)('a' + i % 26);

    double before = resident();
    u64 began = now(), cpu = cpu_time();
    connect_all(is_fanout);
    double seconds = (double)(now() - began) / 1e9, used = (double)(cpu_time() - cpu);
    printf("{\"connects\":%.1f,\"connect_cpu_us\":%.2f", total / seconds, used / 1e3 / total);
    printf(",\"connect_p50_ms\":%.3f,\"connect_p99_ms\":%.3f", quantile(0.5) / 1e6, quantile(0.99) / 1e6);
    run_for(400); /* let the server come to rest */
    printf(",\"kib\":%.2f", (resident() - before) / total);
    is_running = is_fanout || is_echo;
    for (int i = 0; is_echo && i < n; i++) {
        clients[i].began = now();
        write_frame(&clients[i], 1, echoed, (size_t)size);
    }
    if (strcmp(mode, "storm")) {
        run_for(warm);
        measure();
        if (stalled)
            stop_reading();
    }
    printf(",\"lost\":%d,\"wrong\":%llu}\n", ended, (unsigned long long)wrong);
    return 0;
}
