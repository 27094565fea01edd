"""Which ranks take part in a collective of the rank program."""

from shardwright.layout.grid import Grid, Ranks, groups


def collective_groups(grid: Grid, axis: str, near_ranks: int = 1) -> Ranks:
    """The groups of a collective's axis, [num_groups, size]: those of the grid, or parts of them.

    tp_near: `near_ranks` neighbours of a TP group, which sum first; tp_far: the ranks of equal place in
    them. etp: folded with ETP wider than TP, the ranks that gather the tokens of a lane: of equal tp index
    on the etp / tp neighbouring dp ranks that an ETP group joins; else each rank by itself.
    """
    layout = grid.layout
    match axis:
        case "tp_near":
            return groups(grid, "tp").reshape(-1, near_ranks)
        case "tp_far":
            num_far = layout.tp // near_ranks
            return groups(grid, "tp").reshape(-1, num_far, near_ranks).swapaxes(1, 2).reshape(-1, num_far)
        case "etp":
            joined = layout.etp // layout.tp if layout.home == "folded" and layout.etp % layout.tp == 0 else 1
            return groups(grid, "dp").reshape(-1, joined)
    return groups(grid, axis)
