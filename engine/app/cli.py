"""The command line: a table of lazy commands, and the one place where an error becomes an exit status.

Nothing is imported before it is needed, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import click

from engine.common.errors import NO_ROOM, GodarkError, UsageError

ROOT = Path(__file__).resolve().parents[2]
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_NO_ROOM = 74
_END_BY_THEMSELVES = frozenset({"bench", "test"})


@dataclass(frozen=True)
class Entry:
    """One row of the command table. `target` is "module:name": a click command, or a process's
    `run(settings) -> None` when `process` is set."""

    name: str
    target: str
    help: str
    process: bool = False
    hidden: bool = False

    def exists(self) -> bool:
        """Whether the module is in this build; looks for the file, imports nothing."""
        path = ROOT.joinpath(*self.target.partition(":")[0].split("."))
        return path.with_suffix(".py").is_file()


TABLE = (
    Entry("run", "engine.app.group:command", "Start the whole group on this machine and keep it running."),
    Entry(
        "replay", "engine.app.replay:command", "Take recorded trades through everything and check the result."
    ),
    Entry(
        "demo", "engine.app.demo:command", "Simulated order flow through everything, live in the terminal."
    ),
    Entry("engine", "engine.gateway.process:run", "The engine: takes fills, journals and books them.", True),
    Entry(
        "relayer",
        "engine.app.processes:run_relayer",
        "The relayer: settles batches of fills on the chain.",
        True,
    ),
    Entry("risk", "engine.app.processes:run_risk", "Risk: sweeps every margin, proposes liquidations.", True),
    Entry("devnet", "relayer.devnet.process:run", "The embedded chain behind JSON-RPC, loopback only.", True),
    Entry(
        "standby",
        "engine.app.standby:run",
        "The standby: same books, writes the snapshots, takes over when the engine dies.",
        True,
    ),
    Entry(
        "keeper", "engine.journal.keeper:run", "Prepares journal segments for the engine.", True, hidden=True
    ),
    Entry(
        "verify", "engine.app.verify:command", "Recompute everything from the journal and the chain; compare."
    ),
    Entry("prove", "engine.app.prove:command", "Write the file that proves one fill to whoever has it."),
    Entry(
        "verify-proof", "engine.app.verify_proof:command", "Check a proof file, with nothing but the file."
    ),
    Entry(
        "mirror",
        "engine.app.mirror:command",
        "Keep the log once more in pymerkle's trees; compare the roots.",
    ),
    Entry(
        "margin",
        "engine.app.margin:command",
        "One account under each venue's rules; or what books would liquidate.",
    ),
    Entry("book", "engine.app.book:command", "Rebuild the order book of a capture: best, impact, premium."),
    Entry("audit", "engine.app.audit:command", "Check another venue's published state: sums, funding steps."),
    Entry(
        "funding", "engine.app.funding:command", "What each venue's rule would have charged over market data."
    ),
    Entry(
        "prices", "engine.app.prices:command", "What every second's price was made of, and who did not count."
    ),
    Entry("json", "engine.app.json_lines:command", "Talk to the engine in lines of JSON, for people."),
    Entry("metrics", "engine.app.metrics:command", "What the engine counts; how long acks and syncs take."),
    Entry("schema", "engine.app.schema:command", "Print the SBE schema of the frames, or a C header."),
    Entry("config", "engine.app.config:command", "Show the settings in force and where each came from."),
    Entry("compile", "engine.app.compile:command", "Compile the kernels, once per machine and version."),
    Entry("bench", "engine.app.benchmarks:command", "Measure budgets; every benchmark checks its answer."),
    Entry("test", "engine.app.checks:command", "Format, lint, types, import contracts, all tests."),
)


class _ReaderGone(Exception):
    """Our stdout was closed from the other side. Under its own name, click has no opinion about it."""


class LazyGroup(click.Group):
    """A click group over `TABLE`: lists from the table, imports a command only to run it."""

    def __init__(self, table: Sequence[Entry], **attrs: Any) -> None:
        super().__init__(**attrs)
        self._table = {entry.name: entry for entry in table if entry.exists()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.target.partition(":")
        target = getattr(importlib.import_module(module), name)
        return _process_command(entry, target) if entry.process else cast(click.Command, target)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._table and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else "see godark --help"
            raise UsageError(f"no command '{name}'; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError as error:
            raise _ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(entry.name, entry.help) for entry in self._table.values() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _process_command(entry: Entry, run: Callable[[Any], None]) -> click.Command:
    """A command that loads the settings, sets up the logs and hands over to a process's `run`."""
    from engine.app.options import settings_options
    from engine.common.logs import configure
    from engine.common.settings import Settings

    @click.command(entry.name, help=entry.help)
    @settings_options
    def command(settings: Settings) -> None:
        configure(settings.logs, process=entry.name)
        run(settings)

    return command


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        import tomllib

        click.echo(f"godark {tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}")
        ctx.exit()


