#!/usr/bin/env node
// Gaps in timelines, what changes inside them or without any event, member lists that are not known in whole, and redactions
// (rules 10, 12, 13, 16).
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ directives: 'matrix_sync_max_timeout 60s; matrix_sync_sessions_per_device 64;' });
const [alice, bob, carol] = ['@alice:hs.test', '@bob:hs.test', '@carol:hs.test'];
const long = { timeout: 30_000 };

const ids = (events) => events.map((event) => event.event_id);
const messages = (count, word, fields) => Array.from({ length: count }, (_, i) => matrix.message(`${word} ${i}`, fields));
const topic = (text, fields) => matrix.state('m.room.topic', { topic: text }, fields);
const name = (text, fields) => matrix.state('m.room.name', { name: text }, fields);
const stateOf = (events, type, key = '') => events.find((event) => event.type === type && event.state_key === key);
let tokens = 0;
/** A room's part with a hole before its events. */
const gap = (events, more = {}) => ({ timeline: { events, limited: true, prev_batch: `gap${++tokens}` }, ...more });

/** A device in one room; its state is what is given, with create and the user. */
function inRoom({ state = [], part, version = '10', user, room = matrix.roomId() } = {}) {
  const device = s.homeserver.device(user);
  const base = [matrix.create({ content: { room_version: version, creator: alice } }), matrix.member(device.user_id, 'join')];
  const first = part || { timeline: { events: messages(3, 'first'), limited: false, prev_batch: 'start' } };
  device.initial = matrix.join({ [room]: { ...first, state: { events: [...base, ...state] } } });
  const members = [base[1], ...state.filter((event) => event.type === 'm.room.member')];
  s.homeserver.rooms[room] = { members };
  const say = async (more) => {
    device.push(matrix.join({ [room]: more }));
    await device.stored();
  };
  const asks = {
    stream: { room: { room_id: room, timeline_limit: 50 } },
    list: { room_list: { timeline_limit: 50 } },
    people: { room_members: { room_id: room } },
  };
  return { device, room, base, members, say, session: s.session(device), ...asks };
}
const fresh = async (device, body) => s.session(device).sync(body);

test('rule 10: a limited timeline: only what came behind the gap, and the token that leads into it', async () => {
  const { device, session, stream, list, say } = inRoom();
  const listing = s.session(device);
  assert.equal((await session.sync(stream)).room.timeline.limited, false);
  assert.equal((await listing.sync(list)).room_list.rooms[0].timeline.limited, false);
  const part = gap(messages(4, 'behind the gap'));
  await say(part);
  const wanted = { events: ids(part.timeline.events), limited: true, prev_batch: part.timeline.prev_batch };
  const shape = (timeline) => ({ ...timeline, events: ids(timeline.events) });
  const delta = (await session.sync()).room;
  assert.equal(delta.initial, false);
  assert.deepEqual(shape(delta.timeline), wanted);
  assert.deepEqual(shape((await listing.sync()).room_list.rooms[0].timeline), wanted);
  const whole = await fresh(device, { ...stream, ...list });
  assert.deepEqual(shape(whole.room.timeline), wanted);
  assert.deepEqual(shape(whole.room_list.rooms[0].timeline), wanted);
});

test('rule 10: after a gap: deltas without one are not limited, and the whole begins behind it', async () => {
  const { device, session, stream, list, say } = inRoom();
  await session.sync(stream);
  const part = gap(messages(2, 'behind'));
  await say(part);
  await session.sync();
  const next = matrix.more(...messages(3, 'next'));
  await say(next);
  const delta = (await session.sync()).room.timeline;
  assert.deepEqual([ids(delta.events), delta.limited], [ids(next.timeline.events), false]);
  const whole = await fresh(device, { ...stream, ...list });
  for (const timeline of [whole.room.timeline, whole.room_list.rooms[0].timeline]) {
    assert.deepEqual(ids(timeline.events), ids([...part.timeline.events, ...next.timeline.events]));
    assert.deepEqual([timeline.limited, timeline.prev_batch], [true, part.timeline.prev_batch]);
  }
  const short = (await fresh(device, { room: { ...stream.room, timeline_limit: 3 } })).room.timeline;
  assert.deepEqual([ids(short.events), short.limited, short.prev_batch], [ids(next.timeline.events), true, next.timeline.prev_batch]);
});

