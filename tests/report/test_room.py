"""What fits, in words: a row for each thing that helps, a sentence for each that does not."""

from shardwright.report.document import Bullets, Paragraph, Table
from shardwright.report.room_blocks import room_blocks
from shardwright.search.room import Purchase, Room
from tests.report.records import DEPLOYMENT


def bought(gain: str, batch: int, reason: str = "") -> Purchase:
    values = {"id": gain, "title": gain, "layout": "tp4/ep4", "num_gpus": 4, "batch": batch}
    return Purchase.model_validate({**values, "max_model_len": 9000, "reason": reason})


def test_room_in_words() -> None:
    room = Room(
        batch=1200,
        max_model_len=5000,
        all_positions=False,
        buys=(bought("gpu", 2400), bought("kv_dtype", 1200, "the KV cache is fp8 already")),
    )
    blocks = room_blocks(DEPLOYMENT, room)
    (said,) = (block.text for block in blocks if isinstance(block, Paragraph))
    assert "1,200 sequences of 150 tokens" in said and "5,000 tokens." in said
    (rows,) = (block.rows for block in blocks if isinstance(block, Table))
    assert rows == (("gpu", "tp4/ep4", "4", "1,200 -> 2,400", "5,000 -> 9,000"),)
    (bullets,) = (block.items for block in blocks if isinstance(block, Bullets))
    assert [item.text for item in bullets if not isinstance(item, str)] == [
        "changes nothing: the KV cache is fp8 already"
    ]
    whole = room.model_copy(update={"all_positions": True, "buys": ()})
    assert "all of the model's positions" in str(room_blocks(DEPLOYMENT, whole)[1])
    assert not any(isinstance(block, Table | Bullets) for block in room_blocks(DEPLOYMENT, whole))
