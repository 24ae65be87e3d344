"""`nunatak COMMAND ...`: finds the command, runs it, turns errors into one sentence and an exit status."""

from __future__ import annotations

import importlib
import os
import sys

from nunatak.cli import together
from nunatak.cli.results import emit, emit_error, wants_json

COMMANDS = {
    "demo": "the whole job on a built-in simulated molecule, no input files",
    "simulate": "particle images with known truth",
    "inspect": "what a particle file was understood to say",
    "abinit": "poses, latents and volumes from nothing: the main job",
    "reconstruct": "maps from particles whose poses are given",
    "heterogeneity": "latents and volumes from particles whose poses are given",
    "resume": "go on with a run that was stopped",
    "embed": "poses and latents of new particles, with a finished run's model",
    "volumes": "maps at latent positions of a finished run",
    "analyze": "landscape, clusters, paths, free energies and the report of a finished run",
    "select": "a subset of a run's particles as .star or .cs",
    "export": "latents as a table, ChimeraX scripts and films of a finished run",
    "convert": "poses and CTFs between cryoDRGN, RELION and cryoSPARC",
    "dashboard": "the run in a browser, live or finished",
    "evaluate": "a run against the truth of its simulation",
    "compare": "recipes beside each other on particles with a known truth: one table",
    "grid": "how many poses an exhaustive search looks at, and what it costs",
    "recipes": "the recipes that abinit and heterogeneity know",
}

ENGINE = {"demo", "abinit", "reconstruct", "heterogeneity", "resume"}
"""Commands that leave checkpoints."""

USAGE = """usage: nunatak COMMAND [options]

{commands}

`nunatak COMMAND --help` lists a command's options, --debug shows where an error came from.
--json prints one JSON object on standard output instead of sentences.
Exit status: 0 done, 1 the run failed, 2 bad input or usage."""


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
    # Threads that spin at a barrier keep those they wait for off a busy processor (docs/decisions/0006).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Tables' own allocator would set a gigabyte aside, which counts against `ulimit -d` (docs/scaling.md).
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    debug = "--debug" in words
    sys.exit(_guarded(words[0], [word for word in words[1:] if word != "--debug"], debug))


def _guarded(command: str, words: list[str], debug: bool) -> int:
    """Run a command and print what it found; errors become one sentence unless a traceback was asked for."""
    as_json = wants_json(words)
    try:
        together.begin(command)
        module = importlib.import_module(f"nunatak.cli.commands.{command}")
        result = module.run(words)
        if result is not None:
            emit(result, as_json)
        together.end()
        return 0
    except KeyboardInterrupt:
        remedy = (
            "`nunatak resume RUN` goes on from the last checkpoint" if command in ENGINE else "start again"
        )
        if together.may_speak():
            _say(command, f"stopped; {remedy}.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        sentence, status = _told(error)
        if not together.may_speak():
            return status
        _say(command, sentence)
        if as_json:
            emit_error(" ".join(sentence.split()), status)
        return status


def _say(command: str, sentence: str) -> None:
    print(f"nunatak {command}: {' '.join(sentence.split())}", file=sys.stderr)


def _told(error: Exception) -> tuple[str, int]:
    """An error of any kind as one sentence, and the exit status."""
    from pydantic import ValidationError

    from nunatak.core.errors import NunatakError

    if isinstance(error, NunatakError):
        return str(error), error.exit_status
    if isinstance(error, ValidationError):
        from nunatak.cli.options import option_problem

        return option_problem(error), 2
    if isinstance(error, MemoryError):
        return "There is not enough memory; what was written before stays valid.", 1
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
        lack = "The GPU has too little memory, or --memory-limit leaves too little of it"
        return f"{lack}; what was written before stays valid.", 1
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}; what was written before stays valid.", 1
    said = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    return f"This should not have happened ({what}); run again with --debug and report what it says.", 1