test('several gaps in one answer: it begins at the last one', async () => {
  const { session, stream, say } = inRoom();
  await session.sync(stream);
  await say(gap(messages(2, 'one')));
  await say(matrix.more(...messages(1, 'between')));
  const last = gap(messages(2, 'two'));
  await say(last);
  const end = matrix.more(...messages(1, 'end'));
  await say(end);
  const { timeline } = (await session.sync()).room;
  assert.deepEqual(ids(timeline.events), ids([...last.timeline.events, ...end.timeline.events]));
  assert.deepEqual([timeline.limited, timeline.prev_batch], [true, last.timeline.prev_batch]);
});

test('a first timeline that does not reach back to m.room.create is limited', async () => {
  const part = gap(messages(3, 'newest'));
  const { device, stream } = inRoom({ part });
  const { timeline } = (await fresh(device, stream)).room;
  assert.deepEqual({ ...timeline, events: ids(timeline.events) }, { ...part.timeline, events: ids(part.timeline.events) });
});

test('more than timeline_limit without a gap: the newest, limited, and the token leads to the rest', async () => {
  const { device, session, room, say } = inRoom();
  const body = { room: { room_id: room, timeline_limit: 2 } };
  await session.sync(body);
  const parts = Array.from({ length: 4 }, () => matrix.more(...messages(1, 'one by one')));
  for (const part of parts) await say(part);
  for (const { timeline } of [(await session.sync()).room, (await fresh(device, body)).room]) {
    assert.deepEqual(ids(timeline.events), ids(parts.slice(2).flatMap((part) => part.timeline.events)));
    assert.deepEqual([timeline.limited, timeline.prev_batch], [true, parts[2].timeline.prev_batch]);
  }
});

test('a gap with nothing to show is a gap all the same', async () => {
  const { device, session, stream, say } = inRoom();
  device.initial.account_data = { events: [{ type: 'm.ignored_user_list', content: { ignored_users: { [bob]: {} } } }] };
  await session.sync(stream);
  const part = gap(messages(3, 'ignored', { sender: bob }));
  await say(part);
  for (const { timeline } of [(await session.sync()).room, (await fresh(device, stream)).room]) {
    // Nothing is shown, so the way back leads over all that was hidden, too: it begins behind the answer that held it.
    assert.deepEqual(timeline, { events: [], limited: true, prev_batch: device.batch(device.position(timeline.prev_batch)) });
  }
});

for (const kind of ['state', 'org.matrix.msc4222.state_after', 'state_after']) {
  test(`state that changed inside a gap (${kind}): in state_after, and in the list`, async () => {
    const state = [name('before'), topic('before'), matrix.state('m.room.avatar', { url: 'mxc://a/b' })];
    const { device, session, stream, list, say } = inRoom({ state });
    const listing = s.session(device);
    await session.sync(stream);
    await listing.sync(list);
    const inside = [name('inside'), topic('inside')];
    const behind = name('behind');
    // The block is the state before the timeline, or after it.
    const block = kind === 'state' ? inside : [behind, inside[1]];
    await say(gap([...messages(1, 'x'), behind], { [kind]: { events: block }, summary: { 'm.joined_member_count': 7 } }));
    const delta = (await session.sync()).room;
    assert.deepEqual(ids(delta.state_after.events).sort(), [behind.event_id, inside[1].event_id].sort());
    assert.equal(delta.name, 'behind');
    const [entry] = (await listing.sync()).room_list.rooms;
    assert.deepEqual([entry.name, entry.joined_count], ['behind', 7]);
    const whole = await fresh(device, { ...stream, ...list });
    const now = [behind, inside[1], state[2]];
    assert.deepEqual(now.map(({ type }) => stateOf(whole.room.state_after.events, type).event_id), ids(now));
    assert.equal(whole.room_list.rooms[0].name, 'behind');
  });
}

