"""The submitter against a served devnet that does everything wrong that it can be told to do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.submit import EXPIRY_POLLS, RESEND_POLLS
from tests.relayer.stage import Stage, batches, on_stage, payload_of

LIFE_POLLS = 260
"""So many looks outlast a blockhash (150 blocks), its finality (31) and the patience before proving."""


def test_everything_lands_once_and_in_order(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(4, 3))
        await stage.settle()
        stage.check()
        assert (stage.submitter.sent, stage.submitter.resigned) == (16, 0)

    on_stage(tmp_path, play)


def test_a_child_is_not_sent_before_its_parents_are_confirmed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 2))
        await stage.turn()
        assert set(stage.submitter.flights) == {Node(1)}
        stage.faults[0].set("null_statuses", 5)
        await stage.turns(5)
        assert set(stage.submitter.flights) == {Node(1)}
        await stage.turns(2)
        assert set(stage.submitter.flights) == {Node(1), Node(1, 0), Node(1, 1)}

    on_stage(tmp_path, play)


@pytest.mark.parametrize("fault", ["drop_send", "vanish_send", "lose_answer", "http_429", "rpc_429",
                                   "node_behind", "malformed"])  # fmt: skip
@pytest.mark.parametrize("every", [1, 3])
def test_one_fault_at_a_time(tmp_path: Path, fault: str, every: int) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(3, 2))
        stage.faults[0].set(fault, 4, every)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play)


def test_statuses_that_are_null_now_and_then_re_sign_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(3, 2))
        stage.faults[0].set("null_statuses", 30, 2)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play)


def test_bytes_that_vanish_are_resent_unchanged_until_they_land(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 0))
        stage.faults[0].set("vanish_send", 2)
        await stage.turns(2 * RESEND_POLLS + 3)
        assert len(stage.slots()) == 1
        await stage.settle()
        stage.check()
        assert len(stage.store.signatures(Node(1))) == 1

    on_stage(tmp_path, play)


def test_what_expired_is_signed_again_once(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(2, 2))
        stage.faults[0].set("vanish_send", -1)
        await stage.turns(LIFE_POLLS - 100)
        assert stage.submitter.resigned == 0
        assert not stage.slots()
        await stage.turns(100)
        stage.faults[0].set("vanish_send", 0)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 1
        assert len(stage.store.signatures(Node(1))) == 2

    on_stage(tmp_path, play)


@pytest.mark.parametrize("depth", [1, 12, 29])
def test_a_rollback_of_what_is_not_final(tmp_path: Path, depth: int) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(35, 1))
        await stage.turns(34)
        now = stage.chain.bank.slot
        dropped = stage.chain.roll_back(max(now - depth, 1000))
        assert dropped
        await stage.settle()
        stage.check()

    on_stage(tmp_path, play)


def test_what_was_confirmed_and_is_processed_again_has_been_rolled_back(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 1))
        await stage.turn()
        flight = stage.submitter.flights[Node(1)]
        [slot] = stage.slots()[payload_of(Node(1))]
        assert await stage.submitter.watch() == []
        assert flight.state is State.CONFIRMED
        stage.chain.on_demand = False
        stage.chain.roll_back(slot - 1)
        await stage.clients[0].send_transaction(flight.signatures[-1].wire)  # somebody else repeats it
        await stage.submitter.watch()
        assert flight.state is State.SENT
        assert stage.graph.take_ready(9) == []
        stage.chain.on_demand = True
        await stage.settle()
        stage.check()

    on_stage(tmp_path, play)


def test_a_child_on_its_way_during_a_rollback_cannot_land_without_its_parent(tmp_path: Path) -> None:
    """Its blockhash is of the fork that went: no luck with the network can put it in front of its parent."""

    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 1))
        await stage.turn()
        landed_slot = stage.slots()[payload_of(Node(1))][0]
        stage.faults[0].set("vanish_send", 1)
        while Node(1, 0) not in stage.submitter.flights:
            await stage.turn()
        child = stage.submitter.flights[Node(1, 0)]
        stage.chain.roll_back(landed_slot - 1)
        await stage.submitter._send(child)  # the network delivers it late
        assert not stage.slots()
        await stage.settle()
        stage.check()
        assert len(stage.store.signatures(Node(1, 0))) == 2

    on_stage(tmp_path, play)


def test_a_lagging_node_is_late_and_no_more(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(2, 2))
        await stage.turn()
        stage.faults[0].set("lag_slots", 25)
        await stage.turns(20)
        stage.faults[0].set("lag_slots", 0)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play)


@pytest.mark.parametrize("offset", [60, 100, 10**9])
def test_one_endpoint_that_lies_about_heights_proves_nothing(tmp_path: Path, offset: int) -> None:
    """100 is the distance of slot and height here: the endpoint gives slots for heights."""

    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 0))
        stage.faults[0].set("height_offset", offset)
        stage.faults[0].set("vanish_send", -1)
        await stage.turns(6 * RESEND_POLLS + 1)  # the blockhash is still valid, the told height past its last
        assert stage.submitter.resigned == 0
        assert len(stage.store.signatures(Node(1))) == 1
        stage.faults[0].set("height_offset", 0)
        stage.faults[0].set("vanish_send", 0)
        await stage.settle()
        stage.check()

    on_stage(tmp_path, play)


@pytest.mark.parametrize("liar", [0, 1])
def test_two_endpoints_one_of_which_denies_what_has_landed(tmp_path: Path, liar: int) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(2, 2))
        stage.faults[liar].set("null_statuses", -1)
        stage.faults[liar].set("height_offset", 90)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play, endpoints=2)


@pytest.mark.parametrize("liar", [0, 1])
def test_two_endpoints_one_of_which_calls_everything_expired(tmp_path: Path, liar: int) -> None:
    """Bytes that may still land are not doubled, though one endpoint swears that they are dead."""

    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 1))
        for faults in stage.faults:
            faults.set("vanish_send", -1)
        await stage.turns(EXPIRY_POLLS + RESEND_POLLS + 1)
        assert len(stage.store.signatures(Node(1))) == 1
        for faults in stage.faults:
            faults.set("vanish_send", 0)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play, endpoints=2, liar=liar)


@pytest.mark.parametrize("endpoints, signatures", [(1, 2), (2, 1), (3, 1)])
def test_what_only_one_endpoint_swears_to_is_believed_where_there_is_no_other(
    tmp_path: Path, endpoints: int, signatures: int
) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 0))
        stage.faults[0].set("vanish_send", -1)
        for faults in stage.faults[1:]:
            faults.set("vanish_send", -1)
        await stage.turns(EXPIRY_POLLS + 4)
        assert len(stage.store.signatures(Node(1))) == signatures

    on_stage(tmp_path, play, endpoints=endpoints, liar=0)


def test_no_proof_while_the_second_endpoint_is_away(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 0))
        stage.faults[0].set("vanish_send", -1)
        stage.faults[1].set("http_429", -1)
        await stage.turns(LIFE_POLLS)
        assert stage.submitter.resigned == 0
        stage.faults[0].set("vanish_send", 0)
        stage.faults[1].set("http_429", 0)
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 1

    on_stage(tmp_path, play, endpoints=2)


def test_landings_are_kept_when_the_proof_cannot_be_had(tmp_path: Path) -> None:
    """One is final and another old in the same look, and the other endpoint errs: the final one is told."""

    async def play(stage: Stage) -> None:
        stage.plan({Node(1): set(), Node(2): set()})
        await stage.turn()
        stuck, told = stage.submitter.flights[Node(1)], False
        stage.faults[1].set("http_429", -1)
        while not told:
            stuck.signatures[0] = stuck.signatures[0]._replace(signature="1" * 64)  # a signature nobody knows
            stuck.polls_unseen = EXPIRY_POLLS - 1
            landed = await stage.submitter.watch()
            told = Node(2) in [x.node for x in landed]
            assert told or Node(2) in stage.submitter.flights

    on_stage(tmp_path, play, endpoints=2)


@pytest.mark.parametrize("stop", [1, 2, 3, 6])
def test_a_relayer_that_stops_goes_on_from_its_store(tmp_path: Path, stop: int) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(3, 2))
        stage.faults[0].set("vanish_send", 3, 2)
        for _ in range(6):
            await stage.turns(stop)
            stage.store.close()
            stage.open()
        await stage.settle()
        stage.check()
        assert stage.submitter.resigned == 0

    on_stage(tmp_path, play)


def test_a_stop_between_record_and_send_sends_the_recorded_bytes(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan(batches(1, 0))
        stage.faults[0].set("drop_send", 1)
        await stage.turn()
        [signed] = stage.store.signatures(Node(1))
        assert not stage.slots()
        stage.store.close()
        stage.open()
        await stage.settle()
        stage.check()
        assert stage.landed[0].signature == signed.signature

    on_stage(tmp_path, play)


def mixed(chance: random.Random, stage: Stage) -> None:
    """Some fault, now and then, of any sort, on any endpoint; a rollback among them."""
    if chance.random() < 0.25:
        faults = chance.choice(stage.faults)
        name = chance.choice(("drop_send", "vanish_send", "lose_answer", "http_429", "rpc_429", "node_behind",
                              "malformed", "null_statuses"))  # fmt: skip
        faults.set(name, chance.randint(1, 6), chance.randint(1, 3))
    if chance.random() < 0.04:
        stage.faults[0].set("lag_slots", chance.choice((0, 3, 20)))
    if chance.random() < 0.04:
        stage.faults[-1].set("height_offset", chance.choice((0, 50, 100, 100_000)))
    if chance.random() < 0.03:
        stage.chain.roll_back(stage.chain.bank.slot - chance.randint(1, 20))


@pytest.mark.parametrize("seed", range(10))
def test_a_seeded_mix_of_faults(tmp_path: Path, seed: int) -> None:
    """150 intents; after the faults, a healed chain: everything landed once, and in order."""
    chance = random.Random(seed)

    async def play(stage: Stage) -> None:
        stage.plan(batches(30, 4))
        for _ in range(110):
            mixed(chance, stage)
            await stage.turn()
            if chance.random() < 0.03:
                stage.store.close()
                stage.open()
        for faults in stage.faults:
            faults.__init__()  # type: ignore[misc]
        await stage.settle(3000)
        stage.check()
        assert stage.submitter.failed == 0

    on_stage(tmp_path, play, endpoints=1 + seed % 2)


def test_a_transaction_that_fails_on_chain_is_recorded_as_failed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.plan({Node(1): set()})
        await stage.turn()
        # The Memo program cannot fail on what we send: the chain is told that it did.
        stage.chain.bank.history[-1].err = {"InstructionError": [2, "Custom"]}
        while not stage.submitter.failed:
            await stage.turn()
        assert not stage.submitter.flights
        assert stage.store.counts() == {State.FAILED: 1}

    on_stage(tmp_path, play)
