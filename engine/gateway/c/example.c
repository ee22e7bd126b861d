/*
 * example.c: a matching engine's side of a session, in C99 and POSIX sockets.
 *
 *   gcc -std=c99 -O2 -o example example.c
 *   ./example ADDRESS FIRST_SEQ [LAST_OUTPUT] < fills.csv
 *
 * ADDRESS: the path of a Unix socket, or host:port (numbers). Each line of the input is one fill,
 * market,time_ns,trade_id,price,size,maker,taker, all integers; the first line has sequence number FIRST_SEQ.
 * The input is the log that a matching engine keeps: what the engine already has durably is passed over, so
 * the same command may be run again at any time. Everything heard goes to stdout, one line each. Exit: 0 all
 * durable, 1 a fault that repeating does not mend or bad input, 2 no engine within PATIENCE_S.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "godark.h"

enum { BATCH = 256, WINDOW = 8192, RECEIVE = 512, PATIENCE_S = 30, PAUSE_MS = 50 };

enum outcome { GOES_ON, BROKEN, FATAL };

struct client {
    const char *address;
    int socket;
    int64_t first_seq;   /* of the log's first line */
    int64_t read;        /* lines of the log read so far: frames first_seq .. first_seq + read - 1 */
    int64_t sent;        /* highest seq sent in this connection */
    int64_t durable;     /* highest seq known to be durable */
    int64_t last_output; /* number of the last output received */
    int ended;           /* no more lines */
    gd_frame unacked[WINDOW]; /* frame seq at seq % WINDOW, until it is durable: resent byte for byte */
    gd_frame received[RECEIVE];
    size_t received_bytes;
};

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int dial(const char *address) {
    const char *colon = strrchr(address, ':');
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_in inet;
    } to;
    socklen_t length;
    int fd;
    memset(&to, 0, sizeof to);
    if (colon != NULL && strchr(address, '/') == NULL) {
        char host[64];
        if ((size_t)(colon - address) >= sizeof host) return -1;
        memcpy(host, address, (size_t)(colon - address));
        host[colon - address] = 0;
        to.inet.sin_family = AF_INET;
        to.inet.sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, host, &to.inet.sin_addr) != 1) return -1;
        length = sizeof to.inet;
    } else {
        if (strlen(address) >= sizeof to.local.sun_path) return -1;
        to.local.sun_family = AF_UNIX;
        memcpy(to.local.sun_path, address, strlen(address) + 1);
        length = sizeof to.local;
    }
    fd = socket(to.any.sa_family, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, &to.any, length) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static enum outcome take_fault(const gd_fault *fault) {
    printf("fault %s source=%d seq=%" PRId64 " expected=%" PRId64 "\n", gd_fault_name(fault->code),
           fault->source, fault->fault_seq, fault->expected_seq);
    switch (fault->code) {
    case GD_FAULT_DUPLICATE_UNVERIFIED: return GOES_ON; /* passed over; the session goes on */
    case GD_FAULT_GAP:                                  /* say hello again, resend from there */
    case GD_FAULT_SOURCE_TAKEN:                         /* our last connection is not quite gone */
    case GD_FAULT_JOURNAL_FULL: return BROKEN;          /* wait for room */
    default: return FATAL;
    }
}

static void take_output(struct client *c, const gd_frame *f) {
    if (f->refusal.seq <= c->last_output) return; /* told twice over a break: take each once */
    c->last_output = f->refusal.seq;
    printf("output %" PRId64 " %s market=%d", f->refusal.seq, gd_template_name(f->refusal.template_id),
           f->refusal.market);
    if (f->refusal.template_id == GD_TEMPLATE_REFUSAL) {
        printf(" reason=%s refused_seq=%" PRId64, gd_refusal_name(f->refusal.reason), f->refusal.refused_seq);
    } else if (f->refusal.template_id == GD_TEMPLATE_FREE_COLLATERAL) {
        printf(" taker=%" PRId32 " free_e6=%" PRId64 " maker=%" PRId32 " free_e6=%" PRId64 " as_of_seq=%" PRId64,
               f->free_collateral.taker, f->free_collateral.taker_free_e6, f->free_collateral.maker,
               f->free_collateral.maker_free_e6, f->free_collateral.as_of_seq);
    }
    printf("\n");
}

