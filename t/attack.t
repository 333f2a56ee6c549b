#!/usr/bin/env node
// Rule 32, written as an attack: who was put out of a room, and who never was in it, gets nothing of it from any stream, with any parameters
// and any token, while others on the same database are in it on both workers. Everything of the room is a mark (lib/secret.js), and every
// answer is searched for marks. The first test shows that the same requests bring a member all of them.
'use strict';

const { test, assert } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { Secret, everything, marksIn } = require('./lib/secret');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, directives: 'matrix_sync_sessions_per_device 1000;' });
const nowhere = '!nowhere:hs.test';
const streams = (json) => Object.keys(json).filter((key) => key !== 'next').sort();
const both = async (device) => Promise.all(s.nginx.workerPids().map((pid) => s.sessionOn(pid, device)));
const ids = (part) => part.timeline.events.map((event) => event.event_id);

/** A room and two who are in it: of each, both workers have been asked for everything. */
async function scene(options) {
  const secret = new Secret(s.homeserver, options);
  const members = [s.homeserver.device(secret.user()), s.homeserver.device(secret.user())];
  secret.others = [secret.user('other'), secret.user('other')];
  secret.heroes = members.map((device) => device.user_id);
  for (const user of [...secret.heroes, ...secret.others]) secret.member(user);
  secret.past = [secret.say(secret.heroes[0]), secret.say(secret.others[0])];
  return { secret, members };
}

/** They come in, and look. */
async function enter({ secret, members }) {
  const whole = secret.whole(secret.past, secret.beside(secret.past[0], secret.heroes[0]));
  for (const device of members) device.initial = matrix.join({ [secret.id]: whole });
  await look({ secret, members });
}

async function look({ secret, members }) {
  const asks = everything(secret.id)[1];
  for (const device of members) for (const session of await both(device)) assert.ok((await session.sync(asks)).room_members, 'the member list was fetched');
}

/** Somebody with a room of their own that points to the secret one in every way; `part` is what the first poll has in `rooms` besides. */
function outsider(secret, part = () => ({}), device = s.homeserver.device()) {
  const own = device.own || matrix.roomId();
  const room = matrix.room(device.user_id, [matrix.message('own')], {
    account_data: { events: [{ type: 'm.tag', content: { tags: { 'm.favourite': {} } } }] },
  });
  room.state.events[0].content.predecessor = { room_id: secret.id };
  room.state.events.push(
    matrix.state('m.space.child', { via: ['hs.test'] }, { state_key: secret.id }),
    matrix.state('m.room.tombstone', { body: 'moved', replacement_room: secret.id }));
  room.state.events.forEach((event) => { event.origin_server_ts = 2_000_000_000_000; });
  const { join, ...rest } = part(device.user_id);
  device.initial = {
    rooms: { join: { [own]: room, ...join }, ...rest },
    account_data: { events: [{ type: 'm.direct', content: { '@a:hs.test': [secret.id] } }] },
  };
  return Object.assign(device, { own });
}

/** One who is in the room. */
function insider(secret, device = s.homeserver.device()) {
  secret.member(device.user_id);
  return outsider(secret, () => ({ join: { [secret.id]: secret.whole(secret.past, secret.beside(secret.past[0], secret.heroes[0])) } }), device);
}

/** Something of everything happens in the room; those who are in it look at it. */
async function goOn({ secret, members }, time = 'after') {
  secret.time = time;
  const [anna, bert] = secret.heroes;
  const newcomer = secret.user('newcomer');
  const message = secret.say(anna);
  const events = [message, ...secret.dress(anna), secret.member(newcomer), secret.member(secret.user('invitee'), 'invite', { sender: anna }),
    secret.member(secret.others[0], 'join'), secret.out(secret.others[1], 'ban', bert), secret.say(newcomer)];
  const part = { ...matrix.more(...events), ...secret.beside(message, newcomer) };
  for (const device of members) device.push(matrix.join({ [secret.id]: part }));
  for (const device of members) await device.stored();
  await look({ secret, members });
  return { newcomer };
}

const firstPage = (asks) => ({ ...asks, p: { ...asks?.p, since: '1' } });
const withFirstPages = (body) => ({ ...body, room_members: firstPage(body.room_members), room_list: firstPage(body.room_list) });

