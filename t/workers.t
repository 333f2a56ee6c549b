#!/usr/bin/env node
// Several workers: sessions of one device on both, one killed while messages flow, and reloads under waiting clients.
'use strict';

const http = require('node:http');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, directives: 'matrix_sync_max_timeout 60s;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const initialPolls = (device) => device.polls.filter((poll) => poll.query.since === undefined).length;

/** Two sessions of a device on each worker. */
async function onBoth(device) {
  const sessions = [];
  for (const pid of s.nginx.workerPids()) for (let i = 0; i < 2; i++) sessions.push(await s.sessionOn(pid, device));
  for (const session of sessions) await session.sync(asks);
  return sessions;
}

/** Syncs until it has so many messages; a connection that breaks is what a client tries again with the same token. */
async function read(session, count, limit = 90_000) {
  const got = [];
  const deadline = Date.now() + limit;
  while (got.length < count) {
    assert.ok(Date.now() < deadline, `${got.length} of ${count} messages after ${limit / 1000} s`);
    try {
      got.push(...bodies(await session.sync({}, { timeout: 2000 })));
    } catch (error) {
      if (!['ECONNRESET', 'ECONNREFUSED', 'EPIPE'].includes(error.code)) throw error;
    }
  }
  return got;
}

test('rule 1: sessions on both workers, one poll', async () => {
  const device = s.homeserver.device();
  const sessions = await onBoth(device);
  const all = Array.from({ length: 50 }, (_, i) => `${i}`);
  const reads = sessions.map((session) => read(session, all.length));
  for (const text of all) device.toDevice(matrix.toDevice(text));
  for (const got of await Promise.all(reads)) assert.deepEqual(got, all);
  assert.equal(device.overlaps, 0);
  assert.equal(initialPolls(device), 1);
});

test('rule 1: first requests on both workers at once: one first poll', async () => {
  const devices = Array.from({ length: 20 }, () => s.homeserver.device());
  const sessions = [];
  for (const pid of s.nginx.workerPids()) for (const device of devices) sessions.push(await s.sessionOn(pid, device));
  for (const device of devices) device.initial = { to_device: { events: [matrix.toDevice('1')] } };
  for (const json of await Promise.all(sessions.map((session) => session.sync(asks)))) assert.deepEqual(bodies(json), ['1']);
  assert.deepEqual(devices.map(initialPolls), devices.map(() => 1));
  assert.deepEqual(devices.map((device) => device.overlaps), devices.map(() => 0));
});

test('what one worker stored before another knew the device: a redaction, a member\'s new name; that one shows them, whatever it remembers', async () => {
  const [remembers, stores] = s.nginx.workerPids();
  const [first, second] = [s.homeserver.device(), s.homeserver.device()];
  const room = matrix.roomId();
  const message = matrix.message('old words');
  const named = (displayname) => matrix.member(message.sender, 'join', { content: { membership: 'join', displayname } });
  const shownOn = async (pid, device) => JSON.stringify((await (await s.sessionOn(pid, device)).sync({ room: { room_id: room } })).room);
  for (const device of [first, second]) {
    const whole = matrix.room(device.user_id, [message]);
    whole.state.events.push(named('Old Name'));
    device.initial = matrix.join({ [room]: whole });
  }
  const old = /old words.*Old Name|Old Name.*old words/;
  assert.match(await shownOn(remembers, first), old);
  assert.match(await shownOn(stores, second), old);
  second.push(matrix.join({ [room]: matrix.more(matrix.event({ type: 'm.room.redaction', redacts: message.event_id }), named('New Name')) }));
  await second.stored();
  const shown = await shownOn(remembers, second);
  assert.match(shown, /New Name/);
  assert.doesNotMatch(shown, /old words|Old Name/);
});

const gap = (...events) => ({ timeline: { events, limited: true, prev_batch: 'g' } });
const redactions = {
  'the redaction itself': (device, room, redaction) => device.push(matrix.join({ [room]: matrix.more(redaction) })),
  'as a redacted event': (device, room, redaction, whole) => {
    const target = whole.state.events.find((event) => event.event_id === redaction.redacts);
    Object.assign(target, { content: {}, unsigned: { redacted_because: redaction } });
  },
};
for (const [how, redact] of Object.entries(redactions)) {
  for (const type of ['m.room.topic', 'm.room.name']) {
    test(`rule 16: a redaction of ${type} that one device's gap has hidden, and that another worker hears from another device, ${how}`, async () => {
      const [a, b] = s.nginx.workerPids();
      const [late, other] = [s.homeserver.device(), s.homeserver.device()];
      const room = matrix.roomId();
      const create = matrix.create();
      const secret = matrix.state(type, { name: 'secret', topic: 'secret' });
      const whole = (device) => ({ state: { events: [create, matrix.member(device.user_id), { ...secret }] }, timeline: { events: [], limited: false, prev_batch: 'p' } });
      late.initial = matrix.join({ [room]: whole(late) });
      const others = whole(other);
      other.initial = matrix.join({ [room]: others });
      const shown = async (pid) => JSON.stringify(await (await s.sessionOn(pid, late)).sync({ room: { room_id: room }, room_list: {} }));
      assert.match(await shown(a), /secret/);
      late.push(matrix.join({ [room]: gap(matrix.message('behind a gap')) }));
      await late.stored();
      assert.match(await shown(a), /secret/, 'nobody knows better yet');
      const redaction = matrix.event({ type: 'm.room.redaction', redacts: secret.event_id });
      if (how === 'as a redacted event') redact(other, room, redaction, others);
      await (await s.sessionOn(b, other)).sync({});
      if (how !== 'as a redacted event') redact(other, room, redaction);
      await other.stored();
      await until(async () => !/secret/.test(await shown(a)), 'the worker that was told shows what is left');
      assert.doesNotMatch(await shown(b), /secret/);
    });
  }
}

