"""The page that checks a proof file, as a text: one file, which names nobody to ask."""

from __future__ import annotations

from pathlib import Path

from relayer.core.proof_file import FILE_LIMIT_BYTES, FORMAT

PAGE = Path(__file__).resolve().parents[3] / "relayer" / "verify" / "proof.html"


def test_the_page_is_one_file_that_names_no_address() -> None:
    text = PAGE.read_text()
    assert "default-src 'none'" in text
    for word in ("http:", "//cdn", "src=", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML"):
        assert word not in text, word
    assert FORMAT in text
    assert f"LIMIT_BYTES = {FILE_LIMIT_BYTES}," in text
