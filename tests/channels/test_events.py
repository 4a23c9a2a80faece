"""Handlers of a channel's events: called in order, and none of their errors goes further."""

import logging
from uuid import uuid4

import trio

from nexios_trio.channels.events import Event, Events


class Owner:
    uuid = uuid4()


async def test_handlers_are_called_in_order_sync_or_async():
    events, owner, seen = Events(), Owner(), []

    async def later(channel, *args):
        await trio.lowlevel.checkpoint()
        seen.append(("async", channel, *args))

    events.add(Event.MESSAGE, later)
    events.add(Event.MESSAGE, lambda channel, *args: seen.append(("sync", channel, *args)))
    events.add(Event.CONNECT, lambda channel: seen.append("other"))
    await events.fire(Event.MESSAGE, owner, 7)
    assert seen == [("async", owner, 7), ("sync", owner, 7)]


async def test_an_event_without_handlers_is_nothing():
    assert list(Events().of(Event.ERROR)) == []
    await Events().fire(Event.ERROR, Owner(), ValueError())


async def test_an_error_is_logged_and_told_to_the_handlers_for_errors(caplog):
    events, owner, told = Events(), Owner(), []
    error = ZeroDivisionError()

    def fail(channel, *args):
        raise error

    events.add(Event.MESSAGE, fail)
    events.add(Event.MESSAGE, lambda channel, message: told.append(message))
    events.add(Event.ERROR, fail)  # is logged, and not told to itself
    events.add(Event.ERROR, lambda channel, error: told.append(error))
    await events.fire(Event.MESSAGE, owner, 7)
    assert told == [error, 7]
    assert [record.getMessage().split()[0] for record in caplog.records] == ["on_message", "on_error"]
    assert all(record.exc_info[1] is error for record in caplog.records)
    assert all(record.channel == owner.uuid and record.levelno == logging.ERROR for record in caplog.records)


async def test_cancellation_goes_through():
    events = Events()

    async def wait(channel):
        await trio.sleep_forever()

    events.add(Event.CONNECT, wait)
    with trio.CancelScope() as scope:
        scope.cancel()
        await events.fire(Event.CONNECT, Owner())
    assert scope.cancelled_caught
