// What a client builds from the answers of one session: a model for each stream, which takes first pages and deltas and complains where an
// answer is not what api.md allows. They know nothing of the homeserver.
'use strict';

const { demand, same } = require('./difference');
const { key, receipts, withoutEmptyTags } = require('./truth');

const gone = (membership) => membership === 'leave' || membership === 'ban';

/** One snapshot that is paged through: every entry once, the same count, no more than the limit. */
class Snapshot {
  constructor(identify) {
    Object.assign(this, { identify, entries: [], seen: new Set() });
  }

  add(entries, p, limit) {
    demand(p, 'a page has p', { got: p });
    demand(Number.isInteger(p.count) && p.count >= 0, 'p.count is a number', { got: p });
    demand(p.limit <= limit && p.limit >= 1, `p.limit is ${p.limit}, asked for ${limit}`);
    demand(entries.length <= p.limit, `a page of ${entries.length} with the limit ${p.limit}`);
    if (this.count === undefined) this.count = p.count;
    same(p.count, this.count, 'p.count of a later page');
    if (this.sort === undefined) this.sort = p.sort;
    same(p.sort, this.sort, 'p.sort of a later page');
    for (const entry of entries) {
      const id = this.identify(entry);
      demand(!this.seen.has(id), `${id} is twice in the pages of one snapshot`);
      this.seen.add(id);
      this.entries.push(entry);
    }
    this.next = p.next;
    if (this.next === undefined) same(this.entries.length, this.count, 'the number of entries in all pages, and p.count');
    else demand(entries.length > 0, 'an empty page with a next one');
  }
}

class RoomList {
  constructor() {
    this.rooms = new Map();
    this.departed = new Set();   // rooms that a page had as left; a delta says it once more
  }

  static snapshot() { return new Snapshot((room) => room.room_id); }

  replace(snapshot) {
    this.rooms = new Map();
    for (const room of snapshot.entries) {
      if (!gone(room.membership)) this.rooms.set(room.room_id, room);
      else {
        same(Object.keys(room).sort(), ['membership', 'room_id'], 'a room of a page that was left meanwhile');
        this.departed.add(room.room_id);
      }
    }
  }

  /** `everything`: the list has neither filters nor spaces, nobody was ever ignored, and it holds every room. */
  delta(rooms, limit, everything) {
    demand(rooms.length <= limit, `${rooms.length} rooms in a delta with the limit ${limit}`);
    demand(new Set(rooms.map((room) => room.room_id)).size === rooms.length, 'a room is twice in one delta');
    for (const room of rooms) {
      const goes = room.listed === false || gone(room.membership);
      if (everything && goes) demand(this.rooms.has(room.room_id) || this.departed.delete(room.room_id), 'a room goes that was not there', { got: room });
      if (room.listed === false) {
        same(Object.keys(room).sort(), ['listed', 'room_id'], 'a room that is not listed');
        this.rooms.delete(room.room_id);
      } else if (gone(room.membership)) this.rooms.delete(room.room_id);
      else this.rooms.set(room.room_id, room);
    }
  }
}

class Members {
  constructor() { this.events = new Map(); }

  static snapshot() { return new Snapshot((event) => event.state_key); }

  replace(snapshot) {
    this.events = new Map(snapshot.entries.map((event) => [event.state_key, event]));
    this.sure = true;
  }

  delta({ events, limited }, limit) {
    demand(events.length <= limit, `${events.length} member events in a delta with the limit ${limit}`);
    for (const event of events) {
      same(event.type, 'm.room.member', 'the type of a member event');
      this.events.set(event.state_key, event);
    }
    if (limited) this.sure = false;
  }

  with(memberships) { return [...this.events.values()].filter((event) => memberships.includes(event.content.membership)); }
}

const invited_keys = ['room_id', 'name', 'membership', 'initial', 'invite_state', 'knock_state'];

