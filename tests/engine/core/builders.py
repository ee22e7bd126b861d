"""Frames for tests: one at a time as bytes, or a script that numbers each source's frames itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.params import Row, exchange_rows, market_rows, oracle_rule, stage
from engine.core.views import Views, views_of
from kernels import frames as f
from kernels.frames import ObservationKind, Source, Template, TickKind, TransferKind

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS

SOURCES = {
    Template.FILL: Source.MATCHING,
    Template.ACCOUNT: Source.API,
    Template.TRANSFER: Source.CHAIN,
    Template.SETTING: Source.API,
    Template.OBSERVATION: Source.FEEDS,
    Template.TICK: Source.CLOCK,
    Template.PARAM: Source.ADMIN,
    Template.CANDIDATE: Source.RISK,
    Template.OUTCOME: Source.RELAYER,
    Template.CORRECTION: Source.ADMIN,
    Template.PART: Source.API,
    Template.UPGRADE: Source.ADMIN,
}
"""Who sends what, unless a test says otherwise."""


def frame(
    template: Template,
    seq: int,
    *,
    source: int | None = None,
    market: int = 0,
    flags: int = 0,
    **payload: int,
) -> bytes:
    """One 64-byte frame with these payload fields, the others zero. The CRC is left zero: the core takes none."""
    if source is None:
        source = SOURCES.get(template, Source.ENGINE)
    out = np.zeros(1, f.DTYPES[template])
    out["block_length"], out["schema"], out["version"] = f.BLOCK_LENGTH, f.SCHEMA_ID, f.SCHEMA_VERSION
    out["template"], out["seq"], out["source"] = int(template), seq, source
    out["market"], out["flags"] = market, flags
    for name, value in payload.items():
        out[name] = value
    return out.tobytes()


def array_of(frames: list[bytes]) -> NDArray[np.void]:
    """FRAME[n], writable."""
    return np.frombuffer(bytearray(b"".join(frames)), f.FRAME)


def views(frames: list[bytes]) -> Views:
    """What `Machine.apply` takes."""
    return views_of(array_of(frames))


def key_of(n: int) -> dict[str, int]:
    """Four words of a made-up public key."""
    return {"key0": n, "key1": n * 7919, "key2": -n, "key3": 1}


class Script:
    """Frames in order, each source numbered from 1."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.last_seq: dict[int, int] = {}
        self.now_ns = 0
        self.events: dict[int, int] = {}
        self.nonces: dict[int, int] = {}
        self.accounts = 1

    def add(self, template: Template, *, market: int = 0, flags: int = 0, **payload: int) -> None:
        """Append one frame with its source's next number."""
        source = int(SOURCES[template])
        self.last_seq[source] = self.last_seq.get(source, 0) + 1
        seq = self.last_seq[source]
        self.frames.append(frame(template, seq, source=source, market=market, flags=flags, **payload))

    def params(self, rows: list[Row], *, change: int = 1, not_before_ns: int = 0) -> None:
        """Stage and commit rows."""
        first = self.last_seq.get(int(Source.ADMIN), 0) + 1
        staged = stage(rows, change=change, not_before_ns=not_before_ns, first_seq=first)
        self.last_seq[int(Source.ADMIN)] = first + len(staged) - 1
        self.frames += [row.tobytes() for row in staged]

    def account(self, n: int, *, tier: int = 0, deposit_e6: int = 0) -> int:
        """Open an account with the key of `n`; the number it gets."""
        self.add(Template.ACCOUNT, tier=tier, **key_of(n))
        number, self.accounts = self.accounts, self.accounts + 1
        if deposit_e6:
            self.deposit(number, deposit_e6)
        return number

    def deposit(self, account: int, quote_e6: int) -> None:
        """A deposit with the account's next event number."""
        self.events[account] = self.events.get(account, 0) + 1
        self.add(
            Template.TRANSFER,
            flags=TransferKind.DEPOSIT,
            account=account,
            quote_e6=quote_e6,
            event_no=self.events[account],
        )

    def move(self, kind: TransferKind, account: int, quote_e6: int, market: int = 0) -> None:
        """A withdrawal or a move, with the account's next nonce."""
        self.nonces[account] = self.nonces.get(account, 0) + 1
        self.add(
            Template.TRANSFER,
            market=market,
            flags=kind,
            account=account,
            quote_e6=quote_e6,
            event_no=self.nonces[account],
        )

    def setting(self, account: int, kind: int, value: int, market: int = 0) -> None:
        """A setting with the account's next nonce."""
        self.nonces[account] = self.nonces.get(account, 0) + 1
        nonce = self.nonces[account]
        self.add(Template.SETTING, market=market, account=account, kind=kind, value=value, nonce=nonce)

    def fill(self, maker: int, taker: int, size: int, price: int, market: int = 0) -> None:
        """A fill; size is signed by the taker's side."""
        self.add(Template.FILL, market=market, maker=maker, taker=taker, size=size, price=price)

    def observe(
        self,
        price: int,
        *,
        market: int = 0,
        feed: int = 0,
        kind: ObservationKind = ObservationKind.ORACLE,
        conf: int = 0,
        expo: int = 0,
        publish_ns: int | None = None,
    ) -> None:
        """An observation, published now unless said otherwise."""
        self.add(
            Template.OBSERVATION,
            market=market,
            feed=feed,
            kind=kind,
            price=price,
            conf=conf,
            expo=expo,
            publish_ns=self.now_ns if publish_ns is None else publish_ns,
        )

    def tick(self, now_ns: int, kind: TickKind = TickKind.SECOND) -> None:
        """A tick that names the time before it."""
        prev, self.now_ns = self.now_ns, now_ns
        self.add(Template.TICK, now_ns=now_ns, prev_ns=prev, interval_ns=now_ns - prev, kind=kind)

    def seconds(self, count: int) -> None:
        """That many ticks, one second each."""
        for _ in range(count):
            self.tick(self.now_ns + SECOND_NS)


