# SPDX-License-Identifier: Apache-2.0
"""One module a command, each with a ``command: click.Command``; `pvpci.impl.cli` imports the one that is asked for.

A command returns its exit code (an `ExitCode`, or None for 0), prints its results on stdout with `click.echo`, and
raises `pvpci.impl.errors.UsageError` or `UnreadableInput` when it cannot go on. Every other exception is reported as
our bug. Names of files to be read are plain arguments, opened under `pvpci.impl.errors.reading`: click's own check of
a path would report a missing trace as a usage error.
"""