for (const kind of ['org.matrix.msc4222.state_after', 'state_after']) {
  test(`rule 12: a state reset (${kind}): state goes back without any event`, async () => {
    const old = [name('old'), topic('old')];
    const { device, session, stream, list, say } = inRoom({ state: old });
    const listing = s.session(device);
    await session.sync(stream);
    await listing.sync(list);
    await say({ ...matrix.more(name('new'), topic('new')), [kind]: { events: [] } });
    await session.sync();
    await listing.sync();
    // With state-after it is the block that counts: so far nothing has changed.
    assert.equal(stateOf((await fresh(device, stream)).room.state_after.events, 'm.room.topic').content.topic, 'old');
    const now = [name('now'), topic('now')];
    await say({ ...matrix.more(...now), [kind]: { events: now } });
    assert.deepEqual(ids((await session.sync()).room.state_after.events).sort(), ids(now).sort());
    assert.equal((await listing.sync()).room_list.rooms[0].name, 'now');
    await say({ timeline: { events: [], limited: false, prev_batch: 'p' }, [kind]: { events: old } });
    const delta = (await session.sync()).room;
    assert.deepEqual(ids(delta.state_after.events).sort(), ids(old).sort());
    assert.equal(delta.timeline, undefined);
    assert.equal(delta.name, 'old');
    assert.equal((await listing.sync()).room_list.rooms[0].name, 'old');
    const whole = (await fresh(device, stream)).room;
    assert.deepEqual(['m.room.name', 'm.room.topic'].map((type) => stateOf(whole.state_after.events, type).event_id), ids(old));
  });
}

test('rule 12: what a gap says of the state is this device\'s: another one\'s is what its own polls said', async () => {
  const first = inRoom({ state: [topic('before')] });
  const { room } = first;
  const other = s.homeserver.device();
  const before = first.device.initial.rooms.join[room];
  other.initial = matrix.join({ [room]: { ...before, state: { events: [...before.state.events, matrix.member(other.user_id)] } } });
  const session = s.session(other);
  await first.session.sync(first.stream);
  await session.sync(first.stream);
  const inside = topic('inside');
  await first.say(gap(messages(1, 'x'), { state: { events: [inside] } }));
  assert.deepEqual(ids((await first.session.sync()).room.state_after.events), [inside.event_id]);
  assert.equal((await session.sync()).room, undefined);
  assert.equal(stateOf((await fresh(other, first.stream)).room.state_after.events, 'm.room.topic').content.topic, 'before');
});

const asksMembers = (seen, room) => decodeURIComponent(seen.path) === `/_matrix/client/v3/rooms/${room}/members`;
const requests = (room) => s.homeserver.requests.filter((seen) => asksMembers(seen, room)).length;
const users = (json) => json.room_members.events.map((event) => event.state_key);

test('rule 10: members: asked for at the first look and after each gap, and not otherwise', async () => {
  const member = matrix.member(bob);
  const { device, session, room, people, members, say } = inRoom({ state: [member] });
  const first = (limit) => ({ room_members: { room_id: room, p: { since: '1', ...(limit && { limit }) } } });
  await session.sync();
  assert.equal(requests(room), 0, 'nobody looks');
  assert.equal(users(await session.sync(first())).length, 2);
  assert.equal(requests(room), 1);
  await fresh(device, people);
  await session.sync(first());
  await session.sync(first(1));
  assert.equal(requests(room), 1, 'no gap');
  // The poll that brings it must have been asked after the list, or nobody could tell which of the two is newer.
  await say(matrix.more(...messages(2, 'x')));
  const joins = matrix.member(carol);
  members.push(joins);
  await say(matrix.more(...messages(2, 'x'), joins));
  assert.deepEqual(users(await session.sync()), [carol]);
  assert.ok(users(await fresh(device, people)).includes(carol));
  assert.equal(requests(room), 1, 'a member event is no gap');

  const inside = [matrix.member('@inside:hs.test'), matrix.member(bob, 'leave')];
  const shown = matrix.member('@shown:hs.test');
  s.homeserver.rooms[room].members = [members[0], ...inside, joins, shown];
  await say(gap([...messages(1, 'x'), shown]));
  const delta = (await session.sync()).room_members;
  assert.deepEqual([ids(delta.events), delta.limited], [[shown.event_id], true]);
  assert.equal(requests(room), 1, 'deltas ask for nothing');
  const here = [device.user_id, carol, '@inside:hs.test', '@shown:hs.test'].sort();
  assert.deepEqual(users(await session.sync(first(50))).sort(), here);
  assert.equal(requests(room), 2, 'the look after the gap');
  assert.deepEqual(users(await fresh(device, people)).sort(), here);
  assert.equal(requests(room), 2, 'that was the look');
});

