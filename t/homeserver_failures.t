#!/usr/bin/env node
// A homeserver that is slow, that was restored from an old backup, or that has changed its mind about whose a token is (rules 2, 5, 6, 24).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, directives: 'matrix_sync_poll_timeout 2s;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const initialPolls = (device) => device.polls.filter((poll) => poll.query.since === undefined).length;
const refused = { status: 400, body: { errcode: 'M_UNKNOWN', error: 'Invalid stream token' } };
const after = (ms) => new Promise((go) => setTimeout(go, ms));
const isUnknown = (answer) => answer.status === 400 && answer.json.errcode === 'M_UNKNOWN_SYNC_SESSION';

async function started(body = asks, device = s.homeserver.device()) {
  const session = s.session(device);
  await session.sync(body);
  await device.stored();
  return { device, session };
}

test('a homeserver restored from an old backup refuses since: polling begins anew, and what was not yet read is still there', async () => {
  const room = matrix.roomId();
  const device = s.homeserver.device();
  device.initial = matrix.join({ [room]: matrix.room(device.user_id, [matrix.message('old')]) });
  const { session } = await started({ to_device: {}, room: { room_id: room } }, device);
  const slow = s.session(device);
  await slow.sync(asks);
  const encrypted = [];
  for (const pid of s.nginx.workerPids()) {
    encrypted.push(await s.sessionOn(pid, device));
    await encrypted[encrypted.length - 1].sync({ to_device: {}, e2ee: {} });
  }
  device.toDevice(matrix.toDevice('before'));
  device.push(matrix.join({ [room]: matrix.more(matrix.message('gone')) }));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['before']);
  await device.stored();

  // The backup is from before both; since then somebody has written.
  device.answers.length = device.acknowledged = 0;
  const present = matrix.message('new');
  device.initial = matrix.join({ [room]: matrix.room(device.user_id, [matrix.message('old'), present]) });
  device.initial.to_device = { events: [matrix.toDevice('again')] };
  for (const poll of device.waiting) poll.wake();

  await until(() => initialPolls(device) === 2, 'a poll without since', 20_000);
  const stale = device.polls.filter((poll) => poll.query.since === 's2_' + device.number && poll.at > 0).slice(-3);
  assert.ok(stale[1].at - stale[0].at >= 700 && stale[2].at - stale[1].at >= 1400, 'with a pause between the tries');
  await until(() => device.since === device.batch(0), 'it goes on from the new since');
  assert.match(s.nginx.log(), new RegExp(`${device.user_id} ${device.device_id}.*refused.*400 M_UNKNOWN.*begins anew, and sessions that ask for e2ee end: 2`));

  const seen = [];
  const json = await session.syncUntil((answer) => { seen.push(...bodies(answer)); return answer.room?.timeline.events.some((each) => each.event_id === present.event_id); });
  assert.equal(json.room.timeline.limited, true, 'a gap');
  await until(async () => { seen.push(...bodies(await session.sync())); return seen.length; });
  assert.deepEqual(seen, ['again']);
  const late = [];
  while (late.length < 2) late.push(...bodies(await slow.sync('', { timeout: 1000 })));
  assert.deepEqual(late, ['before', 'again'], 'who had not read it yet');

  // Nobody can tell whose device lists have changed.
  for (const each of encrypted) {
    await until(async () => isUnknown(await each.ask()), 'the session has ended');
    each.next = undefined;
    await each.sync({ to_device: {}, e2ee: {} });
  }
  device.toDevice(matrix.toDevice('after'));
  assert.deepEqual(bodies(await session.syncUntil((answer) => answer.to_device)), ['after']);
  assert.equal(initialPolls(device), 2);
}, { limit: 90_000 });

test('since refused twice and then taken: nothing begins anew', async () => {
  const { device, session } = await started();
  device.failPolls(refused, 2);
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
  assert.equal(initialPolls(device), 1);
});

test('other refusals of since begin nothing anew, however many', async () => {
  for (const status of [403, 404, 429, 500, 503]) {
    const { device, session } = await started();
    device.failPolls({ status, body: { errcode: 'M_UNKNOWN', error: 'x', retry_after_ms: 10 } }, 3);
    device.toDevice(matrix.toDevice('1'));
    assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
    assert.equal(initialPolls(device), 1);
  }
});