test('rule 23: to_device is dropped by a request whose answer is lost: with the token of before, on another worker, it is as it was', async () => {
  const device = s.homeserver.device();
  const [a, b] = s.nginx.workerPids();
  const session = await s.sessionOn(a, device);
  await session.sync(asks);
  await session.sync();
  assert.equal((await (await s.sessionOn(b, device)).ask({ to_device: null }, { since: session.next })).status, 200);
  await session.sync();
  await session.sync();
  const second = await s.sessionOn(a, device);
  await second.sync(asks);
  device.toDevice(matrix.toDevice('key'));
  assert.deepEqual(bodies(await second.syncUntil((json) => json.to_device)), ['key']);
  await second.sync();
  await s.nginx.replaceWorkers();
  const later = s.session(device);
  later.next = session.next;
  assert.deepEqual(bodies(await later.sync({}, { timeout: 3000 })), ['key']);
});

test('rule 20: who types, said twice, is no news again when requests change workers', async () => {
  const device = s.homeserver.device();
  const room = matrix.roomId();
  device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  const [a, b] = s.nginx.workerPids();
  const here = await s.sessionOn(a, device);
  await here.sync({ typing: { room_id: room } });
  for (let i = 0; i < 2; i++) {
    device.push(matrix.typing(room, '@bob:hs.test'));
    await device.stored();
  }
  assert.ok((await here.sync()).typing);
  const there = await s.sessionOn(b, device);
  for (let i = 0; i < 2; i++) {
    there.next = here.next;
    assert.equal((await there.sync()).typing, undefined);
    here.next = there.next;
    assert.equal((await here.sync()).typing, undefined);
  }
});

test('a first poll that has failed is under way again: a request waits for it on either worker', async () => {
  const device = s.homeserver.device();
  let release;
  device.failPolls({ status: 502, body: {} }, 1);
  device.failPolls({ hold: new Promise((resolve) => { release = resolve; }) }, 1);
  const onEach = async () => {
    const sessions = [];
    for (const pid of s.nginx.workerPids()) sessions.push(await s.sessionOn(pid, device));
    return sessions.map((session) => session.ask(asks));
  };
  const firsts = await onEach();
  assert.equal((await Promise.race(firsts)).status, 502);
  await until(() => device.polls.length === 2, 'the second poll', 20_000);
  const before = await s.figure('requests');
  const waits = await onEach();
  await until(async () => (await s.figure('requests')) === before + 2, 'both have come');
  release();
  assert.deepEqual((await Promise.all(waits)).map((each) => each.status), [200, 200]);
  await Promise.all(firsts);
});

test('what one worker hears of members from the homeserver, the names of rooms say in the other, too', async () => {
  const device = s.homeserver.device();
  const room = matrix.roomId();
  const here = (user, displayname) => matrix.member(user, 'join', { content: { membership: 'join', displayname } });
  const state = [matrix.create(), here(device.user_id, 'Alice'), here('@bob:hs.test', 'Bob')];
  const summary = { 'm.heroes': ['@bob:hs.test'], 'm.joined_member_count': 2, 'm.invited_member_count': 0 };
  device.initial = matrix.join({ [room]: { summary, state: { events: state }, timeline: { events: [], limited: false, prev_batch: 'a' } } });
  s.homeserver.rooms[room] = { members: [state[1], here('@bob:hs.test', 'Robert')] };
  const [one, other] = s.nginx.workerPids();
  const nameIn = async (pid) => (await (await s.sessionOn(pid, device)).sync({ room: { room_id: room } })).room.name;
  const names = async () => [await nameIn(one), await nameIn(other)];
  assert.deepEqual(await names(), ['Bob', 'Bob']);
  device.push(matrix.join({ [room]: { timeline: { events: [matrix.message('behind a gap')], limited: true, prev_batch: 'b' } } }));
  await device.stored();
  assert.deepEqual(await names(), ['Bob', 'Bob']);
  const listing = await s.sessionOn(other, device);
  await listing.sync({ to_device: {}, room_list: { filters: { room_name_like: 'bob' } } });
  const page = (await (await s.sessionOn(one, device)).sync({ room_members: { room_id: room, p: { since: '1' } } })).room_members;
  assert.deepEqual(page.events.map(({ content }) => content.displayname).sort(), ['Alice', 'Robert']);
  await until(async () => (await names()).every((name) => name === 'Robert'));
  // What no list shows does not use the news up.
  const receipt = { type: 'm.receipt', content: { $x: { 'm.read': { '@bob:hs.test': { ts: 1 } } } } };
  device.push(matrix.join({ [room]: { ephemeral: { events: [receipt] } } }));
  device.toDevice(matrix.toDevice('behind a receipt'));
  await listing.syncUntil((json) => json.to_device);
  device.push(matrix.join({ [room]: matrix.more(matrix.message('hello')) }));
  assert.deepEqual((await listing.sync({}, { timeout: 20_000 })).room_list.rooms, [{ room_id: room, listed: false }]);
});