static enum outcome take(struct client *c, const gd_frame *f, int *welcomed) {
    if (gd_check(f) != GD_FAULT_NONE) {
        printf("bad frame from the engine: %s\n", gd_fault_name(gd_check(f)));
        return BROKEN;
    }
    if (gd_is_output(f)) {
        take_output(c, f);
    } else if (f->ack.template_id == GD_TEMPLATE_FAULT) {
        return take_fault(&f->fault);
    } else if (f->ack.template_id == GD_TEMPLATE_ACK) {
        c->durable = f->ack.durable_seq; /* one ack stands for all up to it */
        printf("ack %" PRId64 "\n", c->durable);
    } else if (f->ack.template_id == GD_TEMPLATE_WELCOME) {
        printf("welcome last_seq=%" PRId64 " epoch=%" PRId32 "\n", f->welcome.last_seq, f->welcome.epoch);
        if (f->welcome.last_seq < c->durable) return FATAL; /* the engine lost what it acknowledged */
        c->durable = f->welcome.last_seq;
        *welcomed = 1;
    }
    return GOES_ON;
}

/* Take what the engine says, waiting up to wait_ms for the first of it. */
static enum outcome listen_for(struct client *c, int wait_ms, int *welcomed) {
    struct pollfd readable = {c->socket, POLLIN, 0};
    size_t whole, k;
    ssize_t got;
    if (poll(&readable, 1, wait_ms) <= 0) return GOES_ON;
    got = recv(c->socket, (uint8_t *)c->received + c->received_bytes,
               sizeof c->received - c->received_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return GOES_ON;
    if (got <= 0) return BROKEN;
    c->received_bytes += (size_t)got;
    whole = c->received_bytes / GD_FRAME_BYTES;
    for (k = 0; k < whole; k++) {
        enum outcome outcome = take(c, &c->received[k], welcomed);
        if (outcome != GOES_ON) return outcome;
    }
    c->received_bytes -= whole * GD_FRAME_BYTES;
    memmove(c->received, c->received + whole, c->received_bytes);
    return GOES_ON;
}

/*
 * Send all of it. While the engine does not read (its backpressure), listen: it may be waiting for us to take
 * what it has said. At most PATIENCE_S.
 */
static enum outcome send_all(struct client *c, const void *data, size_t length) {
    const uint8_t *at = data;
    double deadline = now_s() + PATIENCE_S;
    int ignored = 0;
    while (length > 0) {
        ssize_t done = send(c->socket, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) {
            at += done;
            length -= (size_t)done;
        } else if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && now_s() < deadline) {
            struct pollfd ready = {c->socket, POLLIN | POLLOUT, 0};
            enum outcome outcome = GOES_ON;
            if (poll(&ready, 1, PAUSE_MS) > 0 && (ready.revents & POLLIN)) {
                outcome = listen_for(c, 0, &ignored);
            }
            if (outcome != GOES_ON) return outcome;
        } else if (!(done < 0 && errno == EINTR)) {
            return BROKEN;
        }
    }
    return GOES_ON;
}

static enum outcome hello(struct client *c) {
    gd_frame frame;
    int welcomed = 0;
    double deadline = now_s() + PATIENCE_S;
    enum outcome outcome;
    c->received_bytes = 0;
    gd_hello_encode(&frame, GD_SOURCE_MATCHING, c->durable, c->last_output);
    outcome = send_all(c, &frame, sizeof frame);
    while (outcome == GOES_ON && !welcomed) {
        if (now_s() > deadline) return BROKEN;
        outcome = listen_for(c, PAUSE_MS, &welcomed);
    }
    c->sent = c->durable; /* whatever is not durable goes again, as it lies in unacked */
    return outcome;
}

