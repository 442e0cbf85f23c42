"""What the official Python client sees of projections; the address is the only argument."""

import asyncio
import json
import sys
from time import monotonic, sleep

from kurrentdbclient import AsyncKurrentDBClient, KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import (
    AlreadyExistsError,
    DeadlineExceededError,
    ExceptionThrownByHandlerError,
    NotFoundError,
    OperationFailedError,
)

ADDRESS = f"kurrentdb://{sys.argv[1]}?Tls=false"
client = KurrentDBClient(ADDRESS)


def refused(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call} was not refused with {error}")


def until(so):
    """Waits until it is so."""
    patience = monotonic() + 60
    while not so():
        assert monotonic() < patience, "it never comes to that"
        sleep(0.02)


def told(name):
    return client.get_projection_statistics(name=name)


SCRIPT = """fromStream('account-1').when({
  $init() { return { count: 0, list: [null, "2.10", true] }; },
  Happened(s, e) { s.count += 1; emit('emitted-1', 'Emitted', {}, {}); }
}).outputState()"""


def events(*kinds):
    return [NewEvent(type=kind, data=b"{}") for kind in kinds]


# What is not there, and what can't be.
for call in (
    client.update_projection,
    client.delete_projection,
    client.get_projection_statistics,
    client.disable_projection,
    client.abort_projection,
    client.enable_projection,
    client.reset_projection,
    client.get_projection_state,
):
    more = {"query": ""} if call == client.update_projection else {}
    refused(NotFoundError, call, name="nobody", **more)
refused(
    ExceptionThrownByHandlerError,
    client.create_projection,
    name="tracks",
    query="",
    emit_enabled=False,
    track_emitted_streams=True,
)

# One whose script says nothing is there, and can be handled; its state is waited for in vain.
client.create_projection(name="empty", query="")
refused(AlreadyExistsError, client.create_projection, name="empty", query="")
refused(DeadlineExceededError, client.get_projection_state, name="empty", timeout=0.2)
assert told("empty").status == "Faulted (Enabled)", told("empty")
client.update_projection(name="empty", query="", emit_enabled=True)
client.enable_projection(name="empty")
client.reset_projection(name="empty")
client.disable_projection(name="empty")
client.abort_projection(name="empty")
client.delete_projection(
    name="empty",
    delete_emitted_streams=True,
    delete_state_stream=True,
    delete_checkpoint_stream=True,
)
refused(NotFoundError, client.delete_projection, name="empty")

# A whole life.
client.create_projection(
    name="count", query=SCRIPT, emit_enabled=True, track_emitted_streams=True
)
client.disable_projection(name="count")
client.update_projection(name="count", query=SCRIPT, emit_enabled=False)
client.update_projection(name="count", query=SCRIPT, emit_enabled=True)
client.enable_projection(name="count")
assert client.get_projection_state(name="count").value == {}
happened = events("Happened", "Else", "Happened")
client.append_events("account-1", current_version=StreamState.ANY, events=happened)
until(lambda: told("count").events_processed_after_restart == 2)
state = {"count": 2, "list": [None, "2.10", True]}
assert client.get_projection_state(name="count").value == state
results = client.get_stream("$projections-count-result")
assert [json.loads(it.data)["count"] for it in results] == [1, 2], results
assert [it.type for it in results] == ["Result", "Result"]
caused = [json.loads(it.metadata)["$causedBy"] for it in results]
assert caused == [str(happened[0].id), str(happened[2].id)], caused
assert len(client.get_stream("emitted-1")) == 2
statistics = told("count")
assert (statistics.status, statistics.mode) == ("Running", "Continuous"), statistics
until(lambda: told("count").progress == 100)
client.reset_projection(name="count")
until(lambda: told("count").events_processed_after_restart == 2)
assert told("count").status == "Running"
refused(OperationFailedError, client.delete_projection, name="count")
client.disable_projection(name="count")
assert told("count").status == "Stopped"
assert client.get_projection_state(name="count").value == state
client.reset_projection(name="count")
assert (told("count").status, told("count").events_processed_after_restart) == ("Stopped", 0)
assert client.get_projection_state(name="count").value == {}
client.enable_projection(name="count")
until(lambda: told("count").events_processed_after_restart == 2)
assert client.get_projection_state(name="count").value == state
client.disable_projection(name="count")
client.delete_projection(name="count", delete_emitted_streams=True, delete_checkpoint_stream=True)
refused(NotFoundError, told, "count")
assert len(client.get_stream("$projections-count-result")) == 2
refused(NotFoundError, client.get_stream, "emitted-1")

# Lists, and all begun again.
client.create_projection(name="other", query=SCRIPT, engine_version="v2", emit_enabled=True)
names = {it.name for it in client.list_all_projection_statistics()}
assert {"other", "$by_category", "$by_event_type"} <= names, names
assert names == {it.name for it in client.list_continuous_projection_statistics()}
client.restart_projections_subsystem()
until(lambda: told("other").status == "Running")

# Categories and types: nothing before their projections are enabled, and then links.
refused(NotFoundError, client.get_stream, "$ce-account")
early = client.subscribe_to_stream("$et-Happened", resolve_links=True, timeout=60)
client.enable_projection(name="$by_category")
client.enable_projection(name="$by_event_type")
assert [next(early).id for _ in range(2)] == [happened[0].id, happened[2].id]
early.stop()
links = client.get_stream("$ce-account")
assert [it.data for it in links] == [b"0@account-1", b"1@account-1", b"2@account-1"], links
assert [it.stream_position for it in links] == [0, 1, 2]
assert {it.type for it in links} == {"$>"}
resolved = client.get_stream("$et-Happened", resolve_links=True, backwards=True, limit=1)
assert [it.id for it in resolved] == [happened[2].id], resolved
assert resolved[0].link.stream_name == "$et-Happened" and resolved[0].link.stream_position == 1
client.create_subscription_to_stream("workers", "$et-Happened", resolve_links=True)
consumer = client.read_subscription_to_stream("workers", "$et-Happened")
taken = []
for event in consumer:
    consumer.ack(event)
    taken.append(event.id)
    if len(taken) == 2:
        break
consumer.stop()
assert taken == [happened[0].id, happened[2].id], taken
with client.subscribe_to_stream("$ce-account", resolve_links=True, timeout=60) as followed:
    assert [next(followed).id for _ in range(3)] == [it.id for it in happened]
    more = events("Happened")
    client.append_events("account-2", current_version=StreamState.ANY, events=more)
    assert next(followed).id == more[0].id


async def concurrently():
    """The same calls of the other client."""
    client = AsyncKurrentDBClient(ADDRESS)
    await client.connect()
    await client.create_projection(name="async", query=SCRIPT, emit_enabled=True)
    assert (await client.get_projection_statistics(name="async")).status == "Running"
    while (await client.get_projection_statistics(name="async")).progress < 100:
        await asyncio.sleep(0.02)
    assert (await client.get_projection_state(name="async")).value == state
    await client.update_projection(name="async", query=SCRIPT)
    assert (await client.get_projection_statistics(name="async")).version == 1
    await client.abort_projection(name="async")
    assert (await client.get_projection_statistics(name="async")).status == "Aborted/Stopped"
    await client.enable_projection(name="async")
    await client.reset_projection(name="async")
    await client.disable_projection(name="async")
    await client.delete_projection(name="async")
    assert "async" not in {it.name for it in await client.list_all_projection_statistics()}
    await client.restart_projections_subsystem()
    await client.close()


asyncio.run(concurrently())
client.close()
print("told")
