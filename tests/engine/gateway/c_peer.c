/*
 * What the tests ask of godark.h: `c_peer encode` writes one frame of each encoder, `c_peer crc` compares both
 * ways to a CRC, `c_peer say PATH` sends the frames on stdin and tells every answer until the engine hangs up.
 */
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "godark.h"

static void put(const gd_frame *frame) { fwrite(frame, sizeof *frame, 1, stdout); }

static int encode(void) {
    gd_frame frame;
    uint8_t key[32];
    int k;
    for (k = 0; k < 32; k++) key[k] = (uint8_t)(7 * k + 1);
    gd_hello_encode(&frame, GD_SOURCE_MATCHING, 5, GD_NO_OUTPUTS);
    put(&frame);
    gd_fill_encode(&frame, 6, 3, 1700000000000000001, 77, 300000001, -12, 41, 42);
    put(&frame);
    gd_account_encode(&frame, GD_SOURCE_MATCHING, 7, key, 2);
    put(&frame);
    gd_transfer_encode(&frame, GD_SOURCE_API, 8, GD_TRANSFER_KIND_TO_POSITION, 9, 3, 1000001, 4);
    put(&frame);
    gd_observation_encode(&frame, GD_SOURCE_FEEDS, 9, 1, GD_OBSERVATION_KIND_ORACLE, 2, 1700000000000000002,
                          6694030000000, 1234, -8);
    put(&frame);
    return 0;
}

static int crc(void) {
    uint8_t data[200];
    size_t k, from, length;
    for (k = 0; k < sizeof data; k++) data[k] = (uint8_t)(k * k + 3 * k);
    for (from = 0; from < 9; from++) {
        for (length = 0; length + from <= sizeof data; length++) {
            uint32_t whole = gd_crc32c_by_table(0, data + from, length);
            size_t half = length / 3;
            if (gd_crc32c(0, data + from, length) != whole) return 1;
            if (gd_crc32c(gd_crc32c(0, data + from, half), data + from + half, length - half) != whole) return 1;
        }
    }
    printf("%08" PRIx32 "\n", gd_crc32c(0, "123456789", 9));
    return 0;
}

static int say(const char *path) {
    struct sockaddr_un to = {AF_UNIX, {0}};
    struct timeval patience = {10, 0};
    gd_frame frame;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return 2;
    while (fread(&frame, sizeof frame, 1, stdin) == 1) {
        if (send(fd, &frame, sizeof frame, MSG_NOSIGNAL) != (ssize_t)sizeof frame) break;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, &frame, sizeof frame, MSG_WAITALL) == (ssize_t)sizeof frame) {
        if (gd_check(&frame) != GD_FAULT_NONE) return 3;
        printf("%s", gd_template_name(frame.fault.template_id));
        if (frame.fault.template_id == GD_TEMPLATE_FAULT) {
            printf(" %s %" PRId64 " %" PRId64, gd_fault_name(frame.fault.code), frame.fault.fault_seq,
                   frame.fault.expected_seq);
        } else if (frame.ack.template_id == GD_TEMPLATE_ACK) {
            printf(" %" PRId64, frame.ack.durable_seq);
        }
        printf("\n");
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "encode") == 0) return encode();
    if (argc == 2 && strcmp(argv[1], "crc") == 0) return crc();
    if (argc == 3 && strcmp(argv[1], "say") == 0) return say(argv[2]);
    return 64;
}
