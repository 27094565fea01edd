"""What is known of the speed of a device: its laws, and who stands in for one that nobody measured."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from shardwright.cluster.device import Device, Link
from shardwright.cluster.own import OwnGpu
from shardwright.cost.collectives import CollectiveLaw
from shardwright.cost.decode import DecodeLaw
from shardwright.cost.exchange import ExchangeLaw
from shardwright.cost.experts import ExpertsLaw
from shardwright.cost.gemm import GemmLaw
from shardwright.cost.law import Law
from shardwright.cost.prefill import PrefillLaw
from shardwright.cost.small import SmallLaw
from shardwright.errors import InputError
from shardwright.record import Record, validated

PROFILES = Path(__file__).parent / "profiles"


class Profile(Record, defer_build=False):
    """The laws of one device, and where they come from.

    device: whose tables were fitted. tool: that fitted them. licence: of the source. hardware, scale_up: the
    device and its links as they were measured, where no data sheet states them.
    """

    schema_version: Literal[1] = 1
    device: str
    source: str
    licence: str
    date: str
    tool: str
    hardware: Device | None = None
    scale_up: Link | None = None
    gemm: tuple[GemmLaw, ...] = ()
    experts: tuple[ExpertsLaw, ...] = ()
    collectives: tuple[CollectiveLaw, ...] = ()
    exchanges: tuple[ExchangeLaw, ...] = ()
    batched_gemm: tuple[GemmLaw, ...] = ()
    decode: tuple[DecodeLaw, ...] = ()
    prefill: tuple[PrefillLaw, ...] = ()
    small: tuple[SmallLaw, ...] = ()

    @property
    def gpu(self) -> OwnGpu:
        """The device as a GPU that can be asked for by name."""
        return OwnGpu(name=self.device, device=self.hardware, scale_up=self.scale_up)


EVERY_DEVICE_NEEDS = ("gemm", "batched_gemm", "decode", "prefill", "experts", "collectives")
ATTENTION = ("decode", "prefill")
FULLEST = "H100-SXM-80GB"

Distance = Literal["measured", "same family", "same vendor", "other vendor"]
"""How far a profile is from the device that it prices."""


class Carried(Record):
    """profile: of the device whose laws stand in."""

    profile: str
    distance: Distance


def profile_for(device: Device) -> tuple[Profile, Distance]:
    """The device's own profile, else that of the nearest device that was measured (profiles/carried.yaml)."""
    if PROFILES.joinpath(f"{device.name}.json").is_file():
        return read_profile(device.name), "measured"
    table = _carried()
    row = table.get(device.name) or table.get(device.vendor) or table["other"]
    return read_profile(row.profile), row.distance


def laws_on(device: Device, own: Profile | None = None) -> Profile:
    """What prices a device: its profile, and for operations that it has no law of, the next best one's.

    own: of somebody's own, before the one that is shipped; at last the fullest of all stands in.
    """
    first = own or profile_for(device)[0]
    found: dict[str, tuple[Law, ...]] = {}
    for field in EVERY_DEVICE_NEEDS:
        latent = (False, True) if field in ATTENTION else (False,)
        for lacking in set(latent) - {_is_latent(law) for law in getattr(first, field)}:
            others = (getattr(other, field) for other in (profile_for(device)[0], read_profile(FULLEST)))
            alike = ([law for law in laws if _is_latent(law) == lacking] for laws in others)
            held = found.get(field, getattr(first, field))
            found[field] = (*held, *next(laws for laws in alike if laws))
    return first.model_copy(update=found) if found else first


def _is_latent(law: Law) -> bool:
    """MLA has kernels of its own."""
    return isinstance(law, DecodeLaw | PrefillLaw) and law.latent


def profile_text(profile: Profile) -> str:
    """The profile as its file holds it: JSON, each list of numbers on one line."""
    text = json.dumps(profile.model_dump(mode="json", exclude_defaults=True), indent=1, ensure_ascii=False)
    return re.sub(r"\[[-\d.,\se]+\]", lambda numbers: re.sub(r"\s+", "", numbers[0]), text) + "\n"


def profile_file(path: Path) -> Profile:
    """The profile in a file, as `calibrate -o` writes it. Raises InputError where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("profile", str(path), f"a readable file ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(
            "profile", str(path), "a JSON file, as `shardwright calibrate -o` writes it"
        ) from None
    return validated(Profile, values, field="profile", where=str(path))


@cache
def read_profile(name: str) -> Profile:
    """A shipped profile by the name of its device."""
    return Profile.model_validate_json(PROFILES.joinpath(f"{name}.json").read_text(encoding="utf-8"))


@cache
def _carried() -> dict[str, Carried]:
    text = PROFILES.joinpath("carried.yaml").read_text(encoding="utf-8")
    rows = yaml.load(text, Loader=yaml.CSafeLoader)["devices"]
    return {name: Carried.model_validate(row) for name, row in rows.items()}
