"""Imported by a fork server of a test, as a module that starts CUDA's driver would be."""

import os

import fork_target

fork_target.fake_torch(cuda=fork_target.started_driver(gpus=int(os.environ["GPUS"])))
