"""The command line: verbs, and errors in one line. Nothing heavy is imported until needed."""

import errno
import io
import os
import sys
from collections.abc import Sequence

from posenet.cli.parser import WITH_SETTINGS, build_parser, split_settings
from posenet.errors import LostProcessError, PosenetError, one_line
from posenet.processes import INTERRUPTED, LOST_ANOTHER, explains_itself
from posenet.staging import NO_SPACE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 success, 1 bad input, 2 bad usage, 130 Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
    try:
        verb = words[0] if words else ""
        words, settings = split_settings(words) if verb in WITH_SETTINGS else (words, [])
        options = build_parser().parse_args(words)
        options.words = list(sys.argv[1:] if arguments is None else arguments)
        code = options.run(options, settings)
        sys.stdout.flush()  # here, where a closed pipe is caught
        return code
    except KeyboardInterrupt:
        print("posenet: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, `head` for example, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PosenetError as error:
        if debug:
            raise
        if isinstance(error, LostProcessError) and explains_itself():
            return LOST_ANOTHER
        print(f"posenet: error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except (OSError, MemoryError, RuntimeError) as error:
        message = _outside(error, verb)
        if debug or message is None:
            raise
        print(f"posenet: error: {one_line(message)}", file=sys.stderr)
        return 1


_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_LESS_MEMORY = {
    "train": "use a smaller --optimization.batch_size, or a smaller --data.width and --data.height",
    "demo": "close other programs",
    "predict": "use a smaller --batch-size",
    "bench": "use smaller --batches and --sizes, or a smaller --optimization.batch_size",
}


def _outside(error: Exception, verb: str) -> str | None:
    """What the system refused, and the cure; None where it is a mistake of ours."""
    if isinstance(error, OSError):
        cure = "correct the path, or choose another"
        if error.errno in NO_SPACE:
            cure = "free some space, or choose another place"
        elif error.errno in _NO_RIGHT:
            cure = "change its rights, or choose another place"
        return f"{error.filename or 'standard output'}: {error.strerror or error}; {cure}"
    # torch is not imported for its class, and has none for the memory of the CPU.
    refused = "OutOfMemoryError" in type(error).__name__ or "can't allocate memory" in str(error)
    if not (refused or isinstance(error, MemoryError)):
        return None
    cure = _LESS_MEMORY.get(verb, "close other programs, or use a machine with more of it")
    return f"out of memory ({str(error).splitlines()[0] if str(error) else 'of the CPU'}); {cure}"
