// What the official Node client sees of a server that asks who calls; the arguments are the address
// and the file of the root.
"use strict";

const assert = require("node:assert/strict");
const {
  AccessDeniedError,
  KurrentDBClient,
  jsonEvent,
  persistentSubscriptionToStreamSettingsFromDefaults: settings,
} = require("@kurrent/kurrentdb-client");

const [address, root] = process.argv.slice(2);
const uri = (credentials) => `kurrentdb://${credentials}${address}?tls=true&tlsCaFile=${root}`;
const client = (credentials) => KurrentDBClient.connectionString(uri(credentials));
const event = () => jsonEvent({ type: "Told", data: { n: 1 } });

async function collect(events) {
  const all = [];
  for await (const event of events) all.push(event);
  return all;
}

async function story() {
  const [admin, ops] = [client("admin:changeit@"), client("ops:changeit@")];
  await admin.appendToStream("tale-1", event());
  assert.equal((await collect(admin.readStream("tale-1"))).length, 1);
  assert((await collect(admin.readAll({ maxCount: 10 }))).length > 0);
  await assert.rejects(collect(ops.readAll({ maxCount: 10 })), AccessDeniedError);
  for (const credentials of ["admin:wrong@", "AzureDiamond:hunter2@", ""]) {
    const stranger = client(credentials);
    await assert.rejects(collect(stranger.readAll({ maxCount: 10 })), AccessDeniedError);
    await assert.rejects(stranger.appendToStream("tale-1", event()), AccessDeniedError);
  }

  // What a call itself says goes before what the client says.
  const right = { username: "admin", password: "changeit" };
  const wrong = { username: "admin", password: "wrong" };
  const stranger = client("admin:wrong@");
  assert((await collect(stranger.readAll({ maxCount: 1, credentials: right }))).length > 0);
  await assert.rejects(collect(admin.readAll({ credentials: wrong })), AccessDeniedError);
  await stranger.appendToStream("tale-1", event(), { credentials: right });

  // A list of a stream.
  await admin.setStreamMetadata("tale-1", { acl: { readRoles: ["admin"], writeRoles: ["ops"] } });
  await assert.rejects(collect(ops.readStream("tale-1")), AccessDeniedError);
  await ops.appendToStream("tale-1", event());
  await admin.setStreamMetadata("tale-2", { acl: { writeRoles: ["admin"] } });
  await assert.rejects(ops.appendToStream("tale-2", event()), AccessDeniedError);
  await assert.rejects(ops.deleteStream("$users"), AccessDeniedError);
  const several = [{ streamName: "tale-2", expectedState: "any", events: [event()] }];
  await assert.rejects(ops.multiStreamAppend(several), AccessDeniedError);

  // Groups are kept by operators, and consumed by readers.
  await ops.createPersistentSubscriptionToStream("tale-1", "group", settings());
  const consumed = collect(ops.subscribeToPersistentSubscriptionToStream("tale-1", "group"));
  await assert.rejects(consumed, AccessDeniedError);
  console.log("told");
}

story().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
