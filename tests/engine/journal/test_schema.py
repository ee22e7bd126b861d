"""The SBE schema and kernels/frames.py say the same, and a C compiler lays the schema out as numpy does."""

from __future__ import annotations

import enum
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kernels import frames as f
from kernels.crc32c import seal_frames, words_of
from kernels.frames import Template

SCHEMA = Path(__file__).resolve().parents[3] / "engine" / "journal" / "schema" / "godark.xml"
SBE = "{http://fixprotocol.io/2016/sbe}"
NUMPY_OF = {
    "int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
}  # fmt: skip
ENUMS: list[type[enum.IntEnum]] = [
    f.Source,
    f.TransferKind,
    f.SettingKind,
    f.ObservationKind,
    f.TickKind,
    f.CandidateKind,
    f.LiquidationKind,
    f.OutcomeStage,
    f.CorrectionKind,
    f.StatusKind,
    f.ParamKey,
    f.Refusal,
    f.Fault,
]
ENUM_FIELDS = {
    (Template.TRANSFER, "flags"): "TransferKind",
    (Template.SETTING, "kind"): "SettingKind",
    (Template.OBSERVATION, "kind"): "ObservationKind",
    (Template.TICK, "kind"): "TickKind",
    (Template.PARAM, "key"): "ParamKey",
    (Template.CANDIDATE, "kind"): "CandidateKind",
    (Template.LIQUIDATION_ORDER, "kind"): "LiquidationKind",
    (Template.OUTCOME, "stage"): "OutcomeStage",
    (Template.CORRECTION, "kind"): "CorrectionKind",
    (Template.STATUS_REQUEST, "kind"): "StatusKind",
    (Template.REFUSAL, "reason"): "Refusal",
    (Template.MARKET_STATE, "reason"): "Refusal",
    (Template.FAULT, "code"): "Fault",
    **{(template, "source"): "Source" for template in Template},
}


class Field(NamedTuple):
    """One field as the schema gives it: type name, primitive type, offset within the block."""

    name: str
    type: str
    primitive: str
    offset: int


class Message(NamedTuple):
    """One message as the schema gives it."""

    name: str
    template: int
    block_length: int
    fields: list[Field]


ROOT = ET.parse(SCHEMA).getroot()
TYPES = {e.attrib["name"]: e.attrib["primitiveType"] for e in ROOT.findall("types/type")}
XML_ENUMS = {e.attrib["name"]: e for e in ROOT.findall("types/enum")}


def primitive_of(name: str) -> str:
    """The primitive type behind a type or enum of the schema."""
    if name in NUMPY_OF:
        return name
    if name in TYPES:
        return TYPES[name]
    return primitive_of(XML_ENUMS[name].attrib["encodingType"])


def read_message(element: ET.Element) -> Message:
    fields = [
        Field(e.attrib["name"], e.attrib["type"], primitive_of(e.attrib["type"]), int(e.attrib["offset"]))
        for e in element.findall("field")
    ]
    a = element.attrib
    return Message(a["name"], int(a["id"]), int(a["blockLength"]), fields)


MESSAGES = [read_message(e) for e in ROOT.findall(f"{SBE}message")]
BY_TEMPLATE = {m.template: m for m in MESSAGES}


def message_name(template: Template) -> str:
    return "".join(part.capitalize() for part in template.name.split("_")) + "Frame"


def one_frame(template: Template, seed: int) -> np.ndarray:
    """A sealed frame whose every byte of payload and trailer is drawn at random."""
    frame = f.new_frames(template, 1, source=f.Source.ADMIN, first_seq=seed + 1)
    frame.view(np.uint8)[8:60] = np.random.default_rng(seed).integers(0, 256, 52)
    seal_frames(words_of(frame), 0, 1)
    return frame


def test_schema_head() -> None:
    assert ROOT.tag == f"{SBE}messageSchema"
    assert ROOT.attrib["byteOrder"] == "littleEndian"
    assert ROOT.attrib["headerType"] == "messageHeader"
    assert int(ROOT.attrib["id"]) == f.SCHEMA_ID
    assert int(ROOT.attrib["version"]) == f.SCHEMA_VERSION


def test_message_header_is_the_first_eight_bytes() -> None:
    header = ROOT.find("types/composite[@name='messageHeader']")
    assert header is not None
    names = {
        "blockLength": "block_length",
        "templateId": "template",
        "schemaId": "schema",
        "version": "version",
    }
    given = [(names[e.attrib["name"]], NUMPY_OF[e.attrib["primitiveType"]]) for e in header]
    assert given == f.HEADER[:4]


def test_every_template_is_one_message() -> None:
    assert {(m.template, m.name) for m in MESSAGES} == {(int(t), message_name(t)) for t in Template}
    assert len(MESSAGES) == len(Template) == len(f.DTYPES)


@pytest.mark.parametrize("template", Template, ids=lambda t: t.name)
def test_fields_are_those_of_the_dtype(template: Template) -> None:
    """Name, offset, size and signedness of every field, in order: equal lists, so neither side has more."""
    message, dtype = BY_TEMPLATE[int(template)], f.DTYPES[template]
    assert dtype.fields is not None and dtype.names is not None
    header = [name for name, _ in f.HEADER[:4]]
    wanted = [(n, dtype.fields[n][0], dtype.fields[n][1]) for n in dtype.names if n not in header]
    given = [(x.name, np.dtype(NUMPY_OF[x.primitive]), x.offset + 8) for x in message.fields]
    assert given == wanted
    assert message.block_length == f.BLOCK_LENGTH


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.name)
def test_fields_fill_the_block_once(message: Message) -> None:
    used = [0] * message.block_length
    for field in message.fields:
        for at in range(field.offset, field.offset + np.dtype(NUMPY_OF[field.primitive]).itemsize):
            used[at] += 1
    assert used == [1] * f.BLOCK_LENGTH


