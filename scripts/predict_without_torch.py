"""Pose of a photo from an exported model, without torch and without posenet.

    pip install onnxruntime numpy pillow
    python scripts/predict_without_torch.py model.onnx photo.jpg

An example to copy from. It resizes photos of the training camera's proportions and refuses others;
``posenet predict model.onnx`` also takes other cameras and lenses.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def shares(old: int, new: int) -> np.ndarray:
    """How much of each old pixel lies in each new one, (new, old): what posenet shrinks with."""
    edges, pixels = np.arange(new + 1) * old / new, np.arange(old)
    ends = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return ends.clip(min=0.0) * new / old


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entries = session.get_modelmeta().custom_metadata_map
known = {name: json.loads(text) for name, text in entries.items()}
wanted, trained = known["input"], known["training_camera"]

photo = Image.open(sys.argv[2])
photo = (ImageOps.exif_transpose(photo) if wanted["turned_by_exif"] else photo).convert("RGB")
proportions = photo.width / photo.height / (trained["width"] / trained["height"])
if not wanted["plain_resize"] or abs(proportions - 1.0) > 0.01 or photo.width < wanted["width"]:
    sys.exit("this photo must be resampled to the training camera: use posenet predict")
pixels = np.asarray(photo, dtype=np.float64).transpose(2, 0, 1)  # channel, height, width
pixels = shares(photo.height, wanted["height"]) @ pixels @ shares(photo.width, wanted["width"]).T
images = pixels.round().astype(np.uint8).transpose(1, 2, 0)[np.newaxis]  # the model scales bytes

names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(names, {"images": images}), strict=True))
answer = {name: outputs[name][0].tolist() for name in ("quaternion_wxyz", "translation")}
if known["confidence"] is not None:
    factors = known["confidence"]["levels"]["0.9"]  # null: too few validation images for a radius
    radius = factors["rotation_factor"] or np.inf
    radius_deg = np.degrees(radius * outputs["rotation_scale_rad"][0])
    answer["rotation_radius_deg"] = min(float(radius_deg), 180.0)
    factor, scale = factors["translation_factor"], float(outputs["translation_scale_m"][0])
    answer["translation_radius_m"] = None if factor is None else factor * scale
print(json.dumps(answer))
