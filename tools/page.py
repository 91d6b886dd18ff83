"""Pages whose tables a tool writes: between <!-- NAME: begin --> and <!-- NAME: end -->."""


def write_between_marks(page, name, text):
    """Puts `text` in place of what stands between the marks of the page, a pathlib.Path. ValueError without them."""
    begin, end = (f"<!-- {name}: {word} -->\n" for word in ("begin", "end"))
    old = page.read_text()
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{page}: has no marks {begin.strip()} and {end.strip()}")
    page.write_text(old[:old.index(begin)] + begin + text + old[old.index(end):])