/** Every answer of an attack is searched; over() says what was found. */
class Attack {
  constructor(secret, device) {
    Object.assign(this, { secret, device, begun: s.homeserver.requests.length, leaks: [], known: new Set(), requests: 0 });
    this.pointers = marksIn(secret.id);   // the attacker's own room names it, and so may echoes of what was asked
  }

  /** Makes a request; marks that are not `allowed` are leaks. */
  async ask(session, body, { since, allowed = new Set(), statuses = [200] } = {}) {
    const answer = await session.ask(body, { since });
    this.requests++;
    const text = answer.body.toString('utf8');
    const asked = `${JSON.stringify(body).slice(0, 400)} since ${since} → ${answer.status} ${text.slice(0, 300)}`;
    assert.ok(statuses.includes(answer.status), asked);
    const found = [...marksIn(text)].filter((mark) => !allowed.has(mark) && !this.pointers.has(mark) && !this.known.has(mark));
    for (const mark of found) this.known.add(mark);
    if (found.length) this.leaks.push(`${found.map((mark) => `${mark} (${this.secret.marks.get(mark)})`).join(', ')} ← ${asked}`);
    return { status: answer.status, json: answer.json, text };
  }

  /** No stream but the list of the attacker's own room. */
  silent({ json, text }, body) {
    const asked = `${JSON.stringify(body)} → ${text.slice(0, 1000)}`;
    assert.ok(streams(json).every((stream) => stream === 'room_list'), asked);
    const rooms = (json.room_list?.rooms || []).map((room) => room.room_id);
    assert.ok(rooms.every((room) => room === this.device.own), asked);
    assert.ok(!json.room_list?.p || json.room_list.p.count <= 1, asked);
    return rooms.length > 0;
  }

  /** New sessions on both workers: first answer, deltas, first pages again; each as if the room did not exist. */
  async anew({ allowed, silent = true } = {}) {
    const { secret, device } = this;
    const guesses = { users: [...secret.members.keys()], words: ['zq.', '77', 'someone'], space: device.own };
    const bodies = everything(secret.id, guesses);
    const elsewhere = everything(nowhere, guesses);
    const pids = s.nginx.workerPids();
    let own = 0;
    for (const [i, body] of bodies.entries()) {
      const session = await this.on(pids[i % pids.length]);
      const first = await this.ask(session, body, { allowed });
      const again = [{}, withFirstPages({})];
      const answers = [first];
      for (const more of again) answers.push(await this.ask(session, more, { since: first.json.next, allowed }));
      if (!silent) continue;
      const other = await this.ask(session, elsewhere[i], { allowed });
      assert.deepEqual({ ...first.json, next: '' }, { ...other.json, next: '' }, 'a room that does not exist is answered likewise');
      for (const answer of answers) own += this.silent(answer, body);
    }
    if (silent) assert.ok(own > 0, 'lists are answered');
  }

  /** From a token: as the session was, with everything else, and first pages. `each` sees every answer. */
  async from(since, session, { allowed, each = () => {} } = {}) {
    const statuses = [200, 400];
    const bodies = everything(this.secret.id, { users: [...this.secret.members.keys()], words: ['zq.'], space: this.device.own });
    for (const body of [{}, ...bodies]) {
      for (const asked of [body, withFirstPages(body)]) each(await this.ask(session, asked, { since, allowed, statuses }), asked);
    }
  }

  /** From a token that knows of no such room. */
  nothingFrom(since, session) {
    return this.from(since, session, { each: ({ status, json, text }, body) => { if (status === 200) this.silent({ json, text }, body); } });
  }

  async on(pid) {
    this.agents ??= new Map();
    if (!this.agents.has(pid)) this.agents.set(pid, (await s.sessionOn(pid, this.device)).agent);
    return s.session(this.device, { agent: this.agents.get(pid) });
  }

  /** Nothing has come out, and the homeserver was not asked in the attacker's name. */
  over() {
    assert.ok(this.leaks.length === 0, `in ${this.requests} answers came out:\n${this.leaks.join('\n')}`);
    assert.deepEqual(this.secret.askedBy(this.device, this.begun), [], 'requests to the homeserver about the room');
  }
}

