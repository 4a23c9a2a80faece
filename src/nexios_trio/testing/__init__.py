"""Test WebSocket applications in memory, in virtual time, at every interleaving.

connect.py      `connect`: a client without sockets, against the ASGI events of a chosen server
lifespan.py     `run_app`: an application's startup and shutdown around a block
world.py        `World`: servers, clients, a network with faults, hours in milliseconds, the same for the same seed
cancel.py       `cancel_everywhere`: a scenario, cancelled at every step
stuck.py        a run that could never end does end, and says which task is to blame
machine.py      `GroupMembershipMachine`: a Hypothesis machine, to be subclassed (needs the extra `testing`)
history.py      `HistoryMachine`: the same for history and resuming
contracts/      `check_engine`, `check_transport`, `check_overflow_policy`: what others may supply keeps its contract
strategies.py   payloads, group names, frames, behaviours: what users, peers and networks do (needs the extra `testing`)
"""

from .cancel import CancelledAt, CancelReport, cancel_everywhere
from .client import Client
from .connect import connect
from .determinism import run
from .errors import ConnectionOver, ContractBroken, Denied, Stuck, Unmet
from .hub import Hub
from .lifespan import run_app
from .net import Net
from .world import World

__all__ = [
    "CancelReport",
    "CancelledAt",
    "Client",
    "ConnectionOver",
    "ContractBroken",
    "Denied",
    "Hub",
    "Net",
    "Stuck",
    "Unmet",
    "World",
    "cancel_everywhere",
    "connect",
    "run",
    "run_app",
]
