#!/usr/bin/env node
// Answers of the homeserver that are wrong, cut off or meant to do harm (rule 33); one bad room does not stop the others (rule 3).
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage();
const asks = { to_device: {} };
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const patience = 60_000;

async function started(room) {
  const device = s.homeserver.device();
  if (room) device.initial = matrix.join({ [room]: matrix.room(device.user_id) });
  const session = s.session(device);
  await session.sync(room ? { ...asks, typing: { room_id: room } } : asks);
  await device.stored();
  return { device, session };
}

/** The answer fails as a whole: it is asked for again, and a good one counts once. */
function failing(name, fault) {
  test(`${name}: nothing of it counts, and it is asked for again`, async () => {
    const { device, session } = await started();
    device.failPolls(typeof fault === 'function' ? fault(device) : fault);
    device.toDevice(matrix.toDevice('1'));
    assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, '', patience)), ['1']);
    await device.stored();
    assert.deepEqual(bodies(await session.sync()), []);
  }, { limit: 90_000 });
}

const deep = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const good = (device, more) => `{"next_batch":"${device.batch(1)}","to_device":{"events":[{"type":"m.test","content":{"body":"never"}}]}${more}`;
for (const bytes of [0, 1, 20, 60, 100]) failing(`cut after ${bytes} bytes`, { cut: bytes });
failing('the connection is reset', { reset: true });
failing('empty', { raw: '' });
failing('not JSON', { raw: '<html>Bad Gateway</html>' });
failing('an array', { raw: '[]' });
failing('null', { raw: 'null' });
failing('a 200 that is an error', { raw: '{"errcode":"M_UNKNOWN","error":"x"}' });
failing('no next_batch', { raw: '{"to_device":{"events":[{"type":"m.test","content":{"body":"never"}}]}}' });
failing('a next_batch that is a number', { raw: '{"next_batch":5,"to_device":{"events":[{"type":"m.test","content":{"body":"never"}}]}}' });
failing('too deep', (device) => ({ raw: good(device, `,"x":${deep(5000)}}`) }));
failing('too deep by far, and never closed', (device) => ({ raw: good(device, `,"x":${'['.repeat(2_000_000)}`) }));
failing('not UTF-8', (device) => ({ raw: Buffer.from(good(device, '}').replace('never', '\xff\xfe'), 'latin1') }));
failing('rubbish behind it', (device) => ({ raw: good(device, '} x') }));
failing('rooms that are a number', (device) => ({ raw: good(device, ',"rooms":5}') }));
failing('joined rooms that are an array', (device) => ({ raw: good(device, ',"rooms":{"join":[]}}') }));
failing('to-device messages that are an object', (device) => ({ raw: `{"next_batch":"${device.batch(1)}","to_device":{"events":{}}}` }));
failing('204', { status: 204, body: '' });
failing('a redirect', { status: 302, body: '', headers: { location: 'http://127.0.0.1:1/' } });
failing('X-Accel-Redirect', { raw: '{}', headers: { 'x-accel-redirect': '/worker' } });

