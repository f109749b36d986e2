"""Writing the pages of a site: templates, security policy, and only those that have changed.

Every page is one file that loads nothing: its style, its programs and its data are inside. Its
security policy names the hashes of these programs, so that no text from a record can run.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cellbench.errors import UserError
from cellbench.files.reading import read_json
from cellbench.files.writing import write_atomically, writing
from cellbench.ranking.tables import plain
from cellbench.version import __version__

STATE = "made-from.json"
MAX_STATE_BYTES = 64 * 2**20

# Pages after whose writing the account is kept.
_PAGES_BETWEEN = 500

_HERE = Path(__file__).parent
_STYLE = "pages.css"


@dataclass
class PageWriter:
    """Writes pages into a folder and keeps account of what each was made from.

    Attributes:
        folder: of the site.
        known: by page, a hash of what it was made from when it was last written, and its size.
        made: the same of this build.
        written: how many pages were written in this build.
    """

    folder: Path
    known: dict[str, tuple[str, int]] = field(default_factory=dict)
    made: dict[str, tuple[str, int]] = field(default_factory=dict)
    written: int = 0
    _wanted: dict[str, str] = field(default_factory=dict)
    _folders: set[Path] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path) -> "PageWriter":
        """Take up the site of a folder, or begin one.

        Raises:
            UserError: the folder holds files that are no site.
        """
        if folder.is_dir() and any(folder.iterdir()) and not (folder / STATE).is_file():
            raise UserError(
                f"{folder} holds files that are no site of cellbench; name an empty or new folder "
                "with --out."
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is no folder; name another one with --out.")
        try:
            document = read_json(folder / STATE, most=MAX_STATE_BYTES)
            pages = document["pages"]
            known = {str(name): (str(key), int(size)) for name, (key, size) in pages.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            known = {}
        return cls(folder, known)

    def is_current(self, path: str, made_from: object) -> bool:
        """Whether a page was made from the same before and is still there; it then stays.

        Args:
            path: of the page below the site's folder.
            made_from: all that decides its content, as `repr` shows it.
        """
        key = hashlib.sha256(f"{_code()}{made_from!r}".encode("utf-8", "surrogatepass"))
        kept, size = self.known.get(path, ("", 0))
        self._wanted[path] = key.hexdigest()
        if kept != key.hexdigest():
            return False
        try:  # a page that a power cut left empty has another size
            current = (self.folder / path).stat().st_size == size
        except OSError:
            return False
        if current:
            self.made[path] = (kept, size)
        return current

    def write(
        self,
        path: str,
        template: str,
        *,
        scripts: Sequence[str] = (),
        data: Any = None,
        **values: Any,
    ) -> None:
        """Write a page; its bytes depend on what is given alone.

        Args:
            path: below the site's folder, with forward slashes.
            template: file in pages/.
            scripts: files in assets/, in the order in which they run.
            data: what the scripts read, JSON-able; None for none.
            values: of the template.

        Raises:
            UserError: the folder cannot be written.
        """
        root = "../" * path.count("/")
        page = render_page(template, root=root, scripts=scripts, data=data, **values)
        encoded = page.encode("utf-8")
        target = self.folder / path
        # Not onto the disk before it gets its name: a page can be made again, and there are many.
        temporary = target.with_name(f".{target.name}.partial")
        with writing(target, elsewhere="--out"):
            if target.parent not in self._folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(target.parent)
            temporary.write_bytes(encoded)
            temporary.replace(target)
        self.made[path] = (self._wanted[path], len(encoded))
        # A build that is interrupted is taken up where it was.
        if self.written % _PAGES_BETWEEN == 0:
            self._keep_account(self.known | self.made)
        self.written += 1

    def finish(self) -> None:
        """Delete pages of earlier builds that this one does not have, and keep the account."""
        for path in self.known.keys() - self.made.keys():
            target = self.folder / path
            if target.suffix == ".html" and ".." not in Path(path).parts:
                target.unlink(missing_ok=True)
        self._keep_account(self.made)

    def _keep_account(self, pages: Mapping[str, tuple[str, int]]) -> None:
        document = {"cellbench": __version__, "pages": dict(sorted(pages.items()))}
        text = json.dumps(document, indent=0) + "\n"
        write_atomically(self.folder / STATE, text.encode("utf-8"), elsewhere="--out")


def render_page(
    template: str, *, root: str, scripts: Sequence[str] = (), data: Any = None, **values: Any
) -> str:
    """Fill in a template; see `PageWriter.write`.

    Args:
        template: file in pages/.
        root: leads from the page to the site's folder.
        scripts: files in assets/.
        data: what the scripts read.
        values: of the template.
    """
    texts = [_asset(name) for name in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            root=root,
            style=Markup(_asset(_STYLE)),
            scripts=[Markup(text) for text in texts],
            policy=_policy([_asset(_STYLE)], texts),
            data=None if data is None else embedded_json(data),
            version=__version__,
            **values,
        )
    )


def embedded_json(data: Any) -> Markup:
    """JSON that may stand in a page: no text in it can end its element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def relative_link(target: Path, page: Path) -> str:
    """The address of a file for a page, relative where both are on one drive."""
    try:
        found = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # another drive of Windows
        return target.absolute().as_uri()
    from urllib.parse import quote

    return quote(found.replace(os.sep, "/"))


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed,
    )


def _printed(value: Any) -> Any:
    """Texts without control and direction characters; None as nothing."""
    if value is None:
        return ""
    return plain(value) if type(value) is str else value


@cache
def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The security policy of a page: nothing is loaded, and only our own programs run."""
    allowed: Mapping[str, Sequence[str]] = {"style-src": styles, "script-src": scripts}
    parts = ["default-src 'none'"]
    for directive, texts in allowed.items():
        hashes = [f"'sha256-{_digest(text)}'" for text in texts] or ["'none'"]
        parts.append(f"{directive} {' '.join(hashes)}")
    return "; ".join([*parts, "img-src data:", "base-uri 'none'", "form-action 'none'"])


@cache
def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _code() -> str:
    """A hash of all that makes pages, so that another version of it makes them anew."""
    files = sorted(
        path for path in _HERE.rglob("*") if path.suffix in (".py", ".html", ".css", ".js")
    )
    texts = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(__version__.encode() + texts).hexdigest()
