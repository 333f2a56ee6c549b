// What the clients of a walk ask for, chosen at random, and how a change is said in a request.
'use strict';

const { tags } = require('./names');

const maybe = (random, p, make) => (random.chance(p) ? make() : undefined);
const compact = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const wanted_state = [
  [], [['*', '*']], [['m.room.name', ''], ['m.room.topic', '*']], [['m.room.create', ''], ['m.room.tombstone', '']], [['org.example.state', '*']],
  [['*', ''], ['m.room.power_levels', '']],
];

function filters(random) {
  return compact({
    is_dm: maybe(random, 0.25, () => random.chance(0.5)),
    is_encrypted: maybe(random, 0.15, () => random.chance(0.3)),
    is_invite: maybe(random, 0.2, () => random.chance(0.3)),
    room_types: maybe(random, 0.1, () => random.pick([['m.space'], [null], [null, 'm.space'], ['org.example.board']])),
    not_room_types: maybe(random, 0.15, () => random.pick([['m.space'], ['org.example.board'], [null]])),
    tags: maybe(random, 0.1, () => random.sample(tags, 2)),
    not_tags: maybe(random, 0.15, () => random.sample(tags, 1)),
    room_name_like: maybe(random, 0.15, () => random.pick(['room', 'A', 'É', 'o', '%', '_'])),
  });
}

const sorts = ['by_recency', 'by_name', 'by_highlight_count', 'by_notification_count', 'by_space_order', 'by_magic'];

function roomList(random, world) {
  const spaces = world.rooms.filter((room) => room.space).map((room) => room.id);
  return compact({
    filters: maybe(random, 0.5, () => filters(random)),
    spaces: spaces.length === 0 ? undefined : maybe(random, 0.2, () => random.sample(spaces, random.between(1, 2))),
    required_state: maybe(random, 0.7, () => random.pick(wanted_state)),
    timeline_limit: maybe(random, 0.7, () => random.pick([0, 1, 3, 10])),
    p: compact({
      limit: maybe(random, 0.8, () => random.pick([1, 2, 5, 20])),
      sort: maybe(random, 0.8, () => (random.chance(0.4) ? random.sample(sorts, 2) : random.pick(sorts))),
    }),
  });
}

function room(random, room_id) {
  return compact({
    room_id,
    timeline_limit: maybe(random, 0.7, () => random.pick([0, 1, 5, 20, 50])),
    types: maybe(random, 0.15, () => random.pick([['m.room.message'], ['m.room.message', 'm.room.member'], []])),
    not_types: maybe(random, 0.15, () => random.pick([['m.room.member'], ['m.room.message', 'm.room.redaction']])),
    required_state: maybe(random, 0.6, () => random.pick([...wanted_state, [['m.room.member', '*']], [['*', '*'], ['m.room.member', '*']]])),
    lazy_load_members: maybe(random, 0.4, () => random.chance(0.5)),
  });
}

function members(random, room_id) {
  return compact({
    room_id,
    membership: maybe(random, 0.4, () => random.pick([['join'], ['invite'], ['leave', 'ban'], ['join', 'invite', 'knock', 'leave', 'ban'], ['knock', 'join']])),
    p: compact({ limit: maybe(random, 0.8, () => random.pick([1, 2, 3, 50])), sort: maybe(random, 0.7, () => random.pick(['by_pl', 'by_name', 'by_magic'])) }),
  });
}

/** The streams of this walk, with one room in view. */
function all(random, world, room_id, streams) {
  const params = {
    to_device: random.chance(0.5) ? {} : { limit: random.pick([1, 3, 100]) },
    account_data: {},
    typing: { room_id },
    room: room(random, room_id),
    room_members: members(random, room_id),
    room_list: roomList(random, world),
  };
  return Object.fromEntries(Object.entries(params).filter(([stream]) => streams.includes(stream)));
}

/** The JSON Merge Patch (RFC 7396) that makes `to` out of `from`. */
function patch(from, to) {
  const made = {};
  for (const name of new Set([...Object.keys(from), ...Object.keys(to)])) {
    const [before, now] = [from[name], to[name]];
    if (now === undefined) {
      if (before !== undefined) made[name] = null;
    }
    else if (isObject(before) && isObject(now)) {
      const inner = patch(before, now);
      if (Object.keys(inner).length > 0) made[name] = inner;
    } else if (JSON.stringify(before) !== JSON.stringify(now)) made[name] = now;
  }
  return made;
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

module.exports = { all, room, members, roomList, patch };
