"""What the official Python client sees of persistent subscriptions; the address is the argument."""

import sys
import time
from uuid import uuid4

from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import (
    AlreadyExistsError,
    MaximumSubscriptionsReachedError,
    NotFoundError,
)

client = KurrentDBClient(f"kurrentdb://{sys.argv[1]}?Tls=false")


def refused(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError(f"{call} was not refused with {error}")


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never {what}"
        time.sleep(0.01)


def events(count):
    return [NewEvent(type="Told", data=b'{"n": %d}' % n, id=uuid4()) for n in range(count)]


client.append_to_stream("tale", current_version=StreamState.NO_STREAM, events=events(5))

# Groups are made once, listed, looked at and changed; of what is not there that is told.
refused(NotFoundError, client.get_subscription_info, "group", "tale")
refused(NotFoundError, client.read_subscription_to_stream, "group", "tale")
assert list(client.list_subscriptions()) == []
client.create_subscription_to_stream(
    "group", "tale", consumer_strategy="RoundRobin", max_subscriber_count=1, max_retry_count=3
)
refused(AlreadyExistsError, client.create_subscription_to_stream, "group", "tale")
client.update_subscription_to_stream("group", "tale", max_retry_count=1)
info = client.get_subscription_info("group", "tale")
assert (info.event_source, info.group_name, info.max_retry_count) == ("tale", "group", 1), info
assert info.consumer_strategy == "RoundRobin", info
assert [it.group_name for it in client.list_subscriptions()] == ["group"]
assert [it.group_name for it in client.list_subscriptions_to_stream("tale")] == ["group"]

# What is refused comes again, and is parked when that happens too often; others are finished.
consumer = client.read_subscription_to_stream("group", "tale")
refused(
    MaximumSubscriptionsReachedError, client.read_subscription_to_stream, "group", "tale"
)
connections = client.get_subscription_info("group", "tale").connections
assert [it.from_ for it in connections] == [""], connections
seen = []
for event in consumer:
    seen.append((event.stream_position, event.retry_count))
    if event.stream_position == 2 and event.retry_count == 0:
        consumer.nack(event, "retry")
    elif event.stream_position == 3:
        consumer.nack(event, "park")
    else:
        consumer.ack(event)
    if len(seen) == 6:
        break
assert sorted(seen) == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (4, 0)], seen
told = lambda: client.get_subscription_info("group", "tale")
until("parked", lambda: told().parked_message_count == 1)
until("finished", lambda: told().total_in_flight_messages == 0)
client.replay_parked_events("group", "tale")
replayed = next(consumer)
assert (replayed.stream_name, replayed.stream_position) == ("tale", 3), replayed
consumer.ack(replayed)
until("replayed", lambda: told().parked_message_count == 0)
consumer.stop()
until("left", lambda: told().connections == [])

# A group of the log, with the client's own filter that leaves out system events.
client.create_subscription_to_all("all", from_end=False)
consumer = client.read_subscription_to_all("all")
seen = [next(consumer) for _ in range(5)]
assert [event.stream_position for event in seen] == [0, 1, 2, 3, 4], seen
assert {event.stream_name for event in seen} == {"tale"}, seen
for event in seen:
    consumer.ack(event)
consumer.stop()

client.delete_subscription("group", "tale")
client.delete_subscription("all")
refused(NotFoundError, client.delete_subscription, "group", "tale")
client.close()
print("told")