const nothing = { typing: null, room: null, room_members: null, room_list: null };
const full = (secret) => ({ ...everything(secret.id)[1], room_list: { required_state: [['*', '*']], timeline_limit: 50 } });
const entry = (json, secret) => json.room_list?.rooms.find((room) => room.room_id === secret.id);
const leave = (secret, events) => {
  const timeline = { events, limited: false, prev_batch: secret.mark('prev_batch') };
  return { rooms: { leave: { [secret.id]: { timeline, state: { events: [] } } } } };
};

test('the same requests bring a member every mark', async () => {
  const here = await scene();
  const { secret, members } = here;
  const seen = new Set();
  for (const happen of [enter, goOn]) {
    await happen(here);
    const guesses = { users: [...secret.members.keys()], words: ['zq.'], space: secret.id };
    for (const session of await both(members[0])) {
      for (const body of everything(secret.id, guesses)) {
        const answer = await session.ask(body);
        assert.equal(answer.status, 200, answer.body);
        for (const mark of marksIn(answer.body.toString())) seen.add(mark);
      }
    }
  }
  assert.deepEqual([...secret.marks.keys()].filter((mark) => !seen.has(mark)), []);
});

test('never in it', async () => {
  const here = await scene();
  const { secret } = here;
  await enter(here);
  const device = outsider(secret);
  const [session] = await both(device);
  const { next } = await session.sync(full(secret));
  const attack = new Attack(secret, device);
  await attack.anew();
  await goOn(here);
  await attack.anew();
  await attack.nothingFrom(next, session);
  attack.over();
});

test('never in it: what happens in it ends no wait', async () => {
  const here = await scene();
  await enter(here);
  const device = outsider(here.secret);
  const sessions = await both(device);
  for (const session of sessions) await session.sync(full(here.secret));
  const hold = 1500;
  const waits = sessions.map((session) => session.ask({}, { timeout: hold }));
  await s.waiting(2);
  await goOn(here);
  for (const wait of waits) {
    const answer = await wait;
    assert.deepEqual(streams(answer.json), []);
    assert.ok(answer.took >= hold - 20, `${answer.took} ms`);
  }
});

const ways = {
  kicked: (secret, user) => secret.out(user, 'leave', secret.heroes[0]),
  banned: (secret, user) => secret.out(user, 'ban', secret.heroes[0]),
  left: (secret, user) => secret.out(user, 'leave', user),
};

/** In it, with a token of that time; then out by `way` and with something unread, and the room goes on. */
async function putOut(way, { named } = {}) {
  const here = await scene({ named });
  const { secret, members } = here;
  const device = insider(secret);
  await enter(here);
  const sessions = await both(device);
  for (const session of sessions) assert.equal((await session.sync(full(secret))).room.membership, 'join');
  const joined = sessions.map((session) => session.next);
  secret.time = 'unread';
  const unread = secret.say(secret.heroes[1]);
  for (const each of [device, ...members]) each.push(matrix.join({ [secret.id]: matrix.more(unread) }));
  secret.time = 'out';
  const out = ways[way](secret, device.user_id);
  const out_part = leave(secret, [out]);
  for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(out) }));
  device.push(out_part);
  await device.stored();
  const allowed = () => secret.marksOf('before', 'unread', 'out');
  return { here, secret, device, sessions, joined, unread, out, allowed, membership: way === 'banned' ? 'ban' : 'leave' };
}

for (const way of Object.keys(ways)) {
  test(`${way}: once what came up to that, then silence`, async () => {
    const { here, secret, device, sessions, joined, unread, out, allowed, membership } = await putOut(way);
    await goOn(here);
    const attack = new Attack(secret, device);
    for (const [i, session] of sessions.entries()) {
      const { json } = await attack.ask(session, {}, { since: joined[i], allowed: allowed() });
      assert.equal(json.room.membership, membership);
      assert.deepEqual(ids(json.room), [unread.event_id, out.event_id]);
      assert.deepEqual(json.room_members.events, [out]);
      assert.equal(entry(json, secret).membership, membership);
      assert.deepEqual(ids(entry(json, secret)).slice(-2), [unread.event_id, out.event_id]);
      const then = await attack.ask(session, {}, { since: json.next });
      assert.deepEqual(streams(then.json), [], 'once');
      await attack.from(joined[i], session, { allowed: allowed() });
      await attack.nothingFrom(json.next, session);
    }
    if (way === 'kicked') await attack.anew();
    secret.open = true;
    await attack.anew();
    attack.over();
  });
}