/** One room of the answer is bad: it is set aside (or the bad part left out), the other room and to-device messages arrive. */
function oneBadRoom(name, part, { aside = true } = {}) {
  test(`rule 3: ${name}: the others go on`, async () => {
    const room = matrix.roomId();
    const { device, session } = await started(room);
    const bad = matrix.roomId();
    const text = typeof part === 'function' ? part() : part;
    const typing = JSON.stringify(matrix.typing(room, '@typist:hs.test').rooms.join[room]);
    device.push((next) => Buffer.concat([`{"rooms":{"join":{"${bad}":`, text,
      `,"${room}":${typing}}},"to_device":{"events":[${JSON.stringify(matrix.toDevice('1'))}]},"next_batch":"${next}"}`].map((each) => Buffer.from(each))));
    let typists;
    await session.syncUntil((json) => { typists = json.typing?.events[0].content.user_ids || typists; return json.to_device; }, '', patience);
    assert.deepEqual(typists, ['@typist:hs.test']);
    await device.stored();
    assert.equal(device.polls.filter((poll) => poll.query.since === device.batch(0)).length, 1, 'the answer is not asked for again');
    if (aside) {
      assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.set_aside WHERE room_id = '${bad}'`), 1);
      assert.match(s.nginx.log(), new RegExp(`${bad.replace(/[!.]/g, '\\$&')}`), 'a log line names the room');
    }
  }, { limit: 90_000 });
}

const event = (more) => JSON.stringify(matrix.message('x')).replace(/}$/, `,${more}}`);
const created = (...events) => `{"state":{"events":[${JSON.stringify(matrix.create())}]},"timeline":{"events":[${events.join(',')}]}}`;
const withField = (name, value) => () => {
  const fields = matrix.message('x');
  delete fields[name];
  return created(`{${value === undefined ? '' : `"${name}":${value},`}${JSON.stringify(fields).slice(1)}`);
};
oneBadRoom('a room that is a number', '5');
oneBadRoom('a timeline that is a number', '{"timeline":5}');
oneBadRoom('events that are an object', '{"timeline":{"events":{}}}');
oneBadRoom('an event that is a string', created('"event"'));
oneBadRoom('an event without ID', withField('event_id'));
oneBadRoom('an event ID that is a number', withField('event_id', '17'));
oneBadRoom('an event ID with U+0000', withField('event_id', '"$a\\u0000b"'));
oneBadRoom('an event ID of 5,000 bytes', () => withField('event_id', `"$${'x'.repeat(5000)}"`)());
oneBadRoom('an event without type', withField('type'));
oneBadRoom('a sender that is null', withField('sender', 'null'));
oneBadRoom('a state key that is an object', () => created(event('"state_key":{}')));
oneBadRoom('no m.room.create and no way to learn of it (rule 11)', JSON.stringify(matrix.more(matrix.message('x'))));
const harmless = { aside: false };
oneBadRoom('a type with U+0000', withField('type', '"m.\\u0000"'), harmless);
oneBadRoom('a type with a lone surrogate', withField('type', '"m.\\ud800"'), harmless);
oneBadRoom('not UTF-8', () => Buffer.from(created(event('"x":"\xff"')), 'latin1'));
oneBadRoom('U+0000 and lone surrogates in content', () => created(event('"x":"\\u0000\\ud800"')), harmless);
oneBadRoom('a time beyond all numbers', withField('origin_server_ts', '1e400'), harmless);
oneBadRoom('a time below zero', withField('origin_server_ts', '-99999999999999999999'), harmless);
oneBadRoom('no time', withField('origin_server_ts'), harmless);
oneBadRoom('a key twice in an event', () => created(event('"content":{"again":1},"content":{}')), harmless);
oneBadRoom('unsigned that is a number', () => created(event('"unsigned":5')), harmless);
oneBadRoom('content that is a string', withField('content', '"x"'), harmless);
oneBadRoom('typists that are numbers', '{"ephemeral":{"events":[{"type":"m.typing","content":{"user_ids":[1,null]}}]}}', harmless);
oneBadRoom('an event of 2 MB', () => created(event(`"x":"${'x'.repeat(2_000_000)}"`)), harmless);
oneBadRoom('the same event twice', () => { const one = event('"x":1'); return created(one, one); }, harmless);
oneBadRoom('a state key of 100,000 bytes', () => created(event(`"state_key":"${'x'.repeat(100_000)}"`)), harmless);

test('rule 3: the room is tried again, and its parts are in it then', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  const room = matrix.roomId();
  await session.sync(asks);
  const first = matrix.message('first');
  device.push(matrix.join({ [room]: matrix.more(first) }));
  await device.stored();
  assert.equal(s.postgres.value(`SELECT count(*) FROM matrix_sync.set_aside WHERE room_id = '${room}'`), 1);
  s.homeserver.rooms[room] = { state: [matrix.create(), matrix.state('m.room.name', { name: 'Found' })] };
  const second = matrix.message('second');
  device.push(matrix.join({ [room]: matrix.more(second) }));
  await until(() => s.postgres.value(`SELECT count(*) FROM matrix_sync.set_aside WHERE room_id = '${room}'`) === 0, 'nothing is set aside any more', 30_000);
  const known = s.postgres.query(`SELECT event_id FROM matrix_sync.event e JOIN matrix_sync.room r ON r.id = e.room WHERE r.room_id = '${room}'`).flat();
  for (const each of [first, second]) assert.ok(known.includes(each.event_id));
});

/** Outside rooms: nothing may wedge the device; what is fine in the answer arrives. */
function elsewhere(name, more) {
  test(`${name}: to-device messages arrive`, async () => {
    const { device, session } = await started();
    device.push((next) => `{"to_device":{"events":[${JSON.stringify(matrix.toDevice('1'))}]},${more},"next_batch":"${next}"}`);
    assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device, { e2ee: {}, account_data: {} }, patience)), ['1']);
    await device.stored();
  }, { limit: 90_000 });
}
elsewhere('a user ID of 5,000 bytes in device lists', `"device_lists":{"changed":["@${'x'.repeat(5000)}"],"left":[]}`);
elsewhere('a user ID with U+0000 in device lists', '"device_lists":{"changed":["@a\\u0000:b","@fine:hs.test"],"left":null}');
elsewhere('an account data type of 5,000 bytes', `"account_data":{"events":[{"type":"${'x'.repeat(5000)}","content":{}}]}`);
elsewhere('an account data type with U+0000', '"account_data":{"events":[{"type":"a\\u0000","content":{}},{"type":"b","content":{"x":"\\u0000"}}]}');
elsewhere('the same user twice in device lists', '"device_lists":{"changed":["@a:b","@a:b"],"left":["@a:b"]}');
elsewhere('the same account data twice', '"account_data":{"events":[{"type":"a","content":{}},{"type":"a","content":{"n":2}}]}');
elsewhere('key counts beyond all numbers', '"device_one_time_keys_count":{"a":1e400,"b":123456789012345678901234567890}');
elsewhere('null for everything', '"rooms":null,"account_data":null,"device_lists":null,"device_one_time_keys_count":null,"device_unused_fallback_key_types":null,"presence":null');
elsewhere('a room ID of 5,000 bytes', `"rooms":{"join":{"!${'x'.repeat(5000)}":{"timeline":{"events":[]}}}}`);
elsewhere('a room ID with U+0000', '"rooms":{"join":{"!a\\u0000":{"timeline":{"events":[]}}}}');
elsewhere('the same room twice', '"rooms":{"join":{"!twice:hs.test":{},"!twice:hs.test":{}}}');
elsewhere('left and joined at once', '"rooms":{"join":{"!both:hs.test":{}},"leave":{"!both:hs.test":{}},"invite":{"!both:hs.test":{}}}');
elsewhere('unknown keys, deep but not too deep', `"org.example":${deep(90)}`);

for (const [name, raw] of [['not JSON', 'x'], ['no user_id', '{}'], ['an array', '[]'], ['a user_id that is a number', '{"user_id":1,"device_id":"D"}'], ['U+0000', '{"user_id":"@a\\u0000:hs.test","device_id":"D"}']]) {
  test(`whoami: ${name}: nothing is served, and it is no logout`, async () => {
    const device = s.homeserver.device();
    device.failWhoami({ raw }, Infinity);
    const answer = await s.session(device).ask();
    assert.equal(answer.status, 502);
    s.homeserver.heal();
  });
}

test('what PostgreSQL cannot hold, in the parameters of one user, is no error, and none of another who waits for the same', async () => {
  const room = matrix.roomId();
  const sender = '@sender:hs.test';
  const devices = [s.homeserver.device(), s.homeserver.device()];
  const made = { state: { events: [matrix.create(), ...devices.map(({ user_id }) => matrix.member(user_id)), matrix.member(sender)] },
    timeline: { events: [], limited: false, prev_batch: 'p' } };
  for (const device of devices) device.initial = matrix.join({ [room]: made });
  const sessions = devices.map((device) => s.session(device));
  const names = [[['m.room.member', '\u0000'], ['m.room.member', sender]], [['m.room.member', sender]]];
  for (const [i, session] of sessions.entries()) await session.sync({ room_list: { required_state: names[i] } });
  for (let i = 0; i < 5; i++) {
    const waits = sessions.map((session) => session.sync({}, { timeout: 20_000 }));
    await s.waiting(2);
    const events = [matrix.member('@someone:hs.test', 'join', { content: { membership: 'join', displayname: `n${i}` } }), matrix.message('x', { sender })];
    for (const device of devices) device.push(matrix.join({ [room]: matrix.more(...events) }));
    await Promise.all(waits);
    for (const device of devices) await device.stored();
  }
});

test('a 401 with a body that is no JSON is still a 401 for the client', async () => {
  const device = s.homeserver.device();
  device.failWhoami({ status: 401, body: '<html>' }, Infinity);
  const answer = await s.session(device).ask();
  s.homeserver.heal();
  assert.ok([401, 502].includes(answer.status));
  assert.equal(typeof answer.json.errcode, 'string');
});
