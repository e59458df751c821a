"""The gate: what a dataset must be like, as a Great Expectations suite in code.

Single bad images never reach it, they are in quarantine. It looks at the manifest file that the
stages behind it will read, and at a one-row table of totals. One Checkpoint call checks both.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.data.gate.suite import Expectation

    Total = int | float | None


@dataclass(frozen=True)
class Outcome:
    """What came of an expectation; `found` says what was seen instead, or as well."""

    expectation: Expectation
    passed: bool
    found: str

    @property
    def text(self) -> str:
        """The outcome as one line."""
        sentence = self.expectation.sentence
        wanted = sentence[0].lower() + sentence[1:]
        return f"expected: {wanted}; found: {self.found}"


def run_gate(
    expectations: list[Expectation], *, manifest: Path, totals: Mapping[str, Total]
) -> list[Outcome]:
    """Check all expectations in one Checkpoint call.

    Args:
        expectations: From `suite`.
        manifest: The written manifest.
        totals: The one row that expectations about `totals` look at, by column.

    Raises:
        RuntimeError: An expectation could not be evaluated; a fault of the suite, not of the data.
    """
    with tempfile.TemporaryDirectory(prefix="nadir-gate-") as folder:
        row = Path(folder) / "totals.parquet"
        # Floats, so that an unknown share is a null of a numeric column.
        columns = {name: pa.array([value], pa.float64()) for name, value in totals.items()}
        pq.write_table(pa.table(columns), row)
        results = _checkpoint(expectations, {"totals": row, "manifest": manifest})
    return [_outcome(each, results[each.name], totals) for each in expectations]


def _checkpoint(expectations: list[Expectation], tables: Mapping[str, Path]) -> dict[str, Any]:
    # Imported here: it takes seconds, and it must see the variable.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types import base

    # In memory from end to end, and no site of docs: the page is ours, readable offline.
    stores = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    settings = base.DataContextConfig(
        store_backend_defaults=stores,
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=settings)
    files = context.data_sources.add_pandas("nadir")
    definitions = []
    for table, path in tables.items():
        members = [each for each in expectations if each.table == table]
        columns = sorted({str(each.arguments["column"]) for each in members})
        asset = files.add_parquet_asset(table, path=path, columns=columns)
        rules = gx.ExpectationSuite(name=table, expectations=[_translate(e) for e in members])
        definition = gx.ValidationDefinition(
            name=table, data=asset.add_batch_definition(table), suite=context.suites.add(rules)
        )
        definitions.append(context.validation_definitions.add(definition))
    checkpoint = gx.Checkpoint(
        name="gate", validation_definitions=definitions, result_format={"result_format": "SUMMARY"}
    )
    result = context.checkpoints.add(checkpoint).run()
    found = [each for run in result.run_results.values() for each in run.results]
    return {each.expectation_config.meta["name"]: each for each in found}


def _translate(each: Expectation) -> Any:
    import great_expectations.expectations as gxe

    return getattr(gxe, each.kind)(
        **each.arguments,
        severity=each.severity,
        description=each.sentence,
        meta={"name": each.name},
    )


def _outcome(each: Expectation, result: Any, totals: Mapping[str, Total]) -> Outcome:
    if not result.success and "unexpected_count" not in result.result:
        msg = f"expectation {each.name} could not be evaluated: {result.exception_info}"
        raise RuntimeError(msg)
    if each.table == "totals":
        return Outcome(each, bool(result.success), _shown(totals[each.name], each.unit))
    seen, bad = result.result["element_count"], result.result["unexpected_count"]
    examples = ", ".join(str(v)[:80] for v in result.result["partial_unexpected_list"][:3])
    found = f"{bad:,} of {seen:,} images do not, such as {examples}" if bad else f"{seen:,} images"
    return Outcome(each, bool(result.success), found)


def _shown(value: Total, unit: str) -> str:
    if value is None:
        return "nothing to measure"
    return f"{value:,} {unit}" if unit else f"{100 * value:.1f} %"
