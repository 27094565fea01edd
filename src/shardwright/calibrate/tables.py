"""Folders of measured operator tables, as the wheel aiconfigurator-core carries them.

    <root>/<gpu>/<family>/<engine>/<version>/<table>.parquet

Source: PyPI, aiconfigurator-core 0.12.0, systems/data (Apache-2.0, NVIDIA).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.law import Format
from shardwright.engine.engine import Kernels
from shardwright.errors import EnvironmentLacksError, InputError

FOLDERS: Mapping[str, str] = {
    "a100_sxm": "A100-SXM-80GB",
    "h100_sxm": "H100-SXM-80GB",
    "h200_sxm": "H200-SXM-141GB",
    "b200_sxm": "B200-SXM-180GB",
    "b300_sxm": "B300-SXM-270GB",
    "gb200": "GB200-186GB",
    "gb300": "GB300-279GB",
    "l40s": "L40S-48GB",
    "rtx_pro_6000_server": "RTX-PRO-6000-96GB",
}
"""The folder of a GPU -> its name in the device catalog."""

ENGINES: tuple[Kernels, ...] = ("vllm", "sglang", "trtllm")

FORMATS: Mapping[str, Format] = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "int8_wo": "int8_wo",
    "int4_wo": "int4_wo",
    "w4a16_mxfp4": "mxfp4_wo",
    "w4a8_mxfp4_mxfp8": "mxfp4",
    "w4a16_mxfp4_cutlass": "mxfp4_wo",
    "nvfp4": "nvfp4",
}
"""What the tables call a format -> what we do. Rows of other formats are not read."""

THIN = 0.5
"""A newer version replaces an older one unless it has less than this share of the rows."""

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What one version of an engine measured of one thing on one GPU: columns of equal length.

    key: the values of the columns that it was picked by.
    """

    engine: Kernels
    version: str
    key: tuple[str, ...]
    columns: Columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, keep: NDArray[np.bool_]) -> "Table":
        """Some of its rows."""
        return replace(self, columns={name: column[keep] for name, column in self.columns.items()})

    def numbers(self, *names: str) -> list[NDArray[np.float64]]:
        """Columns as floats."""
        return [self.columns[name].astype(float) for name in names]

    def words(self, name: str) -> str:
        """The distinct values of a column, the commonest first."""
        return " + ".join(str(value) for value, _ in Counter(self.columns[name].tolist()).most_common())


def tables(
    gpu: Path,
    family: str,
    name: str,
    columns: tuple[str, ...],
    *,
    by: tuple[str, ...],
    lacking: Mapping[str, object] = MappingProxyType({}),
) -> Iterator[Table]:
    """The tables called `name` of each engine, one for each combination of the columns `by`.

    Of several versions the newest is taken that is not thin beside the fullest. lacking: what to take for a
    column that older tables have not.
    """
    for engine in ENGINES:
        found: dict[tuple[str, ...], list[Table]] = {}
        for file in _by_version((gpu / family / engine).glob(f"*/{name}.parquet")):
            whole = read_parquet(file, {*columns, *by}, lacking)
            keys = list(zip(*(whole[column].astype(str).tolist() for column in by), strict=True))
            for key in sorted(set(keys)):
                table = Table(engine=engine, version=file.parent.name, key=key, columns=whole)
                found.setdefault(key, []).append(table.where(np.array([other == key for other in keys])))
        for versions in found.values():
            fullest = max(map(len, versions))
            yield next(table for table in reversed(versions) if len(table) >= THIN * fullest)


def read_parquet(
    file: Path, columns: set[str], lacking: Mapping[str, object] = MappingProxyType({})
) -> Columns:
    """The columns of a file, or what `lacking` says. Raises InputError where neither has one of them, or the
    file is no parquet file."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise EnvironmentLacksError(
            "reading tables needs the extra: pip install 'shardwright[calibrate]'"
        ) from error
    try:
        table = parquet.read_table(file, partitioning=None)
    except ArrowException as error:
        raise InputError("table", file.name, f"a parquet file: {error}", where=str(file)) from error
    found = set(table.column_names)
    if missing := sorted(columns - found - set(lacking)):
        raise InputError(
            "table", ", ".join(table.column_names), f"the columns {missing} too", where=str(file)
        )
    filled = {name: np.full(len(table), lacking[name]) for name in columns - found}
    return filled | {name: np.array(table[name].to_pylist()) for name in columns & found}


def gpu_folders(root: Path) -> dict[Path, str]:
    """Folder -> device, of every GPU below `root` that the device catalog has.

    root: a folder of GPUs, or any folder above it. Raises InputError where there is none.
    """
    known = {folder: FOLDERS[folder.name] for folder in _folders(root) if folder.name in FOLDERS}
    if not known:
        raise InputError("--from", str(root), f"a folder with tables of a GPU: {', '.join(FOLDERS)}")
    return known


def _folders(root: Path) -> Iterator[Path]:
    if root.name in FOLDERS:
        yield root
        return
    for pattern in ("*", "data/*", "systems/data/*", "*/systems/data/*"):
        if found := sorted(path for path in root.glob(pattern) if path.name in FOLDERS and path.is_dir()):
            yield from found
            return


def _by_version(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: version_order(file.parent.name))


def version_order(version: str) -> tuple[int, ...]:
    """0.5.6.post2 after 0.5.6; 1.3.0rc20 after 1.3.0rc5."""
    return tuple(int(number) for number in re.findall(r"\d+", version))