test('a gap in another room is nothing to this one\'s members', async () => {
  const { device, session, room, people } = inRoom();
  const other = matrix.roomId();
  await session.sync(people);
  device.push(matrix.join({ [other]: { ...matrix.room(device.user_id), ...gap(messages(2, 'x')) } }));
  device.push(matrix.join({ [other]: gap(messages(2, 'x')) }));
  await device.stored();
  await fresh(device, people);
  assert.deepEqual([requests(room), requests(other)], [1, 0]);
});

test('all members as required state: after a gap those that changed inside it', async () => {
  const { device, session, room, members, say } = inRoom({ state: [matrix.member(bob)] });
  const body = { room: { room_id: room, required_state: [['m.room.member', '*']] } };
  const of = (json) => Object.fromEntries(json.room.state_after.events.map((event) => [event.state_key, event.content.membership]));
  assert.deepEqual(of(await session.sync(body)), { [device.user_id]: 'join', [bob]: 'join' });
  s.homeserver.rooms[room].members = [members[0], matrix.member(bob, 'leave'), matrix.member(carol)];
  await say(gap(messages(1, 'x')));
  const told = of(await session.sync());
  assert.deepEqual([told[bob], told[carol]], ['leave', 'join']);
});

test('a member that left by a state reset is on no page', async () => {
  const { device, session, people, members, room, say } = inRoom({ state: [matrix.member(bob), matrix.member(carol)] });
  assert.equal((await session.sync(people)).room_members.p.count, 3);
  const gone = matrix.member(bob, 'leave');
  s.homeserver.rooms[room].members = [members[0], gone, members[2]];
  await say({ timeline: { events: [], limited: false, prev_batch: 'p' }, 'org.matrix.msc4222.state_after': { events: [gone] } });
  assert.deepEqual(users(await fresh(device, people)).sort(), [device.user_id, carol].sort());
});

const faults = {
  500: { status: 500, body: { errcode: 'M_UNKNOWN', error: 'Internal' } },
  503: { status: 503, body: '' },
  'half an answer': { raw: '{"chunk":[' },
  'no JSON': { raw: 'nonsense' },
  'an answer that breaks off': { cut: 15 },
};
const failMembers = (room, fault, times) =>
  s.homeserver.fail((seen) => asksMembers(seen, room), fault, times);

for (const [what, fault] of Object.entries(faults)) {
  test(`/members fails (${what}): 502, and nothing changes`, async () => {
    const { device, room, session, people, say } = inRoom();
    await session.sync({ to_device: {} });
    device.toDevice(matrix.toDevice('kept'));
    await device.stored();
    failMembers(room, fault, Infinity);
    for (let i = 0; i < 2; i++) {
      const { status, json } = await session.ask({ to_device: {}, room_members: { ...people.room_members, p: { since: '1' } } });
      assert.deepEqual([status, json.errcode], [502, 'M_UNKNOWN']);
    }
    assert.equal((await s.session(device).ask(people)).status, 502);
    const kept = await session.sync();
    assert.equal(kept.to_device.events.length, 1, 'the message is still there');
    assert.equal(kept.room_members, undefined, 'no parameter has stuck');
    s.homeserver.heal();
    const page = (await session.sync({ room_members: { ...people.room_members, p: { since: '1' } } })).room_members;
    assert.equal(page.p.count, 1);
    // The same after a gap, of a list that was known; also for one who waits.
    failMembers(room, fault, Infinity);
    const waiting = session.ask({ room_members: { p: { since: '1' } } }, long);
    await s.waiting(1);
    await say(gap([matrix.member(bob)]));
    assert.equal((await waiting).status, 502);
    s.homeserver.heal();
    s.homeserver.rooms[room].members.push(matrix.member(bob));
    assert.equal((await session.sync({ room_members: { p: { since: '1' } } })).room_members.p.count, 2);
  });
}

