// A room whose every text and number is a mark: it occurs nowhere else, so that an answer that holds one has told something of the room.
// A mark names the time it was made in, what it is of, and a number: zq.after.topic.17.qz.
'use strict';

const matrix = require('./matrix');
const { server_name } = require('./homeserver');

const text_mark = /zq\.[a-z]+\.[a-z_]+\.\d+\.qz/gi;
const number_mark = /(?<=[:,[]\s*)77\d{7}(?=\s*[\],}])/g;
const all_memberships = ['join', 'invite', 'knock', 'leave', 'ban'];

/** All marks in a text. */
const marksIn = (text) => new Set([...(text.match(text_mark) || []).map((mark) => mark.toLowerCase()), ...(text.match(number_mark) || [])]);
/** Of which time a mark is; numbers are told apart by those who made them. */
const timeOf = (mark) => mark.split('.')[1];

let count = 0;

class Secret {
  /** `named`: has a name, a topic and so on, not only members. */
  constructor(homeserver, { named = true } = {}) {
    this.homeserver = homeserver;
    this.time = 'before';
    this.marks = new Map();       // mark → what it is of
    this.numbers = new Map();     // number → the time it was made in
    this.id = `!${this.mark('id')}:${server_name}`;
    this.state = new Map();
    this.members = new Map();
    this.open = false;            // the homeserver gives the members to anybody
    this.set('m.room.create', { room_version: '10', creator: `@someone:${server_name}`, secret: this.mark('create') });
    if (named) this.dress();
    const secret = this;
    homeserver.rooms[this.id] = {
      get members() { return [...secret.members.values()]; },
      get state() { return [...secret.state.values(), ...secret.members.values()]; },
    };
    homeserver.fail((seen) => !this.open && this.isNamedBy(seen) && !this.has(seen.device?.user_id),
      { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'You are not in the room' } }, Infinity);
  }

  isNamedBy(seen) {
    return seen.route === 'other' && decodeURIComponent(seen.url).includes(this.id);
  }

  has(user) { return this.members.get(user)?.content.membership === 'join'; }

  mark(what) {
    const mark = `zq.${this.time}.${what}.${++count}.qz`;
    this.marks.set(mark, what);
    return mark;
  }

  number(what = 'number') {
    const number = String(770_000_000 + ++count);
    this.numbers.set(number, this.time);
    this.marks.set(number, what);
    return Number(number);
  }

  timeOf(mark) { return this.numbers.get(mark) || timeOf(mark); }

  /** Those of some times. */
  marksOf(...times) {
    return new Set([...this.marks.keys()].filter((mark) => times.includes(this.timeOf(mark))));
  }

  event(type, content, more = {}) {
    return matrix.event({ type, event_id: `$${this.mark('event')}`, origin_server_ts: this.number('timestamp'), content, ...more });
  }

  say(sender, what = 'message') {
    return this.event('m.room.message', { msgtype: 'm.text', body: this.mark(what) }, { sender });
  }

  set(type, content, key = '', sender = `@someone:${server_name}`) {
    const before = this.state.get(`${type} ${key}`);
    const unsigned = before ? { unsigned: { prev_content: before.content, replaces_state: before.event_id } } : {};
    const event = this.event(type, content, { state_key: key, sender, ...unsigned });
    this.state.set(`${type} ${key}`, event);
    return event;
  }

  member(user, membership = 'join', { sender = user, ...more } = {}) {
    const content = { membership, displayname: this.mark('displayname'), avatar_url: `mxc://${this.mark('avatar')}/a`, ...more };
    const event = this.event('m.room.member', content, { state_key: user, sender });
    this.members.set(user, event);
    return event;
  }

  /** One who leaves or is put out. */
  out(user, membership = 'leave', sender = user) {
    return this.member(user, membership, { sender, reason: this.mark('reason') });
  }

  alias() { return `#${this.mark('alias')}:${server_name}`; }

  user(what = 'user') { return `@${this.mark(what)}:${server_name}`; }

  /** Everything that a room may have been given. */
  dress(sender) {
    return [
      this.set('m.room.name', { name: this.mark('name') }, '', sender),
      this.set('m.room.topic', { topic: this.mark('topic') }, '', sender),
      this.set('m.room.canonical_alias', { alias: this.alias(), alt_aliases: [this.alias()] }, '', sender),
      this.set('m.room.avatar', { url: `mxc://${this.mark('avatar')}/a` }, '', sender),
      this.set('m.room.encryption', { algorithm: this.mark('algorithm') }, '', sender),
      this.set('m.room.tombstone', { body: this.mark('tombstone'), replacement_room: `!${this.mark('room')}:${server_name}` }, '', sender),
      this.set('m.space.child', { via: [this.mark('via')] }, `!${this.mark('child')}:${server_name}`, sender),
      this.set('org.example.odd', { x: this.mark('odd') }, this.mark('state_key'), sender),
    ];
  }

  receipt(event, user) {
    return { type: 'm.receipt', content: { [event.event_id]: { 'm.read': { [user]: { ts: this.number('receipt') } } } } };
  }
  typing(...user_ids) { return { type: 'm.typing', content: { user_ids } }; }

  /** What comes beside the events. */
  beside(event, user) {
    return {
      summary: { 'm.heroes': this.heroes, 'm.joined_member_count': this.number('joined'), 'm.invited_member_count': this.number('invited') },
      unread_notifications: { notification_count: this.number('notifications'), highlight_count: this.number('highlights') },
      ephemeral: { events: [this.receipt(event, user), this.typing(user)] },
      account_data: { events: [
        { type: 'org.example.room', content: { x: this.mark('account_data') } },
        { type: 'm.tag', content: { tags: { [this.mark('tag')]: {} } } },
      ] },
    };
  }

  /** The room as a first poll has it. */
  whole(events, more = {}) {
    const prev_batch = this.mark('prev_batch');
    return { state: { events: [...this.state.values(), ...this.members.values()] }, timeline: { events, limited: true, prev_batch }, ...more };
  }

  /** As a rejoin has it: the state is that after the timeline. */
  again(events, more = {}) {
    const { state, ...rest } = this.whole(events, more);
    return { ...rest, 'org.matrix.msc4222.state_after': state };
  }

  stripped(sender, user, membership) {
    const strip = (type, content, state_key = '') => ({ type, state_key, sender, content });
    return [
      strip('m.room.create', { room_version: '10' }),
      strip('m.room.name', { name: this.mark('name') }),
      strip('m.room.avatar', { url: `mxc://${this.mark('avatar')}/a` }),
      strip('m.room.member', { membership: 'join', displayname: this.mark('displayname') }, sender),
      strip('m.room.member', { membership }, user),
    ];
  }

  /** Requests of a device to the homeserver that name the room. */
  askedBy(device, from = 0) {
    return this.homeserver.requests.slice(from).filter((seen) => seen.device === device && this.isNamedBy(seen)).map((seen) => seen.url);
  }
}

