/*
 * godark_ring.h: the producer's end of the shared-memory ring, in C99 with POSIX and GCC or Clang, on Linux.
 *
 * The same frames and the same session as over a socket, without a system call on the way: for a matching
 * engine and a GoDark engine that are pinned to cores of their own on one machine (setting engine.ring; with
 * engine.ring_poll_us=0 the engine polls without pause). Layout, ownership of the words and the argument for
 * their order: engine/gateway/ring.py. One thread uses a gd_ring at a time.
 *
 *   gd_ring ring;
 *   if (gd_ring_attach(&ring, "/dev/shm/godark.ring") != 0) ...    errno says why
 *   while (!gd_ring_opened(&ring)) pause;                          with a deadline
 *   gd_ring_send(&ring, frames, count)                             returns how many went
 *   gd_ring_receive(&ring, frames, room)                           returns how many came
 *   gd_ring_ended(&ring) && nothing came: say goodbye and attach again
 */
#ifndef GODARK_RING_H
#define GODARK_RING_H

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "godark.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

#define GD_RING_MAGIC INT64_C(0x4B52414452494E47)
#define GD_RING_CONTROL_BYTES 4096

/* Eight words a cache line; each word has one writer. */
typedef struct gd_ring_control {
    int64_t magic, request_slots, response_slots, line0[5];
    int64_t request_head, line1[7];
    int64_t request_tail, line2[7];
    int64_t response_head, line3[7];
    int64_t response_tail, line4[7];
    int64_t wanted, request_start, producer_pid, line5[5];
    int64_t session, response_start, engine_pid, line6[5];
} gd_ring_control;
GD_ASSERT(gd_ring_session, offsetof(gd_ring_control, session) == 6 * 64);

typedef struct gd_ring {
    gd_ring_control *control;
    gd_frame *requests, *responses;
    int64_t request_slots, response_slots, number, head, tail;
    size_t bytes;
    int fd, opened;
} gd_ring;

static inline int64_t gd_ring_load(const int64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void gd_ring_store(int64_t *word, int64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* 0 if the byte is now ours for as long as the file is open, else -1 with errno EAGAIN. */
static inline int gd_ring_lock(int fd, int byte) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static inline int gd_ring_held(int fd, int byte) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Let go of the ring. The engine then ends the session; what it acknowledged stays acknowledged. */
static inline void gd_ring_detach(gd_ring *ring) {
    if (ring->control != NULL) munmap(ring->control, ring->bytes);
    if (ring->fd >= 0) close(ring->fd);
    ring->control = NULL;
    ring->fd = -1;
}

/* 0, or -1 with errno: ENOENT no ring, EINVAL no ring in this file, ECONNREFUSED its engine is gone, EBUSY another
   producer has it. */
static inline int gd_ring_attach(gd_ring *ring, const char *path) {
    struct stat about;
    int64_t wanted, session, slots;
    void *memory;
    memset(ring, 0, sizeof *ring);
    ring->fd = open(path, O_RDWR | O_CLOEXEC);
    if (ring->fd < 0) return -1;
    errno = EINVAL;
    if (fstat(ring->fd, &about) != 0 || about.st_size <= GD_RING_CONTROL_BYTES) goto refused;
    ring->bytes = (size_t)about.st_size;
    memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
    if (memory == MAP_FAILED) goto refused;
    ring->control = (gd_ring_control *)memory;
    slots = ring->control->request_slots + ring->control->response_slots;
    errno = EINVAL;
    if (ring->control->magic != GD_RING_MAGIC || ring->control->request_slots < 1 ||
        ring->control->response_slots < 1 || GD_RING_CONTROL_BYTES + slots * GD_FRAME_BYTES != about.st_size) {
        goto refused;
    }
    errno = ECONNREFUSED;
    if (!gd_ring_held(ring->fd, 0)) goto refused;
    if (gd_ring_lock(ring->fd, 1) != 0) {
        errno = EBUSY;
        goto refused;
    }
    ring->request_slots = ring->control->request_slots;
    ring->response_slots = ring->control->response_slots;
    ring->requests = (gd_frame *)((uint8_t *)memory + GD_RING_CONTROL_BYTES);
    ring->responses = ring->requests + ring->request_slots;
    ring->head = gd_ring_load(&ring->control->request_head);
    gd_ring_store(&ring->control->producer_pid, (int64_t)getpid());
    gd_ring_store(&ring->control->response_tail, gd_ring_load(&ring->control->response_head));
    gd_ring_store(&ring->control->request_start, ring->head);
    wanted = gd_ring_load(&ring->control->wanted);
    session = gd_ring_load(&ring->control->session);
    if (session < 0) session = -session;
    ring->number = (wanted > session ? wanted : session) + 1;
    gd_ring_store(&ring->control->wanted, ring->number);
    return 0;
refused:
    {
        int why = errno;
        gd_ring_detach(ring);
        errno = why;
    }
    return -1;
}

/* Whether the engine serves this session: it looks every engine.ring_poll_us. Send nothing before. */
static inline int gd_ring_opened(gd_ring *ring) {
    int64_t session = gd_ring_load(&ring->control->session);
    if (!ring->opened && (session == ring->number || session == -ring->number)) {
        ring->tail = gd_ring_load(&ring->control->response_start);
        gd_ring_store(&ring->control->response_tail, ring->tail);
        ring->opened = 1;
    }
    return ring->opened;
}

/* Whether the engine has ended the session. Ask before receiving: what it said last still comes. */
static inline int gd_ring_ended(const gd_ring *ring) {
    return ring->opened && gd_ring_load(&ring->control->session) != ring->number;
}

/* Whether an engine holds the ring. A system call: ask some times a second, not at every turn. */
static inline int gd_ring_engine_lives(const gd_ring *ring) { return gd_ring_held(ring->fd, 0); }

/* Write up to `count` sealed frames; returns how many there was room for. They are shown when all are written. */
static inline int64_t gd_ring_send(gd_ring *ring, const gd_frame *frames, int64_t count) {
    int64_t room = ring->request_slots - (ring->head - gd_ring_load(&ring->control->request_tail));
    int64_t k;
    if (count > room) count = room;
    for (k = 0; k < count; k++) ring->requests[(ring->head + k) % ring->request_slots] = frames[k];
    if (count > 0) {
        ring->head += count;
        gd_ring_store(&ring->control->request_head, ring->head);
    }
    return count > 0 ? count : 0;
}

/* Take up to `room` frames that the engine said; returns how many. gd_check() each. */
static inline int64_t gd_ring_receive(gd_ring *ring, gd_frame *frames, int64_t room) {
    int64_t count = gd_ring_load(&ring->control->response_head) - ring->tail;
    int64_t k;
    if (!ring->opened) return 0;
    if (count > room) count = room;
    for (k = 0; k < count; k++) frames[k] = ring->responses[(ring->tail + k) % ring->response_slots];
    if (count > 0) {
        ring->tail += count;
        gd_ring_store(&ring->control->response_tail, ring->tail);
    }
    return count > 0 ? count : 0;
}

#endif