test('kicked while it waits: the wait ends with the kick, and with nothing after it', async () => {
  const here = await scene();
  const { secret, members } = here;
  const device = insider(secret);
  await enter(here);
  const sessions = await both(device);
  for (const session of sessions) await session.sync(full(secret));
  const attack = new Attack(secret, device);
  const waits = sessions.map((session) => session.ask({}, { timeout: 15_000 }));
  await s.waiting(2);
  secret.time = 'out';
  const out = ways.kicked(secret, device.user_id);
  device.push(leave(secret, [out]));
  for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(out) }));
  const nexts = [];
  for (const wait of waits) {
    const answer = await wait;
    assert.deepEqual(ids(answer.json.room), [out.event_id]);
    nexts.push(answer.json.next);
  }
  await goOn(here);
  for (const [i, session] of sessions.entries()) await attack.nothingFrom(nexts[i], session);
  await attack.anew();
  attack.over();
});

test('kicked: names and avatars that members take afterwards are not in what comes once', async () => {
  const { here, secret, device, sessions, joined, allowed } = await putOut('kicked', { named: false });
  secret.time = 'after';
  const renamed = secret.heroes.map((user) => secret.member(user));
  for (const each of here.members) each.push(matrix.join({ [secret.id]: matrix.more(...renamed) }));
  for (const each of here.members) await each.stored();
  await look(here);
  const attack = new Attack(secret, device);
  for (const [i, session] of sessions.entries()) await attack.ask(session, {}, { since: joined[i], allowed: allowed() });
  attack.over();
});

test('kicked: required members are not those of afterwards', async () => {
  const { here, secret, device, sessions, joined, allowed } = await putOut('kicked');
  const { newcomer } = await goOn(here);
  const attack = new Attack(secret, device);
  const required_state = [newcomer, ...secret.others].map((user) => ['m.room.member', user]);
  for (const [i, session] of sessions.entries()) {
    await attack.ask(session, { room_list: { required_state }, room: { room_id: secret.id, required_state } }, { since: joined[i], allowed: allowed() });
  }
  attack.over();
});

test('kicked: no filter finds the room by a name of afterwards', async () => {
  for (const named of [true, false]) {
    const { here, secret, device, joined, allowed } = await putOut('kicked', { named });
    secret.time = 'after';
    const renamed = secret.heroes.map((user) => secret.member(user));
    if (named) renamed.push(secret.set('m.room.name', { name: secret.mark('name') }));
    for (const each of here.members) each.push(matrix.join({ [secret.id]: matrix.more(...renamed) }));
    for (const each of here.members) await each.stored();
    const attack = new Attack(secret, device);
    for (const [i, session] of (await both(device)).entries()) {
      const found = [];
      for (const room_name_like of ['zq.after', 'nothing like it']) {
        const { json } = await attack.ask(session, { ...nothing, room_list: { filters: { room_name_like } } }, { since: joined[i], allowed: allowed() });
        found.push({ ...json, next: '' });
      }
      assert.deepEqual(found[0].room_list, found[1].room_list);
    }
    attack.over();
  }
});

