"""`docs/reproduction.md`: what was run, the table of claims, the figures."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.ground.files import canonical_hash, read_json_object, write_json, write_text
from nadir.reproduction import figures
from nadir.reproduction.arms import ARMS, EPSILON, MAIN, V_STOCK, Arm
from nadir.reproduction.data import code_hash
from nadir.reproduction.results import MissingResultError
from nadir.reproduction.verdicts import Verdict, interval, separation, verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.reproduction.claims import Claim
    from nadir.reproduction.reproduction import Reproduction
    from nadir.reproduction.results import Results

_METRICS = {
    "ladder_error": "ladder error",
    "ladder_slope": "ladder slope",
    "terminal_canvas": "first guess",
    "mean_leak": "mean leak",
    "tag_recall": "rare recall",
    "loss_mean": "x0 error",
}
PAGE, PICTURES = "reproduction.md", "reproduction"


@dataclass(frozen=True)
class Finding:
    """What came of a claim.

    Attributes:
        claim: Which.
        values: Effects, one a seed, draw or picture; none where nothing was measured.
        verdict: What follows.
    """

    claim: Claim
    values: list[float]
    verdict: Verdict


def write_page(reproduction: Reproduction, folder: Path, *, command: str) -> Path:
    """Measure what needs no training, judge every claim and write the page with its figures.

    Args:
        reproduction: All of whose jobs were run or left out.
        folder: `docs`; the page and a folder of pictures are made there.
        command: What was called, for the first line.

    Returns:
        The page.
    """
    results = reproduction.results()
    findings = [_find(claim, reproduction, results) for claim in reproduction.claims]
    drawn = set()
    for found in findings:
        name = found.claim.figure
        path = folder / PICTURES / f"{name}.png"
        if name and figures.draw(name, results, path, found.values):
            drawn.add(found.claim.name)
    text = "\n\n".join(
        [
            _head(reproduction, command),
            _summary(findings, results),
            _not_run(reproduction),
            _method(reproduction),
            _table(findings),
            *(_picture(found) for found in findings if found.claim.name in drawn),
            *([_arms(reproduction, results)] if _networks(reproduction) else []),
        ]
    )  # fmt: skip
    page = folder / PAGE
    write_text(page, text + "\n")
    return page


def _find(claim: Claim, reproduction: Reproduction, results: Results) -> Finding:
    """The values of a claim and what follows from them."""
    room, name = claim.source.split(".")
    function = getattr(importlib.import_module(f"nadir.reproduction.{room}"), name)
    if room != "effects":
        values = _kept(claim, reproduction, results, function, takes_data=room == "computations")
        return Finding(claim, values, verdict(values, claim.least, exact=claim.exact))
    try:
        values = function(results)
    except MissingResultError:
        missed = reproduction.left_out or not claim.needs
        return Finding(claim, [], "not run (budget)" if missed else "not measured")
    return Finding(claim, values, verdict(values, claim.least, exact=claim.exact))


def _kept(
    claim: Claim,
    reproduction: Reproduction,
    results: Results,
    function: Callable[..., list[float]],
    *,
    takes_data: bool,
) -> list[float]:
    """Values that are computed once: a second page has the same."""
    from nadir.compute.threads import one_thread

    data = results.data if takes_data else None
    key = canonical_hash([claim.source, str(data and data.name), code_hash()])[:16]
    file = reproduction.place.work / "computed" / f"{claim.name}-{key}.json"
    if not file.is_file():
        with one_thread():
            values = function(results.data) if takes_data else function()
        write_json(file, {"values": values})
    found: list[float] = read_json_object(file)["values"]
    return found


def _head(reproduction: Reproduction, command: str) -> str:
    today = dt.datetime.now(tz=dt.UTC).date()
    minutes = reproduction.spent() / 60
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores, one thread"
    return (
        f"`{command}` on {machine}, {today}: {minutes:.0f} minutes of arms, "
        "all calls together and without the making of the data "
        f"(wall time of a shared machine).\n\n# The paper's claims, reproduced"
    )


def _summary(findings: list[Finding], results: Results) -> str:
    counts: dict[str, int] = {}
    for found in findings:
        counts[found.verdict] = counts.get(found.verdict, 0) + 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    claims = len({found.claim.number for found in findings})
    lines = [f"{len(findings)} measurements of {claims} claims: {told}."]
    for worse in (EPSILON, V_STOCK):
        try:
            errors = [results.number(arm, "ladder_error") for arm in (worse, MAIN)]
        except MissingResultError:
            continue
        apart = separation(*errors)
        if apart is not None:
            lines.append(
                f"The brightness ladder separates *{ARMS[MAIN].title}* from *{ARMS[worse].title}* "
                f"by {apart.difference:.3f} luminance, **{apart.deviations:.1f} standard "
                f"deviations** of the seeds ({len(errors[0])} and {len(errors[1])} seeds)."
            )
    return " ".join(lines)


def _not_run(reproduction: Reproduction) -> str:
    if not reproduction.left_out:
        return "Every planned arm was run."
    told = [
        job if "train" in parts else f"{', '.join(parts)} of {job}"
        for job, parts in reproduction.left_out.items()
    ]
    return f"Not run, because the budget was spent: {'; '.join(told)}."


def _method(reproduction: Reproduction) -> str:
    size, seeds = reproduction.place.size, len(reproduction.seeds)
    return (
        f"The tiny preset, smaller: {size.images} drawn pictures of about {size.side_px} × "
        f"{size.side_px} pixels, one figure before a plain colour, the eleven colours by Zipf; "
        f"latents half as long; a network of channels 16 and 32; {size.steps} steps of "
        f"{size.batch} pictures ({size.short_steps} for the arms of uptraining), {seeds} seeds, "
        f"drawn at CFG 3.5 in {size.drawing_steps} Euler steps. All arms share the latents and "
        "differ in what their name says. The ladder asks for five backgrounds from black to white; "
        "its error is the root mean square of drawn less asked luminance. The claims of the "
        "decoder have a VAE of their own with eight pixels a latent, whose decoder first learns "
        f"from JPEG of quality 10; {size.decoder_steps} steps each.\n\n"
        "A value is above 0 where the claim holds; its 95 % interval is over seeds, or over "
        "draws, buckets or pictures where nothing is trained, and from the least to the greatest "
        "value where chance has no part. A rule gives the verdict: *seen* "
        "when the interval lies above 0; *not seen* when it lies below what would matter (in "
        "brackets); else *cannot be seen at this size*."
    )


def _table(findings: list[Finding]) -> str:
    rows = ["| # | claim | measured | value, 95 % interval | n | verdict |",
            "|---:|---|---|---:|---:|---|"]  # fmt: skip
    for found in sorted(findings, key=lambda found: found.claim.number):
        claim = found.claim
        least = f" [{claim.least:g}]" if claim.least else ""
        cells = [str(claim.number), claim.text, claim.measured + least, _value(found)]
        cells += [str(len(found.values) or ""), found.verdict]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _value(finding: Finding) -> str:
    if not finding.values:
        return ""
    found = interval(finding.values, exact=finding.claim.exact)
    if len(finding.values) < 2:
        return f"{found.mean:+.3f}, no interval of one"
    return f"{found.mean:+.3f}, {found.low:+.3f} to {found.high:+.3f}"


def _picture(found: Finding) -> str:
    claim = found.claim
    return (
        f"![Figure of claim {claim.number}, {claim.name}]({PICTURES}/{claim.figure}.png)\n\n"
        f"*Claim {claim.number}: {claim.text}. {found.verdict.capitalize()}.*"
    )


def _arms(reproduction: Reproduction, results: Results) -> str:
    """Every trained arm with the mean and the standard deviation of its seeds."""
    names = _networks(reproduction)
    head = ["arm", "seeds", *_METRICS.values()]
    rows = ["| " + " | ".join(head) + " |", "|---|---:|" + "---:|" * len(_METRICS)]
    for name in names:
        cells = [_cell(results, ARMS[name], metric) for metric in _METRICS]
        try:
            seeds = len(results.number(name, "ladder_error"))
        except MissingResultError:
            seeds = 0
        rows.append("| " + " | ".join([ARMS[name].title, str(seeds), *cells]) + " |")
    return "## The arms\n\nMean ± standard deviation over seeds.\n\n" + "\n".join(rows)


def _networks(reproduction: Reproduction) -> list[str]:
    """The arms that train a U-Net."""
    return list(dict.fromkeys(job.arm.name for job in reproduction.jobs if job.arm.network))


def _cell(results: Results, arm: Arm, metric: str) -> str:
    try:
        values = results.number(arm.name, metric)
    except MissingResultError:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
