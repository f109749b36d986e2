"""Durations as people read them: rough in sentences and tables, exact beside progress."""


def rough_duration(seconds: float) -> str:
    """Format a duration for a sentence or a table.

    Seconds up to two minutes ("95 s"), minutes up to two hours ("12 min"), then hours ("2.5 h").
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def exact_duration(seconds: float) -> str:
    """Format a duration in its two largest units: "42 s", "5 min 03 s" or "2 h 05 min"."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
