"""Storing the result of a validation and building its page, one more at a time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Final

from expectations.pages.outcome import Run, Validation, stored_outcome
from expectations.pages.view import INDEX_LIMIT, render
from tasks.errors import GuardError
from tasks.frames import Entity

__all__ = ["Run", "Validation", "publish", "remove_abandoned", "write_contents"]

STYLE: Final = "style.css"
RESULTS: Final = "results"
PAGES: Final = "pages"
#: Parts of the path of a result and of its page: suite, run, time, batch.
DEPTH: Final = 4
Key = Any  # upstream's ValidationResultIdentifier


def publish(
    root: Path, run: Run, validations: Sequence[Validation], *, keep_runs: int, keep_days: int
) -> list[str]:
    """Store the results of a run, build their pages and the index, and remove what is too old.

    Args:
        root: Folder of the Data Docs; it is made for its owner alone.
        run: The run.
        validations: What it validated.
        keep_runs: How many runs of the clinic are kept.
        keep_days: For how many days.

    Returns:
        The pages' paths below the folder of pages, with slashes, in the order of the validations.

    Raises:
        OSError: When the folder cannot be written.
        GuardError: When a page was not made.
    """
    pages, results = root / PAGES / run.clinic_uid, root / RESULTS / run.clinic_uid
    for folder in (root, pages.parent, results.parent, pages, results):
        _own(folder)
    for folder in (results, pages / "validations"):
        _sweep(folder)
    context = _context(results)
    store = context.validation_results_store
    keys = [_key(run, validation.entity) for validation in validations]
    for key, validation in zip(keys, validations, strict=True):
        store.set(key, stored_outcome(run, validation))
    _prune(store, keep_runs, datetime.now(UTC) - timedelta(days=keep_days))
    site = _site(context, pages, run.clinic)
    site.site_section_builders["validations"].build(resource_identifiers=keys)
    # Not site.build(): it copies 4 MB of upstream's own styles and pictures beside the pages.
    site.site_index_builder.build()
    _write(pages / STYLE, _style())
    paths = ["/".join((run.clinic_uid, "validations", *key.to_tuple())) + ".html" for key in keys]
    _refuse_blank(root / PAGES, *paths, f"{run.clinic_uid}/index.html")
    for folder in (results, pages):
        _remove_empty(folder)
    return paths


def write_contents(root: Path, clinics: Mapping[str, str]) -> None:
    """Write the page that leads to each clinic's.

    Args:
        root: Folder of the Data Docs.
        clinics: Names by uid; those without a page are left out.

    Raises:
        OSError: When the folder cannot be written.
    """
    _own(root)
    _own(root / PAGES)
    there = [(uid, name) for uid, name in clinics.items() if (root / PAGES / uid / "index.html").is_file()]
    page = render("contents.html", {"clinics": sorted(there, key=lambda clinic: clinic[1])})
    _write(root / PAGES / STYLE, _style())
    _write(root / PAGES / "index.html", page)


def remove_abandoned(root: Path, keep_days: int) -> None:
    """Remove the pages of clinics that nobody validated for long: no run of theirs prunes them.

    Args:
        root: Folder of the Data Docs.
        keep_days: For how many days they are kept.

    Raises:
        OSError: When the folder cannot be written.
    """
    oldest = time.time() - timedelta(days=keep_days).total_seconds()
    for index in (root / PAGES).glob("*/index.html"):
        if index.stat().st_mtime < oldest:
            shutil.rmtree(index.parent)
            shutil.rmtree(root / RESULTS / index.parent.name, ignore_errors=True)


def _key(run: Run, entity: Entity) -> Key:
    from great_expectations.core.run_identifier import RunIdentifier  # noqa: PLC0415
    from great_expectations.data_context.types.resource_identifiers import (  # noqa: PLC0415
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    return ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(entity.value),
        run_id=RunIdentifier(run_name=run.run_id, run_time=run.at),
        batch_identifier=entity.value,
    )


def _context(results: Path) -> Any:
    """Return a context whose results are on the disk, and nothing else."""
    import great_expectations as gx  # noqa: PLC0415
    from great_expectations.data_context.types.base import (  # noqa: PLC0415
        DataContextConfig,
        ProgressBarsConfig,
    )

    def memory(name: str) -> dict[str, Any]:
        return {"class_name": name, "store_backend": {"class_name": "InMemoryStoreBackend"}}

    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            config_version=4.0,
            plugins_directory=None,
            stores={
                "expectations_store": memory("ExpectationsStore"),
                "checkpoint_store": memory("CheckpointStore"),
                "validation_definition_store": memory("ValidationDefinitionStore"),
                # In memory, the index would take all pages of earlier runs for orphans and delete them.
                "validation_results_store": {
                    "class_name": "ValidationResultsStore",
                    "store_backend": _files(results),
                },
            },
            expectations_store_name="expectations_store",
            checkpoint_store_name="checkpoint_store",
            validation_results_store_name="validation_results_store",
            data_docs_sites={},
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )


def _site(context: Any, pages: Path, clinic: str) -> Any:
    from great_expectations.render.renderer.site_builder import SiteBuilder  # noqa: PLC0415

    def ours(name: str) -> dict[str, str]:
        return {"module_name": "expectations.pages.view", "class_name": name}

    look = {"renderer": ours("ValidationRenderer"), "view": ours("ValidationView")}
    return SiteBuilder(
        data_context=context,
        store_backend=_files(pages),
        site_name=clinic,
        show_how_to_buttons=False,
        site_index_builder={
            "class_name": "DefaultSiteIndexBuilder",
            "show_cta_footer": False,
            "validation_results_limit": INDEX_LIMIT,
            "renderer": ours("IndexRenderer"),
            "view": ours("IndexView"),
        },
        site_section_builders={"expectations": "None", "profiling": "None", "validations": look},
    )


def _files(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(folder),
        "suppress_store_backend_id": True,
    }


def _prune(store: Any, keep_runs: int, oldest: datetime) -> None:
    """Remove the results of old runs; the index removes their pages."""
    keys = sorted(store.list_keys(), key=lambda key: key.run_id.run_time, reverse=True)
    kept = set(list(dict.fromkeys(key.run_id.run_name for key in keys))[:keep_runs])
    for key in keys:
        if key.run_id.run_name not in kept or key.run_id.run_time < oldest:
            store.remove_key(key)


def _sweep(folder: Path) -> None:
    """Remove files that are none of ours: upstream reads every path as a key and fails on others."""
    for path in folder.rglob("*"):
        if len(path.relative_to(folder).parts) != DEPTH and path.is_file():
            path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove the folders that pruning left empty, which upstream means to do and does not."""
    for path, _folders, _files_there in os.walk(folder, topdown=False):
        if Path(path) != folder:
            with suppress(OSError):  # not empty, or another process was first
                Path(path).rmdir()


def _refuse_blank(pages: Path, *paths: str) -> None:
    """Upstream only logs what goes wrong while a page is made, and leaves none or an empty one.

    Raises:
        GuardError: When a page is missing or empty.
    """
    for path in paths:
        if not (pages / path).is_file() or not (pages / path).stat().st_size:
            raise GuardError(
                problem="A page of the Data Docs could not be made.",
                remedy="Remove the folder data-docs; it is made anew. If it happens again, please report it.",
                code="data_docs_failed",
            )


def _own(folder: Path) -> None:
    """Make a folder for its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _style() -> str:
    return resources.files(__package__).joinpath(STYLE).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    """Write a file that is never seen half written; one that says the same already is left alone."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
