"""Two more peers of escape_throughput.py: arrays of trajectories stepped by numpy and by PyTorch.

All trajectories of a run go side by side; those that have left are taken out once they are half of
the array. The draw is that of the other peers: Chambers, Mallows and Stuck from the angle's
distance to its pole, 31 bits of it.
"""

import math
import time

import numpy as np
from escape_peers import ALPHA, DIM, DT, EPSILON, RADIUS, Run, run_of

_KICK = EPSILON * DT ** (1 / ALPHA)
_UNIT = 2.0**-32
_BETWEEN = 64  # steps between two looks at who has left


class Numpy:
    """float32, one core: numpy has no threads for this."""

    def __init__(self, num: int):
        self.name, self.num = "numpy", num
        self.settings = (
            f"float32, SFC64, in arrays of all trajectories, compacted by halves every {_BETWEEN} "
            "steps"
        )

    def prepare(self) -> None:
        pass

    def run(self, seed: int) -> Run:
        rng = np.random.Generator(np.random.SFC64(seed))
        start = time.perf_counter()
        x, steps = np.zeros((DIM, self.num), np.float32), np.zeros(self.num, np.int64)
        done = []
        while x.shape[1]:
            for _ in range(_BETWEEN):
                inside = np.einsum("ij,ij->j", x, x) < RADIUS**2
                x = np.where(
                    inside,
                    x * np.float32(1 - DT) + np.float32(_KICK) * _numpy_draw(rng, x.shape),
                    x,
                )
                steps += inside
            inside = np.einsum("ij,ij->j", x, x) < RADIUS**2
            if inside.sum() <= len(inside) // 2:
                done.append(steps[~inside])
                x, steps = x[:, inside], steps[inside]
        return run_of(time.perf_counter() - start, np.concatenate(done))


def _numpy_draw(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    word = rng.integers(0, 2**32, shape, np.uint32)
    pole = ((word >> 1) + np.float32(0.5)) * np.float32(_UNIT * math.pi)
    centre = ((~word >> 1) + np.float32(0.5)) * np.float32(_UNIT * math.pi)
    draw = np.sin(np.float32(ALPHA) * centre) * np.sin(pole) ** np.float32(-1 / ALPHA)
    exponential = np.maximum(rng.standard_exponential(shape, np.float32), np.float32(1e-30))
    draw *= (np.cos(np.float32(1 - ALPHA) * centre) / exponential) ** np.float32(
        (1 - ALPHA) / ALPHA
    )
    return np.where(word & 1, draw, -draw)


class Torch:
    """float32, `torch.compile`d over several steps, all threads. Widths are powers of two, so that
    few are compiled."""

    def __init__(self, num: int, threads: int):
        self.name, self.num, self.threads = "PyTorch", 2 ** math.ceil(math.log2(num)), threads
        self.settings = (
            f"float32, torch.compile of {_UNROLLED} steps, {threads} threads, compacted by halves"
        )

    def prepare(self) -> None:
        try:
            import torch
        except ImportError:
            raise ImportError("PyTorch is missing. Type: pip install torch") from None
        torch.set_num_threads(self.threads)
        self.advance = torch.compile(_torch_advance, dynamic=False)
        self.run(0)

    def run(self, seed: int) -> Run:
        import torch

        torch.manual_seed(seed)
        start = time.perf_counter()
        done = []
        with torch.inference_mode():
            x, steps = torch.zeros(DIM, self.num), torch.zeros(self.num, dtype=torch.int32)
            living = self.num
            while living:
                for _ in range(_BETWEEN // _UNROLLED):
                    x, steps = self.advance(x, steps)
                inside = (x * x).sum(0) < RADIUS**2
                living = int(inside.sum())
                if not living:
                    done.append(steps)
                elif living <= len(steps) // 2 and len(steps) > _NARROWEST:
                    # the width halves: of those that have left, enough stay to fill it
                    order = torch.argsort(inside.to(torch.int32), descending=True, stable=True)
                    width = max(_NARROWEST, 2 ** math.ceil(math.log2(living)))
                    done.append(steps[order[width:]])
                    x, steps = x[:, order[:width]].contiguous(), steps[order[:width]].contiguous()
        return run_of(time.perf_counter() - start, torch.cat(done).numpy())


_UNROLLED, _NARROWEST = 4, 16


def _torch_advance(x, steps):
    import torch

    for _ in range(_UNROLLED):
        inside = (x * x).sum(0) < RADIUS**2
        word = torch.randint(0, 2**31 - 1, x.shape, dtype=torch.int32)
        pole = (word.to(torch.float32) + 0.5) * (_UNIT * math.pi)
        centre = ((2**31 - 1 - word).to(torch.float32) + 0.5) * (_UNIT * math.pi)
        exponential = -torch.log1p(-torch.rand(x.shape))
        draw = torch.sin(ALPHA * centre) * torch.sin(pole) ** (-1 / ALPHA)
        draw = draw * (torch.cos((1 - ALPHA) * centre) / exponential) ** ((1 - ALPHA) / ALPHA)
        sign = 2 * torch.randint(0, 2, x.shape, dtype=torch.int32).to(torch.float32) - 1
        x = torch.where(inside, x * (1 - DT) + _KICK * sign * draw, x)
        steps = steps + inside.to(torch.int32)
    return x, steps
