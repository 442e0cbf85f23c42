"""What the official Python client sees of a server that asks who calls; the arguments are the
address and the file of the root."""

import asyncio
import json
import sys
from uuid import uuid4

from kurrentdbclient import AsyncKurrentDBClient, KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import AccessDeniedError, KurrentDBClientError

ADDRESS, ROOT = sys.argv[1:3]
CERTIFICATE = open(ROOT).read()


def client(credentials="admin:changeit@"):
    return KurrentDBClient(f"kurrentdb://{credentials}{ADDRESS}", root_certificates=CERTIFICATE)


def event():
    return NewEvent(type="Told", data=b'{"n": 1}', id=uuid4())


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except KurrentDBClientError as refusal:
        return refusal
    raise AssertionError(f"{call} was not refused")


admin = client()
admin.append_to_stream("tale-1", current_version=StreamState.ANY, events=[event()])
assert len(admin.get_stream("tale-1")) == 1
assert len(list(admin.read_all())) == 1
for credentials in ["ops:changeit@"]:
    known = client(credentials)
    assert len(known.get_stream("tale-1")) == 1
    refusal = refused(lambda: list(known.read_all()))
    assert isinstance(refusal, AccessDeniedError), repr(refusal)
for credentials in ["admin:wrong@", "nobody:changeit@"]:
    stranger = client(credentials)
    for call in [
        lambda: stranger.get_stream("tale-1"),
        lambda: stranger.append_to_stream(
            "tale-1", current_version=StreamState.ANY, events=[event()]
        ),
    ]:
        refusal = refused(call)
        assert "UNAUTHENTICATED" in repr(refusal).upper(), repr(refusal)

# What a call itself says goes before what the client says.
right = admin.construct_call_credentials("admin", "changeit")
wrong = admin.construct_call_credentials("admin", "wrong")
assert len(client("admin:wrong@").get_stream("tale-1", credentials=right)) == 1
refused(admin.get_stream, "tale-1", credentials=wrong)

# A list of a stream.
ops = client("ops:changeit@")
lists = {"$acl": {"$r": ["admin"], "$w": "ops"}}
admin.set_stream_metadata("tale-1", metadata=lists)
assert isinstance(refused(ops.get_stream, "tale-1"), AccessDeniedError)
ops.append_to_stream("tale-1", current_version=StreamState.ANY, events=[event()])
metadata, _ = admin.get_stream_metadata("tale-1")
assert metadata["$acl"]["$w"] == "ops", json.dumps(metadata)
assert isinstance(
    refused(lambda: list(ops.read_stream("$user-admin"))), AccessDeniedError
)
refusal = refused(lambda: list(ops.subscribe_to_all()))
assert isinstance(refusal, AccessDeniedError), repr(refusal)

# Groups are kept by operators, and consumed by readers.
ops.create_subscription_to_stream("group", "tale-1")
refusal = refused(lambda: list(ops.read_subscription_to_stream("group", "tale-1")))
assert isinstance(refusal, AccessDeniedError), repr(refusal)


async def beside():
    also = AsyncKurrentDBClient(
        f"kurrentdb://admin:changeit@{ADDRESS}", root_certificates=CERTIFICATE
    )
    await also.connect()
    assert len(await also.get_stream("tale-1")) == 2
    await also.close()


asyncio.run(beside())
for it in [admin, ops]:
    it.close()
print("told")
