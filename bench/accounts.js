// The accounts that are measured: many rooms, a room with many members, and their first polls.
'use strict';

const matrix = require('../t/lib/matrix');
const { now, pause } = require('./figures');

const power_level_count = 40;     // members with a power level of their own
const most_children = 500;
const heroes = 2;

const user = '@bench:hs.test';
/** How many rooms have how many members. */
const largest = [[1, 20_000], [9, 2000], [90, 200], [2900, 8]];
const shapes = { '500 rooms': [[500, 100]], '3,000 rooms': largest };

const scripts = [
  'Zoë Müller', 'Łukasz Ångström', 'ＦＵＬＬ Ｗｉｄｔｈ', 'Ελένη Στάθης', 'Жанна Щукина', '山田太郎',
  '김민준', 'أحمد علي', 'अनिता शर्मा', '👩‍🚀 Straße', 'İpek', 'plain name',
];
/** A number that looks random and is the same every time. */
const mixed = (i) => (i * 7919 + 13) % 100_003;
const userId = (i) => `@member_${mixed(i)}:hs.test`;
const name = (i, of) => `${scripts[mixed(i) % scripts.length]} ${mixed(i) % of}`;

/** A member's event, of some 330 bytes. */
const member = (i, fields, { membership = 'join', displayname = name(i, 997), unsigned } = {}) => matrix.member(userId(i), membership, {
  content: { membership, displayname, avatar_url: `mxc://hs.test/${'a'.repeat(60)}${i}` }, unsigned: { age: 123_456, ...unsigned }, ...fields,
});

/** All members of a room: the user and others. */
const members = (room_id, count) => [matrix.member(user, 'join', { room_id }), ...Array.from({ length: count - 1 }, (_, i) => member(i, { room_id }))];

/** What most rooms have beside their creation, power levels and name. */
const common = (i) => [
  matrix.state('m.room.join_rules', { join_rule: i % 5 ? 'invite' : 'public' }), matrix.state('m.room.history_visibility', { history_visibility: 'shared' }),
  matrix.state('m.room.guest_access', { guest_access: 'can_join' }), matrix.state('m.room.topic', { topic: `What room ${i} is about: ${'words and more words '.repeat(60)}` }),
  matrix.state('m.room.avatar', { url: `mxc://hs.test/${'r'.repeat(60)}${i}`, info: { w: 640, h: 640, mimetype: 'image/png', size: 40_000 + i } }),
  matrix.state('m.room.canonical_alias', { alias: `#room_${i}:hs.test`, alt_aliases: Array.from({ length: 5 }, (_, k) => `#another_alias_${k}_of_room_${i}:hs.test`) }),
];

function part(i, count, lazy) {
  const counts = { highlight_count: mixed(i) % 11 === 0 ? mixed(i) % 5 : 0, notification_count: mixed(i) % 3 === 0 ? mixed(i) % 40 : 0 };
  const message = matrix.message('last', { origin_server_ts: 1_600_000_000_000 + mixed(i) * 1000 });
  const made = matrix.room(user, [message], { unread_notifications: counts });
  made.summary = { 'm.heroes': Array.from({ length: heroes }, (_, k) => userId(k)), 'm.joined_member_count': count, 'm.invited_member_count': 0 };
  made.state.events[2] = matrix.state('m.room.name', { name: name(i, 700) });
  made.state.events.push(...common(i));
  const shown = lazy ? heroes : count - 1;
  for (let k = 0; k < shown; k++) made.state.events.push(member(k));
  return made;
}

/** What a first poll gives: {rooms, space, initial}. The space is the last room. `lazy`: no members but the user and heroes. */
function account(shape, lazy) {
  const counts = shape.flatMap(([rooms, count]) => Array(rooms).fill(count));
  const rooms = counts.map(() => matrix.roomId());
  const parts = counts.map((count, i) => part(i, count, lazy));
  const child = (state_key, i) => matrix.state('m.space.child', { via: ['hs.test'], order: `o${mixed(i) % 100}` }, { state_key });
  parts.at(-1).state.events.push(...rooms.slice(0, Math.min(most_children, rooms.length - 1)).map(child));
  const text = JSON.stringify(matrix.join(Object.fromEntries(rooms.map((room_id, i) => [room_id, parts[i]]))));
  return { rooms, space: rooms.at(-1), initial: (next_batch) => `${text.slice(0, -1)},"next_batch":${JSON.stringify(next_batch)}}` };
}

/** A new device of the user, and a session that has not asked for anything yet. */
function begin(stage, initial) {
  const device = stage.homeserver.device(user);
  device.initial = initial;
  return { device, session: stage.session(device) };
}

/** The same once its first poll has ended, with nobody looking. */
async function polled(stage, initial) {
  const { device, session } = begin(stage, initial);
  while ((await session.sync('', { timeout: 1000 })).partial);
  await device.stored();
  return { device, session };
}

/** The milliseconds until a first page of the room list is there, and until everything is: {page, complete}. */
async function firstPoll(stage, initial) {
  const { session } = begin(stage, initial);
  const begun = now();
  const times = {};
  for (let body = { room_list: { p: { limit: 20 } } }; !times.complete; body = { room_list: { p: { since: '1' } } }) {
    const answer = await session.sync(body, { timeout: 0 });
    if (answer.room_list?.rooms.length >= 20) times.page ??= now() - begun;
    if (!answer.partial) times.complete = now() - begun;
    else await pause(20);
  }
  return times;
}

/** A room and its members' newest events, each of which says what it replaced, as homeservers do. */
class Crowd {
  constructor(count) {
    this.room_id = matrix.roomId();
    this.count = count;
    this.newest = new Map(members(this.room_id, count).map((event) => [event.state_key, event]));
  }

  /** A member's next event. */
  put(i, membership, displayname) {
    const unsigned = { replaces_state: this.newest.get(userId(i))?.event_id };
    const event = member(i, { room_id: this.room_id }, { membership, displayname, unsigned });
    this.newest.set(userId(i), event);
    return event;
  }

  get members() { return [...this.newest.values()]; }

  firstPoll() {
    const levels = Object.fromEntries(Array.from({ length: power_level_count }, (_, i) => [userId(i * 97), i % 2 ? 50 : 100]));
    const made = matrix.room(user, [matrix.message('first')]);
    made.state.events.push(matrix.state('m.room.power_levels', { users: levels }));
    return matrix.join({ [this.room_id]: made });
  }

  /** Changes of the members from `first` on: new names, or as many who leave and new members, too. */
  changes(first, number, all_names) {
    const change = (i) => {
      if (all_names || i % 3 === 0) return this.put(i, 'join', `${scripts[(i + 5) % scripts.length]} anew`);
      return i % 3 === 1 ? this.put(i, 'leave') : this.put(this.count + i, 'join', `${scripts[i % scripts.length]} new`);
    };
    const events = Array.from({ length: number }, (_, i) => change(first + i));
    return matrix.join({ [this.room_id]: matrix.more(...events) });
  }
}

module.exports = { user, shapes, largest, account, members, polled, firstPoll, Crowd };
