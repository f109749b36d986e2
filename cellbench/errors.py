"""The errors that a user reads."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence: what came, what is allowed, what mends it. The command line
    prints it without a traceback and exits with code 2.
    """


class PartError(UserError):
    """A part that a config names is unknown, could not be imported or was given wrong arguments."""


class RunError(Exception):
    """A run that cannot go on: a full disk, a loss that is no number.

    The message is one sentence; the command line prints it without a traceback and exits with
    code 1. What was finished before stays.
    """
