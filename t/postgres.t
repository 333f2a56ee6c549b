#!/usr/bin/env node
// PostgreSQL goes away and comes back: 503 meanwhile, nothing acknowledged that is not stored, and everything goes on by itself (rule 2).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ privatePostgres: true, allowed: [/terminating connection|server closed the connection|database/] });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };

async function started() {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await device.stored();
  return { device, session };
}

/** Syncs until a message is there; 503 is tried again, as its Retry-After says one may. */
async function read(session, count = 1, limit = 60_000) {
  const got = [];
  await until(async () => {
    const answer = await session.ask({}, { timeout: 500 });
    assert.ok([200, 503].includes(answer.status), `${answer.status}: ${answer.body}`);
    if (answer.status === 200) {
      session.next = answer.json.next;
      got.push(...bodies(answer.json));
    }
    return got.length >= count;
  }, `${count} messages`, limit);
  return got;
}
const acknowledged = (device) => device.polls.some((poll) => poll.query.since === device.batch(device.answers.length));

test('connections are killed: nothing is lost, and soon all is well', async () => {
  const { device, session } = await started();
  for (let i = 0; i < 5; i++) {
    device.toDevice(matrix.toDevice(`${i}`));
    s.postgres.killConnections();
    assert.deepEqual(await read(session), [`${i}`]);
  }
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});

test('connections are killed while a request waits: a newer one of its session ends its wait, and so does the end of the session', async () => {
  for (const ends of ['a newer request', 'the end']) {
    const { device, session } = await started();
    const wait = session.ask('', { timeout: 50_000 });
    await s.waiting(1);
    // Nobody hears of it now.
    if (ends === 'the end') s.postgres.query(`DELETE FROM matrix_sync.session WHERE device = (SELECT id FROM matrix_sync.device WHERE user_id = '${device.user_id}')`);
    s.postgres.killConnections();
    await until(async () => (await s.session(device).ask(asks)).status === 200, 'the worker is back', 20_000);
    if (ends === 'a newer request') assert.equal((await session.ask('')).status, 200);
    await s.waiting(0);
    await wait;
  }
});

test('stopped: 503 with Retry-After; nothing is acknowledged; back again: each message once', async () => {
  const { device, session } = await started();
  await s.postgres.stop();
  const polls = device.polls.length;
  device.toDevice(matrix.toDevice('1'));
  const answer = await until(async () => {
    const got = await s.session(s.homeserver.device()).ask(asks);
    return got.status !== 200 && got;
  });
  assert.equal(answer.status, 503);
  assert.equal(answer.json.errcode, 'M_UNKNOWN');
  assert.ok(Number(answer.headers['retry-after']) > 0);
  assert.equal(answer.headers['access-control-allow-origin'], '*');
  await session.ask({}, { timeout: 1500 });
  assert.ok(!acknowledged(device));
  assert.ok(device.polls.length - polls <= 8, `${device.polls.length - polls} polls meanwhile`);
  await s.postgres.restart();
  assert.deepEqual(await read(session), ['1']);
  assert.deepEqual(bodies(await session.sync()), []);
});

test('waiting clients are answered or go on waiting, and none is forgotten', async () => {
  const { device, session } = await started();
  const wait = session.ask({}, { timeout: 8000 });
  await s.waiting(1);
  await s.postgres.stop();
  await s.postgres.restart();
  device.toDevice(matrix.toDevice('1'));
  const answer = await wait;
  assert.ok([200, 503].includes(answer.status));
  const early = answer.status === 200 ? bodies(answer.json) : [];
  if (answer.status === 200) session.next = answer.json.next;
  assert.deepEqual(early.length ? early : await read(session), ['1']);
});

test('rule 2: a crash loses nothing of what was acknowledged', async () => {
  const { device, session } = await started();
  const got = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 10; i++) device.toDevice(matrix.toDevice(`${round}.${i}`));
    await until(() => device.polls.some((poll) => poll.query.since === device.batch(round * 10 + 3)), 'some are acknowledged', 30_000);
    await s.postgres.stop('SIGQUIT');
    await s.postgres.restart();
    got.push(...(await read(session, 10)));
  }
  assert.deepEqual(got, Array.from({ length: 30 }, (_, i) => `${Math.floor(i / 10)}.${i % 10}`));
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});

test('a crash loses the pages that clients turn, and no page of before is taken for one of now', async () => {
  const device = s.homeserver.device();
  const rooms = [matrix.roomId(), matrix.roomId(), matrix.roomId()];
  const part = () => ({ state: { events: [matrix.create()] }, timeline: { events: [matrix.message('hello')], limited: false, prev_batch: 'a' } });
  device.initial = matrix.join(Object.fromEntries(rooms.map((room) => [room, part()])));
  const session = s.session(device);
  await session.sync();
  await device.stored();
  const page = (since) => session.ask({ room_list: { p: { limit: 1, since } } });
  const nextOf = async () => (await page('1')).json.room_list.p.next;
  const before = await nextOf();
  assert.equal((await page(before)).status, 200);
  await s.postgres.stop('SIGQUIT');
  await s.postgres.restart();
  const now = await until(async () => (await page('1')).status === 200 && nextOf());
  const gone = await page(before);
  assert.deepEqual([gone.status, gone.json.errcode], [400, 'M_INVALID_PARAM']);
  assert.equal((await page(now)).status, 200);
});

test('nginx starts without PostgreSQL, and works when it is there', async () => {
  const { session, device } = await started();
  await s.postgres.stop();
  await s.nginx.reload();
  assert.equal((await s.session(s.homeserver.device()).ask(asks)).status, 503);
  await s.postgres.restart();
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(await read(session), ['1']);
});
