"""The page that checks a proof file, in a real browser: it asks nobody, and judges as `godark verify-proof` does."""

from __future__ import annotations

import base64
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.common.errors import GodarkError
from relayer.core import note
from relayer.core.proof_check import check
from relayer.core.proof_file import ProofFile, decode, encode
from tests.relayer.core.fills import KEY, ORIGIN, SIGNER, STRANGER, leaves_of, log_of, proof_file, signed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: the page is not tested in a browser"
)

PAGE = Path(__file__).resolve().parents[3] / "relayer" / "verify" / "proof.html"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
if BROWSER is None:
    pytest.skip(f"no browser: the page is not tested in one; install {BROWSERS[0]}", allow_module_level=True)
LEAVES = leaves_of(13)
FILE = proof_file(LEAVES, 5)
STEPS = ["File", "Leaf", "Checkpoint", "Path", "Key", "Signature", "Chain"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # A browser run by root has no sandbox; it opens one file of ours, and nothing else.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=arguments, timeout=30_000)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """The page as a file, on a phone without a network; whatever it asks for or complains of fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, offline=True)
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    asked: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(PAGE.as_uri())
    yield opened
    context.close()
    assert asked == [PAGE.as_uri()]
    assert complaints == []


def choose(page: Page, data: bytes) -> str:
    """Choose a file; the verdict's first words. The verdict of the file before goes first: reading takes a moment."""
    page.evaluate("document.querySelector('#verdict').replaceChildren()")
    page.set_input_files("#file", {"name": "proof.json", "mimeType": "application/json", "buffer": data})
    return verdict(page)


def verdict(page: Page) -> str:
    page.wait_for_function("last.then(() => document.querySelector('#verdict b') !== null)")
    return page.inner_text("#verdict b")


def steps(page: Page) -> dict[str, str]:
    """Step by step, good, bad or open."""
    rows = page.eval_on_selector_all(
        "#steps li", "rows => rows.map(r => [r.children[1].textContent, r.className])"
    )
    return {text.partition(":")[0]: kind for text, kind in rows}


def test_a_good_proof_is_shown_step_by_step(page: Page) -> None:
    assert choose(page, encode(FILE)) == "Proven"
    assert steps(page) == {name: "open" if name == "Chain" else "good" for name in STEPS}
    shown = page.inner_text("main")
    for value in (FILE.leaf.seq, FILE.leaf.price, abs(FILE.leaf.size), FILE.leaf.trade_id, KEY, ORIGIN):
        assert str(value) in shown
    assert check(FILE).leaf_hash.hex() in shown
    assert "whose key it is" in page.inner_text("#limits")


def test_every_shape_of_log_is_proven(page: Page) -> None:
    for size in (1, 2, 3, 7, 8, 13):
        for index in {0, size // 2, size - 1}:
            assert choose(page, encode(proof_file(LEAVES, index, size))) == "Proven", (index, size)


def test_what_is_wrong_is_named_at_its_step(page: Page) -> None:
    other = replace(FILE, leaf=FILE.leaf._replace(price=FILE.leaf.price ^ 1))
    # The path of the last leaf is short, and is where that of number 3 begins; 16 goes right all the way, as 0 does.
    elsewhere, beyond = replace(proof_file(LEAVES, 12), index=3), replace(proof_file(LEAVES, 0), index=16)
    wrong = {
        "Path": [
            other,
            elsewhere,
            beyond,
            replace(FILE, index=4),
            replace(FILE, index=13),
            replace(FILE, proof=FILE.proof[:-1]),
        ],
        "Signature": [replace(FILE, checkpoint=signed(log_of(LEAVES), 13, STRANGER))],
    }
    for step, files in wrong.items():
        for file in files:
            assert choose(page, encode(file)) == "Not proven"
            assert list(steps(page))[-1] == step
            assert steps(page)[step] == "bad"
    for data in (b"", b"{}", b"\xff", encode(FILE)[:-9], b" " * 300_000):
        assert choose(page, data) == "Not proven"
        assert steps(page) == {"File": "bad"}
    assert choose(page, encode(FILE)) == "Proven", "a later file is judged anew"


def test_page_and_command_judge_alike(page: Page) -> None:
    """Single bits anywhere, and spellings that one reader might take and another not."""
    data = encode(FILE)
    changed = []
    for at in random.Random(5).sample(range(8 * len(data)), 400):
        bits = bytearray(data)
        bits[at >> 3] ^= 1 << (at & 7)
        changed.append(bytes(bits))
    for before, after in (
        (b'"index": "5"', b'"index": "05"'),
        (b'"index": "5"', b'"index": "5", "index": "5"'),
        (b'"index": "5"', b'"index": "\\u0035"'),
        (b'"index": "5"', b'"index": 5'),
        (b'"version": 1', b'"version": 1.0'),
        (b'"version": 1', b'"version": true'),
        (b'"flags": 0', b'"flags": -0'),
        (b'"rpc": "devnet"', b'"rpc": "\xc2\x85"'),
        (b'"rpc": "devnet"', b'"rpc": "\xc2\xa0"'),
        (b'"rpc": "devnet"', b'"rpc": "a node"'),
        (b'"rpc": "devnet"', '"rpc": "知"'.encode()),
        (b'"rpc": "devnet"', b'"rpc": "\\ud800"'),
        (b'"slot": "1234"', b'"slot": "-1"'),
        (b'"slot": "1234"', b'"slot": "9223372036854775808"'),
        (b'"slot": "1234"', b'"slot": "1234", "x": 1'),
        (b'"slot": "1234"', b'"slots": "1234"'),
        (b"\n", b"\r\n"),
        (b"  ", b"\t"),
        (b"  ", b"\xc2\xa0"),
        (b"{", b"\xef\xbb\xbf{"),
        (b"  ", b""),
    ):
        assert before in data
        changed.append(data.replace(before, after))
    changed += [data.replace(one.encode(), respelled(one).encode()) for one in base64_texts()]
    changed.append(encode(with_key_id(FILE, bytes.fromhex("deadbeef"))))
    body = FILE.checkpoint.partition(b"\n\n")[0] + b"\n"
    foreign = replace(
        FILE, checkpoint=note.sign(body, "other", SIGNER), key=note.verifier_key("other", SIGNER)
    )
    changed.append(encode(foreign))
    page.evaluate("window.quiet = { fill() {}, async step(name, work) { return (await work())[0]; } }")
    found = page.evaluate(
        """files => Promise.all(files.map(async file => {
            const bytes = Uint8Array.from(atob(file), c => c.charCodeAt(0));
            try { return (await check(bytes, { key: "", held: "" }, quiet)).valid; }
            catch (error) { return error instanceof Wrong ? false : String(error); }
        }))""",
        [base64.b64encode(one).decode() for one in changed],
    )
    assert found == [judged(one) for one in changed]
    assert True in found
    assert found.count(False) > 300


def base64_texts() -> list[str]:
    """A hash of the proof, the root, the signature: each has bits to spare in its last character."""
    _, _, root, _, signature, _ = FILE.checkpoint.decode().split("\n")
    return [base64.b64encode(FILE.proof[0]).decode(), root, signature.rpartition(" ")[2]]


def respelled(text: str) -> str:
    """Other base64 of the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    changed = text[:-2] + alphabet[alphabet.index(text[-2]) ^ 1] + "="
    assert base64.b64decode(changed) == base64.b64decode(text)
    return changed


def with_key_id(file: ProofFile, key_id: bytes) -> ProofFile:
    """The file with another key id, in the key and in the signature alike."""
    body, _, line = file.checkpoint.decode().rpartition(" ")
    signature = base64.b64encode(key_id + base64.b64decode(line)[4:]).decode()
    name, _, public = file.key.split("+", 2)
    return replace(file, checkpoint=f"{body} {signature}\n".encode(), key=f"{name}+{key_id.hex()}+{public}")


def judged(data: bytes) -> bool:
    """What the command says."""
    try:
        check(decode(data))
    except GodarkError:
        return False
    return True


def test_what_is_known_from_elsewhere_is_held_against_the_file(page: Page) -> None:
    log, other = log_of(LEAVES), log_of(leaves_of(13, seed=2))
    choose(page, encode(FILE))
    page.click("summary")
    for key, wanted in (
        (KEY, "Proven"),
        (KEY[:-1], "Not proven"),
        (forged_key(), "Not proven"),
        ("", "Proven"),
    ):
        page.fill("#key", key)
        assert verdict(page) == wanted
    page.fill("#held", signed(log, 12).decode())
    assert verdict(page) == "Not proven"
    assert "your checkpoint is at 12 leaves" in page.inner_text("#verdict")
    for held, wanted in (
        (signed(log, 13).decode(), "Proven"),
        (signed(log, 13).decode().partition("\n\n")[0], "Proven"),
        (signed(log, 13).decode().replace("\n", "\r\n"), "Proven"),
        ("nonsense", "Not proven"),
        (signed(other, 13).decode(), "Not proven"),
    ):
        page.fill("#held", held)
        assert verdict(page) == wanted, held
    assert "split view" in page.inner_text("#verdict")
    page.fill("#held", signed(other, 13, STRANGER).decode())
    assert "split view" not in page.inner_text("#verdict")


def forged_key() -> str:
    return note.verifier_key(ORIGIN, STRANGER)


def test_a_browser_without_ed25519_says_so_and_proves_nothing(page: Page) -> None:
    none = 'async () => { throw new DOMException("none", "NotSupportedError"); }'
    page.evaluate(f"() => {{ crypto.subtle.importKey = {none}; }}")
    assert choose(page, encode(FILE)) == "Not proven yet"
    assert steps(page)["Signature"] == "open"
    assert "no Ed25519" in page.inner_text("#steps")
    page.click("summary")
    page.fill("#held", signed(log_of(LEAVES), 13).decode())
    assert verdict(page) == "Proven to your checkpoint"


def test_a_page_without_web_crypto_says_how_to_open_it(page: Page) -> None:
    page.evaluate("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    assert choose(page, encode(FILE)) == "Not proven"
    assert "opened as a file or over https" in page.inner_text("#verdict")


def test_a_dropped_file_is_checked(page: Page) -> None:
    prevented = page.evaluate(
        """data => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([data], "proof.json"));
            const drop = { dataTransfer: dropped, bubbles: true, cancelable: true };
            return !document.body.dispatchEvent(new DragEvent("drop", drop));
        }""",
        encode(FILE).decode(),
    )
    page.wait_for_selector("#verdict.good")
    assert prevented, "else the browser opens the file in the page's place"


def test_the_keyboard_reaches_everything(page: Page) -> None:
    reached = []
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.localName"))
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.localName"))
    assert reached == ["file", "summary", "key", "held"]
    unnamed = "inputs => inputs.filter(input => !input.labels.length).length"
    assert page.eval_on_selector_all("input, textarea", unnamed) == 0
    assert page.get_attribute("#verdict", "aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone_by_day_and_by_night(page: Page, scheme: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    colours = {}
    for file in (FILE, replace(FILE, index=4)):
        choose(page, encode(file))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        for selector in ("body", "#verdict b", "#steps .mark", ".quiet", "dt", "#steps li.open .mark"):
            if page.query_selector(selector):
                colours[selector, file.index] = page.eval_on_selector(
                    selector, "e => getComputedStyle(e).color"
                )
    ground = luminance(page.eval_on_selector("body", "e => getComputedStyle(e).backgroundColor"))
    assert (ground < 0.1) == (scheme == "dark")
    for where, colour in colours.items():
        low, high = sorted((luminance(colour), ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (where, colour)
    choose(page, encode(FILE))
    keep = Path(os.environ.get("GODARK_TEST_PICTURES", tmp_path))
    assert page.screenshot(path=keep / f"proof-{scheme}.png", full_page=True).startswith(b"\x89PNG")


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it, of an `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
