// What the official Node client consumes of what others posted; the address is the argument.
"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");
const {
  KurrentDBClient,
  START,
  jsonEvent,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  streamNameFilter,
} = require("@kurrent/kurrentdb-client");

const client = KurrentDBClient.connectionString(`kurrentdb://${process.argv[2]}?tls=false`);
const event = (type) => jsonEvent({ type, data: { n: 1 } });

// Posts data that is no JSON, which is said to be, and goes where it is sent on to.
function post(url, type, data) {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "ES-EventType": type };
    const request = http.request(url, { method: "POST", headers }, (answer) => {
      answer.resume();
      if (answer.statusCode === 307) resolve(post(answer.headers.location, type, data));
      else resolve(answer.statusCode);
    });
    request.on("error", reject);
    request.end(data);
  });
}

async function consume(subscription) {
  const seen = [];
  for await (const resolved of subscription) {
    await subscription.ack(resolved);
    seen.push(resolved.event);
    if (resolved.event.type === "Last") break;
  }
  return seen;
}

async function story() {
  const fromStart = { startFrom: START };
  const ofStream = persistentSubscriptionToStreamSettingsFromDefaults(fromStart);
  await client.createPersistentSubscriptionToStream("posted", "group", ofStream);
  const ofAll = persistentSubscriptionToAllSettingsFromDefaults(fromStart);
  const filter = { filter: streamNameFilter({ prefixes: ["posted"] }) };
  await client.createPersistentSubscriptionToAll("group", ofAll, filter);
  await client.appendToStream("posted", [event("First"), event("Second")]);
  assert.equal(await post(`http://${process.argv[2]}/streams/posted`, "Odd", "****"), 201);
  await client.appendToStream("posted", [event("Last")]);
  for (const subscription of [
    client.subscribeToPersistentSubscriptionToStream("posted", "group"),
    client.subscribeToPersistentSubscriptionToAll("group"),
  ]) {
    const seen = await consume(subscription);
    assert.deepEqual(seen.map((it) => it.type), ["First", "Second", "Odd", "Last"]);
    assert.equal(seen[2].data, "****");
  }
}

story()
  .then(() => client.dispose())
  .then(() => console.log("told"))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
