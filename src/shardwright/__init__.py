"""Shardwright: how a large language model is split over a GPU cluster, and why."""

__version__ = "0.1.0"
