"""Every law that is shipped: rows, and its errors on shapes that no fit saw, by range. As markdown.

python benchmarks/held_out.py [DEVICE ...]
"""

import sys

from shardwright.cost.law import Band, Law
from shardwright.cost.profile import PROFILES, read_profile

FIELDS = ("gemm", "batched_gemm", "decode", "prefill", "experts", "collectives", "exchanges")


def main() -> None:
    """One table a device."""
    shipped = sorted(file.name.removesuffix(".json") for file in PROFILES.iterdir() if "json" in file.name)
    for name in sys.argv[1:] or shipped:
        profile = read_profile(name)
        print(f"### {name}\n\n{profile.source}, {profile.date}, {profile.licence}\n")
        print("| operation | kernel | format | rows | left out | median / p90 %, by range |")
        print("|---|---|---|---:|---:|---|")
        for field in FIELDS:
            for law in getattr(profile, field):
                cells = (title(field, law), kernel(law), law.format, f"{law.rows:,}", out(law), bands(law))
                print(f"| {' | '.join(cells)} |")
        print()


def title(field: str, law: Law) -> str:
    """The operation; a collective by its own name."""
    if getattr(law, "latent", False):
        return f"MLA {field}"
    named = getattr(law, "collective", None) or getattr(law, "exchange", None)
    if named is None:
        return field.replace("_", " ")
    direction = {True: " combine", False: " dispatch", None: ""}[getattr(law, "combines", None)]
    return f"{named.replace('_', ' ')}{direction}"


def kernel(law: Law) -> str:
    """Whose, and which."""
    return f"{law.kernels} {law.version}: {law.kernel}"


def out(law: Law) -> str:
    """Rows that were left out, by all reasons together."""
    return f"{sum(law.excluded.values()):,}"


def bands(law: Law) -> str:
    """Errors from the smallest to the largest."""
    return ", ".join(f"{where(band, law.scale)} {band.median:.1%} / {band.p90:.1%}" for band in law.bands)


def where(band: Band, scale: str) -> str:
    """The range of a band."""
    return "beyond" if band.upto is None else f"{scale} to {band.upto:,.0f}"


if __name__ == "__main__":
    main()