test('kicked and invited again: the invite alone; nothing when it is taken back', async () => {
  const { here, secret, device, sessions, joined, out, allowed } = await putOut('kicked');
  await goOn(here);
  secret.time = 'stripped';
  const stripped = secret.stripped(secret.heroes[0], device.user_id, 'invite');
  secret.member(device.user_id, 'invite', { sender: secret.heroes[0] });
  device.push({ rooms: { invite: { [secret.id]: { invite_state: { events: stripped } } } } });
  await device.stored();
  await goOn(here);
  const told = marksIn(JSON.stringify(stripped));
  for (const mark of secret.marksOf('before')) if (secret.marks.get(mark) === 'tag') told.add(mark);   // the user's own
  told.add(String(out.origin_server_ts));
  const attack = new Attack(secret, device);
  await attack.anew({ allowed: told, silent: false });
  const once = new Set([...told, ...allowed()]);
  const nexts = [];
  for (const [i, session] of sessions.entries()) {
    const { json } = await attack.ask(session, {}, { since: joined[i], allowed: once });
    assert.equal(json.room.membership, 'invite');
    nexts.push(json.next);
    await attack.from(joined[i], session, { allowed: once });
  }
  secret.time = 'out';
  device.push(leave(secret, [secret.out(device.user_id, 'leave', secret.heroes[0])]));
  await device.stored();
  await goOn(here);
  for (const mark of [...secret.marksOf('out'), ...marksIn(secret.heroes[0])]) told.add(mark);
  for (const [i, session] of sessions.entries()) await attack.from(nexts[i], session, { allowed: told });
  await attack.anew();
  attack.over();
});

const redactions = {
  async 'by an event'({ secret, members }, target, redaction) {
    for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(redaction) }));
    for (const each of members) await each.stored();
  },
  /** To a device that comes later, the event is redacted already. */
  async 'by the homeserver'({ secret }, target, redaction) {
    const young = s.homeserver.device(secret.heroes[0]);
    young.initial = matrix.join({ [secret.id]: secret.whole([{ ...target, content: {}, unsigned: { redacted_because: redaction } }]) });
    const { room } = await s.session(young).sync(full(secret));
    assert.equal(room.timeline.events[0].unsigned.redacted_because.event_id, redaction.event_id, 'a member is told of it');
  },
};
for (const [how, redact] of Object.entries(redactions)) {
  test(`kicked: a redaction that came afterwards, ${how}, is not in what comes once`, async () => {
    const { here, secret, device, sessions, joined, unread, allowed } = await putOut('kicked');
    secret.time = 'after';
    await redact(here, unread, secret.event('m.room.redaction', { reason: secret.mark('reason') }, { redacts: unread.event_id, sender: secret.heroes[0] }));
    const attack = new Attack(secret, device);
    for (const [i, session] of sessions.entries()) await attack.ask(session, {}, { since: joined[i], allowed: allowed() });
    attack.over();
  });
}

test('kicked: a homeserver that says more than it should about the room is not passed on', async () => {
  const here = await scene();
  const { secret } = here;
  const device = insider(secret);
  await enter(here);
  const sessions = await both(device);
  for (const session of sessions) await session.sync(full(secret));
  const allowed = secret.marksOf('before');
  secret.time = 'out';
  const out = ways.kicked(secret, device.user_id);
  const part = leave(secret, [out]);
  for (const mark of secret.marksOf('out')) allowed.add(mark);
  secret.time = 'after';
  part.rooms.leave[secret.id].timeline.events.push(secret.say(secret.heroes[0]), ...secret.dress(secret.heroes[0]), secret.member(secret.user('newcomer')));
  device.push(part);
  device.push(leave(secret, [secret.say(secret.heroes[0])]));
  await device.stored();
  const attack = new Attack(secret, device);
  for (const session of sessions) {
    const { json } = await attack.ask(session, {}, { since: session.next, allowed });
    await attack.ask(session, {}, { since: json.next });
  }
  await attack.anew();
  attack.over();
});

