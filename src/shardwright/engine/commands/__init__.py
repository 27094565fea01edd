"""Command lines of serving engines, read as the engine would read them: nothing is ever run."""
