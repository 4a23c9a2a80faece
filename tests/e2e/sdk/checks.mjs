// The official JavaScript client against a server of ours: node checks.mjs URL ENCODING CASE [ARGUMENT]
// Says nothing and ends with 0 when all holds; else it says what did not.
import assert from "node:assert/strict";
import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import WebSocket from "ws";

const [url, encoding, name, argument] = process.argv.slice(2);
const isProtobuf = encoding === "protobuf";
const DEADLINE = 60_000;
const encode = (value) => (isProtobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
const decode = (data) => (isProtobuf ? JSON.parse(new TextDecoder().decode(data)) : data);

const sockets = []; // all that were opened, oldest first
class Socket extends WebSocket {
  constructor(...args) {
    super(...args);
    sockets.push(this);
  }
}

function client(options = {}, path = "/realtime") {
  const all = { websocket: Socket, minReconnectDelay: 10, maxReconnectDelay: 50, ...options };
  return isProtobuf ? new ProtobufClient(url + path, all) : new JsonClient(url + path, all);
}
function subscribe(one, channel, options = {}) {
  const made = one.newSubscription(channel, { minResubscribeDelay: 10, maxResubscribeDelay: 50, ...options });
  made.subscribe();
  return made;
}
const next = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
async function connected(options, path) {
  const one = client(options, path);
  const context = next(one, "connected");
  one.connect();
  return [one, await context];
}
async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
async function code(promise) {
  try {
    await promise;
  } catch (error) {
    return error.code;
  }
  return 0;
}
function collect(subscription) {
  const got = [];
  subscription.on("publication", (context) => got.push({ data: decode(context.data), offset: context.offset }));
  return got;
}
function assertNumbers(got, count) {
  assert.deepEqual(got.map((one) => one.data[0]), Array.from({ length: count }, (_, index) => index + 1));
}

const CASES = {
  async connect() {
    const [one, context] = await connected({ token: "ann", data: encode({ a: 1 }) });
    assert.deepEqual(decode(context.data), { hello: "ann", sent: { a: 1 } });
    assert.ok(context.client);
    one.disconnect();
  },

  async "a token that is none"() {
    const one = client({ token: "bad" });
    const left = next(one, "disconnected");
    one.connect();
    assert.equal((await left).code, 3500);
    assert.equal(one.state, "disconnected");
    assert.equal(sockets.length, 1);
  },

  async "a token that has expired"() {
    let asked = 0;
    const one = client({
      token: "expired:ann",
      getToken: async () => {
        asked += 1;
        return "ann";
      },
    });
    const subscription = subscribe(one, `room.expired.${encoding}`);
    const subscribed = next(subscription, "subscribed");
    one.connect();
    await subscribed;
    assert.equal(asked, 1);
    assert.equal(sockets.length, 2);
    one.disconnect();
  },

  async "calls and messages"() {
    const [one] = await connected({ token: "ann" });
    for (const value of [null, 0, "text", [1, { a: 2.5 }], "ä\n"]) {
      assert.deepEqual(decode((await one.rpc("echo", encode(value))).data), value);
    }
    assert.equal(decode((await one.rpc("add", encode({ numbers: [1, 2, 3] }))).data), 6);
    assert.equal(await code(one.rpc("add", encode({ numbers: "x" }))), 107);
    assert.equal(await code(one.rpc("refuse", encode({}))), 444);
    assert.equal(await code(one.rpc("fail", encode({}))), 100);
    assert.equal(await code(one.rpc("what", encode({}))), 104);
    const message = next(one, "message");
    await one.send(encode({ hi: 1 }));
    assert.deepEqual(decode((await message).data), { "you said": { hi: 1 } });
    one.disconnect();
  },

  async "twenty commands in one frame"() {
    const [one] = await connected({ token: "ann" });
    one.startBatching();
    const answers = Array.from({ length: 20 }, (_, number) => one.rpc("echo", encode(number)));
    one.stopBatching();
    const got = (await Promise.all(answers)).map((answer) => decode(answer.data));
    assert.deepEqual(got, Array.from({ length: 20 }, (_, number) => number));
    one.disconnect();
  },

  async "who may do what"() {
    const [one] = await connected({ token: "ann" });
    const elsewhere = subscribe(one, "secret");
    assert.equal((await next(elsewhere, "unsubscribed")).code, 103);
    const bad = subscribe(one, "no such name!");
    assert.equal((await next(bad, "unsubscribed")).code, 102);
    assert.equal(await code(one.publish("news", encode("x"))), 103);
    assert.equal(await code(one.presence("news")), 103);
    assert.equal(await code(one.history("news", { limit: 1 })), 103);
    assert.equal(await code(one.publish("room.checked", encode("bad"))), 450);
    const checked = subscribe(one, "room.checked");
    await next(checked, "subscribed");
    const publication = next(checked, "publication");
    await checked.publish(encode("good"));
    assert.deepEqual(decode((await publication).data), { by: "ann", text: "good" });
    one.disconnect();
  },

  async presence() {
    const [one, context] = await connected({ token: "ann" });
    const [two] = await connected({ token: "ann" });
    const [three] = await connected({ token: "bob" });
    for (const each of [one, two, three]) await next(subscribe(each, `room.here.${encoding}`), "subscribed");
    const present = (await one.presence(`room.here.${encoding}`)).clients;
    assert.equal(Object.keys(present).length, 3);
    assert.equal(present[context.client].user, "ann");
    const stats = await one.presenceStats(`room.here.${encoding}`);
    assert.deepEqual([stats.numClients, stats.numUsers], [3, 2]);
    three.disconnect();
    while ((await one.presenceStats(`room.here.${encoding}`)).numUsers !== 1);
    one.disconnect();
    two.disconnect();
  },

  async history() {
    const [one] = await connected({ token: "ann" });
    for (let number = 1; number <= 5; number += 1) await one.publish(`room.history.${encoding}`, encode(number));
    const read = async (options) => {
      const found = await one.history(`room.history.${encoding}`, options);
      return [found.publications.map((one) => decode(one.data)), found.offset, found.epoch];
    };
    const [nothing, top, epoch] = await read({ limit: 0 });
    assert.deepEqual([nothing, top], [[], 5]);
    assert.ok(epoch);
    assert.deepEqual((await read({ limit: -1 }))[0], [1, 2, 3, 4, 5]);
    assert.deepEqual((await read({ limit: 2 }))[0], [1, 2]);
    assert.deepEqual((await read({ limit: 2, reverse: true }))[0], [5, 4]);
    assert.deepEqual((await read({ limit: 2, since: { offset: 2, epoch } }))[0], [3, 4]);
    assert.deepEqual((await read({ limit: 10, since: { offset: 4, epoch }, reverse: true }))[0], [3, 2, 1]);
    assert.equal(await code(one.history(`room.history.${encoding}`, { limit: 1, since: { offset: 1, epoch: "other" } })), 112);
    one.disconnect();
  },

  async "unsubscribed by the server"() {
    const [one] = await connected({ token: "ann" });
    const subscription = subscribe(one, `room.gone.${encoding}`);
    await next(subscription, "subscribed");
    const left = next(subscription, "unsubscribed");
    await one.rpc("drop", encode(`room.gone.${encoding}`));
    assert.equal((await left).code, 2000);
    assert.equal(subscription.state, "unsubscribed");
    one.disconnect();
  },

  async "subscriptions of the server"() {
    const one = client({ token: "ann", data: encode({ groups: [`room.server.${encoding}`] }) });
    const got = [];
    one.on("publication", (context) => got.push([context.channel, decode(context.data)]));
    let recovered;
    one.on("subscribed", (context) => (recovered = context.recovered));
    const first = next(one, "subscribed");
    one.connect();
    assert.deepEqual([(await first).channel, recovered], [`room.server.${encoding}`, false]);
    await one.publish(`room.server.${encoding}`, encode(1));
    await until(() => got.length === 1);
    const [other] = await connected({ token: "bob" });
    const again = next(one, "subscribed");
    lastSocketOf(one).terminate();
    await other.publish(`room.server.${encoding}`, encode(2));
    await again;
    await until(() => got.length === 2);
    assert.deepEqual(got, [[`room.server.${encoding}`, 1], [`room.server.${encoding}`, 2]]);
    await one.rpc("enter", encode(`room.later.${encoding}`));
    await other.publish(`room.later.${encoding}`, encode(3));
    await until(() => got.length === 3);
    const left = next(one, "unsubscribed");
    await one.rpc("drop", encode(`room.later.${encoding}`));
    assert.equal((await left).channel, `room.later.${encoding}`);
    one.disconnect();
    other.disconnect();
  },

  async "twenty cuts"() {
    const [one] = await connected({ token: "ann" });
    const [sender] = await connected({ token: "bob" });
    const subscription = subscribe(one, `room.cuts.${encoding}`);
    const got = collect(subscription);
    await next(subscription, "subscribed");
    const contexts = [];
    subscription.on("subscribed", (context) => contexts.push(context));
    await sender.rpc("flood", encode({ group: `room.cuts.${encoding}`, count: 3000, pause: 0.005 }));
    const mine = () => lastSocketOf(one);
    for (let cut = 1; cut <= 20; cut += 1) {
      const more = got.length + 40;
      await until(() => got.length >= more || got.length >= 3000);
      const before = contexts.length;
      mine().terminate();
      await until(() => contexts.length > before);
    }
    await until(() => got.length >= 3000);
    assertNumbers(got, 3000);
    assert.deepEqual(got.map((one) => one.offset), got.map((_, index) => got[0].offset + index));
    assert.ok(contexts.every((context) => context.wasRecovering && context.recovered));
    one.disconnect();
    sender.disconnect();
  },

  // A reader that stalls until the server throws it out, or tells it that messages are missing.
  async "a slow reader"() {
    const [one] = await connected({ token: "ann" }, argument);
    const [sender] = await connected({ token: "bob" });
    const subscription = subscribe(one, `room.slow${argument.slice(1)}${encoding}`);
    const got = collect(subscription);
    await next(subscription, "subscribed");
    let contexts = 0;
    subscription.on("subscribed", (context) => {
      assert.ok(context.recovered);
      contexts += 1;
    });
    const codes = [];
    one.on("connecting", (context) => codes.push(context.code));
    subscription.on("subscribing", (context) => codes.push(context.code));
    const stalled = lastSocketOf(one);
    stalled._socket.pause();
    await sender.rpc("flood", encode({ group: subscription.channel, count: 4000, size: 4000, pause: 0.001 }));
    while ((await sender.presenceStats(subscription.channel)).numClients > 0);
    stalled._socket.resume();
    await until(() => got.length >= 4000);
    assertNumbers(got, 4000);
    assert.ok(contexts >= 1);
    console.log(JSON.stringify(codes));
    one.disconnect();
    sender.disconnect();
  },

  // Says "ready"; then somebody kills the server, and starts another one.
  async "a server that is killed"() {
    const [one] = await connected({ token: "ann" });
    const subscription = subscribe(one, "room.killed");
    const got = collect(subscription);
    await next(subscription, "subscribed");
    for (let number = 1; number <= 3; number += 1) await one.publish("room.killed", encode([number]));
    await until(() => got.length === 3);
    const again = next(subscription, "subscribed");
    console.log("ready");
    const context = await again;
    assert.deepEqual([context.wasRecovering, context.recovered], [true, false]);
    await one.publish("room.killed", encode([4]));
    await until(() => got.length === 4);
    assertNumbers(got, 4);
    one.disconnect();
  },

  async "close codes"() {
    for (const [code, comesBack] of [[3000, true], [3001, true], [3499, true], [4000, true], [3500, false], [3999, false], [4500, false]]) {
      const [one] = await connected({ token: "ann" });
      const after = Promise.race([next(one, "connecting"), next(one, "disconnected")]);
      one.rpc("end", encode({ code, reason: "42" })).catch(() => {});
      const context = await after;
      assert.equal(context.code, code);
      assert.equal(one.state, comesBack ? "connecting" : "disconnected");
      one.disconnect();
    }
  },

  async pings() {
    const [one] = await connected({ token: "ann" }, "/quick");
    let ends = 0;
    one.on("connecting", () => (ends += 1));
    await new Promise((resolve) => setTimeout(resolve, 3500));
    assert.equal(ends, 0);
    const muted = lastSocketOf(one);
    muted.send = () => {};
    assert.equal((await next(one, "connecting")).code, 3012);
    await next(one, "connected");
    one.disconnect();
  },
};

function lastSocketOf(one) {
  return one._transport._transport;
}

const timer = setTimeout(() => {
  console.error(`${name}: not over after ${DEADLINE} ms`);
  process.exit(1);
}, DEADLINE);
try {
  await CASES[name]();
} catch (error) {
  console.error(error);
  process.exit(1);
}
clearTimeout(timer);