test('kicked while pages are read: the list keeps its place, the members are silent; no page token gives more', async () => {
  const here = await scene();
  const { secret, members } = here;
  const device = insider(secret);
  const second = s.homeserver.device(device.user_id);
  second.initial = device.initial;
  await enter(here);
  const [session] = await both(device);
  const other = s.session(second);
  const room_members = { room_id: secret.id, membership: ['join', 'invite', 'leave', 'ban', 'knock'], p: { limit: 1, sort: 'by_name' } };
  const asks = { room_members, room_list: { p: { limit: 1 }, required_state: [['*', '*']], timeline_limit: 50 } };
  const first = await session.sync(asks);
  const elsewhere = await other.sync(asks);
  const page = (json) => ({ room_members: { p: { since: json.room_members.p.next } }, room_list: { p: { since: json.room_list.p.next } } });
  const inside = (await session.ask(page(first))).json;
  assert.equal(inside.room_list.rooms[0].membership, 'join');
  assert.equal(inside.room_members.events.length, 1);

  secret.time = 'out';
  const out = ways.kicked(secret, device.user_id);
  for (const each of [device, second]) each.push(leave(secret, [out]));
  for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(out) }));
  await device.stored();
  await second.stored();
  await goOn(here);
  const attack = new Attack(secret, device);
  const { json } = await attack.ask(session, page(first), { since: first.next });
  assert.deepEqual(json.room_list.rooms, [{ room_id: secret.id, membership: 'leave' }]);
  assert.equal(json.room_members, undefined);
  await attack.ask(session, { room_members: { p: { since: inside.room_members.p.next } } }, { since: first.next });

  const refused = { statuses: [400] };
  for (const [by, since, token] of [[other, first.next, first], [session, elsewhere.next, elsewhere]]) {
    const answer = await attack.ask(by, page(token), { since, ...refused });
    assert.equal(answer.json.errcode, 'M_UNKNOWN_SYNC_SESSION');
  }
  const [head, behind] = [first.room_members.p.next.split('_')[0], first.room_list.p.next.split('_')[0]];
  for (const user of secret.members.keys()) {
    for (const number of [head, behind, 0, 1, 2, 3, 99]) {
      const forged = { room_members: { p: { since: `${number}_${user}` } } };
      const answer = await attack.ask(session, forged, { since: first.next, statuses: [200, 400] });
      if (answer.status === 200) assert.deepEqual(streams(answer.json), []);
    }
  }
  for (const offset of ['0', '1', '2', '3', '-1', '99999999999999999999', '1_1', '']) {
    for (const number of [head, behind, 0, 1, 2, 3]) {
      const answer = await attack.ask(session, { room_list: { p: { since: `${number}_${offset}` } } }, { since: first.next, statuses: [200, 400] });
      if (answer.status === 200) assert.ok(answer.json.room_list.rooms.every((room) => room.room_id === device.own || Object.keys(room).length === 2));
    }
  }
  await attack.anew();
  attack.over();
});

test('kicked and back again: nothing from between, with no token', async () => {
  const { here, secret, device, sessions, joined, allowed } = await putOut('kicked');
  await goOn(here, 'between');
  // What is so still is of now; of the time between stays what was replaced or said.
  await goOn(here, 'between');
  secret.time = 'now';
  const [anna] = secret.heroes;
  secret.dress(anna);
  for (const key of [...secret.state.keys()]) {
    if (/between/.test(key)) secret.state.delete(key);
  }
  for (const user of [...secret.members.keys()]) {
    if (/between/.test(user)) secret.members.delete(user);
    else secret.member(user);
  }
  const back = secret.member(device.user_id);
  for (const event of [...secret.state.values(), ...secret.members.values()]) delete event.unsigned;
  secret.past = [back];
  for (const each of here.members) each.push(matrix.join({ [secret.id]: secret.again([secret.say(anna)], secret.beside(back, anna)) }));
  device.push(matrix.join({ [secret.id]: secret.again([back], secret.beside(back, anna)) }));
  for (const each of [device, ...here.members]) await each.stored();
  const visible = new Set([...allowed(), ...secret.marksOf('now')]);
  const attack = new Attack(secret, device);
  for (const [i, session] of sessions.entries()) {
    const { json } = await attack.ask(session, {}, { since: joined[i], allowed: visible });
    assert.equal(json.room.membership, 'join');
    assert.equal(json.room.initial, true);
    assert.deepEqual(ids(json.room), [back.event_id]);
    await attack.from(joined[i], session, { allowed: visible });
  }
  for (const session of await both(device)) {
    for (const body of everything(secret.id, { users: [...secret.members.keys()], words: ['zq.'], space: device.own })) {
      const { json } = await attack.ask(session, body, { allowed: visible });
      await attack.ask(session, {}, { since: json.next, allowed: visible });
    }
  }
  attack.begun = s.homeserver.requests.length;      // who is in it again may ask for its members
  attack.over();
});

