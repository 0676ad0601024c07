import numpy as np
import pytest

from tests.training.sources.archives import matlab
from training.sources.matlab import cell_arrays

CELLS = {"some": [np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros((1, 2), np.uint8)], "z": [np.eye(3, dtype="u1")]}


@pytest.mark.parametrize("compressed", [True, False])
def test_each_cell_is_a_matrix_of_its_shape(compressed: bool) -> None:
    found = cell_arrays(matlab(CELLS, compressed=compressed))
    assert list(found) == ["some", "z"]
    for name, cells in CELLS.items():
        for cell, read in zip(cells, found[name], strict=True):
            np.testing.assert_array_equal(read, cell)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_is_cut_short_or_of_another_kind_is_refused(compressed: bool) -> None:
    whole = matlab(CELLS, compressed=compressed)
    for wrong in (b"", b"MATLAB 7.3", whole[:-9], whole[:132], whole[:128] + b"\xff" * 64):
        with pytest.raises(ValueError, match=r"MATLAB|damaged"):
            cell_arrays(wrong)
