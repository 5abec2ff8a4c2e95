"""Are the poses right? A look at a dataset before hours of training."""

from posenet.inspection.findings import Finding
from posenet.inspection.run import Inspection, inspect_dataset, inspect_frames, run_inspect

__all__ = ["Finding", "Inspection", "inspect_dataset", "inspect_frames", "run_inspect"]
