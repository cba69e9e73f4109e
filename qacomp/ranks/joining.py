"""Join the processes that torchrun started, and let all of them end when one fails."""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from qacomp.errors import RanksError
from qacomp.ranks.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from qacomp.ranks.talk import Talk

_NUMBERS = itertools.count()
_MISSING = (
    "several processes need the package accelerate, which isn't installed; run: pip install 'qacomp[distributed]', "
    "or start qacomp without torchrun"
)


@contextmanager
def joined(wanted: bool, *, cpu: bool = False) -> Iterator[Ranks]:
    """Yield this process's place among those of torchrun, or ALONE unless `wanted`. All must call it alike.

    An error in the block ends the others too: they raise RanksError with its text. A process group of the caller's is
    used as it is, else accelerate makes one and it is closed at the end. cpu: use no GPU. Raises RanksError if
    accelerate is missing or the processes can't reach each other.
    """
    if not wanted:
        yield ALONE
        return
    import torch.distributed as dist

    from qacomp.ranks.talk import Talk

    own = not dist.is_initialized()
    if own:
        _start(cpu)
    talk = Talk(next(_NUMBERS))
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), talk)
    except BaseException as error:
        cause = _cause(error, talk, dist.get_rank())
        if cause is not error:
            raise cause from None  # a cause that is an interruption would be told instead
        raise
    finally:
        if own:
            _end()


def _start(cpu: bool) -> None:
    import torch

    from qacomp.ranks.talk import ANSWER_S

    try:
        from accelerate import PartialState
    except ImportError:
        raise RanksError(_MISSING) from None
    plain = cpu or not torch.cuda.is_available()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it chooses the number of threads, in each process
            PartialState(cpu=plain, timeout=timedelta(seconds=ANSWER_S), **({"backend": "gloo"} if plain else {}))
    except (RuntimeError, ValueError, NotImplementedError) as error:
        text = " ".join(str(error).split())[:300]
        raise RanksError(f"the processes can't be joined ({text}); start all of them with the same torchrun") from error


def _end() -> None:
    """Close the connections, so that a process that waits for this one ends too."""
    from accelerate import PartialState

    PartialState().destroy_process_group()
    PartialState._reset_state()


def _cause(error: BaseException, talk: "Talk", rank: int) -> BaseException:
    """Return what ended the run: the error of this process, which is told to the others, or that of another one.

    torchrun sends SIGTERM to the others when one process has failed: then that one's words count.
    """
    if isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt and (text := talk.failure()):
        return RanksError(text)
    if not isinstance(error, RanksError):
        interrupted = isinstance(error, KeyboardInterrupt)
        text = "was interrupted" if interrupted else str(error) or type(error).__name__
        talk.tell_failure(f"process {rank}: {text}")
    return error
