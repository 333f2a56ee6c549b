// The accounts that are measured: a room with many members, and a list of many rooms.
'use strict';

const matrix = require('../t/lib/matrix');

const member_count = 20_000;
const power_level_count = 40;     // members with a power level of their own
const room_count = 3000;

const user = '@bench:hs.test';
const scripts = [
  'Zoë Müller', 'Łukasz Ångström', 'ＦＵＬＬ Ｗｉｄｔｈ', 'Ελένη Στάθης', 'Жанна Щукина', '山田太郎',
  '김민준', 'أحمد علي', 'अनिता शर्मा', '👩‍🚀 Straße', 'İpek', 'plain name',
];
/** A number that looks random and is the same every time. */
const mixed = (i) => (i * 7919 + 13) % 100_003;
const userId = (i) => `@member_${mixed(i)}:hs.test`;

/** A room and its members' newest events, each of which says what it replaced, as homeservers do. */
class Crowd {
  constructor() {
    this.room_id = matrix.roomId();
    this.newest = new Map([[user, matrix.member(user, 'join', { room_id: this.room_id })]]);
    for (let i = 0; i < member_count - 1; i++) this.put(i, 'join', `${scripts[mixed(i) % scripts.length]} ${mixed(i) % 997}`);
  }

  /** A member's next event, of some 300 bytes. */
  put(i, membership, displayname) {
    const { room_id } = this;
    const content = { membership, displayname, avatar_url: `mxc://hs.test/${'a'.repeat(24)}${i}` };
    const unsigned = { age: 123_456, replaces_state: this.newest.get(userId(i))?.event_id };
    const event = matrix.member(userId(i), membership, { room_id, content, unsigned });
    this.newest.set(userId(i), event);
    return event;
  }

  get members() { return [...this.newest.values()]; }

  firstPoll() {
    const levels = Object.fromEntries(Array.from({ length: power_level_count }, (_, i) => [userId(i * 97), i % 2 ? 50 : 100]));
    const part = matrix.room(user, [matrix.message('first')]);
    part.state.events.push(matrix.state('m.room.power_levels', { users: levels }));
    return matrix.join({ [this.room_id]: part });
  }

  /** Changes of the members from `first` on: new names, or as many who leave and new members, too. */
  changes(first, number, all_names) {
    const change = (i) => {
      if (all_names || i % 3 === 0) return this.put(i, 'join', `${scripts[(i + 5) % scripts.length]} anew`);
      return i % 3 === 1 ? this.put(i, 'leave') : this.put(member_count + i, 'join', `${scripts[i % scripts.length]} new`);
    };
    const events = Array.from({ length: number }, (_, i) => change(first + i));
    return matrix.join({ [this.room_id]: matrix.more(...events) });
  }
}

function manyRooms() {
  const ids = Array.from({ length: room_count }, () => matrix.roomId());
  const space = ids[0];
  const parts = ids.map((room_id, i) => {
    const highlight_count = mixed(i) % 11 === 0 ? mixed(i) % 5 : 0;
    const counts = { highlight_count, notification_count: mixed(i) % 3 === 0 ? mixed(i) % 40 : 0 };
    const message = matrix.message('last', { origin_server_ts: 1_600_000_000_000 + mixed(i) * 1000 });
    const part = matrix.room(user, [message], { unread_notifications: counts });
    part.state.events[2] = matrix.state('m.room.name', { name: `${scripts[mixed(i) % scripts.length]} ${mixed(i) % 700}` });
    return [room_id, part];
  });
  const child = (state_key, i) => matrix.state('m.space.child', { via: ['hs.test'], order: `o${mixed(i) % 100}` }, { state_key });
  const children = ids.slice(1, 501).map(child);
  parts[0][1].state.events.push(...children);
  return { space, initial: matrix.join(Object.fromEntries(parts)) };
}

module.exports = { user, member_count, room_count, Crowd, manyRooms };
