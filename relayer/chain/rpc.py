"""A JSON-RPC client for one Solana node.

One connection pool, a bound on requests in flight, a time-out on everything, and no retries: whether and
where to try again is for the caller, who knows what it is doing. The address may hold an access token, so
messages and errors name only its host.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from engine.common.errors import RpcMalformed, RpcUnavailable
from relayer.chain import results
from relayer.chain.answers import encode_batch, encode_request, parse_answer, parse_batch

STATUS_CHUNK: Final = 256
BATCH_LIMIT: Final = 50
ACCOUNT_CHUNK: Final = 100
ANSWER_LIMIT_BYTES: Final = 64 * 1024 * 1024
_HEADERS: Final = {"Content-Type": "application/json"}


class RpcClient:
    """Asynchronous methods, one per RPC method used; every one may raise the four errors of `answers`.

    `timeout_s` covers a call whole, the wait for a free connection included.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0, max_inflight: int = 64) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(max_inflight)
        self._max_inflight = max_inflight
        self._session: aiohttp.ClientSession | None = None
        self._next_id = 1

    @property
    def host(self) -> str:
        """Host and port, without path, query or credentials: safe to log."""
        parts = urlsplit(self._url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def __repr__(self) -> str:
        return f"RpcClient({self.host})"

    async def __aenter__(self) -> RpcClient:
        # keepalive stays below what common proxies allow, so that a reused connection is not a dead one.
        connector = aiohttp.TCPConnector(limit=self._max_inflight, keepalive_timeout=15, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(connector=connector, headers=_HEADERS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight fail as unavailable."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, method: str, params: Sequence[object] = ()) -> Any:
        """The `result` of any method, as JSON values."""
        request_id = self._take_ids(1)
        status, body = await self._post(encode_request(request_id, method, params), method)
        return parse_answer(body, status, request_id)

    async def call_batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Results in order; a call that failed has its RpcError in place. At most 50 calls."""
        if len(calls) > BATCH_LIMIT:
            raise ValueError(f"a batch holds at most {BATCH_LIMIT} calls")
        if not calls:
            return []
        first_id = self._take_ids(len(calls))
        status, body = await self._post(encode_batch(first_id, calls), "batch")
        return parse_batch(body, status, first_id, len(calls))

    async def latest_blockhash(self, commitment: str = "confirmed") -> results.BlockhashInfo:
        """A blockhash to sign with. Never ask at processed: such a block may vanish."""
        return results.blockhash_info(await self.call("getLatestBlockhash", [{"commitment": commitment}]))

    async def slot(self, commitment: str = "confirmed") -> int:
        """The highest slot at that commitment."""
        return results.integer(await self.call("getSlot", [{"commitment": commitment}]), "slot")

    async def block_height(self, commitment: str = "confirmed") -> int:
        """The block height at that commitment: what expiry is counted in, always below the slot."""
        return results.integer(
            await self.call("getBlockHeight", [{"commitment": commitment}]), "block height"
        )

    async def send_transaction(self, wire: bytes) -> str:
        """Hand over signed bytes: no preflight, no retries by the node. Returns the signature (base58).

        An answer is not a landing, and an error is not the proof of none.
        """
        options = {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}
        answer = await self.call("sendTransaction", [b64encode(wire).decode("ascii"), options])
        return results.text(answer, "signature")

    async def signature_statuses(
        self, signatures: Sequence[str], search_history: bool = False
    ) -> results.StatusPage:
        """Statuses of any number of signatures, 256 per call."""
        options = {"searchTransactionHistory": search_history}
        chunks = [list(signatures[at : at + STATUS_CHUNK]) for at in range(0, len(signatures), STATUS_CHUNK)]
        answers = await asyncio.gather(
            *(self.call("getSignatureStatuses", [chunk, options]) for chunk in chunks or [[]])
        )
        pages = [
            results.status_page(answer, len(chunk))
            for answer, chunk in zip(answers, chunks or [[]], strict=True)
        ]
        statuses = [status for page in pages for status in page.statuses]
        return results.StatusPage(min(page.slot for page in pages), statuses)

    async def transaction(
        self, signature: str, commitment: str = "confirmed"
    ) -> results.LandedTransaction | None:
        """A landed transaction, or None where the node does not know it at that commitment."""
        return results.landed_transaction(
            await self.call("getTransaction", _transaction_params(signature, commitment))
        )

    async def transactions(
        self, signatures: Sequence[str], commitment: str = "confirmed"
    ) -> list[results.LandedTransaction | None]:
        """Many transactions in order, in batches of 50. The first failed call raises its error."""
        calls = [("getTransaction", _transaction_params(s, commitment)) for s in signatures]
        chunks = [calls[at : at + BATCH_LIMIT] for at in range(0, len(calls), BATCH_LIMIT)]
        landed: list[results.LandedTransaction | None] = []
        # A few batches at a time: each answer may be a hundred kilobytes.
        for at in range(0, len(chunks), 4):
            for answers in await asyncio.gather(*map(self.call_batch, chunks[at : at + 4])):
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise answer
                    landed.append(results.landed_transaction(answer))
        return landed

    async def signatures_for_address(
        self, address: str, before: str | None = None, limit: int = 1000, commitment: str = "confirmed"
    ) -> list[results.SignatureEntry]:
        """Signatures that name an address, newest first, at most `limit` (1..1000), older than `before`."""
        options: dict[str, object] = {"limit": limit, "commitment": commitment}
        if before is not None:
            options["before"] = before
        return results.signature_entries(await self.call("getSignaturesForAddress", [address, options]))

    async def simulate(self, wire: bytes, *, replace_blockhash: bool = False) -> results.Simulation:
        """Run a transaction without landing it."""
        options = {
            "encoding": "base64",
            "commitment": "confirmed",
            "sigVerify": not replace_blockhash,
            "replaceRecentBlockhash": replace_blockhash,
        }
        encoded = b64encode(wire).decode("ascii")
        return results.simulation(await self.call("simulateTransaction", [encoded, options]))

    async def balance(self, address: str, commitment: str = "confirmed") -> int:
        """Lamports of an account, 0 where there is none."""
        answer = await self.call("getBalance", [address, {"commitment": commitment}])
        return results.integer(results.with_context(answer)[1], "balance")

    async def request_airdrop(self, address: str, lamports: int) -> str:
        """Ask a test chain for lamports. Returns the signature of the transfer."""
        return results.text(await self.call("requestAirdrop", [address, lamports]), "signature")

    async def health(self) -> str:
        """ "ok". A node that is behind raises RpcUnavailable."""
        return results.text(await self.call("getHealth"), "health")

    async def version(self) -> str:
        """The node's version."""
        answer = results.mapping(await self.call("getVersion"), "version")
        return results.text(answer.get("solana-core"), "solana-core")

    async def genesis_hash(self) -> str:
        """Which chain this is."""
        return results.text(await self.call("getGenesisHash"), "genesis hash")

    async def account_info(self, address: str, commitment: str = "confirmed") -> results.AccountInfo | None:
        """One account, or None."""
        options = {"encoding": "base64", "commitment": commitment}
        answer = await self.call("getAccountInfo", [address, options])
        return results.account_info(results.with_context(answer)[1])

    async def multiple_accounts(
        self, addresses: Sequence[str], commitment: str = "confirmed"
    ) -> list[results.AccountInfo | None]:
        """Accounts in order, None where there is none; 100 per call."""
        options = {"encoding": "base64", "commitment": commitment}
        found: list[results.AccountInfo | None] = []
        for at in range(0, len(addresses), ACCOUNT_CHUNK):
            chunk = list(addresses[at : at + ACCOUNT_CHUNK])
            answer = await self.call("getMultipleAccounts", [chunk, options])
            values = results.sequence(results.with_context(answer)[1], "accounts", len(chunk))
            found.extend(results.account_info(value) for value in values)
        return found

    def _take_ids(self, count: int) -> int:
        first, self._next_id = self._next_id, self._next_id + count
        return first

    async def _post(self, body: bytes, method: str) -> tuple[int, bytes]:
        """HTTP status and body. Every way of getting no answer is RpcUnavailable."""
        session = self._session
        if session is None or session.closed:
            raise RpcUnavailable("the RPC client is closed", method=method, host=self.host)
        try:
            # Redirects are refused: they would carry signed bytes to an address nobody configured.
            async with (
                asyncio.timeout(self._timeout_s),
                self._slots,
                session.post(self._url, data=body, allow_redirects=False) as response,
            ):
                return response.status, await _read_bounded(response)
        except TimeoutError:
            raise RpcUnavailable(
                f"{self.host} did not answer {method} within {self._timeout_s} s",
                method=method,
                host=self.host,
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            # The error's own text may hold the address; its type says enough.
            raise RpcUnavailable(
                f"{self.host} could not be asked for {method}: {type(error).__name__}",
                method=method,
                host=self.host,
            ) from None


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, unless it is absurdly long."""
    parts: list[bytes] = []
    size = 0
    while part := await response.content.read(ANSWER_LIMIT_BYTES):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT_BYTES:
            raise RpcMalformed("the answer is too long", limit_bytes=ANSWER_LIMIT_BYTES)
    return b"".join(parts)


def _transaction_params(signature: str, commitment: str) -> list[object]:
    # Without the version a node answers -32015 for anything newer than legacy.
    return [signature, {"encoding": "base64", "commitment": commitment, "maxSupportedTransactionVersion": 1}]