for (const which of ['polls', 'does not poll']) {
  test(`rule 23: the worker that ${which} is killed (-9) while messages flow: each session has each message once`, async () => {
    const device = s.homeserver.device();
    const sessions = await onBoth(device);
    const owner = await until(() => s.postgres.value(`SELECT w.name FROM matrix_sync.worker w JOIN matrix_sync.device d ON d.owner = w.id WHERE d.user_id = '${device.user_id}'`));
    const polls = s.nginx.workerPids().find((pid) => String(owner).includes(String(pid)));
    assert.ok(polls, `no worker process in the name ${owner}`);
    const victim = which === 'polls' ? polls : s.nginx.workerPids().find((pid) => pid !== polls);
    const all = Array.from({ length: 120 }, (_, i) => `${i}`);
    const reads = Promise.all(sessions.map((session) => read(session, all.length)));
    for (const [i, text] of all.entries()) {
      device.toDevice(matrix.toDevice(text));
      if (i % 10 === 9 && i < 50) await device.stored();
      if (i === 49) await s.nginx.killWorker(victim);
    }
    for (const got of await reads) assert.deepEqual(got, all);
    assert.equal(initialPolls(device), 1, 'no second initial poll');
  }, { limit: 150_000 });
}

test('rule 28: a reload with waiting clients: all are answered, no request fails, and the new workers go on', async () => {
  const devices = Array.from({ length: 5 }, () => s.homeserver.device());
  const sessions = (await Promise.all(devices.map(onBoth))).flat();
  const waits = sessions.map((session) => session.ask({}, { timeout: 30_000 }));
  await s.waiting(sessions.length);
  const begun = Date.now();
  const old = await s.nginx.reload();
  for (const wait of waits) {
    const answer = await wait;
    assert.equal(answer.status, 200);
    assert.deepEqual(Object.keys(answer.json), ['next']);
  }
  assert.ok(Date.now() - begun < 10_000, `${Date.now() - begun} ms`);
  await until(() => s.nginx.pids().every((pid) => !old.includes(pid)), 'the old workers have ended', 20_000);
  for (const device of devices) device.toDevice(matrix.toDevice('after'));
  for (const session of sessions) session.agent.maxSockets = Infinity;
  for (const got of await Promise.all(sessions.map((session) => read(session, 1, 20_000)))) assert.deepEqual(got, ['after']);
  for (const device of devices) {
    assert.equal(initialPolls(device), 1);
    assert.equal(device.overlaps, 0);
  }
});

test('rule 28: reloads while requests come on new connections, and with new tokens: none fails', async () => {
  const devices = Array.from({ length: 10 }, () => s.homeserver.device());
  let over = false;
  const answers = [];
  const askOn = async (device) => {
    while (!over) {
      const session = s.session(device, { token: device.newToken(), agent: new http.Agent() });
      answers.push(await session.ask({}, { timeout: 0 }));
      session.close();
    }
  };
  const all = Promise.all(devices.map(askOn));
  for (let i = 0; i < 4; i++) await s.nginx.replaceWorkers();
  over = true;
  await all;
  assert.deepEqual(answers.filter((answer) => answer.status !== 200).map((answer) => `${answer.status}: ${answer.body}`), []);
});

test('rule 28: reload after reload while messages flow: each message once', async () => {
  const device = s.homeserver.device();
  const sessions = [s.session(device), s.session(device)];
  for (const session of sessions) await session.sync(asks);
  const all = Array.from({ length: 90 }, (_, i) => `${i}`);
  const reads = Promise.all(sessions.map((session) => read(session, all.length)));
  let old;
  for (const [i, text] of all.entries()) {
    device.toDevice(matrix.toDevice(text));
    if (i % 30 === 29) old = await s.nginx.reload();
  }
  for (const got of await reads) assert.deepEqual(got, all);
  await until(() => !s.nginx.pids().some((pid) => old.includes(pid)), 'the old workers end');
  assert.equal(initialPolls(device), 1);
  assert.equal(device.overlaps, 0);
}, { limit: 120_000 });

test('rule 28: a restart of nginx: the sessions go on', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  await s.nginx.quit();
  device.toDevice(matrix.toDevice('2'));
  await s.nginx.start();
  assert.deepEqual(await read(session, 2, 30_000), ['1', '2']);
  assert.equal(initialPolls(device), 1);
});
