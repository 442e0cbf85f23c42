// What the official Node client sees of appends to several streams; the address is the argument.
"use strict";

const assert = require("node:assert/strict");
const {
  AppendConsistencyViolationError,
  AppendRecordSizeExceededError,
  KurrentDBClient,
  StreamTombstonedError,
  TransactionMaxSizeExceededError,
  WrongExpectedVersionError,
  binaryEvent,
  jsonEvent,
} = require("@kurrent/kurrentdb-client");

const client = KurrentDBClient.connectionString(`kurrentdb://${process.argv[2]}?tls=false`);
const event = (data = { n: 1 }, metadata) => jsonEvent({ type: "Told", data, metadata });
const to = (streamName, expectedState, ...events) => ({ streamName, expectedState, events });
const record = (streamName) => ({ streamName, record: event() });
const check = (streamName, expectedState) => ({ type: "streamState", streamName, expectedState });
const binary = (bytes) => binaryEvent({ type: "Told", data: Buffer.alloc(bytes, 1) });

async function read(stream) {
  const events = [];
  for await (const { event } of client.readStream(stream)) events.push(event);
  return events;
}

async function story() {
  // All or none, and once.
  const both = [
    to("a", "no_stream", event({ n: 1 }, { who: "ann" }), event()),
    to("b", "any", binary(3)),
  ];
  const first = await client.multiStreamAppend(both);
  assert.deepEqual(first.responses, [
    { streamName: "a", revision: 1n },
    { streamName: "b", revision: 0n },
  ]);
  assert.deepEqual(await client.multiStreamAppend(both), first);
  const [told] = await read("a");
  assert.deepEqual(told.data, { n: 1 });
  const known = { who: "ann", "$schema.name": "Told", "$schema.format": "Json" };
  assert.deepEqual(told.metadata, known);
  assert.equal((await read("b"))[0].data.length, 3);

  // What is refused leaves nothing.
  const wrong = [to("c", "any", event()), to("a", 0n, event())];
  await assert.rejects(client.multiStreamAppend(wrong), (error) => {
    assert(error instanceof WrongExpectedVersionError, error);
    assert.deepEqual([error.streamName, error.expectedState, error.actualState], ["a", 0n, 1n]);
    return true;
  });
  await assert.rejects(read("c"));
  await client.tombstoneStream("gone");
  const gone = [to("gone", "any", event())];
  await assert.rejects(client.multiStreamAppend(gone), StreamTombstonedError);
  const large = [to("c", "any", binary(16 * 1024 * 1024 + 1))];
  await assert.rejects(client.multiStreamAppend(large), AppendRecordSizeExceededError);
  const many = [1, 2, 3, 4, 5].map((n) => to(`c${n}`, "any", binary(15 * 1024 * 1024)));
  await assert.rejects(client.multiStreamAppend(many), TransactionMaxSizeExceededError);

  // Records with checks.
  const appended = await client.appendRecords([record("r"), record("s"), record("r")]);
  assert.deepEqual(appended.responses, [
    { streamName: "r", revision: 1n },
    { streamName: "s", revision: 0n },
  ]);
  await client.appendRecords([record("r")], [check("a", 1n), check("gone", "no_stream")]);
  const checks = [check("a", 1n), check("nobody", "stream_exists")];
  await assert.rejects(client.appendRecords([record("r")], checks), (error) => {
    assert(error instanceof AppendConsistencyViolationError, error);
    const violation = { checkIndex: 1, streamName: "nobody" };
    const states = { expectedState: "stream_exists", actualState: "no_stream" };
    assert.deepEqual(error.violations, [{ ...violation, ...states }]);
    return true;
  });
  assert.equal((await read("r")).length, 3);
  await client.dispose();
}

story().then(
  () => console.log("told"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
