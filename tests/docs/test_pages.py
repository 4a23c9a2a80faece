"""What typography makes of the pages: options and names can be read, and copied."""

import re
from pathlib import Path

# A dash in place of two hyphens, as in "–set"; a name of Python that has become bold, as in HubNode.__init__
DAMAGED = re.compile(r"[–—][a-z]\w+|\w+\.<strong>\w+</strong>")


def test_options_and_names_are_shown_as_they_are_typed(html: Path) -> None:
    pages = [path for path in html.rglob("*.html") if "_modules" not in path.parts]
    assert len(pages) > 20
    damaged = {str(path.relative_to(html)): set(DAMAGED.findall(path.read_text())) for path in pages}
    assert {page: found for page, found in damaged.items() if found} == {}
