#!/usr/bin/env node
// The first poll of a device: waiting for it, what is there before it ends, and what a client is told when it fails.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_first_poll_timeout 1s;' });
const gate = () => {
  let open;
  const opened = new Promise((go) => { open = go; });
  return { opened, open };
};
const initialPolls = (device) => device.polls.filter((poll) => poll.query.since === undefined).length;

test('a request without since waits for it, whatever its timeout', async () => {
  const device = s.homeserver.device();
  const { opened, open } = gate();
  device.failPolls({ hold: opened });
  device.initial = { to_device: { events: [matrix.toDevice('1')] } };
  const wait = s.session(device).ask({ to_device: {} }, { timeout: 0 });
  await until(() => device.polls.length === 1);
  setTimeout(open, 300);
  const answer = await wait;
  assert.ok(answer.took >= 290);
  assert.equal(answer.json.to_device.events.length, 1);
  assert.equal(answer.json.partial, undefined);
});

test('past matrix_sync_first_poll_timeout: partial, until it has ended; then all of it', async () => {
  const device = s.homeserver.device();
  const { opened, open } = gate();
  device.failPolls({ hold: opened });
  device.initial = { to_device: { events: [matrix.toDevice('1')] }, account_data: { events: [{ type: 'a', content: {} }] } };
  const session = s.session(device);
  const asks = { to_device: {}, account_data: {} };
  const first = await session.ask(asks);
  assert.equal(first.json.partial, true);
  assert.deepEqual(Object.keys(first.json).sort(), ['next', 'partial']);
  assert.ok(first.took >= 990 && first.took < 6000, `${first.took} ms`);
  session.next = first.json.next;
  assert.equal((await session.sync()).partial, true);
  assert.equal((await s.session(device).sync()).partial, true, 'every answer of the device');
  open();
  const whole = await session.syncUntil((json) => json.to_device);
  assert.equal(whole.partial, undefined);
  assert.equal(whole.account_data.events.length, 1);
  assert.equal(initialPolls(device), 1);
});

test('rooms are usable as they arrive', async () => {
  const device = s.homeserver.device();
  const { opened, open } = gate();
  const rooms = Array.from({ length: 60 }, () => matrix.roomId());
  const part = (room) => JSON.stringify(matrix.room(device.user_id, Array.from({ length: 20 }, () => matrix.message('x'.repeat(3000))),
    { ephemeral: { events: [{ type: 'm.typing', content: { user_ids: [`@typist:hs.test`] } }] }, room_id: room }));
  device.initial = (next) => (async function* answer() {
    yield '{"rooms":{"join":{';
    for (const [i, room] of rooms.entries()) {
      if (i === rooms.length - 1) await opened;
      yield `${i ? ',' : ''}"${room}":${part(room)}`;
    }
    yield `}},"next_batch":"${next}"}`;
  })();
  const session = s.session(device);
  const first = await session.sync({ typing: { room_id: rooms[0] } });
  assert.equal(first.partial, true);
  assert.deepEqual(first.typing.events[0].content.user_ids, ['@typist:hs.test']);
  open();
  await session.syncUntil((json) => json.partial === undefined);
  assert.deepEqual((await session.sync({ typing: { room_id: rooms[59] } })).typing.events[0].content.user_ids, ['@typist:hs.test']);
  assert.equal(device.since, device.batch(0));
});

test('all members of a large room: behind the rooms, each as it is now', async () => {
  const device = s.homeserver.device();
  const { opened, open } = gate();
  const room = matrix.roomId();
  const name = (i) => `@m${i}:hs.test`;
  const members = Array.from({ length: 3000 }, (_, i) => matrix.member(name(i), 'join', { content: { membership: 'join', displayname: `Member ${i} ${'x'.repeat(400)}` } }));
  const renamed = matrix.member(name(7), 'join', { content: { membership: 'join', displayname: 'New' }, unsigned: { replaces_state: members[7].event_id } });
  const part = matrix.room(device.user_id, [matrix.message('hello', { sender: name(5) }), renamed]);
  part.state.events.push(...members);
  part.summary = { 'm.heroes': [name(0), name(1)], 'm.joined_member_count': 3001, 'm.invited_member_count': 0 };
  device.initial = (next) => (async function* answer() {
    yield `{"rooms":{"join":{"${room}":${JSON.stringify(part)}}}`;
    await opened;
    yield `,"next_batch":"${next}"}`;
  })();
  const known = (json) => Object.fromEntries(json.room.state_after.events.filter(({ type }) => type === 'm.room.member').map((event) => [event.state_key, event.content.displayname]));
  const session = s.session(device);
  const required = s.session(device);
  const asked = await required.sync({ room: { room_id: room, required_state: [['m.room.member', name(1234)]] } });
  assert.equal(asked.partial, true);
  assert.equal(known(asked)[name(1234)], undefined);
  const first = await session.sync({ room: { room_id: room } });
  assert.deepEqual(Object.keys(known(first)).sort(), [device.user_id, name(0), name(1), name(5), name(7)].sort(), 'who is shown does not wait for the others');
  assert.equal(known(first)[name(7)], 'New');
  open();
  assert.match(known(await required.syncUntil((json) => json.room?.state_after?.events.length))[name(1234)], /^Member 1234 /);
  await session.syncUntil((json) => json.partial === undefined);
  device.push(matrix.join({ [room]: matrix.more(matrix.message('from somebody else', { sender: name(2998) }), matrix.message('again', { sender: name(7) })) }));
  const { [name(7)]: newest, [name(2998)]: other } = known(await session.syncUntil((json) => json.room?.timeline));
  assert.equal(newest ?? 'New', 'New');
  assert.match(other, /^Member 2998 /);
});

test('members of a first answer that PostgreSQL refuses: they are left out with a log line, all else is there', async () => {
  const device = s.homeserver.device();
  const room = matrix.roomId();
  const part = matrix.room(device.user_id, [matrix.message('hello')]);
  part.state.events.push(...Array.from({ length: 150 }, (_, i) => matrix.member(i === 77 ? '@refused:hs.test' : `@m${i}:hs.test`)));
  part.summary = { 'm.heroes': ['@m0:hs.test', '@m1:hs.test'], 'm.joined_member_count': 151, 'm.invited_member_count': 0 };
  device.initial = (next) => JSON.stringify({ ...matrix.join({ [room]: part }), next_batch: next });
  s.postgres.query("ALTER TABLE matrix_sync.member ADD CONSTRAINT refused CHECK (user_id <> '@refused:hs.test')");
  const session = s.session(device);
  const answer = await session.syncUntil((json) => json.room, { room: { room_id: room } });
  assert.equal(answer.room.timeline.events[0].content.body, 'hello');
  await device.stored();
  s.postgres.query('ALTER TABLE matrix_sync.member DROP CONSTRAINT refused');
  assert.match(s.nginx.log(), new RegExp(`some members of room ${room.replace(/[!.]/g, '\\$&')} are left out: PostgreSQL refuses them with SQLSTATE 23514`));
});

test('many clients at once: one poll, one whoami (rule 1)', async () => {
  const device = s.homeserver.device();
  const answers = await Promise.all(Array.from({ length: 20 }, () => s.session(device).ask({ to_device: {} })));
  assert.ok(answers.every((answer) => answer.status === 200));
  assert.equal(initialPolls(device), 1);
  assert.equal(device.overlaps, 0);
  assert.equal(s.homeserver.requests.filter((seen) => seen.device === device && seen.route === 'whoami').length, 1);
});

for (const status of [500, 502, 503]) {
  test(`the homeserver answers ${status} and there is nothing to serve: 502`, async () => {
    const device = s.homeserver.device();
    device.failPolls({ status, body: { errcode: 'M_UNKNOWN', error: 'Internal' } }, Infinity);
    const answer = await s.session(device).ask({});
    assert.equal(answer.status, 502);
    assert.equal(answer.json.errcode, 'M_UNKNOWN');
    s.homeserver.heal();
    const session = s.session(device);
    await until(async () => (await session.ask({})).status === 200, 'it goes on by itself', 30_000);
  });
}

test('the homeserver answers 500 to whoami: 502, and that is no logout', async () => {
  const device = s.homeserver.device();
  device.failWhoami({ status: 500, body: {} }, Infinity);
  const answer = await s.session(device).ask({});
  assert.deepEqual([answer.status, answer.json.errcode], [502, 'M_UNKNOWN']);
  s.homeserver.heal();
  await until(async () => (await s.session(device).ask({})).status === 200, 'it goes on by itself', 30_000);
});

test('the homeserver cannot be reached: 502', async () => {
  const device = s.homeserver.device();
  await s.homeserver.refuse();
  const answer = await s.session(device).ask({});
  assert.deepEqual([answer.status, answer.json.errcode], [502, 'M_UNKNOWN']);
  await s.homeserver.open();
  await until(async () => (await s.session(device).ask({})).status === 200, 'it goes on by itself', 30_000);
});

test('429 with nothing to serve is passed on', async () => {
  const device = s.homeserver.device();
  device.failPolls({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', error: 'Slowly', retry_after_ms: 8000 } }, Infinity);
  const answer = await s.session(device).ask({});
  assert.deepEqual([answer.status, answer.json.errcode], [429, 'M_LIMIT_EXCEEDED']);
  assert.ok(answer.json.retry_after_ms > 4000 && answer.json.retry_after_ms <= 16_000);
  s.homeserver.heal();
});

test('429 to whoami is passed on', async () => {
  const device = s.homeserver.device();
  device.failWhoami({ status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', error: 'Slowly', retry_after_ms: 5000 } }, Infinity);
  const answer = await s.session(device).ask({});
  assert.deepEqual([answer.status, answer.json.errcode], [429, 'M_LIMIT_EXCEEDED']);
  s.homeserver.heal();
});

test('a failed try is tried again while the client waits', async () => {
  const device = s.homeserver.device();
  device.failPolls({ cut: 20 });
  device.initial = { to_device: { events: [matrix.toDevice('1')] } };
  const session = s.session(device);
  const answer = await until(async () => {
    const got = await session.ask({ to_device: {} });
    return got.status === 200 && got;
  }, 'an answer', 30_000);
  session.next = answer.json.next;
  const json = answer.json.to_device ? answer.json : await session.syncUntil((each) => each.to_device);
  assert.equal(json.to_device.events.length, 1);
});

test('rule 8: with data at hand it is served, and the status page says how stale it is', async () => {
  const device = s.homeserver.device();
  device.initial = { account_data: { events: [{ type: 'a', content: {} }] } };
  const session = s.session(device);
  await session.sync({ account_data: {} });
  device.failPolls({ status: 503, body: {} }, Infinity);
  device.push({});
  await until(async () => (await s.figure('polls_failing')) > 0, 'the status page says that polls fail');
  await until(async () => (await s.figure('stalest_ms')) >= 1000, 'the status page says for how long');
  await session.sync();
  assert.equal((await s.session(device).sync({ account_data: {} })).account_data.events.length, 1);
  s.homeserver.heal();
  await until(async () => { await session.sync(); return device.quiet; }, 'it goes on by itself', 40_000);
  await until(async () => (await s.figure('polls_failing')) === 0, 'no poll fails any more', 40_000);
});
