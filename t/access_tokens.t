#!/usr/bin/env node
// Access tokens (rules 5, 6, 7): checked before anything is served, refused in the homeserver's words, and never written down.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_poll_timeout 1s;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const whoamis = (match) => s.homeserver.requests.filter((seen) => seen.route === 'whoami' && match(seen)).length;
const refused = (answer) => assert.deepEqual([answer.status, answer.json], [401, { errcode: 'M_UNKNOWN_TOKEN', error: 'Gone', soft_logout: true }]);
const gone = { error: 'Gone', soft_logout: true };

test('rule 7: a token is checked once, and refused ones are remembered for a short while', async () => {
  const session = s.session(s.homeserver.device());
  for (let i = 0; i < 5; i++) await session.sync();
  assert.equal(whoamis((seen) => seen.token === session.token), 1);
  const before = s.homeserver.requests.length;
  const stranger = s.session({ token: 'secret_stranger' });
  for (let i = 0; i < 5; i++) assert.equal((await stranger.ask()).status, 401);
  const tries = s.homeserver.requests.slice(before).filter((seen) => seen.token === 'secret_stranger').length;
  assert.equal(tries, 1);
});

test('rule 5: 401 to a poll ends the token: who uses it is told in the homeserver\'s words', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await device.stored();
  device.revoke(device.token, gone);
  const answer = await until(async () => {
    const got = await session.ask({}, { timeout: 500 });
    return got.status !== 200 && got;
  }, 'the token is refused');
  refused(answer);
  refused(await s.session(device).ask());
});

test('rule 5: a waiting client is told too', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await device.stored();
  const wait = session.ask({}, { timeout: 15_000 });
  await s.waiting(1);
  device.revoke(device.token, gone);
  const answer = await wait;
  if (answer.status === 200) refused(await session.ask());
  else refused(answer);
  assert.ok(answer.took < 10_000, `${answer.took} ms`);
});

test('rule 5: another token of the device takes over; only the ended one is refused', async () => {
  const device = s.homeserver.device();
  const old = s.session(device);
  await old.sync(asks);
  const oldToken = device.token;
  device.newToken();
  const young = s.session(device);
  await young.sync(asks);
  device.revoke(oldToken, gone);
  device.toDevice(matrix.toDevice('1'));
  assert.deepEqual(bodies(await young.syncUntil((json) => json.to_device)), ['1']);
  refused(await until(async () => { const got = await old.ask(); return got.status !== 200 && got; }));
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
  assert.equal(device.polls[device.polls.length - 1].token, device.token);
});

test('rule 6: a new token goes on from the same since and keeps the sessions and their messages', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  const oldToken = device.token;
  device.revoke(oldToken, gone);
  await until(async () => (await session.ask({}, { timeout: 300 })).status === 401, 'the old one is refused');
  session.token = device.newToken();
  device.toDevice(matrix.toDevice('2'));
  const got = [];
  while (got.length < 2) got.push(...bodies(await session.sync({}, { timeout: 5000 })));
  assert.deepEqual(got, ['1', '2']);
  assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
});

test('rule 7: a token is checked again from time to time', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  s.postgres.query("UPDATE matrix_sync.token SET verified = now() - interval '30 days'");
  await s.nginx.replaceWorkers();
  await session.sync();
  assert.equal(whoamis((seen) => seen.device === device), 2);
});

test('rule 7: a token that turned out to be another device\'s opens nothing of the first', async () => {
  const [mine, other] = [s.homeserver.device(), s.homeserver.device()];
  const session = s.session(mine);
  await session.sync(asks);
  const answer = await s.session(other).ask({}, { since: session.next });
  assert.equal(answer.json.errcode, 'M_UNKNOWN_SYNC_SESSION');
});

test('tokens with odd characters are passed on as they are, and none is a header of its own', async () => {
  for (const token of ['a b', 'x'.repeat(2000), '"quoted"', "'; DROP TABLE x", '%41%00']) {
    const answer = await s.session({ token }).ask();
    assert.equal(answer.status, 401, token);
  }
});

test('no access token is in the database', () => {
  const dump = s.postgres.dump();
  assert.ok(dump.includes('matrix_sync'), 'the dump is one');
  for (const secret of s.secrets()) assert.ok(!dump.includes(secret));
});
