#!/usr/bin/env node
// Everything that is refused, how it is said, and that a refused request changes nothing.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_body_size 4k;' });
const sessions = () => s.postgres.value('SELECT count(*) FROM matrix_sync.session');

function assertError(answer, status, errcode, message = /./) {
  assert.equal(answer.status, status, String(answer.body));
  assert.match(answer.headers['content-type'], /^application\/json/);
  assert.equal(answer.headers['access-control-allow-origin'], '*');
  assert.match(answer.headers['access-control-allow-methods'], /POST/);
  assert.match(answer.headers['access-control-allow-headers'], /Authorization/i);
  assert.equal(answer.json.errcode, errcode);
  assert.equal(typeof answer.json.error, 'string');
  assert.match(answer.json.error, message);
}

for (const method of ['PUT', 'DELETE', 'PATCH']) {
  test(`${method}: 405`, async () => assertError(await s.request({ method }), 405, 'M_UNRECOGNIZED'));
}

test('no access token: 401 M_MISSING_TOKEN', async () => {
  assertError(await s.request({ body: {} }), 401, 'M_MISSING_TOKEN');
  assertError(await s.request({ body: {}, headers: { authorization: 'Basic YTpi' } }), 401, 'M_MISSING_TOKEN');
  assertError(await s.request({ body: {}, headers: { authorization: 'Bearer ' } }), 401, 'M_MISSING_TOKEN');
});

test('an access token in the query is not read', async () => {
  const { token } = s.homeserver.device();
  s.exposed.add(token);
  const answer = await s.request({ path: `/_matrix/client/v3/sync?access_token=${token}`, body: {} });
  assertError(answer, 401, 'M_MISSING_TOKEN');
});

test('rule 5: what the homeserver refuses is refused in its own words', async () => {
  const device = s.homeserver.device();
  device.revoke(device.token, { errcode: 'M_UNKNOWN_TOKEN', error: 'Expired, "renew" it: ü', soft_logout: true });
  const answer = await s.session(device).ask();
  assertError(answer, 401, 'M_UNKNOWN_TOKEN');
  assert.deepEqual(answer.json, { errcode: 'M_UNKNOWN_TOKEN', error: 'Expired, "renew" it: ü', soft_logout: true });

  const other = s.homeserver.device();
  other.revoke(other.token, { errcode: 'M_USER_LOCKED', error: 'Locked' });
  assert.deepEqual((await s.session(other).ask()).json, { errcode: 'M_USER_LOCKED', error: 'Locked' });
});

test('a token of no device: 403', async () => {
  assertError(await s.session(s.homeserver.device('@service:hs.test', null)).ask(), 403, 'M_FORBIDDEN');
});

const nested = (depth) => '{"x":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1);
const refused = [
  ['not JSON', 'nonsense', 'M_NOT_JSON'],
  ['cut JSON', '{"typing":', 'M_NOT_JSON'],
  ['more behind the JSON', '{} {}', 'M_NOT_JSON'],
  ['not UTF-8', Buffer.from('{"x":"\xff"}', 'latin1'), 'M_NOT_JSON'],
  ['an array', '[]', 'M_BAD_JSON'],
  ['a string', '"x"', 'M_BAD_JSON'],
  ['null', 'null', 'M_BAD_JSON'],
  ['a stream that is a number', '{"typing":1}', 'M_BAD_JSON', /typing: expected an object/],
  ['account_data that is an array', '{"account_data":[]}', 'M_BAD_JSON', /account_data/],
  ['e2ee that is true', '{"e2ee":true}', 'M_BAD_JSON', /e2ee/],
  ['typing without room_id', '{"typing":{}}', 'M_BAD_JSON', /typing\.room_id/],
  ['a room_id that is a number', '{"typing":{"room_id":5}}', 'M_BAD_JSON', /typing\.room_id: expected a string/],
  ['a limit that is a string', '{"to_device":{"limit":"5"}}', 'M_BAD_JSON', /to_device\.limit: expected an integer/],
  ['a limit of 1.5', '{"to_device":{"limit":1.5}}', 'M_BAD_JSON', /to_device\.limit: expected an integer/],
  ['a limit of 0', '{"to_device":{"limit":0}}', 'M_BAD_JSON', /to_device\.limit/],
  ['a limit below 0', '{"to_device":{"limit":-3}}', 'M_BAD_JSON', /to_device\.limit/],
  ['33 deep', nested(33), 'M_BAD_JSON'],
  ['33 deep, arrays', `{"x":${'['.repeat(32)}${']'.repeat(32)}}`, 'M_BAD_JSON'],
];
for (const [name, body, errcode, message] of refused) {
  test(`body: ${name}: 400 ${errcode}`, async () => {
    const before = sessions();
    assertError(await s.session(s.homeserver.device()).ask(body), 400, errcode, message);
    assert.equal(sessions(), before, 'sessions');
  });
}

