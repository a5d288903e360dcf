"""One training from its folders, or from its checkpoint, to the model file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import fullconv
from fullconv.conversion.report import Report
from fullconv.errors import InputError, OutputError
from fullconv.training import checkpoint, outcome
from fullconv.training.architecture import build_network
from fullconv.training.augment import Variation
from fullconv.training.device import device_of, reproducible
from fullconv.training.fitting import check_window
from fullconv.training.loop import Lesson, judge, run_epoch
from fullconv.training.material import Material, gather
from fullconv.training.negatives import mine
from fullconv.training.network import Classifier
from fullconv.training.photos import Photos
from fullconv.training.pixels import Pixels
from fullconv.training.saving import check_ending, metadata_of, save_classifier
from fullconv.training.settings import TrainSettings
from fullconv.training.state import State, new_optimiser, weights_of
from fullconv.training.telling import Ended, Listener, Note, Started
from fullconv.training.trained import Trained

LEAST_LEARNT = 100
"""The most false alarms that a round adds, if half the number of crops is less."""


class Run:
    """One training: its inputs, settings and output. `train` runs it, once."""

    def __init__(
        self,
        *,
        crops: Path,
        out: Path,
        settings: TrainSettings,
        photos: Photos,
        own: Callable[..., Any] | None,
        device: str | None,
        tell: Listener,
    ) -> None:
        check_ending(out)
        self.crops, self.out, self.settings, self.own, self.tell = crops, out, settings, own, tell
        self.device = device_of(device)
        self.photos = photos
        self.checkpoint = checkpoint.checkpoint_of(out)
        self.is_kept = False

    def train(self, *, resume: bool, overwrite: bool) -> Trained:
        """Train, and write the model."""
        is_begun = self._check_place(resume, overwrite)
        if self.own is None and self.settings.window is not None:
            check_window(self.settings.window)  # before crops are brought to its size
        material = gather(self.crops, self.settings, bool(self.photos), self.tell)
        self.photos.check_classes(material.classes)
        with reproducible(self.device):
            network = build_network(
                self.own,
                material.kind,
                len(material.classes),
                self.settings.seed,
                self.settings.from_scratch_fcn,
            )
            report = fullconv.explain(Classifier(network), material.kind.window)
            network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            lesson = self._lesson(material, report)
            asked = self._asked(material)
            if is_begun:
                state = checkpoint.read(self.checkpoint, network, asked)
                self.is_kept = True
            else:
                nothing = Pixels(material.training.pixels[:0], material.training.labels[:0])
                state = State(network, new_optimiser(network), weights_of(network), nothing)
            self._tell_start(material, report, network, state)
            is_interrupted = False
            try:
                self._learn(state, lesson, material, asked)
            except KeyboardInterrupt:
                if not state.history:
                    raise
                is_interrupted = True
            return self._finish(state, lesson, material, report, asked, is_interrupted)

    def _check_place(self, resume: bool, overwrite: bool) -> bool:
        """Return whether there is a training to go on with; refuse to overwrite results unasked."""
        outcome.check_writable(self.out)
        if overwrite:
            return resume and self.checkpoint.exists()
        if self.checkpoint.exists():
            if not resume:
                raise InputError(
                    f"train -o {self.out}: {self.checkpoint.name} holds an unfinished training; go "
                    f"on with it by --resume, or start again with --overwrite."
                )
        else:
            for path in (self.out, *outcome.beside(self.out)):
                if path.exists():
                    raise InputError(
                        f"train -o {self.out}: {path} is there already; choose another name, or "
                        f"replace it with --overwrite."
                    )
        return self.checkpoint.exists()

    def _lesson(self, material: Material, report: Report) -> Lesson:
        variation = Variation.for_stride(report.stride, material.kind.window, self.settings.flips)
        return Lesson(
            material.training,
            material.held_out,
            material.classes,
            material.preprocessing,
            variation,
            self.device,
        )

    def _asked(self, material: Material) -> dict[str, Any]:
        """Return all that decides the result, to be compared with an earlier run."""
        return {
            **self.settings.as_dict(),
            "classes": list(material.classes),
            "crops": material.fingerprint,
            "negatives": self.photos.fingerprint,
        }

    def _tell_start(
        self, material: Material, report: Report, network: nn.Module, state: State
    ) -> None:
        training, held_out = (
            tuple(np.bincount(part.labels, minlength=len(material.classes)).tolist())
            for part in (material.training, material.held_out)
        )
        self.tell(
            Started(
                classes=material.classes,
                background=material.background,
                training=training,
                held_out=held_out,
                window=material.kind.window,
                report=report,
                parameters=sum(weight.numel() for weight in network.parameters()),
                device=str(self.device),
            )
        )
        if state.history:
            self.tell(Note(f"going on after epoch {state.history[-1].number}"))

    def _learn(
        self, state: State, lesson: Lesson, material: Material, asked: dict[str, Any]
    ) -> None:
        """Run all phases, and write a checkpoint after every epoch and round."""
        while True:
            full = lesson.with_negatives(state.mined)
            while not state.has_phase_ended(self.settings):
                is_best = run_epoch(state, full, self.settings, self.tell)
                self._keep(state, asked)
                self._tell_epoch(state, is_best)
            if not self.photos or len(state.rounds) > self.settings.rounds:
                return
            self._next_phase(state, material)
            self._keep(state, asked)
            if len(state.rounds) > self.settings.rounds:
                return

    def _next_phase(self, state: State, material: Material) -> None:
        """Return to the weights of the best epoch, and add its worst false alarms to the crops."""
        begun = time.monotonic()
        state.network.load_state_dict(state.best)
        is_last = state.phase == self.settings.rounds
        number = len(state.rounds) + 1
        most = 0 if is_last else max(LEAST_LEARNT, len(material.training) // 2)
        fcn = fullconv.convert(
            Classifier.of(state.network),
            material.kind.window,
            classes=material.classes,
            background=material.background,
            preprocessing=material.preprocessing,
            check=False,
        )
        crops, counts = mine(
            fcn=fcn,
            photos=self.photos,
            kind=material.kind,
            number=number,
            most=most,
            begun=begun,
            note=self.tell,
        )
        state.rounds.append(counts)
        self.tell(counts)
        if not is_last:
            state.mined = state.mined.followed_by(crops)
            state.optimiser = new_optimiser(state.network)
            state.phase += 1

    def _tell_epoch(self, state: State, is_best: bool) -> None:
        epoch = state.history[-1]
        left = self.settings.epochs_of(state.phase) - len(state.of_phase)
        left += sum(
            self.settings.epochs_of(phase)
            for phase in range(state.phase + 1, self.settings.rounds + 1)
        )
        mean = sum(one.seconds for one in state.history) / len(state.history)
        self.tell(Ended(epoch, epoch.number + left, is_best, left * mean))

    def _keep(self, state: State, asked: dict[str, Any]) -> None:
        """Write a checkpoint; a full disk does not end the training."""
        try:
            checkpoint.write(self.checkpoint, state, asked)
            self.is_kept = True
        except OutputError as error:
            self.tell(Note(f"no checkpoint of this epoch: {error}", True))

    def _finish(
        self,
        state: State,
        lesson: Lesson,
        material: Material,
        report: Report,
        asked: dict[str, Any],
        is_interrupted: bool,
    ) -> Trained:
        """Write the model with the best weights, and the files beside it."""
        last = weights_of(state.network)
        state.network.load_state_dict(state.best)
        _, confusion = judge(state.network, lesson)
        classifier = Classifier.of(state.network)
        best = state.best_epoch
        assert best is not None
        trained = Trained(
            path=self.out,
            classifier=classifier,
            window=material.kind.window,
            classes=material.classes,
            background=material.background,
            preprocessing=material.preprocessing,
            report=report,
            history=tuple(state.history),
            best=best,
            confusion=confusion,
            rounds=tuple(state.rounds),
            is_interrupted=is_interrupted,
        )
        metadata = metadata_of(
            trained.window, trained.classes, trained.background, trained.preprocessing
        )
        try:
            save_classifier(classifier, material.kind.channels, metadata, self.out)
            outcome.write(trained, material, self.settings, str(self.device))
        except OutputError as error:
            state.network.load_state_dict(last)
            raise OutputError(f"{error} {self._rescue(state, asked)}") from None
        if not is_interrupted:
            self.checkpoint.unlink(missing_ok=True)
        return trained

    def _rescue(self, state: State, asked: dict[str, Any]) -> str:
        """Return where the checkpoint is, as a sentence for a model that could not be written."""
        if not self.is_kept:
            place = Path(tempfile.gettempdir()) / self.checkpoint.name
            try:
                checkpoint.write(place, state, asked)
            except OutputError:
                return "No checkpoint could be written either."
            return f"What was trained is in {place}: move it to {self.checkpoint}, and --resume."
        return f"What was trained is kept in {self.checkpoint}; --resume writes the model."
