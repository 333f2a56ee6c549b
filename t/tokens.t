#!/usr/bin/env node
// The since token: repeated, older, forged, somebody else's.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const unknown = { errcode: 'M_UNKNOWN_SYNC_SESSION', error: 'Session unknown or expired' };

test('rule 26: the same token again gives at least what the lost answer held', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {}, account_data: {} });
  device.push({ to_device: { events: [matrix.toDevice('1')] }, account_data: { events: [{ type: 'a.b', content: { n: 1 } }] } });
  await device.stored();
  const since = session.next;
  const lost = (await session.ask({}, { since })).json;
  assert.deepEqual(bodies(lost), ['1']);
  device.toDevice(matrix.toDevice('2'));
  await device.stored();
  const again = (await session.ask({}, { since })).json;
  assert.deepEqual(bodies(again), ['1', '2']);
  assert.deepEqual(again.account_data, lost.account_data);
  // Either next may be used; the first does not acknowledge what came with the second.
  assert.deepEqual(bodies((await session.ask({}, { since: lost.next })).json), ['2']);
  assert.deepEqual(bodies((await session.ask({}, { since: again.next })).json), []);
});

test('rule 26: a lost first answer costs nothing', async () => {
  const device = s.homeserver.device();
  device.initial = { to_device: { events: [matrix.toDevice('1')] } };
  await s.session(device).ask({ to_device: {} });
  assert.deepEqual(bodies((await s.session(device).ask({ to_device: {} })).json), ['1']);
});

test('a repeated token with another body is the new body\'s', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: { limit: 3 } });
  const since = session.next;
  device.toDevice(matrix.toDevice('1'));
  await device.stored();
  assert.equal((await session.ask({ to_device: { limit: 4 } }, { since })).json.to_device.limit, 4);
  assert.equal((await session.ask({}, { since })).json.to_device.limit, 3);
});

test('an older token: an answer while what it needs is kept, or an unknown session', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ account_data: {}, to_device: {} });
  const oldest = session.next;
  for (const n of [1, 2, 3]) {
    device.push({ to_device: { events: [matrix.toDevice(`${n}`)] }, account_data: { events: [{ type: `a.${n}`, content: {} }] } });
    await session.syncUntil((json) => json.to_device);
  }
  await session.sync();
  await until(() => s.postgres.value(`SELECT count(*) FROM matrix_sync.to_device t JOIN matrix_sync.device d ON d.id = t.device WHERE d.user_id = '${device.user_id}'`) === 0, 'what was acknowledged is deleted');
  const answer = await session.ask({}, { since: oldest });
  if (answer.status === 400) return assert.deepEqual(answer.json, unknown);
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json.account_data.events.map((event) => event.type), ['a.1', 'a.2', 'a.3']);
  assert.deepEqual(bodies(answer.json), [], 'what was acknowledged stays gone');
});

test('an empty since is a new session', async () => {
  const device = s.homeserver.device();
  device.initial = { account_data: { events: [{ type: 'a.b', content: {} }] } };
  const session = s.session(device);
  await session.sync({ account_data: {} });
  const answer = await session.ask({ account_data: {} }, { since: '' });
  assert.equal(answer.json.account_data.events.length, 1);
});

test('rule 31: another device\'s token, a forged one and one that never was: the same answer for all', async () => {
  const [mine, other] = [s.homeserver.device(), s.homeserver.device()];
  const sibling = s.homeserver.device(mine.user_id);
  const session = s.session(mine);
  await session.sync({ to_device: {} });
  const answers = [];
  for (const device of [other, sibling]) {
    const own = s.session(device);
    await own.sync();
    answers.push(await own.ask({}, { since: session.next }));
  }
  answers.push(await session.ask({}, { since: 'never' }));
  answers.push(await session.ask({}, { since: session.next + 'x' }));
  answers.push(await session.ask({}, { since: session.next.slice(0, -1) }));
  for (const answer of answers) {
    assert.equal(answer.status, 400);
    assert.deepEqual(answer.json, unknown);
    assert.equal(String(answer.body), String(answers[0].body));
  }
  await session.sync();
});

test('rule 31: a token changed in any one place is refused or read, and never a failure of ours', async () => {
  const session = s.session(s.homeserver.device());
  await session.sync({ to_device: {}, e2ee: {}, account_data: {} });
  for (let i = 0; i < session.next.length; i++) {
    for (const put of ['0', 'z', '~']) {
      const since = session.next.slice(0, i) + put + session.next.slice(i + 1);
      const answer = await session.ask({}, { since });
      assert.ok(answer.status === 200 || (answer.status === 400 && answer.json.errcode === unknown.errcode), `${since}: ${answer.status}`);
    }
  }
});

test('a token survives the loss of everything but the database (rule 28)', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  await s.nginx.replaceWorkers();
  device.toDevice(matrix.toDevice('after'));
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['after']);
});

test('the access token is no part of since', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync();
  const decoded = Buffer.from(session.next, 'base64url').toString('latin1');
  assert.ok(!session.next.includes(device.token) && !decoded.includes(device.token));
});
