#!/usr/bin/env node
// Sync v3 in front of the real Synapse: what the scripted homeserver of the other tests only claims to be like.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { realHomeserver } = require('./lib/synapse');
const { request, path } = require('./lib/client');

const s = stage({ workers: 2, directives: 'matrix_sync_poll_timeout 2s;' });
const synapse = realHomeserver(s);

let names = 0;
const someone = () => synapse.register(`user${++names}`);

/** Two users in a room. */
async function pair(settings) {
  const [alice, bob] = [await someone(), await someone()];
  const room = await alice.createRoom(settings);
  await bob.join(room);
  return { alice, bob, room };
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
const deviceOf = (account) => `(SELECT id FROM matrix_sync.device WHERE user_id = ${quoted(account.user_id)} AND device_id = ${quoted(account.device_id)})`;
const keptMessages = (account) => s.postgres.value(`SELECT count(*) FROM matrix_sync.to_device WHERE device = ${deviceOf(account)}`);

test('a typist in a room reaches a waiting client, and so does the end of typing', async () => {
  const { alice, bob, room } = await pair();
  const session = s.session(alice);
  await session.sync({ typing: { room_id: room } });
  for (const typing of [true, false]) {
    const answer = session.sync('', { timeout: 20_000 });
    await s.waiting(1);
    await bob.typing(room, typing);
    assert.deepEqual((await answer).typing, { events: [{ type: 'm.typing', room_id: room, content: { user_ids: typing ? [bob.user_id] : [] } }] });
  }
});

test('a to-device message reaches two sessions of a device until each has come back, then its row is gone (rule 23)', async () => {
  const [alice, bob] = [await someone(), await someone()];
  const sessions = [s.session(alice), s.session(alice)];
  for (const session of sessions) await session.sync({ to_device: {} });
  const content = { text: 'for both', number: 1.50 };
  await bob.toDevice('org.example.test', { [alice.user_id]: { [alice.device_id]: content } });
  const expected = [{ type: 'org.example.test', sender: bob.user_id, content }];

  const tokens = [];
  for (const session of sessions) {
    tokens.push(session.next);
    const { to_device } = await session.syncUntil((json) => json.to_device);
    assert.deepEqual(withoutMessageId(to_device.events), expected);
  }
  for (let round = 0; round < 3; round++) {
    for (const [i, session] of sessions.entries()) {
      const again = await session.ask('', { since: tokens[i] });
      assert.deepEqual(withoutMessageId(again.json.to_device.events), expected, `round ${round}, session ${i}`);
    }
  }
  assert.equal(keptMessages(alice), 1);

  assert.equal((await sessions[0].sync()).to_device, undefined);
  assert.equal(keptMessages(alice), 1, 'the second session has not come back');
  assert.deepEqual(withoutMessageId((await sessions[1].ask('', { since: tokens[1] })).json.to_device.events), expected);
  assert.equal((await sessions[1].sync()).to_device, undefined);
  await until(() => keptMessages(alice) === 0, 'the row is gone');
});

/** Synapse gives messages an ID of its own when it is asked to trace them. */
const withoutMessageId = (events) => events.map(({ type, sender, content }) => ({ type, sender, content }));

test('account data: all of it at first, then what changes, while it changes', async () => {
  const alice = await someone();
  await alice.setAccountData('org.example.before', { at: 'first' });
  const session = s.session(alice);
  const first = await session.sync({ account_data: {} });
  assert.deepEqual(first.account_data.events.find((event) => event.type === 'org.example.before'), { type: 'org.example.before', content: { at: 'first' } });
  assert.ok(first.account_data.events.some((event) => event.type === 'm.push_rules'), 'push rules are account data too');
  const answer = session.sync('', { timeout: 20_000 });
  await s.waiting(1);
  await alice.setAccountData('org.example.live', { on: true });
  assert.deepEqual((await answer).account_data, { events: [{ type: 'org.example.live', content: { on: true } }] });
});

test('GET through the same location gives the homeserver\'s bytes', async () => {
  const [alice, bob] = [await someone(), await someone()];
  const { next_batch } = await alice.call('GET', '/sync?timeout=0&set_presence=offline');
  await bob.toDevice('org.example.classic', { [alice.user_id]: { '*': { text: 'ä \u0001 "quoted"' } } });
  await alice.setAccountData('org.example.classic', { nothing: null });
  const filter = encodeURIComponent(JSON.stringify({ presence: { not_types: ['*'] } }));
  const target = `${path}?since=${next_batch}&timeout=0&set_presence=offline&filter=${filter}`;
  const headers = { authorization: `Bearer ${alice.token}` };
  const straight = await request({ port: synapse.port, method: 'GET', path: target, headers });
  const through = await request({ port: s.port, method: 'GET', path: target, headers });
  assert.equal(straight.status, 200);
  assert.equal(straight.json.to_device.events.length, 1);
  assert.equal(through.status, straight.status);
  assert.ok(through.body.equals(straight.body));
  for (const name of ['content-type', 'access-control-allow-origin', 'access-control-allow-headers']) assert.equal(through.headers[name], straight.headers[name]);
});

test('after a logout the answer is the homeserver\'s own 401 (rule 5)', async () => {
  const alice = await someone();
  const session = s.session(alice);
  await session.sync({ to_device: {} });
  await alice.call('POST', '/logout', {});
  const answer = await until(async () => {
    const asked = await session.ask();
    return asked.status === 401 && asked;
  }, 'a refused token', 30_000);
  const own = await request({ port: synapse.port, method: 'GET', path: '/_matrix/client/v3/account/whoami', headers: { authorization: `Bearer ${alice.token}` } });
  assert.equal(own.status, 401);
  assert.deepEqual(answer.json, own.json);
});

test('a refreshed token goes on in the same session, and nothing is lost (rule 6)', async () => {
  const [alice, bob] = [await (await someone()).login({ refresh_token: true }), await someone()];
  const session = s.session(alice);
  await session.sync({ to_device: {} });
  const send = (text) => bob.toDevice('org.example.test', { [alice.user_id]: { [alice.device_id]: { text } } });
  await send('before');
  await alice.refresh();
  session.token = alice.token;
  await send('after');
  const seen = [];
  while (seen.length < 2) seen.push(...(await session.syncUntil((json) => json.to_device)).to_device.events.map((event) => event.content.text));
  assert.deepEqual(seen, ['before', 'after']);
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.device WHERE user_id = ${quoted(alice.user_id)} AND device_id = ${quoted(alice.device_id)}`), 1);
});

/** The state after the newest log entry of a room: what `refs` and the parents of its set say. */
const storedState = (account, room) => s.postgres.query(`
  WITH RECURSIVE entry AS (
    SELECT log.state FROM matrix_sync.log JOIN matrix_sync.room ON room.id = log.room
    WHERE log.device = ${deviceOf(account)} AND room.room_id = ${quoted(room)} ORDER BY seq DESC LIMIT 1
  ), chain AS (
    SELECT room_state.*, 0 AS depth FROM matrix_sync.room_state JOIN entry ON room_state.id = entry.state
    UNION ALL SELECT above.*, depth + 1 FROM matrix_sync.room_state above JOIN chain ON above.id = chain.parent
  ), ref AS (
    SELECT ref FROM chain, unnest(refs) AS ref
    WHERE NOT EXISTS (SELECT FROM chain below WHERE below.depth < chain.depth AND ref = ANY (below.gone))
  )
  SELECT event_id FROM matrix_sync.event WHERE ref IN (SELECT ref FROM ref) ORDER BY 1`).map(([id]) => id);

test('stored events and the stored state are what the homeserver says', async () => {
  const { alice, bob, room } = await pair({ name: 'First name', topic: 'First topic', room_version: '11' });
  const session = s.session(bob);
  await session.sync({ account_data: {} });
  await alice.setState(room, 'm.room.topic', { topic: 'Second topic' });
  await alice.setState(room, 'm.room.name', { name: 'Second name' });
  await alice.setState(room, 'org.example.many', { of: 'one' }, 'with a key');
  const sent = await alice.send(room, 'm.room.message', { msgtype: 'm.text', body: 'text \u2028 "quoted" \ud83d\ude00', number: 12345678901 });
  await until(() => s.postgres.value(`SELECT count(*) FROM matrix_sync.event WHERE event_id = ${quoted(sent)}`) === 1, 'the message is stored');

  const state = await alice.call('GET', `/rooms/${encodeURIComponent(room)}/state`);
  const expected = state.filter((event) => event.type !== 'm.room.member').map((event) => event.event_id).sort();
  assert.ok(expected.length > 6);
  await until(() => JSON.stringify(storedState(bob, room)) === JSON.stringify(expected), 'the stored state is that of the homeserver')
    .catch(() => assert.deepEqual(storedState(bob, room), expected));
  for (const event_id of [...expected, sent]) {
    const [[body]] = s.postgres.query(`SELECT convert_from(body, 'UTF8') FROM matrix_sync.event WHERE event_id = ${quoted(event_id)}`);
    assert.deepEqual(essence(JSON.parse(body)), essence(await alice.call('GET', `/rooms/${encodeURIComponent(room)}/event/${encodeURIComponent(event_id)}`)));
  }
});

const essence = ({ type, state_key, sender, origin_server_ts, content, event_id }) => ({ type, state_key, sender, origin_server_ts, content, event_id });