/* Read lines of the log until the window is full. Frames are made once and kept until they are durable. */
static int read_ahead(struct client *c) {
    while (!c->ended) {
        int64_t seq = c->first_seq + c->read;
        int market;
        int64_t time_ns, trade_id, price, size;
        int32_t maker, taker;
        if (seq > c->durable + WINDOW || seq > c->sent + BATCH) return 1;
        int fields = scanf("%d,%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd32 ",%" SCNd32, &market,
                           &time_ns, &trade_id, &price, &size, &maker, &taker);
        if (fields == EOF) {
            c->ended = 1;
        } else if (fields != 7) {
            fprintf(stderr, "example: line %" PRId64 " is not seven integers\n", c->read + 1);
            return 0;
        } else {
            gd_fill_encode(&c->unacked[seq % WINDOW], seq, market, time_ns, trade_id, price, size, maker,
                           taker);
            c->read++;
        }
    }
    return 1;
}

/* Send one batch of what was read and is not sent. */
static enum outcome send_batch(struct client *c) {
    int64_t first = c->sent + 1, last = c->first_seq + c->read - 1;
    int64_t until_wrap = WINDOW - first % WINDOW;
    if (first < c->first_seq) {
        printf("the engine has seq %" PRId64 ", the log begins at %" PRId64 "\n", c->sent, c->first_seq);
        return FATAL;
    }
    if (last - first + 1 > BATCH) last = first + BATCH - 1;
    if (last - first + 1 > until_wrap) last = first + until_wrap - 1;
    if (last < first) return GOES_ON;
    c->sent = last;
    return send_all(c, &c->unacked[first % WINDOW], (size_t)(last - first + 1) * GD_FRAME_BYTES);
}

/* One connection: until all is durable (then *done is set), it breaks, or it cannot go on. */
static enum outcome converse(struct client *c, int *done) {
    enum outcome outcome = hello(c);
    int64_t heard = c->durable;
    double silent_since = now_s();
    int ignored = 0;
    while (outcome == GOES_ON) {
        int64_t newest;
        if (!read_ahead(c)) return FATAL;
        newest = c->first_seq + c->read - 1;
        if (c->ended && c->durable >= newest) {
            *done = 1;
            return GOES_ON;
        }
        if (c->sent < newest && c->sent < c->durable + WINDOW - BATCH) outcome = send_batch(c);
        if (outcome == GOES_ON) outcome = listen_for(c, c->sent < newest ? 0 : PAUSE_MS, &ignored);
        if (c->durable != heard) {
            heard = c->durable;
            silent_since = now_s();
        } else if (now_s() - silent_since > PATIENCE_S) {
            outcome = BROKEN; /* frames are out and no ack comes */
        }
    }
    return outcome;
}

int main(int argc, char **argv) {
    static struct client client;
    double deadline = now_s() + PATIENCE_S;
    struct timespec pause = {0, PAUSE_MS * 1000000L};
    int done = 0, turns;
    if (argc < 3) {
        fprintf(stderr, "usage: example ADDRESS FIRST_SEQ [LAST_OUTPUT] < fills.csv\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    client.address = argv[1];
    client.first_seq = strtoll(argv[2], NULL, 10);
    client.last_output = argc > 3 ? strtoll(argv[3], NULL, 10) : 0;
    while (now_s() < deadline) {
        int64_t before = client.durable;
        client.socket = dial(client.address);
        if (client.socket >= 0) {
            enum outcome outcome = converse(&client, &done);
            for (turns = 0; done && turns < 4; turns++) { /* outputs that follow the last ack */
                int ignored = 0;
                if (listen_for(&client, PAUSE_MS, &ignored) != GOES_ON) break;
            }
            close(client.socket);
            if (done) return 0;
            if (outcome == FATAL) return 1;
            printf("connection lost\n");
            if (client.durable > before) deadline = now_s() + PATIENCE_S;
        }
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "example: no engine at %s\n", client.address);
    return 2;
}
