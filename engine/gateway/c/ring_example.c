/*
 * ring_example.c: fills through the shared-memory ring, one session. What to do after a break is the same as over
 * a socket: example.c shows it.
 *
 *   gcc -std=c99 -O2 -o ring_example ring_example.c
 *   ./ring_example /dev/shm/godark.ring FIRST_SEQ < fills.csv
 *
 * Input as in example.c. Polls without pause: meant for a core of its own. Exit: 0 all durable, 1 a fault or bad
 * input, 2 no engine, or silence for PATIENCE_S.
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "godark_ring.h"

enum { BATCH = 256, PATIENCE_S = 30 };

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* On one core for both ends, spinning would keep the other from running: give way when nothing came. */
static void give_way(void) {
    struct timespec none = {0, 1000};
    nanosleep(&none, NULL);
}

/* Take what came; *durable and *welcomed follow. 0 to go on, else the exit status. */
static int take(gd_ring *ring, int64_t *durable, int *welcomed) {
    gd_frame said[64];
    int over = gd_ring_ended(ring);
    int64_t count = gd_ring_receive(ring, said, 64), k;
    for (k = 0; k < count; k++) {
        const gd_frame *f = &said[k];
        if (gd_check(f) != GD_FAULT_NONE) return 1;
        if (f->ack.template_id == GD_TEMPLATE_ACK) {
            *durable = f->ack.durable_seq;
        } else if (f->ack.template_id == GD_TEMPLATE_WELCOME) {
            *durable = f->welcome.last_seq;
            *welcomed = 1;
            printf("welcome last_seq=%" PRId64 " epoch=%" PRId32 "\n", *durable, f->welcome.epoch);
        } else if (f->ack.template_id == GD_TEMPLATE_FAULT) {
            printf("fault %s\n", gd_fault_name(f->fault.code));
            if (f->fault.code != GD_FAULT_DUPLICATE_UNVERIFIED) return 1;
        }
    }
    if (count == 0) {
        if (over) return 2;
        give_way();
    }
    return 0;
}

/* The next batch of the log, sealed, without what is durable. Returns how many; -1 for a line that is none. */
static int64_t read_batch(gd_frame *out, int64_t *seq, int64_t durable) {
    int64_t made = 0;
    while (made < BATCH) {
        int market;
        int64_t time_ns, trade_id, price, size;
        int32_t maker, taker;
        int fields = scanf("%d,%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd64 ",%" SCNd32 ",%" SCNd32, &market,
                           &time_ns, &trade_id, &price, &size, &maker, &taker);
        if (fields == EOF) break;
        if (fields != 7) return -1;
        if (*seq > durable) {
            gd_fill_encode(&out[made++], *seq, market, time_ns, trade_id, price, size, maker, taker);
        }
        ++*seq;
    }
    return made;
}

static int run(gd_ring *ring, int64_t seq) {
    static gd_frame batch[BATCH];
    gd_frame hello;
    int64_t durable = 0, heard = -1, made = 0, sent = 0;
    int welcomed = 0, ended = 0, status = 0;
    double deadline = now_s() + PATIENCE_S;
    while (!gd_ring_opened(ring)) {
        if (now_s() > deadline || !gd_ring_engine_lives(ring)) return 2;
        give_way();
    }
    gd_hello_encode(&hello, GD_SOURCE_MATCHING, 0, GD_NO_OUTPUTS);
    if (gd_ring_send(ring, &hello, 1) != 1) return 2;
    while (status == 0) {
        if (welcomed && sent == made && !ended) {
            sent = 0;
            made = read_batch(batch, &seq, durable);
            if (made < 0) return 1;
            ended = made < BATCH;
        }
        if (sent < made) sent += gd_ring_send(ring, batch + sent, made - sent);
        status = take(ring, &durable, &welcomed);
        if (welcomed && ended && sent == made && durable >= seq - 1) break;
        if (durable != heard) {
            heard = durable;
            deadline = now_s() + PATIENCE_S;
        } else if (now_s() > deadline) {
            return 2;
        }
    }
    printf("durable %" PRId64 "\n", durable);
    return status;
}

int main(int argc, char **argv) {
    gd_ring ring;
    int status;
    if (argc != 3) {
        fprintf(stderr, "usage: ring_example RING FIRST_SEQ < fills.csv\n");
        return 1;
    }
    if (gd_ring_attach(&ring, argv[1]) != 0) {
        perror(argv[1]);
        return 2;
    }
    status = run(&ring, strtoll(argv[2], NULL, 10));
    gd_ring_detach(&ring);
    return status;
}
