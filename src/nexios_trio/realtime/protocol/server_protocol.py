"""One connection of the protocol, as its server knows it: commands come out in order, replies and pushes go in.

    receive(frame)          what the client has sent; when everything of the frame before was taken
    next_command()          its next command, or None: receive more. Raises Violation: close with its code
    connected, failed       the answer to the connect command; nothing comes out before it
    answer, refuse          to every other command
    ping, push              what the server says unasked

What is allowed when is the table below. A failed connect ends the conversation: what came behind it in the same frame,
or comes later, is not looked at, and the client closes; it has `STALE` to do so.

    NEW ──connect──▶ CONNECTING ──connected()──▶ CONNECTED
                         └────────failed()─────▶ FAILED
    (any) ──close(), Violation──▶ CLOSED
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from ...exceptions import LifecycleError
from .codecs import Codec
from .codes import CloseCode
from .parts import Error
from .replies import ConnectResult, Push, Reply, Result
from .requests import Command, ConnectRequest, SendRequest
from .schema import BadFrame

__all__ = ["TRANSITIONS", "CommandKind", "ServerProtocol", "State", "Violation"]


class Violation(Exception):
    """The client broke the protocol. `code` and the text are what it is closed with."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class State(Enum):
    """How far a conversation is."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


class CommandKind(Enum):
    """What a command is, as far as it matters for the order."""

    CONNECT = "a connect command"
    PONG = "a pong"
    UNASKED_PONG = "a pong that nobody asked for"
    SEND = "a send command"
    NAMELESS = "a command without an id"
    OTHER = "a command"


_NEVER: Final[Mapping[State, State]] = MappingProxyType({})
_CONNECTED: Final[Mapping[State, State]] = MappingProxyType({State.CONNECTED: State.CONNECTED})

# (kind of command) -> {state before: state after}. A state that is missing: a violation, closed with BAD_REQUEST.
TRANSITIONS: Final[Mapping[CommandKind, Mapping[State, State]]] = MappingProxyType(
    {
        CommandKind.CONNECT: MappingProxyType({State.NEW: State.CONNECTING}),
        CommandKind.PONG: _CONNECTED,
        CommandKind.UNASKED_PONG: _NEVER,
        CommandKind.SEND: _CONNECTED,
        CommandKind.NAMELESS: _NEVER,
        CommandKind.OTHER: _CONNECTED,
    }
)


class ServerProtocol:
    """The server's side of one conversation."""

    __slots__ = ("_commands", "codec", "is_pong_due", "state")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.state = State.NEW
        self.is_pong_due = False  # since the last ping
        self._commands: Iterator[Command] | None = None  # of the frame that is being taken

    def receive(self, frame: str | bytes) -> None:
        """Take over what the client has sent. Raises: Violation where that is of the wrong sort."""
        if self._commands is not None:
            raise LifecycleError("the frame before was not taken: call next_command until it returns None")
        if self.state in (State.FAILED, State.CLOSED):
            return
        if isinstance(frame, str) is not self.codec.is_text:
            wanted = "text" if self.codec.is_text else "binary"
            raise self._violation(CloseCode.WRONG_ENCODING, f"{self.codec.subprotocol} has {wanted} messages")
        self._commands = self.codec.commands(frame)

    def next_command(self) -> Command | None:
        """Return the next command, pongs left out; None when there is none in what was received.

        None, too, while the connect command has no answer. Raises: Violation.
        """
        while self._commands is not None and self.state is not State.CONNECTING:
            try:
                command = next(self._commands, None)
            except BadFrame as error:
                raise self._violation(CloseCode.BAD_REQUEST, str(error)) from None
            if command is None:
                self._commands = None
                break
            kind = self._kind(command)
            after = TRANSITIONS[kind].get(self.state)
            if after is None:
                raise self._violation(CloseCode.BAD_REQUEST, _explain(kind, self.state))
            self.state = after
            if kind is not CommandKind.PONG:
                return command
            self.is_pong_due = False
        return None

    def _kind(self, command: Command) -> CommandKind:
        if command.id == 0:
            if isinstance(command.request, SendRequest):
                return CommandKind.SEND
            if command.request is not None:
                return CommandKind.NAMELESS
            return CommandKind.PONG if self.is_pong_due else CommandKind.UNASKED_PONG
        if isinstance(command.request, ConnectRequest):
            return CommandKind.CONNECT
        return CommandKind.OTHER

    # What the server says

    def connected(self, command: Command, result: ConnectResult) -> bytes:
        """Answer the connect command: what comes behind it is taken from now on."""
        self._end_connecting(State.CONNECTED)
        return self.answer(command, result)

    def failed(self, command: Command, error: Error) -> bytes:
        """Refuse the connect command. Nothing else of the client is taken."""
        self._end_connecting(State.FAILED)
        self._commands = None
        return self.refuse(command, error)

    def _end_connecting(self, after: State) -> None:
        if self.state is not State.CONNECTING:
            raise LifecycleError(f"there is no connect command to answer: the conversation is {self.state.value}")
        self.state = after

    def answer(self, command: Command, result: Result) -> bytes:
        """Write the answer to a command."""
        return self.codec.encode(Reply(command.id, result))

    def refuse(self, command: Command, error: Error) -> bytes:
        """Write that a command was refused."""
        return self.codec.encode(Reply(command.id, error))

    def push(self, push: Push) -> bytes:
        """Write what the client has not asked for."""
        return self.codec.encode(Reply(0, push))

    def ping(self, *, expect_pong: bool = True) -> bytes:
        """Write a ping, which the client answers with one pong."""
        if expect_pong:
            self.is_pong_due = True
        return self.codec.ping

    def close(self) -> None:
        """Take nothing more."""
        self.state = State.CLOSED
        self._commands = None

    def _violation(self, code: CloseCode, reason: str) -> Violation:
        self.close()
        return Violation(code, reason)


def _explain(kind: CommandKind, state: State) -> str:
    if kind is CommandKind.NAMELESS or kind is CommandKind.UNASKED_PONG:
        return str(kind.value)
    if state is State.NEW:
        return f"{kind.value} before connect"
    return "connect comes once"
