"""The ways of messages on the pages that draw them: every named hop is there, and the picture shows all of them."""

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("hops", ROOT / "docs" / "hops.py")
assert SPEC is not None
assert SPEC.loader is not None
hops: Any = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = hops
SPEC.loader.exec_module(hops)

WAYS = [hops.Way.load(file) for file in hops.PAGES.values()]
HOPS = [hop for way in WAYS for hop in way.hops]
EACH = pytest.mark.parametrize("way", WAYS, ids=list(hops.PAGES))
SVG = "{http://www.w3.org/2000/svg}"
LANE = '[[lane]]\nname = "a"\ntitle = "A"\n'


@cache
def defined(file: Path) -> set[str]:
    """The qualified names of the functions in a file, `Class.function` for those of a class."""
    names = set()

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(f"{prefix}{node.name}")
            elif isinstance(node, ast.ClassDef):
                look(node.body, f"{node.name}.")

    look(ast.parse(file.read_text()).body, "")
    return names


@pytest.mark.parametrize("hop", [hop for hop in HOPS if hop.function], ids=lambda hop: hop.function)
def test_a_named_hop_exists(hop):
    assert hop.function in defined(ROOT / "src" / "nexios_trio" / hop.file)


@pytest.mark.parametrize("hop", [hop for hop in HOPS if hop.by], ids=lambda hop: hop.function or hop.file)
def test_who_fills_a_place_exists(hop):
    names = {name for file in (ROOT / "src" / "nexios_trio").rglob("*.py") for name in defined(file)}
    names |= {"use_box", "WriteNow", "on_message"}  # a class, and places
    words = [word.strip(",:.") for word in hop.by.split()]
    said = [word for word in words if len(word) > 1 and ("_" in word or "." in word or word[0].isupper())]
    assert said
    assert set(said) <= names


@EACH
def test_the_picture_has_every_hop_and_every_hand_off(way):
    svg = ElementTree.fromstring(hops.render_svg(way))
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    for number, hop in enumerate(way.hops, 1):
        assert f"{number} {hop.function or hop.file}" in texts
        assert not hop.by or hop.by in texts
    assert len(list(svg.iter(f"{SVG}rect"))) == len(way.hops)
    dashed = [path for path in svg.iter(f"{SVG}path") if path.get("stroke-dasharray")]
    assert len(dashed) == sum(bool(hop.by) for hop in way.hops)


@EACH
def test_nothing_in_the_picture_is_outside_of_it(way):
    svg = ElementTree.fromstring(hops.render_svg(way))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for box in svg.iter(f"{SVG}rect"):
        x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height


@EACH
def test_the_table_has_every_hop(way):
    rows = hops.render_table(way).splitlines()[2:]
    assert [row.split(" | ")[1].strip("`") for row in rows] == [hop.function for hop in way.hops]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            LANE + '[[hop]]\nlane = "b"\nfunction = "f"\nfile = "x.py"\ndoes = "."\n',
            r"f: lane is one of \['a'\], not 'b'",
        ),
        (LANE + '[[hop]]\nlane = "a"\nname = "f"\n', "unexpected keyword argument 'name'"),
        (LANE, "'hop'"),
    ],
    ids=["an unknown lane", "an unknown key", "no hop"],
)
def test_a_mistake_in_the_file_is_named(text, problem, tmp_path):
    path = tmp_path / "way.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"way.toml: .*{problem}"):
        hops.Way.load(path)


@pytest.mark.parametrize("page", hops.PAGES)
def test_the_page_shows_both(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert "{hops-picture}" in text
    assert "{hops-table}" in text
