"""What a training has to tell MLflow, on disk until it is sent: an outage costs no record."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import threading
from typing import TYPE_CHECKING, Any

from nadir.ground.events import say
from nadir.ground.files import write_text
from nadir.ground.pages.pictures import has_facts, read_facts, with_facts
from nadir.ground.workspace import main_workspace
from nadir.tracking.runs.pipeline_run import set_tags
from nadir.tracking.store.connection import connect, is_transient, store_faults, store_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlflow import MlflowClient

Record = dict[str, Any]

_RECORDS = "records.jsonl"
_STORE = "store"
_LOCK = "lock"
_AT_ONCE = 500  # metrics; MLflow takes 1000 in one call
_LOGIN_STATUS = {401, 403, 408, 429}

_log = logging.getLogger(__name__)


def journals(root: Path) -> Path:
    """Folder of the journals, one folder per run: `work/mlflow/unsent`."""
    return main_workspace(root) / "work" / "mlflow" / "unsent"


class Journal:
    """Records of one run that wait to be sent, in their order; one process at a time holds it.

    Writing one costs a line in a file, whatever becomes of the store. For one writer and one
    sender, which may be two threads.

    Args:
        folder: The run's own; its name is the run's id.

    Attributes:
        run_id: The run.

    Raises:
        BlockingIOError: Another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run_id = folder.name
        self._folder = folder
        self._path = folder / _RECORDS
        self._guard = threading.Lock()
        self._held = (folder / _LOCK).open("a")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._held.close()
            raise
        self._records = _read(self._path)
        self._files = len(list(folder.glob("*.file")))

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Note a record."""
        with self._guard:
            self._records.append(record)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def add_file(self, record: Record, write: Callable[[Path], object]) -> None:
        """Note a record with a file, which is kept beside it until it is sent."""
        self._files += 1
        name = f"{self._files:06d}.file"
        write(self._folder / name)
        self.add({**record, "file": name})

    def reopen(self) -> None:
        """Forget that the run had ended: it goes on."""
        with self._guard:
            self._records = [record for record in self._records if record["kind"] != "end"]
            self._rewrite()

    def first(self) -> list[Record]:
        """What to send next: one record, or as many of metrics as go in one call."""
        with self._guard:
            taken: list[Record] = []
            size = 0
            for record in self._records:
                size += len(record.get("metrics", ()))
                if taken and (record["kind"] != "metrics" or size > _AT_ONCE):
                    break
                taken.append(record)
                if record["kind"] != "metrics":
                    break
            return taken

    def path(self, record: Record) -> Path:
        """The file of a record that has one."""
        return self._folder / str(record["file"])

    def sent(self, records: list[Record]) -> None:
        """Strike out the first records."""
        with self._guard:
            del self._records[: len(records)]
            for record in records:
                if "file" in record:
                    self.path(record).unlink(missing_ok=True)
            if not self._records:
                self._rewrite()

    def remember_store(self, name: str) -> None:
        """Note which store the records are for, by its `store_name`."""
        write_text(self._folder / _STORE, name + "\n")

    def is_for(self, name: str) -> bool:
        """Whether the records are for the store of this name."""
        path = self._folder / _STORE
        known = path.read_text(encoding="utf-8").strip() if path.is_file() else None
        return known in {None, name}

    def close(self, *, remove: bool) -> None:
        """Let go of the journal; remove its folder where everything is sent."""
        if remove:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()

    def _rewrite(self) -> None:
        text = "".join(json.dumps(record) + "\n" for record in self._records)
        self._path.write_text(text, encoding="utf-8")


def deliver(client: MlflowClient, journal: Journal) -> int:
    """Send everything that waits, in order; a record that MLflow will never take is passed over.

    Sending a metric twice leaves one, so a batch whose answer was lost is simply sent again.

    Returns:
        The number of records sent.

    Raises:
        Exception: The store is away or refuses the login; what was not sent stays.
    """
    count = 0
    while batch := journal.first():
        try:
            _send(client, journal, batch)
        except Exception as error:
            if not _is_refused(error):
                raise
            text = "tracking: MLflow refuses a record of `%s` (%s); it is left out"
            _log.warning(text, batch[0]["kind"], (str(error).splitlines() or [""])[0])
        journal.sent(batch)
        count += len(batch)
    return count


@store_faults()
def catch_up(root: Path) -> list[str]:
    """Send what trainings could not tell this store while it was away, and close their runs.

    Journals of trainings that still run, and of other stores, are left alone.

    Returns:
        Ids of the runs that are complete now.

    Raises:
        NadirError: The store cannot be reached.
    """
    complete: list[str] = []
    for folder in sorted(path for path in journals(root).glob("*") if path.is_dir()):
        with _free(folder) as journal:
            if journal is None or not journal.is_for(store_name(root)):
                continue
            if len(journal):
                count = deliver(connect(root), journal)
                say(f"tracking: {count} records of run {journal.run_id[:8]} sent to MLflow")
                complete.append(journal.run_id)
            journal.close(remove=True)
    return complete


@contextlib.contextmanager
def _free(folder: Path) -> Iterator[Journal | None]:
    try:
        journal = Journal(folder)
    except BlockingIOError:
        yield None
        return
    try:
        yield journal
    finally:
        journal.close(remove=False)


def _send(client: MlflowClient, journal: Journal, batch: list[Record]) -> None:
    from mlflow.entities import Metric

    record, run_id = batch[0], journal.run_id
    if record["kind"] == "metrics":
        metrics = [Metric(*values) for one in batch for values in one["metrics"]]
        client.log_batch(run_id, metrics=metrics)
    elif record["kind"] == "tags":
        set_tags(client, run_id, record["tags"])
    elif record["kind"] == "image":
        from PIL import Image

        path = journal.path(record)
        with Image.open(path) as image:
            image.load()
        client.log_image(
            run_id,
            # MLflow writes a file of its own, which says how it was drawn as this one does.
            with_facts(image, read_facts(path)) if has_facts(image) else image,
            key=record["key"],
            step=record["step"],
            timestamp=record["at"],
            synchronous=True,
        )
    elif record["kind"] == "artifact":
        _send_artifact(client, run_id, journal.path(record), record["name"])
    else:
        client.set_terminated(run_id, record["status"], record["at"])


def _send_artifact(client: MlflowClient, run_id: str, path: Path, name: str) -> None:
    """MLflow names an artifact after its file."""
    folder = path.with_suffix(".named")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(path, folder / name)
    try:
        client.log_artifact(run_id, str(folder / name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_refused(error: BaseException) -> bool:
    """Whether MLflow understood and said no, which it would say again."""
    from mlflow.exceptions import MlflowException
    from PIL import UnidentifiedImageError

    if isinstance(error, FileNotFoundError | UnidentifiedImageError):
        return True
    if not isinstance(error, MlflowException) or is_transient(error):
        return False
    if error.error_code == "ENDPOINT_NOT_FOUND":  # the word of what stands before MLflow
        return False
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in _LOGIN_STATUS


def _read(path: Path) -> list[Record]:
    """The records; a last line that was cut off in writing is none."""
    if not path.is_file():
        return []
    records: list[Record] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records
