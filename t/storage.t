#!/usr/bin/env node
// What is in PostgreSQL after scripted answers: events and state sets shared, a log of its own for each device (rules 9 to 17).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();

async function started(initial, user) {
  const device = s.homeserver.device(user);
  if (initial) device.initial = typeof initial === 'function' ? initial(device) : initial;
  await s.session(device).sync({ to_device: {} });
  await device.stored();
  return device;
}
async function push(device, answer) {
  device.push(answer);
  await device.stored();
}
const rows = (sql) => s.postgres.query(sql);
/** The log of a device in a room, oldest first. */
const log = (device, room) => rows(`SELECT l.section, l.gap, l.limited, l.prev_batch, l.next_batch, l.state,
    array_to_string(ARRAY(SELECT e.event_id FROM unnest(l.events) WITH ORDINALITY u(ref, n) JOIN matrix_sync.event e ON e.ref = u.ref ORDER BY n), ' '),
    l.transaction_ids
  FROM matrix_sync.log l JOIN matrix_sync.device d ON d.id = l.device JOIN matrix_sync.room r ON r.id = l.room
  WHERE d.user_id = '${device.user_id}' AND d.device_id = '${device.device_id}' AND r.room_id = '${room}' ORDER BY l.seq`)
  .map(([section, gap, limited, prev_batch, next_batch, state, events, transaction_ids]) => ({
    section: Number(section), gap: gap === 't', limited: limited === 't', prev_batch, next_batch, state, events: events.split(' ').filter(Boolean), transaction_ids,
  }));
/** Event IDs of a state set, whole. */
const stateOf = (id) => rows(`WITH RECURSIVE chain AS (
    SELECT id, parent, refs, gone, 0 AS depth FROM matrix_sync.room_state WHERE id = ${id}
    UNION ALL SELECT s.id, s.parent, s.refs, s.gone, depth + 1 FROM matrix_sync.room_state s JOIN chain c ON s.id = c.parent)
  SELECT e.event_id FROM matrix_sync.event e WHERE e.ref IN (SELECT unnest(refs) FROM chain)
    AND e.ref NOT IN (SELECT unnest(coalesce(gone, '{}')) FROM chain) ORDER BY 1`).flat();
const body = (event_id) => JSON.parse(s.postgres.value(`SELECT convert_from(body, 'UTF8') FROM matrix_sync.event WHERE event_id = '${event_id}'`));
const ids = (...events) => events.map((event) => event.event_id);

test('a first poll: one entry a room, its timeline behind a gap, its state without members', async () => {
  const room = matrix.roomId();
  const [one, two] = [matrix.message('1'), matrix.message('2')];
  const part = matrix.room('@me:hs.test', [one, two]);
  const device = await started(matrix.join({ [room]: part }));
  const [entry, ...rest] = log(device, room);
  assert.equal(rest.length, 0);
  assert.deepEqual([entry.section, entry.gap, entry.limited, entry.prev_batch], [1, true, false, part.timeline.prev_batch]);
  assert.deepEqual(entry.events, ids(one, two));
  assert.deepEqual(stateOf(entry.state), ids(...part.state.events.filter((event) => event.type !== 'm.room.member')).sort());
  assert.deepEqual(rows(`SELECT version FROM matrix_sync.room WHERE room_id = '${room}'`), [['10']]);
});

test('a message appends an entry and copies the state; a topic makes another set', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  const message = matrix.message('1');
  const topic = matrix.state('m.room.topic', { topic: 'x' });
  await push(device, matrix.join({ [room]: matrix.more(message) }));
  await push(device, matrix.join({ [room]: matrix.more(topic) }));
  const [first, second, third] = log(device, room);
  assert.deepEqual(second.events, ids(message));
  assert.equal(second.gap, false);
  assert.equal(second.state, first.state);
  assert.notEqual(third.state, first.state);
  assert.deepEqual(stateOf(third.state), [...stateOf(first.state), topic.event_id].sort());
});

