#!/usr/bin/env node
// What the error log says when all devices are in trouble at once: enough to act on, and not a line for each.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');

const devices = 40;
const s = stage({ directives: 'matrix_sync_poll_timeout 2s;' });
const lines = (pattern) => s.nginx.log().split('\n').filter((line) => pattern.test(line));

test('the homeserver goes away and comes back', async () => {
  const sessions = Array.from({ length: devices }, () => s.session(s.homeserver.device()));
  await Promise.all(sessions.map((session) => session.sync({ to_device: {} })));
  await until(async () => (await s.figure('polls_in_flight')) >= devices, 'all are polled', 20_000);
  await s.homeserver.refuse();
  await until(async () => (await s.figure('polls_failing')) >= devices, 'all fail', 20_000);
  await until(async () => (await s.figure('unreachable')) >= 2 * devices, 'all fail once more', 20_000);

  assert.ok(lines(/\[info\].*poll failed/).length >= 2 * devices, 'at level info each failure is there');
  const [warned, ...more] = lines(/\[warn\].*matrix_sync:/);
  assert.match(warned, /device @u\S+ DEV\d+: poll failed, no good answer for \d+ s: .*; again in \d+ ms; devices of this worker that fail now: 1\b/);
  assert.deepEqual(more, []);
  assert.ok(lines(/\[error\]/).length <= 10, 'nginx says why, but not for each');
  assert.ok(lines(/\[error\].*while (reading response header from|connecting to) upstream/).length > 0);

  await s.homeserver.open();
  await until(async () => (await s.figure('polls_failing')) === 0, 'none fails any more', 30_000);
  assert.equal(lines(/\[notice\].*no device of this worker fails any more, after \d+ s/).length, 1);
  assert.ok(lines(/\[info\].*is polled again/).length >= devices);
});

test('what clients call their devices begins no line of its own', async () => {
  const device = s.homeserver.device('@forger:hs.test', 'D\n2025/01/01 00:00:00 [info] 1#1: forged');
  const session = s.session(device);
  await session.sync({ to_device: {} });
  device.failPolls({ status: 500, body: '{}' });
  await until(() => lines(/forged: poll failed/).length > 0, 'a line about it', 20_000);
  assert.deepEqual(lines(/^2025/), []);
});

test('statements that are refused: one line for all requests', async () => {
  const sessions = Array.from({ length: 10 }, () => s.session(s.homeserver.device()));
  await Promise.all(sessions.map((session) => session.sync({ to_device: {} })));
  s.postgres.query('ALTER TABLE matrix_sync.filter RENAME TO lost_filter');
  for (const session of sessions) assert.equal((await session.ask({ typing: { room_id: '!a:b' } })).status, 503);
  s.postgres.query('ALTER TABLE matrix_sync.lost_filter RENAME TO filter');
  const said = lines(/a request is answered with 503, PostgreSQL refuses a statement \(SQLSTATE 42P01\)/);
  assert.equal(said.length, 1);
  for (const session of sessions) await session.sync({ typing: { room_id: '!a:b' } });
});