test('a body over the limit: 413, with or without Content-Length', async () => {
  const before = sessions();
  const body = JSON.stringify({ x: 'x'.repeat(5000) });
  assertError(await s.session(s.homeserver.device()).ask(body), 413, 'M_TOO_LARGE');
  assertError(await s.session(s.homeserver.device()).ask(body, { headers: { 'transfer-encoding': 'chunked' } }), 413, 'M_TOO_LARGE');
  assert.equal(sessions(), before);
});

test('a body just under the limit is read', async () => {
  await s.session(s.homeserver.device()).sync({ x: 'x'.repeat(4000) });
});

test('32 deep, unknown keys, spaces and an empty body are fine', async () => {
  for (const body of [nested(32), '{"unknown":{"typing":5},"typing":{"room_id":"no room","more":[1]}}', ' \n{ }\t', '', '{"to_device":{"limit":5,"x":null}}']) {
    assert.equal((await s.session(s.homeserver.device()).ask(body)).status, 200, body);
  }
});

for (const timeout of ['soon', '-1', '1.5', '1e3', '']) {
  test(`timeout=${timeout}: 400 M_INVALID_PARAM`, async () => {
    const before = sessions();
    assertError(await s.session(s.homeserver.device()).ask({}, { timeout }), 400, 'M_INVALID_PARAM', /timeout/);
    assert.equal(sessions(), before);
  });
}

test('rule 31: a since that cannot be read: 400 M_UNKNOWN_SYNC_SESSION', async () => {
  for (const since of ['1', 'x'.repeat(3000), '%00', '\u{1f600}', "' OR 1=1", 'AAAA.BBBB']) {
    const answer = await s.session(s.homeserver.device()).ask({}, { since });
    assertError(answer, 400, 'M_UNKNOWN_SYNC_SESSION', /^Session unknown or expired$/);
  }
});

test('a refused request leaves the sticky parameters alone', async () => {
  const device = s.homeserver.device();
  const [here, there] = [matrix.roomId(), matrix.roomId()];
  device.initial = matrix.join({ [here]: matrix.room(device.user_id), [there]: matrix.room(device.user_id) });
  const session = s.session(device);
  await session.sync({ typing: { room_id: here } });
  assert.equal((await session.ask({ typing: { room_id: there }, to_device: { limit: 0 } })).status, 400);
  device.push(matrix.typing(there, '@a:hs.test'));
  device.push(matrix.typing(here, '@b:hs.test'));
  const { typing } = await session.syncUntil((json) => json.typing);
  assert.equal(typing.events[0].room_id, here);
});

test('a good answer has the CORS headers too', async () => {
  const answer = await s.session(s.homeserver.device()).ask();
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['access-control-allow-origin'], '*');
  assert.match(answer.headers['content-type'], /^application\/json/);
});

test('an error ends neither the connection nor the session', async () => {
  const session = s.session(s.homeserver.device());
  await session.sync();
  await session.ask('nonsense');
  await session.sync();
});
