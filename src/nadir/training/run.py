"""What one training is made of, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.files import atomic_folder, read_json, write_json
from nadir.model.sdxl.scaling import LatentScaling
from nadir.training.run_files import LOSS, METRICS, MODEL, OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.noise import NoiseParams
    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.loader import BatchLoader
    from nadir.training.losses.objective import Objective
    from nadir.training.reports.history import History
    from nadir.training.reports.previews import Previews
    from nadir.training.reports.reporter import TrainingReporter
    from nadir.training.samples import Samples
    from nadir.training.trainable import Trainable
    from nadir.training.validation.validator import Validator
    from nadir.training.validation.watch import Watch


@dataclass(frozen=True)
class Run:
    """What one training is made of.

    Attributes:
        work: The run's own folder: `checkpoints` while it runs, `output` when it has finished.
        data: Folder of manifest, tag table and latents.
        base: The base model's folder.
        fingerprint: Of code, data and params.
        train: `params.yaml` train.
        noise: `params.yaml` noise.
        objective: Made from `noise` and `train.loss_weight`; holds the schedule.
        samples: The training images.
        loader: Makes batches.
        scaling: Latent scaling, stored in the checkpoint.
        text: The text encoders that loader and previews use, on the training device.
        previews: Draws previews; None draws none.
        reporter: Called with what happens, by the main process alone.
        validator: Measures the held-out error; None measures none.
    """

    work: Path
    data: Path
    base: Path
    fingerprint: str
    train: TrainParams
    noise: NoiseParams
    objective: Objective
    samples: Samples
    loader: BatchLoader
    scaling: LatentScaling
    text: TextEncoder
    previews: Previews | None
    reporter: TrainingReporter
    validator: Validator | None

    def write_outputs(self, trainable: Trainable, history: History, watch: Watch) -> None:
        """Write checkpoint, metrics and loss curve into `output`, which appears as a whole.

        Args:
            trainable: Holds the weights to publish.
            history: Of the finished run.
            watch: Of the finished run; holds its held-out errors.
        """
        final = self.work / OUTPUT
        summary = history.summary()
        facts = {
            "steps": summary["steps"],
            "images": summary["images"],
            "fingerprint": self.fingerprint,
            "noise_schedule": self.objective.schedule.fingerprint,
            # How the network expects to be asked: the form of captions, other names of tags, and a
            # (height, width) that images claimed in micro-conditioning; the sizes it has seen.
            "caption": self.train.caption.model_dump(),
            "aliases": dict(self.samples.aliases),
            "original_size": list(self.samples.typical_original),
            "buckets": [list(size) for size in self.samples.canvases],
        }
        with atomic_folder(final) as temporary:
            trainable.write(
                temporary / MODEL,
                base=self.base,
                noise=self.noise.model_dump(),
                scaling=self.scaling,
                training=facts,
            )
            write_json(temporary / METRICS, summary | watch.summary())
            history.write_csv(temporary / LOSS, watch.columns())
        for name in (METRICS, LOSS):
            self.reporter.artifact(final / name)


def latent_scaling(kind: str) -> LatentScaling:
    """What `train.latent_scaling` names: the base's own scaling, or the dataset's statistics."""
    if kind == "sdxl":
        return LatentScaling.from_vae_config(read_json(artifacts.BASE / "vae" / "config.json"))
    statistics = read_json(artifacts.LATENT_STATISTICS)
    return LatentScaling(
        kind="per_channel", mean=tuple(statistics["mean"]), std=tuple(statistics["std"])
    )
