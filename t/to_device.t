#!/usr/bin/env node
// The to-device stream (rule 23): each message to every session that asks, again and again until it has said that it has it; deleted when all have.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const rows = (device) => s.postgres.value(`SELECT count(*) FROM matrix_sync.to_device t JOIN matrix_sync.device d ON d.id = t.device
  WHERE d.user_id = '${device.user_id}' AND d.device_id = '${device.device_id}'`);

async function sessionsOf(device, count, body = asks) {
  const sessions = Array.from({ length: count }, () => s.session(device));
  for (const session of sessions) await session.sync(body);
  return sessions;
}
async function send(device, ...texts) {
  device.toDevice(...texts.map(matrix.toDevice));
  await device.stored();
}

test('messages come oldest first', async () => {
  const device = s.homeserver.device();
  device.initial = { to_device: { events: ['1', '2'].map(matrix.toDevice) } };
  const session = s.session(device);
  const first = await session.sync(asks);
  assert.deepEqual(bodies(first), ['1', '2']);
  assert.equal(first.to_device.limit, 100);
  await send(device, '3', '4');
  await send(device, '5');
  assert.deepEqual(bodies(await session.sync()), ['3', '4', '5']);
  assert.deepEqual(bodies(await session.sync()), []);
});

test('byte for byte', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1);
  const text = '{ "type":"m.test",\t"sender" : "@\\u0061:hs.test", "content":{"z":1.50,"a":[1e3, -0,12345678901234567890],"\u00e9\u{1f600}":"\\ud83d\\ude00\\/ \\u0000 \\ud800","d":1,"d":2}}';
  device.push((next) => `{"to_device":{"events":[ ${text} ]},"next_batch":"${next}"}`);
  await device.stored();
  const answer = await session.ask();
  assert.ok(answer.body.includes(Buffer.from(text)), String(answer.body));
});

test('again and again until the session comes back with the token that followed', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1);
  await send(device, '1');
  let answer;
  for (let i = 0; i < 3; i++) {
    answer = await session.ask();
    assert.deepEqual(bodies(answer.json), ['1']);
    assert.equal(rows(device), 1);
  }
  session.next = answer.json.next;
  assert.deepEqual(bodies(await session.sync()), []);
  await until(() => rows(device) === 0, 'the row is gone');
});

test('two sessions: both get it, and it goes after the second has acknowledged', async () => {
  const device = s.homeserver.device();
  const [a, b] = await sessionsOf(device, 2);
  await send(device, '1', '2');
  assert.deepEqual(bodies(await a.sync()), ['1', '2']);
  await a.sync();
  await a.sync();
  assert.equal(rows(device), 2);
  assert.deepEqual(bodies(await b.sync()), ['1', '2']);
  assert.equal(rows(device), 2);
  await b.sync();
  await until(() => rows(device) === 0, 'the rows are gone');
});

test('the limit: what is left comes with the next request, at once, and only what was given is acknowledged', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1, { to_device: { limit: 2 } });
  await send(device, '1', '2', '3', '4', '5');
  const first = await session.sync({}, { timeout: 10_000 });
  assert.deepEqual([bodies(first), first.to_device.limit], [['1', '2'], 2]);
  const second = await session.ask({}, { timeout: 10_000 });
  assert.deepEqual(bodies(second.json), ['3', '4']);
  assert.ok(second.took < 2000);
  await until(() => rows(device) === 3, 'two are gone');
  session.next = second.json.next;
  assert.deepEqual(bodies(await session.sync()), ['5']);
});

test('a limit too large is lowered, and said so', async () => {
  const device = s.homeserver.device();
  device.initial = { to_device: { events: Array.from({ length: 1200 }, (_, i) => matrix.toDevice(`${i}`)) } };
  const json = await s.session(device).sync({ to_device: { limit: 5000 } });
  assert.equal(json.to_device.limit, 1000);
  assert.equal(json.to_device.events.length, 1000);
  assert.equal((await s.session(device).sync(asks)).to_device.events.length, 100);
});

test('a session that starts asking gets everything still kept', async () => {
  const device = s.homeserver.device();
  const [a, late] = [s.session(device), s.session(device)];
  await a.sync(asks);
  await late.sync({ account_data: {} });
  await send(device, '1');
  await a.sync();
  assert.deepEqual(bodies(await late.sync(asks)), ['1']);
  await a.sync();
  assert.equal(rows(device), 1);
  assert.deepEqual(bodies(await s.session(device).sync(asks)), ['1'], 'a third one, and a new session');
});

test('kept though nobody asks yet', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1, {});
  await send(device, '1');
  await session.sync();
  assert.deepEqual(bodies(await session.sync(asks)), ['1']);
});

test('a session that never asks holds nothing back', async () => {
  const device = s.homeserver.device();
  const [a] = await sessionsOf(device, 1);
  await sessionsOf(device, 1, { account_data: {} });
  await send(device, '1');
  await a.sync();
  await a.sync();
  await until(() => rows(device) === 0, 'the row is gone');
});

test('a session that drops the stream stops holding back', async () => {
  const device = s.homeserver.device();
  const [a, b] = await sessionsOf(device, 2);
  await send(device, '1');
  await a.sync();
  await a.sync();
  assert.equal(rows(device), 1);
  await b.sync({ to_device: null });
  await b.sync();
  await until(() => rows(device) === 0, 'the row is gone');
});

test('what no session has acknowledged stays, even when the only one that asks drops the stream', async () => {
  const device = s.homeserver.device();
  const [a] = await sessionsOf(device, 1);
  await send(device, '1');
  await a.ask({ to_device: null });
  assert.deepEqual(bodies(await s.session(device).sync(asks)), ['1']);
});

test('what came after the acknowledged token is kept', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1);
  await send(device, '1');
  await session.sync();
  await send(device, '2');
  assert.deepEqual(bodies(await session.sync()), ['2']);
  await until(() => rows(device) === 1, 'the first is gone');
});

test('rule 2: each message once, though the homeserver repeats it until since has advanced', async () => {
  const device = s.homeserver.device();
  const [session] = await sessionsOf(device, 1);
  device.toDevice(...['1', '2'].map(matrix.toDevice));
  device.failPolls({ cut: 60 }, 2);
  device.toDevice(matrix.toDevice('3'));
  await device.stored();
  assert.deepEqual(bodies(await session.sync()), ['1', '2', '3']);
});

test('two devices of a user do not share messages', async () => {
  const device = s.homeserver.device();
  const sibling = s.homeserver.device(device.user_id);
  const [[a], [b]] = [await sessionsOf(device, 1), await sessionsOf(sibling, 1)];
  await send(device, '1');
  assert.deepEqual(bodies(await b.sync({}, { timeout: 200 })), []);
  assert.deepEqual(bodies(await a.sync()), ['1']);
});

test('many messages through many sessions: each once and in order', async () => {
  const device = s.homeserver.device();
  const sessions = await sessionsOf(device, 4);
  const all = Array.from({ length: 300 }, (_, i) => `${i}`);
  const read = sessions.map(async (session) => {
    const got = [];
    while (got.length < all.length) got.push(...bodies(await session.sync({}, { timeout: 5000 })));
    return got;
  });
  for (let i = 0; i < all.length; i += 3) device.toDevice(...all.slice(i, i + 3).map(matrix.toDevice));
  for (const got of await Promise.all(read)) assert.deepEqual(got, all);
  for (const session of sessions) await session.sync();
  await until(() => rows(device) === 0, 'all rows are gone');
});
