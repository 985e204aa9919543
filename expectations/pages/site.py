"""Storing the result of a validation and building its page, one more at a time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Final

from expectations.gate import Verdict
from expectations.pages.view import INDEX_LIMIT, render
from expectations.suites import Rule
from tasks.errors import GuardError
from tasks.frames import Entity

__all__ = ["IDS", "Run", "Validation", "publish", "remove_abandoned", "write_contents"]

#: Ids of failing rows that a page lists for each rule; the others are counted.
IDS: Final = 50
#: Parameters of a rule that say where it looks; all others may have been made of data.
PLACES: Final = frozenset({"column", "column_A", "column_B", "mostly"})
STYLE: Final = "style.css"
RESULTS: Final = "results"
PAGES: Final = "pages"
#: Parts of the path of a result and of its page: suite, run, time, batch.
DEPTH: Final = 4
Key = Any  # upstream's ValidationResultIdentifier


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of the run whose validations are shown.

    Attributes:
        run_id: The run.
        clinic_uid: The clinic.
        clinic: What the operator calls it.
        at: When, with a zone.
        moment: The same as the clinic's people write it.
        is_whole: Whether every row of the clinic was read.
        dry_run: Whether the run only shows its plan.
        documentation_url: Where the documentation is published; empty: nowhere.
    """

    run_id: str
    clinic_uid: str
    clinic: str
    at: datetime
    moment: str
    is_whole: bool
    dry_run: bool = False
    documentation_url: str = ""


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation of a run.

    Attributes:
        entity: What the rows are.
        rows: How many there are.
        verdict: What came out.
    """

    entity: Entity
    rows: int
    verdict: Verdict


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
        store.set(key, _outcome(run, validation))
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


def _outcome(run: Run, validation: Validation) -> Any:
    """Return the result as it is stored: codes, counts, ids and column names, and nothing made of data.

    Parameters of rules may be dates of the clinic, observed values may be a patient's, and the text of an
    exception quotes the value that it could not bear.
    """
    from great_expectations.core.expectation_validation_result import (  # noqa: PLC0415 - costs seconds
        ExpectationSuiteValidationResult,
    )

    verdict = validation.verdict
    found = {result.expectation_config.meta["code"]: result for result in verdict.outcome.results}
    rules = _findings(verdict)
    wrong = [finding for finding in rules if finding.wrong]
    # A slot without a patient is no defect; it is listed and does not colour the page.
    counted = [finding for finding in wrong if finding.rule.action != "skip"]
    facts = {
        "run_id": run.run_id,
        "entity": validation.entity.value,
        "clinic": run.clinic,
        "moment": run.moment,
        "rows": validation.rows,
        "is_whole": run.is_whole,
        "dry_run": run.dry_run,
        "stopped": bool(verdict.stop),
        "held": bool(verdict.rejects or verdict.withheld),
        "broken": len(counted),
        "failures": sum(finding.wrong for finding in counted),
    }
    base = run.documentation_url.rstrip("/")
    return ExpectationSuiteValidationResult(
        success=not wrong,
        results=[_result(found[finding.rule.code], finding, base) for finding in rules],
        suite_name=validation.entity.value,
        statistics={
            "evaluated_expectations": len(rules),
            "successful_expectations": len(rules) - len(wrong),
            "unsuccessful_expectations": len(wrong),
            "success_percent": 100 * (1 - len(wrong) / len(rules)) if rules else None,
        },
        meta={
            "great_expectations_version": verdict.outcome.meta["great_expectations_version"],
            "batch_spec": facts,
            "validation_time": run.at.isoformat(),
        },
    )


@dataclass(slots=True)
class _Finding:
    """What one rule found: the first ids of what broke it and nobody accepted, the columns that it names."""

    rule: Rule
    checked: int
    failed: int
    waived: int = 0
    ids: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        return self.failed - self.waived


def _findings(verdict: Verdict) -> list[_Finding]:
    found = {
        rule.code: _Finding(rule, int(checked), int(failed)) for rule, checked, failed in verdict.results
    }
    for failures in (verdict.rejects, verdict.withheld, verdict.skipped, verdict.warnings):
        for key, code, _column, _severity in failures:
            if len(found[code].ids) < IDS:
                found[code].ids.append(int(key))
    for _key, code, _column, _severity in verdict.waived:
        found[code].waived += 1
    for code, names in verdict.named.items():
        found[code].columns = [str(name) for name in names]
    for code in verdict.passed:
        found[code].waived = found[code].failed
    return list(found.values())


def _result(result: Any, finding: _Finding, base: str) -> Any:
    from great_expectations.core.expectation_validation_result import (  # noqa: PLC0415
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation_configuration import (  # noqa: PLC0415
        ExpectationConfiguration,
    )

    config, rule = result.expectation_config, finding.rule
    meta = {
        "code": rule.code,
        "action": rule.action,
        "column": rule.column,
        "explanation": rule.explanation,
        "remedy": rule.remedy,
        "link": f"{base}/{rule.link}" if base else "",
        "waived": finding.waived,
        "columns": finding.columns,
    }
    return ExpectationValidationResult(
        success=not finding.wrong,
        expectation_config=ExpectationConfiguration(
            type=config.type,
            kwargs={name: value for name, value in config.kwargs.items() if name in PLACES},
            meta=meta,
            description=rule.explanation,
            severity=config.severity,
        ),
        result={
            "element_count": finding.checked,
            "unexpected_count": finding.wrong,
            "unexpected_index_list": finding.ids,
        },
        exception_info={
            "raised_exception": bool(result.exception_info) and not _ran(result.exception_info),
            "exception_message": None,
            "exception_traceback": None,
        },
    )


def _ran(info: Mapping[str, Any]) -> bool:
    """Tell whether a rule could be evaluated; upstream keys an exception by metric instead of saying so."""
    return "raised_exception" in info and not info["raised_exception"]


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
