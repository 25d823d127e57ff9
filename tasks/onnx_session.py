"""Opens an ONNX network so that it answers the same on every machine."""

from pathlib import Path
from typing import Any


def open_onnx(path: str | Path) -> Any:
    """The onnxruntime session of a graph on the CPU; one thread, so scores depend on no machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
