"""The class that takes the place of one that ndarray writes as text (`viewer/ndarray_view.js`): each of its operations
does what numpy does with the same array. It runs in the Node.js that Playwright brings."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright._impl._driver import compute_driver_executable

SCRIPT = Path(__file__).parents[3] / "viewer" / "ndarray_view.js"
LIBRARY = """
function order() { return "the library's" }
function wrappedNDArrayCtor(data, shape, stride, offset) {
  return compileConstructor("int32", shape.length)(data, shape, stride, offset)
}
function* places(shape) {
  if (shape.length === 0) { yield []; return }
  for (let at = 0; at < shape[0]; at++) for (const rest of places(shape.slice(1))) yield [at, ...rest]
}
const seen = JSON.parse(require("fs").readFileSync(0, "utf8")).map(({shape, steps}) => {
  const size = shape.reduce((product, length) => product * length, 1)
  const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, length) => product * length, 1))
  const data = Int32Array.from({length: size}, (_, at) => at)
  let view = compileConstructor("int32", shape.length)(data, shape, stride, 0)
  for (const [name, given] of steps) view = view[name](...given)
  const values = [...places(view.shape)].map(at => view.get(...at))
  const first = view.shape.map(() => 0)
  const last = view.shape.map(length => length - 1)
  const written = view.size ? view.set(...last, -7) : null
  return {shape: view.shape, size: view.size, values, data: [...data], written, start: view.index(...first),
          order: view.order, dimension: view.dimension, dtype: view.dtype}
})
console.log(JSON.stringify(seen))
"""


def run(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the class makes of each case."""
    node = compute_driver_executable()[0]
    source = SCRIPT.read_text() + "}\n" + LIBRARY  # the file ends where the library's own function begins
    done = subprocess.run(
        [node, "-e", source], input=json.dumps(cases), capture_output=True, text=True, timeout=120, check=True
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def a_step(rng: random.Random, there: NDArray[Any]) -> tuple[tuple[str, list[int | None]], NDArray[Any]]:
    """An operation with its arguments, and what numpy makes of the array by it."""
    name = rng.choice(["lo", "hi", "step", "transpose", "pick"])
    shape = there.shape
    if name == "lo":
        begin = [rng.randrange(length) for length in shape]
        return (name, [*begin]), there[tuple(slice(at, None) for at in begin)]
    if name == "hi":
        end = [rng.randint(1, length) for length in shape]
        return (name, [*end]), there[tuple(slice(at) for at in end)]
    if name == "step":
        by = [rng.choice([1, 2, 3, -1, -2]) for _ in shape]
        return (name, [*by]), there[tuple(slice(None, None, step) for step in by)]
    if name == "transpose":
        axes = rng.sample(range(len(shape)), len(shape))
        return (name, [*axes]), there.transpose(axes)
    picked = [rng.randrange(length) if rng.random() < 0.4 and len(shape) > 1 else None for length in shape]
    if None not in picked:
        picked[0] = None
    return (name, picked), there[tuple(slice(None) if at is None else at for at in picked)]


@pytest.mark.parametrize("seed", range(4))
def test_each_operation_is_that_of_numpy(seed: int) -> None:
    rng = random.Random(seed)
    cases, expected = [], []
    for _ in range(100):
        shape = [rng.randint(1, 6) for _ in range(rng.randint(1, 4))]
        whole = np.arange(np.prod(shape), dtype=np.int32)
        there = whole.reshape(shape)
        steps = []
        for _ in range(rng.randint(0, 4)):
            step, there = a_step(rng, there)
            steps.append(step)
        cases.append({"shape": shape, "steps": steps})
        expected.append((whole, there))
    for case, answer, (whole, there) in zip(cases, run(cases), expected, strict=True):
        assert answer["shape"] == list(there.shape), case
        assert (answer["size"], answer["dimension"]) == (there.size, there.ndim), case
        assert answer["values"] == there.ravel().tolist(), case
        assert answer["start"] == there.ravel()[0], case
        there[(-1,) * there.ndim] = -7
        assert (answer["written"], answer["data"]) == (-7, whole.tolist()), case
        assert (answer["order"], answer["dtype"]) == ("the library's", "int32")


def test_arguments_that_are_left_out_change_nothing() -> None:
    steps: list[list[Any]] = [["lo", []], ["hi", [None, 2]], ["step", []], ["transpose", []], ["pick", [-1, 1]]]
    (answer,) = run([{"shape": [3, 4], "steps": steps}])
    assert (answer["shape"], answer["values"]) == ([3], [1, 5, 9])