for (const [section, membership] of [['invite', 'invite'], ['knock', 'knock']]) {
  test(`${section === 'invite' ? 'invited' : 'knocked'} only: sees ${section}_state and nothing else; nothing when that is over`, async () => {
    const here = await scene();
    const { secret, members } = here;
    await enter(here);
    secret.time = 'stripped';
    const device = s.homeserver.device();
    const stripped = secret.stripped(secret.heroes[0], device.user_id, membership);
    outsider(secret, () => ({ [section]: { [secret.id]: { [`${section}_state`]: { events: stripped } } } }), device);
    const sessions = await both(device);
    for (const session of sessions) await session.sync(full(secret));
    const joined = sessions.map((session) => session.next);
    await goOn(here);
    const told = marksIn(JSON.stringify(stripped));
    const attack = new Attack(secret, device);
    const name = stripped.find((event) => event.type === 'm.room.name').content.name;
    for (const pid of s.nginx.workerPids()) {
      const { json } = await attack.ask(await attack.on(pid), full(secret), { allowed: told });
      assert.deepEqual(json.room, { room_id: secret.id, name, membership, initial: true, [`${section}_state`]: { events: stripped } });
      assert.equal(json.typing, undefined);
      assert.equal(json.room_members, undefined);
      const room = entry(json, secret);
      assert.deepEqual(room[`${section}_state`].events, stripped);
      for (const key of ['timeline', 'state_after', 'joined_count', 'invited_count', 'summary']) assert.equal(room[key], undefined, key);
    }
    for (const hidden of [secret.state.get('m.room.name ').content.name, 'zq.after', 'zq.before.name']) {
      const { json } = await attack.ask(await attack.on(s.nginx.workerPids()[0]), { room_list: { filters: { room_name_like: hidden } } }, { allowed: told });
      assert.deepEqual(json.room_list.rooms, [], 'its real name finds nothing');
    }
    await attack.anew({ allowed: told, silent: false });
    for (const [i, session] of sessions.entries()) await attack.from(joined[i], session, { allowed: told });

    secret.time = 'out';
    const out = secret.out(device.user_id, 'leave', secret.heroes[0]);
    for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(out) }));
    device.push(leave(secret, [out]));
    await device.stored();
    await goOn(here);
    for (const mark of secret.marksOf('out')) told.add(mark);
    for (const mark of marksIn(secret.heroes[0])) told.add(mark);
    for (const [i, session] of sessions.entries()) {
      const { json } = await attack.ask(session, {}, { since: joined[i], allowed: told });
      assert.equal(json.room.membership, 'leave');
      assert.deepEqual((await attack.ask(session, {}, { since: json.next })).json, { next: json.next }, 'once');
      await attack.from(joined[i], session, { allowed: told });
      await attack.nothingFrom(json.next, session);
    }
    secret.open = true;
    await attack.anew();
    attack.over();
  });
}

test('tokens of others, and forged ones, are of no use', async () => {
  const { here, secret, device, sessions } = await putOut('kicked');
  const stranger = outsider(secret);
  const [session] = await both(stranger);
  const victim = s.session(here.members[0]);
  const paged = { ...full(secret), room_members: { room_id: secret.id, p: { limit: 1 } } };
  const theirs = await victim.sync(paged);
  await goOn(here);
  for (const each of [stranger, device]) {
    const attack = new Attack(secret, each);
    const own = each === stranger ? session : sessions[0];
    const allowed = each === stranger ? new Set() : secret.marksOf('before', 'unread', 'out');
    const since = (await own.sync(paged)).next;
    for (const body of [{}, paged, { room_members: { p: { since: theirs.room_members.p.next } } }]) {
      const { json } = await attack.ask(own, body, { since: theirs.next, statuses: [400] });
      assert.deepEqual(json, (await own.ask(body, { since: 'nonsense' })).json, 'as for a token that nobody has');
      assert.equal(json.errcode, 'M_UNKNOWN_SYNC_SESSION');
    }
    const { json } = await attack.ask(own, { room_members: { p: { since: theirs.room_members.p.next } } }, { since, statuses: [400] });
    assert.equal(json.errcode, 'M_INVALID_PARAM');
    const parts = since.split('_');
    const others = theirs.next.split('_');
    const forged = new Set();
    for (const i of parts.keys()) {
      for (const put of [others[i], '0', '1', '2', 'ffff', '-1', '1.1', '0~', '1.7fffffff~', '']) forged.add(parts.with(i, put).join('_'));
      forged.add([...parts.slice(0, i), ...others.slice(i)].join('_'));
      forged.add([...others.slice(0, i), ...parts.slice(i)].join('_'));
      forged.add(parts.slice(0, i + 1).join('_'));
    }
    forged.add(parts.map((part, i) => (i < 3 ? part : '0')).join('_'));
    forged.add(parts.map((part, i) => (i < 4 ? part : '1')).join('_'));
    for (const token of forged) {
      for (const body of [{}, { ...paged, room_list: { p: { since: '1' } } }]) await attack.ask(own, body, { since: token, allowed, statuses: [200, 400] });
    }
    attack.over();
  }
});

