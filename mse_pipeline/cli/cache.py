"""mse cache: what is in the feature cache."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mse_pipeline.cli.options import CacheDir, Debug, Json, Quiet
from mse_pipeline.cli.output import emit_json, settings, stdout

app = typer.Typer(no_args_is_help=True, help="What is in the feature cache.")


@app.command("ls")
def ls(cache: CacheDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the datasets with their clips, streams and sizes."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)
    rows: list[dict[str, Any]] = [
        {
            "dataset": name,
            "clips": len(dataset.clips),
            "streams": list(dataset),
            "bytes": sum(path.stat().st_size for path in dataset.path.rglob("*") if path.is_file()),
        }
        for name, dataset in opened.items()
    ]
    if settings.json:
        emit_json({"cache": str(opened.path), "datasets": rows})
        return
    table = Table(box=SIMPLE_HEAD)
    for name, justify in (("dataset", "left"), ("clips", "right"), ("MB", "right"), ("streams", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        megabytes = f"{row['bytes'] / 1e6:.1f}"
        table.add_row(escape(row["dataset"]), str(row["clips"]), megabytes, escape(", ".join(row["streams"])))
    stdout().print(table if rows else f"The cache {escape(str(opened.path))} is empty: mse extract fills it.")


@app.command("show")
def show(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset in the cache.")],
    failures: Annotated[
        bool, typer.Option("--failures", help="List each failed clip and stream with its reason.")
    ] = False,
    cache: CacheDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a dataset's streams, or what failed and why."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from mse_pipeline.extraction.summary import count_stream
    from mse_pipeline.store.cache import open_cache

    opened = open_cache(cache)[dataset]
    rows = {stream: opened.rows(stream) for stream in opened}
    failed = [row for one in rows.values() for row in one if row.status == "failed"]
    value: dict[str, Any] = {
        "dataset": dataset,
        "path": str(opened.path),
        "source": dict(opened.manifest.source),
    }
    if failures:
        keys: tuple[str, ...] = ("clip", "stream", "code", "stage", "message")
        value["failures"] = [{key: getattr(row, key) for key in keys} for row in failed]
        head, lines = keys, [[str(item[key] or "") for key in keys] for item in value["failures"]]
    else:
        counts = {stream: count_stream(one, set()) for stream, one in rows.items()}
        value["streams"] = {
            stream: {
                "version": opened.manifest.streams[stream].version,
                "identity": dict(opened.manifest.streams[stream].identity),
                "alignment": dict(opened.manifest.streams[stream].alignment),
                "done": count.done,
                "failed": dict(count.failed),
                "rows": count.rows,
                "valid": count.valid,
            }
            for stream, count in counts.items()
        }
        head = ("stream", "version", "clock", "done", "failed", "rows", "valid")
        lines = [
            [
                stream,
                item["version"],
                item["alignment"]["kind"],
                str(item["done"]),
                str(sum(item["failed"].values())),
                str(item["rows"]),
                str(item["valid"]),
            ]
            for stream, item in value["streams"].items()
        ]
    if settings.json:
        emit_json(value)
        return
    table = Table(*head, box=SIMPLE_HEAD)
    for line in lines:
        table.add_row(*map(escape, line))
    stdout().print(table if lines else "Nothing failed." if failures else "It has no streams yet.")
    for one in value["source"].get("imports", []):
        files = one.get("files", "")
        told = f"{', '.join(one['streams'])}: imported from {one.get('format', 'elsewhere')}"
        told += f", {', '.join(map(str, files))}" if isinstance(files, list | dict) else ""
        told += f", the published {one['published']}" if one.get("published") else ""
        stdout().print("\n".join([told, *(f"  {note}" for note in one["notes"])]), markup=False)
