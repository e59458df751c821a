"""The training loop: it resumes, reports, saves, stops when asked and publishes at the end."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object

from nadir.diffusion.loss_weight import weight_shares
from nadir.ground.events import Progress, say
from nadir.training.ahead import BatchesAhead
from nadir.training.compiling import MAX_GRAPHS
from nadir.training.reports.departures import drawn_weights, objective_notes
from nadir.training.reports.divergence import diverged
from nadir.training.reports.history import History
from nadir.training.reports.reporter import SHARE_PREFIX
from nadir.training.saving import CheckpointWriter
from nadir.training.sharding.checkpoints import open_store
from nadir.training.state import age
from nadir.training.stop_request import StoppedError, StoppedTogetherError
from nadir.training.validation.watch import Watch

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nadir.training.losses.objective import Batch
    from nadir.training.run import Run
    from nadir.training.stop_request import StopRequest
    from nadir.training.train_step import StepResult, TrainStep


class Trainer:
    """Carries one run from its newest checkpoint to its outputs.

    Args:
        run: What to train on, and how.
        train_step: Makes the steps.
        accelerator: Says which process this is.
        stop: Asked at every step.
    """

    def __init__(
        self, run: Run, train_step: TrainStep, accelerator: Accelerator, stop: StopRequest
    ) -> None:
        self._run = run
        self._train_step = train_step
        self._accelerator = accelerator
        self._main = accelerator.is_main_process
        self._stop = stop
        self._is_sharded = run.train.parallel == "fsdp"
        self._takes_part = self._main or self._is_sharded  # in what is saved and published
        self._store = open_store(run, accelerator, keep=run.train.keep_checkpoints, warn=self._say)
        self._writer = CheckpointWriter(
            self._store, in_background=run.train.checkpoint_in_background
        )
        self._history = History(run.train.steps, run.loader.images_before)
        self._watch = Watch(
            run.train,
            mean_error=run.validator.mean_error if run.validator else math.inf,
            warn=self._say,
        )
        self._step = self._saved_step = 0
        self._batches = BatchesAhead(
            self._batch, run.train.steps, in_thread=accelerator.device.type != "cpu"
        )
        self._unread: list[tuple[int, StepResult]] = []
        # Several processes look at the step before, with which the device is done.
        self._asked: deque[StepResult] = deque(maxlen=min(accelerator.num_processes, 2))

    def train(self) -> None:
        """Train to the last step and write the outputs.

        Raises:
            NadirError: The loss is not a number; or a stop was requested, or an alarm of
                `train.stop_on` was raised (the state is saved then).
            OSError: A checkpoint could not be written.
        """
        try:
            self._train()
        except BaseException:
            if error := self._writer.fault():
                self._say(f"WARNING train: the last checkpoint was not written: {error}")
            raise

    def _train(self) -> None:
        self._resume()
        self._start()
        self._look()
        self._begin()
        with self._batches:
            self._make_steps()
        self._save()  # publishing takes long with a large model, and may fail or be killed
        self._writer.wait()
        self._look()
        self._publish()

    def _begin(self) -> None:
        """Start the clock of the steps to come."""
        self._progress = Progress("train", self._run.train.steps, "steps", done=self._step)
        self._started = time.monotonic(), self._run.loader.images_before(self._step)

    def _make_steps(self) -> None:
        """From here to the last step."""
        train = self._run.train
        while self._step < train.steps:
            self._writer.look()
            self._look()
            self._advance()
            if self._step == train.steps:
                break
            if len(self._asked) == self._asked.maxlen and self._asked[0].stop:
                self._save()
                self._writer.wait()
                raise self._watch.fault() or self._interrupted()
            if self._step % train.checkpoint_every == 0:
                self._save()

    def _resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        folder = self._store.latest()
        if folder is None:
            return
        snapshot = self._store.load(folder)
        self._train_step.restore(snapshot)
        self._history.load(snapshot.facts["history"])
        self._watch.load(snapshot.facts["watch"])
        if fault := self._watch.fault():
            raise fault
        self._step = self._saved_step = snapshot.step
        self._say(f"train: resuming from step {snapshot.step} ({age(folder)} ago)")

    def _start(self) -> None:
        """Tell the log and the tracker what is about to run."""
        run = self._run
        shares = weight_shares(run.objective.schedule, drawn_weights(run))
        epochs = run.loader.images_before(run.train.steps) / run.loader.epoch_images
        trainable = self._train_step.trainable
        parameters = sum(p.numel() for p in trainable.network.parameters())
        trained = sum(weight.numel() for weight in trainable.weights().values())
        self._say(
            f"train: {parameters / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained, "
            f"{len(run.samples)} images in {len(run.samples.buckets)} buckets, "
            f"{epochs:.1f} epochs, "
            f"{self._accelerator.num_processes} x {self._accelerator.device.type}"
        )
        if blocks := self._train_step.compiled_blocks:
            self._say(
                f"train: {blocks} blocks are compiled when they first meet a shape of batch, "
                f"into at most {MAX_GRAPHS} graphs"
            )
        told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        self._say(f"train: loss weight by band: {told}")
        lines, notes = objective_notes(run)
        for line in lines:
            self._say(line)
        facts: dict[str, Any] = {
            "steps_done": self._step,
            "training_images": len(run.samples),
            "epochs": epochs,
            "unet_parameters": parameters,
            "trained_parameters": trained,
            "processes": self._accelerator.num_processes,
            "device": self._accelerator.device.type,
            "noise_schedule": run.objective.schedule.fingerprint,
        }
        facts |= notes | {f"{SHARE_PREFIX}{name}": share for name, share in shares.items()}
        if self._main:
            run.reporter.started(facts)

    def _batch(self, step: int) -> Batch:
        """This process' part of the batch of `step`."""
        processes = self._accelerator
        return self._run.loader.batch(
            step, rank=processes.process_index, ranks=processes.num_processes
        )

    def _advance(self) -> None:
        """Make one step; its numbers stay on the device until several are read."""
        batch = self._batches.take(self._step)
        result = self._train_step.step(self._step, batch, self._stop)
        self._step += 1
        self._unread.append((self._step, result))
        self._asked.append(result)
        if self._step % self._history.every == 0 or self._step == self._run.train.steps:
            self._read()

    def _read(self) -> None:
        """Read the numbers of the last steps; nothing is kept of weights after a bad one.

        All processes read at the same steps, so that they fail together.

        Raises:
            NadirError: A loss is not a number.
        """
        results, self._unread = self._unread, []
        for step, result in results:
            if not math.isfinite(result.loss):
                self._batches.settle()
                raise diverged(result.loss, step - 1, self._run)
            if self._main:
                self._report(step, result)

    def _report(self, step: int, result: StepResult) -> None:
        """Note a step; tell the tracker the means when a row is due."""
        self._watch.step(step, loss=result.loss, gradient_norm=result.gradient_norm)
        self._obey()
        images = self._run.loader.images_before(step)
        start, images_then = self._started
        images_per_second = (images - images_then) / max(time.monotonic() - start, 1e-9)
        note = f"{images} images, loss {result.loss:.3f}{self._watch.note}"
        self._progress.advance(note=note)
        means = self._history.add(
            step,
            loss=result.loss,
            unweighted=result.unweighted,
            gradient_norm=result.gradient_norm,
            by_band=result.by_band,
        )
        if means:
            means |= {
                "learning_rate": result.learning_rate,
                "images_per_second": images_per_second,
            }
            self._run.reporter.step(step, images, means)

    def _look(self) -> None:
        """Measure and draw what is due now, with the weights that would be published.

        It comes after a checkpoint of the same step and before the next step, so that a resumed
        run makes up for what a stop left out.
        """
        run, watch, step = self._run, self._watch, self._step
        if watch.wants_validation(step) or watch.wants_previews(step):
            self._read()
            self._batches.settle()  # they use the text encoders, too
        validator = run.validator if watch.wants_validation(step) else None
        previews = run.previews if watch.wants_previews(step) else None
        looks = bool(validator or previews)  # only the main process has them
        if self._is_sharded and watch.may_be_due(step):
            looks = any(gather_object([looks]))  # and it needs the shares of all
        if not looks:
            return
        metrics: dict[str, float] = {}
        with self._train_step.published() as trainable:
            if validator:
                metrics |= watch.validated(step, validator.measure(trainable.network))
            if previews:
                drawn = list(previews.draw(trainable.network))
                for prompt, image in drawn:
                    run.reporter.preview(step, prompt, image)
                images = [image for _, image in drawn]
                metrics |= watch.previewed(step, images, previews.real_extreme_share)
        if metrics:
            run.reporter.step(step, run.loader.images_before(step), metrics)
        self._obey()

    def _obey(self) -> None:
        """Ask for a stop where an alarm wants one; the next step shares it with all processes."""
        if self._watch.fault():
            self._stop.requested = True

    def _save(self) -> None:
        """Write a checkpoint, or begin to, unless this step has one."""
        self._read()
        if self._is_sharded:
            self._writer.wait()
            self._accelerator.wait_for_everyone()  # see `ShardStore`
        if self._takes_part and self._step != self._saved_step:
            schedule = self._run.objective.schedule.fingerprint
            facts = {
                "history": self._history.state(),
                "watch": self._watch.state(),
                "noise_schedule": schedule,
            }
            self._writer.save(self._train_step.snapshot(self._step, facts))
        self._saved_step = self._step
        self._accelerator.wait_for_everyone()

    def _publish(self) -> None:
        """Write the outputs, with the weights that are published."""
        if self._takes_part:
            with self._train_step.published() as trainable:
                if self._main:
                    self._run.write_outputs(trainable, self._history, self._watch)

    def _interrupted(self) -> StoppedError:
        return StoppedTogetherError(
            f"stopped on request after step {self._step} of {self._run.train.steps}; "
            "the state is saved",
            where="train",
            fix="run the same command again to go on from there",
        )

    def _say(self, message: str) -> None:
        if self._main:
            say(message, step=self._step)
