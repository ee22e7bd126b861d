"""The JSON-RPC face of the devnet: every method, every refusal, and the lies it can be told to tell."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from relayer.chain import messages, results
from relayer.devnet import views
from relayer.devnet.bank import FIRST_SLOT
from relayer.devnet.faults import Faults
from relayer.devnet.methods import Methods
from relayer.devnet.node import Node
from tests.relayer.devnet.transactions import SEED, SIGNER, fund, memo, send

ADDRESS = str(SIGNER.public_key)
SKIP = {"encoding": "base64", "skipPreflight": True}


class Chain:
    """A node with its methods, called as a client would."""

    def __init__(self, data_dir: Path, on_demand: bool = False) -> None:
        self.node = Node.open(data_dir, on_demand=on_demand, new_seed=SEED)
        self.faults = Faults()
        self.methods = Methods(self.node, self.faults, control=True)
        fund(self.node)

    def raw(self, method: str, *params: object) -> dict[str, Any]:
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        answer: dict[str, Any] = orjson.loads(self.methods.answer(body))
        assert answer["id"] == 1
        return answer

    def __call__(self, method: str, *params: object) -> Any:
        return self.raw(method, *params)["result"]

    def error(self, method: str, *params: object) -> int:
        code: int = self.raw(method, *params)["error"]["code"]
        return code

    def memo(self, text: str = "hello") -> messages.Signed:
        return memo(self.node.bank.blockhash(self.node.bank.slot), text)


def b64(wire: bytes) -> str:
    return b64encode(wire).decode()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = Chain(tmp_path)
    yield made
    made.node.close()


def test_the_chain_tells_of_itself(chain: Chain) -> None:
    assert "solana-core" in chain("getVersion")
    assert chain("getHealth") == "ok"
    assert chain("getGenesisHash") == chain.node.bank.genesis_hash
    now = chain.node.bank.slot
    assert chain("getSlot", {"commitment": "processed"}) == now
    assert chain("getSlot", {"commitment": "confirmed"}) == now - 1
    assert chain("getSlot") == now - 31
    assert chain("getBlockHeight", {"commitment": "confirmed"}) < now - 1
    epoch = chain("getEpochInfo")
    assert epoch["absoluteSlot"] == now - 31
    assert len(chain("getRecentPrioritizationFees")) == 150


def test_blockhashes(chain: Chain) -> None:
    info = results.blockhash_info(chain("getLatestBlockhash", {"commitment": "confirmed"}))
    height = chain("getBlockHeight", {"commitment": "confirmed"})
    assert info.last_valid_block_height == height + 150
    assert chain("isBlockhashValid", info.blockhash, {"commitment": "processed"})["value"] is True
    assert chain("isBlockhashValid", str(views.blockhash("1" * 32)))["value"] is False


def test_send_then_follow_to_finalized(chain: Chain) -> None:
    signed = chain.memo()
    assert chain("sendTransaction", b64(signed.wire), SKIP) == signed.signature
    seen = []
    for _ in range(33):
        page = results.status_page(chain("getSignatureStatuses", [signed.signature, signed.signature]), 2)
        assert page.statuses[0] is not None
        assert page.statuses[0] == page.statuses[1]
        seen.append(page.statuses[0].confirmation)
        chain.node.advance()
    assert seen == ["processed"] + ["confirmed"] * 30 + ["finalized"] * 2


def test_on_demand_slots_advance_with_polls_only(tmp_path: Path) -> None:
    chain = Chain(tmp_path, on_demand=True)
    start = chain.node.bank.slot
    chain("getHealth")
    chain("getLatestBlockhash")
    assert chain.node.bank.slot == start
    for method, params in (("getSlot", []), ("getBlockHeight", []), ("getSignatureStatuses", [[]])):
        chain(method, *params)
    assert chain.node.bank.slot == start + 3
    chain.node.close()


def test_a_transaction_reads_back(chain: Chain) -> None:
    signed = chain.memo("read me")
    chain("sendTransaction", b64(signed.wire), SKIP)
    config = {"encoding": "base64", "commitment": "confirmed", "maxSupportedTransactionVersion": 1}
    assert chain("getTransaction", signed.signature, config) is None
    chain.node.advance()
    landed = results.landed_transaction(chain("getTransaction", signed.signature, config))
    assert landed is not None
    assert (landed.wire, landed.err, landed.fee_lamports) == (signed.wire, None, 5000)
    assert messages.parse_memo(landed.wire) == b"read me"
    assert chain("getTransaction", signed.signature) is None
    assert chain.error("getTransaction", signed.signature, {"commitment": "confirmed"}) == -32015
    plain = chain("getTransaction", signed.signature, {**config, "encoding": "json"})
    assert plain["transaction"]["signatures"] == [signed.signature]
    assert views.binary(plain["transaction"]["message"]["instructions"][2]["data"], "base58") == b"read me"


def test_duplicates_land_once(chain: Chain) -> None:
    signed = chain.memo()
    count = len(chain.node.bank.history)
    assert chain("sendTransaction", b64(signed.wire), {"encoding": "base64"}) == signed.signature
    assert chain("sendTransaction", b64(signed.wire), SKIP) == signed.signature
    answer = chain.raw("sendTransaction", b64(signed.wire), {"encoding": "base64"})
    assert answer["error"]["code"] == -32002
    assert answer["error"]["data"]["err"] == "AlreadyProcessed"
    assert len(chain.node.bank.history) == count + 1


def test_expired_oversize_and_garbage_are_refused(chain: Chain) -> None:
    signed = chain.memo()
    for _ in range(151):
        chain.node.advance()
    answer = chain.raw("sendTransaction", b64(signed.wire), SKIP)
    assert answer["error"]["data"]["err"] == "BlockhashNotFound"
    assert chain.error("sendTransaction", b64(signed.wire + bytes(1232)), SKIP) == -32602
    assert chain.error("sendTransaction", "%%%", SKIP) == -32602
    assert chain.error("sendTransaction", "A" * 9000, SKIP) == -32602
    assert chain.error("sendTransaction") == -32602


def test_preflight_refuses_what_would_fail_and_skipping_lands_it(chain: Chain) -> None:
    message = chain.memo("ok").wire[65:].replace(b"ok", b"\xff\xff")
    wire = b64(b"\x01" + SIGNER.sign(message) + message)
    answer = chain.raw("sendTransaction", wire, {"encoding": "base64"})
    assert answer["error"]["data"]["err"] == {"InstructionError": [2, "ProgramFailedToComplete"]}
    assert set(answer["error"]["data"]) >= {"accounts", "err", "logs", "returnData", "unitsConsumed"}
    assert len(chain.node.bank.history) == 1
    signature = chain("sendTransaction", wire, SKIP)
    status = chain("getSignatureStatuses", [signature])["value"][0]
    assert status["err"] == {"InstructionError": [2, "ProgramFailedToComplete"]}
    assert status["status"] == {"Err": status["err"]}


def test_accounts_and_balances(chain: Chain) -> None:
    unknown = str(Pubkey([5] * 32))
    assert chain("getBalance", ADDRESS)["value"] == 10**10
    assert chain("getBalance", unknown)["value"] == 0
    assert chain("getAccountInfo", unknown)["value"] is None
    account = results.account_info(chain("getAccountInfo", ADDRESS, {"encoding": "base64"})["value"])
    assert account is not None
    assert account.lamports == 10**10
    pair = chain("getMultipleAccounts", [ADDRESS, unknown], {"encoding": "jsonParsed"})["value"]
    assert pair[0]["data"] == ["", "base64"]
    assert pair[1] is None
    assert chain("getMinimumBalanceForRentExemption", 0) == 890_880
    assert chain.error("getMultipleAccounts", [ADDRESS] * 101) == -32602
    program = str(messages.MEMO_PROGRAM)
    assert chain.error("getAccountInfo", program) == -32600
    part = chain("getAccountInfo", program, {"encoding": "base64", "dataSlice": {"offset": 0, "length": 4}})
    assert part["value"]["data"][0] == b64(b"\x7fELF")


def test_fees_and_simulation(chain: Chain) -> None:
    signed = chain.memo()
    assert chain("getFeeForMessage", b64(signed.wire[65:]), {"commitment": "processed"})["value"] == 5000
    run = results.simulation(chain("simulateTransaction", b64(signed.wire), {"encoding": "base64"}))
    assert run.err is None
    assert 500 < run.units_consumed < 1000
    stale = memo("1" * 32)
    config = {"encoding": "base64"}
    assert chain("simulateTransaction", b64(stale.wire), config)["value"]["err"] == "BlockhashNotFound"
    config["replaceRecentBlockhash"] = True  # type: ignore[assignment]
    value = chain("simulateTransaction", b64(stale.wire), config)["value"]
    assert value["err"] is None
    assert value["replacementBlockhash"]["lastValidBlockHeight"] > 0


def test_history_of_an_address_in_pages(chain: Chain) -> None:
    sent = []
    for number in range(7):
        sent.append(send(chain.node, f"memo {number}"))
        chain.node.advance()
    config = {"commitment": "confirmed", "limit": 3}
    first = results.signature_entries(chain("getSignaturesForAddress", ADDRESS, config))
    assert [entry.signature for entry in first] == sent[:3:-1]
    config["before"] = first[-1].signature
    second = results.signature_entries(chain("getSignaturesForAddress", ADDRESS, config))
    assert [entry.signature for entry in second] == sent[3:0:-1]
    config = {"commitment": "confirmed", "until": sent[4]}
    assert len(chain("getSignaturesForAddress", ADDRESS, config)) == 2
    assert chain("getSignaturesForAddress", ADDRESS) == []
    assert chain.error("getSignaturesForAddress", ADDRESS, {"limit": 1001}) == -32602


def test_airdrops_are_transactions_of_their_own(chain: Chain) -> None:
    first, second = chain("requestAirdrop", ADDRESS, 5), chain("requestAirdrop", ADDRESS, 5)
    assert first != second
    assert chain("getBalance", ADDRESS)["value"] == 10**10 + 10
    assert chain("getSignatureStatuses", [first])["value"][0]["err"] is None
    assert chain.error("requestAirdrop", ADDRESS, 0) == -32602


def test_batches(chain: Chain) -> None:
    calls = [{"jsonrpc": "2.0", "id": k, "method": "getHealth"} for k in range(100)]
    assert [one["id"] for one in orjson.loads(chain.methods.answer(orjson.dumps(calls)))] == list(range(100))
    for body in ([*calls, calls[0]], []):
        assert orjson.loads(chain.methods.answer(orjson.dumps(body)))["error"]["code"] == -32600
    mixed = orjson.loads(chain.methods.answer(orjson.dumps([calls[0], 5, {"id": 2, "method": "no"}])))
    assert [one.get("error", {}).get("code") for one in mixed] == [None, -32600, -32601]


def test_limits_and_context(chain: Chain) -> None:
    assert chain.error("getSignatureStatuses", [send(chain.node, "x")] * 257) == -32602
    assert chain.error("getSignatureStatuses", ["nonsense"]) == -32602
    answer = chain.raw("getBalance", ADDRESS, {"minContextSlot": 10**9})
    assert answer["error"]["code"] == -32016
    assert answer["error"]["data"]["contextSlot"] == FIRST_SLOT - 31
    assert chain.error("getSlot", {"commitment": "max"}) == -32602


def test_told_to_lie(chain: Chain) -> None:
    signed = chain.memo()
    chain("devnetSetFault", "vanish_send", 1)
    assert chain("sendTransaction", b64(signed.wire), SKIP) == signed.signature
    assert chain("getSignatureStatuses", [signed.signature])["value"] == [None]
    chain("sendTransaction", b64(signed.wire), SKIP)
    assert chain("getSignatureStatuses", [signed.signature])["value"][0] is not None
    chain("devnetSetFault", "null_statuses", 1)
    assert chain("getSignatureStatuses", [signed.signature])["value"] == [None]
    assert chain("getSignatureStatuses", [signed.signature])["value"][0] is not None
    chain("devnetSetFault", "rpc_429", 1)
    assert chain.error("getSlot") == 429
    chain("devnetSetFault", "node_behind", 1)
    assert chain.error("getSlot") == -32005
    honest = chain("getBlockHeight")
    chain("devnetSetFault", "height_offset", 100)
    assert chain("getBlockHeight") == chain("getSlot") == honest + 100
    chain.node.advance()
    chain("devnetSetFault", "lag_slots", 1)
    assert chain("getSlot", {"commitment": "processed"}) == chain.node.bank.slot - 1
    assert chain.error("devnetSetFault", "no such", 1) == -32602
    assert chain.error("devnetRollback", 0) == -32602


def test_every_third_call_fails(chain: Chain) -> None:
    chain("devnetSetFault", "node_behind", 2, 3)
    failed = ["error" in chain.raw("getSlot") for _ in range(12)]
    assert failed == [False, False, True, False, False, True] + [False] * 6


def test_control_is_off_by_default(chain: Chain) -> None:
    methods = Methods(chain.node, chain.faults)
    answer = orjson.loads(methods.answer(b'{"id":1,"method":"devnetRollback","params":[1]}'))
    assert answer["error"]["code"] == -32601


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_request_crashes_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    chain = _shared_chain(tmp_path_factory)
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-5, 2**60)
        | st.text(max_size=5)
        | st.sampled_from([ADDRESS, "1" * 88, "finalized", "base64"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["encoding", "commitment", "limit", "before", "dataSlice", "offset"]), inner
            )
        ),
        max_leaves=6,
    )
    method = data.draw(st.sampled_from(sorted(chain.methods._table)))
    body = {"id": data.draw(values), "method": method, "params": data.draw(st.lists(values, max_size=3))}
    answer = orjson.loads(chain.methods.answer(orjson.dumps(body)))
    assert ("result" in answer) != ("error" in answer)
    orjson.loads(chain.methods.answer(data.draw(st.binary(max_size=30))))


_SHARED: list[Chain] = []


def _shared_chain(factory: pytest.TempPathFactory) -> Chain:
    if not _SHARED:
        _SHARED.append(Chain(factory.mktemp("chain")))
    return _SHARED[0]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_base58_both_ways(data: bytes) -> None:
    assert views.binary(views.to_base58(data), "base58") == data
    if len(data) == 32:
        assert views.to_base58(data) == str(Pubkey(data))