def test_ids_and_names_are_unique() -> None:
    names = [*TYPES, *XML_ENUMS, *(m.name for m in MESSAGES), "messageHeader"]
    assert len({n.lower() for n in names}) == len(names)
    for element in ROOT.findall(f"{SBE}message"):
        ids = [e.attrib["id"] for e in element.findall("field")]
        assert len(set(ids)) == len(ids)


def test_enums_are_those_of_frames() -> None:
    assert set(XML_ENUMS) == {e.__name__ for e in ENUMS}
    in_frames = {
        name
        for name, value in vars(f).items()
        if isinstance(value, type) and issubclass(value, enum.IntEnum) and value.__module__ == f.__name__
    }
    assert in_frames == set(XML_ENUMS) | {"Template"}
    for wanted in ENUMS:
        given = [
            (v.attrib["name"], int(v.text or "")) for v in XML_ENUMS[wanted.__name__].findall("validValue")
        ]
        assert given == [(m.name, m.value) for m in wanted]


def test_enums_stand_where_they_are_used() -> None:
    used = {(Template(m.template), x.name): x.type for m in MESSAGES for x in m.fields if x.type in XML_ENUMS}
    assert used == ENUM_FIELDS


def test_everything_is_described_and_spares_say_zero() -> None:
    for tag in ("types/type", "types/enum", "types/enum/validValue", f"{SBE}message", f"{SBE}message/field"):
        for element in ROOT.findall(tag):
            assert element.attrib.get("description", "").strip(), element.attrib
            if element.attrib["name"].startswith("spare"):
                assert element.attrib["description"] == "Zero"


def test_units_are_said() -> None:
    """Times, money and the mixed-scale numbers name their unit in the description."""
    for element in ROOT.findall(f"{SBE}message/field"):
        name, said = element.attrib["name"], element.attrib["description"]
        if name.endswith("_e6"):
            assert "1e-6 USDC" in said
        if name in ("time_ns", "now_ns", "publish_ns", "not_before_ns"):
            assert "ns since 1970 UTC" in said
        if name == "size":
            assert "lots" in said


def c_program() -> str:
    """C that prints `template field offset size` of each struct, then the fields of each frame on stdin.

    Offsets come from the order and types of the schema's fields alone; a struct without `packed` must
    agree, so every field is aligned.
    """
    out = ["#include <stddef.h>", "#include <stdint.h>", "#include <stdio.h>", "#include <string.h>"]
    show, decode = [], []
    for m in MESSAGES:
        body = " ".join(f"{x.primitive}_t {x.name};" for x in m.fields)
        body = f"uint16_t block_length, template_id, schema_id, version; {body}"
        out.append(f"struct __attribute__((packed)) {m.name} {{ {body} }};")
        out.append(f"struct {m.name}Aligned {{ {body} }};")
        out.append(f'_Static_assert(sizeof(struct {m.name}) == 64, "size");')
        decode.append(f"case {m.template}: {{ struct {m.name} m; memcpy(&m, raw, 64);")
        for x in m.fields:
            out.append(
                f"_Static_assert(offsetof(struct {m.name}, {x.name}) == "
                f'offsetof(struct {m.name}Aligned, {x.name}), "alignment");'
            )
            show.append(
                f'printf("{m.template} {x.name} %zu %zu\\n", offsetof(struct {m.name}, {x.name}), '
                f"sizeof(((struct {m.name} *)0)->{x.name}));"
            )
            decode.append(f'printf("{m.template} {x.name} %lld\\n", (long long)m.{x.name});')
        decode.append("break; }")
    out += ["int main(void) { unsigned char raw[64];", *show, 'puts("--");']
    out += ["while (fread(raw, 64, 1, stdin) == 1) switch (raw[2] | raw[3] << 8) {", *decode, "} return 0; }"]
    return "\n".join(out)


@pytest.fixture(scope="module")
def c_said(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Lines of the C program: the layout, and what it decoded of one random frame per template."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: the schema's C layout is not checked")
    where = tmp_path_factory.mktemp("schema")
    (where / "layout.c").write_text(c_program())
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Werror", "-o", where / "layout", where / "layout.c"],
        check=True,
        timeout=60,
    )
    frames = b"".join(one_frame(t, int(t)).tobytes() for t in Template)
    done = subprocess.run([where / "layout"], input=frames, capture_output=True, check=True, timeout=30)
    layout, decoded = done.stdout.decode().split("--\n")
    return layout.splitlines(), decoded.splitlines()


def test_c_lays_out_as_numpy(c_said: tuple[list[str], list[str]]) -> None:
    wanted = []
    for template in Template:
        fields = f.DTYPES[template].fields
        assert fields is not None
        for name, (kind, offset) in list(fields.items())[4:]:  # type: ignore[misc]
            wanted.append(f"{int(template)} {name} {offset} {kind.itemsize}")
    assert c_said[0] == wanted


def test_c_decodes_what_numpy_encodes(c_said: tuple[list[str], list[str]]) -> None:
    wanted = []
    for template in Template:
        row = one_frame(template, int(template))[0]
        wanted += [f"{int(template)} {name} {int(row[name])}" for name in (row.dtype.names or ())[4:]]
    assert c_said[1] == wanted
