"""The picture of budgets."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench._picture import BAR_PX, MET, MISSED, bar_px, picture, reach
from bench.harness import Budget

SVG = "{http://www.w3.org/2000/svg}"


def row(figure: float, goal: str, checked: bool = True) -> dict[str, object]:
    return Budget("a < b & c", figure, "x", goal, checked).row()


@pytest.mark.parametrize(
    ("figure", "goal", "expected"), [(20.0, "≥ 10", 2.0), (5.0, "≥ 10", 0.5), (20.0, "≤ 10", 0.5)]
)
def test_reach_is_one_at_the_goal_and_more_is_better(figure: float, goal: str, expected: float) -> None:
    assert reach(row(figure, goal)) == expected


def test_bars_stay_in_their_room() -> None:
    lengths = [bar_px(row(figure, "≥ 10")) for figure in (0.0, 0.1, 10.0, 1e9)]
    assert lengths == [0, 0, BAR_PX / 2, BAR_PX]


def test_the_picture_is_sound_and_tells_met_missed_and_wrong() -> None:
    root = ElementTree.fromstring(picture([row(20, "≥ 10"), row(2, "≥ 10"), row(20, "≥ 10", False)]))
    fills = [rect.get("fill") for rect in root.iter(f"{SVG}rect")]
    assert fills == ["white", MET, MISSED, MISSED]
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert texts.count("a < b & c") == 3
    assert [text for text in texts if "answer wrong" in text] == ["20 x (≥ 10), answer wrong"]
