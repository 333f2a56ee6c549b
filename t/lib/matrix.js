// Events and parts of classic answers, made as they are needed.
'use strict';

const { server_name } = require('./homeserver');

let count = 0;
const roomId = () => `!r${++count}_${process.pid}:${server_name}`;
const eventId = () => `$e${++count}_${process.pid}`;

/** A room event; what is given goes over the defaults. */
const event = (fields) => ({ type: 'm.room.message', event_id: eventId(), sender: `@someone:${server_name}`, origin_server_ts: 1_700_000_000_000 + count, content: {}, ...fields });
const message = (body, fields) => event({ content: { msgtype: 'm.text', body }, ...fields });
const state = (type, content, fields) => event({ type, state_key: '', content, ...fields });
const member = (user, membership = 'join', fields) => event({ type: 'm.room.member', state_key: user, sender: user, content: { membership }, ...fields });
const create = (fields) => state('m.room.create', { room_version: '10', creator: `@someone:${server_name}` }, fields);

/** A joined room as a first poll has it: state and a timeline that begins with `events`. */
const room = (user, events = [], more = {}) => ({
  state: { events: [create(), member(user), state('m.room.name', { name: 'Room' })] },
  timeline: { events, limited: false, prev_batch: `p${++count}` }, ...more,
});
/** What a joined room's part says of a few new events. */
const more = (...events) => ({ timeline: { events, limited: false, prev_batch: `p${++count}` } });
const join = (rooms) => ({ rooms: { join: rooms } });
const typing = (room_id, ...user_ids) => join({ [room_id]: { ephemeral: { events: [{ type: 'm.typing', content: { user_ids } }] } } });
const toDevice = (body) => ({ type: 'm.test', sender: `@someone:${server_name}`, content: { body } });

module.exports = { roomId, eventId, event, message, state, member, create, room, more, join, typing, toDevice };
