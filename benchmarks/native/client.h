/* One client's connection: the socket, its opening request, and frames out and in. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

enum state { CONNECTING, HANDSHAKE, OPEN, OVER };
enum role { ECHO, SUB, PUB };
static const char *const paths[] = {"/echo", "/sub", "/pub"};

struct client {
    int fd;
    enum state state;
    enum role role;
    int stalled;
    u64 began;    /* of what it is waiting for */
    u64 expected; /* the next message's number */
    size_t left;  /* bytes of an incomplete frame */
    unsigned char *rest;
};

enum { MAX_SIZE = 4000 };
static int port, epoll;
static int ended, resets; /* of those that read, and of those that do not */
static u64 last_reset;

static void end(struct client *client) {
    if (client->state == OVER)
        return;
    client->state = OVER;
    close(client->fd);
    if (client->stalled) {
        resets++;
        last_reset = now();
    } else
        ended++;
}

static void write_all(struct client *client, const void *data, size_t length) {
    const char *bytes = data;
    while (length && client->state != OVER) {
        ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN)
            poll(&(struct pollfd){client->fd, POLLOUT, 0}, 1, 1000);
        else
            end(client);
    }
}

static void write_frame(struct client *client, int opcode, const void *payload, size_t length) {
    static const unsigned char mask[4] = {0x5a, 0xa5, 0x3c, 0xc3};
    unsigned char frame[MAX_SIZE + 16], *to = frame;
    *to++ = (unsigned char)(0x80 | opcode);
    if (length < 126)
        *to++ = (unsigned char)(0x80 | length);
    else {
        *to++ = 0x80 | 126;
        *to++ = (unsigned char)(length >> 8);
        *to++ = (unsigned char)length;
    }
    memcpy(to, mask, 4);
    to += 4;
    for (size_t i = 0; i < length; i++)
        to[i] = ((const unsigned char *)payload)[i] ^ mask[i & 3];
    write_all(client, frame, (size_t)(to - frame) + length);
}

/* How many bytes the first frame has, header included; 0 while it is incomplete. */
static size_t whole_frame(unsigned char *data, size_t length, size_t *header) {
    if (length < 2)
        return 0;
    size_t payload = data[1] & 127;
    *header = payload == 126 ? 4 : 2;
    if (payload == 127)
        fail("a frame of more than 64 KiB");
    if (length < *header)
        return 0;
    if (payload == 126)
        payload = (size_t)data[2] << 8 | data[3];
    return length < *header + payload ? 0 : *header + payload;
}

static void watch(struct client *client, int operation, uint32_t events) {
    epoll_ctl(epoll, operation, client->fd, &(struct epoll_event){events, {.ptr = client}});
}

static void start(struct client *client, enum role as, int is_small) {
    int one = 1, small = 4096;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->role = as;
    client->began = now();
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0)
        fail("no socket: %s", strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* A reset at the end leaves no TIME_WAIT behind. */
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    if (is_small)
        setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connecting failed: %s", strerror(errno));
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void connected(struct client *client) {
    char request[400];
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
    client->state = HANDSHAKE;
    int length = sprintf(request,
                         "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                         paths[client->role], port);
    write_all(client, request, (size_t)length);
}
