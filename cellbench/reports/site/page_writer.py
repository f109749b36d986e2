"""Write the pages of a site that have changed, from templates, with a security policy.

Every page is one file that loads nothing: style, scripts and data are embedded. Its security policy
has the hashes of these scripts, so that no text from a record can be executed.
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
from cellbench.files.writing import explained_writing, write_atomically
from cellbench.ranking.tables import plain
from cellbench.version import __version__

STATE = "made-from.json"
MAX_STATE_BYTES = 64 * 2**20

# Number of written pages after which the state is saved.
_PAGES_BETWEEN = 500

_HERE = Path(__file__).parent
_STYLE = "pages.css"


@dataclass
class PageWriter:
    """Writer of the pages of a folder, with a state file of what each was made from.

    Attributes:
        folder: folder of the site.
        known: by page, the hash of its inputs when it was last written, and its size.
        made: the same for the pages of this build.
        written: number of pages written in this build.
    """

    folder: Path
    known: dict[str, tuple[str, int]] = field(default_factory=dict)
    made: dict[str, tuple[str, int]] = field(default_factory=dict)
    written: int = 0
    _keys: dict[str, str] = field(default_factory=dict)
    _folders: set[Path] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path) -> "PageWriter":
        """Open the site of a folder, or start a new one.

        Raises:
            UserError: the folder contains files but no site.
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
        """Whether a page exists and was made from the same inputs; the build then keeps it.

        Args:
            path: path of the page below the site's folder.
            made_from: all that determines its content; hashed by its `repr`.
        """
        key = hashlib.sha256(f"{_code_hash()}{made_from!r}".encode("utf-8", "surrogatepass"))
        kept, size = self.known.get(path, ("", 0))
        self._keys[path] = key.hexdigest()
        if kept != key.hexdigest():
            return False
        try:  # the size detects a page left empty by a power cut
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
        """Write a page; its bytes depend only on the arguments. Call `is_current` first.

        Args:
            path: path below the site's folder, with forward slashes.
            template: file in pages/.
            scripts: files in assets/, in the order in which they run.
            data: JSON-serialisable data of the scripts; None for none.
            values: variables of the template.

        Raises:
            UserError: the folder cannot be written.
        """
        root = "../" * path.count("/")
        page = render_page(template, root=root, scripts=scripts, data=data, **values)
        encoded = page.encode("utf-8")
        target = self.folder / path
        # Without fsync: there are many pages, and a lost one is made again.
        temporary = target.with_name(f".{target.name}.partial")
        with explained_writing(target, elsewhere="--out"):
            if target.parent not in self._folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(target.parent)
            temporary.write_bytes(encoded)
            temporary.replace(target)
        self.made[path] = (self._keys[path], len(encoded))
        # The saved state lets the next build continue an interrupted one.
        if self.written % _PAGES_BETWEEN == 0:
            self._save_state(self.known | self.made)
        self.written += 1

    def finish(self) -> None:
        """Delete pages of earlier builds that this one does not have, and save the state."""
        for path in self.known.keys() - self.made.keys():
            target = self.folder / path
            if target.suffix == ".html" and ".." not in Path(path).parts:
                target.unlink(missing_ok=True)
        self._save_state(self.made)

    def _save_state(self, pages: Mapping[str, tuple[str, int]]) -> None:
        document = {"cellbench": __version__, "pages": dict(sorted(pages.items()))}
        text = json.dumps(document, indent=0) + "\n"
        write_atomically(self.folder / STATE, text.encode("utf-8"), elsewhere="--out")


def render_page(
    template: str, *, root: str, scripts: Sequence[str] = (), data: Any = None, **values: Any
) -> str:
    """Render a template; see `PageWriter.write`.

    Args:
        template: file in pages/.
        root: relative path from the page to the site's folder.
        scripts: files in assets/.
        data: data of the scripts.
        values: variables of the template.
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
    """Serialise data as JSON for a script element, which no text in it can close."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def relative_link(target: Path, page: Path) -> str:
    """Return the link from a page to a file, relative if both are on one drive."""
    try:
        found = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # another drive on Windows
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
        finalize=_finalize,
    )


def _finalize(value: Any) -> Any:
    """Remove control and direction characters from texts; print None as an empty text."""
    if value is None:
        return ""
    return plain(value) if type(value) is str else value


@cache
def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the security policy of a page: nothing is loaded, and only our scripts run."""
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
def _code_hash() -> str:
    """Hash the code and assets that make pages, so that a new version writes them again."""
    files = sorted(
        path for path in _HERE.rglob("*") if path.suffix in (".py", ".html", ".css", ".js")
    )
    texts = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(__version__.encode() + texts).hexdigest()