def build(table: Sequence[Entry] = TABLE) -> click.Group:
    """The `godark` command over a table."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the version.",
    )
    debug = click.Option(["--debug"], is_flag=True, help="Show a traceback when something unexpected fails.")
    return LazyGroup(
        table,
        name="godark",
        help="Settlement and funding engine of a Solana perpetual-futures exchange.",
        params=[debug, version],
        callback=lambda debug: None,
        epilog="Each command explains itself: godark COMMAND --help",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _known_error(error: BaseException) -> GodarkError | None:
    """The first error raised on purpose in `error` or, for a group of a task group, inside it."""
    if isinstance(error, GodarkError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((known for inner in error.exceptions if (known := _known_error(inner))), None)
    return None


def _only_interrupts(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only_interrupts(inner) for inner in error.exceptions)
    return isinstance(error, KeyboardInterrupt | click.Abort)


def _say(line: str) -> None:
    print(f"godark: {line}", file=sys.stderr)


def _status_of(error: BaseException, debug: bool) -> int:
    """Say what went wrong on one line of stderr; the exit status it stands for."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if _only_interrupts(error):
        return EXIT_INTERRUPTED
    if isinstance(error, _ReaderGone):
        return EXIT_BROKEN_PIPE
    if debug:
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else None
        _say(" ".join(error.format_message().split()) + (f" (see {usage} --help)" if usage else ""))
        return error.exit_code
    known = _known_error(error)
    if known is not None:
        _say(known.line())
        return known.exit_code
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        _say(f"cannot write{f' {error.filename}' if error.filename else ' the output'}: {error.strerror}")
        return EXIT_NO_ROOM
    hint = "" if debug else " (--debug shows where)"
    _say(f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}{hint}")
    return EXIT_INTERNAL


def execute(arguments: Sequence[str], table: Sequence[Entry] = TABLE) -> int:
    """Run one command line and return its exit status; never raises but for SystemExit of a command."""
    debug = "--debug" in arguments
    rest = [argument for argument in arguments if argument != "--debug"]
    try:
        result = build(table).main(rest or ["--help"], prog_name="godark", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        return _status_of(error, debug)
    return result if isinstance(result, int) else 0


def ends_by_itself(arguments: Sequence[str]) -> bool:
    """Whether a command leaves something to the interpreter's end: what it started ends only with that."""
    return (
        next((argument for argument in arguments if not argument.startswith("-")), "") in _END_BY_THEMSELVES
    )


def main() -> NoReturn:
    """Entry point of `./godark` and `python -m engine.app`."""
    status = execute(sys.argv[1:])
    if status == EXIT_BROKEN_PIPE:
        # Whoever read our output is gone; without this the interpreter's own flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if ends_by_itself(sys.argv[1:]):
        sys.exit(status)
    # Everything is closed by now. To take the interpreter apart would cost each process of a group a tenth of a
    # second of CPU, all at the same moment, and its supervisor more: too much where a stop may last two seconds.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk, which `execute` has told
            stream.flush()
    os._exit(status)
