"""The errors a user meets. Each carries the exit code that the command line ends with."""


class ShardwrightError(Exception):
    """Base of every error that is the user's to read: one message, no traceback."""

    exit_code = 2


class InputError(ShardwrightError):
    """Bad input: which field, which value, what is allowed, and where it stands.

    >>> str(InputError("cluster.nodes", 0, "a whole number from 1", where="deploy.yaml:4"))
    'deploy.yaml:4: cluster.nodes: 0 is not allowed; expected a whole number from 1'
    """

    def __init__(self, field: str, value: object, allowed: str, *, where: str = "") -> None:
        self.field, self.value, self.allowed, self.where = field, value, allowed, where
        try:
            shown = repr(value)
        except ValueError:  # Python prints no whole number of more than 4,300 digits
            shown = "a number of thousands of digits"
        if len(shown) > 120:
            shown = shown[:117] + "..."
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{field}: {shown} is not allowed; expected {allowed}")


class EnvironmentLacksError(ShardwrightError):
    """The machine lacks something that the verb needs (an engine, a network, a package)."""

    exit_code = 3
