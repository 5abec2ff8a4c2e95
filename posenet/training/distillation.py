"""The teacher of a distilled network, and whether it has anything to teach."""

from dataclasses import astuple
from pathlib import Path

import numpy as np

from posenet.config import Config
from posenet.datasets.resampling import is_plain_resize
from posenet.datasets.scene import Scene
from posenet.errors import DataError, UsageError
from posenet.evaluation.baselines import mean_pose
from posenet.evaluation.metrics import pose_errors
from posenet.geometry import Intrinsics, Pose, stack_poses
from posenet.inference.localizer import Localizer
from posenet.models.checkpoint import find_checkpoint, read_split, run_folder_of
from posenet.progress import say

# A network of another scene, or of poses in another convention, is no better than the mean pose.
# Even a poor one of this scene has well under this share of its errors.
_MOST_OF_MEAN_POSE = 0.7
_FRAMES_TO_ASK = 64


def load_teacher(config: Config, device: str) -> Localizer | None:
    """Load the teacher that a configuration names, if it names one.

    Args:
        config: Settings of the student.
        device: Where the teacher runs, such as ``"cpu"``.

    Raises:
        CheckpointError: The teacher cannot be read, or has another convention.
        UsageError: Its bins or images are not those that the settings give the student.
    """
    name = config.distill.teacher
    if name is None:
        return None
    localizer = Localizer.load(name, device)
    taught = localizer.checkpoint.config
    if localizer.network.bins is None:
        raise UsageError(
            f"distill.teacher: {name} predicts one pose and has no viewpoint bins to teach; train "
            "the teacher with --model.mode coarse_to_fine"
        )
    if taught.model.bins != config.model.bins:
        raise UsageError(
            f"distill.teacher: {name} has {taught.model.bins} viewpoint bins, the student "
            f"{config.model.bins}; use --model.bins {taught.model.bins}"
        )
    theirs, ours = ((c.data.width, c.data.height) for c in (taught, config))
    if theirs != ours:
        raise UsageError(
            f"distill.teacher: {name} sees images of {theirs[0]}x{theirs[1]} pixels, the student "
            f"{ours[0]}x{ours[1]}; use --data.width {theirs[0]} --data.height {theirs[1]}"
        )
    if config.data.camera is not None:
        camera = Intrinsics(*config.data.camera, *ours)
        if not is_plain_resize(localizer.camera, None, camera):
            theirs = [round(value, 2) for value in astuple(localizer.camera)[:4]]
            raise UsageError(
                f"distill.teacher: {name} sees images of the camera {theirs}, the student of "
                f"{[round(value, 2) for value in config.data.camera]}; use --data.camera "
                f'"{list(astuple(localizer.camera)[:4])}"'
            )
    return localizer


def require_fit_teacher(teacher: Localizer, config: Config, scene: Scene) -> None:
    """Refuse a teacher that knows what the student must not, or nothing at all.

    Args:
        teacher: From :func:`load_teacher`.
        config: Settings of the student.
        scene: What it is trained on.

    Raises:
        DataError: The teacher was trained on frames that are kept from the student, or knows no
            more of the scene than its mean pose does, or counts from another origin.
    """
    _require_unseen(find_checkpoint(Path(config.distill.teacher)), scene)
    chosen = np.linspace(0, len(scene.split.train) - 1, _FRAMES_TO_ASK).round().astype(int)
    chosen = np.unique(chosen)
    if teacher.checkpoint.origin != tuple(scene.origin.tolist()):
        raise DataError(
            f"{config.distill.teacher}: its coordinates count from {teacher.checkpoint.origin}, "
            f"those of {config.data.root} from {tuple(scene.origin.tolist())}; train the teacher "
            "on the same frames"
        )
    images = (scene.images.color_image(scene.split.train[i]) for i in chosen)
    poses = stack_poses([scene.frames[i].pose for i in scene.split.train])
    truth = Pose(poses.rotation[chosen], poses.translation[chosen])
    teacher_m, teacher_deg = _medians(teacher.predict_fully(images).pose, truth)
    mean_m, mean_deg = _medians(mean_pose(poses, len(chosen)), truth)
    # A product needs no weight between degrees and metres.
    if not teacher_m * teacher_deg < _MOST_OF_MEAN_POSE**2 * mean_m * mean_deg:
        raise DataError(
            f"{config.distill.teacher}: expected a teacher that knows {config.data.root}, found "
            f"median errors of {teacher_m:.3f} m {teacher_deg:.1f} deg on its training frames, "
            f"where their mean pose has {mean_m:.3f} m {mean_deg:.1f} deg (it was trained on "
            f"{teacher.checkpoint.scene!r}); train a teacher on this scene"
        )


def _require_unseen(checkpoint: Path, scene: Scene) -> None:
    path = run_folder_of(checkpoint) / "split.json"
    if not path.is_file():
        say(f"{path}: not there, so nothing tells which frames the teacher has seen")
        return
    names = read_split(path)
    # What chose the teacher's epoch is known to it too, and must not test the student.
    parts = (
        (scene.split.validation, set(names["train"])),
        (scene.split.test, {*names["train"], *names["validation"]}),
    )
    kept = [(scene.frames[i].name, known) for indices, known in parts for i in indices]
    seen = [name for name, known in kept if name in known]
    if seen:
        raise DataError(
            f"{path}: the teacher was trained on, or chosen by, {seen[0]} and {len(seen) - 1} more "
            "frames that are kept from the student for validation or test; train it on its split"
        )


def _medians(prediction: Pose, truth: Pose) -> tuple[float, float]:
    errors = pose_errors(prediction, truth)
    return float(np.median(errors.translation_m)), float(np.median(errors.rotation_deg))
