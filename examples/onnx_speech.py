"""An ONNX speech model: compress it without data, compare its outputs, decode it as a lookup-table ONNX file.

Give the path of your own model (silero VAD, for instance). Without one, a small recurrent network with random weights
is used: frames of 40 features go into an LSTM, and it returns a probability of speech for each frame.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import qacomp


def write_model(path: Path, features: int = 40, hidden: int = 64) -> Path:
    """Write the model x (time, 1, features) -> LSTM -> dense -> sigmoid -> y (time, 1, 1) to `path`; return it."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.laplace(size=shape) / np.sqrt(8 * shape[-1])).astype(np.float32), name)

    weights = [
        weight("lstm.W", 1, 4 * hidden, features),
        weight("lstm.R", 1, 4 * hidden, hidden),
        weight("lstm.B", 1, 8 * hidden),
        weight("dense.W", hidden, 1),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("LSTM", ["x", "lstm.W", "lstm.R", "lstm.B"], ["hidden"], hidden_size=hidden),
        helper.make_node("Squeeze", ["hidden", "axis"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense.W"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "speech",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", 1, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["time", 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def main(folder: Path, model: Path | None = None) -> None:
    """Write speech.qac, speech.onnx (lookup tables) and report.html into `folder`."""
    source = model or write_model(folder / "original.onnx")
    result = qacomp.compress(source, k=64, output=folder / "speech.qac")
    result.report(folder / "report.html")
    print(result)
    if result.agreement is not None:
        print(f"cosine with the original's outputs: {result.agreement.cosine:.6f}")
    decoded = result.to_onnx(folder / "speech.onnx", mode="lut")
    print(f"{source.stat().st_size:,} bytes of ONNX became {decoded.output_bytes:,}")


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    main(arguments[0] if arguments else Path.cwd(), arguments[1] if len(arguments) > 1 else None)
