/* Events as Anchor's clients read them: one log line, eight bytes that name the event, then its fields. */
#ifndef GODARK_EVENT_H
#define GODARK_EVENT_H

#include "syscalls.h"
#include "types.h"

INLINE void event_log(const void *event, u64 bytes) {
    Piece piece = {event, bytes};
    sol_log_data(&piece, 1);
}

#endif