for (const status of [403, 404]) {
  test(`the homeserver answers ${status} to /members: silence`, async () => {
    const { device, room, session, people, stream } = inRoom();
    failMembers(room, { status, body: { errcode: 'M_FORBIDDEN', error: 'No' } }, Infinity);
    const json = await session.sync({ ...people, ...stream });
    assert.equal(json.room_members, undefined);
    assert.equal(json.room.room_id, room, 'the other streams speak');
    s.homeserver.heal();
    assert.equal((await fresh(device, people)).room_members.p.count, 1);
  });
}

test('a homeserver that ignores lazy loading: the same to the client', async () => {
  const crowd = Array.from({ length: 9 }, (_, i) => ({
    id: `@m${(i * 4) % 9}:hs.test`, content: { membership: i === 7 ? 'invite' : 'join', ...(i % 3 && { displayname: `Name ${8 - i}` }) },
  }));
  const user = '@looker:hs.test';
  const build = (lazy) => {
    const levels = matrix.state('m.room.power_levels', { users: { '@m3:hs.test': 50, '@m5:hs.test': 100 } });
    const members = crowd.map(({ id, content }) => matrix.member(id, content.membership, { content }));
    const sender = '@m1:hs.test';
    const part = { timeline: { events: messages(2, 'x', { sender }), limited: false, prev_batch: 'p' } };
    const heroes = crowd.slice(0, 5).map((each) => each.id);
    if (lazy) part.summary = { 'm.heroes': heroes, 'm.joined_member_count': 9, 'm.invited_member_count': 1 };
    const shown = members.filter((event) => !lazy || [...heroes, sender].includes(event.state_key));
    const made = inRoom({ user, part, state: [levels, ...shown] });
    s.homeserver.rooms[made.room].members = [made.base[1], ...members];
    return made;
  };
  const pages = async ({ device, room }, sort) => {
    const session = s.session(device);
    const all = [];
    let json = await session.sync({ room_members: { room_id: room, p: { limit: 4, sort } } });
    for (;;) {
      const { events, p: { next, ...p } } = json.room_members;
      all.push({ p, events: events.map(({ state_key, content }) => ({ state_key, content })) });
      if (!next) return all;
      json = (await session.ask({ room_members: { p: { since: next } } })).json;
    }
  };
  const [lazy, whole] = [build(true), build(false)];
  for (const sort of ['by_pl', 'by_name']) {
    const got = await pages(lazy, sort);
    assert.equal(got.flatMap((page) => page.events).length, 10);
    assert.deepEqual(await pages(whole, sort), got);
  }
  const listed = async ({ device }) => {
    const [{ joined_count, invited_count }] = (await fresh(device, { room_list: {} })).room_list.rooms;
    return [joined_count, invited_count];
  };
  assert.deepEqual(await listed(lazy), [9, 1]);
  assert.deepEqual(await listed(whole), [9, 1]);
});

/** A redaction as a room of this version has it. */
const redaction = (version, { event_id }) => {
  const inContent = version === '11';
  const content = { reason: 'r', ...(inContent && { redacts: event_id }) };
  return matrix.event({ type: 'm.room.redaction', sender: alice, content, ...(!inContent && { redacts: event_id }) });
};

function assertRedacted(event, target, because, content = {}) {
  assert.equal(event.event_id, target.event_id);
  assert.deepEqual(event.content, content);
  assert.equal(event.unsigned.redacted_because.event_id, because.event_id);
  for (const name of ['type', 'sender', 'state_key', 'origin_server_ts']) assert.equal(event[name], target[name]);
}

