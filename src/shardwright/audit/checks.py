"""The table of all checks, in the order in which their findings are told."""

from shardwright.audit.capacity import CAPACITY
from shardwright.audit.counts import COUNTS
from shardwright.audit.gains import GAINS
from shardwright.audit.gpus import GPUS
from shardwright.audit.load import LOAD
from shardwright.audit.speed import SPEED

CHECKS = (*GPUS, *COUNTS, *CAPACITY, *LOAD, *SPEED, *GAINS)
