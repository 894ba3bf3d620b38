"""Faults of JAX itself that would make results silently wrong: the installed version must be free
of them.

jax 0.10.2 on CPU gets the rows past the 16,384th (float64) or 32,768th (float32) of a jitted,
batched matrix-vector product wrong when it is reduced afterwards (jax-ml/jax issue 39103), written
as a matmul or as multiply-and-sum.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FORMS = {
    "product": lambda matrix, row: matrix @ row,
    "squared norm": lambda matrix, row: jnp.sum((matrix @ row) ** 2),
    "quadratic form": lambda matrix, row: jnp.sum(row * (matrix @ row)),
    "multiply and sum": lambda matrix, row: jnp.sum(jnp.sum(matrix * row[None, :], 1) ** 2),
}


def wrong_rows(form, dtype, num: int, dim: int, lanes: int) -> np.ndarray:
    """The rows of a batched product, `lanes` its batch axis, that differ from numpy's."""
    rows = np.arange(num * dim, dtype=np.float64).reshape(num, dim) % 97
    matrix = np.eye(dim) + 0.25
    product = rows @ matrix.T
    expected = {
        "product": product,
        "squared norm": np.sum(product**2, 1),
        "quadratic form": np.sum(rows * product, 1),
        "multiply and sum": np.sum(product**2, 1),
    }[form]
    batch = jnp.asarray(np.moveaxis(rows, 0, lanes), dtype)
    batched = jax.jit(jax.vmap(FORMS[form], in_axes=(None, lanes)))
    found = np.asarray(batched(jnp.asarray(matrix, dtype), batch), dtype=np.float64)
    tolerance = 1e-5 * np.abs(expected).max()
    return np.flatnonzero(np.any(np.abs(found - expected).reshape(num, -1) > tolerance, axis=1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lanes", [0, -1])
@pytest.mark.parametrize("dim", [2, 3])
def test_batched_matrix_vector_product_is_right_in_every_row_float32(form, lanes, dim):
    assert wrong_rows(form, jnp.float32, 40_000, dim, lanes).size == 0


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lanes", [0, -1])
def test_batched_matrix_vector_product_is_right_in_every_row_float64(form, lanes):
    assert wrong_rows(form, jnp.float64, 20_000, 3, lanes).size == 0
