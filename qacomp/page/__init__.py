"""A page that shows a container and runs it in the browser: as a static folder, or from a server on this machine."""

from qacomp.page.files import page_files
from qacomp.page.folder import WrittenPage, write_page
from qacomp.page.server import PageServer, serving

__all__ = ["PageServer", "WrittenPage", "page_files", "serving", "write_page"]