test('a space that one is not in lists nothing, not even one\'s own rooms', async () => {
  for (const out of [false, true]) {
    const here = await scene();
    const { secret, members } = here;
    const device = Object.assign(s.homeserver.device(), { own: matrix.roomId() });
    secret.set('m.space.child', { via: [secret.mark('via')] }, device.own);
    if (out) insider(secret, device);
    else outsider(secret, undefined, device);
    await enter(here);
    const [session] = await both(device);
    const asks = { room_list: { spaces: [secret.id], p: { sort: 'by_space_order' } } };
    const { next, room_list } = await session.sync(asks);
    assert.deepEqual(room_list.rooms.map((room) => room.room_id), out ? [device.own] : []);
    if (out) {
      secret.time = 'out';
      device.push(leave(secret, [ways.kicked(secret, device.user_id)]));
      await device.stored();
      assert.deepEqual((await session.ask({}, { since: next })).json.room_list.rooms, [{ room_id: device.own, listed: false }]);
    }
    const child = secret.set('m.space.child', { via: [] }, device.own);
    for (const each of members) each.push(matrix.join({ [secret.id]: matrix.more(child) }));
    for (const each of members) await each.stored();
    const attack = new Attack(secret, device);
    for (const pid of s.nginx.workerPids()) {
      const young = await attack.on(pid);
      const first = await attack.ask(young, asks);
      assert.deepEqual(first.json.room_list.rooms, []);
      assert.equal(first.json.room_list.p.count, 0);
      assert.deepEqual(streams((await attack.ask(young, {}, { since: first.json.next })).json), []);
    }
    attack.over();
  }
});

test('room IDs of odd form find nothing', async () => {
  const here = await scene();
  const { secret } = here;
  await enter(here);
  const device = outsider(secret);
  const attack = new Attack(secret, device);
  const { id } = secret;
  const odd = [
    `${id}\u0000`, `\u0000${id}`, '\u0000', `${id} `, ` ${id}`, `${id}\n`, id.toUpperCase(), encodeURIComponent(id), `${id}/`, `${id}%00`, id.slice(0, -1),
    `${id}%`, '%', '_', '*', '!*', '', '1', '0', `${id}${'x'.repeat(3000)}`, '!'.repeat(10_000), `${id}${'x'.repeat(100_000)}`,
    `${id}\ud800`, `' OR room_id = '${id}`, `{"${id}"}`, `${id},${id}`, id.replaceAll('.', '_'),
  ];
  const pids = s.nginx.workerPids();
  for (const [i, room_id] of odd.entries()) {
    const session = await attack.on(pids[i % pids.length]);
    const body = { ...everything(room_id)[1], room_list: { spaces: [room_id], filters: { room_name_like: room_id } } };
    const first = await attack.ask(session, body, { statuses: [200, 400, 413] });
    if (first.status === 200) attack.silent(first, { room_id: room_id.slice(0, 200) });
  }
  const session = await attack.on(pids[0]);
  for (const room_id of [1, 0, -1, 1e300, true, null, [id], { id }, [[id]]]) {
    for (const stream of ['typing', 'room', 'room_members']) await attack.ask(session, { [stream]: { room_id } }, { statuses: [400] });
    for (const list of [{ spaces: [room_id] }, { filters: { room_name_like: room_id } }, { required_state: [[room_id, id]] }]) {
      await attack.ask(session, { room_list: list }, { statuses: [200, 400] });
    }
  }
  attack.over();
});