test('slow: an answer that begins late and trickles in counts once, when it is whole', async () => {
  const { device, session } = await started();
  device.failPolls({ hold: after(1500) });
  device.push((next) => (async function* trickle() {
    for (const part of [`{"to_device":{"events":[${JSON.stringify(matrix.toDevice('1'))}`, ']', '}', `,"next_batch":"${next}"`, '}']) {
      yield part;
      await after(150);
    }
  }()));
  const early = await session.ask('', { timeout: 300 });
  assert.deepEqual(Object.keys(early.json), ['next']);
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
  await device.stored();
  assert.deepEqual(bodies(await session.sync()), []);
});

test('rule 3: the homeserver never says how some rooms are: the device does not wait for long, however many they are', async () => {
  const { device, session } = await started();
  s.homeserver.fail((seen) => /\/state$/.test(seen.path), { never: true }, Infinity);
  const rooms = Array.from({ length: 5 }, () => matrix.roomId());
  device.push(matrix.join(Object.fromEntries(rooms.map((room) => [room, matrix.more(matrix.message('x'))]))));
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['1']);
  for (const room of rooms) assert.ok(s.homeserver.requests.some((seen) => decodeURIComponent(seen.path).endsWith(`${room}/state`)), 'each is asked about');
  s.homeserver.heal();
});

for (const [what, status, body] of [
  ['logged out', 401, { errcode: 'M_UNKNOWN_TOKEN', error: 'Logged out', soft_logout: false }],
  ['softly logged out', 401, { errcode: 'M_UNKNOWN_TOKEN', error: 'Expired', soft_logout: true }],
  ['locked', 401, { errcode: 'M_USER_LOCKED', error: 'This account is locked', soft_logout: true }],
  ['deactivated', 401, { errcode: 'M_USER_DEACTIVATED', error: 'This account is no more' }],
]) {
  test(`rule 5: ${what} while a request waits, and asked for the first time: verbatim`, async () => {
    const { device, session } = await started();
    const wait = session.ask('', { timeout: 20_000 });
    await s.waiting(1);
    device.revoke(device.token, body);
    const answers = [await wait, await s.session(device).ask(asks)];
    for (const answer of answers) assert.deepEqual([answer.status, answer.json], [status, body]);
    assert.ok(device.waiting.size === 0);
  });
}

test('rule 5: deactivated with 403, as whoami says it: verbatim', async () => {
  const device = s.homeserver.device();
  const body = { errcode: 'M_USER_DEACTIVATED', error: 'This account is no more' };
  device.failWhoami({ status: 403, body });
  const answer = await s.session(device).ask(asks);
  assert.deepEqual([answer.status, answer.json], [403, body]);
});

test('rule 6: a token is refreshed while a request waits with the old one: one log, and nothing twice', async () => {
  const { device, session } = await started();
  const wait = session.sync('', { timeout: 8000 });
  await s.waiting(1);
  const young = s.session(device, { token: device.newToken() });
  young.next = session.next;
  device.revoke(device.tokens[0], { errcode: 'M_UNKNOWN_TOKEN', error: 'Refreshed', soft_logout: true });
  device.toDevice(matrix.toDevice('1'));
  await wait.catch((error) => assert.equal(error.answer.status, 401));
  assert.deepEqual(bodies(await young.syncUntil((json) => json.to_device)), ['1']);
  assert.equal(initialPolls(device), 1);
  assert.equal(device.overlaps, 0);
});

test('rule 31: whoami names another device for a known token: it opens nothing of the first, and does not poll for it', async () => {
  const { device: first, session } = await started();
  const { device: second } = await started();
  const { token } = first;
  s.homeserver.tokens.set(token, second);
  second.tokens.push(token);
  s.postgres.query("UPDATE matrix_sync.token SET verified = now() - interval '30 days'");
  const polled = second.polls.length;
  await s.nginx.replaceWorkers();
  assert.ok(isUnknown(await session.ask()));
  session.next = undefined;
  second.toDevice(matrix.toDevice('of the second'));
  const got = [];
  await until(async () => { got.push(...bodies(await session.sync(asks))); return got.length; });
  assert.deepEqual(got, ['of the second']);
  assert.ok(second.polls.slice(polled).length > 0);
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.to_device t JOIN matrix_sync.device d ON d.id = t.device WHERE d.user_id = '${first.user_id}'`), 0);
});
