#!/usr/bin/env node
// Sessions end: unused for matrix_sync_session_expiry, or pushed out by newer ones; and what only they held back goes.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_session_expiry 3s; matrix_sync_sessions_per_device 3;' });
const asks = { to_device: {} };
const rows = (table, device) => s.postgres.value(`SELECT count(*) FROM matrix_sync.${table} t JOIN matrix_sync.device d ON d.id = t.device
  WHERE d.user_id = '${device.user_id}' AND d.device_id = '${device.device_id}'`);
const gone = async (session) => {
  const answer = await session.ask();
  return answer.status === 400 && answer.json.errcode === 'M_UNKNOWN_SYNC_SESSION';
};

test('rule 23: a session that expires holds nothing back any more; one that is used lives', async () => {
  const device = s.homeserver.device();
  const [used, forgotten] = [s.session(device), s.session(device)];
  await used.sync(asks);
  await forgotten.sync(asks);
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  assert.equal((await used.sync()).to_device.events.length, 1);
  await used.sync();
  assert.equal(rows('to_device', device), 1);
  await until(async () => { await used.sync(); return rows('to_device', device) === 0; }, 'the message goes with the session', 40_000);
  assert.ok(await gone(forgotten));
  await used.sync();
});

test('a waiting session is in use', async () => {
  const session = s.session(s.homeserver.device());
  await session.sync(asks);
  for (let i = 0; i < 2; i++) await session.sync({}, { timeout: 4500 });
  await session.sync();
});

test('rule 31: expired is said as everything unknown is, and a new session begins anew', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await until(() => rows('session', device) === 0, 'the session is swept', 40_000);
  const answer = await session.ask();
  assert.deepEqual([answer.status, answer.json], [400, { errcode: 'M_UNKNOWN_SYNC_SESSION', error: 'Session unknown or expired' }]);
  session.next = undefined;
  await session.sync(asks);
});

test('too many sessions: the longest unused one is dropped', async () => {
  const device = s.homeserver.device();
  const sessions = Array.from({ length: 3 }, () => s.session(device));
  for (const session of sessions) await session.sync(asks);
  await sessions[0].sync();
  const fourth = s.session(device);
  await fourth.sync(asks);
  assert.equal(rows('session', device), 3);
  const left = [];
  for (const session of [...sessions, fourth]) left.push(!(await gone(session)));
  assert.equal(left.filter(Boolean).length, 3);
  assert.ok(left[3], 'the new one stays');
});

test('a dropped session holds nothing back', async () => {
  const device = s.homeserver.device();
  const forgotten = s.session(device);
  await forgotten.sync(asks);
  const sessions = Array.from({ length: 3 }, () => s.session(device));
  for (const session of sessions) await session.sync(asks);
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  for (const session of sessions) for (let i = 0; i < 2; i++) await session.sync();
  await until(() => rows('to_device', device) === 0, 'the message is gone', 20_000);
});

test('the messages of a device whose sessions are all gone wait for the next session', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  await until(() => rows('session', device) === 0, 'the session is swept', 40_000);
  const json = await s.session(device).sync(asks);
  assert.equal(json.to_device.events.length, 1);
});
