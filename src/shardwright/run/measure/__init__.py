"""Operators of this machine, measured: what `shardwright calibrate --device` fits its laws to."""
