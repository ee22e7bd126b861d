"""Transactions for the devnet's tests."""

from solders.keypair import Keypair
from solders.transaction import VersionedTransaction

from relayer.chain import messages
from relayer.devnet.bank import Bank
from relayer.devnet.node import Node
from relayer.signer.keyfile import KeyfileSigner

SEED = bytes(range(32))
KEYPAIR = Keypair.from_seed(bytes([9] * 32))
SIGNER = KeyfileSigner(KEYPAIR)


def memo(blockhash: object, text: str = "hello", signer: KeyfileSigner = SIGNER) -> messages.Signed:
    """A signed memo on a blockhash."""
    return messages.sign(messages.memo_message(text.encode(), signer.public_key, str(blockhash)), signer)


def parsed(bank: Bank, signed: messages.Signed) -> VersionedTransaction:
    """As the bank takes it."""
    return bank.parse(signed.wire)


def fund(node: Node) -> None:
    """Lamports for the signer."""
    node.airdrop(SIGNER.public_key, 10**10)


def send(node: Node, text: str) -> str:
    """Land a memo on the newest blockhash; its signature."""
    signed = memo(node.bank.blockhash(node.bank.slot), text)
    node.submit(parsed(node.bank, signed))
    return signed.signature
