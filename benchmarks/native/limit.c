/* The physical limit that the other servers are measured against: one thread, one epoll set, one `send` per message and
   member, and nothing else. It is no WebSocket server: it believes everything, and answers every handshake as if it had
   the sample key of RFC 6455, which the load generator sends.

       limit PORT */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum role { NEW, ECHO, SUB, PUB };

struct client {
    int fd;
    enum role role;
    int place;   /* in `members` */
    size_t left; /* bytes of an incomplete frame */
    unsigned char *rest;
};

enum { MAX_MEMBERS = 20000, SCRATCH = 1 << 17 };
static struct client *members[MAX_MEMBERS];
static int member_count, epoll;
static unsigned char scratch[SCRATCH], out[SCRATCH];
static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void drop(struct client *client) {
    if (client->role == SUB) {
        members[client->place] = members[--member_count];
        members[client->place]->place = client->place;
    }
    close(client->fd);
    free(client->rest);
    free(client);
}

static size_t framed(const unsigned char *payload, size_t length) {
    size_t header = length < 126 ? 2 : 4;
    out[0] = 0x81;
    if (length < 126)
        out[1] = (unsigned char)length;
    else {
        out[1] = 126;
        out[2] = (unsigned char)(length >> 8);
        out[3] = (unsigned char)length;
    }
    memcpy(out + header, payload, length);
    return header + length;
}

static void received(struct client *client, const unsigned char *payload, size_t length) {
    size_t size = framed(payload, length);
    if (client->role == ECHO)
        send(client->fd, out, size, MSG_NOSIGNAL);
    for (int i = member_count; client->role == PUB && i-- > 0;)
        if (send(members[i]->fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
            shutdown(members[i]->fd, SHUT_RDWR); /* half a message: it is of no use any more */
}

static size_t handshake(struct client *client, unsigned char *data, size_t length) {
    unsigned char *head = memmem(data, length, "\r\n\r\n", 4);
    if (!head)
        return 0;
    client->role = !memcmp(data, "GET /sub", 8) ? SUB : !memcmp(data, "GET /pub", 8) ? PUB : ECHO;
    if (client->role == SUB && member_count < MAX_MEMBERS) {
        client->place = member_count;
        members[member_count++] = client;
    }
    send(client->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
    return (size_t)(head + 4 - data);
}

/* The first frame, unmasked in place; how many bytes it takes up, 0 while it is incomplete. */
static size_t whole_frame(unsigned char *data, size_t available, unsigned char **payload, size_t *length) {
    if (available < 6)
        return 0;
    size_t header = 6;
    *length = data[1] & 127;
    if (*length == 126) {
        header = 8;
        *length = (size_t)data[2] << 8 | data[3];
    }
    if (available < header + *length)
        return 0;
    unsigned char *mask = data + header - 4;
    *payload = data + header;
    for (size_t i = 0; i < *length; i++)
        (*payload)[i] ^= mask[i & 3];
    return header + *length;
}

static void readable(struct client *client) {
    size_t available = client->left, done = 0, frame, length;
    unsigned char *payload;
    memcpy(scratch, client->rest, available);
    ssize_t got = recv(client->fd, scratch + available, SCRATCH - available, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(client);
        return;
    }
    available += (size_t)got;
    if (client->role == NEW)
        done = handshake(client, scratch, available);
    while (client->role != NEW && (frame = whole_frame(scratch + done, available - done, &payload, &length))) {
        if ((scratch[done] & 15) == 8) {
            drop(client);
            return;
        }
        received(client, payload, length);
        done += frame;
    }
    client->left = available - done;
    if (client->left) {
        client->rest = realloc(client->rest, client->left);
        memcpy(client->rest, scratch + done, client->left);
    }
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *client = calloc(1, sizeof *client);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        client->fd = fd;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.ptr = client}});
    }
}

int main(int count, char **arguments) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((uint16_t)(count > 1 ? atoi(arguments[1]) : 0));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("limit");
        return 1;
    }
    epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){EPOLLIN, {.ptr = NULL}});
    for (;;) {
        struct epoll_event events[512];
        int ready = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr)
                readable(events[i].data.ptr);
            else
                accept_all(listener);
    }
}
