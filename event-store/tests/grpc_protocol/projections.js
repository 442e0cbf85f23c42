// What the official Node client sees of projections; the address is the argument.
"use strict";

const assert = require("node:assert/strict");
const {
  ABORTED,
  KurrentDBClient,
  NotFoundError,
  RUNNING,
  STOPPED,
  StreamNotFoundError,
  UnknownError,
  jsonEvent,
} = require("@kurrent/kurrentdb-client");

const client = KurrentDBClient.connectionString(`kurrentdb://${process.argv[2]}?tls=false`);
const event = (type, data = {}) => jsonEvent({ type, data });

async function until(so) {
  const patience = Date.now() + 60_000;
  while (!(await so())) {
    assert(Date.now() < patience, "it never comes to that");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function read(stream) {
  const events = [];
  for await (const { event } of client.readStream(stream)) events.push(event);
  return events;
}

const status = async (name) => (await client.getProjectionStatus(name)).projectionStatus;
const handled = async (name, count) =>
  until(async () => (await client.getProjectionStatus(name)).eventsProcessedAfterRestart >= count);

const COUNT = `fromStream("counted").when({
  $init() { return 0; },
  count_this(state) { return state + 1; },
});`;

async function story() {
  for (const call of [
    "getProjectionStatus", "getProjectionState", "getProjectionResult", "enableProjection",
    "disableProjection", "abortProjection", "resetProjection", "deleteProjection",
  ]) {
    await assert.rejects(client[call]("nobody"), NotFoundError, call);
  }
  await assert.rejects(client.updateProjection("nobody", COUNT), NotFoundError);

  // A state, and a result that is the same.
  await client.createProjection("count", COUNT);
  assert.equal(await status("count"), RUNNING);
  await client.appendToStream("counted", [1, 2, 3].map(() => event("count_this")));
  await handled("count", 3);
  assert.equal(await client.getProjectionState("count"), 3);
  assert.equal(await client.getProjectionResult("count"), 3);
  await client.disableProjection("count");
  assert.equal(await status("count"), STOPPED);
  await client.enableProjection("count");
  assert.equal(await status("count"), RUNNING);
  await client.resetProjection("count");
  await handled("count", 3);
  await client.updateProjection("count", COUNT, { emitEnabled: true });
  await client.abortProjection("count");
  assert.equal(await status("count"), ABORTED);
  await client.deleteProjection("count", { deleteCheckpointStream: true });
  await assert.rejects(client.getProjectionStatus("count"), NotFoundError);

  // What is emitted, and where that is listed.
  const emits = `fromStream("said").when({
    say(state, event) { emit("heard-" + event.data.by, "heard", {}, {}); }
  });`;
  await client.createProjection("emit", emits, { emitEnabled: true, trackEmittedStreams: true });
  await assert.rejects(client.createProjection("emit", emits), UnknownError);
  await client.appendToStream("said", event("say", { by: "ann" }));
  await handled("emit", 1);
  assert.equal((await read("heard-ann"))[0].type, "heard");
  const tracked = await read("$projections-emit-emittedstreams");
  assert.deepEqual(tracked.map((it) => it.type), ["$StreamTracked"]);

  // Partitions, by links and the category of their streams.
  await client.enableProjection("$by_category");
  assert.equal(await status("$by_category"), RUNNING);
  await client.createProjection(
    "share",
    `fromStream("What cats do").when({
      $any(state, ev) { linkTo("cat-" + ev.data.name, ev); }
    });`,
    { emitEnabled: true, engineVersion: "v2" }
  );
  await client.createProjection(
    "naps",
    `fromCategory("cat").foreachStream().when({
      $init() { return { naps: 0, snacks: 0 }; },
      napped(state) { state.naps++; },
      snacked(state) { state.snacks++; },
    });`
  );
  const cats = [["Smudges", "napped"], ["MrWhiskers", "napped"], ["MrWhiskers", "snacked"]];
  await client.appendToStream("What cats do", cats.map(([name, type]) => event(type, { name })));
  await handled("naps", 3);
  const partition = "cat-MrWhiskers";
  const expected = { naps: 1, snacks: 1 };
  assert.deepEqual(await client.getProjectionState("naps", { partition }), expected);
  assert.deepEqual(await client.getProjectionResult("naps", { partition }), expected);
  assert.deepEqual((await read("$ce-cat")).length, 3);
  await assert.rejects(read("$ce-dog"), StreamNotFoundError);

  const listed = (await client.listProjections()).map(({ name }) => name);
  assert.deepEqual(listed.filter((name) => !name.startsWith("$")), ["emit", "naps", "share"]);
  assert.equal(listed.filter((name) => name.startsWith("$")).length, 5);
  await client.restartSubsystem();
  await until(async () => (await status("naps")) === RUNNING);
  await client.dispose();
  console.log("told");
}

story().catch((error) => {
  console.error(error);
  process.exit(1);
});