/** The room in view. `room` is undefined when there is none that this user sees. */
class RoomView {
  /** `leaveAllowed`: it may be left without having been there. */
  apply(part, { params, initialExpected, initialAllowed, leaveAllowed }) {
    same(part.room_id, params.room_id, 'room.room_id');
    if (gone(part.membership)) return this.leave(part, initialExpected || leaveAllowed);
    if (part.membership === 'invite' || part.membership === 'knock') return this.prejoin(part);
    same(part.membership ?? 'join', 'join', 'room.membership');
    if (initialExpected) same(part.initial, true, 'room.initial of a room that the client cannot have');
    if (part.initial) {
      demand(initialExpected || initialAllowed || this.room?.membership !== 'join', 'initial: true although the client has the room');
      this.room = { membership: 'join', timeline: [], state: new Map(), receipts: new Map(), accountData: new Map(), summary: {}, threads: {} };
      demand(part.timeline, 'an initial room has a timeline', { got: part });
    }
    demand(this.room?.membership === 'join', 'a delta for a room that the client does not have', { got: part });
    this.merge(part, params.timeline_limit ?? 20);
  }

  leave(part, allowed) {
    // A client that has just turned to the room may be told as well: the user "was joined, invited or knocking as of `since`".
    demand(this.room || allowed, `membership ${part.membership} of a room that the client does not have`, { got: part });
    this.room = undefined;
  }

  prejoin(part) {
    const unknown = Object.keys(part).filter((name) => !invited_keys.includes(name));
    same(unknown, [], 'what an invited or knocking user may not see');
    const state = part.membership === 'invite' ? part.invite_state : part.knock_state;
    demand(Array.isArray(state?.events), `${part.membership}_state.events is there`, { got: part });
    this.room = { membership: part.membership, name: part.name, prejoin: state.events };
  }

  merge(part, limit) {
    const { room } = this;
    if (part.timeline) this.timeline(part, limit);
    for (const event of part.state_after?.events || []) room.state.set(key(event), event);
    if (part.name !== undefined) room.name = part.name;
    Object.assign(room.summary, part.summary);
    if (part.unread_notifications) {
      room.unread = part.unread_notifications;
      room.threads = part.unread_thread_notifications || {};
    } else if (part.unread_thread_notifications) room.threads = part.unread_thread_notifications;
    receipts(part.ephemeral?.events || [], room.receipts);
    for (const event of part.account_data?.events || []) room.accountData.set(event.type, event);
    withoutEmptyTags(room.accountData);
  }

  timeline(part, limit) {
    const { room } = this, { events = [], limited, prev_batch } = part.timeline;
    demand(events.length <= limit, `${events.length} events with the timeline_limit ${limit}`);
    // A prev_batch leads to what is before the first event of its own answer; what filters kept from later answers is not behind it.
    if (part.initial || limited) Object.assign(room, { timeline: [], limited, prev_batch, anchor: events[0]?.event_id });
    const known = new Set(room.timeline.map((event) => event.event_id));
    for (const event of events) {
      demand(!known.has(event.event_id), `${event.event_id} is twice in the timeline`);
      known.add(event.event_id);
      room.timeline.push(event);
    }
  }
}

class Typing {
  constructor() { this.typists = []; }

  apply({ events }, room_id) {
    demand(events.length === 1, 'one typing EDU', { got: events });
    same({ type: events[0].type, room_id: events[0].room_id }, { type: 'm.typing', room_id }, 'a typing EDU');
    this.typists = [...events[0].content.user_ids].sort();
  }
}

/** Messages of a device carry a number that counts up by one, so that a lost and a doubled one show. */
class ToDevice {
  apply({ events, limit }, asked = 100) {
    demand(events.length <= Math.min(limit ?? 100, asked), `${events.length} to-device messages with the limit ${asked}`);
    for (const { type, sender, content } of events) {
      demand(type === 'org.example.walk' && sender && content.text === 'ä \u2028 "quoted" 🎉', 'a to-device message as it was sent', { got: content });
      if (this.last !== undefined) same(content.number, this.last + 1, 'the number of a to-device message');
      this.last = content.number;
    }
  }
}

class AccountData {
  constructor() { this.events = new Map(); }

  apply({ events }) {
    for (const event of events) this.events.set(event.type, event);
  }
}

module.exports = { RoomList, Members, RoomView, Typing, ToDevice, AccountData, gone };
