"""What the tests of corpora share: making a raw folder, and looking up what was found wrong with it."""

from pathlib import Path

from mse_pipeline.corpora.base import Corpus


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a folder: name -> content."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def codes(corpus: Corpus, code: str) -> list[tuple[str | None, str | None]]:
    """Clip and path of each defect with this code."""
    return [(defect.clip, defect.path) for defect in corpus.defects if defect.code == code]
