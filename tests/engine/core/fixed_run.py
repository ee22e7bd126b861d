"""One fixed list of frames of every template, and what folding it gives. Run as a program for other processes.

`python -m tests.engine.core.fixed_run COUNT GROUP` writes two lines of JSON: how it was compiled, what `fold` gives.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys

from engine.core.apply import Machine
from engine.core.params import Row
from kernels.frames import (
    CorrectionKind,
    ObservationKind,
    OutcomeStage,
    ParamKey,
    SettingKind,
    Template,
    TickKind,
    TransferKind,
)
from kernels.jit import JIT_DISABLED, cpu_target
from kernels.profiles import Profile
from tests.engine.core.builders import HOUR_NS, PRICE, SCALES, SECOND_NS, WEIGHTS, Script, genesis, views

ACCOUNTS = 40
MINUTE_NS = 60 * SECOND_NS


def observe_all(script: Script, chance: random.Random) -> None:
    """Most feeds of most markets say something near the first price; now and then none does."""
    for m, weights in enumerate(WEIGHTS):
        expo = SCALES[m][1] - SCALES[m][0]
        for k in range(len(weights)):
            if chance.random() < 0.8:
                script.observe(PRICE + chance.randint(-40_000, 40_000), market=m, feed=k, expo=expo, conf=900)
        for kind in (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK):
            if chance.random() < 0.3:
                script.observe(PRICE + 100_000, market=m, kind=kind, expo=expo)


def one_second(script: Script, chance: random.Random) -> None:
    """A second of trading: observations, fills of all sorts, the odd transfer, setting, mistake, correction."""
    if chance.random() < 0.5:
        observe_all(script, chance)
    for _ in range(chance.randint(0, 6)):
        m = chance.choice((0, 0, 1, 2, 2, 7)) if chance.random() < 0.1 else chance.randint(0, 2)
        maker, taker = chance.randint(1, ACCOUNTS), chance.randint(1, ACCOUNTS)
        size = chance.choice((1, -1, 3, -20, 40, 333, -(10**7), 0))
        script.fill(maker, taker, size, PRICE + chance.randint(-(10**6), 10**6), market=m)
    account = chance.randint(1, ACCOUNTS)
    kind = chance.choice((*TransferKind,))
    if kind == TransferKind.DEPOSIT:
        script.deposit(account, chance.randint(1, 10**11))
    else:
        script.move(kind, account, chance.randint(1, 10**8), market=chance.randint(0, 2))
    script.setting(account, chance.choice((*SettingKind,)), chance.choice((0, 1, 10, 50)), market=2)
    odd = chance.choice(
        (Template.OUTCOME, Template.CORRECTION, Template.CANDIDATE, Template.PART, Template.UPGRADE)
    )
    payload = {}
    if odd == Template.OUTCOME:
        payload = {"batch": chance.randint(1, 3), "stage": chance.choice((*OutcomeStage,))}
    if odd == Template.CORRECTION:
        payload = {"kind": chance.choice((*CorrectionKind,)), "refused_seq": chance.randint(1, ACCOUNTS)}
        payload["refused_source"] = 1
    if odd == Template.CANDIDATE:
        payload = {"account": account, "kind": 1 + account % 2, "counterparty": 1}
    script.add(odd, market=chance.randint(0, 2), **payload)
    start_ns = script.now_ns
    if account % 4 == 0:
        script.tick(start_ns + SECOND_NS // 10, TickKind.RISK)
    script.tick(start_ns + SECOND_NS)


def one_hour(script: Script, off: int) -> None:
    """Minutes to the end of the hour: markets 0 and 1 have a price, and books so far off it on either side."""
    for _ in range(60):
        at_ns = (script.now_ns // MINUTE_NS + 1) * MINUTE_NS
        for m, weights in enumerate(WEIGHTS[:2]):
            expo = SCALES[m][1] - SCALES[m][0]
            for k in range(len(weights)):
                script.observe(PRICE, market=m, feed=k, expo=expo, publish_ns=at_ns)
            for kind in (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK):
                price = PRICE + (off if m == 0 else -off)
                script.observe(price, market=m, kind=kind, expo=expo, publish_ns=at_ns)
        script.tick(at_ns)
        if at_ns % HOUR_NS == 0:
            return


def first_hour(script: Script) -> None:
    """Enough seconds of market 2, which has no book, for its rate: the interest."""
    for _ in range(1201):
        script.seconds(1)
        if script.now_ns % (3 * SECOND_NS) == 0:
            script.observe(PRICE + 4000, market=2, expo=9)
    script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)


def fixed_frames(count: int) -> list[bytes]:
    """The first `count` frames of the list: trading at about twelve frames a second, and after each 30 seconds of
    that an hour that pays, by three venues' rules, and a change of parameters."""
    chance = random.Random(20260214)
    script = genesis(accounts=ACCOUNTS, deposit_e6=10**12)
    profiles = (Profile.DYDX_V4, Profile.HYPERLIQUID, Profile.GODARK)
    script.params([Row(ParamKey.MARKET_PROFILE, m, profile) for m, profile in enumerate(profiles)], change=2)
    hour = 0
    while len(script.frames) < count:
        for _ in range(30):
            one_second(script, chance)
        hour += 1
        if hour == 1:
            first_hour(script)
        else:
            one_hour(script, (-1) ** hour * hour * 100_000)
        script.params([Row(ParamKey.HOLD_NS, 0, hour * SECOND_NS)], change=hour + 2)
    return script.frames[:count]


def fold(frames: list[bytes], group: int) -> dict[str, str | int]:
    """Digest, witness, and a hash over all results and legs, of the frames folded `group` at a time."""
    machine, seen = Machine(capacity=group), views(frames)
    results = hashlib.sha256()
    legs = hashlib.sha256()
    for start in range(0, len(frames), group):
        applied = machine.apply(seen, start, min(start + group, len(frames)))
        results.update(applied.results.tobytes())
        legs.update(applied.legs.tobytes())
    return {
        "digest": machine.state.digest().hex(),
        "witness": machine.witness,
        "results": results.hexdigest(),
        "legs": legs.hexdigest(),
    }


if __name__ == "__main__":
    how = {"jit": not JIT_DISABLED, "cpu": cpu_target()[0]}
    what = fold(fixed_frames(int(sys.argv[1])), int(sys.argv[2]))
    sys.stdout.write(json.dumps(how) + "\n" + json.dumps(what) + "\n")