test('rule 9: devices share events and state sets, and each has its own log', async () => {
  const room = matrix.roomId();
  const part = matrix.room('@me:hs.test', [matrix.message('1')]);
  const devices = [await started(matrix.join({ [room]: part })), await started(matrix.join({ [room]: part }))];
  const logs = devices.map((device) => log(device, room));
  assert.ok(logs.every((each) => each.length === 1));
  assert.equal(logs[0][0].state, logs[1][0].state);
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.event WHERE event_id = '${part.timeline.events[0].event_id}'`), 1);
});

test('rule 10: a limited timeline is a gap, with the prev_batch that leads into it', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  const message = matrix.message('after the gap');
  await push(device, matrix.join({ [room]: { timeline: { events: [message], limited: true, prev_batch: 'into' } } }));
  const entry = log(device, room).pop();
  assert.deepEqual([entry.gap, entry.limited, entry.prev_batch, entry.next_batch], [true, true, 'into', device.batch(1)]);
});

test('rule 12: the state block changes the state without any event in the timeline', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  const topic = matrix.state('m.room.topic', { topic: 'unseen' });
  await push(device, matrix.join({ [room]: { state: { events: [topic] }, timeline: { events: [], limited: true, prev_batch: 'p' } } }));
  const entry = log(device, room).pop();
  assert.ok(stateOf(entry.state).includes(topic.event_id));
});

for (const name of ['state_after', 'org.matrix.msc4222.state_after']) {
  test(`rule 13: ${name} is the state after: a state event of the timeline that lost is not in it`, async () => {
    const room = matrix.roomId();
    const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
    const lost = matrix.state('m.room.topic', { topic: 'lost' });
    await push(device, matrix.join({ [room]: { [name]: { events: [] }, timeline: { events: [lost], limited: false, prev_batch: 'p' } } }));
    const entry = log(device, room).pop();
    assert.deepEqual(entry.events, ids(lost));
    assert.ok(!stateOf(entry.state).includes(lost.event_id));
  });
}

test('rule 17: of unsigned only what is the same for everyone is kept; the transaction ID is the device\'s own', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  const event = matrix.message('x', { unsigned: { age: 5, transaction_id: 'txn1', membership: 'join', 'm.relations': {}, replaces_state: '$old', prev_content: { a: 1 }, redacted_because: { type: 'x' }, 'org.example': 1 } });
  await push(device, matrix.join({ [room]: matrix.more(event, matrix.message('y', { unsigned: { age: 1 } })) }));
  assert.deepEqual(Object.keys(body(event.event_id).unsigned).sort(), ['prev_content', 'redacted_because', 'replaces_state']);
  assert.match(log(device, room).pop().transaction_ids, /^\{"?txn1"?,NULL\}$/);
});

test('events are the homeserver\'s bytes', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  const text = `{ "content":{"z" : 1.50,"a":"\\u00e9\u00e9\\u0000"},"event_id":"$bytes${process.pid}","type":"m.room.message","sender":"@a:hs.test","origin_server_ts":12 , "more":[ ]}`;
  await push(device, (next) => `{"next_batch":"${next}","rooms":{"join":{"${room}":{"timeline":{"events":[${text}]}}}}}`);
  assert.equal(s.postgres.value(`SELECT convert_from(body, 'UTF8') FROM matrix_sync.event WHERE event_id = '$bytes${process.pid}'`), text);
});

test('rule 16: a redaction empties the stored event, in the timeline and in the state, by the room\'s version', async () => {
  const room = matrix.roomId();
  const message = matrix.message('secret words');
  const topic = matrix.state('m.room.topic', { topic: 'secret topic' });
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id, [message, topic]) }));
  await push(device, matrix.join({ [room]: matrix.more(...[message, topic].map((each) => matrix.event({ type: 'm.room.redaction', redacts: each.event_id }))) }));
  for (const each of [message, topic]) {
    assert.deepEqual(body(each.event_id).content, {});
    assert.equal(body(each.event_id).type, each.type);
  }
  assert.ok(!s.postgres.dump().includes(Buffer.from('secret words').toString('hex')));
});

test('rule 16: room version 11 keeps the redacted event\'s ID in content', async () => {
  const room = matrix.roomId();
  const message = matrix.message('secret');
  const first = { state: { events: [matrix.create({ content: { room_version: '11' } })] }, timeline: { events: [message], prev_batch: 'p' } };
  const device = await started(matrix.join({ [room]: first }));
  await push(device, matrix.join({ [room]: matrix.more(matrix.event({ type: 'm.room.redaction', content: { redacts: message.event_id } })) }));
  assert.deepEqual(body(message.event_id).content, {});
});

test('rule 16: an event that comes after its redaction is redacted too', async () => {
  const room = matrix.roomId();
  const message = matrix.message('secret');
  const redaction = matrix.event({ type: 'm.room.redaction', redacts: message.event_id });
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id, [redaction]) }));
  await push(device, matrix.join({ [room]: matrix.more(message) }));
  assert.deepEqual(body(message.event_id).content, {});
});

test('rule 11: a joined room without m.room.create is asked for; where that is refused it is set aside', async () => {
  const [known, refused] = [matrix.roomId(), matrix.roomId()];
  const [create, message] = [matrix.create(), matrix.message('x')];
  s.homeserver.rooms[known] = { state: [create] };
  const device = await started();
  await push(device, matrix.join({ [known]: matrix.more(message), [refused]: matrix.more(matrix.message('y')) }));
  await until(() => log(device, known).length === 1, 'the room is there');
  const [entry] = log(device, known);
  assert.deepEqual(entry.events, ids(message));
  assert.deepEqual(stateOf(entry.state), ids(create));
  assert.deepEqual(rows(`SELECT room_id FROM matrix_sync.set_aside WHERE room_id IN ('${known}', '${refused}')`), [[refused]]);
  assert.equal(log(device, refused).length, 0);
});

test('rule 11: a stray leave makes no room', async () => {
  const room = matrix.roomId();
  const device = await started();
  await push(device, { rooms: { leave: { [room]: matrix.more(matrix.member(device.user_id, 'leave')) } } });
  assert.ok(log(device, room).every((entry) => entry.section === 2 && entry.state === ''));
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.room_state s JOIN matrix_sync.room r ON r.id = s.room WHERE r.room_id = '${room}'`), 0);
});

