// What the homeserver itself says about a user: classic sync of a device that v3 never uses, /state and /members. Also the shape in which
// events are compared.
'use strict';

const { encode } = require('./world');

// "of unsigned only what is the same for everyone stays"
const allowed = ['prev_content', 'replaces_state', 'redacted_because', 'invite_room_state'];

const essential = ['type', 'state_key', 'sender', 'content', 'event_id', 'origin_server_ts', 'redacts'];

/** An event as it is compared wherever it came from: /state, /members and /sync add different things to it. */
function essence(event) {
  const kept = {};
  for (const key of essential) if (event[key] !== undefined) kept[key] = event[key];
  return kept;
}

const key = ({ type, state_key }) => JSON.stringify([type, state_key]);

const byKey = (events) => new Map(events.map((event) => [key(event), event]));

/** What the walk sets for a room. */
const room_account_data = ['m.fully_read', 'm.marked_unread', 'org.example.room'];

function unlessNotFound(error) {
  if (!/ 404 /.test(error.message)) throw error;
}

let asked = 0;

/** Classic sync from the start. The homeserver keeps such answers for two minutes: another timeout makes it another question. */
function classic(user, { rooms, limit = 20 } = {}) {
  const filter = {
    presence: { not_types: ['*'] },
    room: { ...(rooms && { rooms }), timeline: { limit, unread_thread_notifications: true }, state: { lazy_load_members: true, unread_thread_notifications: true } },
  };
  asked = (asked + 1) % 1_000_000;
  return user.call('GET', `/sync?timeout=${asked}&set_presence=offline&filter=${encode(JSON.stringify(filter))}`);
}

class Truth {
  /** What is true for a user in these rooms; with `all` for everything. What all members of a room see alike is asked for once: `shared`. */
  static async of(user, rooms, all, shared) {
    const truth = new Truth(user);
    truth.all = all;
    truth.rooms = rooms;
    truth.sync = await classic(user, all ? {} : { rooms: rooms.map((room) => room.id) });
    truth.accountData = byType(truth.sync.account_data?.events || []);
    await Promise.all(rooms.filter((room) => truth.joined(room)).map((room) => truth.fetch(room, shared)));
    if (!all) await Promise.all(rooms.filter((room) => truth.joined(room)).map((room) => truth.fetchAccountData(room)));
    return truth;
  }

  constructor(user) {
    this.user = user;
    this.state = new Map();      // room ID → state events by key
    this.members = new Map();    // room ID → member events
  }

  async fetch(room, shared) {
    const ask = () => Promise.all([this.user.call('GET', `${room.at}/state`), this.user.call('GET', `${room.at}/members`)]);
    if (!shared.has(room)) shared.set(room, ask());
    const [state, members] = await shared.get(room);
    this.state.set(room.id, byKey(state));
    this.members.set(room.id, members.chunk);
  }

  /** Synapse leaves a room's account data out of a sync that is filtered by rooms: these are asked for one by one. */
  async fetchAccountData(room) {
    const at = `/user/${encode(this.user.id)}${room.at}`;
    const events = [{ type: 'm.tag', content: await this.user.call('GET', `${at}/tags`) }];
    for (const type of room_account_data) {
      const content = await this.user.call('GET', `${at}/account_data/${type}`).catch(unlessNotFound);
      if (content) events.push({ type, content });
    }
    this.joined(room).account_data = { events };
  }

  joined(room) { return this.sync.rooms?.join?.[room.id]; }
  invited(room) { return this.sync.rooms?.invite?.[room.id]; }
  knocked(room) { return this.sync.rooms?.knock?.[room.id]; }

  membership(room) { return this.joined(room) ? 'join' : this.invited(room) ? 'invite' : this.knocked(room) ? 'knock' : undefined; }

  membersWith(room, ...memberships) { return this.members.get(room.id).filter((event) => memberships.includes(event.content.membership)); }

  stateOf(room, type, state_key = '') { return this.state.get(room.id).get(JSON.stringify([type, state_key])); }

  isDirect(room) {
    const direct = this.accountData.get('m.direct')?.content || {};
    return Object.values(direct).some((rooms) => Array.isArray(rooms) && rooms.includes(room.id));
  }

  /** Receipts as [type, user, thread] → event and time. */
  receipts(room) { return receipts(this.joined(room).ephemeral?.events || []); }

  /**
   * Unread counts that a device may have been told: those of now, and those that came with the newest event or receipt of the user's own.
   * A homeserver tells counts with news of the room only, and Synapse counts anew, and otherwise, after a rejoin when anybody sends a receipt.
   */
  counts(room) {
    const { unread_notifications: unread, unread_thread_notifications: threads = {}, timeline } = this.joined(room);
    const own = [...this.receipts(room)].filter(([id]) => JSON.parse(id)[1] === this.user.id);
    const at = JSON.stringify([timeline.events.at(-1)?.event_id, own]);
    if (room.counts.get(this.user)?.at !== at) room.counts.set(this.user, { at, unread, threads });
    return [{ unread, threads }, room.counts.get(this.user)];
  }

  typists(room) { return (this.joined(room).ephemeral?.events || []).filter((event) => event.type === 'm.typing').flatMap((event) => event.content.user_ids).sort(); }

  roomAccountData(room) { return withoutEmptyTags(byType(this.joined(room).account_data?.events || [])); }
}

const byType = (events) => new Map(events.map((event) => [event.type, event]));

/** No tags and an empty m.tag are the same. */
function withoutEmptyTags(data) {
  const tags = data.get('m.tag')?.content.tags;
  if (tags && Object.keys(tags).length === 0) data.delete('m.tag');
  return data;
}

function receipts(events, known = new Map()) {
  for (const { type, content } of events) {
    if (type !== 'm.receipt') continue;
    for (const [event, kinds] of Object.entries(content)) {
      for (const [kind, users] of Object.entries(kinds)) {
        for (const [user, { ts, thread_id }] of Object.entries(users)) known.set(JSON.stringify([kind, user, thread_id ?? null]), { event, ts });
      }
    }
  }
  return known;
}

/** An event's receipt of a user has one place in m.receipt: that without a thread, if there are both. */
function shownReceipts(known) {
  const whole = new Set([...known].filter(([id]) => JSON.parse(id)[2] === null).map(([id, { event }]) => JSON.stringify([JSON.parse(id).slice(0, 2), event])));
  return new Map([...known].filter(([id, { event }]) => JSON.parse(id)[2] === null || !whole.has(JSON.stringify([JSON.parse(id).slice(0, 2), event]))));
}

module.exports = { Truth, allowed, essence, key, byKey, byType, receipts, shownReceipts, withoutEmptyTags };
