"""`nadir schedule`: table, JSON, advice and plot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from nadir.cli.schedule import schedule
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(root: Path, *arguments: str, expect_error: bool = False) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(schedule)
    given = ["--params", str(root / "params.yaml"), *arguments]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    if expect_error:
        assert result.exception
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def report(root: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(run(root, "--json", *arguments).stdout)


def test_json_has_equally_long_lists_and_the_settings(root: Path) -> None:
    found = report(root, "--steps", "28", "--spacing", "native")
    names = ("timesteps", "sigmas", "snr", "loss_weights")
    assert [len(found[name]) for name in names] == [28] * 4
    assert found["sigmas"][0] == "inf"
    assert found["timesteps"][0] == 999
    assert found["snr"][0] == 0
    assert found["loss_weights"][0] == 1
    assert found["sigmas"][1] == pytest.approx(56.1782, rel=1e-5)
    assert found["sigmas"][-1] == pytest.approx(0.0291672, rel=1e-5)  # no final 0
    assert found["settings"]["steps"] == 28
    assert found["settings"]["spacing"] == "native"
    assert found["settings"]["noise"]["prediction"] == "v"
    assert found["settings"]["loss_weight"] == {
        "name": "snr_plus_one",
        "gamma": 5.0,
        "learned": None,
    }
    assert found["canvas"] is None
    assert sum(found["weight_shares"].values()) - found["weight_shares"]["sigma_inf"] == (
        pytest.approx(1)
    )


def test_steps_and_spacing_come_from_the_file_unless_given(root: Path) -> None:
    settings = report(root)["settings"]
    assert (settings["steps"], settings["spacing"]) == (25, "trailing")
    assert report(root, "--steps", "7")["settings"]["spacing"] == "trailing"


def test_table_marks_the_terminal_step(root: Path) -> None:
    lines = run(root, "--steps", "5").stdout.splitlines()
    terminal = [line for line in lines if "terminal: pure noise" in line]
    assert len(terminal) == 1
    assert "999" in terminal[0]
    assert "inf" in terminal[0]
    assert any("7.4107" in line for line in lines)
    assert any("Share of the training weight by sigma" in line for line in lines)


def test_canvas_advice(root: Path) -> None:
    enough = report(root, "--steps", "28", "--spacing", "native", "--canvas", "1536x1536")
    assert enough["canvas"]["covered"]
    assert enough["canvas"]["minimum_sigma"] == pytest.approx(21.9219)
    few = run(root, "--steps", "5", "--canvas", "2048x2048").stdout
    assert "is 2 times as long as 1024x1024" in few
    assert "is too low" in few


def test_a_finite_schedule_is_shown_without_infinity(root: Path, tmp_path: Path) -> None:
    text = (root / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("zero_terminal_snr: true", "zero_terminal_snr: false")
    text = text.replace("prediction: v ", "prediction: epsilon ").replace(
        "prediction: v\n", "prediction: epsilon\n"
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    found = report(tmp_path, "--steps", "5")
    assert found["settings"]["noise"]["prediction"] == "epsilon"
    assert found["sigmas"][0] == pytest.approx(14.6146, rel=1e-5)
    assert "pure noise" not in run(tmp_path, "--steps", "5").stdout


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plots(suffix: str, root: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        assert f"wrote {file}" in run(root, "--plot", str(file)).stdout.replace("\n", "")
    assert files[0].stat().st_size > 5000
    if suffix == ".png":
        assert files[0].read_bytes() == files[1].read_bytes()
    run(root, "--plot", str(files[0]), "--steps", "1")


def test_the_plot_is_headless_and_the_same_whatever_the_environment_says(
    root: Path, tmp_path: Path
) -> None:
    run(root, "--plot", str(tmp_path / "a.png"))
    (tmp_path / "matplotlibrc").write_text("figure.facecolor: black\n", encoding="utf-8")
    command = "from nadir.cli import main; main()"
    params = ("--params", str(root / "params.yaml"))
    done = subprocess.run(
        [sys.executable, "-c", command, "schedule", *params, "--plot", "b.png"],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_errors_say_what_to_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="'big' is not a canvas size"):
        run(root, "--canvas", "big", expect_error=True)
    with pytest.raises(NadirError, match="--json and --plot exclude each other"):
        run(root, "--json", "--plot", "a.png", expect_error=True)
    with pytest.raises(NadirError, match=r"a plot is a \.png, \.svg or \.pdf file"):
        run(root, "--plot", str(tmp_path / "a.gif"), expect_error=True)
    (tmp_path / "file").touch()
    with pytest.raises(
        NadirError, match=r"the plot cannot be written \(Not a directory|File exists"
    ):
        run(root, "--plot", str(tmp_path / "file" / "a.png"), expect_error=True)
    for steps in ("0", "-3", "1001"):
        with pytest.raises(NadirError, match=rf"{steps} sampling steps .*\n  fix: use 1 to 1000"):
            run(root, "--steps", steps, expect_error=True)
    for canvas in ("0x0", "1024x4"):
        with pytest.raises(NadirError, match=f"a canvas of {canvas} has no latent pixel"):
            run(root, "--canvas", canvas, expect_error=True)
    with pytest.raises(NadirError, match="has no finite sigma to judge"):
        run(root, "--canvas", "1024x1024", "--steps", "1", expect_error=True)
    with pytest.raises(NadirError, match="use one of native, trailing, simple"):
        run(root, "--spacing", "leading", expect_error=True)
    with pytest.raises(NadirError, match="no such parameter file"):
        run(tmp_path, expect_error=True)
