"""The way of a message, drawn: `hops.toml` becomes a picture and a table on the page `life-of-a-message`, and
`hub_hops.toml` on the page `workers`.

The picture is SVG, in the page itself: it takes the page's colour of text, so it is readable on a dark page too.
"""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self
from xml.sax.saxutils import escape

import attrs

FILE: Final = Path(__file__).with_name("hops.toml")
PAGES: Final = {
    "guides/life-of-a-message": FILE,
    "guides/workers": FILE.with_name("hub_hops.toml"),
}

LANE_WIDTH: Final = 340  # pixels, like all that follow
BOX_WIDTH: Final = 310
BOX_HEIGHT: Final = 38
GAP: Final = 10  # between two boxes
HAND_OFF_GAP: Final = 34  # where the next function is called through what somebody has put there
HEAD: Final = 44  # for the titles
MARGIN: Final = 8
COLOUR: Final = "var(--color-foreground-primary, currentColor)"
ACCENT: Final = "var(--color-brand-content, #2a5adf)"
LABEL: Final = "The functions that a message passes"
TIP: Final = (
    '<defs><marker id="hop-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="context-stroke"/></marker></defs>'
)


@attrs.frozen
class Lane:
    """A task, whose functions stand below each other."""

    name: str
    title: str


@attrs.frozen
class Hop:
    """A function that the message passes.

    Args:
        lane: in which task it runs.
        function: its qualified name; empty for what is not ours.
        file: below `src/nexios_trio`; what it is, where it is not ours.
        does: with the message.
        by: for what is called through a place that somebody has filled: who did.
    """

    lane: str
    function: str
    file: str
    does: str
    by: str = ""


@attrs.frozen
class Way:
    """All of it, in order."""

    lanes: tuple[Lane, ...]
    hops: tuple[Hop, ...]

    @classmethod
    def load(cls, path: Path = FILE) -> Self:
        """Raises: ValueError for a key that is missing, or not known, or a lane that is not there."""
        data = tomllib.loads(path.read_text())
        try:
            way = cls(
                tuple(Lane(**lane) for lane in data["lane"]),
                tuple(Hop(**hop) for hop in data["hop"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        names = {lane.name for lane in way.lanes}
        for hop in way.hops:
            if hop.lane not in names:
                raise ValueError(f"{path.name}: {hop.function}: lane is one of {sorted(names)}, not {hop.lane!r}")
        return way


def render_table(way: Way) -> str:
    """Return Markdown: each hop with its file, and what it does with the message."""
    rows = ["| | Function | File | |", "|---|---|---|---|"]
    for number, hop in enumerate(way.hops, 1):
        function = f"`{hop.function}`" if hop.function else ""
        by = f" *{hop.by[0].upper()}{hop.by[1:]}.*".replace("__", r"\_\_") if hop.by else ""
        rows.append(f"| {number} | {function} | `{hop.file}` | {hop.does}{by} |")
    return "\n".join(rows)


def render_svg(way: Way) -> str:
    """Return the picture: a column for each task, a box for each function, a dashed arrow for each hand-off."""
    columns = {lane.name: MARGIN + index * LANE_WIDTH for index, lane in enumerate(way.lanes)}
    tops = list(_tops(way.hops))
    width = 2 * MARGIN + LANE_WIDTH * len(way.lanes) - (LANE_WIDTH - BOX_WIDTH)
    height = tops[-1] + BOX_HEIGHT + MARGIN
    label = f'role="img" aria-label="{LABEL}"'
    style = f'style="width: 100%; max-width: {width}px; color: {COLOUR}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {label} {style}>',
        TIP,
    ]
    parts += [_title(lane, columns[lane.name]) for lane in way.lanes]
    before: tuple[int, int] | None = None
    for number, (hop, top) in enumerate(zip(way.hops, tops, strict=True), 1):
        left = columns[hop.lane]
        if before is not None:
            parts += _arrow(before, (left, top), hop.by)
        parts.append(_box(number, hop, left, top))
        before = (left, top)
    return "\n".join([*parts, "</svg>"])


def _tops(hops: Sequence[Hop]) -> Iterator[int]:
    top = HEAD
    for index, hop in enumerate(hops):
        if index:
            is_crossing = hop.lane != hops[index - 1].lane
            top += BOX_HEIGHT + (HAND_OFF_GAP if hop.by or is_crossing else GAP)
        yield top


def _title(lane: Lane, left: int) -> str:
    middle = left + BOX_WIDTH // 2
    return (
        f'<text x="{middle}" y="{HEAD - 22}" text-anchor="middle" font-size="15" font-weight="600" '
        f'fill="currentColor">{escape(lane.title)}</text>'
    )


def _box(number: int, hop: Hop, left: int, top: int) -> str:
    dash = "" if hop.function else ' stroke-dasharray="3 3"'
    name = escape(hop.function or hop.file)
    below = escape(hop.file if hop.function else hop.does)
    return (
        f"<g><title>{escape(hop.does)}</title>"
        f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="none" '
        f'stroke="currentColor"{dash}/>'
        f'<text x="{left + 8}" y="{top + 16}" font-size="13" font-family="monospace" fill="currentColor">'
        f"{number} {name}</text>"
        f'<text x="{left + 8}" y="{top + 31}" font-size="11" fill="currentColor" opacity="0.75">{below}</text></g>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], by: str) -> Iterator[str]:
    (left, top), (right, bottom) = start, end
    stroke, dash = (ACCENT, ' stroke-dasharray="5 3"') if by else ("currentColor", "")
    line = f'fill="none" stroke="{stroke}"{dash} marker-end="url(#hop-tip)"'
    begin, middle = top + BOX_HEIGHT, (top + BOX_HEIGHT + bottom) // 2
    x, to = left + BOX_WIDTH // 2, right + BOX_WIDTH // 2
    path = f"M{x} {begin} V{bottom}" if x == to else f"M{x} {begin} V{middle} H{to} V{bottom}"
    yield f'<path d="{path}" {line}/>'
    if by:
        # Beside the arrow, on the side where there is room.
        at, y, anchor = (to - 8, middle + 4, "end") if x == to and left > MARGIN else (x + 8, middle - 4, "start")
        yield (
            f'<text x="{at}" y="{y}" text-anchor="{anchor}" font-size="11" font-style="italic" fill="{ACCENT}">'
            f"{escape(by)}</text>"
        )