test('a leave is an entry, and a join after it begins with a gap (rule 15)', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  await push(device, { rooms: { leave: { [room]: matrix.more(matrix.member(device.user_id, 'leave')) } } });
  await push(device, matrix.join({ [room]: matrix.room(device.user_id, [matrix.member(device.user_id)]) }));
  const entries = log(device, room);
  assert.deepEqual(entries.map((entry) => entry.section), [1, 2, 1]);
  assert.equal(entries[2].gap, true);
});

test('members are in no state set', () => {
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.room_state s, unnest(s.refs) ref JOIN matrix_sync.event e USING (ref) WHERE e.type = 'm.room.member'`), 0);
});

test('since is stored with what it acknowledges', async () => {
  const device = await started();
  await push(device, { to_device: { events: [matrix.toDevice('1')] }, account_data: { events: [{ type: 'a', content: {} }] }, device_lists: { changed: ['@a:b'], left: [] } });
  const where = `d.user_id = '${device.user_id}'`;
  assert.deepEqual(rows(`SELECT since FROM matrix_sync.device d WHERE ${where}`), [[device.batch(1)]]);
  for (const table of ['to_device', 'account_data', 'device_list']) {
    assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.${table} t JOIN matrix_sync.device d ON d.id = t.device WHERE ${where}`), 1, table);
  }
});

test('an answer that says nothing writes no log entry', async () => {
  const room = matrix.roomId();
  const device = await started((own) => matrix.join({ [room]: matrix.room(own.user_id) }));
  await push(device, {});
  await push(device, { account_data: { events: [{ type: 'a', content: {} }] } });
  assert.equal(log(device, room).length, 1);
});

test('a large room: 300 state events, changed one by one', async () => {
  const room = matrix.roomId();
  const many = Array.from({ length: 300 }, (_, i) => matrix.event({ type: 'org.example.state', state_key: `${i}`, content: { i } }));
  const create = matrix.create();
  const device = await started(matrix.join({ [room]: { state: { events: [create, ...many] }, timeline: { events: [], prev_batch: 'p' } } }));
  const changed = [];
  for (let i = 0; i < 5; i++) {
    const event = matrix.event({ type: 'org.example.state', state_key: `${i}`, content: { again: i } });
    changed.push(event);
    await push(device, matrix.join({ [room]: matrix.more(event) }));
  }
  const expected = ids(create, ...changed, ...many.slice(5)).sort();
  assert.deepEqual(stateOf(log(device, room).pop().state), expected);
});
