"""Test WebSocket applications in memory, in virtual time, at every interleaving.

client/         `connect`: a client without sockets; `run_app`: an application's startup and shutdown around a block
servers/        how the servers that we can stand in for look to an application
simulation/     `World`: servers, clients, a network with faults, hours in milliseconds, the same for the same seed
checks/         `cancel_everywhere`: a scenario, cancelled at every step; `check_resume`; what must not be left behind
stateful/       `GroupMembershipMachine`, `HistoryMachine`, `PresenceMachine`, `ResumeMachine` (with Hypothesis)
contracts/      `check_engine`, `check_transport`, `check_overflow_policy`: what others may supply keeps its contract
strategies.py   payloads, group names, frames, behaviours: what users, peers and networks do (needs the extra `testing`)
"""

from .checks.cancellation import CancelledAt, CancelReport, cancel_everywhere
from .checks.resume import ResumeReport, check_resume
from .client.client import Client
from .client.connect import connect
from .client.lifespan import run_app
from .errors import ConnectionOver, ContractBroken, Denied, Stuck, Unmet
from .simulation.broker import Broker
from .simulation.determinism import run
from .simulation.network import Net
from .simulation.world import World

Hub = Broker  # the name that it had on earlier pages; `engines.hub.Hub` is another thing

__all__ = [
    "Broker",
    "CancelReport",
    "CancelledAt",
    "Client",
    "ConnectionOver",
    "ContractBroken",
    "Denied",
    "Net",
    "ResumeReport",
    "Stuck",
    "Unmet",
    "World",
    "cancel_everywhere",
    "check_resume",
    "connect",
    "run",
    "run_app",
]
