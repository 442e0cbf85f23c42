"""What the official Python client sees of appends to several streams; the address is the argument."""

import asyncio
import json
import sys
from uuid import uuid4

from kurrentdbclient import AsyncKurrentDBClient, KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.events import NewEvents, NewRecord, StreamStateCheck
from kurrentdbclient.exceptions import (
    ConsistencyChecksFailedError,
    MultiAppendToSameStreamError,
    NotFoundError,
    RecordMaxSizeExceededError,
    StreamTombstonedError,
    TransactionMaxSizeExceededError,
    WrongCurrentVersionError,
)

URI = f"kurrentdb://{sys.argv[1]}?Tls=false"
client = KurrentDBClient(URI)


def event(data=b'{"n": 1}', **kwargs):
    return NewEvent(type="Told", data=data, id=uuid4(), **kwargs)


def to(stream, expected, *events):
    return NewEvents(stream_name=stream, events=list(events), current_version=expected)


def record(stream, data=b'{"n": 1}'):
    return NewRecord(stream_name=stream, type="Told", data=data, id=uuid4())


def refused(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error as refusal:
        return refusal
    raise AssertionError(f"{call} was not refused with {error}")


# All or none, and once.
first = event(metadata=b'{"who": "ann"}')
octets = event(data=b"\x00\xff", content_type="application/octet-stream")
both = [to("a", StreamState.NO_STREAM, first, event()), to("b", StreamState.ANY, octets)]
position = client.multi_append_to_stream(both)
assert client.multi_append_to_stream(both) == position
told = client.get_stream("a")
assert [it.id for it in told] == [it.id for it in both[0].events], told
known = json.loads(told[0].metadata)
assert known == {"who": "ann", "$schema.name": "Told", "$schema.format": "Json"}, known
[told] = client.get_stream("b")
assert told.commit_position == position, (told, position)
assert (told.data, told.content_type) == (b"\x00\xff", "application/octet-stream"), told
assert json.loads(told.metadata)["$schema.format"] == "Bytes"
more = [to("a", 1, event()), to("b", StreamState.EXISTS, event())]
assert client.multi_append_to_stream(more) > position

# What is refused leaves nothing.
wrong = [to("c", StreamState.ANY, event()), to("a", 0, event())]
refusal = refused(WrongCurrentVersionError, client.multi_append_to_stream, wrong)
refusal = (refusal.stream_name, refusal.expected_version, refusal.actual_version)
assert refusal == ("a", 0, 2), refusal
refused(NotFoundError, client.get_stream, "c")
twice = [to("c", StreamState.ANY, event()), to("c", StreamState.ANY, event())]
assert refused(MultiAppendToSameStreamError, client.multi_append_to_stream, twice).stream_name == "c"
client.tombstone_stream("gone", current_version=StreamState.ANY)
gone = [to("gone", StreamState.ANY, event())]
assert refused(StreamTombstonedError, client.multi_append_to_stream, gone).stream_name == "gone"
huge = event(data=b"x" * (16 * 1024 * 1024 + 1))
large = [to("c", StreamState.ANY, huge)]
refusal = refused(RecordMaxSizeExceededError, client.multi_append_to_stream, large)
assert (refusal.stream_name, refusal.event_id) == ("c", huge.id), refusal
large = [to(f"c{n}", StreamState.ANY, event(data=b"x" * (15 * 1024 * 1024))) for n in range(5)]
refusal = refused(TransactionMaxSizeExceededError, client.multi_append_to_stream, large)
assert refusal.size > refusal.max_size == 64 * 1024 * 1024, refusal

# Records with checks.
result = client.append_records([record("r"), record("s"), record("r")])
told = [(it.stream_name, it.stream_position) for it in result.stream_positions]
assert told == [("r", 1), ("s", 0)], result
checks = [StreamStateCheck("a", 2), StreamStateCheck("nobody", StreamState.NO_STREAM)]
assert client.append_records(record("r"), checks).commit_position > result.commit_position
checks = [StreamStateCheck("a", 2), StreamStateCheck("nobody", StreamState.EXISTS)]
refusal = refused(ConsistencyChecksFailedError, client.append_records, record("r"), checks)
[failure] = refusal.failures
assert failure.check_index == 1, failure
failure = failure.stream_state_failure
failure = (failure.stream_name, failure.expected_state, failure.actual_state)
assert failure == ("nobody", -4, -1), failure
client.close()


async def asynchronous():
    client = AsyncKurrentDBClient(URI)
    both = [to("d", StreamState.NO_STREAM, event()), to("e", StreamState.NO_STREAM, event())]
    position = await client.multi_append_to_stream(both)
    assert await client.multi_append_to_stream(both) == position
    again = [to("d", StreamState.NO_STREAM, event())]
    try:
        await client.multi_append_to_stream(again)
        raise AssertionError("it was not refused")
    except WrongCurrentVersionError:
        pass
    await client.append_records([record("d"), record("e")])
    await client.close()


asyncio.run(asynchronous())
print("told")
