"""Stacks are found where people put them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from _star_inputs import write_images

from nunatak.core.errors import InputError
from nunatak.io.locate import locate_images


def found(names: list[str], folder: Path, datadir: Path | None = None) -> tuple[Path | None, ...]:
    return locate_images(pd.Series(names), folder, datadir)[0].stack_paths


def test_beside_the_file_and_above_it(tmp_path: Path) -> None:
    write_images(tmp_path / "Extract" / "job1" / "a.mrcs", 1)
    refine = tmp_path / "Refine3D" / "job9"
    refine.mkdir(parents=True)
    wanted = (tmp_path / "Extract" / "job1" / "a.mrcs",)
    assert found(["1@Extract/job1/a.mrcs"], refine) == wanted
    assert found(["1@a.mrcs"], tmp_path / "Extract" / "job1") == wanted
    assert found(["1@../Extract/job1/a.mrcs"], tmp_path / "Refine3D")[0].resolve() == wanted[0]
    assert found([f"1@{wanted[0]}"], Path("/")) == wanted


def test_datadir_whole_tail_or_bare_name(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "extract" / "a.mrcs", 1)
    wanted = (tmp_path / "data" / "extract" / "a.mrcs",)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in (
        "1@extract/a.mrcs",
        "1@J29/extract/a.mrcs",
        "1@/gone/extract/a.mrcs",
        "1@>J1/extract/a.mrcs",
    ):
        assert found([name], elsewhere, tmp_path / "data") == wanted
    assert found(["1@J29/x/a.mrcs:mrcs"], elsewhere, tmp_path / "data" / "extract") == wanted


def test_datadir_comes_before_a_copy_beside_the_file(tmp_path: Path) -> None:
    write_images(tmp_path / "a.mrcs", 1)
    write_images(tmp_path / "new" / "a.mrcs", 1)
    assert found(["1@a.mrcs"], tmp_path, tmp_path / "new") == (tmp_path / "new" / "a.mrcs",)


def test_bare_name_beside_the_file_is_told(tmp_path: Path) -> None:
    write_images(tmp_path / "a.mrcs", 1)
    locations, warnings = locate_images(pd.Series(["2@data/a.mrcs"]), tmp_path, None)
    assert locations.stack_paths == (tmp_path / "a.mrcs",)
    assert locations.slice_of_row.tolist() == [1]
    assert "by name" in warnings[0]


def test_missing_stays_missing_and_order_is_kept(tmp_path: Path) -> None:
    write_images(tmp_path / "b.mrcs", 3)
    locations, _ = locate_images(pd.Series(["3@b.mrcs", "1@a.mrcs", "1@b.mrcs", "c.mrc"]), tmp_path, None)
    assert locations.stack_names == ("b.mrcs", "a.mrcs", "c.mrc")
    assert locations.missing() == ("a.mrcs", "c.mrc")
    assert locations.stack_of_row.tolist() == [0, 1, 0, 2]
    assert locations.slice_of_row.tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("name", ["0@a.mrcs", "x@a.mrcs", "-1@a.mrcs", "@a.mrcs"])
def test_senseless_numbers_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="Row 2 has the image name"):
        locate_images(pd.Series(["1@a.mrcs", name]), tmp_path, None)