/** One object for every place of the longest list; shorter ones begin again. */
const together = (lists) => Array.from({ length: Math.max(...Object.values(lists).map((list) => list.length)) },
  (_, i) => Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, list[i % list.length]])));

/** Bodies that together ask for everything of a room in every way; `users` and `words` are what the asker may guess, `space` lists it. */
function everything(room_id, { users = [], words = [], space } = {}) {
  const members = users.map((user) => ['m.room.member', user]);
  const membership = all_memberships;
  return together({
    typing: [{}],
    room_members: [
      { p: { limit: 1 } },
      { membership, p: { limit: 1000, sort: 'by_name' } },
      { membership: ['leave', 'ban', 'knock'], p: { sort: 'by_pl' } },
      { membership, p: { limit: 1, sort: 'by_name' } },
      { membership, p: { limit: 1000, sort: 'by_pl' } },
    ],
    room: [
      {},
      { timeline_limit: 200, required_state: [['*', '*'], ['m.room.member', '*']] },
      { timeline_limit: 0, required_state: [['m.room.member', '*']], lazy_load_members: false },
      { types: ['*'], timeline_limit: 200 },
      { not_types: ['m.room.message'], required_state: [] },
      { types: ['m.room.member'], required_state: members },
      { required_state: [['m.room.name', ''], ['m.room.create', ''], ['m.room.tombstone', ''], ['m.space.child', '*']], timeline_limit: 1 },
    ],
    room_list: [
      {},
      { required_state: [['*', '*'], ...members], timeline_limit: 50, p: { limit: 1000 } },
      { spaces: [room_id], p: { sort: 'by_space_order' } },
      {
        required_state: [['m.room.member', '*'], ...members], timeline_limit: 50,
        p: { sort: ['by_name', 'by_highlight_count', 'by_notification_count', 'by_recency'] },
      },
      ...words.map((word) => ({ filters: { room_name_like: word }, required_state: members })),
      { filters: { is_dm: true } },
      { filters: { is_dm: false, is_encrypted: true } },
      { filters: { is_invite: true } },
      { filters: { is_invite: false }, required_state: members },
      { filters: { room_types: [null, 'm.space'] } },
      { filters: { not_room_types: ['m.other'] }, spaces: [room_id, space || room_id] },
      { filters: { not_tags: ['m.favourite'] } },
      { filters: { tags: ['m.favourite'] } },
      ...(space ? [{ spaces: [space], required_state: [['*', '*'], ...members], timeline_limit: 50, p: { sort: 'by_space_order' } }] : []),
    ],
  }).map(({ typing, room_members, room, room_list }) => ({
    typing: { room_id, ...typing }, room_members: { room_id, ...room_members }, room: { room_id, ...room }, room_list,
  }));
}

module.exports = { Secret, everything, marksIn };
