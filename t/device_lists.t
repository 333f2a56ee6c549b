#!/usr/bin/env node
// The e2ee stream: device lists (rule 24) and key counts (rule 25).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');

const s = stage();
const asks = { e2ee: {} };
const [alice, bob] = ['@alice:hs.test', '@bob:hs.test'];
const lists = (changed, left) => ({ device_lists: { ...(changed && { changed }), ...(left && { left }) } });
const counts = 'device_one_time_keys_count';
const fallback = 'device_unused_fallback_key_types';
const rows = (device) => s.postgres.value(`SELECT count(*) FROM matrix_sync.device_list t JOIN matrix_sync.device d ON d.id = t.device
  WHERE d.user_id = '${device.user_id}' AND d.device_id = '${device.device_id}'`);

async function started(initial = {}) {
  const device = s.homeserver.device();
  device.initial = initial;
  const session = s.session(device);
  const first = await session.sync(asks);
  return { device, session, first };
}
async function push(device, answer) {
  device.push(answer);
  await device.stored();
}
const read = (json) => {
  const { changed, left } = json.e2ee?.device_lists || { changed: [], left: [] };
  assert.ok(Array.isArray(changed) && Array.isArray(left), 'never null');
  return { changed: [...changed].sort(), left: [...left].sort() };
};
const unchanged = (json) => assert.equal(json.e2ee, undefined);

test('rule 24: changed and left, repeated until acknowledged', async () => {
  const { device, session } = await started();
  await push(device, lists([alice], [bob]));
  for (let i = 0; i < 2; i++) assert.deepEqual(read((await session.ask()).json), { changed: [alice], left: [bob] });
  await session.sync();
  unchanged(await session.sync());
  await until(() => rows(device) === 0, 'the rows are gone');
});

test('rule 24: only one of the two, null, or none', async () => {
  const { device, session } = await started();
  await push(device, lists([alice], null));
  assert.deepEqual(read(await session.sync()), { changed: [alice], left: [] });
  await push(device, { device_lists: { changed: null, left: [alice] } });
  assert.deepEqual(read(await session.sync()), { changed: [], left: [alice] });
  await push(device, { device_lists: { changed: [], left: [] } });
  unchanged(await session.sync());
});

test('rule 24: latest wins per user', async () => {
  const { device, session } = await started();
  await push(device, lists([alice, bob]));
  await push(device, lists(null, [alice]));
  assert.deepEqual(read((await session.ask()).json), { changed: [bob], left: [alice] });
  await push(device, lists([alice]));
  assert.deepEqual(read((await session.ask()).json), { changed: [alice, bob], left: [] });
});

test('rule 24: what changes again after it was acknowledged is said again', async () => {
  const { device, session } = await started();
  await push(device, lists([alice]));
  await session.sync();
  await push(device, lists([alice]));
  assert.deepEqual(read(await session.sync()), { changed: [alice], left: [] });
});

test('two sessions: each is told, and it is kept until both have said so', async () => {
  const { device, session } = await started();
  const other = s.session(device);
  await other.sync(asks);
  await push(device, lists([alice]));
  await session.sync();
  await session.sync();
  assert.equal(rows(device), 1);
  assert.deepEqual(read(await other.sync()), { changed: [alice], left: [] });
  await other.sync();
  await until(() => rows(device) === 0, 'the row is gone');
});

test('a session that starts asking gets what is kept', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync();
  await push(device, lists([alice]));
  assert.deepEqual(read(await session.sync(asks)), { changed: [alice], left: [] });
});

test('device lists end a wait', async () => {
  const { device, session } = await started();
  const wait = session.ask({}, { timeout: 15_000 });
  await s.waiting(1);
  device.push(lists([alice]));
  const answer = await wait;
  assert.deepEqual(read(answer.json), { changed: [alice], left: [] });
  assert.ok(answer.took < 10_000);
});

test('rule 25: counts on a new session, as they came', async () => {
  const { device, first } = await started({ [counts]: { signed_curve25519: 50, x: 0 }, [fallback]: ['signed_curve25519'] });
  assert.deepEqual(first.e2ee[counts], { signed_curve25519: 50, x: 0 });
  assert.deepEqual(first.e2ee[fallback], ['signed_curve25519']);
  assert.deepEqual((await s.session(device).sync(asks)).e2ee[counts], { signed_curve25519: 50, x: 0 });
});

test('rule 25: absent stays absent, empty stays empty, zero stays zero', async () => {
  const none = await started();
  assert.equal(none.first.e2ee?.[counts], undefined);
  assert.equal(none.first.e2ee?.[fallback], undefined);
  const empty = await started({ [counts]: {}, [fallback]: [] });
  assert.deepEqual(empty.first.e2ee[counts], {});
  assert.deepEqual(empty.first.e2ee[fallback], []);
  const zero = await started({ [counts]: { signed_curve25519: 0 } });
  assert.deepEqual(zero.first.e2ee[counts], { signed_curve25519: 0 });
  assert.equal(zero.first.e2ee[fallback], undefined);
});

test('rule 25: said when they changed, and not again when they did not', async () => {
  const { device, session } = await started({ [counts]: { signed_curve25519: 50 } });
  unchanged(await session.sync());
  await push(device, { [counts]: { signed_curve25519: 49 } });
  assert.deepEqual((await session.sync()).e2ee[counts], { signed_curve25519: 49 });
  await push(device, { [counts]: { signed_curve25519: 49 } });
  unchanged(await session.sync());
  await push(device, {});
  unchanged(await session.sync());
});

test('rule 25: counts end no wait, and are in the answer that ends it: the time-out', async () => {
  const { device, session } = await started({ [counts]: { signed_curve25519: 50 } });
  const wait = session.ask({}, { timeout: 1500 });
  await s.waiting(1);
  device.push({ [counts]: { signed_curve25519: 20 }, [fallback]: [] });
  await device.stored();
  const answer = await wait;
  assert.ok(answer.took >= 1490, `${answer.took} ms`);
  assert.deepEqual(answer.json.e2ee[counts], { signed_curve25519: 20 });
  assert.deepEqual(answer.json.e2ee[fallback], []);
});

test('rule 25: counts are in the answer that other news end', async () => {
  const { device, session } = await started({ [counts]: { signed_curve25519: 50 } });
  const wait = session.ask({}, { timeout: 15_000 });
  await s.waiting(1);
  device.push({ [counts]: { signed_curve25519: 10 } });
  device.push(lists([alice]));
  const answer = await wait;
  assert.deepEqual(answer.json.e2ee[counts], { signed_curve25519: 10 }, String(answer.body));
  assert.deepEqual(read(answer.json).changed, [alice]);
});

test('a lost answer with counts is given again', async () => {
  const { device, session } = await started({ [counts]: { signed_curve25519: 50 } });
  await push(device, { [counts]: { signed_curve25519: 1 } });
  for (let i = 0; i < 2; i++) assert.deepEqual((await session.ask()).json.e2ee[counts], { signed_curve25519: 1 });
});
