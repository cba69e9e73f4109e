"""A page's tags, and a name that attacks a page."""

from html.parser import HTMLParser

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x00"
VOID = {"meta", "link", "br", "img", "input"}


class Outline(HTMLParser):
    """Tags with their attributes, and whether every one that opens closes in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag
