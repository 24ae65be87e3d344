"""`nunatak COMMAND ...`: finds the command, runs it, turns errors into one sentence and an exit status."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "demo": "the whole job on a built-in simulated molecule, no input files",
    "simulate": "particle images with known truth",
    "inspect": "what a particle file was understood to say",
    "abinit": "poses, latents and volumes from nothing: the main job",
    "reconstruct": "maps from particles whose poses are given",
    "heterogeneity": "latents and volumes from particles whose poses are given",
    "resume": "go on with a run that was stopped",
    "volumes": "maps at latent positions of a finished run",
    "analyze": "components, clusters, representative maps and the report of a finished run",
    "select": "a subset of a run's particles as a .star file",
    "evaluate": "a run against the truth of its simulation",
    "recipes": "the recipes that abinit knows",
}

USAGE = """usage: nunatak COMMAND [options]

{commands}

`nunatak COMMAND --help` lists a command's options. Exit status: 0 done, 1 the run failed, 2 bad input or usage."""


def usage() -> str:
    """The text of `nunatak --help`."""
    width = max(map(len, COMMANDS)) + 2
    return USAGE.format(commands="\n".join(f"  {name:<{width}}{about}" for name, about in COMMANDS.items()))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line; leaves by SystemExit."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if words else 2)
    if words[0] in ("--version", "-V"):
        from nunatak import __version__

        print(f"nunatak {__version__}")
        sys.exit(0)
    if words[0] not in COMMANDS:
        print(
            f"nunatak: there is no command '{words[0]}'; expected one of: {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    debug = "--debug" in words
    sys.exit(_guarded(words[0], [word for word in words[1:] if word != "--debug"], debug))


def _guarded(command: str, words: list[str], debug: bool) -> int:
    """Run a command; its errors become one sentence unless a traceback was asked for."""
    from nunatak.core.errors import NunatakError

    try:
        module = importlib.import_module(f"nunatak.cli.commands.{command}")
        return int(module.run(words) or 0)
    except NunatakError as error:
        if debug:
            raise
        print(f"nunatak {command}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(
            f"\nnunatak {command}: stopped; `nunatak resume RUN` goes on from the last checkpoint.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:
        if debug:
            raise
        reason = (
            getattr(error, "strerror", None) or "not enough memory"
            if isinstance(error, MemoryError)
            else str(error)
        )
        print(f"nunatak {command}: {reason}; what was written before stays valid.", file=sys.stderr)
        return 1
