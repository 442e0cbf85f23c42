"""What the official Python client sees of the server; the address is the only argument."""

import sys
from uuid import uuid4

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.events import CaughtUp, Checkpoint
from kurrentdbclient.exceptions import NotFoundError, StreamIsDeletedError, WrongCurrentVersionError

client = KurrentDBClient(f"kurrentdb://{sys.argv[1]}?Tls=false")


def events(count, kind="Told"):
    return [NewEvent(type=kind, data=b'{"n": %d}' % n, id=uuid4()) for n in range(count)]


def refused(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call} was not refused with {error}")


# Appends, one by one and in a batch, and their retries.
first = events(3)
position = client.append_to_stream("tale-1", current_version=StreamState.NO_STREAM, events=first)
again = client.append_to_stream("tale-1", current_version=StreamState.NO_STREAM, events=first)
assert position == again, (position, again)
client.append_to_stream("tale-1", current_version=2, events=events(1)[0])
refused(
    WrongCurrentVersionError,
    client.append_to_stream,
    "tale-1",
    current_version=StreamState.NO_STREAM,
    events=events(2),
)
refused(
    WrongCurrentVersionError,
    client.append_to_stream,
    "tale-1",
    current_version=1,
    events=events(1)[0],
)

# Reads, both ways, of the stream and of the log; the position told includes its event.
told = client.get_stream("tale-1")
assert [event.stream_position for event in told] == [0, 1, 2, 3], told
assert [event.id for event in told[:3]] == [event.id for event in first]
back = client.get_stream("tale-1", backwards=True, limit=2)
assert [event.stream_position for event in back] == [3, 2], back
here = next(iter(client.read_all(commit_position=position)))
assert here.id == first[-1].id, here
assert client.get_commit_position() == told[-1].commit_position
assert client.get_current_version("tale-1") == 3
assert client.get_current_version("nobody") is StreamState.NO_STREAM
refused(NotFoundError, client.get_stream, "nobody")

# Metadata.
metadata, version = client.get_stream_metadata("tale-1")
assert (metadata, version) == ({}, StreamState.NO_STREAM), (metadata, version)
client.set_stream_metadata("tale-1", metadata={"$maxCount": 2, "own": "x"})
metadata, version = client.get_stream_metadata("tale-1")
assert (metadata, version) == ({"$maxCount": 2, "own": "x"}, 0), (metadata, version)
assert [event.stream_position for event in client.get_stream("tale-1")] == [2, 3]

# Subscriptions, with the client's own filter that leaves out system events.
subscription = client.subscribe_to_all()
seen = [next(subscription) for _ in range(4)]
assert [event.stream_position for event in seen] == [0, 1, 2, 3], seen
client.append_to_stream("tale-1", current_version=StreamState.ANY, events=events(1)[0])
assert next(subscription).stream_position == 4
subscription.stop()
followed = client.subscribe_to_stream("tale-1", stream_position=3)
assert next(followed).stream_position == 4
followed.stop()

# Who has caught up is told where: at the last event that was sent, or where it was to begin.
place = client.get_commit_position()
written = client.append_to_stream(
    "tale-3", current_version=StreamState.NO_STREAM, events=events(2)
)
asked = {"commit_position": place, "window_size": 1000, "include_checkpoints": True}
for kept, expected in (("Other", [place]), ("Told", [written])):
    followed = client.subscribe_to_all(
        filter_include=kept, include_caught_up=True, timeout=60, **asked
    )
    checkpoints = []
    for told in followed:
        if isinstance(told, Checkpoint):
            checkpoints.append(told.commit_position)
        if isinstance(told, CaughtUp):
            break
    assert (told.commit_position, told.stream_position) == (expected[0], 0), told
    assert checkpoints == expected, checkpoints
    followed.stop()
followed = client.subscribe_to_stream("tale-3", include_caught_up=True, timeout=60)
told = [next(followed) for _ in range(3)][-1]
assert (told.commit_position, told.stream_position) == (0, 1), told
followed.stop()

# A filtered read is told how far it has come, too, which is no event.
found = client.read_all(filter_include="tale-3", filter_by_stream_name=True)
assert [event.stream_position for event in found] == [0, 1]

# Deletion, and for good.
refused(NotFoundError, client.delete_stream, "nobody", current_version=StreamState.EXISTS)
client.delete_stream("tale-1", current_version=4)
refused(NotFoundError, client.get_stream, "tale-1")

# Metadata that are read, changed and written again open it, and its events stay hidden.
metadata, version = client.get_stream_metadata("tale-1")
metadata["own"] = "z"
client.set_stream_metadata("tale-1", metadata=metadata, current_version=version)
metadata, version = client.get_stream_metadata("tale-1")
assert metadata == {"$tb": 5, "own": "z"}, metadata
assert not client.get_stream("tale-1")

client.append_to_stream("tale-2", current_version=StreamState.NO_STREAM, events=events(1))
client.tombstone_stream("tale-2", current_version=StreamState.ANY)
refused(StreamIsDeletedError, client.get_stream, "tale-2")
refused(
    StreamIsDeletedError,
    client.append_to_stream,
    "tale-2",
    current_version=StreamState.ANY,
    events=events(2),
)
refused(
    StreamIsDeletedError,
    client.tombstone_stream,
    "tale-2",
    current_version=StreamState.ANY,
)

# Its metadata is written, and not read any more.
client.set_stream_metadata("tale-2", metadata={"own": "y"}, current_version=StreamState.NO_STREAM)
client.set_stream_metadata("tale-2", metadata={}, current_version=0)
refused(StreamIsDeletedError, client.get_stream_metadata, "tale-2")
client.close()
print("told")
