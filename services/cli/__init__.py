"""The `flywheel` command: one thin line per verb.

Exit code 0 done, 1 failed, 2 misused. With `--json` nothing but data stands on stdout. A person's mistake never
shows a stack trace. `--config` and `--data-dir` may stand before or after the verb.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial

from shared.config import ConfigError
from shared.errors import FlywheelError, Misuse

_EVERYWHERE = {"--config": "FLYWHEEL_CONFIG", "--data-dir": "FLYWHEEL_DATA_DIR"}
EXPLICIT_CONFIG = "FLYWHEEL_CONFIG_IS_EXPLICIT"
_MISUSED = {400, 422}
"""What the service answers to arguments that could never be right."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with the exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Do it; the exit code."""
    from typer.exceptions import Abort, Exit, TyperException
    from typer.main import get_command

    from services.cli.verbs import app

    try:
        # Not `app()`: it turns Ctrl-C, a closed pipe and `Exit` into exit codes of its own.
        command = get_command(app)
        with command.make_context("flywheel", _hoist(arguments)) as context:
            command.invoke(context)
    except Exit as end:
        return end.exit_code
    except TyperException as error:
        getattr(error, "show", partial(print, error, file=sys.stderr))()
        return error.exit_code
    except (Abort, KeyboardInterrupt):
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FlywheelError as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 2 if isinstance(error, Misuse | ConfigError) or getattr(error, "status", 0) in _MISUSED else 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"flywheel: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get("FLYWHEEL_DEBUG"):
            raise
        print(f"flywheel: {type(error).__name__}: {error} (FLYWHEEL_DEBUG=1 shows where)", file=sys.stderr)
        return 1
    return 0


def _hoist(arguments: Sequence[str]) -> list[str]:
    """`--config X` and `--data-dir X`, wherever they stand, become the environment of this call."""
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, given, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *waiting]
        elif name in _EVERYWHERE:
            found = value if given else next(waiting, None)
            if not found:
                raise Misuse(f"{name} needs a folder")
            os.environ[_EVERYWHERE[name]] = found
            if name == "--config":
                os.environ[EXPLICIT_CONFIG] = "1"
        else:
            rest.append(argument)
    return rest
