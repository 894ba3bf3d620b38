"""How much memory a diagnosis holds beside its programs, known before anything is computed."""

from levysde.networks.curvature import krylov_bytes
from levysde.networks.example_blocks import GIB
from levysde.networks.noise_tails import MOST_SAMPLED


def held_bytes(dim: int, n: int, num_eigenvalues: int, num_batches: int) -> int:
    """What is held beside the programs: Krylov vectors, eigenvectors of both matrices, sampled
    columns, some vectors."""
    count = min(num_eigenvalues, dim)
    sampled = 8 * min(dim, MOST_SAMPLED) * (n + num_batches)
    return krylov_bytes(dim, count) + 8 * dim * (2 * count + 20) + sampled


def program_limit(held: int, budget: float, dim: int, num_eigenvalues: int) -> int:
    """Bytes that programs may take, or a ValueError that says what the model needs."""
    if held >= budget * GIB:
        raise ValueError(
            f"memory_budget = {budget:g} GiB, but {dim:,} parameters take {held / GIB:.3g} GiB "
            "for their Krylov vectors and what is sampled of their gradients alone. Raise "
            "memory_budget above that, or type fewer eigenvalues, for example "
            f"num_eigenvalues={max(1, num_eigenvalues // 3)}."
        )
    return int(budget * GIB) - held
