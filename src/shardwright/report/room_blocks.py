"""What fits a layout and what would make room for more, as blocks of a report."""

from shardwright.plan.deployment import Deployment
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, table
from shardwright.report.words import counted
from shardwright.search.room import Room


def room_blocks(deployment: Deployment, room: Room) -> Document:
    """The largest batch and the longest request, and a row for each thing that could change them."""
    work = deployment.workload
    length = work.input_tokens + work.output_tokens
    why = ": all of the model's positions" if room.all_positions else ""
    fits = (
        f"The largest batch that fits is {counted(room.batch, 'sequence')} of {length:,} tokens; the longest "
        f"request that fits has {counted(room.max_model_len, 'token')}{why}. Neither target nor limit of the "
        "scheduler is in this."
    )
    rows = [
        (
            buy.title,
            buy.layout,
            f"{buy.num_gpus:,}",
            f"{room.batch:,} -> {buy.batch:,}",
            f"{room.max_model_len:,} -> {buy.max_model_len:,}",
        )
        for buy in room.buys
        if not buy.reason
    ]
    heads = columns(
        "with", ("layout", "name"), ("GPUs", "number"), ("batch", "number"), ("longest request", "number")
    )
    idle = tuple(Item(buy.title, f"changes nothing: {buy.reason}") for buy in room.buys if buy.reason)
    return (Heading("What fits"), Paragraph(fits), *table(heads, rows), *((Bullets(idle),) if idle else ()))
