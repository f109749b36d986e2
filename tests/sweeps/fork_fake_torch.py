"""Imported by a fork server of a test, as torch would be."""

import fork_target

fork_target.fake_torch()
