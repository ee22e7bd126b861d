"""Frames: sizes, spare masks, new frames, keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import frames as f
from kernels.frames import Template

templates = pytest.mark.parametrize("template", Template, ids=lambda t: t.name)


def spare_bytes(template: Template) -> set[int]:
    """Offsets that must be zero, straight from the layout's names."""
    fields = f.DTYPES[template].fields
    assert fields is not None
    out = set() if template in (Template.TRANSFER, Template.PART) else {57}
    for name, (kind, offset) in fields.items():  # type: ignore[misc]
        if name.startswith("spare"):
            out |= set(range(offset, offset + kind.itemsize))
    return out


@templates
def test_a_frame_is_64_bytes_with_common_ends(template: Template) -> None:
    dtype = f.DTYPES[template]
    assert dtype.itemsize == f.FRAME_BYTES == 64
    assert dtype.fields is not None and f.FRAME.fields is not None
    at = {"seq": 8, "source": 56, "flags": 57, "market": 58, "crc": 60}
    for name in ("block_length", "template", "schema", "version", *at):
        assert dtype.fields[name] == f.FRAME.fields[name]
    assert {name: dtype.fields[name][1] for name in at} == at
    payload = [np.dtype(kind).itemsize for _, kind in f.PAYLOADS[template]]
    assert sum(payload) == f.PAYLOAD_BYTES == 40


@templates
def test_fields_are_naturally_aligned(template: Template) -> None:
    fields = f.DTYPES[template].fields
    assert fields is not None
    for kind, offset in fields.values():  # type: ignore[misc]
        assert offset % kind.itemsize == 0


@templates
def test_payload_fields_are_signed(template: Template) -> None:
    """Mixed signedness behaves differently with the JIT off; only two CRCs of the group header are not."""
    for name, kind in f.PAYLOADS[template]:
        if (template, name) not in ((Template.GROUP, "chain"), (Template.GROUP, "witness")):
            assert np.dtype(kind).kind == "i"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ([("a", "<i8")], "bytes"),
        ([("a", "<i4"), ("b", "<i8"), *[(f"c{k}", "<i4") for k in range(7)]], "aligned"),
    ],
)
def test_a_layout_that_is_off_stops_the_process(
    monkeypatch: pytest.MonkeyPatch, payload: list[tuple[str, str]], said: str
) -> None:
    wrong = {**f.DTYPES, Template.TICK: np.dtype([*f.HEADER, *payload, *f.TRAILER])}
    monkeypatch.setattr(f, "DTYPES", wrong)
    with pytest.raises(AssertionError, match=f"TICK.*{said}"):
        f._check_layouts()


@templates
def test_spare_mask_covers_exactly_the_spare_bytes(template: Template) -> None:
    mask = f.spare_words()[int(template)].view(np.uint8)
    spare = spare_bytes(template)
    assert [int(b) for b in mask] == [0xFF if k in spare else 0 for k in range(64)]


@given(st.sampled_from(list(Template)), st.integers(0, 2**32), st.integers(0, 511))
def test_spare_mask_sees_a_set_bit_only_where_spare(template: Template, seed: int, bit: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, 64, dtype=np.uint8)
    spare = spare_bytes(template)
    raw[list(spare)] = 0
    mask = f.spare_words()[int(template)]
    assert not np.any(raw.view(np.int64) & mask)
    raw[bit // 8] ^= 1 << (bit % 8)
    assert bool(np.any(raw.view(np.int64) & mask)) == (bit // 8 in spare)


def test_spare_mask_of_unknown_templates_is_empty() -> None:
    masks = f.spare_words()
    assert masks.shape == (128, 8) and masks.dtype == np.int64
    for number in set(range(128)) - {int(t) for t in Template}:
        assert not masks[number].any()


@given(
    st.sampled_from(list(Template)), st.sampled_from(list(f.Source)), st.integers(1, 2**62), st.integers(0, 9)
)
def test_new_frames(template: Template, source: f.Source, first_seq: int, count: int) -> None:
    rows = f.new_frames(template, count, source=source, first_seq=first_seq)
    assert len(rows) == count and rows.dtype == f.DTYPES[template]
    for k, row in enumerate(rows):
        head = [56, int(template), 7011, 1, first_seq + k]
        assert [int(row[n]) for n in ("block_length", "template", "schema", "version", "seq")] == head
        assert int(row["source"]) == int(source)
        assert row.tobytes()[16:56] == bytes(40)
        assert row.tobytes()[57:64] == bytes(7)


def test_what_is_journaled() -> None:
    assert {t for t in Template if 1 <= t <= 12} == f.JOURNALED
    assert Template.GROUP not in f.JOURNALED and Template.REFUSAL not in f.JOURNALED


@given(st.binary(min_size=32, max_size=32))
def test_key_words_are_the_key(key: bytes) -> None:
    words = f.key_words(key)
    assert b"".join(w.to_bytes(8, "little", signed=True) for w in words) == key


@given(st.binary(min_size=20, max_size=20))
def test_a_short_address_follows_twelve_zeros(address: bytes) -> None:
    assert f.key_words(address) == f.key_words(bytes(12) + address)


@pytest.mark.parametrize("length", [0, 19, 21, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        f.key_words(bytes(length))