WEIGHTS = ((3, 2, 2), (1, 1), (1,))
"""Weights of the feeds of the three markets of `genesis`: a median, a primary with its witness, one alone."""
SCALES = ((4, 4), (9, 0), (0, 9))
"""(price_exp, lot_exp) of the three markets: one that is exact, one of large sizes, one that rounds nowhere."""
PRICE = 300_000_000
"""The first price of every market of `genesis`."""


def genesis_rows() -> list[Row]:
    """Three markets, and a second fee tier without rebate. Market 1 has an extreme funding cap; the one provider
    of market 2 may set its first price."""
    rows = exchange_rows()
    rows.append(Row(f.ParamKey.FEE_TIER, 1, 1_000_001, 333_333))
    for m, (price_exp, lot_exp) in enumerate(SCALES):
        rows += market_rows(m, f"M{m}", price_exp=price_exp, lot_exp=lot_exp, feeds=0)
        rows += [Row(f.ParamKey.FEED, m, k, weight) for k, weight in enumerate(WEIGHTS[m])]
    rows.append(Row(f.ParamKey.MARKET_FUNDING, 1, -(10**10), 10**12))
    rows.append(oracle_rule(2, "alone", 1))
    return rows


def genesis(accounts: int = 5, deposit_e6: int = 10**10, start_ns: int = 1000 * HOUR_NS) -> Script:
    """Tables in force, accounts 1..n with a deposit each, one priced second. Insurance holds 1,000,000 e6."""
    script = Script()
    script.params(genesis_rows())
    script.tick(start_ns, TickKind.OPEN)
    for n in range(1, accounts + 1):
        script.account(n, tier=n % 2, deposit_e6=deposit_e6)
    script.deposit(0, 1_000_000)
    for m, weights in enumerate(WEIGHTS):
        for k in range(len(weights)):
            script.observe(PRICE, market=m, feed=k, expo=SCALES[m][1] - SCALES[m][0])
    script.seconds(1)
    return script
