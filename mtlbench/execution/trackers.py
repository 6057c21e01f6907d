"""The trackers, each in as few calls of its package as it takes. Packages are imported when one is opened."""

from __future__ import annotations

import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

from mtlbench.execution.tracking import Record

WAIT = "30"  # seconds for a server that does not answer (Ours): trials wait for nobody long
MOST_PARAMETER = 500  # characters of a value, of MLflow


class TensorBoard:
    """Event files in WHERE/PAIR/DATASET/ARM/KEY; a key that is there is written anew."""

    def __init__(self, where: str) -> None:
        from tensorboardX import SummaryWriter

        self.folder, self.writer = Path(where).expanduser(), SummaryWriter

    def send(self, record: Record) -> None:
        """Write a trial's events."""
        folder = self.folder / record.job / record.group / record.key
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        writer = self.writer(str(folder))
        try:
            for iteration, numbers in record.curve.items():
                for name, value in numbers.items():
                    writer.add_scalar(name, value, iteration)
            for name, value in record.scores.items():
                writer.add_scalar(name, value, record.iterations)
            about = "\n".join(f"    {name}: {value}" for name, value in record.config.items())
            writer.add_text("config", f"{record.name}\n\n{about}")
        finally:
            writer.close()

    def close(self) -> None:
        """All is written."""


class WeightsAndBiases:
    """Runs of project WHERE whose id is the key. Online or offline, and with which account, is wandb's own setting
    (WANDB_MODE, wandb login)."""

    def __init__(self, where: str) -> None:
        import wandb

        self.project, self.wandb = where, wandb

    def send(self, record: Record) -> None:
        """Write a trial's run, or write it again under its id."""
        run = self.wandb.init(
            project=self.project,
            id=record.key,
            name=record.name,
            group=record.group,
            job_type=record.job,
            config=record.config,
            resume="allow",
            reinit="create_new",  # a notebook may have a run of its own
            settings=self.wandb.Settings(
                silent=True,
                console="off",
                init_timeout=float(WAIT),
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )
        for iteration, numbers in record.curve.items():
            run.log(numbers, step=iteration)
        run.summary.update(record.scores)
        run.finish()

    def close(self) -> None:
        """Every run is finished."""


class MlFlow:
    """Runs of experiment PAIR/DATASET at the tracking URI WHERE ("": MLFLOW_TRACKING_URI, else its own), with the
    key as tag `mtlbench.key`; one that is there with the same finishing time stays, an older one is deleted."""

    def __init__(self, where: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", WAIT)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.client = MlflowClient(where or None)
        self.experiments: dict[str, str] = {}  # by name

    def send(self, record: Record) -> None:
        """Write a trial's run."""
        from mlflow.entities import Metric, Param, RunTag

        experiment = self._experiment(record.job)
        for run in self.client.search_runs([experiment], f"tags.`mtlbench.key` = '{record.key}'"):
            if run.data.tags.get("mtlbench.finished") == record.config["finished"] and run.info.status == "FINISHED":
                return
            self.client.delete_run(run.info.run_id)
        run_id = self.client.create_run(experiment, run_name=record.name).info.run_id
        tags = {"key": record.key, "finished": record.config["finished"], "arm": record.group}
        rows = [*record.curve.items(), (record.iterations, record.scores)]
        metrics = [
            Metric(_plain(name), value, 0, iteration)
            for iteration, numbers in rows
            for name, value in numbers.items()
            if math.isfinite(value)
        ]
        parameters = [Param(_plain(name), str(value)[:MOST_PARAMETER]) for name, value in record.config.items()]
        for begin in range(0, max(len(metrics), 1), 1000):  # the most that one call takes
            self.client.log_batch(run_id, metrics=metrics[begin : begin + 1000])
        self.client.log_batch(
            run_id, params=parameters[:100], tags=[RunTag(f"mtlbench.{name}", str(tag)) for name, tag in tags.items()]
        )
        self.client.set_terminated(run_id)

    def _experiment(self, name: str) -> str:
        if name not in self.experiments:
            known = self.client.get_experiment_by_name(name)
            self.experiments[name] = known.experiment_id if known else self.client.create_experiment(name)
        return self.experiments[name]

    def close(self) -> None:
        """Every run is finished."""


class Trackio:
    """Runs of project WHERE, named by the key, on this machine unless Trackio is set up otherwise; one that is there
    is left as it is."""

    def __init__(self, where: str) -> None:
        import trackio

        self.project, self.trackio = where, trackio

    def send(self, record: Record) -> None:
        """Write a trial's run."""
        if record.key in self._known():
            return
        run: Any = self.trackio.init(
            project=self.project,
            name=record.key,
            group=record.group,
            config={**record.config, "name": record.name, "job": record.job},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        for iteration, numbers in record.curve.items():
            run.log(numbers, step=iteration)
        run.log(record.scores, step=record.iterations)
        self.trackio.finish()  # it keeps the run, and would end it again with the process

    def _known(self) -> set[str]:
        """Names of the project's runs."""
        try:
            return {run.name for run in self.trackio.Api().runs(self.project)}
        except Exception:  # there is no such project yet
            return set()

    def close(self) -> None:
        """Every run is finished."""


def _plain(name: str) -> str:
    """A name of letters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-./ :" else "_" for letter in name)
