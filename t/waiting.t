#!/usr/bin/env node
// Long-polling: what ends a wait and what does not.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { path } = require('./lib/client');
const matrix = require('./lib/matrix');

const s = stage({
  privatePostgres: true,
  directives: 'matrix_sync_max_timeout 20s;',
  serverDirectives: (self) => `location = /short { matrix_sync ${self.url}; matrix_sync_max_timeout 700ms; }`,
});

function inRooms(...names) {
  const device = s.homeserver.device();
  const rooms = Object.fromEntries(names.map((name) => [name, matrix.roomId()]));
  device.initial = matrix.join(Object.fromEntries(Object.values(rooms).map((room) => [room, matrix.room(device.user_id)])));
  return { device, rooms, session: s.session(device) };
}
const long = { timeout: 15_000 };

test('no timeout: an answer at once', async () => {
  const { session } = inRooms();
  await session.sync({ to_device: {} });
  const answer = await session.ask();
  assert.deepEqual(Object.keys(answer.json), ['next']);
  assert.ok(answer.took < 1000, `${answer.took} ms`);
});

test('nothing within the timeout: next alone, and not before', async () => {
  const { session } = inRooms();
  await session.sync({ to_device: {}, e2ee: {}, account_data: {} });
  await session.sync();
  const answer = await session.ask({}, { timeout: 600 });
  assert.equal(answer.status, 200);
  assert.deepEqual(Object.keys(answer.json), ['next']);
  assert.ok(answer.took >= 590 && answer.took < 5000, `${answer.took} ms`);
});

test('the timeout is capped by matrix_sync_max_timeout', async () => {
  const device = s.homeserver.device();
  const session = s.session(device, { at: '/short' });
  await session.sync({ to_device: {} });
  for (const timeout of [60_000, '99999999999999999999']) {
    const answer = await session.ask({}, { timeout });
    assert.equal(answer.status, 200);
    assert.ok(answer.took >= 690 && answer.took < 5000, `${answer.took} ms`);
  }
});

test('news ends the wait', async () => {
  const { device, session } = inRooms();
  await session.sync({ to_device: {} });
  const wait = session.ask({}, long);
  await s.waiting(1);
  const pushed = Date.now();
  device.toDevice(matrix.toDevice('x'));
  const answer = await wait;
  assert.equal(answer.json.to_device.events.length, 1);
  assert.ok(Date.now() - pushed < 2000);
});

test('several wait, and each is woken', async () => {
  const { device } = inRooms();
  const sessions = Array.from({ length: 16 }, () => s.session(device));
  for (const session of sessions) await session.sync({ account_data: {} });
  const waits = sessions.map((session) => session.ask({}, long));
  await s.waiting(16);
  device.push({ account_data: { events: [{ type: 'a.b', content: {} }] } });
  for (const wait of waits) assert.equal((await wait).json.account_data.events.length, 1);
});

test('what the session would not see does not end its wait', async () => {
  const { device, rooms, session } = inRooms('here', 'there');
  await session.sync({ typing: { room_id: rooms.here } });
  const wait = session.ask({}, { timeout: 1500 });
  await s.waiting(1);
  device.push(matrix.typing(rooms.there, '@a:hs.test'));
  device.push(matrix.join({ [rooms.here]: matrix.more(matrix.message('x')) }));
  device.toDevice(matrix.toDevice('x'));
  device.push({ account_data: { events: [{ type: 'a.b', content: {} }] }, device_lists: { changed: ['@a:hs.test'], left: [] } });
  device.push({ device_one_time_keys_count: { signed_curve25519: 3 } });
  await device.stored();
  const answer = await wait;
  assert.ok(answer.took >= 1490, `${answer.took} ms`);
  assert.deepEqual(Object.keys(answer.json), ['next']);
});

test('rule 27: a second request ends the older one\'s wait as if its time were up', async () => {
  const { device, session } = inRooms();
  await session.sync({ to_device: {} });
  const older = session.ask({}, long);
  await s.waiting(1);
  const younger = session.ask({}, long);
  const first = await older;
  assert.equal(first.status, 200);
  assert.deepEqual(Object.keys(first.json), ['next']);
  assert.ok(first.took < 5000);
  device.toDevice(matrix.toDevice('x'));
  assert.equal((await younger).json.to_device.events.length, 1);
  assert.equal((await session.ask({}, { since: first.json.next })).json.to_device.events.length, 1);
});

test('rule 27: a hang-up is noticed, and nothing is lost by it', async () => {
  const { device, session } = inRooms();
  await session.sync({ to_device: {} });
  const hangUp = new AbortController();
  const wait = session.ask({}, { ...long, signal: hangUp.signal });
  await s.waiting(1);
  hangUp.abort();
  await assert.rejects(wait);
  await s.waiting(0);
  device.toDevice(matrix.toDevice('x'));
  await device.stored();
  assert.equal((await session.sync()).to_device.events.length, 1);
});

test('a hang-up during the first poll does not end the poll', async () => {
  const { device } = inRooms();
  let release;
  device.failPolls({ hold: new Promise((go) => { release = go; }) });
  const hangUp = new AbortController();
  const wait = s.session(device).ask({ to_device: {} }, { signal: hangUp.signal });
  await until(() => device.polls.length === 1);
  hangUp.abort();
  await assert.rejects(wait);
  const session = s.session(device);
  const next = session.sync({ to_device: {} });
  release();
  await next;
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});

test('requests of one connection are answered in order (pipelining)', async () => {
  const net = require('node:net');
  const { session, device } = inRooms();
  await session.sync({ to_device: {} });
  const one = (timeout) => `POST ${path}?since=${encodeURIComponent(session.next)}&timeout=${timeout} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${device.token}\r\nContent-Length: 2\r\n\r\n{}`;
  const socket = net.connect(s.port, '127.0.0.1');
  let got = '';
  socket.on('data', (part) => { got += part; });
  socket.write(one(300) + one(0) + one(100));
  await until(() => got.split('"next"').length === 4, 'three answers');
  assert.equal(got.match(/HTTP\/1\.1 200/g).length, 3);
  socket.destroy();
});

test('a request that brings no news makes no query', async () => {
  const { rooms, session } = inRooms('here');
  s.postgres.query(`ALTER DATABASE ${s.postgres.database} SET log_statement = 'all'`);
  await s.nginx.replaceWorkers();
  const body = { typing: { room_id: rooms.here }, to_device: {}, e2ee: {}, account_data: {} };
  await session.sync(body);
  await session.sync();
  await session.sync({}, { timeout: 50 });
  const queries = () => s.postgres.logText().split(' LOG: ').filter((line) => /^ +(execute|statement)/.test(line));
  const before = queries().length;
  assert.ok(before > 0, 'queries are logged');
  for (let i = 0; i < 100; i++) assert.deepEqual(Object.keys(await session.sync({}, { timeout: i % 10 === 0 ? 20 : 0 })), ['next']);
  for (let i = 0; i < 20; i++) assert.deepEqual(Object.keys(await session.sync(body)), ['next']);
  // The worker's own row is renewed meanwhile.
  assert.deepEqual(queries().slice(before).filter((line) => !line.includes('worker_renew')), []);
});
