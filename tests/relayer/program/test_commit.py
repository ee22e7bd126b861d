"""Setting up and committing: what is written, what the log says of it, and everything that is refused."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from solders.instruction import AccountMeta
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rent import Rent
from solders.system_program import ID as SYSTEM

from relayer.core.rfc9162 import EMPTY_ROOT
from relayer.program.build import PROGRAM
from relayer.program.errors import ProgramError as E
from relayer.program.instructions import Checkpoint, Position, discriminator, program_data
from relayer.program.sandbox import FEATURES
from tests.relayer.program.stage import (
    Stage,
    both_feature_sets,
    commit_fields,
    exchange_fields,
    with_account,
    with_accounts,
    with_data,
)
from tests.relayer.program.trees import hashes, root


@pytest.fixture(params=FEATURES)
def fresh(request: pytest.FixtureRequest) -> Stage:
    """Deployed, nothing set up."""
    return Stage(request.param)


@pytest.fixture(params=FEATURES)
def stage(request: pytest.FixtureRequest) -> Stage:
    """Set up, one batch of five fills committed."""
    return Stage(request.param).initialise().commit(5)


def _events(logs: list[str]) -> list[bytes]:
    head = "Program data: "
    return [base64.b64decode(line.removeprefix(head)) for line in logs if line.startswith(head)]


@both_feature_sets
def test_what_initialise_writes(features: str) -> None:
    stage = Stage(features).initialise()
    lamports, data, owner = stage.chain.account(stage.position.exchange) or pytest.fail("no exchange")
    bump = Pubkey.find_program_address([b"exchange"], stage.program)[1]
    key = bytes(stage.relayer.pubkey())
    expected = (discriminator("account:Exchange"), 1, bump, key, 0, 0, EMPTY_ROOT)
    assert exchange_fields(data) == expected
    assert owner == stage.program
    assert lamports == stage.chain.svm.minimum_balance_for_rent_exemption(len(data))


@both_feature_sets
def test_what_a_commit_writes_and_says(features: str) -> None:
    stage = Stage(features).initialise().commit(5)
    outcome = stage.chain.send(stage.next_commit(9), signers=(stage.relayer,))
    assert outcome.err is None
    key, bump = stage.position.commit_address(2)
    lamports, data, owner = stage.chain.account(key) or pytest.fail("no commit")
    sizes = (5, root(hashes(5)), 9, root(hashes(9)))
    assert commit_fields(data) == (discriminator("account:Commit"), 1, bump, 2, *sizes)
    assert (owner, lamports) == (stage.program, stage.chain.svm.minimum_balance_for_rent_exemption(104))
    _, exchange, _ = stage.chain.account(stage.position.exchange) or pytest.fail("no exchange")
    assert exchange_fields(exchange)[4:] == (2, 9, root(hashes(9)))
    event = discriminator("event:BatchCommitted") + struct.pack("<QQ", 2, 9) + root(hashes(9))
    assert _events(outcome.logs) == [event]


def test_a_batch_without_fills_keeps_the_checkpoint(stage: Stage) -> None:
    stage.commit(5)
    _, data, _ = stage.chain.account(stage.position.exchange) or pytest.fail("no exchange")
    assert exchange_fields(data)[4:] == (2, 5, root(hashes(5)))


@both_feature_sets
@pytest.mark.parametrize("lamports", [1, 1_000_000, 10**10])
def test_an_address_that_was_funded_before_is_taken_all_the_same(features: str, lamports: int) -> None:
    stage = Stage(features).initialise()
    key = stage.position.commit_address(1)[0]
    stage.put(key, b"", SYSTEM, lamports)
    stage.commit(5)
    held, data, owner = stage.chain.account(key) or pytest.fail("no commit")
    assert (len(data), owner) == (104, stage.program)
    assert held == max(lamports, stage.chain.svm.minimum_balance_for_rent_exemption(104))


def test_a_funded_exchange_address_does_not_keep_us_out(fresh: Stage) -> None:
    fresh.put(fresh.position.exchange, b"", SYSTEM, 77)
    fresh.initialise()


def test_an_address_that_is_taken_is_refused(stage: Stage) -> None:
    key = stage.position.commit_address(2)[0]
    for data, owner in ((b"x", SYSTEM), (b"", stage.program), (bytes(104), stage.program)):
        stage.put(key, data, owner)
        stage.refused(E.ALREADY_EXISTS, stage.next_commit(9), stage.relayer)


def test_rent_of_one_year_is_taken_as_the_chain_takes_it(fresh: Stage) -> None:
    fresh.chain.svm.set_rent(Rent(6_960, 1.0, 50))
    fresh.initialise()
    lamports, _, _ = fresh.chain.account(fresh.position.exchange) or pytest.fail("no exchange")
    assert lamports == (128 + 96) * 6_960


@pytest.mark.parametrize("rent", [Rent(3_480, 1.5, 50), Rent(1 << 32, 2.0, 50)])
def test_a_rent_that_no_integer_gives_is_refused(fresh: Stage, rent: Rent) -> None:
    instruction = fresh.position.initialise(fresh.authority.pubkey(), fresh.relayer.pubkey())
    fresh.chain.svm.set_rent(rent)
    fresh.refused(E.RENT_UNKNOWN, instruction, fresh.authority)


class TestInitialiseRefuses:
    def _good(self, stage: Stage):
        return stage.position.initialise(stage.authority.pubkey(), stage.relayer.pubkey())

    def test_a_second_time(self, stage: Stage) -> None:
        stage.refused(E.ALREADY_EXISTS, self._good(stage), stage.authority)

    def test_anybody_but_the_upgrade_authority(self, fresh: Stage) -> None:
        instruction = fresh.position.initialise(fresh.stranger.pubkey(), fresh.stranger.pubkey())
        fresh.refused(E.NOT_AUTHORITY, instruction, fresh.stranger)

    def test_an_authority_that_did_not_sign(self, fresh: Stage) -> None:
        fresh.refused(E.NOT_SIGNER, with_account(self._good(fresh), 0, is_signer=False))

    def test_everybody_once_the_program_is_final(self, fresh: Stage) -> None:
        key = program_data(fresh.program)
        lamports, data, owner = fresh.chain.account(key) or pytest.fail("no program data")
        fresh.put(key, data[:12] + b"\0" + data[13:], owner, lamports)
        fresh.refused(E.NOT_AUTHORITY, self._good(fresh), fresh.authority)

    def test_program_data_without_room_for_an_authority(self, fresh: Stage) -> None:
        key = program_data(fresh.program)
        lamports, data, owner = fresh.chain.account(key) or pytest.fail("no program data")
        fresh.put(key, data[:44], owner, lamports)
        fresh.refused(E.WRONG_ACCOUNT_LENGTH, self._good(fresh), fresh.authority)

    def test_the_program_data_of_another_program(self, fresh: Stage) -> None:
        other = fresh.chain.deploy(PROGRAM.read_bytes(), b"other", fresh.stranger)
        instruction = fresh.position.initialise(fresh.stranger.pubkey(), fresh.stranger.pubkey())
        instruction = with_account(instruction, 2, pubkey=program_data(other))
        fresh.refused(E.WRONG_ADDRESS, instruction, fresh.stranger)

    def test_program_data_that_another_program_owns(self, fresh: Stage) -> None:
        key = fresh.stranger.pubkey()
        fresh.refused(E.WRONG_OWNER, with_account(self._good(fresh), 2, pubkey=key), fresh.authority)

    @pytest.mark.parametrize("place", [0, 1])
    def test_what_it_writes_handed_in_for_reading(self, fresh: Stage, place: int) -> None:
        instruction = with_account(self._good(fresh), place, is_writable=False)
        fresh.refused(E.NOT_WRITABLE, instruction, fresh.authority)

    def test_another_address(self, fresh: Stage) -> None:
        other = Pubkey.find_program_address([b"exchangf"], fresh.program)[0]
        fresh.refused(E.WRONG_ADDRESS, with_account(self._good(fresh), 1, pubkey=other), fresh.authority)

    def test_another_program_for_the_system(self, fresh: Stage) -> None:
        instruction = with_account(self._good(fresh), 3, pubkey=fresh.program)
        fresh.refused(E.WRONG_PROGRAM, instruction, fresh.authority)

    def test_too_few_and_too_many_bytes(self, fresh: Stage) -> None:
        good = self._good(fresh)
        for data in (bytes(good.data)[:-1], bytes(good.data) + b"\0", bytes(good.data)[:8]):
            fresh.refused(E.INSTRUCTION_LENGTH, with_data(good, data), fresh.authority)

    def test_too_few_and_too_many_accounts(self, fresh: Stage) -> None:
        good = self._good(fresh)
        more = AccountMeta(SYSTEM, False, False)
        for metas in (good.accounts[:-1], [*good.accounts, more], [*good.accounts, *[more] * 5]):
            fresh.refused(E.ACCOUNT_COUNT, with_accounts(good, metas), fresh.authority)


class TestCommitRefuses:
    def test_a_batch_that_was_committed(self, stage: Stage) -> None:
        empty, five = Checkpoint(), stage.log
        again = stage.position.commit(stage.relayer.pubkey(), 1, empty, five)
        stage.refused(E.WRONG_BATCH, again, stage.relayer)

    @pytest.mark.parametrize("batch", [0, 1, 3, 2**64 - 1])
    def test_any_number_but_the_next(self, stage: Stage, batch: int) -> None:
        wrong = stage.position.commit(stage.relayer.pubkey(), batch, stage.log, stage.log)
        stage.refused(E.WRONG_BATCH, wrong, stage.relayer)

    def test_another_previous_checkpoint(self, stage: Stage) -> None:
        for wrong in (Checkpoint(4, stage.log.root), Checkpoint(5, bytes(32)), Checkpoint()):
            instruction = stage.position.commit(stage.relayer.pubkey(), 2, wrong, stage.log)
            stage.refused(E.WRONG_CHECKPOINT, instruction, stage.relayer)

    def test_every_bit_of_the_previous_root(self, stage: Stage) -> None:
        good = bytes(stage.next_commit(9).data)
        for bit in range(24 * 8, 56 * 8):
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            instruction = with_data(stage.next_commit(9), bytes(changed))
            stage.refused(E.WRONG_CHECKPOINT, instruction, stage.relayer)

    def test_a_log_that_shrinks_or_changes_at_its_size(self, stage: Stage) -> None:
        for wrong in (Checkpoint(4, root(hashes(4))), Checkpoint(), Checkpoint(5, bytes(32))):
            instruction = stage.position.commit(stage.relayer.pubkey(), 2, stage.log, wrong)
            stage.refused(E.LOG_SHRINKS, instruction, stage.relayer)

    def test_another_signer(self, stage: Stage) -> None:
        for key in (stage.stranger, stage.authority):
            instruction = stage.position.commit(key.pubkey(), 2, stage.log, stage.log)
            stage.refused(E.NOT_RELAYER, instruction, key)

    def test_a_relayer_that_did_not_sign(self, stage: Stage) -> None:
        stage.refused(E.NOT_SIGNER, with_account(stage.next_commit(9), 0, is_signer=False))

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_what_it_writes_handed_in_for_reading(self, stage: Stage, place: int) -> None:
        instruction = with_account(stage.next_commit(9), place, is_writable=False)
        stage.refused(E.NOT_WRITABLE, instruction, stage.relayer)

    def test_an_exchange_that_we_do_not_own(self, stage: Stage) -> None:
        _, data, _ = stage.chain.account(stage.position.exchange) or pytest.fail("no exchange")
        stage.put(stage.stranger.pubkey(), data, SYSTEM)
        instruction = with_account(stage.next_commit(9), 1, pubkey=stage.stranger.pubkey())
        stage.refused(E.WRONG_OWNER, instruction, stage.relayer)

    def test_an_exchange_of_another_deployment(self, stage: Stage) -> None:
        other = stage.chain.deploy(PROGRAM.read_bytes(), b"other", stage.stranger)
        its = Position(other)
        made = its.initialise(stage.stranger.pubkey(), stage.relayer.pubkey())
        assert stage.run(made, stage.stranger) is None
        instruction = with_account(stage.next_commit(9), 1, pubkey=its.exchange)
        stage.refused(E.WRONG_OWNER, instruction, stage.relayer)

    def test_an_account_of_ours_that_is_no_exchange(self, stage: Stage) -> None:
        instruction = with_account(stage.next_commit(9), 1, pubkey=stage.position.commit_address(1)[0])
        stage.refused(E.WRONG_DISCRIMINATOR, instruction, stage.relayer)

    def test_an_exchange_of_another_length_or_version(self, stage: Stage) -> None:
        key = stage.position.exchange
        _, data, owner = stage.chain.account(key) or pytest.fail("no exchange")
        version = data[:8] + b"\2" + data[9:]
        for changed, error in (
            (data[:-1], E.WRONG_ACCOUNT_LENGTH),
            (data + b"\0", E.WRONG_ACCOUNT_LENGTH),
            (data[:15], E.WRONG_ACCOUNT_LENGTH),
            (version, E.WRONG_VERSION),
        ):
            stage.put(key, changed, owner)
            stage.refused(error, stage.next_commit(9), stage.relayer)

    def test_an_exchange_that_was_closed(self, stage: Stage) -> None:
        stage.put(stage.position.exchange, b"", SYSTEM)
        stage.refused(E.WRONG_OWNER, stage.next_commit(9), stage.relayer)

    def test_the_address_of_another_batch(self, stage: Stage) -> None:
        for batch in (1, 3):
            key = stage.position.commit_address(batch)[0]
            stage.refused(E.WRONG_ADDRESS, with_account(stage.next_commit(9), 2, pubkey=key), stage.relayer)

    def test_another_bump(self, stage: Stage) -> None:
        good = bytes(stage.next_commit(9).data)
        bump = stage.position.commit_address(2)[1]
        for other in (bump - 1, bump + 256, 0, 2**64 - 1):
            instruction = with_data(stage.next_commit(9), good[:-8] + struct.pack("<Q", other))
            stage.refused(E.WRONG_ADDRESS, instruction, stage.relayer)

    def test_another_program_for_the_system(self, stage: Stage) -> None:
        instruction = with_account(stage.next_commit(9), 3, pubkey=stage.program)
        stage.refused(E.WRONG_PROGRAM, instruction, stage.relayer)

    def test_too_few_and_too_many_bytes(self, stage: Stage) -> None:
        good = bytes(stage.next_commit(9).data)
        for data in (good[:-1], good + b"\0", good[:8]):
            stage.refused(E.INSTRUCTION_LENGTH, with_data(stage.next_commit(9), data), stage.relayer)

    def test_too_few_and_too_many_accounts(self, stage: Stage) -> None:
        good = stage.next_commit(9)
        more = AccountMeta(SYSTEM, False, False)
        for metas in (good.accounts[:-1], [*good.accounts, more]):
            stage.refused(E.ACCOUNT_COUNT, with_accounts(good, metas), stage.relayer)

    def test_one_account_in_two_places(self, stage: Stage) -> None:
        key = stage.position.exchange
        stage.refused(E.WRONG_ADDRESS, with_account(stage.next_commit(9), 2, pubkey=key), stage.relayer)
        key = stage.position.commit_address(2)[0]
        stage.refused(E.WRONG_OWNER, with_account(stage.next_commit(9), 1, pubkey=key), stage.relayer)

    def test_a_relayer_without_lamports(self, stage: Stage) -> None:
        stage.put(stage.relayer.pubkey(), b"", SYSTEM, 900_000)
        err = stage.refused_by_chain(stage.next_commit(9), stage.relayer)
        assert err == {"InstructionError": [0, {"Custom": 1}]}


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 8, discriminator("global:initialize")])
def test_no_instruction_of_ours(stage: Stage, data: bytes) -> None:
    stage.refused(E.UNKNOWN_INSTRUCTION, with_data(stage.next_commit(9), data), stage.relayer)


def _key_of(name: bytes) -> bytes:
    """The id of a program deployed under a name."""
    return bytes(Keypair.from_seed(hashlib.sha256(name).digest()).pubkey())


@pytest.mark.parametrize("length", [0, 7])
def test_a_discriminator_that_the_program_id_goes_on(fresh: Stage, length: int) -> None:
    """What lies behind the data is not read: a program whose id goes on where the data end."""
    chain = fresh.chain
    wanted = discriminator("global:commit_batch")
    names = (b"program %d" % k for k in range(10_000))
    name = next(n for n in names if _key_of(n)[0] == wanted[7])
    program = Position(chain.deploy(PROGRAM.read_bytes(), name))
    good = program.commit(fresh.relayer.pubkey(), 1, Checkpoint(), Checkpoint())
    fresh.refused(E.UNKNOWN_INSTRUCTION, with_data(good, wanted[:length]), fresh.relayer)


def test_every_bit_of_a_discriminator(stage: Stage) -> None:
    for good, signer in ((stage.next_commit(9), stage.relayer), (stage.position.verify(1, 0, b"", []), None)):
        for bit in range(64):
            changed = bytearray(bytes(good.data))
            changed[bit // 8] ^= 1 << bit % 8
            signers = (signer,) if signer else ()
            stage.refused(E.UNKNOWN_INSTRUCTION, with_data(good, bytes(changed)), *signers)