for (const version of ['1', '11']) {
  test(`rule 16: version ${version}: a redacted message is empty in the timeline`, async () => {
    const { device, session, stream, list, say } = inRoom({ version });
    await session.sync(stream);
    const secret = matrix.message('secret');
    await say(matrix.more(secret));
    assert.equal((await session.sync()).room.timeline.events[0].content.body, 'secret');
    const because = redaction(version, secret);
    await say(matrix.more(because));
    const delta = (await session.sync()).room;
    assert.deepEqual(ids(delta.timeline.events), [because.event_id]);
    const whole = await fresh(device, { ...stream, ...list });
    for (const { events } of [whole.room.timeline, whole.room_list.rooms[0].timeline]) {
      assertRedacted(events.find((event) => event.event_id === secret.event_id), secret, because);
      assert.ok(!JSON.stringify(events).includes('secret'));
    }
  });

  test(`rule 16: version ${version}: a redaction that comes before what it redacts`, async () => {
    const { device, session, stream, say } = inRoom({ version, state: [topic('before')] });
    await session.sync(stream);
    const [secret, secretTopic] = [matrix.message('secret'), topic('secret')];
    const [one, two] = [secret, secretTopic].map((event) => redaction(version, event));
    await say(matrix.more(one, two));
    await session.sync();
    await say(matrix.more(secret, secretTopic));
    for (const { timeline, state_after } of [(await session.sync()).room, (await fresh(device, stream)).room]) {
      assertRedacted(timeline.events.find((event) => event.event_id === secret.event_id), secret, one);
      assertRedacted(stateOf(state_after.events, 'm.room.topic'), secretTopic, two);
      assert.ok(!JSON.stringify([timeline, state_after]).includes('secret'));
    }
    // And when it comes in one answer, redaction first, or in the state of a gap.
    const [third, fourth] = [matrix.message('secret'), topic('secret')];
    const [why, because] = [third, fourth].map((event) => redaction(version, event));
    await say(gap([why, third, because], { state: { events: [fourth] } }));
    for (const { timeline, state_after } of [(await session.sync()).room, (await fresh(device, stream)).room]) {
      assertRedacted(timeline.events[1], third, why);
      assertRedacted(stateOf(state_after.events, 'm.room.topic'), fourth, because);
      assert.ok(!JSON.stringify([timeline, state_after]).includes('secret'));
    }
  });

  test(`rule 16: version ${version}: redacted state, by the version's rules`, async () => {
    const levels = matrix.state('m.room.power_levels', { users: { [bob]: 50 }, invite: 30, notifications: { room: 20 } });
    const rules = matrix.state('m.room.join_rules', { join_rule: 'restricted', allow: [], more: 1 });
    const aliases = matrix.state('m.room.aliases', { aliases: ['#a:hs.test'] }, { state_key: 'hs.test' });
    const joined = { membership: 'join', displayname: 'Bob the secret', join_authorised_via_users_server: alice };
    const member = matrix.member(bob, 'join', { content: joined });
    const targets = [name('Secret name'), levels, rules, aliases, member];
    const { device, session, base, stream, list, people, say } = inRoom({ version, state: targets });
    const listing = s.session(device);
    assert.equal((await session.sync({ ...stream, ...people })).room.name, 'Secret name');
    await listing.sync(list);
    const because = [base[0], ...targets].map((event) => redaction(version, event));
    await say(matrix.more(...because));

    const whole = (await fresh(device, { ...stream, ...people, ...list }));
    const now = (type, key) => stateOf(whole.room.state_after.events, type, key);
    const v11 = version === '11';
    assertRedacted(now('m.room.create'), base[0], because[0], v11 ? { room_version: version, creator: alice } : { creator: alice });
    assertRedacted(now('m.room.name'), targets[0], because[1]);
    assertRedacted(now('m.room.power_levels'), levels, because[2], { users: { [bob]: 50 }, ...(v11 && { invite: 30 }) });
    assertRedacted(now('m.room.join_rules'), rules, because[3], { join_rule: 'restricted', ...(v11 && { allow: [] }) });
    assertRedacted(now('m.room.aliases', 'hs.test'), aliases, because[4], v11 ? {} : { aliases: ['#a:hs.test'] });
    const page = whole.room_members.events.find((event) => event.state_key === bob);
    assertRedacted(page, member, because[5], { membership: 'join', ...(v11 && { join_authorised_via_users_server: alice }) });
    assert.equal(whole.room.name, bob, 'without a name or display name: by the user ID');
    assert.equal(whole.room_list.rooms[0].name, bob);
    assert.ok(!/[Ss]ecret/.test(JSON.stringify(whole)));

    assert.equal((await session.sync()).room.name, bob);
    assert.equal((await listing.sync()).room_list.rooms[0].name, bob);
  });
}
