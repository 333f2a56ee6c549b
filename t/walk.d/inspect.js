// What is true of every single answer, whatever came before: who may see an event, what of it is left in `unsigned`, what answers consist of.
'use strict';

const { demand, same } = require('./difference');
const { allowed } = require('./truth');

const streams = ['to_device', 'account_data', 'typing', 'room', 'room_members', 'room_list', 'e2ee'];

/** Every room event of an answer with the ID of its room; stripped state is not among them. */
function* roomEvents(answer) {
  const rooms = [...(answer.room ? [answer.room] : []), ...(answer.room_list?.rooms || [])];
  for (const room of rooms) {
    for (const event of room.timeline?.events || []) yield { event, room_id: room.room_id, timeline: true };
    for (const event of room.state_after?.events || []) yield { event, room_id: room.room_id };
  }
}

function inspectUnsigned(event, world, device) {
  const { transaction_id, ...rest } = event.unsigned || {};
  same(Object.keys(rest).filter((name) => !allowed.includes(name)), [], `what unsigned of ${event.event_id} may not hold`);
  const sent = world.sent.get(event.event_id);
  if (transaction_id === undefined) return;
  demand(sent && sent.device === device && sent.transaction === transaction_id, `the transaction ID of ${event.event_id}, which another device sent`, { got: transaction_id });
}

/** "Never a timeline or state event from after a leave or a ban"; whoever is back may be given what was said meanwhile. */
function inspectVisibility(event, room, user) {
  const serial = event.content?.n;
  if (serial === undefined || room.membership(user) === 'join' || !room.leftAt.has(user)) return;
  demand(serial <= room.leftAt.get(user), `message ${serial} was sent after ${user.label} left ${room.label}`, { got: event });
}

function inspectIgnored(event, world, user) {
  if (event.state_key !== undefined || event.content?.n === undefined) return;
  const sender = world.userOf(event.sender);
  const since = user.ignored.has(sender) ? user.ignored.get(sender) : undefined;
  demand(since === undefined || event.content.n <= since, `message ${event.content.n} is of ${sender?.label}, whom ${user.label} ignores`);
}

/** Events of this device that are new and shown must have their transaction ID: it is how a client knows its own echo. */
function inspectEcho(event, world, device) {
  const sent = world.sent.get(event.event_id);
  if (!sent || sent.device !== device || event.unsigned?.redacted_because || world.redactedIds.has(event.event_id)) return;
  same(event.unsigned?.transaction_id, sent.transaction, `the transaction ID of ${event.event_id}, for the device that sent it`);
}

function inspectAnswer(answer, { world, user, device, params }) {
  demand(typeof answer.next === 'string' && answer.next !== '', 'next is always there', { got: answer.next });
  const unknown = Object.keys(answer).filter((name) => name !== 'next' && name !== 'partial' && !(streams.includes(name) && params[name]));
  same(unknown, [], 'streams nobody asked for');
  for (const { event, room_id, timeline } of roomEvents(answer)) {
    inspectUnsigned(event, world, device);
    const room = world.roomOf(room_id);
    if (!room || !timeline) continue;
    inspectVisibility(event, room, user);
    inspectIgnored(event, world, user);
    inspectEcho(event, world, device);
  }
  for (const event of answer.room_members?.events || []) inspectUnsigned(event, world, device);
  for (const name of ['account_data', 'to_device', 'typing']) {
    if (answer[name]) demand(answer[name].events?.length > 0, `${name} is there and says nothing`, { got: answer[name] });
  }
}

const listOf = (part, name, identify) => (part?.[name] || []).map(identify);

/** "Repeating a good token with the same body gives at least what the lost answer held, perhaps newer and more." */
function inspectRepeated(lost, again) {
  const contains = (name, inside, identify) => {
    const held = new Set(listOf(again[name], inside, identify));
    same(listOf(lost[name], inside, identify).filter((id) => !held.has(id)), [], `${name} of a lost answer that was not given again`);
  };
  contains('to_device', 'events', (event) => event.content.number);
  contains('account_data', 'events', (event) => event.type);
  if (lost.room) demand(again.room, 'the room of a lost answer was not given again', { expected: lost.room });
  if (lost.room?.timeline && !again.room.timeline?.limited && again.room.membership === lost.room.membership) {
    const held = new Set(listOf(again.room.timeline, 'events', (event) => event.event_id));
    same(listOf(lost.room.timeline, 'events', (event) => event.event_id).filter((id) => !held.has(id)), [], 'timeline events of a lost answer that were not given again');
  }
  // Pages are of a newer snapshot the second time, so only deltas are compared. With a limit, a room of the lost answer that changed again
  // stands behind others the second time ("by its newest change", "oldest first"), so only answers with all there is are compared.
  if (lost.room_members && !lost.room_members.p?.count && !again.room_members?.limited) contains('room_members', 'events', (event) => event.event_id);
}

module.exports = { inspectAnswer, inspectRepeated };
