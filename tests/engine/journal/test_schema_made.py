"""What is checked in for others is what the code makes, and every field, value and fault has its words."""

from __future__ import annotations

import enum

import pytest

from engine.app.cli import ROOT, execute
from engine.journal.schema import c_header, sbe
from engine.journal.schema.enums import ENUMS, FAULT_ANSWERS
from engine.journal.schema.messages import COMMON, ENUM_FIELDS, MESSAGES
from kernels import frames as f
from kernels.frames import Template

AGAIN = "run `./godark schema --write`"


def test_the_xml_is_what_the_code_makes() -> None:
    assert sbe.FILE.read_text() == sbe.schema_text(), AGAIN


def test_the_c_header_is_what_the_code_makes() -> None:
    assert c_header.FILE.read_text() == c_header.header_text(), AGAIN


@pytest.mark.parametrize("template", Template, ids=lambda t: t.name)
def test_words_are_for_fields_that_are_there(template: Template) -> None:
    """And for all of them: `fields_of` raises for one without words."""
    names = {field.name for field in sbe.fields_of(template)}
    assert set(MESSAGES[template].fields) <= names
    assert all(field.description for field in sbe.fields_of(template))
    for name, said in MESSAGES[template].fields.items():
        assert COMMON.get(name) != said, f"{name}: the common words say the same"


def test_words_of_values_are_those_of_the_enumerations() -> None:
    for enumeration, words in ENUMS.items():
        assert list(words.values) == [member.name for member in enumeration]
    assert set(FAULT_ANSWERS) == set(f.Fault)
    for template, name in ENUM_FIELDS:
        assert name in f.DTYPES[template].names or ()


def test_a_field_without_words_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MESSAGES, Template.FILL, MESSAGES[Template.FILL]._replace(fields={}))
    with pytest.raises(KeyError, match=r"FILL\.time_ns.*no words"):
        sbe.fields_of(Template.FILL)


def test_an_enumeration_that_no_field_carries_is_named() -> None:
    with pytest.raises(KeyError, match="Stray"):
        sbe.encoding_of(enum.IntEnum("Stray", {"A": 1}))


@pytest.mark.parametrize(("flags", "path"), [([], sbe.FILE), (["--c"], c_header.FILE)])
def test_the_command_prints_it(flags: list[str], path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["schema", *flags]) == 0
    assert capsys.readouterr().out == path.read_text()  # type: ignore[attr-defined]


def test_write_brings_both_up_to_date(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sbe, "FILE", tmp_path / "a.xml")  # type: ignore[operator]
    monkeypatch.setattr(c_header, "FILE", tmp_path / "b.h")  # type: ignore[operator]
    assert execute(["schema", "--write"]) == 0
    assert sbe.FILE.read_text() == sbe.schema_text()
    assert c_header.FILE.read_text() == c_header.header_text()


@pytest.mark.parametrize("why", [fault for fault in f.Fault if fault], ids=lambda w: w.name)
def test_each_fault_has_its_line_in_the_readme(why: f.Fault) -> None:
    """Code, name, what it means, what the peer does: as the schema and the C header have them."""
    said = ENUMS[f.Fault].values[why.name]
    line = f"| {int(why)} | `{why.name}` | {said} | {FAULT_ANSWERS[why]} |"
    assert line in (ROOT / "engine" / "gateway" / "README.md").read_text().splitlines()
