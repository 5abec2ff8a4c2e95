"""Trains in children that a signal stops at a chosen moment; a program, run by ``test_resume.py``.

It imports once and forks a child for each line of JSON on stdin, so that a training costs no more
than itself. The answers are lines of JSON on stdout.

A moment is a place in the program and how often it has come there; stops at moments, unlike stops
at times, are the same on every machine.
"""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import posenet.evaluation.evaluate
import posenet.training.run
from posenet.cli import main
from posenet.training.module import TrainingModule


def watch(moment) -> None:
    """Call ``moment(name)`` at every place where a stop might do harm."""

    def before(owner, attribute: str, name: str) -> None:
        original = getattr(owner, attribute)

        def called(*arguments, **keywords):
            moment(name)
            return original(*arguments, **keywords)

        setattr(owner, attribute, called)

    before(posenet.training.run, "load_teacher", "starting")
    before(TrainingModule, "training_step", "training")
    before(TrainingModule, "validation_step", "validating")
    before(posenet.training.run, "calibrate", "calibrating")
    before(posenet.training.run, "plot_training_curves", "drawing")
    load, replace, save = posenet.training.run.load_scene, os.replace, torch.save

    def watched_load(*arguments, report, **keywords):
        def watched_report(done: int, total: int) -> None:
            moment("decoding")
            report(done, total)

        return load(*arguments, report=watched_report, **keywords)

    def watched_replace(source, target) -> None:
        moment(f"before {Path(target).name}")
        replace(source, target)
        moment(f"after {Path(target).name}")

    def watched_save(content, file) -> None:
        whole = io.BytesIO()
        save(content, whole)
        half = len(whole.getvalue()) // 2
        file.write(whole.getvalue()[:half])
        file.flush()
        moment(f"half of {Path(file.name).name.split('.', 1)[1].rpartition('.')[0]}")
        file.write(whole.getvalue()[half:])

    posenet.training.run.load_scene = watched_load
    os.replace, torch.save = watched_replace, watched_save


def run_child(words: list[str], stop_at: list[object] | None, how: int, log: Path) -> None:
    """Run a command; never returns."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    moments = []

    def moment(name: str) -> None:
        if os.getpid() != child:  # a worker
            return
        moments.append(name)
        with log.with_suffix(".moments").open("a") as file:
            file.write(f"{name}\n")
        if [name, moments.count(name) - 1] == stop_at:
            # Ctrl-C reaches all processes of a terminal, a kill only the one that it is meant for.
            (os.killpg if how == signal.SIGINT else os.kill)(child, how)

    child = os.getpid()
    descriptor = os.open(log, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    watch(moment)
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Answer requests until stdin is closed."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        log = Path(request["log"])
        moments = log.with_suffix(".moments")
        for file in (log, moments):
            file.write_text("")
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            run_child(request["words"], request["stop_at"], request["how"], log)
        status = None
        while status is None:
            found, raw = os.waitpid(child, os.WNOHANG)
            status = raw if found else None
            after_s = request["stop_after_s"]
            if status is None and after_s is not None and time.monotonic() - started > after_s:
                os.kill(child, request["how"])
                status = os.waitpid(child, 0)[1]
            time.sleep(0.005)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - started,
            "output": log.read_text(),
            "moments": moments.read_text().splitlines(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
